//! Why the ledger could not do a step.

/// Why the ledger could not do a step. Nothing was written, but see
/// [`LedgerError::InDoubt`].
#[derive(Clone, Debug, thiserror::Error)]
pub enum LedgerError {
    /// The disk, the file or the server failed, or is full. Whoever takes
    /// payments stops taking them.
    #[error("{message}")]
    Unavailable {
        /// A sentence that ends with what to do.
        message: String,
        /// For the log only.
        detail: String,
    },
    /// A write or a sync failed in a way after which nothing is certain: the
    /// ledger takes no more steps until it is opened again.
    #[error("{message}")]
    Fatal {
        /// A sentence that ends with what to do.
        message: String,
        /// For the log only.
        detail: String,
    },
    /// The connection broke while the step was being made durable, and the
    /// ledger could not be asked since: it may be durable or not. Whoever takes
    /// payments stops taking them; the step may be repeated.
    #[error("{message}")]
    InDoubt {
        /// A sentence that ends with what to do.
        message: String,
        /// For the log only.
        detail: String,
    },
    /// Another replica uses the signer now: whatever was signed stays unsent.
    #[error("another replica uses the signer {signer} now; leave its work to that one")]
    LeaseLost {
        /// The signer.
        signer: String,
    },
    /// The step does not fit the record's state: a defect in the caller, or a
    /// race that somebody else won.
    #[error("the ledger's record of {subject} is {state}, which does not allow to {step}")]
    Conflict {
        /// The record.
        subject: String,
        /// Its state.
        state: String,
        /// What was tried.
        step: &'static str,
    },
    /// There is no such record.
    #[error("the ledger has no record {0}; list them with `tollway ledger list`")]
    NotFound(String),
}

impl LedgerError {
    /// What only the log may show.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Unavailable { detail, .. }
            | Self::Fatal { detail, .. }
            | Self::InDoubt { detail, .. } => Some(detail),
            Self::LeaseLost { .. } | Self::Conflict { .. } | Self::NotFound(_) => None,
        }
    }

    /// Whether the ledger itself is broken, rather than the step.
    #[must_use]
    pub const fn is_storage(&self) -> bool {
        matches!(
            self,
            Self::Unavailable { .. } | Self::Fatal { .. } | Self::InDoubt { .. }
        )
    }
}
