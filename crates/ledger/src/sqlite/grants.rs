//! [`GrantStore`] on SQLite: reading, and the way into the steps.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use tollway_core::{GrantId, Identity, Timestamp};

use super::failure::corrupt;
use super::grant_steps as steps;
use super::row::{Columns, millis};
use super::step::Statement;
use super::{SqliteLedger, step_name};
use crate::{
    Claim, Evidence, GrantRecord, GrantState, GrantStore, LedgerError, NewGrant, StoredAnswer,
};

/// Answers forgotten in one step, so that the steps of others get in between.
const FORGET_AT_ONCE: u64 = 64;
/// Refused grants forgotten in one step; they are small.
const FORGET_REFUSED_AT_ONCE: u64 = 512;
/// Refused grants that may be claimed again, kept at most.
const MAX_REFUSED: i64 = 10_000;

/// A grant with whether its answer is stored, by a condition.
macro_rules! select_grant {
    ($rest:literal) => {
        sqlx::query(concat!(
            "SELECT g.*, a.grant_id IS NOT NULL AS has_answer
             FROM grants g LEFT JOIN answers a ON a.grant_id = g.id ",
            $rest
        ))
    };
}

pub(super) fn by_id(id: &GrantId) -> Statement<'static> {
    select_grant!("WHERE g.id = $1").bind(id.to_string())
}

/// The one that holds the authorization, or else the latest that had it.
pub(super) fn by_identity(identity: &Identity) -> Statement<'static> {
    select_grant!("WHERE g.identity = $1 ORDER BY g.reclaimable, g.seq DESC LIMIT 1")
        .bind(identity.key())
}

/// The one that holds the identifier, or else the latest that had it.
pub(super) fn by_identifier(identifier: &str) -> Statement<'static> {
    select_grant!("WHERE g.payment_identifier = $1 ORDER BY g.reclaimable, g.seq DESC LIMIT 1")
        .bind(identifier.to_owned())
}

pub(super) fn newest(limit: u32) -> Statement<'static> {
    select_grant!("ORDER BY g.seq DESC LIMIT $1").bind(i64::from(limit.min(1_000)))
}

pub(super) fn open() -> Statement<'static> {
    select_grant!("WHERE g.is_open = 1 ORDER BY g.seq")
}

pub(super) fn record(row: &SqliteRow) -> Result<GrantRecord, LedgerError> {
    let columns = Columns(row);
    Ok(GrantRecord {
        id: GrantId::from_text(columns.text("id")?),
        grant: NewGrant {
            identity: columns.identity()?,
            expected: columns.expected()?,
            deadline: columns.time("deadline")?,
            route: columns.text("route")?,
            method: columns.text("method")?,
            url: columns.text("url")?,
            body_digest: columns.text("body_digest")?,
            payload_digest: columns.text("payload_digest")?,
            payment_identifier: columns.opt_text("payment_identifier")?,
            flow: columns.text("flow")?,
            owner: columns.text("owner")?,
        },
        state: columns.word("state", GrantState::from_word)?,
        evidence: columns.opt_json("evidence")?,
        receipt: columns.opt_json("receipt")?,
        refusal: columns.refusal()?,
        reclaimable: columns.flag("reclaimable")?,
        has_answer: columns.flag("has_answer")?,
        claimed_at: columns.time("claimed_at")?,
    })
}

fn answer(row: &SqliteRow) -> Result<StoredAnswer, LedgerError> {
    let columns = Columns(row);
    let headers: Vec<(String, String)> = columns.json("headers")?;
    let decoded = headers
        .into_iter()
        .map(|(name, value)| Ok((name, hex::decode(value)?)))
        .collect::<Result<_, hex::FromHexError>>();
    Ok(StoredAnswer {
        status: u16::try_from(columns.number("status")?).map_err(|e| corrupt("status", e))?,
        headers: decoded.map_err(|e| corrupt("headers", e))?,
        body: columns.bytes("body")?,
    })
}

#[async_trait]
impl GrantStore for SqliteLedger {
    async fn claim(&self, new: NewGrant, now: Timestamp) -> Result<Claim, LedgerError> {
        self.write(step_name!("claim"), move |step| {
            Box::pin(steps::claim(step, new, now))
        })
        .await
    }

    async fn served(
        &self,
        id: &GrantId,
        answer: Option<StoredAnswer>,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let id = id.clone();
        self.write(step_name!("served"), move |step| {
            Box::pin(steps::served(step, id, answer, now))
        })
        .await
    }

