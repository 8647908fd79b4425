//! The newest block, and whether the blocks before it are still the ones that
//! were seen.

use std::collections::BTreeMap;

use alloy_primitives::{B256, U64};
use tollway_core::{ChainError, Head, Timestamp};
use tollway_rpc::Batch;
use tollway_rpc::ask::{ask, unavailable};

use super::EvmChain;
use crate::node::{Block, LATEST};

/// How far back a reorganisation is followed.
const DEEPEST: u64 = 64;
/// How many blocks are asked for at once on the way back.
const STRIDE: u64 = 8;
/// How many new blocks at most are read one by one.
pub(super) const MOST_NEW_BLOCKS: u64 = 16;
/// How many blocks are remembered.
const REMEMBERED: usize = 160;

/// Hashes of blocks as they were seen, by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen(BTreeMap<u64, B256>);

/// How the chain moved since it was last looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It was not looked at before.
    First,
    /// It did not.
    Same,
    /// The node shows an older block of the same chain.
    Behind,
    /// New blocks, from this number on.
    On { from: u64 },
    /// Blocks from this number on are others now.
    Replaced { from: u64 },
}

impl Seen {
    pub fn note(&mut self, head: &Head) {
        if let Some(hash) = parse(&head.hash) {
            self.0.insert(head.number, hash);
        }
        if let (Some(before), Some(parent)) = (head.number.checked_sub(1), parse(&head.parent)) {
            self.0.insert(before, parent);
        }
        while self.0.len() > REMEMBERED {
            self.0.pop_first();
        }
    }

    /// Forgets what is not part of the chain any more.
    pub fn forget_from(&mut self, number: u64) {
        self.0.split_off(&number);
    }

    fn is(&self, number: u64, hash: Option<B256>) -> bool {
        hash.is_some() && self.0.get(&number).copied() == hash
    }
}

impl EvmChain {
    /// The newest block, as the node has it.
    pub(super) async fn newest(&self) -> Result<Head, ChainError> {
        let block: Block = ask(&self.rpc, "eth_getBlockByNumber", (LATEST, false)).await?;
        self.saw_block(&block);
        let (Some(number), Some(hash), Some(parent), Some(time)) =
            (block.number, block.hash, block.parent_hash, block.timestamp)
        else {
            return Err(ChainError::unavailable(
                "a block without number, hash or time",
            ));
        };
        Ok(Head {
            number: number.to(),
            hash: format!("{hash:#x}"),
            parent: format!("{parent:#x}"),
            time: Timestamp::from_secs(time.to()),
        })
    }

    /// The hash of the block that has this number now.
    pub(super) async fn hash_at(&self, number: u64) -> Result<Option<B256>, ChainError> {
        let number = U64::from(number);
        let block: Option<Block> = ask(&self.rpc, "eth_getBlockByNumber", (number, false)).await?;
        Ok(block.and_then(|block| block.hash))
    }

    /// How the chain moved from `last` to `head`.
    pub(super) async fn step(
        &self,
        seen: &Seen,
        last: Option<&Head>,
        head: &Head,
    ) -> Result<Step, ChainError> {
        let Some(last) = last else {
            return Ok(Step::First);
        };
        if head.hash == last.hash {
            return Ok(Step::Same);
        }
        if head.number < last.number && seen.is(head.number, parse(&head.hash)) {
            return Ok(Step::Behind);
        }
        let next = Step::On {
            from: last.number + 1,
        };
        if head.number == last.number + 1 && head.parent == last.hash {
            return Ok(next);
        }
        if head.number > last.number + 1 {
            let hash = self.hash_at(last.number).await?;
            if hash.is_some() && hash == parse(&last.hash) {
                return Ok(next);
            }
        }
        let from = self.first_replaced(seen, last, head).await?;
        Ok(Step::Replaced { from })
    }

    /// Walks back until a block is found that was seen before; zero where none is.
    async fn first_replaced(
        &self,
        seen: &Seen,
        last: &Head,
        head: &Head,
    ) -> Result<u64, ChainError> {
        let mut to = last.number.min(head.number.saturating_sub(1));
        if to + 1 == head.number && seen.is(to, parse(&head.parent)) {
            return Ok(head.number.min(last.number));
        }
        let end = to.saturating_sub(DEEPEST);
        while to > end {
            let from = to.saturating_sub(STRIDE - 1).max(end);
            for (number, hash) in self.hashes(from, to).await?.into_iter().rev() {
                if seen.is(number, hash) {
                    return Ok(number + 1);
                }
            }
            let Some(before) = from.checked_sub(1) else {
                break;
            };
            to = before;
        }
        Ok(0)
    }

    /// Blocks by number, in order.
    async fn hashes(&self, from: u64, to: u64) -> Result<Vec<(u64, Option<B256>)>, ChainError> {
        let mut batch = Batch::new();
        for number in from..=to {
            batch.push("eth_getBlockByNumber", &(U64::from(number), false));
        }
        let answers = self.rpc.batch::<Option<Block>>(batch).await;
        let answers = answers.map_err(unavailable("eth_getBlockByNumber"))?;
        (from..=to)
            .zip(answers)
            .map(|(number, answer)| {
                let block = answer.map_err(unavailable("eth_getBlockByNumber"))?;
                Ok((number, block.and_then(|block| block.hash)))
            })
            .collect()
    }
}

fn parse(hash: &str) -> Option<B256> {
    hash.parse().ok()
}
