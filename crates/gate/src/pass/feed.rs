//! Which passes may be trusted without reading the ledger, and which may not.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tollway_core::Timestamp;
use tollway_ledger::{LedgerError, PassId, PassStore};

/// How often revocations are asked for.
const EVERY: Duration = Duration::from_millis(250);
/// An answer that is older says nothing any more.
const FRESH_FOR: Duration = Duration::from_millis(750);
/// Most passes that are remembered of each kind; what is beyond is read.
const MAX_REMEMBERED: usize = 100_000;

/// What is known of passes between two looks at the ledger.
#[derive(Default)]
pub(crate) struct Feed {
    state: Mutex<State>,
    /// Whether somebody asks for it.
    heard: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Settled when they were read, each until it expires.
    settled: HashMap<PassId, Timestamp>,
    /// Named by the feed: they are read for ever.
    doubted: HashMap<PassId, Timestamp>,
    /// Opened nothing when they were used last, each until it expires.
    ended: HashMap<PassId, Timestamp>,
    /// Whether there were more than are remembered.
    overflowed: bool,
    /// Whence to ask on; none before the first answer.
    seq: Option<u64>,
    /// When the question was asked that was answered last.
    asked_at: Option<Instant>,
}

impl Feed {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody asks for it yet. From now on somebody does.
    pub(crate) fn is_unheard(&self) -> bool {
        !self.heard.swap(true, Ordering::AcqRel)
    }

    /// Whether a pass is known to be settled, by an answer that is fresh.
    pub(crate) fn trusts(&self, pass: &PassId, now: Timestamp) -> bool {
        let state = self.state();
        let fresh = state.asked_at.is_some_and(|at| at.elapsed() <= FRESH_FOR);
        let settled = state.settled.get(pass).is_some_and(|until| now < *until);
        fresh && settled && !state.overflowed && !state.doubted.contains_key(pass)
    }

    /// Whether what is read from now on may be remembered: every later
    /// revocation will be heard of.
    pub(crate) fn listens(&self) -> bool {
        self.state().seq.is_some()
    }

    /// A pass was read while the feed listened, and was settled.
    pub(crate) fn is_settled(&self, pass: &PassId, until: Timestamp, now: Timestamp) {
        let mut state = self.state();
        if state.settled.len() >= MAX_REMEMBERED {
            state.settled.retain(|_, until| now < *until);
        }
        if state.settled.len() < MAX_REMEMBERED {
            state.settled.insert(pass.clone(), until);
        }
    }

    /// Whether a pass opened nothing when it was used last.
    pub(crate) fn has_ended(&self, pass: &PassId) -> bool {
        self.state().ended.contains_key(pass)
    }

    /// A pass opened nothing.
    pub(crate) fn is_ended(&self, pass: &PassId, until: Timestamp, now: Timestamp) {
        let mut state = self.state();
        if state.ended.len() >= MAX_REMEMBERED {
            state.ended.retain(|_, until| now < *until);
        }
        if state.ended.len() < MAX_REMEMBERED {
            state.ended.insert(pass.clone(), until);
        }
    }

    /// A pass opened something again: a request was given back to it.
    pub(crate) fn is_good(&self, pass: &PassId) {
        self.state().ended.remove(pass);
    }

    /// Asks once for what came since.
    async fn ask(&self, store: &dyn PassStore, now: Timestamp) -> Result<(), LedgerError> {
        let asked_at = Instant::now();
        let seq = self.state().seq;
        let Some(seq) = seq else {
            let seq = store.latest_revocation().await?;
            self.state().seq = Some(seq);
            return Ok(());
        };
        let told = store.revocations(seq).await?;
        let mut state = self.state();
        state.doubted.retain(|_, until| now < *until);
        state.doubted.extend(told.passes);
        state.overflowed |= state.doubted.len() > MAX_REMEMBERED;
        let all = told.seq == seq;
        state.seq = Some(told.seq);
        if all {
            state.asked_at = Some(asked_at);
        }
        Ok(())
    }
}

/// Asks on and on; ends with whoever holds the feed.
pub(crate) async fn follow(
    feed: Weak<Feed>,
    store: Arc<dyn PassStore>,
    now: impl Fn() -> Timestamp + Send,
) {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let Some(feed) = feed.upgrade() else { return };
        if let Err(error) = feed.ask(store.as_ref(), now()).await {
            tracing::warn!(%error, "revocations cannot be read; passes are read one by one");
        }
    }
}
