//! A small world around the pure machine: a chain, a mempool, a ledger, an
//! adversary and a clock, all driven by one seed. It checks, at the moment of
//! each effect, what must never happen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use std::sync::Arc;

use tollway_core::{
    Address, Amount, Broadcast, ChainError, Finality, Head, Identity, Lookup, Outcome, PaymentId,
    Plan, PlannedPayment, Proof, Raw, Refusal, Settled, Sight, Timestamp, TxHash, Verified, Watch,
};
use tollway_facilitator::engine::machine::{
    Effect, Event, NotAllocated, Rules, State, Update, step,
};
use tollway_ledger::{
    Acceptance, Conclusion, Ending, LedgerError, PaymentRecord, PaymentState, ReplicaId,
};

use crate::fake_chain::log_of;
use crate::fixtures::{account, network, new_payment, verified};
use crate::model_store::ModelStore;
use crate::rng::Rng;

/// What a token knows of an authorization.
#[derive(Clone, Debug, PartialEq)]
enum Nonce {
    Used { by: TxHash, third_party: bool },
    Cancelled,
}

#[derive(Clone, Debug)]
struct Tx {
    signer: Address,
    nonce: u64,
    carries: Vec<String>,
    fee: u64,
}

/// What a block changes, so that it can be undone.
#[derive(Clone, Default)]
struct Ground {
    confirmed: BTreeMap<Address, u64>,
    receipts: BTreeMap<TxHash, Receipt>,
    nonces: BTreeMap<String, Nonce>,
    transfers: BTreeMap<String, (u32, u64)>,
}

#[derive(Clone)]
struct Receipt {
    block: u64,
    ok: bool,
    moved: BTreeSet<String>,
}

/// A chain that includes what its mempool holds, in the order of nonces, and
/// whose last blocks may be replaced.
#[derive(Default)]
struct ModelChain {
    txs: BTreeMap<TxHash, Tx>,
    pool: BTreeMap<(Address, u64), TxHash>,
    ground: Ground,
    /// Each block's hash, and the ground beneath it.
    blocks: Vec<(String, Ground)>,
    forks: u64,
    /// Every block that ever was, and the one before it.
    parents: BTreeMap<String, String>,
    deadlines: BTreeMap<String, Timestamp>,
    broke: BTreeSet<String>,
    /// Every identity that was ever paid, in whatever block.
    ever_paid: BTreeSet<String>,
}

impl ModelChain {
    fn confirmed(&self, signer: &Address) -> u64 {
        self.ground.confirmed.get(signer).copied().unwrap_or(0)
    }

    fn number(&self) -> u64 {
        self.blocks.len() as u64
    }

    fn hash(&self, number: u64) -> Option<String> {
        let at = usize::try_from(number).unwrap().checked_sub(1)?;
        self.blocks.get(at).map(|(hash, _)| hash.clone())
    }

    /// The lowest block that whoever saw this head saw replaced.
    fn replaced_since(&self, last: &Head) -> Option<u64> {
        let (mut number, mut hash) = (last.number, last.hash.clone());
        let mut replaced = None;
        while number > 0 && self.hash(number).as_ref() != Some(&hash) {
            replaced = Some(number);
            hash = self.parents[&hash].clone();
            number -= 1;
        }
        replaced
    }

    fn can_use(&self, identity: &str, now: Timestamp) -> bool {
        !self.ground.nonces.contains_key(identity)
            && !self.broke.contains(identity)
            && now < self.deadlines[identity]
    }

    fn transfer(&mut self, identity: &str, by: &TxHash, third_party: bool) {
        let by = by.clone();
        let number = self.number();
        self.ground
            .nonces
            .insert(identity.to_owned(), Nonce::Used { by, third_party });
        let paid = self
            .ground
            .transfers
            .entry(identity.to_owned())
            .or_default();
        *paid = (paid.0 + 1, number);
        self.ever_paid.insert(identity.to_owned());
    }

    /// One more block, on this ground.
    fn begin_block(&mut self) {
        let hash = format!("0xb{}f{}", self.blocks.len() + 1, self.forks);
        let parent = self.hash(self.number()).unwrap_or_default();
        self.parents.insert(hash.clone(), parent);
        self.blocks.push((hash, self.ground.clone()));
    }

