//! What the seller signs: offers in every 402 answer, receipts with what was paid for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use serde::Serialize;
use serde_json::json;
use tollway_core::extensions::offer_receipt::{
    Notary, OFFER_RECEIPT, OfferStatement, ReceiptStatement, SignedStatement, offers, receipt,
};
use tollway_core::wire::SettleResponse;
use tollway_gate::{BuildError, Gate, Offer, Route};

use crate::support::{Answer, BASE, PAYEE, Say, World, limits, price, terms_of};
use crate::upfront::HandClock;

/// Writes down what it would sign, in the signature's place.
struct Scribe;

fn signed(said: &impl Serialize) -> SignedStatement {
    SignedStatement {
        format: "eip712".to_owned(),
        accept_index: None,
        payload: serde_json::to_value(said).ok(),
        signature: format!("signed {}", serde_json::to_string(said).unwrap()),
    }
}

impl Notary for Scribe {
    fn offer(&self, offer: &OfferStatement) -> SignedStatement {
        signed(offer)
    }

    fn receipt(&self, receipt: &ReceiptStatement) -> SignedStatement {
        signed(receipt)
    }
}

async fn signing(names_transaction: bool) -> World {
    World::with(|gate| {
        let dear = Offer::new("$0.02", "base-sepolia", PAYEE).unwrap();
        gate.route(Route::new("/paid/*").unwrap().offer(price()).offer(dear))
            .statements(Arc::new(Scribe), names_transaction)
    })
    .await
}

fn receipt_of(answer: &Answer) -> Option<SignedStatement> {
    let told = tollway_core::header::receipt(&answer.headers).unwrap();
    receipt(told.and_then(|told| told.extensions).as_ref()).flatten()
}

#[tokio::test]
async fn every_402_holds_a_signed_offer_of_each_way_to_pay() {
    let world = signing(false).await;
    for path in ["/paid/x", "/paid/another"] {
        let terms = terms_of(&world.get(path).await);
        let offers = offers(terms.extensions.as_ref());
        assert_eq!(offers.len(), terms.accepts.len());
        for (place, (offer, accepted)) in (0_u64..).zip(offers.iter().zip(&terms.accepts)) {
            assert_eq!(offer.accept_index, Some(place));
            let said: OfferStatement =
                serde_json::from_value(offer.payload.clone().unwrap()).unwrap();
            assert!(said.states(accepted, &format!("{BASE}{path}")), "{said:?}");
            assert!(said.valid_until > 1_700_000_000);
        }
    }
}

/// Counts what it signs.
#[derive(Default)]
struct Busy(AtomicUsize);

impl Notary for Busy {
    fn offer(&self, offer: &OfferStatement) -> SignedStatement {
        self.0.fetch_add(1, Ordering::Relaxed);
        signed(offer)
    }

    fn receipt(&self, receipt: &ReceiptStatement) -> SignedStatement {
        signed(receipt)
    }
}

#[tokio::test]
async fn who_only_asks_has_nothing_signed_anew_while_offers_hold() {
    let (notary, clock) = (Arc::new(Busy::default()), Arc::new(HandClock::default()));
    let world = World::with(|gate| {
        gate.route(Route::new("/paid/*").unwrap().offer(price()))
            .statements(notary.clone(), false)
            .clock(clock.clone())
    })
    .await;
    let before = notary.0.load(Ordering::Relaxed);
    let told = async |path: &str| {
        let terms = terms_of(&world.get(path).await);
        let offer = offers(terms.extensions.as_ref()).remove(0);
        let said: OfferStatement = serde_json::from_value(offer.payload.unwrap()).unwrap();
        assert!(said.states(&terms.accepts[0], &format!("{BASE}{path}")));
        (said.valid_until, terms.accepts[0].max_timeout_seconds)
    };
    let (until, time) = told("/paid/x").await;
    for _ in 0..50 {
        assert_eq!(told("/paid/x").await.0, until);
    }
    assert_eq!(notary.0.load(Ordering::Relaxed), before + 1);
    told("/paid/y").await;
    assert_eq!(notary.0.load(Ordering::Relaxed), before + 2);
    // What is told holds for most of its time still.
    clock.pass(Duration::from_secs(time / 4 + 1));
    assert!(told("/paid/x").await.0 > until);
    // However many paths are asked for, so many are kept, and the last of them is.
    for n in 0..200 {
        told(&format!("/paid/{n}")).await;
    }
    let before = notary.0.load(Ordering::Relaxed);
    told("/paid/199").await;
    assert_eq!(notary.0.load(Ordering::Relaxed), before);
}

