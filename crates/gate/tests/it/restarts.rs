//! A gate that starts again and sells something else, over the ledger that it had.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;
use tollway_core::wire::{SettleResponse, VerifyResponse};
use tollway_core::{Network, ProofProfile, assets};
use tollway_gate::{GateBuilder, Offer, PassOffer, Passes, Route, TokenKeys};

use crate::passes::{json_of, keys, passes, permit, post, shop, token_of};
use crate::support::{Answer, FakeChain, PAYEE, Payment, Say, World, price, request, terms_of};

const HASH: &str = "0xabababababababababababababababababababababababababababababababab";

fn pending(hash: &str) -> Say {
    Say::Answer(Box::new(SettleResponse {
        error_reason: Some("settlement_pending".to_owned()),
        transaction: hash.to_owned(),
        network: "eip155:84532".to_owned(),
        ..SettleResponse::default()
    }))
}

impl World {
    /// Another process over the same ledger and chain.
    fn again(&self, finish: impl FnOnce(GateBuilder) -> GateBuilder) -> Self {
        Self::on(Arc::clone(&self.ledger), Arc::clone(&self.chain), finish)
    }

    /// It asks five cents for what was a cent.
    fn dearer(&self) -> Self {
        self.again(|gate| gate.route(five_cents("/paid/*")))
    }

    /// Nobody was asked for money or goods.
    fn only_looked(&self) {
        assert_eq!(self.facilitator.verify_calls(), 0);
        assert_eq!(self.facilitator.settle_calls.load(Ordering::SeqCst), 0);
        assert_eq!(self.upstream.count(), 0);
    }
}

fn five_cents(pattern: &str) -> Route {
    let offer = Offer::new("$0.05", "base-sepolia", PAYEE).unwrap();
    Route::new(pattern).unwrap().offer(offer)
}

/// The terms of now, and not a word of what somebody else bought.
fn is_a_strangers(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED, "{answer:?}");
    assert_eq!(terms_of(answer).accepts[0].amount, "50000");
    let receipt = tollway_core::header::receipt(&answer.headers).unwrap();
    assert!(receipt.is_none() && !answer.has_secret(), "{answer:?}");
}

#[tokio::test]
async fn who_paid_another_price_gets_the_answer_again_by_the_name_of_the_purchase() {
    for upfront in [false, true] {
        let world = match upfront {
            true => World::upfront().await,
            false => World::new().await,
        };
        let payment = world.payment("/paid/x").await.named(&"a".repeat(32));
        let first = world.send(payment.get("/paid/x")).await;
        assert!(first.has_secret(), "{first:?}");
        let next = world.dearer();
        let again = next.send(payment.get("/paid/x")).await;
        assert_eq!(
            (again.status, &again.body),
            (StatusCode::OK, &first.body),
            "upfront: {upfront}, {again:?}"
        );
        assert_eq!(again.receipt().transaction, first.receipt().transaction);
        // Under its name there is nothing else to be had.
        let elsewhere = next.send(payment.get("/paid/y")).await;
        assert_eq!(elsewhere.status, StatusCode::CONFLICT);
        next.only_looked();
    }
}

#[tokio::test]
async fn who_paid_another_price_is_told_the_transaction_and_no_terms() {
    let world = World::new().await;
    let payment = world.payment("/paid/x").await.unnamed();
    let first = world.send(payment.get("/paid/x")).await;
    let next = world.dearer();
    let again = next.send(payment.get("/paid/x")).await;
    assert_eq!(again.code(), "duplicate_settlement", "{again:?}");
    assert!(!again.has_terms() && !again.has_secret(), "{again:?}");
    assert_eq!(again.receipt().transaction, first.receipt().transaction);
    next.only_looked();
}

#[tokio::test]
async fn who_paid_and_was_not_told_of_it_gets_no_terms_while_it_settles() {
    for upfront in [false, true] {
        for said in [pending(HASH), pending(""), Say::Hang] {
            for name in [None, Some("b".repeat(32))] {
                open_at_another_price(upfront, said.clone(), name).await;
            }
        }
    }
}

