//! What gRPC calls make of the gate's own answers, and whether one succeeded.
//!
//! A gRPC client looks for `grpc-status` before it reads anything, and takes a body
//! of JSON for a broken message: to a call, what the gate refuses says so in
//! `grpc-status` and `grpc-message` as well. Terms and receipts are headers already,
//! which such a client has as metadata. Source: gRPC over HTTP2, "Responses".

mod web;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tollway_core::header::PAYMENT_REQUIRED;

use self::web::End;
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
    kind(headers).is_some()
}

/// How the end of a gRPC answer is told.
enum Kind {
    /// By headers or trailers.
    Trailers,
    /// gRPC-Web: by a frame of the body, which may be base64.
    Frame { is_text: bool },
}

fn kind(headers: &HeaderMap) -> Option<Kind> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let value = value.trim().to_ascii_lowercase();
    let after = value.strip_prefix("application/grpc")?;
    Some(match after.strip_prefix("-web") {
        Some(web) => Kind::Frame {
            is_text: web.starts_with("-text"),
        },
        None => Kind::Trailers,
    })
}

/// Whether an answer names no failure at its beginning. Only gRPC answers have a
/// `grpc-status`; anybody's header of that name has none.
pub(crate) fn begins_well(headers: &HeaderMap) -> bool {
    !is_grpc(headers) || names_no_failure(headers)
}

/// Whether a whole answer succeeded: one of gRPC says so, or it broke off.
pub(crate) fn ended_well(headers: &HeaderMap, body: &Bytes, trailers: Option<&HeaderMap>) -> bool {
    let Some(kind) = kind(headers) else {
        return true;
    };
    let mut told = [Some(headers), trailers].into_iter().flatten();
    if !told.clone().all(names_no_failure) {
        return false;
    }
    let is_told = told.any(|told| told.contains_key(STATUS));
    match kind {
        Kind::Trailers => is_told,
        Kind::Frame { is_text } => {
            let end = End::of(body, is_text);
            end.map_or(is_told && body.is_empty(), |end| end.is_well())
        }
    }
}

/// What of the body of an answer that failed says so.
pub(crate) fn failure(headers: &HeaderMap, body: &Bytes) -> Bytes {
    match kind(headers) {
        Some(Kind::Frame { is_text }) => {
            End::of(body, is_text).map_or_else(Bytes::new, End::into_body)
        }
        Some(Kind::Trailers) | None => Bytes::new(),
    }
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
        let none = Bytes::new();
        let zero = headers(&[("grpc-status", "0")]);
        let failed = headers(&[("grpc-status", "13")]);
        for kind in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc;x=y",
            "Application/GRPC",
        ] {
            let head = headers(&[("content-type", kind)]);
            assert!(ended_well(&head, &none, Some(&zero)), "{kind}");
            assert!(!ended_well(&head, &none, Some(&failed)), "{kind}");
            assert!(!ended_well(&head, &none, None), "{kind} that broke off");
            assert!(begins_well(&head), "{kind}");
            let only = headers(&[("content-type", kind), ("grpc-status", "5")]);
            assert!(
                !ended_well(&only, &none, None) && !begins_well(&only),
                "{kind}"
            );
            assert!(!ended_well(&only, &none, Some(&zero)), "{kind}");
        }
        for kind in ["application/grpc-web+proto", "Application/gRPC-Web"] {
            let web = headers(&[("content-type", kind)]);
            let end = |status: &str| {
                let text = format!("grpc-status:{status}\r\n");
                let length = u8::try_from(text.len()).unwrap();
                Bytes::from([&[0x80, 0, 0, 0, length], text.as_bytes()].concat())
            };
            assert!(ended_well(&web, &end("0"), None), "{kind}");
            assert!(!ended_well(&web, &end("13"), None), "{kind}");
            assert!(!ended_well(&web, &none, None), "{kind} that broke off");
            assert_eq!(failure(&web, &end("13")), end("13"));
            let only = headers(&[("content-type", kind), ("grpc-status", "0")]);
            assert!(ended_well(&only, &none, None), "{kind} of headers only");
        }
        let page = headers(&[("content-type", "text/html"), ("grpc-status", "5")]);
        assert!(
            ended_well(&page, &none, Some(&failed)),
            "a page is none of gRPC"
        );
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
