//! Going back: snapshots, reorgs, and how far back anything is kept.

use std::sync::Arc;

use super::{BlockId, Chain, REMEMBERED_BLOCKS};
use crate::block::Block;
use crate::clock::Clock;
use crate::error::RpcError;
use crate::pool::Pool;
use crate::state::Mark;

/// How many blocks are kept for queries.
const KEPT_BLOCKS: usize = 65_536;
/// How many transactions are kept for queries, over all kept blocks.
const KEPT_TXS: usize = 500_000;
/// How many snapshots are kept; the oldest goes first.
const KEPT_SNAPSHOTS: usize = 1_024;

/// Everything as it was at a moment: a place in the journal, and what is small
/// enough to copy.
#[derive(Debug)]
pub(super) struct Snapshot {
    id: u64,
    head: u64,
    mark: Mark,
    pool: Pool,
    clock: Clock,
}

impl Chain {
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

    /// Keeps memory bounded: old blocks go, and the way back to old states.
    pub(super) fn prune(&mut self) {
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
}
