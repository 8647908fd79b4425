//! The chain: blocks on top of a state, a pool of waiting transactions, and
//! the ways to go back.

mod admit;
mod back;
mod scene;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use alloy_consensus::{Header, Transaction as _};
use alloy_eips::eip1559::BaseFeeParams;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, address};
use revm::context::{BlockEnv, CfgEnv, TxEnv};

use crate::block::{Block, MinedTx, NextHeader, seal};
use crate::clock::Clock;
use crate::error::RpcError;
use crate::evm::{self, block_env, execute, tx_env};
use crate::pool::{Pool, SignedTx};
use crate::state::World;
use back::Snapshot;

/// How many blocks back the state can be read and the chain reorganised.
pub(crate) const REMEMBERED_BLOCKS: u64 = 128;
/// The highest base fee there can be, in wei per gas: one ether.
const MAX_BASE_FEE: u64 = 1_000_000_000_000_000_000;
/// Who gets the tips.
const BENEFICIARY: Address = address!("0x00000000000000000000000000000000c0ffee00");
/// Who makes the chain's own calls (EIP-7002's system address).
const SYSTEM: Address = address!("0xfffffffffffffffffffffffffffffffffffffffe");

/// What is fixed for the life of a chain.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) chain_id: u64,
    pub(crate) gas_limit: u64,
    pub(crate) base_fee: u64,
    pub(crate) base_fee_floor: u64,
    pub(crate) safe_depth: u64,
    pub(crate) finalized_depth: u64,
    pub(crate) waiting_per_sender: usize,
}

/// Which block a query is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockId {
    Number(u64),
    Hash(B256),
    Earliest,
    Latest,
    Safe,
    Finalized,
    Pending,
}

/// The whole chain. One writer at a time; reads share it.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) settings: Settings,
    pub(crate) world: World,
    pub(crate) pool: Pool,
    pub(crate) clock: Clock,
    /// Whether a transaction is mined as soon as it arrives.
    pub(crate) automine: bool,
    rules: CfgEnv,
    call_rules: CfgEnv,
    /// Never empty: the genesis block is there from the start.
    blocks: VecDeque<Arc<Block>>,
    numbers: HashMap<B256, u64>,
    txs: HashMap<B256, (u64, usize)>,
    snapshots: Vec<Snapshot>,
    next_snapshot: u64,
    next_base_fee: Option<u64>,
    fork: u64,
}

impl Chain {
    /// A chain with an empty genesis block and no accounts.
    pub(crate) fn new(settings: Settings, clock: Clock, automine: bool) -> Self {
        let genesis = NextHeader {
            parent_hash: B256::ZERO,
            number: 0,
            timestamp: clock.now(0),
            gas_limit: settings.gas_limit,
            base_fee: settings
                .base_fee
                .max(settings.base_fee_floor)
                .min(MAX_BASE_FEE),
            beneficiary: BENEFICIARY,
            fork: 0,
        };
        let state = B256::from(U256::from(settings.chain_id));
        let genesis = Arc::new(seal(genesis.open(), Vec::new(), state, 0));
        let mut world = World::default();
        world.put_block_hash(0, genesis.hash);
        Self {
            rules: evm::rules(settings.chain_id),
            call_rules: evm::call_rules(settings.chain_id),
            pool: Pool::new(settings.waiting_per_sender),
            settings,
            world,
            clock,
            automine,
            numbers: HashMap::from([(genesis.hash, 0)]),
            blocks: VecDeque::from([genesis]),
            txs: HashMap::new(),
            snapshots: Vec::new(),
            next_snapshot: 1,
            next_base_fee: None,
            fork: 0,
        }
    }

    /// Makes everything done so far part of the genesis block, beyond undoing.
    pub(crate) fn close_genesis(&mut self) {
        self.world.forget_before(self.world.mark());
        let mark = self.world.mark();
        if let Some(genesis) = self.blocks.front_mut().and_then(Arc::get_mut) {
            genesis.mark = mark;
        }
    }

    /// The newest block.
    pub(crate) fn head(&self) -> &Arc<Block> {
        &self.blocks[self.blocks.len() - 1]
    }

    /// The number of the newest block.
    pub(crate) fn head_number(&self) -> u64 {
        self.head().header.number
    }

    /// The number that `id` stands for; the pending block has none of its own.
    pub(crate) fn number_of(&self, id: BlockId) -> Option<u64> {
        let head = self.head_number();
        match id {
            BlockId::Number(number) => Some(number),
            BlockId::Hash(hash) => self.numbers.get(&hash).copied(),
            BlockId::Earliest => Some(0),
            BlockId::Latest | BlockId::Pending => Some(head),
            BlockId::Safe => Some(head.saturating_sub(self.settings.safe_depth)),
            BlockId::Finalized => Some(head.saturating_sub(self.settings.finalized_depth)),
        }
    }

    /// The mined block that `id` stands for.
    pub(crate) fn block(&self, id: BlockId) -> Option<&Arc<Block>> {
        let first = self.blocks.front()?.header.number;
        let index = self.number_of(id)?.checked_sub(first)?;
        self.blocks.get(usize::try_from(index).ok()?)
    }

    /// A mined transaction: its block and its place there.
    pub(crate) fn mined(&self, hash: B256) -> Option<(&Arc<Block>, usize)> {
        let (number, index) = self.txs.get(&hash)?;
        Some((self.block(BlockId::Number(*number))?, *index))
    }

