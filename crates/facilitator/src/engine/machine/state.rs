//! What the machine remembers of one network.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tollway_core::{
    Address, Expected, Identity, Network, PaymentId, Plan, PlannedPayment, Proof, Raw, Timestamp,
    Verified,
};
use tollway_ledger::{Conclusion, PaymentRecord, PaymentState};

use super::{Effect, Rules, SlotKey, Ticket};

/// One network's open work. Everything in it can be rebuilt from the ledger.
#[derive(Clone, Debug)]
pub struct State {
    pub(super) network: Network,
    pub(super) rules: Rules,
    /// Payments that have not ended.
    pub(super) payments: BTreeMap<PaymentId, Payment>,
    /// Slots that are not closed.
    pub(super) slots: BTreeMap<SlotKey, Slot>,
    /// Payments that ended lately, so that an old snapshot does not revive them.
    pub(super) ended: Lately<PaymentId>,
    /// Slots that were closed lately.
    pub(super) closed: Lately<SlotKey>,
    pub(super) lanes: BTreeMap<Address, Lane>,
    /// Planned payments that wait for a lane, oldest first.
    pub(super) queue: VecDeque<PaymentId>,
    pub(super) last_ticket: Ticket,
}

impl State {
    /// A network without work. `signers` are the accounts that may settle.
    #[must_use]
    pub fn new(network: Network, signers: Vec<Address>, rules: Rules) -> Self {
        let lanes = signers.into_iter().map(|s| (s, Lane::default())).collect();
        Self {
            network,
            rules,
            payments: BTreeMap::new(),
            slots: BTreeMap::new(),
            ended: Lately::default(),
            closed: Lately::default(),
            lanes,
            queue: VecDeque::new(),
            last_ticket: 0,
        }
    }

    /// Payments that have not ended.
    #[must_use]
    pub fn open_payments(&self) -> usize {
        self.payments.len()
    }

    /// Slots whose nonce is not known to be used.
    #[must_use]
    pub fn open_slots(&self) -> usize {
        self.slots.len()
    }

    /// Whether nothing is under way and nothing is waited for.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.open_payments() == 0 && self.open_slots() == 0
    }

    /// What a node last said against a signer's oldest transaction, for `/health`.
    #[must_use]
    pub fn rejection(&self) -> Option<(&Address, &str)> {
        self.slots
            .iter()
            .find_map(|((signer, _), slot)| Some((signer, slot.rejected.as_deref()?)))
    }
}

/// What happened lately, by name, forgotten in the order in which it came.
#[derive(Clone, Debug)]
pub(super) struct Lately<K> {
    names: BTreeSet<K>,
    order: VecDeque<(Timestamp, K)>,
}

impl<K> Default for Lately<K> {
    fn default() -> Self {
        Self {
            names: BTreeSet::new(),
            order: VecDeque::new(),
        }
    }
}

impl<K: Clone + Ord> Lately<K> {
    pub(super) fn add(&mut self, name: K, at: Timestamp) {
        if self.names.insert(name.clone()) {
            self.order.push_back((at, name));
        }
    }

    pub(super) fn contains(&self, name: &K) -> bool {
        self.names.contains(name)
    }

    fn forget(&mut self, now: Timestamp, retention: Duration) {
        while self
            .order
            .front()
            .is_some_and(|(at, _)| now >= at.plus(retention))
        {
            if let Some((_, name)) = self.order.pop_front() {
                self.names.remove(&name);
            }
        }
    }
}

/// One asking that may be under way, and when to ask again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Op {
    ticket: Option<(Ticket, Timestamp)>,
    pub(super) due: Timestamp,
    pub(super) failures: u32,
}

impl Op {
    /// Due at once.
    pub(super) fn now() -> Self {
        Self::default()
    }

    pub(super) fn at(due: Timestamp) -> Self {
        Self {
            due,
            ..Self::default()
        }
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.ticket.is_none() && self.due <= now
    }

