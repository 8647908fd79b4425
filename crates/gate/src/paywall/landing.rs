//! Where a paid answer leads, told to the page.
//!
//! A redirect may be the goods themselves, such as a signed download link. A
//! script never sees one: `fetch` follows it, and the page's own policy stops it
//! at another origin, receipt and all. The page therefore names itself
//! (`Tollway-Page`), and reads where it is led. Programs get the redirect.

use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, LAST_MODIFIED,
    LOCATION,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::json;
use tollway_core::header;
use url::Url;

use crate::body::{self, Body};

/// Sent by the page with its payment; in the answer, that it tells of a redirect.
pub(crate) const TOLLWAY_PAGE: HeaderName = HeaderName::from_static("tollway-page");

/// Whether the page asks.
pub(crate) fn asks(headers: &HeaderMap) -> bool {
    headers.contains_key(&TOLLWAY_PAGE)
}

/// The answer as the page can read it. A redirect that was charged, and one that
/// the page could not follow, becomes 200 with `{"location": …}` and the headers of
/// before; within the origin a script follows by itself what was not charged.
pub(crate) fn told(base_url: &str, path: &str, answer: Response<Body>) -> Response<Body> {
    if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return answer;
    }
    let Some(location) = answer.headers().get(LOCATION) else {
        return answer;
    };
    let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
    let is_charged = answer.headers().contains_key(&header::PAYMENT_RESPONSE);
    if !is_charged && stays(base_url, path, &location) {
        return answer;
    }
    let (mut parts, _) = answer.into_parts();
    parts.status = StatusCode::OK;
    // What these say is of the body that the redirect had.
    for name in [
        LOCATION,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_RANGE,
        ETAG,
        LAST_MODIFIED,
    ] {
        parts.headers.remove(name);
    }
    let fixed = [
        (CONTENT_TYPE, "application/json"),
        (TOLLWAY_PAGE, "location"),
    ];
    for (name, value) in fixed {
        parts.headers.insert(name, HeaderValue::from_static(value));
    }
    Response::from_parts(parts, body::full(json!({"location": location}).to_string()))
}

/// Whether a redirect stays within the origin.
fn stays(base_url: &str, path: &str, location: &str) -> bool {
    let base = Url::parse(&format!("{base_url}{path}"));
    base.is_ok_and(|base| {
        let target = base.join(location);
        target.is_ok_and(|target| target.origin() == base.origin())
    })
}
