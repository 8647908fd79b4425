//! Two hundred steps of all three kinds, mixed as in a busy process.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;
use tollway_core::{GrantId, PaymentId, Proof, SpendId};
use tollway_ledger::{
    Acceptance, Claim, Conclusion, Cost, Ending, Evidence, GrantStore, Lease, LedgerError,
    ReplicaStore, Reservation, SettlementStore, SpendStore, SqliteLedger, StoredAnswer,
};
use tollway_test_records::{
    address, at, atomic, grant, hash, limit, network, opened_by, raw, settled, signed, spend,
};

/// How many there are.
pub const STEPS: usize = 200;
/// What may be spent.
pub const BUDGET: u128 = 1_000;
/// Whose nonces are used.
const SIGNER: u8 = 9;

/// One step; numbers name the payment, grant or spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Accept(u64),
    /// Three that share a commit.
    AcceptThree(u64),
    Allocate(u64),
    StoreRaw(u64),
    Replace(u64),
    Settle(u64),
    /// Ends it and tells of success in one.
    SettleAndTell(u64),
    Final(u64),
    CloseSlot(u64),
    HandOut(u64),
    TakeBack(u64),
    Reopen(u64),
    Expire(u64),
    Claim(u64),
    Served(u64),
    Settling(u64),
    RememberReceipt(u64),
    Release(u64),
    Refuse(u64),
    Reserve(u64),
    Signed(u64),
    Presented(u64),
    Unclear(u64),
    Paid(u64),
    GiveBack(u64),
}

/// The same without steps that share a commit: each is there or not.
pub fn one_by_one() -> Vec<Step> {
    let alone = |step| match step {
        Step::AcceptThree(n) => Step::Accept(n),
        other => other,
    };
    steps().into_iter().map(alone).collect()
}

/// The whole script: payments, grants and spends take turns.
pub fn steps() -> Vec<Step> {
    let mut queues = [
        (0..).flat_map(payment_steps as fn(u64) -> Vec<Step>),
        (0..).flat_map(grant_steps as fn(u64) -> Vec<Step>),
        (0..).flat_map(spend_steps as fn(u64) -> Vec<Step>),
    ];
    let turns = [0, 1, 0, 2].into_iter().cycle();
    let steps = turns.filter_map(|turn: usize| queues[turn].next());
    steps.take(STEPS).collect()
}

fn payment_steps(n: u64) -> Vec<Step> {
    use Step::*;
    let first = if n % 4 == 3 {
        AcceptThree(n)
    } else {
        Accept(n)
    };
    let mut steps = vec![first, Allocate(n), StoreRaw(n)];
    if n % 3 == 1 {
        steps.push(Replace(n));
    }
    match n % 4 {
        0 => steps.push(SettleAndTell(n)),
        _ => steps.extend([Settle(n), HandOut(n)]),
    }
    match n % 3 {
        2 => steps.extend([TakeBack(n), Reopen(n), Expire(n)]),
        _ => steps.push(Final(n)),
    }
    steps.push(CloseSlot(n));
    steps
}

fn grant_steps(n: u64) -> Vec<Step> {
    use Step::*;
    match n % 3 {
        1 => vec![Claim(n), Served(n), Refuse(n)],
        _ => vec![
            Claim(n),
            Served(n),
            Settling(n),
            RememberReceipt(n),
            Release(n),
        ],
    }
}

fn spend_steps(n: u64) -> Vec<Step> {
    use Step::*;
    match n % 3 {
        1 => vec![Reserve(n), Signed(n), GiveBack(n)],
        _ => vec![Reserve(n), Signed(n), Presented(n), Unclear(n), Paid(n)],
    }
}

/// What the one who takes the steps was told so far.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub lease: Option<Lease>,
    pub payments: BTreeMap<u64, PaymentId>,
    /// Each payment's nonce.
    pub nonces: BTreeMap<u64, u64>,
    /// Nonces under which something was signed.
    pub sealed: BTreeSet<u64>,
    pub grants: BTreeMap<u64, GrantId>,
    pub spends: BTreeMap<u64, SpendId>,
}

impl Memory {
    /// Takes part as a process that has just begun: the signer is its own.
    pub async fn join(&mut self, ledger: &SqliteLedger) -> Result<(), LedgerError> {
        let ttl = Duration::from_secs(3_600);
        let replica = ledger.join("process", ttl).await?.id;
        let (network, signer) = (network(), address(SIGNER));
        self.lease = ledger.lease_signer(&replica, &network, &signer).await?;
        Ok(())
    }

    fn lease(&self) -> &Lease {
        self.lease.as_ref().unwrap()
    }

    /// Takes a step and remembers what came of it.
    pub async fn take(&mut self, ledger: &SqliteLedger, step: Step) -> Result<(), LedgerError> {
        match step {
            Step::Claim(_)
            | Step::Served(_)
            | Step::Settling(_)
            | Step::RememberReceipt(_)
            | Step::Release(_)
            | Step::Refuse(_) => self.take_gates(ledger, step).await,
            Step::Reserve(_)
            | Step::Signed(_)
            | Step::Presented(_)
            | Step::Unclear(_)
            | Step::Paid(_)
            | Step::GiveBack(_) => self.take_payers(ledger, step).await,
            _ => self.take_engines(ledger, step).await,
        }
    }

    async fn accept(&mut self, ledger: &SqliteLedger, n: u64) -> Result<(), LedgerError> {
        let (Acceptance::New(record) | Acceptance::Existing(record)) =
            ledger.accept(opened_by("key", n), at(1)).await?;
        self.payments.insert(n, record.id);
        Ok(())
    }

