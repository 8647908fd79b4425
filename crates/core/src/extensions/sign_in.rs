//! The `sign-in-with-x` extension: who paid before signs a message with its wallet, and
//! gets what it paid for again (EIP-4361 in the words of x402's extension).
//!
//! The message is built here from its fields, on both sides; what stands in a field can
//! neither begin a line nor end one.

use http::HeaderName;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::wire::Object;
use crate::{Network, Refusal, Timestamp, calendar, codes};

/// The extension's key.
pub const SIGN_IN_WITH_X: &str = "sign-in-with-x";

/// The header in which a sign-in is sent: base64 of JSON.
pub const SIGN_IN_HEADER: HeaderName = HeaderName::from_static("sign-in-with-x");

/// The kind of signature that is made and read: `personal_sign` (EIP-191), or what a
/// contract takes for one (EIP-1271).
pub const EIP191: &str = "eip191";

/// How old a message may be when it is shown, in seconds.
pub const MAX_AGE_SECONDS: u64 = 300;

/// How much clocks may differ, in seconds.
const SKEW_SECONDS: u64 = 30;

const MAX_DOMAIN_BYTES: usize = 300;
const MAX_URI_BYTES: usize = 4096;
const MAX_STATEMENT_BYTES: usize = 500;
const MAX_RESOURCES: usize = 8;
const MAX_NAME_BYTES: usize = 128;

/// What is signed, but for who signs on which chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignInInfo {
    /// Host, and port where it is not the scheme's, of the server.
    pub domain: String,
    /// What is opened.
    pub uri: String,
    /// `1`.
    pub version: String,
    /// 8 to 64 letters and digits; each opens one answer.
    pub nonce: String,
    /// RFC 3339 in UTC.
    pub issued_at: String,
    /// RFC 3339 in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_time: Option<String>,
    /// RFC 3339 in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// The server's own name of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// URIs that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Vec<String>>,
    /// A sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
}

/// A chain whose accounts may sign in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignInChain {
    /// CAIP-2 name.
    pub chain_id: String,
    /// [`EIP191`], or another kind of signature.
    #[serde(rename = "type")]
    pub kind: String,
}

/// What a 402 answer says of signing in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignInOffer {
    /// What is to be signed.
    pub info: SignInInfo,
    /// By accounts of which chains.
    pub supported_chains: Vec<SignInChain>,
}

/// A message and who signed it, as it is shown. Whoever holds one that was not used may
/// show it: its `Debug` has no signature.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignIn {
    /// What was signed.
    #[serde(flatten)]
    pub info: SignInInfo,
    /// The account.
    pub address: String,
    /// CAIP-2 name.
    pub chain_id: String,
    /// [`EIP191`].
    #[serde(rename = "type")]
    pub kind: String,
    /// `0x` and hex.
    pub signature: String,
}

impl std::fmt::Debug for SignIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignIn")
            .field("info", &self.info)
            .field("address", &self.address)
            .field("chain_id", &self.chain_id)
            .finish_non_exhaustive()
    }
}

impl SignInInfo {
    /// The message that an account of a chain signs.
    ///
    /// # Errors
    /// `invalid_payload` if a field could be read as another one.
    pub fn message(&self, address: &str, network: &Network) -> Result<String, Refusal> {
        self.check(address)?;
        let chain_id = network.chain_id().ok_or_else(unsupported)?;
        let mut lines = vec![
            format!(
                "{} wants you to sign in with your Ethereum account:",
                self.domain
            ),
            address.to_owned(),
            String::new(),
        ];
        lines.extend(self.statement.clone());
        lines.push(String::new());
        lines.push(format!("URI: {}", self.uri));
        lines.push(format!("Version: {}", self.version));
        lines.push(format!("Chain ID: {chain_id}"));
        lines.push(format!("Nonce: {}", self.nonce));
        lines.push(format!("Issued At: {}", self.issued_at));
        for (what, said) in [
            ("Expiration Time", &self.expiration_time),
            ("Not Before", &self.not_before),
            ("Request ID", &self.request_id),
        ] {
            lines.extend(said.iter().map(|said| format!("{what}: {said}")));
        }
        if let Some(resources) = self.resources.as_ref().filter(|all| !all.is_empty()) {
            lines.push("Resources:".to_owned());
            lines.extend(resources.iter().map(|uri| format!("- {uri}")));
        }
        Ok(lines.join("\n"))
    }

