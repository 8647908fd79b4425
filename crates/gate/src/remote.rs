//! A facilitator over HTTP.
//!
//! What counts is what the answer says, strictly typed: `isValid` and
//! `success` are JSON booleans or the answer is none. Once `/settle` may have
//! been received, everything but such an answer is an unknown outcome.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tollway_core::json::{self, JsonLimits};
use tollway_core::wire::{
    FacilitatorBody, PaymentPayload, PaymentRequirements, SettleResponse, SupportedResponse,
    VerifyResponse, Version, v1,
};
use tollway_core::{Facilitator, FacilitatorError, SettleRequest, VerifyRequest, codes, mistake};
use url::{Host, Url};

use crate::discovery::Listing;
use crate::error::shown;
use crate::propagate;

/// Codes by which a facilitator says that it took nothing.
const NOT_TAKEN: [&str; 8] = [
    codes::TOO_MANY_REQUESTS,
    codes::CANNOT_SETTLE_IN_TIME,
    codes::GAS_BUDGET_EXHAUSTED,
    codes::INVALID_API_KEY,
    codes::LEDGER_UNAVAILABLE,
    codes::SHUTTING_DOWN,
    codes::NETWORK_UNAVAILABLE,
    codes::SIGNER_UNAVAILABLE,
];

/// Why a remote facilitator cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Not an absolute `http` or `https` URL without user, password and query.
    #[error("{0} is not a facilitator's URL; write one such as https://facilitator.example.com")]
    Url(String),
    /// Plain HTTP to another machine.
    #[error(
        "{0} is plain HTTP to another machine, where answers can be forged; use https, or allow plain HTTP explicitly"
    )]
    PlainHttp(String),
    /// A token that is no header value.
    #[error("the facilitator's token has characters that a header cannot carry; check it")]
    Token,
    /// TLS could not be set up.
    #[error("the HTTP client cannot be set up; check the system's certificates")]
    Client(#[source] reqwest::Error),
}

/// Sets up a [`RemoteFacilitator`].
pub struct RemoteBuilder {
    url: String,
    plain_http: bool,
    token: Option<String>,
    verify_timeout: Duration,
    settle_timeout: Duration,
}

impl RemoteBuilder {
    /// Allows plain HTTP to other machines.
    #[must_use]
    pub fn allow_plain_http(mut self) -> Self {
        self.plain_http = true;
        self
    }

    /// Sends `Authorization: Bearer …` with every call.
    #[must_use]
    pub fn bearer_token(mut self, token: String) -> Self {
        self.token = Some(token);
        self
    }

    /// Sets how long `/verify` (default 30 s) and `/settle` (90 s) may take.
    #[must_use]
    pub fn timeouts(mut self, verify: Duration, settle: Duration) -> Self {
        self.verify_timeout = verify;
        self.settle_timeout = settle;
        self
    }

    /// Checks everything. Asks nobody.
    ///
    /// # Errors
    /// [`RemoteError`] says what to correct.
    pub fn build(self) -> Result<RemoteFacilitator, RemoteError> {
        let url = checked(&self.url, self.plain_http)?;
        let origin = url.origin().ascii_serialization();
        let token = match self.token {
            Some(token) => {
                let value = HeaderValue::try_from(format!("Bearer {token}"));
                let mut value = value.map_err(|_| RemoteError::Token)?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        Ok(RemoteFacilitator {
            base: url.as_str().trim_end_matches('/').to_owned(),
            origin,
            token,
            client: client(url.scheme() == "https").map_err(RemoteError::Client)?,
            verify_timeout: self.verify_timeout,
            settle_timeout: self.settle_timeout,
        })
    }
}

/// A facilitator far away, by its HTTP API (x402 specification v2 §7).
pub struct RemoteFacilitator {
    base: String,
    origin: String,
    token: Option<HeaderValue>,
    client: Client,
    verify_timeout: Duration,
    settle_timeout: Duration,
}

impl RemoteFacilitator {
    /// One with the default settings.
    ///
    /// # Errors
    /// [`RemoteError`] says what to correct.
    pub fn new(url: &str) -> Result<Self, RemoteError> {
        Self::builder(url).build()
    }

    /// Starts to set one up.
    #[must_use]
    pub fn builder(url: &str) -> RemoteBuilder {
        RemoteBuilder {
            url: url.to_owned(),
            plain_http: false,
            token: None,
            verify_timeout: Duration::from_secs(30),
            settle_timeout: Duration::from_secs(90),
        }
    }

    /// Its origin, for [`crate::GateBuilder::remote`].
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    fn post(
        &self,
        call: &str,
        payload: &PaymentPayload,
        requirements: &PaymentRequirements,
        timeout: Duration,
    ) -> Result<RequestBuilder, FacilitatorError> {
        let body = FacilitatorBody {
            version: Version::V2,
            payload: payload.clone(),
            requirements: requirements.clone(),
        };
        let bytes = body
            .encode()
            .map_err(|e| FacilitatorError::Unavailable(e.to_string()))?;
        let mut trace = HeaderMap::new();
        propagate::write(&mut trace);
        let request = self
            .client
            .post(format!("{}/{call}", self.base))
            .headers(trace)
            .timeout(timeout)
            .header("content-type", "application/json")
            .header("accept", "application/json")
            .body(bytes);
        Ok(self.authorized(request))
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, token.clone()),
            None => request,
        }
    }
}

