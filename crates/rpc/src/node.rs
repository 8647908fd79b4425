//! One node: how calls get to it, alone or together, and how its answers come back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::de::IgnoredAny;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::RpcError;
use crate::http::Http;
use crate::lane::{Entry, Heard, Lane, UnderWay, Waiting};
use crate::message::{Answer, Batch, Unordered, in_order};
use crate::reply::Reply;
use crate::split::elements;
use crate::standing::Standing;
use crate::stats::Counters;

/// Calls of one batch that are under way at once at a node without batches.
const SINGLES_AT_ONCE: usize = 8;

/// One node of a network.
pub(crate) struct Node {
    pub(crate) http: Http,
    pub(crate) lane: Arc<Lane>,
    pub(crate) counters: Arc<Counters>,
    /// How long calls of several callers wait for their common answer, before
    /// each is sent by itself: one slow call must not fail the others.
    pub(crate) patience: Duration,
    pub(crate) standing: Arc<Standing>,
    /// Requests that may be under way at once; the others wait.
    pub(crate) places: Arc<Semaphore>,
    /// Held while it is asked which network it serves.
    pub(crate) proving: tokio::sync::Mutex<()>,
}

/// Why calls that were sent together have no answers.
enum Trouble {
    /// They would have none by themselves either.
    Failed(RpcError),
    /// The node takes no batches, or not this one.
    Refused,
    /// Each may have one by itself.
    Unclear(RpcError),
}

impl Node {
    /// The node's answers to some calls, in order. Each is a JSON text, which
    /// may be a refusal of that call.
    pub(crate) async fn ask(self: &Arc<Self>, calls: &Arc<Batch>) -> Result<Vec<Reply>, RpcError> {
        let heard = match self.lane.enter(calls) {
            Entry::Go(under_way) => return self.alone(calls, under_way).await,
            Entry::Wait(heard) => heard,
            Entry::WaitAndLead(heard) => {
                let node = Arc::clone(self);
                tokio::spawn(async move {
                    let (group, under_way) = node.lane.gathered().await;
                    node.send_group(group, under_way).await;
                });
                heard
            }
            Entry::WaitAndSend(heard, group, under_way) => {
                let node = Arc::clone(self);
                tokio::spawn(async move { node.send_group(group, under_way).await });
                heard
            }
        };
        match heard.await {
            Ok(Heard::Answers(answers)) => answers,
            Ok(Heard::Alone) | Err(_) => self.alone(calls, self.lane.go()).await,
        }
    }

    /// Sends the calls of one caller.
    async fn alone(&self, calls: &Batch, _under_way: UnderWay) -> Result<Vec<Reply>, RpcError> {
        if calls.len() > 1 && self.lane.takes_batches() {
            match self.together(std::iter::once(calls)).await {
                Ok(answers) => return self.whole(answers),
                Err(Trouble::Failed(error) | Trouble::Unclear(error)) => return Err(error),
                Err(Trouble::Refused) => {}
            }
        }
        if calls.len() == 1 {
            return Ok(vec![self.single(calls, 0).await?]);
        }
        stream::iter(0..calls.len())
            .map(|index| self.single(calls, index))
            .buffered(SINGLES_AT_ONCE)
            .try_collect()
            .await
    }

    async fn single(&self, calls: &Batch, index: usize) -> Result<Reply, RpcError> {
        let methods = &calls.methods[index..=index];
        let text = self.exchange(calls.single(index), methods).await?;
        Ok(Reply { text, id: Some(0) })
    }

    /// Sends the calls of several callers, and tells each what became of its own.
    async fn send_group(&self, group: Vec<Waiting>, under_way: UnderWay) {
        let group: Vec<Waiting> = group
            .into_iter()
            .filter(|w| !w.caller.is_closed())
            .collect();
        if group.len() < 2 {
            drop(under_way);
            group.into_iter().for_each(|w| w.tell(Heard::Alone));
            return;
        }
        let calls = group.iter().map(|waiting| waiting.calls.as_ref());
        let answer = tokio::time::timeout(self.patience, self.together(calls)).await;
        drop(under_way);
        match answer {
            Ok(Ok(answers)) => {
                let mut answers = answers.into_iter();
                for waiting in group {
                    let own = answers.by_ref().take(waiting.calls.len()).collect();
                    waiting.tell(Heard::Answers(self.whole(own)));
                }
            }
            Ok(Err(Trouble::Failed(error))) => {
                for waiting in group {
                    waiting.tell(Heard::Answers(Err(error.clone())));
                }
            }
            Ok(Err(Trouble::Refused | Trouble::Unclear(_))) | Err(_) => {
                group.into_iter().for_each(|w| w.tell(Heard::Alone));
            }
        }
    }

