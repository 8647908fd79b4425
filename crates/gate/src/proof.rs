//! Transaction proofs (method `txid`): the buyer pays on the chain by itself, then
//! shows the transaction.
//!
//! A hash is public, and a transfer says nothing of what it is for. So each 402
//! answer carries a reference of its own and the times within which it is to be
//! paid and shown, and the buyer signs resource, reference and transaction
//! together. The gate remembers nothing of what it asked: the reference holds a
//! random number and a MAC over it, the times, the route, the resource, what its
//! price was asked for and the whole of the terms. So the terms that a buyer paid for hold until they are
//! over, even where the price is another by then.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Mac as _;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tollway_core::wire::{Object, PaymentRequirements};
use tollway_core::{Finality, ProofProfile, Timestamp, mistake};

use crate::gate::{Inner, Sale};
use crate::pass::{TokenKeys, mac};
use crate::purchase::digest_value;
use crate::{BuildError, Offer};

/// The keys of `extra` that each 402 answer says anew.
const REFERENCE: &str = "reference";
const ISSUED_AT: &str = "issuedAt";
const EXPIRES_AT: &str = "expiresAt";

/// The random part of a reference, in bytes.
const NONCE_BYTES: usize = 16;
/// The whole, as bytes: an HMAC-SHA256 follows.
const REFERENCE_BYTES: usize = NONCE_BYTES + 32;

/// The chain's clock may lag behind ours by so much.
const CLOCK_SKEW_SECONDS: u64 = 10;
/// For so long a transaction can be shown when the time to pay is over and it is deep
/// enough.
const TIME_TO_SHOW_SECONDS: u64 = 900;

/// What a reference is for.
#[derive(Clone, Copy)]
struct Context<'a> {
    route: &'a str,
    resource: &'a str,
    /// What the price was asked for ([`Sale::asked`]).
    asked: &'a str,
}

/// What one 402 answer says of a proof.
struct Stamp {
    reference: String,
    issued_at: u64,
    expires_at: u64,
}

impl Stamp {
    /// What came back of it.
    fn of(accepted: &PaymentRequirements) -> Option<Self> {
        let extra = accepted.extra.as_ref()?;
        Some(Self {
            reference: accepted.extra_str(REFERENCE)?.to_owned(),
            issued_at: extra.get(ISSUED_AT)?.as_u64()?,
            expires_at: extra.get(EXPIRES_AT)?.as_u64()?,
        })
    }

    /// What the MAC covers; texts in JSON never run into each other.
    fn covered(&self, nonce: &[u8], terms: &PaymentRequirements, context: &Context<'_>) -> String {
        json!([
            "tollway transaction proof 1",
            hex::encode(nonce),
            self.issued_at,
            self.expires_at,
            context.route,
            context.resource,
            context.asked,
            digest(terms),
        ])
        .to_string()
    }

    /// The terms with it.
    fn on(&self, terms: &PaymentRequirements) -> PaymentRequirements {
        terms
            .clone()
            .with_extra(REFERENCE, self.reference.clone())
            .with_extra(ISSUED_AT, self.issued_at)
            .with_extra(EXPIRES_AT, self.expires_at)
    }
}

/// SHA-256 over terms, whatever the order of their keys.
fn digest(terms: &PaymentRequirements) -> String {
    let mut digest = Sha256::new();
    digest_value(
        &mut digest,
        &serde_json::to_value(terms).unwrap_or_default(),
    );
    hex::encode(digest.finalize())
}

/// Terms as they were before they were stamped.
fn unstamped(accepted: &PaymentRequirements) -> PaymentRequirements {
    let mut terms = accepted.clone();
    if let Some(extra) = &mut terms.extra {
        for key in [REFERENCE, ISSUED_AT, EXPIRES_AT] {
            extra.shift_remove(key);
        }
    }
    terms.extra = terms.extra.filter(|extra: &Object| !extra.is_empty());
    terms
}

/// How long a transaction takes to be as deep as that, in seconds, where it takes
/// longest: finality of a rollup waits for the chain beneath.
const fn time_to_be(finality: Finality) -> u64 {
    match finality {
        Finality::Included => 0,
        Finality::Confirmations(n) => 12 * n as u64,
        Finality::Safe | Finality::Finalized => 3600,
    }
}

