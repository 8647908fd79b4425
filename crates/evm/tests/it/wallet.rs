//! What a payer's key signs, and what it refuses to sign.

use std::time::Duration;

use alloy_primitives::U256;
use serde_json::json;
use tollway_core::wire::PaymentRequirements;
use tollway_core::{Amount, Limits, Terms, Wallet, WalletError};
use tollway_evm::{EvmWallet, SignedAuthorization};

use crate::support::clock::TestClock;
use crate::support::world::{NOW, key};

fn requirements() -> PaymentRequirements {
    serde_json::from_value(json!({
        "scheme": "exact",
        "network": "eip155:84532",
        "amount": "10000",
        "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
        "payTo": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
        "maxTimeoutSeconds": 60,
        "extra": {"name": "USDC", "version": "2"}
    }))
    .unwrap()
}

fn limits() -> Limits {
    Limits {
        max_amount: Amount::from_atomic(10_000),
        max_lifetime: Duration::from_secs(900),
    }
}

async fn refusal(change: impl FnOnce(&mut PaymentRequirements)) -> String {
    let mut requirements = requirements();
    change(&mut requirements);
    let terms = Terms::check(requirements).unwrap();
    match EvmWallet::new(key(0)).prepare(&terms, &limits()).await {
        Err(WalletError::Refused(refusal)) => refusal.code().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_wallet_signs_what_is_asked_within_its_lifetime() {
    let terms = Terms::check(requirements()).unwrap();
    let wallet = EvmWallet::new(key(0)).with_clock(TestClock::at(NOW));
    assert!(wallet.supports(&terms));
    let prepared = wallet.prepare(&terms, &limits()).await.unwrap();
    let signed = SignedAuthorization::parse(&prepared.payload).unwrap();
    assert_eq!(signed.authorization.from, key(0).address());
    assert_eq!(signed.authorization.value, U256::from(10_000));
    assert_eq!(signed.authorization.valid_before, U256::from(NOW + 60));
    assert_eq!(signed.authorization.valid_after, U256::from(NOW - 600));
    assert_eq!(prepared.valid_until.secs(), NOW + 60);
    assert_eq!(prepared.amount, terms.amount);
    assert!(prepared.transaction.is_none());
    let another = wallet.prepare(&terms, &limits()).await.unwrap();
    assert_ne!(another.identity.nonce, prepared.identity.nonce);
}

#[tokio::test]
async fn the_domain_comes_from_our_own_table_and_a_server_that_differs_is_not_paid() {
    for extra in [
        json!({"name": "USD Coin", "version": "2"}),
        json!({"name": "USDC", "version": "1"}),
    ] {
        let code = refusal(|r| r.extra = extra.as_object().cloned()).await;
        assert_eq!(code, "asset_mismatch");
    }
}

#[tokio::test]
async fn what_the_wallet_does_not_know_or_may_not_spend_is_not_signed() {
    let unknown = "0x00000000000000000000000000000000000000aa";
    assert_eq!(
        refusal(|r| r.asset = unknown.to_owned()).await,
        "no_acceptable_terms"
    );
    // The same contract on another network is another asset.
    assert_eq!(
        refusal(|r| r.network = "eip155:1".to_owned()).await,
        "no_acceptable_terms"
    );
    assert_eq!(
        refusal(|r| r.scheme = "upto".to_owned()).await,
        "no_acceptable_terms"
    );
    let unknown = json!({"assetTransferMethod": "erc7710"});
    assert_eq!(
        refusal(|r| r.extra = unknown.as_object().cloned()).await,
        "no_acceptable_terms"
    );
    assert_eq!(
        refusal(|r| r.amount = "10001".to_owned()).await,
        "price_above_limit"
    );
}