#[async_trait]
impl Facilitator for RemoteFacilitator {
    async fn verify(&self, request: &VerifyRequest) -> Result<VerifyResponse, FacilitatorError> {
        let call = self.post(
            "verify",
            &request.payload,
            &request.requirements,
            self.verify_timeout,
        )?;
        let answer = Answer::get(call).await.map_err(Broken::at_rest)?;
        match answer.parse::<VerifyResponse>() {
            // A yes with a status of failure is none.
            Some(_) if answer.is_busy() => Err(FacilitatorError::Unavailable(answer.told())),
            Some(verdict) if !verdict.is_valid || answer.status.is_success() => Ok(verdict),
            Some(_) => Err(FacilitatorError::Protocol(answer.told())),
            None if answer.is_busy() => Err(FacilitatorError::Unavailable(answer.told())),
            None => Err(FacilitatorError::Protocol(answer.told())),
        }
    }

    async fn settle(&self, request: &SettleRequest) -> Result<SettleResponse, FacilitatorError> {
        let mut call = self.post(
            "settle",
            &request.payload,
            &request.requirements,
            self.settle_timeout,
        )?;
        if let Some(key) = &request.idempotency_key {
            call = call.header("idempotency-key", key);
        }
        let answer = Answer::get(call).await.map_err(Broken::under_way)?;
        if let Some(listing) = &answer.listing {
            let resource = request.payload.resource.as_ref();
            listing.log(resource.map_or("", |resource| resource.url.as_str()));
        }
        if mistake::is("any_status_trusted") && answer.status.is_success() {
            return Ok(trusted_blindly(&answer, request));
        }
        match answer.parse::<SettleResponse>() {
            // Trouble at the facilitator is not the payment's.
            Some(response) if answer.is_busy() && is_trouble(&response) => {
                Err(match took_nothing(&response) {
                    true => FacilitatorError::Unavailable(answer.told()),
                    false => FacilitatorError::Unknown(answer.told()),
                })
            }
            Some(mut response) if !response.success || answer.status.is_success() => {
                response.network = v1::network_from_v1(&response.network);
                Ok(response)
            }
            None if answer.took_nothing() => Err(FacilitatorError::Unavailable(answer.told())),
            // Also a success with a status of failure.
            _ => Err(FacilitatorError::Unknown(answer.told())),
        }
    }

    async fn supported(&self) -> Result<SupportedResponse, FacilitatorError> {
        let call = self.client.get(format!("{}/supported", self.base));
        let call = self.authorized(call.timeout(Duration::from_secs(10)));
        let answer = Answer::get(call).await.map_err(Broken::at_rest)?;
        if answer.is_busy() {
            return Err(FacilitatorError::Unavailable(answer.told()));
        }
        answer
            .parse()
            .ok_or_else(|| FacilitatorError::Protocol(answer.told()))
    }
}

