//! A small world around the pure machine: a chain, a mempool, a ledger, an
//! adversary and a clock, all driven by one seed. It checks, at the moment of
//! each effect, what must never happen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tollway_core::{
    Address, Amount, Broadcast, ChainError, Identity, Lookup, Outcome, PaymentId, Plan,
    PlannedPayment, Proof, Raw, Refusal, Settled, Timestamp, TxHash, Watch,
};
use tollway_facilitator::engine::machine::{Effect, Event, Rules, State, step};
use tollway_ledger::{Acceptance, Conclusion, LedgerError, PaymentRecord, PaymentState};

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

/// A chain that includes what its mempool holds, in the order of nonces.
#[derive(Default)]
struct ModelChain {
    txs: BTreeMap<TxHash, Tx>,
    pool: BTreeMap<(Address, u64), TxHash>,
    confirmed: BTreeMap<Address, u64>,
    receipts: BTreeMap<TxHash, bool>,
    nonces: BTreeMap<String, Nonce>,
    transfers: BTreeMap<String, u32>,
    deadlines: BTreeMap<String, Timestamp>,
    broke: BTreeSet<String>,
}

impl ModelChain {
    fn confirmed(&self, signer: &Address) -> u64 {
        self.confirmed.get(signer).copied().unwrap_or(0)
    }

    fn can_use(&self, identity: &str, now: Timestamp) -> bool {
        !self.nonces.contains_key(identity)
            && !self.broke.contains(identity)
            && now < self.deadlines[identity]
    }

    fn transfer(&mut self, identity: &str, by: &TxHash, third_party: bool) {
        let by = by.clone();
        self.nonces
            .insert(identity.to_owned(), Nonce::Used { by, third_party });
        *self.transfers.entry(identity.to_owned()).or_default() += 1;
    }

    fn mine(&mut self, now: Timestamp) {
        let signers: BTreeSet<Address> = self.pool.keys().map(|(s, _)| s.clone()).collect();
        for signer in signers {
            let nonce = self.confirmed(&signer);
            let Some(hash) = self.pool.remove(&(signer.clone(), nonce)) else {
                continue;
            };
            self.confirmed.insert(signer, nonce + 1);
            let carries = self.txs[&hash].carries.clone();
            let ok = carries.iter().all(|i| self.can_use(i, now));
            self.receipts.insert(hash.clone(), ok);
            if ok {
                for identity in carries {
                    self.transfer(&identity, &hash, false);
                }
            }
        }
        let confirmed = self.confirmed.clone();
        self.pool
            .retain(|(s, n), _| *n >= confirmed.get(s).copied().unwrap_or(0));
    }

    /// Whether any of these transactions can still be included.
    fn can_land(&self, hashes: &[Raw], now: Timestamp) -> bool {
        hashes.iter().any(|raw| {
            let tx = &self.txs[&raw.hash];
            let alive = tx.nonce >= self.confirmed(&tx.signer);
            alive && tx.carries.iter().any(|i| now < self.deadlines[i])
        })
    }
}

/// How much goes wrong, in thousandths of all calls.
#[derive(Clone, Copy)]
pub struct Chaos {
    pub calls: u64,
    pub crashes: u64,
    pub adversary: u64,
}

impl Chaos {
    pub const NONE: Self = Self {
        calls: 0,
        crashes: 0,
        adversary: 0,
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
    accepted: u64,
    hashes: u64,
    /// What the chain last said of each identity.
    looked: BTreeMap<String, Lookup>,
    /// A line for every step, to compare two runs of one seed.
    pub trace: u64,
}

impl World {
    pub fn new(seed: u64, chaos: Chaos) -> Self {
        let rules = Rules {
            stuck_after: Duration::from_secs(12),
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
            accepted: 0,
            hashes: 0,
            looked: BTreeMap::new(),
            trace: seed,
        };
        world.restart();
        world
    }

    /// Everything in memory is lost; the ledger and the chain are not.
    fn restart(&mut self) {
        let signers = vec![account(0xa1), account(0xa2)];
        self.inbox.clear();
        self.pending.clear();
        self.state = Some(State::new(network(), signers, self.rules.clone()));
        self.recover();
    }

