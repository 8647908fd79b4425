//! A payment's own steps: verify, plan, observe, conclude, reload.

use std::sync::Arc;

use tollway_core::{
    ChainError, Charge, Outcome, PaymentId, Plan, PlannedPayment, Settlement, Verified, codes,
};
use tollway_ledger::{Conclusion, LedgerError, PaymentRecord, SlotRecord};

use super::state::{Op, Payment, Phase, Turn, is_terminal};
use super::{Effect, Subject, Ticket, Update};

/// Nothing could be signed in time.
const NOT_SIGNED_IN_TIME: (&str, &str) = (
    codes::SETTLEMENT_FAILED,
    "The payment could not be submitted in time and nothing was sent; sign a new payment and try again.",
);

/// The authorization was used otherwise, or the attempts are used up.
const CANNOT_LAND: (&str, &str) = (
    codes::INVALID_TRANSACTION_STATE,
    "The authorization was used or cancelled without the expected transfer; sign a new payment.",
);

impl Turn<'_> {
    pub(super) fn accepted(&mut self, record: PaymentRecord, verified: Option<Box<Verified>>) {
        let id = record.id.clone();
        if self.knows(&id) {
            return;
        }
        let phase = match (&record.payment.settlement, verified) {
            (Settlement::Submit, Some(verified)) => Phase::Plan(verified),
            _ => first_phase(&record),
        };
        self.adopt(record, phase);
        self.drive(&id);
    }

    /// Whether memory knows better than any snapshot.
    pub(super) fn knows(&self, id: &PaymentId) -> bool {
        self.state.payments.contains_key(id) || self.state.ended.contains(id)
    }

    /// Takes a record into memory in the given phase.
    pub(super) fn adopt(&mut self, record: PaymentRecord, phase: Phase) {
        let payment = Payment {
            attempts: record.attempts,
            unsigned_since: self.now,
            verified_at: self.now,
            op: Op::now(),
            phase,
            record: Arc::new(record),
        };
        self.state
            .payments
            .insert(payment.record.id.clone(), payment);
    }

    /// Moves a payment on and asks what the new phase needs.
    pub(super) fn enter(&mut self, id: &PaymentId, phase: Phase, op: Op) {
        if let Some(payment) = self.state.payments.get_mut(id) {
            payment.phase = phase;
            payment.op = op;
        }
        self.drive(id);
    }

    /// Ends a payment: the ledger first.
    pub(super) fn conclude(&mut self, id: &PaymentId, conclusion: Conclusion) {
        let slot = self.state.payments.get(id).and_then(|p| p.slot().cloned());
        self.enter(id, Phase::Conclude { slot, conclusion }, Op::now());
    }

    pub(super) fn refuse(&mut self, id: &PaymentId, code: &str, message: &str) {
        let conclusion = Conclusion::Refused {
            code: code.to_owned(),
            message: message.to_owned(),
        };
        self.conclude(id, conclusion);
    }

    /// Refuses what nothing is signed for, unless somebody else settled it: the
    /// payer may have sent the authorization himself since it was accepted.
    pub(super) fn refuse_unsigned(&mut self, id: &PaymentId, code: &str, message: &str) {
        let phase = Phase::LastLook {
            code: code.to_owned(),
            message: message.to_owned(),
        };
        self.enter(id, phase, Op::now());
    }

    pub(super) fn refuse_not_signed(&mut self, id: &PaymentId) {
        self.refuse(id, NOT_SIGNED_IN_TIME.0, NOT_SIGNED_IN_TIME.1);
    }

    pub(super) fn is_unsigned_for_too_long(&self, id: &PaymentId) -> bool {
        let (now, rules) = (self.now, &self.state.rules);
        let payment = self.state.payments.get(id);
        payment.is_some_and(|p| p.is_late(rules, now))
    }

    pub(super) fn refuse_cannot_land(&mut self, id: &PaymentId) {
        self.refuse(id, CANNOT_LAND.0, CANNOT_LAND.1);
    }

    /// Asks what the payment's phase needs, if that is due.
    pub(super) fn drive(&mut self, id: &PaymentId) {
        let now = self.now;
        let due = self
            .state
            .payments
            .get(id)
            .is_some_and(|p| p.op.is_due(now));
        if !due {
            return;
        }
        let ticket = self.ticket();
        let Some(payment) = self.state.payments.get_mut(id) else {
            return;
        };
        if let Some(effect) = effect_of(payment, ticket, now) {
            payment.op.begin(ticket, now);
            self.emit(effect);
        }
    }

    /// The payment if this answer is the one it waits for.
    pub(super) fn answered(&mut self, id: &PaymentId, ticket: Ticket) -> Option<&mut Payment> {
        let payment = self.state.payments.get_mut(id)?;
        payment.op.take(ticket).then_some(payment)
    }

    pub(super) fn retry_payment(&mut self, id: &PaymentId) {
        let now = self.now;
        let rules = &self.state.rules;
        if let Some(payment) = self.state.payments.get_mut(id) {
            payment.op.retry(rules, now);
        }
    }

    pub(super) fn payment_verified(
        &mut self,
        id: &PaymentId,
        ticket: Ticket,
        result: Result<Verified, ChainError>,
    ) {
        let now = self.now;
        let Some(payment) = self.answered(id, ticket) else {
            return;
        };
        if !matches!(payment.phase, Phase::Verify) {
            return;
        }
        payment.verified_at = now;
        match result {
            Ok(verified) => self.enter(id, Phase::Plan(Box::new(verified)), Op::now()),
            Err(ChainError::Refused(refusal)) => {
                self.refuse_unsigned(id, refusal.code(), refusal.message());
            }
            Err(ChainError::Unavailable { .. }) => self.retry_payment(id),
        }
    }

    pub(super) fn payment_planned(
        &mut self,
        id: &PaymentId,
        ticket: Ticket,
        result: Result<Vec<Plan>, ChainError>,
    ) {
        let Some(payment) = self.answered(id, ticket) else {
            return;
        };
        if !matches!(payment.phase, Phase::Plan(_)) {
            return;
        }
        match result.map(|plans| plans.into_iter().next()) {
            Ok(Some(plan)) => {
                payment.phase = Phase::Wait(plan);
                payment.op = Op::now();
                self.state.queue.push_back(id.clone());
            }
            Err(ChainError::Refused(refusal)) => {
                self.refuse_unsigned(id, refusal.code(), refusal.message());
            }
            Ok(None) | Err(ChainError::Unavailable { .. }) => self.retry_payment(id),
        }
    }

    pub(super) fn observed(
        &mut self,
        id: &PaymentId,
        ticket: Ticket,
        result: Result<Outcome, ChainError>,
    ) {
        let (now, rules) = (self.now, self.state.rules.clone());
        let Some(payment) = self.answered(id, ticket) else {
            return;
        };
        if !matches!(payment.phase, Phase::Observe) {
            return;
        }
        match result {
            Ok(Outcome::Settled(settled)) => self.conclude(id, Conclusion::Settled(settled)),
            Ok(Outcome::NotSettled(_)) => self.refuse_cannot_land(id),
            Err(ChainError::Refused(refusal)) => {
                self.refuse(id, refusal.code(), refusal.message());
            }
            Ok(Outcome::Unknown) if now < payment.expires_at(&rules) => {
                payment.op.again_at(now.plus(rules.poll_interval));
            }
            Ok(Outcome::Unknown) => self.look_up(id, None),
            Err(ChainError::Unavailable { .. }) => self.retry_payment(id),
        }
    }

    pub(super) fn concluded(
        &mut self,
        id: &PaymentId,
        ticket: Ticket,
        result: Result<PaymentRecord, LedgerError>,
    ) {
        if self.answered(id, ticket).is_none() {
            return;
        }
        match result {
            Ok(record) => self.done(record),
            Err(error) => self.after_ledger_error(id, &error),
        }
    }

    /// A storage failure is retried; a disagreement is settled by reading again.
    pub(super) fn after_ledger_error(&mut self, id: &PaymentId, error: &LedgerError) {
        if error.is_storage() {
            self.retry_payment(id);
        } else {
            self.enter(id, Phase::Reload, Op::now());
        }
    }

    /// The payment ended, durably.
    fn done(&mut self, record: PaymentRecord) {
        let id = record.id.clone();
        let known = self.state.payments.remove(&id);
        let slot = known.and_then(|p| p.slot().cloned());
        self.state.ended.add(id.clone(), self.now);
        self.leave_slots(&id, slot.as_ref());
        self.emit(Effect::NotifyWaiters {
            id,
            update: Update::Ended(Arc::new(record)),
        });
    }

    pub(super) fn reloaded(
        &mut self,
        id: &PaymentId,
        ticket: Ticket,
        result: Result<Option<(PaymentRecord, Option<SlotRecord>)>, LedgerError>,
    ) {
        if self.answered(id, ticket).is_none() {
            return;
        }
        match result {
            Err(_) => self.retry_payment(id),
            Ok(None) => {
                self.leave_slots(id, None);
                self.state.payments.remove(id);
            }
            Ok(Some((record, _))) if is_terminal(record.state) => self.done(record),
            Ok(Some((record, slot))) => {
                self.leave_slots(id, None);
                self.state.payments.remove(id);
                self.recovered(vec![record], slot.into_iter().collect());
            }
        }
    }

    pub(super) fn tick_payments(&mut self) {
        let (now, rules) = (self.now, self.state.rules.clone());
        let ids: Vec<PaymentId> = self.state.payments.keys().cloned().collect();
        for id in ids {
            let Some(payment) = self.state.payments.get_mut(&id) else {
                continue;
            };
            payment.op.forget_lost(&rules, now);
            if payment.is_unsigned() && payment.is_late(&rules, now) {
                self.refuse_unsigned(&id, NOT_SIGNED_IN_TIME.0, NOT_SIGNED_IN_TIME.1);
            } else if matches!(payment.phase, Phase::Submitted { .. })
                && now >= payment.expires_at(&rules)
            {
                self.look_up(&id, None);
            } else {
                self.drive(&id);
            }
        }
    }
}

