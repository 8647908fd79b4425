//! Receipts appear with blocks: while there is no new one, nothing is asked
//! again about what is under way but the newest block's number, once for all.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alloy_primitives::U64;
use tollway_core::{Address, ChainError, TxHash, Watch};
use tollway_rpc::RpcClient;

use crate::node::ask;

/// Nodes behind one URL lag behind each other, and blocks are replaced: what
/// was not found is looked for again after this time in any case.
const LOOK_AGAIN: Duration = Duration::from_secs(4);
/// Slots that are remembered; what is forgotten is asked for.
const MOST_LOOKS: usize = 4096;

/// What was last asked about each slot, and the newest block.
#[derive(Debug, Default)]
pub(super) struct Heads {
    newest: tokio::sync::Mutex<Option<(Instant, u64)>>,
    looks: Mutex<HashMap<(Address, u64), Look>>,
}

/// One look at a slot that decided nothing.
#[derive(Clone, Debug)]
struct Look {
    hashes: Vec<TxHash>,
    block: u64,
    at: Instant,
}

impl Heads {
    /// Whether a look now would see what the last one saw.
    pub async fn nothing_new(&self, rpc: &RpcClient, watch: &Watch) -> Result<bool, ChainError> {
        let seen = self.looks().get(&key(watch)).and_then(|look| {
            let same = look.hashes == watch.hashes;
            (same && look.at.elapsed() < LOOK_AGAIN).then_some(look.block)
        });
        match seen {
            Some(block) => Ok(self.newest(rpc).await? == block),
            None => Ok(false),
        }
    }

    /// Remembers a look that decided nothing; `block` was the newest before it.
    pub fn undecided(&self, watch: &Watch, block: u64) {
        let mut looks = self.looks();
        if looks.len() >= MOST_LOOKS {
            looks.retain(|_, look| look.at.elapsed() < LOOK_AGAIN);
        }
        if looks.len() < MOST_LOOKS {
            let look = Look {
                hashes: watch.hashes.clone(),
                block,
                at: Instant::now(),
            };
            looks.insert(key(watch), look);
        }
    }

    /// A transaction was sent: it may be in a block already.
    pub fn sent(&self, hash: &TxHash) {
        self.looks().retain(|_, look| !look.hashes.contains(hash));
    }

    /// Forgets a slot that is decided.
    pub fn decided(&self, watch: &Watch) {
        self.looks().remove(&key(watch));
    }

    /// One asks, and whoever wants to know meanwhile hears the same.
    async fn newest(&self, rpc: &RpcClient) -> Result<u64, ChainError> {
        let wanted = Instant::now();
        let mut newest = self.newest.lock().await;
        if let Some((heard, number)) = *newest
            && heard >= wanted
        {
            return Ok(number);
        }
        let number: U64 = ask(rpc, "eth_blockNumber", [(); 0]).await?;
        *newest = Some((Instant::now(), number.to()));
        Ok(number.to())
    }

    fn looks(&self) -> MutexGuard<'_, HashMap<(Address, u64), Look>> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(watch: &Watch) -> (Address, u64) {
    (watch.signer.clone(), watch.nonce)
}
