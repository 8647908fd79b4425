//! Transactions that buyers made and show: what the gate says of them in its 402,
//! and what it takes for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use tollway_core::assets::Method;
use tollway_core::wire::{PaymentRequired, VerifyResponse, v1};
use tollway_core::{PaymentFlow, ProofProfile};
use tollway_gate::{
    BuildError, Gate, GateBuilder, Offer, PassOffer, Passes, Quote, Route, TokenKeys,
};
use tollway_ledger::{GrantStore as _, SqliteLedger};

use crate::support::{BASE, FakeChain, PAYEE, Payment, Say, World, price, terms_of};
use crate::upfront::HandClock;

const HASH: &str = "0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn keys() -> TokenKeys {
    TokenKeys::parse(&format!("k1 {}", "5a".repeat(32))).unwrap()
}

fn by_proof() -> Offer {
    price().by(Method::Txid).unwrap()
}

fn unsigned() -> Offer {
    price().by_unsigned_proof().unwrap()
}

fn sells(gate: GateBuilder) -> GateBuilder {
    let paid = Route::new("/paid/*").unwrap().offer(by_proof());
    let posted = Route::new("POST /posted/*").unwrap().offer(by_proof());
    let got = Route::new("GET /posted/*").unwrap().offer(by_proof());
    gate.route(paid).route(posted).route(got).proofs(keys())
}

async fn world() -> World {
    World::with(sells).await
}

fn hash(n: usize) -> String {
    format!("0x{n:064x}")
}

fn shown(terms: &PaymentRequired, hash: &str) -> Payment {
    Payment::shown(terms, ProofProfile::Signed, hash)
}

async fn offered(world: &World, path: &str) -> PaymentRequired {
    terms_of(&world.get(path).await)
}

fn verdict(code: &str) -> VerifyResponse {
    VerifyResponse {
        is_valid: false,
        invalid_reason: Some(code.to_owned()),
        ..VerifyResponse::default()
    }
}

fn refuses(world: &World, code: &str) {
    *world.facilitator.verdict.lock().unwrap() = Some(Ok(verdict(code)));
}

fn believes(world: &World) {
    *world.facilitator.verdict.lock().unwrap() = None;
}

#[tokio::test]
async fn each_402_says_a_reference_of_its_own_and_until_when() {
    let world = world().await;
    let (one, other) = (
        offered(&world, "/paid/x").await,
        offered(&world, "/paid/x").await,
    );
    let extra = one.accepts[0].extra.clone().unwrap();
    assert_eq!(extra["assetTransferMethod"], "txid");
    assert_eq!(extra["paymentFlow"], "upfront");
    let reference = |terms: &PaymentRequired| {
        let reference = terms.accepts[0].extra_str("reference");
        reference.unwrap().to_owned()
    };
    assert_ne!(reference(&one), reference(&other));
    assert!(reference(&one).len() >= 32, "128 bits and more");
    let time = |key: &str| extra[key].as_u64().unwrap();
    assert!(time("issuedAt") < time("expiresAt"));
    let longest = time("issuedAt") + one.accepts[0].max_timeout_seconds;
    assert!(
        time("expiresAt") > longest,
        "what was paid late can be shown"
    );
}

