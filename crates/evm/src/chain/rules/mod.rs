//! What can be said of a payment without asking the chain, method by method,
//! in the order and with the codes of the reference.

mod eip2612;
mod eip3009;
mod erc7710;
mod permit2;

pub(super) use erc7710::Redeemable;
pub(super) use permit2::check_charge;

use alloy_primitives::{Address as Account, B256, Bytes, U256};
use tollway_core::{Intent, Phase, Refusal, Terms, codes, mistake};

use super::EvmChain;
use super::presented::{Claim, Presented};
use super::simulate::SettleCall;
use crate::methods::sponsoring::SponsoredApproval;
use crate::methods::{Payment, Way, Words};
use crate::refusal::refuse;
use crate::token::Token;

/// A payment that keeps its method's rules, as far as that can be told here.
pub(super) struct Checked {
    pub digest: B256,
    pub presented: Presented,
    pub payee: Account,
    /// Most that it moves.
    pub value: U256,
    pub call: SettleCall,
    /// An approval that is to be sent first, where it is needed.
    pub approval: Option<SponsoredApproval>,
}

impl EvmChain {
    /// All that needs no node.
    pub(super) fn check_rules(
        &self,
        intent: &Intent,
        payment: &Payment,
        token: &Token,
        phase: Phase,
    ) -> Result<Checked, Refusal> {
        match payment {
            Payment::Eip3009(signed) => self.check_authorization(intent, signed, token, phase),
            Payment::Permit2(signed) => self.check_permit2(intent, signed, token, phase),
            Payment::Eip2612(signed) => self.check_permit(intent, signed, token, phase),
            Payment::Txid(_) | Payment::Erc7710(_) => {
                Err(crate::methods::fields::invalid("it has rules of its own"))
            }
        }
    }

    /// Scheme, network and asset: what comes first for every method.
    pub(super) fn check_terms(&self, intent: &Intent, way: Way) -> Result<&Token, Refusal> {
        let (terms, accepted) = (&intent.terms, &intent.payload.accepted);
        if accepted.scheme != terms.wire.scheme {
            let code = match way {
                Way::Permit2 => codes::UNSUPPORTED_PAYLOAD_TYPE,
                Way::Upto => codes::INVALID_UPTO_EVM_SCHEME,
                Way::Eip3009 | Way::Eip2612 | Way::Txid | Way::Erc7710 => {
                    codes::INVALID_EXACT_EVM_SCHEME
                }
            };
            return Err(refuse(code, "pay by the scheme that is asked for"));
        }
        let named = matches!(way, Way::Eip3009 | Way::Eip2612);
        let name = terms.wire.extra_str("name");
        let version = terms.wire.extra_str("version");
        if named && (name.is_none() || version.is_none()) {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_MISSING_EIP712_DOMAIN,
                "put the asset's name and version into extra",
            ));
        }
        if accepted.network != terms.wire.network {
            let code = match way {
                Way::Upto => codes::INVALID_UPTO_EVM_NETWORK_MISMATCH,
                _ => codes::INVALID_EXACT_EVM_NETWORK_MISMATCH,
            };
            return Err(refuse(code, "pay on the network that is asked for"));
        }
        let allowed = |token: &&Token| token.moves_by(way.method());
        let Some(token) = self.token(&terms.asset).filter(allowed) else {
            return Err(refuse(
                codes::ASSET_NOT_ALLOWED,
                "choose an asset that this facilitator settles by this method",
            ));
        };
        if named && name != Some(&token.name) {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_TOKEN_NAME_MISMATCH,
                &format!("the asset's name is `{}`", token.name),
            ));
        }
        if named && version != Some(&token.version) {
            return Err(refuse(
                codes::INVALID_EXACT_EVM_TOKEN_VERSION_MISMATCH,
                &format!("the asset's version is `{}`", token.version),
            ));
        }
        Ok(token)
    }

    /// The offer as the server made it.
    pub(super) fn check_accepted(&self, intent: &Intent) -> Result<(), Refusal> {
        match intent.terms.wire.is_accepted_by(&intent.payload.accepted) {
            true => Ok(()),
            false => Err(refuse(
                codes::NO_MATCHING_PAYMENT_REQUIREMENTS,
                "accept the offer as the server made it",
            )),
        }
    }

    /// Who signed what, as far as it can be told here. Whoever was seen without
    /// code a moment ago signs with its key only.
    pub(super) fn presented(&self, claim: Claim<'_>) -> Result<Presented, Refusal> {
        let presented = Presented::new(claim, &self.signatures)?;
        let known_plain = self.payers.is_plain(claim.payer, self.now());
        if known_plain && !presented.by_key && !presented.is_wrapped() {
            return Err(super::presented::wrong_signature(claim.wrong));
        }
        Ok(presented)
    }

    /// The seconds in which it is valid: it must outlast the settlement and end
    /// in time. `last` is the last second that counts, or the one after it.
    pub(super) fn check_window(
        &self,
        (first, last): (U256, U256),
        terms: &Terms,
        phase: Phase,
        words: &Words,
    ) -> Result<(), Refusal> {
        if mistake::is("window_ignored") {
            return Ok(());
        }
        let now = self.now().secs();
        let margin = self.margin(phase);
        if last < U256::from(now.saturating_add(margin)) {
            return Err(refuse(
                words.ends,
                &format!("sign one that stays valid for at least {margin} seconds"),
            ));
        }
        let longest = terms
            .wire
            .max_timeout_seconds
            .max(self.limits.max_remaining.as_secs())
            .saturating_add(self.limits.clock_skew.as_secs());
        if last > U256::from(now.saturating_add(longest)) {
            return Err(refuse(
                words.ends,
                &format!("it stays valid too long; sign one for at most {longest} seconds"),
            ));
        }
        if first > U256::from(now) {
            return Err(refuse(words.begins, "sign one that is valid from now on"));
        }
        Ok(())
    }

    /// Seconds of validity that must remain.
    pub(super) fn margin(&self, phase: Phase) -> u64 {
        match phase {
            Phase::Verify => self.limits.verify_remaining.as_secs(),
            Phase::Settle => self.limits.settle_remaining.as_secs(),
        }
    }
}

/// Gas for nothing, and a transfer that anybody can imitate.
fn require_amount(value: U256) -> Result<(), Refusal> {
    match value.is_zero() {
        false => Ok(()),
        true => Err(refuse(
            codes::INVALID_PAYMENT_REQUIREMENTS,
            "ask for an amount above zero",
        )),
    }
}

/// The call of a payment whose caller does not matter.
fn anyone(target: Account, data: Bytes) -> SettleCall {
    SettleCall {
        target,
        data,
        caller: None,
        gas_beside: 0,
    }
}
