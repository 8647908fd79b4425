//! [`StoryStore`].

use std::collections::HashMap;

use async_trait::async_trait;
use tollway_core::{GrantId, Timestamp};

use super::Store;
use super::chain::{Entry, hash};
use crate::sql::{Row, int, sql};
use crate::steps::grant_rows as grants;
use crate::{EventRecord, GrantRecord, LedgerError, StoryStore};

/// Events read at once.
const PAGE: i64 = 1_000;

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

impl Store {
    async fn events_after(&self, writer: &str, seq: u64) -> Result<Vec<Row>, LedgerError> {
        let page = sql(
            "SELECT * FROM events WHERE (writer, seq) > ($1, $2) ORDER BY writer, seq LIMIT $3",
        );
        self.list(page.bind(writer.to_owned()).bind(int(seq)).bind(PAGE))
            .await
    }

    /// What each writer's first event follows.
    async fn follows(&self) -> Result<HashMap<String, String>, LedgerError> {
        let rows = self
            .list(sql("SELECT writer, follows_hash FROM writers"))
            .await?;
        let pair = |row: &Row| Ok((row.text("writer")?, row.text("follows_hash")?));
        rows.iter().map(pair).collect()
    }

    async fn checkpoints(&self) -> Result<HashMap<(String, u64), String>, LedgerError> {
        let rows = self
            .list(sql("SELECT writer, seq, hash FROM checkpoints"))
            .await?;
        let entry = |row: &Row| {
            let key = (row.text("writer")?, row.number("seq")?);
            Ok((key, row.text("hash")?))
        };
        rows.iter().map(entry).collect()
    }

    /// The first event of a writer that follows an event which is not there.
    async fn loose_beginning(&self) -> Result<Option<EventRecord>, LedgerError> {
        let loose = sql("SELECT w.* FROM writers w LEFT JOIN events e
                 ON e.writer = w.follows_writer AND e.seq = w.follows_seq
             WHERE w.follows_seq > 0 AND (e.hash IS NULL OR e.hash <> w.follows_hash)
             ORDER BY w.opened_at LIMIT 1");
        let Some(row) = self.find(loose).await? else {
            return Ok(None);
        };
        let writer = row.text("writer")?;
        let first = sql("SELECT * FROM events WHERE writer = $1 AND seq = 1");
        match self.find(first.bind(writer.clone())).await? {
            Some(row) => record(&row).map(Some),
            None => Ok(Some(lost(&writer, 1, &row.text("follows_hash")?))),
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
    fn passes(&mut self, row: &Row) -> Result<bool, LedgerError> {
        let writer = row.text("writer")?;
        if writer != self.writer {
            self.hash = self.follows.get(&writer).cloned().unwrap_or_default();
            self.seq = 0;
            self.writer = writer;
        }
        let seq = row.number("seq")?;
        let (subject, kind) = (row.text("subject")?, row.text("kind")?);
        let data = row.text("data")?;
        let entry = Entry {
            writer: &self.writer,
            seq,
            at: row.time("at")?,
            subject: &subject,
            kind: &kind,
            data: &data,
        };
        let computed = hash(&self.hash, &entry);
        let checkpoint = self.checkpoints.remove(&(self.writer.clone(), seq));
        let fits = seq == self.seq + 1
            && computed == row.text("hash")?
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

fn record(row: &Row) -> Result<EventRecord, LedgerError> {
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