    fn mine(&mut self, now: Timestamp) {
        self.begin_block();
        let block = self.number();
        let signers: BTreeSet<Address> = self.pool.keys().map(|(s, _)| s.clone()).collect();
        for signer in signers {
            while let Some(hash) = self.pool.remove(&(signer.clone(), self.confirmed(&signer))) {
                let nonce = self.confirmed(&signer);
                self.ground.confirmed.insert(signer.clone(), nonce + 1);
                let carries = self.txs[&hash].carries.clone();
                let batch = carries.len() > 1;
                let mut moved = BTreeSet::new();
                for identity in carries {
                    if self.can_use(&identity, now) {
                        self.transfer(&identity, &hash, false);
                        moved.insert(identity);
                    }
                }
                let ok = batch || !moved.is_empty() || self.txs[&hash].carries.is_empty();
                self.ground
                    .receipts
                    .insert(hash, Receipt { block, ok, moved });
            }
        }
        let confirmed = self.ground.confirmed.clone();
        self.pool
            .retain(|(s, n), _| *n >= confirmed.get(s).copied().unwrap_or(0));
    }

    /// The last blocks never happened. Of their transactions, the node keeps some.
    fn reorganise(&mut self, depth: u64, rng: &mut Rng) {
        let depth = depth.min(self.number());
        if depth == 0 {
            return;
        }
        let from = self.number() - depth + 1;
        let at = usize::try_from(from - 1).unwrap();
        let gone = self.ground.receipts.clone();
        self.ground = self.blocks[at].1.clone();
        self.blocks.truncate(at);
        self.forks += 1;
        for (hash, receipt) in gone {
            if receipt.block >= from && rng.permille(500) {
                let tx = &self.txs[&hash];
                self.pool.insert((tx.signer.clone(), tx.nonce), hash);
            }
        }
        for _ in 0..depth {
            self.begin_block();
        }
    }

    /// Whether any of these transactions can still be included and move this.
    fn can_land(&self, hashes: &[Raw], identity: &str, now: Timestamp) -> bool {
        hashes.iter().any(|raw| {
            let tx = &self.txs[&raw.hash];
            let alive = tx.nonce >= self.confirmed(&tx.signer);
            let carries = tx.carries.iter().any(|i| i == identity);
            alive && carries && now < self.deadlines[identity]
        })
    }
}

/// How much goes wrong, in thousandths of all calls.
#[derive(Clone, Copy)]
pub struct Chaos {
    pub calls: u64,
    pub crashes: u64,
    pub adversary: u64,
    /// Blocks that are replaced, 1 to 12 deep.
    pub reorgs: u64,
    /// Signers that another machine takes for a while.
    pub thefts: u64,
}

impl Chaos {
    pub const NONE: Self = Self {
        calls: 0,
        crashes: 0,
        adversary: 0,
        reorgs: 0,
        thefts: 0,
    };
}

pub struct World {
    rng: Rng,
    now: Timestamp,
    state: Option<State>,
    rules: Rules,
    inbox: Vec<Event>,
    pending: Vec<Effect>,
    pub store: ModelStore,
    chain: ModelChain,
    pub chaos: Chaos,
    /// The shortest life of an authorization, seconds.
    pub shortest_life: u64,
    next_block: Timestamp,
    /// The node takes no transaction above a gap.
    strict: bool,
    accepted: u64,
    hashes: u64,
    /// What the chain last said of each identity.
    looked: BTreeMap<String, Lookup>,
    /// This machine, in the ledger.
    me: ReplicaId,
    /// Machines that took a signer, until when.
    thieves: Vec<(ReplicaId, Timestamp)>,
    /// Blocks were replaced in this story.
    pub reorganised: bool,
    /// The largest batch that was sealed.
    pub largest: usize,
    /// Payments that were taken back.
    pub taken_back: usize,
    /// A line for every step, to compare two runs of one seed.
    pub trace: u64,
}

impl World {
    pub fn new(seed: u64, chaos: Chaos) -> Self {
        let rules = Rules {
            stuck_after: Duration::from_secs(12),
            batch_from: 2,
            batch_max: 5,
            reorg_watch: 24,
            ..Rules::default()
        };
        let mut world = Self {
            rng: Rng::new(seed),
            now: Timestamp::from_secs(1_800_000_000),
            state: None,
            rules,
            inbox: Vec::new(),
            pending: Vec::new(),
            store: ModelStore::default(),
            chain: ModelChain::default(),
            chaos,
            shortest_life: 8,
            next_block: Timestamp::default(),
            strict: seed.is_multiple_of(2),
            accepted: 0,
            hashes: 0,
            looked: BTreeMap::new(),
            me: ReplicaId::from_text("nobody"),
            thieves: Vec::new(),
            reorganised: false,
            largest: 0,
            taken_back: 0,
            trace: seed,
        };
        world.restart();
        world
    }

