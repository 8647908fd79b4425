//! What is posted to the token door: a payment of version 2, or a permit as
//! clients of permit doors write it, translated into one.
//!
//! Those clients write integers without quotes and the halves of a signature
//! without leading zeros; both are brought into the canonical form here, once,
//! so that what is verified is what is settled.

use serde_json::{Map, Value, json};
use tollway_core::json::{self as limited, JsonLimits};
use tollway_core::wire::PaymentPayload;
use tollway_core::{Network, Refusal, codes};

use crate::Offer;

/// What was posted.
pub(crate) enum Posted {
    /// A payment: it names what it accepts.
    Payment(Box<PaymentPayload>),
    /// A permit: what it pays for is found by its fields.
    Permit(Permit),
}

/// A signed permit.
#[derive(Debug)]
pub(crate) struct Permit {
    method: &'static str,
    chain_id: u64,
    token: String,
    payload: Map<String, Value>,
}

fn malformed(why: &str) -> Refusal {
    Refusal::new(
        codes::INVALID_PAYLOAD,
        format!("{why}; post {{\"version\": …, \"permit\": {{…}}}} or a payment of version 2."),
    )
}

/// Reads a body.
///
/// # Errors
/// `invalid_payload`, or `invalid_x402_version` for a payment of another one.
pub(crate) fn read(bytes: &[u8]) -> Result<Posted, Refusal> {
    let body: Map<String, Value> = limited::object_from_slice(bytes, &JsonLimits::BODY)
        .map_err(|e| malformed("The body is not a JSON object").with_detail(e.detail()))?;
    if let Some(permit) = body.get("permit") {
        let Value::Object(permit) = permit else {
            return Err(malformed("The permit is no object"));
        };
        return permit_of(permit).map(Posted::Permit);
    }
    match body.get("x402Version").and_then(Value::as_u64) {
        Some(2) => {}
        Some(_) => {
            return Err(Refusal::new(
                codes::INVALID_X402_VERSION,
                "The token door takes payments of version 2; sign one of those.",
            ));
        }
        None => return Err(malformed("The body holds neither a permit nor a payment")),
    }
    limited::object_from_slice(bytes, &JsonLimits::BODY)
        .map(|payment| Posted::Payment(Box::new(payment)))
        .map_err(|e| malformed("The payment cannot be read").with_detail(e.detail()))
}

fn permit_of(permit: &Map<String, Value>) -> Result<Permit, Refusal> {
    let kind = text(permit, "permit_type")?;
    let chain_id = permit
        .get("chain_id")
        .and_then(Value::as_u64)
        .ok_or_else(|| malformed("chain_id is no number"))?;
    let (method, payload) = match kind {
        "ERC3009" | "EIP3009" => ("eip3009", authorization(permit)?),
        "EIP2612" | "ERC2612" => ("eip2612", allowance(permit)?),
        _ => {
            return Err(Refusal::new(
                codes::UNSUPPORTED_SCHEME,
                "Permits of this type are not taken, since nothing in them binds the payee; sign an ERC3009 or EIP2612 permit, or a payment of version 2.",
            ));
        }
    };
    match payload {
        Value::Object(payload) => Ok(Permit {
            method,
            chain_id,
            token: text(permit, "token")?.to_owned(),
            payload,
        }),
        _ => Err(malformed("The permit cannot be read")),
    }
}

/// `TransferWithAuthorization` of EIP-3009.
fn authorization(permit: &Map<String, Value>) -> Result<Value, Refusal> {
    Ok(json!({
        "signature": signature(permit)?,
        "authorization": {
            "from": text(permit, "authorizer")?,
            "to": text(permit, "recipient")?,
            "value": integer(permit, "value")?,
            "validAfter": integer(permit, "validAfter")?,
            "validBefore": integer(permit, "validBefore")?,
            "nonce": word(permit.get("nonce"), "nonce")?,
        },
    }))
}

