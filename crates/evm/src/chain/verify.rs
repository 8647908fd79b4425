//! Would this payment settle now?
//!
//! The order is that of the official facilitators with one difference: what
//! can be refused without asking anybody (terms, window, a plain account's
//! signature) is looked at before the node is asked. So a payment with several
//! faults may get another one of its codes, and costs nothing.
//!
//! What few payments need has its state in a box of its own: a future is as large
//! as the largest of its branches, and every verification makes this one.

use tollway_core::{Amount, ChainError, Intent, Phase, Verified, codes};

use super::EvmChain;
use super::simulate::{SettleCall, Trial};
use crate::methods::{Payment, Way};
use crate::refusal::refuse;

impl EvmChain {
    pub(super) async fn verify_payment(
        &self,
        intent: Intent,
        phase: Phase,
        held: Amount,
    ) -> Result<Verified, ChainError> {
        let token = self.check_terms(&intent, Way::of(&intent.terms)?)?;
        let payment = Payment::parse(&intent.payload.payload, &intent.terms)?;
        if let Payment::Txid(proof) = &payment {
            self.check_accepted(&intent)?;
            return Box::pin(self.verify_proof(&intent, proof, token)).await;
        }
        if let Payment::Erc7710(permission) = &payment {
            let asked = (token, phase, held);
            return Box::pin(self.verify_permission(intent.clone(), permission, asked)).await;
        }
        let checked = self.check_rules(&intent, &payment, token, phase)?;
        self.check_accepted(&intent)?;
        self.require_check().await?;
        if intent.expected.amount.is_zero() {
            // Of a maximum nothing is charged: nothing is sent, so nothing is tried.
            return Ok(Verified {
                intent,
                gas: 0,
                signers: Vec::new(),
            });
        }
        let from = checked.call.caller.or_else(|| self.preferred());
        let named = checked.call.caller.is_some();
        let call = match &payment {
            Payment::Eip2612(_) => Box::pin(self.with_settler(checked.call, checked.payee)).await?,
            Payment::Permit2(_) => Box::pin(self.through_proxy(checked.call)).await?,
            Payment::Eip3009(_) | Payment::Txid(_) | Payment::Erc7710(_) => checked.call,
        };
        let trial = Trial {
            token,
            payer: payment.payer(),
            payee: checked.payee,
            value: checked.value,
            payment: &payment,
            call,
            from,
            words: payment.words(),
            digest: checked.digest,
            presented: &checked.presented,
            held: held.as_u256(),
            phase,
        };
        let tried = match (&checked.approval, &checked.presented.deployment) {
            (Some(approval), _) => Box::pin(self.simulate_approved(&trial, approval)).await?,
            (None, Some(deployment)) => Box::pin(self.simulate_wrapped(&trial, deployment)).await?,
            (None, None) => self.simulate(&trial).await?,
        };
        // A contract may answer by who asks: it was asked as this account.
        let pinned = from.filter(|_| named || tried.by_contract);
        let signers = pinned.and_then(|from| self.account_of(from));
        Ok(Verified {
            intent,
            gas: tried.gas,
            signers: signers.into_iter().collect(),
        })
    }

    async fn through_proxy(&self, call: SettleCall) -> Result<SettleCall, ChainError> {
        match self.is_there(call.target).await? {
            true => Ok(call),
            false => Err(refuse(
                codes::PERMIT2_PROXY_NOT_DEPLOYED,
                "choose another transfer method",
            )
            .into()),
        }
    }
}