    /// Sends calls in one request; a call without an answer has `None`.
    async fn together<'a>(
        &self,
        batches: impl Iterator<Item = &'a Batch> + Clone,
    ) -> Result<Vec<Option<Bytes>>, Trouble> {
        let methods: Vec<&'static str> = batches
            .clone()
            .flat_map(|batch| batch.methods.iter().copied())
            .collect();
        let refused = || {
            tracing::debug!(host = self.http.host, "the node takes no batches");
            self.lane.refused_batch();
            Trouble::Refused
        };
        match self.exchange(Batch::together(batches), &methods).await {
            Ok(body) => in_order(&body, methods.len()).map_err(|why| match why {
                Unordered::Refused(error) if error.is_for_another_node() => Trouble::Failed(error),
                Unordered::Refused(_) => refused(),
                Unordered::NotJson => Trouble::Unclear(self.http.not_json_rpc(&body)),
            }),
            Err(RpcError::Http { status, .. }) if refuses_batches(status) => Err(refused()),
            Err(error @ RpcError::NotJson { .. }) => Err(Trouble::Unclear(error)),
            Err(error) => Err(Trouble::Failed(error)),
        }
    }

    /// All answers, or none.
    fn whole(&self, answers: Vec<Option<Bytes>>) -> Result<Vec<Reply>, RpcError> {
        let reply = |text| Reply { text, id: None };
        let whole = answers.into_iter().map(|answer| answer.map(reply));
        let whole = whole.collect::<Option<Vec<Reply>>>();
        whole.ok_or_else(|| RpcError::NotJson {
            host: self.http.host.clone(),
            detail: "some calls of a batch have no answer".to_owned(),
        })
    }

    /// One of the requests that may be under way at once.
    async fn place(&self) -> Result<SemaphorePermit<'_>, RpcError> {
        if let Ok(free) = self.places.try_acquire() {
            return Ok(free);
        }
        match tokio::time::timeout(self.http.timeout, self.places.acquire()).await {
            Ok(Ok(free)) => Ok(free),
            // Nobody closes the places.
            _ => Err(RpcError::Timeout {
                host: self.http.host.clone(),
            }),
        }
    }

    async fn exchange(&self, body: Vec<u8>, methods: &[&'static str]) -> Result<Bytes, RpcError> {
        let _place = self.place().await?;
        self.counters.sent(methods);
        self.standing.asked();
        let (status, bytes) = self.http.post(body).await?;
        // Some nodes put their JSON-RPC refusals under 4xx and 5xx.
        if (200..300).contains(&status) || looks_like_refusal(&bytes) {
            return Ok(bytes);
        }
        Err(RpcError::Http {
            host: self.http.host.clone(),
            status,
        })
    }
}

impl Waiting {
    /// Whoever does not wait any more does not hear it.
    fn tell(self, heard: Heard) {
        let _ = self.caller.send(heard);
    }
}

/// Statuses by which servers refuse a body for its shape or size.
const fn refuses_batches(status: u16) -> bool {
    matches!(status, 400 | 405 | 406 | 411 | 413 | 414 | 415 | 422 | 501)
}

fn looks_like_refusal(bytes: &[u8]) -> bool {
    let refuses = |text: &[u8]| {
        serde_json::from_slice::<Answer<IgnoredAny>>(text).is_ok_and(|a| a.outcome.is_err())
    };
    match elements(bytes) {
        Some(parts) => parts.into_iter().any(|part| refuses(&bytes[part])),
        None => refuses(bytes),
    }
}
