//! The HTTP API, as SDK clients and less friendly callers see it.

use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tollway_facilitator::{HttpOptions, router};
use tower::ServiceExt;

use crate::fake_chain::Node;
use crate::fixtures::{payload, requirements};
use crate::scene::{Scene, deadline};

struct Answer {
    status: StatusCode,
    retry_after: Option<String>,
    json: Value,
}

async fn ask(api: &Router, request: Request<Body>) -> Answer {
    let response = api.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let retry_after = response
        .headers()
        .get(header::RETRY_AFTER)
        .map(|v| v.to_str().unwrap().to_owned());
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    Answer {
        status,
        retry_after,
        json: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
    }
}

async fn post(api: &Router, path: &str, body: impl Into<Body>) -> Answer {
    let request = Request::post(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.into())
        .unwrap();
    ask(api, request).await
}

async fn get(api: &Router, path: &str) -> Answer {
    ask(api, Request::get(path).body(Body::empty()).unwrap()).await
}

/// What an official version 2 client posts.
fn v2(nonce: u64) -> Value {
    json!({
        "x402Version": 2,
        "paymentPayload": payload(1, nonce, deadline()),
        "paymentRequirements": requirements(),
    })
}

/// What an official version 1 server posts.
fn v1(nonce: u64) -> Value {
    json!({
        "x402Version": 1,
        "paymentPayload": {
            "x402Version": 1, "scheme": "exact", "network": "base-sepolia",
            "payload": payload(1, nonce, deadline()).payload,
        },
        "paymentRequirements": {
            "scheme": "exact", "network": "base-sepolia", "maxAmountRequired": "10000",
            "resource": "http://localhost/paid", "description": "", "mimeType": "",
            "payTo": requirements().pay_to, "maxTimeoutSeconds": 60,
            "asset": requirements().asset, "outputSchema": {"input": {"type": "http"}},
            "extra": {"name": "USDC", "version": "2"},
        },
    })
}

fn api(scene: &Scene) -> Router {
    router(scene.engine.clone(), HttpOptions::default())
}

#[tokio::test]
async fn an_official_client_verifies_settles_and_follows_its_settlement() {
    let scene = Scene::new();
    let api = api(&scene);
    let body = v2(1).to_string();
    let verified = post(&api, "/verify", body.clone()).await;
    assert_eq!(verified.status, StatusCode::OK);
    assert_eq!(verified.json["isValid"], true);
    let settled = post(&api, "/settle", body.clone()).await;
    assert_eq!(settled.status, StatusCode::OK);
    assert_eq!(settled.json["success"], true, "{}", settled.json);
    assert_eq!(settled.json["network"], "eip155:84532");
    let id = settled.json["extra"]["settlementId"].as_str().unwrap();
    let status = get(&api, &format!("/settlements/{id}")).await.json;
    assert_eq!(status["status"], "settled");
    assert_eq!(status["transaction"], settled.json["transaction"]);
    assert_eq!(status["amount"], "10000");
    let repeated = post(&api, "/settle", body).await;
    assert_eq!(repeated.status, StatusCode::OK);
    assert_eq!(repeated.json["errorReason"], "duplicate_settlement");
    assert_eq!(repeated.json["transaction"], settled.json["transaction"]);
}

#[tokio::test]
async fn a_version_1_server_is_answered_in_version_1() {
    let scene = Scene::new();
    let api = api(&scene);
    let verified = post(&api, "/verify", v1(1).to_string()).await;
    assert_eq!(verified.json["isValid"], true, "{}", verified.json);
    let settled = post(&api, "/settle", v1(1).to_string()).await;
    assert_eq!(settled.json["success"], true, "{}", settled.json);
    assert_eq!(settled.json["network"], "base-sepolia");
}

#[tokio::test]
async fn supported_names_kinds_of_both_versions_and_the_signers() {
    let scene = Scene::new();
    let json = get(&api(&scene), "/supported").await.json;
    let kind = |version: u64, network: &str| {
        json["kinds"].as_array().unwrap().iter().any(|k| {
            k["x402Version"] == version && k["scheme"] == "exact" && k["network"] == network
        })
    };
    assert!(kind(2, "eip155:84532") && kind(1, "base-sepolia"), "{json}");
    assert_eq!(json["signers"]["eip155:*"].as_array().unwrap().len(), 1);
    assert_eq!(
        json["extensions"],
        json!(["eip2612GasSponsoring", "bazaar"])
    );
    let of_version_1 = json["kinds"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|k| k["x402Version"] == 1);
    assert_eq!(of_version_1.count(), 1, "version 1 knows exact only");
}