    /// Everything in memory is lost; the ledger and the chain are not.
    fn restart(&mut self) {
        self.inbox.clear();
        self.pending.clear();
        self.state = Some(State::new(network(), signers(), self.rules.clone()));
        self.store.alive.remove(&self.me);
        self.me = self.store.join();
        // The keeper's first steps come before everything else.
        for event in self.keep() {
            self.deliver(event);
        }
        let payments = self.store.watched();
        self.deliver(Event::Settled { payments });
    }

    /// Leases what is free, adopts what was left, and reads what is open.
    fn keep(&mut self) -> Vec<Event> {
        let now = self.now;
        let (gone, here): (Vec<_>, Vec<_>) =
            self.thieves.drain(..).partition(|(_, until)| *until <= now);
        self.thieves = here;
        for (thief, _) in gone {
            self.store.alive.remove(&thief);
        }
        let mut events = Vec::new();
        for signer in signers() {
            events.push(match self.store.lease(&self.me, &signer) {
                Some(lease) => Event::Leased { lease },
                None => Event::Unleased { signer },
            });
        }
        self.store.adopt(&self.me);
        events.push(self.recovered());
        events
    }

    fn recovered(&mut self) -> Event {
        let ours: BTreeSet<Address> = signers()
            .into_iter()
            .filter(|s| self.store.holds(&self.me, s))
            .collect();
        let mut slots = self.store.open_slots();
        slots.retain(|s| ours.contains(&s.signer));
        let mut payments = self.store.open_payments();
        payments.retain(|p| p.replica.as_ref() == Some(&self.me));
        for payment in &payments {
            if let (PaymentState::Submitted, Some(place)) = (payment.state, &payment.slot) {
                let slot = &self.store.slots[&(place.1.clone(), place.2)];
                if slot.closed {
                    slots.push(slot.clone());
                }
            }
        }
        self.with_carried(payments, slots)
    }

    fn with_carried(
        &self,
        mut payments: Vec<PaymentRecord>,
        slots: Vec<tollway_ledger::SlotRecord>,
    ) -> Event {
        for slot in &slots {
            for id in &slot.payments {
                if !payments.iter().any(|p| p.id == *id) {
                    payments.push(self.store.payment(id).unwrap());
                }
            }
        }
        Event::Recovered { payments, slots }
    }

    /// Payments with the slots that they name.
    fn records(&self, ids: &[PaymentId]) -> (Vec<PaymentRecord>, Vec<tollway_ledger::SlotRecord>) {
        let payments: Vec<_> = ids.iter().filter_map(|id| self.store.payment(id)).collect();
        let places: BTreeSet<(Address, u64)> = payments
            .iter()
            .filter(|p| p.state == PaymentState::Submitted)
            .filter_map(|p| p.slot.clone())
            .map(|(_, signer, nonce)| (signer, nonce))
            .collect();
        let slots = places.iter().map(|key| self.store.slots[key].clone());
        match self.with_carried(payments, slots.collect()) {
            Event::Recovered { payments, slots } => (payments, slots),
            _ => unreachable!(),
        }
    }

    /// One random thing happens.
    pub fn turn(&mut self) {
        match self.rng.below(10) {
            0 | 1 => self.pass_time(),
            2..=5 => self.perform_one(),
            _ => self.deliver_one(),
        }
        if self.rng.permille(self.chaos.crashes) {
            self.restart();
        }
        if self.rng.permille(self.chaos.adversary) {
            self.attack();
        }
        if self.rng.permille(self.chaos.reorgs) {
            let depth = 1 + self.rng.below(12);
            self.chain.reorganise(depth, &mut self.rng);
            self.reorganised = true;
        }
        if self.rng.permille(self.chaos.thefts) {
            let thief = self.store.join();
            let signers = signers();
            let signer = &signers[self.rng.index(signers.len())];
            self.store.steal(signer, &thief);
            let until = self.now.plus(Duration::from_secs(self.rng.below(20)));
            self.thieves.push((thief, until));
        }
    }

