//! Returning payers (extension `sign-in-with-x`): who paid for a resource signs a message,
//! and gets the resource again for as long as the route says.
//!
//! A signature opens one answer: its nonce is written down before anything leaves, in the
//! ledger that all gates share. It is for this origin, this path, and five minutes.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tollway_core::extensions::sign_in::{
    EIP191, MAX_AGE_SECONDS, SIGN_IN_HEADER, SignIn, SignInChain, SignInInfo, SignInOffer, again,
};
use tollway_core::{Address, Family, Network, Refusal, SignedWith, calendar, codes, header};
use tollway_ledger::PaidBefore;
use url::Url;

use crate::access::Denied;
use crate::event::Event;
use crate::gate::{Inner, Sale};
use crate::purchase::Rejection;
use crate::route::{Pricing, Route};
use crate::{BuildError, Offer, hygiene};

/// Random bytes of a nonce.
const NONCE_BYTES: usize = 16;
/// Longest sign-in header.
const MAX_HEADER_BYTES: usize = 8 * 1024;

/// Why a sign-in opens nothing.
pub(crate) enum NotSignedIn {
    /// It is no good here.
    Rejected(Rejection),
    /// The seller's lists or rates.
    Denied(Denied),
}

impl NotSignedIn {
    /// The stable code.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Rejected(why) => why.refusal.code(),
            Self::Denied(why) => why.code(),
        }
    }
}

impl From<Rejection> for NotSignedIn {
    fn from(why: Rejection) -> Self {
        Self::Rejected(why)
    }
}

impl From<Denied> for NotSignedIn {
    fn from(why: Denied) -> Self {
        Self::Denied(why)
    }
}

/// A sign-in that was shown, where the route takes any.
pub(crate) fn shown<'h>(sale: &Sale, headers: &'h HeaderMap) -> Option<&'h HeaderValue> {
    sale.returning.and_then(|_| headers.get(SIGN_IN_HEADER))
}

/// A request whose payer signed in, as the service behind gets it.
pub(crate) fn admit(headers: &mut HeaderMap, payer: &Address) {
    hygiene::clean_paid_request(headers);
    if let Ok(value) = HeaderValue::from_str(payer.as_str()) {
        headers.insert(hygiene::TOLLWAY_PAYER, value);
    }
}

/// That a sign-in opened nothing.
pub(crate) fn refused(sale: &Sale, code: &str) -> Event {
    Event::SignInRefused {
        route: sale.pattern.clone(),
        code: code.to_owned(),
    }
}

impl Inner {
    /// Why a route cannot be opened again by signing in.
    pub(crate) fn check_returning(
        &self,
        route: &Route,
        offers: &[Offer],
    ) -> Result<(), BuildError> {
        let is_metered = route.meter.is_some()
            || offers
                .iter()
                .any(|offer| offer.terms().scheme == tollway_core::Scheme::Upto);
        let why = match route.returning {
            None => return Ok(()),
            _ if route.pass.is_some() => {
                "it sells a pass, which opens it again already; leave one out"
            }
            _ if is_metered => "what it costs is known only afterwards; give it a fixed price",
            _ if matches!(route.pricing, Pricing::Asked(_)) => {
                "what it costs depends on the request; give it a fixed price"
            }
            _ if self.origin().is_none() => "signing in is for http and https; leave it out",
            _ if signing_networks(offers).next().is_none() => {
                "nobody pays it on a network whose accounts sign in; add an EVM network"
            }
            _ => return Ok(()),
        };
        Err(BuildError::Returning {
            route: route.pattern.as_str().to_owned(),
            why,
        })
    }

    fn origin(&self) -> Option<Url> {
        let url = Url::parse(&self.base_url).ok()?;
        matches!(url.scheme(), "http" | "https").then_some(url)
    }

    /// The host that a message must name, with its port where it is not the scheme's.
    fn domain(&self) -> Option<String> {
        let url = self.origin()?;
        let host = url.host_str()?;
        Some(
            url.port()
                .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")),
        )
    }

    /// What a 402 answer for a path says of signing in; nothing if the system has no
    /// randomness.
    pub(crate) fn sign_in_offer(&self, offers: &[Offer], path: &str) -> Option<SignInOffer> {
        let mut nonce = [0_u8; NONCE_BYTES];
        getrandom::fill(&mut nonce).ok()?;
        let now = self.now();
        let uri = format!("{}{path}", self.base_url);
        let mut chains: Vec<SignInChain> = Vec::new();
        for network in signing_networks(offers) {
            let chain = SignInChain {
                chain_id: network.as_str().to_owned(),
                kind: EIP191.to_owned(),
            };
            if !chains.contains(&chain) {
                chains.push(chain);
            }
        }
        Some(SignInOffer {
            info: SignInInfo {
                domain: self.domain()?,
                uri: uri.clone(),
                version: "1".to_owned(),
                nonce: hex::encode(nonce),
                issued_at: calendar::rfc3339(now),
                expiration_time: Some(calendar::rfc3339(
                    now.plus(Duration::from_secs(MAX_AGE_SECONDS)),
                )),
                resources: Some(vec![uri]),
                ..SignInInfo::default()
            },
            supported_chains: chains,
        })
    }

