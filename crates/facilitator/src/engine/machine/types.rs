//! What goes into the machine and what comes out of it.

use std::sync::Arc;

use tollway_core::{
    Address, Broadcast, ChainError, Expected, Finality, Head, Identity, Lookup, Outcome, PaymentId,
    Plan, PlannedPayment, Proof, Raw, Sight, TxHash, Verified, Watch,
};
use tollway_ledger::{Conclusion, Cost, Lease, LedgerError, PaymentRecord, SlotRecord};

/// A slot within one network: signer and nonce.
pub type SlotKey = (Address, u64);

/// Names one asking, so that a late answer to an earlier one is recognised.
pub type Ticket = u64;

/// For whom something is planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// New attempts, on a signer's lane.
    Lane(Address),
    /// A replacement or cancellation under a slot's nonce.
    Slot(SlotKey),
}

/// What became of a payment, for waiters, hooks and the story.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    /// A signed transaction is durable.
    Stored {
        /// Its hash.
        transaction: TxHash,
        /// Whether it replaces an earlier one under the same nonce.
        replacement: bool,
    },
    /// A node took it.
    Sent {
        /// Its hash.
        transaction: TxHash,
    },
    /// A node would not take it as it is.
    Rejected {
        /// Its hash.
        transaction: TxHash,
        /// What the node said, for the log.
        reason: String,
    },
    /// The attempt cannot land; another may be opened.
    Reopened {
        /// Why.
        proof: Proof,
    },
    /// Its transfer is in a block that is not as deep as it must be.
    Included(Arc<PaymentRecord>),
    /// That block is no longer part of the chain.
    LeftBlock(Arc<PaymentRecord>),
    /// It had settled, in a block that is no longer part of the chain.
    TakenBack {
        /// That block's number.
        block: u64,
    },
    /// It was open in the ledger, and is gone on with here.
    Resumed(Arc<PaymentRecord>),
    /// Another machine goes on with it.
    Left(Arc<PaymentRecord>),
    /// It ended.
    Ended(Arc<PaymentRecord>),
}

/// What is read again after blocks were replaced, or when memory and ledger
/// disagree: payments, and the slots that they name.
pub type Records = (Vec<PaymentRecord>, Vec<SlotRecord>);

