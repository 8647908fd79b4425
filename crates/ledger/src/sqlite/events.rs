//! [`StoryStore`] on SQLite.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use tollway_core::{GrantId, Timestamp};

use super::chain::{Entry, hash};
use super::row::{Columns, int};
use super::{SqliteLedger, grants};
use crate::{EventRecord, GrantRecord, LedgerError, StoryStore};

/// Events read at once.
const PAGE: i64 = 1_000;

#[async_trait]
impl StoryStore for SqliteLedger {
    async fn story(&self, subject: &str) -> Result<Vec<EventRecord>, LedgerError> {
        let events = sqlx::query("SELECT * FROM events WHERE subject = $1 ORDER BY id LIMIT 10000");
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

    async fn verify_chain(&self) -> Result<Option<EventRecord>, LedgerError> {
        // Checkpoints first: whatever they cover is then among the events.
        let checkpoints = self.checkpoints().await?;
        let mut check = Check {
            follows: HashMap::new(),
            checkpoints,
            writer: String::new(),
            seq: 0,
            hash: String::new(),
        };
        loop {
            let page = self.events_after(&check.writer, check.seq).await?;
            // Writers may have come since the walk began.
            check.follows = self.follows().await?;
            for row in &page {
                if !check.passes(row)? {
                    return record(row).map(Some);
                }
            }
            if (page.len() as i64) < PAGE {
                break;
            }
        }
        if let Some(broken) = self.loose_beginning().await? {
            return Ok(Some(broken));
        }
        Ok(check.missing())
    }
}

impl SqliteLedger {
    async fn events_after(&self, writer: &str, seq: u64) -> Result<Vec<SqliteRow>, LedgerError> {
        let page = sqlx::query(
            "SELECT * FROM events WHERE (writer, seq) > ($1, $2) ORDER BY writer, seq LIMIT $3",
        );
        self.list(page.bind(writer.to_owned()).bind(int(seq)).bind(PAGE))
            .await
    }

    /// What each writer's first event follows.
    async fn follows(&self) -> Result<HashMap<String, String>, LedgerError> {
        let rows = self
            .list(sqlx::query("SELECT writer, follows_hash FROM writers"))
            .await?;
        let pair = |row| {
            let columns = Columns(row);
            Ok((columns.text("writer")?, columns.text("follows_hash")?))
        };
        rows.iter().map(pair).collect()
    }

    async fn checkpoints(&self) -> Result<HashMap<(String, u64), String>, LedgerError> {
        let rows = self
            .list(sqlx::query("SELECT writer, seq, hash FROM checkpoints"))
            .await?;
        let entry = |row| {
            let columns = Columns(row);
            let key = (columns.text("writer")?, columns.number("seq")?);
            Ok((key, columns.text("hash")?))
        };
        rows.iter().map(entry).collect()
    }

    /// The first event of a writer that follows an event which is not there.
    async fn loose_beginning(&self) -> Result<Option<EventRecord>, LedgerError> {
        let loose = sqlx::query(
            "SELECT w.* FROM writers w LEFT JOIN events e
                 ON e.writer = w.follows_writer AND e.seq = w.follows_seq
             WHERE w.follows_seq > 0 AND (e.hash IS NULL OR e.hash <> w.follows_hash)
             ORDER BY w.opened_at LIMIT 1",
        );
        let Some(row) = self.find(loose).await? else {
            return Ok(None);
        };
        let columns = Columns(&row);
        let writer = columns.text("writer")?;
        let first = sqlx::query("SELECT * FROM events WHERE writer = $1 AND seq = 1");
        match self.find(first.bind(writer.clone())).await? {
            Some(row) => record(&row).map(Some),
            None => Ok(Some(lost(&writer, 1, &columns.text("follows_hash")?))),
        }
    }
}

/// A walk through all events, writer by writer.
struct Check {
    follows: HashMap<String, String>,
    /// Those that the walk has not met yet.
    checkpoints: HashMap<(String, u64), String>,
    writer: String,
    seq: u64,
    hash: String,
}

impl Check {
    fn passes(&mut self, row: &SqliteRow) -> Result<bool, LedgerError> {
        let columns = Columns(row);
        let writer = columns.text("writer")?;
        if writer != self.writer {
            self.hash = self.follows.get(&writer).cloned().unwrap_or_default();
            self.seq = 0;
            self.writer = writer;
        }
        let seq = columns.number("seq")?;
        let (subject, kind) = (columns.text("subject")?, columns.text("kind")?);
        let data = columns.text("data")?;
        let entry = Entry {
            writer: &self.writer,
            seq,
            at: columns.time("at")?,
            subject: &subject,
            kind: &kind,
            data: &data,
        };
        let computed = hash(&self.hash, &entry);
        let checkpoint = self.checkpoints.remove(&(self.writer.clone(), seq));
        let fits = seq == self.seq + 1
            && computed == columns.text("hash")?
            && checkpoint.is_none_or(|hash| hash == computed);
        self.seq = seq;
        self.hash = computed;
        Ok(fits)
    }

    /// An event that a checkpoint saw and that is gone.
    fn missing(&self) -> Option<EventRecord> {
        let ((writer, seq), hash) = self.checkpoints.iter().min_by_key(|(key, _)| *key)?;
        Some(lost(writer, *seq, hash))
    }
}

/// Stands for an event that must have been there.
fn lost(writer: &str, seq: u64, hash: &str) -> EventRecord {
    EventRecord {
        seq,
        writer: writer.to_owned(),
        at: Timestamp::default(),
        subject: String::new(),
        kind: "missing".to_owned(),
        data: serde_json::Value::Null,
        hash: hash.to_owned(),
    }
}

fn record(row: &SqliteRow) -> Result<EventRecord, LedgerError> {
    let columns = Columns(row);
    Ok(EventRecord {
        seq: columns.number("seq")?,
        writer: columns.text("writer")?,
        at: columns.time("at")?,
        subject: columns.text("subject")?,
        kind: columns.text("kind")?,
        data: columns.json("data")?,
        hash: columns.text("hash")?,
    })
}
