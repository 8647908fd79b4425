//! Would this authorization settle now?
//!
//! The order is that of the official facilitators with one difference: what
//! can be refused without asking anybody (terms, window, a plain account's
//! signature) is looked at before the node is asked. So a payment with several
//! faults may get another one of its codes, and costs nothing.

use alloy_primitives::{Address as Account, B256, Bytes, U64, U128, U256};
use alloy_sol_types::SolCall;
use serde_json::Value;
use tollway_core::{ChainError, Intent, Phase, Refusal, Scheme, Terms, Verified, codes};
use tollway_rpc::{Batch, RpcError};

use super::EvmChain;
use super::presented::{Presented, transfer_call, wrong_signature};
use crate::abi::Account as AccountAbi;
use crate::authorization::SignedAuthorization;
use crate::node::{CallRequest, LATEST, ask_all, is_revert, typed, unavailable};
use crate::refusal::refuse;
use crate::token::{Token, TokenState};
use crate::typed_data::Authorization;

/// What `isValidSignature` answers for yes.
const VALID_SIGNATURE: [u8; 4] = [0x16, 0x26, 0xba, 0x7e];

/// No honest account answers `isValidSignature` with more.
const MAX_ANSWER_BYTES: usize = 4096;

impl EvmChain {
    pub(super) async fn verify_authorization(
        &self,
        intent: Intent,
        phase: Phase,
    ) -> Result<Verified, ChainError> {
        let token = self.check_terms(&intent)?;
        let signed = SignedAuthorization::parse(&intent.payload.payload)?;
        let digest = signed.authorization.digest(&token.domain);
        let presented = Presented::new(&signed, digest)?;
        let payer = signed.authorization.from;
        let plain = self.payers.is_plain(payer, self.now());
        if plain && !presented.by_key && !presented.wrapped {
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
        let call = transfer_call(&signed.authorization, &presented.signature);
        let first = self.ask_payer_and_token(payer, plain, token, &call).await?;
        let gas = if first.payer_has_code {
            self.ask_contract_payer(payer, digest, &presented, token, &call, &signed)
                .await?
        } else {
            require_key(&presented)?;
            require_deployed(token)?;
            if let Err(error) = first.simulation {
                return Err(self.why(token, &signed.authorization, error).await);
            }
            self.limits.payment_gas
        };
        // A contract may answer by who asks: it was asked as the first account.
        let pinned = if first.payer_has_code { 1 } else { 0 };
        Ok(Verified {
            intent,
            gas,
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
        if authorization.value != terms.amount.as_u256() {
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

    /// One round trip: has the payer code (unless that was seen a moment ago),
    /// and would the transfer go through?
    async fn ask_payer_and_token(
        &self,
        payer: Account,
        plain: bool,
        token: &Token,
        call: &Bytes,
    ) -> Result<FirstLook, ChainError> {
        let request = self.settle_request(token, call, self.limits.payment_gas);
        if plain {
            let simulation = self.rpc.call::<Bytes>("eth_call", (request, LATEST)).await;
            return Ok(FirstLook {
                payer_has_code: false,
                simulation: simulated(simulation)?,
            });
        }
        let mut batch = Batch::new();
        batch.push("eth_getCode", &(payer, LATEST));
        batch.push("eth_call", &(request, LATEST));
        let mut answers = self
            .rpc
            .batch::<Bytes>(batch)
            .await
            .map_err(unavailable("verify"))?
            .into_iter();
        let missing = || ChainError::unavailable("the node left out an answer");
        let code = answers
            .next()
            .ok_or_else(missing)?
            .map_err(unavailable("eth_getCode"))?;
        if code.is_empty() {
            self.payers.saw_plain(payer, self.now());
        }
        Ok(FirstLook {
            payer_has_code: !code.is_empty(),
            // A contract payer's transfer is simulated again with its own limit.
            simulation: match answers.next().ok_or_else(missing)? {
                Err(error) if !code.is_empty() => Ok(Err(error)),
                answer => simulated(answer),
            }?,
        })
    }

    /// A payer with code decides by EIP-1271, never by its key: its code is
    /// asked, and the transfer simulated with a gas price, as it will be sent.
    async fn ask_contract_payer(
        &self,
        payer: Account,
        digest: B256,
        presented: &Presented,
        token: &Token,
        call: &Bytes,
        signed: &SignedAuthorization,
    ) -> Result<u64, ChainError> {
        let gas = self.limits.contract_payment_gas;
        let question = AccountAbi::isValidSignatureCall {
            hash: digest,
            signature: presented.signature.clone(),
        };
        let question = Bytes::from(question.abi_encode());
        let mut ask_account = CallRequest::new(payer, &question);
        ask_account.gas = Some(U64::from(self.limits.signature_gas));
        let mut settle = self.settle_request(token, call, gas);
        if !self.signers.is_empty() {
            settle.gas_price = Some(U128::from(self.current_fees().await?.max_fee));
        }
        let mut batch = Batch::new();
        batch.push("eth_call", &(ask_account, LATEST));
        batch.push("eth_call", &(settle, LATEST));
        let mut answers = ask_all(&self.rpc, batch).await?;
        if !says_valid(answers.next())? {
            return Err(wrong_signature().into());
        }
        require_deployed(token)?;
        let answer = answers
            .next()
            .ok_or_else(|| ChainError::unavailable("the node left out an answer"))?;
        match simulated(answer)? {
            Ok(_) => Ok(gas),
            Err(error) => Err(self.why(token, &signed.authorization, error).await),
        }
    }

    /// The transfer as the first settling account would send it.
    fn settle_request<'a>(&self, token: &Token, call: &'a Bytes, gas: u64) -> CallRequest<'a> {
        CallRequest {
            from: self.signers.first().map(crate::EvmSigner::address),
            to: token.address,
            data: call,
            gas: Some(U64::from(gas)),
            gas_price: None,
        }
    }
}

struct FirstLook {
    payer_has_code: bool,
    simulation: Result<(), RpcError>,
}

/// Keeps "it would revert" apart from "the node could not say".
fn simulated<T>(answer: Result<T, RpcError>) -> Result<Result<(), RpcError>, ChainError> {
    match answer {
        Ok(_) => Ok(Ok(())),
        Err(error) if is_revert(&error) => Ok(Err(error)),
        Err(error) => Err(unavailable("simulation")(error)),
    }
}

/// Exactly the magic value, alone or in a word of its own.
fn says_valid(answer: Option<Result<Value, RpcError>>) -> Result<bool, ChainError> {
    if let Some(Err(error)) = &answer
        && is_revert(error)
    {
        return Ok(false);
    }
    let bytes: Bytes = typed("isValidSignature", answer)?;
    Ok(bytes.len() <= MAX_ANSWER_BYTES
        && bytes.starts_with(&VALID_SIGNATURE)
        && bytes.iter().take(32).skip(4).all(|b| *b == 0))
}

fn require_key(presented: &Presented) -> Result<(), Refusal> {
    if presented.wrapped {
        return Err(refuse(
            codes::EIP6492_FACTORY_NOT_ALLOWED,
            "deploy the account first, then pay from it",
        ));
    }
    presented.by_key.then_some(()).ok_or_else(wrong_signature)
}

fn require_deployed(token: &Token) -> Result<(), ChainError> {
    match token.state() {
        TokenState::NoCode => {
            Err(refuse(codes::ASSET_NOT_DEPLOYED_CONTRACT, "choose another asset").into())
        }
        TokenState::Good => Ok(()),
        TokenState::Unknown | TokenState::OtherDomain => Err(ChainError::unavailable(format!(
            "the domain of {} is not confirmed",
            token.address
        ))),
    }
}
