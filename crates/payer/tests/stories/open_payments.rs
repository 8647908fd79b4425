use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tollway_core::{
    Amount, ChainError, Clock, Expected, Identity, Lookup, Settled, SystemClock, Timestamp, TxHash,
};
use tollway_ledger::{NewSpend, Reservation, SpendState, SpendStore};
use tollway_payer::{ErrorKind, PayRequest, Reconciled, Reconciler, Standing};

use crate::bench::{Buyer, text};
use crate::seller::*;
use crate::wallet::FakeWallet;

/// Unused, by the newest block of a chain that goes on.
pub fn unused() -> Lookup {
    Lookup::Unused {
        as_of: Timestamp::from_millis(u64::MAX),
    }
}

/// A chain that says what it is told to say.
pub struct Oracle(pub Mutex<Lookup>);

impl Oracle {
    pub fn says(lookup: Lookup) -> Arc<Self> {
        Arc::new(Self(Mutex::new(lookup)))
    }
}

#[async_trait]
impl Reconciler for Oracle {
    async fn lookup(&self, identity: &Identity, expected: &Expected) -> Result<Lookup, ChainError> {
        assert_eq!(identity.payer, expected.from);
        assert_eq!(expected.to.as_str(), PAYEE.to_lowercase());
        Ok(self.0.lock().unwrap().clone())
    }
}

pub fn settled() -> Lookup {
    Lookup::Settled(Settled {
        transaction: TxHash::new(TX),
        block_number: 7,
        block_hash: String::new(),
        log_index: Some(1),
        amount: Amount::from_atomic(10_000),
        gas_used: 1,
        fee: Amount::ZERO,
        by_third_party: false,
    })
}

/// The system's clock, and so many seconds.
pub struct Ahead(pub AtomicU64);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock
            .now()
            .plus(Duration::from_secs(self.0.load(Ordering::SeqCst)))
    }
}

async fn silent_seller() -> Seller {
    Seller::selling(vec![offer("10000")], |_| Reply::Cut).await
}

#[tokio::test]
async fn an_execution_has_ended_once_its_nonce_is_used() {
    for (lookup, state) in [
        (settled(), SpendState::Paid),
        (Lookup::Spent, SpendState::Paid),
        (unused(), SpendState::Signed),
    ] {
        let oracle = Oracle::says(lookup.clone());
        let buyer = Buyer::with(FakeWallet::default(), |b| b.reconciler(oracle, true)).await;
        let seller = silent_seller().await;
        buyer.get(&seller.url).await.unwrap_err();
        let like = buyer.spends().await.remove(0);
        let now = SystemClock.now();
        let executes = NewSpend {
            request: "an execution".to_owned(),
            calls: Some(2),
            ..like.spend
        };
        let reserved = buyer.ledger.reserve(executes, &[], now).await.unwrap();
        let Reservation::Reserved(id) = reserved else {
            panic!("{reserved:?}");
        };
        let mut signed = like.signed.unwrap();
        signed.identity.nonce = "0x77".to_owned();
        buyer.ledger.signed(&id, signed, now).await.unwrap();
        buyer.payer.reconcile().await.unwrap();
        let record = buyer.ledger.spend(&id).await.unwrap().unwrap();
        assert_eq!(record.state, state, "{lookup:?}");
    }
}

#[tokio::test]
async fn a_payer_that_died_after_signing_shows_the_same_bytes_when_it_is_back() {
    let seller = Seller::selling(vec![offer("10000")], |seen| match seen.payment_number {
        1 => Reply::Hang,
        _ => goods(),
    })
    .await;
    let buyer = Buyer::new().await;
    // The call is dropped while the server works: nothing is recorded after that.
    let call = buyer.get(&seller.url);
    assert!(
        tokio::time::timeout(Duration::from_millis(150), call)
            .await
            .is_err()
    );
    assert_eq!(buyer.states().await, [SpendState::Presented]);
    let back = buyer.restarted(|b| b).await;
    let answer = back.get(&seller.url).await.unwrap();
    assert_eq!(text(answer).await, "the goods");
    assert_eq!((back.wallet.signed(), seller.distinct_payments()), (1, 1));
    assert_eq!(back.states().await, [SpendState::Paid]);
    assert!(back.diary().contains(&"resumed".to_owned()));
    // The next one is a new purchase.
    back.get(&seller.url).await.unwrap();
    assert_eq!((back.wallet.signed(), seller.distinct_payments()), (2, 2));
}

