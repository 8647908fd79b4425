//! Who paid before signs in and gets it again; nobody else does.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, StatusCode};
use tollway_core::extensions::sign_in::{SIGN_IN_HEADER, SignIn, SignInOffer};
use tollway_core::{Timestamp, header};
use tollway_gate::{Access, Body, BuildError, Event, GateBuilder, Meter, Offer, Quote, Route};

use crate::support::{Answer, BASE, FakeChain, PAYEE, World, price, request, terms_of};
use crate::upfront::HandClock;

/// Who pays in these stories, as the chain spells it.
const PAYER: &str = "0x857b06519e91e3a54538791bdbb0e22373e36b66";
const OTHER: &str = "0x00000000000000000000000000000000000000ff";

async fn shop(within: Duration) -> World {
    World::with(|gate| gate.route(returning(within))).await
}

fn returning(within: Duration) -> Route {
    Route::new("GET /paid/*")
        .unwrap()
        .offer(price())
        .returning(within)
}

const HOUR: Duration = Duration::from_secs(3600);

async fn offer(world: &World, path: &str) -> SignInOffer {
    let terms = terms_of(&world.get(path).await);
    SignInOffer::find(terms.extensions.as_ref()).expect("signing in is offered")
}

async fn signed(world: &World, path: &str) -> SignIn {
    let offer = offer(world, path).await;
    SignIn {
        info: offer.info,
        address: PAYER.to_owned(),
        chain_id: offer.supported_chains[0].chain_id.clone(),
        kind: offer.supported_chains[0].kind.clone(),
        signature: "0xkey".to_owned(),
    }
}

fn with(path: &str, sign_in: &SignIn) -> Request<Body> {
    let mut request = request("GET", path);
    let value = HeaderValue::from_str(&header::encode(sign_in)).unwrap();
    request.headers_mut().insert(SIGN_IN_HEADER, value);
    request
}

async fn paid(world: &World, path: &str) {
    let payment = world.payment(path).await;
    assert!(world.send(payment.get(path)).await.has_secret());
}

fn refused(answer: &Answer, code: &str) {
    assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED, "{code}");
    assert!(!answer.has_secret() && answer.has_terms(), "{code}");
    assert_eq!(terms_of(answer).error.as_deref(), Some(code));
}

#[tokio::test]
async fn who_paid_signs_in_and_gets_it_again_without_paying() {
    let world = shop(HOUR).await;
    paid(&world, "/paid/x").await;
    for _ in 0..3 {
        let again = signed(&world, "/paid/x").await;
        let answer = world.send(with("/paid/x?page=2", &again)).await;
        assert!(answer.has_secret());
        let mut varies = answer.headers.get_all("vary").iter();
        assert!(varies.any(|name| name == "sign-in-with-x"));
        assert_eq!(answer.header("payment-response"), "");
    }
    assert_eq!(world.facilitator.settlements(), 1);
    let seen = world.upstream.last();
    assert_eq!(seen.headers["tollway-payer"], PAYER);
    assert!(!seen.headers.contains_key(SIGN_IN_HEADER));
}

#[tokio::test]
async fn a_signature_opens_one_answer_however_often_it_is_shown() {
    let world = shop(HOUR).await;
    paid(&world, "/paid/x").await;
    let sign_in = signed(&world, "/paid/x").await;
    let shown = (0..20).map(|_| world.send(with("/paid/x", &sign_in)));
    let answers = futures_util::future::join_all(shown).await;
    let opened = answers.iter().filter(|answer| answer.has_secret()).count();
    assert_eq!(opened, 1);
    refused(
        &world.send(with("/paid/x", &sign_in)).await,
        "invalid_siwx_nonce",
    );
    // And the owner is told of each.
    assert_eq!(told(&world), (1, vec!["invalid_siwx_nonce".to_owned(); 20]));
}

/// Sign-ins that opened something, and the codes of those that did not.
fn told(world: &World) -> (usize, Vec<String>) {
    let events = world.events.lock().unwrap();
    let code = |event: &Event| match event {
        Event::SignInRefused { route, code } => {
            assert_eq!(route, "GET /paid/*");
            Some(code.clone())
        }
        _ => None,
    };
    let opened = |event: &&Event| matches!(event, Event::SignedIn { payer, .. } if payer == PAYER);
    let opened = events.iter().filter(opened).count();
    (opened, events.iter().filter_map(code).collect())
}

