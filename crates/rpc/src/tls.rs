//! HTTP clients whose TLS works without the application's help.

use reqwest::redirect::Policy;

/// A client builder for `https` and `http`: ring as the provider, the system's
/// root certificates, no redirects, no proxy from the environment.
pub fn client_builder() -> reqwest::ClientBuilder {
    install_provider();
    common()
}

/// A client builder for `http` only: no certificates are loaded, so that it
/// also works, and starts at once, on a machine that has none.
pub fn plain_client_builder() -> reqwest::ClientBuilder {
    install_provider();
    common().tls_certs_only([])
}

fn common() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
}

/// Fails only where a provider is installed already, and then that one is used.
pub(crate) fn install_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
