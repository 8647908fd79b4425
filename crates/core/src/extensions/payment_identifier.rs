//! The `payment-identifier` extension: a name that the buyer gives to a purchase,
//! so that asking again brings the same answer and not a second charge.

use std::fmt;

use serde_json::{Value, json};

use crate::wire::{Object, PaymentPayload};
use crate::{Refusal, codes};

/// The extension's key.
pub const PAYMENT_IDENTIFIER: &str = "payment-identifier";

const MIN_LENGTH: usize = 16;
const MAX_LENGTH: usize = 128;

/// A payment identifier: 16 to 128 of `a-z A-Z 0-9 _ -`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct PaymentIdentifierId(String);

impl PaymentIdentifierId {
    /// Checks a text.
    ///
    /// # Errors
    /// `invalid_payment_identifier`.
    pub fn new(text: &str) -> Result<Self, Refusal> {
        let fits = (MIN_LENGTH..=MAX_LENGTH).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        fits.then(|| Self(text.to_owned())).ok_or_else(invalid)
    }

    /// A fresh one: `pay_` and 128 random bits in hex.
    ///
    /// # Errors
    /// Fails where the system has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        crate::PaymentId::random().map(|id| Self(id.as_str().to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PaymentIdentifierId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn invalid() -> Refusal {
    Refusal::new(
        codes::INVALID_PAYMENT_IDENTIFIER,
        "The payment identifier is not 16 to 128 letters, digits, hyphens and underscores; choose another one.",
    )
}

/// What a server puts under [`PAYMENT_IDENTIFIER`] in its 402 answer.
#[must_use]
pub fn declare(required: bool) -> Value {
    json!({
        "info": { "required": required },
        "schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "required": { "type": "boolean" },
                "id": {
                    "type": "string",
                    "minLength": MIN_LENGTH,
                    "maxLength": MAX_LENGTH,
                    "pattern": "^[a-zA-Z0-9_-]+$"
                }
            },
            "required": ["required"]
        }
    })
}

/// Whether a server that declared these extensions insists on an identifier;
/// `None` if it offers none.
#[must_use]
pub fn requires(declared: Option<&Object>) -> Option<bool> {
    info(declared)?.get("required")?.as_bool()
}

/// The identifier that a buyer sent, if it sent one.
///
/// # Errors
/// `invalid_payment_identifier` if what it sent is none.
pub fn read(payload: &PaymentPayload) -> Result<Option<PaymentIdentifierId>, Refusal> {
    match info(payload.extensions.as_ref()).and_then(|info| info.get("id")) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(id)) => PaymentIdentifierId::new(id).map(Some),
        Some(_) => Err(invalid()),
    }
}

/// Names a purchase: appends the identifier to the extension that the server
/// declared and that `payload.extensions` echoes. Where it echoes none, nothing is
/// added, because a server that offers none would not look at it.
///
/// Returns whether the identifier was added.
pub fn attach(payload: &mut PaymentPayload, id: &PaymentIdentifierId) -> bool {
    let info = payload
        .extensions
        .as_mut()
        .and_then(|all| all.get_mut(PAYMENT_IDENTIFIER))
        .and_then(|extension| extension.get_mut("info"))
        .and_then(Value::as_object_mut);
    match info {
        Some(info) => {
            info.insert("id".to_owned(), id.as_str().into());
            true
        }
        None => false,
    }
}

fn info(extensions: Option<&Object>) -> Option<&Object> {
    extensions?
        .get(PAYMENT_IDENTIFIER)?
        .get("info")?
        .as_object()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extensions::check_echo;

    fn payload(extensions: Value) -> PaymentPayload {
        serde_json::from_value(json!({
            "x402Version": 2, "payload": {}, "extensions": extensions,
            "accepted": {"scheme": "exact", "network": "eip155:1", "amount": "1",
                "asset": "0x", "payTo": "0x", "maxTimeoutSeconds": 60},
        }))
        .unwrap()
    }

    #[test]
    fn an_identifier_goes_out_and_comes_back_as_a_permitted_echo() {
        let declared = json!({ PAYMENT_IDENTIFIER: declare(true) });
        assert_eq!(requires(declared.as_object()), Some(true));
        let mut payload = payload(declared.clone());
        assert_eq!(read(&payload), Ok(None));
        let id = PaymentIdentifierId::random().unwrap();
        assert!(attach(&mut payload, &id));
        assert_eq!(read(&payload), Ok(Some(id)));
        let echo = check_echo(declared.as_object(), payload.extensions.as_ref());
        assert_eq!(echo, Ok(()));
    }

    #[test]
    fn nothing_is_attached_where_the_server_offers_none() {
        let mut payload = payload(json!({}));
        let id = PaymentIdentifierId::random().unwrap();
        assert!(!attach(&mut payload, &id));
        assert_eq!(read(&payload), Ok(None));
        assert_eq!(requires(None), None);
    }

    #[test]
    fn malformed_identifiers_are_refused() {
        for id in [
            json!("a".repeat(15)),
            json!("a".repeat(129)),
            json!("aaaaaaaaaaaaaaaa aaa"),
            json!("äaaaaaaaaaaaaaaaaaa"),
            json!(7),
        ] {
            let payload =
                payload(json!({ PAYMENT_IDENTIFIER: {"info": {"required": false, "id": id}} }));
            let refusal = read(&payload).unwrap_err();
            assert_eq!(refusal.code(), codes::INVALID_PAYMENT_IDENTIFIER);
        }
        assert!(PaymentIdentifierId::new(&"a".repeat(16)).is_ok());
        assert!(PaymentIdentifierId::new(&"-".repeat(128)).is_ok());
    }
}
