//! Would the transfer go through, and is there money for it? The chain is asked:
//! together with others ([`super::window`]), or by itself where the node does not
//! do that, or where the payer is a contract.

use alloy_primitives::{Address as Account, B256, Bytes, U64, U128, U256};
use alloy_sol_types::SolCall;
use serde_json::Value;
use tollway_core::{ChainError, Phase, Refusal, codes};
use tollway_rpc::ask::{ask_all, typed, unavailable};
use tollway_rpc::{Batch, RpcError};

use super::EvmChain;
use super::presented::{Presented, wrong_signature};
use super::probe::{Answer, Question, Seen};
use crate::abi::{Account as AccountAbi, Token as TokenAbi};
use crate::methods::{Payment, Words};
use crate::node::{CallRequest, LATEST, is_revert};
use crate::refusal::refuse;
use crate::token::{Token, TokenState};

/// What `isValidSignature` answers for yes.
const VALID_SIGNATURE: [u8; 4] = [0x16, 0x26, 0xba, 0x7e];

/// No honest account answers `isValidSignature` with more.
const MAX_ANSWER_BYTES: usize = 4096;

/// What a transfer may need beyond its simulation: there, others had touched
/// the token and the payee before it, which makes up to this much cheaper.
const FIRST_TOUCH_GAS: u64 = 45_000;

/// One payment before the chain.
pub(super) struct Trial<'a> {
    pub token: &'a Token,
    pub payer: Account,
    pub payee: Account,
    /// Most that it moves.
    pub value: U256,
    pub payment: &'a Payment,
    /// The call that settles it.
    pub call: SettleCall,
    /// The account that it is tried as: who must call, or who settles now.
    pub from: Option<Account>,
    pub words: &'static Words,
    pub digest: B256,
    pub presented: &'a Presented,
    /// What else of the payer's balance is promised.
    pub held: U256,
    pub phase: Phase,
}

/// The call that settles a payment.
pub(super) struct SettleCall {
    pub target: Account,
    pub data: Bytes,
    /// Who must call, if that matters.
    pub caller: Option<Account>,
    /// Gas that it takes beside the payment's own.
    pub gas_beside: u64,
}

/// A payment that would go through.
pub(super) struct Tried {
    /// Gas that settling it takes, without the transaction's own.
    pub gas: u64,
    /// Whether its payer is a contract.
    pub by_contract: bool,
}

impl EvmChain {
    pub(super) async fn simulate(&self, trial: &Trial<'_>) -> Result<Tried, ChainError> {
        let Payment::Eip3009(signed) = trial.payment else {
            return Box::pin(self.simulate_alone(trial)).await;
        };
        let nonce = signed.authorization.nonce;
        let block = self.follower.watched_block();
        if trial.phase == Phase::Settle
            && let Some(seen) = self.trials.of(trial.presented.id, block)
        {
            return self.judge_trial(trial, seen).await;
        }
        let answer = self.window.ask(question(trial, nonce)).await?;
        if let (Answer::Seen(seen), Some(block)) = (answer, block)
            && seen.succeeds
            && self.follower.watched_block() == Some(block)
        {
            self.trials.note(trial.presented.id, seen, block);
        }
        match answer {
            Answer::Seen(seen) if seen.payer_has_code => {
                Box::pin(self.simulate_contract_payer_with(trial, seen.balance)).await
            }
            Answer::Seen(seen) => {
                self.payers.saw_plain(trial.payer, self.now());
                self.judge_trial(trial, seen).await
            }
            Answer::Alone => Box::pin(self.simulate_alone(trial)).await,
        }
    }

