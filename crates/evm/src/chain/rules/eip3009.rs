//! The rules of EIP-3009 authorizations, steps 1 to 9 of the reference.

use tollway_core::{Intent, Phase, Refusal, Terms, codes, mistake};

use super::{Checked, anyone, require_amount};
use crate::chain::presented::Claim;
use crate::chain::{EvmChain, account};
use crate::methods::EIP3009;
use crate::methods::eip3009::{SignedAuthorization, transfer_call};
use crate::refusal::refuse;
use crate::token::Token;
use crate::typed_data::Authorization;

impl EvmChain {
    pub(super) fn check_authorization(
        &self,
        intent: &Intent,
        signed: &SignedAuthorization,
        token: &Token,
        phase: Phase,
    ) -> Result<Checked, Refusal> {
        let authorization = &signed.authorization;
        let digest = authorization.digest(&token.domain);
        let presented = self.presented(Claim {
            payer: authorization.from,
            digest,
            signature: &signed.signature,
            wrong: EIP3009.signature,
        })?;
        self.check_transfer(authorization, &intent.terms, phase)?;
        let data = transfer_call(authorization, &presented.signature);
        Ok(Checked {
            digest,
            presented,
            payee: authorization.to,
            value: authorization.value,
            call: anyone(token.address, data),
            approval: None,
        })
    }

    /// Payee, window and value: steps 8 and 9.
    fn check_transfer(
        &self,
        authorization: &Authorization,
        terms: &Terms,
        phase: Phase,
    ) -> Result<(), Refusal> {
        if account(&terms.pay_to) != Some(authorization.to) {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_RECIPIENT_MISMATCH,
                "authorize the payee that is asked for",
            ));
        }
        let window = (authorization.valid_after, authorization.valid_before);
        self.check_window(window, terms, phase, &EIP3009)?;
        let underpays = authorization.value < terms.amount.as_u256();
        let passes = underpays && mistake::is("underpay_passes");
        if authorization.value != terms.amount.as_u256() && !passes {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_PAYLOAD_AUTHORIZATION_VALUE_MISMATCH,
                "authorize exactly the amount that is asked",
            ));
        }
        require_amount(authorization.value)
    }
}
