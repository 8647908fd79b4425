//! A connection to the file, and the few that read from it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{OpenFlags, ToSql};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tollway_core::{Timestamp, mistake};

use super::failure::{is_busy, storage};
use super::location::Location;
use crate::LedgerError;
use crate::failure::unavailable;
use crate::sql::{Names, Param, Row, Statement, Value};
use crate::store::Trouble;

/// How long SQLite itself waits for another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a group waits for other processes, on top of SQLite's own wait.
const BUSY_PATIENCE: Duration = Duration::from_secs(15);
/// Statements kept prepared, more than there are.
const STATEMENTS: usize = 256;
/// Pages that the writer keeps in memory, in KiB.
const CACHE_KIB: i64 = 16 * 1024;
/// Connections that read.
const READERS: usize = 4;
/// What a trial writes: enough that a full disk has no room for it.
const PROBE_BYTES: usize = 64 * 1024;

/// A connection and the names of the columns that its statements find.
pub(crate) struct SqliteConnection {
    conn: rusqlite::Connection,
    names: HashMap<&'static str, Names>,
}

impl SqliteConnection {
    fn open(location: &Location) -> Result<Self, rusqlite::Error> {
        let conn = match location {
            Location::File(path) => {
                let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                rusqlite::Connection::open_with_flags(path, flags)?
            }
            Location::Memory => rusqlite::Connection::open_in_memory()?,
        };
        conn.busy_timeout(BUSY_TIMEOUT)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        if matches!(location, Location::File(_)) {
            conn.pragma_update(None, "journal_mode", "WAL")?;
            let full = if mistake::is("no_fsync") {
                "OFF"
            } else {
                "FULL"
            };
            conn.pragma_update(None, "synchronous", full)?;
            // The WAL file gives back what a burst took.
            conn.pragma_update(None, "journal_size_limit", 67_108_864)?;
        }
        conn.pragma_update(None, "foreign_keys", "ON")?;
        Ok(Self {
            conn,
            names: HashMap::new(),
        })
    }

    /// For the connection that writes: it keeps the pages that it returns to,
    /// so that a long history costs it nothing.
    pub fn open_writer(location: &Location) -> Result<Self, rusqlite::Error> {
        let writer = Self::open(location)?;
        writer.conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
        Ok(writer)
    }

    pub(super) fn open_reader(location: &Location) -> Result<Self, rusqlite::Error> {
        let reader = Self::open(location)?;
        reader.conn.pragma_update(None, "query_only", "ON")?;
        Ok(reader)
    }

