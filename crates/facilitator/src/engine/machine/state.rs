//! What the machine remembers of one network.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tollway_core::{
    Address, Network, PaymentId, Plan, PlannedPayment, Proof, Raw, Timestamp, TxHash, Verified,
};
use tollway_ledger::{Conclusion, Cost, Lease, PaymentRecord, PaymentState};

use super::alarm::Alarms;
use super::lately::Lately;
use super::op::{NEVER, Op};
use super::queue::FairQueue;
use super::settled::Settled;
use super::watch::Watcher;
use super::{Rules, SlotKey, Ticket};

/// One network's open work. Everything in it can be rebuilt from the ledger.
#[derive(Clone, Debug)]
pub struct State {
    pub(super) network: Network,
    pub(super) rules: Arc<Rules>,
    /// Payments that have not ended.
    pub(super) payments: BTreeMap<PaymentId, Payment>,
    /// Those whose transfer is in a block that is not as deep as it must be, with
    /// the block's number. They wait for nothing that we could do.
    pub(super) included: BTreeMap<PaymentId, u64>,
    /// Slots that are not closed.
    pub(super) slots: BTreeMap<SlotKey, Slot>,
    /// Payments that ended lately, so that an old snapshot does not revive them.
    pub(super) ended: Lately<PaymentId>,
    /// Slots that were closed lately.
    pub(super) closed: Lately<SlotKey>,
    pub(super) lanes: BTreeMap<Address, Lane>,
    /// Verified payments that wait for a lane, whichever.
    pub(super) queue: FairQueue,
    /// Those that wait for one lane, the only one that may settle them.
    pub(super) pinned: BTreeMap<Address, FairQueue>,
    /// The signers that the chain knows as usable.
    pub(super) told_usable: Vec<Address>,
    /// Planned transactions that wait for a lane, oldest first.
    pub(super) ready: VecDeque<Ready>,
    pub(super) alarms: Alarms,
    pub(super) watcher: Watcher,
    /// Settled payments whose block could still be replaced.
    pub(super) settled: Settled,
    pub(super) last_ticket: Ticket,
}

/// A planned transaction that waits for a lane.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    pub(super) plan: Arc<Plan>,
    pub(super) ids: Vec<PaymentId>,
    pub(super) planned_at: Timestamp,
}

impl State {
    /// A network without work. `signers` are the accounts that may settle, once
    /// they are leased ([`super::Event::Leased`]).
    #[must_use]
    pub fn new(network: Network, signers: Vec<Address>, rules: Rules) -> Self {
        let lanes = signers.into_iter().map(|s| (s, Lane::default())).collect();
        Self {
            network,
            rules: Arc::new(rules),
            payments: BTreeMap::new(),
            included: BTreeMap::new(),
            slots: BTreeMap::new(),
            ended: Lately::default(),
            closed: Lately::default(),
            lanes,
            queue: FairQueue::default(),
            pinned: BTreeMap::new(),
            told_usable: Vec::new(),
            ready: VecDeque::new(),
            alarms: Alarms::default(),
            watcher: Watcher::default(),
            settled: Settled::default(),
            last_ticket: 0,
        }
    }

    /// Payments that have not ended.
    #[must_use]
    pub fn open_payments(&self) -> usize {
        self.payments.len()
    }

    /// Those of them that are in a block, and not as deep as they must be.
    #[must_use]
    pub fn included(&self) -> usize {
        self.included.len()
    }

    /// Slots whose nonce is not known to be used.
    #[must_use]
    pub fn open_slots(&self) -> usize {
        self.slots.len()
    }

    /// Payments that wait for a lane.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let pinned: usize = self.pinned.values().map(FairQueue::len).sum();
        self.queue.len() + pinned
    }

    /// Settled payments whose block could still be replaced.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.settled.len()
    }

    /// Signers that are leased and have gas.
    #[must_use]
    pub fn usable(&self) -> Vec<Address> {
        let usable = self.lanes.iter().filter(|(_, lane)| lane.is_usable());
        usable.map(|(signer, _)| signer.clone()).collect()
    }

    /// How long blocks take here, as far as it was seen.
    #[must_use]
    pub fn block_interval(&self) -> Option<Duration> {
        self.watcher.pace.interval()
    }

    /// Whether nothing is under way and nothing is waited for. Settled payments
    /// may still be watched.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.open_payments() == 0 && self.open_slots() == 0
    }

    /// When [`super::Event::Tick`] is due next.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.alarms.next()
    }

    /// What a node last said against a signer's oldest transaction, for `/health`.
    #[must_use]
    pub fn rejection(&self) -> Option<(&Address, &str)> {
        self.slots
            .iter()
            .find_map(|((signer, _), slot)| Some((signer, slot.rejected.as_deref()?)))
    }
}