    /// Who signed in, if it paid for this resource in the route's time and the signature
    /// was not used before.
    pub(crate) async fn signed_in(
        &self,
        sale: &Sale,
        (method, path): (&Method, &str),
        shown: &HeaderValue,
    ) -> Result<Address, NotSignedIn> {
        let since = sale.returning.unwrap_or_default();
        let sign_in = read(shown).map_err(Rejection::terms)?;
        let network = self
            .checked(sale, path, &sign_in)
            .map_err(Rejection::terms)?;
        let account = network.address(&sign_in.address);
        let account =
            account.map_err(|_| Rejection::terms(again(codes::INVALID_SIWX_SIGNATURE)))?;
        let now = self.now();
        // Before the signature is used up: who comes too often shows it again later.
        if let Some(guard) = &self.guard {
            guard.is_let_in(account.as_str(), now)?;
        }
        // What was paid in another money, such as a testnet's, opens nothing here.
        let mut asked = PaidBefore {
            payer: account.clone(),
            networks: signing_networks(&sale.offers).cloned().collect(),
            route: sale.pattern.clone(),
            method: method.as_str().to_owned(),
            resource: format!("{}{path}", self.base_url),
            since: now.minus(since),
        };
        let unwritten = |_| Rejection {
            status: StatusCode::SERVICE_UNAVAILABLE,
            tells_terms: false,
            ..Rejection::terms(Refusal::new(
                codes::LEDGER_UNAVAILABLE,
                "The sign-in cannot be looked up now; ask again later.",
            ))
        };
        let not_paid = || {
            Rejection::terms(Refusal::new(
                codes::SIGN_IN_NOT_PAID,
                "This account has not paid for it in the time that the seller grants; pay.",
            ))
        };
        // First, since a contract's signature costs a call of the node: nobody has one
        // made for nothing.
        let paid = self.noted(self.grants.paid_before(&asked).await);
        if !paid.map_err(unwritten)? {
            return Err(not_paid().into());
        }
        let signer = self.signer_of(&network, &account, &sign_in).await;
        if signer.map_err(Rejection::terms)? == SignedWith::Code {
            // A contract's word on one chain says nothing of who has its address on another.
            asked.networks = vec![network];
            let paid = self.noted(self.grants.paid_before(&asked).await);
            if !paid.map_err(unwritten)? {
                return Err(not_paid().into());
            }
        }
        let keep_until = now.plus(Duration::from_secs(2 * MAX_AGE_SECONDS));
        let nonce = format!("{} {}", account.as_str(), sign_in.info.nonce);
        let used = self.noted(self.grants.use_sign_in(&nonce, keep_until, now).await);
        if !used.map_err(unwritten)? {
            return Err(Rejection::terms(again(codes::INVALID_SIWX_NONCE)).into());
        }
        if let Some(guard) = &self.guard {
            // It was let in; whose signature is used up is not turned away after all.
            let _ = guard.count(account.as_str(), now);
        }
        Ok(account)
    }

    /// Whether a message is for this resource, now, by an account of a network that the
    /// route is paid on.
    fn checked(&self, sale: &Sale, path: &str, sign_in: &SignIn) -> Result<Network, Refusal> {
        let info = &sign_in.info;
        if Some(&info.domain) != self.domain().as_ref() {
            return Err(again(codes::INVALID_SIWX_DOMAIN_MISMATCH));
        }
        if info.uri != format!("{}{path}", self.base_url) {
            return Err(again(codes::INVALID_SIWX_URI_MISMATCH));
        }
        info.check_times(self.now())?;
        let network = signing_networks(&sale.offers)
            .find(|network| network.as_str() == sign_in.chain_id)
            .filter(|_| sign_in.kind == EIP191);
        network
            .cloned()
            .ok_or_else(|| again(codes::INVALID_SIWX_UNSUPPORTED_CHAIN))
    }

    async fn signer_of(
        &self,
        network: &Network,
        account: &Address,
        sign_in: &SignIn,
    ) -> Result<SignedWith, Refusal> {
        let message = sign_in.info.message(&sign_in.address, network)?;
        let used = self.chains.get(network);
        let used = used.ok_or_else(|| again(codes::INVALID_SIWX_UNSUPPORTED_CHAIN))?;
        let signer = used
            .chain
            .message_signer(account, &message, &sign_in.signature);
        match tokio::time::timeout(self.limits.verify_timeout, signer).await {
            Ok(Ok(Some(with))) => Ok(with),
            Ok(Ok(None)) => Err(again(codes::INVALID_SIWX_SIGNATURE)),
            Ok(Err(_)) | Err(_) => Err(again(codes::INVALID_SIWX_VERIFIER_ERROR)),
        }
    }
}

fn read(shown: &HeaderValue) -> Result<SignIn, Refusal> {
    let text = shown
        .to_str()
        .map_err(|_| again(codes::INVALID_SIWX_MALFORMED_SIGNATURE))?;
    header::decode_within(text, MAX_HEADER_BYTES)
}

/// The networks of offers whose accounts sign in.
fn signing_networks(offers: &[Offer]) -> impl Iterator<Item = &Network> {
    let networks = offers.iter().map(|offer| &offer.terms().network);
    networks.filter(|network| network.family() == Family::Evm)
}
