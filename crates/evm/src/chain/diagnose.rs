//! Why a simulated transfer failed: facts from the chain, not the token's words.

use alloy_primitives::{Bytes, U256};
use alloy_sol_types::SolCall;
use tollway_core::{ChainError, Refusal, codes};
use tollway_rpc::Batch;
use tollway_rpc::ask::unavailable;

use super::EvmChain;
use super::presented::wrong_signature;
use super::simulate::Trial;
use crate::abi::{Allowances, Permit2, Settler, Token as Abi};
use crate::methods::Payment;
use crate::methods::eip2612::SignedPermit;
use crate::methods::permit2::SignedPermit2;
use crate::node::{CallRequest, LATEST, is_revert};
use crate::refusal::refuse;
use crate::signer::recover;
use crate::token::Token;
use crate::typed_data::Authorization;

/// A fact about the token; `None` where it would not say.
pub(super) type Fact = Option<Bytes>;

impl EvmChain {
    /// The reason for a failed simulation. A node that cannot be asked gives
    /// no reason: then nothing is known.
    pub(super) async fn why(
        &self,
        trial: &Trial<'_>,
        detail: impl std::fmt::Display,
    ) -> ChainError {
        // A known key's signature was not recovered: its `v` may be the wrong one.
        let presented = trial.presented;
        if presented.by_key && recover(trial.digest, &presented.signature) != Some(trial.payer) {
            let refusal = wrong_signature(trial.words.signature);
            return ChainError::Refused(refusal.with_detail(detail));
        }
        let refusal = match trial.payment {
            Payment::Eip3009(signed) => self.why_authorization(trial, &signed.authorization).await,
            Payment::Permit2(signed) => self.why_permit2(trial, signed).await,
            Payment::Eip2612(signed) => self.why_permit(trial, signed).await,
            Payment::Txid(_) | Payment::Erc7710(_) => Ok(fails(trial)),
        };
        match refusal {
            Ok(refusal) => ChainError::Refused(refusal.with_detail(detail)),
            Err(unknown) => unknown,
        }
    }

    async fn why_authorization(
        &self,
        trial: &Trial<'_>,
        authorization: &Authorization,
    ) -> Result<Refusal, ChainError> {
        let account = authorization.from;
        let (authorizer, nonce) = (account, authorization.nonce);
        let token = trial.token.address;
        let facts = self
            .facts([
                (
                    token,
                    Abi::authorizationStateCall { authorizer, nonce }.abi_encode(),
                ),
                (token, Abi::nameCall {}.abi_encode()),
                (token, Abi::versionCall {}.abi_encode()),
                (token, Abi::balanceOfCall { account }.abi_encode()),
            ])
            .await?;
        Ok(explain(trial.token, authorization, &facts))
    }

    async fn why_permit2(
        &self,
        trial: &Trial<'_>,
        signed: &SignedPermit2,
    ) -> Result<Refusal, ChainError> {
        let owner = signed.from;
        let token = trial.token.address;
        let word = signed.permit.nonce >> 8;
        let allowance = Allowances::allowanceCall {
            owner,
            spender: self.contracts.permit2,
        };
        let [bitmap, balance, allowance] = self
            .facts([
                (
                    self.contracts.permit2,
                    Permit2::nonceBitmapCall { owner, word }.abi_encode(),
                ),
                (token, Abi::balanceOfCall { account: owner }.abi_encode()),
                (token, allowance.abi_encode()),
            ])
            .await?;
        let number = |fact: Fact| fact.and_then(|bytes| number_of(&bytes));
        let bit = usize::try_from(signed.permit.nonce & U256::from(0xff)).unwrap_or(0);
        if number(bitmap).is_some_and(|word| word.bit(bit)) {
            return Ok(refuse(
                codes::PERMIT2_INVALID_NONCE,
                "sign a new permit if this one did not pay",
            ));
        }
        if number(balance).is_none_or(|held| held < trial.value) {
            return Ok(refuse(trial.words.funds, "fund the paying account"));
        }
        if number(allowance).is_none_or(|allowed| allowed < trial.value) {
            return Ok(self.allowance_required(trial));
        }
        Ok(fails(trial))
    }