    /// A buyer comes.
    pub fn accept_one(&mut self) {
        self.accepted += 1;
        let lifetime = Duration::from_secs(self.shortest_life + self.rng.below(120));
        let mut new = new_payment(
            0xb0 + self.rng.below(3),
            self.accepted,
            self.now.plus(lifetime),
        );
        if self.accepted.is_multiple_of(3) {
            let depth = 2 + (self.accepted + self.trace) % 6;
            new.finality = Finality::Confirmations(u32::try_from(depth).unwrap());
        }
        let key = new.identity.key();
        self.chain.deadlines.insert(key.clone(), new.deadline);
        let me = self.me.clone();
        if let Acceptance::New(record) = self.store.accept(&me, new, self.now).unwrap() {
            let record = Arc::new(record);
            let verified = Some(Box::new(verified(&record)));
            self.inbox.push(Event::Accepted { record, verified });
        }
    }

    fn pass_time(&mut self) {
        let by = Duration::from_millis(self.rng.below(1500));
        self.now = self.now.plus(by);
        if self.now >= self.next_block {
            self.next_block = self.now.plus(Duration::from_secs(2));
            self.chain.mine(self.now);
        }
        if self.rng.permille(30) {
            let events = self.keep();
            self.inbox.extend(events);
        }
        self.inbox.push(Event::Tick);
    }

    fn deliver_one(&mut self) {
        if self.inbox.is_empty() {
            return;
        }
        let index = self.rng.index(self.inbox.len());
        let event = self.inbox.swap_remove(index);
        self.deliver(event);
    }

    fn deliver(&mut self, event: Event) {
        self.trace = mix(self.trace, &format!("{event:?}"));
        let (state, effects) = step(self.state.take().unwrap(), self.now, event);
        self.state = Some(state);
        self.pending.extend(effects);
    }

    fn perform_one(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let index = self.rng.index(self.pending.len());
        let effect = self.pending.swap_remove(index);
        if self.rng.permille(self.chaos.calls / 10) {
            return; // It is never performed, or never answered.
        }
        let event = self.perform(effect);
        // Some answers are lost after the effect was had.
        if !self.rng.permille(self.chaos.calls / 10) {
            self.inbox.extend(event);
        }
    }

    /// What an adversary, a stranger or bad luck can do.
    fn attack(&mut self) {
        let identities: Vec<String> = self.chain.deadlines.keys().cloned().collect();
        if identities.is_empty() {
            return;
        }
        let identity = identities[self.rng.index(identities.len())].clone();
        match self.rng.below(6) {
            // Somebody sends the authorization first.
            0 if self.chain.number() > 0 && self.chain.can_use(&identity, self.now) => {
                let hash = self.fresh_hash();
                self.chain.transfer(&identity, &hash, true);
            }
            // The payer cancels it.
            1 if !self.chain.ground.nonces.contains_key(&identity) => {
                self.chain.ground.nonces.insert(identity, Nonce::Cancelled);
            }
            // The payer's money is gone, or comes back.
            2 => {
                if !self.chain.broke.remove(&identity) {
                    self.chain.broke.insert(identity);
                }
            }
            // The signer's key is used elsewhere.
            3 => {
                let signer = account(0xa1);
                let nonce = self.chain.confirmed(&signer);
                self.chain.pool.remove(&(signer.clone(), nonce));
                self.chain.ground.confirmed.insert(signer, nonce + 1);
            }
            // The mempool forgets something.
            _ => {
                let keys: Vec<_> = self.chain.pool.keys().cloned().collect();
                if !keys.is_empty() {
                    let key = &keys[self.rng.index(keys.len())];
                    self.chain.pool.remove(key);
                }
            }
        }
    }

    fn fresh_hash(&mut self) -> TxHash {
        self.hashes += 1;
        TxHash::new(&format!("0x{:064x}", self.hashes))
    }

    /// A node that fails now and then.
    fn node<T>(&mut self, answer: T) -> Result<T, ChainError> {
        if self.rng.permille(self.chaos.calls) {
            return Err(ChainError::unavailable("the model's node is moody"));
        }
        Ok(answer)
    }

    /// A ledger that fails now and then, having written nothing.
    fn disk_fails(&mut self) -> bool {
        self.rng.permille(self.chaos.calls / 3)
    }

    fn disk_error() -> LedgerError {
        LedgerError::Unavailable {
            message: "The model's disk is moody; try again.".to_owned(),
            detail: String::new(),
        }
    }

