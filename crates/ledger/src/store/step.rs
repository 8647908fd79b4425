//! One atomic step on the writer's connection: its statements and its events.

use serde_json::Value;
use tollway_core::{Timestamp, mistake};

use super::chain::{CHECKPOINT_EVERY, ChainHead, Entry, hash, redacted};
use super::connection::{Connection, Trouble};
use crate::LedgerError;
use crate::sql::{Row, Statement, int, json, millis, sql};

/// The writer's connection and the end of its chain.
pub(crate) struct Step {
    conn: Connection,
    writer: String,
    chain: ChainHead,
    /// The chain's end before the running step, and before its group.
    chain_before_step: ChainHead,
    chain_before_group: ChainHead,
    /// Whether each step of this group has a savepoint of its own.
    is_careful: bool,
    /// Whether the group's transaction has the savepoint.
    has_savepoint: bool,
    /// Whether the running step has written.
    has_written: bool,
    /// What the store said when a statement of the running step failed.
    trouble: Option<Trouble>,
}

impl Step {
    pub fn new(conn: Connection, writer: String) -> Self {
        let chain = ChainHead::before_the_first();
        Self {
            conn,
            writer,
            chain_before_step: chain.clone(),
            chain_before_group: chain.clone(),
            chain,
            is_careful: false,
            has_savepoint: false,
            has_written: false,
            trouble: None,
        }
    }

    pub const fn conn(&mut self) -> &mut Connection {
        &mut self.conn
    }

    /// A group begins. A careful one can undo one step and keep the others.
    pub async fn begin(&mut self, is_careful: bool) -> Result<(), Trouble> {
        self.is_careful = is_careful;
        self.has_savepoint = false;
        self.chain_before_group = self.chain.clone();
        if let Some(chain) = self.conn.begin().await? {
            self.chain_before_group = chain.clone();
            self.chain = chain;
        }
        Ok(())
    }

    /// The group is durable when this returns.
    pub async fn commit(&mut self) -> Result<(), Trouble> {
        self.conn.commit().await
    }

    /// The group's transaction is lost, or to be lost.
    pub async fn roll_back(&mut self) {
        self.conn.roll_back().await;
        self.chain = self.chain_before_group.clone();
    }

    /// The next step of the group begins.
    pub fn begins(&mut self) {
        self.chain_before_step = self.chain.clone();
        self.has_written = false;
        self.trouble = None;
    }

    /// Why the running step failed, if the store was the reason.
    pub const fn take_trouble(&mut self) -> Option<Trouble> {
        self.trouble.take()
    }

    /// Undoes what the running step wrote, and only that. Whether it could:
    /// without a savepoint the whole group must run again.
    pub async fn undo(&mut self) -> Result<bool, Trouble> {
        self.chain = self.chain_before_step.clone();
        if !self.has_written {
            return Ok(true);
        }
        if self.is_careful {
            self.conn.control("ROLLBACK TO SAVEPOINT step").await?;
        }
        Ok(self.is_careful)
    }

    async fn before_write(&mut self) -> Result<(), LedgerError> {
        if self.is_careful && !self.has_written {
            if self.has_savepoint {
                let release = self.conn.control("RELEASE SAVEPOINT step").await;
                self.checked(release)?;
            }
            let set = self.conn.control("SAVEPOINT step").await;
            self.checked(set)?;
            self.has_savepoint = true;
        }
        self.has_written = true;
        Ok(())
    }

    fn checked<T>(&mut self, result: Result<T, Trouble>) -> Result<T, LedgerError> {
        result.map_err(|trouble| {
            let error = trouble.clone().into_error();
            self.trouble = Some(trouble);
            error
        })
    }

    /// Runs a statement that writes; returns how many rows it touched.
    pub async fn run(&mut self, statement: Statement) -> Result<u64, LedgerError> {
        self.before_write().await?;
        let done = self.conn.execute(&statement).await;
        self.checked(done)
    }

    /// The row that a statement finds, if any.
    pub async fn find(&mut self, statement: Statement) -> Result<Option<Row>, LedgerError> {
        Ok(self.list(statement).await?.into_iter().next())
    }

    /// All rows that a statement finds.
    pub async fn list(&mut self, statement: Statement) -> Result<Vec<Row>, LedgerError> {
        let rows = self.conn.query(&statement).await;
        self.checked(rows)
    }

    /// The time by the clock that all who share the ledger share.
    pub async fn store_now(&mut self) -> Result<Timestamp, LedgerError> {
        let now = self.conn.now().await;
        self.checked(now)
    }

    /// Whether several machines may share the ledger.
    pub const fn is_shared(&self) -> bool {
        self.conn.is_shared()
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
        let previous = match mistake::is("story_not_chained") {
            true => "",
            false => &self.chain.hash,
        };
        let hash = hash(previous, &entry);
        let insert = sql(
            "INSERT INTO events (writer, seq, at, subject, kind, data, hash)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(self.writer.clone())
        .bind(int(seq))
        .bind(millis(at))
        .bind(subject.to_owned())
        .bind(kind.to_owned())
        .bind(data)
        .bind(hash.clone());
        self.run(insert).await?;
        self.chain.seq = seq;
        self.chain.hash = hash;
        Ok(())
    }

    /// A writer's first event follows the latest of anybody's, which ties the
    /// chains together.
    async fn begin_chain(&mut self, at: Timestamp) -> Result<(), LedgerError> {
        let latest = sql("SELECT writer, seq, hash FROM events ORDER BY id DESC LIMIT 1");
        let (writer, seq, hash) = match self.find(latest).await? {
            Some(row) => (row.text("writer")?, row.number("seq")?, row.text("hash")?),
            None => (String::new(), 0, String::new()),
        };
        let insert = sql(
            "INSERT INTO writers (writer, follows_writer, follows_seq, follows_hash, opened_at, checkpoints)
             VALUES ($1, $2, $3, $4, $5, 0)",
        )
        .bind(self.writer.clone())
        .bind(writer)
        .bind(int(seq))
        .bind(hash.clone())
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
    pub async fn checkpoint(&mut self) -> Result<(), Trouble> {
        let insert = sql("INSERT INTO checkpoints (writer, seq, at, hash)
             SELECT writer, seq, at, hash FROM events WHERE writer = $1 AND seq = $2")
        .bind(self.writer.clone())
        .bind(int(self.chain.seq));
        self.conn.execute(&insert).await?;
        let count = sql("UPDATE writers SET checkpoints = checkpoints + 1 WHERE writer = $1")
            .bind(self.writer.clone());
        self.conn.execute(&count).await?;
        self.chain.checkpointed = self.chain.seq;
        Ok(())
    }

    pub async fn close(self) -> Result<(), LedgerError> {
        self.conn.close().await
    }
}
