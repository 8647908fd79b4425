//! Who may pay, and how often: before the facilitator and the service behind are
//! asked.
//!
//! What a payment says of its payer is not checked yet at that time, so it can
//! only close a door, never use up somebody else's share: a payer's payments are
//! counted when they are verified (or, where that comes first, settled).

mod rate;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use http::{Extensions, Response, StatusCode};
use tollway_core::{Refusal, Timestamp, codes};

use self::rate::Rate;
use crate::answer;
use crate::body::Body;
use crate::proxy::ClientAddress;

/// Who may pay, and how often (default: everybody, as often as they like).
///
/// ```
/// use tollway_gate::Access;
///
/// let access = Access::new()
///     .block("0x857b06519E91e3A54538791bDbb0E22373e36b66")?
///     .per_payer(60)
///     .per_address(600);
/// # Ok::<(), tollway_gate::AccessError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    allowed: BTreeSet<String>,
    blocked: BTreeSet<String>,
    per_payer: Option<u32>,
    per_address: Option<u32>,
}

/// Why a list cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// What is no account.
    #[error("`{0}` is no account; write 0x and its hex digits")]
    Account(String),
}

impl Access {
    /// Everybody, as often as they like.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes payments of this account, and from now on only of accounts that are
    /// allowed. It is one on every network.
    ///
    /// # Errors
    /// [`AccessError::Account`].
    pub fn allow(mut self, account: &str) -> Result<Self, AccessError> {
        self.allowed.insert(canonical(account)?);
        Ok(self)
    }

    /// Takes no payment of this account, and opens nothing for passes that it bought.
    ///
    /// # Errors
    /// [`AccessError::Account`].
    pub fn block(mut self, account: &str) -> Result<Self, AccessError> {
        self.blocked.insert(canonical(account)?);
        Ok(self)
    }

    /// Takes at most so many payments of one payer in a minute; at least one.
    #[must_use]
    pub fn per_payer(mut self, per_minute: u32) -> Self {
        self.per_payer = Some(per_minute.max(1));
        self
    }

    /// Takes at most so many paying requests from one address in a minute; at least
    /// one. The addresses of an IPv6 network of 64 bits count as one. Behind another
    /// proxy everybody has that one's address: limit there instead.
    #[must_use]
    pub fn per_address(mut self, per_minute: u32) -> Self {
        self.per_address = Some(per_minute.max(1));
        self
    }
}

/// As the chains write it: lower case, and without leading zeros where it is none of
/// an EVM network.
fn canonical(account: &str) -> Result<String, AccessError> {
    let wrong = || AccessError::Account(account.chars().take(80).collect());
    let digits = account.trim().strip_prefix("0x").ok_or_else(wrong)?;
    let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_hex || !(1..=64).contains(&digits.len()) {
        return Err(wrong());
    }
    let digits = digits.to_ascii_lowercase();
    Ok(match digits.len() {
        40 => format!("0x{digits}"),
        _ => format!("0x{}", digits.trim_start_matches('0')),
    })
}

/// Keeps watch by the rules of an [`Access`].
#[derive(Debug)]
pub(crate) struct Guard {
    access: Access,
    payers: Option<Rate<String>>,
    addresses: Option<Rate<IpAddr>>,
}

/// Why a request is not let in, and how long that lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    code: &'static str,
    wait: Option<Duration>,
}

impl Guard {
    pub(crate) fn new(access: Access) -> Self {
        Self {
            payers: access.per_payer.map(Rate::new),
            addresses: access.per_address.map(Rate::new),
            access,
        }
    }

    /// One more paying request from an address.
    pub(crate) fn from(&self, request: &Extensions, now: Timestamp) -> Result<(), Denied> {
        let client = request.get::<ClientAddress>();
        let (Some(rate), Some(ClientAddress(client))) = (&self.addresses, client) else {
            return Ok(());
        };
        let of = |wait| Denied::slowed(codes::ADDRESS_RATE_LIMITED, wait);
        rate.take(network_of(client.ip()), now).map_err(of)
    }

    /// Whether somebody is let in who says to be this payer.
    pub(crate) fn is_let_in(&self, payer: &str, now: Timestamp) -> Result<(), Denied> {
        self.is_listed(payer)?;
        let wait = self.payers.as_ref();
        match wait.and_then(|rate| rate.wait(&payer.to_owned(), now)) {
            None => Ok(()),
            Some(wait) => Err(Denied::slowed(codes::PAYER_RATE_LIMITED, wait)),
        }
    }

    /// Whether the lists let a payer in.
    pub(crate) fn is_listed(&self, payer: &str) -> Result<(), Denied> {
        let allowed = &self.access.allowed;
        let is_out = !allowed.is_empty() && !allowed.contains(payer);
        match is_out || self.access.blocked.contains(payer) {
            true => Err(Denied {
                code: codes::PAYER_REFUSED,
                wait: None,
            }),
            false => Ok(()),
        }
    }

    /// One more payment that is this payer's for certain.
    pub(crate) fn count(&self, payer: &str, now: Timestamp) -> Result<(), Denied> {
        let of = |wait| Denied::slowed(codes::PAYER_RATE_LIMITED, wait);
        let rate = self.payers.as_ref();
        rate.map_or(Ok(()), |rate| rate.take(payer.to_owned(), now).map_err(of))
    }
}

impl Denied {
    const fn slowed(code: &'static str, wait: Duration) -> Self {
        Self {
            code,
            wait: Some(wait),
        }
    }

    /// 403 without terms, or 429 with the time to wait.
    pub(crate) fn answer(&self) -> Response<Body> {
        let message = codes::sentence(self.code).unwrap_or_default();
        let refusal = Refusal::new(self.code, message);
        match self.wait {
            None => answer::refusal(StatusCode::FORBIDDEN, &refusal),
            Some(wait) => {
                let slowed = answer::refusal(StatusCode::TOO_MANY_REQUESTS, &refusal);
                // Whole seconds, and not too early.
                answer::with_retry_after(slowed, wait + Duration::from_millis(999))
            }
        }
    }

    /// The same of a transaction that was made: it does not say that nothing was charged.
    pub(crate) fn refusal(&self) -> Refusal {
        Refusal::new(self.code, "The seller takes no payments of this payer.")
    }

    /// The stable code.
    pub(crate) const fn code(&self) -> &'static str {
        self.code
    }
}

/// Whoever has an IPv6 address has 2^64 of them.
fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => {
            let bits = ip.to_bits() & (u128::MAX << 64);
            IpAddr::V6(bits.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_one_in_every_spelling() {
        let access = Access::new().block("0x00000000000000000000000000000000000000Ab");
        let guard = Guard::new(access.unwrap().block("0x00Cd").unwrap());
        for payer in ["0x00000000000000000000000000000000000000ab", "0xcd"] {
            assert_eq!(guard.is_listed(payer).unwrap_err().code(), "payer_refused");
        }
        assert!(guard.is_listed("0xef").is_ok());
        for wrong in ["", "0x", "ab", "0xzz", &format!("0x{}", "1".repeat(65))] {
            assert!(Access::new().allow(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn who_is_not_on_a_list_of_the_allowed_is_out() {
        let guard = Guard::new(Access::new().allow("0xab").unwrap());
        assert!(guard.is_listed("0xab").is_ok());
        assert!(guard.is_listed("0xcd").is_err());
        let both = Access::new().allow("0xab").unwrap().block("0xab").unwrap();
        assert!(Guard::new(both).is_listed("0xab").is_err());
    }

    #[test]
    fn the_addresses_of_one_network_count_as_one() {
        let network = |ip: &str| network_of(ip.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
}
