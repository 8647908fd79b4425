//! Sending what acts: a transaction that is signed already.
//!
//! The same bytes may be sent to any number of nodes, as often as one likes:
//! a network takes them once. What must not happen is that one node's refusal
//! is taken for the network's, while another node may have taken them.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::Instrument as _;

use crate::message::Batch;
use crate::pool::{Pool, only};
use crate::race::Raced;
use crate::{RpcClient, RpcError};

/// To whom something is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// To one node, and to others while nobody has taken it: the first time.
    One,
    /// To all nodes at once: again, since whoever took it may have lost it.
    All,
}

/// Why nobody said that it took what was sent.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub struct NotTaken {
    /// A node's considered refusal where there is one, else what failed last.
    pub error: RpcError,
    /// A node got it and its answer is not known. Then a refusal by another
    /// node proves nothing: it may be in force.
    pub perhaps_taken: bool,
}

impl RpcClient {
    /// Sends what acts at most once however often it is sent, such as a signed
    /// transaction. `is_taken` tells a refusal that says that it was taken
    /// before ("already known"): `Ok(None)`.
    ///
    /// # Errors
    /// [`NotTaken`], which says whether a node may have taken it all the same.
    pub async fn submit<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: impl Serialize + Sync,
        spread: Spread,
        is_taken: impl Fn(&RpcError) -> bool,
    ) -> Result<Option<T>, NotTaken> {
        let mut calls = Batch::new();
        calls.push(method, &params);
        let span = tracing::info_span!("rpc", otel.name = method, otel.kind = "client");
        let raced = async {
            match spread {
                Spread::One => self.pool.ask(calls, only::<T>).await,
                Spread::All => to_all(&self.pool, calls, &is_taken).await,
            }
        };
        let raced = raced.instrument(span).await;
        match raced.outcome {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if is_taken(&error) => Ok(None),
            Err(error) => Err(NotTaken {
                error,
                perhaps_taken: raced.perhaps_taken,
            }),
        }
    }
}

/// The best answer of all: taken, taken before, refused, nothing. Once somebody
/// has taken it the others have a little time to take it too.
async fn to_all<T: DeserializeOwned>(
    pool: &Arc<Pool>,
    calls: Batch,
    is_taken: impl Fn(&RpcError) -> bool,
) -> Raced<T> {
    let calls = &Arc::new(calls);
    let open = pool.nodes.iter().filter(|node| !node.standing.is_barred());
    let attempts = open.map(|node| pool.attempt(node, calls, only::<T>));
    let mut under_way: FuturesUnordered<_> = attempts.collect();
    let rank = |outcome: &Result<T, RpcError>| match outcome {
        Ok(_) => 0,
        Err(error) if is_taken(error) => 1,
        Err(error) if !error.is_for_another_node() => 2,
        Err(_) => 3,
    };
    let mut best = Err(RpcError::OtherNetwork {
        host: pool.hosts().join(", "),
    });
    let mut perhaps_taken = false;
    loop {
        let is_taken = rank(&best) <= 1;
        let ended = tokio::select! {
            biased;
            ended = under_way.next() => ended,
            () = tokio::time::sleep(pool.hedge), if is_taken => None,
        };
        let Some(outcome) = ended else {
            break;
        };
        let unclear = |e: &RpcError| e.is_for_another_node() && !e.was_not_taken();
        perhaps_taken |= outcome.as_ref().err().is_some_and(unclear);
        if rank(&outcome) <= rank(&best) {
            best = outcome;
        }
    }
    Raced {
        outcome: best,
        perhaps_taken,
    }
}
