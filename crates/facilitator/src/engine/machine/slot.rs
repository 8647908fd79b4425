//! A slot's own steps: seal, store, send, close.

use std::sync::Arc;

use tollway_core::{Broadcast, ChainError, PaymentId, Raw, codes, mistake};
use tollway_ledger::LedgerError;

use super::op::{NEVER, Op};
use super::state::{Phase, Work};
use super::turn::Turn;
use super::{Effect, SlotKey, Ticket, Update};

impl Turn<'_> {
    /// Asks what the slot's work needs, if that is due.
    pub(super) fn drive_slot(&mut self, key: &SlotKey) {
        let now = self.now;
        let due = self.slot_mut(key).is_some_and(|s| s.work_op.is_due(now));
        if !due {
            return;
        }
        let ticket = self.ticket();
        let Some(slot) = self.state.slots.get(key) else {
            return;
        };
        let effect = match &slot.work {
            Work::Seal { plan } => Some(Effect::Seal {
                slot: key.clone(),
                ticket,
                plan: Arc::clone(plan),
                replaces: slot.raws.last().cloned(),
            }),
            Work::Store { raw, payments } => {
                let lane = self.state.lanes.get(&key.0);
                lane.and_then(|l| l.lease.clone())
                    .map(|lease| Effect::StoreRaw {
                        slot: key.clone(),
                        lease,
                        ticket,
                        raw: raw.clone(),
                        payments: payments.clone(),
                    })
            }
            Work::Close => Some(Effect::CloseSlot {
                slot: key.clone(),
                ticket,
                costs: match slot.costs_told {
                    true => Vec::new(),
                    false => slot.costs.values().cloned().collect(),
                },
            }),
            Work::Verify | Work::Plan { .. } => self.replacement_effect(key, ticket),
            Work::Idle => None,
        };
        if let Some(effect) = effect {
            if let Some(slot) = self.slot_mut(key) {
                slot.work_op.begin(ticket, now);
            }
            self.emit(effect);
        }
    }

    /// Sets the slot's work and begins it.
    pub(super) fn work_on(&mut self, key: &SlotKey, work: Work) {
        if let Some(slot) = self.slot_mut(key) {
            slot.work = work;
            slot.work_op = Op::now();
        }
        self.drive_slot(key);
    }

    pub(super) fn sealed(
        &mut self,
        key: &SlotKey,
        ticket: Ticket,
        result: Result<Raw, ChainError>,
    ) {
        let Some(slot) = self.slot_mut(key) else {
            return;
        };
        if !slot.work_op.take(ticket) {
            return;
        }
        let Work::Seal { plan } = &slot.work else {
            return;
        };
        // A cancellation is nobody's attempt.
        let payments = match plan.payments.is_empty() {
            true => Vec::new(),
            false => slot.carries.iter().map(|c| c.id.clone()).collect(),
        };
        let first = slot.raws.is_empty();
        match result {
            Ok(raw) => {
                if mistake::is("send_before_store") {
                    let (slot, ticket) = (key.clone(), self.ticket());
                    let raw = raw.clone();
                    self.emit(Effect::Broadcast { slot, ticket, raw });
                }
                self.work_on(key, Work::Store { raw, payments });
            }
            Err(_) if !first => self.postpone_replacement(key),
            Err(ChainError::Refused(refusal)) => {
                let ids = self.drop_empty_slot(key);
                if let [id] = ids.as_slice() {
                    return self.refuse_unsigned(id, refusal.code(), refusal.message());
                }
                // One of many is bad: each goes by itself.
                for id in ids {
                    if let Some(payment) = self.payment_mut(&id) {
                        payment.alone = true;
                    }
                    self.back_to_plan(&id);
                }
            }
            Err(ChainError::Unavailable { .. }) => {
                for id in self.drop_empty_slot(key) {
                    self.back_to_plan(&id);
                }
            }
        }
    }

    /// Forgets a slot under which nothing was stored; the ledger gives its
    /// nonce out again first. Returns the payments it would have carried.
    pub(super) fn drop_empty_slot(&mut self, key: &SlotKey) -> Vec<PaymentId> {
        self.free_lane(key);
        self.state
            .slots
            .remove(key)
            .map(|slot| slot.carries.into_iter().map(|c| c.id).collect())
            .unwrap_or_default()
    }

    pub(super) fn stored(
        &mut self,
        key: &SlotKey,
        ticket: Ticket,
        result: Result<(), LedgerError>,
    ) {
        let (now, rules) = (self.now, Arc::clone(&self.rules));
        let Some(slot) = self.slot_mut(key) else {
            return;
        };
        if !slot.work_op.take(ticket) {
            return;
        }
        let Work::Store { raw, payments } = &slot.work else {
            return;
        };
        match result {
            Ok(()) => {
                let (raw, cancels) = (raw.clone(), payments.is_empty());
                self.is_durable(key, raw, cancels);
            }
            Err(error) if error.is_storage() => slot.work_op.retry(&rules, now),
            Err(LedgerError::LeaseLost { .. }) => self.lease_lost(&key.0.clone()),
            Err(_) => self.store_disagrees(key),
        }
    }

    /// Signed bytes are durable: only now may they leave.
    fn is_durable(&mut self, key: &SlotKey, raw: Raw, cancels: bool) {
        let (now, stuck_after) = (self.now, self.rules.stuck_after);
        let Some(slot) = self.slot_mut(key) else {
            return;
        };
        let replacement = !slot.raws.is_empty();
        let transaction = raw.hash.clone();
        if cancels {
            slot.cancels.insert(transaction.clone());
        }
        slot.raws.push(raw);
        slot.work = Work::Idle;
        slot.stuck_at = now.plus(stuck_after);
        slot.send = Op::now();
        let members: Vec<PaymentId> = slot.members.iter().cloned().collect();
        self.state.watcher.dirty = true;
        self.free_lane(key);
        self.send(key);
        self.mind_the_orphan(key);
        for id in members {
            if !replacement {
                self.submitted(&id, key);
            }
            self.emit(Effect::NotifyWaiters {
                id,
                update: Update::Stored {
                    transaction: transaction.clone(),
                    replacement,
                },
            });
        }
    }

    fn submitted(&mut self, id: &PaymentId, key: &SlotKey) {
        if let Some(payment) = self.payment_mut(id) {
            payment.attempts = payment.attempts.saturating_add(1);
            payment.phase = Phase::Submitted {
                slot: Some(key.clone()),
            };
            payment.op = Op::now();
        }
    }

    /// The ledger knows something else about the slot or its payments. The
    /// signed bytes never left and are forgotten.
    fn store_disagrees(&mut self, key: &SlotKey) {
        let replacing = self
            .state
            .slots
            .get(key)
            .is_some_and(|s| !s.raws.is_empty());
        if replacing {
            self.postpone_replacement(key);
            return;
        }
        self.forget_confirmed(&key.0);
        for id in self.drop_empty_slot(key) {
            self.enter(&id, Phase::Reload, Op::now());
        }
    }

    /// Sends the latest durable bytes, if that is due.
    pub(super) fn send(&mut self, key: &SlotKey) {
        let now = self.now;
        let ticket = self.ticket();
        let Some(slot) = self.slot_mut(key) else {
            return;
        };
        if !slot.is_waiting() || !slot.send.is_due(now) {
            return;
        }
        if let Some(raw) = slot.raws.last().cloned() {
            slot.send.begin(ticket, now);
            self.emit(Effect::Broadcast {
                slot: key.clone(),
                ticket,
                raw,
            });
        }
    }

    pub(super) fn sent(
        &mut self,
        key: &SlotKey,
        ticket: Ticket,
        result: Result<Broadcast, ChainError>,
    ) {
        let (now, rules) = (self.now, Arc::clone(&self.rules));
        let Some(slot) = self.slot_mut(key) else {
            return;
        };
        if !slot.send.take(ticket) {
            return;
        }
        let mut update = None;
        let transaction = slot.raws.last().map(|r| r.hash.clone());
        match result {
            Ok(Broadcast::Accepted) => {
                slot.rejected = None;
                slot.send.again_at(now.plus(rules.rebroadcast_after));
                update = transaction.map(|transaction| Update::Sent { transaction });
            }
            Ok(Broadcast::NonceUsed) => {
                // Looks decide what used it; replacing would only be refused too.
                slot.rejected = None;
                slot.send.again_at(now.plus(rules.rebroadcast_after));
                slot.stuck_at = slot.stuck_at.max(now.plus(rules.stuck_after));
                self.forget_confirmed(&key.0);
            }
            Ok(Broadcast::Underpriced) => {
                slot.send.retry(&rules, now);
                slot.stuck_at = slot.stuck_at.min(now.plus(rules.retry_min));
            }
            Ok(Broadcast::Rejected(reason)) => {
                slot.send.retry(&rules, now);
                slot.rejected = Some(reason.clone());
                update = transaction.map(|transaction| Update::Rejected {
                    transaction,
                    reason,
                });
            }
            Ok(Broadcast::NonceTooHigh) => {
                slot.send.retry(&rules, now);
                self.gap_below(&key.0.clone());
            }
            Err(_) if mistake::is("refused_on_timeout") => {
                for id in slot.members.clone() {
                    self.refuse(&id, codes::SETTLEMENT_FAILED, "The node did not answer.");
                }
            }
            Err(_) => slot.send.retry(&rules, now),
        }
        // Whatever was answered, it may have landed.
        self.look_soon();
        if let Some(update) = update {
            self.tell_members(key, &update);
        }
    }

    fn tell_members(&mut self, key: &SlotKey, update: &Update) {
        let members = self.state.slots.get(key).map(|s| s.members.clone());
        for id in members.unwrap_or_default() {
            self.emit(Effect::NotifyWaiters {
                id,
                update: update.clone(),
            });
        }
    }

    /// A payment is no longer carried by its slot.
    pub(super) fn leave_slots(&mut self, id: &PaymentId, slot: Option<&SlotKey>) {
        let keys: Vec<SlotKey> = match slot {
            Some(key) => vec![key.clone()],
            None => self
                .state
                .slots
                .iter()
                .filter(|(_, s)| s.members.contains(id))
                .map(|(key, _)| key.clone())
                .collect(),
        };
        for key in keys {
            if let Some(slot) = self.slot_mut(&key) {
                slot.members.remove(id);
                if slot.members.is_empty() {
                    self.state.watcher.dirty = true;
                }
            }
            self.close_if_done(&key);
            self.mind_the_orphan(&key);
        }
    }

    /// Records that the nonce is used, once nothing under it is undecided.
    pub(super) fn close_if_done(&mut self, key: &SlotKey) {
        let done = self
            .state
            .slots
            .get(key)
            .is_some_and(|s| s.used && s.members.is_empty() && !matches!(s.work, Work::Close));
        if done {
            self.free_lane(key);
            self.work_on(key, Work::Close);
        }
    }

    pub(super) fn slot_closed(
        &mut self,
        key: &SlotKey,
        ticket: Ticket,
        result: Result<(), LedgerError>,
    ) {
        let (now, rules) = (self.now, Arc::clone(&self.rules));
        let Some(slot) = self.slot_mut(key) else {
            return;
        };
        if !slot.work_op.take(ticket) || !matches!(slot.work, Work::Close) {
            return;
        }
        match result {
            Err(error) if error.is_storage() => slot.work_op.retry(&rules, now),
            // Closed already, or gone: either way nothing is left to do.
            Ok(()) | Err(_) => {
                slot.costs_told = true;
                slot.stuck_at = NEVER;
                if let Some(slot) = self.state.slots.remove(key) {
                    self.bury(key.clone(), slot);
                }
                self.state.closed.add(key.clone(), now);
                self.state.watcher.dirty = true;
            }
        }
    }

    /// Its alarm rang.
    pub(super) fn wake_slot(&mut self, key: &SlotKey) {
        let (now, rules) = (self.now, Arc::clone(&self.rules));
        if let Some(slot) = self.slot_mut(key) {
            slot.work_op.forget_lost(&rules, now);
            slot.send.forget_lost(&rules, now);
        }
        self.send(key);
        self.drive_slot(key);
        self.replace_if_stuck(key);
    }
}
