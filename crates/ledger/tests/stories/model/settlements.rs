//! Payments and slots beside their model.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use tollway_core::{PaymentId, Proof};
use tollway_ledger::{
    Acceptance, Conclusion, HandOut, Lease, NewPayment, PaymentState, ReplicaStore as _,
    SettlementStore as _, SlotRecord, Store,
};

use super::{Answer, answer, done, on_a_fresh_ledger, on_postgres};
use tollway_test_records::{LONG, address, at, hash, network, opened_by, payment, raw, settled};

#[derive(Clone, Debug)]
enum Command {
    Accept(u64),
    Allocate {
        signer: u8,
        confirmed: u64,
    },
    Store {
        signer: u8,
        nonce: u64,
        raw: u64,
        payments: Vec<usize>,
    },
    Reopen(usize),
    Close {
        signer: u8,
        nonce: u64,
    },
    Settle(usize, u64),
    SettleWithout(usize),
    Refuse(usize),
    Expire(usize),
    TakeBack(usize),
    HandOut(usize, Option<u8>),
}

fn command() -> impl Strategy<Value = Command> {
    let payment = 0..4_usize;
    let slot = || (8..10_u8, 0..5_u64);
    prop_oneof![
        3 => (0..4_u64).prop_map(Command::Accept),
        4 => slot().prop_map(|(signer, confirmed)| Command::Allocate { signer, confirmed }),
        8 => (slot(), 0..9_u64, vec(0..4_usize, 0..3)).prop_map(
            |((signer, nonce), raw, payments)| Command::Store { signer, nonce, raw, payments }
        ),
        2 => payment.clone().prop_map(Command::Reopen),
        2 => slot().prop_map(|(signer, nonce)| Command::Close { signer, nonce }),
        2 => (payment.clone(), 0..3_u64).prop_map(|(p, tx)| Command::Settle(p, tx)),
        1 => payment.clone().prop_map(Command::SettleWithout),
        1 => payment.clone().prop_map(Command::Refuse),
        1 => payment.clone().prop_map(Command::Expire),
        2 => payment.clone().prop_map(Command::TakeBack),
        2 => (payment, prop::option::of(0..2_u8)).prop_map(|(p, key)| Command::HandOut(p, key)),
    ]
}

#[derive(Clone, Debug, PartialEq)]
struct Payment {
    identity: u64,
    state: PaymentState,
    attempts: u32,
    /// The last attempt's slot, which a reorganisation brings back.
    slot: Option<(u8, u64)>,
    transaction: Option<u64>,
    settled: Option<u64>,
    handed_out: Option<Option<u8>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Slot {
    raws: Vec<u64>,
    payments: Vec<usize>,
    closed: bool,
}

#[derive(Default)]
struct Model {
    payments: Vec<Payment>,
    slots: BTreeMap<(u8, u64), Slot>,
}

impl Model {
    fn apply(&mut self, command: &Command) -> Answer {
        match *command {
            Command::Accept(n) => Ok(self.accept(n)),
            Command::Allocate { signer, confirmed } => Ok(self.allocate(signer, confirmed)),
            Command::Store {
                signer,
                nonce,
                raw,
                ref payments,
            } => self.store((signer, nonce), raw, payments),
            Command::Reopen(p) => {
                let payment = self.in_state(p, &[PaymentState::Submitted])?;
                payment.state = PaymentState::Accepted;
                payment.slot = None;
                Ok(done(()))
            }
            Command::Close { signer, nonce } => {
                let slot = self.slots.get_mut(&(signer, nonce)).ok_or("not found")?;
                slot.closed = true;
                Ok(done(()))
            }
            Command::Settle(p, tx) => self.end(p, PaymentState::Settled, Some(tx)),
            Command::SettleWithout(p) => self.end(p, PaymentState::Settled, None),
            Command::Refuse(p) => self.end(p, PaymentState::Refused, None),
            Command::Expire(p) => self.end(p, PaymentState::Expired, None),
            Command::TakeBack(p) => self.take_back(p),
            Command::HandOut(p, key) => self.hand_out(p, key),
        }
    }

    fn in_state(
        &mut self,
        p: usize,
        states: &[PaymentState],
    ) -> Result<&mut Payment, &'static str> {
        let payment = self.payments.get_mut(p).ok_or("not found")?;
        if states.contains(&payment.state) {
            Ok(payment)
        } else {
            Err("conflict")
        }
    }

    fn accept(&mut self, identity: u64) -> String {
        if let Some(known) = self.payments.iter().position(|p| p.identity == identity) {
            return format!("known {known}");
        }
        self.payments.push(Payment {
            identity,
            state: PaymentState::Accepted,
            attempts: 0,
            slot: None,
            transaction: None,
            settled: None,
            handed_out: None,
        });
        "new".to_owned()
    }

