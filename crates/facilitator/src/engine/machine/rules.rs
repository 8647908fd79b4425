//! The durations and limits that the machine keeps.

use std::time::Duration;

use tollway_core::Finality;

/// Durations and limits of one network's machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Longest time between two looks at the chain while its pace is not known.
    pub poll_interval: Duration,
    /// A transaction that is not included after this long is replaced with
    /// higher fees, or cancelled, under the same nonce.
    pub stuck_after: Duration,
    /// The same bytes are sent again after this long without inclusion.
    pub rebroadcast_after: Duration,
    /// First pause after a failed step; it doubles up to `retry_max`.
    pub retry_min: Duration,
    /// Longest pause after failed steps.
    pub retry_max: Duration,
    /// A step whose answer did not come after this long is taken again.
    pub op_timeout: Duration,
    /// A payment for which nothing was signed after this long is refused.
    pub unsigned_limit: Duration,
    /// A verification older than this is repeated before signing.
    pub verified_for: Duration,
    /// Remaining validity below which no new attempt is opened.
    pub min_validity: Duration,
    /// How long after a deadline its passing counts on chain (clock skew).
    pub expiry_grace: Duration,
    /// A transaction that a buyer showed is gone for good if no look found it for so
    /// long: nodes lag, and blocks come back.
    pub missing_for: Duration,
    /// And if at least so many looks in a row did not.
    pub missing_looks: u32,
    /// Longest time between two blocks that finality is reckoned with.
    pub block_time: Duration,
    /// Attempts (slots) a payment gets at most.
    pub max_attempts: u32,
    /// Replacements a slot gets at most; after them it is cancelled.
    pub max_replacements: usize,
    /// Transactions in flight per signer at most.
    pub window: usize,
    /// How long ended payments are remembered, so that late answers find them.
    pub retention: Duration,
    /// When more than so many wait, they share a transaction.
    pub batch_from: usize,
    /// Payments of one transaction at most; 1 is one transaction for each.
    pub batch_max: usize,
    /// How long a batch that is not full is waited for.
    pub gather: Duration,
    /// Gas that one transaction may use at most.
    pub transaction_gas: u64,
    /// Blocks on top of a settled payment's until it is no longer watched.
    pub reorg_watch: u64,
    /// How long payments wait for a lease of a signer before they are given up
    /// to another machine.
    pub patience: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            poll_interval: Duration::from_millis(250),
            stuck_after: Duration::from_secs(20),
            rebroadcast_after: Duration::from_secs(8),
            retry_min: Duration::from_millis(200),
            retry_max: Duration::from_secs(5),
            op_timeout: Duration::from_secs(30),
            unsigned_limit: Duration::from_secs(60),
            verified_for: Duration::from_secs(10),
            min_validity: Duration::from_secs(6),
            expiry_grace: Duration::from_secs(15),
            missing_for: Duration::from_secs(600),
            missing_looks: 8,
            block_time: Duration::from_secs(12),
            max_attempts: 3,
            max_replacements: 8,
            window: 64,
            retention: Duration::from_secs(120),
            batch_from: 4,
            batch_max: 100,
            gather: Duration::from_millis(15),
            transaction_gas: 1 << 24,
            reorg_watch: 64,
            patience: Duration::from_secs(1),
        }
    }
}

impl Rules {
    /// How long after its deadline a payment that did not land is proved dead:
    /// the grace for clocks, and the time in which a block that included it
    /// would have reached the finality.
    #[must_use]
    pub fn expiry_lag(&self, finality: Finality) -> Duration {
        self.expiry_grace + self.block_time.saturating_mul(finality.blocks())
    }

    /// The pause after a number of failures in a row.
    #[must_use]
    pub fn pause(&self, failures: u32) -> Duration {
        let doubled = self
            .retry_min
            .saturating_mul(1_u32 << failures.saturating_sub(1).min(16));
        doubled.min(self.retry_max)
    }
}
