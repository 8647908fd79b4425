//! The handle to a running chain.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::thread;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolCall;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::builder::{Builder, Mining, TestDollar, mint, place_token};
use crate::call::{Overrides, call};
use crate::chain::{BlockId, Chain};
use crate::contracts::{
    CREATE2_DEPLOYER, Contract, Displaced, settler_address, settler_deployment,
};
use crate::error::RpcError;
use crate::preset::Dollar;
use crate::rpc;
use crate::server::DevnetServer;

/// The shortest pause between two blocks of interval mining.
const MIN_INTERVAL: Duration = Duration::from_millis(1);
/// The longest pause: a year.
const MAX_INTERVAL: Duration = Duration::from_secs(365 * 24 * 3_600);
/// How soon a miner notices that it is no longer wanted.
const MINER_NAP: Duration = Duration::from_millis(500);
/// The most blocks that one request may mine.
pub(crate) const MAX_MINED_AT_ONCE: u64 = 10_000;

/// An embedded EVM chain. Clones are handles to the same chain, which ends
/// when the last one (a server holds one) is dropped.
#[derive(Clone, Debug)]
pub struct Devnet {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    chain: RwLock<Chain>,
    dollar: Dollar,
    /// Counts changes of the mining mode, so that an old miner knows to stop.
    mining: AtomicU64,
}

