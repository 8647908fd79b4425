//! What gRPC calls make of the gate's own answers, and whether one succeeded.
//!
//! A gRPC client looks for `grpc-status` before it reads anything, and takes a body
//! of JSON for a broken message: to a call, what the gate refuses says so in
//! `grpc-status` and `grpc-message` as well. Terms and receipts are headers already,
//! which such a client has as metadata. Source: gRPC over HTTP2, "Responses".

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tollway_core::header::PAYMENT_REQUIRED;

use super::Sentence;
use crate::body::Body;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What a message may not hold as it is, beside what is not ASCII.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// `FAILED_PRECONDITION`: to be repeated only once the cause is mended, by paying.
const UNPAID: u8 = 9;
/// `UNAVAILABLE`: to be repeated as it is.
const LATER: u8 = 14;

/// Whether a message is of gRPC, of any kind.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    kind(headers).is_some_and(|kind| kind.starts_with("application/grpc"))
}

/// Whether an answer is of gRPC itself, which ends with a status; gRPC-Web has it in
/// the body.
fn ends_with_status(headers: &HeaderMap) -> bool {
    let after = kind(headers).and_then(|kind| kind.strip_prefix("application/grpc"));
    after.is_some_and(|after| !after.starts_with('-'))
}

fn kind(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE)?.to_str().ok()
}

/// Whether an answer names no failure at its beginning. Only gRPC answers have a
/// `grpc-status`; anybody's header of that name has none.
pub(crate) fn begins_well(headers: &HeaderMap) -> bool {
    !is_grpc(headers) || names_no_failure(headers)
}

/// Whether a whole answer succeeded: one of gRPC says so, or it broke off.
pub(crate) fn ended_well(headers: &HeaderMap, trailers: Option<&HeaderMap>) -> bool {
    let told = [Some(headers), trailers];
    let mut told = told.into_iter().flatten();
    if !is_grpc(headers) {
        return true;
    }
    let well = told.clone().all(names_no_failure);
    well && (!ends_with_status(headers) || told.any(|told| told.contains_key(STATUS)))
}

fn names_no_failure(headers: &HeaderMap) -> bool {
    headers.get(STATUS).is_none_or(|status| status == "0")
}

/// An answer to a call: what is no answer of gRPC says what it comes to.
pub(crate) fn told(mut response: Response<Body>) -> Response<Body> {
    if response.status().is_success() || response.headers().contains_key(STATUS) {
        return response;
    }
    let text = match response.extensions().get::<Sentence>() {
        _ if response.headers().contains_key(&PAYMENT_REQUIRED) => {
            "Payment required; the terms are the metadata payment-required.".to_owned()
        }
        Some(Sentence(text)) => text.clone(),
        None => response.status().to_string(),
    };
    let code = code(response.status(), response.headers());
    let headers = response.headers_mut();
    headers.insert(STATUS, HeaderValue::from(u16::from(code)));
    let text = utf8_percent_encode(&text, ESCAPED).to_string();
    if let Ok(text) = HeaderValue::try_from(text) {
        headers.insert(MESSAGE, text);
    }
    response
}

/// What gRPC makes of HTTP's statuses ("HTTP to gRPC Status Code Mapping"), to which
/// 402 is a stranger.
fn code(status: StatusCode, headers: &HeaderMap) -> u8 {
    match status.as_u16() {
        402 if headers.contains_key(RETRY_AFTER) => LATER,
        402 => UNPAID,
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => LATER,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let all = all.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        all.collect()
    }

    #[test]
    fn an_answer_of_grpc_succeeded_only_if_it_says_so() {
        let zero = headers(&[("grpc-status", "0")]);
        let failed = headers(&[("grpc-status", "13")]);
        for kind in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc;x=y",
        ] {
            let head = headers(&[("content-type", kind)]);
            assert!(ended_well(&head, Some(&zero)), "{kind}");
            assert!(!ended_well(&head, Some(&failed)), "{kind}");
            assert!(!ended_well(&head, None), "{kind} that broke off");
            assert!(begins_well(&head), "{kind}");
            let only = headers(&[("content-type", kind), ("grpc-status", "5")]);
            assert!(!ended_well(&only, None) && !begins_well(&only), "{kind}");
            assert!(!ended_well(&only, Some(&zero)), "{kind}");
        }
        let web = headers(&[("content-type", "application/grpc-web+proto")]);
        assert!(ended_well(&web, None), "its status is in the body");
        let page = headers(&[("content-type", "text/html"), ("grpc-status", "5")]);
        assert!(ended_well(&page, Some(&failed)), "a page is none of gRPC");
    }

    #[test]
    fn a_refusal_tells_a_call_what_it_comes_to_in_ascii() {
        let of = |status: u16, text: &str| {
            let mut response = Response::new(crate::body::empty());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response.extensions_mut().insert(Sentence(text.to_owned()));
            told(response)
        };
        let refused = of(400, "100 % wrong: \u{e4}\n");
        assert_eq!(refused.headers()["grpc-status"], "13");
        assert_eq!(
            refused.headers()["grpc-message"],
            "100 %25 wrong: %C3%A4%0A"
        );
        assert_eq!(of(402, "").headers()["grpc-status"], "9");
        assert_eq!(of(503, "").headers()["grpc-status"], "14");
        assert!(!of(200, "").headers().contains_key("grpc-status"));
    }
}
