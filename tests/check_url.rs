//! `tollway check URL`: anybody's endpoint from outside. What gives the goods away is
//! caught; nothing is signed, and nobody else is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};
use tollway_core::wire::{PaymentRequired, PaymentRequirements, ResourceInfo};
use tollway_core::{Network, Scheme, header};

use crate::harness::program::Finished;
use crate::harness::town::{NETWORK, PAYEE, Town};
use crate::harness::upstream::GOODS;

const PATH: &str = "/paid/weather";

/// A seller's server of somebody else's, which answers as it is told.
async fn seller(
    serve: impl Fn(&str, &Request<Body>) -> Response<Body> + Send + Sync + 'static,
) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (serve, base) = (Arc::new(serve), url.clone());
    let app = Router::new().fallback(move |request: Request<Body>| {
        let (serve, base) = (Arc::clone(&serve), base.clone());
        async move { serve(&base, &request) }
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

fn entry() -> PaymentRequirements {
    let network: Network = NETWORK.parse().unwrap();
    let table = tollway_core::assets::AssetTable::builtin();
    let price = "$0.01".parse().unwrap();
    PaymentRequirements::priced(Scheme::Exact, &network, &price, &table, PAYEE, 60).unwrap()
}

fn answer(status: StatusCode, body: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_owned()));
    *response.status_mut() = status;
    response
}

/// A 402 as it should be, with these ways to pay.
fn challenge(base: &str, accepts: Vec<PaymentRequirements>) -> Response<Body> {
    let terms = PaymentRequired {
        x402_version: 2,
        error: None,
        resource: ResourceInfo {
            url: format!("{base}{PATH}"),
            ..ResourceInfo::default()
        },
        accepts,
        extensions: None,
    };
    let mut response = answer(StatusCode::PAYMENT_REQUIRED, "{}");
    let (name, value) = header::challenge(&terms);
    let headers = response.headers_mut();
    headers.insert(name, value);
    for (name, value) in [
        ("cache-control", "no-store"),
        ("access-control-allow-origin", "*"),
        (
            "access-control-expose-headers",
            "payment-required, payment-response",
        ),
    ] {
        headers.insert(name, value.parse().unwrap());
    }
    response
}

