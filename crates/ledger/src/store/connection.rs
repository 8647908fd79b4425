//! The writer's connection, whichever store it goes to.

use tollway_core::Timestamp;

use super::chain::ChainHead;
use crate::LedgerError;
use crate::sql::{Row, Statement};
use crate::sqlite::SqliteConnection;

/// Why a statement did not do what it says.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// The store failed, and says so in its own words.
    Failed(LedgerError),
}

impl Trouble {
    pub fn into_error(self) -> LedgerError {
        match self {
            Self::Failed(error) => error,
        }
    }
}

/// The one connection of a process that writes.
pub(crate) enum Connection {
    Sqlite(SqliteConnection),
}

impl Connection {
    /// Opens the group's transaction. The end of the writer's chain, where it
    /// had to be read anew.
    pub async fn begin(&mut self, _writer: &str) -> Result<Option<ChainHead>, Trouble> {
        match self {
            Self::Sqlite(conn) => conn.begin().await.map(|()| None),
        }
    }

    pub async fn commit(&mut self, _writer: &str) -> Result<(), Trouble> {
        match self {
            Self::Sqlite(conn) => conn.control("COMMIT"),
        }
    }

    pub async fn roll_back(&mut self) {
        match self {
            // It fails where SQLite has rolled back by itself, which is as good.
            Self::Sqlite(conn) => drop(conn.control("ROLLBACK")),
        }
    }

    /// Runs a statement that is not part of any step.
    pub async fn control(&mut self, statement: &'static str) -> Result<(), Trouble> {
        match self {
            Self::Sqlite(conn) => conn.control(statement),
        }
    }

    /// How many rows a statement touched.
    pub async fn execute(&mut self, statement: &Statement) -> Result<u64, Trouble> {
        match self {
            Self::Sqlite(conn) => conn.execute(statement),
        }
    }

    pub async fn query(&mut self, statement: &Statement) -> Result<Vec<Row>, Trouble> {
        match self {
            Self::Sqlite(conn) => conn.query(statement),
        }
    }

    /// The store's own clock.
    pub async fn now(&mut self) -> Result<Timestamp, Trouble> {
        match self {
            Self::Sqlite(conn) => conn.now(),
        }
    }

    pub const fn is_shared(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
        }
    }

    /// Tries whether the store takes writes again.
    pub async fn probe(&mut self) -> Result<(), Trouble> {
        match self {
            Self::Sqlite(conn) => conn.probe().await,
        }
    }

    pub async fn close(self) -> Result<(), LedgerError> {
        match self {
            Self::Sqlite(conn) => conn.close(),
        }
    }
}
