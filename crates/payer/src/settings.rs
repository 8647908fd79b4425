//! How long a payer waits and how often it asks again.

use std::time::Duration;

/// How long a payer waits, and how often it shows the same payment again
/// while the answers are unclear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For the head of an answer to a request without payment.
    pub ask: Duration,
    /// For the head of an answer to a payment; servers wait for the chain.
    pub answer: Duration,
    /// How often a payment is shown in one call, at most.
    pub attempts: u32,
    /// Before the second time; doubles from then on, unless the server says how long.
    pub first_wait: Duration,
    /// Between two times, at most, whatever the server says.
    pub longest_wait: Duration,
    /// After which no further attempt begins.
    pub total: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            ask: Duration::from_secs(30),
            answer: Duration::from_secs(90),
            attempts: 6,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(15),
            total: Duration::from_secs(120),
        }
    }
}

impl Patience {
    /// Before the attempt after this one (from 1).
    pub(crate) fn wait(&self, attempt: u32, asked: Option<Duration>) -> Duration {
        let doubled = self
            .first_wait
            .saturating_mul(1 << attempt.saturating_sub(1).min(16));
        asked
            .unwrap_or(doubled)
            .max(doubled.min(self.first_wait))
            .min(self.longest_wait)
    }
}
