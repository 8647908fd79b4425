//! What nobody pays for, and what buys nothing.

use axum::Router;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};
use tollway_core::header;
use tollway_core::wire::{PaymentPayload, PaymentRequired, Version};
use tollway_devnet::DEV_ACCOUNTS;

use crate::harness::program::Finished;
use crate::harness::town::{BUYER, NETWORK, PAYEE, Town};
use crate::harness::{Buyer, raw};

/// Asserts that our own policy said no before anything was signed.
async fn declined(town: &Town, done: Finished, code: &str) {
    let done = done.exits(4);
    assert!(
        done.stderr.contains(&format!("[{code}]")),
        "{}",
        done.stderr
    );
    assert!(
        !done.stderr.contains("signed an authorization"),
        "{}",
        done.stderr
    );
    assert_eq!(done.stdout, "");
    assert!(
        town.spends().await.is_empty(),
        "nothing is reserved or signed"
    );
    town.nothing_was_paid();
}

#[tokio::test]
async fn a_price_above_the_limit_is_not_paid() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&[]).await;
    let url = format!("{gate}/paid/weather");
    let mut args = town.pay_args(&url, &[]);
    crate::harness::town::set(&mut args, "--max", "0.009999");
    declined(&town, town.run(&args).await, "policy_amount").await;
    crate::harness::town::set(&mut args, "--max", "0.01");
    town.run(&args).await.exits(0);
    town.paid_exactly_once();
}

#[tokio::test]
async fn another_network_than_the_buyers_is_not_paid_on() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&[]).await;
    let done = town
        .pay(&format!("{gate}/paid/weather"), &["--network", "base"])
        .await;
    declined(&town, done, "policy_network").await;
}

#[tokio::test]
async fn a_buyer_without_money_signs_nothing_where_its_balance_is_known() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&[]).await;
    town.write_private("buyer.key", &format!("0x{}", "51".repeat(32)));
    let network = format!("{NETWORK}={}", town.rpc());
    let done = town
        .pay(&format!("{gate}/paid/weather"), &["--network", &network])
        .await;
    declined(&town, done, "insufficient_funds").await;
}

#[tokio::test]
async fn a_buyer_without_money_is_refused_by_the_server_otherwise() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&[]).await;
    town.write_private("buyer.key", &format!("0x{}", "51".repeat(32)));
    let done = town
        .pay(&format!("{gate}/paid/weather"), &[])
        .await
        .exits(5);
    assert!(done.stderr.contains("insufficient"), "{}", done.stderr);
    assert_eq!(town.upstream.asked("/paid/weather"), 0);
    town.nothing_was_paid();
}

#[tokio::test]
async fn an_upstream_that_fails_charges_nothing() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&[]).await;
    let buyer = Buyer::new(&BUYER);
    let url = format!("{gate}/paid/broken");
    let paying = buyer.pays(&url, true).await;
    let reply = buyer.get(&url, std::slice::from_ref(&paying)).await;
    assert_eq!((reply.status, reply.body.as_str()), (500, "broken"));
    assert!(
        reply.receipt().is_none(),
        "no receipt for what was not paid"
    );
    town.nothing_was_paid();
    assert!(
        town.payments("gate.db").await.is_empty(),
        "nothing reached the engine"
    );
}

#[tokio::test]
async fn an_upstream_that_is_down_charges_nothing() {
    let town = Town::new().await;
    let mut args = town.gate_args("local", &town.rpc());
    crate::harness::town::set(&mut args, "--upstream", "http://127.0.0.1:9");
    let (_gate, gate) = crate::harness::Program::serve(town.command(&args)).await;
    let buyer = Buyer::new(&BUYER);
    let url = format!("{gate}/paid/weather");
    let reply = buyer.get(&url, &[buyer.pays(&url, true).await]).await;
    assert!((502..=504).contains(&reply.status), "{reply:?}");
    assert!(reply.receipt().is_none());
    town.nothing_was_paid();
}

#[tokio::test]
async fn plain_http_to_another_machine_is_refused_before_a_connection_is_made() {
    let town = Town::new().await;
    let done = town.pay("http://192.0.2.1/paid", &[]).await;
    declined(&town, done, "policy_insecure_url").await;
    let done = town
        .run(&["inspect", "http://192.0.2.1/paid"])
        .await
        .exits(4);
    assert!(
        done.stderr.contains("policy_insecure_url"),
        "{}",
        done.stderr
    );
}

