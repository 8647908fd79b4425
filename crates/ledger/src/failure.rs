//! The storage errors that every store may have, as sentences.

use crate::LedgerError;

pub(crate) fn unavailable(message: &str, detail: impl ToString) -> LedgerError {
    LedgerError::Unavailable {
        message: message.to_owned(),
        detail: detail.to_string(),
    }
}

pub(crate) fn fatal(message: &str, detail: impl ToString) -> LedgerError {
    LedgerError::Fatal {
        message: message.to_owned(),
        detail: detail.to_string(),
    }
}

/// A constraint stood against a step. What it says names rows, and is for the
/// log only: callers are told of conflicts.
pub(crate) fn guarded(detail: &str) -> LedgerError {
    tracing::error!(detail, "a constraint of the ledger stood against a step");
    LedgerError::Conflict {
        subject: "a record".to_owned(),
        state: "guarded by a constraint".to_owned(),
        step: "write this",
    }
}

/// A stored value that does not mean anything.
pub(crate) fn corrupt(column: &str, detail: impl ToString) -> LedgerError {
    LedgerError::Unavailable {
        message: format!(
            "The ledger holds a {column} that cannot be read; check the file with `tollway ledger list`, and restore a backup if it was changed by hand."
        ),
        detail: detail.to_string(),
    }
}

/// The operating system gave no randomness for a name.
pub(crate) fn no_randomness(detail: impl ToString) -> LedgerError {
    unavailable(
        "The system has no randomness to give; check /dev/urandom, then try again.",
        detail,
    )
}
