//! A signed payment as the body of a token request:
//! `{"version":"Version 0.1","permit":{…}}`, integers in atomic units.

use serde_json::{Value, json};
use tollway_core::assets::Method;
use tollway_core::wire::{Object, PaymentPayload};
use tollway_core::{Refusal, Terms, extensions};
use url::Url;

use crate::code;

/// The key under which a recorded payment says where it is posted. It stays in our
/// own record.
const KEY: &str = "access-token";
/// The version of a recorded payment that is posted: none of x402's. A server can
/// declare any extension, and this it cannot.
pub(crate) const NO_VERSION: u64 = 0;

/// Where a recorded payment is posted.
#[derive(Clone, Debug)]
pub(crate) struct TokenPurchase {
    pub endpoint: Url,
    pub version: String,
}

impl TokenPurchase {
    /// What marks a payment as one for a token.
    pub(crate) fn extension(&self) -> Object {
        let info = json!({"endpoint": self.endpoint.as_str(), "version": self.version});
        let mut extensions = Object::new();
        extensions.insert(KEY.to_owned(), json!({ "info": info }));
        extensions
    }

    /// The mark of a recorded payment, if it bears it.
    pub(crate) fn of(payment: &PaymentPayload) -> Option<Self> {
        if payment.x402_version != NO_VERSION {
            return None;
        }
        let info = payment.extensions.as_ref()?.get(KEY)?.get("info")?;
        Some(Self {
            endpoint: info.get("endpoint")?.as_str()?.parse().ok()?,
            version: info.get("version")?.as_str()?.to_owned(),
        })
    }
}

/// The body to post.
///
/// # Errors
/// `no_acceptable_terms` for what this wire cannot carry: signatures of
/// contracts, and amounts beyond 64 bits.
pub(crate) fn body(purchase: &TokenPurchase, payment: &PaymentPayload) -> Result<Vec<u8>, Refusal> {
    let permit = permit(payment).ok_or_else(|| {
        Refusal::new(
            code::NO_ACCEPTABLE_OFFER,
            "This payment cannot be written as a permit for a token; choose another way to pay.",
        )
    })?;
    let mut body = json!({"version": purchase.version, "permit": permit});
    // What no chain shows: by it a door tells who posted from who only read.
    if let Ok(Some(id)) = extensions::read(payment) {
        body["request_id"] = id.as_str().into();
    }
    Ok(body.to_string().into_bytes())
}

fn permit(payment: &PaymentPayload) -> Option<Value> {
    let terms = Terms::check(payment.accepted.clone()).ok()?;
    let chain_id = terms.network.chain_id()?;
    let token = payment.accepted.asset.as_str();
    let signature = payment.payload.get("signature")?.as_str()?;
    let part = |key: &str| payment.payload.get(key);
    Some(match terms.transfer_method()? {
        Method::Eip3009 => {
            let signed = part("authorization")?;
            json!({
                "permit_type": "ERC3009",
                "signature": split("ERC3009", signature)?,
                "token": token,
                "chain_id": chain_id,
                "authorizer": signed.get("from")?,
                "recipient": signed.get("to")?,
                "value": integer(signed, "value")?,
                "validAfter": integer(signed, "validAfter")?,
                "validBefore": integer(signed, "validBefore")?,
                "nonce": signed.get("nonce")?,
            })
        }
        Method::Eip2612 => {
            let signed = part("permit")?;
            json!({
                "permit_type": "EIP2612",
                "signature": split("EIP2612", signature)?,
                "token": token,
                "chain_id": chain_id,
                "owner": signed.get("owner")?,
                "spender": signed.get("spender")?,
                "value": integer(signed, "value")?,
                "nonce": integer(signed, "nonce")?,
                "deadline": integer(signed, "deadline")?,
            })
        }
        Method::Permit2 | Method::Erc7710 | Method::Txid => return None,
    })
}

/// A text of digits as a JSON integer.
fn integer(object: &Value, key: &str) -> Option<u64> {
    object.get(key)?.as_str()?.parse().ok()
}

/// The three parts of a plain account's signature, each with all its digits.
fn split(kind: &str, signature: &str) -> Option<Value> {
    let bytes = hex::decode(signature.strip_prefix("0x")?).ok()?;
    let [r @ .., v] = <[u8; 65]>::try_from(bytes).ok()?;
    let (r, s) = r.split_at(32);
    let v = if v < 27 { v + 27 } else { v };
    Some(json!({
        "signature_type": kind,
        "v": v,
        "r": format!("0x{}", hex::encode(r)),
        "s": format!("0x{}", hex::encode(s)),
    }))
}
