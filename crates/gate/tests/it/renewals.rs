//! Other routes and prices while requests are served.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use tollway_core::{Amount, Clock, SystemClock, Timestamp, codes};
use tollway_gate::{Gate, GateBuilder, Offer, PassOffer, RenewError, Route};
use tollway_ledger::GrantStore as _;

use crate::passes;
use crate::support::{BASE, PAYEE, World, limits, price, request, terms_of};

/// The system's clock, so many seconds later.
#[derive(Default)]
struct Later(AtomicU64);

impl Clock for Later {
    fn now(&self) -> Timestamp {
        let later = Duration::from_secs(self.0.load(Ordering::Relaxed));
        SystemClock.now().plus(later)
    }
}

fn paid(pattern: &str, price: &str) -> Route {
    let offer = Offer::new(price, "base-sepolia", PAYEE).unwrap();
    Route::new(pattern).unwrap().offer(offer)
}

impl World {
    /// The gate takes other routes.
    async fn renewed(&mut self, routes: impl FnOnce(GateBuilder) -> GateBuilder) {
        let builder = Gate::builder(BASE, self.facilitator.clone(), self.store.clone())
            .chain(self.chain.clone())
            .limits(limits());
        self.gate = self.gate.renew(routes(builder)).await.unwrap().0;
    }
}

async fn world(clock: &Arc<Later>) -> World {
    let clock = Arc::clone(clock);
    World::with(|gate| {
        gate.route(Route::new("/paid/*").unwrap().offer(price()))
            .clock(clock)
    })
    .await
}

#[tokio::test]
async fn terms_of_before_are_honoured_for_their_time_and_then_told_anew() {
    let clock = Arc::new(Later::default());
    let mut world = world(&clock).await;
    let bought = world.payment("/paid/x").await.named(&"a".repeat(32));
    let first = world.send(bought.get("/paid/x")).await;
    assert_eq!(first.status, StatusCode::OK, "{first:?}");
    let (in_time, too_late) = (
        world.payment("/paid/x").await,
        world.payment("/paid/x").await,
    );
    let time = Duration::from_secs(in_time.payload.accepted.max_timeout_seconds);

    let same = Arc::clone(&clock);
    world
        .renewed(|gate| gate.route(paid("/paid/:x", "$0.05")).clock(same))
        .await;
    assert_eq!(
        terms_of(&world.get("/paid/x").await).accepts[0].amount,
        "50000"
    );
    let answer = world.send(in_time.get("/paid/x")).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(
        answer.receipt().amount.unwrap_or("10000".to_owned()),
        "10000"
    );

    clock.0.store(time.as_secs() + 1, Ordering::Relaxed);
    let before = world.facilitator.settlements();
    let answer = world.send(too_late.get("/paid/x")).await;
    assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(terms_of(&answer).accepts[0].amount, "50000");
    assert_eq!(terms_of(&answer).accepts.len(), 1);
    assert_eq!(
        world.facilitator.settlements(),
        before,
        "nothing is charged"
    );
    let again = world.send(bought.get("/paid/x")).await;
    assert_eq!(
        (again.status, again.body),
        (StatusCode::OK, first.body),
        "it was paid for"
    );
    let day = limits().keep_answers.as_secs();
    clock.0.store(day + 1, Ordering::Relaxed);
    let answer = world.send(in_time.get("/paid/x")).await;
    assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
}

