//! Headers that must not pass a gate, in either direction.

use http::header::{
    CACHE_CONTROL, CONNECTION, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, UPGRADE, VARY,
};
use http::{HeaderMap, HeaderValue};
use tollway_core::mistake;

use crate::pass::TOLLWAY_PASS;
use crate::paywall::landing::TOLLWAY_PAGE;

/// Headers by which a client names another method or path than it asks for.
const OVERRIDES: [&str; 6] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    "x-original-uri",
];

/// The payment and what belongs to it: for the gate, not for the service behind.
const PAYMENT: [&str; 8] = [
    "sign-in-with-x",
    "payment-signature",
    "payment-required",
    "payment-response",
    "x-payment",
    "x-payment-response",
    "settlement-overrides",
    "access-control-expose-headers",
];

/// What only a gate or a facilitator may tell a buyer.
const FROM_UPSTREAM: [&str; 12] = [
    "payment-signature",
    "payment-required",
    "payment-response",
    "x-payment",
    "x-payment-response",
    "settlement-overrides",
    "extension-responses",
    "tollway-pass",
    "tollway-payment",
    "tollway-page",
    "surrogate-control",
    "cdn-cache-control",
];

/// Says who pays, to the service behind.
pub(crate) const TOLLWAY_PAYER: HeaderName = HeaderName::from_static("tollway-payer");
/// Names the grant, to the service behind; and to the buyer of a metered stream,
/// who can ask what it came to.
pub(crate) const TOLLWAY_PAYMENT: HeaderName = HeaderName::from_static("tollway-payment");

/// Hop-by-hop headers (RFC 9110 §7.6.1), apart from those that `Connection` lists.
pub(crate) const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Cleans any request on its way in: no other method or path by header, and
/// nothing that only a gate may say.
pub(crate) fn clean_request(headers: &mut HeaderMap) {
    for name in OVERRIDES {
        headers.remove(name);
    }
    headers.remove(TOLLWAY_PAYER);
    headers.remove(TOLLWAY_PAYMENT);
    headers.remove(TOLLWAY_PASS);
    headers.remove(TOLLWAY_PAGE);
}

/// Cleans a paying request: also the payment, connection control, and the
/// conditions under which it would pay for an empty 304.
pub(crate) fn clean_paid_request(headers: &mut HeaderMap) {
    clean_request(headers);
    remove_hop_by_hop(headers);
    for name in PAYMENT {
        headers.remove(name);
    }
    headers.remove(IF_NONE_MATCH);
    headers.remove(IF_MODIFIED_SINCE);
}

/// Drops hop-by-hop headers and those that `Connection` lists. `TE: trailers`
/// stays, which gRPC asks for.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let listed: Vec<String> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let trailers = headers.get("te").is_some_and(|te| te == "trailers");
    for name in listed.iter().map(String::as_str).chain(HOP_BY_HOP) {
        headers.remove(name);
    }
    if trailers {
        headers.insert("te", HeaderValue::from_static("trailers"));
    }
}

/// Whether a request wants to leave HTTP.
pub(crate) fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.get_all(UPGRADE).iter().any(|value| {
        !value
            .to_str()
            .is_ok_and(|v| v.split(',').all(|p| p.trim().eq_ignore_ascii_case("h2c")))
    })
}

/// Cleans the answer of the service behind a priced route: it speaks neither
/// of payments nor to shared caches.
pub(crate) fn clean_answer(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    for name in FROM_UPSTREAM {
        headers.remove(name);
    }
    make_private(headers);
    headers.append(
        VARY,
        HeaderValue::from_static("PAYMENT-SIGNATURE, X-PAYMENT"),
    );
}

/// Cleans the trailers of a paid answer.
pub(crate) fn clean_trailers(trailers: &mut HeaderMap) {
    for name in FROM_UPSTREAM {
        trailers.remove(name);
    }
}

/// Takes out what lets shared caches keep an answer, and adds `private`.
fn make_private(headers: &mut HeaderMap) {
    if mistake::is("public_cache") {
        return;
    }
    let mut kept: Vec<String> = Vec::new();
    for value in headers.get_all(CACHE_CONTROL) {
        for directive in value.to_str().unwrap_or_default().split(',').map(str::trim) {
            let name = directive
                .split('=')
                .next()
                .unwrap_or_default()
                .to_ascii_lowercase();
            let shared = matches!(
                name.as_str(),
                "" | "public" | "s-maxage" | "proxy-revalidate" | "private"
            );
            if !shared {
                kept.push(directive.to_owned());
            }
        }
    }
    kept.insert(0, "private".to_owned());
    let value = HeaderValue::try_from(kept.join(", "));
    headers.insert(
        CACHE_CONTROL,
        value.unwrap_or(HeaderValue::from_static("private")),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache_control(values: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CACHE_CONTROL, HeaderValue::from_static(value));
        }
        clean_answer(&mut headers);
        headers[CACHE_CONTROL].to_str().unwrap().to_owned()
    }

    #[test]
    fn shared_caches_never_keep_a_paid_answer() {
        assert_eq!(cache_control(&[]), "private");
        assert_eq!(
            cache_control(&["public, max-age=60, s-maxage=900"]),
            "private, max-age=60"
        );
        assert_eq!(
            cache_control(&["PUBLIC", "S-MaxAge=1", "no-store"]),
            "private, no-store"
        );
        assert_eq!(cache_control(&["private=\"set-cookie\""]), "private");
    }

    #[test]
    fn headers_listed_by_connection_do_not_pass() {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_static("close, X-Secret"));
        headers.insert("x-secret", HeaderValue::from_static("1"));
        headers.insert("te", HeaderValue::from_static("trailers"));
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers.len(), 1);
        assert!(headers.contains_key("te"));
    }
}
