//! Paying, and trying to get in without.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use tollway_core::FacilitatorError;
use tollway_core::wire::{VerifyResponse, Version};
use tollway_gate::{Offer, Route};

use crate::support::{PAYEE, Payment, SECRET, World, price, request, terms_of};

#[tokio::test]
async fn who_pays_is_served_and_gets_a_receipt() {
    let world = World::new().await;
    let payment = world.payment("/paid/x").await;
    let answer = world.send(payment.get("/paid/x?q=1")).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.has_secret());
    let receipt = answer.receipt();
    assert!(receipt.success);
    assert_eq!(receipt.network, "eip155:84532");
    assert!(receipt.transaction.starts_with("0x"));
    assert!(answer.headers.contains_key("payment-response"));
    assert_eq!(answer.header("cache-control"), "private");
    assert_eq!(
        world.kinds(),
        ["challenged", "verified", "claimed", "served", "released"]
    );
}

#[tokio::test]
async fn a_version_1_client_pays_and_reads_its_own_header() {
    let world = World::new().await;
    let payment = world.payment("/paid/x").await.in_version_1();
    let answer = world.send(payment.get("/paid/x")).await;
    assert!(answer.has_secret());
    assert!(answer.headers.contains_key("x-payment-response"));
    assert!(!answer.headers.contains_key("payment-response"));
    let json =
        tollway_core::header::decode::<serde_json::Value>(answer.header("x-payment-response"));
    assert_eq!(json.unwrap()["network"], "base-sepolia");
}

#[tokio::test]
async fn one_authorization_opens_one_grant_however_often_it_is_shown() {
    let world = Arc::new(World::patient().await);
    let payment = world.payment("/paid/x").await;
    let tries: Vec<_> = (0..200)
        .map(|_| {
            let (world, request) = (Arc::clone(&world), payment.get("/paid/x"));
            tokio::spawn(async move { world.send(request).await })
        })
        .collect();
    let mut served = 0;
    for answer in tries {
        let answer = answer.await.unwrap();
        if answer.has_secret() {
            served += 1;
            continue;
        }
        assert_eq!(answer.code(), "duplicate_settlement", "{answer:?}");
        assert!(!answer.receipt().transaction.is_empty());
        assert!(!answer.has_terms());
    }
    assert_eq!(served, 1);
    assert_eq!(world.released(), 1);
    assert_eq!(world.upstream.count(), 1);
    assert_eq!(world.facilitator.settlements(), 1);
}

#[tokio::test]
async fn another_encoding_of_the_same_authorization_is_the_same_authorization() {
    let world = World::new().await;
    let payment = world.payment("/paid/x").await;
    assert!(world.send(payment.get("/paid/x")).await.has_secret());
    let mut again = payment.clone();
    let authorization = again.payload.payload["authorization"]
        .as_object_mut()
        .unwrap();
    let nonce = authorization["nonce"]
        .as_str()
        .unwrap()
        .to_uppercase()
        .replace("0X", "0x");
    authorization.insert("nonce".to_owned(), nonce.into());
    authorization.insert("junk".to_owned(), 1.into());
    let answer = world.send(again.get("/paid/x")).await;
    assert_eq!(answer.code(), "duplicate_settlement");
    let answer = world.send(again.in_version_1().get("/paid/x")).await;
    assert_eq!(answer.code(), "duplicate_settlement");
    assert_eq!(
        world.facilitator.verify_calls(),
        1,
        "a repeat is known before anybody is asked"
    );
}

#[tokio::test]
async fn a_payment_for_one_route_opens_no_other() {
    let prices = ["$0.01", "$0.02", "$0.03"];
    let world = World::with(|mut gate| {
        for (n, price) in prices.iter().enumerate() {
            let offer = Offer::new(price, "base-sepolia", PAYEE).unwrap();
            gate = gate.route(Route::new(&format!("/r{n}/*")).unwrap().offer(offer));
        }
        gate
    })
    .await;
    for from in 0..prices.len() {
        for to in (0..prices.len()).filter(|to| *to != from) {
            let payment = world.payment(&format!("/r{from}/x")).await;
            let answer = world.send(payment.get(&format!("/r{to}/x"))).await;
            assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
            assert_eq!(
                terms_of(&answer).error.as_deref(),
                Some("No matching payment requirements")
            );
        }
    }
    assert_eq!(world.facilitator.verify_calls(), 0);
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn a_payment_that_names_another_resource_is_not_for_this_one() {
    let world = World::new().await;
    for url in [
        "https://api.example/paid/other",
        "https://mallory.example/paid/x",
        "x",
    ] {
        let mut payment = world.payment("/paid/x").await;
        payment.payload.resource.as_mut().unwrap().url = url.to_owned();
        let answer = world.send(payment.get("/paid/x")).await;
        assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED, "{url}");
    }
    let mut silent = world.payment("/paid/x").await;
    silent.payload.resource = None;
    assert!(world.send(silent.get("/paid/x")).await.has_secret());
}

