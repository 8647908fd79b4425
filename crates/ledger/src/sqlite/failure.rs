//! What SQLite's errors mean for whoever takes payments.

use crate::LedgerError;
use crate::failure::{fatal, guarded, unavailable};

const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const NO_MEMORY: i32 = 7;
const READ_ONLY: i32 = 8;
const IO: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANNOT_OPEN: i32 = 14;
const CONSTRAINT: i32 = 19;
const NOT_A_DATABASE: i32 = 26;

/// SQLite's primary result code (<https://sqlite.org/rescode.html>).
fn primary_code(error: &rusqlite::Error) -> Option<i32> {
    Some(error.sqlite_error()?.extended_code & 0xff)
}

/// Whether another process holds the write lock: worth waiting for.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(primary_code(error), Some(BUSY | LOCKED))
}

/// A failed statement. A failed sync or write leaves it open what the disk
/// holds, so it is never tried again: see `LedgerError::Fatal`.
pub(super) fn storage(error: rusqlite::Error) -> LedgerError {
    let detail = error.to_string();
    match primary_code(&error) {
        Some(BUSY | LOCKED) => unavailable(
            "The ledger is held by another process for too long; stop that process, or try again.",
            detail,
        ),
        Some(FULL) => unavailable(
            "The disk under the ledger is full; free some space, and payments go on by themselves.",
            detail,
        ),
        Some(READ_ONLY) => unavailable(
            "The ledger's file cannot be written; make it and its folder writable for this user.",
            detail,
        ),
        Some(CANNOT_OPEN) => unavailable(
            "The ledger's file cannot be opened; check that its folder exists and is writable for this user.",
            detail,
        ),
        Some(NO_MEMORY) => unavailable(
            "There is too little memory for the ledger; give the process more.",
            detail,
        ),
        Some(CONSTRAINT) => guarded(&detail),
        Some(CORRUPT | NOT_A_DATABASE) => fatal(
            "The ledger's file is damaged or no ledger at all; restore it from a backup, or name another file.",
            detail,
        ),
        Some(IO) => fatal(
            "The disk under the ledger failed; check it, then start again.",
            detail,
        ),
        _ => unavailable(
            "The ledger could not do this; try again, and report this if it returns.",
            detail,
        ),
    }
}
