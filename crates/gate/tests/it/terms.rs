//! What somebody without payment gets.

use std::sync::Arc;

use http::StatusCode;
use tollway_core::wire::v1;
use tollway_core::{Refusal, header};
use tollway_gate::{BuildError, Gate, Offer, Quote, Route};

use crate::support::{BASE, PAYEE, Payment, World, price, request, terms_of};

#[tokio::test]
async fn an_unpaid_request_gets_terms_that_both_versions_understand() {
    let world = World::new().await;
    let answer = world.get("/paid/report?secret=1").await;
    assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(answer.header("payment-required").len() <= 8192);

    let terms = terms_of(&answer);
    assert_eq!(terms.resource.url, format!("{BASE}/paid/report"));
    assert_eq!(terms.accepts[0].network, "eip155:84532");
    assert_eq!(terms.accepts[0].amount, "10000");
    let offered = tollway_core::extensions::requires(terms.extensions.as_ref());
    assert_eq!(offered, Some(false));

    let body: v1::PaymentRequired = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body.accepts[0].network, "base-sepolia");
    assert_eq!(body.accepts[0].max_amount_required, "10000");
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn the_resource_url_never_comes_from_the_host_header() {
    let world = World::new().await;
    let mut asked = request("GET", "http://evil.example/paid/x");
    for name in ["host", "x-forwarded-host", "forwarded"] {
        asked
            .headers_mut()
            .insert(name, "evil.example".parse().unwrap());
    }
    let answer = world.send(asked).await;
    assert_eq!(terms_of(&answer).resource.url, format!("{BASE}/paid/x"));
    assert!(!String::from_utf8_lossy(&answer.body).contains("evil"));
}

#[tokio::test]
async fn head_gets_the_headers_of_get_and_never_settles() {
    let world = World::new().await;
    let payment = world.payment("/paid/x").await;
    for asked in [
        request("HEAD", "/paid/x"),
        payment.request("HEAD", "/paid/x"),
    ] {
        let answer = world.send(asked).await;
        assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
        assert!(answer.headers.contains_key("payment-required"));
        assert!(answer.body.is_empty());
    }
    assert_eq!(world.facilitator.verify_calls(), 0);
    assert_eq!(world.facilitator.settlements(), 0);
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn head_never_settles_where_a_function_says_the_price_either() {
    let route = Route::new("/paid/*")
        .unwrap()
        .price_with(|_| async { Ok(Quote::Pay(vec![price()])) });
    let world = World::with(|gate| gate.route(route)).await;
    let payment = world.payment("/paid/x").await;
    let answer = world.send(payment.request("HEAD", "/paid/x")).await;
    assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
    assert!(answer.body.is_empty());
    assert_eq!(
        (world.upstream.count(), world.facilitator.settlements()),
        (0, 0)
    );
    assert!(world.send(payment.get("/paid/x")).await.has_secret());
}

#[tokio::test]
async fn a_function_of_the_request_says_the_price() {
    let route = Route::new("/paid/*").unwrap().price_with(|parts| {
        let query = parts.uri.query().unwrap_or_default().to_owned();
        async move {
            match query.as_str() {
                "free" => Ok(Quote::Free),
                "never" => Err(Refusal::new(
                    "access_denied",
                    "Not for sale; ask the seller.",
                )),
                "big" => Ok(Quote::Pay(vec![
                    Offer::new("$2", "base-sepolia", PAYEE).unwrap(),
                ])),
                _ => Ok(Quote::Pay(vec![price()])),
            }
        }
    });
    let world = World::with(|gate| gate.route(route)).await;
    assert!(world.get("/paid/x?free").await.has_secret());
    assert_eq!(
        world.get("/paid/x?never").await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        terms_of(&world.get("/paid/x?big").await).accepts[0].amount,
        "2000000"
    );

    let cheap = Payment::for_terms(terms_of(&world.get("/paid/x").await));
    let refused = world.send(cheap.get("/paid/x?big")).await;
    assert_eq!(refused.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(
        world.facilitator.verify_calls(),
        0,
        "a cheap payment is not even verified"
    );
    assert!(world.send(cheap.get("/paid/x?small")).await.has_secret());
}

#[tokio::test]
async fn what_the_facilitator_adds_to_a_kind_stands_in_the_terms() {
    let world = World::new().await;
    *world.facilitator.kinds.lock().unwrap() = serde_json::from_value(serde_json::json!({
        "kinds": [{"x402Version": 2, "scheme": "exact", "network": "eip155:84532",
            "extra": {"feePayer": "0xfee", "name": "not the token's"}}],
    }))
    .unwrap();
    assert_eq!(world.gate.refresh_supported().await, Vec::<String>::new());
    let terms = terms_of(&world.get("/paid/x").await);
    assert_eq!(terms.accepts[0].extra_str("feePayer"), Some("0xfee"));
    assert_eq!(
        terms.accepts[0].extra_str("name"),
        Some("USDC"),
        "ours is not replaced"
    );
}

#[tokio::test]
async fn a_facilitator_that_lacks_a_kind_is_a_warning() {
    let world = World::new().await;
    let report = world.gate.start().await.unwrap();
    assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
    assert!(report.warnings[0].contains("eip155:84532"));
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused_before_the_first_request() {
    let world = World::new().await;
    let build = |base: &str, route: Option<Route>| {
        let gate = Gate::builder(base, world.facilitator.clone(), world.ledger.clone());
        let gate = gate.chain(Arc::clone(&world.chain) as _);
        match route {
            Some(route) => gate.route(route).build(),
            None => gate.build(),
        }
    };
    let route = || Route::new("/x").unwrap();
    assert!(matches!(build(BASE, None), Err(BuildError::NoRoutes)));
    assert!(matches!(
        build(BASE, Some(route())),
        Err(BuildError::NoPrice(_))
    ));
    for base in ["api.example", "ftp://a", "https://a/?q", "https://u:p@a"] {
        assert!(matches!(
            build(base, Some(route().offer(price()))),
            Err(BuildError::BaseUrl(_))
        ));
    }
    let elsewhere = Offer::new("$1", "base", PAYEE).unwrap();
    assert!(matches!(
        build(BASE, Some(route().offer(elsewhere))),
        Err(BuildError::NoChain { .. })
    ));
    assert!(Offer::new("$0.0000001", "base", PAYEE).is_err());
    assert!(price().with_timeout_seconds(5).is_err());
}

#[tokio::test]
async fn the_terms_of_a_path_are_the_same_whoever_asks_first() {
    let world = World::new().await;
    let first = world.get("/paid/a").await;
    world.get("/paid/another/one").await;
    let second = world.get("/paid/a").await;
    assert_eq!(
        first.header(header::PAYMENT_REQUIRED.as_str()),
        second.header("payment-required")
    );
    assert_eq!(first.body, second.body);
}