async fn open_at_another_price(upfront: bool, said: Say, name: Option<String>) {
    let world = match upfront {
        true => World::upfront().await,
        false => World::new().await,
    };
    let payment = world.payment("/paid/x").await;
    let payment = match &name {
        Some(name) => payment.named(name),
        None => payment.unnamed(),
    };
    let case = format!("upfront: {upfront}, {said:?}, {name:?}");
    world.facilitator.always(Some(said));
    let first = world.send(payment.get("/paid/x")).await;
    assert!(
        [402, 503].contains(&first.status.as_u16()) && !first.has_terms(),
        "{case}, {first:?}"
    );
    let next = world.dearer();
    let again = next.send(payment.get("/paid/x")).await;
    assert!(
        [402, 503].contains(&again.status.as_u16()) && !again.has_terms(),
        "{case}, {again:?}"
    );
    assert!(again.headers.contains_key("retry-after"), "{again:?}");
    next.only_looked();
    // And as soon as somebody knows, it is told.
    world.facilitator.always(None);
    world.chain.include(&payment.identity(&world), "somebody's");
    world.chain.has_node.store(true, Ordering::SeqCst);
    drop(world);
    next.gate.recover().await.unwrap();
    let known = next.send(payment.get("/paid/x")).await;
    assert_eq!(known.has_secret(), name.is_some(), "{case}, {known:?}");
    assert!(!known.has_terms(), "{case}, {known:?}");
    assert_eq!(next.facilitator.settle_calls.load(Ordering::SeqCst), 0);
}

/// Only who was to be served could not be, and asks for it by the name of the purchase.
#[tokio::test]
async fn what_was_paid_first_at_another_price_and_never_served_is_served() {
    let world = World::upfront().await;
    let payment = world.payment("/paid/x").await.named(&"e".repeat(32));
    world.upstream.answer_with(StatusCode::SERVICE_UNAVAILABLE);
    let first = world.send(payment.get("/paid/x")).await;
    assert!(first.receipt().success, "{first:?}");
    assert_eq!(first.status, StatusCode::SERVICE_UNAVAILABLE);
    let next = world.dearer();
    let elsewhere = next.send(payment.get("/paid/y")).await;
    assert_eq!(elsewhere.status, StatusCode::CONFLICT);
    drop(world);
    // The chain shows the authorization to everybody, and nobody the name.
    let strangers = [
        payment.clone().unnamed(),
        payment.clone().named(&"f".repeat(32)),
    ];
    for stranger in strangers {
        let answer = next.send(stranger.get("/paid/x")).await;
        assert!(!answer.has_secret() && !answer.has_terms(), "{answer:?}");
    }
    next.only_looked();
    let served = next.send(payment.get("/paid/x")).await;
    assert!(
        served.has_secret() && served.receipt().success,
        "{served:?}"
    );
    assert_eq!(served.receipt().transaction, first.receipt().transaction);
    assert_eq!(next.facilitator.settle_calls.load(Ordering::SeqCst), 0);
    assert_eq!(next.facilitator.verify_calls(), 0);
    let again = next.send(payment.get("/paid/x")).await;
    assert!(again.has_secret(), "{again:?}");
    assert_eq!(next.upstream.count(), 1);
}

#[tokio::test]
async fn what_nobody_paid_by_before_gets_the_terms_of_now() {
    let world = World::new().await;
    let (unknown, bought) = (
        world.payment("/paid/x").await.named(&"c".repeat(32)),
        world.payment("/paid/x").await.named(&"d".repeat(32)),
    );
    assert!(world.send(bought.get("/paid/x")).await.has_secret());
    let next = world.dearer();
    is_a_strangers(&next.send(unknown.get("/paid/x")).await);
    // Who knows the name of a purchase, and who knows its authorization too.
    let named = unknown.clone().named(&"d".repeat(32));
    is_a_strangers(&next.send(named.get("/paid/x")).await);
    let mut forged = bought.clone();
    forged.payload.payload["signature"] = format!("0x{}", "22".repeat(65)).into();
    is_a_strangers(&next.send(forged.get("/paid/x")).await);
    let mut cheaper = bought.clone();
    cheaper.payload.accepted.amount = "1".to_owned();
    is_a_strangers(&next.send(cheaper.get("/paid/x")).await);
    next.only_looked();
}

