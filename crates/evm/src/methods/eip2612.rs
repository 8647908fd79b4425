//! EIP-2612 `permit`, spent by a settler that can pay one payee only:
//! `{"signature", "permit": {"owner", "spender", "value", "nonce", "deadline"}}`.
//!
//! A permit does not say who is paid; its spender does. So the spender must be
//! the payee's settler, a contract whose address follows from the payee
//! ([`crate::settler_address`]).

use alloy_primitives::{Address, Bytes, hex};
use alloy_sol_types::SolCall;
use serde_json::{Map, Value};
use tollway_core::wire::Object;
use tollway_core::{Refusal, codes};

use super::fields::{Fields, invalid};
use crate::abi::Settler;
use crate::typed_data::Permit;

/// A permit and its signature, decoded and not yet believed.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedPermit {
    /// What was signed.
    pub permit: Permit,
    /// 65 bytes of a plain account, anything else of a contract.
    pub signature: Bytes,
}

/// Without the signature: whoever holds it can present it.
impl std::fmt::Debug for SignedPermit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedPermit")
            .field("permit", &self.permit)
            .finish_non_exhaustive()
    }
}

impl SignedPermit {
    /// Decodes the payment object.
    ///
    /// # Errors
    /// `unsupported_payload_type` for another method's object, `invalid_payload`
    /// for a missing field or a malformed address or hex, and
    /// `invalid_exact_evm_eip2612_signature` for what no signature can cover.
    pub fn parse(payload: &Object) -> Result<Self, Refusal> {
        let whole = Fields::new(payload, codes::INVALID_EXACT_EVM_EIP2612_SIGNATURE);
        let fields = match payload.get("permit") {
            Some(Value::Object(object)) => Fields { object, ..whole },
            Some(_) => return Err(invalid("permit must be an object")),
            None => return Err(super::missing(payload, "permit")),
        };
        Ok(Self {
            permit: Permit {
                owner: fields.address("owner")?,
                spender: fields.address("spender")?,
                value: fields.number("value")?,
                nonce: fields.number("nonce")?,
                deadline: fields.number("deadline")?,
            },
            signature: whole.signature()?,
        })
    }

    /// The payment object.
    #[must_use]
    pub fn to_payload(&self) -> Object {
        let p = &self.permit;
        let mut fields = Map::new();
        fields.insert("owner".into(), p.owner.to_checksum(None).into());
        fields.insert("spender".into(), p.spender.to_checksum(None).into());
        fields.insert("value".into(), p.value.to_string().into());
        fields.insert("nonce".into(), p.nonce.to_string().into());
        fields.insert("deadline".into(), p.deadline.to_string().into());
        let mut payload = Map::new();
        payload.insert(
            "signature".into(),
            hex::encode_prefixed(&self.signature).into(),
        );
        payload.insert("permit".into(), fields.into());
        payload
    }

    /// The settler's call.
    pub(crate) fn settle_call(&self, token: Address) -> Bytes {
        let p = &self.permit;
        Settler::settleCall {
            token,
            owner: p.owner,
            value: p.value,
            nonce: p.nonce,
            deadline: p.deadline,
            signature: self.signature.clone(),
        }
        .abi_encode()
        .into()
    }
}
