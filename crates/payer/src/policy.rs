//! What a buyer allows, checked before anything is signed.
//!
//! Nothing that a server says widens it: decimals, symbols and EIP-712 domains
//! come from our own asset table, the host is the one that was asked, and the
//! order of the offers means nothing.

use std::sync::Arc;
use std::time::Duration;

use tollway_core::assets::{AssetTable, Method};
use tollway_core::wire::PaymentRequirements;
use tollway_core::{Address, Family, Network, Refusal, Scheme, Terms};
use url::Url;

use crate::budget::Budget;
use crate::code;
use crate::error::shown;
use crate::guard;
use crate::hosts::HostPattern;
use crate::method::PayMethod;
use crate::offer::{Offer, Via};
use crate::price::UnitPrice;

/// The longest life that an authorization is given, whatever is configured.
pub const MAX_LIFETIME: Duration = Duration::from_secs(900);

/// What a buyer allows. The default pays at most ten cents for a call, to any
/// host over HTTPS (or on this machine), in any asset of the built-in table.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What one call may cost at most.
    pub max_per_call: UnitPrice,
    /// Networks that may be paid on, the preferred one first; empty means any
    /// network on which the wallet has an account.
    pub networks: Vec<Network>,
    /// Ways that may be paid by, the preferred one first. Between offers of one
    /// price this order decides.
    pub methods: Vec<PayMethod>,
    /// Whether a missing allowance for Permit2 may be made good by an `approve`
    /// transaction of the account's own. It costs gas and holds for later payments.
    pub approve_permit2: bool,
    /// Whether access tokens are bought and reused where a server sells them.
    pub access_tokens: bool,
    /// Schemes that may be paid by; empty means any.
    pub schemes: Vec<Scheme>,
    /// What may be spent over many calls.
    pub budget: Budget,
    /// Whether the payee that was paid first at a host is the only one that is paid
    /// there, on all networks of its family.
    pub pin_payees: bool,
    /// Others that may be paid at a host in spite of that: the owner's consent.
    pub consents: Vec<(HostPattern, Address)>,
    /// To how many hundredths of the last price at the same host and path a price
    /// may rise: 300 is three times as much. `None` means to any.
    pub max_rise_percent: Option<u32>,
    /// The assets that may be paid with, and everything that is believed about them.
    pub assets: AssetTable,
    /// Hosts that may be paid; empty means any.
    pub hosts: Vec<HostPattern>,
    /// Accounts that may be paid; empty means any.
    pub payees: Vec<Address>,
    /// How long an authorization may live; never more than [`MAX_LIFETIME`].
    pub max_lifetime: Duration,
    /// Whether plain HTTP to other machines may be paid over.
    pub allow_insecure: bool,
    /// Whether URLs come from a program that servers may talk into things: then
    /// only hosts that are listed may lie in our own network.
    pub guard_urls: bool,
    /// How many redirects are followed before payment; none is followed after.
    pub max_redirects: u8,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_per_call: UnitPrice::cents(10),
            networks: Vec::new(),
            methods: PayMethod::ALL.to_vec(),
            approve_permit2: false,
            access_tokens: true,
            schemes: Vec::new(),
            budget: Budget::default(),
            pin_payees: false,
            consents: Vec::new(),
            max_rise_percent: None,
            assets: AssetTable::builtin(),
            hosts: Vec::new(),
            payees: Vec::new(),
            max_lifetime: MAX_LIFETIME,
            allow_insecure: false,
            guard_urls: false,
            max_redirects: 5,
        }
    }
}

impl Policy {
    /// Whether a URL may be asked at all.
    ///
    /// # Errors
    /// `policy_insecure_url`, or `policy_host` for an address of our own network.
    pub fn check_transport(&self, url: &Url) -> Result<(), Refusal> {
        if self.is_guarded(url) && !guard::may_lead_to(url) {
            return Err(Refusal::new(
                code::POLICY_HOST,
                format!(
                    "{} lies in our own network; let the owner add it to the allowed hosts if it is meant.",
                    origin(url)
                ),
            ));
        }
        self.check_secure(url)
    }

    fn check_secure(&self, url: &Url) -> Result<(), Refusal> {
        let secure = url.scheme() == "https" || guard::is_loopback(url) || self.allow_insecure;
        if secure {
            return Ok(());
        }
        Err(Refusal::new(
            code::POLICY_INSECURE_URL,
            format!(
                "{} is plain HTTP, where anybody on the way can change whom you pay; use https, or allow insecure URLs explicitly.",
                origin(url)
            ),
        ))
    }

    /// Whether a request to a URL must not reach into our own network.
    pub(crate) fn is_guarded(&self, url: &Url) -> bool {
        self.guard_urls && !self.hosts.iter().any(|host| host.matches(url))
    }

    /// Whether a URL may be paid.
    ///
    /// # Errors
    /// `policy_insecure_url` or `policy_host`.
    pub fn check_url(&self, url: &Url) -> Result<(), Refusal> {
        self.check_transport(url)?;
        self.check_host(url)
    }

    /// Whether a URL may be paid that somebody else asks.
    pub(crate) fn check_url_of_another(&self, url: &Url) -> Result<(), Refusal> {
        self.check_secure(url)?;
        self.check_host(url)
    }

    fn check_host(&self, url: &Url) -> Result<(), Refusal> {
        if self.hosts.is_empty() || self.hosts.iter().any(|host| host.matches(url)) {
            return Ok(());
        }
        Err(Refusal::new(
            code::POLICY_HOST,
            format!(
                "{} is not a host that the policy pays; add it to the allowed hosts if you trust it.",
                origin(url)
            ),
        ))
    }