    #[allow(clippy::too_many_lines)]
    fn perform(&mut self, effect: Effect) -> Option<Event> {
        Some(match effect {
            Effect::ReVerify {
                id,
                ticket,
                payment,
            } => Event::Verified {
                id,
                ticket,
                result: Box::new(self.verdict(&payment)),
            },
            Effect::ReVerifySlot {
                slot,
                ticket,
                payments,
            } => Event::SlotVerified {
                slot,
                ticket,
                results: payments.iter().map(|p| self.verdict(p)).collect(),
            },
            Effect::Plan {
                subject,
                ticket,
                payments,
            } => Event::Planned {
                subject,
                ticket,
                result: self.node(plans(&payments)),
            },
            Effect::AllocateSlot {
                lease,
                ticket,
                confirmed,
            } => {
                let known = confirmed.unwrap_or_else(|| self.chain.confirmed(&lease.signer));
                let failed = |e: &dyn std::fmt::Display| NotAllocated::Failed(e.to_string());
                let result = if self.disk_fails() {
                    Err(failed(&"disk"))
                } else {
                    match self.store.allocate(&lease, known, self.now) {
                        Err(LedgerError::LeaseLost { .. }) => Err(NotAllocated::LeaseLost),
                        Err(error) => Err(failed(&error)),
                        Ok(slot) => self.node((slot, known)).map_err(|e| failed(&e)),
                    }
                };
                Event::Allocated {
                    signer: lease.signer,
                    ticket,
                    result,
                }
            }
            Effect::Seal {
                slot,
                ticket,
                plan,
                replaces,
            } => {
                let hash = self.fresh_hash();
                self.largest = self.largest.max(plan.payments.len());
                let fee = replaces.map_or(100, |r| self.chain.txs[&r.hash].fee * 5 / 4);
                let tx = Tx {
                    signer: slot.0.clone(),
                    nonce: slot.1,
                    carries: plan.payments.iter().map(identity_of).collect(),
                    fee,
                };
                self.chain.txs.insert(hash.clone(), tx);
                let raw = Raw {
                    bytes: hash.as_str().as_bytes().to_vec(),
                    hash,
                };
                Event::Sealed {
                    slot,
                    ticket,
                    result: self.node(raw),
                }
            }
            Effect::StoreRaw {
                slot,
                lease,
                ticket,
                raw,
                payments,
            } => {
                let result = if self.disk_fails() {
                    Err(Self::disk_error())
                } else {
                    self.no_second_nonce(&payments, &slot);
                    let place = (network(), slot.0.clone(), slot.1);
                    self.store
                        .store_raw(&place, &raw, &payments, &lease, self.now)
                };
                Event::Stored {
                    slot,
                    ticket,
                    result,
                }
            }
            Effect::Broadcast { slot, ticket, raw } => {
                let stored = &self.store.slots[&slot].raws;
                assert!(stored.contains(&raw), "bytes left before they were durable");
                let answer = self.pool(&raw);
                Event::Sent {
                    slot,
                    ticket,
                    result: self.node(answer),
                }
            }
            Effect::Look {
                ticket,
                last,
                watches,
            } => {
                let sight = self.look(last.as_ref(), &watches);
                Event::Looked {
                    ticket,
                    result: self.node(sight),
                }
            }
            Effect::Lookup {
                id,
                ticket,
                identity,
                ..
            } => {
                let found = self.lookup(&identity);
                let result = self.node(found);
                if let Ok(found) = &result {
                    self.looked.insert(identity.key(), found.clone());
                }
                Event::LookedUp { id, ticket, result }
            }
            Effect::Observe { id, ticket, .. } => Event::Observed {
                id,
                ticket,
                result: Ok(Outcome::Unknown),
            },
            Effect::ConfirmedNonce { signer, ticket } => {
                let nonce = self.chain.confirmed(&signer);
                Event::Nonce {
                    signer,
                    ticket,
                    result: self.node(nonce),
                }
            }
            Effect::Reopen { id, ticket, proof } => {
                let result = if self.disk_fails() {
                    Err(Self::disk_error())
                } else {
                    self.store.reopen(&id, &proof, self.now)
                };
                Event::Reopened { id, ticket, result }
            }
            Effect::CloseSlot {
                slot,
                ticket,
                costs,
            } => {
                let used = slot.1 < self.chain.confirmed(&slot.0);
                assert!(
                    used || self.reorganised,
                    "a slot was closed whose nonce is not used"
                );
                let place = (network(), slot.0.clone(), slot.1);
                let result = if self.disk_fails() {
                    Err(Self::disk_error())
                } else {
                    self.store.close(&place, &costs)
                };
                Event::Closed {
                    slot,
                    ticket,
                    result,
                }
            }
            Effect::Conclude { ticket, endings } => {
                let failed = self.disk_fails();
                let mut results = Vec::new();
                for (id, conclusion) in endings {
                    if failed {
                        results.push((id, Err(Self::disk_error())));
                        continue;
                    }
                    let ours = self.store.payment(&id).unwrap().replica.as_ref() == Some(&self.me);
                    if !ours && !matches!(conclusion, Conclusion::Settled(_)) {
                        let error = LedgerError::NotFound(id.to_string());
                        results.push((id, Err(error)));
                        continue;
                    }
                    self.ends_truthfully(&id, &conclusion);
                    let ending = Ending {
                        id: id.clone(),
                        conclusion,
                        hand_out: None,
                    };
                    let ended = self.store.conclude_all(vec![ending], self.now).remove(0);
                    results.push((id, ended.map(|(record, _)| Arc::new(record))));
                }
                Event::Concluded { ticket, results }
            }
            Effect::Reload { id, ticket } => {
                let record = self.store.payment(&id);
                let ours = record.filter(|r| is_last(r) || r.replica.as_ref() == Some(&self.me));
                Event::Reloaded {
                    id: id.clone(),
                    ticket,
                    result: Ok(ours.map(|_| self.records(&[id]))),
                }
            }
            Effect::ReopenSlot {
                slot,
                lease,
                ticket,
            } => {
                let place = (network(), slot.0.clone(), slot.1);
                let opened = match self.disk_fails() {
                    true => Err(Self::disk_error()),
                    false => self.store.reopen_slot(&place, &lease, self.now),
                };
                let result = opened.map(|slot| match self.with_carried(Vec::new(), vec![slot]) {
                    Event::Recovered { payments, slots } => (payments, slots),
                    _ => unreachable!(),
                });
                Event::SlotOpened {
                    slot,
                    ticket,
                    result,
                }
            }
            Effect::CheckBlock { ticket, number } => {
                let hash = self.chain.hash(number);
                Event::BlockChecked {
                    ticket,
                    number,
                    result: self.node(hash),
                }
            }
            Effect::TakeBack { ticket, block, ids } => {
                let result = if self.disk_fails() {
                    Err(Self::disk_error())
                } else {
                    for id in &ids {
                        let _ = self.store.take_back(id, self.now);
                    }
                    Ok(self.records(&ids))
                };
                Event::TakenBack {
                    ticket,
                    block,
                    result,
                }
            }
            Effect::MarkFinal { ticket, ids } => {
                for id in &ids {
                    let record = self.store.payment(id).unwrap();
                    let key = record.payment.identity.key();
                    let paid = self.chain.ground.transfers.contains_key(&key);
                    assert!(paid, "{id} is called final and is not on the chain");
                }
                let result = if self.disk_fails() {
                    Err(Self::disk_error())
                } else {
                    self.store.mark_final(&ids);
                    Ok(())
                };
                Event::Finalized { ticket, result }
            }
            Effect::GiveUp { id, ticket } => {
                let result = if self.disk_fails() {
                    Err(Self::disk_error())
                } else {
                    self.store.give_up(&id)
                };
                Event::GivenUp { id, ticket, result }
            }
            Effect::LeaseLost { .. } | Effect::Prefer { .. } => return None,
            Effect::NotifyWaiters {
                update: Update::TakenBack { .. },
                ..
            } => {
                self.taken_back += 1;
                return None;
            }
            Effect::NotifyWaiters { .. } => return None,
        })
    }

