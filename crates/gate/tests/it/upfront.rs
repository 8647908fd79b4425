//! The flow `upfront`: settled before it is served.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use tollway_core::wire::SettleResponse;
use tollway_core::{Clock, PaymentFlow, SystemClock, Timestamp};
use tollway_gate::Route;
use tollway_ledger::{GrantState, GrantStore as _, StoryStore as _};

use crate::support::{Answer, SECRET, Say, World, price, terms_of};

#[tokio::test]
async fn the_terms_say_upfront_and_nothing_is_verified_apart() {
    let world = World::upfront().await;
    let terms = terms_of(&world.get("/paid/x").await);
    assert_eq!(terms.accepts[0].extra_str("paymentFlow"), Some("upfront"));
    let payment = world.payment("/paid/x").await;
    let answer = world.send(payment.get("/paid/x")).await;
    assert!(answer.has_secret() && answer.receipt().success);
    assert_eq!(world.facilitator.verify_calls(), 0);
}

#[tokio::test]
async fn a_stream_leaves_chunk_by_chunk_after_the_money_moved() {
    let world = World::upfront().await;
    let payment = world.payment("/paid/stream").await;
    let response = world.start(payment.get("/paid/stream")).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(world.facilitator.settlements(), 1);
    let early = world
        .upstream
        .streamed
        .load(std::sync::atomic::Ordering::SeqCst);
    assert!(early < 5 * SECRET.len(), "the answer was not held back");
    assert_eq!(Answer::read(response).await.body.len(), 5 * SECRET.len());
    let again = world.send(payment.get("/paid/stream")).await;
    assert_eq!(again.code(), "duplicate_settlement");
}