#[tokio::test]
async fn a_redirect_to_another_seller_is_not_paid() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&[]).await;
    let target = format!("{gate}/paid/weather");
    let bait = seller(move || {
        let location = HeaderValue::from_str(&target).unwrap();
        (StatusCode::FOUND, vec![(http::header::LOCATION, location)])
    })
    .await;
    let done = town.pay(&format!("{bait}/"), &[]).await;
    declined(&town, done, "policy_redirect").await;
}

/// A server that always answers the same.
async fn seller<F>(answer: F) -> String
where
    F: Fn() -> (StatusCode, Vec<(http::HeaderName, HeaderValue)>) + Clone + Send + Sync + 'static,
{
    let app = Router::new().fallback(move || {
        let (status, headers) = answer();
        let headers: http::HeaderMap = headers.into_iter().collect();
        async move { (status, headers) }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

/// An honest offer, for a liar to change.
fn offer() -> Value {
    json!({
        "x402Version": 2,
        "resource": { "url": "http://127.0.0.1/", "description": "" },
        "accepts": [{
            "scheme": "exact", "network": NETWORK, "amount": "10000",
            "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e", "payTo": PAYEE,
            "maxTimeoutSeconds": 300, "extra": { "name": "USDC", "version": "2" },
        }],
    })
}

#[tokio::test]
async fn a_seller_that_lies_gets_no_signature() {
    let town = Town::new().await;
    let lies: [(&str, Value, &str); 12] = [
        (
            "/accepts/0/asset",
            json!("0x000000000000000000000000000000000000dEaD"),
            "policy_asset",
        ),
        ("/accepts/0/amount", json!("20001"), "policy_amount"),
        ("/accepts/0/amount", json!("-1"), ""),
        ("/accepts/0/amount", json!("1e3"), ""),
        ("/accepts/0/amount", json!("9".repeat(100)), ""),
        ("/accepts/0/extra/name", json!("USD Coin"), "policy_asset"),
        ("/accepts/0/extra/version", json!("1"), "policy_asset"),
        (
            "/accepts/0/payTo",
            json!("0x0000000000000000000000000000000000000000"),
            "",
        ),
        ("/accepts/0/network", json!("eip155:999999"), ""),
        ("/accepts/0/scheme", json!("steal"), "unsupported_scheme"),
        ("/accepts/0/maxTimeoutSeconds", json!(0), ""),
        ("/accepts", json!([]), ""),
    ];
    for (pointer, lie, code) in lies {
        let mut terms = offer();
        *terms.pointer_mut(pointer).unwrap() = lie.clone();
        let value = HeaderValue::from_str(&header::encode(&terms)).unwrap();
        let url = seller(move || {
            (
                StatusCode::PAYMENT_REQUIRED,
                vec![(header::PAYMENT_REQUIRED.clone(), value.clone())],
            )
        })
        .await;
        let done = town.pay(&format!("{url}/"), &[]).await;
        assert_eq!(done.code, Some(4), "{pointer} {lie}: {}", done.stderr);
        assert!(
            done.stderr.contains(code),
            "{pointer} {lie}: {}",
            done.stderr
        );
    }
    assert!(town.spends().await.is_empty());
    // The same offer, unchanged, would have been signed: the lies are what stopped it.
    let (_gate, gate) = town.gate(&[]).await;
    let honest: PaymentRequired = serde_json::from_value(offer()).unwrap();
    let terms = Buyer::new(&BUYER)
        .terms(&format!("{gate}/paid/weather"))
        .await;
    assert_eq!(terms.accepts[0].asset, honest.accepts[0].asset);
    town.pay(&format!("{gate}/paid/weather"), &[])
        .await
        .exits(0);
}

/// A payment that is wrong in one way.
fn spoiled(good: &PaymentPayload, pointer: &str, value: Value) -> String {
    let mut payment = serde_json::to_value(good).unwrap();
    *payment
        .pointer_mut(pointer)
        .unwrap_or_else(|| panic!("{pointer}")) = value;
    header::encode(&payment)
}

#[tokio::test]
async fn a_payment_that_is_wrong_in_one_way_buys_nothing() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&[]).await;
    let buyer = Buyer::new(&BUYER);
    let url = format!("{gate}/paid/weather");
    let good = buyer.sign(&buyer.terms(&url).await, false).await;
    let signature = good.payload["signature"].as_str().unwrap().to_owned();
    let flipped = match signature.strip_suffix("1b") {
        Some(head) => format!("{head}1c"),
        None => format!("{}1b", &signature[..signature.len() - 2]),
    };
    let elsewhere = "0x1111111111111111111111111111111111111111";
    let wrongs = [
        ("/payload/signature", json!(flipped)),
        (
            "/payload/signature",
            json!(format!("0x{}", "00".repeat(65))),
        ),
        ("/payload/authorization/to", json!(elsewhere)),
        ("/payload/authorization/from", json!(elsewhere)),
        ("/payload/authorization/value", json!("9999")),
        ("/payload/authorization/value", json!("10001")),
        (
            "/payload/authorization/nonce",
            json!(format!("0x{}", "77".repeat(32))),
        ),
        ("/payload/authorization/validBefore", json!("1")),
        ("/payload/authorization/validAfter", json!("99999999999")),
        ("/accepted/amount", json!("1")),
        ("/accepted/payTo", json!(elsewhere)),
        ("/accepted/network", json!("eip155:8453")),
        ("/accepted/scheme", json!("upto")),
    ];
    for (pointer, value) in wrongs {
        let text = spoiled(&good, pointer, value.clone());
        let name = header::PAYMENT_SIGNATURE.clone();
        let reply = buyer
            .get(&url, &[(name, HeaderValue::from_str(&text).unwrap())])
            .await;
        assert!(
            matches!(reply.status, 400 | 402),
            "{pointer} {value}: {reply:?}"
        );
        assert_eq!(reply.headers["cache-control"], "no-store");
        let told: Value = serde_json::from_str(&reply.body).unwrap();
        assert!(
            told["error"].as_str().is_some_and(|code| !code.is_empty()),
            "{told}"
        );
    }
    assert_eq!(town.upstream.asked("/paid/weather"), 0);
    town.nothing_was_paid();
    let honest = header::payment(Version::V2, &good).unwrap();
    assert_eq!(
        buyer.get(&url, &[honest]).await.status,
        200,
        "the good one still buys"
    );
    town.paid_exactly_once();
}

#[tokio::test]
async fn a_payment_for_one_thing_does_not_buy_another() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&["--route", "GET /dear=$5"]).await;
    let buyer = Buyer::new(&BUYER);
    let cheap = buyer.pays(&format!("{gate}/paid/weather"), false).await;
    let dear = buyer
        .get(&format!("{gate}/dear"), std::slice::from_ref(&cheap))
        .await;
    assert_eq!(dear.status, 402, "{dear:?}");
    assert_eq!(town.upstream.asked("/dear"), 0);
    town.nothing_was_paid();
}

