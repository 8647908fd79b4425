//! `POST /verify` and `POST /settle`.

use std::future::Future;
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;
use tollway_core::wire::{
    FacilitatorBody, PaymentRequirements, SettleResponse, VerifyResponse, Version, v1,
};
use tollway_core::{Refusal, SettleRequest, Terms, VerifyRequest, codes};

use super::body::{self, Malformed};
use super::{Api, HttpOptions};
use crate::catalog::{self, Report};
use crate::{Caller, EngineError};

/// What callers that repeat a request name it with.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Where a seller is told what became of its extensions.
const EXTENSION_RESPONSES: HeaderName = HeaderName::from_static("extension-responses");
/// Room for most answers.
const ANSWER_BYTES: usize = 384;

pub(super) async fn verify(State(api): State<Api>, request: Request<Body>) -> Response {
    answer_verify(&api, request).await.map(Body::new)
}

pub(super) async fn settle(State(api): State<Api>, request: Request<Body>) -> Response {
    answer_settle(&api, request).await.map(Body::new)
}

/// An answer whose bytes are there.
pub(super) type Whole = http::Response<Full<Bytes>>;

/// `POST /verify`, whatever brings the body.
pub(super) async fn answer_verify<B>(api: &Api, request: Request<B>) -> Whole
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let caller = match api.engine.caller(api_key(request.headers())) {
        Ok(caller) => caller,
        Err(error) => return Failure::from(error).answer(as_verify),
    };
    let body = match question(request, &api.options).await {
        Ok(body) => body,
        Err(failure) => return failure.answer(as_verify),
    };
    let version = body.version;
    let request = VerifyRequest {
        payload: body.payload.into(),
        requirements: body.requirements.into(),
    };
    match in_time(&api.options, api.engine.check_for(&caller, &request)).await {
        Ok(response) => match version {
            Version::V2 => json(StatusCode::OK, &response),
            Version::V1 => json(StatusCode::OK, &v1::verify_response(response)),
        },
        Err(error) => Failure::from(error).answer(as_verify),
    }
}

/// `POST /settle`, whatever brings the body.
pub(super) async fn answer_settle<B>(api: &Api, request: Request<B>) -> Whole
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let caller = match api.engine.caller(api_key(request.headers())) {
        Ok(caller) => caller,
        Err(error) => return Failure::from(error).answer(as_settle),
    };
    let key = match idempotency_key(request.headers()) {
        Ok(key) => key,
        Err(failure) => return failure.answer(as_settle),
    };
    let body = match question(request, &api.options).await {
        Ok(body) => body,
        Err(failure) => return failure.answer(as_settle),
    };
    let version = body.version;
    let request = SettleRequest {
        payload: body.payload.into(),
        requirements: body.requirements.into(),
        idempotency_key: key,
    };
    match in_time(&api.options, api.engine.pay_for(&caller, &request)).await {
        Ok(response) => {
            let report = listed(api, &caller, &request, &response);
            let mut answer = in_version(version, response);
            if let Some(report) = report {
                answer.headers_mut().insert(EXTENSION_RESPONSES, report);
            }
            answer
        }
        Err(error) => Failure::from(error).answer(as_settle),
    }
}

/// What became of the resource in the list of what can be bought, where the seller
/// says how it is used.
fn listed(
    api: &Api,
    caller: &Caller,
    request: &SettleRequest,
    response: &SettleResponse,
) -> Option<HeaderValue> {
    if !catalog::is_declared(&request.payload) {
        return None;
    }
    let is_open = response.error_reason.as_deref() == Some(codes::SETTLEMENT_PENDING);
    let report = match Terms::check(PaymentRequirements::clone(&request.payload.accepted)) {
        _ if is_open => Report::Processing,
        _ if !response.success => return None,
        Ok(terms) if caller.speaks_for(&terms.pay_to) => {
            let now = api.engine.now();
            let paid = catalog::Paid {
                transaction: response.transaction.clone(),
                payer: response.payer.clone().unwrap_or_default(),
            };
            api.catalog.list(&request.payload, &terms.pay_to, paid, now)
        }
        _ => Report::Rejected("caller_not_bound_to_payee"),
    };
    HeaderValue::try_from(STANDARD.encode(report.to_json().to_string())).ok()
}

