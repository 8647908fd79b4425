//! A chain that is a fake: one map of used nonces, and a script of how the
//! node behaves. It checks no signature but the word `good`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use tollway_core::Clock as _;
use tollway_core::wire::{PaymentPayload, SupportedKind};
use tollway_core::{
    Address, Amount, Broadcast, Chain, ChainError, Expected, Finality, Head, Health, Identity,
    Intent, Lookup, Network, Outcome, Phase, Plan, PlannedPayment, Proof, Raw, Refusal, Scheme,
    Settled, Settlement, Sight, SignerState, Slot, SystemClock, Terms, Timestamp, TxHash, Verified,
    Watch, Watched,
};

use crate::fixtures::{account, network};
use crate::fuse::Fuse;

/// How the node behaves.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Node {
    /// Includes what is sent at once.
    #[default]
    Automine,
    /// Takes what is sent, and includes it when the test says so.
    Slow,
    /// Never answers to a broadcast.
    Hanging,
    /// Answers nothing.
    Down,
    /// Will not take transactions.
    Rejecting,
}

#[derive(Debug)]
struct Tx {
    signer: Address,
    nonce: u64,
    carries: Vec<String>,
    fee: u64,
}

#[derive(Clone, Debug)]
struct Receipt {
    ok: bool,
    block: usize,
    moved: HashSet<String>,
}

#[derive(Debug, Default)]
pub struct Script {
    pub node: Node,
    /// The next transactions to be included revert.
    pub reverts: u32,
    /// Payments that never move money, though they verify.
    pub poisoned: HashSet<String>,
    /// Each transaction carries one payment.
    pub one_each: bool,
    /// What each settling account has.
    pub gas_of_each: Option<u128>,
    /// Settling accounts without gas.
    pub low: HashSet<Address>,
    /// How often the newest block was asked for.
    pub looks: usize,
    /// All payers together can pay so often.
    pub funds: Option<usize>,
    /// What each payer has, if that is limited: verifying looks at it.
    pub balance: Option<u128>,
    /// The next plans are not given.
    pub plans_hang: bool,
    /// It cannot say what became of a nonce that is used.
    pub cannot_look_up: bool,
    /// The code by which it says that something is used, where it is another.
    pub says_used: Option<&'static str>,
    /// Sealing these is refused.
    pub unsealable: HashSet<String>,
    /// Its newest block stays an old one.
    pub stands_still: bool,
    /// Payers with code: only one account settles for each.
    pub contracts: HashSet<Address>,
    /// That account, where it is not the first of those that can settle.
    pub pin: Option<Address>,
    /// The accounts that can settle, as the engine says.
    pub preferred: Vec<Address>,
    pub verified: usize,
    /// Every broadcast, repeats too.
    pub sent: Vec<TxHash>,
    txs: HashMap<TxHash, Tx>,
    waiting: BTreeMap<(Address, u64), TxHash>,
    confirmed: BTreeMap<Address, u64>,
    receipts: HashMap<TxHash, Receipt>,
    used: HashMap<String, (TxHash, bool, usize)>,
    /// Hashes of the blocks after the first.
    blocks: Vec<String>,
    forks: usize,
    replaced_from: Option<u64>,
    /// Transactions that exist, for methods that show one.
    pub known: HashSet<String>,
    /// The same, in blocks that may be replaced. Verifying looks for these.
    pub shown: Option<HashMap<String, usize>>,
    sealed: u64,
}

impl Script {
    /// Somebody else sends the authorization.
    pub fn front_run(&mut self, identity: &Identity) {
        let block = self.mine();
        self.used
            .insert(identity.key(), (TxHash::new("0xbeef"), true, block));
    }

    /// A transaction that somebody else sent is in a new block.
    pub fn show(&mut self, transaction: &str) {
        let block = self.mine();
        let shown = self.shown.get_or_insert_default();
        shown.insert(transaction.to_owned(), block);
    }

    /// One more block; its place.
    fn mine(&mut self) -> usize {
        let number = self.blocks.len() + 1;
        self.blocks
            .push(format!("0xb{number:04x}f{:04x}", self.forks));
        number
    }

    /// Blocks with nothing in them.
    pub fn mine_empty(&mut self, count: usize) {
        for _ in 0..count {
            self.mine();
        }
    }