    async fn judge_trial(&self, trial: &Trial<'_>, seen: Seen) -> Result<Tried, ChainError> {
        require_key(trial)?;
        require_deployed(trial.token)?;
        if !seen.succeeds {
            let detail = format!("the transfer fails after {} gas", seen.gas);
            let why = Box::pin(self.why(trial, detail)).await;
            // Alone it would go through: another payment takes the money.
            let taken = seen.left < trial.value;
            return Err(match why {
                ChainError::Refused(refusal) if taken && refusal.code() == trial.words.fails => {
                    too_little(trial).into()
                }
                why => why,
            });
        }
        require_funds(trial, seen.balance)?;
        let gas = seen
            .gas
            .saturating_add(seen.gas / 4)
            .saturating_add(FIRST_TOUCH_GAS);
        Ok(Tried {
            gas: gas.min(self.limits.payment_gas),
            by_contract: false,
        })
    }

    /// One round trip for this payment alone: has the payer code (unless that was
    /// seen a moment ago), how much money, and would the transfer go through?
    pub(super) async fn simulate_alone(&self, trial: &Trial<'_>) -> Result<Tried, ChainError> {
        let payer = trial.payer;
        let plain = self.payers.is_plain(payer, self.now());
        let balance = TokenAbi::balanceOfCall { account: payer };
        let balance = Bytes::from(balance.abi_encode());
        let mut batch = Batch::new();
        batch.push("eth_call", &(self.settle_request(trial), LATEST));
        let balance = CallRequest::new(trial.token.address, &balance);
        batch.push("eth_call", &(balance, LATEST));
        if !plain {
            batch.push("eth_getCode", &(payer, LATEST));
        }
        let answers = self.rpc.batch::<Bytes>(batch).await;
        let mut answers = answers.map_err(unavailable("verify"))?.into_iter();
        let missing = || ChainError::unavailable("the node left out an answer");
        let transfer = answers.next().ok_or_else(missing)?;
        let funds = answers.next().ok_or_else(missing)?;
        let funds = read_balance(funds)?;
        if !plain {
            let code = answers.next().ok_or_else(missing)?;
            if !code.map_err(unavailable("eth_getCode"))?.is_empty() {
                return Box::pin(self.simulate_contract_payer_with(trial, funds)).await;
            }
            self.payers.saw_plain(payer, self.now());
        }
        require_key(trial)?;
        require_deployed(trial.token)?;
        if let Err(error) = simulated(transfer)? {
            return Err(self.why(trial, error).await);
        }
        require_funds(trial, funds)?;
        Ok(Tried {
            gas: self.limits.payment_gas + trial.call.gas_beside,
            by_contract: false,
        })
    }

    /// A payer with code decides by EIP-1271, never by its key: its code is
    /// asked, and the transfer simulated with a gas price, as it will be sent.
    pub(super) async fn simulate_contract_payer(
        &self,
        trial: &Trial<'_>,
    ) -> Result<Tried, ChainError> {
        let question = AccountAbi::isValidSignatureCall {
            hash: trial.digest,
            signature: trial.presented.signature.clone(),
        };
        let question = Bytes::from(question.abi_encode());
        let mut ask_account = CallRequest::new(trial.payer, &question);
        ask_account.gas = Some(U64::from(self.limits.signature_gas));
        let mut settle = self.settle_request(trial);
        let limit = self.limits.contract_payment_gas + trial.call.gas_beside;
        settle.gas = Some(U64::from(limit));
        if !self.signers.is_empty() {
            settle.gas_price = Some(U128::from(self.current_fees().await?.max_fee));
        }
        let mut batch = Batch::new();
        batch.push("eth_call", &(ask_account, LATEST));
        batch.push("eth_call", &(settle, LATEST));
        let mut answers = ask_all(&self.rpc, batch).await?;
        if !says_valid(answers.next())? {
            return Err(wrong_signature(trial.words.signature).into());
        }
        require_deployed(trial.token)?;
        let answer = answers
            .next()
            .ok_or_else(|| ChainError::unavailable("the node left out an answer"))?;
        match simulated(answer)? {
            // The transaction gets the very limit that it was simulated with.
            Ok(()) => Ok(Tried {
                gas: limit.saturating_sub(self.limits.transaction_gas),
                by_contract: true,
            }),
            Err(error) => Err(self.why(trial, error).await),
        }
    }

