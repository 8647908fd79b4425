//! What goes into the machine and what comes out of it.

use std::sync::Arc;

use tollway_core::{
    Address, Broadcast, ChainError, Expected, Finality, Identity, Lookup, Outcome, PaymentId, Plan,
    PlannedPayment, Proof, Raw, TxHash, Verified, Watch,
};
use tollway_ledger::{Conclusion, LedgerError, PaymentRecord, SlotRecord};

/// A slot within one network: signer and nonce.
pub type SlotKey = (Address, u64);

/// Names one asking, so that a late answer to an earlier one is recognised.
pub type Ticket = u64;

/// For whom something is verified or planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A payment's new attempt.
    Payment(PaymentId),
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
    /// It ended.
    Ended(Arc<PaymentRecord>),
}

/// What the driver does for the machine. Each that has a ticket is answered by
/// exactly one [`Event`] with that ticket, also when it fails.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// `inspect` and `verify` again, from the record → [`Event::Verified`].
    ReVerify {
        /// For whom.
        subject: Subject,
        /// Names this asking.
        ticket: Ticket,
        /// What was accepted.
        payment: Arc<PaymentRecord>,
    },
    /// Plan these payments into one transaction, or a cancellation for none → [`Event::Planned`].
    Plan {
        /// For whom.
        subject: Subject,
        /// Names this asking.
        ticket: Ticket,
        /// What to plan.
        payments: Vec<PlannedPayment>,
    },
    /// Allocate the signer's next nonce durably → [`Event::Allocated`].
    AllocateSlot {
        /// Whose.
        signer: Address,
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
        plan: Plan,
        /// Whose fees must be outbid.
        replaces: Option<Raw>,
    },
    /// Make the signed bytes durable → [`Event::Stored`].
    StoreRaw {
        /// Under which nonce.
        slot: SlotKey,
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
    /// Ask what became of these slots, all in one poll → [`Event::Polled`].
    Poll {
        /// Which, and what to look for.
        watches: Vec<(SlotKey, Ticket, Watch)>,
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
    /// Record that the nonce is used → [`Event::Closed`].
    CloseSlot {
        /// Which.
        slot: SlotKey,
        /// Names this asking.
        ticket: Ticket,
    },
    /// End the payment durably → [`Event::Concluded`].
    Conclude {
        /// Which.
        id: PaymentId,
        /// Names this asking.
        ticket: Ticket,
        /// How.
        conclusion: Conclusion,
    },
    /// Read the record again: memory and ledger disagree → [`Event::Reloaded`].
    Reload {
        /// Which.
        id: PaymentId,
        /// Names this asking.
        ticket: Ticket,
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
        record: PaymentRecord,
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
    /// Time passed.
    Tick,
    /// Answer to [`Effect::ReVerify`].
    Verified {
        /// For whom.
        subject: Subject,
        /// Which asking.
        ticket: Ticket,
        /// What the chain says.
        result: Box<Result<Verified, ChainError>>,
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
        result: Result<(SlotRecord, u64), String>,
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
    /// Answer to [`Effect::Poll`].
    Polled {
        /// One answer for each watch.
        results: Vec<(SlotKey, Ticket, Result<Vec<Outcome>, ChainError>)>,
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
        /// Which.
        id: PaymentId,
        /// Which asking.
        ticket: Ticket,
        /// The record as it ended.
        result: Result<PaymentRecord, LedgerError>,
    },
    /// Answer to [`Effect::Reload`].
    Reloaded {
        /// Which.
        id: PaymentId,
        /// Which asking.
        ticket: Ticket,
        /// The record, and the slot it names.
        result: Result<Option<(PaymentRecord, Option<SlotRecord>)>, LedgerError>,
    },
}
