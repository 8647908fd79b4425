//! A payment's own steps: verify, observe, conclude, reload, give up.

use std::sync::Arc;

use tollway_core::{
    ChainError, Charge, Outcome, PaymentId, PlannedPayment, Settlement, Timestamp, Verified, codes,
};
use tollway_ledger::{Conclusion, LedgerError, PaymentRecord};

use super::op::Op;
use super::state::{Payment, Phase, is_terminal};
use super::turn::Turn;
use super::types::Records;
use super::{Effect, Ticket, Update};

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

/// Payments that are ended in one step at most.
const MOST_ENDINGS: usize = 512;

impl Turn<'_> {
    pub(super) fn accepted(&mut self, record: Arc<PaymentRecord>, verified: Option<Box<Verified>>) {
        let id = record.id.clone();
        if self.knows(&id) {
            return;
        }
        match (&record.payment.settlement, verified) {
            (Settlement::Submit, Some(verified)) => {
                self.adopt(record, Phase::Verify);
                self.wait_in_queue(&id, verified);
            }
            _ => {
                let phase = first_phase(&record);
                self.adopt(record, phase);
                self.drive(&id);
            }
        }
    }

    /// Whether memory knows better than any snapshot.
    pub(super) fn knows(&self, id: &PaymentId) -> bool {
        self.state.payments.contains_key(id) || self.state.ended.contains(id)
    }

    /// Takes a record into memory in the given phase.
    pub(super) fn adopt(&mut self, record: Arc<PaymentRecord>, phase: Phase) {
        let id = record.id.clone();
        let payment = Payment::new(record, phase, self.now);
        self.state.payments.insert(id.clone(), payment);
        // Its alarm is set when the turn ends.
        let _ = self.payment_mut(&id);
    }

    /// Moves a payment on and asks what the new phase needs.
    pub(super) fn enter(&mut self, id: &PaymentId, phase: Phase, op: Op) {
        if let Some(payment) = self.payment_mut(id) {
            payment.phase = phase;
            payment.op = op;
        }
        self.drive(id);
    }

    /// Ends a payment: the ledger first.
    pub(super) fn conclude(&mut self, id: &PaymentId, conclusion: Conclusion) {
        let slot = self.state.payments.get(id).and_then(|p| p.slot().cloned());
        if let (Some(key), Conclusion::Settled(settled)) = (&slot, &conclusion)
            && settled.by_third_party
        {
            self.forgive(key, id);
        }
        let conclusion = Box::new(conclusion);
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
        let (now, rules) = (self.now, &self.rules);
        let payment = self.state.payments.get(id);
        payment.is_some_and(|p| p.is_late(rules, now))
    }

    /// Whether its deadline passed so long ago that finality shows it.
    pub(super) fn is_expired(&self, id: &PaymentId) -> bool {
        let payment = self.state.payments.get(id);
        payment.is_none_or(|p| self.now >= p.expires_at(&self.rules))
    }

    pub(super) fn refuse_cannot_land(&mut self, id: &PaymentId) {
        self.refuse(id, CANNOT_LAND.0, CANNOT_LAND.1);
    }

    /// Asks what the payment's phase needs, if that is due.
    pub(super) fn drive(&mut self, id: &PaymentId) {
        let now = self.now;
        let Some(payment) = self.state.payments.get(id) else {
            return;
        };
        if !payment.op.is_due(now) {
            return;
        }
        if matches!(payment.phase, Phase::Conclude { .. }) {
            self.endings.push(id.clone());
            return;
        }
        let ticket = self.ticket();
        let Some(payment) = self.payment_mut(id) else {
            return;
        };
        if let Some(effect) = effect_of(payment, ticket, now) {
            payment.op.begin(ticket, now);
            self.emit(effect);
        }
    }

    /// What ends in this turn ends in one durable step.
    pub(super) fn emit_endings(&mut self) {
        let ids = std::mem::take(&mut self.endings);
        let now = self.now;
        for chunk in ids.chunks(MOST_ENDINGS) {
            let ticket = self.ticket();
            let mut endings = Vec::with_capacity(chunk.len());
            for id in chunk {
                let Some(payment) = self.payment_mut(id) else {
                    continue;
                };
                let Phase::Conclude { conclusion, .. } = &payment.phase else {
                    continue;
                };
                if payment.op.is_due(now) {
                    endings.push((id.clone(), Conclusion::clone(conclusion)));
                    payment.op.begin(ticket, now);
                }
            }
            if !endings.is_empty() {
                self.emit(Effect::Conclude { ticket, endings });
            }
        }
    }

    /// The payment if this answer is the one it waits for.
    pub(super) fn answered(&mut self, id: &PaymentId, ticket: Ticket) -> Option<&mut Payment> {
        let payment = self.payment_mut(id)?;
        payment.op.take(ticket).then_some(payment)
    }

    pub(super) fn retry_payment(&mut self, id: &PaymentId) {
        let (now, rules) = (self.now, Arc::clone(&self.rules));
        if let Some(payment) = self.payment_mut(id) {
            payment.op.retry(&rules, now);
        }
    }

    pub(super) fn payment_verified(
        &mut self,
        id: &PaymentId,
        ticket: Ticket,
        result: Result<Verified, ChainError>,
    ) {
        let Some(payment) = self.answered(id, ticket) else {
            return;
        };
        if !matches!(payment.phase, Phase::Verify) {
            return;
        }
        match result {
            Ok(verified) => self.wait_in_queue(id, Box::new(verified)),
            Err(ChainError::Refused(refusal)) => {
                self.refuse_unsigned(id, refusal.code(), refusal.message());
            }
            Err(ChainError::Unavailable { .. }) => self.retry_payment(id),
        }
    }

    pub(super) fn observed(
        &mut self,
        id: &PaymentId,
        ticket: Ticket,
        result: Result<Outcome, ChainError>,
    ) {
        let (now, rules) = (self.now, Arc::clone(&self.rules));
        let block = self.state.block_interval().unwrap_or_default();
        let pause = block.min(rules.block_time).max(rules.poll_interval);
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
            // It was seen before it was accepted: a node may lag, or a block was replaced.
            Ok(Outcome::Unknown) if payment.is_gone(&rules, now) => {
                self.conclude(id, Conclusion::Expired);
            }
            Ok(Outcome::Unknown) => payment.op.again_at(now.plus(pause)),
            Ok(Outcome::Included { .. }) => {
                payment.missing = None;
                payment.op.again_at(now.plus(pause));
            }
            Err(ChainError::Unavailable { .. }) => self.retry_payment(id),
        }
    }

    pub(super) fn concluded(
        &mut self,
        ticket: Ticket,
        results: Vec<(PaymentId, Result<Arc<PaymentRecord>, LedgerError>)>,
    ) {
        for (id, result) in results {
            if self.answered(&id, ticket).is_none() {
                continue;
            }
            match result {
                Ok(record) => self.done(record),
                Err(error) => self.after_ledger_error(&id, &error),
            }
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
    fn done(&mut self, record: Arc<PaymentRecord>) {
        let id = record.id.clone();
        let known = self.state.payments.remove(&id);
        self.state.included.remove(&id);
        let slot = known.and_then(|p| p.slot().cloned());
        self.state.ended.add(id.clone(), self.now);
        self.keep_watching(&record);
        self.not_overtaken(&id);
        self.leave_slots(&id, slot.as_ref());
        self.emit(Effect::NotifyWaiters {
            id,
            update: Update::Ended(record),
        });
    }

    pub(super) fn reloaded(
        &mut self,
        id: &PaymentId,
        ticket: Ticket,
        result: Result<Option<Records>, LedgerError>,
    ) {
        if self.answered(id, ticket).is_none() {
            return;
        }
        let (payments, slots) = match result {
            Err(_) => return self.retry_payment(id),
            Ok(None) => return self.forget(id),
            Ok(Some(records)) => records,
        };
        match payments.iter().find(|p| p.id == *id) {
            Some(record) if is_terminal(record.state) => self.done(Arc::new(record.clone())),
            _ => {
                self.forget(id);
                self.recovered(payments, slots);
            }
        }
    }

    /// It is not ours, or is read anew.
    fn forget(&mut self, id: &PaymentId) {
        self.leave_slots(id, None);
        self.state.included.remove(id);
        if let Some(payment) = self.state.payments.remove(id) {
            self.emit(Effect::NotifyWaiters {
                id: id.clone(),
                update: Update::Left(payment.record),
            });
        }
    }

    pub(super) fn given_up(
        &mut self,
        id: &PaymentId,
        ticket: Ticket,
        result: Result<(), LedgerError>,
    ) {
        if self.answered(id, ticket).is_none() {
            return;
        }
        match result {
            Ok(()) => self.forget(id),
            Err(error) => self.after_ledger_error(id, &error),
        }
    }

    /// Its alarm rang.
    pub(super) fn wake_payment(&mut self, id: &PaymentId) {
        let (now, rules) = (self.now, Arc::clone(&self.rules));
        let Some(payment) = self.payment_mut(id) else {
            return;
        };
        payment.op.forget_lost(&rules, now);
        if payment.is_unsigned() && payment.is_late(&rules, now) {
            self.refuse_unsigned(id, NOT_SIGNED_IN_TIME.0, NOT_SIGNED_IN_TIME.1);
        } else if matches!(payment.phase, Phase::Submitted { .. })
            && now >= payment.expires_at(&rules)
        {
            self.look_up(id, None);
        } else {
            self.drive(id);
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
            conclusion: Box::new(Conclusion::SettledWithoutTransaction),
        },
    }
}

/// A verified payment with what it is charged.
pub(super) fn planned(record: &PaymentRecord, verified: Verified, alone: bool) -> PlannedPayment {
    PlannedPayment {
        verified,
        charge: Charge {
            amount: record.payment.expected.amount,
        },
        alone,
    }
}

fn effect_of(payment: &mut Payment, ticket: Ticket, now: Timestamp) -> Option<Effect> {
    let record = &payment.record;
    let id = record.id.clone();
    let facts = &record.payment;
    Some(match &mut payment.phase {
        Phase::Verify => Effect::ReVerify {
            id,
            ticket,
            payment: Arc::clone(record),
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
            look_up_effect(id, ticket, record)
        }
        Phase::LastLook { .. } => look_up_effect(id, ticket, record),
        Phase::Reopen { proof, .. } => Effect::Reopen {
            id,
            ticket,
            proof: proof.clone(),
        },
        Phase::Reload => Effect::Reload { id, ticket },
        Phase::GiveUp => Effect::GiveUp { id, ticket },
        Phase::Wait(_)
        | Phase::Planning
        | Phase::Ready
        | Phase::OnLane
        | Phase::Submitted { .. }
        | Phase::Conclude { .. } => return None,
    })
}

fn look_up_effect(id: PaymentId, ticket: Ticket, record: &PaymentRecord) -> Effect {
    let facts = &record.payment;
    Effect::Lookup {
        id,
        ticket,
        identity: facts.identity.clone(),
        expected: facts.expected.clone(),
        finality: facts.finality,
    }
}
