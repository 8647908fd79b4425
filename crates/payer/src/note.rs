//! What an open record says about the goods. The ledger keeps one line of text
//! with an open spend; three kinds of it are read again.
//!
//! A payment is closed as paid when its goods came, or when it can no longer be
//! shown. Until then the next equal request must find it, or it would be paid
//! for twice on the word of a server that says "paid" and delivers nothing.

use tollway_core::{Amount, TxHash};
use tollway_ledger::{SpendRecord, SpendState};

use crate::code::PAID_NOT_DELIVERED;
use crate::offer::transaction;

const DELIVERED: &str = "delivered";
const ACCEPTED: &str = "accepted";

/// What is known about the goods of an open payment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Note {
    /// They came; why the money is not known to have moved.
    Delivered(String),
    /// They came, or a token for them, and the seller took the payment; how much of
    /// it moves, and when, only the chain can tell.
    Accepted(String),
    /// The money moved, as the server or the chain says, and they did not come.
    Undelivered {
        amount: Amount,
        transaction: Option<TxHash>,
    },
}

impl Note {
    /// The note on a record, if it bears one.
    pub(crate) fn read(record: &SpendRecord) -> Option<Self> {
        let (kind, rest) = record.reason.as_deref()?.split_once(": ")?;
        match kind {
            DELIVERED => Some(Self::Delivered(rest.to_owned())),
            ACCEPTED => Some(Self::Accepted(rest.to_owned())),
            PAID_NOT_DELIVERED => {
                let (amount, hash) = rest.split_once(' ').unwrap_or((rest, ""));
                Some(Self::Undelivered {
                    amount: amount.parse().ok()?,
                    transaction: transaction(&record.spend.network, hash),
                })
            }
            _ => None,
        }
    }

    /// The line that the record bears.
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Delivered(why) => format!("{DELIVERED}: {why}"),
            Self::Accepted(why) => format!("{ACCEPTED}: {why}"),
            Self::Undelivered {
                amount,
                transaction,
            } => {
                let hash = transaction.as_ref().map_or("", TxHash::as_str);
                format!("{PAID_NOT_DELIVERED}: {amount} {hash}")
                    .trim_end()
                    .to_owned()
            }
        }
    }
}

/// Whether a record already says that the money moved.
pub(crate) fn known_paid(record: &SpendRecord) -> bool {
    record.state == SpendState::Paid || matches!(Note::read(record), Some(Note::Undelivered { .. }))
}

/// Whether the purchase is complete, though the money is not: its goods came, and
/// the next equal request is another purchase.
pub(crate) fn is_complete(record: &SpendRecord) -> bool {
    matches!(Note::read(record), Some(Note::Accepted(_)))
}

/// Whether a record was signed and has not ended.
pub(crate) const fn is_open(record: &SpendRecord) -> bool {
    matches!(
        record.state,
        SpendState::Signed | SpendState::Presented | SpendState::Unknown
    )
}
