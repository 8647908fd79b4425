//! Transfers that were tried in the newest block: until the next block comes,
//! trying them again would show the same.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, Bytes};

use super::probe::{Question, Seen};
use super::recent::Recent;

/// Trials are believed no longer, whatever the watcher says.
const AGE: Duration = Duration::from_secs(2);

/// Successful trials, by authorization.
#[derive(Debug, Default)]
pub(super) struct Trials(Mutex<Recent<(Address, Address, B256), Trial>>);

#[derive(Debug)]
struct Trial {
    call: Bytes,
    seen: Seen,
    block: u64,
    at: Instant,
}

impl Trials {
    /// What the same call showed in this block, if it went through.
    pub fn of(&self, question: &Question, block: Option<u64>) -> Option<Seen> {
        let trials = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let trial = trials.get(&key(question))?;
        let same = Some(trial.block) == block && trial.call == question.call;
        (same && trial.at.elapsed() < AGE).then_some(trial.seen)
    }

    /// Remembers a transfer that went through, tried while `block` was the newest.
    pub fn note(&self, question: &Question, seen: Seen, block: u64) {
        let mut trials = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let trial = Trial {
            call: question.call.clone(),
            seen,
            block,
            at: Instant::now(),
        };
        trials.insert(key(question), trial);
    }
}

fn key(question: &Question) -> (Address, Address, B256) {
    (question.token, question.payer, question.nonce)
}
