//! The EIP-3009 payment object: `{"signature", "authorization": {…}}`.

use alloy_primitives::{Address, B256, Bytes, U256, hex};
use serde_json::{Map, Value};
use tollway_core::Refusal;
use tollway_core::wire::Object;

use crate::typed_data::Authorization;

/// Signatures of smart accounts carry more than 65 bytes, but not without end.
pub const MAX_SIGNATURE_BYTES: usize = 4096;

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
        let fields = match payload.get("authorization") {
            Some(Value::Object(fields)) => fields,
            Some(_) => return Err(invalid("authorization must be an object")),
            None if OTHER_METHODS.iter().any(|key| payload.contains_key(*key)) => {
                return Err(Refusal::new(
                    "unsupported_payload_type",
                    "This network settles EIP-3009 authorizations only; choose that method.",
                ));
            }
            None => return Err(invalid("authorization is missing")),
        };
        Ok(Self {
            authorization: Authorization {
                from: address(fields, "from")?,
                to: address(fields, "to")?,
                value: number(fields, "value")?,
                valid_after: number(fields, "validAfter")?,
                valid_before: number(fields, "validBefore")?,
                nonce: nonce(fields)?,
            },
            signature: signature(payload)?,
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

/// Keys by which the objects of other methods are known.
const OTHER_METHODS: [&str; 3] = ["permit2Authorization", "permissionContext", "transaction"];

fn invalid(what: &str) -> Refusal {
    Refusal::new(
        "invalid_payload",
        format!("The payment cannot be read: {what}; send an EIP-3009 payment object."),
    )
}

fn unsignable(what: &str) -> Refusal {
    Refusal::new(
        "invalid_exact_evm_signature",
        format!("No signature can cover this authorization: {what}; sign a new one."),
    )
}

fn text<'a>(fields: &'a Object, key: &str) -> Result<&'a str, Refusal> {
    fields
        .get(key)
        .and_then(Value::as_str)
        .ok_or_else(|| invalid(&format!("{key} must be a text")))
}

fn address(fields: &Object, key: &str) -> Result<Address, Refusal> {
    let text = text(fields, key)?;
    text.starts_with("0x")
        .then(|| text.parse().ok())
        .flatten()
        .ok_or_else(|| invalid(&format!("{key} must be 0x and 40 hex digits")))
}

fn number(fields: &Object, key: &str) -> Result<U256, Refusal> {
    let text = text(fields, key)?;
    let canonical = (1..=78).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'));
    canonical
        .then(|| U256::from_str_radix(text, 10).ok())
        .flatten()
        .ok_or_else(|| unsignable(&format!("{key} must be a decimal integer of 256 bits")))
}

fn nonce(fields: &Object) -> Result<B256, Refusal> {
    let text = text(fields, "nonce")?;
    text.starts_with("0x")
        .then(|| text.parse().ok())
        .flatten()
        .ok_or_else(|| unsignable("nonce must be 0x and 64 hex digits"))
}

fn signature(payload: &Object) -> Result<Bytes, Refusal> {
    let text = text(payload, "signature")?;
    let digits = text
        .strip_prefix("0x")
        // The decoder would pass over another one.
        .filter(|digits| !digits.starts_with("0x"))
        .ok_or_else(|| invalid("signature must be 0x and hex digits"))?;
    if digits.len() > 2 * MAX_SIGNATURE_BYTES {
        return Err(invalid(&format!(
            "signature has more than {MAX_SIGNATURE_BYTES} bytes"
        )));
    }
    hex::decode(digits)
        .map(Bytes::from)
        .map_err(|_| invalid("signature must be 0x and hex digits"))
}
