//! What a redemption executes, and the manager's calls.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::{SolCall, SolValue};

use super::Delegation;
use super::context::to_abi;
use crate::abi::delegation::Manager;
use crate::abi::{Allowances, Executor};

/// How a delegator executes (ERC-7579).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One call, which must succeed. Payments are this.
    SingleDefault,
    /// One call, which may fail.
    SingleTry,
    /// Several calls, which must all succeed.
    BatchDefault,
    /// Several calls, each of which may fail.
    BatchTry,
}

impl Mode {
    /// As the manager takes it.
    #[must_use]
    pub const fn to_word(self) -> B256 {
        let (kind, fails) = match self {
            Self::SingleDefault => (0, 0),
            Self::SingleTry => (0, 1),
            Self::BatchDefault => (1, 0),
            Self::BatchTry => (1, 1),
        };
        let mut word = [0; 32];
        word[0] = kind;
        word[1] = fails;
        B256::new(word)
    }
}

/// A call that a delegator makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// Whom it calls.
    pub target: Address,
    /// Wei that go with it.
    pub value: U256,
    /// The calldata.
    pub data: Bytes,
}

/// A payment's execution: the token's `transfer`.
#[must_use]
pub fn transfer_execution(asset: Address, to: Address, amount: U256) -> Execution {
    Execution {
        target: asset,
        value: U256::ZERO,
        data: Allowances::transferCall { to, amount }.abi_encode().into(),
    }
}

/// One call, packed: the target's 20 bytes, the value's 32, the calldata.
#[must_use]
pub fn pack_single(execution: &Execution) -> Bytes {
    let value = execution.value.to_be_bytes::<32>();
    [execution.target.as_slice(), &value, &execution.data]
        .concat()
        .into()
}

/// Several calls: `abi.encode((address,uint256,bytes)[])`.
#[must_use]
pub fn pack_batch(executions: &[Execution]) -> Bytes {
    let one = |execution: &Execution| Executor::Execution {
        target: execution.target,
        value: execution.value,
        callData: execution.data.clone(),
    };
    let all: Vec<Executor::Execution> = executions.iter().map(one).collect();
    all.abi_encode().into()
}

/// The manager's `redeemDelegations` for one context and one call.
#[must_use]
pub fn redeem_call(context: &Bytes, execution: &Execution) -> Bytes {
    Manager::redeemDelegationsCall {
        permissionContexts: vec![context.clone()],
        modes: vec![Mode::SingleDefault.to_word()],
        executionCallDatas: vec![pack_single(execution)],
    }
    .abi_encode()
    .into()
}

/// The manager's `disableDelegation`, which its delegator calls.
#[must_use]
pub fn disable_call(delegation: &Delegation) -> Bytes {
    Manager::disableDelegationCall {
        delegation: to_abi(delegation),
    }
    .abi_encode()
    .into()
}
