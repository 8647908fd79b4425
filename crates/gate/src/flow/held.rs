//! An answer that is held back until it is paid.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LOCATION};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tollway_core::{Amount, Refusal, codes};
use tollway_ledger::StoredAnswer;
use url::Url;

use super::Upstream;
use crate::answer::grpc;
use crate::body::{self, Body};
use crate::charge::Said;
use crate::purchase::Purchase;
use crate::{answer, hygiene};

/// Marks trailers among stored headers: no header's name has a colon.
const TRAILER: &str = "trailer:";

/// The whole answer of the service behind.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    trailers: Option<HeaderMap>,
    /// What is to be charged, where the service behind said so.
    charge: Option<Said>,
}

/// Why there is no answer to sell. Nothing is charged.
pub(super) struct Failure {
    pub code: &'static str,
    pub response: Response<Body>,
}

impl Failure {
    fn new(status: StatusCode, code: &'static str, message: &str) -> Self {
        Self {
            code,
            response: answer::problem(status, code, message),
        }
    }
}

/// Calls the service behind, within a time; a panic is an error like others.
pub(super) async fn call(
    upstream: Upstream,
    request: Request<Body>,
    within: Duration,
) -> Result<Response<Body>, Failure> {
    let answer = AssertUnwindSafe(async { upstream(request).await }).catch_unwind();
    let answered = match tokio::time::timeout(within, answer).await {
        Ok(Ok(Ok(response))) => Ok(response),
        Ok(Ok(Err(error))) => {
            tracing::warn!(%error, "the service behind the gate failed");
            Err(Failure::new(
                StatusCode::BAD_GATEWAY,
                codes::UPSTREAM_UNAVAILABLE,
                "The server behind the gate failed; ask again with the same payment.",
            ))
        }
        Ok(Err(_)) => Err(Failure::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            codes::UPSTREAM_FAILED,
            "The server behind the gate broke down; ask again with the same payment.",
        )),
        Err(_) => Err(Failure::new(
            StatusCode::GATEWAY_TIMEOUT,
            codes::UPSTREAM_UNAVAILABLE,
            "The server behind the gate did not answer in time; ask again with the same payment.",
        )),
    };
    let mut response = answered?;
    if response.status() == StatusCode::PAYMENT_REQUIRED {
        return Err(Failure::new(
            StatusCode::BAD_GATEWAY,
            codes::UPSTREAM_FAILED,
            "The server behind the gate asks for a payment of its own; tell the seller.",
        ));
    }
    if let Some(said) = Said::take(&mut response) {
        response.extensions_mut().insert(said);
    }
    hygiene::clean_answer(response.headers_mut());
    Ok(response)
}

/// Whether an answer is one that is charged for: a status below 400 that does
/// not just send the buyer elsewhere on the same host, and for gRPC, whose
/// failures are answered with 200, no other `grpc-status` than zero.
///
/// A redirect within the host (a trailing slash, another page) would be paid
/// for again where it leads. One to another host may be the goods themselves,
/// such as a signed download link.
pub(super) fn is_chargeable(base_url: &str, status: StatusCode, headers: &HeaderMap) -> bool {
    match status.as_u16() {
        301 | 302 | 303 | 307 | 308 => leads_away(base_url, headers),
        304 | 400.. => false,
        _ => grpc::begins_well(headers),
    }
}

fn leads_away(base_url: &str, headers: &HeaderMap) -> bool {
    let Ok(base) = Url::parse(base_url) else {
        return true;
    };
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let target = location.and_then(|location| base.join(location).ok());
    target.is_some_and(|target| target.host_str() != base.host_str())
}

