//! Reading the fields of payment objects, whatever the method.

use alloy_primitives::{Address, B256, Bytes, U256, hex};
use serde_json::Value;
use tollway_core::Refusal;
use tollway_core::wire::Object;

use super::MAX_SIGNATURE_BYTES;

/// An object of a payment, and the code for numbers that nobody can have signed.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    pub object: &'a Object,
    pub unsignable: &'static str,
}

impl<'a> Fields<'a> {
    pub fn new(object: &'a Object, unsignable: &'static str) -> Self {
        Self { object, unsignable }
    }

    /// The object under a key.
    pub fn inner(self, key: &str) -> Result<Self, Refusal> {
        match self.object.get(key) {
            Some(Value::Object(object)) => Ok(Self { object, ..self }),
            Some(_) => Err(invalid(&format!("{key} must be an object"))),
            None => Err(invalid(&format!("{key} is missing"))),
        }
    }

    pub fn text(self, key: &str) -> Result<&'a str, Refusal> {
        self.object
            .get(key)
            .and_then(Value::as_str)
            .ok_or_else(|| invalid(&format!("{key} must be a text")))
    }

    /// `None` where the key is absent or `null`.
    pub fn maybe_text(self, key: &str) -> Result<Option<&'a str>, Refusal> {
        match self.object.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => self.text(key).map(Some),
        }
    }

    pub fn address(self, key: &str) -> Result<Address, Refusal> {
        let text = self.text(key)?;
        text.starts_with("0x")
            .then(|| text.parse().ok())
            .flatten()
            .ok_or_else(|| invalid(&format!("{key} must be 0x and 40 hex digits")))
    }

    /// A decimal integer of 256 bits, spelled in the one way there is.
    pub fn number(self, key: &str) -> Result<U256, Refusal> {
        let text = self.text(key)?;
        decimal(text)
            .ok_or_else(|| self.unsignable(&format!("{key} must be a decimal integer of 256 bits")))
    }

    /// 32 bytes.
    pub fn word(self, key: &str) -> Result<B256, Refusal> {
        let text = self.text(key)?;
        text.starts_with("0x")
            .then(|| text.parse().ok())
            .flatten()
            .ok_or_else(|| self.unsignable(&format!("{key} must be 0x and 64 hex digits")))
    }

    /// Hex bytes of at most [`MAX_SIGNATURE_BYTES`].
    pub fn signature(self) -> Result<Bytes, Refusal> {
        self.hex("signature", MAX_SIGNATURE_BYTES)
    }

    /// Hex bytes, not more than `most`.
    pub fn hex(self, key: &str, most: usize) -> Result<Bytes, Refusal> {
        let text = self.text(key)?;
        let not_hex = || invalid(&format!("{key} must be 0x and hex digits"));
        let digits = text
            .strip_prefix("0x")
            // The decoder would pass over another one.
            .filter(|digits| !digits.starts_with("0x"))
            .ok_or_else(not_hex)?;
        if digits.len() > 2 * most {
            return Err(invalid(&format!("{key} has more than {most} bytes")));
        }
        hex::decode(digits).map(Bytes::from).map_err(|_| not_hex())
    }

    fn unsignable(self, what: &str) -> Refusal {
        Refusal::new(
            self.unsignable,
            format!("No signature can cover this payment: {what}; sign a new one."),
        )
    }
}

/// Canonical decimal text as a number.
pub(crate) fn decimal(text: &str) -> Option<U256> {
    let canonical = (1..=78).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'));
    canonical
        .then(|| U256::from_str_radix(text, 10).ok())
        .flatten()
}

pub(crate) fn invalid(what: &str) -> Refusal {
    Refusal::new(
        tollway_core::codes::INVALID_PAYLOAD,
        format!(
            "The payment cannot be read: {what}; send the payment object of the method that is asked for."
        ),
    )
}
