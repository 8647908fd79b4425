//! Replacing and cancelling a stuck transaction, always under its own nonce.

use std::sync::Arc;

use tollway_core::{ChainError, PaymentId, Plan, PlannedPayment, Verified};

use super::payment::planned;
use super::state::{Phase, Turn, Work};
use super::{Effect, SlotKey, Subject, Ticket};

impl Turn<'_> {
    /// Only a lane's oldest transaction can be stuck; the others wait behind it.
    pub(super) fn replace_if_stuck(&mut self, key: &SlotKey) {
        let now = self.now;
        let stuck = self.state.slots.get(key).is_some_and(|s| {
            s.is_live()
                && matches!(s.work, Work::Idle)
                && now >= s.stuck_at
                && s.raws.len() <= self.state.rules.max_replacements
        });
        let oldest = self
            .slots_of(&key.0)
            .find(|(_, s)| s.is_live())
            .map(|(k, _)| k.clone());
        if !stuck || oldest.as_ref() != Some(key) {
            return;
        }
        let work = match self.replaceable(key) {
            Some(left) => Work::Verify {
                left,
                done: Vec::new(),
            },
            None => Work::Plan {
                payments: Vec::new(),
            },
        };
        self.work_on(key, work);
    }

    /// The payments of a replacement; `None` where only a cancellation makes
    /// sense: one of them was decided otherwise, or is past its deadline.
    fn replaceable(&self, key: &SlotKey) -> Option<Vec<PaymentId>> {
        let slot = self.state.slots.get(key)?;
        let alive = |id: &PaymentId| {
            self.state.payments.get(id).is_some_and(|p| {
                matches!(p.phase, Phase::Submitted { .. }) && self.now < p.record.payment.deadline
            })
        };
        let all: Vec<PaymentId> = slot.carries.iter().map(|(id, _, _)| id.clone()).collect();
        (!all.is_empty() && all.iter().all(alive)).then_some(all)
    }

    pub(super) fn replacement_effect(&self, key: &SlotKey, ticket: Ticket) -> Option<Effect> {
        let subject = Subject::Slot(key.clone());
        match &self.state.slots.get(key)?.work {
            Work::Verify { left, .. } => {
                let payment = self.state.payments.get(left.first()?)?;
                Some(Effect::ReVerify {
                    subject,
                    ticket,
                    payment: Arc::clone(&payment.record),
                })
            }
            Work::Plan { payments } => Some(Effect::Plan {
                subject,
                ticket,
                payments: payments.clone(),
            }),
            _ => None,
        }
    }

    pub(super) fn replacement_verified(
        &mut self,
        key: &SlotKey,
        ticket: Ticket,
        result: Result<Verified, ChainError>,
    ) {
        let Some(slot) = self.state.slots.get_mut(key) else {
            return;
        };
        if !slot.work_op.take(ticket) {
            return;
        }
        let Work::Verify { left, done } = &slot.work else {
            return;
        };
        let (mut left, mut done): (Vec<PaymentId>, Vec<PlannedPayment>) =
            (left.clone(), done.clone());
        match result {
            Ok(verified) => {
                let id = left.remove(0);
                if let Some(payment) = self.state.payments.get(&id) {
                    done.push(planned(&payment.record, verified));
                }
                let work = if left.is_empty() {
                    Work::Plan { payments: done }
                } else {
                    Work::Verify { left, done }
                };
                self.work_on(key, work);
            }
            // It would not settle any more, or it has settled already: a
            // cancellation moves nothing and frees the nonce in both cases.
            Err(ChainError::Refused(_)) => self.work_on(
                key,
                Work::Plan {
                    payments: Vec::new(),
                },
            ),
            Err(ChainError::Unavailable { .. }) => self.postpone_replacement(key),
        }
    }

    pub(super) fn replacement_planned(
        &mut self,
        key: &SlotKey,
        ticket: Ticket,
        result: Result<Vec<Plan>, ChainError>,
    ) {
        let Some(slot) = self.state.slots.get_mut(key) else {
            return;
        };
        if !slot.work_op.take(ticket) {
            return;
        }
        let Work::Plan { payments } = &slot.work else {
            return;
        };
        let wanted = payments.len();
        match result.map(|plans| plans.into_iter().next()) {
            Ok(Some(plan)) if plan.payments.len() == wanted => {
                self.work_on(key, Work::Seal { plan });
            }
            _ => self.postpone_replacement(key),
        }
    }

    /// Tries again after a while; the transactions that are out go on being watched.
    pub(super) fn postpone_replacement(&mut self, key: &SlotKey) {
        let (now, pause) = (self.now, self.state.rules.retry_max);
        if let Some(slot) = self.state.slots.get_mut(key) {
            slot.work = Work::Idle;
            slot.stuck_at = now.plus(pause);
        }
    }
}
