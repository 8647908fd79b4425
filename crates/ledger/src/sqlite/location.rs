//! Where a ledger lies, from its URL.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use crate::LedgerError;
use crate::failure::unavailable;

/// A file, or this process's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    File(PathBuf),
    Memory,
}

impl Location {
    /// From `sqlite:PATH`, `sqlite://PATH` or `sqlite::memory:`.
    pub fn parse(url: &str) -> Result<Self, LedgerError> {
        let rest = url.strip_prefix("sqlite:").ok_or_else(|| {
            unavailable(
                "A ledger's URL begins with sqlite: and a path; write for example sqlite:tollway.db.",
                "another scheme",
            )
        })?;
        let path = rest.strip_prefix("//").unwrap_or(rest);
        if path == ":memory:" {
            return Ok(Self::Memory);
        }
        if path.is_empty() || path.contains(['?', '#', '\0']) {
            return Err(unavailable(
                "A ledger's URL names a plain path without ? or #; write for example sqlite:tollway.db.",
                "no plain path",
            ));
        }
        Ok(Self::File(PathBuf::from(path)))
    }

    /// Creates the file if there is none, for its owner only: it holds signed
    /// payments. SQLite gives its companion files the same permissions.
    pub fn prepare(&self) -> Result<(), LedgerError> {
        let Self::File(path) = self else {
            return Ok(());
        };
        let folder = folder_of(path);
        if !folder.is_dir() {
            return Err(unavailable(
                &format!(
                    "The ledger's folder {} does not exist; create it, or name another path.",
                    folder.display()
                ),
                "no parent folder",
            ));
        }
        match private_file().open(path) {
            Ok(_) => File::open(&folder)
                .and_then(|f| f.sync_all())
                .map_err(|e| cannot_create(path, e)),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => warn_if_open_to_others(path),
            Err(e) => Err(cannot_create(path, e)),
        }
    }

    /// Whether a log lies beside the file: it was not closed in order.
    pub fn has_log(&self) -> bool {
        let Self::File(path) = self else {
            return false;
        };
        let mut name = path.clone().into_os_string();
        name.push("-wal");
        std::fs::metadata(name).is_ok_and(|log| log.len() > 0)
    }

    /// The file that the one engine holds.
    pub fn engine_lock(&self) -> Option<PathBuf> {
        let Self::File(path) = self else {
            return None;
        };
        let mut name = path.clone().into_os_string();
        name.push(".engine.lock");
        Some(PathBuf::from(name))
    }
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn cannot_create(path: &Path, error: std::io::Error) -> LedgerError {
    unavailable(
        &format!(
            "The ledger {} cannot be created; make its folder writable for this user, or name another path.",
            path.display()
        ),
        error,
    )
}

#[cfg(unix)]
fn warn_if_open_to_others(path: &Path) -> Result<(), LedgerError> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).map(|m| m.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o077 != 0) {
        tracing::warn!(path = %path.display(), "other users may read the ledger; run chmod 600 on it");
    }
    Ok(())
}

#[cfg(not(unix))]
fn warn_if_open_to_others(_: &Path) -> Result<(), LedgerError> {
    Ok(())
}
