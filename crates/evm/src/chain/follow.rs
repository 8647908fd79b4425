//! What is remembered between two looks at the chain.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tollway_core::{Address, Head, TxHash, Watch};

use super::head::Seen;
use super::recent::Recent;

/// What was not found in blocks is asked for by its hash after this time in any
/// case, and its signer's nonce with it: nodes behind one URL lag behind each other.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Somebody watches the chain if it was looked at so long ago.
const WATCHING: Duration = Duration::from_secs(3);
/// Watches that are remembered beside those of the last look.
const MOST_FOLLOWED: usize = 8192;

pub(super) type Key = (Address, u64);

/// What looks have seen; one look at a time.
#[derive(Debug, Default)]
pub(super) struct Follower {
    pub state: tokio::sync::Mutex<State>,
    /// The newest block that a look saw, and when.
    newest: Mutex<Option<(u64, Instant)>>,
    /// Broadcasts; what is forgotten is asked for.
    sent: Mutex<Recent<TxHash, Sent>>,
    /// Hashes of which a node knows more than we do.
    doubtful: Mutex<Recent<TxHash, ()>>,
}

/// The part that only looks change, and only once they have everything.
#[derive(Debug, Default)]
pub(super) struct State {
    pub head: Option<Head>,
    pub seen: Seen,
    pub followed: HashMap<Key, Followed>,
    /// The node does not give a block's receipts.
    pub no_block_receipts: bool,
}

/// One watch.
#[derive(Clone, Debug)]
pub(super) struct Followed {
    pub hashes: Vec<TxHash>,
    /// The block of the hash that won, once it is known.
    pub included: Option<u64>,
    /// How many of its payments were decided by then.
    pub decided: usize,
    /// When it was last asked for by itself.
    pub asked: Instant,
}

/// One broadcast.
#[derive(Clone, Copy, Debug)]
struct Sent {
    after: u64,
    at: Instant,
}

impl Follower {
    /// A transaction leaves now: it is in no block that was seen before. Whether
    /// it is the first time.
    pub fn sending(&self, hash: &TxHash) -> bool {
        let mut sent = self.sent();
        let first = sent.get(hash).is_none();
        if first {
            let now = Sent {
                after: self.newest().map_or(0, |(number, _)| number),
                at: Instant::now(),
            };
            sent.insert(hash.clone(), now);
        }
        first
    }

    /// A node knows more of it than we do: it is asked for at once.
    pub fn doubt(&self, hash: &TxHash) {
        self.doubtful().insert(hash.clone(), ());
    }

    pub fn is_doubtful(&self, hashes: &[TxHash]) -> bool {
        let doubtful = self.doubtful();
        hashes.iter().any(|hash| doubtful.get(hash).is_some())
    }

    /// It was asked for.
    pub fn believe(&self, hashes: &[TxHash]) {
        let mut doubtful = self.doubtful();
        hashes.iter().for_each(|hash| doubtful.remove(hash));
    }

    fn doubtful(&self) -> MutexGuard<'_, Recent<TxHash, ()>> {
        self.doubtful.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether all of these were sent first after block `newest` was seen.
    pub fn sent_after(&self, hashes: &[TxHash], newest: u64) -> bool {
        let sent = self.sent();
        let after = |hash| sent.get(hash).is_some_and(|one| one.after >= newest);
        hashes.iter().all(after)
    }

    /// Whether one of these was sent a moment ago.
    pub fn sent_just_now(&self, hashes: &[TxHash]) -> bool {
        let sent = self.sent();
        let recent = |hash| {
            let one: Option<&Sent> = sent.get(hash);
            one.is_some_and(|one| one.at.elapsed() < LOOK_AGAIN)
        };
        hashes.iter().any(recent)
    }

    fn sent(&self) -> MutexGuard<'_, Recent<TxHash, Sent>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest block while somebody is watching the chain.
    pub fn watched_block(&self) -> Option<u64> {
        self.newest()
            .filter(|(_, at)| at.elapsed() < WATCHING)
            .map(|(number, _)| number)
    }

    fn newest(&self) -> Option<(u64, Instant)> {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A look is over: this is the newest block.
    pub fn saw(&self, state: &mut State, head: &Head) {
        let now = (head.number, Instant::now());
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        state.seen.note(head);
        state.head = Some(head.clone());
    }
}

impl State {
    /// Forgets watches that nobody asks for any more.
    pub fn tidy(&mut self, watches: &[Watch]) {
        if self.followed.len() <= watches.len() + MOST_FOLLOWED {
            return;
        }
        let wanted: std::collections::HashSet<Key> = watches.iter().map(key).collect();
        self.followed.retain(|key, _| wanted.contains(key));
    }
}

pub(super) fn key(watch: &Watch) -> Key {
    (watch.signer.clone(), watch.nonce)
}