fn in_version(version: Version, response: SettleResponse) -> Whole {
    match version {
        Version::V2 => json(StatusCode::OK, &response),
        Version::V1 => json(StatusCode::OK, &v1::settle_response(&response)),
    }
}

fn json<T: Serialize>(status: StatusCode, value: &T) -> Whole {
    let mut bytes = Vec::with_capacity(ANSWER_BYTES);
    // Answers are structs of texts: they have no keys that JSON cannot write.
    let status = match serde_json::to_writer(&mut bytes, value) {
        Ok(()) => status,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut response = Whole::new(Full::new(Bytes::from(bytes)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

async fn question<B>(request: Request<B>, options: &HttpOptions) -> Result<FacilitatorBody, Failure>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let bytes = body::read(request, options).await?;
    Ok(FacilitatorBody::decode(&bytes, &options.body)?)
}

/// The caller's API key: `Authorization: Bearer KEY` or `X-API-Key: KEY`. Two of
/// them, or one that is no text, are none.
#[must_use]
pub fn api_key(headers: &HeaderMap) -> Option<&str> {
    let bearer = one(headers, header::AUTHORIZATION.as_str()).and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    bearer.or_else(|| one(headers, "x-api-key"))
}

fn one<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// One key, or none; what it may hold is the engine's to say.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let key = values.next().map(HeaderValue::to_str).transpose();
    match (key, values.next()) {
        (Ok(key), None) => Ok(key.map(str::to_owned)),
        _ => Err(Failure::malformed(
            StatusCode::BAD_REQUEST,
            codes::INVALID_IDEMPOTENCY_KEY,
            "There must be one Idempotency-Key of visible ASCII characters; send one.".to_owned(),
        )),
    }
}

async fn in_time<T>(
    options: &HttpOptions,
    call: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    let late = || EngineError {
        code: codes::INTERNAL_ERROR,
        message: "There was no answer in time; ask again for the same payment.".to_owned(),
        retry_after: Duration::from_secs(2),
        may_be_accepted: true,
        is_quota: false,
    };
    tokio::time::timeout(options.call_timeout, call)
        .await
        .unwrap_or_else(|_| Err(late()))
}

/// An answer that is not status 200.
struct Failure {
    status: StatusCode,
    code: String,
    message: String,
    retry_after: Option<Duration>,
}

impl Failure {
    fn malformed(status: StatusCode, code: &str, message: String) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message,
            retry_after: None,
        }
    }

    fn answer<T: Serialize>(self, shape: fn(String, String) -> T) -> Whole {
        let mut response = json(self.status, &shape(self.code, self.message));
        if let Some(after) = self.retry_after {
            response.headers_mut().insert(
                header::RETRY_AFTER,
                HeaderValue::from(after.as_secs().max(1)),
            );
        }
        response
    }
}

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Self {
        Self::malformed(
            malformed.status,
            malformed.code,
            malformed.message.to_owned(),
        )
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        tracing::debug!(
            code = refusal.code(),
            detail = refusal.detail(),
            "a body was refused"
        );
        Self::malformed(
            StatusCode::BAD_REQUEST,
            refusal.code(),
            refusal.message().to_owned(),
        )
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let status = match error.code {
            _ if error.is_quota => StatusCode::TOO_MANY_REQUESTS,
            codes::INVALID_API_KEY => StatusCode::UNAUTHORIZED,
            codes::NETWORK_UNAVAILABLE => StatusCode::BAD_GATEWAY,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        // What may have been taken must not look like what was not.
        let code = match error.may_be_accepted {
            true => codes::UNEXPECTED_SETTLE_ERROR,
            false => error.code,
        };
        Self {
            status,
            code: code.to_owned(),
            message: error.message,
            retry_after: Some(error.retry_after),
        }
    }
}

fn as_verify(code: String, message: String) -> VerifyResponse {
    VerifyResponse {
        invalid_reason: Some(code),
        invalid_message: Some(message),
        ..VerifyResponse::default()
    }
}

fn as_settle(code: String, message: String) -> SettleResponse {
    SettleResponse {
        error_reason: Some(code),
        error_message: Some(message),
        ..SettleResponse::default()
    }
}