    fn head(&self) -> Head {
        let number = self.blocks.len();
        let hash = |n: usize| match n.checked_sub(1) {
            Some(at) => self.blocks[at].clone(),
            None => "0xb0000".to_owned(),
        };
        Head {
            number: number as u64,
            hash: hash(number),
            parent: hash(number.saturating_sub(1)),
            time: SystemClock.now(),
        }
    }

    /// The last blocks are replaced by as many empty ones; what was in them is
    /// forgotten by everybody.
    pub fn reorganise(&mut self, depth: usize) {
        let kept = self.blocks.len() - depth;
        self.blocks.truncate(kept);
        self.forks += 1;
        for _ in 0..depth {
            self.mine();
        }
        let from = kept as u64 + 1;
        self.replaced_from = Some(self.replaced_from.map_or(from, |f| f.min(from)));
        let gone: Vec<TxHash> = self
            .receipts
            .iter()
            .filter(|(_, r)| r.block > kept)
            .map(|(hash, _)| hash.clone())
            .collect();
        for hash in gone {
            self.receipts.remove(&hash);
            let (signer, nonce) = (self.txs[&hash].signer.clone(), self.txs[&hash].nonce);
            let confirmed = self.confirmed.entry(signer).or_default();
            *confirmed = nonce.min(*confirmed);
        }
        self.used.retain(|_, (_, _, block)| *block <= kept);
        if let Some(shown) = &mut self.shown {
            shown.retain(|_, block| *block <= kept);
        }
    }

    fn block_hash(&self, number: u64) -> Option<String> {
        let at = usize::try_from(number).unwrap().checked_sub(1)?;
        self.blocks.get(at).cloned()
    }

    fn outcomes(&self, watch: &Watch) -> Vec<Outcome> {
        let receipt = watch
            .hashes
            .iter()
            .find_map(|h| Some((h.clone(), self.receipts.get(h)?)));
        let fee = Amount::from_atomic(1000);
        let judge = |item: &Watched| match &receipt {
            Some((hash, receipt)) => {
                let deep = match item.finality {
                    Finality::Confirmations(n) => {
                        self.blocks.len() >= receipt.block + n as usize - 1
                    }
                    _ => true,
                };
                let transaction = hash.clone();
                if !deep {
                    Outcome::Included {
                        block: receipt.block as u64,
                        moved: receipt.moved.contains(&item.identity.key()),
                    }
                } else if receipt.moved.contains(&item.identity.key()) {
                    let settled = settled(&item.identity, hash, item.expected.amount, false);
                    Outcome::Settled(Settled {
                        block_number: receipt.block as u64,
                        block_hash: self.block_hash(receipt.block as u64).unwrap(),
                        ..settled
                    })
                } else if receipt.ok {
                    Outcome::NotSettled(Proof::NoTransfer { transaction, fee })
                } else {
                    Outcome::NotSettled(Proof::Reverted { transaction, fee })
                }
            }
            None => Outcome::Unknown,
        };
        watch.expected.iter().map(judge).collect()
    }

    /// The mempool forgets what waits.
    pub fn forget_waiting(&mut self) {
        self.waiting.clear();
    }

    fn is_broke(&self) -> bool {
        self.funds.is_some_and(|funds| self.used.len() >= funds)
    }

    /// How many transactions were included and failed.
    pub fn reverted(&self) -> usize {
        self.receipts
            .values()
            .filter(|r| r.moved.is_empty())
            .count()
    }

    /// How many payments moved money.
    pub fn transfers(&self) -> usize {
        self.used.len()
    }

    /// Each transaction once: signer, nonce and fee.
    pub fn distinct(&self) -> Vec<(Address, u64, u64)> {
        let mut seen = HashSet::new();
        let first = self.sent.iter().filter(|h| seen.insert((*h).clone()));
        first
            .map(|h| {
                let tx = &self.txs[h];
                (tx.signer.clone(), tx.nonce, tx.fee)
            })
            .collect()
    }

    /// What a node does with a transaction.
    fn take(&mut self, raw: &Raw, node: &Node) -> Broadcast {
        self.sent.push(raw.hash.clone());
        if *node == Node::Rejecting {
            return Broadcast::Rejected("insufficient funds for gas".to_owned());
        }
        let place = (
            self.txs[&raw.hash].signer.clone(),
            self.txs[&raw.hash].nonce,
        );
        if place.1 < self.confirmed.get(&place.0).copied().unwrap_or(0) {
            return Broadcast::NonceUsed;
        }
        self.waiting.insert(place, raw.hash.clone());
        if *node == Node::Automine {
            self.include_all();
        }
        Broadcast::Accepted
    }

