//! The rules of Permit2 through the x402 proxies, in the reference's order.

use alloy_primitives::{Address as Account, U256};
use tollway_core::{Intent, Phase, Refusal, codes};

use super::{Checked, require_amount};
use crate::chain::presented::Claim;
use crate::chain::simulate::SettleCall;
use crate::chain::{EvmChain, account};
use crate::methods::PERMIT2;
use crate::methods::permit2::SignedPermit2;
use crate::methods::sponsoring::{Payer, SponsoredApproval, SponsoredPermit};
use crate::refusal::refuse;
use crate::token::Token;

impl EvmChain {
    pub(super) fn check_permit2(
        &self,
        intent: &Intent,
        signed: &SignedPermit2,
        token: &Token,
        phase: Phase,
    ) -> Result<Checked, Refusal> {
        let (terms, permit) = (&intent.terms, &signed.permit);
        let proxy = self.contracts.proxy_for(&permit.witness);
        if permit.spender != proxy {
            return Err(refuse(
                codes::INVALID_PERMIT2_SPENDER,
                &format!("permit the x402 proxy {proxy}"),
            ));
        }
        if account(&terms.pay_to) != Some(permit.witness.to) {
            return Err(refuse(
                codes::INVALID_PERMIT2_RECIPIENT_MISMATCH,
                "name the payee that is asked for in the witness",
            ));
        }
        if let Some(facilitator) = permit.witness.facilitator {
            self.check_facilitator(intent, facilitator)?;
        }
        let window = (permit.witness.valid_after, permit.deadline);
        self.check_window(window, terms, phase, &PERMIT2)?;
        if permit.amount != terms.amount.as_u256() {
            return Err(refuse(
                codes::PERMIT2_AMOUNT_MISMATCH,
                "permit exactly the amount that is asked",
            ));
        }
        require_amount(permit.amount)?;
        if permit.token != token.address {
            return Err(refuse(
                codes::PERMIT2_TOKEN_MISMATCH,
                "permit the asset that is asked for",
            ));
        }
        let digest = permit.digest(&self.permit2);
        let presented = self.presented(Claim {
            payer: signed.from,
            digest,
            signature: &signed.signature,
            wrong: PERMIT2.signature,
        })?;
        let payer = self.sponsored_payer(signed, phase);
        let extensions = intent.payload.extensions.as_ref();
        let sponsored = SponsoredPermit::find(extensions, payer)?;
        let approval = SponsoredApproval::find(extensions, payer, self.chain_id)?;
        // At verify all of a maximum; right before the money moves what is charged.
        let charge = intent.expected.amount.as_u256().min(permit.amount);
        let call = SettleCall {
            target: proxy,
            data: signed.settle_call(charge, &presented.signature, sponsored.as_ref()),
            caller: permit.witness.facilitator,
            gas_beside: 0,
        };
        Ok(Checked {
            digest,
            presented,
            payee: permit.witness.to,
            value: charge,
            call,
            approval,
        })
    }

    /// Only who is named may settle, so it must be one of us, and the one that the
    /// buyer was told.
    fn check_facilitator(&self, intent: &Intent, named: Account) -> Result<(), Refusal> {
        let told = intent.terms.wire.extra_str("facilitatorAddress");
        let told = told.and_then(|text| text.parse::<Account>().ok());
        if told.is_some_and(|told| told != named) {
            return Err(refuse(
                codes::UPTO_FACILITATOR_MISMATCH,
                "name the facilitatorAddress of the requirements in the witness",
            ));
        }
        match self.signers.iter().any(|signer| signer.address() == named) {
            true => Ok(()),
            false => Err(refuse(
                codes::UPTO_FACILITATOR_MISMATCH,
                "name the facilitatorAddress that /supported lists in the witness",
            )),
        }
    }

    /// What a sponsoring extension of this payment must agree with.
    pub(in crate::chain) fn sponsored_payer(&self, signed: &SignedPermit2, phase: Phase) -> Payer {
        Payer {
            account: signed.from,
            asset: signed.permit.token,
            amount: signed.permit.amount,
            not_before: self.now().secs().saturating_add(self.margin(phase)),
            permit2: self.contracts.permit2,
        }
    }
}

/// What settles is never more than was permitted, and only by who is named.
pub(in crate::chain) fn check_charge(
    signed: &SignedPermit2,
    charge: U256,
    signer: Account,
) -> Result<(), Refusal> {
    let named = signed.permit.witness.facilitator;
    if named.is_some_and(|named| named != signer) {
        return Err(refuse(
            codes::UPTO_UNAUTHORIZED_FACILITATOR,
            "settle it with the account that the witness names",
        ));
    }
    let exact = signed.permit.witness.facilitator.is_none();
    if exact && charge != signed.permit.amount {
        return Err(refuse(
            codes::PERMIT2_AMOUNT_MISMATCH,
            "an exact payment is charged whole",
        ));
    }
    if charge > signed.permit.amount {
        return Err(refuse(
            codes::UPTO_AMOUNT_EXCEEDS_PERMITTED,
            "charge at most what the buyer permitted",
        ));
    }
    Ok(())
}
