//! The ledger in one SQLite file.
//!
//! WAL with `synchronous=FULL`; one task owns the only connection that writes
//! ([`writer`]) and a small pool reads. Several processes may share one file;
//! one engine at a time ([`SqliteLedger::lock_engine`]).

mod chain;
mod events;
mod failure;
mod grant_steps;
mod grants;
mod limits;
mod location;
mod lock;
mod open;
mod payments;
mod row;
mod settlements;
mod slots;
mod spend_steps;
mod spends;
mod step;
#[cfg(test)]
mod tests;
mod writer;

use sqlx::SqlitePool;
use sqlx::sqlite::SqliteRow;

use self::failure::storage;
use self::location::Location;
use self::step::{Statement, Step};
use self::writer::{BoxFuture, StepName, Writer, step_name};
use crate::{LedgerError, LedgerHealth};

pub use lock::EngineLock;
pub use open::SCHEMA_VERSION;
pub use writer::WriterStats;

/// The ledger in one SQLite file, or in memory for tests and demos. A clone is
/// another handle to the same ledger.
#[derive(Clone)]
pub struct SqliteLedger {
    location: Location,
    writer: Writer,
    /// None in memory, where the writer's connection is the only one.
    readers: Option<SqlitePool>,
    engine: lock::InMemory,
}

impl SqliteLedger {
    /// Whether steps can be taken now.
    #[must_use]
    pub fn health(&self) -> LedgerHealth {
        self.writer.health()
    }

    /// Whether steps can be taken now.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.health().writable
    }

    /// How many steps shared how many commits since it was opened.
    #[must_use]
    pub fn stats(&self) -> WriterStats {
        self.writer.stats()
    }

    /// Takes the engine's place: at most one process and one engine settles
    /// from one ledger. It is given back when the guard drops or the process ends.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] or [`LedgerError::Unavailable`] naming the lock
    /// file, if another engine runs or the file cannot be made.
    pub fn lock_engine(&self) -> Result<EngineLock, LedgerError> {
        EngineLock::take(&self.location, &self.engine)
    }

    /// Writes what waits, a last checkpoint, and closes the file. Every later
    /// step fails.
    pub async fn close(&self) {
        self.writer.close().await;
        if let Some(readers) = &self.readers {
            readers.close().await;
        }
    }

    async fn write<T, F>(&self, name: StepName, step: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Step) -> BoxFuture<'a, Result<T, LedgerError>> + Send + 'static,
    {
        self.writer.write(name, step).await
    }

    /// All rows that one statement finds, outside any step.
    async fn list(&self, statement: Statement<'static>) -> Result<Vec<SqliteRow>, LedgerError> {
        match &self.readers {
            Some(readers) => statement.fetch_all(readers).await.map_err(storage),
            None => {
                self.write(step_name!("read"), move |step| {
                    Box::pin(async move { step.list(statement).await })
                })
                .await
            }
        }
    }

    async fn find(&self, statement: Statement<'static>) -> Result<Option<SqliteRow>, LedgerError> {
        Ok(self.list(statement).await?.into_iter().next())
    }
}

/// Where rows are read from: within a step, or by a reader.
trait Rows: Send {
    fn rows(
        &mut self,
        statement: Statement<'static>,
    ) -> impl Future<Output = Result<Vec<SqliteRow>, LedgerError>> + Send;
}

impl Rows for Step {
    async fn rows(&mut self, statement: Statement<'static>) -> Result<Vec<SqliteRow>, LedgerError> {
        self.list(statement).await
    }
}

impl Rows for &SqliteLedger {
    async fn rows(&mut self, statement: Statement<'static>) -> Result<Vec<SqliteRow>, LedgerError> {
        SqliteLedger::list(self, statement).await
    }
}