    /// The same where it is known how much the payer has. Where that is too little, it may
    /// be the payment itself that took it: one whose nonce is used is said to be.
    pub(super) async fn simulate_contract_payer_with(
        &self,
        trial: &Trial<'_>,
        balance: U256,
    ) -> Result<Tried, ChainError> {
        let tried = self.simulate_contract_payer(trial).await;
        let Err(too_little) = require_funds(trial, balance) else {
            return tried;
        };
        match tried {
            Err(ChainError::Refused(refusal)) if refusal.code() == trial.words.fails => {
                Err(too_little.into())
            }
            Ok(_) => Err(too_little.into()),
            why => why,
        }
    }

    /// The call as the account that will send it would.
    fn settle_request<'a>(&self, trial: &'a Trial<'_>) -> CallRequest<'a> {
        let call = &trial.call;
        CallRequest {
            from: trial.from,
            to: call.target,
            data: &call.data,
            gas: Some(U64::from(
                self.limits.payment_gas + self.limits.transaction_gas + call.gas_beside,
            )),
            gas_price: None,
        }
    }
}

/// Only what a plain payer's key has signed is worth trying.
fn question(trial: &Trial<'_>, nonce: B256) -> Question {
    Question {
        token: trial.token.address,
        payer: trial.payer,
        payee: trial.payee,
        value: trial.value,
        nonce,
        call: match trial.presented.by_key {
            true => trial.call.data.clone(),
            false => selector_and_payer(&trial.call.data, trial.payer),
        },
    }
}

fn selector_and_payer(call: &Bytes, payer: Account) -> Bytes {
    let selector = call.get(..4).unwrap_or_default();
    [selector, payer.into_word().as_slice()].concat().into()
}

/// Money for this payment and for what is promised already.
pub(super) fn require_funds(trial: &Trial<'_>, balance: U256) -> Result<(), Refusal> {
    let needed = trial.value.saturating_add(trial.held);
    if balance < needed {
        return Err(too_little(trial));
    }
    Ok(())
}

fn too_little(trial: &Trial<'_>) -> Refusal {
    refuse(trial.words.funds, "fund the paying account")
}

/// A token that shows no balance has none for us.
pub(super) fn read_balance(answer: Result<Bytes, RpcError>) -> Result<U256, ChainError> {
    match answer {
        Ok(bytes) => Ok(TokenAbi::balanceOfCall::abi_decode_returns(&bytes).unwrap_or_default()),
        Err(error) if is_revert(&error) => Ok(U256::ZERO),
        Err(error) => Err(unavailable("balanceOf")(error)),
    }
}

/// Keeps "it would revert" apart from "the node could not say".
pub(super) fn simulated<T>(
    answer: Result<T, RpcError>,
) -> Result<Result<(), RpcError>, ChainError> {
    match answer {
        Ok(_) => Ok(Ok(())),
        Err(error) if is_revert(&error) => Ok(Err(error)),
        Err(error) => Err(unavailable("simulation")(error)),
    }
}

/// Exactly the magic value, alone or in a word of its own.
pub(crate) fn says_valid(answer: Option<Result<Value, RpcError>>) -> Result<bool, ChainError> {
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

pub(super) fn require_key(trial: &Trial<'_>) -> Result<(), Refusal> {
    if trial.presented.is_wrapped() {
        return Err(refuse(
            codes::EIP6492_FACTORY_NOT_ALLOWED,
            "deploy the account first, then pay from it",
        ));
    }
    let own = trial.presented.by_key;
    own.then_some(())
        .ok_or_else(|| wrong_signature(trial.words.signature))
}

pub(super) fn require_deployed(token: &Token) -> Result<(), ChainError> {
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
