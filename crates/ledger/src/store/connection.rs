//! The writer's connection, whichever store it goes to.

use tollway_core::Timestamp;

use super::chain::ChainHead;
use crate::LedgerError;
use crate::failure::unavailable;
use crate::postgres::PostgresWriter;
use crate::sql::{Row, Statement};
use crate::sqlite::SqliteConnection;

/// Why a statement did not do what it says.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// The store failed, and says so in its own words.
    Failed(LedgerError),
    /// Others were in the way; the same group may pass another time.
    Again(String),
    /// The connection is gone, and what was not committed with it.
    Away(String),
    /// The connection broke during a commit.
    InDoubt(String),
}

impl Trouble {
    pub fn into_error(self) -> LedgerError {
        match self {
            Self::Failed(error) => error,
            Self::Again(detail) => unavailable(
                "Too many wrote to the ledger at the same moment; try again.",
                detail,
            ),
            Self::Away(detail) => unavailable(
                "The ledger's database does not answer; check that it runs and can be reached, and payments go on by themselves.",
                detail,
            ),
            Self::InDoubt(detail) => LedgerError::InDoubt {
                message: "The ledger's database went away during a commit, and it is not known whether it stands; check that it runs and can be reached.".to_owned(),
                detail,
            },
        }
    }
}

/// The one connection of a process that writes.
pub(crate) enum Connection {
    Sqlite(SqliteConnection),
    Postgres(Box<PostgresWriter>),
}

impl Connection {
    /// Opens the group's transaction. The end of the writer's chain, where it
    /// had to be read anew.
    pub async fn begin(&mut self) -> Result<Option<ChainHead>, Trouble> {
        match self {
            Self::Sqlite(conn) => conn.begin().await.map(|()| None),
            Self::Postgres(conn) => conn.begin().await,
        }
    }

    pub async fn commit(&mut self) -> Result<(), Trouble> {
        match self {
            Self::Sqlite(conn) => conn.control("COMMIT"),
            Self::Postgres(conn) => conn.commit().await,
        }
    }

    /// What became of a commit that was in doubt. Where there is no server
    /// between, no commit ever is.
    pub async fn is_committed(&mut self) -> Result<bool, Trouble> {
        match self {
            Self::Sqlite(_) => Ok(false),
            Self::Postgres(conn) => conn.is_committed().await,
        }
    }

    pub async fn roll_back(&mut self) {
        match self {
            // It fails where SQLite has rolled back by itself, which is as good.
            Self::Sqlite(conn) => drop(conn.control("ROLLBACK")),
            Self::Postgres(conn) => conn.roll_back().await,
        }
    }

    /// Runs a statement that is not part of any step.
    pub async fn control(&mut self, statement: &'static str) -> Result<(), Trouble> {
        match self {
            Self::Sqlite(conn) => conn.control(statement),
            Self::Postgres(conn) => conn.control(statement).await,
        }
    }

    /// How many rows a statement touched.
    pub async fn execute(&mut self, statement: &Statement) -> Result<u64, Trouble> {
        match self {
            Self::Sqlite(conn) => conn.execute(statement),
            Self::Postgres(conn) => conn.execute(statement).await,
        }
    }

    pub async fn query(&mut self, statement: &Statement) -> Result<Vec<Row>, Trouble> {
        match self {
            Self::Sqlite(conn) => conn.query(statement),
            Self::Postgres(conn) => conn.query(statement).await,
        }
    }

    /// The store's own clock.
    pub async fn now(&mut self) -> Result<Timestamp, Trouble> {
        match self {
            Self::Sqlite(conn) => conn.now(),
            Self::Postgres(conn) => conn.now().await,
        }
    }

    pub const fn is_shared(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(_) => true,
        }
    }

    /// Tries whether the store takes writes again.
    pub async fn probe(&mut self) -> Result<(), Trouble> {
        match self {
            Self::Sqlite(conn) => conn.probe().await,
            Self::Postgres(conn) => conn.probe().await,
        }
    }

    pub async fn close(self) -> Result<(), LedgerError> {
        match self {
            Self::Sqlite(conn) => conn.close(),
            Self::Postgres(conn) => conn.close().await,
        }
    }
}
