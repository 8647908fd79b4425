//! At most one engine settles from one SQLite ledger.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::location::Location;
use crate::LedgerError;
use crate::failure::unavailable;

/// The engine's place in a ledger in memory, shared by its handles.
pub(super) type InMemory = Arc<AtomicBool>;

/// Holds the engine's place until it drops, or the process ends.
#[derive(Debug)]
pub struct EngineLock(Holder);

#[derive(Debug)]
enum Holder {
    /// The operating system lets go with the file, even after `kill -9`.
    File(#[expect(dead_code, reason = "held for the lock on it")] File),
    Memory(InMemory),
    /// Several engines may share a database: each leases its signers.
    Database,
}

impl EngineLock {
    /// Nothing to hold.
    pub(crate) const fn of_a_database() -> Self {
        Self(Holder::Database)
    }

    pub(super) fn take(location: &Location, place: &InMemory) -> Result<Self, LedgerError> {
        match location.engine_lock() {
            Some(path) => lock_file(&path).map(|file| Self(Holder::File(file))),
            None if place.swap(true, Ordering::AcqRel) => Err(taken("this process's memory")),
            None => Ok(Self(Holder::Memory(Arc::clone(place)))),
        }
    }
}

impl Drop for EngineLock {
    fn drop(&mut self) {
        if let Holder::Memory(place) = &self.0 {
            place.store(false, Ordering::Release);
        }
    }
}

fn lock_file(path: &Path) -> Result<File, LedgerError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(|e| cannot_lock(path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(taken(&path.display().to_string())),
        Err(TryLockError::Error(e)) => Err(cannot_lock(path, &e)),
    }
}

fn taken(place: &str) -> LedgerError {
    unavailable(
        &format!(
            "Another engine settles from this ledger and holds {place}; stop that process, or give this one a ledger of its own."
        ),
        "engine lock held",
    )
}

fn cannot_lock(path: &Path, error: &std::io::Error) -> LedgerError {
    unavailable(
        &format!(
            "The engine's lock {} cannot be taken; make its folder writable for this user, on a file system that knows locks.",
            path.display()
        ),
        error,
    )
}
