//! What can go wrong, by name.

/// One way in which a node fails or lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request is read and never answered, and nothing is done.
    TimeoutBeforeAccept,
    /// What is asked is done, and never answered.
    TimeoutAfterAccept,
    /// The connection breaks, and nothing is done.
    Unreachable,
    /// A transaction is taken, and the connection breaks.
    AcceptedThenDropped,
    /// An HTTP status, and nothing is done.
    Status(u16),
    /// A page of HTML under status 200, and nothing is done.
    Html,
    /// What is asked is done, and the answer breaks off in its middle.
    TruncatedJson,
    /// The answer has the id of another call.
    WrongId,
    /// The answer comes byte by byte.
    SlowTrickle {
        /// Between two pieces of it.
        pause_ms: u64,
    },
    /// The answers of a batch come in reverse order.
    OutOfOrderBatch,
    /// One call of each batch has no answer.
    MissingAnswer,
    /// "Limit exceeded", as a JSON-RPC error.
    Overloaded,
    /// A transaction is lost, though the node says that it took it.
    SendLost,
    /// A transaction waits, and reaches the chain when the fault ends.
    NeverMined,
    /// A transaction is delivered twice.
    DuplicateDelivery,
    /// A transaction is taken, and said to be known already.
    AlreadyKnown,
    /// A transaction is lost, and said to have a nonce that was used.
    NonceTooLow,
    /// A transaction is lost, and said to leave a gap.
    NonceTooHigh,
    /// A transaction is lost, and said to be a replacement that pays too little.
    Underpriced,
    /// All that is read is so many blocks old.
    StaleHead {
        /// How many.
        blocks: u64,
    },
    /// Each receipt is not there the first times it is asked for.
    LateReceipt {
        /// How often it is not.
        looks: u64,
    },
    /// There are no receipts.
    MissingReceipts,
    /// Receipts say that transactions failed.
    FailedReceipt,
    /// The chain id is another.
    WrongChainId,
    /// Logs of transfers name another amount.
    LyingLogValue,
    /// Logs of transfers name another token.
    LyingLogAddress,
    /// Once a transaction waits, blocks cost fifty times as much.
    FeeSpike,
    /// Blocks cost more than anybody may want to pay.
    BaseFeeAboveCap,
    /// Once, after a transaction was shown in a block, that block and all above
    /// it are replaced.
    Reorg {
        /// How many blocks go; the chain grows that high first.
        depth: u64,
        /// Whether their transactions wait again, or are lost.
        keep: bool,
    },
    /// Somebody else sends the content of each transaction first, and pays more.
    ThirdPartyFirst,
}

