//! The record: whether it can be opened and written, and who settles from it now.

use std::fs::File;
use std::path::{Path, PathBuf};

use tollway_core::Timestamp;
use tollway_ledger::{GrantStore, LedgerError, OLDER_SCHEMA, Store};

use super::Report;
use crate::environment::Environment;
use crate::wiring;

/// Opens the ledger as the gate would, and writes nothing into it that counts.
pub async fn look(report: &mut Report, url: Option<&str>, environment: &Environment) {
    if is_older(url, environment).await {
        report.yellow(
            "ledger",
            "An older Tollway wrote the ledger; this look leaves it as it is.",
            "A gate of this version brings it up to date at its start, and an older one cannot use it then: stop those first.",
        );
        return;
    }
    if let Some(path) = missing(url, environment) {
        match room(&path) {
            Ok(()) => report.green(
                "ledger",
                "There is no ledger yet; the gate makes it at its start, for the user it runs as.",
            ),
            Err(error) => report.red(
                "ledger",
                format!("The ledger {} cannot be created: {error}.", path.display()),
                "Make a writable folder for it, of the user the gate runs as, or name another place by --ledger.",
            ),
        }
        return;
    }
    let ledger = match wiring::ledger(url, "gate.db", environment).await {
        Ok(ledger) => ledger,
        Err(failure) => {
            report.red_sentence("ledger", &failure.message);
            return;
        }
    };
    // A step like any other, which finds nothing to forget.
    match ledger.forget_refused(Timestamp::from_secs(0)).await {
        Ok(_) => match ledger.lock_engine() {
            Ok(_) => report.green(
                "ledger",
                "The ledger can be written, and nobody settles from it now.",
            ),
            Err(_) => report.green(
                "ledger",
                "The ledger can be written; a gate is settling from it.",
            ),
        },
        Err(error) => report.red(
            "ledger",
            format!("The ledger cannot be written: {error}."),
            "Make it and its folder writable.",
        ),
    }
    ledger.close().await;
}

/// Where the ledger will be, if it is a file that is not there yet: whoever looks may
/// be another user than the one that will write it.
fn missing(url: Option<&str>, environment: &Environment) -> Option<PathBuf> {
    let url = wiring::ledger_url(url, "gate.db", environment).ok()?;
    let path = url.strip_prefix("sqlite:")?.trim_start_matches("//");
    let is_path = path != ":memory:" && !path.is_empty() && !path.contains(['?', '#', '\0']);
    let is_missing = is_path && !Path::new(path).exists();
    is_missing.then(|| PathBuf::from(path))
}

/// Whether a file could be made beside a path; it is gone again.
fn room(path: &Path) -> std::io::Result<()> {
    let trial = path.with_file_name(format!(".tollway-check-{}", std::process::id()));
    File::create_new(&trial)?;
    std::fs::remove_file(&trial)
}

/// Whether opening the ledger would change its format, perhaps beneath a gate that runs.
async fn is_older(url: Option<&str>, environment: &Environment) -> bool {
    let Ok(url) = wiring::ledger_url(url, "gate.db", environment) else {
        return false;
    };
    match Store::open_to_read(&url).await {
        Ok(ledger) => {
            ledger.close().await;
            false
        }
        Err(LedgerError::Fatal { detail, .. }) => detail == OLDER_SCHEMA,
        Err(_) => false,
    }
}
