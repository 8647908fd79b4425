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
    let current = sql("SELECT fingerprint, name FROM token_keys WHERE is_current = 1");
    if let Some(row) = step.find(current).await? {
        let fingerprint = row.text("fingerprint")?;
        if fingerprint == first.fingerprint {
            return Ok(None);
        }
        let is_known = keys.iter().any(|key| key.fingerprint == fingerprint);
        if !is_known && !whatever_is_out && may_be_out(step, now).await? {
            return row.text("name").map(Some);
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

/// Whether tokens of the key in use open something, or another gate may sign
/// with it at any moment.
async fn may_be_out(step: &mut Step, now: Timestamp) -> Result<bool, LedgerError> {
    let good = sql("SELECT id FROM passes WHERE expires_at > $1 AND status = 'active' LIMIT 1");
    Ok(step.is_shared() || step.find(good.bind(millis(now))).await?.is_some())
}
