//! The contracts that settling uses beside the tokens.

use std::sync::LazyLock;

use alloy_primitives::{Address, B256, Bytes, address, keccak256};
use serde::Deserialize;

/// Where Multicall3 is, on every chain that has it.
pub const MULTICALL3: Address = address!("cA11bde05977b3631167028862bE2a173976CA11");
/// The deployment proxy that most chains carry: its calldata is a salt and
/// creation code.
pub const CREATE2_DEPLOYER: Address = address!("4e59b44847b379578588920cA78FbF26c0B4956C");

/// Creation code that tries transfers and answers what each would do.
pub(crate) static TRANSFER_PROBE: LazyLock<Bytes> = LazyLock::new(|| {
    read(include_str!(
        "../../../contracts/artifacts/TransferProbe.json"
    ))
    .bytecode
});

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
        assert!(is_executor(&BATCH_EXECUTOR.runtime));
        assert!(!is_executor(&Bytes::new()));
        assert_eq!(
            executor_deployment().len(),
            32 + BATCH_EXECUTOR.bytecode.len()
        );
    }
}
