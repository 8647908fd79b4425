//! One look at the chain for everything that is under way.
//!
//! Receipts appear with blocks: while there is no new one, only the newest
//! block is asked for. With a new one, few transactions are asked for by their
//! hashes, and many by the receipts of the block. The signer's nonce is read only
//! for what has not appeared for a while.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use alloy_primitives::{U64, U256};
use tollway_core::{
    Address, Amount, ChainError, Finality, Head, Outcome, Sight, SignerState, TxHash, Watch,
    mistake,
};
use tollway_rpc::{Batch, RpcError};

use super::EvmChain;
use super::follow::{Followed, LOOK_AGAIN, State, key};
use super::head::{MOST_NEW_BLOCKS, Step};
use super::outcome::{hash_text, is_included};
use crate::node::{LATEST, Receipt, unavailable};
use crate::receipt::Uses;

/// So many transactions are asked for by their hashes; more by their blocks.
const MOST_BY_HASH: usize = 8;
/// Calls in one batch.
const MOST_CALLS: usize = 100;
/// Payments whose logs one answer may hold: each takes more than a kilobyte.
const MOST_PAYMENTS: usize = 2_000;

/// What is to be done about one watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    /// Nothing can have changed.
    Rest,
    /// It may be in a new block.
    NewBlocks,
    /// It is asked for by its hashes, with the signer's nonce or without.
    Itself { nonce: bool },
    /// It is in a block, and may lie deep enough now.
    Deeper,
}

/// What one look asks and hears.
struct Round<'a> {
    head: &'a Head,
    watches: &'a [Watch],
    receipts: HashMap<TxHash, Receipt>,
    nonces: HashMap<Address, u64>,
    safe: Option<u64>,
    finalized: Option<u64>,
    no_block_receipts: bool,
}

impl EvmChain {
    pub(super) async fn look_at(
        &self,
        last: Option<&Head>,
        watches: &[Watch],
    ) -> Result<Sight, ChainError> {
        self.require_check().await?;
        let mut state = self.follower.state.lock().await;
        let head = self.newest().await?;
        let last = last.cloned().or_else(|| state.head.clone());
        let mut seen = state.seen.clone();
        if let Some(last) = &last {
            seen.note(last);
        }
        let step = self.step(&seen, last.as_ref(), &head).await?;
        let newest = match (&step, &last) {
            (Step::Behind, Some(last)) => last.clone(),
            _ => head,
        };
        let mut round = Round {
            head: &newest,
            watches,
            receipts: HashMap::new(),
            nonces: HashMap::new(),
            safe: None,
            finalized: None,
            no_block_receipts: state.no_block_receipts,
        };
        let tasks = self.tasks(&state, &step, watches);
        self.read(&mut round, &step, &tasks, &state).await?;
        let mut outcomes = Vec::with_capacity(watches.len());
        let mut changes = Vec::new();
        for (watch, task) in watches.iter().zip(&tasks) {
            let (outcome, change) = self.conclude(&mut round, watch, *task, &state).await?;
            outcomes.push(outcome);
            changes.extend(change);
        }
        // From here on nothing waits: a look that is given up changes nothing.
        let replaced_from = match step {
            Step::Replaced { from } => {
                state.seen.forget_from(from);
                Some(from)
            }
            _ => None,
        };
        state.no_block_receipts = round.no_block_receipts;
        for (watch, task) in watches.iter().zip(&tasks) {
            if *task == (Task::Itself { nonce: true }) {
                self.follower.believe(&watch.hashes);
            }
        }
        for (key, followed) in changes {
            match followed {
                Some(followed) => state.followed.insert(key, followed),
                None => state.followed.remove(&key),
            };
        }
        state.tidy(watches);
        self.follower.saw(&mut state, &newest);
        Ok(Sight {
            head: newest,
            replaced_from,
            outcomes,
        })
    }

