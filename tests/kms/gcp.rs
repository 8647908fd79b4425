//! Google Cloud KMS.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tollway_ledger::SpendState;

use super::{Signatures, gate_args, keyless, pay_args, public};
use crate::harness::program::{Finished, Program, run};
use crate::harness::town::{BUYER, SIGNER, Town};
use crate::harness::upstream::GOODS;

/// The first token of the metadata server; the next ones have another number.
const TOKEN: &str = "ya29.canary-access-token-";
const TOKEN_PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
const RING: &str = "projects/example/locations/europe-west3/keyRings/tollway/cryptoKeys";

/// A variable of the environment.
type Variable = (&'static str, &'static str);

/// How the service is out of order.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Mood {
    #[default]
    Well,
    /// Another algorithm than is asked for.
    Rsa,
    /// Sends people elsewhere.
    Elsewhere,
    /// Talks without an end.
    Endless,
    /// Changes the checksum.
    Garbled,
    /// Signs with another key.
    Another,
    /// Signs nothing.
    Denied,
    /// Knows only tokens from the second on, and is busy once.
    Restless,
}

/// Google Cloud KMS and a metadata server, as far as two keys need them.
#[derive(Default)]
struct Google {
    mood: Mutex<Mood>,
    tokens: AtomicUsize,
    asked_busy: AtomicUsize,
    signatures: Signatures,
}

impl Google {
    async fn start() -> (Arc<Self>, String) {
        let google = Arc::<Self>::default();
        let router = axum::Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&google));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, router).await });
        (google, host)
    }

    fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// As the metadata server: the token is another each time.
    fn token(&self, headers: &HeaderMap) -> Response {
        if headers
            .get("metadata-flavor")
            .is_none_or(|value| value != "Google")
        {
            return StatusCode::FORBIDDEN.into_response();
        }
        let n = self.tokens.fetch_add(1, Ordering::SeqCst) + 1;
        let issued = json!({ "access_token": format!("{TOKEN}{n}"), "expires_in": 3599, "token_type": "Bearer" });
        ([("metadata-flavor", "Google")], Json(issued)).into_response()
    }

    fn shown(&self, mood: Mood, name: &str, account: &tollway_devnet::DevAccount) -> Response {
        let digits = STANDARD.encode(public(account));
        let (first, second) = digits.split_at(64);
        let pem =
            format!("-----BEGIN PUBLIC KEY-----\n{first}\n{second}\n-----END PUBLIC KEY-----\n");
        let algorithm = match mood {
            Mood::Rsa => "RSA_SIGN_PSS_2048_SHA256",
            _ => "EC_SIGN_SECP256K1_SHA256",
        };
        let sum = crc32c(pem.as_bytes());
        let shown = json!({
            "name": name, "algorithm": algorithm, "protectionLevel": "HSM",
            "pem": pem, "pemCrc32c": sum.to_string(),
        });
        let padding = if mood == Mood::Endless { 1 << 20 } else { 0 };
        let body = format!("{shown}{}", " ".repeat(padding));
        ([("content-type", "application/json")], body).into_response()
    }

    fn signed(
        &self,
        mood: Mood,
        name: &str,
        account: &tollway_devnet::DevAccount,
        body: &str,
    ) -> Response {
        let asked: Value = serde_json::from_str(body).unwrap();
        let digest = asked["digest"]["sha256"].as_str().unwrap();
        let sum = crc32c(&STANDARD.decode(digest).unwrap());
        assert_eq!(asked["digestCrc32c"], sum.to_string());
        let account = if mood == Mood::Another {
            &SIGNER
        } else {
            account
        };
        let signature = self.signatures.sign(account, digest);
        let sum = crc32c(&STANDARD.decode(&signature).unwrap());
        let sum = sum ^ u32::from(mood == Mood::Garbled);
        Json(json!({
            "name": name, "signature": signature, "signatureCrc32c": sum.to_string(),
            "verifiedDigestCrc32c": true, "protectionLevel": "HSM",
        }))
        .into_response()
    }
}

