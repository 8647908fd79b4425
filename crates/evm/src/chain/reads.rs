//! What one look reads.

use std::collections::{HashMap, HashSet};

use alloy_primitives::U64;
use tollway_core::{Address, ChainError, Finality, Head, TxHash, Watch, mistake};
use tollway_rpc::ask::unavailable;
use tollway_rpc::{Batch, RpcError};

use super::EvmChain;
use super::follow::{State, key};
use super::head::{MOST_NEW_BLOCKS, Step};
use super::look::Task;
use super::outcome::{hash_text, is_included};
use crate::node::{LATEST, Receipt};

/// So many transactions are asked for by their hashes; more by their blocks.
const MOST_BY_HASH: usize = 8;
/// Calls in one batch.
const MOST_CALLS: usize = 100;
/// Payments whose logs one answer may hold: each takes more than a kilobyte.
const MOST_PAYMENTS: usize = 2_000;

/// What one look asks and hears.
pub(super) struct Round<'a> {
    head: Head,
    pub watches: &'a [Watch],
    receipts: HashMap<TxHash, Receipt>,
    /// Transactions in blocks that are not known yet.
    ahead: HashSet<TxHash>,
    pub nonces: HashMap<Address, u64>,
    safe: Option<u64>,
    finalized: Option<u64>,
    pub no_block_receipts: bool,
    /// Whether being in a block is as deep as it gets.
    instant: bool,
}

impl EvmChain {
    /// Reads what the tasks need.
    pub(super) async fn read(
        &self,
        round: &mut Round<'_>,
        step: &Step,
        tasks: &[Task],
        state: &State,
    ) -> Result<(), ChainError> {
        let watches = round.watches;
        let with = |wanted: fn(&Task) -> bool| {
            let both = watches.iter().zip(tasks);
            both.filter(move |(_, task)| wanted(task))
                .map(|(watch, _)| watch)
        };
        let deeper: Vec<&Watch> = with(|task| *task == Task::Deeper).collect();
        self.read_tags(round, deeper.iter().copied()).await?;
        let mut asked: Vec<&Watch> = with(|task| matches!(task, Task::Itself { .. })).collect();
        for watch in deeper {
            let deep = state.followed.get(&key(watch)).is_some_and(|known| {
                let block = known.included.unwrap_or(u64::MAX);
                round.depth(watch, block) > known.decided
            });
            if deep {
                asked.push(watch);
            }
        }
        let awaited: Vec<&Watch> = with(|task| *task == Task::NewBlocks).collect();
        if !awaited.is_empty() && !self.read_blocks(round, step, &awaited).await {
            asked.extend(awaited);
        }
        let asking: HashSet<&Address> = with(|task| *task == Task::Itself { nonce: true })
            .map(|watch| &watch.signer)
            .collect();
        let (receipts, nonces) = tokio::join!(
            self.receipts(&asked),
            self.nonces(asking.into_iter().collect()),
        );
        round.take(receipts?);
        round.nonces.extend(nonces?);
        let found: Vec<&Watch> = watches
            .iter()
            .filter(|w| round.winner(w).is_some())
            .collect();
        self.read_tags(round, found.into_iter()).await
    }

    /// The receipts of new blocks, where there are few blocks and many
    /// transactions are awaited. False where they are to be asked for by hash.
    async fn read_blocks(&self, round: &mut Round<'_>, step: &Step, awaited: &[&Watch]) -> bool {
        let head = round.head.number;
        let from = match step {
            Step::On { from } | Step::Replaced { from } => *from,
            Step::First | Step::Same | Step::Behind => return false,
        };
        let few = head.saturating_sub(from) < MOST_NEW_BLOCKS;
        let hashes: usize = awaited.iter().map(|watch| watch.hashes.len()).sum();
        let payments: usize = awaited.iter().map(|watch| watch.expected.len()).sum();
        let suited = hashes > MOST_BY_HASH && payments <= MOST_PAYMENTS;
        if !suited || round.no_block_receipts || from > head || !few {
            return false;
        }
        for number in from..=head {
            let answer: Result<Option<Vec<Receipt>>, RpcError> = self
                .rpc
                .call("eth_getBlockReceipts", [U64::from(number)])
                .await;
            let receipts = match answer {
                Ok(Some(receipts)) => receipts,
                Ok(None) => return false,
                Err(error) => {
                    tracing::debug!(%error, "the node does not give a block's receipts");
                    round.no_block_receipts = error.is_refusal();
                    return false;
                }
            };
            round.take(included(receipts));
        }
        true
    }

    /// Receipts by hash.
    pub(super) async fn receipts(
        &self,
        watches: &[&Watch],
    ) -> Result<Vec<(TxHash, Receipt)>, ChainError> {
        let mut found = Vec::new();
        let mut hashes = Vec::new();
        let mut payments = 0;
        for watch in watches {
            for hash in &watch.hashes {
                payments += watch.expected.len();
                if !hashes.is_empty() && (payments > MOST_PAYMENTS || hashes.len() >= MOST_CALLS) {
                    found.extend(self.receipts_of(&hashes).await?);
                    hashes.clear();
                    payments = watch.expected.len();
                }
                hashes.push(hash);
            }
        }
        found.extend(self.receipts_of(&hashes).await?);
        Ok(found)
    }

