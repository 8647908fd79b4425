//! The nodes of one network, and how a question finds one that answers it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::RpcError;
use crate::message::Batch;
use crate::node::Node;
use crate::probe::{Probe, Prober};
use crate::race::{Raced, race};
use crate::reply::Reply;
use crate::standing::Why;
use crate::stats::Counters;

/// A round of probes that did not say when the next is due is followed by one
/// after this time.
const NEXT_ROUND: Duration = Duration::from_millis(500);

pub(crate) struct Pool {
    pub(crate) nodes: Vec<Arc<Node>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) hedge: Duration,
    prober: OnceLock<Prober>,
    began: Instant,
    /// When the next round of probes is due, in milliseconds from `began`.
    due: AtomicU64,
}

impl Pool {
    pub(crate) fn new(nodes: Vec<Arc<Node>>, counters: Arc<Counters>, hedge: Duration) -> Self {
        Self {
            nodes,
            counters,
            hedge,
            prober: OnceLock::new(),
            began: Instant::now(),
            due: AtomicU64::new(0),
        }
    }

    pub(crate) fn hosts(&self) -> Vec<&str> {
        self.nodes.iter().map(|n| n.http.host.as_str()).collect()
    }

    pub(crate) fn set_probe(&self, probe: Probe) {
        let _ = self.prober.set(Prober::new(probe));
    }

    /// Asks the first node that is good, and others when it fails or takes long.
    pub(crate) async fn ask<T>(
        self: &Arc<Self>,
        calls: Batch,
        read: impl Fn(&Node, &[Reply]) -> Result<T, RpcError>,
    ) -> Raced<T> {
        self.probe_if_due();
        let (calls, read) = (&Arc::new(calls), &read);
        if let [node] = self.nodes.as_slice() {
            let outcome = self.attempt(node, calls, read).await;
            let unclear = |error: &RpcError| !error.was_not_taken();
            return Raced {
                perhaps_taken: outcome.as_ref().err().is_some_and(unclear),
                outcome,
            };
        }
        race(&self.nodes, self.hedge, |node| {
            self.attempt(node, calls, read)
        })
        .await
    }

    /// Asks one node, and remembers how it did.
    pub(crate) async fn attempt<T>(
        &self,
        node: &Arc<Node>,
        calls: &Arc<Batch>,
        read: impl Fn(&Node, &[Reply]) -> Result<T, RpcError>,
    ) -> Result<T, RpcError> {
        if let Some(prober) = self.prober.get()
            && !node.standing.is_proven()
        {
            prober.require_proof(node).await?;
        }
        let outcome = match node.ask(calls).await {
            Ok(replies) => read(node, &replies),
            Err(error) => Err(error),
        };
        let (host, standing) = (&node.http.host, &node.standing);
        match &outcome {
            Err(error) if error.is_for_another_node() => standing.blame(host, Why::of(error)),
            _ => standing.credit(host),
        }
        outcome
    }

    /// Probes beside the calls, which do not wait for it.
    fn probe_if_due(self: &Arc<Self>) {
        if self.prober.get().is_none() {
            return;
        }
        let now = self.millis(Instant::now());
        let due = self.due.load(Ordering::Relaxed);
        let next = now + self.millis(self.began + NEXT_ROUND);
        if now < due
            || self
                .due
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            if let Some(prober) = pool.prober.get()
                && let Some(next) = prober.round(&pool.nodes).await
            {
                pool.due.store(pool.millis(next), Ordering::Relaxed);
            }
        });
    }

    fn millis(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.began).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX)
    }
}

/// The one answer to one call, as it is read by `T`.
pub(crate) fn only<T: serde::de::DeserializeOwned>(
    node: &Node,
    replies: &[Reply],
) -> Result<T, RpcError> {
    match replies {
        [reply] => crate::reply::read(node, reply)?,
        _ => Err(node.http.not_json_rpc(&[])),
    }
}
