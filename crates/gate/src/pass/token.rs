//! Access tokens: JWTs (RFC 7519) signed with HMAC-SHA256 (RFC 7515, `HS256`).
//!
//! Whoever checks them is the gate that made them, or another with the same
//! keys; so the algorithm is not read from the token but known, and the key is
//! found by `kid`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tollway_core::json::{self, JsonLimits};
use tollway_ledger::TokenKeyName;
use zeroize::Zeroizing;

/// Longest token that is looked at, in bytes.
const MAX_TOKEN_BYTES: usize = 2_048;
/// Shortest key, in bytes.
const MIN_KEY_BYTES: usize = 32;
/// Most keys at once.
const MAX_KEYS: usize = 16;

/// What a token says. It opens nothing by itself: the ledger knows more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    /// From this second it opens nothing.
    pub exp: u64,
    /// The second of its issue.
    pub iat: u64,
    /// Random.
    pub nonce: String,
    /// The pass.
    pub jti: String,
    /// The set of routes.
    pub aud: String,
    /// Who paid, CAIP-10.
    pub sub: String,
    /// Where, CAIP-2.
    pub net: String,
    /// In what.
    pub ast: String,
    /// How much, in atomic units.
    pub amt: String,
    /// How many requests it opened at first; none: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<u64>,
}

/// Exactly these fields: a token of ours has no others.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    alg: String,
    kid: String,
    typ: String,
}

/// Why a set of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is none, or there are too many.
    #[error("there must be 1 to 16 token keys; correct the file")]
    Count,
    /// A line that is no name and key.
    #[error(
        "line {0} of the token keys is not `NAME KEY`, with 1 to 64 letters, digits, - and _ and at least 64 hex digits; correct it"
    )]
    Line(usize),
    /// Two keys of one name.
    #[error("two token keys have the same name; rename one")]
    Twice,
    /// The system has no randomness.
    #[error("the system has no randomness to give; check /dev/urandom")]
    Random,
}

/// The keys that sign and check access tokens. The first signs; tokens of the
/// others are still good, so that keys rotate: put the new one first, and take
/// the old one away when its tokens are over.
#[derive(Clone)]
pub struct TokenKeys(Vec<(String, Zeroizing<Vec<u8>>)>);

impl std::fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.0.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

impl TokenKeys {
    /// Reads lines of `NAME KEY`, the key as hex of at least 32 bytes; empty
    /// lines and those that begin with `#` say nothing.
    ///
    /// # Errors
    /// [`KeyError`] says what to correct.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut keys: Vec<(String, Zeroizing<Vec<u8>>)> = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = key_of(line).ok_or(KeyError::Line(at + 1))?;
            if keys.iter().any(|(name, _)| *name == key.0) {
                return Err(KeyError::Twice);
            }
            keys.push(key);
        }
        match (1..=MAX_KEYS).contains(&keys.len()) {
            true => Ok(Self(keys)),
            false => Err(KeyError::Count),
        }
    }

    /// The text of a fresh key, as [`TokenKeys::parse`] reads it.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<Zeroizing<String>, KeyError> {
        let mut bytes = Zeroizing::new([0_u8; 36]);
        getrandom::fill(bytes.as_mut()).map_err(|_| KeyError::Random)?;
        let (name, key) = bytes.split_at(4);
        let key = Zeroizing::new(hex::encode(key));
        Ok(Zeroizing::new(format!("k{} {}\n", hex::encode(name), *key)))
    }

    /// The keys, the one that signs first.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|(_, key)| key.as_slice())
    }

    /// What tells each key from others, and says nothing of it.
    pub(crate) fn names(&self) -> Vec<TokenKeyName> {
        let named = self.0.iter().map(|(name, key)| {
            let digest = Sha256::new().chain_update("tollway token key\0");
            TokenKeyName {
                name: name.clone(),
                fingerprint: hex::encode(digest.chain_update(key.as_slice()).finalize()),
            }
        });
        named.collect()
    }

    /// A token for these claims.
    pub(crate) fn sign(&self, claims: &Claims) -> String {
        let Some((kid, key)) = self.0.first() else {
            return String::new();
        };
        let head = Head {
            alg: "HS256".to_owned(),
            kid: kid.clone(),
            typ: "JWT".to_owned(),
        };
        let said = format!("{}.{}", encoded(&head), encoded(claims));
        let signature = mac(key, &said).finalize().into_bytes();
        format!("{said}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// What a token says, if one of the keys signed it. Its time is not looked at.
    pub(crate) fn check(&self, token: &str) -> Option<Claims> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let (said, signature) = token.rsplit_once('.')?;
        let (head, claims) = said.split_once('.')?;
        let head: Head = decoded(head)?;
        if head.alg != "HS256" || head.typ != "JWT" {
            return None;
        }
        let (_, key) = self.0.iter().find(|(name, _)| *name == head.kid)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        // In constant time.
        mac(key, said).verify_slice(&signature).ok()?;
        decoded(claims)
    }
}

