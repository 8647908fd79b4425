//! HTTP clients as a payer needs them: own TLS provider, no redirects.

use std::sync::Arc;
use std::time::Duration;

use crate::guard::PublicOnly;

/// A builder for clients that are fit to pay with: ring as TLS provider, the
/// system's root certificates, redirects off, no proxy from the environment,
/// no referrer.
///
/// Use it for the client under [`crate::PayMiddleware`]: a client that follows
/// redirects by itself would carry a payment to wherever it is sent.
pub fn client_builder() -> reqwest::ClientBuilder {
    // Fails only where the application installed one, and then that one is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(Duration::from_secs(10))
        .user_agent(concat!("tollway/", env!("CARGO_PKG_VERSION")))
}

/// The client for URLs that a server chose: it connects to public addresses only.
pub(crate) fn guarded_client_builder() -> reqwest::ClientBuilder {
    client_builder().dns_resolver(Arc::new(PublicOnly))
}
