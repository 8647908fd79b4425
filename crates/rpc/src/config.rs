//! Which nodes, and the limits of talking to them.

use std::time::Duration;

use url::{Host, Url};

/// How a network's nodes are reached.
#[derive(Clone)]
pub struct RpcConfig {
    /// The nodes, preferred first.
    pub urls: Vec<Url>,
    /// One attempt, from connecting to the last byte.
    pub timeout: Duration,
    /// Connecting alone.
    pub connect_timeout: Duration,
    /// A larger answer is refused, bytes.
    pub max_response_bytes: usize,
    /// Whether `http` may leave the machine.
    pub allow_plain_http: bool,
    /// Whoever has not answered after this time is not waited for alone: the
    /// next node is asked too, and the first answer counts.
    pub hedge: Duration,
    /// Requests under way at once at each node; further ones wait.
    pub max_requests_at_once: usize,
    /// Root certificates beside the system's, each a PEM text.
    pub extra_roots: Vec<Vec<u8>>,
}

/// Nodes of one network.
pub(crate) const MOST_NODES: usize = 16;

impl RpcConfig {
    /// Defaults: 10 s per attempt, 3 s to connect, 8 MiB, no plain HTTP, the next
    /// node after 1.5 s, 64 requests at once.
    #[must_use]
    pub fn new(urls: Vec<Url>) -> Self {
        Self {
            urls,
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
            max_response_bytes: 8 << 20,
            allow_plain_http: false,
            hedge: Duration::from_millis(1500),
            max_requests_at_once: 64,
            extra_roots: Vec::new(),
        }
    }

    /// Checks the nodes' URLs.
    pub(crate) fn check(&self) -> Result<(), RpcConfigError> {
        if self.urls.is_empty() {
            return Err(RpcConfigError::NoUrl);
        }
        if self.urls.len() > MOST_NODES {
            return Err(RpcConfigError::TooMany);
        }
        for url in &self.urls {
            match url.scheme() {
                "https" => {}
                "http" if self.allow_plain_http || is_loopback(url) => {}
                "http" => return Err(RpcConfigError::PlainHttp { host: host(url) }),
                _ => return Err(RpcConfigError::NotHttp { host: host(url) }),
            }
        }
        Ok(())
    }
}

/// Hosts only: URLs carry keys.
impl std::fmt::Debug for RpcConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hosts: Vec<String> = self.urls.iter().map(host).collect();
        f.debug_struct("RpcConfig")
            .field("hosts", &hosts)
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("max_response_bytes", &self.max_response_bytes)
            .field("allow_plain_http", &self.allow_plain_http)
            .field("hedge", &self.hedge)
            .field("max_requests_at_once", &self.max_requests_at_once)
            .field("extra_roots", &self.extra_roots.len())
            .finish()
    }
}

/// Why a client cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RpcConfigError {
    /// No node is named.
    #[error("no RPC URL is given; name at least one")]
    NoUrl,
    /// More nodes than anybody needs.
    #[error("more than 16 RPC URLs are given for one network; name at most 16")]
    TooMany,
    /// A root certificate cannot be read.
    #[error(
        "an extra root certificate is not PEM; give the text that begins with -----BEGIN CERTIFICATE-----"
    )]
    Root,
    /// The scheme is not HTTP.
    #[error("the RPC URL of {host} must begin with https://; correct it")]
    NotHttp {
        /// Host and port.
        host: String,
    },
    /// Plain HTTP to another machine.
    #[error(
        "the RPC URL of {host} is plain http to another machine; use https, or allow plain http explicitly"
    )]
    PlainHttp {
        /// Host and port.
        host: String,
    },
    /// The HTTP client could not be built, mostly for want of root certificates.
    #[error("the HTTP client cannot start ({0}); install the system's CA certificates")]
    Client(String),
}

/// Host and port, without user, path and query.
pub(crate) fn host(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        _ => "(no host)".to_owned(),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, allow: bool) -> Result<(), RpcConfigError> {
        let mut config = RpcConfig::new(vec![Url::parse(url).unwrap()]);
        config.allow_plain_http = allow;
        config.check()
    }

    #[test]
    fn plain_http_stays_on_the_machine_unless_it_is_allowed() {
        for url in [
            "http://127.0.0.1:8545",
            "http://localhost:8545",
            "http://[::1]:1",
            "https://x.example",
        ] {
            assert_eq!(check(url, false), Ok(()), "{url}");
        }
        for url in [
            "http://rpc.example/key",
            "http://10.0.0.1",
            "http://localhost.example",
        ] {
            assert!(
                matches!(check(url, false), Err(RpcConfigError::PlainHttp { .. })),
                "{url}"
            );
            assert_eq!(check(url, true), Ok(()), "{url}");
        }
        assert!(matches!(
            check("ws://x.example", true),
            Err(RpcConfigError::NotHttp { .. })
        ));
    }

    #[test]
    fn keys_in_urls_are_never_shown() {
        let url = Url::parse("https://user:secret@rpc.example:8443/v2/apikey?token=t0ken").unwrap();
        let shown = format!("{:?}", RpcConfig::new(vec![url]));
        assert!(shown.contains("rpc.example:8443"));
        for secret in ["user", "secret", "apikey", "t0ken"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
