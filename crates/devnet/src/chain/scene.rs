//! States to read and to run calls on.

use alloy_consensus::Transaction as _;
use alloy_primitives::U256;
use revm::DatabaseCommit;
use revm::context::BlockEnv;
use revm::database::CacheDB;

use super::{BlockId, Chain, REMEMBERED_BLOCKS};
use crate::block::Block;
use crate::error::RpcError;
use crate::evm::{block_env, execute, tx_env};
use crate::state::View;

impl Chain {
    pub(super) fn remembers(&self, block: &Block) -> bool {
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
        let header = self.next_header(self.clock.now(self.head().header.timestamp));
        let env = block_env(&header);
        let mut best = self
            .pool
            .best(env.basefee, |sender| self.world.nonce(sender));
        let mut gas_left = header.gas_limit;
        while let Some(tx) = best.next() {
            if tx.envelope.gas_limit() > gas_left {
                continue;
            }
            let tx_env = tx_env(&tx.envelope, tx.sender);
            if let Ok(executed) = execute(&mut db, &self.rules, &env, tx_env) {
                gas_left = gas_left.saturating_sub(executed.result.tx_gas_used());
                db.commit(executed.state);
                best.took(&tx);
            }
        }
        (db, env)
    }
}
