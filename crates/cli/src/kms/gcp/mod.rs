//! Google Cloud KMS, by its REST interface (v1): a client of our own, since the
//! libraries for it bring C that this project does not build.

mod checksum;
mod http;
mod name;
mod public_key;
mod signature;
mod token;

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tollway_evm::{KeyService, SigningKey};

use self::checksum::crc32c;
use self::http::Answer;
use self::name::KeyName;
use self::public_key::ShownKey;
use self::token::Tokens;
use crate::environment::{Environment, GCP_KMS_ENDPOINT};
use crate::exit::Failure;

/// How long one question may take, with its repeats.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often it is asked while the service is busy or silent, or does not know the token.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);

/// Asks for the key's public half. It must be of secp256k1 and for signing.
pub async fn open(name: &str, environment: &Environment) -> Result<SigningKey, Failure> {
    let service = Service {
        name: KeyName::parse(name)?,
        endpoint: http::endpoint(environment.get(GCP_KMS_ENDPOINT))?,
        client: http::client()?,
        tokens: Tokens::of(environment)?,
    };
    let address = service.address().await?;
    Ok(SigningKey::elsewhere(Arc::new(GcpKey { service, address })))
}

struct GcpKey {
    service: Service,
    address: Address,
}

#[async_trait]
impl KeyService for GcpKey {
    fn address(&self) -> Address {
        self.address
    }

    async fn sign(&self, digest: B256) -> Result<[u8; 65], String> {
        let signed = self.service.sign(digest).await.map_err(Trouble::told)?;
        signature::recoverable(&signed, digest, self.address)
            .ok_or_else(|| "its signature is not of its account".to_owned())
    }
}

/// Why the service did not do what it was asked for.
enum Trouble {
    /// Nothing says who asks.
    Token(String),
    /// It said no.
    Refused(StatusCode, String),
    /// It said nothing, or nothing that can be used.
    Answer(String),
}

impl Trouble {
    /// For the log.
    fn told(self) -> String {
        match self {
            Self::Token(why) => format!("no access token: {why}"),
            Self::Refused(status, code) => format!("HTTP {} {code}", status.as_u16()),
            Self::Answer(why) => why,
        }
    }

    /// For people, at the start.
    fn at_start(self, name: &KeyName) -> Failure {
        let said = match &self {
            Self::Token(_) => "There is no access token for Google Cloud KMS; run where a metadata server gives one, or set CLOUDSDK_AUTH_ACCESS_TOKEN_FILE to a file (mode 0600) that is kept fresh with `gcloud auth print-access-token`. TOLLWAY_LOG=warn says more.".to_owned(),
            Self::Refused(status, _) => format!(
                "Google Cloud KMS does not show the key {name} (HTTP {}); look at the name, and give the account that asks roles/cloudkms.signerVerifier on it. TOLLWAY_LOG=warn says more.",
                status.as_u16()
            ),
            Self::Answer(_) => format!(
                "Google Cloud KMS does not show the key {name}: its answer is missing or cannot be used; look at {GCP_KMS_ENDPOINT} if it is set, and at the network, then try again. TOLLWAY_LOG=warn says more.",
            ),
        };
        tracing::warn!(error = self.told(), "Google Cloud KMS does not show a key");
        Failure::usage(said)
    }
}

/// One key of the service, and who asks for it.
struct Service {
    name: KeyName,
    /// Without a slash at its end.
    endpoint: String,
    client: Client,
    tokens: Tokens,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Signed {
    name: Option<String>,
    signature: String,
    signature_crc32c: Option<String>,
    verified_digest_crc32c: Option<bool>,
}

impl Service {
    /// The account of the key.
    async fn address(&self) -> Result<Address, Failure> {
        let url = format!("{}/v1/{}/publicKey", self.endpoint, self.name);
        let shown = self.ask(|| self.client.request(Method::GET, &url)).await;
        let shown = shown.and_then(|answer| parse::<ShownKey>(&answer));
        let shown = shown.map_err(|trouble| trouble.at_start(&self.name))?;
        shown.require_algorithm(&self.name)?;
        shown
            .address()
            .map_err(|why| Trouble::Answer(why.to_owned()).at_start(&self.name))
    }

    /// A signature of a digest, in DER. The interface wants the digest under the
    /// name of SHA-256, and signs whatever 32 bytes are there.
    async fn sign(&self, digest: B256) -> Result<Vec<u8>, Trouble> {
        let url = format!("{}/v1/{}:asymmetricSign", self.endpoint, self.name);
        let body = json!({
            "digest": { "sha256": STANDARD.encode(digest) },
            "digestCrc32c": crc32c(digest.as_slice()).to_string(),
        });
        let request = || self.client.request(Method::POST, &url).json(&body);
        let signed: Signed = parse(&self.ask(request).await?)?;
        self.checked(&signed)
            .map_err(|why| Trouble::Answer(why.to_owned()))
    }

    /// Whether it was for this key and came as it left. That it signs the digest is
    /// seen from the account that it recovers to.
    fn checked(&self, signed: &Signed) -> Result<Vec<u8>, &'static str> {
        if signed.name.as_ref().is_some_and(|name| !self.name.is(name)) {
            return Err("it signed with another key");
        }
        if signed.verified_digest_crc32c == Some(false) {
            return Err("it did not check the digest that it got");
        }
        let bytes = STANDARD.decode(&signed.signature);
        let bytes = bytes.map_err(|_| "its signature is not base64")?;
        match checksum::fits(signed.signature_crc32c.as_deref(), &bytes) {
            true => Ok(bytes),
            false => Err("its signature is not the one that it sent"),
        }
    }

    async fn ask(&self, request: impl Fn() -> RequestBuilder) -> Result<Answer, Trouble> {
        let asking = tokio::time::timeout(PATIENCE, self.tries(request));
        let late = || Trouble::Answer(format!("no answer in {} s", PATIENCE.as_secs()));
        asking.await.map_err(|_| late())?
    }

    async fn tries(&self, request: impl Fn() -> RequestBuilder) -> Result<Answer, Trouble> {
        let mut last = Trouble::Answer("it was not asked".to_owned());
        for attempt in 0..TRIES {
            tokio::time::sleep(PAUSE * attempt).await;
            let token = self.tokens.current().await.map_err(Trouble::Token)?;
            let asked = http::answer(request().bearer_auth(token.as_str())).await;
            last = match asked {
                Ok(answer) if answer.status == StatusCode::OK => return Ok(answer),
                Ok(answer) => refusal(&answer),
                Err(why) => Trouble::Answer(why),
            };
            match &last {
                Trouble::Refused(StatusCode::UNAUTHORIZED, _) => self.tokens.forget(&token).await,
                Trouble::Refused(status, _) if !is_busy(*status) => break,
                _ => {}
            }
        }
        Err(last)
    }
}

fn is_busy(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

fn parse<T: DeserializeOwned>(answer: &Answer) -> Result<T, Trouble> {
    serde_json::from_slice(&answer.body)
        .map_err(|_| Trouble::Answer("its answer is not of its interface".to_owned()))
}

/// With the code of the service, such as `PERMISSION_DENIED`, and no more of what it says.
fn refusal(answer: &Answer) -> Trouble {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let code = body["error"]["status"].as_str().unwrap_or_default();
    let code = code.chars().filter(|c| matches!(c, 'A'..='Z' | '_'));
    Trouble::Refused(answer.status, code.take(40).collect())
}
