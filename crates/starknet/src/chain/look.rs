//! One look at the chain for everything that is under way.
//!
//! Receipts appear with blocks: while there is no new one, only the newest
//! block is asked for. With a new one the receipts of all hashes are asked for
//! in one request, and the signer's nonce where none of them is there.

use std::collections::HashMap;

use serde_json::Value;
use starknet_crypto::Felt;
use tollway_core::{Address, ChainError, Head, Outcome, Proof, Sight, TxHash, Watch};
use tollway_rpc::ask::unavailable;
use tollway_rpc::{Batch, RpcClient, RpcError};

use super::StarknetChain;
use super::head::{Looked, State, Step};
use crate::felt;
use crate::node::{Receipt, code, refused_with};

/// Calls of one request.
const MOST_CALLS: usize = 100;

impl StarknetChain {
    pub(super) async fn look_at(
        &self,
        last: Option<&Head>,
        watches: &[Watch],
    ) -> Result<Sight, ChainError> {
        self.require_check().await?;
        let mut state = self.follower.state.lock().await;
        let last = last.cloned().or_else(|| state.head.clone());
        if let Some(last) = &last {
            state.note(last);
        }
        let (newest, _) = self.newest().await?;
        let step = match &last {
            Some(last) => self.step(&state, last, &newest).await?,
            None => Step::On,
        };
        let head = match (step, last) {
            (Step::Behind, Some(last)) => last,
            _ => newest,
        };
        let open: Vec<bool> = watches
            .iter()
            .map(|watch| !is_looked(&state, watch, &head))
            .collect();
        let outcomes = self.outcomes(&head, watches, &open).await?;

        // From here on nothing waits: a look that is given up changes nothing.
        let replaced_from = match step {
            Step::Replaced(from) => {
                state.seen.split_off(&from);
                Some(from)
            }
            _ => None,
        };
        remember(&mut state, watches, &outcomes, &head);
        state.note(&head);
        state.head = Some(head.clone());
        Ok(Sight {
            head,
            replaced_from,
            outcomes: outcomes.into_iter().map(|seen| seen.outcomes).collect(),
        })
    }

    async fn outcomes(
        &self,
        head: &Head,
        watches: &[Watch],
        open: &[bool],
    ) -> Result<Vec<Seen>, ChainError> {
        let asked = watches.iter().zip(open).filter(|(_, open)| **open);
        let hashes: Vec<&TxHash> = asked.flat_map(|(watch, _)| &watch.hashes).collect();
        let mut receipts = receipts(&self.rpc, &hashes).await?.into_iter();
        let mut outcomes = Vec::with_capacity(watches.len());
        let mut nonces = Nonces::new();
        for (watch, open) in watches.iter().zip(open) {
            if !open {
                outcomes.push(Seen::resting());
                continue;
            }
            let of_watch: Vec<_> = receipts.by_ref().take(watch.hashes.len()).collect();
            outcomes.push(self.conclude(head, watch, of_watch, &mut nonces).await?);
        }
        Ok(outcomes)
    }

    async fn conclude(
        &self,
        head: &Head,
        watch: &Watch,
        receipts: Vec<Option<Receipt>>,
        nonces: &mut Nonces,
    ) -> Result<Seen, ChainError> {
        if let Some((receipt, block)) = winner(&receipts) {
            // A block came while receipts were read: it is to be known by its hash
            // before it counts, or nobody would notice that it is replaced.
            if block > head.number {
                return Ok(Seen::not_yet(watch));
            }
            let outcomes = self.judge(head, receipt, watch).await?;
            return Ok(Seen::settled(outcomes));
        }
        self.missing(head, watch, nonces).await
    }

    /// No receipt. If the nonce is used, perhaps one of ours did that a moment
    /// ago: they are asked for once more, at every node, before a stranger is blamed.
    async fn missing(
        &self,
        head: &Head,
        watch: &Watch,
        nonces: &mut Nonces,
    ) -> Result<Seen, ChainError> {
        let confirmed = match nonces.get(&watch.signer) {
            Some(nonce) => *nonce,
            None => {
                let nonce = self.nonce_of(&super::known(&watch.signer)?).await?;
                nonces.insert(watch.signer.clone(), nonce);
                nonce
            }
        };
        if confirmed <= watch.nonce {
            return Ok(Seen::unknown(watch));
        }
        let hashes: Vec<&TxHash> = watch.hashes.iter().collect();
        for node in self.rpc.nodes() {
            let receipts = receipts(&node, &hashes).await?;
            match winner(&receipts) {
                Some((_, block)) if block > head.number => return Ok(Seen::not_yet(watch)),
                Some((receipt, _)) => {
                    let outcomes = self.judge(head, receipt, watch).await?;
                    return Ok(Seen::settled(outcomes));
                }
                // It has a receipt that is not in a block yet.
                None if receipts.iter().any(Option::is_some) => {
                    return Ok(Seen::not_yet(watch));
                }
                None => {}
            }
        }
        let proof = Proof::SlotTaken {
            confirmed_nonce: confirmed,
        };
        let outcome = Outcome::NotSettled(proof);
        Ok(Seen::settled(vec![outcome; watch.expected.len()]))
    }

