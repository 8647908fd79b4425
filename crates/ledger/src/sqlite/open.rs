//! Opening: the file, its settings, its schema.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use sqlx::ConnectOptions as _;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use tokio::time::{Instant, sleep};

use super::failure::{fatal, is_busy, no_randomness, storage};
use super::location::Location;
use super::row::{Columns, int};
use super::step::Step;
use super::writer::Writer;
use super::{SqliteLedger, lock};
use crate::LedgerError;

/// Each version's statements; the first one makes version 1.
const MIGRATIONS: &[&str] = &[include_str!("../../migrations/sqlite/0001_first.sql")];
/// The schema that this program writes.
pub const SCHEMA_VERSION: u64 = MIGRATIONS.len() as u64;

/// How long SQLite itself waits for another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long opening waits for other processes that open at the same moment.
const OPEN_PATIENCE: Duration = Duration::from_secs(15);
/// Connections that read.
const READERS: u32 = 4;
/// Statements kept prepared, more than there are.
const STATEMENTS: usize = 256;

impl SqliteLedger {
    /// Opens or creates the ledger that a URL names: `sqlite:PATH`, or
    /// `sqlite::memory:` for one that ends with the process.
    ///
    /// # Errors
    /// If the URL is none, the folder does not exist, the file is no ledger or
    /// not writable, or a newer program wrote it.
    pub async fn open(url: &str) -> Result<Self, LedgerError> {
        let location = Location::parse(url)?;
        location.prepare()?;
        let mut conn = connect(&location).await?;
        migrate(&mut conn).await?;
        let readers = match &location {
            Location::File(_) => Some(
                SqlitePoolOptions::new()
                    .max_connections(READERS)
                    .acquire_timeout(BUSY_TIMEOUT)
                    .connect_lazy_with(options(&location).pragma("query_only", "ON")),
            ),
            Location::Memory => None,
        };
        Ok(Self {
            location,
            writer: Writer::start(Step::new(conn, writer_name()?)),
            readers,
            engine: lock::InMemory::default(),
        })
    }
}

fn options(location: &Location) -> SqliteConnectOptions {
    let options = match location {
        Location::File(path) => SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full),
        Location::Memory => SqliteConnectOptions::new().in_memory(true),
    };
    options
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .statement_cache_capacity(STATEMENTS)
        // The WAL file gives back what a burst took.
        .pragma("journal_size_limit", "67108864")
        .disable_statement_logging()
}

/// Switching a new file to WAL is the one thing that SQLite does not wait for.
async fn connect(location: &Location) -> Result<SqliteConnection, LedgerError> {
    let options = options(location);
    let patience = Instant::now() + OPEN_PATIENCE;
    loop {
        match options.connect().await {
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
    let found = version(conn).await?;
    if found == SCHEMA_VERSION {
        return check_fingerprint(conn, found).await;
    }
    run(conn, sqlx::query("BEGIN IMMEDIATE")).await?;
    let found = version(conn).await?;
    if found > SCHEMA_VERSION {
        return Err(fatal(
            &format!(
                "A newer Tollway wrote this ledger (format {found}, this one knows {SCHEMA_VERSION}); use that program, or name another file."
            ),
            "newer schema",
        ));
    }
    check_fingerprint(conn, found).await?;
    for migration in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        sqlx::raw_sql(*migration)
            .execute(&mut *conn)
            .await
            .map_err(storage)?;
    }
    if found < SCHEMA_VERSION {
        let update = sqlx::query(
            "INSERT INTO meta (name, value) VALUES ('schema', $1), ('schema_fingerprint', $2)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        );
        let update = update.bind(int(SCHEMA_VERSION));
        run(conn, update.bind(fingerprint(SCHEMA_VERSION))).await?;
    }
    run(conn, sqlx::query("COMMIT")).await
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
async fn check_fingerprint(conn: &mut SqliteConnection, version: u64) -> Result<(), LedgerError> {
    if version == 0 {
        return Ok(());
    }
    let row = sqlx::query("SELECT value FROM meta WHERE name = 'schema_fingerprint'")
        .fetch_optional(conn)
        .await
        .map_err(storage)?;
    let found = match &row {
        Some(row) => Columns(row).opt_integer("value")?,
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
async fn version(conn: &mut SqliteConnection) -> Result<u64, LedgerError> {
    let tables = sqlx::query("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name");
    let tables = tables.fetch_all(&mut *conn).await.map_err(storage)?;
    if tables.is_empty() {
        return Ok(0);
    }
    let row = sqlx::query("SELECT value FROM meta WHERE name = 'schema'")
        .fetch_optional(conn)
        .await;
    match row {
        Ok(Some(row)) => Columns(&row).number("value"),
        Ok(None) | Err(sqlx::Error::Database(_)) => Err(fatal(
            "The file is a database, but no ledger; name another file.",
            "no schema version",
        )),
        Err(error) => Err(storage(error)),
    }
}

async fn run(
    conn: &mut SqliteConnection,
    statement: super::step::Statement<'_>,
) -> Result<(), LedgerError> {
    statement.execute(conn).await.map(|_| ()).map_err(storage)
}

/// Names this opening of the ledger in its events.
fn writer_name() -> Result<String, LedgerError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(no_randomness)?;
    Ok(format!("wrt_{}", hex::encode(bytes)))
}