#[tokio::test]
async fn the_same_idempotency_key_gets_the_same_success_over_http() {
    let scene = Scene::new();
    let api = api(&scene);
    let body = v2(1).to_string();
    let keyed = |key: &'static str| {
        let request = Request::post("/settle")
            .header(header::CONTENT_TYPE, "application/json")
            .header("Idempotency-Key", key)
            .body(Body::from(body.clone()))
            .unwrap();
        ask(&api, request)
    };
    assert_eq!(keyed("one").await.json["success"], true);
    assert_eq!(keyed("one").await.json["success"], true);
    assert_eq!(keyed("two").await.json["success"], false);
}

/// Every way in which a body, or a value in it, can be wrong.
fn malformed() -> Vec<Vec<u8>> {
    let good = v2(1);
    let mut corpus: Vec<Vec<u8>> = [
        "",
        " ",
        "null",
        "[]",
        "1",
        "\"text\"",
        "{",
        "{}",
        "{\"x402Version\":2}",
        "{\"a\":1,\"a\":1}",
        "\u{feff}{}",
        "{\"x402Version\":2,\"paymentPayload\":null,\"paymentRequirements\":null}",
    ]
    .iter()
    .map(|t| t.as_bytes().to_vec())
    .collect();
    corpus.push(vec![0xff, 0xfe, 0x00]);
    corpus.push("[".repeat(5000).into_bytes());
    corpus.push(format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200)).into_bytes());
    let whole = good.to_string();
    for cut in (1..whole.len()).step_by(37) {
        corpus.push(whole.as_bytes()[..cut].to_vec());
    }
    let junk = [
        json!(null),
        json!(-1),
        json!(1.5),
        json!(true),
        json!(""),
        json!("\u{0}"),
        json!("0x"),
        json!([]),
        json!({}),
        json!("9".repeat(400)),
        json!(u64::MAX),
        json!("eip155:84532\n"),
    ];
    for path in [
        "/x402Version",
        "/paymentPayload",
        "/paymentPayload/x402Version",
        "/paymentPayload/payload",
        "/paymentPayload/payload/from",
        "/paymentPayload/payload/validBefore",
        "/paymentPayload/accepted",
        "/paymentPayload/accepted/amount",
        "/paymentRequirements",
        "/paymentRequirements/scheme",
        "/paymentRequirements/network",
        "/paymentRequirements/amount",
        "/paymentRequirements/asset",
        "/paymentRequirements/payTo",
        "/paymentRequirements/maxTimeoutSeconds",
    ] {
        for value in &junk {
            let mut body = good.clone();
            *body.pointer_mut(path).unwrap() = value.clone();
            corpus.push(body.to_string().into_bytes());
        }
    }
    corpus
}

#[tokio::test]
async fn whatever_a_caller_sends_is_never_our_failure() {
    let scene = Scene::new();
    let api = api(&scene);
    let mut refused = 0;
    for body in malformed() {
        let text = String::from_utf8_lossy(&body)
            .chars()
            .take(120)
            .collect::<String>();
        let verified = post(&api, "/verify", body.clone()).await;
        assert!(
            !verified.status.is_server_error(),
            "{} for {text}",
            verified.status
        );
        let valid = verified.json["isValid"].as_bool();
        assert!(valid.is_some(), "no verdict for {text}: {}", verified.json);
        if valid == Some(false) {
            refused += 1;
            assert!(verified.json["invalidReason"].is_string(), "{text}");
            let settled = post(&api, "/settle", body).await;
            assert!(
                !settled.status.is_server_error(),
                "{} for {text}",
                settled.status
            );
            assert_eq!(settled.json["success"], false, "{text}");
            assert!(settled.json["errorReason"].is_string(), "{text}");
            assert!(settled.json["transaction"].is_string(), "{text}");
            assert!(settled.json["network"].is_string(), "{text}");
        }
    }
    assert!(refused > 150, "only {refused} bodies were refused");
    assert!(scene.chain.script().sent.is_empty());
}

