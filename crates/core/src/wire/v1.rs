//! x402 version 1: a codec at the edge. Inside there is the version 2 model only.
//!
//! Version 1 names networks by short names, has one `resource` per entry, calls the
//! amount `maxAmountRequired`, carries the terms in the body and knows neither
//! `accepted` nor extensions nor payment flows.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Object, ResourceInfo};
use crate::assets::Method;
use crate::offer::ProofProfile;
use crate::{Network, codes, wire};

/// The field of a payment object that names a transaction.
const TRANSACTION: &str = "txHash";

/// The body of a 402 answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequired {
    /// Always 1.
    pub x402_version: u64,
    /// Why payment is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Ways to pay.
    pub accepts: Vec<PaymentRequirements>,
}

/// One way to pay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequirements {
    /// `exact`.
    pub scheme: String,
    /// Short name, such as `base-sepolia`.
    pub network: String,
    /// Atomic units, decimal.
    pub max_amount_required: String,
    /// Absolute URL of what is sold.
    #[serde(default)]
    pub resource: String,
    /// In words; may be empty.
    #[serde(default)]
    pub description: String,
    /// Media type of the answer; may be empty.
    #[serde(default)]
    pub mime_type: String,
    /// What goes in and comes out, for discovery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// Payee.
    pub pay_to: String,
    /// Longest time the payment may take, seconds.
    pub max_timeout_seconds: u64,
    /// Contract of the asset.
    pub asset: String,
    /// Scheme-specific.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Object>,
}

/// The content of `X-PAYMENT`. Its `Debug` shows no signature.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentPayload {
    /// Always 1.
    pub x402_version: u64,
    /// Scheme of the chosen entry.
    pub scheme: String,
    /// Network of the chosen entry, by its short name.
    pub network: String,
    /// The scheme's own object, as in version 2.
    pub payload: Object,
}

impl PaymentRequired {
    /// The version 1 form of the terms: one entry per scheme and network, the
    /// first that a version 1 client can pay. Left out are networks without a
    /// version 1 name and what [`can_be_accepted`] leaves out.
    #[must_use]
    pub fn from_v2(terms: &wire::PaymentRequired) -> Self {
        let mut accepts: Vec<PaymentRequirements> = Vec::new();
        for entry in terms.accepts.iter().filter(|e| can_be_accepted(e)) {
            if let Some(entry) = PaymentRequirements::from_v2(entry, &terms.resource)
                && !accepts.iter().any(|a| a.network == entry.network)
            {
                accepts.push(entry);
            }
        }
        Self {
            x402_version: 1,
            error: terms.error.clone(),
            accepts,
        }
    }

    /// The version 2 model of the terms. The resource is the first entry's.
    #[must_use]
    pub fn into_v2(self) -> wire::PaymentRequired {
        let resource = self.accepts.first().map(PaymentRequirements::resource);
        wire::PaymentRequired {
            x402_version: 2,
            error: self.error,
            resource: resource.unwrap_or_default(),
            accepts: self
                .accepts
                .into_iter()
                .map(PaymentRequirements::into_v2)
                .collect(),
            extensions: None,
        }
    }
}

/// Whether a version 1 client can pay an entry: scheme `exact`, by EIP-3009 or the
/// family's own method, since version 1 tells no others apart; or by a transaction
/// proof that is not signed, which is told apart by its payment object. A signed
/// proof echoes what the entry says, and version 1 echoes nothing.
#[must_use]
pub fn can_be_accepted(entry: &wire::PaymentRequirements) -> bool {
    let method = entry.extra_str("assetTransferMethod");
    let plain = matches!(method, None | Some("default"))
        || method == Some(Method::Eip3009.as_str())
        || entry.proof_profile() == Some(ProofProfile::Unsigned);
    entry.scheme == "exact" && plain
}

impl PaymentRequirements {
    /// The version 1 form of an entry; `None` on networks without a version 1 name.
    #[must_use]
    pub fn from_v2(entry: &wire::PaymentRequirements, resource: &ResourceInfo) -> Option<Self> {
        let network: Network = entry.network.parse().ok()?;
        Some(Self {
            scheme: entry.scheme.clone(),
            network: network.v1_name()?.to_owned(),
            max_amount_required: entry.amount.clone(),
            resource: resource.url.clone(),
            description: resource.description.clone().unwrap_or_default(),
            mime_type: resource.mime_type.clone().unwrap_or_default(),
            output_schema: None,
            pay_to: entry.pay_to.clone(),
            max_timeout_seconds: entry.max_timeout_seconds,
            asset: entry.asset.clone(),
            extra: entry.extra.clone(),
        })
    }

