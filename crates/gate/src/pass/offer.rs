//! What a route's pass opens, and for how long.

use std::time::Duration;

/// Shortest life of a pass.
const MIN_LIFETIME: Duration = Duration::from_secs(10);
/// Longest life of a pass, and that of one that counts requests.
const MAX_LIFETIME: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// Life of a pass that counts requests, unless it says another.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A pass that a route sells: for a time, or for a number of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassOffer {
    pub(crate) lifetime: Duration,
    pub(crate) quota: Option<u64>,
    pub(crate) audience: Option<String>,
}

impl PassOffer {
    /// Any number of requests within this time (10 seconds to 366 days).
    #[must_use]
    pub fn for_time(lifetime: Duration) -> Self {
        Self {
            lifetime: lifetime.clamp(MIN_LIFETIME, MAX_LIFETIME),
            quota: None,
            audience: None,
        }
    }

    /// So many requests (at least one), within 30 days.
    #[must_use]
    pub fn for_calls(calls: u32) -> Self {
        Self {
            lifetime: DEFAULT_LIFETIME,
            quota: Some(u64::from(calls.max(1))),
            audience: None,
        }
    }

    /// Within this time.
    #[must_use]
    pub fn within(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime.clamp(MIN_LIFETIME, MAX_LIFETIME);
        self
    }

    /// Opens all routes whose passes name the same set, instead of this route
    /// only. A name of at most 64 characters.
    #[must_use]
    pub fn audience(mut self, name: &str) -> Self {
        self.audience = Some(name.chars().take(64).collect());
        self
    }
}
