//! One look at the chain for everything that is under way.
//!
//! Receipts appear with blocks: while there is no new one, only the newest
//! block is asked for. With a new one, few transactions are asked for by their
//! hashes, and many by the receipts of the block. The signer's nonce is read only
//! for what has not appeared for a while.

use std::time::Instant;

use tollway_core::{ChainError, Head, Outcome, Sight, Watch};

use super::EvmChain;
use super::follow::{Followed, LOOK_AGAIN, State, key};
use super::head::Step;
use super::reads::Round;
use crate::node::Receipt;

/// How often one look begins anew because blocks come while it reads.
const MOST_TRIES: u32 = 3;

/// What is to be done about one watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Nothing can have changed.
    Rest,
    /// It may be in a new block.
    NewBlocks,
    /// It is asked for by its hashes, with the signer's nonce or without.
    Itself { nonce: bool },
    /// It is in a block, and may lie deep enough now.
    Deeper,
}

impl EvmChain {
    pub(super) async fn look_at(
        &self,
        last: Option<&Head>,
        watches: &[Watch],
    ) -> Result<Sight, ChainError> {
        self.require_check().await?;
        let mut state = self.follower.state.lock().await;
        let last = last.cloned().or_else(|| state.head.clone());
        let mut seen = state.seen.clone();
        if let Some(last) = &last {
            seen.note(last);
        }
        let mut tries = 0;
        let (newest, step, tasks, mut round) = loop {
            let head = self.newest().await?;
            let step = self.step(&seen, last.as_ref(), &head).await?;
            let newest = match (&step, &last) {
                (Step::Behind, Some(last)) => last.clone(),
                _ => head,
            };
            let mut round =
                Round::new(&newest, watches, state.no_block_receipts, self.is_instant());
            let tasks = self.tasks(&state, &step, watches);
            self.read(&mut round, &step, &tasks, &state).await?;
            tries += 1;
            // A block came while receipts were read: it is to be known by its hash
            // before it counts, or nobody would notice that it is replaced.
            if !round.is_overtaken() || tries == MOST_TRIES {
                break (newest, step, tasks, round);
            }
        };
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

    /// What one watch hears, and what is remembered of it: `None` forgets it.
    async fn conclude(
        &self,
        round: &mut Round<'_>,
        watch: &Watch,
        task: Task,
        state: &State,
    ) -> Result<(Option<Vec<Outcome>>, Option<Change>), ChainError> {
        let known = state.followed.get(&key(watch));
        let unknown = || vec![Outcome::Unknown; watch.expected.len()];
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
            let open = is_open(&outcomes);
            next.decided = outcomes.iter().filter(|o| o.is_decided()).count();
            return Ok((Some(outcomes), Some((key(watch), open.then_some(next)))));
        }
        if round.is_ahead(watch) {
            return Ok((Some(unknown()), Some((key(watch), Some(next)))));
        }
        match task {
            Task::Rest | Task::Deeper if known.is_some() => return Ok((None, None)),
            Task::Itself { nonce: true } => {}
            // What was in a block that is gone is open again.
            _ => {
                let first = known.is_none() || task == Task::Itself { nonce: false };
                let unknown = first.then(unknown);
                return Ok((unknown, Some((key(watch), Some(next)))));
            }
        }
        let outcomes = self.missing(round, watch).await?;
        let open = is_open(&outcomes);
        Ok((Some(outcomes), Some((key(watch), open.then_some(next)))))
    }

    /// No receipt. If the nonce is used, perhaps one of ours did that a moment
    /// ago: they are asked for once more before a stranger is blamed, and no block
    /// may come between the two answers. It may replace the one that held ours,
    /// and then the nonce is of one branch and the missing receipt of another.
    async fn missing(
        &self,
        round: &mut Round<'_>,
        watch: &Watch,
    ) -> Result<Vec<Outcome>, ChainError> {
        let unknown = vec![Outcome::Unknown; watch.expected.len()];
        if round.used(watch).is_none() {
            return Ok(unknown);
        }
        let before = self.newest().await?;
        round.nonces.extend(self.nonces(vec![&watch.signer]).await?);
        round.take(self.receipts(&[watch]).await?);
        if round.is_ahead(watch) {
            return Ok(unknown);
        }
        if round.winner(watch).is_some() {
            self.read_tags(round, std::iter::once(watch)).await?;
        }
        if let Some(receipt) = round.winner(watch) {
            let block = receipt.block_number.map_or(0, |number| number.to());
            let outcomes = self.judge(round, receipt, block, watch)?;
            return Ok(self.unless_contradicted(receipt, watch, outcomes).await);
        }
        match round.used(watch) {
            Some(nonce) if self.newest().await?.hash == before.hash => {
                self.slot_taken(watch, nonce).await
            }
            _ => Ok(unknown),
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
        let uses = self.uses(receipt);
        let items = watch.expected.iter();
        items
            .map(|item| {
                let outcome = self.judge_item(&uses, &item.identity, &item.expected)?;
                Ok(match round.is_deep(item.finality, block) {
                    true => outcome,
                    false => Outcome::Included {
                        block,
                        moved: matches!(outcome, Outcome::Settled(_)),
                    },
                })
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
            let uses = self.uses(&other);
            for (item, outcome) in watch.expected.iter().zip(&mut outcomes) {
                let theirs = self.judge_item(&uses, &item.identity, &item.expected);
                if failed(outcome) && !theirs.is_ok_and(|theirs| failed(&theirs)) {
                    *outcome = Outcome::Unknown;
                }
            }
        }
        outcomes
    }
}

fn is_open(outcomes: &[Outcome]) -> bool {
    !outcomes.iter().all(Outcome::is_decided)
}

type Change = (super::follow::Key, Option<Followed>);
