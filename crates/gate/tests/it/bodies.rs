//! Bodies in both directions.

use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt;

use crate::support::World;

#[tokio::test]
async fn the_body_of_a_paying_request_reaches_the_service_whole() {
    let world = World::new().await;
    let payment = world.payment("/paid/x").await;
    let request = payment
        .request("POST", "/paid/x")
        .map(|_| tollway_gate::full("hello"));
    assert!(world.send(request).await.has_secret());
    assert_eq!(&world.upstream.last().body[..], b"hello");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_anybody_is_asked() {
    let world = World::new().await;
    let payment = world.payment("/paid/x").await;
    let big = vec![0_u8; (1 << 20) + 1];
    let request = payment
        .request("POST", "/paid/x")
        .map(|_| tollway_gate::full(big));
    let answer = world.send(request).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(
        (world.upstream.count(), world.facilitator.verify_calls()),
        (0, 0)
    );
}

/// A body that announces its length and never comes.
struct Announced(u64);

impl http_body::Body for Announced {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.0)
    }
}

#[tokio::test]
async fn a_body_that_announces_too_much_is_refused_before_it_comes() {
    let world = World::new().await;
    let payment = world.payment("/paid/x").await;
    let request = payment
        .request("POST", "/paid/x")
        .map(|_| tollway_gate::boxed(Announced((1 << 20) + 1)));
    let answer = tokio::time::timeout(Duration::from_secs(2), world.send(request)).await;
    let answer = answer.expect("an answer at once");
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.code(), "request_too_large");
}

#[tokio::test]
async fn an_answer_that_cannot_be_held_back_is_not_charged_for() {
    let world = World::new().await;
    for (path, code) in [
        ("/paid/big", "response_too_large"),
        ("/paid/stream", "response_streams"),
    ] {
        let payment = world.payment(path).await;
        let answer = world.send(payment.get(path)).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
        assert_eq!(answer.code(), code);
        assert!(!answer.has_secret());
    }
    assert_eq!(world.facilitator.settlements(), 0);
    assert_eq!(
        world
            .upstream
            .streamed
            .load(std::sync::atomic::Ordering::SeqCst),
        0
    );
}

#[tokio::test]
async fn an_answer_too_large_to_store_is_delivered_once() {
    let world = World::new().await;
    let payment = world
        .payment("/paid/two-megabytes")
        .await
        .named("larger-than-stored");
    let answer = world.send(payment.get("/paid/two-megabytes")).await;
    assert_eq!(answer.body.len(), 2 << 20);
    let again = world.send(payment.get("/paid/two-megabytes")).await;
    assert_eq!(again.code(), "duplicate_settlement");
}

#[tokio::test]
async fn a_service_slower_than_the_payment_lives_is_not_charged_for() {
    let world = World::with(|gate| {
        let limits = tollway_gate::Limits {
            upstream_timeout: std::time::Duration::from_millis(50),
            ..crate::support::limits()
        };
        let route = tollway_gate::Route::new("/paid/*").unwrap();
        gate.route(route.offer(crate::support::price()))
            .limits(limits)
    })
    .await;
    *world.upstream.delay.lock().unwrap() = std::time::Duration::from_secs(60);
    let payment = world.payment("/paid/x").await;
    let answer = world.send(payment.get("/paid/x")).await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(world.facilitator.settlements(), 0);
}

#[tokio::test]
async fn more_paying_requests_than_may_wait_are_asked_to_come_back() {
    let world = World::with(|gate| {
        let limits = tollway_gate::Limits {
            max_in_flight: 1,
            ..crate::support::limits()
        };
        let route = tollway_gate::Route::new("/paid/*").unwrap();
        gate.route(route.offer(crate::support::price()))
            .limits(limits)
    })
    .await;
    *world.upstream.delay.lock().unwrap() = std::time::Duration::from_millis(100);
    let (first, second) = (
        world.payment("/paid/x").await,
        world.payment("/paid/x").await,
    );
    let (served, refused) = tokio::join!(
        world.send(first.get("/paid/x")),
        world.send(second.get("/paid/x"))
    );
    assert!(served.has_secret());
    assert_eq!(refused.code(), "too_many_requests");
    assert!(!refused.has_terms());
    assert!(world.send(second.get("/paid/x")).await.has_secret());
}

#[tokio::test]
async fn trailers_arrive_with_a_paid_answer_and_with_its_repetition() {
    let world = World::new().await;
    let payment = world
        .payment("/paid/call")
        .await
        .named("a-call-with-trailers");
    for _ in 0..2 {
        let answer = world.start(payment.get("/paid/call")).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let collected = answer.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(collected.to_bytes(), crate::support::SECRET);
    }
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn a_call_that_fails_in_its_trailers_is_not_charged_for() {
    let world = World::new().await;
    let payment = world.payment("/paid/failing-call").await;
    world.send(payment.get("/paid/failing-call")).await;
    assert_eq!(
        (world.upstream.count(), world.facilitator.settlements()),
        (1, 0)
    );
}

#[tokio::test]
async fn bodies_that_never_arrive_hold_nobody_up() {
    let world = World::with(|gate| {
        let limits = tollway_gate::Limits {
            max_in_flight: 1,
            ..crate::support::limits()
        };
        let route = tollway_gate::Route::new("/paid/*").unwrap();
        gate.route(route.offer(crate::support::price()))
            .limits(limits)
    })
    .await;
    let world = std::sync::Arc::new(world);
    let garbage = world.payment("/paid/x").await;
    for _ in 0..5 {
        let never = futures_util::stream::pending::<
            Result<http_body::Frame<bytes::Bytes>, std::io::Error>,
        >();
        let body = tollway_gate::boxed(http_body_util::StreamBody::new(never));
        let request = garbage.request("POST", "/paid/x").map(|_| body);
        let world = std::sync::Arc::clone(&world);
        tokio::spawn(async move { world.start(request).await });
    }
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let honest = world.payment("/paid/x").await;
    assert!(world.send(honest.get("/paid/x")).await.has_secret());
}
