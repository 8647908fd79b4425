//! Taking the ledger's open records into memory: at start, on a timer, and
//! after a payment was taken back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tollway_core::{PaymentId, mistake};
use tollway_ledger::{PaymentRecord, PaymentState, SlotRecord};

use super::payment::first_phase;
use super::state::{Carried, Phase, Slot, Work, is_terminal};
use super::turn::Turn;
use super::{Effect, SlotKey, Update};

type Known = BTreeMap<PaymentId, Arc<PaymentRecord>>;

impl Turn<'_> {
    /// Adopts what is unknown. What memory knows is newer than any snapshot.
    pub(super) fn recovered(&mut self, payments: Vec<PaymentRecord>, slots: Vec<SlotRecord>) {
        let known: Known = payments
            .into_iter()
            .map(|p| (p.id.clone(), Arc::new(p)))
            .collect();
        for slot in slots {
            self.adopt_slot(slot, &known);
        }
        for record in known.into_values() {
            let forgotten =
                mistake::is("recovery_forgets_signed") && record.state == PaymentState::Submitted;
            if !is_terminal(record.state) && !forgotten {
                self.adopt_open(record);
            }
        }
    }

    fn adopt_slot(&mut self, record: SlotRecord, payments: &Known) {
        let key: SlotKey = (record.signer.clone(), record.nonce);
        // A slot without bytes carries nothing; the ledger gives it out again.
        if record.raws.is_empty()
            || record.network != self.state.network
            || self.state.closed.contains(&key)
        {
            return;
        }
        let carried = |id: &PaymentId| payments.get(id);
        let members: BTreeSet<PaymentId> = record
            .payments
            .iter()
            .filter_map(carried)
            .filter(|p| p.state == PaymentState::Submitted && !self.knows(&p.id))
            .filter(|p| {
                p.slot
                    .as_ref()
                    .is_some_and(|s| (&s.1, s.2) == (&key.0, key.1))
            })
            .map(|p| p.id.clone())
            .collect();
        if let Some(slot) = self.slot_mut(&key) {
            if members.is_empty() {
                return;
            }
            // Taken back: what it carries is open again.
            slot.members.extend(members);
            slot.included = None;
            slot.go_on();
            self.state.watcher.dirty = true;
            return;
        }
        if !self.may_work_on(&key) {
            return;
        }
        let carries = record
            .payments
            .iter()
            .filter_map(carried)
            .map(|p| Carried {
                id: p.id.clone(),
                record: Arc::clone(p),
            })
            .collect();
        let mut slot = Slot::new(carries, Work::Idle);
        slot.members = members;
        slot.raws = record.raws;
        slot.stuck_at = self.now.plus(self.rules.stuck_after);
        self.state.slots.insert(key.clone(), slot);
        self.state.watcher.dirty = true;
        self.state.watcher.op.due = self.state.watcher.op.due.min(self.now);
        // The same bytes again: whether they ever left is not known.
        self.send(&key);
        self.mind_the_orphan(&key);
    }

    /// Whether the signer is not another machine's.
    fn may_work_on(&self, key: &SlotKey) -> bool {
        let lane = self.state.lanes.get(&key.0);
        lane.is_none_or(|lane| lane.lease.is_some())
    }

    fn adopt_open(&mut self, record: Arc<PaymentRecord>) {
        if record.payment.identity.network != self.state.network || self.knows(&record.id) {
            return;
        }
        let id = record.id.clone();
        let phase = match (&record.state, &record.slot) {
            (PaymentState::Submitted, slot) => {
                let slot = slot.as_ref().map(|(_, s, n)| (s.clone(), *n));
                match slot {
                    Some(key) if !self.may_work_on(&key) => Phase::GiveUp,
                    slot => Phase::Submitted {
                        slot: slot.filter(|key| self.state.slots.contains_key(key)),
                    },
                }
            }
            _ => first_phase(&record),
        };
        self.emit(Effect::NotifyWaiters {
            id: id.clone(),
            update: Update::Resumed(Arc::clone(&record)),
        });
        self.adopt(record, phase);
        self.drive(&id);
    }
}
