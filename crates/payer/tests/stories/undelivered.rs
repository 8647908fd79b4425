//! Money that moved, or is said to have moved, for goods that did not come.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tollway_core::{Amount, Lookup};
use tollway_ledger::SpendState;
use tollway_payer::{ErrorKind, PayRequest, Standing};

use crate::bench::{Buyer, text};
use crate::open_payments::{Ahead, Oracle, settled, unused};
use crate::seller::*;
use crate::wallet::FakeWallet;

/// Says that it was paid, and delivers nothing.
fn paid_500() -> Reply {
    receipt(Reply::text(500, "sorry"), &success())
}

async fn taker() -> Seller {
    Seller::selling(vec![offer("10000")], |_| paid_500()).await
}

/// Past the validity of what the fake wallet signs, and the margin.
const LATER: u64 = 100_000;

#[tokio::test]
async fn a_seller_that_takes_and_does_not_deliver_gets_one_signature() {
    let seller = taker().await;
    let paid = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&paid);
    let mut buyer = Buyer::with(FakeWallet::default(), |b| {
        b.on_payment(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        })
    })
    .await;
    for run in 0..4 {
        if run == 2 {
            assert_eq!(buyer.payer.counters().payments, 1);
            buyer = buyer.restarted(|b| b).await;
        }
        let error = buyer.get(&seller.url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PaidNotDelivered, "run {run}");
        assert!(error.message().contains("run the same request again"));
        assert!(error.message().contains("The server says"));
    }
    assert_eq!((buyer.wallet.signed(), seller.distinct_payments()), (1, 1));
    assert_eq!(
        paid.load(Ordering::SeqCst),
        1,
        "one payment is counted once"
    );
    assert_eq!(buyer.spends().await.len(), 1);
    // Whoever wants to pay once more says so.
    let anew = PayRequest::get(seller.url.clone()).purchase("second");
    buyer.payer.fetch(anew).await.unwrap_err();
    assert_eq!((buyer.wallet.signed(), seller.distinct_payments()), (2, 2));
}

#[tokio::test]
async fn goods_that_come_later_are_delivered_for_the_same_payment() {
    let seller = Seller::selling(vec![offer("10000")], |seen| match seen.payment_number {
        1 => paid_500(),
        // An outage in between does not make it forgotten that it is paid.
        2..=4 => Reply::Cut,
        // A stored answer without a receipt of its own.
        5 => Reply::text(200, "the goods"),
        _ => goods(),
    })
    .await;
    let buyer = Buyer::new().await;
    let error = buyer.get(&seller.url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PaidNotDelivered);
    let error = buyer.get(&seller.url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown);
    let answer = buyer.get(&seller.url).await.unwrap();
    let payment = answer.payment.clone().unwrap();
    assert_eq!(payment.standing, Standing::Settled);
    assert_eq!(payment.transaction.unwrap().as_str(), TX);
    assert_eq!(text(answer).await, "the goods");
    assert_eq!((buyer.wallet.signed(), seller.distinct_payments()), (1, 1));
    assert_eq!(buyer.states().await, [SpendState::Paid]);
    assert_eq!(buyer.payer.counters().payments, 1);
    // Delivered is done: the next one is another purchase.
    buyer.get(&seller.url).await.unwrap();
    assert_eq!((buyer.wallet.signed(), seller.distinct_payments()), (2, 2));
}

#[tokio::test]
async fn a_receipt_that_the_chain_does_not_bear_out_moves_no_money_in_the_books() {
    for lookup in [unused(), Lookup::Unknown, Lookup::Spent] {
        let oracle = Oracle::says(lookup.clone());
        let buyer = Buyer::with(FakeWallet::default(), |b| b.reconciler(oracle, true)).await;
        let seller = taker().await;
        for _ in 0..2 {
            let error = buyer.get(&seller.url).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unknown, "{lookup:?}");
            assert!(
                error.message().contains("the chain does not show it"),
                "{lookup:?}"
            );
            assert!(matches!(
                error.payment().unwrap().standing,
                Standing::Held { .. }
            ));
        }
        assert_eq!((buyer.wallet.signed(), seller.distinct_payments()), (1, 1));
        assert_eq!(buyer.states().await, [SpendState::Unknown], "{lookup:?}");
        assert_eq!(buyer.payer.counters().payments, 0, "{lookup:?}");
        assert!(!buyer.diary().contains(&"paid".to_owned()), "{lookup:?}");
    }
}