    /// Whether every field is one, and no longer than it may be.
    fn check(&self, address: &str) -> Result<(), Refusal> {
        let resources = self.resources.as_deref().unwrap_or_default();
        let times = [&self.expiration_time, &self.not_before];
        let times = times.into_iter().flatten().chain([&self.issued_at]);
        let fits = is_word(&self.domain, MAX_DOMAIN_BYTES)
            && is_word(&self.uri, MAX_URI_BYTES)
            && is_word(address, MAX_NAME_BYTES)
            && self.version == "1"
            && (8..=64).contains(&self.nonce.len())
            && self.nonce.bytes().all(|b| b.is_ascii_alphanumeric())
            && times.into_iter().all(|time| is_word(time, 40))
            && self
                .request_id
                .as_deref()
                .is_none_or(|id| is_word(id, MAX_NAME_BYTES))
            && self.statement.as_deref().is_none_or(is_sentence)
            && resources.len() <= MAX_RESOURCES
            && resources.iter().all(|uri| is_word(uri, MAX_URI_BYTES));
        fits.then_some(()).ok_or_else(|| {
            Refusal::new(
                codes::INVALID_PAYLOAD,
                "A field of the sign-in is malformed or too long; sign what the server offered.",
            )
        })
    }

    /// Whether it holds now.
    ///
    /// # Errors
    /// `invalid_siwx_…`, by what is wrong with its times.
    pub fn check_times(&self, now: Timestamp) -> Result<(), Refusal> {
        let now = now.secs();
        let read = |text: &str, code| {
            let time = calendar::utc(text).map(Timestamp::secs);
            time.ok_or_else(|| again(code))
        };
        let issued = read(&self.issued_at, codes::INVALID_SIWX_ISSUED_AT)?;
        if issued > now.saturating_add(SKEW_SECONDS) {
            return Err(again(codes::INVALID_SIWX_ISSUED_AT_IN_FUTURE));
        }
        if issued.saturating_add(MAX_AGE_SECONDS) < now {
            return Err(again(codes::INVALID_SIWX_ISSUED_AT_TOO_OLD));
        }
        if let Some(end) = &self.expiration_time
            && read(end, codes::INVALID_SIWX_EXPIRATION_TIME)? <= now
        {
            return Err(again(codes::INVALID_SIWX_EXPIRED));
        }
        if let Some(start) = &self.not_before
            && read(start, codes::INVALID_SIWX_NOT_BEFORE)? > now.saturating_add(SKEW_SECONDS)
        {
            return Err(again(codes::INVALID_SIWX_NOT_YET_VALID));
        }
        Ok(())
    }
}

impl SignInOffer {
    /// The one among the extensions of a 402 answer, if it is one.
    #[must_use]
    pub fn find(extensions: Option<&Object>) -> Option<Self> {
        serde_json::from_value(extensions?.get(SIGN_IN_WITH_X)?.clone()).ok()
    }

    /// As a 402 answer carries it.
    #[must_use]
    pub fn declared(&self) -> Value {
        json!({
            "info": self.info,
            "supportedChains": self.supported_chains,
            "schema": {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "required": ["domain", "address", "uri", "version", "chainId", "type", "nonce", "issuedAt", "signature"],
            },
        })
    }
}

/// Something of a sign-in is wrong: the sentence of its code, and to sign a fresh one.
#[must_use]
pub fn again(code: &'static str) -> Refusal {
    let sentence = codes::sentence(code).unwrap_or("The sign-in is not taken.");
    let sentence = sentence.trim_end_matches('.');
    Refusal::new(
        code,
        format!("{sentence}; sign the offer of a fresh answer, or pay."),
    )
}

fn unsupported() -> Refusal {
    again(codes::INVALID_SIWX_UNSUPPORTED_CHAIN)
}

