//! What a payment carries: who pays, what it lets the facilitator do, and the
//! signature, which is the account's own matter.

use serde_json::{Value, json};
use starknet_crypto::Felt;
use tollway_core::wire::Object;
use tollway_core::{Refusal, codes};

use crate::felt;
use crate::outside::{Call, OutsideExecution};
use crate::refusal::refuse;
use crate::selectors::EXECUTE_FROM_OUTSIDE;
use crate::typed_data;

/// Most felts of a signature. Owners sign with 2, sessions with 4; other
/// accounts' guardians and passkeys need more.
pub const MAX_SIGNATURE_FELTS: usize = 32;

/// A decoded payment of scheme `exact` (SNIP-9 version 2).
#[derive(Clone, PartialEq, Eq)]
pub struct SignedExecution {
    /// The account that pays.
    pub from: Felt,
    /// What it allows.
    pub execution: OutsideExecution,
    /// As the account takes it.
    pub signature: Vec<Felt>,
}

/// Without the signature: whoever holds it can have it executed.
impl std::fmt::Debug for SignedExecution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedExecution")
            .field("from", &felt::text(&self.from))
            .field("execution", &self.execution)
            .field("signature_felts", &self.signature.len())
            .finish()
    }
}

impl SignedExecution {
    /// Decodes the scheme's object, for a chain.
    ///
    /// # Errors
    /// `invalid_payload`.
    pub fn parse(payload: &Object, chain_id: &Felt) -> Result<Self, Refusal> {
        let from = felt_at(payload.get("from"), "from")?;
        if from == Felt::ZERO {
            return Err(malformed("from is zero"));
        }
        let outside = payload
            .get("outsideExecution")
            .and_then(Value::as_object)
            .ok_or_else(|| malformed("outsideExecution is missing"))?;
        let typed = outside
            .get("typedData")
            .ok_or_else(|| malformed("typedData is missing"))?;
        let execution = typed_data::read(typed, chain_id).map_err(|e| malformed(e.0))?;
        Ok(Self {
            from,
            execution,
            signature: signature(outside.get("signature"))?,
        })
    }

    /// The scheme's object.
    #[must_use]
    pub fn to_payload(&self, chain_id: &Felt) -> Object {
        let outside = json!({
            "signature": felt::texts(&self.signature),
            "typedData": typed_data::write(&self.execution, chain_id),
        });
        Object::from_iter([
            ("from".to_owned(), felt::text(&self.from).into()),
            ("outsideExecution".to_owned(), outside),
        ])
    }

    /// The call by which its caller, or anybody where it names nobody, has it
    /// executed.
    #[must_use]
    pub fn call(&self) -> Call {
        Call {
            to: self.from,
            selector: EXECUTE_FROM_OUTSIDE,
            calldata: self.execution.calldata(&self.signature),
        }
    }

    /// The hash that the account must have signed.
    #[must_use]
    pub fn hash(&self, chain_id: &Felt) -> Felt {
        self.execution.hash(chain_id, &self.from)
    }
}

fn signature(value: Option<&Value>) -> Result<Vec<Felt>, Refusal> {
    let felts = value
        .and_then(Value::as_array)
        .ok_or_else(|| malformed("signature is not a list"))?;
    if !(1..=MAX_SIGNATURE_FELTS).contains(&felts.len()) {
        return Err(malformed("signature has not 1 to 32 felts"));
    }
    let felts = felts.iter().map(|felt| felt_at(Some(felt), "signature"));
    felts.collect()
}

fn felt_at(value: Option<&Value>, what: &str) -> Result<Felt, Refusal> {
    let text = value.and_then(Value::as_str);
    text.and_then(|text| felt::parse(text).ok())
        .ok_or_else(|| malformed(&format!("{what} is not a field element")))
}

pub(crate) fn malformed(what: &str) -> Refusal {
    refuse(
        codes::INVALID_PAYLOAD,
        &format!("{what}: send an outside execution as the scheme describes it"),
    )
}
