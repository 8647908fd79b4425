//! Where a URL that a server chose may lead: never into our own network.
//!
//! URLs that a person typed may name loopback or a private address; a redirect
//! target may not. Names are checked when they are resolved for the
//! connection, so that a name that changes its mind gains nothing. Literal
//! addresses never reach a resolver and are checked on the URL, which has
//! normalised decimal, octal and hexadecimal spellings by then.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Whether an address is one of the public internet.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match (a, b, c) {
        // "This network", loopback, private, multicast, reserved, broadcast.
        (0 | 10 | 127 | 224..=255, _, _)
        // Carrier-grade NAT.
        | (100, 64..=127, _)
        // Link-local, where clouds keep their metadata service.
        | (169, 254, _)
        | (172, 16..=31, _)
        // IETF assignments, documentation, 6to4 relays, private.
        | (192, 0, 0 | 2)
        | (192, 88, 99)
        | (192, 168, _)
        // Benchmarking and documentation.
        | (198, 18 | 19, _)
        | (198, 51, 100)
        | (203, 0, 113) => true,
        _ => false,
    };
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(v4) = embedded_v4(address) {
        return is_public_v4(v4);
    }
    let [first, second, ..] = address.segments();
    // Only 2000::/3 is global unicast; documentation and ORCHID lie within it.
    let global = first & 0xe000 == 0x2000;
    let documentation = (first == 0x2001 && second == 0x0db8) || first == 0x3fff;
    let orchid = first == 0x2001 && (second & 0xfff0 == 0x0010 || second & 0xfff0 == 0x0020);
    global && !documentation && !orchid
}

/// The IPv4 address that an IPv6 address carries: mapped, compatible, NAT64,
/// 6to4 and Teredo (whose client address is inverted).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let from = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] => Some(from(high, low)),
        [0, 0, 0, 0, 0xffff, 0, high, low] => Some(from(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(from(high, low)),
        [0x64, 0xff9b, 1, ..] => Some(Ipv4Addr::LOCALHOST),
        [0x2002, high, low, ..] => Some(from(high, low)),
        [0x2001, 0, _, _, _, _, high, low] => Some(from(!high, !low)),
        _ => None,
    }
}

/// Whether a host is this machine by its spelling: `localhost` and everything
/// below it, and loopback addresses.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(v4)) => v4.is_loopback(),
        Some(Host::Ipv6(v6)) => {
            v6.is_loopback() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback())
        }
        None => false,
    }
}

/// Whether a URL that a server chose may be connected to, as far as its
/// spelling says; names are decided by [`PublicOnly`] when they are resolved.
pub(crate) fn may_lead_to(url: &Url) -> bool {
    let web = matches!(url.scheme(), "http" | "https");
    let host = match url.host() {
        Some(Host::Ipv4(v4)) => is_public_v4(v4),
        Some(Host::Ipv6(v6)) => is_public_v6(v6),
        Some(Host::Domain(_)) => !is_loopback(url),
        None => false,
    };
    web && host
}

/// Resolves names to public addresses only.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<_> = found.filter(|a| is_public(a.ip())).collect();
            if public.is_empty() {
                return Err("the name leads to no public address".into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_of_an_inner_address_passes() {
        for inner in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0177.0.0.1/",
            "http://0/",
            "http://localhost/",
            "http://LOCALHOST./",
            "http://a.localhost/",
            "http://10.0.0.8/",
            "http://172.16.0.1/",
            "http://172.31.255.255/",
            "http://192.168.1.1/",
            "http://169.254.169.254/",
            "http://100.64.0.1/",
            "http://[::1]/",
            "http://[::]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:a9fe:a9fe]/",
            "http://[::127.0.0.1]/",
            "http://[fe80::1]/",
            "http://[fd00:ec2::254]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[64:ff9b:1::1]/",
            "http://[2002:7f00:1::]/",
            "http://[2001:0:1:1:1:1:80ff:fffe]/",
            "http://255.255.255.255/",
            "http://224.0.0.1/",
            "http://198.18.0.1/",
            "http://192.0.0.192/",
            "http://[2001:db8::1]/",
            "ftp://example.com/",
            "file:///etc/passwd",
            "http://１２７.0.0.1/",
        ] {
            let url = Url::parse(inner).unwrap();
            assert!(!may_lead_to(&url), "{inner} was let through");
        }
    }

    #[test]
    fn public_addresses_and_names_pass() {
        for public in [
            "https://example.com/",
            "http://8.8.8.8/",
            "http://172.15.0.1/",
            "http://100.63.0.1/",
            "http://[2606:4700::1111]/",
            "http://[64:ff9b::808:808]/",
            "https://localhost.example.com/",
        ] {
            assert!(
                may_lead_to(&Url::parse(public).unwrap()),
                "{public} was refused"
            );
        }
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_loopback_is_refused_at_connect_time() {
        let name: Name = "localhost".parse().unwrap();
        assert!(PublicOnly.resolve(name).await.is_err());
    }
}
