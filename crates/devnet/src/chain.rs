//! The chain: blocks on top of a state, a pool of waiting transactions, and
//! the ways to go back.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use alloy_consensus::{Header, Transaction as _};
use alloy_eips::eip1559::BaseFeeParams;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, address};
use revm::context::{BlockEnv, CfgEnv, TxEnv};
use revm::database::CacheDB;

use crate::block::{Block, MinedTx, NextHeader, seal};
use crate::clock::Clock;
use crate::error::RpcError;
use crate::evm::{self, block_env, execute, tx_env};
use crate::pool::{Pool, SignedTx};
use crate::state::{Mark, View, World};

/// How many blocks back the state can be read and the chain reorganised.
pub(crate) const REMEMBERED_BLOCKS: u64 = 128;
/// How many blocks are kept for queries.
const KEPT_BLOCKS: usize = 65_536;
/// How many transactions are kept for queries, over all kept blocks.
const KEPT_TXS: usize = 500_000;
/// How many snapshots are kept; the oldest goes first.
const KEPT_SNAPSHOTS: usize = 1_024;
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

#[derive(Debug)]
struct Snapshot {
    id: u64,
    head: u64,
    mark: Mark,
    pool: Pool,
    clock: Clock,
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
            base_fee: settings.base_fee.max(settings.base_fee_floor),
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
            settings,
            world,
            pool: Pool::default(),
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
        self.next_base_fee
            .unwrap_or(fee.max(self.settings.base_fee_floor))
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

    /// What geth's pool checks, in its order and its words.
    fn validate(&self, tx: &SignedTx) -> Result<(), RpcError> {
        if self.pool.get(tx.hash).is_some() {
            return Err(RpcError::server("already known"));
        }
        self.validate_form(tx)?;
        let next = self.world.nonce(tx.sender);
        let nonce = tx.envelope.nonce();
        if nonce < next {
            return Err(RpcError::server(format!(
                "nonce too low: next nonce {next}, tx nonce {nonce}"
            )));
        }
        let account = self.world.account(tx.sender);
        let code = account.and_then(|info| info.code.as_ref());
        if code.is_some_and(|code| !code.is_empty() && !code.is_eip7702()) {
            return Err(RpcError::server("sender not an eoa"));
        }
        self.validate_funds(tx)
    }

    fn validate_form(&self, tx: &SignedTx) -> Result<(), RpcError> {
        let envelope = &tx.envelope;
        let have = envelope.chain_id().unwrap_or(self.settings.chain_id);
        if have != self.settings.chain_id {
            return Err(RpcError::server(format!(
                "invalid chain id for signer: have {have} want {}",
                self.settings.chain_id
            )));
        }
        if envelope.nonce() == u64::MAX {
            return Err(RpcError::server("nonce has max value"));
        }
        if envelope.gas_limit() > self.settings.gas_limit {
            return Err(RpcError::server("exceeds block gas limit"));
        }
        if envelope.gas_limit() > evm::TX_GAS_CAP {
            return Err(RpcError::server(format!(
                "transaction gas limit too high (cap: {}, tx: {})",
                evm::TX_GAS_CAP,
                envelope.gas_limit()
            )));
        }
        if envelope.is_create() && envelope.input().len() > self.rules_max_initcode() {
            return Err(RpcError::server("max initcode size exceeded"));
        }
        if envelope
            .max_priority_fee_per_gas()
            .is_some_and(|tip| tip > envelope.max_fee_per_gas())
        {
            return Err(RpcError::server(
                "max priority fee per gas higher than max fee per gas",
            ));
        }
        if envelope.authorization_list().is_some_and(<[_]>::is_empty) {
            return Err(RpcError::server(
                "set code tx must have at least one authorization tuple",
            ));
        }
        self.validate_gas(tx)
    }

    fn rules_max_initcode(&self) -> usize {
        use revm::context::Cfg;
        self.rules.max_initcode_size()
    }

    fn validate_gas(&self, tx: &SignedTx) -> Result<(), RpcError> {
        let limit = tx.envelope.gas_limit();
        let (intrinsic, floor) = evm::intrinsic_gas(&self.rules, &tx_env(&tx.envelope, tx.sender));
        if limit < intrinsic {
            return Err(RpcError::server(format!(
                "intrinsic gas too low: gas {limit}, minimum needed {intrinsic}"
            )));
        }
        if limit < floor {
            return Err(RpcError::server(format!(
                "insufficient gas for floor data gas cost: gas {limit}, minimum needed {floor}"
            )));
        }
        Ok(())
    }

