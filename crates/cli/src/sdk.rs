//! Routes that speak the exchange of the published Starknet session SDK, before the
//! gate and in its words: the gate itself knows the standard only.

use std::convert::Infallible;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::Value;
use tollway_core::wire::{PaymentRequired, Version};
use tollway_core::{Refusal, codes, header};
use tollway_gate::{Body, GateService, Pattern, Proxy, boxed, empty, full};
use tollway_starknet::compat::{self, SdkRequirement};
use tower::ServiceExt;

/// All routes in their order, with whether they speak it.
#[derive(Clone)]
pub struct SdkRoutes(Arc<Vec<(Pattern, bool)>>);

impl SdkRoutes {
    /// None if no route does.
    pub fn new(routes: Vec<(Pattern, bool)>) -> Option<Self> {
        let any = routes.iter().any(|(_, speaks)| *speaks);
        any.then(|| Self(Arc::new(routes)))
    }

    /// Whether the route of a request speaks it: the first that matches, as at the
    /// gate, so that a route before it stays the standard's.
    pub fn covers<B>(&self, request: &Request<B>) -> bool {
        let path = request.uri().path();
        let asked = |(pattern, _): &&(Pattern, bool)| pattern.is_asked(request.method(), path);
        self.0.iter().find(asked).is_some_and(|(_, speaks)| *speaks)
    }
}

type Answer = Result<Response<Body>, Infallible>;

/// Answers a request of such a route.
pub async fn exchange(gate: GateService<Proxy>, request: Request<Incoming>) -> Answer {
    let mut request = request.map(boxed);
    if let Some(shown) = shown(&request) {
        let asked = gate.clone().oneshot(without_payment(&request)).await?;
        let Some(terms) = terms(&asked) else {
            return Ok(asked);
        };
        let (paid, refusal) = match payment(&shown, &terms) {
            Ok(paid) => (Some(paid), None),
            Err(refusal) => (of_other_terms(&shown, &terms, &refusal), Some(refusal)),
        };
        let code = refusal.as_ref().map(Refusal::code);
        let Some((name, value)) = paid else {
            let code = code.unwrap_or_default();
            tracing::debug!(code, "a payment of the SDK is refused");
            return Ok(told(asked, &terms, code));
        };
        request.headers_mut().remove(&header::X_PAYMENT);
        request.headers_mut().insert(name, value);
        let answer = gate.oneshot(request).await?;
        return Ok(in_its_words(answer, code));
    }
    Ok(in_its_words(gate.oneshot(request).await?, None))
}

/// An answer as the SDK reads it, and why it holds terms if the gate does not say.
fn in_its_words(answer: Response<Body>, why: Option<&str>) -> Response<Body> {
    match terms(&answer) {
        Some(terms) => {
            let said = why.or(terms.error.as_deref()).unwrap_or("payment_required");
            told(answer, &terms, said)
        }
        None => answer,
    }
}

/// The SDK's payment, if one is shown: the standard's version 1 is base64.
fn shown(request: &Request<Body>) -> Option<String> {
    let value = request.headers().get(&header::X_PAYMENT)?;
    let text = value.to_str().ok()?;
    let fits = compat::is_plain_json(text) && text.len() <= header::MAX_HEADER_BYTES;
    fits.then(|| text.to_owned())
}

fn payment(
    shown: &str,
    terms: &PaymentRequired,
) -> Result<(http::HeaderName, HeaderValue), Refusal> {
    let payment = compat::decode(shown, terms)?;
    header::payment(Version::V2, &payment)
}

/// What differs from the terms of now in a payment by those of before.
const OTHER_TERMS: [&str; 3] = [
    codes::INVALID_EXACT_STARKNET_PAYLOAD_AMOUNT_MISMATCH,
    codes::INVALID_EXACT_STARKNET_PAYLOAD_ASSET_MISMATCH,
    codes::INVALID_EXACT_STARKNET_PAYLOAD_RECIPIENT_MISMATCH,
];

/// The same payment for what it says to pay: it may have been told other terms, or have
/// bought something by them. The gate knows both, and takes nothing else.
fn of_other_terms(
    shown: &str,
    terms: &PaymentRequired,
    refusal: &Refusal,
) -> Option<(http::HeaderName, HeaderValue)> {
    if !OTHER_TERMS.contains(&refusal.code()) {
        return None;
    }
    let said: Value = serde_json::from_str(shown).ok()?;
    let said = |key: &str| said.get("payload")?.get(key)?.as_str();
    let mut terms = terms.clone();
    for offer in &mut terms.accepts {
        said("amount")?.clone_into(&mut offer.amount);
        said("asset")?.clone_into(&mut offer.asset);
        said("toAddress")?.clone_into(&mut offer.pay_to);
    }
    payment(shown, &terms).ok()
}