#[tokio::test]
async fn who_has_not_paid_for_it_gets_the_terms() {
    let world = shop(HOUR).await;
    let early = signed(&world, "/paid/x").await;
    refused(
        &world.send(with("/paid/x", &early)).await,
        "sign_in_not_paid",
    );
    // No node is asked about a signature of who has not paid.
    let mut by_code = early.clone();
    by_code.signature = "0xnode".to_owned();
    refused(
        &world.send(with("/paid/x", &by_code)).await,
        "sign_in_not_paid",
    );
    paid(&world, "/paid/x").await;
    let elsewhere = signed(&world, "/paid/y").await;
    refused(
        &world.send(with("/paid/y", &elsewhere)).await,
        "sign_in_not_paid",
    );
    let mut another = signed(&world, "/paid/x").await;
    another.address = OTHER.to_owned();
    refused(
        &world.send(with("/paid/x", &another)).await,
        "sign_in_not_paid",
    );
    // Nothing was used up by that.
    another.address = PAYER.to_owned();
    assert!(world.send(with("/paid/x", &another)).await.has_secret());
    assert_eq!(world.facilitator.settlements(), 1);
}

#[tokio::test]
async fn what_was_paid_opens_for_the_time_that_the_route_says() {
    let world = shop(Duration::from_millis(40)).await;
    paid(&world, "/paid/x").await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    let late = signed(&world, "/paid/x").await;
    refused(
        &world.send(with("/paid/x", &late)).await,
        "sign_in_not_paid",
    );
}

#[tokio::test]
async fn a_signature_is_for_its_origin_its_resource_its_time_and_its_signer() {
    let world = shop(HOUR).await;
    paid(&world, "/paid/x").await;
    paid(&world, "/paid/y").await;
    type Change = fn(&mut SignIn);
    let changed: [(&str, Change); 11] = [
        ("invalid_siwx_domain_mismatch", |s| {
            s.info.domain = "evil.example".into()
        }),
        ("invalid_siwx_uri_mismatch", |s| {
            s.info.uri = format!("{BASE}/paid/y")
        }),
        ("invalid_siwx_uri_mismatch", |s| {
            s.info.uri = "https://evil.example/paid/x".into()
        }),
        ("invalid_siwx_issued_at", |s| {
            s.info.issued_at = "now".into()
        }),
        ("invalid_siwx_issued_at_too_old", |s| {
            s.info.issued_at = Timestamp::from_secs(1_000_000_000).to_rfc3339();
        }),
        ("invalid_siwx_expired", |s| {
            s.info.expiration_time = Some(Timestamp::from_secs(1_000_000_000).to_rfc3339());
        }),
        ("invalid_siwx_unsupported_chain", |s| {
            s.chain_id = "eip155:1".into()
        }),
        ("invalid_siwx_unsupported_chain", |s| {
            s.kind = "ed25519".into()
        }),
        ("invalid_siwx_signature", |s| {
            s.signature = "0xforged".into()
        }),
        ("invalid_siwx_verifier_error", |s| {
            s.signature = "0xnode".into()
        }),
        ("invalid_payload", |s| s.info.nonce = "a b".into()),
    ];
    for (code, change) in changed {
        let mut sign_in = signed(&world, "/paid/x").await;
        change(&mut sign_in);
        refused(&world.send(with("/paid/x", &sign_in)).await, code);
    }
    // A sign-in for one resource does not open another that was paid for too.
    let x = signed(&world, "/paid/x").await;
    refused(
        &world.send(with("/paid/y", &x)).await,
        "invalid_siwx_uri_mismatch",
    );
    for garbage in ["", "e30=", "!!", "bnVsbA=="] {
        let mut asked = request("GET", "/paid/x");
        let value = HeaderValue::from_static(garbage);
        asked.headers_mut().insert(SIGN_IN_HEADER, value);
        let answer = world.send(asked).await;
        assert!(!answer.has_secret() && answer.status == StatusCode::PAYMENT_REQUIRED);
    }
}

/// Such as test dollars, at the same route before it was sold for real ones.
#[tokio::test]
async fn what_was_paid_on_another_network_opens_nothing() {
    let world = shop(HOUR).await;
    paid(&world, "/paid/x").await;
    let live = World::on(world.ledger.clone(), world.chain.clone(), |gate| {
        let real = Offer::new("$0.01", "base", PAYEE).unwrap();
        let chain = FakeChain::of(real.terms().network.clone());
        let route = Route::new("GET /paid/*").unwrap().offer(real);
        gate.chain(Arc::new(chain)).route(route.returning(HOUR))
    });
    let sign_in = signed(&live, "/paid/x").await;
    assert_eq!(sign_in.chain_id, "eip155:8453");
    refused(
        &live.send(with("/paid/x", &sign_in)).await,
        "sign_in_not_paid",
    );
}