impl Devnet {
    /// Describes a chain; the defaults pose as Base Sepolia and mine each
    /// transaction as it arrives.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn start(chain: Chain, dollar: Dollar, mining: Mining) -> Self {
        let inner = Inner {
            chain: RwLock::new(chain),
            dollar,
            mining: AtomicU64::new(0),
        };
        let devnet = Self {
            inner: Arc::new(inner),
        };
        devnet.set_mining(mining);
        devnet
    }

    /// Serves JSON-RPC over HTTP on `listener` until the server is shut down.
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the listener's address cannot be read.
    pub fn serve(&self, listener: TcpListener) -> std::io::Result<DevnetServer> {
        DevnetServer::start(self.clone(), listener)
    }

    /// One JSON-RPC call, in process.
    ///
    /// # Errors
    /// Whatever the method answers instead of a result.
    pub fn request(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        rpc::dispatch(self, method, &params)
    }

    /// A JSON-RPC request body, single or batch, in process; the answer is
    /// empty if the body holds only notifications.
    pub fn handle_body(&self, body: &[u8]) -> Vec<u8> {
        rpc::handle_body(self, body)
    }

    /// The chain id.
    pub fn chain_id(&self) -> u64 {
        self.read().settings.chain_id
    }

    /// The test dollar: where it is and how it signs.
    pub fn dollar(&self) -> &Dollar {
        &self.inner.dollar
    }

    /// The number of the newest block.
    pub fn block_number(&self) -> u64 {
        self.read().head_number()
    }

    /// What time it is on the chain, in Unix seconds.
    pub fn now(&self) -> u64 {
        let chain = self.read();
        chain.clock.now(chain.head().header.timestamp)
    }

    /// Takes a raw transaction (EIP-2718, types 0, 1, 2, 4) into the pool and
    /// returns its hash.
    ///
    /// # Errors
    /// As geth words them: `nonce too low`, `already known`, ….
    pub fn send_raw(&self, raw: &[u8]) -> Result<B256, RpcError> {
        self.write().submit(raw)
    }

    /// Whether a mined transaction succeeded; `None` while it is unknown or waits.
    pub fn succeeded(&self, hash: B256) -> Option<bool> {
        let chain = self.read();
        let (block, index) = chain.mined(hash)?;
        Some(block.txs.get(index)?.succeeded)
    }

    /// How many transactions wait.
    pub fn waiting(&self) -> usize {
        self.read().pool.len()
    }

    /// Calls a contract at the latest block and changes nothing.
    ///
    /// # Errors
    /// The revert (code 3, with data) or why the call could not run.
    pub fn call(&self, to: Address, data: Bytes) -> Result<Bytes, RpcError> {
        let request = crate::call::CallRequest {
            to: Some(to),
            data,
            ..Default::default()
        };
        call(
            &self.read(),
            &request,
            BlockId::Latest,
            &Overrides::default(),
        )
    }

    /// Test dollars of `account`, in atomic units (six decimals).
    pub fn balance_of(&self, account: Address) -> U256 {
        self.token_balance_of(self.inner.dollar.address, account)
    }

    /// ERC-20 balance of `account` at `token`; zero if that is no token.
    pub fn token_balance_of(&self, token: Address, account: Address) -> U256 {
        let data = TestDollar::balanceOfCall { account }.abi_encode();
        let answer = self.call(token, data.into()).unwrap_or_default();
        TestDollar::balanceOfCall::abi_decode_returns(&answer).unwrap_or_default()
    }

    /// Makes `value` atomic units of the test dollar for `to`, at once and
    /// without a transaction (so also without a log).
    ///
    /// # Errors
    /// If the token refuses: the zero address, or the total overflows.
    pub fn mint(&self, to: Address, value: U256) -> Result<(), RpcError> {
        mint(&mut self.write(), self.inner.dollar.address, to, value)
    }

    /// Places one more token: [`Contract::TestDollar`], or a cheat made from
    /// it, with the name and version of `dollar` at its address. Nobody has any.
    ///
    /// # Errors
    /// If there is one already, the version is empty, or `contract` is no such token.
    pub fn place_token(&self, contract: Contract, dollar: &Dollar) -> Result<(), RpcError> {
        place_token(&mut self.write(), contract, dollar)
    }

    /// Makes `value` atomic units of the token at `token` for `to`, as [`Self::mint`] does.
    ///
    /// # Errors
    /// As [`Self::mint`], or if it has no `mint`.
    pub fn mint_token(&self, token: Address, to: Address, value: U256) -> Result<(), RpcError> {
        mint(&mut self.write(), token, to, value)
    }

    /// Places the settler of payments to `pay_to` where a deployment would put
    /// it, and returns its address.
    ///
    /// # Errors
    /// If `pay_to` is the zero address.
    pub fn place_settler(&self, pay_to: Address) -> Result<Address, RpcError> {
        let at = settler_address(pay_to);
        if self.code(at).is_empty() {
            self.system_call(CREATE2_DEPLOYER, settler_deployment(pay_to))?;
        }
        Ok(at)
    }

    /// Puts Permit2, the x402 proxies and Multicall3 elsewhere, and leaves nothing where
    /// they are published: a network that has addresses of its own.
    ///
    /// # Errors
    /// As [`Devnet::set_code`].
    pub fn displace_contracts(&self) -> Result<Displaced, RpcError> {
        let there = Displaced::PLACES;
        for (from, to) in there.moves() {
            self.set_code(to, there.rewritten(&self.code(from)))?;
            self.set_code(from, Bytes::new())?;
        }
        Ok(there)
    }

    /// Calls a contract as the chain itself: what it changes stays, but there
    /// is no transaction, no block and no log. For setting up tests.
    ///
    /// # Errors
    /// The revert (code 3, with data) or why the call could not run.
    pub fn system_call(&self, to: Address, data: Bytes) -> Result<Bytes, RpcError> {
        self.write().system_call(to, data)
    }

    /// Wei of `account`.
    pub fn balance(&self, account: Address) -> U256 {
        self.read().world.balance(account)
    }

    /// Sets the wei of `account`.
    pub fn set_balance(&self, account: Address, wei: U256) {
        self.write().world.edit(account, |info| info.balance = wei);
    }

    /// The mined transaction count of `account`.
    pub fn nonce(&self, account: Address) -> u64 {
        self.read().world.nonce(account)
    }

    /// Sets the transaction count of `account`; transactions below it leave the pool.
    pub fn set_nonce(&self, account: Address, nonce: u64) {
        let mut chain = self.write();
        chain.world.edit(account, |info| info.nonce = nonce);
        let Chain { pool, world, .. } = &mut *chain;
        pool.drop_stale(|sender| world.nonce(sender));
    }

    /// The runtime code at `account`.
    pub fn code(&self, account: Address) -> Bytes {
        let chain = self.read();
        let code = chain
            .world
            .account(account)
            .and_then(|info| info.code.as_ref());
        code.map(revm::state::Bytecode::original_bytes)
            .unwrap_or_default()
    }

    /// Places runtime code at `account`.
    ///
    /// # Errors
    /// If the code begins with 0xef01 but is no EIP-7702 designator.
    pub fn set_code(&self, account: Address, code: Bytes) -> Result<(), RpcError> {
        self.write().world.set_code(account, code)
    }

    /// One storage slot of `account`.
    pub fn storage(&self, account: Address, slot: U256) -> U256 {
        self.read().world.now().slot(account, slot)
    }

    /// Sets one storage slot of `account`.
    pub fn set_storage(&self, account: Address, slot: U256, value: U256) {
        self.write().world.set_slot(account, slot, value);
    }

    /// Moves the clock forward and returns its whole offset in seconds.
    ///
    /// # Errors
    /// If the offset leaves the range of an `i64`.
    pub fn increase_time(&self, seconds: u64) -> Result<i64, RpcError> {
        self.write().clock.increase(seconds)
    }

    /// Gives the next block this timestamp; time goes on from there.
    ///
    /// # Errors
    /// If it is before the newest block's.
    pub fn set_next_timestamp(&self, seconds: u64) -> Result<(), RpcError> {
        let mut chain = self.write();
        let last = chain.head().header.timestamp;
        chain.clock.set_next(seconds, last)
    }

    /// Mines `blocks` blocks, at most 10,000, and returns the newest number.
    ///
    /// # Errors
    /// If more are asked for.
    pub fn mine(&self, blocks: u64) -> Result<u64, RpcError> {
        if blocks > MAX_MINED_AT_ONCE {
            return Err(RpcError::params(format!(
                "mine at most {MAX_MINED_AT_ONCE} blocks at once"
            )));
        }
        let mut chain = self.write();
        for _ in 0..blocks {
            chain.mine();
        }
        Ok(chain.head_number())
    }

    /// Remembers everything as it is now, for [`Self::revert`].
    pub fn snapshot(&self) -> u64 {
        self.write().snapshot()
    }

    /// Goes back to a snapshot and uses it up; false if it is unknown.
    pub fn revert(&self, snapshot: u64) -> bool {
        self.write().revert(snapshot)
    }

    /// Drops the newest `depth` blocks, as when another branch wins. Their
    /// transactions wait again if `keep`, and wait until the next block even
    /// on a chain that mines on arrival; else they are lost.
    ///
    /// # Errors
    /// If the chain is not that long, or `depth` is more than 128.
    pub fn reorg(&self, depth: u64, keep: bool) -> Result<(), RpcError> {
        self.write().reorg(depth, keep)
    }

    /// Takes a waiting transaction out of the pool; false if it does not wait.
    pub fn drop_transaction(&self, hash: B256) -> bool {
        self.write().pool.remove(hash).is_some()
    }

    /// Changes when blocks are made. Turning to [`Mining::Automine`] mines
    /// what can be mined.
    pub fn set_mining(&self, mining: Mining) {
        let generation = self.inner.mining.fetch_add(1, Ordering::SeqCst) + 1;
        let mut chain = self.write();
        chain.automine = mining == Mining::Automine;
        if chain.automine {
            chain.mine_ready();
        }
        drop(chain);
        if let Mining::Interval(every) = mining {
            let inner = Arc::downgrade(&self.inner);
            thread::spawn(move || {
                mine_every(&inner, generation, every.clamp(MIN_INTERVAL, MAX_INTERVAL))
            });
        }
    }

    /// Whether transactions are mined as they arrive.
    pub(crate) fn is_automine(&self) -> bool {
        self.read().automine
    }

    // A panic while the lock was held cannot leave the chain half-changed in a
    // way that matters to a test chain, so a poisoned lock is still served.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Chain> {
        self.inner
            .chain
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Chain> {
        self.inner
            .chain
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Mines until the chain is gone or its mining mode has changed. Sleeps in
/// short naps, so that a long interval leaves no thread behind for as long.
fn mine_every(inner: &Weak<Inner>, generation: u64, every: Duration) {
    let mut next = Instant::now() + every;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        thread::sleep(left.min(MINER_NAP));
        let Some(inner) = inner.upgrade() else { return };
        if inner.mining.load(Ordering::SeqCst) != generation {
            return;
        }
        if left <= MINER_NAP {
            let mut chain = inner.chain.write().unwrap_or_else(PoisonError::into_inner);
            chain.mine();
            next = (next + every).max(Instant::now());
        }
    }
}
