//! Opening: the file, its settings, its schema.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};

use super::connection::{SqliteConnection, SqliteReaders};
use super::failure::{is_busy, storage};
use super::location::Location;
use super::lock::{EngineLock, InMemory};
use crate::LedgerError;
use crate::failure::{fatal, no_randomness};
use crate::sql::{Row, Statement, int, sql};
use crate::store::{Connection, Step, Trouble, Writer};

/// Each version's statements; the first one makes version 1.
const MIGRATIONS: &[&str] = &[concat!(
    include_str!("../../migrations/0001_first.sql"),
    include_str!("../../migrations/0001_guards.sqlite.sql")
)];
/// The schema that this program writes.
pub const SCHEMA_VERSION: u64 = MIGRATIONS.len() as u64;

/// How long opening waits for other processes that open at the same moment.
const OPEN_PATIENCE: Duration = Duration::from_secs(15);

/// Where a ledger in SQLite lies, and who settles from it.
#[derive(Clone)]
pub(crate) struct SqlitePlace {
    location: Location,
    engine: InMemory,
}

impl SqlitePlace {
    pub fn parse(url: &str) -> Result<Self, LedgerError> {
        Ok(Self {
            location: Location::parse(url)?,
            engine: InMemory::default(),
        })
    }

    /// Creates the file if there is none, brings its schema up to date, and
    /// starts the thread that writes.
    pub async fn start_writer(&self) -> Result<Writer, LedgerError> {
        let location = self.location.clone();
        let name = writer_name()?;
        Writer::start(async move || {
            location.prepare()?;
            let mut conn = connect(&location).await?;
            migrate(&mut conn).await?;
            Ok(Step::new(Connection::Sqlite(conn), name))
        })
        .await
    }

    /// None in memory, where the writer's connection is the only one.
    pub fn readers(&self) -> Option<SqliteReaders> {
        match &self.location {
            Location::File(_) => Some(SqliteReaders::new(self.location.clone())),
            Location::Memory => None,
        }
    }

    pub fn lock_engine(&self) -> Result<EngineLock, LedgerError> {
        EngineLock::take(&self.location, &self.engine)
    }
}

/// Switching a new file to WAL is the one thing that SQLite does not wait for.
async fn connect(location: &Location) -> Result<SqliteConnection, LedgerError> {
    let patience = Instant::now() + OPEN_PATIENCE;
    loop {
        match SqliteConnection::open(location) {
            Ok(conn) => return Ok(conn),
            Err(error) if is_busy(&error) && Instant::now() < patience => {
                sleep(Duration::from_millis(25)).await;
            }
            Err(error) => return Err(storage(error)),
        }
    }
}

/// Brings the schema up to date, in one transaction that other processes wait
/// for. Where it is up to date, nobody waits.
async fn migrate(conn: &mut SqliteConnection) -> Result<(), LedgerError> {
    let found = version(conn)?;
    if found == SCHEMA_VERSION {
        return check_fingerprint(conn, found);
    }
    conn.begin().await.map_err(Trouble::into_error)?;
    let found = version(conn)?;
    if found > SCHEMA_VERSION {
        return Err(fatal(
            &format!(
                "A newer Tollway wrote this ledger (format {found}, this one knows {SCHEMA_VERSION}); use that program, or name another file."
            ),
            "newer schema",
        ));
    }
    check_fingerprint(conn, found)?;
    for migration in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        conn.script(migration)?;
    }
    if found < SCHEMA_VERSION {
        let update = sql(
            "INSERT INTO meta (name, value) VALUES ('schema', $1), ('schema_fingerprint', $2)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        );
        let update = update.bind(int(SCHEMA_VERSION));
        let update = update.bind(fingerprint(SCHEMA_VERSION));
        conn.execute(&update).map_err(Trouble::into_error)?;
    }
    conn.control("COMMIT").map_err(Trouble::into_error)
}

/// A number that stands for all statements up to a version.
fn fingerprint(version: u64) -> i64 {
    let mut digest = Sha256::new();
    for migration in MIGRATIONS
        .iter()
        .take(usize::try_from(version).unwrap_or(0))
    {
        digest.update(migration);
    }
    let digest = digest.finalize();
    let digits = digest.iter().take(7);
    digits.fold(0, |number, byte| number << 8 | i64::from(*byte))
}

/// Refuses a file that other statements made under the same number, as a build
/// in development may: its columns are not the ones that are asked for.
fn check_fingerprint(conn: &mut SqliteConnection, version: u64) -> Result<(), LedgerError> {
    if version == 0 {
        return Ok(());
    }
    let rows = query(
        conn,
        sql("SELECT value FROM meta WHERE name = 'schema_fingerprint'"),
    )?;
    let found = match rows.first() {
        Some(row) => row.opt_integer("value")?,
        None => None,
    };
    if found == Some(fingerprint(version)) {
        return Ok(());
    }
    Err(fatal(
        &format!(
            "This ledger was made by another build of Tollway, whose format {version} differs from this one's; use that build, or name another file."
        ),
        "schema fingerprint",
    ))
}

/// The schema's version: 0 in an empty file. A file with other tables is no ledger.
fn version(conn: &mut SqliteConnection) -> Result<u64, LedgerError> {
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
    let tables = query(conn, sql(tables))?;
    if tables.is_empty() {
        return Ok(0);
    }
    let has_meta = tables
        .iter()
        .any(|row| row.text("name").is_ok_and(|name| name == "meta"));
    let no_ledger = || {
        fatal(
            "The file is a database, but no ledger; name another file.",
            "no schema version",
        )
    };
    if !has_meta {
        return Err(no_ledger());
    }
    let row = query(conn, sql("SELECT value FROM meta WHERE name = 'schema'"))?;
    row.first().ok_or_else(no_ledger)?.number("value")
}

fn query(conn: &mut SqliteConnection, statement: Statement) -> Result<Vec<Row>, LedgerError> {
    conn.query(&statement).map_err(Trouble::into_error)
}

/// Names this opening of the ledger in its events.
fn writer_name() -> Result<String, LedgerError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(no_randomness)?;
    Ok(format!("wrt_{}", hex::encode(bytes)))
}
