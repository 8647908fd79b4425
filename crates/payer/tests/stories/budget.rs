use std::sync::Arc;
use std::time::Duration;

use tollway_core::Amount;
use tollway_ledger::{Limit, LimitScope, SpendState};
use tollway_payer::{ErrorKind, PayRequest};

use crate::bench::Buyer;
use crate::seller::*;
use crate::wallet::FakeWallet;

fn at_most(scope: LimitScope, units: u128) -> Vec<Limit> {
    vec![Limit {
        scope,
        window: Some(Duration::from_secs(3600)),
        max: Amount::from_atomic(units),
    }]
}

async fn ten_at_once(buyer: &Buyer, url: &url::Url, same: bool) -> (usize, Vec<String>) {
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..10 {
        let payer = buyer.payer.clone();
        let mut url = url.clone();
        if !same {
            url.set_query(Some(&format!("n={n}")));
        }
        calls.spawn(async move { payer.fetch(PayRequest::get(url)).await });
    }
    let mut refusals = Vec::new();
    let mut paid = 0;
    for result in calls.join_all().await {
        match result {
            Ok(answer) => paid += usize::from(answer.payment.unwrap().is_settled()),
            Err(error) => refusals.push(error.code().to_owned()),
        }
    }
    (paid, refusals)
}

#[tokio::test]
async fn a_budget_for_five_calls_pays_five_of_ten_at_once() {
    for same in [false, true] {
        let slow = FakeWallet {
            slow: Duration::from_millis(20),
            ..FakeWallet::default()
        };
        let limits = at_most(LimitScope::Account, 50_000);
        let buyer = Buyer::with(slow, |b| b.limits(limits)).await;
        let seller = Seller::honest(vec![offer("10000")]).await;
        let (paid, refusals) = ten_at_once(&buyer, &seller.url, same).await;
        assert_eq!(paid, 5);
        assert_eq!(refusals, ["budget_exceeded"; 5]);
        assert_eq!((buyer.wallet.signed(), seller.distinct_payments()), (5, 5));
        assert_eq!(
            buyer.payer.counters().spent[0].amount,
            Amount::from_atomic(50_000)
        );
    }
}

#[tokio::test]
async fn what_is_held_counts_like_what_is_spent() {
    let limits = at_most(LimitScope::Account, 25_000);
    let buyer = Buyer::with(FakeWallet::default(), |b| b.limits(limits)).await;
    let silent = Seller::selling(vec![offer("10000")], |_| Reply::Cut).await;
    let refuses = Seller::selling(vec![offer("10000")], |_| {
        receipt(Reply::status(402), &failure("insufficient_funds", ""))
    })
    .await;
    assert_eq!(
        buyer.get(&silent.url).await.unwrap_err().kind(),
        ErrorKind::Unknown
    );
    assert_eq!(
        buyer.get(&refuses.url).await.unwrap_err().kind(),
        ErrorKind::RefusedByServer
    );
    let honest = Seller::honest(vec![offer("10000")]).await;
    let error = buyer.get(&honest.url).await.unwrap_err();
    assert_eq!(error.code(), "budget_exceeded");
    assert!(
        error.message().contains("0.02 of 0.025 USDC"),
        "{}",
        error.message()
    );
    assert_eq!(buyer.wallet.signed(), 2);
}

#[tokio::test]
async fn what_was_never_signed_is_given_back() {
    let careless = FakeWallet {
        forced_lifetime: Some(Duration::from_secs(86_400)),
        ..FakeWallet::default()
    };
    let limits = at_most(LimitScope::Account, 10_000);
    let buyer = Buyer::with(careless, |b| b.limits(limits)).await;
    let seller = Seller::honest(vec![offer("10000")]).await;
    for _ in 0..3 {
        assert_eq!(buyer.refusal(&seller.url).await, "policy_lifetime");
    }
    assert_eq!(buyer.states().await, [SpendState::Released; 3]);
}

#[tokio::test]
async fn a_budget_holds_over_restarts_and_over_payers_that_share_a_ledger() {
    let limits = at_most(LimitScope::Host("127.0.0.1".into()), 20_000);
    let seller = Seller::honest(vec![offer("10000")]).await;
    let first = Buyer::with(FakeWallet::default(), |b| b.limits(limits.clone())).await;
    first.get(&seller.url).await.unwrap();
    let again = first
        .restarted(|b| b.limits(limits.clone()).agent("other"))
        .await;
    again.get(&seller.url).await.unwrap();
    assert_eq!(again.refusal(&seller.url).await, "budget_exceeded");
}

#[tokio::test]
async fn a_ledger_that_cannot_write_stops_payment_before_signing() {
    let buyer = Buyer::new().await;
    let seller = Seller::honest(vec![offer("10000")]).await;
    buyer.ledger.close().await;
    let error = buyer.get(&seller.url).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Failed, "ledger_unavailable")
    );
    assert_eq!((buyer.wallet.signed(), seller.payments().len()), (0, 0));
}

#[tokio::test]
async fn without_a_wallet_or_a_record_nothing_is_paid() {
    let seller = Seller::honest(vec![offer("10000")]).await;
    let bare = tollway_payer::Payer::builder().build().unwrap();
    let error = bare
        .fetch(PayRequest::get(seller.url.clone()))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Failed, "wallet_unavailable")
    );
    let wallet = Arc::new(FakeWallet::default());
    let forgetful = tollway_payer::Payer::builder()
        .wallet(wallet.clone())
        .build()
        .unwrap();
    let error = forgetful
        .fetch(PayRequest::get(seller.url.clone()))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "ledger_unavailable");
    assert_eq!((wallet.signed(), seller.payments().len()), (0, 0));
}