#[tokio::test]
async fn who_paid_for_a_service_that_failed_is_served_later_without_paying_again() {
    let world = World::upfront().await;
    let payment = world
        .payment("/paid/x")
        .await
        .named("paid-before-it-failed");
    world.upstream.answer_with(StatusCode::SERVICE_UNAVAILABLE);
    let failed = world.send(payment.get("/paid/x")).await;
    assert_eq!(failed.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(failed.receipt().success, "the buyer knows that it paid");
    world.upstream.answer_with(StatusCode::OK);
    let served = world.send(payment.get("/paid/x")).await;
    assert!(served.has_secret() && served.receipt().success);
    assert_eq!(world.facilitator.settlements(), 1);
    let again = world.send(payment.get("/paid/x")).await;
    assert!(again.has_secret(), "a small answer is kept");
    assert_eq!(world.upstream.count(), 2);
}

#[tokio::test]
async fn a_permit2_allowance_that_is_missing_is_412() {
    let world = World::upfront().await;
    let payment = world.payment("/paid/x").await;
    world.facilitator.next(crate::support::Say::Answer(Box::new(
        tollway_core::wire::SettleResponse {
            error_reason: Some("permit2_allowance_required".to_owned()),
            network: "eip155:84532".to_owned(),
            ..Default::default()
        },
    )));
    let answer = world.send(payment.get("/paid/x")).await;
    assert_eq!(answer.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn an_answer_that_breaks_off_after_payment_can_be_asked_for_again() {
    let world = World::upfront().await;
    let payment = world
        .payment("/paid/broken")
        .await
        .named("paid-and-broken-off");
    for attempt in 1..=2 {
        let answer = world.send(payment.get("/paid/broken")).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
        assert!(answer.receipt().success);
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(
            text.contains("settled") && !text.contains("nothing was charged"),
            "{text}"
        );
        assert_eq!(
            world.upstream.count(),
            attempt,
            "the service is asked again"
        );
    }
    assert_eq!((world.facilitator.settlements(), world.released()), (1, 0));
}

#[tokio::test]
async fn a_paid_answer_that_the_ledger_could_not_release_is_delivered_later() {
    let world = World::upfront().await;
    for (path, upstream_calls) in [("/paid/x", 1), ("/paid/stream", 3)] {
        let payment = world
            .payment(path)
            .await
            .named(&format!("hiccup-at{path}").replace('/', "-"));
        world.store.fail("release", 1);
        let first = world.send(payment.get(path)).await;
        assert_eq!(first.code(), "settlement_pending", "{path}");
        assert!(!first.has_terms() && !first.has_secret(), "{path}");
        let settle_calls = world.facilitator.settle_calls.load(Ordering::SeqCst);
        // Even where nobody knows keys: what the ledger knows is not asked again.
        world.facilitator.always(Some(Say::Lost));
        let again = world.send(payment.get(path)).await;
        assert!(
            again.has_secret() && again.receipt().success,
            "{path} {again:?}"
        );
        assert_eq!(
            world.facilitator.settle_calls.load(Ordering::SeqCst),
            settle_calls,
            "{path}"
        );
        assert_eq!(world.upstream.count(), upstream_calls, "{path}");
        world.facilitator.always(None);
    }
    assert!(world.ledger.open_grants().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_failed_delivery_is_repeated_without_settling_again() {
    let world = World::upfront().await;
    let payment = world.payment("/paid/x").await.named("paid-once-asked-once");
    world.upstream.answer_with(StatusCode::SERVICE_UNAVAILABLE);
    assert!(world.send(payment.get("/paid/x")).await.receipt().success);
    // A facilitator without keys would say so of its own settlement.
    world
        .facilitator
        .always(Some(Say::Answer(Box::new(SettleResponse {
            error_reason: Some("invalid_exact_evm_payload_authorization_nonce_used".to_owned()),
            network: "eip155:84532".to_owned(),
            ..Default::default()
        }))));
    world.upstream.answer_with(StatusCode::OK);
    let served = world.send(payment.get("/paid/x")).await;
    assert!(
        served.has_secret() && served.receipt().success,
        "{served:?}"
    );
    assert_eq!(world.facilitator.settle_calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_repeat_of_a_paid_purchase_without_a_name_is_told_so_at_once() {
    let world = World::upfront().await;
    let payment = world.payment("/paid/x").await.unnamed();
    world.store.fail("release", 1);
    let first = world.send(payment.get("/paid/x")).await;
    assert_eq!(first.code(), "settlement_pending");
    let again = world.send(payment.get("/paid/x")).await;
    assert_eq!(again.code(), "duplicate_settlement", "{again:?}");
    assert!(!again.has_secret());
    assert_eq!(again.receipt().transaction, first.receipt().transaction);
    assert!(world.ledger.open_grants().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_keeper_ends_what_was_paid_and_served() {
    let world = World::upfront().await;
    let payment = world
        .payment("/paid/x")
        .await
        .named("kept-answer-for-later");
    world.store.fail("release", 1);
    world.send(payment.get("/paid/x")).await;
    assert_eq!(world.gate.recover().await.unwrap().still_open, 0);
    let found = world
        .ledger
        .grant_by_identifier("kept-answer-for-later")
        .await;
    let record = found.unwrap().unwrap();
    assert_eq!(record.state, GrantState::Released);
    assert_eq!(record.receipt.unwrap()["success"], true);
    assert!(world.send(payment.get("/paid/x")).await.has_secret());
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn garbage_that_nobody_verified_leaves_nothing_behind() {
    let clock = Arc::new(HandClock::default());
    let world = World::with(|gate| {
        let route = Route::new("/paid/*").unwrap().offer(price());
        gate.route(route.flow(PaymentFlow::Upfront))
            .clock(clock.clone())
    })
    .await;
    let query = "q".repeat(6_000);
    let mut claimed = Vec::new();
    for _ in 0..20 {
        let payment = world.payment("/paid/x").await;
        world.facilitator.next(Say::Answer(Box::new(SettleResponse {
            error_reason: Some("invalid_exact_evm_signature".to_owned()),
            network: "eip155:84532".to_owned(),
            ..Default::default()
        })));
        let path = format!("/paid/x?{query}");
        let answer = world.send(payment.get(&path)).await;
        assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
        let found = world
            .ledger
            .grant_by_identity(&payment.identity(&world))
            .await;
        let record = found.unwrap().unwrap();
        assert!(
            record.grant.url.len() <= 2_048,
            "{}",
            record.grant.url.len()
        );
        assert_eq!(world.ledger.story(record.id.as_str()).await.unwrap(), []);
        claimed.push(payment.identity(&world));
    }
    world.gate.recover().await.unwrap();
    let found = world.ledger.grant_by_identity(&claimed[0]).await.unwrap();
    assert!(found.is_some(), "the reason is remembered for a while");
    clock.pass(Duration::from_secs(3_601));
    world.gate.recover().await.unwrap();
    for identity in &claimed {
        assert_eq!(
            world.ledger.grant_by_identity(identity).await.unwrap(),
            None
        );
    }
    assert_eq!(world.ledger.verify_chain().await.unwrap(), None);
}

#[tokio::test]
async fn long_urls_that_begin_alike_are_two_requests() {
    let world = World::new().await;
    let payment = world.payment("/paid/x").await.named("a-very-long-question");
    let path = format!("/paid/x?{}", "q".repeat(5_000));
    assert!(world.send(payment.get(&path)).await.has_secret());
    assert!(world.send(payment.get(&path)).await.has_secret());
    let other = world.send(payment.get(&format!("{path}r"))).await;
    assert_eq!(other.status, StatusCode::CONFLICT);
    assert_eq!(world.upstream.count(), 1);
}

/// A clock that is moved by hand, from now on.
#[derive(Default)]
pub struct HandClock(AtomicU64);

impl HandClock {
    pub fn pass(&self, time: Duration) {
        self.0.fetch_add(time.as_secs(), Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        let passed = Duration::from_secs(self.0.load(Ordering::SeqCst));
        SystemClock.now().plus(passed)
    }
}
