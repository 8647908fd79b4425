//! AWS KMS.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tollway_ledger::SpendState;

use super::{Signatures, gate_args, keyless, pay_args, public};
use crate::harness::program::{Finished, Program, run};
use crate::harness::town::{BUYER, SIGNER, Town};
use crate::harness::upstream::GOODS;

const SECRET: &str = "canary-secret-access-key";

/// AWS KMS as far as two keys need it.
#[derive(Default)]
struct Kms {
    refuses: AtomicBool,
    signatures: Signatures,
}

impl Kms {
    async fn start() -> (Arc<Self>, String) {
        let kms = Arc::<Self>::default();
        let router = axum::Router::new()
            .route("/", post(answer))
            .with_state(Arc::clone(&kms));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (kms, url)
    }
}

async fn answer(
    State(kms): State<Arc<Kms>>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, Json<Value>) {
    let head = |name: &str| {
        headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    };
    assert!(head("authorization").starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"));
    let asked: Value = serde_json::from_str(&body).unwrap();
    let refused = |kind: &str| {
        (
            StatusCode::BAD_REQUEST,
            Json(json!({ "__type": kind, "message": "no" })),
        )
    };
    let account = match asked["KeyId"].as_str().unwrap() {
        "alias/gas" => SIGNER,
        "alias/buyer" => BUYER,
        _ => return refused("NotFoundException"),
    };
    if head("x-amz-target") == "TrentService.GetPublicKey" {
        let shown = json!({ "PublicKey": STANDARD.encode(public(&account)) });
        return (StatusCode::OK, Json(shown));
    }
    assert_eq!(head("x-amz-target"), "TrentService.Sign");
    assert_eq!(asked["MessageType"], "DIGEST");
    if kms.refuses.load(Ordering::SeqCst) {
        return refused("AccessDeniedException");
    }
    let signature = kms
        .signatures
        .sign(&account, asked["Message"].as_str().unwrap());
    (StatusCode::OK, Json(json!({ "Signature": signature })))
}

/// The binary where the stand-in is AWS, talking as much as it can.
fn command(town: &Town, kms: &str, args: &[String]) -> tokio::process::Command {
    let mut command = town.command(args);
    command
        .env("AWS_ENDPOINT_URL", kms)
        .env("AWS_REGION", "eu-central-1")
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_MAX_ATTEMPTS", "1")
        .env(
            "TOLLWAY_LOG",
            // A longer name weighs more than a shorter one.
            "trace,aws_smithy_runtime=trace,aws_smithy_runtime::client::orchestrator=trace",
        );
    command
}

#[tokio::test]
async fn a_gate_settles_and_a_buyer_pays_with_keys_that_aws_keeps() {
    let town = keyless().await;
    let (kms, aws) = Kms::start().await;
    let args = gate_args(&town, "aws-kms:alias/gas");
    let (gate, url) = Program::serve(command(&town, &aws, &args)).await;
    let mut said: Vec<Finished> = Vec::new();
    for n in 1..=2 {
        let args = pay_args(&town, &format!("{url}/paid/{n}"), "aws-kms:alias/buyer");
        let done = run(command(&town, &aws, &args)).await.exits(0);
        assert_eq!(done.stdout, GOODS);
        assert_eq!(town.transfers().len(), n);
        said.push(done);
    }
    assert!(kms.signatures.count() >= 4, "payments and transactions");
    gate.signal("TERM").await;
    said.push(gate.end().await);
    kms.signatures.are_told_by_nobody(&said, &[SECRET]);
}

#[tokio::test]
async fn a_service_that_shows_no_key_stops_the_start_and_one_that_signs_nothing_costs_nothing() {
    let town = Town::new().await;
    let (kms, aws) = Kms::start().await;
    for (key, cure) in [
        ("aws-kms:alias/other", "ECC_SECG_P256K1"),
        ("aws-kms:", "aws-kms:alias/tollway"),
    ] {
        let args = gate_args(&town, key);
        let done = run(command(&town, &aws, &args)).await.exits(2);
        assert!(done.stderr.contains(cure), "{}", done.stderr);
    }
    let (_gate, url) = town.gate(&[]).await;
    kms.refuses.store(true, Ordering::SeqCst);
    let args = pay_args(&town, &format!("{url}/paid/x"), "aws-kms:alias/buyer");
    let done = run(command(&town, &aws, &args)).await.exits(1);
    assert!(
        done.stderr.contains("[wallet_unavailable]"),
        "{}",
        done.stderr
    );
    assert!(done.stderr.contains("The key service did not sign"));
    let spends = town.spends().await;
    assert_eq!(spends.len(), 1);
    assert_eq!(spends[0].state, SpendState::Released);
    town.nothing_was_paid();
}
