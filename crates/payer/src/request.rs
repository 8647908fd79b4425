//! What a caller asks for.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sha2::{Digest, Sha256};
use tollway_core::header::{PAYMENT_SIGNATURE, X_PAYMENT};
use url::Url;

use crate::error::PayError;
use crate::price::UnitPrice;

/// A request that may be sent more than once, byte by byte the same.
#[derive(Clone, Debug)]
pub struct PayRequest {
    /// Method.
    pub method: Method,
    /// Absolute URL that a person or program chose; it may be on this machine.
    pub url: Url,
    /// Headers, without a payment.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// Tells two purchases of the same request apart, where that is wanted: a
    /// repeat with the same text resumes an open payment, another text buys anew.
    pub purchase: Option<String>,
    /// What it may cost at most; it can only lower what the policy says.
    pub max: Option<UnitPrice>,
}

impl PayRequest {
    /// A `GET` request.
    #[must_use]
    pub fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }

    /// A request without headers and body.
    #[must_use]
    pub fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            purchase: None,
            max: None,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Names the purchase.
    #[must_use]
    pub fn purchase(mut self, purchase: impl Into<String>) -> Self {
        self.purchase = Some(purchase.into());
        self
    }

    /// Sets what it may cost at most.
    #[must_use]
    pub const fn at_most(mut self, max: UnitPrice) -> Self {
        self.max = Some(max);
        self
    }

    /// Whether the caller pays by itself.
    pub(crate) fn carries_payment(&self) -> bool {
        self.headers.contains_key(&PAYMENT_SIGNATURE) || self.headers.contains_key(&X_PAYMENT)
    }

    pub(crate) fn check(&self) -> Result<(), PayError> {
        if !matches!(self.url.scheme(), "http" | "https") || !self.url.has_host() {
            return Err(PayError::invalid(
                "The URL is not an absolute http or https URL; write it whole.",
            ));
        }
        if self.carries_payment() {
            return Err(PayError::invalid(
                "The request carries a payment header already; leave paying to the payer, or send the request without it.",
            ));
        }
        Ok(())
    }

    /// What makes two calls the same purchase: who asks, method, URL and body.
    /// Headers do not count: a retry has another date and trace.
    pub(crate) fn digest(&self, agent: &str, ordinal: u32) -> String {
        let mut hash = Sha256::new();
        let mut url = self.url.clone();
        url.set_fragment(None);
        let purchase = self.purchase.as_deref().unwrap_or_default();
        for part in [
            agent.as_bytes(),
            purchase.as_bytes(),
            self.method.as_str().as_bytes(),
            url.as_str().as_bytes(),
            &self.body,
            &ordinal.to_be_bytes(),
        ] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        hex::encode(hash.finalize())
    }
}

/// A URL for people and records: no user, password, query or fragment, where
/// secrets live.
pub(crate) fn public_url(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}
