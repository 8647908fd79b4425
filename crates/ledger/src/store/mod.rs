//! The ledger whatever holds it: one writer, some readers, and the traits.

mod chain;
mod chain_audit;
mod connection;
mod figures;
mod grants;
mod listing;
mod looks;
mod passes;
mod replicas;
mod row_audit;
mod settlements;
mod spends;
mod step;
mod stories;
mod work;
mod writer;

use tollway_core::Timestamp;

use crate::failure::{no_randomness, unavailable};
use crate::postgres::{PostgresPlace, PostgresReaders};
use crate::sql::{Row, Statement};
use crate::sqlite::{EngineLock, SqlitePlace, SqliteReaders};
use crate::{LedgerError, LedgerHealth, ReplicaId};

pub(crate) use chain::ChainHead;
pub(crate) use connection::{Connection, Trouble};
pub(crate) use step::Step;
pub(crate) use work::{StepName, step_name};
pub(crate) use writer::Writer;
pub use writer::WriterStats;

/// A ledger that is open: it keeps settlements, grants, spends and stories. A
/// clone is another handle to the same ledger.
#[derive(Clone)]
pub struct Store {
    writer: Writer,
    readers: Readers,
    place: Place,
    /// Whom this handle's engine steps are taken for.
    acting: Option<ReplicaId>,
    /// Whom this handle's steps on grants are taken for.
    owner: Option<String>,
}

/// What holds the ledger.
#[derive(Clone)]
enum Place {
    Sqlite(SqlitePlace),
    Postgres(Box<PostgresPlace>),
}

impl Place {
    fn parse(url: &str) -> Result<Self, LedgerError> {
        match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => SqlitePlace::parse(url).map(Self::Sqlite),
            Some("postgres" | "postgresql") => {
                PostgresPlace::parse(url).map(Box::new).map(Self::Postgres)
            }
            _ => Err(unavailable(
                "A ledger's URL begins with sqlite: and a path, or with postgres://; write for example sqlite:tollway.db.",
                "unknown scheme",
            )),
        }
    }
}

/// Where rows are read outside any step.
#[derive(Clone)]
enum Readers {
    /// The writer's connection is the only one.
    Writer,
    Sqlite(SqliteReaders),
    Postgres(PostgresReaders),
}

impl Store {
    /// Opens or creates the ledger that a URL names: `sqlite:PATH`,
    /// `sqlite::memory:` for one that ends with the process, or
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE` for one that several
    /// machines share.
    ///
    /// # Errors
    /// If the URL is none, the folder or database does not exist, what is there
    /// is no ledger or cannot be written, or a newer program wrote it.
    pub async fn open(url: &str) -> Result<Self, LedgerError> {
        let place = Place::parse(url)?;
        let (writer, readers) = match &place {
            Place::Sqlite(place) => {
                let writer = place.start_writer().await?;
                let readers = place.readers().map_or(Readers::Writer, Readers::Sqlite);
                (writer, readers)
            }
            Place::Postgres(place) => {
                let writer = place.start_writer().await?;
                (writer, Readers::Postgres(place.readers()))
            }
        };
        Ok(Self {
            writer,
            readers,
            place,
            acting: None,
            owner: None,
        })
    }

    /// Opens a ledger that exists, to be read only: nothing of it changes, and
    /// every step is refused. Whoever writes to it goes on meanwhile.
    ///
    /// # Errors
    /// As [`Store::open`]'s; also where there is no ledger, and where an older
    /// program wrote it that nobody has brought up to date yet.
    pub async fn open_to_read(url: &str) -> Result<Self, LedgerError> {
        Self::reading(Place::parse(url)?).await
    }

    /// The same ledger to be read only, on connections of its own: however slow
    /// its reader is, nobody else waits for one. What is in memory has only one
    /// connection, and is shared.
    ///
    /// # Errors
    /// As [`Store::open_to_read`]'s.
    pub async fn beside(&self) -> Result<Self, LedgerError> {
        match self.readers {
            Readers::Writer => Ok(self.clone()),
            Readers::Sqlite(_) | Readers::Postgres(_) => Self::reading(self.place.clone()).await,
        }
    }

    async fn reading(place: Place) -> Result<Self, LedgerError> {
        let readers = match &place {
            Place::Sqlite(place) => Readers::Sqlite(place.readers_alone().await?),
            Place::Postgres(place) => Readers::Postgres(place.readers_alone().await?),
        };
        Ok(Self {
            writer: Writer::none(),
            readers,
            place,
            acting: None,
            owner: None,
        })
    }

    /// Whether several machines may share it: then whoever takes part joins
    /// ([`crate::ReplicaStore`]), and signers are leased.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        matches!(self.place, Place::Postgres(_))
    }

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
    /// from one file. It is given back when the guard drops or the process ends.
    /// In a database that several machines share, there is no such place.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] naming the lock file, if another engine
    /// runs or the file cannot be made.
    pub fn lock_engine(&self) -> Result<EngineLock, LedgerError> {
        match &self.place {
            Place::Sqlite(place) => place.lock_engine(),
            Place::Postgres(_) => Ok(EngineLock::of_a_database()),
        }
    }

    /// Writes what waits and a last checkpoint, and closes. Every later step
    /// fails.
    pub async fn close(&self) {
        self.writer.close().await;
        match &self.readers {
            Readers::Writer => {}
            Readers::Sqlite(readers) => readers.close(),
            Readers::Postgres(readers) => readers.close().await,
        }
    }

    pub(crate) async fn write<T, F>(&self, name: StepName, step: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: AsyncFnMut(&mut Step) -> Result<T, LedgerError> + Send + 'static,
    {
        self.writer.write(name, step).await
    }

    /// All rows that one statement finds, outside any step.
    async fn list(&self, statement: Statement) -> Result<Vec<Row>, LedgerError> {
        match &self.readers {
            Readers::Sqlite(readers) => readers.query(statement).await,
            Readers::Postgres(readers) => readers.query(statement).await,
            Readers::Writer => {
                let read = async move |step: &mut Step| step.list(statement.clone()).await;
                self.write(step_name!("read"), read).await
            }
        }
    }

    /// The time by the store's own clock.
    async fn store_now(&self) -> Result<Timestamp, LedgerError> {
        self.write(step_name!("read"), async move |step: &mut Step| {
            step.store_now().await
        })
        .await
    }

    async fn find(&self, statement: Statement) -> Result<Option<Row>, LedgerError> {
        Ok(self.list(statement).await?.into_iter().next())
    }
}

/// Where rows are read from: within a step, or by a reader.
pub(crate) trait Rows {
    fn rows(
        &mut self,
        statement: Statement,
    ) -> impl Future<Output = Result<Vec<Row>, LedgerError>> + Send;
}

impl Rows for Step {
    async fn rows(&mut self, statement: Statement) -> Result<Vec<Row>, LedgerError> {
        self.list(statement).await
    }
}

impl Rows for &Store {
    async fn rows(&mut self, statement: Statement) -> Result<Vec<Row>, LedgerError> {
        Store::list(self, statement).await
    }
}

/// Names one opening of a ledger in its events.
pub(crate) fn writer_name() -> Result<String, LedgerError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(no_randomness)?;
    Ok(format!("wrt_{}", hex::encode(bytes)))
}