async fn answer(
    State(google): State<Arc<Google>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> Response {
    if uri.path() == TOKEN_PATH {
        return google.token(&headers);
    }
    let mood = *google.mood.lock().unwrap();
    let bearer = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    let number = bearer.and_then(|value| {
        value
            .strip_prefix("Bearer ")?
            .strip_prefix(TOKEN)?
            .parse()
            .ok()
    });
    let refused = |status: StatusCode, code: &str| {
        let said = json!({ "error": { "code": status.as_u16(), "message": "no", "status": code } });
        (status, Json(said)).into_response()
    };
    let least = if mood == Mood::Restless { 2 } else { 1 };
    if number.is_none_or(|n: usize| n < least) {
        return refused(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED");
    }
    let path = uri.path().strip_prefix("/v1/").unwrap();
    let Some((name, asked)) = path.rsplit_once([':', '/']) else {
        return refused(StatusCode::NOT_FOUND, "NOT_FOUND");
    };
    let account = match name.strip_prefix(RING) {
        Some("/gas/cryptoKeyVersions/1") => SIGNER,
        Some("/buyer/cryptoKeyVersions/7") => BUYER,
        _ => return refused(StatusCode::FORBIDDEN, "PERMISSION_DENIED"),
    };
    match mood {
        Mood::Elsewhere => {
            let there = [("location", "https://example.com/")];
            return (StatusCode::TEMPORARY_REDIRECT, there).into_response();
        }
        Mood::Restless if google.asked_busy.fetch_add(1, Ordering::SeqCst) == 0 => {
            return refused(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE");
        }
        _ => {}
    }
    match (method, asked) {
        (Method::GET, "publicKey") => google.shown(mood, name, &account),
        (Method::POST, "asymmetricSign") if mood == Mood::Denied => {
            refused(StatusCode::FORBIDDEN, "PERMISSION_DENIED")
        }
        (Method::POST, "asymmetricSign") => google.signed(mood, name, &account, &body),
        other => panic!("{other:?}"),
    }
}

/// Castagnoli's, by its table's definition.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        let mut row = (sum ^ u32::from(*byte)) & 0xff;
        for _ in 0..8 {
            row = if row % 2 == 1 {
                (row / 2) ^ 0x82f6_3b78
            } else {
                row / 2
            };
        }
        sum = (sum >> 8) ^ row;
    }
    !sum
}

fn key(name: &str) -> String {
    format!("gcp-kms:{RING}/{name}")
}

fn gas() -> String {
    key("gas/cryptoKeyVersions/1")
}

fn buyer() -> String {
    key("buyer/cryptoKeyVersions/7")
}

/// The binary where the stand-in is Google, talking as much as it can.
fn command(town: &Town, google: &str, args: &[String]) -> tokio::process::Command {
    let mut command = town.command(args);
    command
        .env(
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS",
            format!("http://{google}/"),
        )
        .env("GCE_METADATA_HOST", google)
        .env("TOLLWAY_LOG", "trace");
    command
}

#[tokio::test]
async fn a_gate_settles_and_a_buyer_pays_with_keys_that_google_keeps() {
    let town = keyless().await;
    let (google, host) = Google::start().await;
    let (gate, url) = Program::serve(command(&town, &host, &gate_args(&town, &gas()))).await;
    let token = town.write_private("token", &format!("{TOKEN}77\n"));
    let mut said: Vec<Finished> = Vec::new();
    for n in 1..=2 {
        let args = pay_args(&town, &format!("{url}/paid/{n}"), &buyer());
        let mut pay = command(&town, &host, &args);
        match n {
            1 => pay.env("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", &token),
            _ => pay.env("CLOUDSDK_AUTH_ACCESS_TOKEN", format!("{TOKEN}78")),
        };
        let done = run(pay).await.exits(0);
        assert_eq!(done.stdout, GOODS);
        assert_eq!(town.transfers().len(), n);
        said.push(done);
    }
    assert!(google.signatures.count() >= 4, "payments and transactions");
    assert_eq!(google.tokens.load(Ordering::SeqCst), 1, "a token is kept");
    gate.signal("TERM").await;
    said.push(gate.end().await);
    google.signatures.are_told_by_nobody(&said, &[TOKEN]);
}

#[tokio::test]
async fn a_token_that_ran_out_is_renewed_and_a_busy_service_is_asked_again() {
    let town = keyless().await;
    let (google, host) = Google::start().await;
    google.is(Mood::Restless);
    let (_gate, url) = Program::serve(command(&town, &host, &gate_args(&town, &gas()))).await;
    assert_eq!(
        google.tokens.load(Ordering::SeqCst),
        2,
        "the first was not taken"
    );
    assert_eq!(
        google.asked_busy.load(Ordering::SeqCst),
        2,
        "the second time was well"
    );
    let args = pay_args(&town, &format!("{url}/paid/x"), &buyer());
    assert_eq!(
        run(command(&town, &host, &args)).await.exits(0).stdout,
        GOODS
    );
    town.paid_exactly_once();
}

#[tokio::test]
async fn a_key_that_cannot_be_used_stops_the_start_and_says_what_to_do() {
    let town = keyless().await;
    let (google, host) = Google::start().await;
    let elsewhere = "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS";
    let cases: [(Mood, String, Option<Variable>, &str); 9] = [
        (
            Mood::Rsa,
            gas(),
            None,
            "signs by RSA_SIGN_PSS_2048_SHA256; make one for EC_SIGN_SECP256K1_SHA256",
        ),
        (
            Mood::Well,
            key("other/cryptoKeyVersions/1"),
            None,
            "(HTTP 403); look at the name",
        ),
        (Mood::Well, key("gas"), None, "cryptoKeyVersions/1"),
        (
            Mood::Well,
            "gcp-kms:".to_owned(),
            None,
            "cryptoKeyVersions/1",
        ),
        (Mood::Elsewhere, gas(), None, "(HTTP 307)"),
        (
            Mood::Endless,
            gas(),
            None,
            "its answer is missing or cannot be used",
        ),
        (
            Mood::Well,
            gas(),
            Some(("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", "/nowhere")),
            "gcloud auth print-access-token",
        ),
        (
            Mood::Well,
            gas(),
            Some(("GCE_METADATA_HOST", "127.0.0.1:1")),
            "gcloud auth print-access-token",
        ),
        (
            Mood::Well,
            gas(),
            Some((elsewhere, "http://kms.example.com")),
            "write an https URL",
        ),
    ];
    for (mood, key, environment, cure) in cases {
        google.is(mood);
        let mut gate = command(&town, &host, &gate_args(&town, &key));
        gate.envs(environment);
        let done = run(gate).await.exits(2);
        assert!(
            done.stderr.contains(cure),
            "{mood:?} {key}: {}",
            done.stderr
        );
        assert!(!done.stderr.contains(TOKEN));
    }
}

#[tokio::test]
async fn a_signature_that_is_missing_or_wrong_costs_nothing() {
    let town = Town::new().await;
    let (google, host) = Google::start().await;
    let (_gate, url) = town.gate(&[]).await;
    let moods = [
        (Mood::Denied, "HTTP 403 PERMISSION_DENIED"),
        (Mood::Garbled, "not the one that it sent"),
        (Mood::Another, "not of its account"),
    ];
    for (mood, why) in moods {
        google.is(mood);
        let args = pay_args(&town, &format!("{url}/paid/x"), &buyer());
        let done = run(command(&town, &host, &args)).await.exits(1);
        assert!(
            done.stderr.contains("[wallet_unavailable]"),
            "{}",
            done.stderr
        );
        assert!(done.stderr.contains("The key service did not sign"));
        assert!(done.stderr.contains(why), "{mood:?}: {}", done.stderr);
    }
    let spends = town.spends().await;
    assert_eq!(spends.len(), moods.len());
    assert!(
        spends
            .iter()
            .all(|spend| spend.state == SpendState::Released)
    );
    town.nothing_was_paid();
}
