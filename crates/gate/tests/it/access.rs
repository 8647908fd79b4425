//! Who may pay, and how often.

use std::net::SocketAddr;

use http::{Request, StatusCode};
use tollway_gate::{Access, Body, ClientAddress, Route};

use crate::support::{Payment, World, price};

const PAYER: &str = "0x857b06519E91e3A54538791bDbb0E22373e36b66";
const OTHER: &str = "0x00000000000000000000000000000000000000ff";

async fn shop(access: Access) -> World {
    World::with(|gate| {
        gate.route(Route::new("/paid/*").unwrap().offer(price()))
            .access(access)
    })
    .await
}

/// Nobody was asked, and nothing was claimed.
fn untouched(world: &World) {
    assert_eq!(world.facilitator.verify_calls(), 0);
    assert_eq!(
        (world.facilitator.settlements(), world.upstream.count()),
        (0, 0)
    );
    assert!(!world.kinds().contains(&"claimed"));
}

async fn payment_of(world: &World, payer: &str) -> Payment {
    let mut payment = world.payment("/paid/x").await;
    payment.payload.payload["authorization"]["from"] = payer.into();
    payment
}

#[tokio::test]
async fn who_is_blocked_pays_nothing_and_nobody_is_asked() {
    for access in [
        Access::new().block(&PAYER.to_lowercase()).unwrap(),
        Access::new().allow(OTHER).unwrap(),
    ] {
        let world = shop(access).await;
        let answer = world
            .send(world.payment("/paid/x").await.get("/paid/x"))
            .await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert_eq!(answer.code(), "payer_refused");
        assert!(!answer.has_terms(), "nobody is asked to pay who may not");
        untouched(&world);
    }
    let world = shop(Access::new().allow(PAYER).unwrap()).await;
    assert!(
        world
            .send(world.payment("/paid/x").await.get("/paid/x"))
            .await
            .has_secret()
    );
}

#[tokio::test]
async fn a_payer_pays_so_often_in_a_minute_and_others_go_on() {
    let world = shop(Access::new().per_payer(2)).await;
    for _ in 0..2 {
        assert!(
            world
                .send(world.payment("/paid/x").await.get("/paid/x"))
                .await
                .has_secret()
        );
    }
    let calls = world.facilitator.verify_calls();
    let slowed = world
        .send(world.payment("/paid/x").await.get("/paid/x"))
        .await;
    assert_eq!(slowed.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(slowed.code(), "payer_rate_limited");
    assert!(slowed.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(
        world.facilitator.verify_calls(),
        calls,
        "the facilitator is not asked"
    );
    assert_eq!(world.upstream.count(), 2);
    let other = payment_of(&world, OTHER).await;
    assert!(world.send(other.get("/paid/x")).await.has_secret());
}

#[tokio::test]
async fn nobody_uses_up_the_share_of_a_payer_without_its_signature() {
    let world = shop(Access::new().per_payer(1)).await;
    let invalid = tollway_core::wire::VerifyResponse {
        invalid_reason: Some("invalid_exact_evm_signature".to_owned()),
        ..Default::default()
    };
    *world.facilitator.verdict.lock().unwrap() = Some(Ok(invalid));
    for _ in 0..3 {
        let refused = world
            .send(world.payment("/paid/x").await.get("/paid/x"))
            .await;
        assert_eq!(refused.status, StatusCode::PAYMENT_REQUIRED);
    }
    *world.facilitator.verdict.lock().unwrap() = None;
    assert!(
        world
            .send(world.payment("/paid/x").await.get("/paid/x"))
            .await
            .has_secret()
    );
}

#[tokio::test]
async fn what_was_paid_is_shown_again_however_often_its_payer_paid() {
    let world = shop(Access::new().per_payer(1)).await;
    let payment = world.payment("/paid/x").await.named("purchase_000000001");
    assert!(world.send(payment.get("/paid/x")).await.has_secret());
    assert_eq!(
        world
            .send(world.payment("/paid/x").await.get("/paid/x"))
            .await
            .code(),
        "payer_rate_limited"
    );
    assert!(world.send(payment.get("/paid/x")).await.has_secret());
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn an_address_sends_so_many_payments_in_a_minute() {
    let world = shop(Access::new().per_address(1)).await;
    let from = |mut request: Request<Body>, address: &str| {
        let address: SocketAddr = address.parse().unwrap();
        request.extensions_mut().insert(ClientAddress(address));
        request
    };
    let first = world.payment("/paid/x").await.get("/paid/x");
    assert!(
        world
            .send(from(first, "[2001:db8::1]:1"))
            .await
            .has_secret()
    );
    let calls = world.facilitator.verify_calls();
    let second = payment_of(&world, OTHER).await.get("/paid/x");
    let slowed = world.send(from(second, "[2001:db8::ffff]:2")).await;
    assert_eq!(
        (slowed.status, slowed.code().as_str()),
        (StatusCode::TOO_MANY_REQUESTS, "address_rate_limited")
    );
    assert_eq!(world.facilitator.verify_calls(), calls);
    let third = payment_of(&world, OTHER).await.get("/paid/x");
    assert!(world.send(from(third, "192.0.2.1:1")).await.has_secret());
    // Who only asks for the price is not counted.
    assert_eq!(
        world.get("/paid/x").await.status,
        StatusCode::PAYMENT_REQUIRED
    );
}

#[tokio::test]
async fn who_settles_first_is_counted_when_it_is_paid() {
    let route = Route::new("/paid/*").unwrap().offer(price());
    let route = route.flow(tollway_core::PaymentFlow::Upfront);
    let world = World::with(|gate| gate.route(route).access(Access::new().per_payer(1))).await;
    assert!(
        world
            .send(world.payment("/paid/x").await.get("/paid/x"))
            .await
            .has_secret()
    );
    let slowed = world
        .send(world.payment("/paid/x").await.get("/paid/x"))
        .await;
    assert_eq!(slowed.code(), "payer_rate_limited");
    assert_eq!(world.facilitator.settlements(), 1);
}
