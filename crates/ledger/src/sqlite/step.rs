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

/// The writer's connection and the end of its chain.
pub(super) struct Step {
    conn: SqliteConnection,
    writer: String,
    pub(super) chain: ChainHead,
}

impl Step {
    pub fn new(conn: SqliteConnection, writer: String) -> Self {
        Self {
            conn,
            writer,
            chain: ChainHead::before_the_first(),
        }
    }

    /// Runs a statement; returns how many rows it touched.
    pub async fn run(&mut self, statement: Statement<'_>) -> Result<u64, LedgerError> {
        self.try_run(statement).await.map_err(storage)
    }

    pub async fn try_run(&mut self, statement: Statement<'_>) -> Result<u64, sqlx::Error> {
        Ok(statement.execute(&mut self.conn).await?.rows_affected())
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
        insert.execute(&mut self.conn).await.map_err(storage)?;
        self.chain.seq = seq;
        self.chain.hash = hash;
        Ok(())
    }

    /// A writer's first event follows the latest of anybody's, which ties the
    /// chains together.
    async fn begin_chain(&mut self, at: Timestamp) -> Result<(), LedgerError> {
        let latest = sqlx::query("SELECT hash FROM events ORDER BY id DESC LIMIT 1");
        let follows = match self.find(latest).await? {
            Some(row) => Columns(&row).text("hash")?,
            None => String::new(),
        };
        let insert =
            sqlx::query("INSERT INTO writers (writer, follows, opened_at) VALUES ($1, $2, $3)")
                .bind(self.writer.clone())
                .bind(follows.as_str())
                .bind(millis(at));
        self.run(insert).await?;
        self.chain.hash = follows;
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