#[tokio::test]
async fn a_payment_that_brought_nothing_may_be_made_anew_at_the_price_of_now() {
    let world = World::new().await;
    let payment = world.payment("/paid/x").await;
    world.upstream.answer_with(StatusCode::BAD_GATEWAY);
    world.send(payment.get("/paid/x")).await;
    let refused = world.payment("/paid/x").await;
    world.upstream.answer_with(StatusCode::OK);
    world.facilitator.next(Say::Answer(Box::new(SettleResponse {
        error_reason: Some("invalid_transaction_state".to_owned()),
        transaction: HASH.to_owned(),
        network: "eip155:84532".to_owned(),
        ..SettleResponse::default()
    })));
    world.send(refused.get("/paid/x")).await;
    let next = world.dearer();
    is_a_strangers(&next.send(payment.get("/paid/x")).await);
    let again = next.send(refused.get("/paid/x")).await;
    assert_eq!(again.code(), "invalid_transaction_state", "{again:?}");
    assert_eq!(again.receipt().transaction, HASH);
    next.only_looked();
}

#[tokio::test]
async fn who_paid_on_a_network_that_is_taken_no_more_is_told_of_it_by_its_name() {
    let world = World::new().await;
    let bought = world.payment("/paid/x").await.named(&"a".repeat(32));
    let unknown = world.payment("/paid/x").await.named(&"b".repeat(32));
    let first = world.send(bought.get("/paid/x")).await;
    assert!(first.has_secret());
    let other = Network::eip155(8453);
    let next = World::on(
        world.ledger.clone(),
        Arc::new(FakeChain::of(other)),
        |gate| {
            let offer = Offer::new("$0.05", "base", PAYEE).unwrap();
            gate.route(Route::new("/paid/*").unwrap().offer(offer))
        },
    );
    let again = next.send(bought.get("/paid/x")).await;
    assert_eq!(again.code(), "duplicate_settlement", "{again:?}");
    assert!(!again.has_terms() && !again.has_secret());
    assert_eq!(again.receipt().transaction, first.receipt().transaction);
    is_a_strangers(&next.send(unknown.get("/paid/x")).await);
    let mut forged = bought.clone();
    forged.payload.payload["signature"] = format!("0x{}", "22".repeat(65)).into();
    is_a_strangers(&next.send(forged.get("/paid/x")).await);
    next.only_looked();
}

#[tokio::test]
async fn nobody_is_told_terms_while_the_ledger_cannot_be_asked() {
    let world = World::new().await;
    let payment = world.payment("/paid/x").await;
    assert!(world.send(payment.get("/paid/x")).await.has_secret());
    let next = world.dearer();
    next.store.fail("find", 1);
    let answer = next.send(payment.get("/paid/x")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.code(), "ledger_unavailable");
    assert!(!answer.has_terms());
    // Who brings no payment needs no ledger.
    next.store.fail("find", 1);
    is_a_strangers(&next.send(request("GET", "/paid/x")).await);
}

#[tokio::test]
async fn a_transaction_that_bought_something_is_known_by_a_gate_with_other_keys() {
    let marks = |digit: &str| TokenKeys::parse(&format!("k{digit} {}", digit.repeat(64))).unwrap();
    let by_proof = || price().by(assets::Method::Txid).unwrap();
    let sells = |gate: GateBuilder, digit: &str| {
        let route = Route::new("/paid/*").unwrap().offer(by_proof());
        gate.route(route).proofs(marks(digit))
    };
    let world = World::with(|gate| sells(gate, "5")).await;
    let terms = terms_of(&world.get("/paid/x").await);
    let payment = Payment::shown(&terms, ProofProfile::Signed, HASH);
    let (named, other) = (payment.clone().named(&"e".repeat(32)), payment);
    assert!(world.send(named.get("/paid/x")).await.has_secret());
    let next = world.again(|gate| sells(gate, "6"));
    assert!(next.send(named.get("/paid/x")).await.has_secret());
    let told = next.send(other.get("/paid/x")).await;
    assert_eq!(told.code(), "duplicate_settlement", "{told:?}");
    // A hash is public: what its payer did not sign says nothing.
    let mut foreign = other;
    foreign.payload.payload["signature"] = format!("0x{}", "22".repeat(65)).into();
    let told = next.send(foreign.get("/paid/x")).await;
    assert_eq!(told.code(), "invalid_exact_evm_txid_reference", "{told:?}");
    assert!(!told.has_terms());
    next.only_looked();
}