/// `Permit` of EIP-2612, for our settling contract.
fn allowance(permit: &Map<String, Value>) -> Result<Value, Refusal> {
    Ok(json!({
        "signature": signature(permit)?,
        "permit": {
            "owner": text(permit, "owner")?,
            "spender": text(permit, "spender")?,
            "value": integer(permit, "value")?,
            "nonce": integer(permit, "nonce")?,
            "deadline": integer(permit, "deadline")?,
        },
    }))
}

fn text<'a>(from: &'a Map<String, Value>, key: &str) -> Result<&'a str, Refusal> {
    from.get(key)
        .and_then(Value::as_str)
        .filter(|text| text.len() <= 128)
        .ok_or_else(|| malformed(&format!("{key} is missing or no text")))
}

/// A whole number, as its digits.
fn integer(from: &Map<String, Value>, key: &str) -> Result<String, Refusal> {
    let digits = match from.get(key) {
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::String(text)) => text.clone(),
        _ => String::new(),
    };
    let fits = (1..=78).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    fits.then_some(digits)
        .ok_or_else(|| malformed(&format!("{key} is no whole number")))
}

/// 32 bytes of hex, with the zeros that were left out.
fn word(value: Option<&Value>, key: &str) -> Result<String, Refusal> {
    let digits = hex_digits(value, key)?;
    match digits.len() {
        1..=64 => Ok(format!("0x{digits:0>64}")),
        _ => Err(malformed(&format!("{key} is no 32 bytes"))),
    }
}

fn hex_digits<'a>(value: Option<&'a Value>, key: &str) -> Result<&'a str, Refusal> {
    let wrong = || malformed(&format!("{key} is not hex"));
    let text = value.and_then(Value::as_str).ok_or_else(wrong)?;
    let digits = text.strip_prefix("0x").unwrap_or(text);
    match digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        true => Ok(digits),
        false => Err(wrong()),
    }
}

/// r, s and v in 65 bytes.
fn signature(permit: &Map<String, Value>) -> Result<String, Refusal> {
    let Some(Value::Object(parts)) = permit.get("signature") else {
        return Err(malformed("signature is no object with r, s and v"));
    };
    let (r, s) = (word(parts.get("r"), "r")?, word(parts.get("s"), "s")?);
    let v = match parts.get("v").and_then(Value::as_u64) {
        Some(v @ (0 | 1)) => v + 27,
        Some(v @ (27 | 28)) => v,
        _ => return Err(malformed("v is neither 27 nor 28")),
    };
    Ok(format!("{r}{}{v:02x}", &s[2..]))
}

impl Permit {
    /// The payment of version 2 that it is for an offer, if it is for its
    /// network, token and method. Whether amount, payee and time are right is
    /// for who verifies it.
    pub(crate) fn for_offer(&self, offer: &Offer) -> Option<PaymentPayload> {
        let terms = offer.terms();
        let method = terms.method().unwrap_or("eip3009");
        let fits = terms.network.chain_id() == Some(self.chain_id)
            && terms.wire.asset.eq_ignore_ascii_case(&self.token)
            && method == self.method;
        fits.then(|| PaymentPayload {
            x402_version: 2,
            resource: None,
            accepted: (*terms.wire).clone(),
            payload: self.payload.clone().into_iter().collect(),
            extensions: None,
        })
    }
}

impl Permit {
    /// Whether it is for just the amount of an offer, and for its payee where it names
    /// one.
    pub(crate) fn pays(&self, offer: &Offer) -> bool {
        let wire = &offer.terms().wire;
        let payee = self.signed("to");
        self.signed("value") == Some(wire.amount.as_str())
            && payee.is_none_or(|payee| payee.eq_ignore_ascii_case(&wire.pay_to))
    }

    pub(crate) fn network(&self) -> Network {
        Network::eip155(self.chain_id)
    }

    /// Whether it says whom it pays: by EIP-2612 only the settling contract does.
    pub(crate) fn names_payee(&self) -> bool {
        self.signed("to").is_some()
    }

