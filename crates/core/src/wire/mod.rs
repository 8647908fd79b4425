//! x402 wire types, version 2, exactly as they are sent (x402 specification v2 §5).
//!
//! They hold plain strings: what arrived is kept as it arrived, and checked by
//! [`crate::Terms::check`] and the chain. Unknown fields are ignored; optional
//! fields may be absent or `null`.

mod facilitator;
pub mod v1;

pub(crate) use facilitator::unnamed;
pub use facilitator::{FacilitatorBody, Version};

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// A JSON object.
pub type Object = Map<String, Value>;

/// The terms of a resource: what a 402 answer carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequired {
    /// Always 2.
    pub x402_version: u64,
    /// Why payment is asked for, or why the last one was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What is sold.
    pub resource: ResourceInfo,
    /// Ways to pay, any of which will do; empty on sign-in-only routes.
    pub accepts: Vec<PaymentRequirements>,
    /// Extensions by key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Object>,
}

/// What is sold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceInfo {
    /// Absolute URL.
    pub url: String,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Media type of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Name of the service, at most 32 printable ASCII characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// At most 5 tags of at most 32 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// At most 2048 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icon_url: Option<String>,
}

/// One way to pay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequirements {
    /// `exact`, `upto`, `batch-settlement`.
    pub scheme: String,
    /// CAIP-2 name.
    pub network: String,
    /// Atomic units, decimal.
    pub amount: String,
    /// Contract of the asset.
    pub asset: String,
    /// Payee.
    pub pay_to: String,
    /// Longest time the payment may take, seconds, above zero.
    pub max_timeout_seconds: u64,
    /// Scheme-specific; `assetTransferMethod` and `paymentFlow` are reserved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Object>,
}

impl PaymentRequirements {
    /// A text in `extra`.
    #[must_use]
    pub fn extra_str(&self, key: &str) -> Option<&str> {
        self.extra.as_ref()?.get(key)?.as_str()
    }
}

/// A payment: what a paying request carries. Its `Debug` shows no signature:
/// whoever holds one can present it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentPayload {
    /// Always 2 inside; v1 is translated at the edge.
    pub x402_version: u64,
    /// What is bought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<ResourceInfo>,
    /// The chosen entry of `accepts`, unchanged.
    pub accepted: PaymentRequirements,
    /// The scheme's own object (for EIP-3009: `signature` and `authorization`).
    pub payload: Object,
    /// Extensions by key, echoing the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Object>,
}

impl fmt::Debug for PaymentPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PaymentPayload")
            .field("x402_version", &self.x402_version)
            .field("resource", &self.resource)
            .field("accepted", &self.accepted)
            .field("payload", &KeysOf(&self.payload))
            .field("extensions", &self.extensions.as_ref().map(KeysOf))
            .finish()
    }
}

/// An object that is shown by its keys only: its values may be signatures.
pub(crate) struct KeysOf<'a>(pub(crate) &'a Object);

impl fmt::Debug for KeysOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A facilitator's answer to `/verify`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyResponse {
    /// Whether the payment would settle now.
    pub is_valid: bool,
    /// Stable code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid_reason: Option<String>,
    /// Sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid_message: Option<String>,
    /// Who pays, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer: Option<String>,
    /// Extensions by key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Object>,
    /// Scheme-specific.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Object>,
}

/// Some facilitators send `null` where nothing was broadcast.
fn null_as_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Option::<String>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A facilitator's answer to `/settle`, and the content of `PAYMENT-RESPONSE`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettleResponse {
    /// Whether the money moved.
    pub success: bool,
    /// Stable code; `settlement_pending` is not terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_reason: Option<String>,
    /// Sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// Who paid, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer: Option<String>,
    /// Hash of the transaction; empty unless something was broadcast.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub transaction: String,
    /// CAIP-2 name (v1: the v1 name).
    #[serde(default, deserialize_with = "null_as_empty")]
    pub network: String,
    /// What was really settled, atomic units; mandatory for `upto`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<String>,
    /// Extensions by key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Object>,
    /// Scheme-specific.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Object>,
}

/// One thing that a facilitator can do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SupportedKind {
    /// 2 or 1.
    pub x402_version: u64,
    /// Scheme.
    pub scheme: String,
    /// CAIP-2 name; in v1 kinds the v1 name.
    pub network: String,
    /// Copied by servers into requirements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Object>,
}

/// A facilitator's answer to `/supported`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SupportedResponse {
    /// What can be paid.
    pub kinds: Vec<SupportedKind>,
    /// Extension keys.
    #[serde(default)]
    pub extensions: Vec<String>,
    /// Settling accounts by CAIP-2 pattern (`eip155:*`).
    #[serde(default)]
    pub signers: std::collections::BTreeMap<String, Vec<String>>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_signature_is_never_shown_by_debug() {
        let offer = json!({"scheme": "exact", "network": "eip155:84532", "amount": "1", "asset": "0x1", "payTo": "0x2", "maxTimeoutSeconds": 60});
        let secret = json!({"signature": "0x5ec4e7", "authorization": {"nonce": "0x5ec4e7"}});
        let payment: PaymentPayload = serde_json::from_value(json!({
            "x402Version": 2, "accepted": offer, "payload": secret, "extensions": {"sign-in-with-x": secret},
        }))
        .unwrap();
        let body = FacilitatorBody {
            version: Version::V2,
            requirements: payment.accepted.clone(),
            payload: payment.clone(),
        };
        let old: v1::PaymentPayload = serde_json::from_value(
            json!({"x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": secret}),
        )
        .unwrap();
        let shown = format!("{payment:?} {payment:#?} {body:?} {old:?}");
        assert!(!shown.contains("5ec4e7"), "{shown}");
        assert!(shown.contains("sign-in-with-x") && shown.contains("eip155:84532"));
    }

    #[test]
    fn version_1_hears_its_own_word_for_another_value() {
        let v2 = "invalid_exact_evm_payload_authorization_value_mismatch";
        let v1 = "invalid_exact_evm_authorization_value";
        let verify = |code: &str| {
            let response = VerifyResponse {
                invalid_reason: Some(code.to_owned()),
                ..VerifyResponse::default()
            };
            super::v1::verify_response(response).invalid_reason.unwrap()
        };
        assert_eq!(verify(v2), v1);
        assert_eq!(verify("insufficient_funds"), "insufficient_funds");
        let settle = SettleResponse {
            error_reason: Some(v2.to_owned()),
            ..SettleResponse::default()
        };
        assert_eq!(
            super::v1::settle_response(&settle).error_reason.unwrap(),
            v1
        );
    }
}