    fn verdict(&mut self, payment: &PaymentRecord) -> Result<Verified, ChainError> {
        let key = payment.payment.identity.key();
        let left = payment.payment.deadline.since(self.now);
        if self.chain.can_use(&key, self.now) && left > Duration::from_secs(6) {
            return self.node(verified(payment));
        }
        let refusal = Refusal::new("nonce_already_used", "Sign a new one.");
        self.node(()).and(Err(ChainError::Refused(refusal)))
    }

    fn look(&mut self, last: Option<&Head>, watches: &[Watch]) -> Sight {
        let number = self.chain.number();
        let hash = |n| self.chain.hash(n).unwrap_or_else(|| "0xb0".to_owned());
        let head = Head {
            number,
            hash: hash(number),
            parent: hash(number.saturating_sub(1)),
            time: self.now,
        };
        let replaced_from = last.and_then(|last| self.chain.replaced_since(last));
        let outcomes = watches.iter().map(|w| Some(self.outcomes(w))).collect();
        Sight {
            head,
            replaced_from,
            outcomes,
        }
    }

    /// What a mempool does with a transaction.
    fn pool(&mut self, raw: &Raw) -> Broadcast {
        let tx = self.chain.txs[&raw.hash].clone();
        let place = (tx.signer.clone(), tx.nonce);
        if tx.nonce < self.chain.confirmed(&tx.signer) {
            return Broadcast::NonceUsed;
        }
        if let Some(waiting) = self.chain.pool.get(&place) {
            if *waiting == raw.hash {
                return Broadcast::Accepted;
            }
            if self.chain.txs[waiting].fee * 110 / 100 > tx.fee {
                return Broadcast::Underpriced;
            }
        }
        let confirmed = self.chain.confirmed(&tx.signer);
        let gap =
            (confirmed..tx.nonce).any(|n| !self.chain.pool.contains_key(&(tx.signer.clone(), n)));
        if gap && self.strict {
            return Broadcast::NonceTooHigh;
        }
        if self.rng.permille(self.chaos.calls) {
            return match self.rng.below(3) {
                0 => Broadcast::Accepted, // And forgets it.
                1 => Broadcast::Underpriced,
                _ => Broadcast::Rejected("insufficient funds for gas".to_owned()),
            };
        }
        self.chain.pool.insert(place, raw.hash.clone());
        Broadcast::Accepted
    }

