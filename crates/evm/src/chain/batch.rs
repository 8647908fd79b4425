//! Several calls in one transaction, each of which may fail alone.

use alloy_primitives::{Address as Account, B256, Bytes, U256};
use alloy_sol_types::{SolCall, SolValue};

use crate::abi::{Executor, Multicall3};

/// ERC-7579's mode: a batch in which calls fail alone.
const BATCH_TRY: [u8; 2] = [0x01, 0x01];

/// Through Multicall3: the contract and the calldata.
pub(super) fn by_multicall(multicall: Account, calls: Vec<(Account, Bytes)>) -> (Account, Bytes) {
    let calls = calls.into_iter().map(|(target, data)| Multicall3::Call3 {
        target,
        allowFailure: true,
        callData: data,
    });
    let call = Multicall3::aggregate3Call {
        calls: calls.collect(),
    };
    (multicall, call.abi_encode().into())
}

/// Two calls, of which the second must succeed.
pub(super) fn in_order(
    multicall: Account,
    first: (Account, Bytes),
    second: (Account, Bytes),
) -> (Account, Bytes) {
    let call = |(target, data): (Account, Bytes), may_fail| Multicall3::Call3 {
        target,
        allowFailure: may_fail,
        callData: data,
    };
    let call = Multicall3::aggregate3Call {
        calls: vec![call(first, true), call(second, false)],
    };
    (multicall, call.abi_encode().into())
}

/// By the account's own code, no call with more gas than `each`.
pub(super) fn by_itself(
    account: Account,
    calls: Vec<(Account, Bytes)>,
    each: u64,
) -> (Account, Bytes) {
    let calls = calls.into_iter().map(|(target, data)| Executor::Execution {
        target,
        value: U256::ZERO,
        callData: data,
    });
    let calls: Vec<Executor::Execution> = calls.collect();
    let mut mode = B256::from(U256::from(each));
    mode[..2].copy_from_slice(&BATCH_TRY);
    let call = Executor::executeCall {
        mode,
        executionCalldata: calls.abi_encode().into(),
    };
    (account, call.abi_encode().into())
}
