//! Grants as they are stored.

use tollway_core::{GrantId, Identity};

use super::payments::digest;
use crate::failure::corrupt;
use crate::sql::{Row, Statement, sql};
use crate::{GrantRecord, GrantState, LedgerError, NewGrant, StoredAnswer};

/// A grant with whether its answer is stored, by a condition.
macro_rules! select_grant {
    ($rest:literal) => {
        sql(concat!(
            "SELECT g.*, a.grant_id IS NOT NULL AS has_answer
             FROM grants g LEFT JOIN answers a ON a.grant_id = g.id ",
            $rest
        ))
    };
}

pub(crate) fn by_id(id: &GrantId) -> Statement {
    select_grant!("WHERE g.id = $1").bind(id.to_string())
}

/// The one that holds the authorization, or else the latest that had it.
pub(crate) fn by_identity(identity: &Identity) -> Statement {
    select_grant!("WHERE g.identity = $1 ORDER BY g.reclaimable, g.seq DESC LIMIT 1")
        .bind(digest(identity))
}

/// The one that holds the identifier, or else the latest that had it.
pub(crate) fn by_identifier(identifier: &str) -> Statement {
    select_grant!("WHERE g.payment_identifier = $1 ORDER BY g.reclaimable, g.seq DESC LIMIT 1")
        .bind(identifier.to_owned())
}

pub(crate) fn newest(limit: u32) -> Statement {
    select_grant!("ORDER BY g.seq DESC LIMIT $1").bind(i64::from(limit.min(1_000)))
}

/// In no order; see [`crate::sql::by_seq`].
pub(crate) fn open() -> Statement {
    select_grant!("WHERE g.is_open = 1")
}

pub(crate) fn record(row: &Row) -> Result<GrantRecord, LedgerError> {
    Ok(GrantRecord {
        id: GrantId::from_text(row.text("id")?),
        grant: NewGrant {
            identity: row.identity()?,
            expected: row.expected()?,
            deadline: row.time("deadline")?,
            route: row.text("route")?,
            method: row.text("method")?,
            url: row.text("url")?,
            body_digest: row.text("body_digest")?,
            payload_digest: row.text("payload_digest")?,
            payment_identifier: row.opt_text("payment_identifier")?,
            flow: row.text("flow")?,
            owner: row.text("owner")?,
            pass: row.opt_json("pass")?,
        },
        state: row.word("state", GrantState::from_word)?,
        evidence: row.opt_json("evidence")?,
        receipt: row.opt_json("receipt")?,
        refusal: row.refusal()?,
        reclaimable: row.flag("reclaimable")?,
        has_answer: row.flag("has_answer")?,
        claimed_at: row.time("claimed_at")?,
    })
}

pub(crate) fn answer(row: &Row) -> Result<StoredAnswer, LedgerError> {
    let headers: Vec<(String, String)> = row.json("headers")?;
    let decoded = headers
        .into_iter()
        .map(|(name, value)| Ok((name, hex::decode(value)?)))
        .collect::<Result<_, hex::FromHexError>>();
    Ok(StoredAnswer {
        status: u16::try_from(row.number("status")?).map_err(|e| corrupt("status", e))?,
        headers: decoded.map_err(|e| corrupt("headers", e))?,
        body: row.bytes("body")?,
    })
}