#[tokio::test]
async fn a_transaction_buys_one_answer_and_nothing_more() {
    let world = world().await;
    let payment = shown(&offered(&world, "/paid/x").await, HASH);
    let answer = world.send(payment.get("/paid/x")).await;
    assert!(answer.has_secret() && answer.receipt().success);
    // By the same proof, and by a fresh one for the same transaction.
    let again = world.send(payment.get("/paid/x")).await;
    assert_eq!(again.code(), "duplicate_settlement");
    let fresh = shown(&offered(&world, "/paid/y").await, HASH);
    let again = world.send(fresh.get("/paid/y")).await;
    assert_eq!(again.code(), "duplicate_settlement");
    assert!(!again.has_terms() && !again.has_secret());
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn who_paid_and_heard_nothing_gets_the_content_by_the_name_of_the_purchase() {
    let clock = Arc::new(HandClock::default());
    let ours = clock.clone();
    let world = World::with(|gate| sells(gate).clock(ours)).await;
    let terms = offered(&world, "/paid/x").await;
    let payment = shown(&terms, HASH).named("bought-by-transaction");
    assert!(world.send(payment.get("/paid/x")).await.has_secret());
    // Also when the time to show it is over.
    clock.pass(Duration::from_secs(7_200));
    let again = world.send(payment.get("/paid/x")).await;
    assert!(again.has_secret() && again.receipt().success, "{again:?}");
    assert_eq!(world.upstream.count(), 1);
    let other = shown(&terms, &hash(7)).named("bought-by-transaction");
    let conflict = world.send(other.get("/paid/x")).await;
    assert_eq!(conflict.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_proof_is_for_the_resource_and_the_route_that_its_terms_came_from() {
    let world = world().await;
    let terms = offered(&world, "/paid/x").await;
    let of_posted = offered(&world, "/posted/x").await;
    let wrong = "invalid_exact_evm_txid_reference";
    // Another resource, whatever the payment says of it.
    let elsewhere = world.send(shown(&terms, HASH).get("/paid/y")).await;
    assert_eq!(elsewhere.status, StatusCode::PAYMENT_REQUIRED);
    let mut relabelled = shown(&terms, HASH);
    relabelled.payload.resource.as_mut().unwrap().url = format!("{BASE}/paid/y");
    assert_eq!(world.send(relabelled.get("/paid/y")).await.code(), wrong);
    let mut silent = shown(&terms, HASH);
    silent.payload.resource = None;
    assert_eq!(world.send(silent.get("/paid/y")).await.code(), wrong);
    // Another route of the same path.
    let payment = shown(&of_posted, HASH);
    let posted = world.send(payment.request("POST", "/posted/x")).await;
    assert_eq!(posted.code(), wrong);
    assert_eq!(world.facilitator.verify_calls(), 0, "nobody was asked");
    assert!(world.send(payment.get("/posted/x")).await.has_secret());
}

#[tokio::test]
async fn what_its_payer_signed_is_compared_with_the_canonical_resource() {
    let world = world().await;
    let terms = offered(&world, "/paid/x").await;
    for said in [Some("https://relay.example/paid/x"), Some(""), None] {
        let mut payment = shown(&terms, &hash(3));
        match (said, &mut payment.payload.resource) {
            (Some(url), Some(resource)) => url.clone_into(&mut resource.url),
            (_, resource) => *resource = None,
        }
        world.send(payment.get("/paid/x")).await;
    }
    // Whoever checks the signature is told our own resource, or is not asked.
    let asked = world.facilitator.asked.lock().unwrap();
    let urls: Vec<&str> = asked
        .iter()
        .map(|request| request.payload.resource.as_ref().unwrap().url.as_str())
        .collect();
    assert!(!urls.is_empty());
    let own = format!("{BASE}/paid/x");
    assert!(urls.iter().all(|url| *url == own), "{urls:?}");
}

#[tokio::test]
async fn terms_that_the_gate_did_not_make_are_not_taken() {
    let world = world().await;
    let terms = offered(&world, "/paid/x").await;
    let wrong = "invalid_exact_evm_txid_reference";
    let long = u64::from(u32::MAX);
    for (key, value) in [
        ("reference", "another-reference-of-somebody".into()),
        ("reference", serde_json::Value::Null),
        ("issuedAt", 0_u64.into()),
        ("expiresAt", long.into()),
        ("finality", "included".into()),
    ] {
        let mut payment = shown(&terms, HASH);
        let extra = payment.payload.accepted.extra.as_mut().unwrap();
        extra.insert(key.to_owned(), value);
        let answer = world.send(payment.get("/paid/x")).await;
        // What is added beside our own words is what a buyer may do.
        if key == "finality" {
            assert!(answer.has_secret());
        } else {
            assert_eq!(answer.code(), wrong, "{key}");
            assert!(!answer.has_terms(), "who paid is told to pay again");
        }
    }
    let mut cheaper = shown(&terms, &hash(9));
    cheaper.payload.accepted.amount = "1".to_owned();
    assert_eq!(world.send(cheaper.get("/paid/x")).await.code(), wrong);
    // What says to be unsigned is so only where that is offered.
    let mut bare = shown(&terms, &hash(9));
    let extra = bare.payload.accepted.extra.as_mut().unwrap();
    extra.insert("proofProfile".to_owned(), "unsigned".into());
    let answer = world.send(bare.get("/paid/x")).await;
    assert_eq!(answer.code(), wrong);
    assert!(!answer.has_terms(), "who paid is told to pay again");
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn a_reference_that_is_over_buys_nothing_new() {
    let clock = Arc::new(HandClock::default());
    let ours = clock.clone();
    let world = World::with(|gate| sells(gate).clock(ours)).await;
    let payment = shown(&offered(&world, "/paid/x").await, HASH);
    // The time to pay is over, the time to show it is not.
    clock.pass(Duration::from_secs(301));
    refuses(&world, "invalid_exact_evm_txid_not_final");
    let early = world.send(payment.get("/paid/x")).await;
    assert_eq!(early.code(), "invalid_exact_evm_txid_not_final");
    believes(&world);
    clock.pass(Duration::from_secs(1_200));
    let late = world.send(payment.get("/paid/x")).await;
    assert_eq!(late.code(), "invalid_exact_evm_txid_reference");
    assert_eq!(world.upstream.count(), 0);
    let anew = shown(&offered(&world, "/paid/x").await, HASH);
    assert!(world.send(anew.get("/paid/x")).await.has_secret());
}

#[tokio::test]
async fn a_transaction_that_is_early_is_shown_again_and_nobody_is_told_to_pay() {
    let world = world().await;
    let payment = shown(&offered(&world, "/paid/x").await, HASH);
    for code in [
        "invalid_exact_evm_txid_not_found",
        "invalid_exact_evm_txid_not_final",
    ] {
        refuses(&world, code);
        let answer = world.send(payment.get("/paid/x")).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::PAYMENT_REQUIRED, code.to_owned())
        );
        assert!(!answer.has_terms(), "{answer:?}");
        assert!(!answer.header("retry-after").is_empty());
        let receipt = answer.receipt();
        assert_eq!(receipt.error_reason.as_deref(), Some(code));
        assert_eq!(receipt.transaction, HASH);
        let claimed = world
            .ledger
            .grant_by_identity(&payment.identity(&world))
            .await;
        assert_eq!(claimed.unwrap(), None, "nothing is held");
    }
    believes(&world);
    assert!(world.send(payment.get("/paid/x")).await.has_secret());
}

#[tokio::test]
async fn a_block_that_goes_between_two_looks_leaves_the_transaction_to_be_shown_again() {
    let world = world().await;
    let payment = shown(&offered(&world, "/paid/x").await, HASH).named("paid-and-reorganised");
    world
        .facilitator
        .next(Say::Answer(Box::new(tollway_core::wire::SettleResponse {
            error_reason: Some("invalid_exact_evm_txid_not_found".to_owned()),
            network: "eip155:84532".to_owned(),
            ..Default::default()
        })));
    let gone = world.send(payment.get("/paid/x")).await;
    assert_eq!(gone.code(), "invalid_exact_evm_txid_not_found");
    assert!(!gone.has_terms() && !gone.has_secret());
    assert_eq!(gone.receipt().transaction, HASH);
    let back = world.send(payment.get("/paid/x")).await;
    assert!(back.has_secret() && back.receipt().success);
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn an_answer_that_was_lost_before_a_block_went_costs_nobody_the_transaction() {
    let world = world().await;
    let payment = shown(&offered(&world, "/paid/x").await, HASH).named("lost-and-reorganised");
    world.facilitator.next(Say::Lost);
    world
        .facilitator
        .next(Say::Answer(Box::new(tollway_core::wire::SettleResponse {
            error_reason: Some("invalid_exact_evm_txid_not_found".to_owned()),
            network: "eip155:84532".to_owned(),
            ..Default::default()
        })));
    let gone = world.send(payment.get("/paid/x")).await;
    assert_eq!(gone.code(), "invalid_exact_evm_txid_not_found", "{gone:?}");
    let back = world.send(payment.get("/paid/x")).await;
    assert!(back.has_secret() && back.receipt().success, "{back:?}");
}

#[tokio::test]
async fn a_buyer_who_must_wait_is_told_its_own_transaction() {
    let world = world().await;
    let payment = shown(&offered(&world, "/paid/x").await, HASH);
    world.facilitator.next(Say::Hang);
    let waiting = world.send(payment.get("/paid/x")).await;
    assert_eq!(waiting.code(), "settlement_pending");
    assert_eq!(waiting.receipt().transaction, HASH);
    assert!(!waiting.has_terms());
}

#[tokio::test]
async fn who_only_knows_a_hash_keeps_nobody_from_showing_it() {
    let world = world().await;
    let payment = shown(&offered(&world, "/paid/x").await, HASH);
    // The thief's signature is not the payer's.
    refuses(&world, "invalid_exact_evm_txid_signature");
    let mut stolen = shown(&offered(&world, "/paid/x").await, HASH);
    let forged = format!("0x{}", "22".repeat(65)).into();
    stolen.payload.payload.insert("signature".into(), forged);
    for _ in 0..3 {
        let refused = world.send(stolen.get("/paid/x")).await;
        assert_eq!(refused.code(), "invalid_exact_evm_txid_signature");
        assert!(!refused.has_secret());
    }
    let identity = payment.identity(&world);
    let claimed = world.ledger.grant_by_identity(&identity).await.unwrap();
    assert_eq!(claimed, None, "the thief holds nothing");
    assert_eq!(world.facilitator.settle_calls.load(Ordering::SeqCst), 0);
    believes(&world);
    assert!(world.send(payment.get("/paid/x")).await.has_secret());
}

#[tokio::test]
async fn a_thousand_uses_of_one_transaction_at_once_are_one_grant() {
    let world = Arc::new(world().await);
    let mut terms = Vec::new();
    for _ in 0..10 {
        terms.push(offered(&world, "/paid/x").await);
    }
    let mut showing = tokio::task::JoinSet::new();
    for n in 0..1_000 {
        // By one proof and by ten, all good.
        let payment = shown(&terms[n % 10], HASH);
        let world = Arc::clone(&world);
        showing.spawn(async move { world.send(payment.get("/paid/x")).await });
    }
    let answers = showing.join_all().await;
    let served = answers.iter().filter(|answer| answer.has_secret()).count();
    assert_eq!((served, world.upstream.count()), (1, 1));
    assert_eq!((world.released(), world.facilitator.settlements()), (1, 1));
    assert!(
        answers
            .iter()
            .all(|a| a.has_secret() || !a.status.is_success())
    );
}

#[tokio::test]
async fn a_gate_remembers_nothing_of_what_it_asked_and_its_replicas_take_it() {
    let ledger = Arc::new(SqliteLedger::open("sqlite::memory:").await.unwrap());
    let chain: Arc<FakeChain> = Arc::default();
    let one = World::on(ledger.clone(), chain.clone(), sells);
    let payment = shown(&offered(&one, "/paid/x").await, HASH);
    drop(one);
    let stranger = World::on(ledger.clone(), chain.clone(), |gate| {
        let others = TokenKeys::parse(&TokenKeys::generate().unwrap()).unwrap();
        let route = Route::new("/paid/*").unwrap().offer(by_proof());
        gate.route(route).proofs(others)
    });
    let refused = stranger.send(payment.get("/paid/x")).await;
    assert_eq!(refused.code(), "invalid_exact_evm_txid_reference");
    let other = World::on(ledger, chain, sells);
    assert!(other.send(payment.get("/paid/x")).await.has_secret());
}

#[tokio::test]
async fn the_price_that_was_asked_holds_for_who_paid_it() {
    let cents = Arc::new(AtomicU64::new(1));
    let asked = cents.clone();
    let world = World::with(move |gate| {
        let route = Route::new("/paid/*").unwrap().price_with(move |_| {
            let dollars = format!("$0.0{}", asked.load(Ordering::SeqCst));
            async move {
                let offer = Offer::new(&dollars, "base-sepolia", PAYEE)?;
                Ok(Quote::Pay(vec![offer.by(Method::Txid)?]))
            }
        });
        gate.route(route).proofs(keys())
    })
    .await;
    let payment = shown(&offered(&world, "/paid/x?size=1").await, HASH);
    // What was asked for less buys no more.
    let dear = world.send(payment.get("/paid/x?size=9999")).await;
    assert_eq!(dear.code(), "invalid_exact_evm_txid_reference");
    assert!(!dear.has_terms(), "who paid is told to pay again: {dear:?}");
    cents.store(2, Ordering::SeqCst);
    let answer = world.send(payment.get("/paid/x?size=1")).await;
    assert!(answer.has_secret(), "{answer:?}");
    let charges = world.facilitator.charges.lock().unwrap().clone();
    assert_eq!(charges, ["10000"]);
    let mut cheap = shown(&offered(&world, "/paid/x").await, &hash(2));
    cheap.payload.accepted.amount = "10000".to_owned();
    let refused = world.send(cheap.get("/paid/x")).await;
    assert_eq!(refused.code(), "invalid_exact_evm_txid_reference");
}

#[tokio::test]
async fn each_offer_has_its_own_flow_and_our_own_methods_come_last() {
    let world = World::with(|gate| {
        let route = Route::new("/paid/*").unwrap();
        gate.route(route.offer(by_proof()).offer(price()))
            .proofs(keys())
    })
    .await;
    let answer = world.get("/paid/x").await;
    let terms = terms_of(&answer);
    let flows: Vec<Option<&str>> = terms
        .accepts
        .iter()
        .map(|entry| entry.extra_str("paymentFlow"))
        .collect();
    assert_eq!(flows, [None, Some(PaymentFlow::Upfront.as_str())]);
    let body: v1::PaymentRequired = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body.accepts.len(), 1);
    assert_eq!(
        body.accepts[0].extra.as_ref().unwrap().get("reference"),
        None
    );

    let signed = Payment::for_terms(terms.clone());
    assert!(world.send(signed.get("/paid/x")).await.has_secret());
    let verified = world.facilitator.verify_calls();
    assert_eq!(verified, 1, "the answer was made before the money moved");
    assert!(
        world
            .send(shown(&terms, HASH).get("/paid/x"))
            .await
            .has_secret()
    );
}

#[tokio::test]
async fn a_hash_alone_buys_only_where_the_route_says_so_and_once() {
    let world = World::with(|gate| {
        let open = Route::new("/open/*").unwrap().offer(unsigned());
        sells(gate).route(open)
    })
    .await;
    let answer = world.get("/open/x").await;
    let body: v1::PaymentRequired = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body.accepts[0].network, "base-sepolia");
    assert_eq!(body.accepts[0].max_amount_required, "10000");
    let terms = terms_of(&answer);
    let bare = Payment::shown(&terms, ProofProfile::Unsigned, HASH);
    let old = bare.clone().in_version_1();
    let sold = world.send(old.get("/open/x")).await;
    assert!(sold.has_secret(), "{sold:?}");
    assert_eq!(sold.receipt().network, "eip155:84532");
    for again in [&bare, &old] {
        let refused = world.send(again.get("/open/x")).await;
        assert_eq!(refused.code(), "duplicate_settlement");
    }
    // Not where a signature is asked for, in either version.
    for payment in [bare, old] {
        let refused = world.send(payment.get("/paid/x")).await;
        assert_eq!(refused.status, StatusCode::PAYMENT_REQUIRED);
        assert!(!refused.has_secret());
    }
    // An authorization is no transaction.
    let signed = Payment::for_terms(terms).in_version_1();
    let refused = world.send(signed.get("/open/x")).await;
    assert_eq!(refused.code(), "No matching payment requirements");
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn who_starts_a_gate_is_told_what_a_hash_alone_means() {
    let world = World::with(|gate| {
        let open = Route::new("/open/*").unwrap().offer(unsigned());
        sells(gate).route(open)
    })
    .await;
    let warned = world.gate.start().await.unwrap().warnings;
    let about: Vec<&String> = warned
        .iter()
        .filter(|w| w.contains("nobody signed"))
        .collect();
    assert_eq!(about.len(), 1, "{warned:?}");
    assert!(about[0].contains("/open/*"));
}

#[tokio::test]
async fn a_gate_without_keys_makes_no_such_offer() {
    let ledger = SqliteLedger::open("sqlite::memory:").await.unwrap();
    let chain: Arc<FakeChain> = Arc::default();
    let facilitator = crate::support::FakeFacilitator::new(chain.clone());
    let gate = Gate::builder(BASE, Arc::new(facilitator), Arc::new(ledger))
        .chain(chain)
        .route(Route::new("/paid/*").unwrap().offer(by_proof()));
    let error = gate.build().err();
    assert!(matches!(error, Some(BuildError::NoProofKeys(route)) if route == "/paid/*"));
}

/// An hour of `/paid/*` for a cent, by transaction.
async fn by_the_hour() -> World {
    let ledger = Arc::new(SqliteLedger::open("sqlite::memory:").await.unwrap());
    World::on(ledger.clone(), Arc::default(), |gate| {
        let hour = PassOffer::for_time(Duration::from_secs(3_600));
        let route = Route::new("/paid/*").unwrap().offer(by_proof()).pass(hour);
        let (own, all) = ("0.05".parse().unwrap(), "5".parse().unwrap());
        let passes = Passes::new(ledger.clone(), keys()).in_background(own, all);
        gate.route(route).passes(passes).proofs(keys())
    })
}

#[tokio::test]
async fn a_pass_is_bought_by_a_transaction_at_either_door_and_once() {
    let world = by_the_hour().await;
    let terms = offered(&world, "/paid/x").await;
    let sold = world.send(shown(&terms, HASH).get("/paid/x")).await;
    assert!(sold.has_secret() && !sold.header("tollway-pass").is_empty());

    let post = |payment: &Payment| {
        let body = serde_json::to_string(&payment.payload).unwrap();
        http::Request::post("/token")
            .body(tollway_gate::full(body))
            .unwrap()
    };
    let again = world.send(post(&shown(&terms, HASH))).await;
    assert_eq!(again.code(), "duplicate_settlement");
    let other = shown(&terms, &hash(5));
    let token = world.send(post(&other)).await;
    assert_eq!(token.status, StatusCode::OK, "{token:?}");
    assert!(token.receipt().success, "nothing waits behind this token");
    let body: serde_json::Value = serde_json::from_slice(&token.body).unwrap();
    let bearer = format!("Bearer {}", body["access_token"].as_str().unwrap());
    let mut request = crate::support::request("GET", "/paid/y");
    request
        .headers_mut()
        .insert("authorization", bearer.parse().unwrap());
    assert!(world.send(request).await.has_secret());
    // A thief's proof and terms of nobody are refused there too.
    refuses(&world, "invalid_exact_evm_txid_signature");
    let stolen = world.send(post(&shown(&terms, &hash(6)))).await;
    assert_eq!(stolen.code(), "invalid_exact_evm_txid_signature");
    believes(&world);
    let mut forged = shown(&terms, &hash(6));
    let extra = forged.payload.accepted.extra.as_mut().unwrap();
    extra.insert("reference".to_owned(), "A".repeat(64).into());
    let refused = world.send(post(&forged)).await;
    assert_eq!(refused.code(), "invalid_exact_evm_txid_reference");
    assert_eq!(world.facilitator.settlements(), 2);
}
