//! What a token endpoint answers:
//! `{"access_token":"…","token_type":"Bearer","expires_in":300}`.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tollway_core::Timestamp;

use super::number::{read, text};
use super::store::AccessToken;

/// Longest life that is believed: a year.
const MAX_LIFE: u64 = 366 * 86_400;
/// The life of a token whose seller does not say how long it lives.
const UNSAID_LIFE: u64 = 60;

/// A token, as it was given.
pub(super) struct Reply {
    pub token: AccessToken,
    pub life: Duration,
}

/// Reads it; `None` for anything that cannot be shown as a bearer token.
pub(super) fn parse(bytes: &[u8]) -> Option<Reply> {
    let body = read(bytes)?;
    let kind = text(&body, "token_type").unwrap_or("Bearer");
    if !kind.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let life = match text(&body, "expires_in") {
        // Some servers count fractions of seconds.
        Some(said) => said.split('.').next()?.parse::<u64>().ok()?,
        None => UNSAID_LIFE,
    };
    Some(Reply {
        token: AccessToken::new(text(&body, "access_token")?)?,
        life: Duration::from_secs(life.min(MAX_LIFE)),
    })
}

/// A token that came in a header: a JWT (RFC 7519) that says itself until when it
/// holds. Nothing else in it is believed, and its signature is the seller's affair.
pub(super) fn beside(token: &str, now: Timestamp) -> Option<Reply> {
    let claims = token.split('.').nth(1)?;
    let claims = read(&URL_SAFE_NO_PAD.decode(claims).ok()?)?;
    let end: u64 = text(&claims, "exp")?.split('.').next()?.parse().ok()?;
    let life = end.checked_sub(now.secs()).filter(|life| *life > 0)?;
    Some(Reply {
        token: AccessToken::new(token)?,
        life: Duration::from_secs(life.min(MAX_LIFE)),
    })
}

/// What an endpoint says about a payment that it does not take.
pub(super) fn complaint(bytes: &[u8]) -> Option<String> {
    let body = read(bytes)?;
    ["error", "errorMessage", "reason", "detail", "message"]
        .into_iter()
        .find_map(|key| text(&body, key))
        .map(crate::error::shown)
        .filter(|said| !said.is_empty())
}
