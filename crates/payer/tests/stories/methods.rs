//! Choosing among the ways to pay.

use tollway_core::assets::Method;
use tollway_core::wire::PaymentRequirements;
use tollway_evm::{EvmSigner, EvmWallet};
use tollway_payer::{ErrorKind, PayMethod, Policy};

use crate::bench::Buyer;
use crate::seller::*;

const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

fn wallet() -> EvmWallet {
    EvmWallet::new(EvmSigner::from_hex(KEY).unwrap())
}

fn all(amount: &str) -> Vec<PaymentRequirements> {
    let mut upto = offer(amount).with_extra("facilitatorAddress", PAYEE);
    upto.scheme = "upto".into();
    vec![
        upto,
        offer(amount).with_method(Method::Permit2),
        offer(amount),
    ]
}

/// The method that a payment on the wire is of.
fn method(seen: &Seen) -> Option<PayMethod> {
    let accepted = tollway_core::Terms::check(seen.decoded().accepted).unwrap();
    PayMethod::of(&accepted)
}

#[tokio::test]
async fn between_equal_prices_the_buyers_order_of_methods_decides() {
    let seller = Seller::honest(all("10000")).await;
    for preferred in [
        None,
        Some(PayMethod::Permit2),
        Some(PayMethod::Upto),
        Some(PayMethod::Eip3009),
    ] {
        let methods = PayMethod::preferring(preferred.as_slice());
        let policy = Policy {
            methods,
            ..Policy::default()
        };
        let buyer = Buyer::with(wallet(), |b| b.policy(policy)).await;
        buyer.get(&seller.url).await.unwrap();
        let wanted = preferred.unwrap_or(PayMethod::Eip3009);
        assert_eq!(method(seller.seen().last().unwrap()), Some(wanted));
    }
}

#[tokio::test]
async fn a_lower_price_comes_before_any_preference_and_methods_can_be_left_out() {
    let mut offers = all("10000");
    offers[1].amount = "9999".into();
    let seller = Seller::honest(offers).await;
    let buyer = Buyer::with(wallet(), |b| b).await;
    buyer.get(&seller.url).await.unwrap();
    assert_eq!(
        method(seller.seen().last().unwrap()),
        Some(PayMethod::Permit2)
    );
    let policy = Policy {
        methods: vec![PayMethod::Upto],
        ..Policy::default()
    };
    let buyer = Buyer::with(wallet(), |b| b.policy(policy)).await;
    buyer.get(&seller.url).await.unwrap();
    assert_eq!(method(seller.seen().last().unwrap()), Some(PayMethod::Upto));
    let policy = Policy {
        methods: vec![PayMethod::Txid],
        ..Policy::default()
    };
    let buyer = Buyer::with(wallet(), |b| b.policy(policy)).await;
    assert_eq!(buyer.refusal(&seller.url).await, "policy_method");
}

#[tokio::test]
async fn a_server_that_changes_the_method_after_the_payment_is_not_paid_again() {
    for changed in [0, 1] {
        let seller = Seller::selling(vec![offer("10000")], move |_| {
            challenge(vec![all("10000").swap_remove(changed)])
        })
        .await;
        let buyer = Buyer::with(wallet(), |b| b).await;
        for _ in 0..2 {
            let error = buyer.get(&seller.url).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::RefusedByServer);
        }
        assert_eq!(
            (seller.distinct_payments(), buyer.spends().await.len()),
            (1, 1)
        );
    }
}

#[test]
fn every_method_is_known_by_its_name() {
    for known in PayMethod::ALL {
        assert_eq!(known.to_string().parse(), Ok(known));
    }
    assert!("EIP3009".parse::<PayMethod>().is_err());
    assert_eq!(
        PayMethod::preferring(&[PayMethod::Txid]).len(),
        PayMethod::ALL.len()
    );
}