    /// Checks one way to pay against everything but the budget and the wallet.
    ///
    /// # Errors
    /// A refusal with one of the `policy_` codes, or the code of terms that make
    /// no sense (`unsupported_scheme`, `invalid_payment_requirements`, …).
    pub fn appraise(&self, wire: &PaymentRequirements) -> Result<Offer, Refusal> {
        let terms = Terms::check(wire.clone()).map_err(|refusal| {
            let message = shown(refusal.message());
            Refusal::foreign(refusal.code(), message)
        })?;
        self.check_network(&terms.network)?;
        self.check_scheme(terms.scheme)?;
        self.check_method(&terms)?;
        let offer = self.value(terms)?;
        self.check_payee(&offer)?;
        self.check_price(&offer)?;
        Ok(offer)
    }

    fn check_network(&self, network: &Network) -> Result<(), Refusal> {
        if self.networks.is_empty() || self.networks.contains(network) {
            return Ok(());
        }
        Err(Refusal::new(
            code::POLICY_NETWORK,
            format!(
                "{network} is not a network that the policy pays on; allow it, or ask the seller for another one."
            ),
        ))
    }

    fn check_scheme(&self, scheme: Scheme) -> Result<(), Refusal> {
        if self.schemes.is_empty() || self.schemes.contains(&scheme) {
            return Ok(());
        }
        Err(Refusal::new(
            code::POLICY_SCHEME,
            format!(
                "{} is not a scheme that the policy pays by; allow it, or ask the seller for another one.",
                scheme.as_str()
            ),
        ))
    }

    fn check_method(&self, terms: &Terms) -> Result<(), Refusal> {
        match PayMethod::of(terms) {
            Some(method) if !self.methods.contains(&method) => Err(Refusal::new(
                code::POLICY_METHOD,
                format!(
                    "{method} is not a way that the policy pays by; allow it, or ask the seller for another one."
                ),
            )),
            _ => Ok(()),
        }
    }

    /// What an offer costs by our own table.
    fn value(&self, terms: Terms) -> Result<Offer, Refusal> {
        let Some(asset) = self.assets.find(&terms.network, &terms.asset) else {
            return Err(Refusal::new(
                code::POLICY_ASSET,
                format!(
                    "The asset {} on {} is not in the asset table, so nobody vouches for what it is worth; add it there if you know it.",
                    terms.asset, terms.network
                ),
            ));
        };
        let Some(price) = UnitPrice::of(terms.amount, asset.decimals) else {
            return Err(Refusal::new(
                code::POLICY_AMOUNT,
                format!(
                    "The price of {} atomic units of {} is beyond reason; do not pay it.",
                    terms.amount, asset.symbol
                ),
            ));
        };
        let asset = asset.clone();
        let lifetime = self.lifetime(&terms);
        let terms = with_own_domain(terms, asset.name.as_deref(), asset.version.as_deref())?;
        Ok(Offer {
            terms,
            asset,
            price,
            lifetime,
            via: Via::default(),
        })
    }

    /// The server's time-out, cut to what the policy allows.
    fn lifetime(&self, terms: &Terms) -> Duration {
        Duration::from_secs(terms.wire.max_timeout_seconds)
            .min(self.max_lifetime)
            .min(MAX_LIFETIME)
    }

    fn check_payee(&self, offer: &Offer) -> Result<(), Refusal> {
        if self.payees.is_empty() || self.payees.contains(&offer.terms.pay_to) {
            return Ok(());
        }
        Err(Refusal::new(
            code::POLICY_PAYEE,
            format!(
                "{} is not an account that the policy pays; add it to the allowed payees if you trust it.",
                offer.terms.pay_to
            ),
        ))
    }

    fn check_price(&self, offer: &Offer) -> Result<(), Refusal> {
        check_price(offer, self.max_per_call)
    }
}

/// Whether an offer costs no more than one call may.
pub(crate) fn check_price(offer: &Offer, max: UnitPrice) -> Result<(), Refusal> {
    if offer.price <= max {
        return Ok(());
    }
    Err(Refusal::new(
        code::POLICY_AMOUNT,
        format!(
            "The price is {}, and one call may cost at most {max}; raise the limit if it is worth that.",
            offer.cost(),
        ),
    ))
}

/// The terms as the wallet sees them: with the EIP-712 domain of our own table.
/// A server that names another domain means another contract, or would refuse
/// the signature.
fn with_own_domain(
    mut terms: Terms,
    name: Option<&str>,
    version: Option<&str>,
) -> Result<Terms, Refusal> {
    if !signs_token_domain(&terms) {
        return Ok(terms);
    }
    let (Some(name), Some(version)) = (name, version) else {
        return Err(Refusal::new(
            code::POLICY_ASSET,
            format!(
                "The EIP-712 name and version of {} on {} are not in the asset table; add them there.",
                terms.asset, terms.network
            ),
        ));
    };
    for (key, ours) in [("name", name), ("version", version)] {
        if terms
            .wire
            .extra_str(key)
            .is_some_and(|theirs| theirs != ours)
        {
            return Err(Refusal::new(
                code::POLICY_ASSET,
                format!(
                    "The server gives the asset another EIP-712 {key} than the asset table; correct whichever is wrong."
                ),
            ));
        }
        let extra = Arc::make_mut(&mut terms.wire).extra.get_or_insert_default();
        extra.insert(key.to_owned(), ours.into());
    }
    Ok(terms)
}

/// Whether paying signs under the token's own domain.
fn signs_token_domain(terms: &Terms) -> bool {
    terms.network.family() == Family::Evm
        && matches!(
            terms.transfer_method(),
            Some(Method::Eip3009 | Method::Eip2612)
        )
}

/// Scheme, host and port, for messages.
pub(crate) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}
