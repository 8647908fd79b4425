//! The contracts that settling uses beside the tokens.

use std::sync::LazyLock;

use alloy_primitives::{Address, B256, Bytes, address, keccak256};
use serde::Deserialize;

/// Where Multicall3 is, on every chain that has it.
pub const MULTICALL3: Address = address!("cA11bde05977b3631167028862bE2a173976CA11");
/// The deployment proxy that most chains carry: its calldata is a salt and
/// creation code.
pub const CREATE2_DEPLOYER: Address = address!("4e59b44847b379578588920cA78FbF26c0B4956C");

/// Permit2, on every chain that has it.
pub const PERMIT2: Address = address!("000000000022D473030F116dDEE9F6B43aC78BA3");
/// x402ExactPermit2Proxy: the spender of permits of scheme `exact`.
pub const EXACT_PROXY: Address = address!("402085c248EeA27D92E8b30b2C58ed07f9E20001");
/// x402UptoPermit2Proxy: the spender of permits of scheme `upto`.
pub const UPTO_PROXY: Address = address!("4020A4f3b7b90ccA423B9fabCc0CE57C6C240002");

/// Creation code that tries transfers and answers what each would do.
pub(crate) static TRANSFER_PROBE: LazyLock<Bytes> = LazyLock::new(|| {
    read(include_str!(
        "../../../contracts/artifacts/TransferProbe.json"
    ))
    .bytecode
});

/// Code that makes several calls as the account that runs it, for a simulation.
pub(crate) static MULTICALL_CODE: LazyLock<Bytes> =
    LazyLock::new(|| read(include_str!("../../../contracts/artifacts/Multicall.json")).runtime);

static BATCH_EXECUTOR: LazyLock<Artifact> = LazyLock::new(|| {
    read(include_str!(
        "../../../contracts/artifacts/BatchExecutor.json"
    ))
});

#[derive(Default, Deserialize)]
struct Artifact {
    bytecode: Bytes,
    runtime: Bytes,
}

/// The artefacts are part of the program: that they are read is tested.
fn read(json: &str) -> Artifact {
    serde_json::from_str(json).unwrap_or_default()
}

/// Where the batch executor is: the same address on every chain, since nothing
/// but its code decides it.
#[must_use]
pub fn executor_address() -> Address {
    CREATE2_DEPLOYER.create2(B256::ZERO, keccak256(&BATCH_EXECUTOR.bytecode))
}

/// What anybody sends to [`CREATE2_DEPLOYER`] to put the executor there.
#[must_use]
pub fn executor_deployment() -> Bytes {
    [B256::ZERO.as_slice(), &BATCH_EXECUTOR.bytecode]
        .concat()
        .into()
}

static PERMIT_SETTLER: LazyLock<Artifact> = LazyLock::new(|| {
    read(include_str!(
        "../../../contracts/artifacts/PermitSettler.json"
    ))
});

/// The settler of a payee: the contract that EIP-2612 permits name as spender,
/// and that can pay nobody else. The same address on every chain, since only its
/// code and the payee decide it.
#[must_use]
pub fn settler_address(pay_to: Address) -> Address {
    let salt = pay_to.into_word();
    CREATE2_DEPLOYER.create2(salt, keccak256(settler_code(pay_to)))
}

/// What anybody sends to [`CREATE2_DEPLOYER`] to put a payee's settler there.
#[must_use]
pub fn settler_deployment(pay_to: Address) -> Bytes {
    let salt = pay_to.into_word();
    [salt.as_slice(), &settler_code(pay_to)].concat().into()
}

fn settler_code(pay_to: Address) -> Vec<u8> {
    [&PERMIT_SETTLER.bytecode, pay_to.into_word().as_slice()].concat()
}

/// Whether this is the executor's code.
pub(crate) fn is_executor(code: &Bytes) -> bool {
    !code.is_empty() && *code == BATCH_EXECUTOR.runtime
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contracts_are_there() {
        assert!(TRANSFER_PROBE.len() > 500);
        assert!(MULTICALL_CODE.len() > 200);
        assert!(is_executor(&BATCH_EXECUTOR.runtime));
        assert!(!is_executor(&Bytes::new()));
        assert_eq!(
            executor_deployment().len(),
            32 + BATCH_EXECUTOR.bytecode.len()
        );
    }
}
