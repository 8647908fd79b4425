//! What may be spent on others besides settling their payments.

use async_trait::async_trait;

use crate::{Amount, ChainError, Network};

/// A daily budget for what an account pays for others: deployments of their
/// wallets, gas for their approvals, fees of what they allow us to send. Whoever
/// asks for such help could have the money for himself, so it is bounded, and
/// durably.
#[async_trait]
pub trait GasPurse: Send + Sync {
    /// Takes the most that a transaction may cost, in the chain's own atomic units,
    /// out of the day's budget, on somebody's behalf: an account, or a caller by
    /// name. `None`, and nothing was taken, where it is used up: for him, or for all.
    /// What was taken is durable before this says so.
    ///
    /// # Errors
    /// [`ChainError::Unavailable`] if that cannot be recorded now: nothing is sent.
    async fn take(
        &self,
        network: &Network,
        whom: &str,
        most: Amount,
    ) -> Result<Option<Taken>, ChainError>;

    /// Gives back what was taken for a transaction that no node has, to the day that
    /// it was taken from.
    ///
    /// # Errors
    /// [`ChainError::Unavailable`] if that cannot be recorded now: it stays taken.
    async fn give_back(&self, taken: Taken) -> Result<(), ChainError>;
}

/// What was taken out of a day's budget.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Taken {
    /// Where.
    pub network: Network,
    /// For whom.
    pub whom: String,
    /// The chain's own atomic units.
    pub most: Amount,
    /// The UTC day, counted from 1970.
    pub day: u64,
}
