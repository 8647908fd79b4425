//! What a facilitator says became of a route in its list: the header
//! `EXTENSION-RESPONSES` of its answer to a settlement.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use serde_json::Value;

use super::BAZAAR;

const EXTENSION_RESPONSES: &str = "extension-responses";
/// Most bytes of the header that are looked at.
const MAX_HEADER_BYTES: usize = 4096;
/// Most characters of a reason.
const MAX_REASON: usize = 64;

/// Whether a route is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listing {
    /// It is, or will be.
    Listed,
    /// It is not, and why.
    Rejected(String),
}

impl Listing {
    /// What the headers of an answer say, if they say anything.
    pub(crate) fn read(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(EXTENSION_RESPONSES)?.as_bytes();
        if value.len() > MAX_HEADER_BYTES {
            return None;
        }
        let said: Value = serde_json::from_slice(&STANDARD.decode(value).ok()?).ok()?;
        let said = said.get(BAZAAR)?;
        match said.get("status")?.as_str()? {
            "rejected" => {
                let reason = said.get("rejectedReason").and_then(Value::as_str);
                let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
                let reason = reason.unwrap_or_default().chars().filter(plain);
                Some(Self::Rejected(reason.take(MAX_REASON).collect()))
            }
            "success" | "processing" => Some(Self::Listed),
            _ => None,
        }
    }

    /// Tells the operator.
    pub(crate) fn log(&self, resource: &str) {
        match self {
            Self::Listed => tracing::debug!(resource, "the facilitator lists the route"),
            Self::Rejected(reason) => tracing::warn!(
                resource,
                reason,
                "the facilitator does not list the route; see docs/discovery.md"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(text: &str) -> Option<Listing> {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(&STANDARD.encode(text)).unwrap();
        headers.insert(EXTENSION_RESPONSES, value);
        Listing::read(&headers)
    }

    #[test]
    fn a_seller_hears_whether_its_route_is_listed() {
        let success = r#"{"bazaar":{"status":"success"}}"#;
        assert_eq!(read(success), Some(Listing::Listed));
        let rejected =
            r#"{"bazaar":{"status":"rejected","rejectedReason":"too_long\n\u001b[31m"}}"#;
        assert_eq!(
            read(rejected),
            Some(Listing::Rejected("too_long31m".to_owned()))
        );
        for odd in ["", "{}", r#"{"bazaar":1}"#, r#"{"bazaar":{"status":"?"}}"#] {
            assert_eq!(read(odd), None, "{odd}");
        }
        assert_eq!(read(&format!("{success}{}", " ".repeat(9000))), None);
        assert_eq!(Listing::read(&HeaderMap::new()), None);
    }
}