/// What the driver does for the machine. Each that has a ticket is answered by
/// exactly one [`Event`] with that ticket, also when it fails.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// `inspect` and `verify` again, from the record → [`Event::Verified`].
    ReVerify {
        /// For whom.
        id: PaymentId,
        /// Names this asking.
        ticket: Ticket,
        /// What was accepted.
        payment: Arc<PaymentRecord>,
    },
    /// The same for all payments of a slot → [`Event::SlotVerified`].
    ReVerifySlot {
        /// For which.
        slot: SlotKey,
        /// Names this asking.
        ticket: Ticket,
        /// What was accepted.
        payments: Vec<Arc<PaymentRecord>>,
    },
    /// Plan these payments into transactions, or a cancellation for none → [`Event::Planned`].
    Plan {
        /// For whom.
        subject: Subject,
        /// Names this asking.
        ticket: Ticket,
        /// What to plan.
        payments: Arc<Vec<PlannedPayment>>,
    },
    /// Allocate the signer's next nonce durably → [`Event::Allocated`].
    AllocateSlot {
        /// The right to use the signer.
        lease: Lease,
        /// Names this asking.
        ticket: Ticket,
        /// The confirmed nonce, if it is known; otherwise the chain is asked.
        confirmed: Option<u64>,
    },
    /// Build and sign → [`Event::Sealed`].
    Seal {
        /// Under which nonce.
        slot: SlotKey,
        /// Names this asking.
        ticket: Ticket,
        /// What.
        plan: Arc<Plan>,
        /// Whose fees must be outbid.
        replaces: Option<Raw>,
    },
    /// Make the signed bytes durable → [`Event::Stored`].
    StoreRaw {
        /// Under which nonce.
        slot: SlotKey,
        /// The right to use the signer.
        lease: Lease,
        /// Names this asking.
        ticket: Ticket,
        /// What.
        raw: Raw,
        /// Whose attempt it is.
        payments: Vec<PaymentId>,
    },
    /// Send bytes that are durable → [`Event::Sent`].
    Broadcast {
        /// Under which nonce.
        slot: SlotKey,
        /// Names this asking.
        ticket: Ticket,
        /// What.
        raw: Raw,
    },
    /// Look at the chain's newest block, and for what is watched → [`Event::Looked`].
    Look {
        /// Names this asking.
        ticket: Ticket,
        /// The newest block of the look before.
        last: Option<Head>,
        /// What to look for.
        watches: Arc<Vec<Watch>>,
    },
    /// Did anybody settle this identity? → [`Event::LookedUp`].
    Lookup {
        /// For whom.
        id: PaymentId,
        /// Names this asking.
        ticket: Ticket,
        /// What is unique.
        identity: Identity,
        /// What must have happened.
        expected: Expected,
        /// How deep.
        finality: Finality,
    },
    /// Look at a transaction that exists already → [`Event::Observed`].
    Observe {
        /// For whom.
        id: PaymentId,
        /// Names this asking.
        ticket: Ticket,
        /// Which transaction.
        transaction: TxHash,
        /// What is unique.
        identity: Identity,
        /// What must have happened.
        expected: Expected,
        /// How deep.
        finality: Finality,
    },
    /// Ask for a signer's confirmed nonce → [`Event::Nonce`].
    ConfirmedNonce {
        /// Whose.
        signer: Address,
        /// Names this asking.
        ticket: Ticket,
    },
    /// `submitted → accepted`, with the proof → [`Event::Reopened`].
    Reopen {
        /// For whom.
        id: PaymentId,
        /// Names this asking.
        ticket: Ticket,
        /// Why the attempt cannot land.
        proof: Proof,
    },
    /// Record that the nonce is used, and what that cost → [`Event::Closed`].
    CloseSlot {
        /// Which.
        slot: SlotKey,
        /// Names this asking.
        ticket: Ticket,
        /// Fees, by payer.
        costs: Vec<Cost>,
    },
    /// End payments durably, in one step → [`Event::Concluded`].
    Conclude {
        /// Names this asking.
        ticket: Ticket,
        /// Which, and how.
        endings: Vec<(PaymentId, Conclusion)>,
    },
    /// Read the record again: memory and ledger disagree → [`Event::Reloaded`].
    Reload {
        /// Which.
        id: PaymentId,
        /// Names this asking.
        ticket: Ticket,
    },
    /// Open the slot that fills a gap, whether it was closed, or never was at
    /// all → [`Event::SlotOpened`].
    ReopenSlot {
        /// Which.
        slot: SlotKey,
        /// The right to use the signer.
        lease: Lease,
        /// Names this asking.
        ticket: Ticket,
    },
    /// Ask for the hash of the block with this number → [`Event::BlockChecked`].
    CheckBlock {
        /// Names this asking.
        ticket: Ticket,
        /// Which.
        number: u64,
    },
    /// `settled → submitted`, for payments whose block was replaced → [`Event::TakenBack`].
    TakeBack {
        /// Names this asking.
        ticket: Ticket,
        /// The block that they had settled in.
        block: u64,
        /// Which.
        ids: Vec<PaymentId>,
    },
    /// These payments lie deep enough → [`Event::Finalized`].
    MarkFinal {
        /// Names this asking.
        ticket: Ticket,
        /// Which.
        ids: Vec<PaymentId>,
    },
    /// Nobody here can sign for it: give it to another machine → [`Event::GivenUp`].
    GiveUp {
        /// Which.
        id: PaymentId,
        /// Names this asking.
        ticket: Ticket,
    },
    /// These signers can settle now. Not answered.
    Prefer {
        /// Which, the best first.
        signers: Vec<Address>,
    },
    /// The lease of a signer was lost. Not answered.
    LeaseLost {
        /// Whose.
        signer: Address,
    },
    /// Tell waiters and hooks. Not answered.
    NotifyWaiters {
        /// About which payment.
        id: PaymentId,
        /// What.
        update: Update,
    },
}

