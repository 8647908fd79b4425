//! The receipt watcher's side of the machine: one look for everything, when a
//! block is expected, and what the answers mean.

use std::sync::Arc;

use tollway_core::{
    Amount, ChainError, Head, Outcome, PaymentId, Proof, Sight, Timestamp, Watch, Watched, mistake,
};
use tollway_ledger::{Conclusion, Cost};

use super::alarm::Sleeper;
use super::op::{NEVER, Op};
use super::pace::Pace;
use super::state::{Phase, Slot};
use super::turn::Turn;
use super::{Effect, SlotKey, Ticket};

/// Blocks between two looks while only settled payments are watched.
const CALM_BLOCKS: u32 = 4;

/// Who looks at the chain, once for everybody.
#[derive(Clone, Debug)]
pub(super) struct Watcher {
    pub(super) op: Op,
    pub(super) head: Option<Head>,
    pub(super) pace: Pace,
    /// What is watched changed since the list was made.
    pub(super) dirty: bool,
    /// Something was sent since the look that is under way began.
    sent_since: bool,
    /// The next look, or the one that is under way, comes early for what was sent.
    hurries: bool,
    /// Whether there is anything to look for.
    busy: bool,
    /// The list is older than what is watched.
    stale: bool,
    watches: Arc<Vec<Watch>>,
    keys: Vec<SlotKey>,
    /// What the look that is under way watches.
    asked: Vec<SlotKey>,
    armed: Timestamp,
}

impl Default for Watcher {
    fn default() -> Self {
        Self {
            op: Op::now(),
            head: None,
            pace: Pace::default(),
            dirty: true,
            sent_since: false,
            hurries: false,
            busy: false,
            stale: true,
            watches: Arc::default(),
            keys: Vec::new(),
            asked: Vec::new(),
            armed: NEVER,
        }
    }
}

