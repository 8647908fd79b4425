//! The story of a payment, as it happens, for people and programs that watch.

use serde::Serialize;
use tollway_core::{Address, Network, SpendId, Timestamp, TxHash};

use crate::method::PayMethod;
use crate::offer::Via;
use crate::payment::Payment;

/// Something that happened on the way. Nothing in it is secret.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
#[non_exhaustive]
pub enum Event {
    /// A request leaves, without payment.
    Asked {
        /// Method.
        method: String,
        /// URL without its query.
        url: String,
    },
    /// The server sent the request elsewhere.
    Redirected {
        /// URL without its query.
        to: String,
    },
    /// The server asks for payment.
    Terms {
        /// x402 version of the terms: 2 or 1.
        version: u64,
        /// What the server says it sells.
        description: Option<String>,
        /// Each way to pay, in words.
        offers: Vec<String>,
    },
    /// A way to pay that is not taken.
    PassedOver {
        /// The way to pay, in words.
        offer: String,
        /// Stable code.
        code: String,
        /// Sentence.
        message: String,
    },
    /// The way to pay that is taken.
    Chosen {
        /// The way to pay, in words.
        offer: String,
        /// Where.
        network: Network,
        /// `exact`, `upto` or `batch-settlement`.
        scheme: String,
        /// How the money moves; `None` where the network knows only one way.
        method: Option<PayMethod>,
        /// What it buys: the answer to this request, or an access token.
        via: Via,
        /// Whether money moves before the goods are made.
        upfront: bool,
    },
    /// The budget holds it.
    Reserved {
        /// The record of it.
        spend: SpendId,
    },
    /// An earlier call left this payment open: it is shown again.
    Resumed {
        /// The record of it.
        spend: SpendId,
    },
    /// The payment is signed and on disk, and has not left.
    Signed {
        /// The record of it.
        spend: SpendId,
        /// After this moment it can no longer move money.
        valid_until: Timestamp,
    },
    /// The payment's own transaction leaves (`txid`), or leaves again.
    Sent {
        /// The record of it.
        spend: SpendId,
        /// Its hash.
        transaction: TxHash,
    },
    /// A transaction of the account's own lets Permit2 move an asset from now on.
    Approved {
        /// Where.
        network: Network,
        /// What.
        asset: Address,
        /// Its hash.
        transaction: TxHash,
    },
    /// An access token came for the payment, and is kept.
    TokenGiven {
        /// The record of what was paid for it.
        spend: SpendId,
        /// From then on it opens nothing.
        expires_at: Timestamp,
    },
    /// An access token is shown instead of a payment.
    TokenShown {
        /// The record of what was paid for it.
        spend: SpendId,
        /// From then on it opens nothing.
        expires_at: Timestamp,
    },
    /// The account that paid before signs in, instead of paying again.
    SignedIn {
        /// The record of what was paid.
        spend: SpendId,
        /// Who signs.
        account: Address,
    },
    /// The payment leaves.
    Presented {
        /// The record of it.
        spend: SpendId,
        /// The how-manieth time in this call, from 1.
        attempt: u32,
        /// Where: with the request itself, or posted to a token endpoint.
        via: Via,
    },
    /// The answer was unclear: the same payment is shown again.
    Unclear {
        /// The record of it.
        spend: SpendId,
        /// Stable code.
        code: String,
        /// Sentence.
        message: String,
        /// Until the next attempt, milliseconds.
        wait_ms: u64,
    },
    /// The money moved, as far as the server or the chain says. A payment that is
    /// shown again is told again: count by its `spend`.
    Paid(Box<Payment>),
    /// Nobody can say whether the money moved: the budget keeps it until it is
    /// known. The goods may be here.
    Held {
        /// What is known about it, in the same fields as for [`Event::Paid`].
        #[serde(flatten)]
        payment: Box<Payment>,
    },
    /// The call ended without the goods.
    Failed {
        /// Stable code.
        code: String,
        /// Sentence.
        message: String,
    },
}