#[tokio::test]
async fn who_posted_a_payment_for_a_pass_gets_its_token_though_it_costs_more_now() {
    let world = shop().await;
    let bought = world.payment("/paid/x").await;
    let payload = |payment: &Payment| serde_json::to_value(&payment.payload).unwrap();
    let token = token_of(&world.send(post(&payload(&bought))).await);
    let unknown = world.payment("/paid/x").await;
    let hour = PassOffer::for_time(Duration::from_secs(3_600));
    let next = world.again(|gate| {
        let route = five_cents("/paid/*").pass(hour);
        gate.route(route).passes(passes(&world.ledger))
    });
    let again = next.send(post(&payload(&bought))).await;
    assert_eq!(token_of(&again), token);
    let refused = next.send(post(&payload(&unknown))).await;
    assert_eq!(refused.status, StatusCode::PAYMENT_REQUIRED);
    assert!(json_of(&refused).get("access_token").is_none());
    next.only_looked();
}

#[tokio::test]
async fn who_posted_for_a_pass_gets_its_token_though_its_route_sells_none_any_more() {
    let world = shop().await;
    let bought = world.payment("/paid/x").await;
    let unknown = world.payment("/paid/x").await;
    let payload = |payment: &Payment| serde_json::to_value(&payment.payload).unwrap();
    let token = token_of(&world.send(post(&payload(&bought))).await);
    let hour = || PassOffer::for_time(Duration::from_secs(3_600));
    let single = || Route::new("/paid/*").unwrap().offer(price());
    for routes in [
        vec![single()],
        vec![five_cents("/else/*").pass(hour())],
        vec![five_cents("/paid/:x").pass(hour()), five_cents("/else/*")],
    ] {
        let next = world.again(|gate| {
            let gate = gate.passes(passes(&world.ledger));
            routes.into_iter().fold(gate, GateBuilder::route)
        });
        let mut named = post(&payload(&bought));
        *named.uri_mut() = "/token?for=%2Fpaid%2F*".parse().unwrap();
        assert_eq!(token_of(&next.send(named).await), token);
        assert_eq!(
            token_of(&next.send(post(&payload(&bought))).await),
            token,
            "the very bytes"
        );
        let mut stranger = bought.payload.clone();
        stranger.resource.as_mut().unwrap().description = Some("rebuilt".to_owned());
        let rebuilt = next
            .send(post(&serde_json::to_value(&stranger).unwrap()))
            .await;
        assert_eq!(rebuilt.code(), "duplicate_settlement", "{rebuilt:?}");
        let refused = next.send(post(&payload(&unknown))).await;
        assert!(refused.status.is_client_error(), "{refused:?}");
        assert!(json_of(&refused).get("access_token").is_none());
        next.only_looked();
    }
}

