//! Payers who come back: what they paid for, and which messages they used.

use tollway_core::Timestamp;

use crate::sql::{Statement, millis, sql};
use crate::store::Step;
use crate::{GrantRecord, LedgerError, PaidBefore};

/// Messages forgotten with each that is used.
const FORGET_AT_ONCE: i64 = 32;

/// Answers that an account was given for payment, the latest first, at most so many. What
/// it paid for other resources stands between them.
pub(crate) const LOOKED_AT: i64 = 64;

/// The grants of a resource that an account paid for.
pub(crate) fn of(asked: &PaidBefore) -> Statement {
    sql("SELECT g.*, 0 AS has_answer FROM grants g
         WHERE g.from_account = $1 AND g.claimed_at >= $2 AND g.state = 'released'
             AND g.route = $3 AND g.method = $4
             AND (g.url = $5 OR substr(g.url, 1, length($5) + 1) = $5 || '?')
         ORDER BY g.claimed_at DESC, g.seq DESC LIMIT $6")
    .bind(asked.payer.to_string())
    .bind(millis(asked.since))
    .bind(asked.route.clone())
    .bind(asked.method.clone())
    .bind(asked.resource.clone())
    .bind(LOOKED_AT)
}

/// Whether a grant was paid for, where it was asked.
pub(crate) fn is_paid(grant: &GrantRecord, asked: &PaidBefore) -> bool {
    let identity = &grant.grant.identity;
    let is_there = asked.networks.contains(&identity.network);
    let moved = grant
        .evidence
        .as_ref()
        .is_some_and(|evidence| evidence.transfer().is_some());
    is_there && moved
}

/// Uses a message, once: false if it was used before.
pub(crate) async fn use_once(
    step: &mut Step,
    nonce: &str,
    keep_until: Timestamp,
    now: Timestamp,
) -> Result<bool, LedgerError> {
    let old = sql("DELETE FROM sign_ins WHERE nonce IN
             (SELECT nonce FROM sign_ins WHERE kept_until < $1 ORDER BY kept_until LIMIT $2)");
    step.run(old.bind(millis(now)).bind(FORGET_AT_ONCE)).await?;
    let used =
        sql("INSERT INTO sign_ins (nonce, kept_until) VALUES ($1, $2) ON CONFLICT DO NOTHING");
    let used = used.bind(nonce.to_owned()).bind(millis(keep_until));
    Ok(step.run(used).await? == 1)
}