/// Where a payment is within the engine.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// Accepted: must be verified (again) before anything is signed.
    Verify,
    /// Accepted and verified: waits in the queue for a lane.
    Wait(Box<Verified>),
    /// A lane is planning it.
    Planning,
    /// Planned: its transaction waits for a lane.
    Ready,
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
        conclusion: Box<Conclusion>,
    },
    /// Memory and ledger disagree: read again.
    Reload,
    /// Being given to another machine, which has a signer.
    GiveUp,
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
    /// It failed among others, or must not share: a transaction of its own.
    pub(super) alone: bool,
    /// For when an alarm is set.
    pub(super) armed: Timestamp,
    /// The transaction that was shown for it, while no look finds it.
    pub(super) missing: Option<Missing>,
}

/// A transaction that is in no block as far as anybody says: one node that lags is
/// enough to say so once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missing {
    /// Since the first look that did not find it.
    pub(super) since: Timestamp,
    /// Looks in a row that did not.
    pub(super) looks: u32,
}

impl Payment {
    pub(super) fn new(record: Arc<PaymentRecord>, phase: Phase, now: Timestamp) -> Self {
        Self {
            attempts: record.attempts,
            alone: record.attempts > 1,
            unsigned_since: now,
            verified_at: now,
            op: Op::now(),
            phase,
            record,
            armed: NEVER,
            missing: None,
        }
    }

    /// After this moment its passing is proved by an unused nonce.
    pub(super) fn expires_at(&self, rules: &Rules) -> Timestamp {
        let payment = &self.record.payment;
        payment.deadline.plus(rules.expiry_lag(payment.finality))
    }

    /// Notes that a look did not find what was shown; whether it is gone for good:
    /// it was missing for long, and often, and could not be shown any more.
    pub(super) fn is_gone(&mut self, rules: &Rules, now: Timestamp) -> bool {
        let missing = self.missing.get_or_insert(Missing {
            since: now,
            looks: 0,
        });
        missing.looks = missing.looks.saturating_add(1);
        let missing = *missing;
        let lag = rules
            .missing_for
            .max(rules.expiry_lag(self.record.payment.finality));
        let long = now >= missing.since.plus(lag) && missing.looks >= rules.missing_looks;
        long && now >= self.expires_at(rules)
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
        matches!(
            self.phase,
            Phase::Verify | Phase::Wait(_) | Phase::Planning | Phase::Ready
        )
    }

    /// Whether the time in which something must be signed for it is over.
    pub(super) fn is_late(&self, rules: &Rules, now: Timestamp) -> bool {
        now >= self.unsigned_since.plus(rules.unsigned_limit)
    }

    /// Whose turn in the queue it takes.
    pub(super) fn caller(&self) -> &str {
        self.record.payment.caller.as_deref().unwrap_or_default()
    }

    pub(super) fn alarm(&self, rules: &Rules) -> Timestamp {
        let asked = match self.phase {
            Phase::Wait(_) | Phase::Planning | Phase::Ready | Phase::OnLane => NEVER,
            Phase::Submitted { .. } => self.expires_at(rules),
            _ => self.op.alarm(rules),
        };
        match self.is_unsigned() {
            true => asked.min(self.unsigned_since.plus(rules.unsigned_limit)),
            false => asked,
        }
    }
}

/// What is being done under a slot's nonce.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Nothing: the latest transaction is out, or on its way.
    Idle,
    /// Sealing a plan: the first one, a replacement or a cancellation.
    Seal { plan: Arc<Plan> },
    /// Making signed bytes durable.
    Store { raw: Raw, payments: Vec<PaymentId> },
    /// Verifying what it carries, for a replacement.
    Verify,
    /// Planning a replacement, or a cancellation for none.
    Plan { payments: Arc<Vec<PlannedPayment>> },
    /// Recording that the nonce is used.
    Close,
}

/// One payment of a slot.
#[derive(Clone, Debug)]
pub(super) struct Carried {
    pub(super) id: PaymentId,
    pub(super) record: Arc<PaymentRecord>,
}

