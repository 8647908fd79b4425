//! What came in headers: a payment, terms, or a receipt.

use http::{HeaderMap, HeaderName};
use serde::de::DeserializeOwned;

use super::{
    MAX_HEADER_BYTES, PAYMENT_REQUIRED, PAYMENT_RESPONSE, PAYMENT_SIGNATURE, X_PAYMENT,
    X_PAYMENT_RESPONSE, decode, malformed, unbase64,
};
use crate::json::{self, JsonLimits};
use crate::wire::{
    Object, PaymentPayload, PaymentRequired, PaymentRequirements, ResourceInfo, SettleResponse,
    Version, v1,
};
use crate::{Refusal, codes};

/// A payment as it was presented, tied to the version of the header it came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Presented {
    /// The header's version; the answer goes back in it.
    pub version: Version,
    /// What the header held.
    pub payload: Presentation,
}

/// What a payment header held.
#[derive(Clone, Debug, PartialEq)]
pub enum Presentation {
    /// `PAYMENT-SIGNATURE`.
    V2(Box<PaymentPayload>),
    /// `X-PAYMENT`: names only scheme and network of what was accepted.
    V1(v1::PaymentPayload),
}

/// The payment of a request: at most one header, of one version.
///
/// # Errors
/// `duplicate_header` if there are more, `payment_header_too_large` above 16 KiB,
/// `invalid_payload` if it cannot be read, `invalid_x402_version` if its content is
/// of another version than the header stands for.
pub fn presented(headers: &HeaderMap) -> Result<Option<Presented>, Refusal> {
    match (
        single(headers, &PAYMENT_SIGNATURE)?,
        single(headers, &X_PAYMENT)?,
    ) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(duplicate()),
        (Some(text), None) => {
            let payload = decode_as(text, Version::V2, |p: &PaymentPayload| p.x402_version)?;
            Ok(Some(Presented {
                version: Version::V2,
                payload: Presentation::V2(Box::new(payload)),
            }))
        }
        (None, Some(text)) => Ok(Some(Presented {
            version: Version::V1,
            payload: Presentation::V1(decode_as(text, Version::V1, |p: &v1::PaymentPayload| {
                p.x402_version
            })?),
        })),
    }
}

/// Reads a message of the version that its header stands for. One of another
/// version is told so, rather than that it lacks fields.
fn decode_as<T: DeserializeOwned>(
    text: &str,
    version: Version,
    stated: impl Fn(&T) -> u64,
) -> Result<T, Refusal> {
    #[derive(serde::Deserialize)]
    struct Probe {
        #[serde(rename = "x402Version")]
        x402_version: u64,
    }
    let bytes = unbase64(text, MAX_HEADER_BYTES)?;
    let wrong = |number| number != version.number();
    match json::object_from_slice(&bytes, &JsonLimits::HEADER) {
        Ok(message) if wrong(stated(&message)) => Err(wrong_version()),
        Ok(message) => Ok(message),
        Err(error) => match json::reread::<Probe>(&bytes) {
            Ok(probe) if wrong(probe.x402_version) => Err(wrong_version()),
            _ => Err(malformed(error)),
        },
    }
}

fn wrong_version() -> Refusal {
    Refusal::new(
        codes::INVALID_X402_VERSION,
        "The payment's x402Version is not the one of its header; send version 2 in PAYMENT-SIGNATURE and version 1 in X-PAYMENT.",
    )
}

/// The value of a header that may be there once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(duplicate());
    }
    first
        .map(|value| {
            value.to_str().map_err(|_| {
                Refusal::new(
                    codes::INVALID_PAYLOAD,
                    "The payment header is not text; send standard base64 of the JSON.",
                )
            })
        })
        .transpose()
}

fn duplicate() -> Refusal {
    Refusal::new(
        codes::DUPLICATE_HEADER,
        "More than one payment header was sent; send exactly one.",
    )
}

impl Presented {
    /// Whether the payment is for this entry of what was offered.
    ///
    /// Version 2: the core fields are equal (accounts by value), and `extra` holds
    /// all that the offer's holds; it may hold more, but not another transfer
    /// method or flow. Version 1: scheme and network are equal.
    #[must_use]
    pub fn matches(&self, offer: &PaymentRequirements) -> bool {
        match &self.payload {
            Presentation::V1(payment) => payment.matches(offer),
            Presentation::V2(payment) => offer.is_accepted_by(&payment.accepted),
        }
    }

    /// The version 2 model of the payment for the entry that it matches.
    #[must_use]
    pub fn into_payload(
        self,
        offer: &PaymentRequirements,
        resource: ResourceInfo,
    ) -> PaymentPayload {
        match self.payload {
            Presentation::V2(payment) => *payment,
            Presentation::V1(payment) => payment.into_v2(offer, Some(resource)),
        }
    }

    /// The scheme's own object, whichever version it came in.
    #[must_use]
    pub fn scheme_payload(&self) -> &Object {
        match &self.payload {
            Presentation::V2(payment) => &payment.payload,
            Presentation::V1(payment) => &payment.payload,
        }
    }

    /// The extensions that came with it; version 1 has none.
    #[must_use]
    pub fn extensions(&self) -> Option<&Object> {
        match &self.payload {
            Presentation::V2(payment) => payment.extensions.as_ref(),
            Presentation::V1(_) => None,
        }
    }
}

/// The terms of a 402 answer, in the version 2 model.
#[derive(Clone, Debug, PartialEq)]
pub struct Required {
    /// The version that they were sent in, and that a payment is to be sent in.
    pub version: Version,
    /// The terms.
    pub terms: PaymentRequired,
}

/// Reads the terms of a 402 answer: from the `PAYMENT-REQUIRED` header, and only
/// where there is none from a version 1 body.
///
/// # Errors
/// `duplicate_header`, `payment_header_too_large`, `invalid_x402_version`, or
/// `invalid_payload` if neither holds terms.
pub fn required(headers: &HeaderMap, body: &[u8]) -> Result<Required, Refusal> {
    if let Some(text) = single(headers, &PAYMENT_REQUIRED)? {
        return Ok(Required {
            version: Version::V2,
            terms: decode_as(text, Version::V2, |t: &PaymentRequired| t.x402_version)?,
        });
    }
    let none = |detail: String| {
        Refusal::new(
            codes::INVALID_PAYLOAD,
            "The answer asks for payment and tells no terms that can be read; ask the operator of the server.",
        )
        .with_detail(detail)
    };
    let terms: v1::PaymentRequired =
        json::object_from_slice(body, &JsonLimits::BODY).map_err(|e| none(e.detail()))?;
    if terms.x402_version != 1 {
        return Err(none("the body is not version 1".to_owned()));
    }
    Ok(Required {
        version: Version::V1,
        terms: terms.into_v2(),
    })
}

/// Reads what became of a payment from an answer's headers, if it tells; the
/// network comes back as a CAIP-2 name in both versions.
///
/// # Errors
/// `duplicate_header`, `payment_header_too_large` or `invalid_payload`.
pub fn receipt(headers: &HeaderMap) -> Result<Option<SettleResponse>, Refusal> {
    let text = match single(headers, &PAYMENT_RESPONSE)? {
        Some(text) => Some(text),
        None => single(headers, &X_PAYMENT_RESPONSE)?,
    };
    let Some(text) = text else { return Ok(None) };
    let mut response: SettleResponse = decode(text)?;
    response.network = v1::network_from_v1(&response.network);
    Ok(Some(response))
}
