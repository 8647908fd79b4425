use std::time::Duration;

use tollway_core::Network;
use tollway_core::wire::PaymentRequirements;
use tollway_payer::{ErrorKind, Policy};

use crate::bench::Buyer;
use crate::seller::*;
use crate::wallet::FakeWallet;

/// The code that an offer is refused with; nothing may be signed or shown.
async fn refused(policy: Policy, accepts: Vec<PaymentRequirements>) -> String {
    let seller = Seller::honest(accepts).await;
    let buyer = Buyer::with(FakeWallet::default(), |b| b.policy(policy)).await;
    let error = buyer.get(&seller.url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Declined);
    assert_eq!(buyer.wallet.signed(), 0);
    assert_eq!(seller.payments().len(), 0);
    assert!(buyer.spends().await.is_empty());
    error.code().to_owned()
}

async fn refused_by_default(change: impl FnOnce(&mut PaymentRequirements)) -> String {
    let mut changed = offer("10000");
    change(&mut changed);
    refused(Policy::default(), vec![changed]).await
}

#[tokio::test]
async fn a_price_above_the_limit_is_not_paid() {
    assert_eq!(
        refused(Policy::default(), vec![offer("100001")]).await,
        "policy_amount"
    );
    let tight = Policy {
        max_per_call: "0.02".parse().unwrap(),
        ..Policy::default()
    };
    assert_eq!(
        refused(tight.clone(), vec![offer("20001")]).await,
        "policy_amount"
    );
    let all = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
    assert_eq!(
        refused(tight.clone(), vec![offer(all)]).await,
        "policy_amount"
    );
    let seller = Seller::honest(vec![offer("20000")]).await;
    let buyer = Buyer::with(FakeWallet::default(), |b| b.policy(tight)).await;
    assert!(buyer.get(&seller.url).await.is_ok());
}

#[tokio::test]
async fn decimals_that_the_server_claims_change_nothing() {
    // 10 dollars that claim to be 0.00000000001.
    let code = refused_by_default(|o| {
        o.amount = "10000000".into();
        *o = o
            .clone()
            .with_extra("decimals", 18)
            .with_extra("symbol", "SHIB");
    });
    assert_eq!(code.await, "policy_amount");
}

#[tokio::test]
async fn an_asset_that_is_swapped_or_looks_alike_is_not_paid() {
    let lookalike = refused_by_default(|o| o.asset = USDC.replace("036C", "036D"));
    assert_eq!(lookalike.await, "policy_asset");
    // The same address on another network is another contract.
    let elsewhere = refused_by_default(|o| o.network = "eip155:8453".into());
    assert_eq!(elsewhere.await, "policy_asset");
    let renamed = refused_by_default(|o| *o = o.clone().with_extra("name", "USD Coin"));
    assert_eq!(renamed.await, "policy_asset");
    let versioned = refused_by_default(|o| *o = o.clone().with_extra("version", "1"));
    assert_eq!(versioned.await, "policy_asset");
}

#[tokio::test]
async fn the_wallet_signs_under_our_own_domain_where_the_server_gives_none() {
    let mut silent = offer("10000");
    silent.extra = None;
    let seller = Seller::honest(vec![silent.clone()]).await;
    let buyer = Buyer::new().await;
    buyer.get(&seller.url).await.unwrap();
    let seen = buyer.wallet.seen.lock().unwrap();
    assert_eq!(seen[0].0.wire.extra_str("name"), Some("USDC"));
    assert_eq!(seen[0].0.wire.extra_str("version"), Some("2"));
    assert_eq!(seller.seen()[1].decoded().accepted, silent);
}

#[tokio::test]
async fn a_network_that_the_buyer_does_not_use_is_not_paid_on() {
    let base_only = Policy {
        networks: vec![Network::eip155(8453)],
        ..Policy::default()
    };
    assert_eq!(
        refused(base_only, vec![offer("10000")]).await,
        "policy_network"
    );
    for network in [
        "base-sepolia",
        "eip155:084532",
        "eip155:0",
        "eip155:84532 ",
        "xrpl:0",
    ] {
        let code = refused_by_default(|o| o.network = network.into()).await;
        assert_eq!(code, "invalid_network", "{network}");
    }
}

#[tokio::test]
async fn only_allowed_payees_are_paid() {
    let network = Network::eip155(84532);
    let mut policy = Policy {
        payees: vec![
            network
                .address("0x1111111111111111111111111111111111111111")
                .unwrap(),
        ],
        ..Policy::default()
    };
    assert_eq!(
        refused(policy.clone(), vec![offer("10000")]).await,
        "policy_payee"
    );
    policy
        .payees
        .push(network.address(&PAYEE.to_lowercase()).unwrap());
    let seller = Seller::honest(vec![offer("10000")]).await;
    let buyer = Buyer::with(FakeWallet::default(), |b| b.policy(policy)).await;
    assert!(buyer.get(&seller.url).await.is_ok());
}

