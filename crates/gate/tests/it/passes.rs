//! Passes: bought by header or at the token door, and shown as bearer tokens.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tollway_core::PaymentFlow;
use tollway_core::wire::SettleResponse;
use tollway_gate::{
    Body, BuildError, Gate, GateBuilder, Offer, PassOffer, Passes, Route, TokenKeys,
};
use tollway_ledger::{GrantStore as _, SqliteLedger};
use tower::{Layer, ServiceExt};

use crate::support::{
    Answer, BASE, FakeChain, PAYEE, Payment, Raw, Say, World, limits, price, raw_server, request,
};
use crate::upfront::HandClock;

pub(crate) fn keys() -> TokenKeys {
    TokenKeys::parse(&format!("one {}", "5a".repeat(32))).unwrap()
}

pub(crate) fn hourly() -> Route {
    let route = Route::new("/paid/*").unwrap().offer(price());
    route.pass(PassOffer::for_time(Duration::from_secs(3_600)))
}

pub(crate) fn passes(ledger: &Arc<SqliteLedger>) -> Passes {
    let (own, all) = ("0.05".parse().unwrap(), "5".parse().unwrap());
    Passes::new(ledger.clone(), keys()).in_background(own, all)
}

pub(crate) async fn ledger() -> Arc<SqliteLedger> {
    Arc::new(SqliteLedger::open("sqlite::memory:").await.unwrap())
}

/// A gate that sells an hour of `/paid/*` for a cent.
pub(crate) async fn shop() -> World {
    shop_with(|gate| gate.route(hourly())).await
}

pub(crate) async fn shop_with(finish: impl FnOnce(GateBuilder) -> GateBuilder) -> World {
    let ledger = ledger().await;
    World::on(Arc::clone(&ledger), Arc::default(), |gate| {
        finish(gate.passes(passes(&ledger)))
    })
}

pub(crate) fn post(body: &Value) -> Request<Body> {
    Request::post("/token")
        .body(tollway_gate::full(body.to_string()))
        .unwrap()
}

/// The payment as clients of permit doors post it: integers, and the halves of
/// the signature without leading zeros.
pub(crate) fn permit(payment: &Payment) -> Value {
    let signed = &payment.payload.payload["authorization"];
    let number = |key: &str| signed[key].as_str().unwrap().parse::<u64>().unwrap();
    json!({
        "version": "Version 0.1",
        "permit": {
            "permit_type": "ERC3009",
            "signature": { "signature_type": "EIP712", "r": "0x1234", "s": "0x99", "v": 27 },
            "created_at": "2026-11-21T00:00:00",
            "token": payment.payload.accepted.asset,
            "chain_id": 84532,
            "authorizer": signed["from"],
            "recipient": signed["to"],
            "value": number("value"),
            "validAfter": 0,
            "validBefore": number("validBefore"),
            "nonce": signed["nonce"],
        },
    })
}

pub(crate) fn json_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

pub(crate) fn token_of(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let body = json_of(answer);
    assert_eq!(body["token_type"], "Bearer");
    body["access_token"].as_str().unwrap().to_owned()
}

pub(crate) fn with(token: &str, path: &str) -> Request<Body> {
    let mut request = request("GET", path);
    let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
    request.headers_mut().insert("authorization", value);
    request
}

pub(crate) fn refusing(reason: &str) -> Say {
    Say::Answer(Box::new(SettleResponse {
        error_reason: Some(reason.to_owned()),
        network: "eip155:84532".to_owned(),
        ..SettleResponse::default()
    }))
}