#[tokio::test]
async fn changed_terms_match_nothing() {
    let world = World::new().await;
    let change = |change: fn(&mut Payment)| {
        let world = &world;
        async move {
            let mut payment = world.payment("/paid/x").await;
            change(&mut payment);
            world.send(payment.get("/paid/x")).await
        }
    };
    let answers = [
        change(|p| p.payload.accepted.amount = "1".to_owned()).await,
        change(|p| p.payload.accepted.pay_to = format!("0x{}", "2".repeat(40))).await,
        change(|p| p.payload.accepted.network = "eip155:8453".to_owned()).await,
        change(|p| p.payload.accepted.scheme = "upto".to_owned()).await,
        change(|p| p.payload.accepted.max_timeout_seconds = 1).await,
        change(|p| p.payload.accepted.extra = None).await,
    ];
    for answer in answers {
        assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
        assert!(answer.has_terms() && !answer.has_secret());
    }
    assert_eq!(world.facilitator.verify_calls(), 0);
}

#[tokio::test]
async fn an_extension_must_come_back_as_it_was_sent() {
    let world = World::new().await;
    let mut payment = world.payment("/paid/x").await;
    payment.payload.extensions.as_mut().unwrap()["payment-identifier"]["info"]["required"] =
        true.into();
    let answer = world.send(payment.get("/paid/x")).await;
    assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(
        terms_of(&answer).error.as_deref(),
        Some("extension_echo_mismatch")
    );
}

/// Every combination of no, one or two headers of each version, whole or broken.
#[tokio::test]
async fn exactly_one_readable_payment_header_is_taken() {
    let world = World::new().await;
    let good = world.payment("/paid/x").await;
    let v2 = good.headers()["payment-signature"].clone();
    let v1 = good.clone().in_version_1().headers()["x-payment"].clone();
    let broken: Vec<HeaderValue> = vec![
        HeaderValue::from_static(""),
        HeaderValue::from_static("!!!"),
        HeaderValue::from_static("e30="),
        HeaderValue::from_static("bnVsbA=="),
        HeaderValue::from_bytes(b"\xff\xfe").unwrap(),
        HeaderValue::try_from("A".repeat(20_000)).unwrap(),
        v1.clone(),
    ];
    let send = |headers: Vec<(&'static str, HeaderValue)>| {
        let mut asked = request("GET", "/paid/x");
        for (name, value) in headers {
            asked.headers_mut().append(name, value);
        }
        world.send(asked)
    };
    let bad = broken
        .iter()
        .map(|value| vec![("payment-signature", value.clone())]);
    let bad = bad.chain(
        broken[..6]
            .iter()
            .map(|value| vec![("x-payment", value.clone())]),
    );
    let bad = bad.chain([
        vec![
            ("payment-signature", v2.clone()),
            ("payment-signature", v2.clone()),
        ],
        vec![("x-payment", v1.clone()), ("x-payment", v1.clone())],
        vec![("payment-signature", v2.clone()), ("x-payment", v1.clone())],
        vec![("x-payment", v2.clone())],
    ]);
    for headers in bad {
        let told = format!("{:.60?}", headers);
        let answer = send(headers).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{told}");
        assert!(answer.headers.contains_key("payment-required"), "{told}");
        assert!(!answer.has_secret(), "{told}");
    }
    assert_eq!(
        world.facilitator.verify_calls(),
        0,
        "what cannot be valid is not verified"
    );
    assert!(send(vec![("payment-signature", v2)]).await.has_secret());
}