/// One nonce of one signer.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    /// Every transaction that is durable under it, oldest first.
    pub(super) raws: Vec<Raw>,
    /// Which of them only free the nonce.
    pub(super) cancels: BTreeSet<TxHash>,
    /// What its transactions carry, in the plan's order.
    pub(super) carries: Vec<Carried>,
    /// Which of them are not decided yet.
    pub(super) members: BTreeSet<PaymentId>,
    pub(super) work: Work,
    pub(super) work_op: Op,
    pub(super) send: Op,
    /// When to replace or cancel.
    pub(super) stuck_at: Timestamp,
    /// It is proved that the nonce is used.
    pub(super) used: bool,
    /// The block that one of its transactions was seen in. It may be replaced.
    pub(super) included: Option<u64>,
    /// What a node last said against it.
    pub(super) rejected: Option<String>,
    /// What each payment cost, once its receipt was seen.
    pub(super) costs: BTreeMap<PaymentId, Cost>,
    /// The costs are in the ledger.
    pub(super) costs_told: bool,
    pub(super) armed: Timestamp,
}

impl Slot {
    pub(super) fn new(carries: Vec<Carried>, work: Work) -> Self {
        let members = carries.iter().map(|c| c.id.clone()).collect();
        Self {
            raws: Vec::new(),
            cancels: BTreeSet::new(),
            carries,
            members,
            work,
            work_op: Op::now(),
            send: Op::now(),
            stuck_at: NEVER,
            used: false,
            included: None,
            rejected: None,
            costs: BTreeMap::new(),
            costs_told: false,
            armed: NEVER,
        }
    }

    /// Whether a transaction under it can still land.
    pub(super) fn is_live(&self) -> bool {
        !self.raws.is_empty() && !self.used
    }

    /// Whether it is not in a block yet, as far as is known.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_live() && self.included.is_none()
    }

    /// No alarm that was set for it counts any more.
    pub(super) fn disarm(&mut self) {
        self.armed = NEVER;
    }

    /// Its nonce may be free again. A closing that is under way does no harm: it
    /// is closed once more when it is used.
    pub(super) fn go_on(&mut self) {
        self.used = false;
        if matches!(self.work, Work::Close) {
            self.work = Work::Idle;
            self.work_op = Op::now();
        }
    }

    /// Whether its outcome matters and is open.
    pub(super) fn is_watched(&self) -> bool {
        self.is_live() && !self.members.is_empty()
    }

    pub(super) fn alarm(&self, rules: &Rules) -> Timestamp {
        let work = match self.work {
            Work::Idle => NEVER,
            _ => self.work_op.alarm(rules),
        };
        let live = match self.is_waiting() {
            true => self.send.alarm(rules),
            false => NEVER,
        };
        let stuck = match self.is_waiting() && matches!(self.work, Work::Idle) {
            true => self.stuck_at,
            false => NEVER,
        };
        work.min(live).min(stuck)
    }
}

/// What one signer is doing. One new nonce at a time: the next is allocated
/// when the last one's transaction is durable.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    /// The right to use the signer.
    pub(super) lease: Option<Lease>,
    /// It has little gas: nothing new is begun.
    pub(super) drained: bool,
    pub(super) work: LaneWork,
    pub(super) op: Op,
    /// What it last took was what only it may settle: the next is of the others.
    pub(super) pinned_last: bool,
    /// By confirmed transactions; forgotten when a node contradicts it.
    pub(super) confirmed: Option<u64>,
    /// Asking for the confirmed nonce, to close slots that carry nothing open
    /// and to find gaps.
    pub(super) nonce_op: Op,
    /// There is a slot that carries nothing open, or a node misses a nonce.
    pub(super) wants_nonce: bool,
    /// A node misses a nonce below one that is out.
    pub(super) gap_seen: bool,
    /// Since when the chain waits for a nonce that nothing here holds.
    pub(super) gap_since: Option<Timestamp>,
    /// Opening the slot that fills it.
    pub(super) gap_op: Op,
    pub(super) armed: Timestamp,
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            lease: None,
            drained: false,
            work: LaneWork::Free,
            op: Op::now(),
            pinned_last: false,
            confirmed: None,
            nonce_op: Op::now(),
            wants_nonce: false,
            gap_seen: false,
            gap_since: None,
            gap_op: Op::now(),
            armed: NEVER,
        }
    }
}

impl Lane {
    pub(super) fn is_usable(&self) -> bool {
        self.lease.is_some() && !self.drained
    }

    pub(super) fn is_free(&self) -> bool {
        matches!(self.work, LaneWork::Free)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) enum LaneWork {
    #[default]
    Free,
    /// Planning these.
    Plan {
        ids: Vec<PaymentId>,
        payments: Arc<Vec<PlannedPayment>>,
    },
    /// Allocating a nonce for a transaction; without payments to fill a gap.
    Allocate { ready: Ready },
    /// The new slot is being sealed and stored.
    Fill { nonce: u64 },
}

/// Whether a record has ended.
pub(super) fn is_terminal(state: PaymentState) -> bool {
    matches!(
        state,
        PaymentState::Settled | PaymentState::Refused | PaymentState::Expired
    )
}
