//! Asking one service, which cannot send us elsewhere or keep us reading.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use tollway_rpc::tls;
use url::Host;

use crate::environment::GCP_KMS_ENDPOINT;
use crate::exit::Failure;

const ENDPOINT: &str = "https://cloudkms.googleapis.com";
/// Of one request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Every answer that is asked for is below 4 KiB.
const MAX_BODY: usize = 64 * 1024;

/// What came back.
pub struct Answer {
    /// Its status; a redirect is one, and is not followed.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

/// For the service, over TLS.
pub fn client() -> Result<Client, Failure> {
    tls::client_builder()
        .timeout(TIMEOUT)
        .build()
        .map_err(|error| {
            Failure::new(format!(
                "No HTTPS client can be made: {error}; install the system's root certificates."
            ))
        })
}

/// Where the service is, without a slash at its end.
pub fn endpoint(named: Option<&str>) -> Result<String, Failure> {
    let text = named.unwrap_or(ENDPOINT);
    let fits = Url::parse(text).is_ok_and(|url| {
        let is_private = url.scheme() == "https" || url.scheme() == "http" && is_loopback(&url);
        is_private && is_place(&url)
    });
    match fits {
        true => Ok(text.trim_end_matches('/').to_owned()),
        false => Err(Failure::usage(format!(
            "{GCP_KMS_ENDPOINT} is not where Google Cloud KMS can be asked; write an https URL with nothing behind the host, such as {ENDPOINT} (http only on this machine).",
        ))),
    }
}

/// Whether a URL says where and nothing else.
pub fn is_place(url: &Url) -> bool {
    url.has_host()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Asks, and reads no more than any answer has.
///
/// # Errors
/// What is wrong, without the URL.
pub async fn answer(request: RequestBuilder) -> Result<Answer, String> {
    let words = |error: reqwest::Error| error.without_url().to_string();
    let mut response = request.send().await.map_err(words)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(words)? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err("the answer is longer than 64 KiB".to_owned());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status: response.status(),
        headers: std::mem::take(response.headers_mut()),
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_leaves_the_machine_over_tls_only() {
        for good in [
            None,
            Some("https://cloudkms.europe-west3.rep.googleapis.com/"),
            Some("http://127.0.0.1:8080"),
            Some("http://[::1]:8080/"),
            Some("http://localhost:1"),
        ] {
            let url = endpoint(good).unwrap_or_default();
            assert!(!url.is_empty() && !url.ends_with('/'), "{good:?}");
        }
        for bad in [
            "http://cloudkms.googleapis.com",
            "http://127.0.0.1.example.com",
            "https://user@example.com",
            "https://example.com/v1",
            "https://example.com?x",
            "cloudkms.googleapis.com",
            "ftp://127.0.0.1",
        ] {
            let said = endpoint(Some(bad)).err().map(|failure| failure.message);
            assert!(said.is_some_and(|said| said.contains(ENDPOINT)), "{bad}");
        }
    }
}
