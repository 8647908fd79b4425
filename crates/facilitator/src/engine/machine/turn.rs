//! One application of an event.

use std::sync::Arc;

use tollway_core::{PaymentId, Timestamp};

use super::alarm::Sleeper;
use super::op::NEVER;
use super::state::{Lane, Payment, Slot, State};
use super::{Effect, Rules, SlotKey, Ticket};

/// Alarms that may be set beyond what is needed before the heap is swept.
const SPARE_ALARMS: usize = 4096;

/// One application of an event: the state, the moment, and what comes out.
pub(super) struct Turn<'a> {
    pub(super) state: &'a mut State,
    pub(super) rules: Arc<Rules>,
    pub(super) now: Timestamp,
    pub(super) endings: Vec<PaymentId>,
    touched_payments: Vec<PaymentId>,
    touched_slots: Vec<SlotKey>,
    effects: Vec<Effect>,
}

impl<'a> Turn<'a> {
    pub(super) fn new(state: &'a mut State, now: Timestamp) -> Self {
        Self {
            rules: Arc::clone(&state.rules),
            state,
            now,
            endings: Vec::new(),
            touched_payments: Vec::new(),
            touched_slots: Vec::new(),
            effects: Vec::new(),
        }
    }

    pub(super) fn finish(mut self) -> Vec<Effect> {
        self.fill_lanes();
        self.emit_endings();
        self.look_if_due();
        self.arm();
        self.effects
    }

    pub(super) fn emit(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(super) fn ticket(&mut self) -> Ticket {
        self.state.last_ticket += 1;
        self.state.last_ticket
    }

    /// A payment that may change: its alarm is set anew when the turn ends.
    pub(super) fn payment_mut(&mut self, id: &PaymentId) -> Option<&mut Payment> {
        let payment = self.state.payments.get_mut(id)?;
        self.touched_payments.push(id.clone());
        Some(payment)
    }

    /// A slot that may change: its alarm is set anew when the turn ends.
    pub(super) fn slot_mut(&mut self, key: &SlotKey) -> Option<&mut Slot> {
        let slot = self.state.slots.get_mut(key)?;
        if self.touched_slots.last() != Some(key) {
            self.touched_slots.push(key.clone());
        }
        Some(slot)
    }

    /// Time: whoever's alarm rings is looked at, and what is old is forgotten.
    pub(super) fn tick(&mut self) {
        while let Some((at, sleeper)) = self.state.alarms.ring(self.now) {
            match sleeper {
                Sleeper::Payment(id) => {
                    let armed = self.payment_mut(&id).filter(|p| p.armed == at);
                    if let Some(payment) = armed {
                        payment.armed = NEVER;
                        self.wake_payment(&id);
                    }
                }
                Sleeper::Slot(key) => {
                    let armed = self.slot_mut(&key).filter(|s| s.armed == at);
                    if let Some(slot) = armed {
                        slot.armed = NEVER;
                        self.wake_slot(&key);
                    }
                }
                Sleeper::Lane(signer) => {
                    let lane = self.state.lanes.get_mut(&signer);
                    if let Some(lane) = lane.filter(|l| l.armed == at) {
                        lane.armed = NEVER;
                        self.wake_lane(&signer);
                    }
                }
                Sleeper::Block(number) => self.wake_block(number),
                Sleeper::Finals => self.wake_finals(),
                Sleeper::Watcher => self.wake_watcher(),
                // The queue is looked at when the turn ends.
                Sleeper::Queue => {}
            }
        }
        let (now, retention) = (self.now, self.rules.retention);
        self.state.ended.forget(now, retention);
        self.state.closed.forget(now, retention);
    }

    /// Sets the alarms of all that may have changed.
    fn arm(&mut self) {
        let rules = &self.rules;
        let State {
            payments,
            slots,
            lanes,
            alarms,
            ..
        } = &mut *self.state;
        for id in self.touched_payments.drain(..) {
            if let Some(payment) = payments.get_mut(&id) {
                let at = payment.alarm(rules);
                if at < payment.armed {
                    payment.armed = at;
                    alarms.set(at, Sleeper::Payment(id));
                }
            }
        }
        for key in self.touched_slots.drain(..) {
            if let Some(slot) = slots.get_mut(&key) {
                let at = slot.alarm(rules);
                if at < slot.armed {
                    slot.armed = at;
                    alarms.set(at, Sleeper::Slot(key));
                }
            }
        }
        for (signer, lane) in lanes.iter_mut() {
            let at = lane_alarm(lane, rules);
            if at < lane.armed {
                lane.armed = at;
                alarms.set(at, Sleeper::Lane(signer.clone()));
            }
        }
        if alarms.len() > SPARE_ALARMS + 4 * (payments.len() + slots.len()) {
            alarms.sweep(|at, sleeper| match sleeper {
                Sleeper::Payment(id) => payments.get(id).is_some_and(|p| p.armed == at),
                Sleeper::Slot(key) => slots.get(key).is_some_and(|s| s.armed == at),
                _ => true,
            });
        }
    }
}

fn lane_alarm(lane: &Lane, rules: &Rules) -> Timestamp {
    let nonce = match lane.wants_nonce {
        true => lane.nonce_op.alarm(rules),
        false => lane.nonce_op.lost_alarm(rules),
    };
    let gap = lane.gap_op.lost_alarm(rules);
    lane.op.lost_alarm(rules).min(nonce).min(gap)
}
