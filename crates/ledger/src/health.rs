//! Whether the ledger takes steps now.

/// Whether the ledger takes steps now, and if not, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerHealth {
    /// Whether the last write, or a trial since, succeeded.
    pub writable: bool,
    /// What is wrong, as a sentence that ends with what to do.
    pub problem: Option<String>,
}
