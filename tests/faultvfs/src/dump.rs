//! A database as SQLite itself has it, with nothing of ours above it.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_int};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr;

use libsqlite3_sys as sqlite;
use sha2::{Digest as _, Sha256};

/// The rows of a table: how many, and a digest of all their columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// How many.
    pub rows: u64,
    /// SHA-256 of the rows in the table's own order.
    pub digest: [u8; 32],
}

/// All that a database holds, table by table.
pub type Dump = BTreeMap<String, Contents>;

/// Reads a whole database with the operating system's files, having asked
/// SQLite whether it is intact. What stands in a WAL is taken into account and
/// left there.
///
/// # Errors
/// A sentence, if it cannot be read or is damaged.
pub fn read(path: &Path) -> Result<Dump, String> {
    let database = Database::open(path)?;
    database.keep_wal();
    for question in ["PRAGMA integrity_check", "PRAGMA foreign_key_check"] {
        let said = database.texts(question)?;
        if !said.iter().all(|line| line == "ok") {
            return Err(format!("{question}: {said:?}"));
        }
    }
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
    let tables = database.texts(tables)?;
    let contents = |table: String| {
        let contents = database.contents(&format!("SELECT * FROM \"{table}\""))?;
        Ok((table, contents))
    };
    tables.into_iter().map(contents).collect()
}

/// A plain connection to a database.
pub struct Database(*mut sqlite::sqlite3);

impl Drop for Database {
    fn drop(&mut self) {
        // SAFETY: it was opened, and is closed once.
        unsafe { sqlite::sqlite3_close(self.0) };
    }
}

impl Database {
    /// Opens or creates a database.
    ///
    /// # Errors
    /// What SQLite says, if it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, String> {
        let path = CString::new(path.as_os_str().as_bytes()).map_err(|e| e.to_string())?;
        let flags = sqlite::SQLITE_OPEN_READWRITE | sqlite::SQLITE_OPEN_CREATE;
        let mut handle = ptr::null_mut();
        // SAFETY: C strings, and a place for the handle; SQLite makes one even
        // where it fails, and `Drop` closes it.
        let (code, database) = unsafe {
            let code = sqlite::sqlite3_open_v2(path.as_ptr(), &mut handle, flags, ptr::null());
            (code, Self(handle))
        };
        if code != sqlite::SQLITE_OK {
            return Err(database.problem("open"));
        }
        Ok(database)
    }

    /// Runs a statement.
    ///
    /// # Errors
    /// What SQLite says, if it fails.
    pub fn execute(&self, statement: &str) -> Result<(), String> {
        self.rows(statement, |_| {})
    }

    /// How many rows there are: `from` is what follows `FROM`.
    ///
    /// # Errors
    /// What SQLite says, if it fails.
    pub fn count(&self, from: &str) -> Result<u64, String> {
        let count = self.texts(&format!("SELECT COUNT(*) FROM {from}"))?;
        let count = count.first().map_or("", String::as_str);
        count
            .parse()
            .map_err(|_| format!("{from} has {count} rows"))
    }

    /// Lets the WAL be when the connection closes.
    pub fn keep_wal(&self) {
        let option = sqlite::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        let on: c_int = 1;
        // SAFETY: an open handle and the arguments that this option takes.
        unsafe { sqlite::sqlite3_db_config(self.0, option, on, ptr::null_mut::<c_int>()) };
    }

    fn problem(&self, doing: &str) -> String {
        // SAFETY: SQLite always has a C string to say, even without a handle.
        let said = unsafe { CStr::from_ptr(sqlite::sqlite3_errmsg(self.0)) };
        format!("{doing}: {}", said.to_string_lossy())
    }

    /// Calls `each` for each row of an answer.
    fn rows(&self, question: &str, mut each: impl FnMut(&Row)) -> Result<(), String> {
        let text = CString::new(question).map_err(|e| e.to_string())?;
        let mut statement = ptr::null_mut();
        // SAFETY: an open handle, a C string and a place for the statement.
        let prepared = unsafe {
            let tail = ptr::null_mut();
            sqlite::sqlite3_prepare_v2(self.0, text.as_ptr(), -1, &mut statement, tail)
        };
        if prepared != sqlite::SQLITE_OK {
            return Err(self.problem(question));
        }
        let row = Row(statement);
        loop {
            // SAFETY: a prepared statement that `row` finalizes.
            match unsafe { sqlite::sqlite3_step(statement) } {
                sqlite::SQLITE_ROW => each(&row),
                sqlite::SQLITE_DONE => return Ok(()),
                _ => return Err(self.problem(question)),
            }
        }
    }

    fn texts(&self, question: &str) -> Result<Vec<String>, String> {
        let mut texts = Vec::new();
        self.rows(question, |row| {
            texts.push(String::from_utf8_lossy(row.bytes(0)).into_owned());
        })?;
        Ok(texts)
    }

    fn contents(&self, question: &str) -> Result<Contents, String> {
        let mut digest = Sha256::new();
        let mut rows = 0;
        self.rows(question, |row| {
            rows += 1;
            for column in 0..row.columns() {
                let bytes = row.bytes(column);
                digest.update([row.kind(column)]);
                digest.update((bytes.len() as u64).to_be_bytes());
                digest.update(bytes);
            }
        })?;
        let digest = digest.finalize().into();
        Ok(Contents { rows, digest })
    }
}

/// The row at which a statement stands.
struct Row(*mut sqlite::sqlite3_stmt);

impl Drop for Row {
    fn drop(&mut self) {
        // SAFETY: it was prepared, and is finalized once.
        unsafe { sqlite::sqlite3_finalize(self.0) };
    }
}

impl Row {
    fn columns(&self) -> c_int {
        // SAFETY: a prepared statement.
        unsafe { sqlite::sqlite3_column_count(self.0) }
    }

    fn kind(&self, column: c_int) -> u8 {
        // SAFETY: a statement that stands at a row.
        let kind = unsafe { sqlite::sqlite3_column_type(self.0, column) };
        u8::try_from(kind).unwrap_or(0)
    }

    fn bytes(&self, column: c_int) -> &[u8] {
        // SAFETY: a statement that stands at a row; the bytes are SQLite's
        // until the next step, which needs this borrow to have ended.
        unsafe {
            let bytes = sqlite::sqlite3_column_blob(self.0, column).cast::<u8>();
            let length = sqlite::sqlite3_column_bytes(self.0, column);
            match usize::try_from(length) {
                Ok(length) if length > 0 && !bytes.is_null() => {
                    std::slice::from_raw_parts(bytes, length)
                }
                _ => &[],
            }
        }
    }
}
