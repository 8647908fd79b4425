//! Recomputes every writer's chain.

use std::collections::{HashMap, HashSet};

use super::Store;
use super::chain::{Entry, hash};
use super::stories::record;
use crate::audit::{ChainReport, Fault, Progress};
use crate::sql::{Row, int, sql};
use crate::{EventRecord, LedgerError};

/// Events read at once.
const PAGE: i64 = 1_000;

impl Store {
    /// Recomputes every writer's hash chain with its checkpoints and with how the
    /// chains follow each other, in constant memory but for the writers and
    /// checkpoints themselves. `heads` are hashes of latest events that were
    /// noted before: each must still be there.
    ///
    /// # Errors
    /// The ledger's, if it cannot be read.
    pub async fn audit_chain(
        &self,
        heads: &[String],
        progress: Progress<'_>,
    ) -> Result<ChainReport, LedgerError> {
        // Checkpoints first: whatever they cover is then among the events.
        let checkpoints = self.checkpoints().await?;
        let mut walk = Walk {
            report: ChainReport {
                checkpoints: checkpoints.len() as u64,
                ..ChainReport::default()
            },
            checkpoints,
            heads: heads.iter().cloned().collect(),
            follows: HashMap::new(),
            writer: String::new(),
            seq: 0,
            hash: String::new(),
        };
        loop {
            let page = self.events_after(&walk.writer, walk.seq).await?;
            // Writers may have come since the walk began.
            walk.follows = self.follows().await?;
            for row in &page {
                walk.pass(row)?;
            }
            progress(walk.report.events);
            if (page.len() as i64) < PAGE {
                break;
            }
        }
        let mut report = walk.ended();
        for fault in self.loose_beginnings().await? {
            report.note(fault);
        }
        for fault in self.lost_checkpoints().await? {
            report.note(fault);
        }
        report.head = self.latest_event().await?;
        Ok(report)
    }

    async fn events_after(&self, writer: &str, seq: u64) -> Result<Vec<Row>, LedgerError> {
        let page = sql(
            "SELECT * FROM events WHERE (writer, seq) > ($1, $2) ORDER BY writer, seq LIMIT $3",
        );
        self.list(page.bind(writer.to_owned()).bind(int(seq)).bind(PAGE))
            .await
    }

    async fn latest_event(&self) -> Result<Option<EventRecord>, LedgerError> {
        let latest = sql("SELECT * FROM events ORDER BY id DESC LIMIT 1");
        self.find(latest).await?.as_ref().map(record).transpose()
    }

    /// What each writer's first event follows.
    async fn follows(&self) -> Result<HashMap<String, String>, LedgerError> {
        let writers = sql("SELECT writer, follows_hash FROM writers");
        let pair = |row: &Row| Ok((row.text("writer")?, row.text("follows_hash")?));
        self.list(writers).await?.iter().map(pair).collect()
    }

    async fn checkpoints(&self) -> Result<HashMap<(String, u64), String>, LedgerError> {
        let made = sql("SELECT writer, seq, hash FROM checkpoints");
        let entry = |row: &Row| {
            let key = (row.text("writer")?, row.number("seq")?);
            Ok((key, row.text("hash")?))
        };
        self.list(made).await?.iter().map(entry).collect()
    }

    /// Writers that follow an event which is not there.
    async fn loose_beginnings(&self) -> Result<Vec<Fault>, LedgerError> {
        let loose = sql("SELECT w.writer FROM writers w LEFT JOIN events e
                 ON e.writer = w.follows_writer AND e.seq = w.follows_seq
             WHERE w.follows_seq > 0 AND (e.hash IS NULL OR e.hash <> w.follows_hash)
             ORDER BY w.opened_at LIMIT 1000");
        let fault = |row: &Row| {
            Ok(Fault::LooseBeginning {
                writer: row.text("writer")?,
            })
        };
        self.list(loose).await?.iter().map(fault).collect()
    }

    /// Writers of which fewer checkpoints are there than they made. In one
    /// question: a writer may make one meanwhile.
    async fn lost_checkpoints(&self) -> Result<Vec<Fault>, LedgerError> {
        let lost = sql(
            "SELECT w.writer, w.checkpoints AS made, COUNT(c.seq) AS found
             FROM writers w LEFT JOIN checkpoints c ON c.writer = w.writer
             WHERE w.checkpoints IS NOT NULL
             GROUP BY w.writer, w.checkpoints HAVING COUNT(c.seq) <> w.checkpoints
             ORDER BY w.writer LIMIT 1000",
        );
        let fault = |row: &Row| {
            Ok(Fault::CheckpointsMissing {
                writer: row.text("writer")?,
                made: row.number("made")?,
                found: row.number("found")?,
            })
        };
        self.list(lost).await?.iter().map(fault).collect()
    }
}

/// A walk through all events, writer by writer.
struct Walk {
    report: ChainReport,
    follows: HashMap<String, String>,
    /// Those that the walk has not met yet.
    checkpoints: HashMap<(String, u64), String>,
    heads: HashSet<String>,
    writer: String,
    seq: u64,
    hash: String,
}

impl Walk {
    fn pass(&mut self, row: &Row) -> Result<(), LedgerError> {
        let writer = row.text("writer")?;
        if writer != self.writer {
            self.hash = self.follows.get(&writer).cloned().unwrap_or_default();
            self.seq = 0;
            self.writer = writer;
            self.report.writers += 1;
        }
        let seq = row.number("seq")?;
        let (subject, kind) = (row.text("subject")?, row.text("kind")?);
        let (data, stored) = (row.text("data")?, row.text("hash")?);
        let entry = Entry {
            writer: &self.writer,
            seq,
            at: row.time("at")?,
            subject: &subject,
            kind: &kind,
            data: &data,
        };
        let computed = hash(&self.hash, &entry);
        self.report.events += 1;
        let writer = self.writer.clone();
        let checkpoint = self.checkpoints.remove(&(writer.clone(), seq));
        let is_next = seq == self.seq + 1;
        if !is_next {
            let seq = self.seq + 1;
            let writer = writer.clone();
            self.report.note(Fault::EventsMissing { writer, seq });
        } else if computed != stored {
            self.report.note(Fault::EventChanged {
                writer: writer.clone(),
                seq,
                subject,
                kind,
            });
        }
        if checkpoint.is_some_and(|made_of| made_of != stored) {
            self.report.note(Fault::CheckpointChanged { writer, seq });
        }
        if is_next && computed == stored {
            self.heads.remove(&stored);
        }
        // What comes after is judged by what is there: one fault is told once.
        self.seq = seq;
        self.hash = stored;
        Ok(())
    }

    fn ended(mut self) -> ChainReport {
        // Events that a checkpoint saw and that are gone.
        let mut gone: Vec<_> = self.checkpoints.into_keys().collect();
        gone.sort();
        for (writer, seq) in gone {
            self.report.note(Fault::EventsMissing { writer, seq });
        }
        let mut heads: Vec<_> = self.heads.into_iter().collect();
        heads.sort();
        for hash in heads {
            self.report.note(Fault::HeadMissing { hash });
        }
        self.report
    }
}