    /// A receipt decides each payment that lies deep enough.
    async fn judge(
        &self,
        head: &Head,
        receipt: &Receipt,
        watch: &Watch,
    ) -> Result<Vec<Outcome>, ChainError> {
        let mut outcomes = Vec::with_capacity(watch.expected.len());
        for item in &watch.expected {
            let outcome = self.judge_item(receipt, &item.expected, false)?;
            let deep = Self::is_deep(head, receipt, item.finality);
            outcomes.push(match (deep, receipt.block()) {
                (false, Some((block, _))) if outcome.is_decided() => Outcome::Included {
                    block,
                    moved: matches!(outcome, Outcome::Settled(_)),
                },
                _ => outcome,
            });
        }
        let failed = |outcome: &Outcome| matches!(outcome, Outcome::NotSettled(_));
        if !outcomes.iter().any(failed) {
            return Ok(outcomes);
        }
        // That nothing moved is believed only where no node says otherwise.
        for other in self.receipts_elsewhere(&receipt.transaction_hash.0).await {
            for (item, outcome) in watch.expected.iter().zip(&mut outcomes) {
                let theirs = self.judge_item(&other, &item.expected, false)?;
                if failed(outcome) && !failed(&theirs) {
                    *outcome = Outcome::Unknown;
                }
            }
        }
        Ok(outcomes)
    }

    /// A transaction's receipt as each of several nodes has it; those that do
    /// not answer say nothing.
    pub(super) async fn receipts_elsewhere(&self, hash: &Felt) -> Vec<Receipt> {
        if self.rpc.hosts().len() < 2 {
            return Vec::new();
        }
        let hash = TxHash::new(&felt::text(hash));
        let mut found = Vec::new();
        for node in self.rpc.nodes() {
            let answer = receipts(&node, &[&hash]).await;
            found.extend(answer.into_iter().flatten().flatten());
        }
        found.retain(|receipt| receipt.block().is_some());
        found
    }
}

/// Signers' confirmed nonces, each asked for once in a look.
type Nonces = HashMap<Address, u64>;

/// What one watch hears, and whether that holds for the whole block.
struct Seen {
    outcomes: Option<Vec<Outcome>>,
    final_for_block: bool,
}

impl Seen {
    const fn resting() -> Self {
        Self {
            outcomes: None,
            final_for_block: true,
        }
    }

    const fn settled(outcomes: Vec<Outcome>) -> Self {
        Self {
            outcomes: Some(outcomes),
            final_for_block: true,
        }
    }

    fn unknown(watch: &Watch) -> Self {
        Self::settled(vec![Outcome::Unknown; watch.expected.len()])
    }

    fn not_yet(watch: &Watch) -> Self {
        Self {
            final_for_block: false,
            ..Self::unknown(watch)
        }
    }
}

fn is_looked(state: &State, watch: &Watch, head: &Head) -> bool {
    let looked = state.looked.get(&(watch.signer.clone(), watch.nonce));
    looked.is_some_and(|looked| looked.hashes == watch.hashes && looked.head == head.hash)
}

fn remember(state: &mut State, watches: &[Watch], outcomes: &[Seen], head: &Head) {
    let kept = watches
        .iter()
        .zip(outcomes)
        .filter(|(_, seen)| seen.final_for_block);
    state.looked = kept
        .map(|(watch, _)| {
            let looked = Looked {
                hashes: watch.hashes.clone(),
                head: head.hash.clone(),
            };
            ((watch.signer.clone(), watch.nonce), looked)
        })
        .collect();
}

/// The receipt of the hash that was included, and its block.
fn winner(receipts: &[Option<Receipt>]) -> Option<(&Receipt, u64)> {
    let included = |receipt: &&Receipt| receipt.block().is_some();
    let receipt = receipts.iter().flatten().find(included)?;
    receipt.block().map(|(number, _)| (receipt, number))
}

/// Receipts by hash, in order; `None` where a node knows none.
pub(super) async fn receipts(
    rpc: &RpcClient,
    hashes: &[&TxHash],
) -> Result<Vec<Option<Receipt>>, ChainError> {
    let mut found = Vec::with_capacity(hashes.len());
    for chunk in hashes.chunks(MOST_CALLS) {
        let mut batch = Batch::new();
        for hash in chunk {
            batch.push("starknet_getTransactionReceipt", &[hash]);
        }
        let answers = rpc.batch::<Value>(batch).await;
        let answers = answers.map_err(unavailable("starknet_getTransactionReceipt"))?;
        for (hash, answer) in chunk.iter().zip(answers) {
            found.push(receipt(hash, answer)?);
        }
    }
    Ok(found)
}

fn receipt(hash: &TxHash, answer: Result<Value, RpcError>) -> Result<Option<Receipt>, ChainError> {
    let what = "starknet_getTransactionReceipt";
    match answer {
        Ok(value) => {
            let receipt: Receipt = serde_json::from_value(value)
                .map_err(|e| ChainError::unavailable(format!("{what}: {e}")))?;
            let asked = felt::text(&receipt.transaction_hash.0) == hash.as_str();
            Ok(asked.then_some(receipt))
        }
        Err(error) if refused_with(&error) == Some(code::TRANSACTION_NOT_FOUND) => Ok(None),
        Err(error) => Err(unavailable(what)(error)),
    }
}