    fn outcomes(&mut self, watch: &Watch) -> Vec<Outcome> {
        let unknown = vec![Outcome::Unknown; watch.expected.len()];
        if self.rng.permille(self.chaos.calls) {
            return unknown;
        }
        let receipt = watch
            .hashes
            .iter()
            .find_map(|h| Some((h.clone(), self.chain.ground.receipts.get(h)?.clone())));
        let confirmed_nonce = self.chain.confirmed(&watch.signer);
        let fee = Amount::from_atomic(100);
        let number = self.chain.number();
        let judge = |identity: &Identity, finality: Finality| match &receipt {
            Some((_, r)) if number + 1 < r.block + u64::from(finality.blocks()) => {
                Outcome::Included {
                    block: r.block,
                    moved: r.moved.contains(&identity.key()),
                }
            }
            Some((hash, r)) if r.moved.contains(&identity.key()) => {
                Outcome::Settled(self.settled(identity, hash, r.block, false))
            }
            Some((hash, r)) if r.ok => Outcome::NotSettled(Proof::NoTransfer {
                transaction: hash.clone(),
                fee,
            }),
            Some((hash, _)) => Outcome::NotSettled(Proof::Reverted {
                transaction: hash.clone(),
                fee,
            }),
            None if confirmed_nonce > watch.nonce => {
                Outcome::NotSettled(Proof::SlotTaken { confirmed_nonce })
            }
            None => Outcome::Unknown,
        };
        let items = watch.expected.iter();
        items.map(|w| judge(&w.identity, w.finality)).collect()
    }

    fn settled(
        &self,
        identity: &Identity,
        hash: &TxHash,
        block: u64,
        by_third_party: bool,
    ) -> Settled {
        Settled {
            transaction: hash.clone(),
            block_number: block,
            block_hash: self.chain.hash(block).unwrap(),
            log_index: Some(log_of(identity)),
            amount: Amount::from_atomic(10_000),
            gas_used: 60_000,
            fee: Amount::from_atomic(1),
            by_third_party,
        }
    }

    fn lookup(&self, identity: &Identity) -> Lookup {
        match self.chain.ground.nonces.get(&identity.key()) {
            None => Lookup::Unused { as_of: self.now },
            Some(Nonce::Cancelled) => Lookup::Spent,
            Some(Nonce::Used { by, third_party }) => {
                let (_, block) = self.chain.ground.transfers[&identity.key()];
                Lookup::Settled(self.settled(identity, by, block, *third_party))
            }
        }
    }

    /// Invariant: no second signer nonce while the first can still land.
    fn no_second_nonce(&self, payments: &[PaymentId], slot: &(Address, u64)) {
        for (key, other) in &self.store.slots {
            for id in payments {
                let identity = self.store.payment(id).unwrap().payment.identity.key();
                let elsewhere = key != slot && other.payments.contains(id);
                let alive = self.chain.can_land(&other.raws, &identity, self.now);
                // Blocks that are replaced undo proofs: the token's nonce is what is left.
                assert!(
                    !(elsewhere && alive) || self.reorganised,
                    "a second nonce was signed while the first can land"
                );
            }
        }
    }

