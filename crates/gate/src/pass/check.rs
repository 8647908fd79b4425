//! An access token at a route: whether it opens it.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use tollway_core::{Timestamp, codes};
use tollway_ledger::{PassEnd, PassId, PassRecord};

use super::{Passes, SoldPass};
use crate::gate::Inner;

/// Whether a token opens a route.
pub(crate) enum Admission {
    /// It does.
    Open(Opened),
    /// It opens nothing here: a code and a sentence.
    Closed(&'static str, &'static str),
    /// The ledger cannot say.
    Unknown,
}

/// A request that a pass opened.
pub(crate) struct Opened {
    pub pass: PassId,
    /// Who paid.
    pub payer: String,
    /// Whether it took one of the pass's requests.
    pub is_counted: bool,
}

/// The bearer token of a request: of one header that says so.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (first, second) = (values.next()?, values.next());
    let (scheme, token) = first.to_str().ok()?.split_once(' ')?;
    (second.is_none() && scheme.eq_ignore_ascii_case("bearer")).then(|| token.trim())
}

/// Takes a token of ours out of a request to the service behind.
pub(crate) fn keep_to_ourselves(gate: &Inner, headers: &mut HeaderMap) {
    let Some(passes) = &gate.passes else { return };
    let is_ours = bearer(headers).is_some_and(|token| passes.keys.check(token).is_some());
    if is_ours {
        headers.remove(AUTHORIZATION);
    }
}

const INVALID: Admission = Admission::Closed(
    codes::INVALID_TOKEN,
    "The access token opens nothing here; buy a new one.",
);

/// Asks the token, and the ledger as far as it must.
pub(crate) async fn admit(
    gate: &Inner,
    passes: &Passes,
    sold: &SoldPass,
    token: &str,
) -> Admission {
    let Some(claims) = passes.keys.check(token) else {
        return INVALID;
    };
    if claims.aud != sold.audience {
        return INVALID;
    }
    let now = gate.now();
    if now.secs() >= claims.exp {
        return closed(PassEnd::Expired);
    }
    let pass = PassId::from_text(claims.jti);
    let opened = Opened {
        pass,
        payer: claims.sub.rsplit(':').next().unwrap_or_default().to_owned(),
        is_counted: claims.q.is_some(),
    };
    if opened.is_counted {
        return count(gate, passes, opened, claims.exp).await;
    }
    if passes.feed.trusts(&opened.pass, now) {
        return Admission::Open(opened);
    }
    let listens = passes.feed.listens();
    let read = match gate.noted(passes.store.pass(&opened.pass).await) {
        Ok(read) => read,
        Err(_) => return Admission::Unknown,
    };
    let found = read.as_ref().map_or(Some(PassEnd::Unknown), |p| p.end(now));
    if let Some(end) = found {
        return closed(end);
    }
    if let Some(PassRecord {
        is_settled: true,
        expires_at,
        ..
    }) = read
        && listens
    {
        passes.feed.is_settled(&opened.pass, expires_at, now);
    }
    Admission::Open(opened)
}

/// Makes one request of a pass that counts them. Whoever shows a dead one again
/// and again makes the ledger read, and not write.
async fn count(gate: &Inner, passes: &Passes, opened: Opened, exp: u64) -> Admission {
    let (now, id) = (gate.now(), &opened.pass);
    let has_ended = passes.feed.has_ended(id);
    if has_ended {
        let Ok(read) = gate.noted(passes.store.pass(id).await) else {
            return Admission::Unknown;
        };
        if let Some(end) = read.map_or(Some(PassEnd::Unknown), |pass| pass.end(now)) {
            return closed(end);
        }
    }
    match gate.noted(passes.store.use_pass(id, now).await) {
        Ok(Ok(_)) => {
            if has_ended {
                passes.feed.is_good(id);
            }
            Admission::Open(opened)
        }
        Ok(Err(end)) => {
            passes.feed.is_ended(id, Timestamp::from_secs(exp), now);
            closed(end)
        }
        Err(_) => Admission::Unknown,
    }
}

fn closed(end: PassEnd) -> Admission {
    match end {
        PassEnd::Unknown => INVALID,
        PassEnd::Revoked => Admission::Closed(
            codes::TOKEN_REVOKED,
            "The payment of the access token failed; buy a new one.",
        ),
        PassEnd::Expired => Admission::Closed(
            codes::TOKEN_EXPIRED,
            "The access token's time is over; buy a new one.",
        ),
        PassEnd::InDoubt => Admission::Unknown,
        PassEnd::UsedUp => Admission::Closed(
            codes::TOKEN_USED_UP,
            "All requests of the access token are made; buy a new one.",
        ),
    }
}
