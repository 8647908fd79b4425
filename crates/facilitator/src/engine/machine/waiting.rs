//! Verified payments that wait for a lane: any, or the one that may settle them.

use std::sync::Arc;
use std::time::Duration;

use tollway_core::{Address, PaymentId, PlannedPayment, Timestamp, Verified};

use super::alarm::Sleeper;
use super::lane::may_sign;
use super::op::Op;
use super::payment::planned;
use super::queue::FairQueue;
use super::state::{LaneWork, Phase, Ready};
use super::turn::Turn;
use super::{Effect, Subject};

/// Longest time for which a batch is gathered.
const LONGEST_GATHER: Duration = Duration::from_millis(200);
/// What signing, storing and sending take, with room.
const SENDING: Duration = Duration::from_millis(80);
/// Payments of one account that are planned at once.
const MOST_PINNED: usize = 16;
/// Planned transactions that may wait for lanes before more is planned.
const MOST_READY: usize = 64;

impl Turn<'_> {
    /// It is verified: a lane may take it.
    pub(super) fn wait_in_queue(&mut self, id: &PaymentId, verified: Box<Verified>) {
        let now = self.now;
        let Some(payment) = self.payment_mut(id) else {
            return;
        };
        payment.alone |= verified.intent.terms.settles_alone;
        payment.phase = Phase::Wait(verified);
        payment.op = Op::now();
        payment.verified_at = now;
        self.line_up(id, |line, caller, id| line.push_back(caller, id, now));
    }

    fn put_back(&mut self, id: &PaymentId) {
        self.line_up(id, FairQueue::push_front);
    }

    /// Puts a payment into the line that it waits in.
    fn line_up(&mut self, id: &PaymentId, put: impl Fn(&mut FairQueue, &str, PaymentId)) {
        let Some(payment) = self.state.payments.get(id) else {
            return;
        };
        let Phase::Wait(verified) = &payment.phase else {
            return;
        };
        if verified.signers.is_empty() {
            return put(&mut self.state.queue, payment.caller(), id.clone());
        }
        let lanes = &self.state.lanes;
        let mut pins = verified.signers.iter();
        let usable = |pin: &&Address| lanes.get(*pin).is_some_and(|lane| lane.is_usable());
        match pins.find(usable) {
            Some(pin) => {
                let line = self.state.pinned.entry(pin.clone()).or_default();
                put(line, payment.caller(), id.clone());
            }
            None => self.wait_for_another(id),
        }
    }

    /// None of the accounts that may settle it can be used. The chain perhaps
    /// names another one; else another machine has one of them.
    fn wait_for_another(&mut self, id: &PaymentId) {
        let Some(payment) = self.state.payments.get(id) else {
            return;
        };
        let Phase::Wait(verified) = &payment.phase else {
            return;
        };
        let lanes = &self.state.lanes;
        let ours = |pin: &Address| lanes.get(pin).is_some_and(|lane| lane.lease.is_some());
        let waited = self.now >= payment.unsigned_since.plus(self.rules.patience);
        if waited && !verified.signers.iter().any(ours) {
            return self.enter(id, Phase::GiveUp, Op::now());
        }
        let again = Op::at(self.now.plus(self.rules.retry_max));
        self.enter(id, Phase::Verify, again);
    }

    /// The signer cannot be used any more: what waits for it is verified again.
    pub(super) fn scatter(&mut self, signer: &Address) {
        if let Some(mut line) = self.state.pinned.remove(signer) {
            while let Some(id) = line.pop() {
                let waits = self.state.payments.get(&id);
                if waits.is_some_and(|p| matches!(p.phase, Phase::Wait(_))) {
                    self.enter(&id, Phase::Verify, Op::now());
                }
            }
        }
        let lanes = &self.state.lanes;
        let usable = |ready: &Ready| {
            let mut able = lanes.iter().filter(|(_, lane)| lane.is_usable());
            able.any(|(signer, _)| may_sign(&ready.plan, signer))
        };
        let (kept, left) = std::mem::take(&mut self.state.ready)
            .into_iter()
            .partition(usable);
        self.state.ready = kept;
        for ready in left {
            self.back_to_queue(&ready.ids, &ready.plan.payments);
        }
    }

    /// Verified payments wait again, before all others.
    pub(super) fn back_to_queue(&mut self, ids: &[PaymentId], payments: &[PlannedPayment]) {
        for (id, planned) in ids.iter().zip(payments).rev() {
            let verified = Box::new(planned.verified.clone());
            let Some(payment) = self.payment_mut(id) else {
                continue;
            };
            if !matches!(
                payment.phase,
                Phase::Planning | Phase::Ready | Phase::OnLane
            ) {
                continue;
            }
            payment.phase = Phase::Wait(verified);
            payment.op = Op::now();
            self.put_back(id);
        }
    }

    /// Gives waiting payments to free lanes.
    pub(super) fn fill_lanes(&mut self) {
        if self.state.waiting() == 0 && self.state.ready.is_empty() {
            return;
        }
        self.forget_what_left();
        for signer in self.free_lanes() {
            if !self.start_ready(&signer) && self.state.ready.len() < MOST_READY {
                self.start_planning(&signer);
            }
        }
        self.give_up_what_waits();
    }

    /// Plans whose payments went another way, such as past their time, hold no
    /// place; and those that no lane took in time wait again.
    fn forget_what_left(&mut self) {
        let payments = &self.state.payments;
        let waits = |id: &PaymentId| {
            let payment = payments.get(id);
            payment.is_some_and(|p| matches!(p.phase, Phase::Ready))
        };
        self.state.ready.retain(|ready| ready.ids.iter().any(waits));
        let (now, verified_for) = (self.now, self.rules.verified_for);
        let stale = |ready: &Ready| now >= ready.planned_at.plus(verified_for);
        while self.state.ready.front().is_some_and(stale)
            && let Some(ready) = self.state.ready.pop_front()
        {
            self.back_to_queue(&ready.ids, &ready.plan.payments);
        }
    }

    /// Whether the lane was given something to plan.
    fn start_planning(&mut self, signer: &Address) -> bool {
        if let Some(first) = self.next_pinned(signer) {
            // Behind it, those that wait for the same account: the chain says which
            // of them can share a transaction.
            let most = self.rules.batch_max.clamp(1, MOST_PINNED);
            let batch = self.fill(most, Some(first), |turn| turn.pop_pinned(signer));
            self.plan_on(signer, batch);
            return true;
        }
        let Some(wanted) = self.how_many(signer) else {
            return false;
        };
        let batch = self.fill(wanted, None, |turn| turn.state.queue.pop());
        self.state.queue.since = self.now;
        self.plan_on(signer, batch);
        true
    }

    /// Up to so many payments that still wait: the first, if there is one, and those
    /// that come next. One that goes alone has a batch to itself.
    fn fill(
        &mut self,
        most: usize,
        mut first: Option<PaymentId>,
        mut next: impl FnMut(&mut Self) -> Option<PaymentId>,
    ) -> (Vec<PaymentId>, Vec<PlannedPayment>) {
        let (mut ids, mut payments) = (Vec::with_capacity(most), Vec::with_capacity(most));
        while ids.len() < most
            && let Some(id) = first.take().or_else(|| next(self))
        {
            let alone = self.state.payments.get(&id).is_some_and(|p| p.alone);
            if alone && !ids.is_empty() {
                self.put_back(&id);
                break;
            }
            if let Some(planned) = self.take_waiting(&id) {
                ids.push(id);
                payments.push(planned);
                if alone {
                    break;
                }
            }
        }
        (ids, payments)
    }

    fn plan_on(
        &mut self,
        signer: &Address,
        (ids, payments): (Vec<PaymentId>, Vec<PlannedPayment>),
    ) {
        if ids.is_empty() {
            return;
        }
        let (ticket, now) = (self.ticket(), self.now);
        let payments = Arc::new(payments);
        if let Some(lane) = self.state.lanes.get_mut(signer) {
            lane.op = Op::now();
            lane.op.begin(ticket, now);
            lane.work = LaneWork::Plan {
                ids,
                payments: Arc::clone(&payments),
            };
        }
        self.emit(Effect::Plan {
            subject: Subject::Lane(signer.clone()),
            ticket,
            payments,
        });
    }

    /// What only this account may settle, if it is its turn.
    fn next_pinned(&mut self, signer: &Address) -> Option<PaymentId> {
        let lane = self.state.lanes.get_mut(signer)?;
        let others = self.state.queue.len() > 0;
        lane.pinned_last = !(lane.pinned_last && others);
        if !lane.pinned_last {
            return None;
        }
        self.pop_pinned(signer)
    }

    fn pop_pinned(&mut self, signer: &Address) -> Option<PaymentId> {
        let line = self.state.pinned.get_mut(signer)?;
        let id = line.pop();
        if line.len() == 0 {
            self.state.pinned.remove(signer);
        }
        id
    }

    fn wake_queue_at(&mut self, at: Timestamp) {
        if self.state.queue.armed != at {
            self.state.queue.armed = at;
            self.state.alarms.set(at, Sleeper::Queue);
        }
    }

    /// How many payments the lane takes now; none while a batch is gathered.
    /// The more is in flight, the longer that may take: all of it waits for the
    /// same next blocks.
    fn how_many(&mut self, signer: &Address) -> Option<usize> {
        let (waiting, rules) = (self.state.queue.len(), Arc::clone(&self.rules));
        let in_flight = self.in_flight(signer);
        if waiting == 0 {
            return None;
        }
        if rules.batch_max <= 1 || (waiting <= rules.batch_from && in_flight < rules.batch_from) {
            return Some(1);
        }
        if waiting < rules.batch_max {
            let pressure = u32::try_from(in_flight).unwrap_or(u32::MAX).max(1);
            let patience = rules.gather.saturating_mul(pressure).min(LONGEST_GATHER);
            let full_at = self.state.queue.since.plus(patience);
            // What is sent shortly before a block must not wait for the one after it.
            let block = self.state.watcher.pace.expected_from();
            let missed = |at: Timestamp| at <= self.now || full_at.plus(SENDING) <= at;
            if self.now < full_at && block.is_none_or(missed) {
                self.wake_queue_at(full_at);
                return None;
            }
        }
        Some(waiting.min(rules.batch_max))
    }

    /// The payment, if it still waits and was verified lately.
    fn take_waiting(&mut self, id: &PaymentId) -> Option<PlannedPayment> {
        let (now, verified_for) = (self.now, self.rules.verified_for);
        let payment = self.payment_mut(id)?;
        if !matches!(payment.phase, Phase::Wait(_)) {
            return None;
        }
        if now >= payment.verified_at.plus(verified_for) {
            self.enter(id, Phase::Verify, Op::now());
            return None;
        }
        match std::mem::replace(&mut payment.phase, Phase::Planning) {
            Phase::Wait(verified) => Some(planned(&payment.record, *verified, payment.alone)),
            _ => None,
        }
    }

    /// Without a lease of any signer, payments are another machine's to settle.
    fn give_up_what_waits(&mut self) {
        if self.state.lanes.is_empty() || self.state.lanes.values().any(|l| l.lease.is_some()) {
            return;
        }
        let at = self.state.queue.since.plus(self.rules.patience);
        if self.now < at {
            self.wake_queue_at(at);
            return;
        }
        for ready in std::mem::take(&mut self.state.ready) {
            self.back_to_queue(&ready.ids, &ready.plan.payments);
        }
        while let Some(id) = self.state.queue.pop() {
            let waits = self.state.payments.get(&id);
            if waits.is_some_and(|p| matches!(p.phase, Phase::Wait(_))) {
                self.enter(&id, Phase::GiveUp, Op::now());
            }
        }
    }
}
