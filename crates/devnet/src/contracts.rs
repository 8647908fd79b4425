//! The compiled contracts of `contracts/`, for placing on a chain.

use alloy_primitives::{Address, B256, Bytes, address, bytes, keccak256};
use serde::Deserialize;

/// Where clients expect a multicall on every chain.
pub const MULTICALL: Address = address!("0xcA11bde05977b3631167028862bE2a173976CA11");
/// Where Permit2 is on every chain; here [`Contract::StandInPermit2`] is.
pub const PERMIT2: Address = address!("0x000000000022D473030F116dDEE9F6B43aC78BA3");
/// The spender of `exact` payments by Permit2.
pub const EXACT_PROXY: Address = address!("0x402085c248EeA27D92E8b30b2C58ed07f9E20001");
/// The spender of `upto` payments by Permit2.
pub const UPTO_PROXY: Address = address!("0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002");
/// The deterministic deployment proxy that most chains carry.
pub const CREATE2_DEPLOYER: Address = address!("0x4e59b44847b379578588920cA78FbF26c0B4956C");
/// Its runtime: `CREATE2` with the first word of the calldata as the salt.
pub(crate) const CREATE2_DEPLOYER_RUNTIME: Bytes = bytes!(
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f58015156039578182fd5b8082525050506014600cf3"
);

/// Where [`crate::Devnet::displace_contracts`] puts what payments go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Displaced {
    /// In the place of [`PERMIT2`].
    pub permit2: Address,
    /// In the place of [`EXACT_PROXY`].
    pub exact_proxy: Address,
    /// In the place of [`UPTO_PROXY`].
    pub upto_proxy: Address,
    /// In the place of [`MULTICALL`].
    pub multicall3: Address,
}

/// Leading zeros of [`PERMIT2`], which compilers leave out of code.
const PERMIT2_ZEROS: usize = 5;

impl Displaced {
    pub(crate) const PLACES: Self = Self {
        permit2: address!("0x0000000000777777777777777777777777777777"),
        exact_proxy: address!("0x7171717171717171717171717171717171717171"),
        upto_proxy: address!("0x7272727272727272727272727272727272727272"),
        multicall3: address!("0x7373737373737373737373737373737373737373"),
    };

    /// From where to where.
    pub(crate) const fn moves(&self) -> [(Address, Address); 4] {
        [
            (PERMIT2, self.permit2),
            (EXACT_PROXY, self.exact_proxy),
            (UPTO_PROXY, self.upto_proxy),
            (MULTICALL, self.multicall3),
        ]
    }

    /// A contract's code, which goes through Permit2 where that is now.
    pub(crate) fn rewritten(&self, code: &[u8]) -> Bytes {
        let from = &PERMIT2.as_slice()[PERMIT2_ZEROS..];
        let to = &self.permit2.as_slice()[PERMIT2_ZEROS..];
        let mut code = code.to_vec();
        let mut next = 0;
        while let Some(at) = code[next..].windows(from.len()).position(|w| w == from) {
            let at = next + at;
            next = at + to.len();
            code[at..next].copy_from_slice(to);
        }
        code.into()
    }
}

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
    /// What payments use of Permit2, written from its interface. It is
    /// etched where the real one is, and is not the real one.
    StandInPermit2,
    /// Settles `exact` payments by Permit2.
    ExactPermit2Proxy,
    /// Settles `upto` payments by Permit2.
    UptoPermit2Proxy,
    /// Settles EIP-2612 permits to one payee, its constructor argument; see
    /// [`settler_address`].
    PermitSettler,
    /// Cheats: authorizations succeed and do nothing.
    SilentToken,
    /// Cheats: a test dollar that keeps one percent of every transfer.
    FeeToken,
    /// Cheats: logs a Transfer that did not happen.
    LyingToken,
    /// Cheats: a test dollar whose transfers answer false and move nothing.
    FalseToken,
    /// Cheats: a test dollar that calls somebody in the middle of a transfer,
    /// after `arm(target, data)`.
    ReentrantToken,
    /// Cheats: a test dollar that answers a transfer with very many bytes,
    /// after `arm(size, reverts)`.
    BombToken,
    /// Cheats: a test dollar that burns all gas of a transfer, unless the gas
    /// price is zero.
    BurnerToken,
    /// Cheats: has ERC-20, and takes any other call, such as `permit`, and
    /// does nothing.
    PhantomPermitToken,
    /// Cheats: calls every signature valid.
    YesWallet,
    /// Cheats: calls every signature valid, but only at gas price zero.
    TwoFacedWallet,
    /// Cheats: burns all gas when asked about a signature.
    GasBurnerWallet,
    /// Cheats: what it says depends on the base fee, the gas left, the block,
    /// the time, who makes the block or who sent the transaction: `set(mood, bound)`.
    MoodyWallet,
}

