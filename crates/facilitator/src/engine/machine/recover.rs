//! Taking the ledger's open records into memory, at start and on a timer.

use std::collections::BTreeSet;

use tollway_core::PaymentId;
use tollway_ledger::{PaymentRecord, PaymentState, SlotRecord};

use super::SlotKey;
use super::payment::first_phase;
use super::state::{Phase, Slot, Turn, Work, is_terminal};

impl Turn<'_> {
    /// Adopts what is unknown. What memory knows is newer than any snapshot.
    pub(super) fn recovered(&mut self, payments: Vec<PaymentRecord>, slots: Vec<SlotRecord>) {
        for slot in slots {
            self.adopt_slot(slot, &payments);
        }
        for record in payments {
            if !is_terminal(record.state) {
                self.adopt_open(record);
            }
        }
    }

    fn adopt_slot(&mut self, record: SlotRecord, payments: &[PaymentRecord]) {
        let key: SlotKey = (record.signer.clone(), record.nonce);
        // A slot without bytes carries nothing; the ledger gives it out again.
        if record.raws.is_empty()
            || record.network != self.state.network
            || self.state.slots.contains_key(&key)
            || self.state.closed.contains(&key)
        {
            return;
        }
        let carried = |id: &PaymentId| payments.iter().find(|p| p.id == *id);
        let carries = record
            .payments
            .iter()
            .filter_map(carried)
            .map(|p| {
                let facts = &p.payment;
                (p.id.clone(), facts.identity.clone(), facts.expected.clone())
            })
            .collect();
        let members: BTreeSet<PaymentId> = record
            .payments
            .iter()
            .filter_map(carried)
            .filter(|p| p.state == PaymentState::Submitted)
            .filter(|p| {
                p.slot
                    .as_ref()
                    .is_some_and(|s| (&s.1, s.2) == (&key.0, key.1))
            })
            .map(|p| p.id.clone())
            .collect();
        let mut slot = Slot::new(carries, Work::Idle);
        slot.members = members;
        slot.raws = record.raws;
        slot.stuck_at = self.now.plus(self.state.rules.stuck_after);
        self.state.slots.insert(key.clone(), slot);
        // The same bytes again: whether they ever left is not known.
        self.send(&key);
    }

    fn adopt_open(&mut self, record: PaymentRecord) {
        if record.payment.identity.network != self.state.network || self.knows(&record.id) {
            return;
        }
        let id = record.id.clone();
        let phase = if record.state == PaymentState::Submitted {
            let slot = record.slot.as_ref().map(|(_, s, n)| (s.clone(), *n));
            Phase::Submitted {
                slot: slot.filter(|key| self.state.slots.contains_key(key)),
            }
        } else {
            first_phase(&record)
        };
        self.adopt(record, phase);
        self.drive(&id);
    }
}