#[tokio::test]
async fn a_refused_payment_gets_the_facilitators_reason_and_the_terms() {
    let world = World::new().await;
    let refuse = |code: &str| {
        *world.facilitator.verdict.lock().unwrap() = Some(Ok(VerifyResponse {
            is_valid: false,
            invalid_reason: Some(code.to_owned()),
            ..VerifyResponse::default()
        }));
    };
    refuse("insufficient_funds");
    let payment = world.payment("/paid/x").await;
    let answer = world.send(payment.get("/paid/x")).await;
    assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(
        terms_of(&answer).error.as_deref(),
        Some("insufficient_funds")
    );
    assert_eq!(answer.code(), "insufficient_funds");

    refuse("permit2_allowance_required");
    let answer = world.send(payment.get("/paid/x")).await;
    assert_eq!(answer.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn without_a_facilitator_nothing_is_served_and_the_payment_stays_good() {
    let world = World::new().await;
    let payment = world.payment("/paid/x").await;
    for (error, status) in [
        (FacilitatorError::Unavailable("down".to_owned()), 503),
        (FacilitatorError::Unknown("lost".to_owned()), 503),
        (FacilitatorError::Protocol("HTML".to_owned()), 502),
    ] {
        *world.facilitator.verdict.lock().unwrap() = Some(Err(error));
        let answer = world.send(payment.get("/paid/x")).await;
        assert_eq!(answer.status.as_u16(), status);
        assert!(!answer.has_terms());
    }
    assert_eq!(world.upstream.count(), 0);
    *world.facilitator.verdict.lock().unwrap() = None;
    assert!(world.send(payment.get("/paid/x")).await.has_secret());
}

#[tokio::test]
async fn free_routes_pass_untouched() {
    let world = World::new().await;
    let mut asked = request("POST", "/free/x?q=1");
    asked
        .headers_mut()
        .insert("x-custom", HeaderValue::from_static("kept"));
    let answer = world.send(asked).await;
    assert!(answer.has_secret());
    assert_eq!(answer.header("vary"), "");
    let seen = world.upstream.last();
    assert_eq!(
        (seen.method.as_str(), seen.uri.as_str()),
        ("POST", "/free/x?q=1")
    );
    assert_eq!(seen.headers["x-custom"], "kept");
}

#[tokio::test]
async fn the_service_behind_hears_who_paid_and_nothing_of_the_payment() {
    let world = World::new().await;
    let payment = world.payment("/paid/x").await;
    let mut asked = payment.get("/paid/x");
    for (name, value) in [
        ("tollway-payer", "0xspoofed"),
        ("x-http-method-override", "DELETE"),
        ("x-original-url", "/other"),
        ("connection", "close, x-listed"),
        ("x-listed", "1"),
        ("if-none-match", "\"etag\""),
        ("access-control-expose-headers", "PAYMENT-RESPONSE"),
    ] {
        asked
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    assert!(world.send(asked).await.has_secret());
    let headers = world.upstream.last().headers;
    assert_eq!(
        headers["tollway-payer"],
        "0x857b06519e91e3a54538791bdbb0e22373e36b66"
    );
    assert!(headers.contains_key("tollway-payment"));
    assert_eq!(headers.len(), 2, "{headers:?}");
}

#[tokio::test]
async fn what_the_service_behind_says_of_payments_does_not_pass() {
    let world = World::new().await;
    for name in [
        "payment-response",
        "payment-required",
        "x-payment-response",
        "settlement-overrides",
        "extension-responses",
        "surrogate-control",
    ] {
        world
            .upstream
            .headers
            .lock()
            .unwrap()
            .insert(name, HeaderValue::from_static("forged"));
    }
    let cache = HeaderValue::from_static("public, s-maxage=600, max-age=5");
    world
        .upstream
        .headers
        .lock()
        .unwrap()
        .insert("cache-control", cache);
    let payment = world.payment("/paid/x").await;
    let answer = world.send(payment.get("/paid/x")).await;
    assert!(answer.receipt().success);
    assert!(!format!("{:?}", answer.headers).contains("forged"));
    assert_eq!(answer.header("cache-control"), "private, max-age=5");
    assert!(answer.header("vary").contains("PAYMENT-SIGNATURE"));
}

#[tokio::test]
async fn several_prices_on_a_route_can_each_be_paid() {
    let dear = Offer::new("$5", "base-sepolia", PAYEE).unwrap();
    let world =
        World::with(|gate| gate.route(Route::new("/paid/*").unwrap().offer(price()).offer(dear)))
            .await;
    let mut terms = terms_of(&world.get("/paid/x").await);
    terms.accepts.swap(0, 1);
    let payment = Payment::for_terms(terms);
    assert_eq!(payment.version, Version::V2);
    assert!(
        String::from_utf8_lossy(&world.send(payment.get("/paid/x")).await.body).contains(SECRET)
    );
}