    /// Those of one batch; what is in no block is left out.
    async fn receipts_of(&self, hashes: &[&TxHash]) -> Result<Vec<(TxHash, Receipt)>, ChainError> {
        let mut batch = Batch::new();
        for hash in hashes {
            batch.push("eth_getTransactionReceipt", &[hash]);
        }
        let answers = self.rpc.batch::<Option<Receipt>>(batch).await;
        let answers = answers.map_err(unavailable("eth_getTransactionReceipt"))?;
        let mut found = Vec::new();
        for (hash, answer) in hashes.iter().zip(answers) {
            let receipt = answer.map_err(unavailable("eth_getTransactionReceipt"))?;
            found.extend(included(receipt).find(|(named, _)| named == *hash));
        }
        Ok(found)
    }

    /// The signers' next nonces.
    pub(super) async fn nonces(
        &self,
        signers: Vec<&Address>,
    ) -> Result<Vec<(Address, u64)>, ChainError> {
        let mut batch = Batch::new();
        for signer in &signers {
            let account = super::known_account(signer)?;
            batch.push("eth_getTransactionCount", &(account, LATEST));
        }
        let answers = self.rpc.batch::<U64>(batch).await;
        let answers = answers.map_err(unavailable("eth_getTransactionCount"))?;
        let named = signers.into_iter().zip(answers);
        named
            .map(|(signer, answer)| {
                let nonce = answer.map_err(unavailable("eth_getTransactionCount"))?;
                Ok((signer.clone(), nonce.to()))
            })
            .collect()
    }

    /// Reads the tags that these need and that were not read yet.
    pub(super) async fn read_tags(
        &self,
        round: &mut Round<'_>,
        watches: impl Iterator<Item = &Watch>,
    ) -> Result<(), ChainError> {
        if round.instant {
            return Ok(());
        }
        let (mut safe, mut finalized) = (false, false);
        for item in watches.flat_map(|watch| &watch.expected) {
            safe |= item.finality == Finality::Safe;
            finalized |= item.finality == Finality::Finalized;
        }
        if safe && round.safe.is_none() {
            round.safe = Some(self.tagged("safe").await?.unwrap_or(0));
        }
        if finalized && round.finalized.is_none() {
            round.finalized = Some(self.tagged("finalized").await?.unwrap_or(0));
        }
        Ok(())
    }
}

impl<'a> Round<'a> {
    pub fn new(head: &Head, watches: &'a [Watch], no_block_receipts: bool, instant: bool) -> Self {
        Self {
            instant,
            head: head.clone(),
            watches,
            receipts: HashMap::new(),
            ahead: HashSet::new(),
            nonces: HashMap::new(),
            safe: None,
            finalized: None,
            no_block_receipts,
        }
    }

    /// Takes what was read. What lies above the newest block, or beside it, is
    /// set aside.
    pub fn take(&mut self, receipts: impl IntoIterator<Item = (TxHash, Receipt)>) {
        for (hash, receipt) in receipts {
            let number = receipt.block_number.map_or(0, |number| number.to::<u64>());
            let block = receipt.block_hash.map(|hash| format!("{hash:#x}"));
            let beside = number == self.head.number && block.as_ref() != Some(&self.head.hash);
            if number > self.head.number || beside {
                self.ahead.insert(hash);
            } else {
                self.receipts.insert(hash, receipt);
            }
        }
    }

    /// Whether anything was set aside.
    pub fn is_overtaken(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Whether one of a watch's transactions was set aside.
    pub fn is_ahead(&self, watch: &Watch) -> bool {
        watch.hashes.iter().any(|hash| self.ahead.contains(hash))
    }

    /// The receipt of whichever hash won.
    pub fn winner(&self, watch: &Watch) -> Option<&Receipt> {
        watch.hashes.iter().find_map(|hash| self.receipts.get(hash))
    }

    /// The signer's next nonce, if it is past this one.
    pub fn used(&self, watch: &Watch) -> Option<u64> {
        let next = self.nonces.get(&watch.signer).copied();
        next.filter(|next| *next > watch.nonce)
    }

    pub fn is_deep(&self, finality: Finality, block: u64) -> bool {
        match finality {
            _ if self.instant || mistake::is("finality_ignored") => true,
            Finality::Included | Finality::Confirmations(0 | 1) => true,
            Finality::Confirmations(depth) => {
                let above = self.head.number.saturating_sub(block);
                above.saturating_add(1) >= u64::from(depth)
            }
            Finality::Safe => self.safe.is_some_and(|top| top >= block),
            Finality::Finalized => self.finalized.is_some_and(|top| top >= block),
        }
    }

    /// How many payments of a watch lie deep enough in this block.
    pub fn depth(&self, watch: &Watch, block: u64) -> usize {
        let deep = |item: &&tollway_core::Watched| self.is_deep(item.finality, block);
        watch.expected.iter().filter(deep).count()
    }
}

/// Receipts of transactions that are in a block, by hash.
fn included(
    receipts: impl IntoIterator<Item = Receipt>,
) -> impl Iterator<Item = (TxHash, Receipt)> {
    receipts
        .into_iter()
        .filter(is_included)
        .map(|receipt| (hash_text(receipt.transaction_hash), receipt))
}
