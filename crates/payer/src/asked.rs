//! Reading what a server asks for, and choosing among its offers.

use http::header::AUTHORIZATION;
use tollway_core::header::{self, PAYMENT_REQUIRED, Required};
use tollway_core::wire::{PaymentRequired, ResourceInfo, Version};
use tollway_core::{ChainError, Refusal, Terms, codes};
use url::Url;

use crate::body::PayBody;
use crate::choose::{Appraisal, appraise, none_taken};
use crate::code;
use crate::engine::{Engine, moved, request_failed};
use crate::error::{PayError, shown};
use crate::event::Event;
use crate::method::PayMethod;
use crate::offer::Offer;
use crate::policy::check_price;
use crate::request::PayRequest;
use crate::token::TokenDoor;
use crate::transport::Incoming;

/// Longest version 1 body that is read for terms.
const MAX_TERMS_BYTES: usize = 64 * 1024;

/// What a 402 answer asks for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// What a payment in a header would have to be.
    pub required: Required,
    /// Where access tokens are sold, if they are.
    pub door: Option<TokenDoor>,
    /// Whom it was asked of.
    pub url: Url,
}

impl Engine {
    /// Reads what a 402 answer asks for.
    pub(crate) async fn asked(
        &self,
        request: &PayRequest,
        incoming: Incoming,
    ) -> Result<Asked, PayError> {
        if incoming.url.origin() != request.url.origin() {
            return Err(PayError::declined(moved(&incoming.url)));
        }
        let (head, body) = incoming.response.into_parts();
        let in_header = head.headers.contains_key(&PAYMENT_REQUIRED);
        // A token would have to take the place of the caller's own authorization.
        let tokens = self.policy.access_tokens && !request.headers.contains_key(AUTHORIZATION);
        let bytes = match in_header {
            // Only a token endpoint is looked for, and it may well not be there.
            true if tokens && is_json(&head.headers) => {
                self.read_terms(body).await.unwrap_or_default()
            }
            true => bytes::Bytes::new(),
            false => self.read_terms(body).await?,
        };
        let door = match tokens {
            true => TokenDoor::read(&bytes, &request.url),
            false => None,
        };
        let asked = |required, door| Asked {
            required,
            door,
            url: request.url.clone(),
        };
        match (header::required(&head.headers, &bytes), door) {
            (Ok(required), None) => Ok(asked(required, None)),
            (Ok(required), Some(Ok(door))) => Ok(asked(required, Some(door))),
            (Ok(required), Some(Err(refusal))) => {
                self.passed_over("an access token", &refusal);
                Ok(asked(required, None))
            }
            (Err(_), Some(Ok(door))) => Ok(asked(no_terms(&door), Some(door))),
            (Err(_), Some(Err(refusal))) => Err(PayError::declined(refusal)),
            (Err(refusal), None) => Err(unreadable(&refusal)),
        }
    }

    async fn read_terms(&self, body: PayBody) -> Result<bytes::Bytes, PayError> {
        let read = tokio::time::timeout(self.patience.ask, body.read(MAX_TERMS_BYTES)).await;
        match read {
            Ok(Ok((bytes, true))) => Ok(bytes),
            Ok(Ok((_, false))) => Err(PayError::declined(Refusal::new(
                code::INVALID_OFFER,
                "The server's terms are longer than 64 KiB; ask the operator of the server.",
            ))),
            Ok(Err(error)) => Err(request_failed(&shown(&error.to_string()))),
            Err(_) => Err(request_failed("the terms did not come in time")),
        }
    }

    /// What every entry comes to, best first, and the story of it.
    pub(crate) fn appraise(&self, asked: &Asked) -> Vec<Appraisal> {
        let (wallet, required) = (self.wallet.as_deref(), &asked.required);
        let all = appraise(&self.policy, wallet, asked);
        self.tell(&Event::Terms {
            version: required.version.number(),
            description: required.terms.resource.description.as_deref().map(shown),
            offers: all.iter().map(|a| a.words.clone()).collect(),
        });
        for appraisal in &all {
            if let Err(refusal) = &appraisal.verdict {
                self.passed_over(&appraisal.words, refusal);
            }
        }
        all
    }

    pub(crate) fn passed_over(&self, offer: &str, refusal: &Refusal) {
        self.tell(&Event::PassedOver {
            offer: offer.to_owned(),
            code: refusal.code().to_owned(),
            message: refusal.message().to_owned(),
        });
    }

