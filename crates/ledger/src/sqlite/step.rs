//! One atomic step on the writer's connection: its statements and its events.

use serde_json::Value;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Connection as _, Sqlite};
use tollway_core::Timestamp;

use super::chain::{CHECKPOINT_EVERY, ChainHead, Entry, hash, redacted};
use super::failure::storage;
use super::row::{Columns, int, json, millis};
use crate::LedgerError;

/// A statement that is ready to run.
pub(super) type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// Where a failed step rolls back to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Savepoint {
    /// The transaction's begin: there is no other step in it, or none wrote yet.
    Begin,
    /// Set, and nothing was written since.
    Fresh,
    /// Set, and written behind.
    Used,
}

/// The writer's connection and the end of its chain.
pub(super) struct Step {
    conn: SqliteConnection,
    writer: String,
    chain: ChainHead,
    /// The chain's end before the running step, and before its group.
    chain_before_step: ChainHead,
    chain_before_group: ChainHead,
    savepoint: Savepoint,
    /// Whether the group holds one step only: it needs no savepoint.
    is_alone: bool,
    /// Whether the running step has written.
    has_written: bool,
}

impl Step {
    pub fn new(conn: SqliteConnection, writer: String) -> Self {
        let chain = ChainHead::before_the_first();
        Self {
            conn,
            writer,
            chain_before_step: chain.clone(),
            chain_before_group: chain.clone(),
            chain,
            savepoint: Savepoint::Begin,
            is_alone: false,
            has_written: false,
        }
    }

    /// Runs a statement outside any step: transactions and trials.
    pub async fn control(&mut self, statement: Statement<'_>) -> Result<(), sqlx::Error> {
        statement.execute(&mut self.conn).await.map(|_| ())
    }

    /// A transaction of so many steps has begun.
    pub fn group_begins(&mut self, steps: usize) {
        self.chain_before_group = self.chain.clone();
        self.savepoint = Savepoint::Begin;
        self.is_alone = steps == 1;
    }

    /// The group's transaction was lost.
    pub fn group_failed(&mut self) {
        self.chain = self.chain_before_group.clone();
    }

    /// The next step of the group begins.
    pub fn begins(&mut self) {
        self.chain_before_step = self.chain.clone();
        self.has_written = false;
    }

    /// Undoes what the running step wrote, and only that. Whether the
    /// transaction still stands: a step that was alone takes it along.
    pub async fn undo(&mut self) -> Result<bool, LedgerError> {
        self.chain = self.chain_before_step.clone();
        if !self.has_written {
            return Ok(true);
        }
        let undo = if self.is_alone {
            sqlx::query("ROLLBACK")
        } else {
            sqlx::query("ROLLBACK TO step")
        };
        self.control(undo).await.map_err(storage)?;
        self.savepoint = Savepoint::Fresh;
        Ok(!self.is_alone)
    }

    /// Sets the savepoint before a step's first write: one that only reads, or
    /// is alone, needs none.
    async fn before_write(&mut self) -> Result<(), LedgerError> {
        if !self.has_written && !self.is_alone {
            let set = match self.savepoint {
                Savepoint::Begin => Some("SAVEPOINT step"),
                Savepoint::Used => Some("RELEASE step; SAVEPOINT step"),
                Savepoint::Fresh => None,
            };
            if let Some(set) = set {
                let set = sqlx::raw_sql(set).execute(&mut self.conn);
                set.await.map_err(storage)?;
            }
        }
        self.savepoint = Savepoint::Used;
        self.has_written = true;
        Ok(())
    }

    /// Runs a statement that writes; returns how many rows it touched.
    pub async fn run(&mut self, statement: Statement<'_>) -> Result<u64, LedgerError> {
        self.before_write().await?;
        let done = statement.execute(&mut self.conn).await.map_err(storage)?;
        Ok(done.rows_affected())
    }

    /// The row that a statement finds, if any.
    pub async fn find(
        &mut self,
        statement: Statement<'_>,
    ) -> Result<Option<SqliteRow>, LedgerError> {
        statement
            .fetch_optional(&mut self.conn)
            .await
            .map_err(storage)
    }

    /// All rows that a statement finds.
    pub async fn list(&mut self, statement: Statement<'_>) -> Result<Vec<SqliteRow>, LedgerError> {
        statement.fetch_all(&mut self.conn).await.map_err(storage)
    }

    /// Appends an event to a record's story, in the commit of this very step.
    pub async fn tell(
        &mut self,
        subject: &str,
        kind: &str,
        data: Value,
        at: Timestamp,
    ) -> Result<(), LedgerError> {
        if self.chain.seq == 0 {
            self.begin_chain(at).await?;
        }
        let data = json(&redacted(data))?;
        let seq = self.chain.seq + 1;
        let entry = Entry {
            writer: &self.writer,
            seq,
            at,
            subject,
            kind,
            data: &data,
        };
        let hash = hash(&self.chain.hash, &entry);
        let insert = sqlx::query(
            "INSERT INTO events (writer, seq, at, subject, kind, data, hash)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(self.writer.clone())
        .bind(int(seq))
        .bind(millis(at))
        .bind(subject)
        .bind(kind)
        .bind(data.as_str())
        .bind(hash.as_str());
        self.run(insert).await?;
        self.chain.seq = seq;
        self.chain.hash = hash;
        Ok(())
    }

    /// A writer's first event follows the latest of anybody's, which ties the
    /// chains together.
    async fn begin_chain(&mut self, at: Timestamp) -> Result<(), LedgerError> {
        let latest = sqlx::query("SELECT writer, seq, hash FROM events ORDER BY id DESC LIMIT 1");
        let (writer, seq, hash) = match self.find(latest).await? {
            Some(row) => {
                let columns = Columns(&row);
                let writer = columns.text("writer")?;
                (writer, columns.number("seq")?, columns.text("hash")?)
            }
            None => (String::new(), 0, String::new()),
        };
        let insert = sqlx::query(
            "INSERT INTO writers (writer, follows_writer, follows_seq, follows_hash, opened_at)
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(self.writer.clone())
        .bind(writer)
        .bind(int(seq))
        .bind(hash.as_str())
        .bind(millis(at));
        self.run(insert).await?;
        self.chain.hash = hash;
        Ok(())
    }

    /// Whether the chain grew long enough for a checkpoint.
    pub const fn checkpoint_is_due(&self) -> bool {
        self.chain.seq >= self.chain.checkpointed + CHECKPOINT_EVERY
    }

    /// Whether the chain has events that no checkpoint covers.
    pub const fn has_unchecked_events(&self) -> bool {
        self.chain.seq > self.chain.checkpointed
    }

    /// Records how far the chain has come. Stamped like its last event.
    pub async fn checkpoint(&mut self) -> Result<(), LedgerError> {
        let insert = sqlx::query(
            "INSERT INTO checkpoints (writer, seq, at, hash)
             SELECT writer, seq, at, hash FROM events WHERE writer = $1 AND seq = $2",
        )
        .bind(self.writer.clone())
        .bind(int(self.chain.seq));
        self.run(insert).await?;
        self.chain.checkpointed = self.chain.seq;
        Ok(())
    }

    pub async fn close(self) -> Result<(), LedgerError> {
        self.conn.close().await.map_err(storage)
    }
}
