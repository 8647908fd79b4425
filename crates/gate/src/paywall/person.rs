//! Whether a person asks, in a browser that opens a page.
//!
//! Programs must never get the page, so everything has to say so at once: the
//! method, what is accepted, and what the browser itself tells of the request
//! (Fetch Metadata), which no script of a page can set.

use http::header::ACCEPT;
use http::{HeaderMap, HeaderName, Method};

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

pub(super) fn asks(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::GET
        && is(headers, &SEC_FETCH_MODE, "navigate")
        && is(headers, &SEC_FETCH_DEST, "document")
        && takes_html(headers)
}

/// Whether a header is there once, and says this.
fn is(headers: &HeaderMap, name: &HeaderName, text: &str) -> bool {
    let mut values = headers.get_all(name).iter();
    values.next().is_some_and(|value| value == text) && values.next().is_none()
}

/// Whether `text/html` is asked for by name: `*/*` alone is what programs send.
fn takes_html(headers: &HeaderMap) -> bool {
    let texts = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|v| v.to_str().ok());
    texts.flat_map(|text| text.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts
            .next()
            .is_some_and(|t| t.eq_ignore_ascii_case("text/html"));
        is_html && !parts.any(is_never)
    })
}

/// `q=0`, in any of its spellings.
fn is_never(parameter: &str) -> bool {
    let Some((name, weight)) = parameter.split_once('=') else {
        return false;
    };
    name.trim().eq_ignore_ascii_case("q") && weight.trim().bytes().all(|b| b == b'0' || b == b'.')
}
