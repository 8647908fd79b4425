//! The headers of x402 and what they carry: base64 of JSON.

mod presented;

pub use presented::{Presentation, Presented, Required, presented, receipt, required};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::{HeaderName, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::json::{self, JsonError, JsonLimits};
use crate::wire::{self, PaymentPayload, PaymentRequired, SettleResponse, Version, v1};
use crate::{Refusal, codes};

/// The terms, on a 402 answer.
pub static PAYMENT_REQUIRED: HeaderName = HeaderName::from_static("payment-required");
/// The payment, on a request.
pub static PAYMENT_SIGNATURE: HeaderName = HeaderName::from_static("payment-signature");
/// What became of the payment, on an answer.
pub static PAYMENT_RESPONSE: HeaderName = HeaderName::from_static("payment-response");
/// The payment in version 1.
pub static X_PAYMENT: HeaderName = HeaderName::from_static("x-payment");
/// What became of the payment, in version 1.
pub static X_PAYMENT_RESPONSE: HeaderName = HeaderName::from_static("x-payment-response");
/// What the facilitator's extensions say to the seller; never for the buyer.
pub static EXTENSION_RESPONSES: HeaderName = HeaderName::from_static("extension-responses");
/// What the handler really charges; never for the buyer.
pub static SETTLEMENT_OVERRIDES: HeaderName = HeaderName::from_static("settlement-overrides");
/// A sign-in.
pub static SIGN_IN_WITH_X: HeaderName = HeaderName::from_static("sign-in-with-x");

/// Longest payment header in bytes, before decoding.
pub const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Base64 of the JSON of a value. The wire types always have one; a value that
/// has none (a map whose keys are no texts) gives an empty header, which nobody reads.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> String {
    STANDARD.encode(serde_json::to_vec(value).unwrap_or_default())
}

/// Reads a header of at most 16 KiB that holds a JSON object.
///
/// Padding may be missing altogether, as the official clients allow; partial or
/// foreign padding, blanks and the URL-safe alphabet are refused.
///
/// # Errors
/// `payment_header_too_large` or `invalid_payload`.
pub fn decode<T: DeserializeOwned>(text: &str) -> Result<T, Refusal> {
    decode_within(text, MAX_HEADER_BYTES)
}

/// [`decode`] with another limit on the header's length in bytes.
///
/// # Errors
/// `payment_header_too_large` or `invalid_payload`.
pub fn decode_within<T: DeserializeOwned>(text: &str, max_bytes: usize) -> Result<T, Refusal> {
    let limits = JsonLimits {
        max_bytes,
        ..JsonLimits::HEADER
    };
    json::object_from_slice(&unbase64(text, max_bytes)?, &limits).map_err(malformed)
}

fn unbase64(text: &str, max_bytes: usize) -> Result<Vec<u8>, Refusal> {
    if text.len() > max_bytes {
        return Err(Refusal::new(
            codes::PAYMENT_HEADER_TOO_LARGE,
            format!("The header is longer than {max_bytes} bytes; send a shorter one."),
        ));
    }
    let engine = if text.ends_with('=') {
        &STANDARD
    } else {
        &STANDARD_NO_PAD
    };
    engine.decode(text).map_err(|_| {
        Refusal::new(
            codes::INVALID_PAYLOAD,
            "The header is not base64; send standard base64 of the JSON.",
        )
    })
}

fn malformed(error: JsonError) -> Refusal {
    Refusal::new(
        codes::INVALID_PAYLOAD,
        "The header does not hold the JSON object that belongs there; correct it.",
    )
    .with_detail(error.detail())
}

/// The header in which a payment is sent: `PAYMENT-SIGNATURE`, or `X-PAYMENT`.
///
/// # Errors
/// `invalid_network` if it is to be sent in version 1 and the network has no
/// version 1 name; `payment_header_too_large` if it would be refused.
pub fn payment(
    version: Version,
    payment: &PaymentPayload,
) -> Result<(HeaderName, HeaderValue), Refusal> {
    let (name, text) = match version {
        Version::V2 => (&PAYMENT_SIGNATURE, encode(payment)),
        Version::V1 => (
            &X_PAYMENT,
            encode(&v1::PaymentPayload::from_v2(payment).ok_or_else(wire::unnamed)?),
        ),
    };
    if text.len() > MAX_HEADER_BYTES {
        return Err(Refusal::new(
            codes::PAYMENT_HEADER_TOO_LARGE,
            "The payment does not fit into a header of 16 KiB; pay by another method.",
        ));
    }
    Ok((name.clone(), value(&text)))
}

/// The header in which the terms are sent.
#[must_use]
pub fn challenge(terms: &PaymentRequired) -> (HeaderName, HeaderValue) {
    (PAYMENT_REQUIRED.clone(), value(&encode(terms)))
}

/// The header in which it is told what became of a payment: `PAYMENT-RESPONSE`, or
/// `X-PAYMENT-RESPONSE` with the network's version 1 name.
#[must_use]
pub fn response(version: Version, response: &SettleResponse) -> (HeaderName, HeaderValue) {
    match version {
        Version::V2 => (PAYMENT_RESPONSE.clone(), value(&encode(response))),
        Version::V1 => (
            X_PAYMENT_RESPONSE.clone(),
            value(&encode(&v1::settle_response(response))),
        ),
    }
}

/// Base64 is always a legal header value.
fn value(base64: &str) -> HeaderValue {
    HeaderValue::from_str(base64).unwrap_or(HeaderValue::from_static(""))
}
