//! The compiled contracts of `contracts/`, for placing on a chain.

use alloy_primitives::{Address, B256, Bytes, address, bytes};
use serde::Deserialize;

/// Where clients expect a multicall on every chain.
pub const MULTICALL: Address = address!("0xcA11bde05977b3631167028862bE2a173976CA11");
/// The deterministic deployment proxy that most chains carry.
pub const CREATE2_DEPLOYER: Address = address!("0x4e59b44847b379578588920cA78FbF26c0B4956C");
/// Its runtime: `CREATE2` with the first word of the calldata as the salt.
pub(crate) const CREATE2_DEPLOYER_RUNTIME: Bytes = bytes!(
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f58015156039578182fd5b8082525050506014600cf3"
);

/// A contract compiled from `contracts/src`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Contract {
    /// ERC-20 with EIP-2612 and EIP-3009. After placing its runtime call
    /// `initialize(name, symbol, version)` once.
    TestDollar,
    /// The Multicall3 interface.
    Multicall,
    /// The code of an EIP-7702 delegation: lets an account run a batch as itself.
    BatchExecutor,
    /// An EIP-1271 wallet with one owner: constructor argument, or
    /// `initialize(owner)` after placing the runtime.
    SmartWallet,
    /// Deploys `SmartWallet`s by CREATE2: `deploy(owner, salt)`.
    SmartWalletFactory,
    /// Cheats: authorizations succeed and do nothing.
    SilentToken,
    /// Cheats: keeps one percent of every transfer.
    FeeToken,
    /// Cheats: logs a Transfer that did not happen.
    LyingToken,
    /// Cheats: calls every signature valid.
    YesWallet,
    /// Cheats: calls every signature valid, but only at gas price zero.
    TwoFacedWallet,
    /// Cheats: burns all gas when asked about a signature.
    GasBurnerWallet,
}

#[derive(Deserialize)]
struct Artifact {
    bytecode: Bytes,
    runtime: Bytes,
}

impl Contract {
    /// Every contract there is.
    pub const ALL: [Self; 11] = [
        Self::TestDollar,
        Self::Multicall,
        Self::BatchExecutor,
        Self::SmartWallet,
        Self::SmartWalletFactory,
        Self::SilentToken,
        Self::FeeToken,
        Self::LyingToken,
        Self::YesWallet,
        Self::TwoFacedWallet,
        Self::GasBurnerWallet,
    ];

    /// The code that runs at the contract's address.
    pub fn runtime(self) -> Bytes {
        self.artifact()
            .map(|artifact| artifact.runtime)
            .unwrap_or_default()
    }

    /// The code that deploys it, without constructor arguments.
    pub fn creation(self) -> Bytes {
        self.artifact()
            .map(|artifact| artifact.bytecode)
            .unwrap_or_default()
    }

    /// Where [`CREATE2_DEPLOYER`] puts it with a salt of zero.
    pub fn create2_address(self) -> Address {
        CREATE2_DEPLOYER.create2_from_code(B256::ZERO, self.creation())
    }

    fn artifact(self) -> Option<Artifact> {
        serde_json::from_str(self.json()).ok()
    }

    fn json(self) -> &'static str {
        match self {
            Self::TestDollar => include_str!("../../../contracts/artifacts/TestDollar.json"),
            Self::Multicall => include_str!("../../../contracts/artifacts/Multicall.json"),
            Self::BatchExecutor => include_str!("../../../contracts/artifacts/BatchExecutor.json"),
            Self::SmartWallet => include_str!("../../../contracts/artifacts/SmartWallet.json"),
            Self::SmartWalletFactory => {
                include_str!("../../../contracts/artifacts/SmartWalletFactory.json")
            }
            Self::SilentToken => include_str!("../../../contracts/artifacts/SilentToken.json"),
            Self::FeeToken => include_str!("../../../contracts/artifacts/FeeToken.json"),
            Self::LyingToken => include_str!("../../../contracts/artifacts/LyingToken.json"),
            Self::YesWallet => include_str!("../../../contracts/artifacts/YesWallet.json"),
            Self::TwoFacedWallet => {
                include_str!("../../../contracts/artifacts/TwoFacedWallet.json")
            }
            Self::GasBurnerWallet => {
                include_str!("../../../contracts/artifacts/GasBurnerWallet.json")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_artifact_has_code() {
        for contract in Contract::ALL {
            assert!(contract.runtime().len() > 20, "{contract:?}");
            assert!(
                contract.creation().len() > contract.runtime().len(),
                "{contract:?}"
            );
        }
    }

    #[test]
    fn the_create2_deployer_has_its_well_known_length() {
        assert_eq!(CREATE2_DEPLOYER_RUNTIME.len(), 69);
    }
}