    /// Includes what waits, in the order of nonces.
    pub fn include_all(&mut self) {
        while let Some(place) = self
            .waiting
            .keys()
            .find(|(s, n)| self.confirmed.get(s).copied().unwrap_or(0) == *n)
            .cloned()
        {
            let hash = self.waiting.remove(&place).unwrap();
            self.confirmed.insert(place.0, place.1 + 1);
            let carries = self.txs[&hash].carries.clone();
            let reverts = self.reverts > 0;
            self.reverts = self.reverts.saturating_sub(1);
            let block = self.mine();
            let batch = carries.len() > 1;
            let mut moved = HashSet::new();
            for identity in carries {
                let free = !self.used.contains_key(&identity);
                if free && !reverts && !self.is_broke() && !self.poisoned.contains(&identity) {
                    self.used
                        .insert(identity.clone(), (hash.clone(), false, block));
                    moved.insert(identity);
                }
            }
            let ok = !reverts && (batch || !moved.is_empty());
            self.receipts.insert(hash, Receipt { ok, block, moved });
        }
    }

    /// How many payments each transaction carried, in the order of first sending.
    pub fn sizes(&self) -> Vec<usize> {
        let mut seen = HashSet::new();
        let first = self.sent.iter().filter(|h| seen.insert((*h).clone()));
        first.map(|h| self.txs[h].carries.len()).collect()
    }
}

pub struct FakeChain {
    network: Network,
    signers: Vec<Address>,
    script: Mutex<Script>,
    /// Burns before and after each broadcast, and before the other calls.
    pub fuse: Fuse,
}

impl FakeChain {
    pub fn new() -> Arc<Self> {
        Self::with_signers(1)
    }

    pub fn with_signers(count: u64) -> Arc<Self> {
        Arc::new(Self {
            network: network(),
            signers: (0..count).map(|n| account(0xa1 + n)).collect(),
            script: Mutex::default(),
            fuse: Fuse::default(),
        })
    }

    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    fn up(&self) -> Result<MutexGuard<'_, Script>, ChainError> {
        let script = self.script();
        if script.node == Node::Down {
            return Err(ChainError::unavailable("the fake is down"));
        }
        Ok(script)
    }
}

fn text<'a>(payload: &'a PaymentPayload, key: &str) -> Result<&'a str, Refusal> {
    payload
        .payload
        .get(key)
        .and_then(|v| v.as_str())
        .ok_or_else(|| {
            Refusal::new(
                "invalid_payload",
                "The payload is incomplete; send all of it.",
            )
        })
}

/// A place among the logs of its transaction that no other authorization has.
pub fn log_of(identity: &Identity) -> u64 {
    let digits = identity.key();
    let digits = digits.bytes().map(u64::from);
    digits.fold(7, |place, digit| (place * 31 + digit) % 1_000_000_007)
}

fn settled(identity: &Identity, hash: &TxHash, amount: Amount, by_third_party: bool) -> Settled {
    Settled {
        transaction: hash.clone(),
        block_number: 7,
        block_hash: "0x07".to_owned(),
        log_index: Some(log_of(identity)),
        amount,
        gas_used: 60_000,
        fee: Amount::from_atomic(1),
        by_third_party,
    }
}

#[async_trait]
impl Chain for FakeChain {
    fn network(&self) -> &Network {
        &self.network
    }

    fn kinds(&self) -> Vec<SupportedKind> {
        let kind = |scheme: Scheme| SupportedKind {
            x402_version: 2,
            scheme: scheme.as_str().to_owned(),
            network: self.network.to_string(),
            extra: None,
        };
        vec![kind(Scheme::Exact), kind(Scheme::Upto)]
    }

    fn extensions(&self) -> Vec<String> {
        vec!["eip2612GasSponsoring".to_owned()]
    }

    fn signers(&self) -> Vec<Address> {
        self.signers.clone()
    }