#[tokio::test]
async fn what_the_chain_bears_out_is_paid_and_still_shown_again() {
    let oracle = Oracle::says(settled());
    let buyer = Buyer::with(FakeWallet::default(), |b| b.reconciler(oracle, true)).await;
    let seller = taker().await;
    for _ in 0..2 {
        buyer.payer.reconcile().await.unwrap();
        let error = buyer.get(&seller.url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PaidNotDelivered);
        assert_eq!(error.payment().unwrap().standing, Standing::Confirmed);
        assert!(error.message().contains("The chain shows"));
    }
    assert_eq!((buyer.wallet.signed(), seller.distinct_payments()), (1, 1));
    assert_eq!(buyer.payer.counters().payments, 1);
}

#[tokio::test]
async fn after_its_validity_an_undelivered_payment_is_closed_and_stops_nobody() {
    let oracle = Oracle::says(settled());
    for chain in [None, Some(oracle)] {
        for reconciles in [false, true] {
            let clock = Arc::new(Ahead(AtomicU64::new(0)));
            let buyer = Buyer::with(FakeWallet::default(), |b| match &chain {
                Some(chain) => b.clock(clock.clone()).reconciler(chain.clone(), false),
                None => b.clock(clock.clone()),
            })
            .await;
            let seller = taker().await;
            buyer.get(&seller.url).await.unwrap_err();
            assert_eq!(buyer.payer.reconcile().await.unwrap().held, 1);
            clock.0.store(LATER, Ordering::SeqCst);
            if reconciles {
                assert_eq!(buyer.payer.reconcile().await.unwrap().paid, 1);
            }
            buyer.get(&seller.url).await.unwrap_err();
            assert_eq!((buyer.wallet.signed(), seller.distinct_payments()), (2, 2));
            let first = buyer.spends().await.pop().unwrap();
            assert_eq!(
                (first.state, first.paid, first.transaction.unwrap().as_str()),
                (SpendState::Paid, Some(Amount::from_atomic(10_000)), TX)
            );
        }
    }
}

#[tokio::test]
async fn a_payment_that_was_said_to_be_settled_and_was_not_is_given_back() {
    let oracle = Oracle::says(unused());
    let clock = Arc::new(Ahead(AtomicU64::new(0)));
    let buyer = Buyer::with(FakeWallet::default(), |b| {
        b.clock(clock.clone()).reconciler(oracle, true)
    })
    .await;
    buyer.get(&taker().await.url).await.unwrap_err();
    clock.0.store(LATER, Ordering::SeqCst);
    assert_eq!(buyer.payer.reconcile().await.unwrap().released, 1);
    assert_eq!(buyer.states().await, [SpendState::Released]);
}

#[tokio::test]
async fn a_redirect_is_never_the_goods() {
    for status in [300, 301, 302, 303, 304, 307, 308] {
        let elsewhere =
            move || Reply::text(status, "").with_text("location", "http://127.0.0.1:1/x");
        let seller = Seller::selling(vec![offer("10000")], move |_| {
            receipt(elsewhere(), &success())
        })
        .await;
        let error = Buyer::new().await.get(&seller.url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PaidNotDelivered, "{status}");
        assert_eq!(error.answer().unwrap().status, status);

        let seller = Seller::selling(vec![offer("10000")], move |_| elsewhere()).await;
        let error = Buyer::new().await.get(&seller.url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unknown, "{status}");
        // A POST may be done by the time it is answered so.
        let post = PayRequest::new(http::Method::POST, seller.url.clone());
        let before = seller.payments().len();
        Buyer::new().await.payer.fetch(post).await.unwrap_err();
        assert_eq!(seller.payments().len(), before + 1, "{status}");
    }
}

#[tokio::test]
async fn the_story_says_paid_only_of_money_that_moved() {
    let refusing: fn() -> Reply =
        || receipt(Reply::status(402), &failure("insufficient_funds", ""));
    let no_receipt: fn() -> Reply = || Reply::text(200, "the goods");
    for (reply, told) in [
        (goods as fn() -> Reply, "paid"),
        (paid_500, "paid"),
        (refusing, "held"),
        (no_receipt, "held"),
        (|| Reply::Cut, "held"),
    ] {
        let seller = Seller::selling(vec![offer("10000")], move |_| reply()).await;
        let buyer = Buyer::new().await;
        let payment = match buyer.get(&seller.url).await {
            Ok(answer) => answer.payment,
            Err(error) => error.payment().cloned(),
        };
        let settled = payment.unwrap().is_settled();
        let diary = buyer.diary();
        let ends: Vec<_> = diary
            .iter()
            .map(String::as_str)
            .filter(|e| ["paid", "held"].contains(e))
            .collect();
        assert_eq!((ends, settled), (vec![told], told == "paid"));
        let lines = buyer.diary.lock().unwrap().clone();
        let line = lines.iter().find(|l| l.contains("\"standing\"")).unwrap();
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["words"], "0.01 USDC on Base Sepolia");
    }
}
