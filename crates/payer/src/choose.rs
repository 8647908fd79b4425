//! Which of several offers is taken: the cheapest that the policy allows and
//! the wallet can pay, then the buyer's preference. Never the server's order.

use tollway_core::assets::Method;
use tollway_core::wire::PaymentRequirements;
use tollway_core::{Network, PaymentFlow, Refusal, Scheme, Wallet};

use crate::code;
use crate::offer::{Offer, raw_words};
use crate::policy::Policy;

/// What became of one entry of `accepts`.
#[derive(Clone, Debug)]
pub struct Appraisal {
    /// The entry as it was sent.
    pub wire: PaymentRequirements,
    /// The offer in words.
    pub words: String,
    /// The checked offer, or why it is not taken.
    pub verdict: Result<Offer, Refusal>,
}

/// Checks every entry, and puts what can be paid first, best first.
pub(crate) fn appraise(
    policy: &Policy,
    wallet: Option<&dyn Wallet>,
    accepts: &[PaymentRequirements],
) -> Vec<Appraisal> {
    let mut all: Vec<Appraisal> = accepts
        .iter()
        .map(|wire| one(policy, wallet, wire))
        .collect();
    all.sort_by_cached_key(|appraisal| match &appraisal.verdict {
        Ok(offer) => (0, Some(rank(policy, offer))),
        Err(_) => (1, None),
    });
    all
}

fn one(policy: &Policy, wallet: Option<&dyn Wallet>, wire: &PaymentRequirements) -> Appraisal {
    let checked = policy.appraise(wire);
    let words = checked
        .as_ref()
        .map_or_else(|_| raw_words(wire), Offer::words);
    let verdict = checked.and_then(|offer| match wallet {
        Some(wallet) if !wallet.supports(&offer.terms) => Err(Refusal::new(
            code::NO_ACCEPTABLE_OFFER,
            format!(
                "The wallet knows no way to pay `{}` on {}; use a wallet that does.",
                offer.terms.scheme.as_str(),
                offer.terms.network
            ),
        )),
        _ => Ok(offer),
    });
    Appraisal {
        wire: wire.clone(),
        words,
        verdict,
    }
}

/// Smaller is better. The last parts only make the choice the same every time.
type Rank = (
    crate::price::UnitPrice,
    usize,
    bool,
    bool,
    bool,
    String,
    String,
    String,
);

fn rank(policy: &Policy, offer: &Offer) -> Rank {
    let terms = &offer.terms;
    let method = terms.transfer_method();
    (
        offer.price,
        preference(&policy.networks, &terms.network),
        terms.flow == PaymentFlow::Upfront,
        terms.scheme != Scheme::Exact,
        method.is_some_and(Method::is_own),
        terms.network.as_str().to_owned(),
        terms.asset.as_str().to_owned(),
        terms.pay_to.as_str().to_owned(),
    )
}

fn preference(networks: &[Network], network: &Network) -> usize {
    let place = networks.iter().position(|n| n == network);
    place.unwrap_or(networks.len())
}

/// Why none was taken: the one reason that all share, or all reasons.
pub(crate) fn none_taken(refusals: &[Refusal]) -> Refusal {
    match refusals {
        [] => Refusal::new(
            code::NO_ACCEPTABLE_OFFER,
            "The server asks for payment and offers no way to pay; ask the seller.",
        ),
        [first, rest @ ..] if rest.iter().all(|r| r.code() == first.code()) => first.clone(),
        several => {
            let mut reasons: Vec<String> = several.iter().map(ToString::to_string).collect();
            reasons.dedup();
            reasons.truncate(8);
            Refusal::new(
                code::NO_ACCEPTABLE_OFFER,
                format!(
                    "None of the offers can be paid; change the policy or ask the seller. {}",
                    reasons.join(" ")
                ),
            )
        }
    }
}
