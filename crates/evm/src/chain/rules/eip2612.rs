//! The rules of EIP-2612 permits that a settler spends.

use alloy_primitives::U256;
use tollway_core::{Intent, Phase, Refusal, codes};

use super::{Checked, anyone, require_amount};
use crate::chain::presented::Claim;
use crate::chain::{EvmChain, account};
use crate::contracts::settler_address;
use crate::methods::EIP2612;
use crate::methods::eip2612::SignedPermit;
use crate::refusal::refuse;
use crate::token::Token;

impl EvmChain {
    pub(super) fn check_permit(
        &self,
        intent: &Intent,
        signed: &SignedPermit,
        token: &Token,
        phase: Phase,
    ) -> Result<Checked, Refusal> {
        let (terms, permit) = (&intent.terms, &signed.permit);
        let payee = account(&terms.pay_to).unwrap_or_default();
        let settler = settler_address(payee);
        let odd = [
            payee,
            settler,
            token.address,
            alloy_primitives::Address::ZERO,
        ];
        if odd.contains(&permit.owner) {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_EIP2612_OWNER,
                "permit with the paying account",
            ));
        }
        if permit.spender != settler {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_EIP2612_SPENDER,
                &format!("permit {settler}, which can pay nobody else"),
            ));
        }
        self.check_window((U256::ZERO, permit.deadline), terms, phase, &EIP2612)?;
        if permit.value != terms.amount.as_u256() {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_EIP2612_VALUE_MISMATCH,
                "permit exactly the amount that is asked",
            ));
        }
        require_amount(permit.value)?;
        let digest = permit.digest(&token.domain);
        let presented = self.presented(Claim {
            payer: permit.owner,
            digest,
            signature: &signed.signature,
            wrong: EIP2612.signature,
        })?;
        // A token cannot be given the signature of an account that does not exist.
        if presented.is_wrapped() {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_PAYLOAD_UNDEPLOYED_SMART_WALLET,
                "deploy the account first, then pay from it",
            ));
        }
        Ok(Checked {
            digest,
            presented,
            payee,
            value: permit.value,
            call: anyone(settler, signed.settle_call(token.address)),
            approval: None,
        })
    }
}