    /// The payment that it was if its price was another: for network, token and method
    /// of an offer, the amount that was signed, and the payee that was, if one was.
    pub(crate) fn by_itself(&self, offer: &Offer) -> Option<PaymentPayload> {
        let mut payment = self.for_offer(offer)?;
        self.signed("value")?
            .clone_into(&mut payment.accepted.amount);
        if let Some(payee) = self.signed("to") {
            payee.clone_into(&mut payment.accepted.pay_to);
        }
        Some(payment)
    }

    fn signed(&self, key: &str) -> Option<&str> {
        let signed = self.payload.get("authorization");
        let signed = signed.or_else(|| self.payload.get("permit"))?;
        signed.get(key)?.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";

    fn body(change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut permit = json!({
            "permit_type": "ERC3009",
            "signature": { "signature_type": "EIP712", "r": "0x1", "s": "ff", "v": 28 },
            "created_at": "2026-01-01T00:00:00",
            "token": TOKEN,
            "chain_id": 84532,
            "authorizer": "0x857b06519E91e3A54538791bDbb0E22373e36b66",
            "recipient": "0x209693Bc6afc0C5328bA36FaF03C514EF312287C",
            "value": 10000,
            "validAfter": 0,
            "validBefore": 1_900_000_000_u64,
            "nonce": "0xabc",
        });
        change(&mut permit);
        json!({ "version": "Version 0.1", "permit": permit })
            .to_string()
            .into_bytes()
    }

    fn permit(bytes: &[u8]) -> Result<Permit, Refusal> {
        match read(bytes)? {
            Posted::Permit(permit) => Ok(permit),
            Posted::Payment(_) => panic!("a permit was posted"),
        }
    }

    #[test]
    fn zeros_that_were_left_out_come_back() {
        let read = permit(&body(|_| {})).unwrap();
        let signature = read.payload["signature"].as_str().unwrap();
        let expected = format!("0x{:0>64}{:0>64}1c", "1", "ff");
        assert_eq!(signature, expected);
        let authorization = &read.payload["authorization"];
        assert_eq!(authorization["nonce"], format!("0x{:0>64}", "abc"));
        assert_eq!(authorization["value"], "10000");
    }

    #[test]
    fn a_permit_is_for_its_own_network_token_and_method_only() {
        let payee = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";
        let offer = |network| Offer::new("$0.01", network, payee).unwrap();
        let read = permit(&body(|_| {})).unwrap();
        assert!(read.for_offer(&offer("base-sepolia")).is_some());
        assert!(read.for_offer(&offer("base")).is_none());
        let other = permit(&body(|p| p["token"] = json!(payee))).unwrap();
        assert!(other.for_offer(&offer("base-sepolia")).is_none());
        let method = permit(&body(|p| {
            p["permit_type"] = json!("EIP2612");
            p["owner"] = p["authorizer"].clone();
            p["spender"] = json!(payee);
            p["deadline"] = json!(1);
            p["nonce"] = json!(0);
        }));
        assert!(method.unwrap().for_offer(&offer("base-sepolia")).is_none());
    }

    #[test]
    fn what_cannot_be_read_is_refused_in_words() {
        for change in [
            (|p: &mut Value| p["permit_type"] = json!("Permit2")) as fn(&mut Value),
            |p| p["permit_type"] = json!(7),
            |p| p["value"] = json!(0.5),
            |p| p["value"] = json!(-1),
            |p| p["value"] = json!(1e40),
            |p| p["nonce"] = json!(format!("0x{}", "a".repeat(65))),
            |p| p["signature"]["v"] = json!(2),
            |p| p["signature"] = json!("0x"),
            |p| p["signature"]["r"] = json!("zz"),
            |p| p["chain_id"] = json!("84532"),
            |p| p["authorizer"] = Value::Null,
        ] {
            let refused = permit(&body(change)).unwrap_err();
            assert!(refused.message().ends_with('.'), "{refused:?}");
        }
        for bytes in [
            &b""[..],
            b"[]",
            b"{}",
            b"{\"permit\":1}",
            b"\xff",
            b"{\"x402Version\":1}",
        ] {
            assert!(read(bytes).is_err(), "{bytes:?}");
        }
    }
}