/// What a gate would believe that looks at the status only.
fn trusted_blindly(answer: &Answer, request: &SettleRequest) -> SettleResponse {
    let said = answer.parse::<SettleResponse>().unwrap_or_default();
    SettleResponse {
        success: true,
        transaction: format!("0x{:064}", 0),
        network: request.requirements.network.clone(),
        ..said
    }
}

/// Whether a failure is the facilitator's own, and says nothing of the payment.
/// Other facilitators put refusals under a status of failure too.
fn is_trouble(response: &SettleResponse) -> bool {
    let reason = response.error_reason.as_deref().unwrap_or_default();
    let unclear = reason == codes::INTERNAL_ERROR || reason.starts_with("unexpected");
    !response.success && (unclear || took_nothing(response))
}

/// Whether an answer of trouble says that nothing was accepted.
fn took_nothing(response: &SettleResponse) -> bool {
    let reason = response.error_reason.as_deref().unwrap_or_default();
    response.transaction.is_empty() && NOT_TAKEN.contains(&reason)
}

/// An answer with its body, of at most 64 KiB.
struct Answer {
    status: StatusCode,
    body: Vec<u8>,
    /// What became of the resource in the facilitator's list.
    listing: Option<Listing>,
}

/// No whole answer came.
struct Broken {
    error: String,
    /// Whether the request may have been received.
    sent: bool,
}

impl Broken {
    /// For calls that change nothing.
    fn at_rest(self) -> FacilitatorError {
        FacilitatorError::Unavailable(self.error)
    }

    /// For calls that move money.
    fn under_way(self) -> FacilitatorError {
        match self.sent {
            true => FacilitatorError::Unknown(self.error),
            false => FacilitatorError::Unavailable(self.error),
        }
    }
}

impl Answer {
    async fn get(call: RequestBuilder) -> Result<Self, Broken> {
        let response = call.send().await.map_err(|error| Broken {
            sent: !error.is_connect() && !error.is_builder(),
            error: without_url(error),
        })?;
        let status = response.status();
        let listing = Listing::read(response.headers());
        let body = read(response)
            .await
            .map_err(|error| Broken { sent: true, error })?;
        Ok(Self {
            status,
            body,
            listing,
        })
    }

    fn parse<T: DeserializeOwned>(&self) -> Option<T> {
        json::object_from_slice(&self.body, &JsonLimits::BODY).ok()
    }

    fn is_busy(&self) -> bool {
        self.status.is_server_error() || self.status == StatusCode::TOO_MANY_REQUESTS
    }

    /// Whether it says that nothing was accepted. A status alone may be that of
    /// something in between, which sent the request on before it gave up.
    fn took_nothing(&self) -> bool {
        let code = self
            .parse::<Value>()
            .and_then(|body| Some(body.get("error")?.as_str()?.to_owned()));
        code.is_some_and(|code| NOT_TAKEN.contains(&code.as_str()))
    }

    /// For the log: never the body.
    fn told(&self) -> String {
        format!(
            "HTTP {} with {} bytes",
            self.status.as_u16(),
            self.body.len()
        )
    }
}

async fn read(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(without_url)? {
        if body.len() + chunk.len() > JsonLimits::BODY.max_bytes {
            return Err("the answer is longer than 64 KiB".to_owned());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// An error's text; a URL may hold secrets.
fn without_url(error: reqwest::Error) -> String {
    error.without_url().to_string()
}

pub(crate) fn checked(text: &str, plain_http: bool) -> Result<Url, RemoteError> {
    let shown = shown(text);
    let url = Url::parse(text).map_err(|_| RemoteError::Url(shown.clone()))?;
    let fits = matches!(url.scheme(), "http" | "https")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if !fits || url.host().is_none() {
        return Err(RemoteError::Url(shown));
    }
    let loopback = match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if url.scheme() == "http" && !loopback && !plain_http {
        return Err(RemoteError::PlainHttp(shown));
    }
    Ok(url)
}

/// Without TLS no certificates are loaded, so that it also works where there
/// are none.
pub(crate) fn client(tls: bool) -> reqwest::Result<Client> {
    // Fails only where a provider is installed already; then that one is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(Duration::from_secs(5));
    match tls {
        true => builder.build(),
        false => builder.tls_certs_only([]).build(),
    }
}
