//! The bodies of a facilitator's API, in both versions.

use serde::{Deserialize, Serialize};

use super::{PaymentPayload, PaymentRequirements, v1};
use crate::json::{self, JsonLimits};
use crate::{Refusal, codes};

/// Which version of x402 a message is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// Version 1.
    V1,
    /// Version 2.
    V2,
}

impl Version {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }

    /// From the number on the wire.
    #[must_use]
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::V1),
            2 => Some(Self::V2),
            _ => None,
        }
    }
}

/// The body of `POST /verify` and `POST /settle`, in the version 2 model,
/// whichever version it came in. The answer goes back in the same version.
#[derive(Clone, Debug, PartialEq)]
pub struct FacilitatorBody {
    /// The version it came in, or is to be sent in.
    pub version: Version,
    /// What the buyer presented.
    pub payload: PaymentPayload,
    /// What the seller asks for.
    pub requirements: PaymentRequirements,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    #[serde(default)]
    x402_version: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<P, R> {
    x402_version: u64,
    payment_payload: P,
    payment_requirements: R,
}

impl FacilitatorBody {
    /// Reads a body.
    ///
    /// # Errors
    /// `invalid_payload` if it is malformed, `invalid_x402_version` if the version
    /// is neither 1 nor 2 or differs between the body and the payment.
    pub fn decode(bytes: &[u8], limits: &JsonLimits) -> Result<Self, Refusal> {
        let error = match json::object_from_slice(bytes, limits) {
            Ok(body) => return Self::from_v2(body),
            Err(error @ json::JsonError::Malformed(_)) => error,
            Err(error) => return Err(malformed(error)),
        };
        let probe: Probe = json::reread(bytes).map_err(malformed)?;
        match probe.x402_version.and_then(Version::from_number) {
            Some(Version::V2) => Err(malformed(error)),
            Some(Version::V1) => Self::from_v1(json::reread(bytes).map_err(malformed)?),
            None => Err(wrong_version()),
        }
    }

    fn from_v2(body: Body<PaymentPayload, PaymentRequirements>) -> Result<Self, Refusal> {
        if (body.x402_version, body.payment_payload.x402_version) != (2, 2) {
            return Err(wrong_version());
        }
        Ok(Self {
            version: Version::V2,
            payload: body.payment_payload,
            requirements: body.payment_requirements,
        })
    }

    /// In version 1 a payment names only scheme and network; what it names is kept
    /// in `accepted`, so that the mismatch is seen by whoever compares.
    fn from_v1(body: Body<v1::PaymentPayload, v1::PaymentRequirements>) -> Result<Self, Refusal> {
        let payment = body.payment_payload;
        if payment.x402_version != 1 {
            return Err(wrong_version());
        }
        let resource = body.payment_requirements.resource();
        let requirements = body.payment_requirements.into_v2();
        let accepted = PaymentRequirements {
            scheme: payment.scheme.clone(),
            network: v1::network_from_v1(&payment.network),
            ..requirements.clone()
        };
        Ok(Self {
            version: Version::V1,
            payload: payment.into_v2(&accepted, Some(resource)),
            requirements,
        })
    }

    /// Writes the body in its version. In version 1 the resource that the
    /// requirements name is the payment's.
    ///
    /// # Errors
    /// `invalid_network` if it is to be sent in version 1 and the network has no
    /// version 1 name.
    pub fn encode(&self) -> Result<Vec<u8>, Refusal> {
        let bytes = match self.version {
            Version::V2 => serde_json::to_vec(&Body {
                x402_version: 2,
                payment_payload: &self.payload,
                payment_requirements: &self.requirements,
            }),
            Version::V1 => {
                let resource = self.payload.resource.clone().unwrap_or_default();
                let parts = v1::PaymentPayload::from_v2(&self.payload).zip(
                    v1::PaymentRequirements::from_v2(&self.requirements, &resource),
                );
                let (payment, requirements) = parts.ok_or_else(unnamed)?;
                serde_json::to_vec(&Body {
                    x402_version: 1,
                    payment_payload: payment,
                    payment_requirements: requirements,
                })
            }
        };
        bytes.map_err(|e| malformed(json::JsonError::Malformed(e)))
    }
}

fn malformed(error: json::JsonError) -> Refusal {
    Refusal::new(
        codes::INVALID_PAYLOAD,
        "The body is not a payment with its requirements; send {x402Version, paymentPayload, paymentRequirements} as JSON.",
    )
    .with_detail(error.detail())
}

fn wrong_version() -> Refusal {
    Refusal::new(
        codes::INVALID_X402_VERSION,
        "x402Version is not 1 or 2, or differs between the body and the payment; send the same version in both.",
    )
}

pub(crate) fn unnamed() -> Refusal {
    Refusal::new(
        codes::INVALID_NETWORK,
        "The network has no name in x402 version 1; use version 2.",
    )
}