/// Where a record that is `accepted` starts.
pub(super) fn first_phase(record: &PaymentRecord) -> Phase {
    match record.payment.settlement {
        Settlement::Submit => Phase::Verify,
        Settlement::Observe { .. } => Phase::Observe,
        Settlement::Accumulate { .. } | Settlement::Nothing => Phase::Conclude {
            slot: None,
            conclusion: Conclusion::SettledWithoutTransaction,
        },
    }
}

/// A verified payment with what it is charged.
pub(super) fn planned(record: &PaymentRecord, verified: Verified) -> PlannedPayment {
    PlannedPayment {
        verified,
        charge: Charge {
            amount: record.payment.expected.amount,
        },
        alone: true,
    }
}

fn effect_of(
    payment: &mut Payment,
    ticket: Ticket,
    now: tollway_core::Timestamp,
) -> Option<Effect> {
    let record = &payment.record;
    let id = record.id.clone();
    let facts = &record.payment;
    Some(match &mut payment.phase {
        Phase::Verify => Effect::ReVerify {
            subject: Subject::Payment(id),
            ticket,
            payment: Arc::clone(record),
        },
        Phase::Plan(verified) => Effect::Plan {
            subject: Subject::Payment(id),
            ticket,
            payments: vec![planned(record, (**verified).clone())],
        },
        Phase::Observe => Effect::Observe {
            id,
            ticket,
            transaction: match &facts.settlement {
                Settlement::Observe { transaction } => transaction.clone(),
                _ => return None,
            },
            identity: facts.identity.clone(),
            expected: facts.expected.clone(),
            finality: facts.finality,
        },
        Phase::Lookup { asked_at, .. } => {
            *asked_at = now;
            Effect::Lookup {
                id,
                ticket,
                identity: facts.identity.clone(),
                expected: facts.expected.clone(),
                finality: facts.finality,
            }
        }
        Phase::LastLook { .. } => Effect::Lookup {
            id,
            ticket,
            identity: facts.identity.clone(),
            expected: facts.expected.clone(),
            finality: facts.finality,
        },
        Phase::Reopen { proof, .. } => Effect::Reopen {
            id,
            ticket,
            proof: proof.clone(),
        },
        Phase::Conclude { conclusion, .. } => Effect::Conclude {
            id,
            ticket,
            conclusion: conclusion.clone(),
        },
        Phase::Reload => Effect::Reload { id, ticket },
        Phase::Wait(_) | Phase::OnLane | Phase::Submitted { .. } => {
            return None;
        }
    })
}
