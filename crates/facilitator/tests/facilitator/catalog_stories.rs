//! What can be bought at sellers whose payments settle here.

use axum::Router;
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tollway_core::wire::ResourceInfo;
use tollway_facilitator::{CallerRule, EngineConfig, HttpOptions, router};
use tower::ServiceExt;

use crate::fake_chain::FakeChain;
use crate::fixtures::{network, payload, requirements};
use crate::scene::{Scene, deadline, quick};

const KEY: &str = "the key of a seller";
const OTHER: &str = "the key of another seller";

/// A facilitator for two sellers, one of whom is paid at the payee of these payments.
fn town() -> (Scene, Router) {
    let payee = network().address(&requirements().pay_to).unwrap();
    let rule = |name: &str, key: &str, payees| CallerRule {
        name: name.to_owned(),
        key_sha256: Sha256::digest(key).into(),
        per_minute: 6000,
        open_payments: 100,
        concurrent: 10,
        payees,
    };
    let callers = vec![
        rule("seller", KEY, vec![payee]),
        rule("other", OTHER, Vec::new()),
    ];
    let scene = Scene::with(FakeChain::new(), EngineConfig { callers, ..quick() });
    let api = router(scene.engine.clone(), HttpOptions::default());
    (scene, api)
}

/// A payment of a resource that says how it is used.
fn body(nonce: u64, url: &str, description: &str) -> Value {
    let mut payment = payload(1, nonce, deadline());
    payment.resource = Some(ResourceInfo {
        url: url.to_owned(),
        description: Some(description.to_owned()),
        ..ResourceInfo::default()
    });
    let said =
        json!({"bazaar": {"info": {"input": {"type": "http", "method": "GET"}}, "schema": {}}});
    payment.extensions = said.as_object().cloned();
    json!({ "x402Version": 2, "paymentPayload": payment, "paymentRequirements": requirements() })
}

/// The answer to a settle call, and what it says of the resource.
async fn settle(api: &Router, key: Option<&str>, body: &Value) -> (Value, Value) {
    let mut request = Request::post("/settle").header(header::CONTENT_TYPE, "application/json");
    if let Some(key) = key {
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    let request = request.body(Body::from(body.to_string())).unwrap();
    let response = api.clone().oneshot(request).await.unwrap();
    let told = response.headers().get("extension-responses").cloned();
    let told = told.map_or(Value::Null, |told| {
        serde_json::from_slice(&STANDARD.decode(told).unwrap()).unwrap()
    });
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (serde_json::from_slice(&bytes).unwrap(), told)
}

async fn get(api: &Router, path: &str) -> (StatusCode, Value) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = api.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap())
}

#[tokio::test]
async fn a_resource_is_listed_when_its_first_payment_settled_and_can_be_found() {
    let (_scene, api) = town();
    assert_eq!(
        get(&api, "/discovery/resources").await.1["items"],
        json!([])
    );
    let (settled, told) = settle(
        &api,
        Some(KEY),
        &body(1, "https://a.example/weather?x=1", "Weather"),
    )
    .await;
    assert_eq!(settled["success"], true, "{settled}");
    assert_eq!(told, json!({"bazaar": {"status": "success"}}));
    settle(
        &api,
        Some(KEY),
        &body(2, "https://a.example/maps", "Maps of cities"),
    )
    .await;

    let (_, listed) = get(
        &api,
        "/discovery/resources?type=http&network=eip155:84532&limit=1",
    )
    .await;
    assert_eq!(
        listed["pagination"],
        json!({"limit": 1, "offset": 0, "total": 2})
    );
    let (_, found) = get(&api, "/discovery/search?query=WEATHER").await;
    assert_eq!(found["resources"].as_array().unwrap().len(), 1);
    assert_eq!(
        found["resources"][0]["resource"],
        "https://a.example/weather"
    );
    assert_eq!(
        found["resources"][0]["accepts"][0]["amount"],
        requirements().amount
    );
    assert!(!found.to_string().contains("signature"), "{found}");

    let (_, first) = get(&api, "/discovery/search?limit=1").await;
    let cursor = first["pagination"]["cursor"].as_str().unwrap();
    let (_, second) = get(&api, &format!("/discovery/search?limit=1&cursor={cursor}")).await;
    assert_ne!(
        first["resources"][0]["resource"],
        second["resources"][0]["resource"]
    );
    assert_eq!(second["pagination"]["cursor"], Value::Null);
}

#[tokio::test]
async fn only_who_speaks_for_a_payee_says_what_is_sold_there() {
    let (_scene, api) = town();
    settle(
        &api,
        Some(KEY),
        &body(1, "https://a.example/weather", "Weather"),
    )
    .await;
    // Another caller pays the same payee a real payment, with words of its own.
    let (settled, told) = settle(
        &api,
        Some(OTHER),
        &body(2, "https://a.example/weather", "Go elsewhere"),
    )
    .await;
    assert_eq!(settled["success"], true, "{settled}");
    assert_eq!(
        told["bazaar"]["rejectedReason"],
        "caller_not_bound_to_payee"
    );
    let (_, listed) = get(&api, "/discovery/resources").await;
    assert_eq!(listed["pagination"]["total"], 1);
    assert_eq!(listed["items"][0]["description"], "Weather");

    // Where nobody has a key, nobody speaks for anybody.
    let scene = Scene::new();
    let open = router(scene.engine.clone(), HttpOptions::default());
    let (settled, told) = settle(
        &open,
        None,
        &body(1, "https://a.example/weather", "Weather"),
    )
    .await;
    assert_eq!(settled["success"], true, "{settled}");
    assert_eq!(told["bazaar"]["status"], "rejected");
    assert_eq!(
        get(&open, "/discovery/resources").await.1["pagination"]["total"],
        0
    );
}

#[tokio::test]
async fn what_did_not_settle_is_not_listed() {
    let (_scene, api) = town();
    let paid = body(1, "https://a.example/weather", "Weather");
    settle(&api, Some(KEY), &paid).await;
    let mut repeated = paid.clone();
    repeated["paymentPayload"]["resource"]["url"] = "https://a.example/never-paid".into();
    let (refused, told) = settle(&api, Some(KEY), &repeated).await;
    assert_eq!(refused["success"], false, "{refused}");
    assert_eq!(told, Value::Null);
    let (_, listed) = get(&api, "/discovery/resources").await;
    assert_eq!(listed["pagination"]["total"], 1);
}

#[tokio::test]
async fn a_page_that_is_none_is_said_to_be_none() {
    let (_scene, api) = town();
    for query in ["limit=0", "limit=101", "limit=x", "offset=-1"] {
        let (status, answer) = get(&api, &format!("/discovery/resources?{query}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(answer["error"], "invalid_request", "{query}");
    }
    assert_eq!(
        get(&api, "/discovery/search?cursor=x").await.0,
        StatusCode::BAD_REQUEST
    );
}
