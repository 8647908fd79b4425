//! What the seller signs (extension `offer-receipt`): its offers in every 402 answer,
//! and a receipt with every answer that was paid for and delivered.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::Response;
use tollway_core::Timestamp;
use tollway_core::extensions::offer_receipt::{
    self, Notary, OFFER_RECEIPT, OfferStatement, ReceiptStatement, STATEMENT_VERSION,
    SignedStatement,
};
use tollway_core::extensions::sign_in::SIGN_IN_WITH_X;
use tollway_core::header::{self, PAYMENT_RESPONSE};
use tollway_core::wire::{Object, SettleResponse, Version};

use crate::Offer;
use crate::body::Body;
use crate::gate::Inner;

/// Who signs, and how much it says.
#[derive(Clone)]
pub(crate) struct Statements {
    pub notary: std::sync::Arc<dyn Notary>,
    /// Whether receipts name the transaction.
    pub names_transaction: bool,
}

/// Signed offers kept ready for one route: a signature costs more than all else of an
/// answer, and asking is free.
const MAX_KEPT: usize = 64;
/// Longest path whose offers are kept ready.
const MAX_KEPT_PATH_BYTES: usize = 256;
/// What is kept has this part of its time behind it at most.
const KEPT_FOR: u32 = 4;

/// The signed offers of one route, by path, until they are signed anew.
#[derive(Debug, Default)]
pub(crate) struct KeptOffers(Mutex<HashMap<String, (Timestamp, Vec<SignedStatement>)>>);

impl KeptOffers {
    fn find(&self, path: &str, now: Timestamp) -> Option<Vec<SignedStatement>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, signed) = kept.get(path)?;
        (now < *until).then(|| signed.clone())
    }

    fn keep(&self, path: &str, until: Timestamp, signed: &[SignedStatement], now: Timestamp) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if path.len() > MAX_KEPT_PATH_BYTES {
            return;
        }
        if kept.len() >= MAX_KEPT {
            kept.retain(|_, (until, _)| now < *until);
        }
        while kept.len() >= MAX_KEPT {
            let oldest = kept.iter().min_by_key(|(_, (until, _))| *until);
            let Some(oldest) = oldest.map(|(path, _)| path.clone()) else {
                break;
            };
            kept.remove(&oldest);
        }
        kept.insert(path.to_owned(), (until, signed.to_vec()));
    }
}

impl Inner {
    /// The extensions of a 402 answer for a path: with the offers, signed, and with how
    /// who paid before gets it again.
    pub(crate) fn told_extensions<'e>(
        &self,
        extensions: &'e Object,
        (is_returning, kept): (bool, &KeptOffers),
        offers: &[Offer],
        path: &str,
    ) -> Cow<'e, Object> {
        let sign_in = is_returning
            .then(|| self.sign_in_offer(offers, path))
            .flatten();
        if sign_in.is_none() && self.statements.is_none() {
            return Cow::Borrowed(extensions);
        }
        let mut told = extensions.clone();
        if let Some(offer) = sign_in {
            told.insert(SIGN_IN_WITH_X.to_owned(), offer.declared());
        }
        if let Some(statements) = &self.statements {
            let signed = self.signed_offers(statements, kept, offers, path);
            let declared = offer_receipt::declare_offers(&signed);
            told.insert(OFFER_RECEIPT.to_owned(), declared);
        }
        Cow::Owned(told)
    }

    fn signed_offers(
        &self,
        statements: &Statements,
        kept: &KeptOffers,
        offers: &[Offer],
        path: &str,
    ) -> Vec<SignedStatement> {
        let now = self.now();
        if let Some(signed) = kept.find(path, now) {
            return signed;
        }
        let resource = format!("{}{path}", self.base_url);
        let signed = (0_u64..).zip(offers).map(|(place, offer)| {
            let stated = OfferStatement::of(&offer.terms().wire, &resource, now.secs());
            let mut signed = statements.notary.offer(&stated);
            signed.accept_index = Some(place);
            signed
        });
        let signed: Vec<_> = signed.collect();
        let times = offers
            .iter()
            .map(|offer| offer.terms().wire.max_timeout_seconds);
        let shortest = Duration::from_secs(times.min().unwrap_or_default());
        kept.keep(path, now.plus(shortest / KEPT_FOR), &signed, now);
        signed
    }

    /// The answer with a signed receipt, if it was paid for and delivered, and can be
    /// told so: version 1 has no extensions.
    pub(crate) fn receipted(&self, path: &str, mut answer: Response<Body>) -> Response<Body> {
        let Some(statements) = &self.statements else {
            return answer;
        };
        let is_delivered = answer.status().as_u16() < 400;
        let said = answer.headers().get(&PAYMENT_RESPONSE);
        let said = said.and_then(|value| value.to_str().ok());
        let said = said.and_then(|text| header::decode::<SettleResponse>(text).ok());
        let Some(mut settled) = said.filter(|said| said.success && is_delivered) else {
            return answer;
        };
        let Some(payer) = settled.payer.clone().filter(|payer| !payer.is_empty()) else {
            return answer;
        };
        let signed = statements.notary.receipt(&ReceiptStatement {
            version: STATEMENT_VERSION,
            network: settled.network.clone(),
            resource_url: format!("{}{path}", self.base_url),
            payer,
            issued_at: self.now().secs(),
            transaction: match statements.names_transaction {
                true => settled.transaction.clone(),
                false => String::new(),
            },
        });
        let extensions = settled.extensions.get_or_insert_default();
        let declared = offer_receipt::declare_receipt(&signed);
        extensions.insert(OFFER_RECEIPT.to_owned(), declared);
        let (name, value) = header::response(Version::V2, &settled);
        answer.headers_mut().insert(name, value);
        answer
    }
}
