//! Payments, their attempts, and the slots that carry them.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tollway_core::wire::{PaymentPayload, PaymentRequirements};
use tollway_core::{
    Address, Amount, Expected, Finality, Identity, Network, PaymentId, Proof, Raw, Settled,
    Settlement, Timestamp, TxHash,
};

use crate::{Lease, LedgerError, ReplicaId, ReplicaStore};

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
    pub payload: Arc<PaymentPayload>,
    /// As asked.
    pub requirements: Arc<PaymentRequirements>,
    /// Whose API key it came by.
    pub caller: Option<String>,
    /// The idempotency key of the call that opened it.
    pub opener: Option<String>,
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
    /// Who works on it, or watches it.
    pub replica: Option<ReplicaId>,
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
    /// Whether somebody was told of success.
    pub is_handed_out: bool,
    /// Whether it is settled and may still be reorganised away.
    pub is_watched: bool,
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

/// A payment's end, as one of many in one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// Which payment.
    pub id: PaymentId,
    /// How it ends.
    pub conclusion: Conclusion,
    /// Whom to tell of success in the same step: the idempotency key of a
    /// caller who waits right now, `Some(None)` for one without.
    pub hand_out: Option<Option<String>>,
}

/// What became of an ending, and of its hand-out if it had one and it settled.
pub type Ended = Result<(PaymentRecord, Option<HandOut>), LedgerError>;

/// One payer's part of a transaction's fee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// For whose payment.
    pub payer: Address,
    /// Atomic units of the chain's own coin.
    pub fee: Amount,
    /// Whether it moved no payment.
    pub lost: bool,
}

/// What transactions cost over some days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GasSpent {
    /// All of it, in atomic units of the chain's own coin.
    pub fee: Amount,
    /// What of it moved no payment.
    pub lost: Amount,
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
///
/// Any step may be repeated: one that was durable all the same says so again.
#[async_trait]
pub trait SettlementStore: ReplicaStore {
    /// A handle whose steps are taken for a replica: it stamps what it accepts,
    /// lists only what is that replica's, and neither ends nor reopens what is
    /// another's ([`LedgerError::Conflict`]); that the money moved is a fact
    /// which anybody may record. Without it, a handle sees and does everything.
    fn acting_as(&self, replica: &ReplicaId) -> Arc<dyn SettlementStore>;

    /// Takes a signer: if nobody has it, or whoever has it is dead by the
    /// ledger's clock. Its holder gets the same lease again; `None` while
    /// another one is alive.
    async fn lease_signer(
        &self,
        replica: &ReplicaId,
        network: &Network,
        signer: &Address,
    ) -> Result<Option<Lease>, LedgerError>;

    /// Takes over open payments of replicas that are dead, or that gave them
    /// up, oldest first and at most `limit` (at most 1000): what is not
    /// submitted, and what is submitted under a signer that the adopting
    /// replica leases.
    async fn adopt(
        &self,
        replica: &ReplicaId,
        network: &Network,
        limit: u32,
    ) -> Result<Vec<PaymentRecord>, LedgerError>;

    /// Leaves an open payment to whoever adopts it.
    async fn give_up(&self, id: &PaymentId) -> Result<(), LedgerError>;

    /// Records a payment unless its identity is known.
    async fn accept(&self, new: NewPayment, now: Timestamp) -> Result<Acceptance, LedgerError>;

    /// A payment by name.
    async fn payment(&self, id: &PaymentId) -> Result<Option<PaymentRecord>, LedgerError>;

    /// Payments by name, in the order asked for, without those that are not there.
    async fn payments_of(&self, ids: &[PaymentId]) -> Result<Vec<PaymentRecord>, LedgerError>;

    /// A payment by what makes it unique.
    async fn payment_by_identity(
        &self,
        identity: &Identity,
    ) -> Result<Option<PaymentRecord>, LedgerError>;

