//! The 402 answer: terms in the `PAYMENT-REQUIRED` header for version 2, and
//! in the body for version 1.
//!
//! The terms of a route with fixed prices are serialized once. Only the path
//! is written into them for each request: the header's base64 is kept in two
//! halves, and blanks (which JSON allows) bring the part between them to a
//! multiple of three bytes.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};
use tollway_core::wire::{Object, PaymentRequired, PaymentRequirements, ResourceInfo, v1};
use tollway_core::{codes, extensions, header};

use crate::answer;
use crate::body::{self, Body};
use crate::event::Event;
use crate::gate::{Inner, Sale};
use crate::limits::{MAX_CHALLENGE_HEADER_BYTES, MAX_PRICED_PATH_BYTES};
use crate::pass::Extras;
use crate::purchase::Rejection;
use crate::{BuildError, Offer};

/// Stands for the path until there is one; JSON writes it as `\u0001`.
const SLOT: char = '\u{1}';
const SLOT_IN_JSON: &str = "\\u0001";

/// The x402 phrases for a request without payment.
const ERROR_V2: &str = "Payment required";
const ERROR_V1: &str = "X-PAYMENT header is required";

/// Networks that the strict schema of version 1 clients knows; one entry of
/// another makes them refuse the whole answer.
const V1_CLIENT_NETWORKS: [&str; 17] = [
    "abstract",
    "abstract-testnet",
    "base-sepolia",
    "base",
    "avalanche-fuji",
    "avalanche",
    "iotex",
    "solana-devnet",
    "solana",
    "sei",
    "sei-testnet",
    "polygon",
    "polygon-amoy",
    "peaq",
    "story",
    "educhain",
    "skale-base-sepolia",
];

/// The extensions that a gate declares.
pub(crate) fn declared_extensions(identifier_required: bool) -> Object {
    let mut all = Object::new();
    all.insert(
        extensions::PAYMENT_IDENTIFIER.to_owned(),
        extensions::declare(identifier_required),
    );
    all
}

/// Why a payment was not taken: what stands beside the terms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reason<'a> {
    /// Stable code, or the x402 phrase.
    pub error: &'a str,
    /// A sentence for people.
    pub message: &'a str,
}

/// Terms, all but the path of the resource.
#[derive(Debug)]
pub(crate) struct Challenge {
    header: HeaderTemplate,
    body: Vec<String>,
    /// Whether a token opens it as well.
    takes_tokens: bool,
    /// Headers and bodies of the paths that were asked for, up to a number.
    made: RwLock<HashMap<String, (HeaderMap, Bytes)>>,
}

/// Answers kept ready for one route: about three kilobytes each.
const MAX_MADE: usize = 64;
/// Longest path whose answer is kept ready.
const MAX_MADE_PATH_BYTES: usize = 256;

#[derive(Clone, Debug)]
struct HeaderTemplate {
    head: String,
    tail: String,
}

impl Challenge {
    /// The answer to a request without payment.
    pub(crate) fn new(
        base_url: &str,
        resource: &ResourceInfo,
        offers: &[Offer],
        extensions: &Object,
        extras: Option<&Extras>,
    ) -> Result<Self, BuildError> {
        Self::with_reason(base_url, resource, offers, extensions, extras, None)
    }

    /// The terms again, with the reason why the payment was not taken.
    pub(crate) fn with_reason(
        base_url: &str,
        resource: &ResourceInfo,
        offers: &[Offer],
        extensions: &Object,
        extras: Option<&Extras>,
        reason: Option<Reason<'_>>,
    ) -> Result<Self, BuildError> {
        let terms = PaymentRequired {
            x402_version: 2,
            error: Some(reason.map_or(ERROR_V2, |r| r.error).to_owned()),
            resource: ResourceInfo {
                url: format!("{base_url}{SLOT}"),
                ..resource.clone()
            },
            accepts: offers
                .iter()
                .map(|o| PaymentRequirements::clone(&o.terms().wire))
                .collect(),
            extensions: Some(extensions.clone()),
        };
        let json = serde_json::to_string(&terms).map_err(|_| BuildError::Terms)?;
        let challenge = Self {
            header: HeaderTemplate::new(&json).ok_or(BuildError::Terms)?,
            body: body_parts(&terms, offers, extras, reason)?,
            takes_tokens: extras.is_some(),
            made: RwLock::default(),
        };
        match challenge.header.longest() {
            too_long if too_long > MAX_CHALLENGE_HEADER_BYTES => {
                Err(BuildError::TermsTooLong { bytes: too_long })
            }
            _ => Ok(challenge),
        }
    }

    /// The 402 answer for a canonical path.
    pub(crate) fn answer(&self, path: &str) -> Response<Body> {
        let (headers, body) = self.parts(path);
        answer_of(headers, body)
    }