#[tokio::test]
async fn a_payment_that_was_signed_and_never_shown_is_shown_by_the_next_call() {
    let seller = Seller::honest(vec![offer("10000")]).await;
    let donor = Buyer::new().await;
    // Dies between the record of the signature and the wire: its story callback
    // is the last thing it does.
    let deadly = donor.restarted(|b| {
        b.story(|event| {
            assert!(
                !matches!(event, tollway_payer::Event::Signed { .. }),
                "dies here"
            )
        })
    });
    let deadly = deadly.await;
    let payer = deadly.payer.clone();
    let url = seller.url.clone();
    let death =
        tokio::spawn(async move { payer.fetch(PayRequest::get(url)).await.map(|_| ()) }).await;
    assert!(death.is_err());
    assert_eq!(
        (seller.payments().len(), deadly.states().await),
        (0, vec![SpendState::Signed])
    );
    let back = deadly.restarted(|b| b).await;
    back.get(&seller.url).await.unwrap();
    assert_eq!((back.wallet.signed(), seller.payments().len()), (1, 1));
    assert_eq!(
        seller.seen().last().unwrap().decoded().payload["signature"],
        "fake signature 1"
    );
}

#[tokio::test]
async fn another_purchase_of_the_same_thing_can_be_named() {
    let seller = silent_seller().await;
    let buyer = Buyer::new().await;
    for name in ["a", "b", "a"] {
        let request = PayRequest::get(seller.url.clone()).purchase(name);
        buyer.payer.fetch(request).await.unwrap_err();
    }
    assert_eq!((buyer.wallet.signed(), seller.distinct_payments()), (2, 2));
}

#[tokio::test]
async fn an_open_payment_is_shown_again_even_if_the_policy_says_no_by_now() {
    let seller = Seller::selling(vec![offer("10000")], |seen| match seen.payment_number {
        1..=3 => Reply::Cut,
        _ => goods(),
    })
    .await;
    let buyer = Buyer::new().await;
    buyer.get(&seller.url).await.unwrap_err();
    let strict = buyer
        .restarted(|b| {
            b.policy(tollway_payer::Policy {
                max_per_call: "0.001".parse().unwrap(),
                ..tollway_payer::Policy::default()
            })
        })
        .await;
    strict.get(&seller.url).await.unwrap();
    assert_eq!((strict.wallet.signed(), seller.distinct_payments()), (1, 1));
    assert_eq!(strict.refusal(&seller.url).await, "policy_amount");
}

#[tokio::test]
async fn an_open_payment_is_given_back_only_when_it_is_expired_and_proved_unused() {
    let oracle = Oracle::says(unused());
    let clock = Arc::new(Ahead(AtomicU64::new(0)));
    let buyer = Buyer::with(FakeWallet::default(), |b| {
        b.reconciler(oracle.clone(), false).clock(clock.clone())
    })
    .await;
    let seller = silent_seller().await;
    buyer.get(&seller.url).await.unwrap_err();
    let held = Reconciled {
        held: 1,
        ..Reconciled::default()
    };
    assert_eq!(buyer.payer.reconcile().await.unwrap(), held);
    clock.0.store(415, Ordering::SeqCst);
    assert_eq!(
        buyer.payer.reconcile().await.unwrap(),
        held,
        "within the margin"
    );
    *oracle.0.lock().unwrap() = Lookup::Unknown;
    clock.0.store(100_000, Ordering::SeqCst);
    assert_eq!(
        buyer.payer.reconcile().await.unwrap(),
        held,
        "without proof"
    );
    *oracle.0.lock().unwrap() = Lookup::Unused {
        as_of: Timestamp::from_secs(1_000_000_000),
    };
    assert_eq!(
        buyer.payer.reconcile().await.unwrap(),
        held,
        "a chain that stands still may go on"
    );
    *oracle.0.lock().unwrap() = unused();
    let released = Reconciled {
        released: 1,
        ..Reconciled::default()
    };
    assert_eq!(buyer.payer.reconcile().await.unwrap(), released);
    assert_eq!(buyer.states().await, [SpendState::Released]);
    // Only now may the same request be bought with another signature.
    buyer.get(&seller.url).await.unwrap_err();
    assert_eq!(buyer.wallet.signed(), 2);
}

#[tokio::test]
async fn an_open_payment_that_the_chain_shows_is_paid_once_nobody_can_deliver_for_it() {
    // Also where the nonce was used and nobody recognises the transfer: whoever was
    // handed the payment may have a contract of its own.
    for shown in [settled(), Lookup::Spent] {
        is_paid_once_it_is_over(shown).await;
    }
}

async fn is_paid_once_it_is_over(shown: Lookup) {
    let oracle = Oracle::says(Lookup::Unknown);
    let clock = Arc::new(Ahead(AtomicU64::new(0)));
    let buyer = Buyer::with(FakeWallet::default(), |b| {
        b.reconciler(oracle.clone(), false).clock(clock.clone())
    })
    .await;
    let seller = silent_seller().await;
    buyer.get(&seller.url).await.unwrap_err();
    *oracle.0.lock().unwrap() = shown;
    // The goods did not come: the next call must find it, not pay again.
    assert_eq!(buyer.payer.reconcile().await.unwrap().held, 1);
    buyer.get(&seller.url).await.unwrap_err();
    assert_eq!((buyer.wallet.signed(), seller.distinct_payments()), (1, 1));
    clock.0.store(100_000, Ordering::SeqCst);
    assert_eq!(buyer.payer.reconcile().await.unwrap().paid, 1);
    let spend = buyer.spends().await.remove(0);
    assert_eq!(
        (spend.state, spend.paid),
        (SpendState::Paid, Some(Amount::from_atomic(10_000)))
    );
}