    async fn take_engines(&mut self, ledger: &SqliteLedger, step: Step) -> Result<(), LedgerError> {
        let slot = |n| (network(), address(SIGNER), self.nonces[n]);
        match &step {
            Step::Accept(n) => self.accept(ledger, *n).await?,
            Step::AcceptThree(n) => {
                let others =
                    [1_000 + n, 2_000 + n].map(|n| ledger.accept(opened_by("key", n), at(1)));
                let [one, two] = others;
                let (mine, one, two) = tokio::join!(self.accept(ledger, *n), one, two);
                one.and(two).map(|_| ()).and(mine)?;
            }
            Step::Allocate(n) => {
                let slot = ledger.allocate_slot(self.lease(), 0, at(2)).await?;
                self.nonces.insert(*n, slot.nonce);
            }
            Step::StoreRaw(n) => {
                let ids = [self.payments[n].clone()];
                ledger
                    .store_raw(&slot(n), &raw(*n), &ids, self.lease(), at(3))
                    .await?;
                self.sealed.insert(self.nonces[n]);
            }
            Step::Replace(n) => {
                let ids = [self.payments[n].clone()];
                let replacement = raw(10_000 + n);
                ledger
                    .store_raw(&slot(n), &replacement, &ids, self.lease(), at(4))
                    .await?;
            }
            Step::Settle(n) => {
                let conclusion = Conclusion::Settled(settled(*n));
                ledger
                    .conclude(&self.payments[n], conclusion, at(6))
                    .await?;
            }
            Step::SettleAndTell(n) => {
                let ending = Ending {
                    id: self.payments[n].clone(),
                    conclusion: Conclusion::Settled(settled(*n)),
                    hand_out: Some(Some("key".to_owned())),
                };
                let ended = ledger.conclude_all(vec![ending], at(6)).await?;
                for ended in ended {
                    ended?;
                }
            }
            Step::Final(n) => {
                let ids = [self.payments[n].clone()];
                ledger.mark_final(&ids, at(12)).await?;
            }
            Step::HandOut(n) => {
                ledger
                    .hand_out(&self.payments[n], Some("key"), at(7))
                    .await?;
            }
            Step::TakeBack(n) => {
                ledger
                    .take_back(&self.payments[n], "reorganised", at(8))
                    .await?;
            }
            Step::Reopen(n) => {
                let proof = Proof::SlotTaken {
                    confirmed_nonce: self.nonces[n] + 1,
                };
                ledger.reopen(&self.payments[n], &proof, at(9)).await?;
            }
            Step::Expire(n) => {
                let id = &self.payments[n];
                ledger.conclude(id, Conclusion::Expired, at(10)).await?;
            }
            Step::CloseSlot(n) => ledger.close_slot(&slot(n), &costs(), at(11)).await?,
            _ => {}
        }
        Ok(())
    }

    async fn take_gates(&mut self, ledger: &SqliteLedger, step: Step) -> Result<(), LedgerError> {
        let id = |n| &self.grants[n];
        match &step {
            Step::Claim(n) => {
                let (Claim::New(record) | Claim::Existing(record) | Claim::IdentifierTaken(record)) =
                    ledger.claim(grant(*n), at(20)).await?;
                self.grants.insert(*n, record.id);
            }
            Step::Served(n) => ledger.served(id(n), Some(answer(*n)), None, at(21)).await?,
            Step::Settling(n) => ledger.settling(id(n), at(22)).await?,
            Step::RememberReceipt(n) => {
                let receipt = json!({ "transaction": hash(*n).to_string() });
                ledger.remember_receipt(id(n), &receipt, at(23)).await?;
            }
            Step::Release(n) => {
                let transaction = hash(*n);
                let evidence = Evidence::Receipt {
                    transaction,
                    log_index: None,
                };
                let _released =
                    GrantStore::release(ledger, id(n), &evidence, &json!({}), at(24)).await?;
            }
            Step::Refuse(n) => {
                ledger
                    .refuse(id(n), "code", "Sentence.", true, at(25))
                    .await?;
            }
            _ => {}
        }
        Ok(())
    }

    async fn take_payers(&mut self, ledger: &SqliteLedger, step: Step) -> Result<(), LedgerError> {
        let id = |n| &self.spends[n];
        match &step {
            Step::Reserve(n) => {
                let reserved = ledger.reserve(spend(*n), &[limit(BUDGET)], at(30)).await?;
                let Reservation::Reserved(id) = reserved else {
                    panic!("spend {n}: {reserved:?}");
                };
                self.spends.insert(*n, id);
            }
            Step::Signed(n) => ledger.signed(id(n), signed(*n), at(31)).await?,
            Step::Presented(n) => ledger.presented(id(n), at(32)).await?,
            Step::Unclear(n) => ledger.unclear(id(n), "it broke", at(33)).await?,
            Step::Paid(n) => ledger.paid(id(n), atomic(7), None, at(34)).await?,
            Step::GiveBack(n) => {
                SpendStore::release(ledger, id(n), "expired unused", at(35)).await?
            }
            _ => {}
        }
        Ok(())
    }
}

/// A paid answer: some fit a page, some need several.
fn answer(n: u64) -> StoredAnswer {
    let length = 100 + usize::try_from(n % 4).unwrap() * 5_000;
    StoredAnswer {
        status: 200,
        headers: vec![("content-type".to_owned(), b"text/plain".to_vec())],
        body: vec![n.to_be_bytes()[7]; length],
    }
}

/// What closing a slot cost.
fn costs() -> [Cost; 1] {
    [Cost {
        payer: address(1),
        fee: atomic(5),
        lost: false,
    }]
}