fn preflight() -> Response<Body> {
    let mut response = answer(StatusCode::NO_CONTENT, "");
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-headers", "payment-signature"),
    ] {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

fn is_preflight(request: &Request<Body>) -> bool {
    request.method() == "OPTIONS"
}

/// A server that decides well: on the one path that it has, and refuses all others.
fn sound(base: &str, request: &Request<Body>) -> Response<Body> {
    match request.uri().path() {
        PATH if is_preflight(request) => preflight(),
        PATH => challenge(base, vec![entry()]),
        _ => answer(StatusCode::NOT_FOUND, "no such page"),
    }
}

async fn checked(town: &Town, url: &str, more: &[&str]) -> Finished {
    let url = format!("{url}{PATH}");
    let args = [&["check", "--json", &url][..], more].concat();
    town.run(&args).await
}

fn says(told: &Value, level: &str, name: &str, why: &str) -> bool {
    let all = told["findings"].as_array().unwrap();
    all.iter().any(|one| {
        one["level"] == level
            && one["name"] == name
            && one["message"].as_str().unwrap().contains(why)
    })
}

fn fault(done: &Finished, name: &str, why: &str) -> Result<(), String> {
    let told = done.json();
    match done.code == Some(1) && says(&told, "red", name, why) {
        true => Ok(()),
        false => Err(format!("no red line {name} with {why:?}: {told:#}")),
    }
}

#[track_caller]
fn is_red(done: &Finished, name: &str, why: &str) {
    fault(done, name, why).unwrap_or_else(|fault| panic!("{fault}"));
}

#[tokio::test]
async fn a_sound_endpoint_is_all_green_and_its_token_is_looked_at_on_its_chain() {
    let town = Town::new().await;
    let url = seller(sound).await;
    let told = checked(&town, &url, &[]).await.exits(0).json();
    assert_eq!(
        (&told["yellow"], &told["red"]),
        (&json!(0), &json!(0)),
        "{told:#}"
    );
    assert!(
        says(
            &told,
            "green",
            "offer",
            "0.01 USDC on Base Sepolia to 0x5e11"
        ),
        "{told:#}"
    );
    assert!(
        !says(&told, "green", "token", ""),
        "nobody named a node: {told:#}"
    );
    let network = format!("{NETWORK}={}", town.rpc());
    let told = checked(&town, &url, &["--network", &network])
        .await
        .exits(0)
        .json();
    assert!(
        says(&told, "green", "token", "6 decimals, EIP-712 domain USDC 2"),
        "{told:#}"
    );
    // Our own gate is no worse.
    let (_gate, url) = town.gate(&[]).await;
    let told = checked(&town, &url, &[]).await.json();
    let red: Vec<_> = told["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| f["level"] != "green")
        .collect();
    assert!(red.is_empty(), "{red:#?}");
    town.nothing_was_paid();
}

#[tokio::test]
async fn a_server_that_serves_another_spelling_unpaid_is_caught() {
    let town = Town::new().await;
    // The price is put on the path as it is written, the page found by its plain form.
    let spelled = |target: &str| {
        let path = target.split('?').next().unwrap_or_default().to_lowercase();
        let path = path
            .replace("%70", "p")
            .replace("%2e", ".")
            .replace("/./", "/");
        path.replace("//", "/").trim_end_matches('/').to_owned()
    };
    let url = seller(move |base, request| match request.uri().path() {
        PATH => sound(base, request),
        other if spelled(other) == PATH => answer(StatusCode::OK, GOODS),
        _ => answer(StatusCode::NOT_FOUND, "no such page"),
    })
    .await;
    let done = checked(&town, &url, &[]).await;
    for what in [
        "//paid/weather",
        "/PAID/WEATHER",
        "/%70aid/weather",
        "/paid/weather/ ",
        "/./paid",
    ] {
        is_red(&done, "spelling", what);
    }
    // A page that stands for every path is not the goods.
    let url = seller(|base, request| match request.uri().path() {
        PATH => sound(base, request),
        _ => answer(StatusCode::OK, "<app>"),
    })
    .await;
    checked(&town, &url, &[]).await.exits(0);
}

#[tokio::test]
async fn a_server_that_gives_it_for_a_header_or_a_method_is_caught() {
    let town = Town::new().await;
    let has = |request: &Request<Body>, name: &str| request.headers().contains_key(name);
    let url = seller(move |base, request| match request.uri().path() {
        PATH if has(request, "x-payment") => answer(StatusCode::OK, GOODS),
        PATH if request.method() == "HEAD" => answer(StatusCode::OK, ""),
        "/" if has(request, "x-original-url") => answer(StatusCode::OK, GOODS),
        "/" => answer(StatusCode::OK, "welcome"),
        _ => sound(base, request),
    })
    .await;
    let done = checked(&town, &url, &[]).await;
    is_red(
        &done,
        "spelling",
        "a payment that is none (x-payment: paid)",
    );
    is_red(&done, "spelling", "/ with x-original-url: /paid/weather");
    is_red(&done, "unpaid", "HEAD /paid/weather answers 200");
}

#[tokio::test]
async fn terms_that_buyers_would_refuse_are_red() {
    let town = Town::new().await;
    type Change = fn(&mut PaymentRequirements);
    let change: [(&str, &str, Change); 5] = [
        ("offer", "another EIP-712 name", |e| {
            *e = e.clone().with_extra("name", "USD Coin")
        }),
        ("offer", "payTo", |e| e.pay_to = e.asset.clone()),
        ("offer", "payTo", |e| e.pay_to = format!("0x{:040}", 0)),
        ("offer", "scheme", |e| e.scheme = "deferred".to_owned()),
        ("header", "cut off at 8192", |e| {
            *e = e.clone().with_extra("note", "n".repeat(2000))
        }),
    ];
    let mut faults = Vec::new();
    for (name, why, change) in change {
        let url = seller(move |base, request| match request.uri().path() {
            PATH if is_preflight(request) => preflight(),
            PATH => {
                let mut wire = entry();
                change(&mut wire);
                challenge(base, vec![wire; if name == "header" { 3 } else { 1 }])
            }
            _ => answer(StatusCode::NOT_FOUND, ""),
        })
        .await;
        faults.extend(fault(&checked(&town, &url, &[]).await, name, why).err());
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let strange = format!("0x{:040x}", 0xbad);
    let url = seller(move |base, request| match request.uri().path() {
        PATH if is_preflight(request) => answer(StatusCode::NO_CONTENT, ""),
        PATH => {
            let mut unknown = entry();
            unknown.asset.clone_from(&strange);
            let mut response = challenge(base, vec![unknown]);
            let first = json!({ "x402Version": 1, "accepts": [{
                "scheme": "exact", "network": "base-sepolia", "maxAmountRequired": "1", "resource": format!("{base}{PATH}"),
                "description": "", "mimeType": "", "payTo": PAYEE, "maxTimeoutSeconds": 60, "asset": entry().asset,
            }] });
            *response.body_mut() = Body::from(first.to_string());
            response.headers_mut().remove("cache-control");
            response.headers_mut().remove("access-control-expose-headers");
            response
        }
        _ => answer(StatusCode::NOT_FOUND, ""),
    })
    .await;
    let done = checked(&town, &url, &[]).await;
    is_red(
        &done,
        "version",
        "version 1 body asks for what version 2 does not",
    );
    let told = done.json();
    assert!(
        says(&told, "yellow", "offer", "not in the asset table"),
        "{told:#}"
    );
    assert!(says(&told, "yellow", "cache", "keep the 402"), "{told:#}");
    assert!(
        says(&told, "yellow", "cors", "cannot read the terms"),
        "{told:#}"
    );
}

#[tokio::test]
async fn what_is_no_402_is_red_with_what_it_is() {
    let town = Town::new().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let elsewhere = seller(move |base, request| {
        count.fetch_add(1, Ordering::SeqCst);
        sound(base, request)
    })
    .await;
    let to = format!("{elsewhere}{PATH}");
    let url = seller(move |_, _| {
        let mut response = answer(StatusCode::FOUND, "");
        response
            .headers_mut()
            .insert("location", to.parse().unwrap());
        response
    })
    .await;
    is_red(&checked(&town, &url, &[]).await, "unpaid", "it leads on to");
    assert_eq!(asked.load(Ordering::SeqCst), 0, "a redirect was followed");
    let free = seller(|_, _| answer(StatusCode::OK, GOODS)).await;
    is_red(
        &checked(&town, &free, &[]).await,
        "unpaid",
        "served without payment",
    );
    let strict = seller(
        |base, request| match request.headers().contains_key("content-type") {
            true => sound(base, request),
            false => answer(StatusCode::BAD_REQUEST, "no body"),
        },
    )
    .await;
    is_red(
        &checked(&town, &strict, &["-X", "POST"]).await,
        "unpaid",
        "before it names a price",
    );
    is_red(
        &checked(&town, "http://127.0.0.1:9", &[]).await,
        "unpaid",
        "gets no answer",
    );
    let mute = seller(|_, _| answer(StatusCode::PAYMENT_REQUIRED, "pay me")).await;
    is_red(
        &checked(&town, &mute, &[]).await,
        "terms",
        "no terms that a buyer can read",
    );
}

#[tokio::test]
async fn a_url_is_asked_only_as_a_person_may_type_it() {
    let town = Town::new().await;
    for (url, cure) in [
        ("http://192.0.2.1/paid", "use https"),
        ("https://name:word@api.example/paid", "leave them out"),
        ("file:///etc/passwd", "https://"),
        ("api.example/paid", "https://"),
    ] {
        let done = town.run(&["check", url]).await.exits(2);
        assert!(
            done.stderr.contains(cure) && !done.stderr.contains("word@"),
            "{url}: {done:?}"
        );
        assert!(done.stdout.is_empty(), "{url}: {done:?}");
    }
}