pub(crate) async fn until(what: &str, patience: Duration, mut is_so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(
            start.elapsed() < patience,
            "not within {patience:?}: {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_permit_gives_a_token_at_once_and_settles_behind_it() {
    let world = shop().await;
    let payment = world.payment("/paid/x").await;
    world
        .facilitator
        .next(Say::Slow(Duration::from_millis(300)));
    let bought = world.send(post(&permit(&payment))).await;
    let token = token_of(&bought);
    assert_eq!(world.facilitator.settlements(), 0, "not settled yet");
    let expires_in = json_of(&bought)["expires_in"].as_u64().unwrap();
    assert!((3_500..=3_600).contains(&expires_in), "{expires_in}");
    for path in ["/paid/x", "/paid/y/z"] {
        let opened = world.send(with(&token, path)).await;
        assert!(opened.has_secret(), "{opened:?}");
    }
    let seen = world.upstream.last();
    assert!(!seen.headers.contains_key("authorization"));
    assert_eq!(
        seen.headers["tollway-payer"],
        "0x857b06519e91e3a54538791bdbb0e22373e36b66"
    );
    until("settled", SOON, async || world.released() == 1).await;
    assert_eq!(world.facilitator.settlements(), 1);
    assert!(world.send(with(&token, "/paid/x")).await.has_secret());
    assert!(world.ledger.open_grants().await.unwrap().is_empty());
    assert!(world.kinds().contains(&"token_issued"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_posts_of_one_permit_give_one_token() {
    let world = Arc::new(shop().await);
    let payment = world.payment("/paid/x").await;
    world.facilitator.next(Say::Slow(Duration::from_secs(1)));
    let body = permit(&payment);
    let mut posts = JoinSet::new();
    for _ in 0..100 {
        let (world, body) = (Arc::clone(&world), body.clone());
        posts.spawn(async move { token_of(&world.send(post(&body)).await) });
    }
    let mut tokens = posts.join_all().await;
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 1);
    // What is signed can be read by anybody from its way to the chain on.
    let mut rebuilt = body.clone();
    rebuilt["permit"]["created_at"] = json!("2026-11-21T00:00:01");
    for settled in [0, 1] {
        until("settled", SOON, async || world.released() == settled).await;
        let thief = world.send(post(&rebuilt)).await;
        assert_eq!(thief.code(), "duplicate_settlement", "{thief:?}");
        assert!(json_of(&thief).get("access_token").is_none());
    }
    assert_eq!(world.facilitator.settlements(), 1);
    // Who posted it has the same bytes still.
    assert_eq!(token_of(&world.send(post(&body)).await), tokens[0]);
    assert_eq!(world.facilitator.settlements(), 1);
}

#[tokio::test]
async fn what_another_signed_for_the_same_authorization_gets_no_token() {
    let world = shop().await;
    let payment = world.payment("/paid/x").await;
    let mut body = permit(&payment);
    token_of(&world.send(post(&body)).await);
    body["permit"]["signature"]["r"] = json!("0x77");
    let stranger = world.send(post(&body)).await;
    assert_eq!(stranger.code(), "duplicate_settlement", "{stranger:?}");
    assert!(!String::from_utf8_lossy(&stranger.body).contains("access_token\""));
}

#[tokio::test]
async fn a_token_dies_within_a_second_of_its_payment_on_every_gate() {
    let ledger = ledger().await;
    let chain: Arc<FakeChain> = Arc::default();
    let gate = |name: &'static str, other: &str| {
        World::on(Arc::clone(&ledger), Arc::clone(&chain), |gate| {
            gate.route(hourly())
                .passes(passes(&ledger))
                .owner(name, &[other.to_owned()])
        })
    };
    let (one, two) = (gate("one", "two"), gate("two", "one"));
    for world in [&one, &two] {
        world.gate.start().await.unwrap();
    }
    let payment = one.payment("/paid/x").await;
    let token = token_of(&one.send(post(&permit(&payment))).await);
    until("settled", SOON, async || one.released() == 1).await;
    one.facilitator.next(refusing("insufficient_funds"));
    let second = one.payment("/paid/x").await;
    let dead = token_of(&one.send(post(&permit(&second))).await);
    until("refused", SOON, async || one.kinds().contains(&"refused")).await;
    let failed = Instant::now();
    for world in [&one, &two] {
        let closed = world.send(with(&dead, "/paid/x")).await;
        assert_eq!(closed.code(), "token_revoked", "{closed:?}");
        assert!(closed.has_terms());
        assert!(closed.header("www-authenticate").starts_with("Bearer"));
    }
    assert!(failed.elapsed() < Duration::from_secs(1));
    assert!(two.send(with(&token, "/paid/x")).await.has_secret());
    // Not 402: published clients sign anew on each.
    let again = one.send(post(&permit(&second))).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST);
    assert_eq!(again.code(), "insufficient_funds");
}

#[tokio::test]
async fn a_settled_token_is_checked_unread_as_long_as_revocations_are_heard() {
    let world = shop().await;
    world.gate.start().await.unwrap();
    let payment = world.payment("/paid/x").await;
    let token = token_of(&world.send(post(&permit(&payment))).await);
    until("settled", SOON, async || world.released() == 1).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(world.send(with(&token, "/paid/x")).await.has_secret());
    world.ledger.close().await;
    assert!(world.send(with(&token, "/paid/x")).await.has_secret());
    until("nobody vouches for it", SOON, async || {
        world.send(with(&token, "/paid/x")).await.status == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
}

#[tokio::test]
async fn a_token_that_is_taken_back_dies_though_it_was_trusted() {
    let world = shop().await;
    world.gate.start().await.unwrap();
    let payment = world.payment("/paid/x").await;
    let token = token_of(&world.send(post(&permit(&payment))).await);
    until("settled", SOON, async || world.released() == 1).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(world.send(with(&token, "/paid/x")).await.has_secret());
    let found = world
        .ledger
        .grant_by_identity(&payment.identity(&world))
        .await;
    let grant = found.unwrap().unwrap().id;
    let store: &dyn tollway_ledger::PassStore = &*world.ledger;
    let pass = store.pass_of(&grant).await.unwrap().unwrap();
    store.revoke(&pass.id, pass.issued_at).await.unwrap();
    until("dead", Duration::from_secs(1), async || {
        world.send(with(&token, "/paid/x")).await.code() == "token_revoked"
    })
    .await;
}

#[tokio::test]
async fn above_the_cap_and_for_contract_payers_it_settles_first() {
    let world = shop().await;
    world.facilitator.always(Some(Say::Hang));
    // Five cents may be promised to one payer; nothing settles.
    for _ in 0..5 {
        let payment = world.payment("/paid/x").await;
        token_of(&world.send(post(&permit(&payment))).await);
    }
    let beyond = world.payment("/paid/x").await;
    let waits = world.send(post(&permit(&beyond))).await;
    assert_eq!(waits.status, StatusCode::SERVICE_UNAVAILABLE, "{waits:?}");
    assert_eq!(waits.code(), "payment_in_progress");

    let world = shop().await;
    world.chain.payers_have_code.store(true, SeqCst);
    let payment = world.payment("/paid/x").await;
    let bought = world.send(post(&permit(&payment))).await;
    let token = token_of(&bought);
    assert!(bought.receipt().success, "it was settled before");
    assert_eq!((world.facilitator.settlements(), world.released()), (1, 1));
    assert!(world.send(with(&token, "/paid/x")).await.has_secret());
    assert_eq!(token_of(&world.send(post(&permit(&payment))).await), token);
}

#[tokio::test]
async fn what_a_dead_gate_promised_is_settled_once_by_the_next() {
    let ledger = ledger().await;
    let chain: Arc<FakeChain> = Arc::default();
    let gate = || {
        World::on(Arc::clone(&ledger), Arc::clone(&chain), |gate| {
            gate.route(hourly())
                .passes(passes(&ledger))
                .settles_here(ledger.clone(), true)
        })
    };
    let first = gate();
    first.facilitator.always(Some(Say::Hang));
    let payment = first.payment("/paid/x").await;
    let token = token_of(&first.send(post(&permit(&payment))).await);
    assert_eq!(first.facilitator.settlements(), 0);

    let next = gate();
    let report = next.gate.start().await.unwrap();
    assert_eq!(report.orphans_refused, 0);
    until("settled", SOON, async || next.released() == 1).await;
    assert_eq!(chain.settled.lock().unwrap().len(), 1);
    assert!(next.send(with(&token, "/paid/x")).await.has_secret());
    assert_eq!(token_of(&next.send(post(&permit(&payment))).await), token);
    assert!(ledger.open_grants().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_facilitator_that_cannot_be_reached_is_asked_until_it_can() {
    let world = shop().await;
    world.facilitator.always(Some(Say::Unavailable));
    let payment = world.payment("/paid/x").await;
    let token = token_of(&world.send(post(&permit(&payment))).await);
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.facilitator.always(None);
    until("settled", SOON, async || world.released() == 1).await;
    assert!(world.send(with(&token, "/paid/x")).await.has_secret());
}

#[tokio::test]
async fn a_pass_is_bought_by_header_on_any_flow_and_counts_its_first_request() {
    for flow in [PaymentFlow::Authorization, PaymentFlow::Upfront] {
        let route = Route::new("/paid/*").unwrap().offer(price());
        let route = route.pass(PassOffer::for_calls(3)).flow(flow);
        let world = shop_with(|gate| gate.route(route)).await;
        let payment = world.payment("/paid/x").await.named("three-calls-please");
        let bought = world.send(payment.get("/paid/x")).await;
        assert!(bought.has_secret() && bought.receipt().success);
        let token = bought.header("tollway-pass").to_owned();
        let again = world.send(payment.get("/paid/x")).await;
        assert_eq!(again.header("tollway-pass"), token, "{again:?}");
        for _ in 0..2 {
            assert!(world.send(with(&token, "/paid/y")).await.has_secret());
        }
        let spent = world.send(with(&token, "/paid/y")).await;
        assert_eq!(spent.code(), "token_used_up", "{spent:?}");
        assert!(spent.has_terms());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_for_calls_opens_as_many_at_once_and_not_one_more() {
    let route = Route::new("/paid/*").unwrap().offer(price());
    let world = shop_with(|gate| gate.route(route.pass(PassOffer::for_calls(20)))).await;
    let world = Arc::new(world);
    let payment = world.payment("/paid/x").await;
    let token = token_of(&world.send(post(&permit(&payment))).await);
    world.upstream.answer_with(StatusCode::BAD_GATEWAY);
    let failed = world.send(with(&token, "/paid/x")).await;
    assert_eq!(
        failed.status,
        StatusCode::BAD_GATEWAY,
        "and it is given back"
    );
    world.upstream.answer_with(StatusCode::OK);
    let mut uses = JoinSet::new();
    for _ in 0..50 {
        let (world, token) = (Arc::clone(&world), token.clone());
        uses.spawn(async move { world.send(with(&token, "/paid/x")).await.has_secret() });
    }
    let opened = uses.join_all().await.into_iter().filter(|o| *o).count();
    assert_eq!(opened, 20);
}

#[tokio::test]
async fn a_token_opens_its_own_routes_only() {
    let world = shop_with(|gate| {
        let sells = |pattern: &str| Route::new(pattern).unwrap().offer(price());
        let hour = PassOffer::for_time(Duration::from_secs(3_600));
        gate.route(sells("/paid/*").pass(hour.clone()))
            .route(sells("/other/*").pass(hour.clone()))
            .route(sells("/each").pass(hour.clone().audience("both")))
            .route(sells("/every").pass(hour.audience("both")))
            .route(sells("/single"))
    })
    .await;
    let payment = world.payment("/paid/x").await;
    let named = serde_json::to_value(&payment.payload).unwrap();
    let token = token_of(&world.send(post(&named)).await);
    assert!(world.send(with(&token, "/paid/x")).await.has_secret());
    for path in ["/other/x", "/each", "/single"] {
        let closed = world.send(with(&token, path)).await;
        assert_eq!(closed.status, StatusCode::PAYMENT_REQUIRED, "{path}");
        assert!(closed.has_terms() && !closed.has_secret(), "{path}");
    }
    let answer = world.get("/each").await;
    let endpoint = json_of(&answer)["access_token_endpoint"].clone();
    let payment = world.payment("/each").await;
    let anywhere = world.send(post(&permit(&payment))).await;
    assert_eq!(anywhere.status, StatusCode::BAD_REQUEST, "which route?");
    let there = Request::post(endpoint.as_str().unwrap())
        .body(tollway_gate::full(permit(&payment).to_string()))
        .unwrap();
    let token = token_of(&world.send(there).await);
    for path in ["/each", "/every"] {
        assert!(world.send(with(&token, path)).await.has_secret(), "{path}");
    }
}

#[tokio::test]
async fn the_402_answer_serves_header_clients_and_clients_of_permit_doors() {
    let world = shop().await;
    let answer = world.get("/paid/x").await;
    assert_eq!(answer.header("www-authenticate"), "Bearer");
    assert!(answer.headers.contains_key("payment-required"));
    let body = json_of(&answer);
    assert_eq!(body["accepts"][0]["network"], "base-sepolia");
    assert_eq!(body["reason"], "Missing authorization token");
    assert_eq!(body["access_token_endpoint"], "/token?for=%2Fpaid%2F%2A");
    assert_eq!(body["payment_scheme"]["protocol_version"], "Version 0.1");
    let component = &body["payment_scheme"]["payment_components"][0];
    for (key, value) in [
        ("payment_type", json!("evm")),
        ("amount", json!(0.01)),
        ("currency", json!("USDC")),
        ("chain_id", json!(84532)),
        ("caip2", json!("eip155:84532")),
        ("pay_to", json!(PAYEE)),
        ("token_decimals", json!(6)),
        ("token_version", json!("2")),
    ] {
        assert_eq!(component[key], value, "{key}");
    }
    assert_eq!(component["metadata"]["decimals"], 6);
    let closed = world.send(with("nonsense", "/paid/x")).await;
    assert_eq!(closed.code(), "invalid_token");
    assert!(
        json_of(&closed)["reason"]
            .as_str()
            .unwrap()
            .contains("token")
    );
    assert_eq!(
        closed.header("www-authenticate"),
        "Bearer error=\"invalid_token\""
    );
}

#[tokio::test]
async fn whatever_is_posted_or_shown_is_answered_and_opens_nothing() {
    let world = shop().await;
    let good = permit(&world.payment("/paid/x").await);
    let change = |key: &str, value: Value| {
        let mut body = good.clone();
        body["permit"][key] = value;
        body.to_string()
    };
    for (body, status) in [
        (String::new(), 400),
        ("[]".to_owned(), 400),
        ("{\"permit\":{}}".to_owned(), 400),
        ("x".repeat(70_000), 413),
        (change("permit_type", json!("Permit2")), 400),
        (change("permit_type", json!("unknown")), 400),
        (change("signature", json!({})), 400),
        (change("nonce", json!("é")), 400),
        (change("value", json!(0.01)), 400),
        (change("chain_id", json!(1)), 400),
        (change("token", json!(PAYEE)), 400),
    ] {
        let sent = Request::post("/token").body(tollway_gate::full(body.clone()));
        let answer = world.send(sent.unwrap()).await;
        assert_eq!(answer.status.as_u16(), status, "{body:.60}: {answer:?}");
        assert!(!answer.code().is_empty(), "{body:.60}");
    }
    let asked = world.send(request("GET", "/token")).await;
    assert_eq!(asked.status, StatusCode::METHOD_NOT_ALLOWED);
    for value in [
        "Bearer",
        "Bearer ",
        "bearer x.y.z",
        "Basic eDp5",
        "Bearer \u{e9}.\u{e9}",
    ] {
        let mut shown = request("GET", "/paid/x");
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        shown.headers_mut().insert("authorization", value);
        let answer = world.send(shown).await;
        assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
        assert!(answer.has_terms());
    }
    assert_eq!(
        (world.upstream.count(), world.facilitator.settlements()),
        (0, 0)
    );
}

#[tokio::test]
async fn it_is_told_what_became_of_a_payment() {
    let world = shop().await;
    let payment = world.payment("/paid/x").await;
    world
        .facilitator
        .next(Say::Slow(Duration::from_millis(200)));
    let bought = json_of(&world.send(post(&permit(&payment))).await);
    let path = bought["metadata"]["settlement"]
        .as_str()
        .unwrap()
        .to_owned();
    let told = json_of(&world.get(&path).await);
    assert_eq!(told["status"], "pending", "{told}");
    until("settled", SOON, async || world.released() == 1).await;
    let told = json_of(&world.get(&path).await);
    assert_eq!(told["status"], "settled");
    assert!(told["transaction"].as_str().unwrap().starts_with("0x"));
    for id in ["grt_nobody", "x", &"g".repeat(500)] {
        let unknown = world.get(&format!("/settlements/{id}")).await;
        assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn a_service_behind_hears_no_token_and_sells_none() {
    let world = shop().await;
    let forged = HeaderValue::from_static("forged");
    world
        .upstream
        .headers
        .lock()
        .unwrap()
        .insert("tollway-pass", forged);
    let payment = world.payment("/paid/x").await;
    let bought = world.send(payment.get("/paid/x")).await;
    assert_ne!(bought.header("tollway-pass"), "forged");
    let token = bought.header("tollway-pass").to_owned();
    let mut shown = with(&token, "/paid/x");
    let liar = HeaderValue::from_static("0xsomebody");
    shown.headers_mut().insert("tollway-payer", liar);
    let opened = world.send(shown).await;
    assert!(opened.has_secret() && opened.header("tollway-pass").is_empty());
    let seen = world.upstream.last();
    assert!(!seen.headers.contains_key("authorization"));
    assert_ne!(seen.headers["tollway-payer"], "0xsomebody");
    assert!(!format!("{seen:?}").contains(&token));
}

/// A gate whose seller is told, by a clock that can be moved.
async fn telling(
    ledger: &Arc<SqliteLedger>,
    chain: &Arc<FakeChain>,
    clock: &Arc<HandClock>,
    status: u16,
) -> (World, Arc<Mutex<Vec<String>>>) {
    let (address, seen) = raw_server(Raw::json(status, "{}")).await;
    let url = format!("http://{address}/hook");
    let passes = passes(ledger).webhook(&url, &[7; 32]).unwrap();
    let world = World::on(Arc::clone(ledger), Arc::clone(chain), |gate| {
        gate.route(hourly()).passes(passes).clock(clock.clone())
    });
    world.gate.start().await.unwrap();
    (world, seen)
}

/// The kind and the name of each notice, of which the signature was right.
fn notices(seen: &Mutex<Vec<String>>) -> Vec<(String, String)> {
    let seen = seen.lock().unwrap();
    let read = |request: &String| {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let signature = head
            .lines()
            .find_map(|line| line.strip_prefix("tollway-signature: t="))
            .unwrap();
        let (time, code) = signature.split_once(",v1=").unwrap();
        let mut mac = <hmac::Hmac<sha2::Sha256> as hmac::Mac>::new_from_slice(&[7; 32]).unwrap();
        hmac::Mac::update(&mut mac, format!("{time}.{body}").as_bytes());
        let expected = hex::encode(hmac::Mac::finalize(mac).into_bytes());
        assert_eq!(code, expected);
        let body: Value = serde_json::from_str(body).unwrap();
        let text = |key: &str| body[key].as_str().unwrap().to_owned();
        assert!(!request.contains("Bearer") && !request.contains("eyJ"));
        (text("type"), text("id"))
    };
    let mut all: Vec<_> = seen.iter().map(read).collect();
    all.sort();
    all
}

#[tokio::test]
async fn the_seller_is_told_of_everything_until_it_has_heard() {
    let (ledger, chain, clock) = (ledger().await, Arc::default(), Arc::default());
    let (deaf, seen) = telling(&ledger, &chain, &clock, 500).await;
    let payment = deaf.payment("/paid/x").await;
    token_of(&deaf.send(post(&permit(&payment))).await);
    until("tried", SOON, async || seen.lock().unwrap().len() == 4).await;
    let tried = notices(&seen);
    let kinds: Vec<&str> = tried.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "payment_requested",
            "payment_settled",
            "payment_verified",
            "token_issued"
        ]
    );
    drop(deaf);
    // The next process tells the same, when their time has come.
    clock.pass(Duration::from_secs(61));
    let (world, seen) = telling(&ledger, &chain, &clock, 204).await;
    until("told", SOON, async || seen.lock().unwrap().len() == 4).await;
    assert_eq!(notices(&seen), tried);
    world
        .facilitator
        .always(Some(refusing("insufficient_funds")));
    let payment = world.payment("/paid/x").await;
    token_of(&world.send(post(&permit(&payment))).await);
    until("told of the failure", SOON, async || {
        notices(&seen)
            .iter()
            .any(|(kind, _)| kind == "payment_failed")
    })
    .await;
    clock.pass(Duration::from_secs(61));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let (all, mut names) = (notices(&seen), notices(&seen));
    names.dedup();
    assert_eq!(all.len(), names.len(), "what was heard is told once");
}

#[tokio::test]
async fn a_webhook_that_is_open_to_others_is_refused_and_not_shown() {
    let ledger = ledger().await;
    for url in [
        "http://hooks.example/x",
        "https://me:canary@hooks.example/x",
        "https://hooks.example/?key=canary",
        "canary",
    ] {
        let refused = passes(&ledger).webhook(url, &[7; 32]).err().unwrap();
        assert!(matches!(refused, BuildError::Webhook(_)), "{url}");
        assert!(!refused.to_string().contains("canary"), "{refused}");
    }
    let short = passes(&ledger).webhook("https://hooks.example/x", &[7; 15]);
    assert!(matches!(short.err(), Some(BuildError::WebhookKey)));
}

#[tokio::test]
async fn a_pass_without_a_gate_that_sells_passes_is_found_at_the_start() {
    let world = World::new().await;
    let build = |finish: &dyn Fn(GateBuilder) -> GateBuilder| {
        let builder = Gate::builder(BASE, world.facilitator.clone(), world.store.clone());
        let builder = builder.chain(world.chain.clone()).limits(limits());
        finish(builder.route(hourly())).build()
    };
    let none = build(&|gate| gate);
    assert!(matches!(none, Err(BuildError::NoPasses(_))));
    let most = Offer::new("$1", "base-sepolia", PAYEE).unwrap().up_to();
    let metered = hourly().offer(most.unwrap());
    let metered = build(&|gate| gate.passes(passes(&world.ledger)).route(metered.clone()));
    assert!(matches!(metered, Err(BuildError::MeteredPass(_))));
    for path in ["token", "/", "//x", "/a b", "/é"] {
        let wrong = build(&|gate| gate.passes(passes(&world.ledger).token_path(path)));
        assert!(matches!(wrong, Err(BuildError::PassPath)), "{path}");
    }
    let own = build(&|gate| gate.passes(passes(&world.ledger).token_path("/buy")));
    let service = own.unwrap().layer().layer(world.upstream.service());
    let asked = Request::post("/buy").body(tollway_gate::empty()).unwrap();
    let answer = Answer::read(service.oneshot(asked).await.unwrap()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(Offer::new("$1", "base-sepolia", PAYEE).is_ok());
}