/// Printable, without blanks.
fn is_word(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// One line.
fn is_sentence(text: &str) -> bool {
    (1..=MAX_STATEMENT_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> SignInInfo {
        SignInInfo {
            domain: "api.example".to_owned(),
            uri: "https://api.example/paid/weather".to_owned(),
            version: "1".to_owned(),
            nonce: "00112233445566778899aabbccddeeff".to_owned(),
            issued_at: "2026-11-22T00:00:00.000Z".to_owned(),
            resources: Some(vec!["https://api.example/paid/weather".to_owned()]),
            ..SignInInfo::default()
        }
    }

    const ADDRESS: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

    /// Both messages were made with the published package, 2.27.0.
    #[test]
    fn messages_are_those_of_the_published_package() {
        let network = Network::eip155(84532);
        let message = info().message(ADDRESS, &network).unwrap();
        assert_eq!(
            message,
            "api.example wants you to sign in with your Ethereum account:\n0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266\n\n\nURI: https://api.example/paid/weather\nVersion: 1\nChain ID: 84532\nNonce: 00112233445566778899aabbccddeeff\nIssued At: 2026-11-22T00:00:00.000Z\nResources:\n- https://api.example/paid/weather"
        );
        let full = SignInInfo {
            statement: Some("Sign in to read again.".to_owned()),
            expiration_time: Some("2026-11-22T00:05:00.000Z".to_owned()),
            not_before: Some("2026-11-22T00:00:00.000Z".to_owned()),
            request_id: Some("r1".to_owned()),
            ..info()
        };
        assert_eq!(
            full.message(ADDRESS, &network).unwrap(),
            "api.example wants you to sign in with your Ethereum account:\n0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266\n\nSign in to read again.\n\nURI: https://api.example/paid/weather\nVersion: 1\nChain ID: 84532\nNonce: 00112233445566778899aabbccddeeff\nIssued At: 2026-11-22T00:00:00.000Z\nExpiration Time: 2026-11-22T00:05:00.000Z\nNot Before: 2026-11-22T00:00:00.000Z\nRequest ID: r1\nResources:\n- https://api.example/paid/weather"
        );
    }

    #[test]
    fn no_field_says_what_another_says() {
        let network = Network::eip155(1);
        let bad: [fn(&mut SignInInfo); 8] = [
            |i| i.domain = "a\nURI: https://b".to_owned(),
            |i| i.uri = "https://a/ b".to_owned(),
            |i| i.statement = Some("a\nURI: https://b".to_owned()),
            |i| i.nonce = "short".to_owned(),
            |i| i.version = "2".to_owned(),
            |i| i.resources = Some(vec!["a\n- b".to_owned()]),
            |i| i.resources = Some(vec!["a".to_owned(); 9]),
            |i| i.request_id = Some(String::new()),
        ];
        for change in bad {
            let mut info = info();
            change(&mut info);
            assert!(info.message(ADDRESS, &network).is_err(), "{info:?}");
        }
        let starknet: Network = "starknet:SN_MAIN".parse().unwrap();
        assert!(info().message(ADDRESS, &starknet).is_err());
    }

    #[test]
    fn a_message_holds_in_its_time_only() {
        let at = |text: &str| calendar::utc(text).unwrap();
        let code = |info: &SignInInfo, now: &str| match info.check_times(at(now)) {
            Ok(()) => "good".to_owned(),
            Err(refusal) => refusal.code().to_owned(),
        };
        let plain = info();
        assert_eq!(code(&plain, "2026-11-22T00:04:59Z"), "good");
        assert_eq!(code(&plain, "2026-11-21T23:59:40Z"), "good");
        assert_eq!(
            code(&plain, "2026-11-22T00:05:01Z"),
            codes::INVALID_SIWX_ISSUED_AT_TOO_OLD
        );
        assert_eq!(
            code(&plain, "2026-11-21T23:59:00Z"),
            codes::INVALID_SIWX_ISSUED_AT_IN_FUTURE
        );
        let until = SignInInfo {
            expiration_time: Some("2026-11-22T00:01:00Z".to_owned()),
            ..info()
        };
        assert_eq!(
            code(&until, "2026-11-22T00:01:00Z"),
            codes::INVALID_SIWX_EXPIRED
        );
        let from = SignInInfo {
            not_before: Some("2026-11-22T00:02:00Z".to_owned()),
            ..info()
        };
        assert_eq!(
            code(&from, "2026-11-22T00:01:00Z"),
            codes::INVALID_SIWX_NOT_YET_VALID
        );
        for (field, expected) in [
            ("issuedAt", codes::INVALID_SIWX_ISSUED_AT),
            ("expirationTime", codes::INVALID_SIWX_EXPIRATION_TIME),
            ("notBefore", codes::INVALID_SIWX_NOT_BEFORE),
        ] {
            let mut json = serde_json::to_value(info()).unwrap();
            json[field] = "yesterday".into();
            let changed: SignInInfo = serde_json::from_value(json).unwrap();
            assert_eq!(code(&changed, "2026-11-22T00:00:10Z"), expected, "{field}");
        }
    }

    #[test]
    fn what_is_shown_is_read_and_no_log_holds_its_signature() {
        let shown = json!({
            "domain": "api.example", "address": ADDRESS, "uri": "https://api.example/x", "version": "1",
            "chainId": "eip155:1", "type": "eip191", "nonce": "00112233", "issuedAt": "2026-11-22T00:00:00Z",
            "signature": "0x5ec4e7",
        });
        let read: SignIn = serde_json::from_value(shown.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), shown);
        assert!(!format!("{read:?}").contains("5ec4e7"));
    }
}