    async fn settling(&self, id: &GrantId, now: Timestamp) -> Result<(), LedgerError> {
        let id = id.clone();
        self.write(step_name!("settling"), move |step| {
            Box::pin(steps::settling(step, id, now))
        })
        .await
    }

    async fn release(
        &self,
        id: &GrantId,
        evidence: &Evidence,
        receipt: &serde_json::Value,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let (id, evidence, receipt) = (id.clone(), evidence.clone(), receipt.clone());
        self.write(step_name!("release"), move |step| {
            Box::pin(steps::release(step, id, evidence, receipt, now))
        })
        .await
    }

    async fn refuse(
        &self,
        id: &GrantId,
        code: &str,
        message: &str,
        reclaimable: bool,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let (id, code, message) = (id.clone(), code.to_owned(), message.to_owned());
        self.write(step_name!("refuse"), move |step| {
            Box::pin(steps::refuse(step, id, code, message, reclaimable, now))
        })
        .await
    }

    async fn remember_receipt(
        &self,
        id: &GrantId,
        receipt: &serde_json::Value,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let (id, receipt) = (id.clone(), receipt.clone());
        self.write(step_name!("remember_receipt"), move |step| {
            Box::pin(steps::remember_receipt(step, id, receipt, now))
        })
        .await
    }

    async fn grant_by_identifier(
        &self,
        payment_identifier: &str,
    ) -> Result<Option<GrantRecord>, LedgerError> {
        let row = self.find(by_identifier(payment_identifier)).await?;
        row.as_ref().map(record).transpose()
    }

    async fn grant_by_identity(
        &self,
        identity: &Identity,
    ) -> Result<Option<GrantRecord>, LedgerError> {
        let row = self.find(by_identity(identity)).await?;
        row.as_ref().map(record).transpose()
    }

    async fn answer(&self, id: &GrantId) -> Result<Option<StoredAnswer>, LedgerError> {
        let stored = sqlx::query("SELECT * FROM answers WHERE grant_id = $1");
        let row = self.find(stored.bind(id.to_string())).await?;
        row.as_ref().map(answer).transpose()
    }

    async fn open_grants(&self) -> Result<Vec<GrantRecord>, LedgerError> {
        self.list(open()).await?.iter().map(record).collect()
    }

    async fn refuse_orphans(&self, alive: &[String], now: Timestamp) -> Result<u64, LedgerError> {
        let alive = alive.to_vec();
        self.write(step_name!("refuse_orphans"), move |step| {
            Box::pin(steps::refuse_orphans(step, alive, now))
        })
        .await
    }

    /// An answer is kept while its grant has not ended: whoever paid for it
    /// must be able to fetch it.
    async fn forget_answers(&self, before: Timestamp) -> Result<u64, LedgerError> {
        let mut forgotten = 0;
        loop {
            let delete = sqlx::query(
                "DELETE FROM answers WHERE grant_id IN (
                     SELECT a.grant_id FROM answers a JOIN grants g ON g.id = a.grant_id
                     WHERE a.stored_at < $1 AND g.is_open = 0 ORDER BY a.stored_at LIMIT $2)",
            );
            let delete = delete.bind(millis(before)).bind(FORGET_AT_ONCE as i64);
            let count = self
                .write(step_name!("forget_answers"), move |step| {
                    Box::pin(async move { step.run(delete).await })
                })
                .await?;
            forgotten += count;
            if count < FORGET_AT_ONCE {
                return Ok(forgotten);
            }
        }
    }

    async fn forget_refused(&self, before: Timestamp) -> Result<u64, LedgerError> {
        let surplus = sqlx::query(
            "SELECT updated_at FROM grants WHERE reclaimable = 1
             ORDER BY updated_at DESC LIMIT 1 OFFSET $1",
        );
        let surplus = match self.find(surplus.bind(MAX_REFUSED)).await? {
            Some(row) => Columns(&row).time("updated_at")?.millis().saturating_add(1),
            None => 0,
        };
        let before = before.max(Timestamp::from_millis(surplus));
        let mut forgotten = 0;
        loop {
            let delete = sqlx::query(
                "DELETE FROM grants WHERE seq IN (
                     SELECT seq FROM grants WHERE reclaimable = 1 AND updated_at < $1
                     ORDER BY updated_at LIMIT $2)",
            );
            let delete = delete
                .bind(millis(before))
                .bind(FORGET_REFUSED_AT_ONCE as i64);
            let count = self
                .write(step_name!("forget_refused"), move |step| {
                    Box::pin(async move { step.run(delete).await })
                })
                .await?;
            forgotten += count;
            if count < FORGET_REFUSED_AT_ONCE {
                return Ok(forgotten);
            }
        }
    }
}
