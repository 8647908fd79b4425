//! The receipt watcher's side of the machine: when to ask, and what the answers mean.

use tollway_core::{ChainError, Finality, Outcome, PaymentId, Timestamp, Watch, Watched};
use tollway_ledger::Conclusion;

use super::state::{Phase, Slot, Turn};
use super::{Effect, SlotKey, Ticket};

impl Turn<'_> {
    /// Asks for every slot that is due, in one poll.
    pub(super) fn poll_due(&mut self) {
        let now = self.now;
        let due: Vec<SlotKey> = self
            .state
            .slots
            .iter()
            .filter(|(_, s)| s.is_watched() && s.poll.is_due(now))
            .map(|(key, _)| key.clone())
            .collect();
        let mut watches = Vec::with_capacity(due.len());
        for key in due {
            let ticket = self.ticket();
            let finality = self.finality_of(&key);
            if let Some(slot) = self.state.slots.get_mut(&key) {
                slot.poll.begin(ticket, now);
                let watch = slot.watch(&key, finality);
                watches.push((key, ticket, watch));
            }
        }
        if !watches.is_empty() {
            self.emit(Effect::Poll { watches });
        }
    }

    /// The deepest finality that any of the slot's payments asks for.
    fn finality_of(&self, key: &SlotKey) -> Finality {
        let Some(slot) = self.state.slots.get(key) else {
            return Finality::default();
        };
        slot.members
            .iter()
            .filter_map(|id| self.state.payments.get(id))
            .map(|p| p.record.payment.finality)
            .max_by_key(|f| depth(*f))
            .unwrap_or_default()
    }

    pub(super) fn polled(
        &mut self,
        results: Vec<(SlotKey, Ticket, Result<Vec<Outcome>, ChainError>)>,
    ) {
        for (key, ticket, result) in results {
            self.slot_polled(&key, ticket, result);
        }
    }

    fn slot_polled(
        &mut self,
        key: &SlotKey,
        ticket: Ticket,
        result: Result<Vec<Outcome>, ChainError>,
    ) {
        let (now, rules) = (self.now, self.state.rules.clone());
        let Some(slot) = self.state.slots.get_mut(key) else {
            return;
        };
        let due_before = slot.poll.due;
        let began = slot.poll.began();
        if !slot.poll.take(ticket) {
            return;
        }
        let Ok(outcomes) = result else {
            slot.poll.retry(&rules, now);
            return;
        };
        // Something was sent while this poll was under way: ask again at once.
        let stale = began.is_some_and(|at| due_before > at);
        let next = if stale {
            now
        } else {
            next_round(now, rules.poll_interval.as_millis())
        };
        slot.poll.again_at(next);
        if outcomes.len() != slot.carries.len() || outcomes.is_empty() {
            return;
        }
        slot.used |= outcomes.iter().all(|o| !matches!(o, Outcome::Unknown));
        let ids: Vec<PaymentId> = slot.carries.iter().map(|(id, _, _)| id.clone()).collect();
        for (id, outcome) in ids.into_iter().zip(outcomes) {
            self.decided(&id, key, outcome);
        }
        self.close_if_done(key);
    }

    fn decided(&mut self, id: &PaymentId, key: &SlotKey, outcome: Outcome) {
        let Some(payment) = self.state.payments.get(id) else {
            return;
        };
        let undecided = match &payment.phase {
            Phase::Submitted { .. } => true,
            Phase::Lookup { proof, .. } => proof.is_none(),
            _ => false,
        };
        if !undecided || payment.slot().is_some_and(|s| s != key) {
            return;
        }
        match outcome {
            Outcome::Settled(settled) => self.conclude(id, Conclusion::Settled(settled)),
            Outcome::NotSettled(proof) => self.look_up(id, Some(proof)),
            Outcome::Unknown => {}
        }
    }
}

impl Slot {
    /// Whether its outcome matters and is open.
    fn is_watched(&self) -> bool {
        self.is_live() && !self.members.is_empty()
    }

    fn watch(&self, key: &SlotKey, finality: Finality) -> Watch {
        Watch {
            signer: key.0.clone(),
            nonce: key.1,
            hashes: self.raws.iter().map(|r| r.hash.clone()).collect(),
            expected: self
                .carries
                .iter()
                .map(|(_, identity, expected)| Watched {
                    identity: identity.clone(),
                    expected: expected.clone(),
                    finality,
                })
                .collect(),
        }
    }
}

fn depth(finality: Finality) -> (u8, u32) {
    match finality {
        Finality::Included => (0, 0),
        Finality::Confirmations(n) => (1, n),
        Finality::Safe => (2, 0),
        Finality::Finalized => (3, 0),
    }
}

/// The next multiple of the interval, so that slots are asked for together.
fn next_round(now: Timestamp, interval_millis: u128) -> Timestamp {
    let interval = u64::try_from(interval_millis).unwrap_or(u64::MAX).max(1);
    Timestamp::from_millis(
        (now.millis() / interval)
            .saturating_add(1)
            .saturating_mul(interval),
    )
}
