//! The schema's versions, and whether a place holds one of ours.

use sha2::{Digest as _, Sha256};

use crate::LedgerError;
use crate::failure::fatal;

/// The schema that this program writes.
pub const SCHEMA_VERSION: u64 = 11;

/// The detail of the error that an older program's ledger is not read.
pub const OLDER_SCHEMA: &str = "older schema";

/// One store's schema: each version's statements, the common ones and the
/// store's own.
pub(crate) struct Schema {
    pub migrations: &'static [(&'static str, &'static str)],
    /// How the store writes the common statements.
    pub translate: Option<fn(&str) -> String>,
    /// What holds it: a file, or a database.
    pub place: &'static str,
}

impl Schema {
    /// The statements after a version.
    pub fn script(&self, after: u64) -> String {
        let after = usize::try_from(after).unwrap_or(usize::MAX);
        self.text(self.migrations.iter().skip(after))
    }

    fn text<'a>(
        &self,
        migrations: impl Iterator<Item = &'a (&'static str, &'static str)>,
    ) -> String {
        let mut script = String::new();
        for (common, own) in migrations {
            match self.translate {
                Some(translate) => script.push_str(&translate(common)),
                None => script.push_str(common),
            }
            script.push_str(own);
        }
        script
    }

    /// A number that stands for all statements up to a version.
    pub fn fingerprint(&self, version: u64) -> i64 {
        let versions = usize::try_from(version).unwrap_or(usize::MAX);
        let digest = Sha256::digest(self.text(self.migrations.iter().take(versions)));
        let digits = digest.iter().take(7);
        digits.fold(0, |number, byte| number << 8 | i64::from(*byte))
    }

    /// Refuses what a newer program wrote, and what other statements made under
    /// the same number, as a build in development may: its columns are not the
    /// ones that are asked for.
    pub fn check(&self, version: u64, stored: Option<i64>) -> Result<(), LedgerError> {
        if version > SCHEMA_VERSION {
            return Err(fatal(
                &format!(
                    "A newer Tollway wrote this ledger (format {version}, this one knows {SCHEMA_VERSION}); use that program, or name another {}.",
                    self.place
                ),
                "newer schema",
            ));
        }
        if version == 0 || stored == Some(self.fingerprint(version)) {
            return Ok(());
        }
        Err(fatal(
            &format!(
                "This ledger was made by another build of Tollway, whose format {version} differs from this one's; use that build, or name another {}.",
                self.place
            ),
            "schema fingerprint",
        ))
    }

    /// The same for who only reads: nothing is brought up to date.
    pub fn check_to_read(&self, version: u64, stored: Option<i64>) -> Result<(), LedgerError> {
        self.check(version, stored)?;
        if version == SCHEMA_VERSION {
            return Ok(());
        }
        Err(fatal(
            &format!(
                "An older Tollway wrote this ledger (format {version}, this one reads {SCHEMA_VERSION}); run `tollway ledger list` on it once, which brings it up to date, when the program that writes to it is of this version."
            ),
            OLDER_SCHEMA,
        ))
    }

    /// Somebody else's tables.
    pub fn no_ledger(&self) -> LedgerError {
        fatal(
            &format!(
                "The {0} holds other tables, but no ledger; name another {0}.",
                self.place
            ),
            "no schema version",
        )
    }
}
