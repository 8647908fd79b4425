//! Which payers were seen without code a moment ago.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use alloy_primitives::Address;
use tollway_core::Timestamp;

use super::recent::Recent;

/// Remembers "no code" for a short time. It may be out of date (an account can
/// be given code at any moment): then the simulation asks the token, which
/// asks the code, and the receipt decides as always.
#[derive(Debug)]
pub(super) struct PayerCache {
    age: Duration,
    seen: Mutex<Recent<Address, Timestamp>>,
}

impl PayerCache {
    pub fn new(age: Duration) -> Self {
        Self {
            age,
            seen: Mutex::default(),
        }
    }

    pub fn is_plain(&self, account: Address, now: Timestamp) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&account)
            .is_some_and(|at| now.since(*at) < self.age && *at <= now)
    }

    pub fn saw_plain(&self, account: Address, now: Timestamp) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(account, now);
    }
}