    /// The version 2 model of an entry. A network whose name is not known keeps it,
    /// and is then refused by [`crate::Terms::check`].
    #[must_use]
    pub fn into_v2(self) -> wire::PaymentRequirements {
        wire::PaymentRequirements {
            scheme: self.scheme,
            network: network_from_v1(&self.network),
            amount: self.max_amount_required,
            asset: self.asset,
            pay_to: self.pay_to,
            max_timeout_seconds: self.max_timeout_seconds,
            extra: self.extra,
        }
    }

    /// What is sold, as this entry tells it.
    #[must_use]
    pub fn resource(&self) -> ResourceInfo {
        let text = |text: &String| (!text.is_empty()).then(|| text.clone());
        ResourceInfo {
            url: self.resource.clone(),
            description: text(&self.description),
            mime_type: text(&self.mime_type),
            ..ResourceInfo::default()
        }
    }
}

impl fmt::Debug for PaymentPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PaymentPayload")
            .field("x402_version", &self.x402_version)
            .field("scheme", &self.scheme)
            .field("network", &self.network)
            .field("payload", &super::KeysOf(&self.payload))
            .finish()
    }
}

impl PaymentPayload {
    /// The version 1 form of a payment; `None` on networks without a version 1 name.
    #[must_use]
    pub fn from_v2(payment: &wire::PaymentPayload) -> Option<Self> {
        let network: Network = payment.accepted.network.parse().ok()?;
        Some(Self {
            x402_version: 1,
            scheme: payment.accepted.scheme.clone(),
            network: network.v1_name()?.to_owned(),
            payload: payment.payload.clone(),
        })
    }

    /// The version 2 model of a payment for the entry that it was matched with.
    #[must_use]
    pub fn into_v2(
        self,
        accepted: &wire::PaymentRequirements,
        resource: Option<ResourceInfo>,
    ) -> wire::PaymentPayload {
        wire::PaymentPayload {
            x402_version: 2,
            resource,
            accepted: accepted.clone(),
            payload: self.payload,
            extensions: None,
        }
    }

    /// The version 1 rule: scheme and network are those of the entry. A transaction
    /// is shown only for an entry that takes transactions.
    #[must_use]
    pub fn matches(&self, entry: &wire::PaymentRequirements) -> bool {
        self.scheme == entry.scheme
            && network_from_v1(&self.network) == entry.network
            && self.payload.contains_key(TRANSACTION) == entry.proof_profile().is_some()
    }
}

/// The CAIP-2 name of a version 1 name; any other text stays as it is.
#[must_use]
pub fn network_from_v1(name: &str) -> String {
    Network::from_v1(name).map_or_else(|| name.to_owned(), |n| n.as_str().to_owned())
}

/// The version 1 name of a CAIP-2 name; any other text stays as it is.
#[must_use]
pub fn network_to_v1(caip2: &str) -> String {
    let network = caip2.parse::<Network>().ok();
    let name = network.and_then(|n| n.v1_name());
    name.unwrap_or(caip2).to_owned()
}

/// The answer to `/verify`: the reason by its version 1 code.
#[must_use]
pub fn verify_response(response: wire::VerifyResponse) -> wire::VerifyResponse {
    wire::VerifyResponse {
        invalid_reason: response.invalid_reason.map(code_to_v1),
        ..response
    }
}

/// The answer to `/settle` and the content of `X-PAYMENT-RESPONSE`: version 1
/// has neither amount nor extensions, and names networks and some reasons its way.
#[must_use]
pub fn settle_response(response: &wire::SettleResponse) -> wire::SettleResponse {
    wire::SettleResponse {
        network: network_to_v1(&response.network),
        error_reason: response.error_reason.clone().map(code_to_v1),
        amount: None,
        extensions: None,
        extra: None,
        ..response.clone()
    }
}

/// Version 1 does not tell a value that is wrong from one that is another.
fn code_to_v1(code: String) -> String {
    if code == codes::INVALID_EXACT_EVM_PAYLOAD_AUTHORIZATION_VALUE_MISMATCH {
        return codes::INVALID_EXACT_EVM_AUTHORIZATION_VALUE.to_owned();
    }
    code
}
