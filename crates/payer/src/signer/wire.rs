//! What is said over the socket: one question, one answer, each a frame of JSON.

use serde::{Deserialize, Serialize};
use tollway_core::wire::{Object, PaymentRequirements, ResourceInfo};
use tollway_core::{Address, Amount, Identity, Network, Prepared, Raw, SpendId, Timestamp, TxHash};

/// What a caller asks.
#[derive(Serialize, Deserialize)]
#[serde(tag = "ask", content = "with", rename_all = "snake_case")]
pub(super) enum Ask {
    /// Whose money it is.
    Accounts,
    /// What an account holds of an asset.
    Balance(AskBalance),
    /// A payment by these terms.
    Sign(Box<AskSign>),
    /// A payment that was signed, by another key of its account.
    SignAgain(AskAgain),
    /// To send a transaction that was signed here, and to wait for it.
    Send(AskSend),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AskBalance {
    pub network: Network,
    pub asset: Address,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AskSign {
    /// Names the payment: asked again by it, the same is given for as long as it is
    /// open. Once it ended, the name is free for another.
    pub id: SpendId,
    /// What was asked for, without its query.
    pub url: String,
    /// The terms, as they were offered.
    pub terms: PaymentRequirements,
    /// At most this much, in atomic units.
    pub max_amount: Amount,
    /// It lives at most this long, in seconds.
    pub max_lifetime: u64,
    /// What is sold, as the server says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<ResourceInfo>,
    /// The extensions that the server declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Object>,
    /// Whether the caller lets a sponsored approval be signed.
    #[serde(default)]
    pub may_approve: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AskAgain {
    /// The payment's.
    pub identity: Identity,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AskSend {
    pub network: Network,
    /// The transaction's hash; its bytes are in the signer's record.
    pub transaction: TxHash,
}

/// What the signer answers. Nothing shows it: a signed payment is a secret.
#[derive(Serialize, Deserialize)]
#[serde(tag = "answer", content = "with", rename_all = "snake_case")]
pub(super) enum Answer {
    /// Whose money it is.
    Accounts(AnswerAccounts),
    /// What the account holds, where that is known.
    Balance(Option<Amount>),
    /// The payment.
    Signed(Box<SignedPayment>),
    /// Nothing better can be signed.
    Nothing,
    /// The transaction is in a block.
    Sent,
    /// It is not allowed, or makes no sense.
    Refused(Words),
    /// Not now.
    Unavailable(Words),
}

#[derive(Serialize, Deserialize)]
pub(super) struct AnswerAccounts {
    /// Under which the signer counts what it signs for.
    pub agent: String,
    pub accounts: Vec<Account>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Account {
    pub network: Network,
    pub address: Address,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Words {
    pub code: String,
    pub message: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct SignedPayment {
    payload: Object,
    identity: Identity,
    amount: Amount,
    valid_until: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    extensions: Option<Object>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    transaction: Option<Raw>,
}

impl From<Prepared> for SignedPayment {
    fn from(prepared: Prepared) -> Self {
        Self {
            payload: prepared.payload,
            identity: prepared.identity,
            amount: prepared.amount,
            valid_until: prepared.valid_until,
            extensions: prepared.extensions,
            transaction: prepared.transaction,
        }
    }
}

impl From<SignedPayment> for Prepared {
    fn from(signed: SignedPayment) -> Self {
        Self {
            payload: signed.payload,
            identity: signed.identity,
            amount: signed.amount,
            valid_until: signed.valid_until,
            extensions: signed.extensions,
            transaction: signed.transaction,
        }
    }
}