    /// The place of the best offer that the account can afford. Those that it
    /// cannot are marked.
    pub(crate) async fn choose(&self, appraised: &mut [Appraisal]) -> Result<usize, PayError> {
        for (place, appraisal) in appraised.iter_mut().enumerate() {
            let Ok(offer) = &appraisal.verdict else {
                continue;
            };
            match self.afford(offer).await? {
                None => {
                    self.chosen(offer);
                    return Ok(place);
                }
                Some(refusal) => self.mark(appraisal, refusal),
            }
        }
        let refusals = appraised.iter().filter_map(|a| a.verdict.as_ref().err());
        let refusals: Vec<Refusal> = refusals.cloned().collect();
        // What the account lacks is told before what the policy forbids.
        let lacking = |r: &&Refusal| {
            [code::INSUFFICIENT_FUNDS, codes::PERMIT2_ALLOWANCE_REQUIRED].contains(&r.code())
        };
        let lacks: Vec<Refusal> = refusals.iter().filter(lacking).cloned().collect();
        Err(PayError::declined(none_taken(if lacks.is_empty() {
            &refusals
        } else {
            &lacks
        })))
    }

    /// Checks every entry, also against what the caller would pay at most.
    pub(crate) fn appraise_for(&self, request: &PayRequest, asked: &Asked) -> Vec<Appraisal> {
        let mut all = self.appraise(asked);
        let Some(max) = request.max else {
            return all;
        };
        for appraisal in &mut all {
            if let Ok(offer) = &appraisal.verdict
                && let Err(refusal) = check_price(offer, max)
            {
                self.mark(appraisal, refusal);
            }
        }
        all
    }

    /// As [`Self::choose`], for looking: it needs no wallet, and without one
    /// nobody knows what can be afforded.
    pub(crate) async fn would_choose(
        &self,
        appraised: &mut [Appraisal],
    ) -> Result<usize, PayError> {
        if self.wallet.is_some() {
            return self.choose(appraised).await;
        }
        let first = appraised.iter().position(|a| a.verdict.is_ok());
        first.ok_or_else(|| {
            let refusals = appraised.iter().filter_map(|a| a.verdict.as_ref().err());
            PayError::declined(none_taken(&refusals.cloned().collect::<Vec<_>>()))
        })
    }

    /// An offer is not taken after all.
    pub(crate) fn mark(&self, appraisal: &mut Appraisal, refusal: Refusal) {
        self.passed_over(&appraisal.words, &refusal);
        appraisal.verdict = Err(refusal);
    }

    fn chosen(&self, offer: &Offer) {
        self.tell(&Event::Chosen {
            offer: offer.words(),
            network: offer.terms.network.clone(),
            scheme: offer.terms.scheme.as_str().to_owned(),
            method: PayMethod::of(&offer.terms),
            via: offer.via,
            upfront: offer.terms.flow == tollway_core::PaymentFlow::Upfront,
        });
    }

    /// Why the account cannot afford an offer, where its balance is known.
    async fn afford(&self, offer: &Offer) -> Result<Option<Refusal>, PayError> {
        let Terms {
            network,
            asset,
            amount,
            ..
        } = &offer.terms;
        let balance = match self.wallet()?.balance(network, asset).await {
            Ok(balance) => balance,
            Err(ChainError::Refused(refusal)) => return Ok(Some(refusal)),
            Err(error) => {
                tracing::warn!(%network, %error, "the balance is not known; the seller will check it");
                None
            }
        };
        Ok(balance.filter(|held| held < amount).map(|held| {
            Refusal::new(
                code::INSUFFICIENT_FUNDS,
                format!(
                    "The account holds {} {}, and the price is {}; add funds to it.",
                    held.to_decimal(offer.asset.decimals),
                    offer.asset.symbol,
                    offer.cost()
                ),
            )
        }))
    }
}

fn is_json(headers: &http::HeaderMap) -> bool {
    let kind = headers.get(http::header::CONTENT_TYPE);
    kind.and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.trim_start().starts_with("application/json"))
}

/// Terms without a way to pay in a header: what is sold is a token.
fn no_terms(door: &TokenDoor) -> Required {
    Required {
        version: Version::V2,
        terms: PaymentRequired {
            x402_version: Version::V2.number(),
            error: None,
            resource: ResourceInfo {
                url: door.endpoint.to_string(),
                ..ResourceInfo::default()
            },
            accepts: Vec::new(),
            extensions: None,
        },
    }
}

fn unreadable(refusal: &Refusal) -> PayError {
    let message =
        "The server asks for payment and its terms cannot be read; ask the operator of the server.";
    let detail = format!("{refusal} {}", refusal.detail().unwrap_or_default());
    PayError::declined(Refusal::new(code::INVALID_OFFER, message).with_detail(detail))
}
