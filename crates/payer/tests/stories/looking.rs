use tollway_core::Amount;
use tollway_ledger::{Limit, LimitScope};
use tollway_payer::{PayRequest, Payer};

use crate::bench::Buyer;
use crate::seller::*;
use crate::wallet::FakeWallet;

#[tokio::test]
async fn looking_costs_nothing_and_tells_what_would_be_taken() {
    let mut strange = offer("1");
    strange.asset = "0x2222222222222222222222222222222222222222".into();
    let seller = Seller::honest(vec![strange, offer("20000"), offer("10000")]).await;
    let buyer = Buyer::new().await;
    let seen = buyer
        .payer
        .inspect(PayRequest::get(seller.url.clone()))
        .await
        .unwrap();
    assert!(seen.would_pay && seen.refusal.is_none());
    assert_eq!((seen.status, seen.version), (402, Some(2)));
    assert_eq!(
        seen.offers[0].words,
        format!("0.01 USDC on Base Sepolia to {}", PAYEE.to_lowercase())
    );
    assert_eq!(
        seen.offers.iter().map(|o| o.chosen).collect::<Vec<_>>(),
        [true, false, false]
    );
    assert_eq!(seen.offers[1].cost.as_deref(), Some("0.02 USDC"));
    assert_eq!(
        seen.offers[2].refusal.as_ref().unwrap().code,
        "policy_asset"
    );
    assert_eq!(
        (
            buyer.wallet.signed(),
            seller.payments().len(),
            buyer.spends().await.len()
        ),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn looking_needs_neither_wallet_nor_record() {
    let seller = Seller::start(|_| challenge_v1(vec![offer("10000")])).await;
    let seen = Payer::builder()
        .build()
        .unwrap()
        .inspect(PayRequest::get(seller.url))
        .await
        .unwrap();
    assert_eq!((seen.version, seen.would_pay), (Some(1), true));
    let free = Seller::start(|_| Reply::text(200, "free")).await;
    let seen = Payer::builder()
        .build()
        .unwrap()
        .inspect(PayRequest::get(free.url))
        .await
        .unwrap();
    assert_eq!(
        (seen.status, seen.version, seen.would_pay),
        (200, None, false)
    );
}

#[tokio::test]
async fn looking_tells_why_nothing_would_be_paid() {
    let limits = vec![Limit {
        scope: LimitScope::Account,
        window: None,
        max: Amount::from_atomic(15_000),
    }];
    let buyer = Buyer::with(FakeWallet::default(), |b| b.limits(limits)).await;
    let seller = Seller::honest(vec![offer("10000")]).await;
    buyer.get(&seller.url).await.unwrap();
    let seen = buyer
        .payer
        .inspect(PayRequest::get(seller.url.clone()))
        .await
        .unwrap();
    assert!(!seen.would_pay && !seen.offers[0].chosen);
    assert_eq!(seen.refusal.unwrap().code, "budget_exceeded");
    let dear = Seller::honest(vec![offer("9000000")]).await;
    let seen = buyer
        .payer
        .inspect(PayRequest::get(dear.url.clone()))
        .await
        .unwrap();
    assert_eq!(seen.refusal.unwrap().code, "policy_amount");
}
