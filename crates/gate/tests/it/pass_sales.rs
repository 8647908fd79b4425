//! What a sold pass is, whatever happens between its payment and its use.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tollway_core::PaymentFlow;
use tollway_gate::{Body, Gate, Offer, PassOffer, Passes, Route, StartError, TokenKeys};
use tollway_ledger::{GrantStore as _, PassStore as _, SqliteLedger};
use tower::{Layer as _, ServiceExt as _};

use crate::passes::{
    SOON, hourly, json_of, keys, ledger, passes, permit, post, refusing, shop, shop_with, token_of,
    until, with,
};
use crate::support::{Answer, FakeChain, PAYEE, Payment, Say, World, limits, price, request};

fn calls(count: u32) -> Route {
    let route = Route::new("/paid/*").unwrap().offer(price());
    route.pass(PassOffer::for_calls(count))
}

/// Whose payments settle before their tokens leave.
fn settling_first(ledger: &Arc<SqliteLedger>) -> Passes {
    Passes::new(ledger.clone(), keys())
}

fn payload(payment: &Payment) -> Value {
    serde_json::to_value(&payment.payload).unwrap()
}

#[tokio::test]
async fn a_pass_is_issued_as_it_was_sold_whatever_is_sold_later() {
    let (ledger, chain): (_, Arc<FakeChain>) = (ledger().await, Arc::default());
    let first = World::on(Arc::clone(&ledger), Arc::clone(&chain), |gate| {
        gate.route(calls(3)).passes(settling_first(&ledger))
    });
    let payment = first.payment("/paid/x").await;
    // The money moves, and the process dies before it hears of it.
    let identity = payment.identity(&first);
    chain.include(&identity, "whoever asked");
    first.facilitator.always(Some(Say::Hang));
    let answer = first.send(post(&payload(&payment))).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    drop(first);

    chain
        .has_node
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let next = World::on(Arc::clone(&ledger), Arc::clone(&chain), |gate| {
        gate.route(hourly())
            .passes(settling_first(&ledger).token_path("/elsewhere"))
            .limits(limits())
    });
    next.gate.start().await.unwrap();
    let grant = ledger.grant_by_identity(&identity).await.unwrap().unwrap();
    let pass = ledger.pass_of(&grant.id).await.unwrap();
    let pass = pass.expect("it was paid for");
    assert_eq!((pass.quota, pass.uses_left), (Some(3), Some(3)));
    let life = pass.expires_at.since(pass.issued_at);
    assert_eq!(life, Duration::from_secs(30 * 24 * 60 * 60));
}

