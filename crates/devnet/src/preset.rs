//! Which public chain the devnet poses as, and who has money on it.

use alloy_primitives::{Address, B256, address, b256};

/// A chain to pose as: its id, and the test dollar at the address where that
/// chain has its USDC, with the same EIP-712 name and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Preset {
    /// 84532.
    BaseSepolia,
    /// 8453.
    Base,
    /// 1329.
    Sei,
    /// 1328.
    SeiTestnet,
    /// 11155111.
    Sepolia,
    /// Any other chain id; its test dollar is at [`LOCAL_DOLLAR`].
    Local(u64),
}

/// The test dollar's address on chains that pose as none in particular.
pub const LOCAL_DOLLAR: Address = address!("0x4020000000000000000000000000000000000402");

/// A test dollar to place at genesis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dollar {
    /// Where it is.
    pub address: Address,
    /// Its ERC-20 and EIP-712 name.
    pub name: String,
    /// Its EIP-712 version; not empty.
    pub version: String,
}

impl Preset {
    /// The preset for a chain id.
    pub const fn for_chain(chain_id: u64) -> Self {
        match chain_id {
            84_532 => Self::BaseSepolia,
            8_453 => Self::Base,
            1_329 => Self::Sei,
            1_328 => Self::SeiTestnet,
            11_155_111 => Self::Sepolia,
            other => Self::Local(other),
        }
    }

    /// The chain id.
    pub const fn chain_id(self) -> u64 {
        match self {
            Self::BaseSepolia => 84_532,
            Self::Base => 8_453,
            Self::Sei => 1_329,
            Self::SeiTestnet => 1_328,
            Self::Sepolia => 11_155_111,
            Self::Local(id) => id,
        }
    }

    /// The chain's dollar.
    pub fn dollar(self) -> Dollar {
        let (address, name) = match self {
            Self::BaseSepolia => (
                address!("0x036CbD53842c5426634e7929541eC2318f3dCF7e"),
                "USDC",
            ),
            Self::Base => (
                address!("0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"),
                "USD Coin",
            ),
            Self::Sei => (
                address!("0xe15fC38F6D8c56aF07bbCBe3BAf5708A2Bf42392"),
                "USDC",
            ),
            Self::SeiTestnet => (
                address!("0x4fCF1784B31630811181f670Aea7A7bEF803eaED"),
                "USDC",
            ),
            Self::Sepolia => (
                address!("0x1c7D4B196Cb0C7B01d743Fbc6116a902379C7238"),
                "USDC",
            ),
            Self::Local(_) => (LOCAL_DOLLAR, "USDC"),
        };
        Dollar {
            address,
            name: name.into(),
            version: "2".into(),
        }
    }
}

/// An account that is rich on every devnet. Its key is public knowledge: the
/// mnemonic "test test test test test test test test test test test junk".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevAccount {
    /// The account.
    pub address: Address,
    /// Its secp256k1 secret key.
    pub key: B256,
}

const fn account(address: Address, key: B256) -> DevAccount {
    DevAccount { address, key }
}

/// The ten accounts with 10,000 ether and 1,000,000 test dollars each.
pub const DEV_ACCOUNTS: [DevAccount; 10] = [
    account(
        address!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
        b256!("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"),
    ),
    account(
        address!("0x70997970C51812dc3A010C7d01b50e0d17dc79C8"),
        b256!("0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"),
    ),
    account(
        address!("0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"),
        b256!("0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"),
    ),
    account(
        address!("0x90F79bf6EB2c4f870365E785982E1f101E93b906"),
        b256!("0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6"),
    ),
    account(
        address!("0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65"),
        b256!("0x47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a"),
    ),
    account(
        address!("0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc"),
        b256!("0x8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba"),
    ),
    account(
        address!("0x976EA74026E726554dB657fA54763abd0C3a0aa9"),
        b256!("0x92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e"),
    ),
    account(
        address!("0x14dC79964da2C08b23698B3D3cc7Ca32193d9955"),
        b256!("0x4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356"),
    ),
    account(
        address!("0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f"),
        b256!("0xdbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97"),
    ),
    account(
        address!("0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"),
        b256!("0x2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6"),
    ),
];
