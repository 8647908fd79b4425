//! Replacing and cancelling a stuck transaction, always under its own nonce.

use std::sync::Arc;

use tollway_core::{ChainError, Plan, PlannedPayment, Verified, mistake};

use super::op::NEVER;
use super::payment::planned;
use super::state::{Carried, Phase, Work};
use super::turn::Turn;
use super::{Effect, SlotKey, Subject, Ticket};

/// Cancellations that are tried at most after the replacements.
const MOST_CANCELLATIONS: usize = 8;

impl Turn<'_> {
    /// Only a lane's oldest transaction can be stuck; the others wait behind it.
    pub(super) fn replace_if_stuck(&mut self, key: &SlotKey) {
        let (now, rules) = (self.now, Arc::clone(&self.rules));
        let Some(slot) = self.state.slots.get(key) else {
            return;
        };
        if !slot.is_waiting() || !matches!(slot.work, Work::Idle) || now < slot.stuck_at {
            return;
        }
        let sent = slot.raws.len();
        let members = slot.members.clone();
        // Perhaps it waits for a nonce below it.
        self.want_nonce(&key.0);
        let oldest = self.waiting_slots(&key.0).next();
        if oldest.is_none_or(|(oldest, _)| oldest != key) {
            return self.not_stuck_before(key, now.plus(rules.stuck_after / 4));
        }
        if sent > rules.max_replacements + MOST_CANCELLATIONS {
            return self.not_stuck_before(key, NEVER);
        }
        if mistake::is("second_nonce_while_first_can_land") {
            self.not_stuck_before(key, NEVER);
            return members.iter().for_each(|id| self.back_to_plan(id));
        }
        let work = match sent <= rules.max_replacements && self.is_replaceable(key) {
            true => Work::Verify,
            false => Work::Plan {
                payments: Arc::default(),
            },
        };
        self.work_on(key, work);
    }

    fn not_stuck_before(&mut self, key: &SlotKey, at: tollway_core::Timestamp) {
        if let Some(slot) = self.slot_mut(key) {
            slot.stuck_at = at;
        }
    }

    /// Whether all of its payments can be sent again. Where one of them was
    /// decided otherwise, or is past its deadline, only a cancellation makes sense:
    /// the others go again under another nonce.
    fn is_replaceable(&self, key: &SlotKey) -> bool {
        let Some(slot) = self.state.slots.get(key) else {
            return false;
        };
        let alive = |carried: &Carried| {
            self.state.payments.get(&carried.id).is_some_and(|p| {
                matches!(p.phase, Phase::Submitted { .. }) && self.now < p.record.payment.deadline
            })
        };
        !slot.carries.is_empty() && slot.carries.iter().all(alive)
    }

    pub(super) fn replacement_effect(&self, key: &SlotKey, ticket: Ticket) -> Option<Effect> {
        let slot = self.state.slots.get(key)?;
        match &slot.work {
            Work::Verify => Some(Effect::ReVerifySlot {
                slot: key.clone(),
                ticket,
                payments: slot.carries.iter().map(|c| Arc::clone(&c.record)).collect(),
            }),
            Work::Plan { payments } => Some(Effect::Plan {
                subject: Subject::Slot(key.clone()),
                ticket,
                payments: Arc::clone(payments),
            }),
            _ => None,
        }
    }

    pub(super) fn replacement_verified(
        &mut self,
        key: &SlotKey,
        ticket: Ticket,
        results: Vec<Result<Verified, ChainError>>,
    ) {
        let Some(slot) = self.slot_mut(key) else {
            return;
        };
        if !slot.work_op.take(ticket) || !matches!(slot.work, Work::Verify) {
            return;
        }
        let mut payments = Vec::with_capacity(results.len());
        let mut refused = results.len() != slot.carries.len();
        let mut unknown = false;
        for (carried, result) in slot.carries.iter().zip(results) {
            match result {
                Ok(verified) => payments.push(planned(&carried.record, verified, false)),
                Err(ChainError::Refused(_)) => refused = true,
                Err(ChainError::Unavailable { .. }) => unknown = true,
            }
        }
        // One would not settle any more, or has settled already: a cancellation
        // moves nothing and frees the nonce in both cases.
        match (refused, unknown) {
            (true, _) => self.work_on(
                key,
                Work::Plan {
                    payments: Arc::default(),
                },
            ),
            (false, true) => self.postpone_replacement(key),
            (false, false) => self.work_on(
                key,
                Work::Plan {
                    payments: Arc::new(payments),
                },
            ),
        }
    }

    pub(super) fn planned_for_slot(
        &mut self,
        key: &SlotKey,
        ticket: Ticket,
        result: Result<Vec<Plan>, ChainError>,
    ) {
        let Some(slot) = self.slot_mut(key) else {
            return;
        };
        if !slot.work_op.take(ticket) {
            return;
        }
        let Work::Plan { payments } = &slot.work else {
            return;
        };
        let (payments, first) = (Arc::clone(payments), slot.raws.is_empty());
        let mut plans = result.unwrap_or_default().into_iter();
        match (plans.next(), plans.next()) {
            (Some(plan), None) if is_the_same(&plan, &payments) => {
                self.work_on(
                    key,
                    Work::Seal {
                        plan: Arc::new(plan),
                    },
                );
            }
            // What fills a gap: the ledger gives its nonce out again.
            _ if first => {
                self.drop_empty_slot(key);
            }
            // They do not fit into one transaction any more.
            (Some(_), Some(_)) => self.work_on(
                key,
                Work::Plan {
                    payments: Arc::default(),
                },
            ),
            _ => self.postpone_replacement(key),
        }
    }

    /// Tries again after a while; the transactions that are out go on being watched.
    pub(super) fn postpone_replacement(&mut self, key: &SlotKey) {
        let (now, pause) = (self.now, self.rules.retry_max);
        if let Some(slot) = self.slot_mut(key) {
            slot.work = Work::Idle;
            slot.stuck_at = now.plus(pause);
        }
    }
}

/// Whether a plan carries exactly these payments, in this order.
fn is_the_same(plan: &Plan, payments: &[PlannedPayment]) -> bool {
    let identity = |p: &PlannedPayment| p.verified.intent.identity.clone();
    plan.payments.len() == payments.len()
        && plan
            .payments
            .iter()
            .map(identity)
            .eq(payments.iter().map(identity))
}
