//! A redemption is tried as the account that will send it, and its effect is
//! looked at: one transfer, exactly as asked. That a call succeeds says nothing of
//! what it does.
//!
//! Nodes that know `eth_simulateV1` show the logs. Others are asked by a call in
//! which the account's own code reads the balances before and after; they show no
//! gas, and the receipt's logs decide as always.

use std::sync::atomic::{AtomicBool, Ordering};

use alloy_primitives::{Address as Account, B256, Bytes, U64, U128, U256};
use alloy_sol_types::{SolCall, SolError};
use serde::Deserialize;
use serde_json::{Value, json};
use tollway_core::{ChainError, Refusal, codes};
use tollway_rpc::ask::{ask_all, typed};
use tollway_rpc::{Batch, RpcError};

use super::EvmChain;
use super::helper::undeployable;
use super::rules::Redeemable;
use super::simulate::read_balance;
use crate::abi::delegation::Manager;
use crate::abi::{Multicall3, Token as TokenAbi};
use crate::contracts::{Contracts, MULTICALL_CODE};
use crate::delegation::Dependency;
use crate::node::{CallRequest, LATEST, Log, Receipt, is_revert};
use crate::receipt::{Effect, Uses};
use crate::refusal::refuse;

/// Whether a network's nodes do not know `eth_simulateV1`.
#[derive(Debug, Default)]
pub(super) struct Simulations {
    missing: AtomicBool,
}

/// A redemption that is tried.
#[derive(Clone, Copy)]
pub(super) struct Attempt<'a> {
    pub manager: Account,
    pub redeemable: &'a Redeemable,
    /// What it must do.
    pub wanted: &'a Effect,
    /// What is deployed before it, and by the helping account.
    pub deployment: Option<&'a Dependency>,
}

/// A redemption that would make the transfer.
pub(super) struct Tried {
    /// Gas to send it with, beside the transaction's own.
    pub gas: u64,
    /// What the payer holds now.
    pub balance: U256,
}

#[derive(Deserialize)]
struct SimulatedBlock {
    calls: Vec<SimulatedCall>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SimulatedCall {
    status: U64,
    gas_used: U64,
    #[serde(default)]
    return_data: Bytes,
    #[serde(default)]
    logs: Vec<Log>,
    #[serde(default)]
    error: Option<SimulatedError>,
}

#[derive(Deserialize)]
struct SimulatedError {
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Option<Bytes>,
}

impl EvmChain {
    pub(super) async fn try_redemption(&self, attempt: &Attempt<'_>) -> Result<Tried, ChainError> {
        if !self.simulations.missing.load(Ordering::Acquire)
            && let Some(tried) = self.simulate_logs(attempt).await?
        {
            return Ok(tried);
        }
        self.simulate_balances(attempt).await
    }

    /// Most gas that a redemption may take: it is sent with what it was tried with, so
    /// that nothing can tell by it which of the two it is.
    const fn redemption_gas(&self) -> u64 {
        self.limits.permission_gas
    }

    /// An account's own transaction, as far as it shows.
    async fn attempt(
        &self,
        from: Account,
        (to, data): (Account, &Bytes),
        gas: u64,
    ) -> Result<Value, ChainError> {
        let price = self.current_fees().await?.max_fee;
        Ok(json!({
            "from": from,
            "to": to,
            "input": data,
            "gas": U64::from(gas),
            "gasPrice": U128::from(price),
        }))
    }

    /// The deployment that comes first, if one does, and the redemption.
    async fn in_order(&self, attempt: &Attempt<'_>) -> Result<Vec<Value>, ChainError> {
        let mut calls = Vec::with_capacity(2);
        if let (Some(one), Some(helper)) = (attempt.deployment, self.helper.address()) {
            let call = (one.factory, &one.factory_data);
            let gas = self.limits.deployment_gas;
            calls.push(self.attempt(helper, call, gas).await?);
        }
        let redemption = (attempt.manager, &attempt.redeemable.call);
        let redeemer = attempt.redeemable.redeemer;
        let gas = self.redemption_gas();
        calls.push(self.attempt(redeemer, redemption, gas).await?);
        Ok(calls)
    }

