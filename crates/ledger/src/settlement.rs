//! Payments, their attempts, and the slots that carry them.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tollway_core::wire::{PaymentPayload, PaymentRequirements};
use tollway_core::{
    Address, Expected, Finality, Identity, Network, PaymentId, Proof, Raw, Settled, Settlement,
    Timestamp, TxHash,
};

use crate::LedgerError;

/// Where a payment is: `accepted → submitted → settled | refused | expired`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentState {
    /// Durable, and nothing signed that could still land.
    Accepted,
    /// A signed transaction is stored that can land.
    Submitted,
    /// The money moved. Last.
    Settled,
    /// It did not and will not move. Last.
    Refused,
    /// Its deadline and finality passed and its nonce is unused. Last.
    Expired,
}

/// A payment to accept. Holds all that recovery needs.
#[derive(Clone, Debug, PartialEq)]
pub struct NewPayment {
    /// What makes it unique.
    pub identity: Identity,
    /// What must be seen on chain: the charge, not the ceiling.
    pub expected: Expected,
    /// After this moment it can no longer move money.
    pub deadline: Timestamp,
    /// How it settles.
    pub settlement: Settlement,
    /// How deep the receipt must lie.
    pub finality: Finality,
    /// As presented, to verify and seal it again after a crash.
    pub payload: PaymentPayload,
    /// As asked.
    pub requirements: PaymentRequirements,
}

/// A payment as the ledger has it.
#[derive(Clone, Debug, PartialEq)]
pub struct PaymentRecord {
    /// Its name.
    pub id: PaymentId,
    /// What was accepted.
    pub payment: NewPayment,
    /// Where it is.
    pub state: PaymentState,
    /// Number of attempts opened so far.
    pub attempts: u32,
    /// The slot of the open attempt.
    pub slot: Option<SlotRef>,
    /// The winning hash, or else the latest that was stored.
    pub transaction: Option<TxHash>,
    /// The evidence, once settled.
    pub settled: Option<Settled>,
    /// Code and sentence, once refused or expired.
    pub refusal: Option<(String, String)>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
}

/// A slot's key: one nonce of one signer on one network.
pub type SlotRef = (Network, Address, u64);

/// What became of accepting.
#[derive(Clone, Debug, PartialEq)]
pub enum Acceptance {
    /// It is new, and ours to settle.
    New(PaymentRecord),
    /// The identity is known. The caller waits for it, or hears what became of it.
    Existing(PaymentRecord),
}

/// How a payment ends.
#[derive(Clone, Debug, PartialEq)]
pub enum Conclusion {
    /// The money moved.
    Settled(Settled),
    /// Nothing was owed, or it was accumulated: no transaction.
    SettledWithoutTransaction,
    /// It did not and will not.
    Refused {
        /// Stable code.
        code: String,
        /// Sentence for people.
        message: String,
    },
    /// Deadline and finality passed with the nonce proved unused.
    Expired,
}

/// Whether success may be given to this caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandOut {
    /// Nobody had it before; it is recorded that somebody has now.
    First,
    /// The same idempotency key had it before.
    Again,
    /// Somebody else had it: `duplicate_settlement`.
    Duplicate,
}

/// One nonce of one signer, with every transaction ever signed under it.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotRecord {
    /// Where.
    pub network: Network,
    /// Who signs.
    pub signer: Address,
    /// With which nonce.
    pub nonce: u64,
    /// Every transaction stored under it, oldest first. Empty: allocated only.
    pub raws: Vec<Raw>,
    /// The payments it carries, in the plan's order.
    pub payments: Vec<PaymentId>,
    /// Whether one of its transactions (or a stranger's) was included.
    pub closed: bool,
    /// When it was allocated.
    pub allocated_at: Timestamp,
}

/// Which payments to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PaymentFilter {
    /// Only in this state.
    pub state: Option<PaymentState>,
    /// At most this many, newest first (at most 1000).
    pub limit: u32,
    /// Only accepted before this moment, for paging.
    pub before: Option<Timestamp>,
}

/// What the engine writes.
#[async_trait]
pub trait SettlementStore: Send + Sync {
    /// Records a payment unless its identity is known.
    async fn accept(&self, new: NewPayment, now: Timestamp) -> Result<Acceptance, LedgerError>;

    /// A payment by name.
    async fn payment(&self, id: &PaymentId) -> Result<Option<PaymentRecord>, LedgerError>;

    /// A payment by what makes it unique.
    async fn payment_by_identity(
        &self,
        identity: &Identity,
    ) -> Result<Option<PaymentRecord>, LedgerError>;

    /// Allocates the signer's next nonce: the lowest that is at least the
    /// chain's confirmed nonce and above all that the ledger gave out and that
    /// is not closed by proof. A slot that was allocated and never got a
    /// transaction is given out again first.
    async fn allocate_slot(
        &self,
        network: &Network,
        signer: &Address,
        confirmed_nonce: u64,
        now: Timestamp,
    ) -> Result<SlotRecord, LedgerError>;

    /// Stores a signed transaction under its slot, before it is ever sent, and
    /// moves its payments `accepted → submitted` (a replacement finds them
    /// submitted under this very slot). Refused if any of them has another
    /// open attempt, or if the slot carries other payments.
    async fn store_raw(
        &self,
        slot: &SlotRef,
        raw: &Raw,
        payments: &[PaymentId],
        now: Timestamp,
    ) -> Result<(), LedgerError>;

    /// Notes what a node said, for the story (an attempt to send, an answer).
    async fn note(
        &self,
        id: &PaymentId,
        kind: &'static str,
        data: serde_json::Value,
        now: Timestamp,
    ) -> Result<(), LedgerError>;

    /// The open attempt cannot land any more: `submitted → accepted`, with the
    /// proof in the story. The slot is closed by [`SettlementStore::close_slot`].
    async fn reopen(
        &self,
        id: &PaymentId,
        proof: &Proof,
        now: Timestamp,
    ) -> Result<(), LedgerError>;

    /// A transaction of the slot, or a stranger's, was included at this nonce.
    async fn close_slot(&self, slot: &SlotRef, now: Timestamp) -> Result<(), LedgerError>;

    /// Ends a payment. Ending it again the same way is fine; another way is a conflict.
    async fn conclude(
        &self,
        id: &PaymentId,
        conclusion: Conclusion,
        now: Timestamp,
    ) -> Result<PaymentRecord, LedgerError>;

    /// Takes a settled payment back after a reorganisation: `settled → submitted`.
    async fn take_back(
        &self,
        id: &PaymentId,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), LedgerError>;

    /// Decides, once and for all, who is told of success.
    async fn hand_out(
        &self,
        id: &PaymentId,
        idempotency_key: Option<&str>,
        now: Timestamp,
    ) -> Result<HandOut, LedgerError>;

    /// Every payment that has not ended, oldest first.
    async fn open_payments(&self) -> Result<Vec<PaymentRecord>, LedgerError>;

    /// Every slot that is not closed, by signer and nonce.
    async fn open_slots(&self) -> Result<Vec<SlotRecord>, LedgerError>;

    /// A slot.
    async fn slot(&self, slot: &SlotRef) -> Result<Option<SlotRecord>, LedgerError>;

    /// Payments, newest first.
    async fn payments(&self, filter: &PaymentFilter) -> Result<Vec<PaymentRecord>, LedgerError>;
}