    fn recover(&mut self) {
        let mut slots = self.store.open_slots();
        let mut payments = self.store.open_payments();
        for payment in &payments {
            if let (PaymentState::Submitted, Some(place)) = (payment.state, &payment.slot) {
                let slot = &self.store.slots[&(place.1.clone(), place.2)];
                if slot.closed {
                    slots.push(slot.clone());
                }
            }
        }
        for slot in &slots {
            for id in &slot.payments {
                if !payments.iter().any(|p| p.id == *id) {
                    payments.push(self.store.payment(id).unwrap());
                }
            }
        }
        self.inbox.push(Event::Recovered { payments, slots });
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
    }

    /// A buyer comes.
    pub fn accept_one(&mut self) {
        self.accepted += 1;
        let lifetime = Duration::from_secs(self.shortest_life + self.rng.below(120));
        let new = new_payment(
            0xb0 + self.rng.below(3),
            self.accepted,
            self.now.plus(lifetime),
        );
        let key = new.identity.key();
        self.chain.deadlines.insert(key.clone(), new.deadline);
        if let Acceptance::New(record) = self.store.accept(new, self.now).unwrap() {
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
            self.recover();
        }
        self.inbox.push(Event::Tick);
    }

    fn deliver_one(&mut self) {
        if self.inbox.is_empty() {
            return;
        }
        let index = self.rng.index(self.inbox.len());
        let event = self.inbox.swap_remove(index);
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
            0 if self.chain.can_use(&identity, self.now) => {
                let hash = self.fresh_hash();
                self.chain.transfer(&identity, &hash, true);
            }
            // The payer cancels it.
            1 if !self.chain.nonces.contains_key(&identity) => {
                self.chain.nonces.insert(identity, Nonce::Cancelled);
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
                self.chain.confirmed.insert(signer, nonce + 1);
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
                subject,
                ticket,
                payment,
            } => {
                let key = payment.payment.identity.key();
                let left = payment.payment.deadline.since(self.now);
                let verdict = if self.chain.can_use(&key, self.now) && left > Duration::from_secs(6)
                {
                    self.node(verified(&payment))
                } else {
                    let refusal = Refusal::new("nonce_already_used", "Sign a new one.");
                    self.node(()).and(Err(ChainError::Refused(refusal)))
                };
                Event::Verified {
                    subject,
                    ticket,
                    result: Box::new(verdict),
                }
            }
            Effect::Plan {
                subject,
                ticket,
                payments,
            } => Event::Planned {
                subject,
                ticket,
                result: self.node(vec![plan(payments)]),
            },
            Effect::AllocateSlot {
                signer,
                ticket,
                confirmed,
            } => {
                let known = confirmed.unwrap_or_else(|| self.chain.confirmed(&signer));
                let result = if self.disk_fails() {
                    Err("disk".to_owned())
                } else {
                    self.node(())
                        .map(|()| (self.store.allocate(&signer, known, self.now), known))
                        .map_err(|e| e.to_string())
                };
                Event::Allocated {
                    signer,
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
                ticket,
                raw,
                payments,
            } => {
                let result = if self.disk_fails() {
                    Err(Self::disk_error())
                } else {
                    self.no_second_nonce(&payments, &slot);
                    let place = (network(), slot.0.clone(), slot.1);
                    self.store.store_raw(&place, &raw, &payments, self.now)
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
            Effect::Poll { watches } => {
                let results = watches
                    .into_iter()
                    .map(|(slot, ticket, watch)| {
                        let outcomes = self.outcomes(&watch);
                        (slot, ticket, self.node(outcomes))
                    })
                    .collect();
                Event::Polled { results }
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
            Effect::CloseSlot { slot, ticket } => {
                let used = slot.1 < self.chain.confirmed(&slot.0);
                assert!(used, "a slot was closed whose nonce is not used");
                let place = (network(), slot.0.clone(), slot.1);
                let result = if self.disk_fails() {
                    Err(Self::disk_error())
                } else {
                    self.store.close(&place)
                };
                Event::Closed {
                    slot,
                    ticket,
                    result,
                }
            }
            Effect::Conclude {
                id,
                ticket,
                conclusion,
            } => {
                let result = if self.disk_fails() {
                    Err(Self::disk_error())
                } else {
                    self.ends_truthfully(&id, &conclusion);
                    self.store.conclude(&id, conclusion, self.now)
                };
                Event::Concluded { id, ticket, result }
            }
            Effect::Reload { id, ticket } => {
                let record = self.store.payment(&id);
                let slot = record.as_ref().and_then(|r| r.slot.clone());
                let slot = slot.map(|(_, s, n)| self.store.slots[&(s, n)].clone());
                Event::Reloaded {
                    id,
                    ticket,
                    result: Ok(record.map(|r| (r, slot))),
                }
            }
            Effect::NotifyWaiters { .. } => return None,
        })
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
            .find_map(|h| Some((h.clone(), *self.chain.receipts.get(h)?)));
        let confirmed_nonce = self.chain.confirmed(&watch.signer);
        let judge = |identity: &Identity| match &receipt {
            Some((hash, false)) => Outcome::NotSettled(Proof::Reverted {
                transaction: hash.clone(),
            }),
            Some((hash, true)) if self.chain.txs[hash].carries.contains(&identity.key()) => {
                Outcome::Settled(settled(hash, false))
            }
            Some((hash, true)) => Outcome::NotSettled(Proof::NoTransfer {
                transaction: hash.clone(),
            }),
            None if confirmed_nonce > watch.nonce => {
                Outcome::NotSettled(Proof::SlotTaken { confirmed_nonce })
            }
            None => Outcome::Unknown,
        };
        watch.expected.iter().map(|(i, _)| judge(i)).collect()
    }

    fn lookup(&self, identity: &Identity) -> Lookup {
        match self.chain.nonces.get(&identity.key()) {
            None => Lookup::Unused { as_of: self.now },
            Some(Nonce::Cancelled) => Lookup::Spent,
            Some(Nonce::Used { by, third_party }) => Lookup::Settled(settled(by, *third_party)),
        }
    }

    /// Invariant: no second signer nonce while the first can still land.
    fn no_second_nonce(&self, payments: &[PaymentId], slot: &(Address, u64)) {
        for (key, other) in &self.store.slots {
            let carries = payments.iter().any(|id| other.payments.contains(id));
            if key != slot && carries {
                let alive = self.chain.can_land(&other.raws, self.now);
                assert!(!alive, "a second nonce was signed while the first can land");
            }
        }
    }

    /// Invariant: what ends is true, and nothing ends badly that can still land.
    fn ends_truthfully(&self, id: &PaymentId, conclusion: &Conclusion) {
        let record = self.store.payment(id).unwrap();
        let key = record.payment.identity.key();
        let paid = self.chain.transfers.contains_key(&key);
        let landable = self
            .store
            .slots
            .values()
            .filter(|s| s.payments.contains(id))
            .any(|s| self.chain.can_land(&s.raws, self.now))
            && !self.chain.nonces.contains_key(&key);
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
        while self.now < end && !(self.store.open_payments().is_empty() && self.is_idle()) {
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

    fn is_idle(&self) -> bool {
        self.inbox.is_empty() && self.state.as_ref().is_some_and(State::is_idle)
    }

    /// What must be true at the end.
    pub fn check_end(&self) {
        for record in self.store.payments.values() {
            let key = record.payment.identity.key();
            let transfers = self.chain.transfers.get(&key).copied().unwrap_or(0);
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

fn plan(payments: Vec<PlannedPayment>) -> Plan {
    Plan {
        payments,
        gas_limit: 100_000,
        signers: Vec::new(),
    }
}

fn settled(hash: &TxHash, by_third_party: bool) -> Settled {
    Settled {
        transaction: hash.clone(),
        block_number: 1,
        block_hash: "0x01".to_owned(),
        log_index: Some(0),
        amount: Amount::from_atomic(10_000),
        gas_used: 60_000,
        fee: Amount::from_atomic(1),
        by_third_party,
    }
}

fn mix(hash: u64, text: &str) -> u64 {
    text.bytes().fold(hash, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    })
}
