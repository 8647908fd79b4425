//! What is to be told to the seller's own server, written in the commit of what
//! it tells of.

use serde_json::{Value, json};
use tollway_core::Timestamp;

use super::fresh_name;
use crate::sql::{int, json as text, millis, sql};
use crate::store::Step;
use crate::{LedgerError, Notice, PassRecord};

/// Writes a notice about a pass and its payment, with further facts.
pub(super) async fn write(
    step: &mut Step,
    pass: &PassRecord,
    kind: &'static str,
    facts: Value,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let id = fresh_name("ntc", now)?;
    let mut body = json!({
        "id": id,
        "type": kind,
        "at": now.secs(),
        "settlement": pass.grant,
        "pass": pass.id,
        "network": pass.network,
        "payer": pass.payer,
        "asset": pass.asset,
        "amount": pass.amount.to_string(),
        "audience": pass.audience,
    });
    if let (Value::Object(body), Value::Object(facts)) = (&mut body, facts) {
        body.extend(facts);
    }
    let insert = sql("INSERT INTO notices (id, kind, body, attempts, due_at, at)
         VALUES ($1, $2, $3, 0, $4, $4)")
    .bind(id)
    .bind(kind)
    .bind(text(&body)?)
    .bind(millis(now));
    step.run(insert).await.map(drop)
}

pub(crate) async fn take(
    step: &mut Step,
    limit: u32,
    again: Timestamp,
    now: Timestamp,
) -> Result<Vec<Notice>, LedgerError> {
    let due = sql("SELECT * FROM notices WHERE due_at <= $1 ORDER BY due_at, id LIMIT $2");
    let due = due.bind(millis(now)).bind(i64::from(limit.min(100)));
    let mut taken = Vec::new();
    for row in step.list(due).await? {
        let notice = Notice {
            id: row.text("id")?,
            kind: row.text("kind")?,
            body: row.text("body")?,
            attempts: row.number("attempts")?,
            at: row.time("at")?,
        };
        let update = sql("UPDATE notices SET due_at = $2, attempts = $3 WHERE id = $1")
            .bind(notice.id.clone())
            .bind(millis(again))
            .bind(int(notice.attempts + 1));
        step.run(update).await?;
        taken.push(notice);
    }
    Ok(taken)
}

pub(crate) async fn told(step: &mut Step, id: &str) -> Result<(), LedgerError> {
    let delete = sql("DELETE FROM notices WHERE id = $1");
    step.run(delete.bind(id.to_owned())).await.map(drop)
}

/// After this time nobody is told any more, whoever was to take it.
const KEEP: u64 = 4 * 24 * 60 * 60 * 1_000;

pub(super) async fn forget(step: &mut Step, now: Timestamp) -> Result<(), LedgerError> {
    let before = now.millis().saturating_sub(KEEP);
    let delete = sql("DELETE FROM notices WHERE at < $1").bind(int(before));
    step.run(delete).await.map(drop)
}