#[tokio::test]
async fn a_gate_without_passes_settles_what_was_promised_with_them() {
    let (ledger, chain): (_, Arc<FakeChain>) = (ledger().await, Arc::default());
    let first = World::on(Arc::clone(&ledger), Arc::clone(&chain), |gate| {
        gate.route(hourly())
            .passes(passes(&ledger))
            .settles_here(ledger.clone(), true)
    });
    first.facilitator.always(Some(Say::Hang));
    let payment = first.payment("/paid/x").await;
    token_of(&first.send(post(&permit(&payment))).await);
    assert_eq!(first.facilitator.settlements(), 0);
    let plain = World::on(Arc::clone(&ledger), Arc::clone(&chain), |gate| {
        gate.route(Route::new("/paid/*").unwrap().offer(price()))
            .settles_here(ledger.clone(), true)
    });
    plain.gate.start().await.unwrap();
    until("settled", SOON, async || {
        plain.facilitator.settlements() == 1
    })
    .await;
    until("released", SOON, async || {
        ledger.open_grants().await.unwrap().is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_gate_whose_keys_the_others_do_not_know_does_not_start() {
    let world = shop().await;
    world.gate.start().await.unwrap();
    let payment = world.payment("/paid/x").await;
    let token = token_of(&world.send(post(&permit(&payment))).await);
    let line = |name: &str, digit: &str| format!("{name} {}\n", digit.repeat(64));
    let start = async |keys: String, gives_up: bool| {
        let keys = TokenKeys::parse(&keys).unwrap();
        let mut sells = Passes::new(world.ledger.clone(), keys);
        if gives_up {
            sells = sells.give_lost_keys_up();
        }
        let gate = World::on(world.ledger.clone(), Arc::default(), |gate| {
            gate.route(hourly()).passes(sells)
        });
        gate.gate.start().await.map(|_| gate)
    };
    let other = start(line("one", "b"), false).await;
    assert!(matches!(other, Err(StartError::TokenKeys(name)) if name == "one"));
    let old = format!("one {}", "5a".repeat(32));
    let rotated = start(line("two", "c") + &old, false).await.unwrap();
    let kept = rotated.send(with(&token, "/paid/x")).await;
    assert!(kept.has_secret(), "the old one's tokens are good: {kept:?}");
    let back = start(old, false).await;
    assert!(back.is_err(), "tokens of `two` may be out");
    start(line("three", "d"), true).await.unwrap();
}

#[tokio::test]
async fn a_pass_of_one_shop_opens_nothing_at_another() {
    let world = shop().await;
    let payment = world.payment("/paid/x").await;
    let token = token_of(&world.send(post(&permit(&payment))).await);
    let dear = Offer::new("$10", "base-sepolia", PAYEE).unwrap();
    let hour = PassOffer::for_time(Duration::from_secs(3_600));
    let route = Route::new("/paid/*").unwrap().offer(dear).pass(hour);
    let other = Gate::builder(
        "https://dear.example",
        world.facilitator.clone(),
        world.store.clone(),
    )
    .chain(world.chain.clone())
    .limits(limits())
    .route(route)
    .passes(passes(&world.ledger))
    .build()
    .unwrap();
    let service = other.layer().layer(world.upstream.service());
    let closed = service.oneshot(with(&token, "/paid/x")).await.unwrap();
    let closed = Answer::read(closed).await;
    assert_eq!(closed.code(), "invalid_token", "{closed:?}");
    assert!(world.send(with(&token, "/paid/x")).await.has_secret());
}

#[tokio::test]
async fn routes_that_share_passes_at_other_prices_are_named_at_the_start() {
    let shared = |pattern: &str, price: &str| {
        let offer = Offer::new(price, "base-sepolia", PAYEE).unwrap();
        let pass = PassOffer::for_time(Duration::from_secs(60)).audience("both");
        Route::new(pattern).unwrap().offer(offer).pass(pass)
    };
    let warned = async |price: &'static str| {
        let world = shop_with(|gate| {
            gate.route(shared("/each", "$0.01"))
                .route(shared("/every", price))
        })
        .await;
        let warnings = world.gate.start().await.unwrap().warnings;
        warnings.iter().any(|w| w.contains("`/each` and `/every`"))
    };
    assert!(warned("$1").await);
    assert!(!warned("$0.01").await);
}

#[tokio::test]
async fn a_payment_for_one_method_buys_no_pass_of_another() {
    let world = shop_with(|gate| {
        let sells = |pattern: &str| Route::new(pattern).unwrap().offer(price());
        let hour = PassOffer::for_time(Duration::from_secs(3_600));
        gate.route(sells("GET /x").pass(hour))
            .route(sells("POST /x").pass(PassOffer::for_calls(10)))
    })
    .await;
    let named = payload(&world.payment("/x").await);
    let unclear = world.send(post(&named)).await;
    assert_eq!(unclear.status, StatusCode::BAD_REQUEST, "{unclear:?}");
    assert!(!unclear.has_terms());
    let wanted = Request::post("/token?for=POST%20%2Fx")
        .body(tollway_gate::full(named.to_string()))
        .unwrap();
    let bought = world.send(wanted).await;
    let token = token_of(&bought);
    let mut shown = with(&token, "/x");
    *shown.method_mut() = http::Method::POST;
    assert!(world.send(shown).await.has_secret());
    assert_eq!(world.send(with(&token, "/x")).await.code(), "invalid_token");
}

#[tokio::test]
async fn what_pays_for_no_pass_is_not_told_to_buy_the_first() {
    let world = shop_with(|gate| {
        let sells = |pattern: &str| Route::new(pattern).unwrap().offer(price());
        gate.route(sells("/a").pass(PassOffer::for_calls(1)))
            .route(sells("/b").pass(PassOffer::for_calls(2)))
    })
    .await;
    let mut body = permit(&world.payment("/a").await);
    body["permit"]["chain_id"] = json!(1);
    let told = world.send(post(&body)).await;
    assert_eq!(told.status, StatusCode::BAD_REQUEST);
    assert!(!told.has_terms(), "{told:?}");
}

#[tokio::test]
async fn a_purchase_whose_service_failed_is_none_of_the_requests() {
    let world = shop_with(|gate| gate.route(calls(2).flow(PaymentFlow::Upfront))).await;
    world.upstream.answer_with(StatusCode::BAD_GATEWAY);
    let payment = world.payment("/paid/x").await.unnamed();
    let failed = world.send(payment.get("/paid/x")).await;
    assert_eq!(failed.status, StatusCode::BAD_GATEWAY);
    let token = failed.header("tollway-pass").to_owned();
    world.upstream.answer_with(StatusCode::OK);
    for _ in 0..2 {
        assert!(world.send(with(&token, "/paid/x")).await.has_secret());
    }
    let spent = world.send(with(&token, "/paid/x")).await;
    assert_eq!(spent.code(), "token_used_up");
}

#[tokio::test]
async fn what_fails_is_given_back_though_its_client_has_left() {
    let world = shop_with(|gate| gate.route(calls(1))).await;
    let payment = world.payment("/paid/x").await;
    let token = token_of(&world.send(post(&permit(&payment))).await);
    *world.upstream.delay.lock().unwrap() = Duration::from_millis(300);
    world.upstream.answer_with(StatusCode::BAD_GATEWAY);
    let left = tokio::time::timeout(
        Duration::from_millis(100),
        world.send(with(&token, "/paid/x")),
    );
    assert!(left.await.is_err());
    assert_eq!(world.upstream.count(), 1);
    tokio::time::sleep(Duration::from_millis(400)).await;
    world.upstream.answer_with(StatusCode::OK);
    assert!(world.send(with(&token, "/paid/x")).await.has_secret());
}

#[tokio::test]
async fn a_dead_token_makes_the_ledger_read_and_not_write() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}", folder.path().join("gate.db").display());
    let ledger = Arc::new(SqliteLedger::open(&file).await.unwrap());
    let world = World::on(Arc::clone(&ledger), Arc::default(), |gate| {
        gate.route(calls(1)).passes(passes(&ledger))
    });
    let payment = world.payment("/paid/x").await;
    let token = token_of(&world.send(post(&permit(&payment))).await);
    assert!(world.send(with(&token, "/paid/x")).await.has_secret());
    until("settled", SOON, async || world.released() == 1).await;
    let spent = async || world.send(with(&token, "/paid/x")).await.code();
    assert_eq!(spent().await, "token_used_up");
    let before = ledger.stats().steps;
    for _ in 0..50 {
        assert_eq!(spent().await, "token_used_up");
    }
    assert_eq!(ledger.stats().steps, before);
}