    /// The same, made once for paths that are asked for often.
    pub(crate) fn kept_answer(&self, path: &str) -> Response<Body> {
        let made = self.made.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((headers, body)) = made.get(path) {
            return answer_of(headers.clone(), body.clone());
        }
        let is_full = made.len() >= MAX_MADE;
        drop(made);
        let (headers, body) = self.parts(path);
        if !is_full && path.len() <= MAX_MADE_PATH_BYTES {
            let mut made = self.made.write().unwrap_or_else(PoisonError::into_inner);
            made.insert(path.to_owned(), (headers.clone(), body.clone()));
        }
        answer_of(headers, body)
    }

    fn parts(&self, path: &str) -> (HeaderMap, Bytes) {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(&header::PAYMENT_REQUIRED, self.header.value(path));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.takes_tokens {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        (headers, self.body_for(path))
    }

    fn body_for(&self, path: &str) -> Bytes {
        Bytes::from(self.body.join(path))
    }
}

fn answer_of(headers: HeaderMap, body: Bytes) -> Response<Body> {
    let mut response = Response::new(body::full(body));
    *response.status_mut() = StatusCode::PAYMENT_REQUIRED;
    *response.headers_mut() = headers;
    response
}

impl HeaderTemplate {
    fn new(json: &str) -> Option<Self> {
        let (head, tail) = json.split_once(SLOT_IN_JSON)?;
        let head = head.strip_prefix('{')?;
        let blanks = (3 - (head.len() + 1) % 3) % 3;
        let head = format!("{{{:blanks$}{head}", "");
        // The quotation mark that ends the URL goes with the path.
        Some(Self {
            head: STANDARD.encode(head),
            tail: STANDARD.encode(tail.strip_prefix('"')?),
        })
    }

    /// Base64 of the terms, with this path in them.
    fn value(&self, path: &str) -> HeaderValue {
        let mut middle = Vec::with_capacity(path.len() + 3);
        middle.extend_from_slice(path.as_bytes());
        middle.push(b'"');
        while middle.len() % 3 != 0 {
            middle.push(b' ');
        }
        let room = self.head.len() + self.tail.len() + middle.len() / 3 * 4;
        let mut text = String::with_capacity(room);
        text.push_str(&self.head);
        STANDARD.encode_string(&middle, &mut text);
        text.push_str(&self.tail);
        // Base64 is always a legal header value.
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
    }

    fn longest(&self) -> usize {
        self.head.len() + self.tail.len() + (MAX_PRICED_PATH_BYTES + 3) / 3 * 4
    }
}

/// The version 1 terms, and a sentence for whoever reads the body.
fn body_parts(
    terms: &PaymentRequired,
    offers: &[Offer],
    extras: Option<&Extras>,
    reason: Option<Reason<'_>>,
) -> Result<Vec<String>, BuildError> {
    let mut first = v1::PaymentRequired::from_v2(terms);
    first
        .accepts
        .retain(|entry| V1_CLIENT_NETWORKS.contains(&entry.network.as_str()));
    first.error = Some(reason.map_or(ERROR_V1, |r| r.error).to_owned());
    let mut body = serde_json::to_value(&first).map_err(|_| BuildError::Terms)?;
    let message = reason.map_or_else(|| sentence(offers), |r| r.message.to_owned());
    match &mut body {
        Value::Object(object) if first.accepts.is_empty() => {
            *object = Object::new();
            object.insert("error".to_owned(), json!(terms.error));
            object.insert("message".to_owned(), json!(message));
        }
        Value::Object(object) => {
            object.insert("message".to_owned(), json!(message));
        }
        _ => {}
    }
    if let (Some(extras), Value::Object(object)) = (extras, &mut body) {
        extras.add_to(object, reason.map(|r| r.message));
    }
    Ok(body
        .to_string()
        .split(SLOT_IN_JSON)
        .map(str::to_owned)
        .collect())
}

/// What it costs, in words.
fn sentence(offers: &[Offer]) -> String {
    let prices: Vec<String> = offers
        .iter()
        .map(|offer| offer.in_words(offer.terms().network.as_str()))
        .collect();
    format!(
        "This costs {}; ask again with a payment.",
        prices.join(", or ")
    )
}

/// The terms, for a request without payment.
pub(crate) fn unpaid(gate: &Inner, sale: &Sale, path: &str) -> Response<Body> {
    match sale.is_stamped || sale.is_told_anew {
        false => sale.challenge.kept_answer(path),
        true => fresh(gate, sale, path, None),
    }
}

/// The terms as they are from now on, and why the payment was not taken. A reason
/// that makes them too long is left out.
fn fresh(gate: &Inner, sale: &Sale, path: &str, reason: Option<Reason<'_>>) -> Response<Body> {
    let Some(offers) = gate.offered(sale, path) else {
        return answer::unavailable(
            codes::INTERNAL_ERROR,
            "The terms cannot be made now; ask again later.",
        );
    };
    let says = (sale.returning.is_some(), &sale.signed);
    let signed = gate.told_extensions(&sale.extensions, says, &offers, path);
    let told = |extensions, reason| {
        Challenge::with_reason(
            &gate.base_url,
            &sale.resource,
            &offers,
            extensions,
            sale.extras.as_ref(),
            reason,
        )
    };
    // A long path makes signed offers long: the terms count without them too.
    let made = told(&signed, reason)
        .or_else(|_| told(&signed, None))
        .or_else(|_| told(&sale.extensions, None));
    match made {
        Ok(challenge) => challenge.answer(path),
        Err(_) => sale.challenge.answer(path),
    }
}

/// The answer to a payment that is not taken: the reason, and mostly the terms again.
pub(crate) fn rejected(gate: &Inner, sale: &Sale, path: &str, why: &Rejection) -> Response<Body> {
    let refusal = &why.refusal;
    if let Some(detail) = refusal.detail() {
        tracing::debug!(code = refusal.code(), detail, "payment not taken");
    }
    gate.emit(&Event::Refused {
        grant: None,
        route: sale.pattern.clone(),
        code: refusal.code().to_owned(),
    });
    if !why.tells_terms {
        return answer::problem(why.status, refusal.code(), refusal.message());
    }
    let reason = Reason {
        error: &why.error,
        message: refusal.message(),
    };
    let mut response = fresh(gate, sale, path, Some(reason));
    if response.status() == StatusCode::PAYMENT_REQUIRED {
        *response.status_mut() = why.status;
    }
    response
}

#[cfg(test)]
mod tests {
    use tollway_core::Network;
    use tollway_core::assets::AssetTable;

