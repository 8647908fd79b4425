//! How a devnet is described before it runs.

use std::time::Duration;

use alloy_primitives::{Address, U256};
use alloy_sol_types::{SolCall, sol};

use crate::Devnet;
use crate::chain::{Chain, Settings};
use crate::clock::Clock;
use crate::contracts::{
    CREATE2_DEPLOYER, CREATE2_DEPLOYER_RUNTIME, Contract, EXACT_PROXY, MULTICALL, PERMIT2,
    UPTO_PROXY,
};
use crate::error::RpcError;
use crate::pool::WAITING_PER_SENDER;
use crate::preset::{DEV_ACCOUNTS, Dollar, Preset};

sol! {
    interface TestDollar {
        function initialize(string name, string symbol, string version);
        function mint(address to, uint256 value) returns (bool);
        function balanceOf(address account) returns (uint256);
    }
}

/// Wei that each dev account has at genesis: 10,000 ether.
const DEV_ETHER: u128 = 10_000 * 1_000_000_000_000_000_000;
/// Atomic units of each test dollar that each dev account has: 1,000,000 dollars.
const DEV_DOLLARS: u64 = 1_000_000 * 1_000_000;

/// When blocks are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mining {
    /// One block for each transaction, before its hash is returned.
    Automine,
    /// A block every so often, empty or not, as on a real chain.
    Interval(Duration),
    /// Only when asked to.
    Manual,
}

/// Describes a devnet. Made by [`Devnet::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    preset: Preset,
    mining: Mining,
    gas_limit: u64,
    base_fee: u64,
    base_fee_floor: u64,
    safe_depth: u64,
    finalized_depth: u64,
    waiting_per_sender: usize,
    fixed_time: Option<u64>,
    extra_dollars: Vec<Dollar>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            preset: Preset::BaseSepolia,
            mining: Mining::Automine,
            gas_limit: 30_000_000,
            base_fee: 1_000_000_000,
            base_fee_floor: 1_000_000,
            safe_depth: 0,
            finalized_depth: 0,
            waiting_per_sender: WAITING_PER_SENDER,
            fixed_time: None,
            extra_dollars: Vec::new(),
        }
    }
}

impl Builder {
    /// Poses as this chain. Default: Base Sepolia.
    pub fn preset(mut self, preset: Preset) -> Self {
        self.preset = preset;
        self
    }

    /// Poses as the chain with this id; the same as its [`Preset`].
    pub fn chain_id(self, chain_id: u64) -> Self {
        self.preset(Preset::for_chain(chain_id))
    }

    /// When blocks are made. Default: [`Mining::Automine`].
    pub fn mining(mut self, mining: Mining) -> Self {
        self.mining = mining;
        self
    }

    /// The gas a block may hold. Default 30,000,000; Base has 400,000,000.
    pub fn block_gas_limit(mut self, gas: u64) -> Self {
        self.gas_limit = gas;
        self
    }

    /// The first base fee and the lowest it may fall to, in wei per gas.
    /// Default: one gwei, a thousandth of it.
    pub fn base_fee(mut self, first: u64, floor: u64) -> Self {
        (self.base_fee, self.base_fee_floor) = (first, floor);
        self
    }

    /// How many blocks behind the head `safe` and `finalized` are. Default 0.
    pub fn finality(mut self, safe_depth: u64, finalized_depth: u64) -> Self {
        (self.safe_depth, self.finalized_depth) = (safe_depth, finalized_depth);
        self
    }

    /// How many transactions of one sender may wait, of 16,384 in all. Default 1,024.
    pub fn waiting_per_sender(mut self, transactions: usize) -> Self {
        self.waiting_per_sender = transactions;
        self
    }

    /// Stops the clock at this Unix second: time then moves only when it is
    /// told to, and every run of the same calls gives the same hashes.
    /// Default: the wall clock.
    pub fn fixed_time(mut self, seconds: u64) -> Self {
        self.fixed_time = Some(seconds);
        self
    }

    /// Places one more test dollar at genesis, with the dev accounts funded.
    pub fn extra_dollar(mut self, dollar: Dollar) -> Self {
        self.extra_dollars.push(dollar);
        self
    }

    /// Starts the chain.
    ///
    /// # Errors
    /// If genesis cannot be made, such as an extra dollar with an empty version.
    pub fn build(self) -> Result<Devnet, RpcError> {
        let automine = self.mining == Mining::Automine;
        let mut chain = Chain::new(self.settings(), Clock::new(self.fixed_time), automine);
        place_contracts(&mut chain)?;
        for account in &DEV_ACCOUNTS {
            chain
                .world
                .edit(account.address, |info| info.balance = U256::from(DEV_ETHER));
        }
        let dollar = self.preset.dollar();
        for dollar in self.extra_dollars.iter().chain([&dollar]) {
            place_dollar(&mut chain, dollar)?;
        }
        chain.close_genesis();
        Ok(Devnet::start(chain, dollar, self.mining))
    }

    fn settings(&self) -> Settings {
        Settings {
            chain_id: self.preset.chain_id(),
            gas_limit: self.gas_limit,
            base_fee: self.base_fee,
            base_fee_floor: self.base_fee_floor,
            safe_depth: self.safe_depth,
            finalized_depth: self.finalized_depth,
            waiting_per_sender: self.waiting_per_sender,
        }
    }
}

/// What stands at the same address on every chain.
fn place_contracts(chain: &mut Chain) -> Result<(), RpcError> {
    let everywhere = [
        (MULTICALL, Contract::Multicall),
        (PERMIT2, Contract::StandInPermit2),
        (EXACT_PROXY, Contract::ExactPermit2Proxy),
        (UPTO_PROXY, Contract::UptoPermit2Proxy),
        (
            Contract::BatchExecutor.create2_address(),
            Contract::BatchExecutor,
        ),
    ];
    for (address, contract) in everywhere {
        chain.world.set_code(address, contract.runtime())?;
    }
    chain
        .world
        .set_code(CREATE2_DEPLOYER, CREATE2_DEPLOYER_RUNTIME)
}

/// Places `contract`, a test dollar or one of the cheats made from it, and
/// gives it the name and version of `dollar`.
pub(crate) fn place_token(
    chain: &mut Chain,
    contract: Contract,
    dollar: &Dollar,
) -> Result<(), RpcError> {
    chain.world.set_code(dollar.address, contract.runtime())?;
    let initialize = TestDollar::initializeCall {
        name: dollar.name.clone(),
        symbol: "USDC".into(),
        version: dollar.version.clone(),
    };
    chain
        .system_call(dollar.address, initialize.abi_encode().into())
        .map(drop)
}

fn place_dollar(chain: &mut Chain, dollar: &Dollar) -> Result<(), RpcError> {
    place_token(chain, Contract::TestDollar, dollar)?;
    for account in &DEV_ACCOUNTS {
        mint(
            chain,
            dollar.address,
            account.address,
            U256::from(DEV_DOLLARS),
        )?;
    }
    Ok(())
}

/// Gives `value` atomic units of the test dollar at `token` to `to`.
pub(crate) fn mint(
    chain: &mut Chain,
    token: Address,
    to: Address,
    value: U256,
) -> Result<(), RpcError> {
    let call = TestDollar::mintCall { to, value };
    chain.system_call(token, call.abi_encode().into()).map(drop)
}
