//! Taking part in a ledger that several machines share.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::{CancellationToken, DropGuard};
use tollway_ledger::{Replica, ReplicaStore, Store};

use crate::exit::{Exit, Failure};

/// What a silent machine began is taken over after this time.
const ALIVE_FOR: Duration = Duration::from_secs(15);

/// A place among those that share a ledger, kept by a beat. In a ledger of one
/// machine there is nothing to take part in.
pub struct TakesPart(Option<Part>);

struct Part {
    store: Arc<dyn ReplicaStore>,
    replica: Replica,
    _beat: DropGuard,
}

impl TakesPart {
    /// Joins under a name that people can read, and beats from now on.
    pub async fn begin(ledger: &Store, role: &str) -> Result<Self, Failure> {
        if !ledger.is_shared() {
            return Ok(Self(None));
        }
        let store: Arc<dyn ReplicaStore> = Arc::new(ledger.clone());
        let name = format!("{role}:{}", std::process::id());
        let replica = store
            .join(&name, ALIVE_FOR)
            .await
            .map_err(|e| Failure::coded(Exit::Failed, "ledger_unavailable", e))?;
        let stop = CancellationToken::new();
        tokio::spawn(
            stop.clone()
                .run_until_cancelled_owned(beat(Arc::clone(&store), replica.clone())),
        );
        Ok(Self(Some(Part {
            store,
            replica,
            _beat: stop.drop_guard(),
        })))
    }

    /// The name under which claims are recorded, where there are others.
    pub fn name(&self) -> Option<&str> {
        self.0.as_ref().map(|part| part.replica.id.as_str())
    }

    /// Leaves in order: what is open is taken over at once.
    pub async fn end(self) {
        if let Some(part) = self.0
            && let Err(error) = part.store.leave(&part.replica.id).await
        {
            tracing::warn!(%error, "the ledger was left without a word");
        }
    }
}

async fn beat(store: Arc<dyn ReplicaStore>, replica: Replica) {
    let mut every = tokio::time::interval(ALIVE_FOR / 5);
    loop {
        every.tick().await;
        if let Err(error) = store.beat(&replica.id, ALIVE_FOR).await {
            tracing::warn!(%error, "the ledger did not hear that this machine is alive");
        }
    }
}