#[tokio::test]
async fn who_posted_a_permit_for_a_pass_gets_its_token_though_it_costs_more_now() {
    let world = shop().await;
    let bought = permit(&world.payment("/paid/x").await);
    let unknown = permit(&world.payment("/paid/x").await);
    let token = token_of(&world.send(post(&bought)).await);
    let hour = || PassOffer::for_time(Duration::from_secs(3_600));
    for route in [five_cents("/paid/*").pass(hour()), five_cents("/paid/*")] {
        let next = world.again(|gate| gate.route(route).passes(passes(&world.ledger)));
        *next.facilitator.verdict.lock().unwrap() = Some(Ok(VerifyResponse {
            invalid_reason: Some("invalid_exact_evm_payload_authorization_value".to_owned()),
            ..VerifyResponse::default()
        }));
        assert_eq!(token_of(&next.send(post(&bought)).await), token);
        let mut dearer = bought.clone();
        dearer["permit"]["value"] = 50_000.into();
        for other in [&dearer, &unknown] {
            let refused = next.send(post(other)).await;
            assert!(refused.status.is_client_error(), "{refused:?}");
            assert!(json_of(&refused).get("access_token").is_none());
        }
        assert_eq!(next.facilitator.settle_calls.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn who_posted_a_permit_to_another_payee_gets_the_token_that_it_bought() {
    let world = shop().await;
    let bought = permit(&world.payment("/paid/x").await);
    let token = token_of(&world.send(post(&bought)).await);
    let hour = PassOffer::for_time(Duration::from_secs(3_600));
    let elsewhere = "0x5555555555555555555555555555555555555555";
    let next = world.again(|gate| {
        let offer = Offer::new("$0.01", "base-sepolia", elsewhere).unwrap();
        let route = Route::new("/paid/*").unwrap().offer(offer).pass(hour);
        gate.route(route).passes(passes(&world.ledger))
    });
    assert_eq!(token_of(&next.send(post(&bought)).await), token);
    next.only_looked();
}

#[tokio::test]
async fn who_posted_a_payment_on_a_network_that_is_taken_no_more_is_told_no_terms() {
    let world = shop().await;
    let bought = world.payment("/paid/x").await;
    let body = serde_json::to_value(&bought.payload).unwrap();
    token_of(&world.send(post(&body)).await);
    let hour = PassOffer::for_time(Duration::from_secs(3_600));
    let chain = Arc::new(FakeChain::of(Network::eip155(8453)));
    let next = World::on(world.ledger.clone(), chain, |gate| {
        let offer = Offer::new("$0.05", "base", PAYEE).unwrap();
        let route = Route::new("/paid/*").unwrap().offer(offer).pass(hour);
        gate.route(route).passes(passes(&world.ledger))
    });
    for body in [body, permit(&bought)] {
        let again = next.send(post(&body)).await;
        assert_eq!(again.status, StatusCode::BAD_REQUEST, "{again:?}");
        assert!(!again.has_terms(), "{again:?}");
    }
    next.only_looked();
}

#[tokio::test]
async fn a_transaction_that_is_posted_where_no_pass_is_sold_any_more_is_told_no_terms() {
    let world = World::with(|gate| {
        let marks = TokenKeys::parse(&format!("k5 {}", "5".repeat(64))).unwrap();
        let by_proof = price().by(assets::Method::Txid).unwrap();
        let route = Route::new("/paid/*").unwrap().offer(by_proof);
        gate.route(route).proofs(marks)
    })
    .await;
    let terms = terms_of(&world.get("/paid/x").await);
    let shown = Payment::shown(&terms, ProofProfile::Signed, HASH);
    let posted = || post(&serde_json::to_value(&shown.payload).unwrap());
    let single = || Route::new("/paid/*").unwrap().offer(price());
    let hour = PassOffer::for_time(Duration::from_secs(3_600));
    for route in [single(), single().pass(hour)] {
        let next = world.again(|gate| gate.route(route).passes(passes(&world.ledger)));
        let told = next.send(posted()).await;
        assert_eq!(told.code(), "invalid_exact_evm_txid_reference", "{told:?}");
        assert!(!told.has_terms(), "{told:?}");
        next.only_looked();
    }
}

#[tokio::test]
async fn a_pass_that_settles_somewhere_else_is_neither_told_terms_nor_settled_here() {
    let hour = || PassOffer::for_time(Duration::from_secs(3_600));
    let ledger = crate::passes::ledger().await;
    let settling_first = || Passes::new(ledger.clone(), keys());
    let world = World::on(Arc::clone(&ledger), Arc::default(), |gate| {
        let route = Route::new("/paid/*").unwrap().offer(price());
        gate.route(route.pass(hour())).passes(settling_first())
    });
    let payment = world.payment("/paid/x").await;
    let posted = || post(&serde_json::to_value(&payment.payload).unwrap());
    world.facilitator.always(Some(pending(HASH)));
    assert!(!world.send(posted()).await.has_terms());
    drop(world.gate);
    let next = World::on(Arc::clone(&ledger), world.chain, |gate| {
        let route = five_cents("/paid/*").pass(hour());
        gate.route(route).passes(settling_first())
    });
    let again = next.send(posted()).await;
    assert!(!again.has_terms(), "{again:?}");
    assert!(again.headers.contains_key("retry-after"), "{again:?}");
    next.only_looked();
}

#[tokio::test]
async fn what_comes_to_nothing_while_it_is_asked_about_is_not_begun_at_another_price() {
    let world = Arc::new(World::new().await);
    let payment = world.payment("/paid/x").await;
    *world.upstream.delay.lock().unwrap() = Duration::from_millis(300);
    world.upstream.answer_with(StatusCode::BAD_GATEWAY);
    let first = tokio::spawn({
        let (world, asked) = (Arc::clone(&world), payment.get("/paid/x"));
        async move { world.send(asked).await }
    });
    while world.upstream.count() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let next = world.dearer();
    is_a_strangers(&next.send(payment.get("/paid/x")).await);
    assert_eq!(first.await.unwrap().status, StatusCode::BAD_GATEWAY);
    next.only_looked();
}
