//! The newest block, and whether the blocks before it are still the ones that
//! were seen.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};
use starknet_crypto::Felt;
use tollway_core::{Address, ChainError, Head, Timestamp, TxHash};
use tollway_rpc::ask::{ask, unavailable};
use tollway_rpc::{Batch, RpcError};

use super::StarknetChain;
use crate::felt;
use crate::node::{Block, LATEST, Num, code, refused_with};

/// How many blocks are remembered, and compared when the chain was replaced.
const REMEMBERED: usize = 64;

/// What is known of one watch: its hashes, and the block in which it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Looked {
    pub hashes: Vec<TxHash>,
    pub head: String,
}

/// What looks remember between them.
#[derive(Debug, Default)]
pub(super) struct State {
    pub head: Option<Head>,
    /// Hashes of blocks as they were seen, by number.
    pub seen: BTreeMap<u64, Felt>,
    pub looked: HashMap<(Address, u64), Looked>,
}

/// One look at a time.
#[derive(Debug, Default)]
pub(super) struct Follower {
    pub state: tokio::sync::Mutex<State>,
}

impl State {
    pub fn note(&mut self, head: &Head) {
        if let Ok(hash) = felt::parse(&head.hash) {
            self.seen.insert(head.number, hash);
        }
        if let (Some(before), Ok(parent)) = (head.number.checked_sub(1), felt::parse(&head.parent))
        {
            self.seen.insert(before, parent);
        }
        while self.seen.len() > REMEMBERED {
            self.seen.pop_first();
        }
    }
}

/// How the chain moved since it was last looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// New blocks, or none, on what was seen.
    On,
    /// The node shows an older block of the same chain.
    Behind,
    /// Blocks from this number on are others now.
    Replaced(u64),
}

impl StarknetChain {
    /// The newest accepted block; its prices are noted.
    pub(super) async fn newest(&self) -> Result<(Head, Block), ChainError> {
        let block: Block = ask(&self.rpc, "starknet_getBlockWithTxHashes", [LATEST]).await?;
        self.saw_prices(&block);
        let (Some(number), Some(hash)) = (block.block_number, block.block_hash) else {
            return Err(ChainError::unavailable("a block without number or hash"));
        };
        let head = Head {
            number,
            hash: felt::text(&hash.0),
            parent: felt::text(&block.parent_hash.0),
            time: Timestamp::from_secs(block.timestamp),
        };
        Ok((head, block))
    }

    /// The hash of the block that has this number now.
    pub(super) async fn hash_at(&self, number: u64) -> Result<Option<Felt>, ChainError> {
        let method = "starknet_getBlockWithTxHashes";
        let params = json!([{ "block_number": number }]);
        hash_of(self.rpc.call::<Value>(method, params).await)
    }

    /// How the chain moved from `last` to `head`.
    pub(super) async fn step(
        &self,
        state: &State,
        last: &Head,
        head: &Head,
    ) -> Result<Step, ChainError> {
        if head.hash == last.hash {
            return Ok(Step::On);
        }
        let seen = |number: u64| state.seen.get(&number).map(felt::text);
        if head.number < last.number && seen(head.number).as_ref() == Some(&head.hash) {
            return Ok(Step::Behind);
        }
        if head.number == last.number + 1 && head.parent == last.hash {
            return Ok(Step::On);
        }
        if head.number > last.number + 1 {
            let hash = self.hash_at(last.number).await?;
            if hash.as_ref().map(felt::text).as_ref() == Some(&last.hash) {
                return Ok(Step::On);
            }
        }
        self.first_replaced(state, head).await.map(Step::Replaced)
    }

    /// The number after the newest block that is still as it was seen; zero
    /// where none is.
    async fn first_replaced(&self, state: &State, head: &Head) -> Result<u64, ChainError> {
        let known: Vec<_> = state.seen.range(..head.number).rev().collect();
        let mut batch = Batch::new();
        for (number, _) in &known {
            let block = json!([{ "block_number": number }]);
            batch.push("starknet_getBlockWithTxHashes", &block);
        }
        let answers = self.rpc.batch::<Value>(batch).await;
        let answers = answers.map_err(unavailable("starknet_getBlockWithTxHashes"))?;
        for ((number, seen), answer) in known.into_iter().zip(answers) {
            if hash_of(answer)?.as_ref() == Some(seen) {
                return Ok(number + 1);
            }
        }
        Ok(0)
    }
}

fn hash_of(answer: Result<Value, RpcError>) -> Result<Option<Felt>, ChainError> {
    match answer {
        Ok(block) => {
            let hash = block.get("block_hash").cloned();
            let hash: Option<Num> = hash.and_then(|hash| serde_json::from_value(hash).ok());
            Ok(hash.map(|hash| hash.0))
        }
        Err(error) if refused_with(&error) == Some(code::BLOCK_NOT_FOUND) => Ok(None),
        Err(error) => Err(unavailable("starknet_getBlockWithTxHashes")(error)),
    }
}