    fn allocate(&mut self, signer: u8, confirmed: u64) -> String {
        let ours = || {
            self.slots
                .iter()
                .filter(|((s, _), slot)| *s == signer && !slot.closed)
        };
        let unused = ours().find(|((_, n), slot)| *n >= confirmed && slot.raws.is_empty());
        if let Some(((_, nonce), _)) = unused {
            return nonce.to_string();
        }
        let above = ours().map(|((_, nonce), _)| nonce + 1).max().unwrap_or(0);
        let mut nonce = above.max(confirmed);
        while self.slots.contains_key(&(signer, nonce)) {
            nonce += 1;
        }
        self.slots.insert((signer, nonce), Slot::default());
        nonce.to_string()
    }

    fn store(&mut self, key: (u8, u64), raw: u64, payments: &[usize]) -> Answer {
        let slot = self.slots.get(&key).ok_or("not found")?;
        if slot.closed {
            return Err("conflict");
        }
        if slot.raws.contains(&raw) {
            return Ok(done(()));
        }
        if self.slots.values().any(|s| s.raws.contains(&raw)) {
            return Err("conflict");
        }
        if !payments.is_empty() && !slot.payments.is_empty() && payments != slot.payments {
            return Err("conflict");
        }
        for (position, p) in payments.iter().enumerate() {
            let payment = self.payments.get(*p).ok_or("not found")?;
            let free = payment.state == PaymentState::Accepted
                || (payment.state == PaymentState::Submitted && payment.slot == Some(key));
            if !free || payments[..position].contains(p) {
                return Err("conflict");
            }
        }
        for p in payments {
            let payment = &mut self.payments[*p];
            payment.attempts += u32::from(payment.state == PaymentState::Accepted);
            payment.state = PaymentState::Submitted;
            payment.slot = Some(key);
            payment.transaction = Some(raw);
        }
        let slot = self.slots.get_mut(&key).ok_or("not found")?;
        slot.raws.push(raw);
        if !payments.is_empty() {
            slot.payments = payments.to_vec();
        }
        Ok(done(()))
    }

    fn end(&mut self, p: usize, state: PaymentState, transaction: Option<u64>) -> Answer {
        // All these transactions have one transfer.
        let is_anothers =
            transaction.is_some() && self.payments.iter().any(|p| p.settled == transaction);
        let payment = self.payments.get_mut(p).ok_or("not found")?;
        match payment.state {
            PaymentState::Accepted | PaymentState::Submitted if is_anothers => {
                payment.state = PaymentState::Refused;
                payment.transaction = transaction;
                Ok(done(()))
            }
            PaymentState::Accepted | PaymentState::Submitted => {
                payment.state = state;
                payment.settled = transaction;
                payment.transaction = transaction.or(payment.transaction);
                Ok(done(()))
            }
            ended if ended == state && payment.settled == transaction => Ok(done(())),
            _ => Err("conflict"),
        }
    }

    fn take_back(&mut self, p: usize) -> Answer {
        let payment = self.in_state(p, &[PaymentState::Settled])?;
        payment.settled.take().ok_or("conflict")?;
        payment.state = PaymentState::Accepted;
        if let Some(slot) = payment.slot {
            payment.state = PaymentState::Submitted;
            self.slots.get_mut(&slot).ok_or("not found")?.closed = false;
        }
        Ok(done(()))
    }

    fn hand_out(&mut self, p: usize, key: Option<u8>) -> Answer {
        let payment = self.in_state(p, &[PaymentState::Settled])?;
        let told = match payment.handed_out {
            _ if has_opener(payment.identity) && key != Some(OPENER) => HandOut::Duplicate,
            None => {
                payment.handed_out = Some(key);
                HandOut::First
            }
            Some(first) if key.is_some() && first == key => HandOut::Again,
            Some(_) => HandOut::Duplicate,
        };
        Ok(format!("{told:?}"))
    }
}

/// The key that opened every other payment.
const OPENER: u8 = 1;

const fn has_opener(identity: u64) -> bool {
    identity % 2 == 1
}

fn opened(n: u64) -> NewPayment {
    if has_opener(n) {
        opened_by(&OPENER.to_string(), n)
    } else {
        payment(n)
    }
}

/// The ledger, with the names that it gave.
struct Real {
    ledger: Store,
    ids: Vec<PaymentId>,
    leases: [Lease; 2],
}

impl Real {
    async fn new(ledger: Store) -> Self {
        let me = ledger.join("engine", LONG).await.unwrap().id;
        let lease = async |signer| {
            let (network, signer) = (network(), address(signer));
            let lease = ledger.lease_signer(&me, &network, &signer).await;
            lease.unwrap().unwrap()
        };
        let leases = [lease(8).await, lease(9).await];
        Self {
            ledger,
            ids: Vec::new(),
            leases,
        }
    }

    fn lease(&self, signer: u8) -> &Lease {
        &self.leases[usize::from(signer - 8)]
    }

    fn id(&self, p: usize) -> PaymentId {
        let known = self.ids.get(p).cloned();
        known.unwrap_or_else(|| PaymentId::from_text("pay_nobody"))
    }