macro_rules! artifact {
    ($name:literal) => {
        include_str!(concat!("../../../contracts/artifacts/", $name, ".json"))
    };
}

#[derive(Deserialize)]
struct Artifact {
    bytecode: Bytes,
    runtime: Bytes,
}

impl Contract {
    /// Every contract there is.
    pub const ALL: [Self; 21] = [
        Self::TestDollar,
        Self::Multicall,
        Self::BatchExecutor,
        Self::SmartWallet,
        Self::SmartWalletFactory,
        Self::StandInPermit2,
        Self::ExactPermit2Proxy,
        Self::UptoPermit2Proxy,
        Self::PermitSettler,
        Self::SilentToken,
        Self::FeeToken,
        Self::LyingToken,
        Self::FalseToken,
        Self::ReentrantToken,
        Self::BombToken,
        Self::BurnerToken,
        Self::PhantomPermitToken,
        Self::YesWallet,
        Self::TwoFacedWallet,
        Self::GasBurnerWallet,
        Self::MoodyWallet,
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
            Self::TestDollar => artifact!("TestDollar"),
            Self::Multicall => artifact!("Multicall"),
            Self::BatchExecutor => artifact!("BatchExecutor"),
            Self::SmartWallet => artifact!("SmartWallet"),
            Self::SmartWalletFactory => artifact!("SmartWalletFactory"),
            Self::StandInPermit2 => artifact!("StandInPermit2"),
            Self::ExactPermit2Proxy => artifact!("ExactPermit2Proxy"),
            Self::UptoPermit2Proxy => artifact!("UptoPermit2Proxy"),
            Self::PermitSettler => artifact!("PermitSettler"),
            Self::SilentToken => artifact!("SilentToken"),
            Self::FeeToken => artifact!("FeeToken"),
            Self::LyingToken => artifact!("LyingToken"),
            Self::FalseToken => artifact!("FalseToken"),
            Self::ReentrantToken => artifact!("ReentrantToken"),
            Self::BombToken => artifact!("BombToken"),
            Self::BurnerToken => artifact!("BurnerToken"),
            Self::PhantomPermitToken => artifact!("PhantomPermitToken"),
            Self::YesWallet => artifact!("YesWallet"),
            Self::TwoFacedWallet => artifact!("TwoFacedWallet"),
            Self::GasBurnerWallet => artifact!("GasBurnerWallet"),
            Self::MoodyWallet => artifact!("MoodyWallet"),
        }
    }
}

/// The code that deploys the settler of payments to `pay_to`.
fn settler_creation(pay_to: Address) -> Vec<u8> {
    let mut code = Contract::PermitSettler.creation().to_vec();
    code.extend_from_slice(pay_to.into_word().as_slice());
    code
}

/// Where the settler of payments to `pay_to` is on every chain:
/// [`CREATE2_DEPLOYER`] with the payee, as a word, for the salt.
pub fn settler_address(pay_to: Address) -> Address {
    CREATE2_DEPLOYER.create2(pay_to.into_word(), keccak256(settler_creation(pay_to)))
}

/// The calldata for [`CREATE2_DEPLOYER`] that puts the settler of payments to
/// `pay_to` at its address. A second time the deployer reverts.
pub fn settler_deployment(pay_to: Address) -> Bytes {
    [pay_to.into_word().to_vec(), settler_creation(pay_to)]
        .concat()
        .into()
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