    /// The base fee of the next block.
    pub(crate) fn base_fee(&self) -> u64 {
        let head = &self.head().header;
        let fee = BaseFeeParams::ethereum().next_block_base_fee(
            head.gas_used,
            head.gas_limit,
            head.base_fee_per_gas.unwrap_or_default(),
        );
        let fee = fee.max(self.settings.base_fee_floor);
        self.next_base_fee.unwrap_or(fee).min(MAX_BASE_FEE)
    }

    /// Sets the base fee of the next block.
    pub(crate) fn set_next_base_fee(&mut self, wei: u64) {
        self.next_base_fee = Some(wei);
    }

    /// The header of the block that would be mined now.
    pub(crate) fn next_header(&self, timestamp: u64) -> Header {
        let head = self.head();
        NextHeader {
            parent_hash: head.hash,
            number: head.header.number.saturating_add(1),
            timestamp,
            gas_limit: self.settings.gas_limit,
            base_fee: self.base_fee(),
            beneficiary: BENEFICIARY,
            fork: self.fork,
        }
        .open()
    }

    /// Takes a raw transaction into the pool, and mines it if the chain mines
    /// on arrival and the transaction can be mined.
    pub(crate) fn submit(&mut self, raw: &[u8]) -> Result<B256, RpcError> {
        let tx = Arc::new(SignedTx::decode(raw)?);
        self.validate(&tx)?;
        let hash = tx.hash;
        self.pool.insert(tx)?;
        if self.automine {
            self.mine_ready();
        }
        Ok(hash)
    }

    /// Mines a block if anything can be mined.
    pub(crate) fn mine_ready(&mut self) {
        let world = &self.world;
        if self
            .pool
            .best(self.base_fee(), |sender| world.nonce(sender))
            .next()
            .is_some()
        {
            self.mine();
        }
    }

    /// Mines one block with the best of what waits, and returns it.
    pub(crate) fn mine(&mut self) -> Arc<Block> {
        let timestamp = self.clock.take(self.head().header.timestamp);
        let header = self.next_header(timestamp);
        self.next_base_fee = None;
        let txs = self.fill(&header);
        let parent_state = self.head().header.state_root;
        let block = Arc::new(seal(header, txs, parent_state, self.world.mark()));
        self.append(block.clone());
        block
    }

    fn fill(&mut self, header: &Header) -> Vec<MinedTx> {
        let env = block_env(header);
        let empty = Pool::new(self.settings.waiting_per_sender);
        let mut pool = std::mem::replace(&mut self.pool, empty);
        let mut mined: Vec<MinedTx> = Vec::new();
        let mut unpayable = Vec::new();
        let mut gas_left = header.gas_limit;
        let mut best = pool.best(env.basefee, |sender| self.world.nonce(sender));
        while let Some(tx) = best.next() {
            if tx.envelope.gas_limit() > gas_left {
                continue; // its sender waits for the next block
            }
            let Some(mut done) = self.apply(&env, &tx) else {
                unpayable.push(tx.hash);
                continue;
            };
            best.took(&tx);
            done.follow(mined.last());
            gas_left = gas_left.saturating_sub(done.gas_used);
            mined.push(done);
        }
        for hash in unpayable {
            pool.remove(hash);
        }
        pool.drop_stale(|sender| self.world.nonce(sender));
        self.pool = pool;
        mined
    }

    fn apply(&mut self, env: &BlockEnv, tx: &Arc<SignedTx>) -> Option<MinedTx> {
        let tx_env = tx_env(&tx.envelope, tx.sender);
        let executed = execute(self.world.now(), &self.rules, env, tx_env).ok()?;
        self.world.commit(executed.state);
        Some(MinedTx::new(tx.clone(), executed.result, env.basefee))
    }

    fn append(&mut self, block: Arc<Block>) {
        let number = block.header.number;
        self.world.put_block_hash(number, block.hash);
        self.numbers.insert(block.hash, number);
        for (index, mined) in block.txs.iter().enumerate() {
            self.txs.insert(mined.tx.hash, (number, index));
        }
        self.blocks.push_back(block);
        self.prune();
    }

    /// The rules for transactions.
    pub(crate) fn rules(&self) -> &CfgEnv {
        &self.rules
    }

    /// The rules for calls.
    pub(crate) fn call_rules(&self) -> &CfgEnv {
        &self.call_rules
    }

    /// Calls a contract as the chain itself, keeping what it changes but
    /// leaving no transaction and no log.
    pub(crate) fn system_call(&mut self, to: Address, data: Bytes) -> Result<Bytes, RpcError> {
        let mut env = block_env(&self.next_header(self.clock.now(self.head().header.timestamp)));
        env.basefee = 0;
        let tx = TxEnv {
            caller: SYSTEM,
            gas_limit: evm::CALL_GAS_CAP,
            gas_price: 0,
            kind: TxKind::Call(to),
            data,
            chain_id: Some(self.settings.chain_id),
            ..TxEnv::default()
        };
        let executed = execute(self.world.now(), &self.call_rules, &env, tx)
            .map_err(|error| RpcError::server(evm::invalid_message(&error)))?;
        let mut changes = executed.state;
        changes.remove(&SYSTEM);
        let answer = evm::call_answer(executed.result)?;
        self.world.commit(changes);
        Ok(answer)
    }
}