impl Turn<'_> {
    /// Something was sent: on a chain without a pace it may be in a block at once.
    pub(super) fn look_soon(&mut self) {
        let now = self.now;
        let watcher = &mut self.state.watcher;
        watcher.sent_since = true;
        if watcher.pace.is_hasty() {
            watcher.pace.hurry();
            watcher.hurries = true;
            watcher.op.due = watcher.op.due.min(now);
        }
    }

    /// Looks at the chain if that is due and something depends on it.
    pub(super) fn look_if_due(&mut self) {
        if self.state.watcher.dirty {
            let busy = self.state.slots.values().any(Slot::is_watched);
            let watcher = &mut self.state.watcher;
            watcher.busy = busy;
            watcher.dirty = false;
            watcher.stale = true;
        }
        let busy = self.state.watcher.busy;
        if !busy && self.state.settled.is_empty() {
            return;
        }
        if busy && !self.state.watcher.op.is_awaited() && self.state.watcher.head.is_some() {
            // It was calm until now.
            let soon = self.next_look();
            let op = &mut self.state.watcher.op;
            op.due = op.due.min(soon);
        }
        let now = self.now;
        if self.state.watcher.op.is_due(now) {
            self.look();
        }
        let rules = &self.rules;
        let watcher = &mut self.state.watcher;
        let at = watcher.op.alarm(rules);
        if at < watcher.armed || watcher.armed <= now {
            watcher.armed = at;
            self.state.alarms.set(at, Sleeper::Watcher);
        }
    }

    fn look(&mut self) {
        let (ticket, now) = (self.ticket(), self.now);
        if self.state.watcher.stale {
            self.list_watches();
        }
        let watcher = &mut self.state.watcher;
        watcher.op.begin(ticket, now);
        watcher.sent_since = false;
        watcher.asked.clone_from(&watcher.keys);
        let effect = Effect::Look {
            ticket,
            last: watcher.head.clone(),
            watches: Arc::clone(&watcher.watches),
        };
        self.emit(effect);
    }

    fn next_look(&self) -> Timestamp {
        let watcher = &self.state.watcher;
        let soon = watcher.pace.next_look(self.now, self.rules.poll_interval);
        if watcher.busy {
            return soon;
        }
        let block = watcher.pace.interval().unwrap_or(self.rules.poll_interval);
        let calm = block
            .saturating_mul(CALM_BLOCKS)
            .clamp(self.rules.poll_interval, self.rules.block_time);
        self.now.plus(calm).max(soon)
    }

    /// Its alarm rang; whether a look is due is seen when the turn ends.
    pub(super) fn wake_watcher(&mut self) {
        let (now, rules) = (self.now, Arc::clone(&self.rules));
        self.state.watcher.armed = NEVER;
        self.state.watcher.op.forget_lost(&rules, now);
    }

    fn list_watches(&mut self) {
        let state = &mut *self.state;
        let watched = || state.slots.iter().filter(|(_, s)| s.is_watched());
        let keys = watched().map(|(key, _)| key.clone()).collect();
        let watches = watched().map(|(key, slot)| slot.watch(key)).collect();
        state.watcher.keys = keys;
        state.watcher.watches = Arc::new(watches);
        state.watcher.stale = false;
    }

    pub(super) fn looked(&mut self, ticket: Ticket, result: Result<Sight, ChainError>) {
        let (now, rules) = (self.now, Arc::clone(&self.rules));
        let watcher = &mut self.state.watcher;
        if !watcher.op.take(ticket) {
            return;
        }
        let Ok(sight) = result else {
            watcher.op.retry(&rules, now);
            return;
        };
        let same = watcher.head.as_ref() == Some(&sight.head);
        match same {
            true => {
                watcher.pace.missed(now);
                if watcher.hurries {
                    watcher.pace.hurried_in_vain();
                }
            }
            false => watcher.pace.seen(sight.head.number, now),
        }
        // What was seen before there was a head to compare with is in doubt.
        let first = watcher.head.is_none().then_some(0);
        watcher.head = Some(sight.head);
        let keys = std::mem::take(&mut watcher.asked);
        if let Some(from) = first.or(sight.replaced_from) {
            self.blocks_replaced(from);
        }
        for (key, outcomes) in keys.iter().zip(sight.outcomes) {
            if let Some(outcomes) = outcomes {
                self.slot_seen(key, outcomes);
            }
        }
        if !same {
            self.bury_deeper();
        }
        let watcher = &mut self.state.watcher;
        watcher.hurries = watcher.sent_since && watcher.pace.is_hasty();
        let next = match watcher.hurries {
            true => now,
            false => self.next_look(),
        };
        self.state.watcher.op.again_at(next);
    }

    fn slot_seen(&mut self, key: &SlotKey, outcomes: Vec<Outcome>) {
        let Some(slot) = self.slot_mut(key) else {
            return;
        };
        if outcomes.len() != slot.carries.len() || outcomes.is_empty() {
            return;
        }
        if outcomes.iter().all(Outcome::is_decided) {
            slot.used = true;
            slot.rejected = None;
            self.state.watcher.dirty = true;
        }
        self.slot_included(key, outcomes.iter().find_map(block_of));
        let Some(slot) = self.slot_mut(key) else {
            return;
        };
        let share = u128::try_from(slot.carries.len()).unwrap_or(u128::MAX);
        let ids: Vec<PaymentId> = slot.carries.iter().map(|c| c.id.clone()).collect();
        for (id, outcome) in ids.into_iter().zip(outcomes) {
            self.note_cost(key, &id, &outcome, share);
            self.payment_included(&id, key, &outcome);
            self.decided(&id, key, outcome);
        }
        self.close_if_done(key);
    }

    /// What a payment cost in gas: its share of the transaction.
    fn note_cost(&mut self, key: &SlotKey, id: &PaymentId, outcome: &Outcome, share: u128) {
        let Some(slot) = self.slot_mut(key) else {
            return;
        };
        let (fee, lost) = match outcome {
            Outcome::Settled(s) if !s.by_third_party => (s.fee, false),
            Outcome::NotSettled(Proof::NoTransfer { fee, transaction }) => {
                (*fee, !slot.cancels.contains(transaction))
            }
            // Of several, one may have undone it for all: nobody knows which.
            Outcome::NotSettled(Proof::Reverted { fee, transaction }) => {
                (*fee, share == 1 && !slot.cancels.contains(transaction))
            }
            _ => return,
        };
        let payer = slot.carries.iter().find(|c| c.id == *id);
        let Some(payer) = payer.map(|c| c.record.payment.identity.payer.clone()) else {
            return;
        };
        let fee = Amount::from_atomic(fee.as_u128().unwrap_or(u128::MAX) / share.max(1));
        slot.costs.insert(id.clone(), Cost { payer, fee, lost });
    }

    /// Somebody else settled it ahead of us: the payer lost us nothing.
    pub(super) fn forgive(&mut self, key: &SlotKey, id: &PaymentId) {
        let cost = self.slot_mut(key).and_then(|slot| slot.costs.get_mut(id));
        if let Some(cost) = cost {
            cost.lost = false;
        }
    }

    /// Whether what the slot's transactions did decides the payment.
    pub(super) fn is_undecided(&self, id: &PaymentId, key: &SlotKey) -> bool {
        let Some(payment) = self.state.payments.get(id) else {
            return false;
        };
        let undecided = match &payment.phase {
            Phase::Submitted { .. } => true,
            Phase::Lookup { proof, .. } => proof.is_none(),
            _ => false,
        };
        undecided && payment.slot().is_none_or(|s| s == key)
    }

    fn decided(&mut self, id: &PaymentId, key: &SlotKey, outcome: Outcome) {
        if !self.is_undecided(id, key) {
            return;
        }
        match outcome {
            Outcome::Settled(settled) => self.conclude(id, Conclusion::Settled(settled)),
            Outcome::NotSettled(proof) => self.look_up(id, Some(proof)),
            Outcome::Unknown if mistake::is("success_on_send") => {
                self.conclude(id, Conclusion::SettledWithoutTransaction);
            }
            Outcome::Unknown | Outcome::Included { .. } => {}
        }
    }
}

impl Slot {
    fn watch(&self, key: &SlotKey) -> Watch {
        Watch {
            signer: key.0.clone(),
            nonce: key.1,
            hashes: self.raws.iter().map(|r| r.hash.clone()).collect(),
            expected: self
                .carries
                .iter()
                .map(|carried| Watched {
                    identity: carried.record.payment.identity.clone(),
                    expected: carried.record.payment.expected.clone(),
                    finality: carried.record.payment.finality,
                })
                .collect(),
        }
    }
}

/// The block that an outcome was seen in.
fn block_of(outcome: &Outcome) -> Option<u64> {
    match outcome {
        Outcome::Included { block, .. } => Some(*block),
        Outcome::Settled(settled) => Some(settled.block_number),
        Outcome::NotSettled(_) | Outcome::Unknown => None,
    }
}