    use super::*;

    const PAYEE: &str = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";

    fn challenge(networks: &[u64]) -> Challenge {
        let price = "$0.01".parse().unwrap();
        let offers: Vec<Offer> = networks
            .iter()
            .map(|id| {
                Offer::priced(&price, &Network::eip155(*id), PAYEE, &AssetTable::builtin()).unwrap()
            })
            .collect();
        let resource = ResourceInfo {
            description: Some("A \"report\"".to_owned()),
            ..ResourceInfo::default()
        };
        Challenge::new(
            "https://api.example",
            &resource,
            &offers,
            &declared_extensions(false),
            None,
        )
        .unwrap()
    }

    #[test]
    fn the_spliced_header_is_the_terms_for_every_path_length() {
        let challenge = challenge(&[84532, 1328, 1]);
        for path in ["/", "/p", "/pa", "/pai", "/paid/x%20y"] {
            let value = challenge.header.value(path);
            let terms: PaymentRequired = header::decode(value.to_str().unwrap()).unwrap();
            assert_eq!(terms.resource.url, format!("https://api.example{path}"));
            assert_eq!(terms.accepts.len(), 3);
            assert_eq!(terms.error.as_deref(), Some("Payment required"));
            assert_eq!(terms.resource.description.as_deref(), Some("A \"report\""));
        }
    }

    #[test]
    fn an_answer_that_is_kept_ready_is_the_one_for_its_path() {
        let challenge = challenge(&[84532]);
        for round in 0..2 {
            for n in 0..3 * MAX_MADE {
                let path = format!("/paid/{n}");
                let (kept, fresh) = (challenge.kept_answer(&path), challenge.answer(&path));
                assert_eq!(kept.headers(), fresh.headers(), "{round} {path}");
                let size =
                    |answer: &Response<Body>| http_body::Body::size_hint(answer.body()).exact();
                assert_eq!(size(&kept), size(&fresh));
            }
        }
        let long = format!("/paid/{}", "x".repeat(MAX_MADE_PATH_BYTES));
        challenge.kept_answer(&long);
        let made = challenge.made.read().unwrap();
        assert_eq!(made.len(), MAX_MADE);
        let (headers, body) = &made["/paid/7"];
        let terms: PaymentRequired =
            header::decode(headers["payment-required"].to_str().unwrap()).unwrap();
        assert_eq!(terms.resource.url, "https://api.example/paid/7");
        assert_eq!(*body, challenge.body_for("/paid/7"));
    }

    #[test]
    fn version_1_gets_only_networks_that_its_clients_know() {
        let challenge = challenge(&[84532, 1, 1328]);
        let body: v1::PaymentRequired = serde_json::from_slice(&challenge.body_for("/x")).unwrap();
        let networks: Vec<&str> = body.accepts.iter().map(|a| a.network.as_str()).collect();
        assert_eq!(networks, ["base-sepolia", "sei-testnet"]);
        assert!(
            body.accepts
                .iter()
                .all(|a| a.resource == "https://api.example/x")
        );
        assert_eq!(body.x402_version, 1);
    }

    #[test]
    fn terms_that_cannot_fit_a_header_are_refused_at_start() {
        let resource = ResourceInfo {
            description: Some("x".repeat(8000)),
            ..ResourceInfo::default()
        };
        let offer = Offer::new("$1", "base", PAYEE).unwrap();
        let refused = Challenge::new(
            "https://a.example",
            &resource,
            &[offer],
            &Object::new(),
            None,
        );
        assert!(matches!(refused, Err(BuildError::TermsTooLong { .. })));
    }
}