    async fn apply(&mut self, command: &Command) -> Answer {
        let now = at(1);
        let slot = |signer, nonce| (network(), address(signer), nonce);
        let ledger = &self.ledger;
        match *command {
            Command::Accept(n) => {
                let accepted = ledger.accept(opened(n), now).await;
                let ids = &mut self.ids;
                answer(accepted, |a| match a {
                    Acceptance::New(record) => {
                        ids.push(record.id);
                        "new".to_owned()
                    }
                    Acceptance::Existing(record) => {
                        let known = ids.iter().position(|id| *id == record.id);
                        format!("known {}", known.unwrap())
                    }
                })
            }
            Command::Allocate { signer, confirmed } => {
                let slot = ledger
                    .allocate_slot(self.lease(signer), confirmed, now)
                    .await;
                answer(slot, |s| s.nonce.to_string())
            }
            Command::Store {
                signer,
                nonce,
                raw: n,
                ref payments,
            } => {
                let ids: Vec<_> = payments.iter().map(|p| self.id(*p)).collect();
                let slot = slot(signer, nonce);
                answer(
                    ledger
                        .store_raw(&slot, &raw(n), &ids, self.lease(signer), now)
                        .await,
                    done,
                )
            }
            Command::Reopen(p) => {
                let proof = Proof::SlotTaken { confirmed_nonce: 9 };
                answer(ledger.reopen(&self.id(p), &proof, now).await, done)
            }
            Command::Close { signer, nonce } => answer(
                ledger.close_slot(&slot(signer, nonce), &[], now).await,
                done,
            ),
            Command::Settle(p, tx) => self.end(p, Conclusion::Settled(settled(tx))).await,
            Command::SettleWithout(p) => self.end(p, Conclusion::SettledWithoutTransaction).await,
            Command::Refuse(p) => {
                let (code, message) = ("code".to_owned(), "Sentence.".to_owned());
                self.end(p, Conclusion::Refused { code, message }).await
            }
            Command::Expire(p) => self.end(p, Conclusion::Expired).await,
            Command::TakeBack(p) => answer(
                ledger.take_back(&self.id(p), "reorganised", now).await,
                done,
            ),
            Command::HandOut(p, key) => {
                let key = key.map(|k| k.to_string());
                let told = ledger.hand_out(&self.id(p), key.as_deref(), now).await;
                answer(told, |t| format!("{t:?}"))
            }
        }
    }

    async fn end(&self, p: usize, conclusion: Conclusion) -> Answer {
        let ended = self.ledger.conclude(&self.id(p), conclusion, at(1)).await;
        answer(ended, |_| done(()))
    }

    async fn assert_like(&self, model: &Model) {
        for (id, expected) in self.ids.iter().zip(&model.payments) {
            let found = self.ledger.payment(id).await.unwrap().unwrap();
            let has_slot = matches!(
                expected.state,
                PaymentState::Submitted | PaymentState::Settled
            );
            let slot = expected.slot.filter(|_| has_slot);
            let slot = slot.map(|(signer, nonce)| (network(), address(signer), nonce));
            assert_eq!(found.state, expected.state);
            assert_eq!((found.attempts, found.slot), (expected.attempts, slot));
            assert_eq!(found.transaction, expected.transaction.map(hash));
            assert_eq!(
                found.settled.map(|s| s.transaction),
                expected.settled.map(hash)
            );
            assert_eq!(found.payment, opened(expected.identity));
        }
        let open = self.ledger.open_payments().await.unwrap();
        let open: Vec<_> = open.into_iter().map(|p| p.id).collect();
        let expected =
            self.ids.iter().zip(&model.payments).filter(|(_, p)| {
                matches!(p.state, PaymentState::Accepted | PaymentState::Submitted)
            });
        assert_eq!(open, expected.map(|(id, _)| id.clone()).collect::<Vec<_>>());
        let slots = self.ledger.open_slots().await.unwrap();
        let slots: Vec<_> = slots.iter().map(|slot| self.said(slot)).collect();
        let expected = model.slots.iter().filter(|(_, slot)| !slot.closed);
        let expected: Vec<_> = expected.map(|(key, slot)| (*key, slot.clone())).collect();
        assert_eq!(slots, expected);
    }

    fn said(&self, slot: &SlotRecord) -> ((u8, u64), Slot) {
        let signer = (8..10).find(|n| address(*n) == slot.signer).unwrap();
        let number = |hash_text: &str| (0..9).find(|n| hash(*n).as_str() == hash_text).unwrap();
        let place = |id| self.ids.iter().position(|known| known == id).unwrap();
        let said = Slot {
            raws: slot.raws.iter().map(|r| number(r.hash.as_str())).collect(),
            payments: slot.payments.iter().map(place).collect(),
            closed: slot.closed,
        };
        ((signer, slot.nonce), said)
    }
}

async fn side_by_side(ledger: Store, commands: Vec<Command>) {
    let mut model = Model::default();
    let mut real = Real::new(ledger).await;
    for command in &commands {
        assert_eq!(
            real.apply(command).await,
            model.apply(command),
            "{command:?}"
        );
        real.assert_like(&model).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn settlements_are_like_their_model(commands in vec(command(), 1..80)) {
        on_a_fresh_ledger(|ledger| side_by_side(ledger, commands));
    }
}

#[test]
fn settlements_are_like_their_model_on_postgres() {
    on_postgres(&vec(command(), 1..60), side_by_side);
}
