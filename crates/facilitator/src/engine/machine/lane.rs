//! Lanes: one signer each, one new nonce at a time.

use tollway_core::{Address, ChainError, PaymentId, Plan};
use tollway_ledger::SlotRecord;

use super::state::{Lane, LaneWork, Op, Phase, Slot, Turn, Work};
use super::{Effect, SlotKey, Ticket};

impl Turn<'_> {
    /// Gives waiting payments to free lanes, oldest first.
    pub(super) fn fill_lanes(&mut self) {
        let mut waiting = std::mem::take(&mut self.state.queue);
        let mut kept = std::collections::VecDeque::new();
        while let Some(id) = waiting.pop_front() {
            if !self.any_lane_is_free() {
                kept.push_back(id);
                break;
            }
            if !self.start_on_lane(&id) {
                kept.push_back(id);
            }
        }
        kept.append(&mut waiting);
        // Verifying again may have queued nothing, but never forget what did.
        kept.append(&mut self.state.queue);
        self.state.queue = kept;
    }

    fn any_lane_is_free(&self) -> bool {
        self.state.lanes.values().any(Lane::is_free)
    }

    /// Whether the payment left the queue.
    fn start_on_lane(&mut self, id: &PaymentId) -> bool {
        let (now, verified_for) = (self.now, self.state.rules.verified_for);
        let Some(payment) = self.state.payments.get(id) else {
            return true;
        };
        let Phase::Wait(plan) = &payment.phase else {
            return true;
        };
        if now >= payment.verified_at.plus(verified_for) {
            self.enter(id, Phase::Verify, Op::now());
            return true;
        }
        let plan = plan.clone();
        let Some(signer) = self.pick_lane(&plan.signers) else {
            return false;
        };
        self.enter(id, Phase::OnLane, Op::now());
        self.allocate(&signer, id.clone(), plan);
        true
    }

    /// The free allowed lane with the fewest transactions in flight.
    fn pick_lane(&self, allowed: &[Address]) -> Option<Address> {
        self.state
            .lanes
            .iter()
            .filter(|(signer, lane)| {
                lane.is_free() && (allowed.is_empty() || allowed.contains(signer))
            })
            .map(|(signer, _)| (self.in_flight(signer), signer))
            .filter(|(count, _)| *count < self.state.rules.window)
            .min()
            .map(|(_, signer)| signer.clone())
    }

    fn in_flight(&self, signer: &Address) -> usize {
        self.slots_of(signer).filter(|s| s.1.is_live()).count()
    }

    pub(super) fn slots_of<'s>(
        &'s self,
        signer: &Address,
    ) -> impl Iterator<Item = (&'s SlotKey, &'s Slot)> {
        self.state
            .slots
            .range((signer.clone(), 0)..=(signer.clone(), u64::MAX))
    }

    fn allocate(&mut self, signer: &Address, id: PaymentId, plan: Plan) {
        let ticket = self.ticket();
        let now = self.now;
        let Some(lane) = self.state.lanes.get_mut(signer) else {
            return;
        };
        lane.work = LaneWork::Allocate { id, plan };
        lane.op = Op::now();
        lane.op.begin(ticket, now);
        let confirmed = lane.confirmed;
        self.emit(Effect::AllocateSlot {
            signer: signer.clone(),
            ticket,
            confirmed,
        });
    }

    pub(super) fn allocated(
        &mut self,
        signer: &Address,
        ticket: Ticket,
        result: Result<(SlotRecord, u64), String>,
    ) {
        let Some(lane) = self.state.lanes.get_mut(signer) else {
            return;
        };
        if !lane.op.take(ticket) {
            return;
        }
        let LaneWork::Allocate { id, plan } = std::mem::take(&mut lane.work) else {
            return;
        };
        match result {
            Ok((record, confirmed)) if record.raws.is_empty() => {
                lane.confirmed = Some(confirmed);
                self.open_slot((signer.clone(), record.nonce), &id, plan);
            }
            // A slot with bytes is somebody's attempt: never sign over it.
            Ok(_) => {
                lane.confirmed = None;
                self.back_to_plan(&id);
            }
            Err(_) => self.back_to_plan(&id),
        }
    }

    /// The attempt did not come to signed bytes: verify and plan again, later.
    pub(super) fn back_to_plan(&mut self, id: &PaymentId) {
        if let Some(payment) = self.state.payments.get_mut(id) {
            payment.phase = Phase::Verify;
        }
        self.retry_payment(id);
    }

    fn open_slot(&mut self, key: SlotKey, id: &PaymentId, plan: Plan) {
        let Some(payment) = self.state.payments.get(id) else {
            return;
        };
        let facts = &payment.record.payment;
        let carries = vec![(id.clone(), facts.identity.clone(), facts.expected.clone())];
        if self
            .state
            .slots
            .get(&key)
            .is_some_and(|s| !s.raws.is_empty())
        {
            return self.back_to_plan(id);
        }
        if let Some(lane) = self.state.lanes.get_mut(&key.0) {
            lane.work = LaneWork::Fill { nonce: key.1 };
        }
        let slot = Slot::new(carries, Work::Seal { plan });
        self.state.slots.insert(key.clone(), slot);
        self.drive_slot(&key);
    }

    /// The lane may take the next payment.
    pub(super) fn free_lane(&mut self, key: &SlotKey) {
        if let Some(lane) = self.state.lanes.get_mut(&key.0)
            && matches!(lane.work, LaneWork::Fill { nonce } if nonce == key.1)
        {
            lane.work = LaneWork::Free;
        }
    }

    pub(super) fn forget_confirmed(&mut self, signer: &Address) {
        if let Some(lane) = self.state.lanes.get_mut(signer) {
            lane.confirmed = None;
        }
    }

    pub(super) fn tick_lanes(&mut self) {
        let (now, rules) = (self.now, self.state.rules.clone());
        let signers: Vec<Address> = self.state.lanes.keys().cloned().collect();
        for signer in signers {
            self.give_up_lost_allocation(&signer);
            let orphaned = self
                .slots_of(&signer)
                .any(|(_, s)| s.is_live() && s.members.is_empty());
            let Some(lane) = self.state.lanes.get_mut(&signer) else {
                continue;
            };
            lane.nonce_op.forget_lost(&rules, now);
            if orphaned && lane.nonce_op.is_due(now) {
                self.ask_nonce(&signer);
            }
        }
    }

    fn give_up_lost_allocation(&mut self, signer: &Address) {
        let (now, rules) = (self.now, self.state.rules.clone());
        let Some(lane) = self.state.lanes.get_mut(signer) else {
            return;
        };
        if !matches!(lane.work, LaneWork::Allocate { .. }) {
            return;
        }
        lane.op.forget_lost(&rules, now);
        if lane.op.is_awaited() {
            return;
        }
        if let LaneWork::Allocate { id, .. } = std::mem::take(&mut lane.work) {
            self.back_to_plan(&id);
        }
    }

    fn ask_nonce(&mut self, signer: &Address) {
        let ticket = self.ticket();
        let now = self.now;
        if let Some(lane) = self.state.lanes.get_mut(signer) {
            lane.nonce_op.begin(ticket, now);
            self.emit(Effect::ConfirmedNonce {
                signer: signer.clone(),
                ticket,
            });
        }
    }

    /// Slots that carry nothing open are closed once their nonce is used.
    pub(super) fn nonce_known(
        &mut self,
        signer: &Address,
        ticket: Ticket,
        result: Result<u64, ChainError>,
    ) {
        let (now, interval) = (self.now, self.state.rules.poll_interval);
        let Some(lane) = self.state.lanes.get_mut(signer) else {
            return;
        };
        if !lane.nonce_op.take(ticket) {
            return;
        }
        lane.nonce_op.again_at(now.plus(interval.saturating_mul(4)));
        let Ok(confirmed) = result else {
            return;
        };
        let used: Vec<SlotKey> = self
            .slots_of(signer)
            .filter(|(key, s)| key.1 < confirmed && s.is_live() && s.members.is_empty())
            .map(|(key, _)| key.clone())
            .collect();
        for key in used {
            if let Some(slot) = self.state.slots.get_mut(&key) {
                slot.used = true;
            }
            self.close_if_done(&key);
        }
    }
}

impl Lane {
    fn is_free(&self) -> bool {
        matches!(self.work, LaneWork::Free)
    }
}