#[tokio::test]
async fn an_expired_payment_without_proof_stays_on_the_budget_and_stops_nobody() {
    let clock = Arc::new(Ahead(AtomicU64::new(0)));
    let buyer = Buyer::with(FakeWallet::default(), |b| b.clock(clock.clone())).await;
    let seller = Seller::selling(vec![offer("10000")], |seen| match seen.payment_number {
        1..=3 => Reply::Cut,
        _ => goods(),
    })
    .await;
    buyer.get(&seller.url).await.unwrap_err();
    clock.0.store(100_000, Ordering::SeqCst);
    let careful = FakeWallet::default();
    drop(careful);
    // The fake wallet signs by the system's clock, which is far behind by now.
    buyer.get(&seller.url).await.unwrap();
    assert_eq!(buyer.wallet.signed(), 2);
    let mut states = buyer.states().await;
    states.sort_by_key(|s| format!("{s:?}"));
    assert_eq!(states, [SpendState::Paid, SpendState::Unknown]);
}

#[tokio::test]
async fn a_refusal_of_what_the_chain_shows_as_paid_is_told_as_paid() {
    let oracle = Oracle::says(settled());
    let buyer = Buyer::with(FakeWallet::default(), |b| b.reconciler(oracle, false)).await;
    let liar = Seller::selling(vec![offer("10000")], |_| {
        receipt(Reply::status(402), &failure("insufficient_funds", ""))
    })
    .await;
    let error = buyer.get(&liar.url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PaidNotDelivered);
    assert_eq!(
        error.payment().unwrap().standing,
        Standing::Confirmed,
        "the chain's word"
    );
}

#[tokio::test]
async fn receipts_are_compared_with_the_chain_where_that_is_asked_for() {
    let seller = Seller::honest(vec![offer("10000")]).await;
    for (lookup, expected) in [
        (settled(), Some(Standing::Confirmed)),
        (Lookup::Unknown, Some(Standing::Settled)),
        (unused(), None),
    ] {
        let oracle = Oracle::says(lookup);
        let buyer = Buyer::with(FakeWallet::default(), |b| b.reconciler(oracle, true)).await;
        let standing = buyer
            .get(&seller.url)
            .await
            .unwrap()
            .payment
            .unwrap()
            .standing;
        match expected {
            Some(expected) => assert_eq!(standing, expected),
            None => assert!(matches!(standing, Standing::Held { .. })),
        }
    }
}

#[tokio::test]
async fn goods_that_were_paid_and_broke_off_can_be_fetched_again_without_signing() {
    let seller = Seller::honest(vec![offer("10000")]).await;
    let buyer = Buyer::new().await;
    let payment = buyer.get(&seller.url).await.unwrap().payment.unwrap();
    let request = PayRequest::get(seller.url.clone());
    let again = buyer
        .payer
        .fetch_again(request.clone(), &payment.spend)
        .await
        .unwrap();
    assert_eq!(text(again).await, "the goods");
    assert_eq!(
        (
            buyer.wallet.signed(),
            seller.distinct_payments(),
            seller.payments().len()
        ),
        (1, 1, 2)
    );
    let mut other = request;
    other.url.set_path("/other");
    let error = buyer
        .payer
        .fetch_again(other, &payment.spend)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_reservation_that_was_never_signed_is_given_back_after_a_while() {
    let stuck = FakeWallet {
        slow: Duration::from_secs(60),
        ..FakeWallet::default()
    };
    let clock = Arc::new(Ahead(AtomicU64::new(0)));
    let buyer = Buyer::with(stuck, |b| b.clock(clock.clone())).await;
    let seller = Seller::honest(vec![offer("10000")]).await;
    let call = buyer.get(&seller.url);
    assert!(
        tokio::time::timeout(Duration::from_millis(150), call)
            .await
            .is_err()
    );
    assert_eq!(buyer.payer.reconcile().await.unwrap().held, 1);
    clock.0.store(601, Ordering::SeqCst);
    assert_eq!(buyer.payer.reconcile().await.unwrap().released, 1);
    assert!(
        buyer
            .ledger
            .open_spends(
                &tollway_core::Network::eip155(1)
                    .address(crate::wallet::PAYER)
                    .unwrap()
            )
            .await
            .unwrap()
            .is_empty()
    );
}
