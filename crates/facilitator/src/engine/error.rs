//! Why the engine gave no answer: trouble on this side, never the caller's.

use std::time::Duration;

use tollway_core::{FacilitatorError, codes};
use tollway_ledger::LedgerError;

/// The engine cannot answer now. Retrying the same request is always safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    /// Stable code.
    pub code: &'static str,
    /// A sentence that ends with what to do.
    pub message: String,
    /// When asking again makes sense.
    pub retry_after: Duration,
    /// Whether the payment may have been taken all the same.
    pub may_be_accepted: bool,
    /// Whether the caller asked more than it may, rather than all together.
    pub is_quota: bool,
}

impl EngineError {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after: Duration::from_secs(2),
            may_be_accepted: false,
            is_quota: false,
        }
    }

    /// The same, but the payment may be in the ledger.
    pub(super) fn after_accepting(mut self) -> Self {
        self.may_be_accepted = true;
        self
    }

    pub(super) fn network(message: impl Into<String>) -> Self {
        Self::new(codes::NETWORK_UNAVAILABLE, message)
    }

    pub(super) fn ledger(error: &LedgerError) -> Self {
        tracing::error!(%error, ?error, "the ledger did not take a step");
        Self::new(codes::LEDGER_UNAVAILABLE, error.to_string())
    }

    /// Stopping for good: ask another server.
    pub(super) fn shutting_down() -> Self {
        Self::new(
            codes::SHUTTING_DOWN,
            "The server is stopping and takes no payments; try again later.",
        )
    }
}

impl From<EngineError> for FacilitatorError {
    fn from(error: EngineError) -> Self {
        let text = format!("{}: {}", error.code, error.message);
        if error.may_be_accepted {
            Self::Unknown(text)
        } else {
            Self::Unavailable(text)
        }
    }
}