#[tokio::test]
async fn a_contracts_word_counts_on_the_network_where_it_paid() {
    let world = shop(HOUR).await;
    paid(&world, "/paid/x").await;
    let mut by_code = signed(&world, "/paid/x").await;
    by_code.signature = "0xcode".to_owned();
    assert!(world.send(with("/paid/x", &by_code)).await.has_secret());
}

#[tokio::test]
async fn a_payment_beside_a_sign_in_that_opens_nothing_is_taken() {
    let world = shop(HOUR).await;
    let sign_in = signed(&world, "/paid/x").await;
    let payment = world.payment("/paid/x").await;
    let mut both = with("/paid/x", &sign_in);
    both.headers_mut().extend(payment.headers());
    assert!(world.send(both).await.has_secret());
    assert_eq!(told(&world), (0, vec!["sign_in_not_paid".to_owned()]));
    // And one beside a good sign-in is not.
    let sign_in = signed(&world, "/paid/x").await;
    let payment = world.payment("/paid/x").await;
    let mut both = with("/paid/x", &sign_in);
    both.headers_mut().extend(payment.headers());
    assert!(world.send(both).await.has_secret());
    assert_eq!(world.facilitator.settlements(), 1);
}

#[tokio::test]
async fn who_may_not_pay_may_not_come_back_either_and_a_dead_ledger_opens_nothing() {
    let world = World::with(|gate| {
        gate.route(returning(HOUR))
            .access(Access::new().block(PAYER).unwrap())
    })
    .await;
    let sign_in = signed(&world, "/paid/x").await;
    assert!(!world.send(with("/paid/x", &sign_in)).await.has_secret());

    // Coming back counts as paying does, where that has a rate.
    let clock = Arc::new(HandClock::default());
    let world = World::with(|gate| {
        gate.route(returning(HOUR))
            .access(Access::new().per_payer(3))
            .clock(clock.clone())
    })
    .await;
    paid(&world, "/paid/x").await;
    let mut opened = 0;
    let mut slowed = None;
    for _ in 0..4 {
        let sign_in = signed(&world, "/paid/x").await;
        let answer = world.send(with("/paid/x", &sign_in)).await;
        match answer.has_secret() {
            true => opened += 1,
            false => {
                assert_eq!(answer.code(), "payer_rate_limited");
                slowed = Some(sign_in);
            }
        }
    }
    assert_eq!(opened, 2);
    assert_eq!(told(&world), (2, vec!["payer_rate_limited".to_owned(); 2]));
    // Whose message was not used up by that.
    clock.pass(Duration::from_secs(60));
    let later = world.send(with("/paid/x", &slowed.unwrap())).await;
    assert!(later.has_secret(), "{later:?}");

    let world = shop(HOUR).await;
    paid(&world, "/paid/x").await;
    for step in ["paid_before", "use_sign_in"] {
        let sign_in = signed(&world, "/paid/x").await;
        world.store.fail(step, 1);
        let answer = world.send(with("/paid/x", &sign_in)).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{step}");
        assert!(!answer.has_secret() && !answer.has_terms());
    }
}

#[tokio::test]
async fn signing_in_is_offered_only_where_the_route_says_so() {
    let world = World::new().await;
    let terms = terms_of(&world.get("/paid/x").await);
    assert!(SignInOffer::find(terms.extensions.as_ref()).is_none());
    paid(&world, "/paid/x").await;
    let other = shop(HOUR).await;
    let sign_in = signed(&other, "/paid/x").await;
    assert!(!world.send(with("/paid/x", &sign_in)).await.has_secret());
    // Each 402 has a nonce of its own.
    let nonces = (
        offer(&other, "/paid/x").await,
        offer(&other, "/paid/x").await,
    );
    assert_ne!(nonces.0.info.nonce, nonces.1.info.nonce);
}

#[tokio::test]
async fn routes_whose_price_is_not_fixed_cannot_be_opened_again() {
    let meter: Meter = "$0.001/event".parse().unwrap();
    let most = || price().up_to().unwrap();
    for route in [
        Route::new("/paid/*").unwrap().offer(most()),
        Route::new("/paid/*").unwrap().offer(most()).meter(meter),
        Route::new("/paid/*")
            .unwrap()
            .price_with(|_| async { Ok(Quote::Free) }),
    ] {
        let route = route.returning(HOUR);
        let world = World::new().await;
        let builder: GateBuilder =
            tollway_gate::Gate::builder(BASE, world.facilitator.clone(), world.store.clone());
        let refused = builder.chain(world.chain.clone()).route(route).build();
        assert!(matches!(refused, Err(BuildError::Returning { .. })));
    }
}