#[tokio::test]
async fn only_allowed_hosts_are_paid_and_what_the_resource_says_changes_nothing() {
    let named = Policy {
        hosts: vec!["seller.test".parse().unwrap()],
        ..Policy::default()
    };
    // The terms name https://seller.test/goods; the request went to 127.0.0.1.
    assert_eq!(refused(named, vec![offer("10000")]).await, "policy_host");
    let local = Policy {
        hosts: vec!["127.0.0.1".parse().unwrap()],
        ..Policy::default()
    };
    let seller = Seller::honest(vec![offer("10000")]).await;
    let buyer = Buyer::with(FakeWallet::default(), |b| b.policy(local)).await;
    assert!(buyer.get(&seller.url).await.is_ok());
    assert_eq!(buyer.spends().await[0].spend.host, "127.0.0.1");
}

#[tokio::test]
async fn amounts_that_are_no_plain_integers_are_refused() {
    for amount in [
        "",
        "0x10",
        "1e4",
        "10000.0",
        "-1",
        "+10000",
        "010000",
        "１００００",
        " 10000",
        "1_000",
    ] {
        let code = refused_by_default(|o| o.amount = amount.into()).await;
        assert_eq!(code, "invalid_payment_requirements", "{amount}");
    }
}

#[tokio::test]
async fn an_authorization_never_lives_longer_than_the_policy_allows() {
    let mut year = offer("10000");
    year.max_timeout_seconds = 31_536_000;
    let seller = Seller::honest(vec![year.clone()]).await;
    let buyer = Buyer::new().await;
    buyer.get(&seller.url).await.unwrap();
    let spend = buyer.spends().await.remove(0);
    let life = spend.signed.unwrap().valid_until.since(spend.reserved_at);
    assert!(life <= Duration::from_secs(901), "{life:?}");
    // A wallet that does not care is caught before anything leaves.
    let careless = FakeWallet {
        forced_lifetime: Some(Duration::from_secs(86_400)),
        ..FakeWallet::default()
    };
    let buyer = Buyer::with(careless, |b| b).await;
    let seller = Seller::honest(vec![year]).await;
    assert_eq!(buyer.refusal(&seller.url).await, "policy_lifetime");
    assert_eq!(seller.payments().len(), 0);
    assert_eq!(buyer.states().await, [tollway_ledger::SpendState::Released]);
}

#[tokio::test]
async fn an_endless_timeout_is_refused() {
    let code = refused_by_default(|o| o.max_timeout_seconds = u64::MAX).await;
    assert_eq!(code, "invalid_payment_requirements");
}

#[tokio::test]
async fn schemes_methods_and_flows_that_are_not_known_are_not_paid() {
    assert_eq!(
        refused_by_default(|o| o.scheme = "deferred".into()).await,
        "unsupported_scheme"
    );
    assert_eq!(
        refused_by_default(|o| o.scheme = "upto".into()).await,
        "no_acceptable_offer"
    );
    let method =
        refused_by_default(|o| *o = o.clone().with_extra("assetTransferMethod", "teleport"));
    assert_eq!(method.await, "no_acceptable_offer");
    let flow = refused_by_default(|o| *o = o.clone().with_extra("paymentFlow", "escrow"));
    assert_eq!(flow.await, "invalid_payment_requirements");
}

#[tokio::test]
async fn several_bad_offers_are_refused_with_every_reason() {
    let mut swapped = offer("10000");
    swapped.asset = "0x2222222222222222222222222222222222222222".into();
    let seller = Seller::honest(vec![offer("900000"), swapped]).await;
    let error = Buyer::new().await.get(&seller.url).await.unwrap_err();
    assert_eq!(error.code(), "no_acceptable_offer");
    assert!(error.message().contains("policy_amount") && error.message().contains("policy_asset"));
    assert_eq!(
        refused(Policy::default(), vec![]).await,
        "no_acceptable_offer"
    );
}

#[tokio::test]
async fn a_trap_beside_a_good_offer_does_not_stop_the_good_one() {
    let mut trap = offer("1");
    trap.asset = "0x2222222222222222222222222222222222222222".into();
    let seller = Seller::honest(vec![trap, offer("10000")]).await;
    let buyer = Buyer::new().await;
    let payment = buyer.get(&seller.url).await.unwrap().payment.unwrap();
    assert_eq!(payment.amount, tollway_core::Amount::from_atomic(10_000));
    assert!(buyer.diary().contains(&"passed_over".to_owned()));
}

#[tokio::test]
async fn plain_http_to_another_machine_is_not_even_asked() {
    let buyer = Buyer::new().await;
    let url = "http://192.0.2.1/goods?token=secret".parse().unwrap();
    let error = buyer.get(&url).await.unwrap_err();
    assert_eq!(
        (error.code(), error.kind()),
        ("policy_insecure_url", ErrorKind::Declined)
    );
    assert!(!error.to_string().contains("secret"));
    assert_eq!(buyer.diary(), ["failed"]);
}

#[tokio::test]
async fn what_a_server_writes_cannot_paint_on_the_terminal() {
    let mut painted = offer("10000");
    painted.network = "eip155:1\u{1b}[2J\u{202e}".into();
    let seller = Seller::honest(vec![painted]).await;
    let buyer = Buyer::new().await;
    let error = buyer.get(&seller.url).await.unwrap_err();
    assert!(!error.to_string().chars().any(char::is_control));
    let diary = buyer.diary.lock().unwrap().join("");
    assert!(!diary.contains('\u{202e}') && !diary.contains("\\u001b"));
}
