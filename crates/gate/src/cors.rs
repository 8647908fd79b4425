//! Cross-origin rules on priced routes, so that browsers can pay.
//!
//! Free routes are left to the service behind. Source: the x402 HTTP
//! transport; that the official fetch client sends the *request* header
//! `Access-Control-Expose-Headers`, which a preflight must therefore allow.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use crate::body::{self, Body};

const EXPOSED: &str = "PAYMENT-REQUIRED, PAYMENT-RESPONSE, X-PAYMENT-RESPONSE, Retry-After, \
                       Tollway-Payment";
const ALLOWED: &str = "PAYMENT-SIGNATURE, X-PAYMENT, SIGN-IN-WITH-X, Access-Control-Expose-Headers, \
                       Authorization, Content-Type, Accept, Idempotency-Key";
/// How long a browser may remember a preflight, in seconds.
const MAX_AGE: &str = "600";
/// Requested headers beyond this are not echoed.
const MAX_ECHOED_BYTES: usize = 1024;

/// Which origins may read paid answers.
#[derive(Clone, Debug)]
pub(crate) struct Cors {
    origin: HeaderValue,
}

impl Cors {
    pub(crate) fn new(origin: HeaderValue) -> Self {
        Self { origin }
    }

    /// The method that a preflight asks about.
    pub(crate) fn preflight(method: &Method, headers: &HeaderMap) -> Option<Method> {
        if method != Method::OPTIONS || !headers.contains_key(ORIGIN) {
            return None;
        }
        let asked = headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
        Method::from_bytes(asked.as_bytes()).ok()
    }

    /// The answer to a preflight: never charged, never forwarded.
    pub(crate) fn allow(&self, method: &Method, headers: &HeaderMap) -> Response<Body> {
        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let out = response.headers_mut();
        if let Ok(method) = HeaderValue::from_str(method.as_str()) {
            out.insert(ACCESS_CONTROL_ALLOW_METHODS, method);
        }
        out.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed_headers(headers));
        out.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
        out.append(
            VARY,
            HeaderValue::from_static(
                "Access-Control-Request-Method, Access-Control-Request-Headers",
            ),
        );
        self.decorate(out);
        response
    }

    /// Lets browsers read an answer of a priced route. An origin that the
    /// service behind named stays.
    pub(crate) fn decorate(&self, headers: &mut HeaderMap) {
        if !headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.origin.clone());
            if self.origin != "*" {
                headers.append(VARY, HeaderValue::from_static("Origin"));
            }
        }
        headers.append(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(EXPOSED),
        );
    }
}

/// Ours, and those that the browser asked for.
fn allowed_headers(headers: &HeaderMap) -> HeaderValue {
    let mut allowed = ALLOWED.to_owned();
    let asked = headers
        .get(ACCESS_CONTROL_REQUEST_HEADERS)
        .and_then(|value| value.to_str().ok())
        .filter(|names| names.len() <= MAX_ECHOED_BYTES)
        .unwrap_or_default();
    let known: Vec<&str> = ALLOWED.split(", ").collect();
    for name in asked.split(',').map(str::trim) {
        let token = http::HeaderName::from_bytes(name.as_bytes()).is_ok();
        if token && !known.iter().any(|k| k.eq_ignore_ascii_case(name)) {
            allowed.push_str(", ");
            allowed.push_str(name);
        }
    }
    HeaderValue::try_from(allowed).unwrap_or(HeaderValue::from_static(ALLOWED))
}
