//! The payment identifier: who paid can fetch it again.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use http::StatusCode;
use tollway_gate::Route;
use tollway_ledger::SqliteLedger;

use crate::support::{FakeChain, Payment, Say, World, price, terms_of};

const ID: &str = "one-purchase-of-mine";

#[tokio::test]
async fn the_same_request_under_the_same_identifier_gets_the_same_answer() {
    let world = World::new().await;
    let payment = world.payment("/paid/x").await.named(ID);
    let first = world.send(payment.get("/paid/x?q=1")).await;
    let again = world.send(payment.get("/paid/x?q=1")).await;
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(first.body, again.body);
    assert_eq!(first.receipt(), again.receipt());
    assert_eq!(first.header("cache-control"), again.header("cache-control"));
    assert_eq!(
        (world.upstream.count(), world.facilitator.verify_calls()),
        (1, 1)
    );
    assert_eq!(world.facilitator.settlements(), 1);
}

#[tokio::test]
async fn another_payment_or_request_under_the_identifier_conflicts() {
    let world = World::new().await;
    let payment = world.payment("/paid/x").await.named(ID);
    assert!(world.send(payment.get("/paid/x")).await.has_secret());
    let other = world.payment("/paid/x").await.named(ID);
    let mut unbound = payment.clone();
    unbound.payload.resource = None;
    for asked in [
        other.get("/paid/x"),
        payment.get("/paid/x?more=1"),
        unbound.get("/paid/y"),
        payment.request("POST", "/paid/x"),
        payment
            .get("/paid/x")
            .map(|_| tollway_gate::full("another body")),
    ] {
        let told = format!("{} {}", asked.method(), asked.uri());
        let answer = world.send(asked).await;
        assert_eq!(answer.status, StatusCode::CONFLICT, "{told}");
        assert!(!answer.has_secret(), "{told}");
    }
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn the_authorization_alone_does_not_fetch_what_another_named() {
    let world = World::new().await;
    let payment = world.payment("/paid/x").await;
    let named = payment.clone().named(ID);
    assert!(world.send(named.get("/paid/x")).await.has_secret());
    for thief in [payment.clone(), payment.named("another-identifier")] {
        let answer = world.send(thief.get("/paid/x")).await;
        assert_eq!(answer.code(), "duplicate_settlement");
        assert!(!answer.has_secret());
    }
}

#[tokio::test]
async fn repeats_wait_while_the_first_is_on_its_way() {
    let world = Arc::new(World::new().await);
    let payment = world.payment("/paid/x").await.named(ID);
    world
        .facilitator
        .always(Some(Say::Slow(std::time::Duration::from_millis(100))));
    let tries: Vec<_> = (0..20)
        .map(|_| {
            let (world, request) = (Arc::clone(&world), payment.get("/paid/x"));
            tokio::spawn(async move { world.send(request).await })
        })
        .collect();
    for answer in tries {
        let answer = answer.await.unwrap();
        assert!(answer.has_secret(), "{answer:?}");
    }
    assert_eq!(
        (world.upstream.count(), world.facilitator.settlements()),
        (1, 1)
    );
}

#[tokio::test]
async fn a_malformed_identifier_is_refused_and_a_missing_one_where_it_is_required() {
    let route = || Route::new("/paid/*").unwrap().offer(price());
    let world = World::with(|gate| gate.route(route()).require_payment_identifier()).await;
    let payment = world.payment("/paid/x").await;
    let answer = world.send(payment.get("/paid/x")).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.code(), "payment_identifier_required");
    let mut short = payment.clone();
    short.payload.extensions.as_mut().unwrap()["payment-identifier"]["info"]["id"] = "short".into();
    assert_eq!(
        world.send(short.get("/paid/x")).await.status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(world.facilitator.verify_calls(), 0);
    assert!(
        world
            .send(payment.named(ID).get("/paid/x"))
            .await
            .has_secret()
    );
}

#[tokio::test]
async fn a_purchase_outlives_the_process_that_sold_it() {
    let folder = std::env::temp_dir().join(format!("tollway-gate-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let url = format!("sqlite:{}", folder.join("outlives.db").display());
    let chain: Arc<FakeChain> = Arc::default();
    let open = async || {
        let ledger = Arc::new(SqliteLedger::open(&url).await.unwrap());
        World::on(ledger, Arc::clone(&chain), |gate| {
            gate.route(Route::new("/paid/*").unwrap().offer(price()))
        })
    };

    let before = open().await;
    let sold = before.payment("/paid/x").await.named("sold-before-restart");
    assert!(before.send(sold.get("/paid/x")).await.has_secret());
    // One is served and settled, but the answer of the facilitator never came.
    let unknown = before.payment("/paid/x").await.named("unknown-at-restart");
    before.facilitator.next(Say::LoseAnswer);
    before.facilitator.next(Say::Hang);
    let answer = before.send(unknown.get("/paid/x")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    drop(before);

    let after = open().await;
    assert_eq!(after.gate.recover().await.unwrap().still_open, 1);
    assert!(after.send(sold.get("/paid/x")).await.has_secret());
    chain
        .has_node
        .store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(after.gate.recover().await.unwrap().still_open, 0);
    let fetched = after.send(unknown.get("/paid/x")).await;
    assert!(fetched.has_secret() && fetched.receipt().success);
    assert_eq!(
        after.upstream.count(),
        0,
        "both answers come from the ledger"
    );
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn a_buyer_that_comes_back_after_a_restart_brings_the_settlement_to_its_end() {
    let chain: Arc<FakeChain> = Arc::default();
    let ledger = Arc::new(SqliteLedger::open("sqlite::memory:").await.unwrap());
    let route = || Route::new("/paid/*").unwrap().offer(price());
    let before = World::on(Arc::clone(&ledger), Arc::clone(&chain), |gate| {
        gate.route(route())
    });
    let payment = before.payment("/paid/x").await.named(ID);
    before.facilitator.always(Some(Say::Hang));
    before.send(payment.get("/paid/x")).await;
    drop(before);

    let after = World::on(ledger, chain, |gate| gate.route(route()));
    after.gate.recover().await.unwrap();
    let answer = after.send(payment.get("/paid/x")).await;
    assert!(answer.has_secret(), "{answer:?}");
    assert_eq!(
        (after.upstream.count(), after.facilitator.settlements()),
        (0, 1)
    );
}

#[tokio::test]
async fn a_claim_that_a_dead_process_left_unsettled_may_be_claimed_again() {
    let chain: Arc<FakeChain> = Arc::default();
    let ledger = Arc::new(SqliteLedger::open("sqlite::memory:").await.unwrap());
    let route = || Route::new("/paid/*").unwrap().offer(price());
    let before = World::on(Arc::clone(&ledger), Arc::clone(&chain), |gate| {
        gate.route(route())
    });
    let payment = Payment::for_terms(terms_of(&before.get("/paid/x").await));
    *before.upstream.delay.lock().unwrap() = std::time::Duration::from_secs(3600);
    let request = payment.get("/paid/x");
    let waiting =
        tokio::time::timeout(std::time::Duration::from_millis(100), before.start(request));
    assert!(waiting.await.is_err());

    let after = World::on(ledger, chain, |gate| gate.route(route()));
    assert_eq!(after.gate.recover().await.unwrap().orphans_refused, 1);
    assert!(after.send(payment.get("/paid/x")).await.has_secret());
}

#[tokio::test]
async fn a_waiting_repeat_wakes_for_its_own_purchase_only() {
    let world = Arc::new(World::patient().await);
    let slow = world
        .payment("/paid/x")
        .await
        .named("slow-purchase-of-mine");
    world.facilitator.next(Say::Slow(Duration::from_secs(3)));
    let tries: Vec<_> = (0..10)
        .map(|_| {
            let (world, request) = (Arc::clone(&world), slow.get("/paid/x"));
            tokio::spawn(async move { world.send(request).await })
        })
        .collect();
    // Until all of them wait, and look no more.
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let finds = world.store.finds.load(SeqCst);
        if finds >= 10 && finds == before {
            break;
        }
        before = finds;
    }
    for _ in 0..10 {
        let other = world.payment("/paid/x").await;
        assert!(world.send(other.get("/paid/x")).await.has_secret());
    }
    for answer in tries {
        assert!(answer.await.unwrap().has_secret());
    }
    // One for each other purchase, and one for each repeat at the end.
    let finds = world.store.finds.load(SeqCst) - before;
    assert!(finds <= 20, "{finds}");
    assert_eq!(world.upstream.count(), 11);
}
