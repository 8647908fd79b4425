//! Which key signs access tokens: gates over one ledger must know each other's.

use tollway_core::Timestamp;

use crate::sql::{millis, sql};
use crate::store::Step;
use crate::{LedgerError, TokenKeyName};

/// Signs with the first of these keys from now on, unless tokens that another
/// key signs, or signed, would be unknown: then that key's name, and nothing is
/// written.
pub(crate) async fn sign_with(
    step: &mut Step,
    keys: &[TokenKeyName],
    whatever_is_out: bool,
    now: Timestamp,
) -> Result<Option<String>, LedgerError> {
    let Some(first) = keys.first() else {
        return Ok(None);
    };
    for used in used(step).await? {
        if used.is_current && used.key.fingerprint == first.fingerprint {
            return Ok(None);
        }
        if keys
            .iter()
            .any(|key| key.fingerprint == used.key.fingerprint)
        {
            continue;
        }
        if whatever_is_out {
            // Said once: whatever it signed is given up.
            let forget = sql("DELETE FROM token_keys WHERE fingerprint = $1");
            step.run(forget.bind(used.key.fingerprint)).await?;
        } else if used.may_be_out(step, now).await? {
            return Ok(Some(used.key.name));
        }
    }
    step.run(sql(
        "UPDATE token_keys SET is_current = 0 WHERE is_current = 1",
    ))
    .await?;
    let insert = sql(
        "INSERT INTO token_keys (fingerprint, name, is_current, used_at) VALUES ($1, $2, 1, $3)
         ON CONFLICT (fingerprint)
         DO UPDATE SET is_current = 1, name = excluded.name, used_at = excluded.used_at",
    )
    .bind(first.fingerprint.clone())
    .bind(first.name.clone())
    .bind(millis(now));
    step.run(insert).await?;
    Ok(None)
}

/// A key that signs, or signed.
struct Used {
    key: TokenKeyName,
    is_current: bool,
    /// When another took its place.
    until: Option<i64>,
}

/// The one in use first.
async fn used(step: &mut Step) -> Result<Vec<Used>, LedgerError> {
    let keys = sql("SELECT k.fingerprint, k.name, k.is_current, (
             SELECT MIN(n.used_at) FROM token_keys n WHERE n.used_at > k.used_at
         ) AS until FROM token_keys k ORDER BY k.is_current DESC, k.used_at DESC");
    let rows = step.list(keys).await?;
    let read = rows.iter().map(|row| {
        Ok(Used {
            key: TokenKeyName {
                name: row.text("name")?,
                fingerprint: row.text("fingerprint")?,
            },
            is_current: row.flag("is_current")?,
            until: row.opt_integer("until")?,
        })
    });
    read.collect()
}

impl Used {
    /// Whether a token of this key opens something, or another gate may sign with
    /// it at any moment. A token is signed whenever it is handed out: any pass that
    /// was there in the key's time may have one.
    async fn may_be_out(&self, step: &mut Step, now: Timestamp) -> Result<bool, LedgerError> {
        let good = sql(
            "SELECT id FROM passes WHERE expires_at > $1 AND status = 'active'
                 AND issued_at <= $2 LIMIT 1",
        )
        .bind(millis(now))
        .bind(self.until.unwrap_or(i64::MAX));
        let may_sign = self.is_current && step.is_shared();
        Ok(may_sign || step.find(good).await?.is_some())
    }
}
