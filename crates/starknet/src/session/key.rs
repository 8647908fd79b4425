//! A session's key and how long it is meant to live.

use std::time::Duration;

use tollway_core::{Refusal, Timestamp, codes};

use crate::account::Signer;
use crate::key::StarkKey;
use crate::refusal::refuse;

/// How long a session lives where nothing else is asked: six hours.
pub const DEFAULT_DURATION: Duration = Duration::from_secs(21_600);
/// Longest life: a year.
const LONGEST: Duration = Duration::from_secs(31_536_000);

/// A session's key pair with its end.
#[derive(Clone, Debug)]
pub struct SessionKey {
    pub(super) key: StarkKey,
    pub(super) valid_until: u64,
}

impl SessionKey {
    /// A fresh key that ends so long after `now`.
    ///
    /// # Errors
    /// `session_creation_failed` for a duration of zero or above a year, or
    /// without randomness.
    pub fn create(now: Timestamp, duration: Duration) -> Result<Self, Refusal> {
        if duration.as_secs() == 0 || duration > LONGEST {
            return Err(refuse(
                codes::SESSION_CREATION_FAILED,
                "ask for a duration from one second to a year",
            ));
        }
        let key = StarkKey::random()
            .map_err(|e| refuse(codes::SESSION_CREATION_FAILED, "try again").with_detail(e))?;
        Ok(Self::new(key, now.plus(duration).secs()))
    }

    /// A key that exists already; `valid_until` in Unix seconds.
    #[must_use]
    pub const fn new(key: StarkKey, valid_until: u64) -> Self {
        Self { key, valid_until }
    }

    /// The public key, by which the account knows the session.
    #[must_use]
    pub const fn public(&self) -> crate::Felt {
        self.key.public()
    }

    /// The last moment that counts, Unix seconds.
    #[must_use]
    pub const fn valid_until(&self) -> u64 {
        self.valid_until
    }

    /// What signs with it.
    #[must_use]
    pub fn signer(&self) -> Signer {
        Signer::Session {
            key: self.key.clone(),
            valid_until: self.valid_until,
        }
    }
}
