//! Reading what a server asks for, and choosing among its offers.

use tollway_core::header::{self, PAYMENT_REQUIRED, Required};
use tollway_core::{ChainError, Refusal, Terms};

use crate::body::PayBody;
use crate::choose::{Appraisal, appraise, none_taken};
use crate::code;
use crate::engine::{Engine, moved, request_failed};
use crate::error::{PayError, shown};
use crate::event::Event;
use crate::offer::Offer;
use crate::request::PayRequest;
use crate::transport::Incoming;

/// Longest version 1 body that is read for terms.
const MAX_TERMS_BYTES: usize = 64 * 1024;

impl Engine {
    /// Reads the terms of a 402 answer.
    pub(crate) async fn terms(
        &self,
        request: &PayRequest,
        asked: Incoming,
    ) -> Result<Required, PayError> {
        if asked.url.origin() != request.url.origin() {
            return Err(PayError::declined(moved(&asked.url)));
        }
        let (head, body) = asked.response.into_parts();
        let bytes = if head.headers.contains_key(&PAYMENT_REQUIRED) {
            bytes::Bytes::new()
        } else {
            self.read_terms(body).await?
        };
        header::required(&head.headers, &bytes).map_err(|refusal| {
            let message = "The server asks for payment and its terms cannot be read; ask the operator of the server.";
            let refusal = Refusal::new(code::INVALID_OFFER, message)
                .with_detail(format!("{refusal} {}", refusal.detail().unwrap_or_default()));
            PayError::declined(refusal)
        })
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
    pub(crate) fn appraise(&self, required: &Required) -> Vec<Appraisal> {
        let wallet = self.wallet.as_deref();
        let all = appraise(&self.policy, wallet, &required.terms.accepts);
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

    fn passed_over(&self, offer: &str, refusal: &Refusal) {
        self.tell(&Event::PassedOver {
            offer: offer.to_owned(),
            code: refusal.code().to_owned(),
            message: refusal.message().to_owned(),
        });
    }

    /// The best offer that the account can afford.
    pub(crate) async fn choose(
        &self,
        appraised: Vec<Appraisal>,
    ) -> Result<(Offer, tollway_core::wire::PaymentRequirements), PayError> {
        let mut refusals = Vec::new();
        for Appraisal {
            wire,
            words,
            verdict,
        } in appraised
        {
            match verdict {
                Err(refusal) => refusals.push(refusal),
                Ok(offer) => match self.afford(&offer).await? {
                    None => {
                        self.chosen(&offer);
                        return Ok((offer, wire));
                    }
                    Some(refusal) => {
                        self.passed_over(&words, &refusal);
                        refusals.insert(0, refusal);
                    }
                },
            }
        }
        // What the account lacks is told before what the policy forbids.
        let broke: Vec<Refusal> = refusals
            .iter()
            .filter(|r| r.code() == code::INSUFFICIENT_FUNDS)
            .cloned()
            .collect();
        Err(PayError::declined(none_taken(if broke.is_empty() {
            &refusals
        } else {
            &broke
        })))
    }

    fn chosen(&self, offer: &Offer) {
        self.tell(&Event::Chosen {
            offer: offer.words(),
            network: offer.terms.network.clone(),
            scheme: offer.terms.scheme.as_str().to_owned(),
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