    fn tasks(&self, state: &State, step: &Step, watches: &[Watch]) -> Vec<Task> {
        let moved = !matches!(step, Step::Same | Step::Behind);
        let seen = state.head.as_ref().map_or(0, |head| head.number);
        watches
            .iter()
            .map(|watch| match state.followed.get(&key(watch)) {
                _ if self.follower.is_doubtful(&watch.hashes) => Task::Itself { nonce: true },
                Some(known) if known.hashes == watch.hashes => {
                    self.task_of_known(known, step, moved)
                }
                _ if state.head.is_some() && self.follower.sent_after(&watch.hashes, seen) => {
                    if moved {
                        Task::NewBlocks
                    } else {
                        Task::Rest
                    }
                }
                _ => Task::Itself {
                    nonce: !self.follower.sent_just_now(&watch.hashes),
                },
            })
            .collect()
    }

    fn task_of_known(&self, known: &Followed, step: &Step, moved: bool) -> Task {
        match (known.included, step) {
            (Some(block), Step::Replaced { from }) if block >= *from => {
                Task::Itself { nonce: false }
            }
            (Some(_), _) if moved => Task::Deeper,
            (Some(_), _) => Task::Rest,
            (None, _) if known.asked.elapsed() >= LOOK_AGAIN => Task::Itself { nonce: true },
            (None, _) if moved => Task::NewBlocks,
            (None, _) => Task::Rest,
        }
    }

