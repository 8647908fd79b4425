//! EIP-3009 `transferWithAuthorization`: `{"signature", "authorization": {…}}`.

use alloy_primitives::{B256, Bytes, hex};
use alloy_sol_types::SolCall;
use serde_json::{Map, Value};
use tollway_core::wire::Object;
use tollway_core::{Refusal, codes};

use super::fields::{Fields, invalid};
use crate::abi::Token as Abi;
use crate::typed_data::Authorization;

/// An authorization and its signature, decoded and not yet believed.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedAuthorization {
    /// What was signed.
    pub authorization: Authorization,
    /// 65 bytes of a plain account, anything else of a contract.
    pub signature: Bytes,
}

/// Without the signature: whoever holds it can present it.
impl std::fmt::Debug for SignedAuthorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedAuthorization")
            .field("authorization", &self.authorization)
            .finish_non_exhaustive()
    }
}

impl SignedAuthorization {
    /// Decodes the payment object.
    ///
    /// # Errors
    /// `unsupported_payload_type` for another method's object, `invalid_payload`
    /// for a missing field or a malformed address or hex, and
    /// `invalid_exact_evm_signature` for numbers that no signature can cover.
    pub fn parse(payload: &Object) -> Result<Self, Refusal> {
        let whole = Fields::new(payload, codes::INVALID_EXACT_EVM_SIGNATURE);
        let fields = match payload.get("authorization") {
            Some(Value::Object(object)) => Fields { object, ..whole },
            Some(_) => return Err(invalid("authorization must be an object")),
            None => return Err(super::missing(payload, "authorization")),
        };
        Ok(Self {
            authorization: Authorization {
                from: fields.address("from")?,
                to: fields.address("to")?,
                value: fields.number("value")?,
                valid_after: fields.number("validAfter")?,
                valid_before: fields.number("validBefore")?,
                nonce: fields.word("nonce")?,
            },
            signature: whole.signature()?,
        })
    }

    /// The payment object, as official clients write it.
    #[must_use]
    pub fn to_payload(&self) -> Object {
        let a = &self.authorization;
        let mut fields = Map::new();
        fields.insert("from".into(), a.from.to_checksum(None).into());
        fields.insert("to".into(), a.to.to_checksum(None).into());
        fields.insert("value".into(), a.value.to_string().into());
        fields.insert("validAfter".into(), a.valid_after.to_string().into());
        fields.insert("validBefore".into(), a.valid_before.to_string().into());
        fields.insert("nonce".into(), format!("{:#x}", a.nonce).into());
        let mut payload = Map::new();
        payload.insert("authorization".into(), Value::Object(fields));
        payload.insert(
            "signature".into(),
            hex::encode_prefixed(&self.signature).into(),
        );
        payload
    }
}

/// The token's call: `v, r, s` for 65 bytes, `bytes` for anything else.
pub(crate) fn transfer_call(a: &Authorization, signature: &Bytes) -> Bytes {
    let data = match <&[u8; 65]>::try_from(signature.as_ref()) {
        Ok(short) => Abi::transferWithAuthorization_0Call {
            from: a.from,
            to: a.to,
            value: a.value,
            validAfter: a.valid_after,
            validBefore: a.valid_before,
            nonce: a.nonce,
            v: short[64],
            r: B256::from_slice(&short[..32]),
            s: B256::from_slice(&short[32..64]),
        }
        .abi_encode(),
        Err(_) => Abi::transferWithAuthorization_1Call {
            from: a.from,
            to: a.to,
            value: a.value,
            validAfter: a.valid_after,
            validBefore: a.valid_before,
            nonce: a.nonce,
            signature: signature.clone(),
        }
        .abi_encode(),
    };
    data.into()
}
