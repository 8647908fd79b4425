//! Keys in AWS KMS: nothing here has a key, and a stand-in on this machine has both.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use alloy_primitives::{U256, uint};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secp256k1::{Message, SECP256K1, SecretKey};
use serde_json::{Value, json};
use tollway_ledger::SpendState;

use crate::harness::program::{Finished, Program, run};
use crate::harness::town::{BUYER, SIGNER, Town, set};
use crate::harness::upstream::GOODS;

const SECRET: &str = "canary-secret-access-key";
/// What stands before a point in `SubjectPublicKeyInfo` of secp256k1.
const SPKI: &str = "3056301006072a8648ce3d020106052b8104000a034200";
const ORDER: U256 = uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);

/// AWS KMS as far as two keys need it.
#[derive(Default)]
struct Kms {
    refuses: AtomicBool,
    signed: AtomicUsize,
    signatures: Mutex<Vec<String>>,
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
    let key = match asked["KeyId"].as_str().unwrap() {
        "alias/gas" => SIGNER.key,
        "alias/buyer" => BUYER.key,
        _ => return refused("NotFoundException"),
    };
    let key = SecretKey::from_byte_array(key.0).unwrap();
    if head("x-amz-target") == "TrentService.GetPublicKey" {
        let point = key.public_key(SECP256K1).serialize_uncompressed();
        let der = [&hex(SPKI)[..], &point].concat();
        return (
            StatusCode::OK,
            Json(json!({ "PublicKey": STANDARD.encode(der) })),
        );
    }
    assert_eq!(head("x-amz-target"), "TrentService.Sign");
    assert_eq!(asked["MessageType"], "DIGEST");
    if kms.refuses.load(Ordering::SeqCst) {
        return refused("AccessDeniedException");
    }
    let digest = STANDARD.decode(asked["Message"].as_str().unwrap()).unwrap();
    let message = Message::from_digest(digest.try_into().unwrap());
    let compact = SECP256K1.sign_ecdsa(message, &key).serialize_compact();
    let (r, s) = (
        U256::from_be_slice(&compact[..32]),
        U256::from_be_slice(&compact[32..]),
    );
    // The service does not care which of the two it gives: every other one is high.
    let high = kms.signed.fetch_add(1, Ordering::SeqCst) % 2 == 0;
    let signature = STANDARD.encode(der(&[r, if high { ORDER - s } else { s }]));
    kms.signatures.lock().unwrap().push(signature.clone());
    (StatusCode::OK, Json(json!({ "Signature": signature })))
}

fn hex(digits: &str) -> Vec<u8> {
    let pair = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(pair).collect()
}

/// A sequence of positive integers.
fn der(numbers: &[U256]) -> Vec<u8> {
    let mut inner = Vec::new();
    for number in numbers {
        let mut bytes = number.to_be_bytes_trimmed_vec();
        if bytes[0] >= 0x80 {
            bytes.insert(0, 0);
        }
        inner.extend([2, u8::try_from(bytes.len()).unwrap()]);
        inner.extend(bytes);
    }
    [&[0x30, u8::try_from(inner.len()).unwrap()][..], &inner].concat()
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
        .env("TOLLWAY_LOG", "trace");
    command
}

fn gate_args(town: &Town, key: &str) -> Vec<String> {
    let mut args = town.gate_args("local", &town.rpc());
    set(&mut args, "--signer-key-file", key);
    args
}

fn pay_args(town: &Town, url: &str, key: &str) -> Vec<String> {
    let mut args = town.pay_args(url, &[]);
    set(&mut args, "--key-file", key);
    args
}

#[tokio::test]
async fn a_gate_settles_and_a_buyer_pays_with_keys_that_a_service_keeps() {
    let town = Town::new().await;
    for key in ["signer.key", "buyer.key"] {
        std::fs::remove_file(town.path(key)).unwrap();
    }
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
    assert!(
        kms.signed.load(Ordering::SeqCst) >= 4,
        "payments and transactions"
    );
    gate.signal("TERM").await;
    said.push(gate.end().await);
    let signatures = kms.signatures.lock().unwrap().clone();
    for done in &said {
        assert!(done.stderr.len() > 1_000, "it was talkative");
        for secret in signatures.iter().map(String::as_str).chain([SECRET]) {
            let text = format!("{}{}", done.stdout, done.stderr);
            assert!(!text.contains(secret), "{secret}");
        }
    }
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
