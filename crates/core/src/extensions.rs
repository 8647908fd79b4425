//! Extensions: `extensions[key] = {info, schema}`, and what may happen to them
//! on the way to the buyer and back (x402 v2 §extensions).

pub mod offer_receipt;
mod payment_identifier;
pub mod sign_in;

pub use payment_identifier::{
    PAYMENT_IDENTIFIER, PaymentIdentifierId, attach, declare, read, requires,
};

use serde_json::Value;

use crate::compare::contains;
use crate::wire::Object;
use crate::{Refusal, codes};

/// An extension as a server declares it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Envelope {
    /// What the two sides tell each other.
    pub info: Value,
    /// JSON Schema 2020-12 of `info`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
}

impl Envelope {
    /// The extension under a key, if it is there and has this shape.
    #[must_use]
    pub fn find(extensions: Option<&Object>, key: &str) -> Option<Self> {
        serde_json::from_value(extensions?.get(key)?.clone()).ok()
    }
}

/// Fields of `info` that change from answer to answer, by extension key, and so
/// need not come back as the server would send them now.
pub const DYNAMIC_INFO: &[(&str, &[&str])] = &[(
    "sign-in-with-x",
    &[
        "nonce",
        "issuedAt",
        "expirationTime",
        "notBefore",
        "requestId",
    ],
)];

/// Checks that the buyer sends each extension back as it was declared. It may
/// leave extensions out, append keys and bring extensions of its own; it may not
/// change or drop what the server wrote.
///
/// # Errors
/// `extension_echo_mismatch`.
pub fn check_echo(declared: Option<&Object>, echoed: Option<&Object>) -> Result<(), Refusal> {
    let (Some(declared), Some(echoed)) = (declared, echoed) else {
        return Ok(());
    };
    let mismatch = echoed.iter().find(|(key, value)| {
        declared
            .get(*key)
            .is_some_and(|ours| !info_kept(key, ours, value))
    });
    match mismatch {
        None => Ok(()),
        Some((key, _)) => Err(Refusal::new(
            codes::EXTENSION_ECHO_MISMATCH,
            "An extension did not come back as it was sent; echo its info unchanged and only append to it.",
        )
        .with_detail(format!("extension {}", key.chars().take(64).collect::<String>()))),
    }
}

fn info_kept(key: &str, declared: &Value, echoed: &Value) -> bool {
    let dynamic = DYNAMIC_INFO.iter().find(|(k, _)| *k == key);
    let dynamic = dynamic.map_or(&[][..], |(_, fields)| fields);
    let (declared, echoed) = (info_of(declared), info_of(echoed));
    match (declared, echoed) {
        (Value::Object(declared), Value::Object(echoed)) => declared
            .iter()
            .filter(|(field, _)| !dynamic.contains(&field.as_str()))
            .all(|(field, value)| echoed.get(field).is_some_and(|e| contains(value, e))),
        _ => contains(declared, echoed),
    }
}

/// What stands under `info`, or everything where there is no envelope.
fn info_of(value: &Value) -> &Value {
    value.get("info").unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(declared: Value, echoed: Value) -> Result<(), Refusal> {
        check_echo(declared.as_object(), echoed.as_object())
    }

    #[test]
    fn a_buyer_may_leave_out_append_and_bring_its_own() {
        let declared =
            json!({"k": {"info": {"a": 1, "o": {"x": [1]}}, "schema": {"type": "object"}}});
        for echoed in [
            json!({}),
            declared.clone(),
            json!({"k": {"info": {"a": 1, "o": {"x": [1], "y": 2}, "mine": true}}}),
            json!({"other": {"info": {"a": 2}}}),
        ] {
            assert_eq!(check(declared.clone(), echoed), Ok(()));
        }
        assert_eq!(check_echo(None, json!({"k": 1}).as_object()), Ok(()));
    }

    #[test]
    fn a_buyer_may_not_change_or_drop_what_the_server_wrote() {
        let declared = json!({"k": {"info": {"a": 1, "o": {"x": [1]}}}});
        for echoed in [
            json!({"k": {"info": {"a": 2, "o": {"x": [1]}}}}),
            json!({"k": {"info": {"a": 1}}}),
            json!({"k": {"info": {"a": 1, "o": {"x": [1, 2]}}}}),
            json!({"k": {"info": null}}),
            json!({"k": {}}),
            json!({"k": null}),
        ] {
            let refusal = check(declared.clone(), echoed).unwrap_err();
            assert_eq!(refusal.code(), codes::EXTENSION_ECHO_MISMATCH);
        }
    }

    #[test]
    fn a_sign_in_nonce_of_an_earlier_answer_may_come_back() {
        let declared = json!({"sign-in-with-x": {"info": {"domain": "a", "nonce": "2"}}});
        let good = json!({"sign-in-with-x": {"info": {"domain": "a", "nonce": "1"}}});
        let bad = json!({"sign-in-with-x": {"info": {"domain": "b", "nonce": "2"}}});
        assert!(check(declared.clone(), good).is_ok());
        assert!(check(declared, bad).is_err());
    }
}