/// Terms with a fresh stamp by the first of the keys; nothing if the system has no
/// randomness.
fn stamped(
    keys: &TokenKeys,
    terms: &PaymentRequirements,
    context: &Context<'_>,
    finality: Finality,
    now: Timestamp,
) -> Option<PaymentRequirements> {
    let mut reference = [0_u8; NONCE_BYTES];
    getrandom::fill(&mut reference).ok()?;
    let now = now.secs();
    let longest = terms
        .max_timeout_seconds
        .saturating_add(TIME_TO_SHOW_SECONDS)
        .saturating_add(time_to_be(finality));
    let mut stamp = Stamp {
        reference: String::new(),
        issued_at: now.saturating_sub(CLOCK_SKEW_SECONDS),
        expires_at: now.saturating_add(longest),
    };
    let covered = stamp.covered(&reference, terms, context);
    let tag = mac(keys.secrets().next()?, &covered)
        .finalize()
        .into_bytes();
    let whole = [&reference[..], &tag[..]].concat();
    stamp.reference = URL_SAFE_NO_PAD.encode(whole);
    Some(stamp.on(terms))
}

/// Whether a stamp is one of ours for these terms. When it ends is not looked at.
fn is_ours(
    keys: &TokenKeys,
    stamp: &Stamp,
    terms: &PaymentRequirements,
    context: &Context<'_>,
) -> bool {
    let Ok(whole) = URL_SAFE_NO_PAD.decode(&stamp.reference) else {
        return false;
    };
    if whole.len() != REFERENCE_BYTES {
        return false;
    }
    let (nonce, tag) = whole.split_at(NONCE_BYTES);
    let covered = stamp.covered(nonce, terms, context);
    // In constant time.
    keys.secrets()
        .any(|key| mac(key, &covered).verify_slice(tag).is_ok())
        || mistake::is("reference_of_anybody")
}

impl Inner {
    /// The offers of a sale as one 402 answer for this path makes them; nothing if
    /// the system has no randomness.
    pub(crate) fn offered<'s>(&self, sale: &'s Sale, path: &str) -> Option<Cow<'s, [Offer]>> {
        if !sale.is_stamped {
            return Some(Cow::Borrowed(&sale.offers));
        }
        self.stamped_offers(&sale.offers, &sale.pattern, (path, &sale.asked))
            .map(Cow::Owned)
    }

    pub(crate) fn stamped_offers(
        &self,
        offers: &[Offer],
        route: &str,
        (path, asked): (&str, &str),
    ) -> Option<Vec<Offer>> {
        let resource = format!("{}{path}", self.base_url);
        let context = Context {
            route,
            resource: &resource,
            asked,
        };
        let finality = self.finality_of(route);
        let fresh = |offer: &Offer| {
            if !is_signed(offer) {
                return Some(offer.clone());
            }
            let keys = self.proof_keys.as_ref()?;
            let wire = stamped(keys, &offer.terms().wire, &context, finality, self.now())?;
            offer.saying(wire).ok()
        };
        offers.iter().map(fresh).collect()
    }

    /// The terms that a signed proof accepts, if this gate made them for this
    /// resource: those of a sale, or of one that cost something else when it was
    /// asked.
    pub(crate) fn accepted_for_proof(
        &self,
        sale: &Sale,
        accepted: &PaymentRequirements,
        resource: &str,
    ) -> Option<Offer> {
        let keys = self.proof_keys.as_ref()?;
        let stamp = Stamp::of(accepted)?;
        let context = Context {
            route: &sale.pattern,
            resource,
            asked: &sale.asked,
        };
        let current = sale.offers.iter().filter(|offer| is_signed(offer));
        for offer in current {
            let wire = &offer.terms().wire;
            if wire.is_accepted_by(accepted) && is_ours(keys, &stamp, wire, &context) {
                return offer.saying(stamp.on(wire)).ok();
            }
        }
        let earlier = unstamped(accepted);
        is_ours(keys, &stamp, &earlier, &context)
            .then(|| Offer::from_requirements(stamp.on(&earlier)).ok())
            .flatten()
    }

    /// Whether every offer of a route can be made.
    pub(crate) fn check_proofs(&self, route: &str, offers: &[Offer]) -> Result<(), BuildError> {
        let lacks_keys = self.proof_keys.is_none() && offers.iter().any(is_signed);
        match lacks_keys {
            true => Err(BuildError::NoProofKeys(route.to_owned())),
            false => Ok(()),
        }
    }

    /// What the operator is to know of routes that take hashes alone.
    pub(crate) fn unsigned_proofs(&self) -> Vec<String> {
        let is_unsigned =
            |offer: &Offer| offer.terms().wire.proof_profile() == Some(ProofProfile::Unsigned);
        self.fixed_sales()
            .iter()
            .filter(|sale| sale.offers.iter().any(is_unsigned))
            .map(|sale| {
                format!(
                    "Route `{}` takes transactions that nobody signed for: whoever shows a transfer to the payee first gets the goods, though another paid it. Offer `txid` instead where the buyers can sign, and give the route a payee or an amount of its own.",
                    sale.pattern
                )
            })
            .collect()
    }
}

