//! x402 in calls of tools (Model Context Protocol): the payments, terms and receipts
//! that HTTP carries in headers stand in `_meta` and in results (binding to tool results).
//!
//! What is here translates; both sides go through the same machinery as HTTP.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::header::{self, PAYMENT_REQUIRED, PAYMENT_RESPONSE, PAYMENT_SIGNATURE, X_PAYMENT};
use crate::{Refusal, codes};

/// Where the payment stands in the `_meta` of a call: a plain object, not base64.
pub const PAYMENT: &str = "x402/payment";
/// Where it is told, in the `_meta` of a result, what became of the payment.
pub const RECEIPT: &str = "x402/payment-response";
/// Where an error of a server of ours says what it would be in HTTP: what is over soon
/// (429, 5xx) is told from what is refused.
pub const STATUS: &str = "status";
/// How the resource of a tool is named: `mcp://tool/NAME`.
pub const RESOURCE: &str = "mcp://tool";

/// The header that carries the payment of a call's `_meta`.
///
/// # Errors
/// `invalid_payload` if it is no object of a version that is known,
/// `payment_header_too_large` if it has more than 16 KiB.
pub fn payment_header(payment: &Value) -> Result<(HeaderName, HeaderValue), Refusal> {
    let name = match payment.get("x402Version").and_then(Value::as_u64) {
        Some(2) => PAYMENT_SIGNATURE.clone(),
        Some(1) => X_PAYMENT.clone(),
        _ => {
            return Err(Refusal::new(
                codes::INVALID_PAYLOAD,
                "What stands under x402/payment is no payment of version 1 or 2; send the object that the terms ask for.",
            ));
        }
    };
    let text = header::encode(payment);
    if text.len() > header::MAX_HEADER_BYTES {
        return Err(Refusal::new(
            codes::PAYMENT_HEADER_TOO_LARGE,
            "The payment is longer than 16 KiB; pay by another method.",
        ));
    }
    let value = HeaderValue::from_str(&text).map_err(|_| unreadable())?;
    Ok((name, value))
}

/// The payment that headers carry, as it stands in `_meta`.
///
/// # Errors
/// `payment_header_too_large` or `invalid_payload`.
pub fn payment(headers: &HeaderMap) -> Result<Option<Value>, Refusal> {
    match read(headers, &PAYMENT_SIGNATURE)? {
        Some(payment) => Ok(Some(payment)),
        None => read(headers, &X_PAYMENT),
    }
}

/// The terms that headers carry, as they stand in a result.
///
/// # Errors
/// `payment_header_too_large` or `invalid_payload`.
pub fn terms(headers: &HeaderMap) -> Result<Option<Value>, Refusal> {
    read(headers, &PAYMENT_REQUIRED)
}

/// What headers say became of a payment, as it stands in the `_meta` of a result.
///
/// # Errors
/// `payment_header_too_large` or `invalid_payload`.
pub fn receipt(headers: &HeaderMap) -> Result<Option<Value>, Refusal> {
    read(headers, &PAYMENT_RESPONSE)
}

fn read(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Value>, Refusal> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| unreadable())?;
    header::decode(text).map(Some)
}

fn unreadable() -> Refusal {
    Refusal::new(
        codes::INVALID_PAYLOAD,
        "The payment cannot be read; send the object that the terms ask for.",
    )
}

/// A result that is none of the tool's: it stands in both places where readers look.
#[must_use]
pub fn error_result(said: &Value) -> Value {
    json!({
        "isError": true,
        "structuredContent": said,
        "content": [{"type": "text", "text": said.to_string()}],
    })
}

/// The terms of a result that asks for payment.
#[must_use]
pub fn terms_of(result: &Value) -> Option<Value> {
    let is_terms =
        |said: &Value| said.get("x402Version").is_some() && said.get("accepts").is_some();
    if result.get("isError") != Some(&Value::Bool(true)) {
        return None;
    }
    if let Some(said) = result
        .get("structuredContent")
        .filter(|said| is_terms(said))
    {
        return Some(said.clone());
    }
    let text = result.pointer("/content/0/text")?.as_str()?;
    let bytes = text.as_bytes();
    let said: Value = crate::json::object_from_slice(bytes, &crate::json::JsonLimits::BODY).ok()?;
    Some(said).filter(is_terms)
}

/// What a result says became of the payment.
#[must_use]
pub fn receipt_of(result: &Value) -> Option<&Value> {
    result.get("_meta")?.get(RECEIPT)
}

/// Writes into a result what became of the payment.
pub fn put_receipt(result: &mut Value, receipt: Value) {
    if let Some(result) = result.as_object_mut() {
        let meta = result.entry("_meta").or_insert_with(|| json!({}));
        if let Some(meta) = meta.as_object_mut() {
            meta.insert(RECEIPT.to_owned(), receipt);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_is_the_same_in_a_call_and_in_a_header() {
        for (version, name) in [(1, &X_PAYMENT), (2, &PAYMENT_SIGNATURE)] {
            let sent = json!({"x402Version": version, "payload": {"signature": "0x01"}});
            let (header, value) = payment_header(&sent).unwrap();
            assert_eq!(header, *name);
            let headers = HeaderMap::from_iter([(header, value)]);
            assert_eq!(payment(&headers).unwrap(), Some(sent));
        }
    }

    #[test]
    fn what_is_no_payment_is_refused_with_a_code() {
        for bad in [
            json!(1),
            json!({}),
            json!({"x402Version": 3}),
            json!({"x402Version": "2"}),
        ] {
            assert_eq!(
                payment_header(&bad).unwrap_err().code(),
                codes::INVALID_PAYLOAD
            );
        }
        let long = json!({"x402Version": 2, "payload": "x".repeat(16 * 1024)});
        let refused = payment_header(&long).unwrap_err();
        assert_eq!(refused.code(), codes::PAYMENT_HEADER_TOO_LARGE);
    }

    #[test]
    fn terms_are_read_from_either_place_and_from_errors_only() {
        let terms = json!({"x402Version": 2, "accepts": []});
        let mut result = error_result(&terms);
        assert_eq!(terms_of(&result), Some(terms.clone()));
        result.as_object_mut().unwrap().remove("structuredContent");
        assert_eq!(terms_of(&result), Some(terms));
        result["isError"] = json!(false);
        assert_eq!(terms_of(&result), None);
        assert_eq!(terms_of(&error_result(&json!({"error": "no"}))), None);
    }

    #[test]
    fn a_receipt_stands_beside_what_the_tool_said_there() {
        let mut result = json!({"content": [], "_meta": {"own": 1}});
        put_receipt(&mut result, json!({"success": true}));
        assert_eq!(result["_meta"]["own"], 1);
        assert_eq!(receipt_of(&result), Some(&json!({"success": true})));
    }
}
