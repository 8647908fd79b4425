//! The page on which a person pays in a browser, served with the 402 that a
//! program reads.
//!
//! One document of at most 30 kB: its style and script are inside, by their
//! hashes in the content security policy, and nothing is loaded from elsewhere.
//! It speaks to the wallets of the browser (EIP-6963), signs what the terms in it
//! ask for, and shows the payment by fetch, in the same exchange as any other
//! client. What a seller configures is text in it, never markup.

pub(crate) mod landing;
mod person;
mod qr;
mod render;
mod settings;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use sha2::{Digest as _, Sha256};

pub use settings::{Page, PageError};

use crate::body::{self, Body};
use crate::gate::{Inner, Sale};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const DOCUMENT: &str = include_str!("page.html");

/// Most bytes of the whole page.
pub(crate) const MAX_PAGE_BYTES: usize = 30_000;

/// The page of a gate.
#[derive(Debug)]
pub(crate) struct Paywall {
    page: Page,
    policy: HeaderValue,
}

impl Paywall {
    pub(crate) fn new(page: Page) -> Self {
        let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; \
             img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
            hash(SCRIPT),
            hash(STYLE)
        );
        Self {
            page,
            // Base64 and keywords are always a legal header value.
            policy: HeaderValue::try_from(policy)
                .unwrap_or(HeaderValue::from_static("default-src 'none'")),
        }
    }

    /// The logo's path, where it is one of this server.
    pub(crate) fn logo_path(&self) -> Option<&str> {
        self.page.logo.as_deref().filter(|l| l.starts_with('/'))
    }

    /// Whether a person in a browser asks, who gets the page.
    pub(crate) fn is_for(&self, method: &Method, headers: &HeaderMap) -> bool {
        person::asks(method, headers)
    }

    /// Puts the page into a 402 answer; its headers stay. An answer whose page
    /// would be too long stays as it is.
    pub(crate) fn dress(
        &self,
        gate: &Inner,
        sale: &Sale,
        (path, uri): (&str, &Uri),
        response: &mut Response<Body>,
    ) {
        if response.status() != StatusCode::PAYMENT_REQUIRED {
            return;
        }
        let Some(html) = render::page(&self.page, gate, sale, path, uri.query()) else {
            return;
        };
        *response.body_mut() = body::full(html);
        let fixed: [(HeaderName, &'static str); 6] = [
            (CONTENT_TYPE, "text/html; charset=utf-8"),
            (CACHE_CONTROL, "no-store"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
            (REFERRER_POLICY, "no-referrer"),
            (VARY, "Accept, Sec-Fetch-Mode, Sec-Fetch-Dest"),
        ];
        let headers = response.headers_mut();
        for (name, value) in fixed {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(CONTENT_SECURITY_POLICY, self.policy.clone());
    }
}