    /// Takes the write lock, however long another process holds it.
    pub async fn begin(&mut self) -> Result<(), Trouble> {
        let patience = Instant::now() + BUSY_PATIENCE;
        loop {
            match self.try_control("BEGIN IMMEDIATE") {
                Ok(()) => return Ok(()),
                Err(error) if is_busy(&error) && Instant::now() < patience => {
                    sleep(Duration::from_millis(20)).await;
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }

    fn try_control(&mut self, statement: &'static str) -> Result<(), rusqlite::Error> {
        self.conn.prepare_cached(statement)?.raw_execute().map(drop)
    }

    pub fn control(&mut self, statement: &'static str) -> Result<(), Trouble> {
        self.try_control(statement).map_err(failed)
    }

    /// Runs several statements, without parameters.
    pub fn script(&mut self, script: &str) -> Result<(), LedgerError> {
        self.conn.execute_batch(script).map_err(storage)
    }

    pub fn execute(&mut self, statement: &Statement) -> Result<u64, Trouble> {
        self.try_execute(statement).map_err(failed)
    }

    fn try_execute(&mut self, statement: &Statement) -> Result<u64, rusqlite::Error> {
        let mut prepared = self.conn.prepare_cached(statement.sql)?;
        bind(&mut prepared, &statement.params)?;
        prepared.raw_execute().map(|touched| touched as u64)
    }

    pub fn query(&mut self, statement: &Statement) -> Result<Vec<Row>, Trouble> {
        self.try_query(statement).map_err(failed)
    }

    pub(super) fn try_query(&mut self, statement: &Statement) -> Result<Vec<Row>, rusqlite::Error> {
        let mut prepared = self.conn.prepare_cached(statement.sql)?;
        bind(&mut prepared, &statement.params)?;
        let names = self.names.entry(statement.sql).or_insert_with(|| {
            let names = prepared.column_names();
            names.into_iter().map(Box::from).collect()
        });
        let mut rows = prepared.raw_query();
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let values = (0..names.len()).map(|column| row.get_ref(column).map(value));
            found.push(Row {
                names: Arc::clone(names),
                values: values.collect::<Result<_, _>>()?,
            });
        }
        Ok(found)
    }

    /// One machine's clock is everybody's who shares a file.
    pub fn now(&self) -> Result<Timestamp, Trouble> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let millis = since.map_or(0, |since| since.as_millis());
        Ok(Timestamp::from_millis(
            u64::try_from(millis).unwrap_or(u64::MAX),
        ))
    }

    /// Writes as much as a full disk has no room for, and empties it again.
    pub async fn probe(&mut self) -> Result<(), Trouble> {
        self.begin().await?;
        let insert = crate::sql::sql("INSERT INTO probes (id, bytes) VALUES (1, $1)");
        let tried = self
            .execute(&insert.bind(vec![0_u8; PROBE_BYTES]))
            .and_then(|_| self.control("COMMIT"))
            .and_then(|()| self.control("DELETE FROM probes"));
        if tried.is_err() {
            drop(self.control("ROLLBACK"));
        }
        tried
    }

    pub fn close(self) -> Result<(), LedgerError> {
        self.conn.close().map_err(|(_, error)| storage(error))
    }
}

fn failed(error: rusqlite::Error) -> Trouble {
    Trouble::Failed(storage(error))
}

/// To SQLite `$2` is a name, whose place is where it stands first.
fn bind(prepared: &mut rusqlite::Statement<'_>, params: &[Param]) -> Result<(), rusqlite::Error> {
    for place in 1..=prepared.parameter_count() {
        let number = prepared.parameter_name(place).and_then(|name| {
            let number: usize = name.strip_prefix('$')?.parse().ok()?;
            number.checked_sub(1)
        });
        let param = number.and_then(|number| params.get(number));
        let param = param.ok_or(rusqlite::Error::InvalidParameterCount(place, params.len()))?;
        prepared.raw_bind_parameter(place, param)?;
    }
    Ok(())
}

impl ToSql for Param {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match self {
            Self::Int(Some(value)) => ValueRef::Integer(*value),
            Self::Text(Some(text)) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(Some(bytes)) => ValueRef::Blob(bytes),
            Self::Int(None) | Self::Text(None) | Self::Bytes(None) => ValueRef::Null,
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

fn value(found: ValueRef<'_>) -> Value {
    match found {
        ValueRef::Integer(value) => Value::Int(value),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
        // No column holds a float: the tables are strict.
        ValueRef::Null | ValueRef::Real(_) => Value::Null,
    }
}

/// A few connections that read, opened when they are needed.
#[derive(Clone)]
pub(crate) struct SqliteReaders {
    location: Location,
    idle: Arc<Mutex<Vec<SqliteConnection>>>,
    turns: Arc<Semaphore>,
}

impl SqliteReaders {
    pub fn new(location: Location) -> Self {
        Self {
            location,
            idle: Arc::default(),
            turns: Arc::new(Semaphore::new(READERS)),
        }
    }

    pub async fn query(&self, statement: Statement) -> Result<Vec<Row>, LedgerError> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_| closed())?;
        let readers = self.clone();
        let query = move || {
            let rows = readers.read(&statement);
            drop(turn);
            rows
        };
        let rows = tokio::task::spawn_blocking(query).await;
        rows.unwrap_or_else(|_| Err(closed()))
    }

    fn read(&self, statement: &Statement) -> Result<Vec<Row>, LedgerError> {
        let idle = self.idle().pop();
        let mut reader = match idle {
            Some(reader) => reader,
            None => SqliteConnection::open_reader(&self.location).map_err(storage)?,
        };
        let rows = reader.try_query(statement).map_err(storage)?;
        if !self.turns.is_closed() {
            self.idle().push(reader);
        }
        Ok(rows)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<SqliteConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn close(&self) {
        self.turns.close();
        self.idle().clear();
    }
}

fn closed() -> LedgerError {
    unavailable(
        "The ledger is closed; start again to open it.",
        "no reader is left",
    )
}
