//! What may be spent on others besides settling their payments.

use async_trait::async_trait;

use crate::{Address, Amount, ChainError, Network};

/// A daily budget for what an account pays for others: deployments of their
/// wallets, and gas for their approvals. Whoever asks for such help could have the
/// money for himself, so it is bounded, and durably.
#[async_trait]
pub trait GasPurse: Send + Sync {
    /// Takes the most that a transaction may cost, in the chain's own atomic units,
    /// out of the day's budget, on somebody's behalf. False, and nothing was taken,
    /// where it is used up: for him, or for all. What was taken is durable before
    /// this says so.
    ///
    /// # Errors
    /// [`ChainError::Unavailable`] if that cannot be recorded now: nothing is sent.
    async fn take(
        &self,
        network: &Network,
        whom: &Address,
        most: Amount,
    ) -> Result<bool, ChainError>;
}