    fn inspect(
        &self,
        payload: &Arc<PaymentPayload>,
        terms: &Arc<Terms>,
    ) -> Result<Intent, Refusal> {
        let from = self
            .network
            .address(text(payload, "from")?)
            .map_err(|e| Refusal::new("invalid_payload", e.to_string()))?;
        let deadline = text(payload, "validBefore")?.parse().unwrap_or(0);
        let settlement = match payload.payload.get("settles").and_then(|v| v.as_str()) {
            Some("observe") => Settlement::Observe {
                transaction: TxHash::new(text(payload, "nonce")?),
            },
            Some("accumulate") => Settlement::Accumulate {
                channel: "channel".to_owned(),
                cumulative: terms.amount,
            },
            _ if terms.amount.is_zero() => Settlement::Nothing,
            _ => Settlement::Submit,
        };
        Ok(Intent {
            identity: Identity {
                network: self.network.clone(),
                scope: terms.asset.to_string(),
                payer: from.clone(),
                nonce: text(payload, "nonce")?.to_owned(),
            },
            expected: Expected {
                asset: terms.asset.clone(),
                from,
                to: terms.pay_to.clone(),
                amount: terms.amount,
            },
            deadline: Timestamp::from_millis(deadline),
            settlement,
            payload: payload.clone(),
            terms: terms.clone(),
        })
    }

    async fn verify(
        &self,
        intent: Intent,
        _phase: Phase,
        held: Amount,
    ) -> Result<Verified, ChainError> {
        self.fuse.burn().await;
        let mut script = self.up()?;
        script.verified += 1;
        if text(&intent.payload, "signature")? != "good" {
            let refusal = Refusal::new("invalid_exact_evm_signature", "Sign again.");
            return Err(refusal.into());
        }
        if let (Settlement::Observe { transaction }, Some(shown)) =
            (&intent.settlement, &script.shown)
            && !shown.contains_key(transaction.as_str())
        {
            let refusal = Refusal::new("txid_not_found", "Show it again when it is in a block.");
            return Err(refusal.into());
        }
        if script.used.contains_key(&intent.identity.key()) {
            let code = script.says_used;
            let code = code.unwrap_or("invalid_exact_evm_nonce_already_used");
            return Err(Refusal::new(code, "Sign a new one.").into());
        }
        let wanted = held.checked_add(intent.expected.amount).unwrap();
        let paid = 10_000 * script.used.len() as u128;
        let poor = |had: u128| wanted > Amount::from_atomic(had.saturating_sub(paid));
        if script.is_broke() || script.balance.is_some_and(poor) {
            let refusal = Refusal::new("insufficient_funds", "Fund the account.");
            return Err(refusal.into());
        }
        let first = script.preferred.first().unwrap_or(&self.signers[0]);
        let pinned = script.pin.as_ref().unwrap_or(first);
        let has_code = script.contracts.contains(&intent.identity.payer);
        Ok(Verified {
            signers: has_code.then(|| pinned.clone()).into_iter().collect(),
            intent,
            gas: 60_000,
        })
    }

    fn prefer(&self, signers: &[Address]) {
        self.script().preferred = signers.to_vec();
    }

    async fn plan(&self, payments: &[PlannedPayment]) -> Result<Vec<Plan>, ChainError> {
        self.fuse.burn().await;
        if self.up()?.plans_hang {
            std::future::pending::<()>().await;
        }
        let plan = |payments: Vec<PlannedPayment>| Plan {
            payments,
            gas_limit: 100_000,
            signers: Vec::new(),
        };
        if payments.is_empty() {
            return Ok(vec![plan(Vec::new())]);
        }
        let one_each = self.script().one_each;
        let pinned = |p: &PlannedPayment| !p.verified.signers.is_empty();
        let (single, shared): (Vec<_>, Vec<_>) = payments
            .iter()
            .cloned()
            .partition(|p| p.alone || one_each || pinned(p));
        let one = |p: PlannedPayment| Plan {
            signers: p.verified.signers.clone(),
            ..plan(vec![p])
        };
        let mut plans: Vec<Plan> = single.into_iter().map(one).collect();
        if !shared.is_empty() {
            plans.push(plan(shared));
        }
        Ok(plans)
    }

