//! How a network's owner tells a good node from one that lags or lies.
//!
//! This crate knows no chain, so its owner says what to ask: something that
//! every node of the network answers alike, and how high its chain is. The
//! probes of all nodes are due every few seconds while anything is asked at
//! all: a client that nobody uses asks nothing.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::Value;

use crate::RpcError;
use crate::message::Batch;
use crate::node::Node;
use crate::reply::read;
use crate::standing::Why;

/// How long the growth of the chain is remembered, in steps.
const MOST_STEPS: usize = 64;

/// A question and how its answer is read.
type Reader<T> = Arc<dyn Fn(&Value) -> T + Send + Sync>;

/// What is asked of each node, two calls in one request.
///
/// ```
/// use serde_json::json;
/// use tollway_rpc::Probe;
///
/// let probe = Probe::new("eth_chainId", json!([]), |id| *id == "0x14a34")
///     .height("eth_blockNumber", json!([]), |number| {
///         u64::from_str_radix(number.as_str()?.strip_prefix("0x")?, 16).ok()
///     });
/// # drop(probe);
/// ```
#[derive(Clone)]
pub struct Probe {
    calls: Batch,
    is_ours: Reader<bool>,
    height: Option<Reader<Option<u64>>>,
    /// How often each node is probed. Default: 5 s.
    pub every: Duration,
    /// A node that is more blocks behind the others is put aside. Default: 5.
    pub most_blocks_behind: u64,
    /// And so is one to which a block of another node is unknown for longer.
    /// Default: 30 s.
    pub longest_behind: Duration,
}

impl Probe {
    /// Asks what tells the network, such as a chain id; `is_ours` says whether
    /// the answer is right.
    pub fn new(
        method: &'static str,
        params: Value,
        is_ours: impl Fn(&Value) -> bool + Send + Sync + 'static,
    ) -> Self {
        let mut calls = Batch::new();
        calls.push(method, &params);
        Self {
            calls,
            is_ours: Arc::new(is_ours),
            height: None,
            every: Duration::from_secs(5),
            most_blocks_behind: 5,
            longest_behind: Duration::from_secs(30),
        }
    }

    /// Also asks for the number of the newest block; `None` where the answer
    /// holds no number.
    #[must_use]
    pub fn height(
        mut self,
        method: &'static str,
        params: Value,
        read: impl Fn(&Value) -> Option<u64> + Send + Sync + 'static,
    ) -> Self {
        if self.height.is_none() {
            self.calls.push(method, &params);
        }
        self.height = Some(Arc::new(read));
        self
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe")
            .field("methods", &self.calls.methods)
            .field("every", &self.every)
            .finish_non_exhaustive()
    }
}

/// A probe at work on a network's nodes.
#[derive(Debug)]
pub(crate) struct Prober {
    probe: Probe,
    calls: Arc<Batch>,
    /// When which height was first seen.
    growth: Mutex<VecDeque<(Instant, u64)>>,
    /// One round at a time.
    round: tokio::sync::Mutex<()>,
}

impl Prober {
    pub(crate) fn new(probe: Probe) -> Self {
        Self {
            calls: Arc::new(probe.calls.clone()),
            probe,
            growth: Mutex::default(),
            round: tokio::sync::Mutex::new(()),
        }
    }

    /// Probes those nodes that are due, unless that is under way; returns when
    /// the next one is due.
    pub(crate) async fn round(&self, nodes: &[Arc<Node>]) -> Option<Instant> {
        let _one = self.round.try_lock().ok()?;
        let now = Instant::now();
        let is_due = |node: &&Arc<Node>| node.standing.look_at() <= now;
        let due: Vec<&Arc<Node>> = nodes.iter().filter(is_due).collect();
        let probed = join_all(due.iter().map(|node| self.ask(node, node.patience))).await;
        let passed = due.into_iter().zip(probed).filter(|(_, passed)| *passed);
        let passed: Vec<&Arc<Node>> = passed.map(|(node, _)| node).collect();
        self.judge(nodes, &passed);
        nodes.iter().map(|node| node.standing.look_at()).min()
    }

