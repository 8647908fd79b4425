//! One question and several nodes: the next one is asked when one fails, and
//! also when one takes long.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::RpcError;
use crate::node::Node;
use crate::standing::Why;

/// How a question ended.
pub(crate) struct Raced<T> {
    pub(crate) outcome: Result<T, RpcError>,
    /// Whether a node may have acted on it whose answer nobody knows.
    pub(crate) perhaps_taken: bool,
}

/// Which nodes were asked, one bit each.
#[derive(Default)]
struct Asked(u64);

impl Asked {
    /// The next node: the first good one, else the one aside that failed least.
    fn next(&mut self, nodes: &[Arc<Node>]) -> Option<usize> {
        let left = || {
            let open = nodes.iter().enumerate();
            open.filter(|(index, node)| self.0 & (1 << index) == 0 && !node.standing.is_barred())
        };
        let good = left().find(|(_, node)| node.standing.is_good());
        let next = good.or_else(|| left().min_by_key(|(_, node)| node.standing.strikes()));
        let (index, _) = next?;
        self.0 |= 1 << index;
        Some(index)
    }
}

/// Asks one node after the other until one has dealt with it. Whoever has no
/// answer after `hedge` is not waited for alone.
pub(crate) async fn race<'a, T, F>(
    nodes: &'a [Arc<Node>],
    hedge: Duration,
    ask: impl Fn(&'a Arc<Node>) -> F,
) -> Raced<T>
where
    F: Future<Output = Result<T, RpcError>>,
{
    let attempt = |index: usize| {
        let outcome = ask(&nodes[index]);
        async move { (index, outcome.await) }
    };
    let mut asked = Asked::default();
    let mut waited_for: Vec<(usize, Instant)> = Vec::new();
    let mut under_way = FuturesUnordered::new();
    let mut perhaps_taken = false;
    let mut last = None;
    loop {
        let next = asked.next(nodes);
        if let Some(index) = next {
            under_way.push(attempt(index));
            waited_for.push((index, Instant::now()));
        } else if under_way.is_empty() {
            break;
        }
        let ended = tokio::select! {
            biased;
            ended = under_way.next() => ended,
            () = tokio::time::sleep(hedge), if next.is_some() => None,
        };
        let Some((index, outcome)) = ended else {
            continue;
        };
        waited_for.retain(|(other, _)| *other != index);
        match outcome {
            Err(error) if error.is_for_another_node() => {
                tracing::debug!(host = nodes[index].http.host, %error, "node passed over");
                perhaps_taken |= !error.was_not_taken();
                last = Some(error);
            }
            outcome => {
                blame_the_slow(nodes, &waited_for, hedge);
                perhaps_taken |= !waited_for.is_empty();
                return Raced {
                    outcome,
                    perhaps_taken,
                };
            }
        }
    }
    let host = nodes.first().map(|node| node.http.host.clone());
    let nobody = || RpcError::OtherNetwork {
        host: host.unwrap_or_default(),
    };
    Raced {
        outcome: Err(last.unwrap_or_else(nobody)),
        perhaps_taken,
    }
}

fn blame_the_slow(nodes: &[Arc<Node>], waited_for: &[(usize, Instant)], hedge: Duration) {
    for (index, began) in waited_for {
        if began.elapsed() >= hedge {
            let node = &nodes[*index];
            node.standing.blame(&node.http.host, Why::Slow);
        }
    }
}