impl Fault {
    /// One of each.
    pub const ALL: [Self; 34] = [
        Self::TimeoutBeforeAccept,
        Self::TimeoutAfterAccept,
        Self::Unreachable,
        Self::AcceptedThenDropped,
        Self::Status(429),
        Self::Status(500),
        Self::Status(503),
        Self::Html,
        Self::TruncatedJson,
        Self::WrongId,
        Self::SlowTrickle { pause_ms: 5 },
        Self::OutOfOrderBatch,
        Self::MissingAnswer,
        Self::Overloaded,
        Self::SendLost,
        Self::NeverMined,
        Self::DuplicateDelivery,
        Self::AlreadyKnown,
        Self::NonceTooLow,
        Self::NonceTooHigh,
        Self::Underpriced,
        Self::StaleHead { blocks: 6 },
        Self::LateReceipt { looks: 3 },
        Self::MissingReceipts,
        Self::FailedReceipt,
        Self::WrongChainId,
        Self::LyingLogValue,
        Self::LyingLogAddress,
        Self::FeeSpike,
        Self::BaseFeeAboveCap,
        Self::Reorg {
            depth: 1,
            keep: true,
        },
        Self::Reorg {
            depth: 4,
            keep: false,
        },
        Self::Reorg {
            depth: 12,
            keep: false,
        },
        Self::ThirdPartyFirst,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::TimeoutBeforeAccept => "timeout_before_accept".to_owned(),
            Self::TimeoutAfterAccept => "timeout_after_accept".to_owned(),
            Self::Unreachable => "unreachable".to_owned(),
            Self::AcceptedThenDropped => "accepted_then_dropped".to_owned(),
            Self::Status(status) => format!("http_{status}"),
            Self::Html => "html".to_owned(),
            Self::TruncatedJson => "truncated_json".to_owned(),
            Self::WrongId => "wrong_id".to_owned(),
            Self::SlowTrickle { .. } => "slow_trickle".to_owned(),
            Self::OutOfOrderBatch => "out_of_order_batch".to_owned(),
            Self::MissingAnswer => "missing_answer".to_owned(),
            Self::Overloaded => "overloaded".to_owned(),
            Self::SendLost => "send_lost".to_owned(),
            Self::NeverMined => "never_mined".to_owned(),
            Self::DuplicateDelivery => "duplicate_delivery".to_owned(),
            Self::AlreadyKnown => "already_known".to_owned(),
            Self::NonceTooLow => "nonce_too_low".to_owned(),
            Self::NonceTooHigh => "nonce_too_high".to_owned(),
            Self::Underpriced => "underpriced".to_owned(),
            Self::StaleHead { .. } => "stale_head".to_owned(),
            Self::LateReceipt { .. } => "late_receipt".to_owned(),
            Self::MissingReceipts => "missing_receipts".to_owned(),
            Self::FailedReceipt => "failed_receipt".to_owned(),
            Self::WrongChainId => "wrong_chain_id".to_owned(),
            Self::LyingLogValue => "lying_log_value".to_owned(),
            Self::LyingLogAddress => "lying_log_address".to_owned(),
            Self::FeeSpike => "fee_spike".to_owned(),
            Self::BaseFeeAboveCap => "base_fee_above_cap".to_owned(),
            Self::Reorg { depth, keep: true } => format!("reorg_{depth}"),
            Self::Reorg { depth, keep: false } => format!("reorg_{depth}_lost"),
            Self::ThirdPartyFirst => "third_party_first".to_owned(),
        }
    }

    /// Whether it concerns this method, unless a rule says otherwise.
    pub(crate) fn concerns(self, method: &str) -> bool {
        let sends = method == SEND;
        let reads_logs = RECEIPTS.contains(&method) || method == "eth_getLogs";
        match self {
            Self::AcceptedThenDropped
            | Self::SendLost
            | Self::NeverMined
            | Self::DuplicateDelivery
            | Self::AlreadyKnown
            | Self::NonceTooLow
            | Self::NonceTooHigh
            | Self::Underpriced
            | Self::FeeSpike
            | Self::ThirdPartyFirst => sends,
            Self::LateReceipt { .. }
            | Self::MissingReceipts
            | Self::FailedReceipt
            | Self::Reorg { .. } => RECEIPTS.contains(&method),
            Self::LyingLogValue | Self::LyingLogAddress => reads_logs,
            Self::WrongChainId => matches!(method, "eth_chainId" | "net_version"),
            Self::StaleHead { .. } => !sends,
            _ => true,
        }
    }

    /// Whether it is about the way of a whole request rather than about a call.
    pub(crate) const fn is_of_the_way(self) -> bool {
        matches!(
            self,
            Self::TimeoutBeforeAccept
                | Self::TimeoutAfterAccept
                | Self::Unreachable
                | Self::AcceptedThenDropped
                | Self::Status(_)
                | Self::Html
                | Self::TruncatedJson
                | Self::SlowTrickle { .. }
                | Self::OutOfOrderBatch
                | Self::MissingAnswer
        )
    }
}

/// How transactions are sent.
pub(crate) const SEND: &str = "eth_sendRawTransaction";
/// How receipts are read.
pub(crate) const RECEIPTS: [&str; 2] = ["eth_getTransactionReceipt", "eth_getBlockReceipts"];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_fault_has_a_name_of_its_own() {
        let names: BTreeSet<String> = Fault::ALL.iter().map(|fault| fault.name()).collect();
        assert_eq!(names.len(), Fault::ALL.len());
    }
}