#[tokio::test]
async fn a_token_stays_at_the_gate_and_wins_over_a_payment() {
    let world = shop_with(|gate| gate.route(hourly())).await;
    let payment = world.payment("/paid/x").await;
    let token = token_of(&world.send(post(&permit(&payment))).await);
    until("settled", SOON, async || world.released() == 1).await;
    world.send(with(&token, "/free/page")).await;
    assert!(!world.upstream.last().headers.contains_key("authorization"));
    let mut own = request("GET", "/free/page");
    let basic = HeaderValue::from_static("Bearer somebody.elses.token");
    own.headers_mut().insert("authorization", basic);
    world.send(own).await;
    assert!(world.upstream.last().headers.contains_key("authorization"));

    let both = |token: &str, payment: &Payment| -> Request<Body> {
        let mut request = with(token, "/paid/x");
        request.headers_mut().extend(payment.headers());
        request
    };
    let second = world.payment("/paid/x").await;
    let opened = world.send(both(&token, &second)).await;
    assert!(opened.has_secret() && opened.header("payment-response").is_empty());
    assert_eq!(
        world.facilitator.settlements(),
        1,
        "nothing more was charged"
    );
    let dead = "eyJhbGciOiJIUzI1NiJ9.e30.AA";
    let paid = world.send(both(dead, &second)).await;
    assert!(paid.has_secret() && paid.receipt().success, "{paid:?}");
    assert_eq!(world.facilitator.settlements(), 2);
}

#[tokio::test]
async fn what_one_payer_never_paid_counts_against_the_next_promise() {
    let world = shop().await;
    world
        .facilitator
        .always(Some(refusing("insufficient_funds")));
    for n in 1..=5 {
        let payment = world.payment("/paid/x").await;
        token_of(&world.send(post(&permit(&payment))).await);
        let refused = || world.kinds().iter().filter(|k| **k == "refused").count();
        until("refused", SOON, async || refused() == n).await;
    }
    // Five cents may be lost on one payer.
    let payment = world.payment("/paid/x").await;
    let sixth = world.send(post(&permit(&payment))).await;
    assert_eq!(sixth.status, StatusCode::BAD_REQUEST, "{sixth:?}");
    assert_eq!(sixth.code(), "insufficient_funds", "it was to settle first");
    assert!(json_of(&sixth).get("access_token").is_none());
}

/// A server that answers nobody before so many have asked.
async fn together(count: usize) -> (std::net::SocketAddr, Arc<std::sync::atomic::AtomicUsize>) {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let all = Arc::new(Barrier::new(count));
    let told = Arc::new(AtomicUsize::new(0));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let hook = axum::routing::post({
        let told = Arc::clone(&told);
        async move || {
            all.wait().await;
            told.fetch_add(1, Ordering::SeqCst);
            StatusCode::NO_CONTENT
        }
    });
    let router = axum::Router::new().route("/hook", hook);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, told)
}

#[tokio::test]
async fn a_slow_server_is_told_of_one_thing_beside_the_other() {
    let (address, told) = together(8).await;
    let ledger = ledger().await;
    let url = format!("http://{address}/hook");
    let sells = passes(&ledger).webhook(&url, &[7; 32]).unwrap();
    let world = World::on(Arc::clone(&ledger), Arc::default(), |gate| {
        gate.route(hourly()).passes(sells)
    });
    // Four notices of each, before anybody is told.
    for n in 1..=2 {
        let payment = world.payment("/paid/x").await;
        token_of(&world.send(post(&permit(&payment))).await);
        until("settled", SOON, async || world.released() == n).await;
    }
    world.gate.start().await.unwrap();
    until("told", SOON, async || {
        told.load(std::sync::atomic::Ordering::SeqCst) == 8
    })
    .await;
}