#[tokio::test]
async fn bodies_that_are_no_json_or_too_large_are_told_so() {
    let scene = Scene::new();
    let api = api(&scene);
    for path in ["/verify", "/settle"] {
        let large = post(&api, path, " ".repeat(65_537)).await;
        assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
        let request = Request::post(path)
            .header(header::CONTENT_TYPE, "text/plain")
            .body(Body::from(v2(1).to_string()))
            .unwrap();
        assert_eq!(ask(&api, request).await.status, StatusCode::BAD_REQUEST);
    }
    let reason = &post(&api, "/verify", "{").await.json["invalidReason"];
    assert_eq!(reason, "invalid_payload");
    let mut strange = v2(1);
    strange["x402Version"] = json!(3);
    let answer = post(&api, "/settle", strange.to_string()).await;
    assert_eq!(answer.json["errorReason"], "invalid_x402_version");
}

#[tokio::test]
async fn what_is_wrong_with_a_payment_is_said_with_status_200() {
    let scene = Scene::new();
    let api = api(&scene);
    let mut forged = v2(1);
    forged["paymentPayload"]["payload"]["signature"] = json!("bad");
    for (path, reason) in [("/verify", "invalidReason"), ("/settle", "errorReason")] {
        let answer = post(&api, path, forged.to_string()).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.json[reason], "invalid_exact_evm_signature");
    }
}

#[tokio::test]
async fn trouble_on_our_side_has_a_code_and_a_time_to_come_back() {
    let scene = Scene::new();
    let api = api(&scene);
    scene.chain.script().node = Node::Down;
    for path in ["/verify", "/settle"] {
        let answer = post(&api, path, v2(1).to_string()).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
        assert!(answer.retry_after.is_some());
        assert!(answer.json.to_string().contains("network_unavailable"));
    }
    let health = get(&api, "/health").await;
    assert_eq!(health.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(health.json["networks"][0]["ready"], false);
    scene.chain.script().node = Node::Automine;
    assert_eq!(get(&api, "/health").await.status, StatusCode::OK);
    scene.store.disk_is_full(true);
    let answer = post(&api, "/settle", v2(1).to_string()).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json["errorReason"], "ledger_unavailable");
    assert_eq!(
        get(&api, "/health").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test]
async fn addresses_that_are_not_served_are_answered_in_json() {
    let scene = Scene::new();
    let api = api(&scene);
    for path in [
        "/",
        "/verify/",
        "/settlements/pay_unknown",
        "/settlements/%ff",
        "/metrics",
    ] {
        let answer = get(&api, path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(answer.json["error"].is_string(), "{path}");
    }
    let answer = get(&api, "/verify").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(answer.json["error"].is_string());
}

#[tokio::test]
async fn metrics_count_outcomes_without_naming_anybody() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let options = HttpOptions {
        metrics: Some(recorder.handle()),
        ..HttpOptions::default()
    };
    let scene = Scene::new();
    let api = router(scene.engine.clone(), options);
    let _guard = metrics::set_default_local_recorder(&recorder);
    post(&api, "/verify", v2(1).to_string()).await;
    let mut strange = v2(1);
    strange["paymentRequirements"]["network"] = json!("eip155:31337");
    post(&api, "/verify", strange.to_string()).await;
    post(&api, "/settle", v2(1).to_string()).await;
    let request = Request::get("/metrics").body(Body::empty()).unwrap();
    let response = api.oneshot(request).await.unwrap();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let line = |parts: &[&str]| text.lines().any(|l| parts.iter().all(|p| l.contains(p)));
    assert!(
        line(&[
            "tollway_requests_total",
            "step=\"verify\"",
            "outcome=\"ok\"",
            " 1"
        ]),
        "{text}"
    );
    assert!(
        line(&[
            "outcome=\"refused\"",
            "network=\"other\"",
            "code=\"invalid_network\""
        ]),
        "{text}"
    );
    assert!(line(&["step=\"settle\"", "outcome=\"ok\""]), "{text}");
    assert!(line(&["tollway_open_payments", " 0"]), "{text}");
    // The operator's own accounts are few; nobody else's is named.
    let mut others = text.lines().filter(|l| !l.starts_with("tollway_signer_"));
    let named = others.find(|l| l.contains("0x0000"));
    assert_eq!(named, None, "an account is in the metrics");
}
