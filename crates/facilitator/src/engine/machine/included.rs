//! What is in a block that is not as deep as it must be: it is only watched.
//! Nothing is sent again or outbid, no window and no queue is filled by it, and
//! nothing is held of a balance that is less by it already.

use tollway_core::{Outcome, PaymentId};

use super::state::Slot;
use super::turn::Turn;
use super::{Effect, SlotKey, Update};

impl Turn<'_> {
    /// A look saw one of the slot's transactions in this block, or in none.
    pub(super) fn slot_included(&mut self, key: &SlotKey, block: Option<u64>) {
        let (now, stuck_after) = (self.now, self.rules.stuck_after);
        let Some(slot) = self.slot_mut(key) else {
            return;
        };
        let left = slot.included.is_some() && block.is_none();
        slot.included = block;
        if left {
            slot.stuck_at = now.plus(stuck_after);
            slot.send.due = slot.send.due.min(now);
            self.send(key);
        }
    }

    /// A look saw what the slot did for the payment.
    pub(super) fn payment_included(&mut self, id: &PaymentId, key: &SlotKey, outcome: &Outcome) {
        match outcome {
            Outcome::Included { block, moved: true } if self.is_undecided(id, key) => {
                if self.state.included.insert(id.clone(), *block).is_none() {
                    self.tell_inclusion(id, Update::Included);
                }
            }
            // It ends.
            Outcome::Settled(_) => {}
            _ => self.leave_block(id),
        }
    }

    /// Blocks from this one on are not what they were.
    pub(super) fn leave_blocks(&mut self, from: u64) {
        let included = self.state.included.iter();
        let left = included.filter(|(_, block)| **block >= from);
        for id in left.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.leave_block(&id);
        }
        let is_left = |slot: &Slot| slot.included.is_some_and(|block| block >= from);
        let slots = self.state.slots.iter().filter(|(_, slot)| is_left(slot));
        for key in slots.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.slot_included(&key, None);
        }
    }

    fn leave_block(&mut self, id: &PaymentId) {
        if self.state.included.remove(id).is_some() {
            self.tell_inclusion(id, Update::LeftBlock);
        }
    }

    fn tell_inclusion(
        &mut self,
        id: &PaymentId,
        update: fn(std::sync::Arc<tollway_ledger::PaymentRecord>) -> Update,
    ) {
        if let Some(payment) = self.state.payments.get(id) {
            let update = update(std::sync::Arc::clone(&payment.record));
            let id = id.clone();
            self.emit(Effect::NotifyWaiters { id, update });
        }
    }
}
