//! Verifications that are made at the same time ask the node together.
//!
//! While nothing is under way a question leaves at once. While something is,
//! questions wait until that has ended, at most [`LONGEST_WAIT`], and leave as
//! one call.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alloy_primitives::Address;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tollway_core::ChainError;
use tollway_rpc::RpcClient;

use super::probe::{Answer, MOST_ITEMS, Question, probe};

/// A question never waits longer for others.
/// The timer adds up to a millisecond.
const LONGEST_WAIT: Duration = Duration::from_millis(1);
/// A node that did not answer for many at once is not asked so again sooner.
const PLAIN_FOR: Duration = Duration::from_secs(60);

/// The one way to [`probe`].
pub(super) struct Window {
    inner: Arc<Inner>,
}

struct Inner {
    rpc: RpcClient,
    from: Option<Address>,
    item_gas: u64,
    state: Mutex<State>,
    ended: Notify,
}

#[derive(Default)]
struct State {
    under_way: usize,
    waiting: Vec<Waiting>,
    plain_until: Option<Instant>,
}

struct Waiting {
    question: Question,
    caller: Caller,
}

type Said = Result<Answer, ChainError>;
type Ear = oneshot::Sender<Said>;

/// Who waits, and on which runtime.
struct Caller {
    ear: Ear,
    home: Handle,
}

enum Entry {
    Go(UnderWay),
    Wait(oneshot::Receiver<Said>),
    Plain,
}

/// A call under way, until this is dropped.
struct UnderWay(Arc<Inner>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.under_way = state.under_way.saturating_sub(1);
        if !state.waiting.is_empty() {
            self.0.ended.notify_one();
        }
    }
}

impl Window {
    pub fn new(rpc: RpcClient, from: Option<Address>, item_gas: u64) -> Self {
        Self {
            inner: Arc::new(Inner {
                rpc,
                from,
                item_gas,
                state: Mutex::default(),
                ended: Notify::new(),
            }),
        }
    }

    /// What the node says about one transfer.
    pub async fn ask(&self, question: Question) -> Said {
        match self.enter(&question) {
            Entry::Plain => Ok(Answer::Alone),
            Entry::Go(under_way) => {
                let mut answers = Box::pin(self.inner.probe(&[question], under_way)).await?;
                Ok(answers.pop().unwrap_or(Answer::Alone))
            }
            Entry::Wait(heard) => heard
                .await
                .unwrap_or_else(|_| Err(ChainError::unavailable("a simulation was given up"))),
        }
    }

    fn enter(&self, question: &Question) -> Entry {
        let mut state = self.inner.lock();
        if state.plain_until.is_some_and(|end| end > Instant::now()) {
            return Entry::Plain;
        }
        if state.under_way == 0 && state.waiting.is_empty() {
            return Entry::Go(self.inner.begin(&mut state));
        }
        let (ear, heard) = oneshot::channel();
        let home = Handle::current();
        state.waiting.push(Waiting {
            question: question.clone(),
            caller: Caller { ear, home },
        });
        if state.waiting.len() == 1 {
            tokio::spawn(Arc::clone(&self.inner).lead());
        }
        Entry::Wait(heard)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(self: &Arc<Self>, state: &mut State) -> UnderWay {
        state.under_way += 1;
        UnderWay(Arc::clone(self))
    }

    /// Sends what has gathered. It runs by itself: whoever asked may give up.
    async fn lead(self: Arc<Self>) {
        let _ = tokio::time::timeout(LONGEST_WAIT, self.ended.notified()).await;
        let mut waiting = std::mem::take(&mut self.lock().waiting);
        while !waiting.is_empty() {
            let rest = waiting.split_off(waiting.len().min(MOST_ITEMS));
            let group = std::mem::replace(&mut waiting, rest);
            let under_way = self.begin(&mut self.lock());
            let inner = Arc::clone(&self);
            tokio::spawn(async move { inner.send(group, under_way).await });
        }
    }

    async fn send(self: Arc<Self>, group: Vec<Waiting>, under_way: UnderWay) {
        let (questions, callers): (Vec<_>, Vec<_>) =
            group.into_iter().map(|w| (w.question, w.caller)).unzip();
        let said: Vec<Said> = match self.probe(&questions, under_way).await {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error); callers.len()],
        };
        tell(callers.into_iter().zip(said));
    }

    async fn probe(
        &self,
        questions: &[Question],
        _under_way: UnderWay,
    ) -> Result<Vec<Answer>, ChainError> {
        let answers = probe(&self.rpc, self.from, self.item_gas, questions).await?;
        if answers.iter().all(|answer| *answer == Answer::Alone) {
            self.lock().plain_until = Some(Instant::now() + PLAIN_FOR);
        }
        Ok(answers)
    }
}

/// Tells everybody what was said. Those on another runtime are told there, by
/// one task for all of them: to wake each from here would be a system call each.
fn tell(all: impl Iterator<Item = (Caller, Said)>) {
    let here = Handle::current().id();
    let mut elsewhere: Vec<(Handle, Vec<(Ear, Said)>)> = Vec::new();
    for (Caller { ear, home }, said) in all {
        if home.id() == here {
            // Whoever does not wait any more does not hear it.
            let _ = ear.send(said);
            continue;
        }
        match elsewhere
            .iter_mut()
            .find(|(known, _)| known.id() == home.id())
        {
            Some((_, told)) => told.push((ear, said)),
            None => elsewhere.push((home, vec![(ear, said)])),
        }
    }
    for (home, told) in elsewhere {
        home.spawn(async move {
            for (ear, said) in told {
                let _ = ear.send(said);
            }
        });
    }
}
