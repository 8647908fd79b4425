//! Calls to one node that are made at the same time leave together.
//!
//! When nothing is under way a call leaves at once. While something is, calls
//! wait until that has ended, at most [`LONGEST_WAIT`], and then leave as one
//! batch in one HTTP request. So a busy client sends few requests, and a lone
//! call waits for nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use crate::RpcError;
use crate::message::Batch;
use crate::reply::Reply;

/// A call never waits longer for others.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_millis(1);
/// Calls in one request.
const MOST_CALLS: usize = 100;
/// Bytes in one request.
const MOST_BYTES: usize = 512 << 10;
/// A node that refused a batch is not sent another one sooner.
const SINGLE_FOR: Duration = Duration::from_secs(60);

/// What a caller that waited hears.
pub(crate) enum Heard {
    /// The node's answers to its calls, in order, or why there are none.
    Answers(Result<Vec<Reply>, RpcError>),
    /// It is to send its calls by themselves.
    Alone,
}

/// Calls that wait to leave.
pub(crate) struct Waiting {
    pub(crate) calls: Arc<Batch>,
    pub(crate) caller: oneshot::Sender<Heard>,
}

/// What to do with calls.
pub(crate) enum Entry {
    /// Send them.
    Go(UnderWay),
    /// Wait for what becomes of them.
    Wait(oneshot::Receiver<Heard>),
    /// Wait, and see to it that what waits is taken within [`LONGEST_WAIT`].
    WaitAndLead(oneshot::Receiver<Heard>),
    /// Wait, and send these first: there is no more room beside them.
    WaitAndSend(oneshot::Receiver<Heard>, Vec<Waiting>, UnderWay),
}

/// The way to one node.
#[derive(Default)]
pub(crate) struct Lane {
    state: Mutex<State>,
    ended: Notify,
}

#[derive(Default)]
struct State {
    under_way: usize,
    waiting: Vec<Waiting>,
    calls: usize,
    bytes: usize,
    single_until: Option<Instant>,
}

impl State {
    fn take(&mut self) -> Vec<Waiting> {
        (self.calls, self.bytes) = (0, 0);
        std::mem::take(&mut self.waiting)
    }

    fn takes_batches(&self) -> bool {
        self.single_until.is_none_or(|end| end <= Instant::now())
    }
}

/// A request under way, until this is dropped.
pub(crate) struct UnderWay(Arc<Lane>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.under_way = state.under_way.saturating_sub(1);
        if !state.waiting.is_empty() {
            self.0.ended.notify_one();
        }
    }
}

impl Lane {
    /// Whether these calls leave now.
    pub(crate) fn enter(self: &Arc<Self>, calls: &Arc<Batch>) -> Entry {
        let mut state = self.lock();
        let idle = state.under_way == 0 && state.waiting.is_empty();
        if idle || calls.at_once || !state.takes_batches() {
            state.under_way += 1;
            return Entry::Go(UnderWay(Arc::clone(self)));
        }
        let full =
            state.calls + calls.len() > MOST_CALLS || state.bytes + calls.body_len() > MOST_BYTES;
        let first = if full { state.take() } else { Vec::new() };
        let (caller, heard) = oneshot::channel();
        state.calls += calls.len();
        state.bytes += calls.body_len();
        state.waiting.push(Waiting {
            calls: Arc::clone(calls),
            caller,
        });
        if !first.is_empty() {
            // Whoever leads these leads those that wait from now on.
            state.under_way += 1;
            Entry::WaitAndSend(heard, first, UnderWay(Arc::clone(self)))
        } else if state.waiting.len() == 1 {
            Entry::WaitAndLead(heard)
        } else {
            Entry::Wait(heard)
        }
    }

    /// Sends without waiting.
    pub(crate) fn go(self: &Arc<Self>) -> UnderWay {
        self.lock().under_way += 1;
        UnderWay(Arc::clone(self))
    }

    /// What has gathered once a request has ended, or the wait is over.
    pub(crate) async fn gathered(self: &Arc<Self>) -> (Vec<Waiting>, UnderWay) {
        let _ = tokio::time::timeout(LONGEST_WAIT, self.ended.notified()).await;
        let mut state = self.lock();
        state.under_way += 1;
        (state.take(), UnderWay(Arc::clone(self)))
    }

    /// Whether the node is sent batches.
    pub(crate) fn takes_batches(&self) -> bool {
        self.lock().takes_batches()
    }

    /// The node refused a batch.
    pub(crate) fn refused_batch(&self) {
        self.lock().single_until = Some(Instant::now() + SINGLE_FOR);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