    /// Invariant: what ends is true, and nothing ends badly that can still land.
    fn ends_truthfully(&self, id: &PaymentId, conclusion: &Conclusion) {
        let record = self.store.payment(id).unwrap();
        let key = record.payment.identity.key();
        let paid = self.chain.ground.transfers.contains_key(&key);
        if self.reorganised {
            // What was true when it was seen may be replaced by now.
            let was = self.chain.ever_paid.contains(&key);
            let says = matches!(conclusion, Conclusion::Settled(_));
            return assert!(was || !says, "settled without a transfer ever");
        }
        let landable = self
            .store
            .slots
            .values()
            .filter(|s| s.payments.contains(id))
            .any(|s| self.chain.can_land(&s.raws, &key, self.now))
            && !self.chain.ground.nonces.contains_key(&key);
        match conclusion {
            Conclusion::Settled(_) => assert!(paid, "settled without a transfer"),
            Conclusion::SettledWithoutTransaction => panic!("every payment here is submitted"),
            Conclusion::Refused { code, .. } => {
                assert!(!landable, "refused while it can land");
                // With nothing signed and a dead node nobody can know; else somebody looked.
                let looked = self.looked.get(&key);
                let truthful = matches!(looked, Some(Lookup::Unused { .. } | Lookup::Spent));
                assert!(
                    code == "settlement_failed" || truthful,
                    "refused without looking, or though it was paid"
                );
            }
            Conclusion::Expired => {
                assert!(!landable, "expired while it can land");
                let unused = matches!(self.looked.get(&key), Some(Lookup::Unused { .. }));
                assert!(unused && !paid, "expired without proof that it is unused");
            }
        }
    }

    /// The node and the disk are healthy from now on; time passes until nothing
    /// is open.
    pub fn heal(&mut self, at_most: Duration) {
        self.chaos = Chaos::NONE;
        let end = self.now.plus(at_most);
        while self.now < end && !self.is_over() {
            self.pass_time();
            for _ in 0..4 {
                while !self.inbox.is_empty() {
                    self.deliver_one();
                }
                while !self.pending.is_empty() {
                    self.perform_one();
                }
            }
        }
    }

    /// Nothing is open, and nothing that settled can be replaced any more.
    fn is_over(&self) -> bool {
        let idle = |s: &State| s.is_idle() && s.watched() == 0;
        self.inbox.is_empty()
            && self.store.open_payments().is_empty()
            && self.store.watched().is_empty()
            && self.store.open_slots().iter().all(|s| s.raws.is_empty())
            && self.state.as_ref().is_some_and(idle)
    }

    /// What must be true at the end.
    pub fn check_end(&self) {
        for record in self.store.payments.values() {
            let key = record.payment.identity.key();
            let transfers = self.chain.ground.transfers.get(&key).map_or(0, |t| t.0);
            assert!(transfers <= 1, "more than one transfer for {key}");
            assert!(is_last(record), "{} is still {:?}", record.id, record.state);
            if record.state == PaymentState::Settled {
                assert_eq!(transfers, 1, "{} settled without a transfer", record.id);
            }
        }
        let open: Vec<_> = self
            .store
            .open_slots()
            .into_iter()
            .filter(|s| !s.raws.is_empty())
            .collect();
        let open: Vec<_> = open.iter().map(|s| (&s.signer, s.nonce)).collect();
        assert!(open.is_empty(), "slots stay open: {open:?}");
    }

    pub fn count(&self, state: PaymentState) -> usize {
        self.store
            .payments
            .values()
            .filter(|p| p.state == state)
            .count()
    }
}

fn is_last(record: &PaymentRecord) -> bool {
    matches!(
        record.state,
        PaymentState::Settled | PaymentState::Refused | PaymentState::Expired
    )
}

fn identity_of(payment: &PlannedPayment) -> String {
    payment.verified.intent.identity.key()
}

fn signers() -> Vec<Address> {
    vec![account(0xa1), account(0xa2)]
}

/// Two plans where there is much, and one for each that must be alone.
fn plans(payments: &[PlannedPayment]) -> Vec<Plan> {
    let plan = |payments: &[PlannedPayment]| Plan {
        payments: payments.to_vec(),
        gas_limit: 100_000,
        signers: Vec::new(),
    };
    if payments.iter().any(|p| p.alone) {
        return payments.chunks(1).map(plan).collect();
    }
    match payments.len() {
        0..=3 => vec![plan(payments)],
        n => payments.chunks(n - 1).map(plan).collect(),
    }
}

fn mix(hash: u64, text: &str) -> u64 {
    text.bytes().fold(hash, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    })
}