    /// Asks a node that never showed which network it serves.
    ///
    /// # Errors
    /// Why it did not, or that it is another one.
    pub(crate) async fn require_proof(&self, node: &Arc<Node>) -> Result<(), RpcError> {
        let _one = node.proving.lock().await;
        let host = node.http.host.clone();
        if node.standing.is_barred() && node.standing.look_at() > Instant::now() {
            return Err(RpcError::OtherNetwork { host });
        }
        if node.standing.is_proven() || self.ask(node, node.http.timeout).await {
            return Ok(());
        }
        Err(match node.standing.is_barred() {
            true => RpcError::OtherNetwork { host },
            false => RpcError::Transport {
                host,
                detail: "it was asked which network it serves, and gave no answer".to_owned(),
            },
        })
    }

    /// Whether a node shows that it serves the network; if not, it is blamed.
    async fn ask(&self, node: &Arc<Node>, patience: Duration) -> bool {
        let (host, standing) = (&node.http.host, &node.standing);
        let in_time = tokio::time::timeout(patience, self.answers(node)).await;
        let slow = |_| RpcError::Timeout { host: host.clone() };
        match in_time.map_err(slow).flatten() {
            Ok((true, height)) => {
                standing.prove();
                if let Some(height) = height {
                    standing.saw_height(height);
                }
                true
            }
            Ok((false, _)) => {
                standing.blame(host, Why::OtherNetwork);
                false
            }
            Err(error) => {
                standing.blame(host, Why::of(&error));
                false
            }
        }
    }

    async fn answers(&self, node: &Arc<Node>) -> Result<(bool, Option<u64>), RpcError> {
        let replies = node.ask(&self.calls).await?;
        let values = replies
            .iter()
            .map(|reply| read::<Value>(node, reply)?)
            .collect::<Result<Vec<Value>, _>>()?;
        let ours = values
            .first()
            .is_some_and(|value| (self.probe.is_ours)(value));
        let height = match (&self.probe.height, values.get(1)) {
            (Some(read), Some(value)) => {
                Some(read(value).ok_or_else(|| node.http.not_json_rpc(b"a height that is none"))?)
            }
            _ => None,
        };
        Ok((ours, height))
    }

    /// Those that passed come back, but for those that lag.
    fn judge(&self, nodes: &[Arc<Node>], passed: &[&Arc<Node>]) {
        let is_heard = |node: &&Arc<Node>| {
            node.standing.is_good() || passed.iter().any(|other| Arc::ptr_eq(node, other))
        };
        let heard = nodes.iter().filter(is_heard);
        let newest = reference(heard.filter_map(|node| node.standing.height()).collect());
        if let Some(newest) = newest {
            self.grew(newest);
        }
        for node in passed {
            let height = node.standing.height();
            let blocks = match (newest, height) {
                (Some(newest), Some(height)) => newest.saturating_sub(height),
                _ => 0,
            };
            let long = height
                .and_then(|height| self.behind_since(height))
                .is_some_and(|since| since.elapsed() > self.probe.longest_behind);
            if blocks > self.probe.most_blocks_behind || (blocks > 0 && long) {
                node.standing.blame(&node.http.host, Why::Behind { blocks });
            } else {
                node.standing.passed(&node.http.host, self.probe.every);
            }
        }
    }

    fn grew(&self, newest: u64) {
        let mut growth = self.growth.lock().unwrap_or_else(PoisonError::into_inner);
        while growth.back().is_some_and(|(_, height)| *height > newest) {
            growth.pop_back();
        }
        if growth.back().is_none_or(|(_, height)| *height < newest) {
            growth.push_back((Instant::now(), newest));
        }
        if growth.len() > MOST_STEPS {
            growth.pop_front();
        }
    }

    /// Since when a block above this one is known.
    fn behind_since(&self, height: u64) -> Option<Instant> {
        let growth = self.growth.lock().unwrap_or_else(PoisonError::into_inner);
        let mut above = growth.iter().filter(|(_, newest)| *newest > height);
        above.next().map(|(since, _)| *since)
    }
}

/// What nodes are compared with: the newest block, or, so that one liar among
/// three or more puts nobody aside, the second newest.
fn reference(mut heights: Vec<u64>) -> Option<u64> {
    heights.sort_unstable_by(|a, b| b.cmp(a));
    let index = usize::from(heights.len() > 2);
    heights.get(index).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_liar_among_three_does_not_set_the_height() {
        assert_eq!(reference(vec![]), None);
        assert_eq!(reference(vec![7]), Some(7));
        assert_eq!(reference(vec![7, 9]), Some(9));
        assert_eq!(reference(vec![9, u64::MAX, 8]), Some(9));
    }
}
