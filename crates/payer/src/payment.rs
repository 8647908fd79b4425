//! What is known about one payment.

use serde::Serialize;
use tollway_core::{Address, Amount, Network, SpendId, TxHash};

use crate::method::PayMethod;
use crate::statements::ReceiptWorth;

/// What is known about whether the money moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "standing")]
pub enum Standing {
    /// The server says that it did, and what it says fits what was signed.
    Settled,
    /// The chain shows the transfer.
    Confirmed,
    /// An access token was given for it, or its answer streams, and the seller
    /// settles later. It counts against the budget, with all that was signed for,
    /// until the chain shows what became of it.
    Background,
    /// Not known. It counts against the budget until it is proved dead.
    Held {
        /// Why it is not known.
        reason: String,
    },
}

/// One payment, without secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Payment {
    /// The record of it.
    pub spend: SpendId,
    /// What is known about the money.
    #[serde(flatten)]
    pub standing: Standing,
    /// x402 version that it was shown in: 2 or 1.
    pub version: u64,
    /// URL that was paid for, without its query.
    pub url: String,
    /// Where.
    pub network: Network,
    /// What.
    pub asset: Address,
    /// What people call the asset.
    pub symbol: Option<String>,
    /// `exact`, `upto` or `batch-settlement`.
    pub scheme: String,
    /// How the money moves; `None` where the network knows only one way.
    pub method: Option<PayMethod>,
    /// How much, in atomic units: what was really paid, else what it can cost at most.
    pub amount: Amount,
    /// What was signed for, in atomic units: more than `amount` where use is metered.
    pub maximum: Amount,
    /// How much, in words: `0.01 USDC on Base Sepolia`, or
    /// `0.004 USDC (of at most 0.01 USDC) on Base Sepolia`.
    pub words: String,
    /// Who pays.
    pub payer: Address,
    /// Who is paid.
    pub payee: Address,
    /// The transaction that the server named.
    pub transaction: Option<TxHash>,
    /// Where people can look at it.
    pub explorer: Option<String>,
    /// What the seller's signed receipt is worth, where one came and is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptWorth>,
    /// How often the payment was shown in this call.
    pub shown: u32,
    /// From the terms to the answer, milliseconds.
    pub took_ms: u64,
}

impl Payment {
    /// Whether the money moved, as far as the server or the chain says.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        matches!(self.standing, Standing::Settled | Standing::Confirmed)
    }
}
