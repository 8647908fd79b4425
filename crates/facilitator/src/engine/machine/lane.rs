//! Lanes: one signer each, one new nonce at a time.

use std::sync::Arc;

use tollway_core::{Address, ChainError, PaymentId, Plan, PlannedPayment, codes};
use tollway_ledger::{Lease, SlotRecord};

use super::op::Op;
use super::state::{Carried, LaneWork, Phase, Ready, Slot, Work};
use super::turn::Turn;
use super::types::NotAllocated;
use super::{Effect, SlotKey, Ticket};

impl Turn<'_> {
    pub(super) fn leased(&mut self, lease: Lease) {
        if let Some(lane) = self.state.lanes.get_mut(&lease.signer) {
            if lane.lease.as_ref() != Some(&lease) {
                lane.confirmed = None;
            }
            lane.lease = Some(lease);
        }
        self.tell_usable();
    }

    /// Tells the chain which signers can settle, where that changed.
    fn tell_usable(&mut self) {
        let usable = self.state.usable();
        if self.state.told_usable != usable {
            self.state.told_usable.clone_from(&usable);
            self.emit(Effect::Prefer { signers: usable });
        }
    }

    /// The signer is another machine's: nothing more is done with it at once.
    pub(super) fn unleased(&mut self, signer: &Address) {
        let keys: Vec<SlotKey> = self.slots_of(signer).map(|(key, _)| key.clone()).collect();
        if let Some(lane) = self.state.lanes.get_mut(signer) {
            lane.lease = None;
            lane.confirmed = None;
        }
        self.tell_usable();
        for key in keys {
            self.forget_slot(&key);
        }
        self.stop_lane(signer);
        self.scatter(signer);
    }

    pub(super) fn funded(&mut self, signer: &Address, enough: bool) {
        if let Some(lane) = self.state.lanes.get_mut(signer) {
            lane.drained = !enough;
        }
        self.tell_usable();
        if !enough {
            self.scatter(signer);
        }
    }

    /// Forgets what another machine goes on with. Its payments are read again.
    fn forget_slot(&mut self, key: &SlotKey) {
        let Some(slot) = self.state.slots.remove(key) else {
            return;
        };
        self.state.watcher.dirty = true;
        for id in slot.members {
            self.enter(&id, Phase::Reload, Op::now());
        }
    }

    /// What the lane was doing goes back to where it came from.
    fn stop_lane(&mut self, signer: &Address) {
        let Some(lane) = self.state.lanes.get_mut(signer) else {
            return;
        };
        lane.op = Op::now();
        match std::mem::take(&mut lane.work) {
            LaneWork::Free | LaneWork::Fill { .. } => {}
            LaneWork::Plan { ids, payments } => self.back_to_queue(&ids, &payments),
            LaneWork::Allocate { ready } => self.back_to_queue(&ready.ids, &ready.plan.payments),
        }
    }

    /// Free lanes, the one with the fewest transactions in flight first.
    pub(super) fn free_lanes(&self) -> Vec<Address> {
        let mut free: Vec<(usize, &Address)> = self
            .state
            .lanes
            .iter()
            .filter(|(_, lane)| lane.is_free() && lane.is_usable())
            .map(|(signer, _)| (self.in_flight(signer), signer))
            .filter(|(count, _)| *count < self.rules.window)
            .collect();
        free.sort();
        free.into_iter().map(|(_, signer)| signer.clone()).collect()
    }

    /// Transactions that are not in a block yet. One that is there and not as deep
    /// as it must be holds nobody up.
    pub(super) fn in_flight(&self, signer: &Address) -> usize {
        self.waiting_slots(signer).count()
    }

    /// Slots that are in no block yet, as far as is known, lowest nonce first.
    pub(super) fn waiting_slots<'s>(
        &'s self,
        signer: &Address,
    ) -> impl Iterator<Item = (&'s SlotKey, &'s Slot)> {
        self.slots_of(signer).filter(|(_, slot)| slot.is_waiting())
    }

    pub(super) fn slots_of<'s>(
        &'s self,
        signer: &Address,
    ) -> impl Iterator<Item = (&'s SlotKey, &'s Slot)> {
        self.state
            .slots
            .range((signer.clone(), 0)..=(signer.clone(), u64::MAX))
    }

    /// Whether a planned transaction took the lane.
    pub(super) fn start_ready(&mut self, signer: &Address) -> bool {
        let fits = |r: &Ready| may_sign(&r.plan, signer);
        while let Some(index) = self.state.ready.iter().position(fits) {
            let Some(ready) = self.state.ready.remove(index) else {
                return false;
            };
            let fresh = self.now < ready.planned_at.plus(self.rules.verified_for);
            let whole = ready.ids.iter().all(|id| {
                let payment = self.state.payments.get(id);
                payment.is_some_and(|p| matches!(p.phase, Phase::Ready))
            });
            if fresh && whole {
                self.allocate(signer, ready);
                return true;
            }
            self.back_to_queue(&ready.ids, &ready.plan.payments);
        }
        false
    }

    pub(super) fn planned_for_lane(
        &mut self,
        signer: &Address,
        ticket: Ticket,
        result: Result<Vec<Plan>, ChainError>,
    ) {
        let Some(lane) = self.state.lanes.get_mut(signer) else {
            return;
        };
        if !lane.op.take(ticket) {
            return;
        }
        let LaneWork::Plan { ids, payments } = std::mem::take(&mut lane.work) else {
            return;
        };
        match result {
            Ok(plans) => self.planned(ids, &payments, plans),
            Err(ChainError::Refused(refusal)) if ids.len() == 1 => {
                for id in ids {
                    self.refuse_unsigned(&id, refusal.code(), refusal.message());
                }
            }
            // One of many is bad: each goes by itself.
            Err(ChainError::Refused(_)) => {
                for id in &ids {
                    if let Some(payment) = self.payment_mut(id) {
                        payment.alone = true;
                    }
                }
                self.back_to_queue(&ids, &payments);
            }
            Err(ChainError::Unavailable { .. }) => {
                for id in ids {
                    self.back_to_plan(&id);
                }
            }
        }
    }

    /// Every plan takes a lane in its turn; what is in none waits again.
    fn planned(&mut self, ids: Vec<PaymentId>, payments: &[PlannedPayment], plans: Vec<Plan>) {
        let now = self.now;
        let mut left: Vec<(PaymentId, usize)> = ids.into_iter().zip(0..).collect();
        for plan in plans {
            let mut taken = Vec::with_capacity(plan.payments.len());
            for planned in &plan.payments {
                let identity = &planned.verified.intent.identity;
                let place = left.iter().position(|(_, at)| {
                    payments
                        .get(*at)
                        .is_some_and(|p| p.verified.intent.identity == *identity)
                });
                if let Some(place) = place {
                    taken.push(left.remove(place).0);
                }
            }
            if taken.is_empty() || taken.len() != plan.payments.len() {
                for id in taken {
                    self.back_to_plan(&id);
                }
                continue;
            }
            if plan.gas_limit > self.rules.transaction_gas {
                self.too_much_gas(&taken);
                continue;
            }
            for id in &taken {
                if let Some(payment) = self.payment_mut(id) {
                    payment.phase = Phase::Ready;
                }
            }
            self.state.ready.push_back(Ready {
                plan: Arc::new(plan),
                ids: taken,
                planned_at: now,
            });
        }
        for (id, _) in left {
            self.back_to_plan(&id);
        }
    }

    fn too_much_gas(&mut self, ids: &[PaymentId]) {
        let single = ids.len() == 1;
        for id in ids {
            if single {
                self.refuse_unsigned(
                    id,
                    codes::TRANSACTION_GAS_LIMIT_EXCEEDED,
                    "Settling would use more gas than one transaction may; pay another way.",
                );
            } else {
                if let Some(payment) = self.payment_mut(id) {
                    payment.alone = true;
                }
                self.back_to_plan(id);
            }
        }
    }

    fn allocate(&mut self, signer: &Address, ready: Ready) {
        let (ticket, now) = (self.ticket(), self.now);
        for id in &ready.ids {
            if let Some(payment) = self.payment_mut(id) {
                payment.phase = Phase::OnLane;
                payment.op = Op::now();
            }
        }
        let Some(lane) = self.state.lanes.get_mut(signer) else {
            return;
        };
        let Some(lease) = lane.lease.clone() else {
            return;
        };
        lane.work = LaneWork::Allocate { ready };
        lane.op = Op::now();
        lane.op.begin(ticket, now);
        let confirmed = lane.confirmed;
        self.emit(Effect::AllocateSlot {
            lease,
            ticket,
            confirmed,
        });
    }

    /// Nothing is to be paid under this nonce: a cancellation takes it.
    pub(super) fn free_nonce(&mut self, key: &SlotKey) {
        let plan = Plan {
            payments: Vec::new(),
            gas_limit: 0,
            signers: vec![key.0.clone()],
        };
        let ready = Ready {
            plan: Arc::new(plan),
            ids: Vec::new(),
            planned_at: self.now,
        };
        self.open_slot(key.clone(), ready);
    }

    pub(super) fn allocated(
        &mut self,
        signer: &Address,
        ticket: Ticket,
        result: Result<(SlotRecord, u64), NotAllocated>,
    ) {
        let Some(lane) = self.state.lanes.get_mut(signer) else {
            return;
        };
        if !lane.op.take(ticket) {
            return;
        }
        let LaneWork::Allocate { ready } = std::mem::take(&mut lane.work) else {
            return;
        };
        match result {
            Ok((record, confirmed)) if record.raws.is_empty() => {
                lane.confirmed = Some(confirmed);
                self.open_slot((signer.clone(), record.nonce), ready);
            }
            // A slot with bytes is somebody's attempt: never sign over it.
            Ok(_) => {
                lane.confirmed = None;
                self.all_back_to_plan(&ready.ids);
            }
            Err(NotAllocated::LeaseLost) => {
                self.back_to_queue(&ready.ids, &ready.plan.payments);
                self.lease_lost(signer);
            }
            Err(NotAllocated::Failed(_)) => self.all_back_to_plan(&ready.ids),
        }
    }

    pub(super) fn lease_lost(&mut self, signer: &Address) {
        self.unleased(signer);
        self.emit(Effect::LeaseLost {
            signer: signer.clone(),
        });
    }

    fn all_back_to_plan(&mut self, ids: &[PaymentId]) {
        for id in ids {
            self.back_to_plan(id);
        }
    }

    /// The attempt did not come to signed bytes: verify and plan again, later.
    pub(super) fn back_to_plan(&mut self, id: &PaymentId) {
        if let Some(payment) = self.payment_mut(id) {
            payment.phase = Phase::Verify;
        }
        self.retry_payment(id);
    }

    fn open_slot(&mut self, key: SlotKey, ready: Ready) {
        let taken = self
            .state
            .slots
            .get(&key)
            .is_some_and(|s| !s.raws.is_empty());
        let carries: Vec<Carried> = ready
            .ids
            .iter()
            .filter_map(|id| {
                let payment = self.state.payments.get(id)?;
                Some(Carried {
                    id: id.clone(),
                    record: Arc::clone(&payment.record),
                })
            })
            .collect();
        if taken || carries.len() != ready.ids.len() {
            return self.all_back_to_plan(&ready.ids);
        }
        if let Some(lane) = self.state.lanes.get_mut(&key.0) {
            lane.work = LaneWork::Fill { nonce: key.1 };
        }
        // What frees a nonce is planned by the chain.
        let work = match ready.plan.payments.is_empty() {
            true => Work::Plan {
                payments: Arc::default(),
            },
            false => Work::Seal { plan: ready.plan },
        };
        self.state
            .slots
            .insert(key.clone(), Slot::new(carries, work));
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

    /// Its alarm rang.
    pub(super) fn wake_lane(&mut self, signer: &Address) {
        let (now, rules) = (self.now, Arc::clone(&self.rules));
        let Some(lane) = self.state.lanes.get_mut(signer) else {
            return;
        };
        let awaited = lane.op.is_awaited();
        lane.op.forget_lost(&rules, now);
        if awaited && !lane.op.is_awaited() {
            match std::mem::take(&mut lane.work) {
                LaneWork::Plan { ids, .. } => self.all_back_to_plan(&ids),
                LaneWork::Allocate { ready } => self.all_back_to_plan(&ready.ids),
                LaneWork::Free => {}
                fill @ LaneWork::Fill { .. } => lane.work = fill,
            }
        }
        self.ask_nonce_if_due(signer);
    }
}

pub(super) fn may_sign(plan: &Plan, signer: &Address) -> bool {
    plan.signers.is_empty() || plan.signers.contains(signer)
}