/// What the machine is told.
#[derive(Clone, Debug)]
pub enum Event {
    /// A payment was accepted into the ledger just now.
    Accepted {
        /// As the ledger has it.
        record: Arc<PaymentRecord>,
        /// The verification that preceded it.
        verified: Option<Box<Verified>>,
    },
    /// What the ledger holds open. Known records are left alone, so that a
    /// snapshot may be old. Includes ended payments that open slots carry.
    Recovered {
        /// Open payments, and ended ones that an open slot carries.
        payments: Vec<PaymentRecord>,
        /// Open slots, and closed ones that an open payment names.
        slots: Vec<SlotRecord>,
    },
    /// What the ledger holds settled and not yet final.
    Settled {
        /// Settled payments.
        payments: Vec<PaymentRecord>,
    },
    /// The signer may be used under this lease.
    Leased {
        /// The right to use it.
        lease: Lease,
    },
    /// The signer may not be used, or not any more: another machine holds it.
    Unleased {
        /// Which.
        signer: Address,
    },
    /// Whether the signer has gas for new transactions.
    Funded {
        /// Which.
        signer: Address,
        /// Whether it has.
        enough: bool,
    },
    /// Time passed.
    Tick,
    /// Answer to [`Effect::ReVerify`].
    Verified {
        /// For whom.
        id: PaymentId,
        /// Which asking.
        ticket: Ticket,
        /// What the chain says.
        result: Box<Result<Verified, ChainError>>,
    },
    /// Answer to [`Effect::ReVerifySlot`], in the same order.
    SlotVerified {
        /// For which.
        slot: SlotKey,
        /// Which asking.
        ticket: Ticket,
        /// What the chain says of each.
        results: Vec<Result<Verified, ChainError>>,
    },
    /// Answer to [`Effect::Plan`].
    Planned {
        /// For whom.
        subject: Subject,
        /// Which asking.
        ticket: Ticket,
        /// What the chain says.
        result: Result<Vec<Plan>, ChainError>,
    },
    /// Answer to [`Effect::AllocateSlot`].
    Allocated {
        /// Whose.
        signer: Address,
        /// Which asking.
        ticket: Ticket,
        /// The slot and the confirmed nonce it was allocated with. A failure
        /// of node or ledger left at most an empty slot, which is given out again.
        result: Result<(SlotRecord, u64), NotAllocated>,
    },
    /// Answer to [`Effect::Seal`].
    Sealed {
        /// Under which nonce.
        slot: SlotKey,
        /// Which asking.
        ticket: Ticket,
        /// Signed bytes.
        result: Result<Raw, ChainError>,
    },
    /// Answer to [`Effect::StoreRaw`].
    Stored {
        /// Under which nonce.
        slot: SlotKey,
        /// Which asking.
        ticket: Ticket,
        /// Whether they are durable.
        result: Result<(), LedgerError>,
    },
    /// Answer to [`Effect::Broadcast`].
    Sent {
        /// Under which nonce.
        slot: SlotKey,
        /// Which asking.
        ticket: Ticket,
        /// What the node said; an error means that nobody knows.
        result: Result<Broadcast, ChainError>,
    },
    /// Answer to [`Effect::Look`].
    Looked {
        /// Which asking.
        ticket: Ticket,
        /// What was seen.
        result: Result<Sight, ChainError>,
    },
    /// Answer to [`Effect::Lookup`].
    LookedUp {
        /// For whom.
        id: PaymentId,
        /// Which asking.
        ticket: Ticket,
        /// What the chain says.
        result: Result<Lookup, ChainError>,
    },
    /// Answer to [`Effect::Observe`].
    Observed {
        /// For whom.
        id: PaymentId,
        /// Which asking.
        ticket: Ticket,
        /// What the chain says.
        result: Result<Outcome, ChainError>,
    },
    /// Answer to [`Effect::ConfirmedNonce`].
    Nonce {
        /// Whose.
        signer: Address,
        /// Which asking.
        ticket: Ticket,
        /// What the chain says.
        result: Result<u64, ChainError>,
    },
    /// Answer to [`Effect::Reopen`].
    Reopened {
        /// For whom.
        id: PaymentId,
        /// Which asking.
        ticket: Ticket,
        /// Whether it is durable.
        result: Result<(), LedgerError>,
    },
    /// Answer to [`Effect::CloseSlot`].
    Closed {
        /// Which.
        slot: SlotKey,
        /// Which asking.
        ticket: Ticket,
        /// Whether it is durable.
        result: Result<(), LedgerError>,
    },
    /// Answer to [`Effect::Conclude`].
    Concluded {
        /// Which asking.
        ticket: Ticket,
        /// Each record as it ended.
        results: Vec<(PaymentId, Result<Arc<PaymentRecord>, LedgerError>)>,
    },
    /// Answer to [`Effect::Reload`].
    Reloaded {
        /// Which.
        id: PaymentId,
        /// Which asking.
        ticket: Ticket,
        /// The record, if it exists and is this machine's to settle, and the slot
        /// it names with that slot's other payments.
        result: Result<Option<Records>, LedgerError>,
    },
    /// Answer to [`Effect::ReopenSlot`].
    SlotOpened {
        /// Which.
        slot: SlotKey,
        /// Which asking.
        ticket: Ticket,
        /// The slot, with the payments that it carries.
        result: Result<Records, LedgerError>,
    },
    /// Answer to [`Effect::CheckBlock`].
    BlockChecked {
        /// Which asking.
        ticket: Ticket,
        /// Which block.
        number: u64,
        /// Its hash now, if there is such a block.
        result: Result<Option<String>, ChainError>,
    },
    /// Answer to [`Effect::TakeBack`].
    TakenBack {
        /// Which asking.
        ticket: Ticket,
        /// Which block.
        block: u64,
        /// The payments as they are now, with their slots.
        result: Result<Records, LedgerError>,
    },
    /// Answer to [`Effect::MarkFinal`].
    Finalized {
        /// Which asking.
        ticket: Ticket,
        /// Whether it is durable.
        result: Result<(), LedgerError>,
    },
    /// Answer to [`Effect::GiveUp`].
    GivenUp {
        /// Which.
        id: PaymentId,
        /// Which asking.
        ticket: Ticket,
        /// Whether it is durable.
        result: Result<(), LedgerError>,
    },
}

/// Why no nonce was given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAllocated {
    /// Another machine holds the signer now.
    LeaseLost,
    /// Node or ledger failed.
    Failed(String),
}
