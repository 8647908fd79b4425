//! What PostgreSQL's errors mean for whoever takes payments.

use std::borrow::Cow;

use crate::LedgerError;
use crate::failure::{fatal, guarded, unavailable};
use crate::store::Trouble;

/// The SQLSTATE (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
fn code(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error()?.code()
}

/// Whether somebody else is creating the same tables at this moment.
pub(super) fn is_created_by_another(error: &sqlx::Error) -> bool {
    // Names and columns that exist, and the catalogue's own unique indexes.
    matches!(
        code(error).as_deref(),
        Some("42P07" | "42701" | "42710" | "42723" | "23505" | "40001" | "40P01")
    )
}

/// A failed statement.
pub(super) fn trouble(error: sqlx::Error) -> Trouble {
    let detail = error.to_string();
    let Some(code) = code(&error) else {
        return match error {
            sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } | sqlx::Error::Encode(_) => {
                Trouble::Failed(other(detail))
            }
            _ => Trouble::Away(detail),
        };
    };
    match &*code {
        // Serialization failure, deadlock, or a lock that took too long.
        "40001" | "40P01" | "55P03" => Trouble::Again(detail),
        // The connection, or the server behind it, went away.
        _ if code.starts_with("08") || code.starts_with("57P") => Trouble::Away(detail),
        // A session that was idle for too long, a standby, too many connections.
        "25P02" | "25P03" | "25006" | "53300" => Trouble::Away(detail),
        _ => Trouble::Failed(failed(&code, detail)),
    }
}

fn failed(code: &str, detail: String) -> LedgerError {
    match code {
        "53100" => unavailable(
            "The disk under the database is full; free some space, and payments go on by themselves.",
            detail,
        ),
        _ if code.starts_with("53") => unavailable(
            "The database is out of resources; give it more, and payments go on by themselves.",
            detail,
        ),
        _ if code.starts_with("23") => guarded(&detail),
        _ if code.starts_with("28") || code == "42501" || code == "3D000" => unavailable(
            "The database does not let this user in, or there is no such database; check the ledger's URL and the user's rights.",
            detail,
        ),
        _ if code.starts_with("XX") => fatal(
            "The database says that its data are damaged; restore it from a backup, then start again.",
            detail,
        ),
        _ => other(detail),
    }
}

fn other(detail: String) -> LedgerError {
    unavailable(
        "The ledger could not do this; try again, and report this if it returns.",
        detail,
    )
}

pub(crate) fn away(detail: String) -> LedgerError {
    unavailable(
        "The ledger's database does not answer; check that it runs and can be reached, and payments go on by themselves.",
        detail,
    )
}