    async fn why_permit(
        &self,
        trial: &Trial<'_>,
        signed: &SignedPermit,
    ) -> Result<Refusal, ChainError> {
        let permit = &signed.permit;
        let (owner, token) = (permit.owner, trial.token.address);
        let [settled, next, balance] = self
            .facts([
                (
                    permit.spender,
                    Settler::nextNonceCall { token, owner }.abi_encode(),
                ),
                (token, Allowances::noncesCall { owner }.abi_encode()),
                (token, Abi::balanceOfCall { account: owner }.abi_encode()),
            ])
            .await?;
        let number = |fact: Fact| fact.and_then(|bytes| number_of(&bytes));
        if number(settled).is_some_and(|next| next > permit.nonce) {
            return Ok(refuse(
                codes::INVALID_EXACT_EVM_EIP2612_ALREADY_SETTLED,
                "sign a new permit if this one did not pay",
            ));
        }
        let Some(next) = number(next) else {
            return Ok(refuse(
                codes::INVALID_EXACT_EVM_EIP2612_NOT_SUPPORTED,
                "choose another transfer method",
            ));
        };
        // One that somebody submitted already still pays, while it is the last one.
        if next != permit.nonce && next != permit.nonce.saturating_add(U256::ONE) {
            return Ok(refuse(
                codes::INVALID_EXACT_EVM_EIP2612_NONCE,
                &format!("sign with nonce {next}"),
            ));
        }
        if number(balance).is_none_or(|held| held < trial.value) {
            return Ok(refuse(trial.words.funds, "fund the paying account"));
        }
        Ok(fails(trial))
    }

    /// Asks contracts about facts; `None` where one would not say.
    pub(super) async fn facts<const N: usize>(
        &self,
        questions: [(alloy_primitives::Address, Vec<u8>); N],
    ) -> Result<[Fact; N], ChainError> {
        let mut batch = Batch::new();
        for (target, question) in questions {
            let question = Bytes::from(question);
            batch.push("eth_call", &(CallRequest::new(target, &question), LATEST));
        }
        let answers = self
            .rpc
            .batch::<Bytes>(batch)
            .await
            .map_err(unavailable("diagnosis"))?;
        let mut facts = [const { None }; N];
        for (fact, answer) in facts.iter_mut().zip(answers) {
            *fact = match answer {
                Ok(bytes) => Some(bytes),
                Err(error) if is_revert(&error) => None,
                Err(error) => return Err(unavailable("diagnosis")(error)),
            };
        }
        Ok(facts)
    }
}

/// One word that a contract answered.
pub(crate) fn number_of(answer: &Bytes) -> Option<U256> {
    (answer.len() == 32).then(|| U256::from_be_slice(answer))
}

fn fails(trial: &Trial<'_>) -> Refusal {
    refuse(trial.words.fails, "sign a new payment")
}

impl EvmChain {
    /// The payer has to let Permit2 move the token, once and for all payments.
    pub(super) fn allowance_required(&self, trial: &Trial<'_>) -> Refusal {
        refuse(
            codes::PERMIT2_ALLOWANCE_REQUIRED,
            &format!(
                "call approve({}, amount) on {} with the paying account, once, and pay again",
                self.contracts.permit2, trial.token.address
            ),
        )
    }
}

fn explain(token: &Token, authorization: &Authorization, facts: &[Fact; 4]) -> Refusal {
    let [state, name, version, balance] = facts;
    let decoded = |fact: &Fact| fact.as_ref().filter(|bytes| !bytes.is_empty()).cloned();
    let Some(used) =
        decoded(state).and_then(|b| Abi::authorizationStateCall::abi_decode_returns(&b).ok())
    else {
        return refuse(
            codes::INVALID_EXACT_EVM_EIP3009_NOT_SUPPORTED,
            "choose another asset",
        );
    };
    if used {
        return refuse(
            codes::INVALID_EXACT_EVM_NONCE_ALREADY_USED,
            "sign a new authorization if this one did not pay",
        );
    }
    let named = decoded(name).and_then(|b| Abi::nameCall::abi_decode_returns(&b).ok());
    if named.is_some_and(|found| found != token.name) {
        return refuse(
            codes::INVALID_EXACT_EVM_TOKEN_NAME_MISMATCH,
            "choose another asset",
        );
    }
    let versioned = decoded(version).and_then(|b| Abi::versionCall::abi_decode_returns(&b).ok());
    if versioned.is_some_and(|found| found != token.version) {
        return refuse(
            codes::INVALID_EXACT_EVM_TOKEN_VERSION_MISMATCH,
            "choose another asset",
        );
    }
    let held = decoded(balance).and_then(|b| Abi::balanceOfCall::abi_decode_returns(&b).ok());
    if held.is_some_and(|held: U256| held < authorization.value) {
        return refuse(
            codes::INVALID_EXACT_EVM_INSUFFICIENT_BALANCE,
            "fund the paying account",
        );
    }
    refuse(
        codes::INVALID_EXACT_EVM_TRANSACTION_SIMULATION_FAILED,
        "sign a new authorization",
    )
}
