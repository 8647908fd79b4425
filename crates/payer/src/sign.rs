//! From a reservation to a payment on disk. Nothing leaves here.

use std::time::Duration;

use tollway_core::extensions::{PaymentIdentifierId, attach, requires};
use tollway_core::header::Required;
use tollway_core::wire::{PaymentPayload, PaymentRequirements, ResourceInfo, Version};
use tollway_core::{
    Amount, Limits, Offered, Prepared, Purchase, Refusal, SpendId, Terms, Timestamp, WalletError,
    codes, header,
};
use tollway_ledger::{SignedSpend, SpendRecord};

use crate::asked::Asked;
use crate::code;
use crate::crash;
use crate::engine::{Engine, Ready};
use crate::error::{ErrorKind, PayError};
use crate::event::Event;
use crate::method::PayMethod;
use crate::offer::{Offer, Via};
use crate::policy::MAX_LIFETIME;
use crate::request::public_url;
use crate::token::{NO_VERSION, TokenPurchase, body};

/// How long a wallet may take to sign: a person may have to confirm.
pub(crate) const SIGNING: Duration = Duration::from_secs(120);
/// How long the proof of a transaction is shown at most.
const MAX_PROOF_AGE: Duration = Duration::from_secs(86_400);
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
        asked: &Asked,
        by_own_key: bool,
    ) -> Result<Ready, PayError> {
        self.tell(&Event::Reserved { spend: id.clone() });
        crash::point("spend::reserved::after_write");
        let signed = match self.prepare(&id, offer, wire, asked, by_own_key).await {
            Ok(signed) => signed,
            Err(error) => {
                self.give_back(&id, error.code()).await;
                return Err(error);
            }
        };
        crash::point("spend::signed::before_write");
        let spends = self.spends()?;
        let recorded = spends.signed(&id, signed.clone(), self.clock.now()).await;
        if let Err(error) = recorded {
            // What is not on record does not leave.
            let error = PayError::from(error);
            self.give_back(&id, error.code()).await;
            return Err(error);
        }
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
            version: asked.required.version,
        })
    }

    pub(crate) async fn give_back(&self, id: &SpendId, reason: &str) {
        let Ok(spends) = self.spends() else { return };
        let released = spends.release(id, reason, self.clock.now()).await;
        if let Err(error) = released {
            // It counts against the budget until it is reconciled.
            tracing::warn!(spend = %id, %error, "a reservation could not be given back");
        }
    }

    async fn prepare(
        &self,
        id: &SpendId,
        offer: &Offer,
        wire: PaymentRequirements,
        asked: &Asked,
        by_own_key: bool,
    ) -> Result<SignedSpend, PayError> {
        let mut prepared = self.sign_within(id, offer, asked, by_own_key).await;
        if let Err(error) = &prepared
            && error.code() == codes::PERMIT2_ALLOWANCE_REQUIRED
            && self.policy.approve_permit2
        {
            self.approve(offer).await?;
            prepared = self.sign_within(id, offer, asked, by_own_key).await;
        }
        let prepared = prepared?;
        self.check(offer, &prepared)?;
        let valid_until = self.until(offer, &prepared);
        let mut payload = match offer.via {
            Via::Header => payload(wire, prepared.payload, &asked.required)?,
            Via::Token => posted(wire, prepared.payload, asked)?,
        };
        if let Some(filled) = prepared.extensions {
            payload.extensions.get_or_insert_default().extend(filled);
        }
        if offer.via == Via::Header {
            header::payment(asked.required.version, &payload).map_err(PayError::declined)?;
        }
        Ok(SignedSpend {
            identity: prepared.identity,
            payload,
            valid_until,
            transaction: prepared.transaction,
        })
    }

    async fn sign_within(
        &self,
        id: &SpendId,
        offer: &Offer,
        asked: &Asked,
        by_own_key: bool,
    ) -> Result<Prepared, PayError> {
        let limits = self.signing_limits(offer.terms.amount);
        let terms = &asked.required.terms;
        let url = public_url(&asked.url);
        let offered = Offered {
            resource: Some(&terms.resource),
            extensions: terms
                .extensions
                .as_ref()
                .filter(|_| offer.via == Via::Header),
            may_approve: self.policy.approve_permit2,
            by_own_key,
            purchase: Some(Purchase { id, url: &url }),
        };
        let signing = self.wallet()?;
        let signing = signing.prepare_offered(&offer.terms, &limits, offered);
        let prepared = tokio::time::timeout(SIGNING, signing).await;
        Ok(prepared.map_err(|_| not_in_time())??)
    }

    pub(crate) fn signing_limits(&self, max_amount: Amount) -> Limits {
        Limits {
            max_amount,
            // The width of the whole window; the server's time-out bounds its end.
            max_lifetime: self.policy.max_lifetime.min(MAX_LIFETIME),
        }
    }

    /// A payment that was refused, signed by another key of the same account under
    /// the same identity: the chain takes one of the two at most. None if the wallet
    /// has nothing better to show, and after anything that went wrong.
    pub(crate) async fn signed_again(&self, ready: &Ready) -> Option<Ready> {
        match self.try_signed_again(ready).await {
            Ok(again) => again,
            Err(error) => {
                tracing::warn!(spend = %ready.record.id, code = error.code(), "a refused payment could not be signed again");
                None
            }
        }
    }

    async fn try_signed_again(&self, ready: &Ready) -> Result<Option<Ready>, PayError> {
        let version = ready.version;
        let again = self.sign_record_again(&ready.record).await?;
        Ok(again.map(|record| Ready { record, version }))
    }

    /// The same payment by another key, recorded; `None` if nothing better can be
    /// signed.
    pub(crate) async fn sign_record_again(
        &self,
        record: &SpendRecord,
    ) -> Result<Option<SpendRecord>, PayError> {
        let Some(before) = record.signed.as_ref().filter(|s| s.transaction.is_none()) else {
            return Ok(None);
        };
        let terms = Terms::check(before.payload.accepted.clone()).map_err(PayError::declined)?;
        let limits = self.signing_limits(record.spend.amount);
        let wallet = self.wallet()?;
        let signing = wallet.sign_again(&terms, &limits, &before.identity);
        let again = tokio::time::timeout(SIGNING, signing).await;
        let Some(again) = again.map_err(|_| not_in_time())?? else {
            return Ok(None);
        };
        let latest = self.clock.now().plus(limits.max_lifetime).plus(SKEW);
        let same = again.identity == before.identity
            && again.amount <= record.spend.amount
            && again.transaction.is_none()
            && again.valid_until <= latest;
        if !same {
            return Err(PayError::declined(Refusal::new(
                code::POLICY_AMOUNT,
                "The wallet signed something else than was decided, and nothing was sent; use another wallet.",
            )));
        }
        let mut signed = before.clone();
        signed.payload.payload = again.payload;
        signed.valid_until = again.valid_until;
        let spends = self.spends()?;
        spends
            .signed_again(&record.id, signed, self.clock.now())
            .await?;
        self.tell(&Event::Signed {
            spend: record.id.clone(),
            valid_until: again.valid_until,
        });
        Ok(spends.spend(&record.id).await?)
    }

    /// Lets Permit2 move the asset, by a transaction that moves no money.
    async fn approve(&self, offer: &Offer) -> Result<(), PayError> {
        let (wallet, terms) = (self.wallet()?, &offer.terms);
        let raw = wallet.approval(terms).await?;
        let sent = wallet.broadcast(&terms.network, &raw).await;
        sent.map_err(|error| PayError::from(WalletError::Chain(error)))?;
        self.tell(&Event::Approved {
            network: terms.network.clone(),
            asset: terms.asset.clone(),
            transaction: raw.hash,
        });
        Ok(())
    }

    /// Until when a payment may be shown. An authorization ends by itself; a
    /// transaction does not, and its proof is shown as long as its offer holds.
    pub(crate) fn until(&self, offer: &Offer, prepared: &Prepared) -> Timestamp {
        if prepared.transaction.is_none() {
            return prepared.valid_until;
        }
        let now = self.clock.now();
        let unsaid = now.plus(offer.terms.timeout().min(MAX_PROOF_AGE));
        match prepared.valid_until > now.plus(MAX_PROOF_AGE) {
            true => unsaid,
            false => prepared.valid_until,
        }
    }

    /// What the wallet signed must be what was decided.
    pub(crate) fn check(&self, offer: &Offer, prepared: &Prepared) -> Result<(), PayError> {
        let latest = self.clock.now().plus(offer.lifetime).plus(SKEW);
        if prepared.transaction.is_none() && prepared.valid_until > latest {
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
            || Some(&prepared.identity.payer) != account.as_ref()
            // A token endpoint takes no proof, and a permit brings no transaction.
            || (prepared.transaction.is_some()
                && PayMethod::of(&offer.terms) != Some(PayMethod::Txid));
        if other {
            return Err(PayError::declined(Refusal::new(
                code::POLICY_AMOUNT,
                "The wallet signed something else than was decided, and nothing was sent; use another wallet.",
            )));
        }
        Ok(())
    }
}

pub(crate) fn not_in_time() -> PayError {
    PayError::new(
        ErrorKind::Failed,
        Refusal::new(
            code::WALLET_UNAVAILABLE,
            "The wallet did not sign in time; try again.",
        ),
    )
}

/// The payment as it is posted to a token endpoint. The mark in it tells whoever
/// resumes it where that is.
fn posted(
    accepted: PaymentRequirements,
    payload: tollway_core::wire::Object,
    asked: &Asked,
) -> Result<PaymentPayload, PayError> {
    let door = asked.door.as_ref().ok_or_else(|| {
        PayError::invalid("There is no token endpoint to post to; fetch the URL anew.")
    })?;
    let purchase = TokenPurchase {
        endpoint: door.endpoint.clone(),
        version: door.version.clone(),
    };
    let payment = PaymentPayload {
        x402_version: NO_VERSION,
        resource: Some(ResourceInfo {
            url: door.endpoint.to_string(),
            ..ResourceInfo::default()
        }),
        accepted,
        payload,
        extensions: Some(purchase.extension()),
    };
    // Whether it can be written on this wire is known before it is recorded.
    body(&purchase, &payment).map_err(PayError::declined)?;
    Ok(payment)
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
