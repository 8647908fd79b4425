//! Asking the chain about an identity, and what follows from the answer.

use std::sync::Arc;

use tollway_core::{ChainError, Lookup, PaymentId, Proof, Timestamp, TxHash, mistake};
use tollway_ledger::{Conclusion, LedgerError};

use super::op::Op;
use super::state::Phase;
use super::turn::Turn;
use super::{Effect, SlotKey, Ticket, Update};

impl Turn<'_> {
    /// Asks who settled the identity: with the proof that our attempt is dead,
    /// or because the deadline and finality passed.
    pub(super) fn look_up(&mut self, id: &PaymentId, proof: Option<Proof>) {
        let Some(payment) = self.state.payments.get(id) else {
            return;
        };
        let phase = Phase::Lookup {
            slot: payment.slot().cloned(),
            proof,
            asked_at: self.now,
        };
        self.enter(id, phase, Op::now());
    }

    pub(super) fn looked_up(
        &mut self,
        id: &PaymentId,
        ticket: Ticket,
        result: Result<Lookup, ChainError>,
    ) {
        let Some(payment) = self.answered(id, ticket) else {
            return;
        };
        let (proof, asked_at) = match payment.phase.clone() {
            Phase::Lookup {
                proof, asked_at, ..
            } => (proof, asked_at),
            Phase::LastLook { code, message } => {
                return self.last_looked(id, &code, &message, result);
            }
            _ => return,
        };
        match result {
            Ok(Lookup::Settled(s))
                if mistake::is("paid_by_stranger_denied") && s.by_third_party =>
            {
                self.refuse_cannot_land(id);
            }
            Ok(Lookup::Settled(settled)) => self.conclude(id, Conclusion::Settled(settled)),
            Ok(Lookup::Spent) => self.refuse_cannot_land(id),
            Ok(Lookup::Unused { as_of }) => self.unused(id, proof, asked_at, as_of),
            // A refusal to look is no knowledge about the identity.
            Ok(Lookup::Unknown) | Err(_) => self.retry_payment(id),
        }
    }

    /// Nothing is signed for it and it is about to be refused. While there is
    /// time, a refusal waits until the chain has said that nobody settled it.
    fn last_looked(
        &mut self,
        id: &PaymentId,
        code: &str,
        message: &str,
        result: Result<Lookup, ChainError>,
    ) {
        match result {
            Ok(Lookup::Settled(settled)) => self.conclude(id, Conclusion::Settled(settled)),
            Ok(Lookup::Unused { .. } | Lookup::Spent) => self.refuse(id, code, message),
            // The nonce is used, and by what is not known yet: perhaps it is paid.
            Ok(Lookup::Unknown) if !self.is_expired(id) => self.retry_payment(id),
            Ok(Lookup::Unknown) | Err(_) if self.is_unsigned_for_too_long(id) => {
                self.refuse_not_signed(id);
            }
            Ok(Lookup::Unknown) | Err(_) => self.retry_payment(id),
        }
    }

    /// The nonce is unused. Past its deadline and finality, by our clock and by
    /// the chain's, the payment is expired; before, a dead attempt is followed
    /// by a new one. A chain that stands still can still let it land.
    fn unused(
        &mut self,
        id: &PaymentId,
        proof: Option<Proof>,
        asked_at: Timestamp,
        as_of: Timestamp,
    ) {
        let rules = Arc::clone(&self.rules);
        let now = self.now;
        let Some(payment) = self.payment_mut(id) else {
            return;
        };
        let slot = payment.slot().cloned();
        let deadline = payment.record.payment.deadline;
        let expires_at = payment.expires_at(&rules);
        if asked_at >= expires_at {
            return match as_of >= deadline || mistake::is("expired_by_own_clock") {
                true => self.conclude(id, Conclusion::Expired),
                false => self.retry_payment(id),
            };
        }
        let Some(proof) = proof else {
            return self.enter(id, Phase::Submitted { slot }, Op::now());
        };
        if now.plus(rules.min_validity) >= deadline {
            payment.op.again_at(expires_at);
        } else if payment.attempts >= rules.max_attempts {
            self.refuse_cannot_land(id);
        } else {
            self.enter(id, Phase::Reopen { slot, proof }, Op::now());
        }
    }

    pub(super) fn reopened(
        &mut self,
        id: &PaymentId,
        ticket: Ticket,
        result: Result<(), LedgerError>,
    ) {
        let now = self.now;
        let Some(payment) = self.answered(id, ticket) else {
            return;
        };
        let Phase::Reopen { slot, proof } = payment.phase.clone() else {
            return;
        };
        if let Err(error) = result {
            return self.after_ledger_error(id, &error);
        }
        payment.unsigned_since = now;
        let tried = payment.attempts;
        let alone = self.must_go_alone(slot.as_ref(), &proof, tried);
        if let Some(payment) = self.payment_mut(id) {
            payment.alone |= alone;
        }
        self.leave_slots(id, slot.as_ref());
        self.emit(Effect::NotifyWaiters {
            id: id.clone(),
            update: Update::Reopened { proof },
        });
        self.enter(id, Phase::Verify, Op::now());
    }

    /// What failed among others that settled must not be among others again. A
    /// transaction that failed as a whole, or was cancelled, was perhaps another
    /// payment's fault: once more they may share, verified anew.
    fn must_go_alone(&self, slot: Option<&SlotKey>, proof: &Proof, tried: u32) -> bool {
        let slot = slot.and_then(|key| self.state.slots.get(key));
        let cancels = |hash: &TxHash| slot.is_some_and(|s| s.cancels.contains(hash));
        match proof {
            Proof::NoTransfer { transaction, .. } if !cancels(transaction) => true,
            _ => tried > 1,
        }
    }
}
