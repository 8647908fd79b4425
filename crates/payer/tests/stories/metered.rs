//! Metered use: the maximum is signed for and counted, the actual amount is paid.

use std::sync::Arc;

use serde_json::json;
use tollway_core::wire::{PaymentRequirements, SettleResponse};
use tollway_core::{Amount, Lookup, Settled};
use tollway_evm::{EvmSigner, EvmWallet};
use tollway_ledger::{Limit, LimitScope, SpendState};
use tollway_payer::{PayRequest, Standing};

use crate::bench::Buyer;
use crate::open_payments::{Oracle, settled, unused};
use crate::seller::*;

const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

fn wallet() -> EvmWallet {
    EvmWallet::new(EvmSigner::from_hex(KEY).unwrap())
}

fn upto(maximum: &str) -> PaymentRequirements {
    let mut offer = offer(maximum);
    offer.scheme = "upto".into();
    offer.with_extra("facilitatorAddress", PAYEE)
}

fn used(amount: &str) -> Reply {
    let response = SettleResponse {
        amount: Some(amount.into()),
        transaction: if amount == "0" {
            String::new()
        } else {
            TX.into()
        },
        ..success()
    };
    receipt(Reply::text(200, "the goods"), &response)
}

async fn meter(amount: &'static str) -> Seller {
    Seller::selling(vec![upto("10000")], move |_| used(amount)).await
}

fn moved(units: u128) -> Lookup {
    let Lookup::Settled(seen) = settled() else {
        unreachable!()
    };
    Lookup::Settled(Settled {
        amount: Amount::from_atomic(units),
        ..seen
    })
}

#[tokio::test]
async fn maximum_and_actual_are_told_and_a_sellers_word_frees_no_budget() {
    let buyer = Buyer::with(wallet(), |b| b).await;
    let answer = buyer.get(&meter("4000").await.url).await.unwrap();
    let payment = answer.payment.unwrap();
    assert_eq!(
        payment.words,
        "0.004 USDC (of at most 0.01 USDC) on Base Sepolia"
    );
    assert_eq!(
        (payment.amount, payment.maximum),
        (Amount::from_atomic(4_000), Amount::from_atomic(10_000))
    );
    assert_eq!(
        serde_json::to_value(&payment).unwrap()["method"],
        json!("upto")
    );
    let spend = &buyer.spends().await[0];
    assert_eq!(
        (spend.state, spend.paid),
        (SpendState::Paid, Some(Amount::from_atomic(10_000)))
    );
}

#[tokio::test]
async fn the_chain_corrects_the_budget_down_to_what_moved() {
    let oracle = Oracle::says(moved(4_000));
    let buyer = Buyer::with(wallet(), |b| b.reconciler(oracle, false)).await;
    let answer = buyer.get(&meter("4000").await.url).await.unwrap();
    assert_eq!(answer.payment.unwrap().standing, Standing::Confirmed);
    assert_eq!(
        buyer.spends().await[0].paid,
        Some(Amount::from_atomic(4_000))
    );
}

#[tokio::test]
async fn what_the_chain_does_not_show_yet_is_held_and_is_no_unfinished_purchase() {
    let oracle = Oracle::says(unused());
    let buyer = Buyer::with(wallet(), |b| b.reconciler(oracle.clone(), false)).await;
    let seller = meter("4000").await;
    for _ in 0..2 {
        let payment = buyer.get(&seller.url).await.unwrap().payment.unwrap();
        assert_eq!(payment.standing, Standing::Settled);
    }
    assert_eq!(seller.distinct_payments(), 2);
    assert_eq!(buyer.states().await, [SpendState::Unknown; 2]);
    assert_eq!(
        buyer.payer.counters().spent[0].amount,
        Amount::from_atomic(8_000)
    );
    *oracle.0.lock().unwrap() = moved(4_000);
    assert_eq!(buyer.payer.reconcile().await.unwrap().paid, 2);
    let paid: Vec<_> = buyer.spends().await.into_iter().map(|s| s.paid).collect();
    assert_eq!(paid, [Some(Amount::from_atomic(4_000)); 2]);
}

#[tokio::test]
async fn use_that_cost_nothing_is_given_back_once_that_is_proved() {
    let oracle = Oracle::says(unused());
    let clock = Arc::new(crate::open_payments::Ahead(0.into()));
    let buyer = Buyer::with(wallet(), |b| {
        b.reconciler(oracle, true).clock(clock.clone())
    })
    .await;
    let payment = buyer
        .get(&meter("0").await.url)
        .await
        .unwrap()
        .payment
        .unwrap();
    assert_eq!(
        (payment.amount, payment.standing),
        (Amount::ZERO, Standing::Settled)
    );
    assert_eq!(buyer.states().await, [SpendState::Unknown]);
    clock.0.store(1_000, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(buyer.payer.reconcile().await.unwrap().released, 1);
}

#[tokio::test]
async fn more_than_was_signed_for_is_no_receipt() {
    for amount in ["10001", "99999999999", "-1", "1.5"] {
        let buyer = Buyer::with(wallet(), |b| b).await;
        let seller = Seller::selling(vec![upto("10000")], move |_| used(amount)).await;
        let payment = buyer.get(&seller.url).await.unwrap().payment.unwrap();
        assert!(
            matches!(payment.standing, Standing::Held { .. }),
            "{amount}"
        );
        assert_eq!(buyer.spends().await[0].paid, None);
    }
}

#[tokio::test]
async fn the_maximum_counts_against_limits_and_the_price_of_one_call() {
    let dear = Seller::selling(vec![upto("100001")], |_| used("1")).await;
    let buyer = Buyer::with(wallet(), |b| b).await;
    assert_eq!(buyer.refusal(&dear.url).await, "policy_amount");
    let limit = Limit {
        scope: LimitScope::Account,
        window: None,
        max: Amount::from_atomic(15_000),
    };
    let buyer = Buyer::with(wallet(), |b| b.limits(vec![limit])).await;
    let seller = meter("1").await;
    buyer.get(&seller.url).await.unwrap();
    assert_eq!(buyer.refusal(&seller.url).await, "budget_exceeded");
}

#[tokio::test]
async fn looking_says_that_the_price_is_a_maximum() {
    let buyer = Buyer::with(wallet(), |b| b).await;
    let seller = meter("1").await;
    let seen = buyer
        .payer
        .inspect(PayRequest::get(seller.url.clone()))
        .await
        .unwrap();
    let offer = serde_json::to_value(&seen.offers[0]).unwrap();
    assert_eq!(
        (&offer["metered"], &offer["method"], &offer["cost"]),
        (&json!(true), &json!("upto"), &json!("at most 0.01 USDC"))
    );
}
