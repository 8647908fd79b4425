//! Why a simulated transfer failed: facts from the chain, not the token's words.

use alloy_primitives::{Bytes, U256};
use alloy_sol_types::SolCall;
use tollway_core::{ChainError, Refusal, codes};
use tollway_rpc::Batch;

use super::EvmChain;
use crate::abi::Token as Abi;
use crate::node::{CallRequest, LATEST, is_revert, unavailable};
use crate::refusal::refuse;
use crate::token::Token;
use crate::typed_data::Authorization;

/// A fact about the token; `None` where it would not say.
type Fact = Option<Bytes>;

impl EvmChain {
    /// The reason for a failed simulation. A node that cannot be asked gives
    /// no reason: then nothing is known.
    pub(super) async fn why(
        &self,
        token: &Token,
        authorization: &Authorization,
        detail: impl std::fmt::Display,
    ) -> ChainError {
        match self.facts(token, authorization).await {
            Ok(facts) => {
                ChainError::Refused(explain(token, authorization, &facts).with_detail(detail))
            }
            Err(unknown) => unknown,
        }
    }

    async fn facts(
        &self,
        token: &Token,
        authorization: &Authorization,
    ) -> Result<[Fact; 4], ChainError> {
        let account = authorization.from;
        let nonce = authorization.nonce;
        let authorizer = account;
        let questions = [
            Abi::authorizationStateCall { authorizer, nonce }.abi_encode(),
            Abi::nameCall {}.abi_encode(),
            Abi::versionCall {}.abi_encode(),
            Abi::balanceOfCall { account }.abi_encode(),
        ];
        let mut batch = Batch::new();
        for question in questions {
            let question = Bytes::from(question);
            batch.push(
                "eth_call",
                &(CallRequest::new(token.address, &question), LATEST),
            );
        }
        let answers = self
            .rpc
            .batch::<Bytes>(batch)
            .await
            .map_err(unavailable("diagnosis"))?;
        let mut facts = [const { None }; 4];
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
