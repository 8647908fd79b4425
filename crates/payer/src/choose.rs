//! Which of several offers is taken: the cheapest that the policy allows and
//! the wallet can pay, then the buyer's preference. Never the server's order.

use tollway_core::wire::PaymentRequirements;
use tollway_core::{PaymentFlow, ProofProfile, Refusal, Wallet};
use url::Url;

use crate::asked::Asked;
use crate::code;
use crate::error::shown;
use crate::method::PayMethod;
use crate::offer::{Offer, Via, raw_words};
use crate::policy::Policy;

/// What became of one entry of `accepts`.
#[derive(Clone, Debug)]
pub struct Appraisal {
    /// The entry as it was sent.
    pub wire: PaymentRequirements,
    /// Where it would be shown.
    pub via: Via,
    /// The offer in words.
    pub words: String,
    /// The checked offer, or why it is not taken.
    pub verdict: Result<Offer, Refusal>,
}

/// Checks every entry, and puts what can be paid first, best first.
pub(crate) fn appraise(
    policy: &Policy,
    wallet: Option<&dyn Wallet>,
    asked: &Asked,
) -> Vec<Appraisal> {
    let accepts = asked.required.terms.accepts.iter();
    let mut all: Vec<Appraisal> = accepts
        .map(|wire| one(policy, wallet, asked, wire.clone(), Via::Header, None))
        .collect();
    if let Some(door) = &asked.door {
        let entries = door.entries(&policy.assets).into_iter();
        all.extend(
            entries.map(|(wire, fault)| one(policy, wallet, asked, wire, Via::Token, fault)),
        );
    }
    all.sort_by_cached_key(|appraisal| match &appraisal.verdict {
        Ok(offer) => (0, Some(rank(policy, offer))),
        Err(_) => (1, None),
    });
    all
}

fn one(
    policy: &Policy,
    wallet: Option<&dyn Wallet>,
    asked: &Asked,
    wire: PaymentRequirements,
    via: Via,
    fault: Option<Refusal>,
) -> Appraisal {
    let checked = match fault {
        Some(refusal) => Err(refusal),
        None => policy.appraise(&wire).map(|offer| Offer { via, ..offer }),
    };
    let words = checked
        .as_ref()
        .map_or_else(|_| raw_words(&wire), Offer::words);
    let verdict = checked.and_then(|offer| match wallet {
        Some(wallet) if !wallet.supports(&offer.terms) => Err(unsupported(&offer)),
        _ if is_for_another(&offer, asked) => Err(for_another(asked)),
        _ => Ok(offer),
    });
    Appraisal {
        wire,
        via,
        words,
        verdict,
    }
}

/// Whether a proof would be signed for a resource of somebody else, who could be paid
/// for what this server gets.
fn is_for_another(offer: &Offer, asked: &Asked) -> bool {
    let is_bound = offer.terms.wire.proof_profile() == Some(ProofProfile::Signed);
    let named = Url::parse(&asked.required.terms.resource.url);
    is_bound && named.map_or(true, |named| named.origin() != asked.url.origin())
}

fn for_another(asked: &Asked) -> Refusal {
    Refusal::new(
        code::INVALID_OFFER,
        format!(
            "The server asks to sign a proof of payment for {}, which is not on {}; ask the operator of the server for its public URL.",
            shown(&asked.required.terms.resource.url),
            asked.url.origin().ascii_serialization()
        ),
    )
}

fn unsupported(offer: &Offer) -> Refusal {
    let way = match PayMethod::of(&offer.terms) {
        Some(method) => method.as_str(),
        None => offer.terms.scheme.as_str(),
    };
    Refusal::new(
        code::NO_ACCEPTABLE_OFFER,
        format!(
            "The wallet knows no way to pay by `{way}` on {}; use a wallet that does, or give it an RPC URL of the network.",
            offer.terms.network
        ),
    )
}

/// Smaller is better. The last parts only make the choice the same every time.
type Rank = (
    crate::price::UnitPrice,
    bool,
    usize,
    usize,
    bool,
    String,
    String,
    String,
);

fn rank(policy: &Policy, offer: &Offer) -> Rank {
    let terms = &offer.terms;
    let method = PayMethod::of(terms);
    (
        offer.price,
        // For the same money a token opens the door more than once.
        offer.via != Via::Token,
        method.map_or(0, |method| preference(&policy.methods, &method)),
        preference(&policy.networks, &terms.network),
        terms.flow == PaymentFlow::Upfront,
        terms.network.as_str().to_owned(),
        terms.asset.as_str().to_owned(),
        terms.pay_to.as_str().to_owned(),
    )
}

fn preference<T: PartialEq>(listed: &[T], wanted: &T) -> usize {
    let place = listed.iter().position(|one| one == wanted);
    place.unwrap_or(listed.len())
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