/// The same question by nobody in particular, to hear the terms: without a body, and
/// without a pass or whatever else of the asker's opens the route.
fn without_payment(request: &Request<Body>) -> Request<Body> {
    let mut bare = Request::new(empty());
    *bare.method_mut() = request.method().clone();
    *bare.uri_mut() = request.uri().clone();
    if let Some(host) = request.headers().get(HOST) {
        bare.headers_mut().insert(HOST, host.clone());
    }
    bare
}

fn terms(answer: &Response<Body>) -> Option<PaymentRequired> {
    if answer.status() != StatusCode::PAYMENT_REQUIRED {
        return None;
    }
    let value = answer.headers().get(&header::PAYMENT_REQUIRED)?;
    header::decode(value.to_str().ok()?).ok()
}

/// The terms in the SDK's words; as they are where it cannot pay them.
fn told(answer: Response<Body>, terms: &PaymentRequired, error: &str) -> Response<Body> {
    let requirement = SdkRequirement::of(terms);
    let told = requirement.as_ref().and_then(|requirement| {
        let value = serde_json::to_vec(requirement).ok()?;
        Some((requirement, HeaderValue::from_bytes(&value).ok()?))
    });
    let Some((requirement, value)) = told else {
        return answer;
    };
    let (mut parts, _) = answer.into_parts();
    parts.headers.insert(&header::PAYMENT_REQUIRED, value);
    let json = HeaderValue::from_static("application/json");
    parts.headers.insert(CONTENT_TYPE, json);
    parts.headers.remove(CONTENT_LENGTH);
    let body = compat::body(error, requirement).to_string();
    Response::from_parts(parts, full(body))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_terms_are_asked_for_with_nothing_that_opens_the_route() {
        let shown = Request::builder().method("POST").uri("/paid/1");
        let shown = shown.header("host", "shop.example").header("cookie", "a=b");
        let shown = shown.header("authorization", "Bearer pass");
        let shown = shown.header("x-payment", "{}").header("content-length", 2);
        let bare = without_payment(&shown.body(full("{}")).unwrap());
        assert_eq!(
            (bare.method().as_str(), bare.uri().path()),
            ("POST", "/paid/1")
        );
        let names: Vec<_> = bare.headers().keys().collect();
        assert_eq!(names, [HOST]);
    }

    #[test]
    fn a_payment_by_other_terms_is_shown_to_the_gate_as_what_it_is() {
        let offer = |amount: &str, payee: &str| {
            json!({ "scheme": "exact", "network": "starknet:SN_SEPOLIA", "amount": amount,
                "asset": "0x1", "payTo": payee, "maxTimeoutSeconds": 60 })
        };
        let terms = |offer: Value| -> PaymentRequired {
            let resource = json!({ "url": "https://a.example/paid" });
            serde_json::from_value(
                json!({ "x402Version": 2, "resource": resource, "accepts": [offer] }),
            )
            .unwrap()
        };
        // Caller, nonce, after, before, no calls, and a signature of one felt.
        let calldata = [
            "0x414e595f43414c4c4552",
            "0x5",
            "0x0",
            "0x6a000000",
            "0x0",
            "0x1",
            "0x7",
        ];
        let shown = json!({ "x402Version": 1, "scheme": "exact", "network": "starknet-sepolia",
            "payload": { "fromAddress": "0x3", "toAddress": "0x2", "amount": "10000", "asset": "0x1",
                "shhh": { "oeCalldata": calldata } } })
        .to_string();
        let told = terms(offer("10000", "0x2"));
        assert!(payment(&shown, &told).is_ok());
        for now in [offer("50000", "0x2"), offer("10000", "0x9")] {
            let now = terms(now);
            let refusal = payment(&shown, &now).unwrap_err();
            let (_, value) = of_other_terms(&shown, &now, &refusal).unwrap();
            let payment: Value = header::decode(value.to_str().unwrap()).unwrap();
            assert_eq!(payment["accepted"]["amount"], "10000");
            assert_eq!(payment["accepted"]["payTo"], "0x2");
        }
        let unsigned = shown.replace("shhh", "none");
        let refusal = payment(&unsigned, &told).unwrap_err();
        assert!(of_other_terms(&unsigned, &told, &refusal).is_none());
    }

    #[test]
    fn a_route_before_one_of_the_sdk_stays_the_standards() {
        let route = |text: &str, speaks| (text.parse::<Pattern>().unwrap(), speaks);
        let routes = vec![
            route("GET /paid/std", false),
            route("/paid/*", true),
            route("/paid/late", false),
        ];
        let routes = SdkRoutes::new(routes).unwrap();
        let covers = |verb: &str, path: &str| {
            let request = Request::builder().method(verb).uri(path).body(());
            routes.covers(&request.unwrap())
        };
        assert!(!covers("GET", "/paid/std"));
        assert!(covers("POST", "/paid/std"));
        assert!(covers("GET", "/paid/late"));
        assert!(!covers("GET", "/free"));
        assert!(SdkRoutes::new(vec![route("/paid", false)]).is_none());
    }
}
