//! Which hosts may be paid.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

/// A host that may be paid: `api.example.com`, `*.example.com` (everything
/// below it, not itself), or an address. A port pins the port too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPattern {
    below: bool,
    host: Host<String>,
    port: Option<u16>,
}

/// Why a text names no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a host; write api.example.com, *.example.com or api.example.com:8443")]
pub struct HostPatternError(String);

impl HostPattern {
    /// Whether a URL is on it. The spelling has been normalised by then (case,
    /// punycode, odd ways to write an address); a trailing dot is ignored.
    #[must_use]
    pub fn matches(&self, url: &Url) -> bool {
        let port = self.port.is_none() || url.port_or_known_default() == self.port;
        port && match (&self.host, url.host()) {
            (Host::Domain(allowed), Some(Host::Domain(name))) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                if self.below {
                    name.strip_suffix(allowed.as_str())
                        .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
                } else {
                    name == allowed
                }
            }
            (Host::Ipv4(allowed), Some(Host::Ipv4(address))) => *allowed == address,
            (Host::Ipv6(allowed), Some(Host::Ipv6(address))) => *allowed == address,
            _ => false,
        }
    }
}

impl FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<Self, HostPatternError> {
        let error = || HostPatternError(text.chars().take(80).collect());
        let (below, rest) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if rest.is_empty() || rest.contains(['/', '@', '?', '#', '\\', '*']) {
            return Err(error());
        }
        let url = Url::parse(&format!("https://{rest}/")).map_err(|_| error())?;
        let port = match rest.rsplit_once(':') {
            Some((_, port)) if !rest.ends_with(']') => Some(port.parse().map_err(|_| error())?),
            _ => None,
        };
        let host = match url.host().ok_or_else(error)? {
            Host::Domain(name) => Host::Domain(name.strip_suffix('.').unwrap_or(name).to_owned()),
            _ if below => return Err(error()),
            Host::Ipv4(address) => Host::Ipv4(address),
            Host::Ipv6(address) => Host::Ipv6(address),
        };
        Ok(Self { below, host, port })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let below = if self.below { "*." } else { "" };
        write!(f, "{below}{}", self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pays(pattern: &str, url: &str) -> bool {
        let pattern: HostPattern = pattern.parse().unwrap();
        pattern.matches(&Url::parse(url).unwrap())
    }

    #[test]
    fn lookalikes_of_an_allowed_host_are_not_paid() {
        for url in [
            "https://api.example.com.evil.test/",
            "https://evilapi.example.com/",
            "https://example.com/",
            "https://api.example.com@evil.test/",
            "https://evil.test/api.example.com",
            "https://xn--pi-7kc.example.com/",
            "https://аpi.example.com/",
        ] {
            assert!(!pays("api.example.com", url), "{url}");
        }
        assert!(pays("api.example.com", "https://API.example.COM./x"));
    }

    #[test]
    fn a_star_covers_what_is_below_and_nothing_else() {
        assert!(pays("*.example.com", "https://a.b.example.com/"));
        assert!(pays("*.example.com", "https://a.example.com:8443/"));
        assert!(!pays("*.example.com", "https://example.com/"));
        assert!(!pays("*.example.com", "https://notexample.com/"));
        assert!(!pays("*.example.com", "https://.example.com.evil.test/"));
    }

    #[test]
    fn a_port_pins_the_port() {
        assert!(pays("127.0.0.1:8080", "http://127.0.0.1:8080/"));
        assert!(!pays("127.0.0.1:8080", "http://127.0.0.1:8081/"));
        assert!(pays("example.com:443", "https://example.com/"));
        assert!(pays("[::1]", "http://[::1]:9/"));
        assert!(pays("127.0.0.1", "http://2130706433/"));
    }

    #[test]
    fn what_names_no_host_is_refused() {
        for text in [
            "",
            "*",
            "*.",
            "https://example.com",
            "a b",
            "*.127.0.0.1",
            "user@host",
            "a.*.b",
            "host:port",
        ] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }
}
