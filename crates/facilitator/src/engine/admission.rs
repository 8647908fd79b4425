//! Whether another payment can be taken, and settled in time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tollway_core::{Address, Timestamp, codes};

use super::config::EngineConfig;
use super::error::EngineError;
use super::shared::NetworkHandle;

/// What a batch takes from its lane before the next: planning, signing, a commit.
const LANE_CYCLE: Duration = Duration::from_millis(50);

impl NetworkHandle {
    /// Payments that wait to be in a block.
    fn waiting(&self) -> usize {
        let open = self.gauge.open_payments.load(Ordering::Relaxed);
        open.saturating_sub(self.gauge.included.load(Ordering::Relaxed))
    }

    /// Whether another payment may be taken.
    pub(super) fn admit(&self, config: &EngineConfig) -> Result<(), EngineError> {
        let open = self.gauge.open_payments.load(Ordering::Relaxed);
        if self.waiting() < config.queue_limit && open < config.open_limit {
            return Ok(());
        }
        let mut error = EngineError::new(
            codes::TOO_MANY_REQUESTS,
            "Too many payments wait to be settled on this network; try again later.",
        );
        error.retry_after = Duration::from_secs(5);
        Err(error)
    }

    /// Whether somebody can sign and pay for gas.
    pub(super) fn admit_signers(&self) -> Result<(), EngineError> {
        if self.chain.signers().is_empty() {
            return Err(EngineError::new(
                codes::SIGNER_UNAVAILABLE,
                "No settling account is configured here; settle at another facilitator.",
            ));
        }
        if self.gauge.drained.load(Ordering::Relaxed) {
            return Err(no_gas());
        }
        Ok(())
    }

    /// The same for a payment that only these accounts may settle, if any are named.
    pub(super) fn admit_pinned(&self, pinned: &[Address]) -> Result<(), EngineError> {
        let low = self.gauge.low_signers();
        let is_low = |pin: &Address| low.iter().any(|state| state.signer == *pin);
        match pinned.is_empty() || !pinned.iter().all(is_low) {
            true => Ok(()),
            false => Err(no_gas()),
        }
    }

    /// Whether a payment with this deadline would settle in time, after all that
    /// waits before it: said before anything is served.
    pub(super) fn admit_deadline(
        &self,
        config: &EngineConfig,
        deadline: Timestamp,
        now: Timestamp,
    ) -> Result<(), EngineError> {
        let open = self.waiting();
        if open == 0 {
            return Ok(());
        }
        let takes = self.settles_in(config, open);
        if deadline.since(now) >= takes + config.rules.min_validity {
            return Ok(());
        }
        let mut error = EngineError::new(
            codes::CANNOT_SETTLE_IN_TIME,
            "What waits before this payment would not leave it enough time to settle; try again later.",
        );
        error.retry_after = takes.clamp(Duration::from_secs(1), Duration::from_secs(60));
        Err(error)
    }

    fn settles_in(&self, config: &EngineConfig, open: usize) -> Duration {
        let rules = &config.rules;
        let lanes = self.chain.signers().len().max(1);
        let batch = rules.batch_max.max(1);
        let per_block = lanes * rules.window.max(1) * batch;
        let blocks = u32::try_from(open / per_block + 1).unwrap_or(u32::MAX);
        let millis = self.gauge.block_millis.load(Ordering::Relaxed);
        let block = match u64::try_from(millis).unwrap_or_default() {
            0 => Duration::from_secs(2),
            millis => Duration::from_millis(millis).min(rules.block_time),
        };
        let waiting = self.gauge.waiting.load(Ordering::Relaxed);
        let cycles = u32::try_from(waiting / (lanes * batch) + 1).unwrap_or(u32::MAX);
        block.saturating_mul(blocks) + LANE_CYCLE.saturating_mul(cycles)
    }
}

fn no_gas() -> EngineError {
    let mut error = EngineError::new(
        codes::SIGNER_UNAVAILABLE,
        "No account that may settle this has enough for gas; try again later or settle at another facilitator.",
    );
    error.retry_after = Duration::from_secs(30);
    error
}
