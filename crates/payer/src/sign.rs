//! From a reservation to a payment on disk. Nothing leaves here.

use std::time::Duration;

use tollway_core::extensions::{PaymentIdentifierId, attach, requires};
use tollway_core::header::Required;
use tollway_core::wire::{PaymentPayload, PaymentRequirements, Version};
use tollway_core::{Limits, Offered, Prepared, Refusal, SpendId, header};
use tollway_ledger::SignedSpend;

use crate::code;
use crate::crash;
use crate::engine::{Engine, Ready};
use crate::error::{ErrorKind, PayError};
use crate::event::Event;
use crate::offer::Offer;
use crate::policy::MAX_LIFETIME;

/// How long a wallet may take to sign: a person may have to confirm.
const SIGNING: Duration = Duration::from_secs(120);
/// By how much a wallet's clock may differ from ours.
const SKEW: Duration = Duration::from_secs(5);

impl Engine {
    /// Signs and records. Whatever fails here gives the reservation back, because
    /// nothing has left.
    pub(crate) async fn sign(
        &self,
        id: SpendId,
        offer: &Offer,
        wire: PaymentRequirements,
        required: &Required,
    ) -> Result<Ready, PayError> {
        self.tell(&Event::Reserved { spend: id.clone() });
        crash::point("spend::reserved::after_write");
        let signed = match self.prepare(offer, wire, required).await {
            Ok(signed) => signed,
            Err(error) => {
                self.give_back(&id, error.code()).await;
                return Err(error);
            }
        };
        crash::point("spend::signed::before_write");
        let spends = self.spends()?;
        spends.signed(&id, signed.clone(), self.clock.now()).await?;
        crash::point("spend::signed::after_write");
        self.tell(&Event::Signed {
            spend: id.clone(),
            valid_until: signed.valid_until,
        });
        let record = spends
            .spend(&id)
            .await?
            .ok_or_else(|| PayError::from(tollway_ledger::LedgerError::NotFound(id.to_string())))?;
        Ok(Ready {
            record,
            version: required.version,
        })
    }

    async fn give_back(&self, id: &SpendId, reason: &str) {
        let Ok(spends) = self.spends() else { return };
        let released = spends.release(id, reason, self.clock.now()).await;
        if let Err(error) = released {
            // It counts against the budget until it is reconciled.
            tracing::warn!(spend = %id, %error, "a reservation could not be given back");
        }
    }

    async fn prepare(
        &self,
        offer: &Offer,
        wire: PaymentRequirements,
        required: &Required,
    ) -> Result<SignedSpend, PayError> {
        let limits = Limits {
            max_amount: offer.terms.amount,
            // The width of the whole window; the server's time-out bounds its end.
            max_lifetime: self.policy.max_lifetime.min(MAX_LIFETIME),
        };
        let offered = Offered {
            resource: Some(&required.terms.resource),
            extensions: required.terms.extensions.as_ref(),
        };
        let signing = self
            .wallet()?
            .prepare_offered(&offer.terms, &limits, offered);
        let prepared = tokio::time::timeout(SIGNING, signing).await.map_err(|_| {
            PayError::new(
                ErrorKind::Failed,
                Refusal::new(
                    code::WALLET_UNAVAILABLE,
                    "The wallet did not sign in time; try again.",
                ),
            )
        })??;
        self.check(offer, &prepared)?;
        let mut payload = payload(wire, prepared.payload, required)?;
        if let Some(filled) = prepared.extensions {
            payload.extensions.get_or_insert_default().extend(filled);
        }
        header::payment(required.version, &payload).map_err(PayError::declined)?;
        Ok(SignedSpend {
            identity: prepared.identity,
            payload,
            valid_until: prepared.valid_until,
            transaction: prepared.transaction,
        })
    }

    /// What the wallet signed must be what was decided.
    fn check(&self, offer: &Offer, prepared: &Prepared) -> Result<(), PayError> {
        let latest = self.clock.now().plus(offer.lifetime).plus(SKEW);
        if prepared.valid_until > latest {
            return Err(PayError::declined(Refusal::new(
                code::POLICY_LIFETIME,
                format!(
                    "The wallet signed for longer than the allowed {} s, and nothing was sent; use another wallet.",
                    offer.lifetime.as_secs()
                ),
            )));
        }
        let account = self.wallet()?.address(&offer.terms.network);
        let other = prepared.amount > offer.terms.amount
            || prepared.identity.network != offer.terms.network
            || Some(&prepared.identity.payer) != account.as_ref();
        if other {
            return Err(PayError::declined(Refusal::new(
                code::POLICY_AMOUNT,
                "The wallet signed something else than was decided, and nothing was sent; use another wallet.",
            )));
        }
        Ok(())
    }
}

/// The payment as it is shown: the chosen entry and the resource unchanged, the
/// server's extensions echoed, and an identifier where one is offered. A version
/// 1 payment says so in `x402_version`, so that it is shown as one again.
fn payload(
    accepted: PaymentRequirements,
    payload: tollway_core::wire::Object,
    required: &Required,
) -> Result<PaymentPayload, PayError> {
    let terms = &required.terms;
    let mut payment = PaymentPayload {
        x402_version: required.version.number(),
        resource: Some(terms.resource.clone()),
        accepted,
        payload,
        extensions: terms.extensions.clone(),
    };
    if required.version == Version::V2 && requires(terms.extensions.as_ref()).is_some() {
        let id = PaymentIdentifierId::random().map_err(|error| {
            PayError::new(
                ErrorKind::Failed,
                Refusal::new(
                    code::WALLET_UNAVAILABLE,
                    "The system has no randomness to give; try again.",
                )
                .with_detail(error),
            )
        })?;
        attach(&mut payment, &id);
    }
    Ok(payment)
}
