//! Transfers that were tried in the newest block: until the next block comes,
//! trying them again would show the same.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy_primitives::B256;

use super::probe::Seen;
use super::recent::Recent;

/// Trials are believed no longer, whatever the watcher says.
const AGE: Duration = Duration::from_secs(2);

/// Successful trials, by what was signed and the signature.
#[derive(Debug, Default)]
pub(super) struct Trials(Mutex<Recent<B256, Trial>>);

#[derive(Debug)]
struct Trial {
    seen: Seen,
    block: u64,
    at: Instant,
}

impl Trials {
    /// What the same payment showed in this block, if it went through.
    pub fn of(&self, id: B256, block: Option<u64>) -> Option<Seen> {
        let trials = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let trial = trials.get(&id)?;
        let same = Some(trial.block) == block;
        (same && trial.at.elapsed() < AGE).then_some(trial.seen)
    }

    /// Remembers a transfer that went through, tried while `block` was the newest.
    pub fn note(&self, id: B256, seen: Seen, block: u64) {
        let mut trials = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let trial = Trial {
            seen,
            block,
            at: Instant::now(),
        };
        trials.insert(id, trial);
    }
}