    /// Allocates the leased signer's next nonce: the lowest that is at least
    /// the chain's confirmed nonce and above all that the ledger gave out and
    /// that is not closed by proof. A slot that was allocated and never got a
    /// transaction is given out again first. [`LedgerError::LeaseLost`] if
    /// another replica has the signer now.
    async fn allocate_slot(
        &self,
        lease: &Lease,
        confirmed_nonce: u64,
        now: Timestamp,
    ) -> Result<SlotRecord, LedgerError>;

    /// Opens a slot: one that is closed, after a reorganisation freed its nonce,
    /// or one that the ledger does not know, empty, to fill a gap below others.
    /// An open one is given as it is. [`LedgerError::LeaseLost`] as above.
    async fn reopen_slot(
        &self,
        slot: &SlotRef,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<SlotRecord, LedgerError>;

    /// Stores a signed transaction under its slot, before it is ever sent, and
    /// moves its payments `accepted → submitted` (a replacement finds them
    /// submitted under this very slot). Refused if any of them has another
    /// open attempt or is another replica's, or if the slot carries other
    /// payments; [`LedgerError::LeaseLost`] if another replica has the signer
    /// now, which the same commit checks.
    async fn store_raw(
        &self,
        slot: &SlotRef,
        raw: &Raw,
        payments: &[PaymentId],
        lease: &Lease,
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
    /// What it cost counts on the UTC day of `now`, once.
    async fn close_slot(
        &self,
        slot: &SlotRef,
        costs: &[Cost],
        now: Timestamp,
    ) -> Result<(), LedgerError>;

    /// Ends a payment. Ending it again the same way is fine; another way is a conflict.
    async fn conclude(
        &self,
        id: &PaymentId,
        conclusion: Conclusion,
        now: Timestamp,
    ) -> Result<PaymentRecord, LedgerError> {
        let ending = Ending {
            id: id.clone(),
            conclusion,
            hand_out: None,
        };
        let ended = self.conclude_all(vec![ending], now).await?.pop();
        let (payment, _) = ended.ok_or_else(|| LedgerError::NotFound(id.to_string()))??;
        Ok(payment)
    }

    /// Ends many payments in one step, in order. Each ends or does not for
    /// itself; an error of the step is of none in particular.
    async fn conclude_all(
        &self,
        endings: Vec<Ending>,
        now: Timestamp,
    ) -> Result<Vec<Ended>, LedgerError>;

    /// Takes a settled payment back after a reorganisation: `settled →
    /// submitted`, or `accepted` if no slot of ours carried it.
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

    /// Settled payments that may still be reorganised away, by name and at
    /// most `limit` (at most 1000), after the one that the last page ended
    /// with. An acting handle sees its own and those of nobody alive.
    async fn settled_since(
        &self,
        network: &Network,
        after: Option<&PaymentId>,
        limit: u32,
    ) -> Result<Vec<PaymentRecord>, LedgerError>;

    /// These lie so deep that nothing takes them back.
    async fn mark_final(&self, ids: &[PaymentId], now: Timestamp) -> Result<(), LedgerError>;

    /// What transactions cost since the beginning of the UTC day of `since`,
    /// for all payers or one.
    async fn gas_spent(
        &self,
        network: &Network,
        since: Timestamp,
        payer: Option<&Address>,
    ) -> Result<GasSpent, LedgerError>;

    /// What is promised of a payer's balance: its open payments and open
    /// grants, each identity once, without the one that asks.
    async fn held(
        &self,
        network: &Network,
        asset: &Address,
        payer: &Address,
        except: &Identity,
    ) -> Result<Amount, LedgerError>;

    /// Every payment that has not ended, oldest first.
    async fn open_payments(&self) -> Result<Vec<PaymentRecord>, LedgerError>;

    /// Every slot that is not closed, by signer and nonce.
    async fn open_slots(&self) -> Result<Vec<SlotRecord>, LedgerError>;

    /// A slot.
    async fn slot(&self, slot: &SlotRef) -> Result<Option<SlotRecord>, LedgerError>;

    /// Payments, newest first.
    async fn payments(&self, filter: &PaymentFilter) -> Result<Vec<PaymentRecord>, LedgerError>;
}
