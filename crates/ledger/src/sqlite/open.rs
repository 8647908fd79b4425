//! Opening: the file, its settings, its schema.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::connection::{SqliteConnection, SqliteReaders};
use super::failure::{is_busy, storage};
use super::location::Location;
use super::lock::{EngineLock, InMemory};
use crate::LedgerError;
use crate::failure::unavailable;
use crate::schema::{SCHEMA_VERSION, Schema};
use crate::sql::{Row, Statement, int, sql};
use crate::store::{Connection, Step, Trouble, Writer, writer_name};

static SCHEMA: Schema = Schema {
    migrations: &[
        (
            include_str!("../../migrations/0001_first.sql"),
            include_str!("../../migrations/0001_guards.sqlite.sql"),
        ),
        (include_str!("../../migrations/0002_passes.sql"), ""),
        (include_str!("../../migrations/0003_keys.sql"), ""),
        (include_str!("../../migrations/0004_transfers.sql"), ""),
        (include_str!("../../migrations/0005_sold_passes.sql"), ""),
        (include_str!("../../migrations/0006_meters.sql"), ""),
        (include_str!("../../migrations/0007_budgets.sql"), ""),
        (include_str!("../../migrations/0008_looks.sql"), ""),
        (include_str!("../../migrations/0009_dashboard.sql"), ""),
        (include_str!("../../migrations/0010_calls.sql"), ""),
        (include_str!("../../migrations/0011_sign_ins.sql"), ""),
    ],
    translate: None,
    place: "file",
};

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
            let has_log = location.has_log();
            let mut conn = connect(&location).await?;
            migrate(&mut conn).await?;
            if has_log {
                make_durable(&mut conn)?;
            }
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

    /// Without a writer, over a ledger that is there and up to date.
    pub async fn readers_alone(&self) -> Result<SqliteReaders, LedgerError> {
        let readers = self.readers().ok_or_else(|| {
            unavailable(
                "A ledger in memory is gone with its process; name one in a file.",
                "in memory",
            )
        })?;
        let location = self.location.clone();
        let checked = tokio::task::spawn_blocking(move || {
            let mut conn = SqliteConnection::open_reader(&location).map_err(storage)?;
            let found = version(&mut conn)?;
            if found == 0 {
                return Err(SCHEMA.no_ledger());
            }
            SCHEMA.check_to_read(found, stored_fingerprint(&mut conn)?)
        });
        let checked = checked.await;
        checked.unwrap_or_else(|e| Err(unavailable("The ledger cannot be read; try again.", e)))?;
        Ok(readers)
    }

    pub fn lock_engine(&self) -> Result<EngineLock, LedgerError> {
        EngineLock::take(&self.location, &self.engine)
    }
}

/// Switching a new file to WAL is the one thing that SQLite does not wait for.
async fn connect(location: &Location) -> Result<SqliteConnection, LedgerError> {
    let patience = Instant::now() + OPEN_PATIENCE;
    loop {
        match SqliteConnection::open_writer(location) {
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
        return SCHEMA.check(found, stored_fingerprint(conn)?);
    }
    conn.begin().await.map_err(Trouble::into_error)?;
    let found = version(conn)?;
    if found > 0 {
        SCHEMA.check(found, stored_fingerprint(conn)?)?;
    }
    conn.script(&SCHEMA.script(found))?;
    if found < SCHEMA_VERSION {
        let update = sql(
            "INSERT INTO meta (name, value) VALUES ('schema', $1), ('schema_fingerprint', $2)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        );
        let update = update.bind(int(SCHEMA_VERSION));
        let update = update.bind(SCHEMA.fingerprint(SCHEMA_VERSION));
        conn.execute(&update).map_err(Trouble::into_error)?;
    }
    conn.control("COMMIT").map_err(Trouble::into_error)
}

fn stored_fingerprint(conn: &mut SqliteConnection) -> Result<Option<i64>, LedgerError> {
    let stored = sql("SELECT value FROM meta WHERE name = 'schema_fingerprint'");
    match query(conn, stored)?.first() {
        Some(row) => row.opt_integer("value"),
        None => Ok(None),
    }
}

/// The schema's version: 0 in an empty file. A file with other tables is no ledger.
fn version(conn: &mut SqliteConnection) -> Result<u64, LedgerError> {
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
    let tables = query(conn, sql(tables))?;
    if tables.is_empty() {
        return Ok(0);
    }
    let is_meta = |row: &Row| row.text("name").is_ok_and(|name| name == "meta");
    if !tables.iter().any(is_meta) {
        return Err(SCHEMA.no_ledger());
    }
    let row = query(conn, sql("SELECT value FROM meta WHERE name = 'schema'"))?;
    row.first()
        .ok_or_else(|| SCHEMA.no_ledger())?
        .number("value")
}

fn query(conn: &mut SqliteConnection, statement: Statement) -> Result<Vec<Row>, LedgerError> {
    conn.query(&statement).map_err(Trouble::into_error)
}

/// Makes durable what a process before this one wrote and could not sync: the
/// system shows it to everybody who reads, and forgets it with the power.
/// Emptying the log does not last by itself; a page that changes behind it does.
fn make_durable(conn: &mut SqliteConnection) -> Result<(), LedgerError> {
    query(conn, sql("PRAGMA busy_timeout = 200"))?;
    // Where another process uses the file, its log is in good hands.
    let emptied = query(conn, sql("PRAGMA wal_checkpoint(TRUNCATE)"));
    query(conn, sql("PRAGMA busy_timeout = 5000"))?;
    let emptied = emptied?;
    if emptied
        .first()
        .is_some_and(|row| row.number("busy").is_ok_and(|busy| busy == 0))
    {
        let opened = sql("UPDATE meta SET value = value + 1 WHERE name = 'openings'");
        conn.execute(&opened).map_err(Trouble::into_error)?;
    }
    Ok(())
}