    /// By `eth_simulateV1`; `None` where the node does not know it.
    async fn simulate_logs(&self, attempt: &Attempt<'_>) -> Result<Option<Tried>, ChainError> {
        let most = self.redemption_gas();
        let wanted = attempt.wanted;
        let calls = self.in_order(attempt).await?;
        let mut batch = Batch::new();
        let base = self.next_base_fee().await?;
        batch.push("eth_simulateV1", &(simulated(&calls, base), LATEST));
        let balance = TokenAbi::balanceOfCall {
            account: wanted.from,
        };
        let balance = Bytes::from(balance.abi_encode());
        batch.push(
            "eth_call",
            &(CallRequest::new(wanted.asset, &balance), LATEST),
        );
        batch.push("eth_getCode", &(wanted.from, LATEST));
        let mut answers = ask_all(&self.rpc, batch).await?;
        let simulated = match answers.next() {
            Some(Err(error)) if is_unknown_method(&error) => {
                tracing::info!(network = %self.network, "the node has no eth_simulateV1: redemptions are tried by balances");
                self.simulations.missing.store(true, Ordering::Release);
                return Ok(None);
            }
            answer => typed::<Vec<SimulatedBlock>>("eth_simulateV1", answer)?,
        };
        let balance = read_balance(match answers.next() {
            Some(Ok(value)) => Bytes::deserialize(value)
                .map(Ok)
                .map_err(|e| ChainError::unavailable(format!("balanceOf: {e}")))?,
            Some(Err(error)) => Err(error),
            None => return Err(ChainError::unavailable("the node left out an answer")),
        })?;
        let code: Bytes = typed("eth_getCode", answers.next())?;
        let call = redemption_of(simulated, attempt, &code)?;
        let used = call.gas_used.to::<u64>();
        if call.status != U64::from(1) {
            // A call that burns all of its gas leaves its caller a sixty-fourth.
            let spent_all = used >= most - most / 16;
            return Err(why_failed(&call, spent_all, balance < wanted.value).into());
        }
        require_effect(call, wanted, self.contracts)?;
        Ok(Some(Tried {
            gas: most.saturating_sub(self.limits.transaction_gas),
            balance,
        }))
    }

