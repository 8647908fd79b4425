//! The `offer-receipt` extension: a seller signs what it offers and what it was paid
//! for, so that a buyer can show both to others (x402 extension offer-receipt, version 1).
//!
//! The terms of the 402 count whether or not they are signed; a signature adds that they
//! can be shown. [`Notary`] signs, [`StatementReader`] reads; how a signature is made is
//! theirs (`format`).

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::wire::{Object, PaymentRequirements};

/// The extension's key.
pub const OFFER_RECEIPT: &str = "offer-receipt";

/// The version of offers and receipts that is written and read.
pub const STATEMENT_VERSION: u64 = 1;

/// What a seller offers: one entry of `accepts`, until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OfferStatement {
    /// [`STATEMENT_VERSION`].
    pub version: u64,
    /// URL of what is sold.
    pub resource_url: String,
    /// Scheme.
    pub scheme: String,
    /// CAIP-2 name.
    pub network: String,
    /// Contract of the asset.
    pub asset: String,
    /// Payee.
    pub pay_to: String,
    /// Atomic units, decimal.
    pub amount: String,
    /// Unix second until which it holds; zero says nothing.
    #[serde(default)]
    pub valid_until: u64,
}

impl OfferStatement {
    /// What an entry of `accepts` offers, for so long as a payment of it may take.
    #[must_use]
    pub fn of(accepted: &PaymentRequirements, resource_url: &str, now: u64) -> Self {
        Self {
            version: STATEMENT_VERSION,
            resource_url: resource_url.to_owned(),
            scheme: accepted.scheme.clone(),
            network: accepted.network.clone(),
            asset: accepted.asset.clone(),
            pay_to: accepted.pay_to.clone(),
            amount: accepted.amount.clone(),
            valid_until: now.saturating_add(accepted.max_timeout_seconds),
        }
    }

    /// Whether it states these terms for this resource, word for word.
    #[must_use]
    pub fn states(&self, accepted: &PaymentRequirements, resource_url: &str) -> bool {
        let said = [
            (self.resource_url.as_str(), resource_url),
            (&self.scheme, &accepted.scheme),
            (&self.network, &accepted.network),
            (&self.asset, &accepted.asset),
            (&self.pay_to, &accepted.pay_to),
            (&self.amount, &accepted.amount),
        ];
        self.version == STATEMENT_VERSION && said.iter().all(|(ours, theirs)| ours == theirs)
    }
}

/// What a seller was paid for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptStatement {
    /// [`STATEMENT_VERSION`].
    pub version: u64,
    /// CAIP-2 name.
    pub network: String,
    /// URL of what was delivered.
    pub resource_url: String,
    /// Who paid.
    pub payer: String,
    /// Unix second.
    pub issued_at: u64,
    /// Hash of the transaction; empty where the seller does not name it.
    #[serde(default)]
    pub transaction: String,
}

/// An offer or a receipt with its signature, as it is sent.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignedStatement {
    /// `eip712` or `jws`.
    pub format: String,
    /// Of an offer: its place in `accepts`, from 0; a hint, and not signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept_index: Option<u64>,
    /// What is signed (`eip712`); in `jws` it stands in the signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
    /// The signature.
    pub signature: String,
}

impl fmt::Debug for SignedStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedStatement")
            .field("format", &self.format)
            .field("payload", &self.payload)
            .finish_non_exhaustive()
    }
}

/// Signs what a seller offers and was paid for.
pub trait Notary: Send + Sync {
    /// Signs an offer.
    fn offer(&self, offer: &OfferStatement) -> SignedStatement;

    /// Signs a receipt.
    fn receipt(&self, receipt: &ReceiptStatement) -> SignedStatement;
}

/// Why a statement says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnreadStatement {
    /// A format whose signatures are not read here.
    #[error("its signatures ({0}) are not read here")]
    Format(&'static str),
    /// It is not what the format asks for.
    #[error("it is malformed")]
    Malformed,
    /// Nobody can have signed it so.
    #[error("its signature is nobody's")]
    Signature,
}

/// Reads signed statements: what they say, and whose signature it is. Whether that is
/// the seller's is for the caller to say.
pub trait StatementReader: Send + Sync {
    /// Reads an offer.
    ///
    /// # Errors
    /// [`UnreadStatement`].
    fn offer(&self, signed: &SignedStatement) -> Result<(OfferStatement, String), UnreadStatement>;

    /// Reads a receipt.
    ///
    /// # Errors
    /// [`UnreadStatement`].
    fn receipt(
        &self,
        signed: &SignedStatement,
    ) -> Result<(ReceiptStatement, String), UnreadStatement>;
}

/// The extension as a 402 answer carries it.
#[must_use]
pub fn declare_offers(offers: &[SignedStatement]) -> Value {
    envelope("offers", json!(offers), json!({ "type": "array" }))
}

/// The extension as a settlement's answer carries it.
#[must_use]
pub fn declare_receipt(receipt: &SignedStatement) -> Value {
    envelope("receipt", json!(receipt), json!({ "type": "object" }))
}

fn envelope(key: &str, info: Value, schema: Value) -> Value {
    json!({
        "info": { key: info },
        "schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": { key: schema },
            "required": [key],
        },
    })
}

/// Most offers that are read.
const MAX_OFFERS: usize = 64;

/// The signed offers among the extensions of a 402 answer; what is malformed is none.
#[must_use]
pub fn offers(extensions: Option<&Object>) -> Vec<SignedStatement> {
    let found = info(extensions, "offers").and_then(Value::as_array);
    let found = found.into_iter().flatten().take(MAX_OFFERS);
    found
        .filter_map(|offer| serde_json::from_value(offer.clone()).ok())
        .collect()
}

/// The signed receipt among the extensions of a settlement's answer, if there is
/// something in its place: `None` inside if it is malformed.
#[must_use]
pub fn receipt(extensions: Option<&Object>) -> Option<Option<SignedStatement>> {
    let found = info(extensions, "receipt")?;
    Some(serde_json::from_value(found.clone()).ok())
}

fn info<'v>(extensions: Option<&'v Object>, key: &str) -> Option<&'v Value> {
    extensions?.get(OFFER_RECEIPT)?.get("info")?.get(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement() -> SignedStatement {
        SignedStatement {
            format: "eip712".to_owned(),
            accept_index: Some(0),
            payload: Some(json!({"version": 1})),
            signature: "0x5ec4e7".to_owned(),
        }
    }

    #[test]
    fn what_is_declared_is_found_again() {
        let mut all = Object::new();
        all.insert(OFFER_RECEIPT.to_owned(), declare_offers(&[statement()]));
        assert_eq!(offers(Some(&all)), [statement()]);
        assert_eq!(receipt(Some(&all)), None);
        all.insert(OFFER_RECEIPT.to_owned(), declare_receipt(&statement()));
        assert_eq!(receipt(Some(&all)), Some(Some(statement())));
        all.insert(OFFER_RECEIPT.to_owned(), json!({"info": {"receipt": 7}}));
        assert_eq!(receipt(Some(&all)), Some(None));
        assert!(!format!("{:?}", statement()).contains("5ec4e7"));
    }
}