/// Whether an offer is for signed proofs, and so differs from answer to answer.
pub(crate) fn is_signed(offer: &Offer) -> bool {
    offer.terms().wire.proof_profile() == Some(ProofProfile::Signed)
}

#[cfg(test)]
mod tests {
    use tollway_core::assets::Method;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn keys(byte: u8) -> TokenKeys {
        TokenKeys::parse(&format!("k{byte} {}", hex::encode([byte; 32]))).unwrap()
    }

    fn terms() -> PaymentRequirements {
        let payee = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";
        let offer = Offer::new("$0.01", "sei-testnet", payee).unwrap();
        let offer = offer.by(Method::Txid).unwrap();
        PaymentRequirements::clone(&offer.terms().wire)
    }

    fn here() -> Context<'static> {
        Context {
            route: "GET /paid/*",
            resource: "https://api.example/paid/x",
            asked: "GET /paid/x?size=1",
        }
    }

    fn sent() -> PaymentRequirements {
        let now = Timestamp::from_secs(NOW);
        stamped(&keys(1), &terms(), &here(), Finality::Included, now).unwrap()
    }

    fn is_known(accepted: &PaymentRequirements, keys: &TokenKeys, context: &Context<'_>) -> bool {
        Stamp::of(accepted)
            .is_some_and(|stamp| is_ours(keys, &stamp, &unstamped(accepted), context))
    }

    #[test]
    fn each_answer_has_a_reference_of_its_own_and_says_its_times() {
        let (one, other) = (sent(), sent());
        assert_ne!(one.extra_str(REFERENCE), other.extra_str(REFERENCE));
        assert_eq!(one.extra_str(REFERENCE).unwrap().len(), 64);
        let extra = one.extra.clone().unwrap();
        assert_eq!(extra[ISSUED_AT], NOW - 10);
        assert_eq!(extra[EXPIRES_AT], NOW + 300 + 900);
        assert_eq!(unstamped(&one), terms());
    }

    #[test]
    fn a_reference_is_known_again_with_its_own_terms_only() {
        let good = sent();
        let (keys, here) = (keys(1), here());
        assert!(is_known(&good, &keys, &here));
        // JSON has no order of keys.
        let mut turned = good.clone();
        turned.extra = Some(good.extra.clone().unwrap().into_iter().rev().collect());
        assert!(is_known(&turned, &keys, &here));

        let changed = |change: fn(&mut PaymentRequirements)| {
            let mut terms = good.clone();
            change(&mut terms);
            terms
        };
        for forged in [
            changed(|t| t.amount = "9999".to_owned()),
            changed(|t| t.pay_to = t.asset.clone()),
            changed(|t| t.asset = t.pay_to.clone()),
            changed(|t| t.network = "eip155:1329".to_owned()),
            changed(|t| t.max_timeout_seconds = 900),
            changed(|t| *t = t.clone().with_extra(EXPIRES_AT, NOW + 86_400)),
            changed(|t| *t = t.clone().with_extra(ISSUED_AT, NOW - 86_400)),
            changed(|t| *t = t.clone().with_extra(ISSUED_AT, "1799999990")),
            changed(|t| *t = t.clone().with_extra("finality", "0")),
            changed(|t| *t = t.clone().with_extra("proofProfile", "unsigned")),
            changed(|t| *t = t.clone().with_extra(REFERENCE, "A".repeat(64))),
            changed(|t| *t = t.clone().with_extra(REFERENCE, "é".repeat(32))),
            changed(|t| *t = t.clone().with_extra(REFERENCE, "")),
        ] {
            assert!(!is_known(&forged, &keys, &here), "{forged:?}");
        }
    }

    #[test]
    fn a_reference_is_of_its_route_its_resource_and_our_keys() {
        let (good, here) = (sent(), here());
        let other_route = Context {
            route: "POST /paid/*",
            ..here
        };
        let other_resource = Context {
            resource: "https://api.example/paid/y",
            ..here
        };
        let other_question = Context {
            asked: "GET /paid/x?size=9999",
            ..here
        };
        assert!(!is_known(&good, &keys(1), &other_question));
        assert!(!is_known(&good, &keys(1), &other_route));
        assert!(!is_known(&good, &keys(1), &other_resource));
        assert!(!is_known(&good, &keys(2), &here));
        let rotated = format!("k2 {}\nk1 {}", hex::encode([2; 32]), hex::encode([1; 32]));
        assert!(is_known(&good, &TokenKeys::parse(&rotated).unwrap(), &here));
    }
}
