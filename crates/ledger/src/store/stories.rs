//! [`StoryStore`].

use async_trait::async_trait;
use tollway_core::GrantId;

use super::Store;
use crate::audit::Fault;
use crate::sql::{Row, sql};
use crate::steps::grant_rows as grants;
use crate::{EventRecord, GrantRecord, LedgerError, StoryStore};

#[async_trait]
impl StoryStore for Store {
    async fn story(&self, subject: &str) -> Result<Vec<EventRecord>, LedgerError> {
        let events = sql("SELECT * FROM events WHERE subject = $1 ORDER BY id LIMIT 10000");
        let rows = self.list(events.bind(subject.to_owned())).await?;
        rows.iter().map(record).collect()
    }

    async fn grant(&self, id: &GrantId) -> Result<Option<GrantRecord>, LedgerError> {
        let row = self.find(grants::by_id(id)).await?;
        row.as_ref().map(grants::record).transpose()
    }

    async fn grants(&self, limit: u32) -> Result<Vec<GrantRecord>, LedgerError> {
        let rows = self.list(grants::newest(limit)).await?;
        rows.iter().map(grants::record).collect()
    }

    async fn verify_chain(&self) -> Result<Option<Fault>, LedgerError> {
        let report = self.audit_chain(&[], &|_| {}).await?;
        Ok(report.faults.into_iter().next())
    }
}

pub(super) fn record(row: &Row) -> Result<EventRecord, LedgerError> {
    Ok(EventRecord {
        seq: row.number("seq")?,
        writer: row.text("writer")?,
        at: row.time("at")?,
        subject: row.text("subject")?,
        kind: row.text("kind")?,
        data: row.json("data")?,
        hash: row.text("hash")?,
    })
}