    pub(super) fn begin(&mut self, ticket: Ticket, now: Timestamp) {
        self.ticket = Some((ticket, now));
    }

    /// When the awaited asking began.
    pub(super) fn began(&self) -> Option<Timestamp> {
        self.ticket.map(|(_, since)| since)
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.ticket.is_some()
    }

    /// Whether this answer is the awaited one; afterwards nothing is awaited.
    pub(super) fn take(&mut self, ticket: Ticket) -> bool {
        let awaited = self.ticket.is_some_and(|(t, _)| t == ticket);
        if awaited {
            self.ticket = None;
        }
        awaited
    }

    /// Asks again later, after a pause that grows.
    pub(super) fn retry(&mut self, rules: &Rules, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        self.ticket = None;
        self.due = now.plus(rules.pause(self.failures));
    }

    /// Asks again later, without counting it as a failure.
    pub(super) fn again_at(&mut self, due: Timestamp) {
        *self = Self::at(due);
    }

    /// Gives up an answer that never came.
    pub(super) fn forget_lost(&mut self, rules: &Rules, now: Timestamp) {
        if self
            .ticket
            .is_some_and(|(_, since)| now >= since.plus(rules.op_timeout))
        {
            self.retry(rules, now);
        }
    }
}

/// Where a payment is within the engine.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// Accepted: must be verified (again) before anything is signed.
    Verify,
    /// Accepted and verified: must be planned.
    Plan(Box<Verified>),
    /// Planned: waits in the queue for a lane.
    Wait(Plan),
    /// A lane is allocating, sealing or storing for it.
    OnLane,
    /// Accepted: the transaction exists, and is looked at.
    Observe,
    /// A stored transaction can land. The slot is unknown only after a defect.
    Submitted { slot: Option<SlotKey> },
    /// Submitted, and asking the chain about the identity: with the proof that
    /// the attempt is dead, or because the deadline passed.
    Lookup {
        slot: Option<SlotKey>,
        proof: Option<Proof>,
        asked_at: Timestamp,
    },
    /// Accepted, and about to be refused: asking once whether somebody else settled it.
    LastLook { code: String, message: String },
    /// Being taken `submitted → accepted`.
    Reopen { slot: Option<SlotKey>, proof: Proof },
    /// Being ended.
    Conclude {
        slot: Option<SlotKey>,
        conclusion: Conclusion,
    },
    /// Memory and ledger disagree: read again.
    Reload,
}

#[derive(Clone, Debug)]
pub(super) struct Payment {
    pub(super) record: Arc<PaymentRecord>,
    pub(super) phase: Phase,
    pub(super) op: Op,
    /// Since when nothing is signed for it.
    pub(super) unsigned_since: Timestamp,
    /// When it was last verified.
    pub(super) verified_at: Timestamp,
    /// Attempts opened so far.
    pub(super) attempts: u32,
}

impl Payment {
    /// After this moment its passing is proved by an unused nonce.
    pub(super) fn expires_at(&self, rules: &Rules) -> Timestamp {
        let payment = &self.record.payment;
        payment.deadline.plus(rules.expiry_lag(payment.finality))
    }

    pub(super) fn slot(&self) -> Option<&SlotKey> {
        match &self.phase {
            Phase::Submitted { slot }
            | Phase::Lookup { slot, .. }
            | Phase::Reopen { slot, .. }
            | Phase::Conclude { slot, .. } => slot.as_ref(),
            _ => None,
        }
    }

    /// Whether nothing is signed for it, and signing has not begun.
    pub(super) fn is_unsigned(&self) -> bool {
        matches!(self.phase, Phase::Verify | Phase::Plan(_) | Phase::Wait(_))
    }

    /// Whether the time in which something must be signed for it is over.
    pub(super) fn is_late(&self, rules: &Rules, now: Timestamp) -> bool {
        now >= self.unsigned_since.plus(rules.unsigned_limit)
    }
}

