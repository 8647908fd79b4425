//! The trait that a gate holds: verify, settle, supported.

use std::sync::Arc;

use async_trait::async_trait;

use crate::wire::{
    PaymentPayload, PaymentRequirements, SettleResponse, SupportedResponse, VerifyResponse,
};

/// What to verify. Always in the version 2 model; v1 is translated at the edge.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifyRequest {
    /// What the buyer presented.
    pub payload: Arc<PaymentPayload>,
    /// What the seller asks for.
    pub requirements: Arc<PaymentRequirements>,
}

/// What to settle.
#[derive(Clone, Debug, PartialEq)]
pub struct SettleRequest {
    /// What the buyer presented.
    pub payload: Arc<PaymentPayload>,
    /// What the seller charges: for `upto` the real amount.
    pub requirements: Arc<PaymentRequirements>,
    /// Who repeats this request with the same key gets the same success again
    /// (HTTP header `Idempotency-Key`).
    pub idempotency_key: Option<String>,
}

/// Why a facilitator gave no answer. A refusal is an answer, not an error.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FacilitatorError {
    /// It could not be reached, or said that it cannot work now. Nothing was
    /// sent, or it is certain that nothing was accepted.
    #[error("the facilitator cannot be reached: {0}; try again later")]
    Unavailable(String),
    /// It may have accepted the request: the outcome is unknown.
    #[error("the facilitator's answer was lost: {0}; ask again for the same payment")]
    Unknown(String),
    /// It answered something that is not in the protocol.
    #[error("the facilitator answered nonsense: {0}; check its URL and version")]
    Protocol(String),
}

/// Verifies and settles payments, in process or far away.
#[async_trait]
pub trait Facilitator: Send + Sync {
    /// Would this settle now? Commits nothing.
    async fn verify(&self, request: &VerifyRequest) -> Result<VerifyResponse, FacilitatorError>;

    /// Moves the money and waits for the receipt. Success is given once per
    /// authorization; a repeat waits while it is pending and then gets
    /// `duplicate_settlement` with the hash, or success again to the same
    /// idempotency key. `settlement_pending` carries the hash.
    async fn settle(&self, request: &SettleRequest) -> Result<SettleResponse, FacilitatorError>;

    /// What can be paid through it.
    async fn supported(&self) -> Result<SupportedResponse, FacilitatorError>;
}
