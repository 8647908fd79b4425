//! Would this authorization settle now?
//!
//! The order is that of the official facilitators with one difference: what
//! can be refused without asking anybody (terms, window, a plain account's
//! signature) is looked at before the node is asked. So a payment with several
//! faults may get another one of its codes, and costs nothing.

use alloy_primitives::U256;
use tollway_core::{
    Amount, ChainError, Intent, Phase, Refusal, Scheme, Terms, Verified, codes, mistake,
};

use super::EvmChain;
use super::presented::{Presented, wrong_signature};
use super::simulate::Trial;
use crate::authorization::SignedAuthorization;
use crate::refusal::refuse;
use crate::token::Token;
use crate::typed_data::Authorization;

impl EvmChain {
    pub(super) async fn verify_authorization(
        &self,
        intent: Intent,
        phase: Phase,
        held: Amount,
    ) -> Result<Verified, ChainError> {
        let token = self.check_terms(&intent)?;
        let signed = SignedAuthorization::parse(&intent.payload.payload)?;
        let digest = signed.authorization.digest(&token.domain);
        let presented = Presented::new(&signed, digest, &self.signatures)?;
        let payer = signed.authorization.from;
        let known_plain = self.payers.is_plain(payer, self.now());
        if known_plain && !presented.by_key && !presented.wrapped {
            return Err(wrong_signature().into());
        }
        self.check_authorization(&signed.authorization, &intent.terms, phase)?;
        if !intent.terms.wire.is_accepted_by(&intent.payload.accepted) {
            return Err(refuse(
                codes::NO_MATCHING_PAYMENT_REQUIREMENTS,
                "accept the offer as the server made it",
            )
            .into());
        }

        self.require_check().await?;
        let trial = Trial {
            token,
            authorization: &signed.authorization,
            digest,
            presented: &presented,
            held: held.as_u256(),
            phase,
        };
        let tried = self.simulate(&trial).await?;
        // A contract may answer by who asks: it was asked as the first account.
        let pinned = if tried.by_contract { 1 } else { 0 };
        Ok(Verified {
            intent,
            gas: tried.gas,
            signers: self.accounts.iter().take(pinned).cloned().collect(),
        })
    }

    /// Scheme, domain, network and asset: steps 1 to 3.
    fn check_terms(&self, intent: &Intent) -> Result<&Token, Refusal> {
        let (terms, accepted) = (&intent.terms, &intent.payload.accepted);
        if terms.scheme != Scheme::Exact || accepted.scheme != Scheme::Exact.as_str() {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_SCHEME,
                "pay by scheme exact",
            ));
        }
        let (Some(name), Some(version)) = (
            terms.wire.extra_str("name"),
            terms.wire.extra_str("version"),
        ) else {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_MISSING_EIP712_DOMAIN,
                "put the asset's name and version into extra",
            ));
        };
        if accepted.network != terms.wire.network {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_NETWORK_MISMATCH,
                "pay on the network that is asked for",
            ));
        }
        let Some(token) = self.token(&terms.asset) else {
            return Err(refuse(
                codes::ASSET_NOT_ALLOWED,
                "choose an asset that this facilitator settles",
            ));
        };
        if name != token.name {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_TOKEN_NAME_MISMATCH,
                &format!("the asset's name is `{}`", token.name),
            ));
        }
        if version != token.version {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_TOKEN_VERSION_MISMATCH,
                &format!("the asset's version is `{}`", token.version),
            ));
        }
        Ok(token)
    }

    /// Payee, window and value: steps 8 and 9.
    fn check_authorization(
        &self,
        authorization: &Authorization,
        terms: &Terms,
        phase: Phase,
    ) -> Result<(), Refusal> {
        if super::account(&terms.pay_to) != Some(authorization.to) {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_RECIPIENT_MISMATCH,
                "authorize the payee that is asked for",
            ));
        }
        self.check_window(authorization, terms, phase)?;
        let underpays = authorization.value < terms.amount.as_u256();
        let passes = underpays && mistake::is("underpay_passes");
        if authorization.value != terms.amount.as_u256() && !passes {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_PAYLOAD_AUTHORIZATION_VALUE_MISMATCH,
                "authorize exactly the amount that is asked",
            ));
        }
        // Gas for nothing, and a transfer that anybody can imitate.
        if authorization.value.is_zero() {
            return Err(refuse(
                codes::INVALID_PAYMENT_REQUIREMENTS,
                "ask for an amount above zero",
            ));
        }
        Ok(())
    }

    fn check_window(
        &self,
        authorization: &Authorization,
        terms: &Terms,
        phase: Phase,
    ) -> Result<(), Refusal> {
        if mistake::is("window_ignored") {
            return Ok(());
        }
        let now = self.now().secs();
        let margin = match phase {
            Phase::Verify => self.limits.verify_remaining,
            Phase::Settle => self.limits.settle_remaining,
        };
        if authorization.valid_before < U256::from(now.saturating_add(margin.as_secs())) {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_PAYLOAD_AUTHORIZATION_VALID_BEFORE,
                &format!(
                    "sign one that stays valid for at least {} seconds",
                    margin.as_secs()
                ),
            ));
        }
        let longest = terms
            .wire
            .max_timeout_seconds
            .max(self.limits.max_remaining.as_secs())
            .saturating_add(self.limits.clock_skew.as_secs());
        if authorization.valid_before > U256::from(now.saturating_add(longest)) {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_PAYLOAD_AUTHORIZATION_VALID_BEFORE,
                &format!("it stays valid too long; sign one for at most {longest} seconds"),
            ));
        }
        if authorization.valid_after > U256::from(now) {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_PAYLOAD_AUTHORIZATION_VALID_AFTER,
                "sign one that is valid from now on",
            ));
        }
        Ok(())
    }
}