    /// By balances around it, read by the redeeming account itself, so that the
    /// manager is called by who will call it.
    async fn simulate_balances(&self, attempt: &Attempt<'_>) -> Result<Tried, ChainError> {
        let (wanted, redeemable) = (attempt.wanted, attempt.redeemable);
        let balance_of = |account: Account| {
            let question = TokenAbi::balanceOfCall { account };
            call_of(wanted.asset, question.abi_encode().into())
        };
        let around = || [balance_of(wanted.from), balance_of(wanted.to)];
        let mut gas = self.redemption_gas();
        let mut calls = Vec::with_capacity(6);
        // In earnest the helping account makes this call, before.
        if let Some(one) = attempt.deployment {
            gas = gas.saturating_add(self.limits.deployment_gas);
            calls.push(call_of(one.factory, one.factory_data.clone()));
        }
        let before = calls.len();
        calls.extend(around());
        calls.push(call_of(attempt.manager, redeemable.call.clone()));
        calls.extend(around());
        let data: Bytes = Multicall3::aggregate3Call { calls }.abi_encode().into();
        let redeemer = redeemable.redeemer;
        let request = self.attempt(redeemer, (redeemer, &data), gas).await?;
        let code = json!({ redeemer.to_string(): {"code": &*MULTICALL_CODE} });
        let mut batch = Batch::new();
        batch.push("eth_call", &(request, LATEST, code));
        batch.push("eth_getCode", &(wanted.from, LATEST));
        let mut answers = ask_all(&self.rpc, batch).await?;
        let answer = answers.next();
        let code: Bytes = typed("eth_getCode", answers.next())?;
        if attempt.deployment.is_none() {
            require_code(&code)?;
        }
        let answer: Bytes = match answer {
            Some(Err(error)) if is_revert(&error) => return Err(too_much_gas().into()),
            answer => typed("eth_call", answer)?,
        };
        let results = Multicall3::aggregate3Call::abi_decode_returns(&answer)
            .map_err(|e| ChainError::unavailable(format!("redemption: {e}")))?;
        let [paid, got, redemption, paid_after, got_after] =
            results.get(before..).unwrap_or_default()
        else {
            return Err(ChainError::unavailable(
                "redemption: another count of results",
            ));
        };
        let read = |result: &Multicall3::Result| {
            let bytes = result.success.then(|| result.returnData.clone());
            read_balance(Ok(bytes.unwrap_or_default()))
        };
        let balance = read(paid)?;
        if !redemption.success {
            let poor = balance < wanted.value;
            return Err(why(&redemption.returnData, "", poor).into());
        }
        let went = balance.checked_sub(read(paid_after)?);
        let came = read(got_after)?.checked_sub(read(got)?);
        match went == Some(wanted.value) && came == Some(wanted.value) {
            true => Ok(Tried {
                gas: self
                    .redemption_gas()
                    .saturating_sub(self.limits.transaction_gas),
                balance,
            }),
            false => Err(other_effect().into()),
        }
    }
}

/// A block with these calls, and with a base fee: without validation nodes make it
/// nothing, and code that is tried could tell.
fn simulated(calls: &[Value], base: u128) -> Value {
    let block = json!({"baseFeePerGas": U128::from(base)});
    json!({
        "blockStateCalls": [{"blockOverrides": block, "calls": calls}],
        "validation": false,
    })
}

/// What became of the redemption: the delegator's code is there, or came with a
/// deployment that succeeded.
fn redemption_of(
    simulated: Vec<SimulatedBlock>,
    attempt: &Attempt<'_>,
    code: &Bytes,
) -> Result<SimulatedCall, ChainError> {
    let mut calls = simulated.into_iter().flat_map(|block| block.calls);
    let mut next = || {
        let call = calls.next();
        call.ok_or_else(|| ChainError::unavailable("eth_simulateV1: no call"))
    };
    match attempt.deployment {
        Some(_) if next()?.status != U64::from(1) => return Err(undeployable().into()),
        Some(_) => {}
        None => require_code(code)?,
    }
    next()
}

fn call_of(target: Account, data: Bytes) -> Multicall3::Call3 {
    Multicall3::Call3 {
        target,
        allowFailure: true,
        callData: data,
    }
}

/// The logs are those of a payment, judged as a receipt's are.
fn require_effect(
    call: SimulatedCall,
    wanted: &Effect,
    contracts: Contracts,
) -> Result<(), Refusal> {
    let imagined = Receipt {
        transaction_hash: B256::ZERO,
        block_hash: None,
        block_number: None,
        from: Account::ZERO,
        status: Some(U64::from(1)),
        gas_used: call.gas_used,
        effective_gas_price: None,
        l1_fee: None,
        logs: call.logs,
    };
    match Uses::of(&imagined, contracts).paying(wanted) {
        Some(_) => Ok(()),
        None => Err(other_effect()),
    }
}

fn other_effect() -> Refusal {
    refuse(
        codes::INVALID_EXACT_EVM_ERC7710_EFFECT,
        "pay from an account that makes the transfer and nothing else",
    )
}

fn too_much_gas() -> Refusal {
    refuse(
        codes::INVALID_EXACT_EVM_ERC7710_GAS,
        "use a shorter chain with fewer caveats",
    )
}

fn require_code(code: &Bytes) -> Result<(), Refusal> {
    match code.is_empty() {
        false => Ok(()),
        true => Err(refuse(
            codes::INVALID_EXACT_EVM_ERC7710_DELEGATOR_NOT_DEPLOYED,
            "deploy the account, or give it a delegator's code (EIP-7702)",
        )),
    }
}

fn why_failed(call: &SimulatedCall, spent_all: bool, poor: bool) -> Refusal {
    let error = call.error.as_ref();
    let data = error.and_then(|error| error.data.as_ref());
    let data = data.filter(|data| !data.is_empty());
    let message = error.map_or("", |error| error.message.as_str());
    let out_of_gas = message.to_ascii_lowercase().contains("out of gas");
    let said = data.unwrap_or(&call.return_data);
    match said.is_empty() && (spent_all || out_of_gas) {
        true => too_much_gas(),
        false => why(said, message, poor),
    }
}

/// What the manager and the enforcers say when they refuse, as our codes.
fn why(data: &Bytes, message: &str, poor: bool) -> Refusal {
    let reason = String::from_utf8_lossy(data).into_owned();
    let told = |refusal: Refusal| refusal.with_detail(format!("{message} {data}"));
    let by_selector = data.get(..4).and_then(|selector| match selector {
        s if s == Manager::InvalidEOASignature::SELECTOR
            || s == Manager::InvalidERC1271Signature::SELECTOR
            || s == Manager::EmptySignature::SELECTOR =>
        {
            Some((
                codes::INVALID_EXACT_EVM_ERC7710_SIGNATURE,
                "sign every delegation for this network",
            ))
        }
        s if s == Manager::CannotUseADisabledDelegation::SELECTOR => Some((
            codes::INVALID_EXACT_EVM_ERC7710_DISABLED,
            "ask for a new permission",
        )),
        s if s == Manager::InvalidAuthority::SELECTOR => Some((
            codes::INVALID_EXACT_EVM_ERC7710_AUTHORITY,
            "present the whole chain, leaf first",
        )),
        s if s == Manager::InvalidDelegate::SELECTOR
            || s == Manager::InvalidDelegator::SELECTOR =>
        {
            Some((
                codes::INVALID_EXACT_EVM_ERC7710_REDEEMER,
                "delegate to one of the facilitatorAddresses that /supported lists",
            ))
        }
        s if s == Manager::EnforcedPause::SELECTOR => Some((
            codes::INVALID_EXACT_EVM_ERC7710_PAUSED,
            "choose another transfer method",
        )),
        _ => None,
    });
    let by_words = || {
        REASONS
            .iter()
            .find(|(words, _, _)| reason.contains(words))
            .map(|(_, code, remedy)| (*code, *remedy))
    };
    let (code, remedy) = by_selector.or_else(by_words).unwrap_or(match poor {
        true => (
            codes::INVALID_EXACT_EVM_ERC7710_INSUFFICIENT_BALANCE,
            "fund the delegator",
        ),
        false => (
            codes::INVALID_EXACT_EVM_ERC7710_SIMULATION_FAILED,
            "pay with a new permission",
        ),
    });
    told(refuse(code, remedy))
}

/// What enforcers revert with, after their name and a colon.
const REASONS: &[(&str, &str, &str)] = &[
    (
        ":unauthorized-redeemer",
        codes::INVALID_EXACT_EVM_ERC7710_REDEEMER,
        "delegate to one of the facilitatorAddresses that /supported lists",
    ),
    (
        ":limit-exceeded",
        codes::INVALID_EXACT_EVM_ERC7710_ALREADY_USED,
        "sign a new delegation if this one did not pay",
    ),
    (
        ":id-already-used",
        codes::INVALID_EXACT_EVM_ERC7710_ALREADY_USED,
        "sign a new delegation if this one did not pay",
    ),
    (
        ":allowance-exceeded",
        codes::INVALID_EXACT_EVM_ERC7710_ALLOWANCE_EXCEEDED,
        "wait for the next period, or ask for a larger permission",
    ),
    (
        ":transfer-amount-exceeded",
        codes::INVALID_EXACT_EVM_ERC7710_ALLOWANCE_EXCEEDED,
        "wait for the next period, or ask for a larger permission",
    ),
    (
        ":transfer-not-started",
        codes::INVALID_EXACT_EVM_ERC7710_NOT_YET_VALID,
        "wait until the permission begins",
    ),
    (
        ":early-delegation",
        codes::INVALID_EXACT_EVM_ERC7710_NOT_YET_VALID,
        "wait until the permission begins",
    ),
    (
        ":expired-delegation",
        codes::INVALID_EXACT_EVM_ERC7710_EXPIRY,
        "ask for a new permission",
    ),
    (
        ":invalid-nonce",
        codes::INVALID_EXACT_EVM_ERC7710_NONCE,
        "ask for a new permission",
    ),
    (
        ":invalid-calldata",
        codes::INVALID_EXACT_EVM_ERC7710_CALL_NOT_ALLOWED,
        "delegate the transfer that is asked for",
    ),
    (
        "transfer amount exceeds balance",
        codes::INVALID_EXACT_EVM_ERC7710_INSUFFICIENT_BALANCE,
        "fund the delegator",
    ),
];

/// Whether a node says that it has no such method, in the words of common ones.
fn is_unknown_method(error: &RpcError) -> bool {
    let RpcError::Rpc { code, message, .. } = error else {
        return false;
    };
    let message = message.to_ascii_lowercase();
    let words = [
        "not found",
        "not supported",
        "does not exist",
        "not available",
        "unsupported",
    ];
    // A node that lags says "not found" too, of a block.
    let names_it = message.contains("method") || message.contains("eth_simulatev1");
    *code == -32601 || names_it && words.iter().any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use alloy_sol_types::SolError;

    use super::*;

    fn code(data: &[u8]) -> String {
        let refusal = why(&Bytes::copy_from_slice(data), "", false);
        refusal.code().to_owned()
    }

    #[test]
    fn a_redemption_is_tried_in_a_block_with_the_base_fee_of_now() {
        let tried = simulated(&[json!({})], 0x1234);
        let block = &tried["blockStateCalls"][0]["blockOverrides"];
        assert_eq!(*block, json!({"baseFeePerGas": "0x1234"}));
    }

    #[test]
    fn a_node_that_lags_is_none_that_does_not_know_the_method() {
        let says = |code, message: &str| {
            is_unknown_method(&RpcError::Rpc {
                code,
                message: message.to_owned(),
                data: None,
            })
        };
        assert!(says(-32601, "eth_simulateV1"));
        assert!(says(
            -32000,
            "the method eth_simulateV1 does not exist/is not available"
        ));
        assert!(says(-32600, "Unsupported method"));
        for lags in [
            "header not found",
            "block not found",
            "state is not available",
        ] {
            assert!(!says(-32000, lags), "{lags}");
        }
    }

    #[test]
    fn what_the_framework_says_becomes_a_code() {
        let said = |text: &str| alloy_sol_types::Revert::from(text).abi_encode();
        for (words, expected) in [
            (
                "RedeemerEnforcer:unauthorized-redeemer",
                codes::INVALID_EXACT_EVM_ERC7710_REDEEMER,
            ),
            (
                "LimitedCallsEnforcer:limit-exceeded",
                codes::INVALID_EXACT_EVM_ERC7710_ALREADY_USED,
            ),
            (
                "ERC20PeriodTransferEnforcer:transfer-amount-exceeded",
                codes::INVALID_EXACT_EVM_ERC7710_ALLOWANCE_EXCEEDED,
            ),
            (
                "ERC20TransferAmountEnforcer:allowance-exceeded",
                codes::INVALID_EXACT_EVM_ERC7710_ALLOWANCE_EXCEEDED,
            ),
            (
                "TimestampEnforcer:expired-delegation",
                codes::INVALID_EXACT_EVM_ERC7710_EXPIRY,
            ),
            (
                "NonceEnforcer:invalid-nonce",
                codes::INVALID_EXACT_EVM_ERC7710_NONCE,
            ),
            (
                "something else",
                codes::INVALID_EXACT_EVM_ERC7710_SIMULATION_FAILED,
            ),
        ] {
            assert_eq!(code(&said(words)), expected, "{words}");
        }
        assert_eq!(
            code(&Manager::CannotUseADisabledDelegation {}.abi_encode()),
            codes::INVALID_EXACT_EVM_ERC7710_DISABLED
        );
        assert_eq!(
            code(&Manager::InvalidERC1271Signature {}.abi_encode()),
            codes::INVALID_EXACT_EVM_ERC7710_SIGNATURE
        );
        assert_eq!(
            code(&[]),
            codes::INVALID_EXACT_EVM_ERC7710_SIMULATION_FAILED
        );
    }
}