    fn validate_funds(&self, tx: &SignedTx) -> Result<(), RpcError> {
        let balance = self.world.balance(tx.sender);
        let cost = tx.cost();
        let message = "insufficient funds for gas * price + value";
        if cost > balance {
            return Err(RpcError::server(format!(
                "{message}: balance {balance}, tx cost {cost}, overshot {}",
                cost - balance
            )));
        }
        let queued = self.pool.cost_beside(tx);
        let total = queued.saturating_add(cost);
        if total > balance {
            return Err(RpcError::server(format!(
                "{message}: balance {balance}, queued cost {queued}, tx cost {cost}, overshot {}",
                total - balance
            )));
        }
        Ok(())
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
        let mut pool = std::mem::take(&mut self.pool);
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

    /// Keeps memory bounded: old blocks go, and the way back to old states.
    fn prune(&mut self) {
        while self.blocks.len() > KEPT_BLOCKS
            || (self.txs.len() > KEPT_TXS && self.blocks.len() > 1)
        {
            if let Some(block) = self.blocks.pop_front() {
                self.forget_block(&block);
            }
        }
        let oldest = self.head_number().saturating_sub(REMEMBERED_BLOCKS);
        let oldest = self
            .block(BlockId::Number(oldest))
            .map_or(0, |block| block.mark);
        let snapshot = self.snapshots.iter().map(|snapshot| snapshot.mark).min();
        self.world
            .forget_before(snapshot.unwrap_or(oldest).min(oldest));
    }

    fn forget_block(&mut self, block: &Block) {
        self.numbers.remove(&block.hash);
        for mined in &block.txs {
            self.txs.remove(&mined.tx.hash);
        }
    }

    fn drop_blocks_above(&mut self, number: u64) -> Vec<Arc<Block>> {
        let mut dropped = Vec::new();
        while self.head_number() > number && self.blocks.len() > 1 {
            if let Some(block) = self.blocks.pop_back() {
                self.forget_block(&block);
                dropped.push(block);
            }
        }
        self.fork += 1;
        dropped
    }

    /// Drops the newest `depth` blocks with everything done since; their
    /// transactions go back to the pool if `keep`, else they are lost.
    pub(crate) fn reorg(&mut self, depth: u64, keep: bool) -> Result<(), RpcError> {
        let target = self.head_number().checked_sub(depth).map(BlockId::Number);
        let target = target.and_then(|id| self.block(id)).cloned();
        let target = target.filter(|block| self.remembers(block)).ok_or_else(|| {
            RpcError::params(format!(
                "cannot drop {depth} blocks: at most {REMEMBERED_BLOCKS}, and never the genesis block"
            ))
        })?;
        if depth == 0 {
            return Ok(());
        }
        self.world.unwind(target.mark);
        self.snapshots
            .retain(|s| s.mark <= target.mark && s.head <= target.header.number);
        let dropped = self.drop_blocks_above(target.header.number);
        if keep {
            for mined in dropped.iter().rev().flat_map(|block| &block.txs) {
                // One that the pool refuses now is lost, as on a real chain.
                let _ = self.pool.insert(mined.tx.clone());
            }
        }
        Ok(())
    }

    /// Remembers everything as it is now.
    pub(crate) fn snapshot(&mut self) -> u64 {
        let id = self.next_snapshot;
        self.next_snapshot += 1;
        if self.snapshots.len() >= KEPT_SNAPSHOTS {
            self.snapshots.remove(0);
        }
        self.snapshots.push(Snapshot {
            id,
            head: self.head_number(),
            mark: self.world.mark(),
            pool: self.pool.clone(),
            clock: self.clock.clone(),
        });
        id
    }

    /// Goes back to a snapshot, which is used up, as are later ones. False if
    /// it is unknown.
    pub(crate) fn revert(&mut self, id: u64) -> bool {
        let Some(index) = self.snapshots.iter().position(|snapshot| snapshot.id == id) else {
            return false;
        };
        let Some(snapshot) = self.snapshots.drain(index..).next() else {
            return false;
        };
        if self.block(BlockId::Number(snapshot.head)).is_none() {
            return false; // so old that its block was pruned
        }
        self.world.unwind(snapshot.mark);
        self.drop_blocks_above(snapshot.head);
        self.pool = snapshot.pool;
        self.clock = snapshot.clock;
        true
    }

    fn remembers(&self, block: &Block) -> bool {
        self.head_number() - block.header.number <= REMEMBERED_BLOCKS
            && self.world.remembers(block.mark)
    }

    /// The state at a mined block, or an error if it is unknown or forgotten.
    pub(crate) fn view(&self, id: BlockId) -> Result<View<'_>, RpcError> {
        let block = self
            .block(id)
            .ok_or_else(|| RpcError::server("header not found"))?;
        if block.header.number == self.head_number() {
            return Ok(self.world.now());
        }
        let past = self
            .remembers(block)
            .then(|| self.world.at(block.mark))
            .flatten();
        past.ok_or_else(|| {
            RpcError::server(format!(
                "missing trie node: the state of block {} is no longer kept (only the last {REMEMBERED_BLOCKS})",
                block.header.number
            ))
        })
    }

    /// The state to run calls on, and the block they run in. At `latest` a
    /// chain that mines on arrival lets calls see the present time, as a chain
    /// would that had just produced its block.
    pub(crate) fn scene(&self, id: BlockId) -> Result<(CacheDB<View<'_>>, BlockEnv), RpcError> {
        let db = CacheDB::new(self.view(id)?);
        if id == BlockId::Pending {
            return Ok(self.pending_scene(db));
        }
        let block = self
            .block(id)
            .ok_or_else(|| RpcError::server("header not found"))?;
        let mut env = block_env(&block.header);
        if self.automine && id == BlockId::Latest {
            env.timestamp = U256::from(self.clock.now(block.header.timestamp));
        }
        Ok((db, env))
    }

    fn pending_scene<'a>(&self, mut db: CacheDB<View<'a>>) -> (CacheDB<View<'a>>, BlockEnv) {
        use revm::DatabaseCommit;
        let header = self.next_header(self.clock.now(self.head().header.timestamp));
        let env = block_env(&header);
        let mut best = self
            .pool
            .best(env.basefee, |sender| self.world.nonce(sender));
        while let Some(tx) = best.next() {
            let tx_env = tx_env(&tx.envelope, tx.sender);
            if let Ok(executed) = execute(&mut db, &self.rules, &env, tx_env) {
                db.commit(executed.state);
                best.took(&tx);
            }
        }
        (db, env)
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
