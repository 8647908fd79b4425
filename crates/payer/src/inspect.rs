//! What a request would cost, without signing anything.

use serde::Serialize;
use tollway_core::wire::PaymentRequirements;
use tollway_core::{PaymentFlow, Refusal, Scheme, Terms};

use crate::asked::Asked;
use crate::choose::Appraisal;
use crate::engine::Engine;
use crate::error::{PayError, shown};
use crate::method::PayMethod;
use crate::offer::{Offer, Via};
use crate::ready::is_passed_over;
use crate::request::{PayRequest, public_url};
use crate::transport::Incoming;

/// What a request would cost.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// URL without its query, after redirects.
    pub url: String,
    /// HTTP status of the answer without payment.
    pub status: u16,
    /// x402 version of the terms; `None` if nothing is asked for.
    pub version: Option<u64>,
    /// What the server says it sells.
    pub description: Option<String>,
    /// Ways to pay, best first; those that would not be taken come last.
    pub offers: Vec<OfferView>,
    /// Whether the policy, the wallet and the budget would allow the first offer.
    pub would_pay: bool,
    /// Where access tokens are sold, if they are.
    pub token_endpoint: Option<String>,
    /// Why nothing would be paid, where something is asked for.
    pub refusal: Option<RefusalView>,
}

/// One way to pay.
#[derive(Clone, Debug, Serialize)]
pub struct OfferView {
    /// In words: `0.01 USDC on Base Sepolia to 0x…`.
    pub words: String,
    /// What it costs in words; `None` if our tables do not know the asset.
    pub cost: Option<String>,
    /// What it buys: the answer to this request (`header`), or an access token.
    pub via: Via,
    /// `exact`, `upto` or `batch-settlement`.
    pub scheme: String,
    /// How the money would move: `eip3009`, `permit2`, `upto`, `erc7710`, `eip2612`
    /// or `txid`; `None` where the network knows only one way, or none is known.
    pub method: Option<PayMethod>,
    /// Whether `amount` is a maximum, and what was used is what is paid.
    pub metered: bool,
    /// CAIP-2 name.
    pub network: String,
    /// Contract of the asset.
    pub asset: String,
    /// What people call the asset.
    pub symbol: Option<String>,
    /// Atomic units.
    pub amount: String,
    /// Who would be paid.
    pub pay_to: String,
    /// The accounts that redeem permissions for it, by `erc7710`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redeemers: Vec<String>,
    /// Whether money moves before the goods are made.
    pub upfront: bool,
    /// How long the authorization would live, seconds.
    pub lifetime_seconds: u64,
    /// Whether each of these texts is of the form that it must have; where not, they are
    /// whatever the server wrote.
    pub is_understood: bool,
    /// Whether this one would be taken.
    pub chosen: bool,
    /// Why it would not be taken; `None` if the policy allows it.
    pub refusal: Option<RefusalView>,
}

/// A code and a sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusalView {
    /// Stable code.
    pub code: String,
    /// Sentence that ends with what to do.
    pub message: String,
}

impl From<&Refusal> for RefusalView {
    fn from(refusal: &Refusal) -> Self {
        Self {
            code: refusal.code().to_owned(),
            message: refusal.message().to_owned(),
        }
    }
}

impl Inspection {
    pub(crate) fn free(incoming: &Incoming) -> Self {
        Self {
            url: public_url(&incoming.url),
            status: incoming.response.status().as_u16(),
            version: None,
            description: None,
            offers: Vec::new(),
            would_pay: false,
            token_endpoint: None,
            refusal: None,
        }
    }
}

/// Looks at terms as [`crate::Payer::fetch`] would.
pub(crate) async fn look(engine: &Engine, request: &PayRequest, asked: &Asked) -> Inspection {
    let mut appraised = engine.appraise_for(request, asked);
    let required = &asked.required;
    let decided = decide(engine, request, &mut appraised).await;
    let mut offers: Vec<OfferView> = appraised.iter().map(view).collect();
    if let Ok(chosen) = decided {
        offers[chosen].chosen = true;
    }
    let refusal = decided.err();
    Inspection {
        url: public_url(&request.url),
        status: http::StatusCode::PAYMENT_REQUIRED.as_u16(),
        // A door without terms in a header is none of x402's versions.
        version: (!required.terms.accepts.is_empty() || asked.door.is_none())
            .then(|| required.version.number()),
        description: required.terms.resource.description.as_deref().map(shown),
        offers,
        would_pay: refusal.is_none(),
        token_endpoint: asked.door.as_ref().map(|door| public_url(&door.endpoint)),
        refusal: refusal.as_ref().map(RefusalView::from),
    }
}

/// The place of the offer that would be taken, or why none would be. Offers that
/// would be passed over are marked.
async fn decide(
    engine: &Engine,
    request: &PayRequest,
    appraised: &mut [Appraisal],
) -> Result<usize, Refusal> {
    engine.policy.check_url(&request.url)?;
    let refused = |error: PayError| Refusal::foreign(error.code(), error.message());
    loop {
        let chosen = engine.would_choose(appraised).await.map_err(refused)?;
        let Ok(offer) = &appraised[chosen].verdict else {
            continue;
        };
        let broken = engine.broken_rule(offer, &request.url).await;
        match broken.map_err(refused)? {
            None => return Ok(chosen),
            Some(refusal) if is_passed_over(refusal.code()) => {
                appraised[chosen].verdict = Err(refusal);
            }
            Some(refusal) => return Err(refusal),
        }
    }
}

fn view(appraisal: &Appraisal) -> OfferView {
    let Appraisal {
        wire,
        via,
        words,
        verdict,
    } = appraisal;
    let offer = verdict.as_ref().ok();
    let checked = Terms::check(wire.clone()).ok();
    let PaymentRequirements {
        scheme,
        network,
        asset,
        amount,
        pay_to,
        ..
    } = wire;
    let [scheme, network, asset, amount, pay_to] =
        [scheme, network, asset, amount, pay_to].map(|text| shown(text));
    OfferView {
        words: words.clone(),
        cost: offer.map(Offer::cost),
        via: *via,
        metered: scheme != Scheme::Exact.as_str(),
        method: checked.as_ref().and_then(PayMethod::of),
        scheme,
        network,
        asset,
        symbol: offer.map(|o| o.asset.symbol.to_string()),
        amount,
        pay_to,
        redeemers: checked.as_ref().map(redeemers).unwrap_or_default(),
        upfront: offer.is_some_and(|o| o.terms.flow == PaymentFlow::Upfront),
        lifetime_seconds: offer.map_or(wire.max_timeout_seconds, |o| o.lifetime.as_secs()),
        is_understood: checked.is_some(),
        chosen: false,
        refusal: verdict.as_ref().err().map(RefusalView::from),
    }
}

/// Those that are listed and are addresses.
fn redeemers(terms: &Terms) -> Vec<String> {
    let listed = terms.wire.redeemers();
    let known = listed
        .iter()
        .filter_map(|one| terms.network.address(one).ok());
    known.map(|one| one.to_string()).collect()
}