/// What is being done under a slot's nonce.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Nothing: the latest transaction is out, or on its way.
    Idle,
    /// Sealing a plan: the first one, a replacement or a cancellation.
    Seal { plan: Plan },
    /// Making signed bytes durable.
    Store { raw: Raw, payments: Vec<PaymentId> },
    /// Verifying for a replacement: what is left, and what is done.
    Verify {
        left: Vec<PaymentId>,
        done: Vec<PlannedPayment>,
    },
    /// Planning a replacement, or a cancellation for none.
    Plan { payments: Vec<PlannedPayment> },
    /// Recording that the nonce is used.
    Close,
}

/// One nonce of one signer.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    /// Every transaction that is durable under it, oldest first.
    pub(super) raws: Vec<Raw>,
    /// What its transactions carry, in the plan's order.
    pub(super) carries: Vec<(PaymentId, Identity, Expected)>,
    /// Which of them are not decided yet.
    pub(super) members: BTreeSet<PaymentId>,
    pub(super) work: Work,
    pub(super) work_op: Op,
    pub(super) send: Op,
    pub(super) poll: Op,
    /// When to replace or cancel.
    pub(super) stuck_at: Timestamp,
    /// It is proved that the nonce is used.
    pub(super) used: bool,
    /// What a node last said against it.
    pub(super) rejected: Option<String>,
}

impl Slot {
    pub(super) fn new(carries: Vec<(PaymentId, Identity, Expected)>, work: Work) -> Self {
        let members = carries.iter().map(|(id, _, _)| id.clone()).collect();
        Self {
            raws: Vec::new(),
            carries,
            members,
            work,
            work_op: Op::now(),
            send: Op::now(),
            poll: Op::now(),
            stuck_at: Timestamp::default(),
            used: false,
            rejected: None,
        }
    }

    /// Whether a transaction under it can still land.
    pub(super) fn is_live(&self) -> bool {
        !self.raws.is_empty() && !self.used
    }
}

/// What one signer is doing. One new nonce at a time: the next is allocated
/// when the last one's transaction is durable.
#[derive(Clone, Debug, Default)]
pub(super) struct Lane {
    pub(super) work: LaneWork,
    pub(super) op: Op,
    /// By confirmed transactions; forgotten when a node contradicts it.
    pub(super) confirmed: Option<u64>,
    /// Asking for the confirmed nonce, to close slots that carry nothing open.
    pub(super) nonce_op: Op,
}

#[derive(Clone, Debug, Default)]
pub(super) enum LaneWork {
    #[default]
    Free,
    /// Allocating a nonce for this payment.
    Allocate { id: PaymentId, plan: Plan },
    /// The new slot is being sealed and stored.
    Fill { nonce: u64 },
}

/// One application of an event: the state, the moment, and what comes out.
pub(super) struct Turn<'a> {
    pub(super) state: &'a mut State,
    pub(super) now: Timestamp,
    effects: Vec<Effect>,
}

impl<'a> Turn<'a> {
    pub(super) fn new(state: &'a mut State, now: Timestamp) -> Self {
        Self {
            state,
            now,
            effects: Vec::new(),
        }
    }

    pub(super) fn finish(mut self) -> Vec<Effect> {
        self.fill_lanes();
        self.poll_due();
        self.effects
    }

    pub(super) fn emit(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(super) fn ticket(&mut self) -> Ticket {
        self.state.last_ticket += 1;
        self.state.last_ticket
    }

    /// Time: what is due is asked, what is lost is asked again, what is old is forgotten.
    pub(super) fn tick(&mut self) {
        self.tick_payments();
        self.tick_slots();
        self.tick_lanes();
        let (now, retention) = (self.now, self.state.rules.retention);
        self.state.ended.forget(now, retention);
        self.state.closed.forget(now, retention);
    }
}

/// Whether a record has ended.
pub(super) fn is_terminal(state: PaymentState) -> bool {
    matches!(
        state,
        PaymentState::Settled | PaymentState::Refused | PaymentState::Expired
    )
}