#[tokio::test]
async fn what_one_gate_works_on_is_left_alone_by_the_one_after_it() {
    let mut world = world(&Arc::default()).await;
    *world.upstream.delay.lock().unwrap() = Duration::from_millis(300);
    let payment = world.payment("/paid/slow").await.named(&"b".repeat(32));
    let (before, asked) = (world.gate.clone(), payment.get("/paid/slow"));
    let service = tower::Layer::layer(&before.layer(), world.upstream.service());
    let first = tokio::spawn(tower::ServiceExt::oneshot(service, asked));
    while world.upstream.count() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world
        .renewed(|gate| gate.route(paid("/paid/*", "$0.05")))
        .await;
    let repeated = world.send(payment.get("/paid/slow")).await;
    assert_eq!(repeated.status, StatusCode::OK, "{repeated:?}");
    assert_eq!(first.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!(
        (world.upstream.count(), world.facilitator.settlements()),
        (1, 1)
    );
    assert!(before.drain(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn a_gate_that_cannot_take_other_settings_goes_on_with_its_own() {
    let world = World::new().await;
    let builder = Gate::builder(BASE, world.facilitator.clone(), world.store.clone());
    let other = Offer::new("$0.01", "sei-testnet", PAYEE).unwrap();
    let route = Route::new("/paid/*").unwrap().offer(other);
    let failed = world.gate.renew(builder.route(route)).await;
    assert!(matches!(failed, Err(RenewError::Build(_))));
    let payment = world.payment("/paid/x").await;
    assert_eq!(
        world.send(payment.get("/paid/x")).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn terms_that_never_were_are_not_taken_after_a_change_either() {
    let mut world = world(&Arc::default()).await;
    let payment = world.payment("/paid/x").await;
    world
        .renewed(|gate| {
            gate.route(paid("/paid/*", "$0.05"))
                .route(paid("/other", "$0.05"))
        })
        .await;
    // Those of another route, and cheaper ones.
    let mut cheap = payment.clone();
    cheap.payload.accepted.amount = "1".to_owned();
    let elsewhere = payment.get("/other");
    for asked in [cheap.get("/paid/x"), elsewhere, request("GET", "/paid/x")] {
        let answer = world.send(asked).await;
        assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED, "{answer:?}");
        assert_eq!(terms_of(&answer).accepts[0].amount, "50000");
    }
    let code = world.send(cheap.get("/paid/x")).await.code();
    assert!(code.contains("No matching") || code == codes::NO_MATCHING_PAYMENT_REQUIREMENTS);
}

#[tokio::test]
async fn a_payment_of_version_1_is_for_the_price_that_was_told_it() {
    let mut world = world(&Arc::new(Later::default())).await;
    let old = world.payment("/paid/x").await;
    world
        .renewed(|gate| gate.route(paid("/paid/*", "$0.05")))
        .await;
    let new = world.payment("/paid/x").await;
    for (payment, amount) in [(old, 10_000), (new, 50_000)] {
        let payment = payment.in_version_1();
        let answer = world.send(payment.get("/paid/x")).await;
        assert!(answer.has_secret(), "{answer:?}");
        let identity = payment.identity(&world);
        let bought = world.ledger.grant_by_identity(&identity).await.unwrap();
        let paid = bought.unwrap().grant.expected.amount;
        assert_eq!(paid, Amount::from_atomic(amount));
    }
}

#[tokio::test]
async fn a_permit_for_the_price_of_before_buys_its_pass() {
    let mut world = passes::shop().await;
    let payment = world.payment("/paid/x").await;
    let signed = passes::permit(&payment);
    let sells = passes::passes(&world.ledger);
    let hour = PassOffer::for_time(Duration::from_secs(3_600));
    let dearer = paid("/paid/*", "$0.05").pass(hour);
    world.renewed(|gate| gate.route(dearer).passes(sells)).await;
    let sold = world.send(passes::post(&signed)).await;
    assert!(!passes::token_of(&sold).is_empty());
    let identity = payment.identity(&world);
    let bought = world.ledger.grant_by_identity(&identity).await.unwrap();
    let paid = bought.unwrap().grant.expected.amount;
    assert_eq!(paid, Amount::from_atomic(10_000), "what was signed");
}

#[tokio::test]
async fn a_pass_is_given_again_though_its_route_sells_none_any_more() {
    let mut world = passes::shop().await;
    let bought = world.payment("/paid/x").await.named(&"d".repeat(32));
    let first = world.send(bought.get("/paid/x")).await;
    let token = first.header("tollway-pass");
    assert!(!token.is_empty(), "{first:?}");
    let sells = passes::passes(&world.ledger);
    let single = Route::new("/paid/*").unwrap().offer(price());
    world.renewed(|gate| gate.route(single).passes(sells)).await;
    let again = world.send(bought.get("/paid/x")).await;
    assert_eq!(again.header("tollway-pass"), token, "{again:?}");
    // Who buys one answer gets no pass with it.
    let other = world.payment("/paid/y").await.named(&"e".repeat(32));
    for _ in 0..2 {
        let answer = world.send(other.get("/paid/y")).await;
        assert!(answer.has_secret() && answer.header("tollway-pass").is_empty());
    }
}

#[tokio::test]
async fn however_often_settings_are_read_anew_what_was_told_is_honoured() {
    for changes in [false, true] {
        let mut world = world(&Arc::default()).await;
        let told = world.payment("/paid/x").await;
        let times = if changes { 60 } else { 1_100 };
        for n in 0..times {
            let price = match changes {
                true => format!("$0.{:02}", 10 + n),
                false => "$0.05".to_owned(),
            };
            let route = paid("/paid/*", &price);
            world.renewed(|gate| gate.route(route)).await;
        }
        let answer = world.send(told.get("/paid/x")).await;
        assert_eq!(answer.status, StatusCode::OK, "{changes}: {answer:?}");
    }
}