    async fn seal(&self, plan: &Plan, slot: &Slot) -> Result<Raw, ChainError> {
        self.fuse.burn().await;
        let mut script = self.up()?;
        let bad = |p: &PlannedPayment| {
            script
                .unsealable
                .contains(&p.verified.intent.identity.key())
        };
        if plan.payments.iter().any(bad) {
            return Err(Refusal::new("invalid_payload", "Send it as it was signed.").into());
        }
        script.sealed += 1;
        let fee = match &slot.replaces {
            Some(raw) => script.txs[&raw.hash].fee * 5 / 4,
            None => 100,
        };
        let key = |p: &PlannedPayment| p.verified.intent.identity.key();
        let hash = TxHash::new(&format!("0x{:064x}", script.sealed));
        let tx = Tx {
            signer: slot.signer.clone(),
            nonce: slot.nonce,
            carries: plan.payments.iter().map(key).collect(),
            fee,
        };
        script.txs.insert(hash.clone(), tx);
        Ok(Raw {
            bytes: hash.as_str().as_bytes().to_vec(),
            hash,
        })
    }

    async fn broadcast(&self, raw: &Raw) -> Result<Broadcast, ChainError> {
        self.fuse.burn().await;
        let node = self.up()?.node.clone();
        if node == Node::Hanging {
            std::future::pending::<()>().await;
        }
        let answer = self.script().take(raw, &node);
        self.fuse.burn().await;
        Ok(answer)
    }

    async fn look(&self, last: Option<&Head>, watches: &[Watch]) -> Result<Sight, ChainError> {
        self.fuse.burn().await;
        let mut script = self.up()?;
        script.looks += 1;
        let replaced_from = match last {
            Some(_) => script.replaced_from.take(),
            None => None,
        };
        Ok(Sight {
            head: script.head(),
            replaced_from,
            outcomes: watches.iter().map(|w| Some(script.outcomes(w))).collect(),
        })
    }

    async fn block_hash(&self, number: u64) -> Result<Option<String>, ChainError> {
        Ok(self.up()?.block_hash(number))
    }

    async fn signer_states(&self) -> Result<Vec<SignerState>, ChainError> {
        let script = self.up()?;
        let state = |signer: &Address| SignerState {
            signer: signer.clone(),
            balance: Amount::from_atomic(script.gas_of_each.unwrap_or(1 << 60)),
            low: script.low.contains(signer),
        };
        Ok(self.signers.iter().map(state).collect())
    }

    async fn lookup(
        &self,
        identity: &Identity,
        expected: &Expected,
        finality: Finality,
    ) -> Result<Lookup, ChainError> {
        let chain = self.up()?;
        let newest = chain.blocks.len();
        let shallow = |block: usize| newest + 1 < block + finality.blocks() as usize;
        if let Some(shown) = chain
            .shown
            .as_ref()
            .filter(|_| identity.nonce.starts_with("0x"))
        {
            return Ok(match shown.get(&identity.nonce) {
                Some(_) => Lookup::Spent,
                None => Lookup::Unknown,
            });
        }
        Ok(match chain.used.get(&identity.key()) {
            // Unless it stands still, it mines without end: its time is everybody's.
            None => Lookup::Unused {
                as_of: match chain.stands_still {
                    true => Timestamp::from_millis(0),
                    false => Timestamp::from_millis(u64::MAX),
                },
            },
            Some((.., block)) if chain.cannot_look_up || shallow(*block) => Lookup::Unknown,
            Some((hash, third, block)) => Lookup::Settled(Settled {
                block_number: *block as u64,
                block_hash: chain.block_hash(*block as u64).unwrap(),
                ..settled(identity, hash, expected.amount, *third)
            }),
        })
    }

    async fn observe(
        &self,
        transaction: &TxHash,
        identity: &Identity,
        expected: &Expected,
        _finality: Finality,
    ) -> Result<Outcome, ChainError> {
        let script = self.up()?;
        if let Some(block) = script.shown.as_ref().map(|s| s.get(transaction.as_str())) {
            return Ok(block.map_or(Outcome::Unknown, |block| {
                Outcome::Settled(Settled {
                    block_number: *block as u64,
                    block_hash: script.block_hash(*block as u64).unwrap(),
                    ..settled(identity, transaction, expected.amount, true)
                })
            }));
        }
        Ok(if script.known.contains(transaction.as_str()) {
            Outcome::Settled(settled(identity, transaction, expected.amount, true))
        } else {
            Outcome::Unknown
        })
    }

    async fn confirmed_nonce(&self, signer: &Address) -> Result<u64, ChainError> {
        Ok(self.up()?.confirmed.get(signer).copied().unwrap_or(0))
    }

    async fn health(&self) -> Health {
        let ready = self.script().node != Node::Down;
        Health {
            ready,
            block_number: ready.then_some(7),
            problem: (!ready).then(|| "The fake is down; raise it.".to_owned()),
        }
    }
}