fn key_of(line: &str) -> Option<(String, Zeroizing<Vec<u8>>)> {
    let (name, key) = line.split_once(char::is_whitespace)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    let named = (1..=64).contains(&name.len()) && name.bytes().all(plain);
    let key = Zeroizing::new(hex::decode(key.trim()).ok()?);
    (named && key.len() >= MIN_KEY_BYTES).then(|| (name.to_owned(), key))
}

/// HMAC-SHA256 (RFC 2104) of a text.
pub(crate) fn mac(key: &[u8], text: &str) -> Hmac<Sha256> {
    // A key of any length is taken.
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key).unwrap_or_else(|_| {
        <Hmac<Sha256> as Mac>::new(&hmac::digest::Key::<Hmac<Sha256>>::default())
    });
    mac.update(text.as_bytes());
    mac
}

fn encoded(value: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).unwrap_or_default())
}

fn decoded<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    let limits = JsonLimits {
        max_bytes: MAX_TOKEN_BYTES,
        max_depth: 4,
    };
    json::object_from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?, &limits).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            exp: 2_000_000_000,
            iat: 1,
            nonce: "n".to_owned(),
            jti: "pas_1".to_owned(),
            aud: "GET /paid/*".to_owned(),
            sub: "eip155:84532:0x01".to_owned(),
            net: "eip155:84532".to_owned(),
            ast: "0x02".to_owned(),
            amt: "10000".to_owned(),
            q: Some(100),
        }
    }

    fn keys(names: &[&str]) -> TokenKeys {
        let line = |name: &&str| format!("{name} {}\n", hex::encode([name.len() as u8; 32]));
        TokenKeys::parse(&names.iter().map(line).collect::<String>()).unwrap()
    }

    #[test]
    fn keys_rotate_by_their_name() {
        let token = keys(&["a"]).sign(&claims());
        assert_eq!(keys(&["a"]).check(&token), Some(claims()));
        assert_eq!(keys(&["new", "a"]).check(&token), Some(claims()));
        assert_eq!(keys(&["new"]).check(&token), None, "it is gone");
        let forged = TokenKeys::parse(&format!("a {}", "ff".repeat(32))).unwrap();
        assert_eq!(keys(&["a"]).check(&forged.sign(&claims())), None);
    }

    #[test]
    fn a_token_that_was_changed_or_signed_another_way_is_none() {
        let keys = keys(&["a"]);
        let token = keys.sign(&claims());
        let parts: Vec<&str> = token.split('.').collect();
        let other = Claims {
            q: Some(101),
            ..claims()
        };
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":"a","typ":"JWT"}"#);
        let more = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","kid":"a","typ":"JWT","jku":"x"}"#);
        for forged in [
            format!("{}.{}.{}", parts[0], encoded(&other), parts[2]),
            format!("{none}.{}.", parts[1]),
            format!("{none}.{}.{}", parts[1], parts[2]),
            format!("{more}.{}.{}", parts[1], parts[2]),
            format!("{}.{}.", parts[0], parts[1]),
            format!("{token}="),
            token[..token.len() - 2].to_owned(),
            String::new(),
            "..".to_owned(),
            "é.é.é".to_owned(),
            "x".repeat(9_999),
        ] {
            assert_eq!(keys.check(&forged), None, "{forged}");
        }
    }

    #[test]
    fn keys_that_are_short_double_or_missing_are_refused() {
        let long = "ab".repeat(32);
        for text in [
            String::new(),
            "# nothing".to_owned(),
            "a abcd".to_owned(),
            format!("a {long}\na {long}"),
            format!("a/b {long}"),
            long.clone(),
        ] {
            assert!(TokenKeys::parse(&text).is_err(), "{text}");
        }
        let text = TokenKeys::generate().unwrap();
        let keys = TokenKeys::parse(&text).unwrap();
        let shown = format!("{keys:?}");
        let secret = text.trim().split_once(' ').unwrap().1;
        assert!(!shown.contains(secret), "{shown}");
    }
}
