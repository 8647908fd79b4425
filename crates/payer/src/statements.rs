//! What a seller signed about a purchase (extension `offer-receipt`), and what that is
//! worth: a signature by a key that nobody ties to the seller proves nothing.

use std::sync::Arc;

use http::HeaderMap;
use serde::{Deserialize, Serialize};
use tollway_core::extensions::offer_receipt::{
    self, OfferStatement, ReceiptStatement, STATEMENT_VERSION, SignedStatement, StatementReader,
};
use tollway_core::wire::{PaymentPayload, PaymentRequirements};
use tollway_core::{Address, Network, SpendId, TxHash, header};

use crate::engine::Engine;
use crate::payment::Payment;

/// A receipt is issued when its answer leaves; clocks differ, and answers wait.
const ISSUED_BEFORE_SECONDS: u64 = 3600;
const ISSUED_AHEAD_SECONDS: u64 = 300;

pub(crate) type KeepReceipt = Arc<dyn Fn(&KeptReceipt) + Send + Sync>;

/// Who reads what sellers sign, and keeps it.
#[derive(Clone)]
pub(crate) struct Statements {
    pub(crate) reader: Arc<dyn StatementReader>,
    pub(crate) keep: KeepReceipt,
}

/// Whose signature a receipt has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignedBy {
    /// The account that was paid.
    Payee,
    /// The key that signed the offer which was accepted, as the server sent it.
    Offerer,
}

/// What a receipt is worth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "worth")]
pub enum ReceiptWorth {
    /// The seller's, and about this payment.
    Proved {
        /// Who signed.
        signer: String,
        /// What ties the signer to the seller.
        by: SignedBy,
    },
    /// About this payment, and signed by somebody whom nothing ties to the seller.
    Unproved {
        /// Who signed.
        signer: String,
    },
    /// Not about this payment, or nobody's: it proves nothing.
    False {
        /// In words.
        why: String,
    },
}

/// A receipt as it came, with what it is compared with. It holds no secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptReceipt {
    /// The record of the payment.
    pub spend: SpendId,
    /// Unix second when it came.
    pub received_at: u64,
    /// Where it was paid.
    pub network: Network,
    /// Who paid.
    pub payer: Address,
    /// The transaction that the server named.
    pub transaction: Option<TxHash>,
    /// What was bought, as the terms named it.
    pub resource: String,
    /// The terms that were accepted.
    pub accepted: PaymentRequirements,
    /// The signed offer of these terms, if there was one.
    pub offer: Option<SignedStatement>,
    /// The receipt; none if it could not be read.
    pub receipt: Option<SignedStatement>,
}

impl KeptReceipt {
    /// Says what it is worth; asks nobody.
    #[must_use]
    pub fn worth(&self, reader: &dyn StatementReader) -> ReceiptWorth {
        let wrong = |why: String| ReceiptWorth::False { why };
        let Some(receipt) = &self.receipt else {
            return wrong("it is malformed".to_owned());
        };
        let (said, signer) = match reader.receipt(receipt) {
            Ok(read) => read,
            Err(why) => return wrong(why.to_string()),
        };
        if let Some(what) = self.difference(&said) {
            return wrong(format!("it names another {what}"));
        }
        let is = |account: &str| self.account(account) == self.account(&signer);
        if self.account(&signer).is_some() && is(&self.accepted.pay_to) {
            let by = SignedBy::Payee;
            return ReceiptWorth::Proved { signer, by };
        }
        match self.offerer(reader) {
            Some((_, offerer)) if offerer == signer => ReceiptWorth::Proved {
                signer,
                by: SignedBy::Offerer,
            },
            _ => ReceiptWorth::Unproved { signer },
        }
    }

    /// Who signed the offer, if it states what was accepted and held when it was.
    fn offerer(&self, reader: &dyn StatementReader) -> Option<(OfferStatement, String)> {
        let read = reader.offer(self.offer.as_ref()?).ok()?;
        let holds = read.0.valid_until == 0
            || read.0.valid_until.saturating_add(ISSUED_BEFORE_SECONDS) >= self.received_at;
        (read.0.states(&self.accepted, &self.resource) && holds).then_some(read)
    }

    fn difference(&self, said: &ReceiptStatement) -> Option<&'static str> {
        let earliest = self.received_at.saturating_sub(ISSUED_BEFORE_SECONDS);
        let latest = self.received_at.saturating_add(ISSUED_AHEAD_SECONDS);
        let transaction = self.transaction.as_ref().map(TxHash::as_str);
        let other_transaction = !said.transaction.is_empty()
            && transaction.is_some_and(|ours| !ours.eq_ignore_ascii_case(&said.transaction));
        [
            (said.version != STATEMENT_VERSION, "version"),
            (said.resource_url != self.resource, "resource"),
            (said.network != self.network.as_str(), "network"),
            (
                self.account(&said.payer).as_ref() != Some(&self.payer),
                "payer",
            ),
            (other_transaction, "transaction"),
            (
                !(earliest..=latest).contains(&said.issued_at),
                "time than now",
            ),
        ]
        .into_iter()
        .find_map(|(differs, what)| differs.then_some(what))
    }

    fn account(&self, text: &str) -> Option<Address> {
        self.network.address(text).ok()
    }
}

/// The signed offer of what was accepted: the one that says so, else the first that
/// may be it.
fn offer_of(payload: &PaymentPayload, reader: &dyn StatementReader) -> Option<SignedStatement> {
    let resource = payload.resource.as_ref()?;
    let mut offers = offer_receipt::offers(payload.extensions.as_ref()).into_iter();
    offers.find(|offer| {
        let said = reader.offer(offer);
        said.is_ok_and(|(said, _)| said.states(&payload.accepted, &resource.url))
    })
}

impl Engine {
    /// The payment with what the seller signed about it, which is kept whatever it is
    /// worth.
    pub(crate) fn with_receipt(
        &self,
        payment: Payment,
        payload: Option<&PaymentPayload>,
        headers: &HeaderMap,
    ) -> Payment {
        let Some((statements, payload)) = self.statements.as_ref().zip(payload) else {
            return payment;
        };
        let settled = header::receipt(headers).ok().flatten();
        let settled = settled.filter(|settled| settled.success);
        let found = settled.and_then(|said| offer_receipt::receipt(said.extensions.as_ref()));
        let Some(receipt) = found else {
            return payment;
        };
        let kept = KeptReceipt {
            spend: payment.spend.clone(),
            received_at: self.clock.now().secs(),
            network: payment.network.clone(),
            payer: payment.payer.clone(),
            transaction: payment.transaction.clone(),
            resource: payload
                .resource
                .as_ref()
                .map(|resource| resource.url.clone())
                .unwrap_or_default(),
            accepted: payload.accepted.clone(),
            offer: offer_of(payload, &*statements.reader),
            receipt,
        };
        (statements.keep)(&kept);
        Payment {
            receipt: Some(kept.worth(&*statements.reader)),
            ..payment
        }
    }
}