impl Held {
    /// Reads an answer whole.
    pub(super) async fn read(
        response: Response<Body>,
        max_bytes: usize,
        within: Duration,
    ) -> Result<Self, Failure> {
        let (mut parts, body) = response.into_parts();
        if streams(&parts.headers) {
            return Err(Failure::new(
                StatusCode::BAD_GATEWAY,
                "response_streams",
                "The server behind the gate streams its answer, which cannot be held back until it is paid; nothing was charged. The seller must let this route settle before it is served.",
            ));
        }
        let collected = Limited::new(body, max_bytes).collect();
        let collected = match tokio::time::timeout(within, collected).await {
            Ok(Ok(collected)) => collected,
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return Err(Failure::new(
                    StatusCode::BAD_GATEWAY,
                    codes::RESPONSE_TOO_LARGE,
                    "The answer is larger than may be held back until it is paid; nothing was charged. The seller must let this route settle before it is served.",
                ));
            }
            Ok(Err(_)) | Err(_) => {
                return Err(Failure::new(
                    StatusCode::BAD_GATEWAY,
                    codes::UPSTREAM_UNAVAILABLE,
                    "The answer of the server behind the gate broke off; ask again with the same payment.",
                ));
            }
        };
        let trailers = collected.trailers().cloned();
        Ok(Self {
            status: parts.status,
            headers: parts.headers,
            body: collected.to_bytes(),
            trailers,
            charge: parts.extensions.remove(),
        })
    }

    /// Whether it is one that is charged for, now that its trailers are known.
    pub(super) fn is_chargeable(&self, base_url: &str) -> bool {
        is_chargeable(base_url, self.status, &self.headers)
            && grpc::ended_well(&self.headers, &self.body, self.trailers.as_ref())
    }

    /// What of the maximum is charged for it; `None` for all of it.
    pub(super) fn charged(&mut self, purchase: &Purchase) -> Result<Option<Amount>, Refusal> {
        let said = self.charge.take();
        said.map_or(Ok(None), |said| {
            said.charged(&purchase.terms, purchase.decimals)
        })
    }

    /// The answer of a service that failed, free of charge: what a gRPC service
    /// made before it failed stays behind.
    pub(super) fn into_failure(mut self) -> Response<Body> {
        if self.status.as_u16() < 300 {
            self.body = grpc::failure(&self.headers, &self.body);
            self.headers.remove(CONTENT_LENGTH);
        }
        self.into_response()
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let body = match self.trailers {
            Some(trailers) => body::with_trailers(self.body, trailers),
            None => body::full(self.body),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }

    /// For the ledger, unless it is larger than may be stored.
    pub(super) fn to_stored(&self, max_bytes: usize) -> Option<StoredAnswer> {
        if self.body.len() > max_bytes {
            return None;
        }
        let named = |prefix: &'static str| {
            move |(name, value): (&HeaderName, &HeaderValue)| {
                (format!("{prefix}{name}"), value.as_bytes().to_vec())
            }
        };
        let trailers = self.trailers.iter().flatten().map(named(TRAILER));
        Some(StoredAnswer {
            status: self.status.as_u16(),
            headers: self.headers.iter().map(named("")).chain(trailers).collect(),
            body: self.body.to_vec(),
        })
    }

    pub(super) fn from_stored(stored: StoredAnswer) -> Self {
        let mut headers = HeaderMap::new();
        let mut trailers = HeaderMap::new();
        for (name, value) in stored.headers {
            let (map, name) = match name.strip_prefix(TRAILER) {
                Some(name) => (&mut trailers, name),
                None => (&mut headers, name.as_str()),
            };
            let name = HeaderName::from_bytes(name.as_bytes());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&value)) {
                map.append(name, value);
            }
        }
        Self {
            status: StatusCode::from_u16(stored.status).unwrap_or(StatusCode::OK),
            headers,
            body: stored.body.into(),
            trailers: Some(trailers).filter(|t| !t.is_empty()),
            charge: None,
        }
    }
}

/// Whether an answer never ends by itself.
pub(super) fn streams(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    kind.is_some_and(|kind| {
        let kind = kind.trim_start().to_ascii_lowercase();
        kind.starts_with("text/event-stream") || kind.starts_with("multipart/x-mixed-replace")
    })
}