#[tokio::test]
async fn a_paid_and_delivered_answer_has_a_receipt_and_a_repeat_has_one_too() {
    for names_transaction in [false, true] {
        let world = signing(names_transaction).await;
        let payment = world.payment("/paid/x").await.named("story-of-a-receipt");
        for _ in 0..2 {
            let paid = world.send(payment.get("/paid/x")).await;
            assert!(paid.has_secret());
            let signed = receipt_of(&paid).unwrap();
            let said: ReceiptStatement = serde_json::from_value(signed.payload.unwrap()).unwrap();
            assert_eq!(said.resource_url, format!("{BASE}/paid/x"));
            assert_eq!(said.network, "eip155:84532");
            assert_eq!(said.payer, paid.receipt().payer.unwrap());
            let transaction = paid.receipt().transaction;
            assert!(!transaction.is_empty());
            let named = if names_transaction {
                transaction
            } else {
                String::new()
            };
            assert_eq!(said.transaction, named);
        }
        let old = world.payment("/paid/x").await.in_version_1();
        let paid = world.send(old.get("/paid/x")).await;
        assert!(paid.has_secret() && receipt_of(&paid).is_none());
    }
}

#[tokio::test]
async fn a_receipt_names_the_payer_that_was_verified_whomever_a_facilitator_names() {
    let world = signing(true).await;
    let payment = world.payment("/paid/x").await;
    world.facilitator.next(Say::Answer(Box::new(SettleResponse {
        success: true,
        payer: Some("0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc".to_owned()),
        transaction: format!("0x{:064x}", 7),
        network: "eip155:84532".to_owned(),
        ..SettleResponse::default()
    })));
    let paid = world.send(payment.get("/paid/x")).await;
    assert!(paid.has_secret());
    let said = receipt_of(&paid).unwrap().payload.unwrap();
    let said: ReceiptStatement = serde_json::from_value(said).unwrap();
    let payer = "0x857b06519e91e3a54538791bdbb0e22373e36b66";
    assert_eq!(
        (said.payer.as_str(), paid.receipt().payer.as_deref()),
        (payer, Some(payer))
    );
}

#[tokio::test]
async fn what_was_not_paid_or_not_delivered_has_no_receipt() {
    let world = signing(true).await;
    let payment = world.payment("/paid/x").await;
    world.facilitator.next(Say::Unavailable);
    assert!(receipt_of(&world.send(payment.get("/paid/x")).await).is_none());
    let world = World::with(|gate| {
        let route = Route::new("/paid/*").unwrap().offer(price());
        gate.route(route.flow(tollway_core::PaymentFlow::Upfront))
            .statements(Arc::new(Scribe), true)
    })
    .await;
    let payment = world.payment("/paid/x").await;
    world
        .upstream
        .answer_with(StatusCode::INTERNAL_SERVER_ERROR);
    let failed = world.send(payment.get("/paid/x")).await;
    assert!(failed.receipt().success && !failed.status.is_success());
    assert!(receipt_of(&failed).is_none());
}

#[tokio::test]
async fn without_a_key_nothing_is_signed() {
    let world = World::new().await;
    let terms = terms_of(&world.get("/paid/x").await);
    assert!(!terms.extensions.unwrap().contains_key(OFFER_RECEIPT));
    let payment = world.payment("/paid/x").await;
    let paid = world.send(payment.get("/paid/x")).await;
    assert_eq!(paid.receipt().extensions, None);
}

/// A long path makes long offers; the terms count without them.
#[tokio::test]
async fn terms_that_have_no_room_for_signatures_are_told_without_them() {
    let world = signing(false).await;
    let long = format!("/paid/{}", "x".repeat(1500));
    let terms = terms_of(&world.get(&long).await);
    assert_eq!(terms.accepts.len(), 2);
    assert!(!terms.extensions.unwrap().contains_key(OFFER_RECEIPT));
}

#[tokio::test]
async fn more_offers_than_can_be_signed_in_a_header_are_refused_at_the_start() {
    let world = World::new().await;
    let mut route = Route::new("/paid/*").unwrap();
    for cents in 1..=9 {
        let price = format!("$0.0{cents}");
        route = route.offer(Offer::new(&price, "base-sepolia", PAYEE).unwrap());
    }
    let build = |signs: bool| {
        let gate = Gate::builder(BASE, world.facilitator.clone(), world.store.clone());
        let gate = gate.chain(world.chain.clone()).limits(limits());
        let gate = gate.route(route.clone());
        match signs {
            true => gate.statements(Arc::new(Scribe), false).build(),
            false => gate.build(),
        }
    };
    assert!(build(false).is_ok());
    let refused = build(true).err();
    assert!(
        matches!(refused, Some(BuildError::TermsTooLong { .. })),
        "{}",
        json!(format!("{refused:?}"))
    );
}