    /// Reads what the tasks need.
    async fn read(
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
        round.receipts.extend(receipts?);
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
            round.receipts.extend(included(receipts));
        }
        true
    }

    /// Receipts by hash.
    async fn receipts(&self, watches: &[&Watch]) -> Result<Vec<(TxHash, Receipt)>, ChainError> {
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

    async fn nonces(&self, signers: Vec<&Address>) -> Result<Vec<(Address, u64)>, ChainError> {
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
    async fn read_tags(
        &self,
        round: &mut Round<'_>,
        watches: impl Iterator<Item = &Watch>,
    ) -> Result<(), ChainError> {
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

    /// What one watch hears, and what is remembered of it: `None` forgets it.
    async fn conclude(
        &self,
        round: &mut Round<'_>,
        watch: &Watch,
        task: Task,
        state: &State,
    ) -> Result<(Option<Vec<Outcome>>, Option<Change>), ChainError> {
        let known = state.followed.get(&key(watch));
        let mut next = Followed {
            hashes: watch.hashes.clone(),
            included: None,
            decided: 0,
            asked: match (task, known) {
                (Task::NewBlocks | Task::Rest, Some(known)) => known.asked,
                _ => Instant::now(),
            },
        };
        if let Some(receipt) = round.winner(watch) {
            let block = receipt.block_number.map_or(0, |number| number.to());
            let outcomes = self.judge(round, receipt, block, watch)?;
            let outcomes = self.unless_contradicted(receipt, watch, outcomes).await;
            next.included = Some(block);
            let open = outcomes.contains(&Outcome::Unknown);
            next.decided = outcomes.iter().filter(|o| **o != Outcome::Unknown).count();
            return Ok((Some(outcomes), Some((key(watch), open.then_some(next)))));
        }
        match task {
            Task::Rest | Task::Deeper if known.is_some() => return Ok((None, None)),
            Task::Itself { nonce: true } => {}
            // What was in a block that is gone is open again.
            _ => {
                let first = known.is_none() || task == Task::Itself { nonce: false };
                let unknown = first.then(|| vec![Outcome::Unknown; watch.expected.len()]);
                return Ok((unknown, Some((key(watch), Some(next)))));
            }
        }
        let outcomes = self.missing(round, watch).await?;
        let open = outcomes.contains(&Outcome::Unknown);
        Ok((Some(outcomes), Some((key(watch), open.then_some(next)))))
    }

    /// No receipt. If the nonce is used, perhaps one of ours did that a moment
    /// ago: they are asked for once more before a stranger is blamed.
    async fn missing(
        &self,
        round: &mut Round<'_>,
        watch: &Watch,
    ) -> Result<Vec<Outcome>, ChainError> {
        let unknown = vec![Outcome::Unknown; watch.expected.len()];
        let used = |nonces: &HashMap<Address, u64>| {
            nonces
                .get(&watch.signer)
                .copied()
                .filter(|next| *next > watch.nonce)
        };
        if used(&round.nonces).is_none() {
            return Ok(unknown);
        }
        round.receipts.extend(self.receipts(&[watch]).await?);
        if round.winner(watch).is_some() {
            self.read_tags(round, std::iter::once(watch)).await?;
        }
        if let Some(receipt) = round.winner(watch) {
            let block = receipt.block_number.map_or(0, |number| number.to());
            let outcomes = self.judge(round, receipt, block, watch)?;
            return Ok(self.unless_contradicted(receipt, watch, outcomes).await);
        }
        match used(&round.nonces) {
            Some(nonce) => self.slot_taken(watch, nonce).await,
            None => Ok(unknown),
        }
    }

    /// A receipt decides each payment that lies deep enough.
    fn judge(
        &self,
        round: &Round<'_>,
        receipt: &Receipt,
        block: u64,
        watch: &Watch,
    ) -> Result<Vec<Outcome>, ChainError> {
        let uses = Uses::of(receipt);
        let items = watch.expected.iter();
        items
            .map(|item| match round.is_deep(item.finality, block) {
                true => self.judge_item(&uses, &item.identity, &item.expected),
                false => Ok(Outcome::Unknown),
            })
            .collect()
    }

    /// That nothing moved is believed only where no node says otherwise.
    async fn unless_contradicted(
        &self,
        receipt: &Receipt,
        watch: &Watch,
        mut outcomes: Vec<Outcome>,
    ) -> Vec<Outcome> {
        let failed = |outcome: &Outcome| matches!(outcome, Outcome::NotSettled(_));
        if !outcomes.iter().any(failed) {
            return outcomes;
        }
        for other in self.receipts_elsewhere(receipt.transaction_hash).await {
            let uses = Uses::of(&other);
            for (item, outcome) in watch.expected.iter().zip(&mut outcomes) {
                let theirs = self.judge_item(&uses, &item.identity, &item.expected);
                if failed(outcome) && !theirs.is_ok_and(|theirs| failed(&theirs)) {
                    *outcome = Outcome::Unknown;
                }
            }
        }
        outcomes
    }

    /// What the settling accounts have, and whether that is little.
    pub(super) async fn read_signers(&self) -> Result<Vec<SignerState>, ChainError> {
        let mut batch = Batch::new();
        for signer in &self.signers {
            batch.push("eth_getBalance", &(signer.address(), LATEST));
        }
        let fees = self.current_fees().await?;
        let answers = self.rpc.batch::<U256>(batch).await;
        let answers = answers.map_err(unavailable("eth_getBalance"))?;
        let least = U256::from(self.limits.low_transactions)
            .saturating_mul(U256::from(self.dearest_gas()))
            .saturating_mul(U256::from(fees.max_fee));
        let both = self.accounts.iter().zip(answers);
        both.map(|(signer, answer)| {
            let balance = answer.map_err(unavailable("eth_getBalance"))?;
            Ok(SignerState {
                signer: signer.clone(),
                balance: Amount::from(balance),
                low: balance < least,
            })
        })
        .collect()
    }
}

type Change = (super::follow::Key, Option<Followed>);

impl Round<'_> {
    /// The receipt of whichever hash won.
    fn winner(&self, watch: &Watch) -> Option<&Receipt> {
        watch.hashes.iter().find_map(|hash| self.receipts.get(hash))
    }

    fn is_deep(&self, finality: Finality, block: u64) -> bool {
        match finality {
            _ if mistake::is("finality_ignored") => true,
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
    fn depth(&self, watch: &Watch, block: u64) -> usize {
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