#[tokio::test]
async fn a_payment_signed_by_somebody_else_buys_nothing() {
    let town = Town::new().await;
    let (_gate, gate) = town.gate(&[]).await;
    let url = format!("{gate}/paid/weather");
    let (rich, thief) = (Buyer::new(&BUYER), Buyer::new(&DEV_ACCOUNTS[5]));
    let terms = rich.terms(&url).await;
    let theirs = thief.sign(&terms, false).await;
    let victim = DEV_ACCOUNTS[4].address.to_string();
    let text = spoiled(&theirs, "/payload/authorization/from", json!(victim));
    let name = header::PAYMENT_SIGNATURE.clone();
    let reply = rich
        .get(&url, &[(name, HeaderValue::from_str(&text).unwrap())])
        .await;
    assert_eq!(reply.status, 402, "{reply:?}");
    town.nothing_was_paid();
}

#[tokio::test]
async fn a_signer_without_gas_is_said_and_nothing_is_served() {
    let town = Town::new().await;
    let key = DEV_ACCOUNTS[9];
    town.chain.set_balance(key.address, Default::default());
    town.write_private("signer.key", &key.key.to_string());
    let (gate_process, gate) = town.gate(&["--settle", "before"]).await;
    let buyer = Buyer::new(&BUYER);
    let url = format!("{gate}/paid/weather");
    let reply = tokio::time::timeout(
        crate::harness::seconds(6),
        buyer.get(&url, &[buyer.pays(&url, true).await]),
    )
    .await;
    if let Ok(reply) = reply {
        assert_ne!(reply.status, 200, "{reply:?}");
    }
    assert_eq!(town.upstream.asked("/paid/weather"), 0);
    let health = raw::send(&gate, &raw::get("/health", &[])).await;
    assert_eq!(
        health.status,
        503,
        "{} {}",
        health.text,
        gate_process.stderr()
    );
    assert!(
        health.text.contains("gas") || health.text.contains("fund"),
        "{}",
        health.text
    );
    town.nothing_was_paid();
}
