//! The steps of passes.

use serde_json::{Value, json};
use tollway_core::{Amount, GrantId, Identity, Timestamp, mistake};

use super::grants::{self, begin_story};
use super::payments::digest;
use super::{exposures, fresh_name, notices};
use crate::failure::corrupt;
use crate::sql::{Row, Statement, int, json as text, millis, sql};
use crate::store::Step;
use crate::{
    Claim, ExposureCap, GrantRecord, Issue, LedgerError, NewGrant, NewPass, Outstanding, PassEnd,
    PassId, PassRecord, UNSETTLED_GRACE,
};

pub(crate) fn by_id(id: &PassId) -> Statement {
    sql("SELECT * FROM passes WHERE id = $1").bind(id.to_string())
}

pub(crate) fn by_grant(grant: &GrantId) -> Statement {
    sql("SELECT * FROM passes WHERE grant_id = $1").bind(grant.to_string())
}

pub(crate) fn record(row: &Row) -> Result<PassRecord, LedgerError> {
    let payload: Option<Value> = row.opt_json("payload")?;
    let requirements: Option<Value> = row.opt_json("requirements")?;
    let outstanding = payload.zip(requirements);
    let is_revoked = has_failed(row)? || row.flag("is_withdrawn")?;
    Ok(PassRecord {
        id: PassId::from_text(row.text("id")?),
        grant: GrantId::from_text(row.text("grant_id")?),
        network: row.network("network")?,
        payer: row.address("payer")?,
        asset: row.address("asset")?,
        amount: row.amount("amount")?,
        audience: row.text("audience")?,
        quota: row.opt_number("quota")?,
        uses_left: row.opt_number("uses_left")?,
        deadline: row.time("deadline")?,
        expires_at: row.time("expires_at")?,
        is_revoked,
        is_settled: row.flag("is_settled")?,
        outstanding: outstanding.map(|(payload, requirements)| Outstanding {
            payload,
            requirements,
        }),
        issued_at: row.time("issued_at")?,
    })
}

/// Whether its payment failed.
fn has_failed(row: &Row) -> Result<bool, LedgerError> {
    Ok(row.text("status")? == "revoked")
}

/// A pass with what the record does not show.
struct Stored {
    pass: PassRecord,
    is_told: bool,
    /// Its payment failed.
    has_failed: bool,
    /// The seller took it back.
    is_withdrawn: bool,
    /// The day on which its promise was lost.
    lost_on: Option<u64>,
}

async fn stored(step: &mut Step, question: Statement) -> Result<Option<Stored>, LedgerError> {
    let Some(row) = step.find(question).await? else {
        return Ok(None);
    };
    Ok(Some(Stored {
        pass: record(&row)?,
        is_told: row.flag("is_told")?,
        has_failed: has_failed(&row)?,
        is_withdrawn: row.flag("is_withdrawn")?,
        lost_on: row.opt_number("lost_on")?,
    }))
}

pub(crate) async fn issue(
    step: &mut Step,
    new: &NewGrant,
    pass: &NewPass,
    outstanding: &Outstanding,
    cap: ExposureCap,
    now: Timestamp,
) -> Result<Issue, LedgerError> {
    let new = NewGrant {
        pass: Some(pass.clone()),
        ..new.clone()
    };
    let grant = match grants::claim(step, &new, now).await? {
        Claim::New(grant) => grant,
        Claim::Existing(grant) | Claim::IdentifierTaken(grant) => {
            return Ok(Issue::Existing(Box::new(grant)));
        }
    };
    let Some(()) = exposures::promise(step, &grant.grant, cap, now).await? else {
        // Nothing of this step may stay: the grant is not claimed.
        let undone = sql("DELETE FROM grants WHERE id = $1");
        step.run(undone.bind(grant.id.to_string())).await?;
        return Ok(Issue::OverExposed);
    };
    begin_story(step, &grant).await?;
    let issued = insert(step, &grant, pass, Some(outstanding), now).await?;
    let grant = grants::settles_at_once(step, grant, now).await?;
    Ok(Issue::New(Box::new(grant), Box::new(issued)))
}

async fn insert(
    step: &mut Step,
    grant: &GrantRecord,
    new: &NewPass,
    outstanding: Option<&Outstanding>,
    now: Timestamp,
) -> Result<PassRecord, LedgerError> {
    let (identity, expected) = (&grant.grant.identity, &grant.grant.expected);
    let issued = PassRecord {
        id: PassId::from_text(fresh_name("pas", now)?),
        grant: grant.id.clone(),
        network: identity.network.clone(),
        payer: identity.payer.clone(),
        asset: expected.asset.clone(),
        amount: expected.amount,
        audience: new.audience.clone(),
        quota: new.quota,
        uses_left: new.quota.map(|quota| quota.saturating_sub(new.used)),
        deadline: grant.grant.deadline,
        expires_at: now.plus(new.lifetime),
        is_revoked: false,
        is_settled: outstanding.is_none(),
        outstanding: outstanding.cloned(),
        issued_at: now,
    };
    let insert = sql(
        "INSERT INTO passes (id, grant_id, identity, network, payer, asset, amount, audience,
             quota, uses_left, deadline, expires_at, status, is_settled, payload, requirements,
             is_told, issued_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'active', $13, $14, $15,
             $16, $17, $17)",
    )
    .bind(issued.id.to_string())
    .bind(issued.grant.to_string())
    .bind(digest(identity))
    .bind(issued.network.to_string())
    .bind(issued.payer.to_string())
    .bind(issued.asset.to_string())
    .bind(issued.amount.to_string())
    .bind(issued.audience.clone())
    .bind(issued.quota.map(int))
    .bind(issued.uses_left.map(int))
    .bind(millis(issued.deadline))
    .bind(millis(issued.expires_at))
    .bind(i64::from(issued.is_settled))
    .bind(outstanding.map(|o| text(&o.payload)).transpose()?)
    .bind(outstanding.map(|o| text(&o.requirements)).transpose()?)
    .bind(i64::from(new.is_told))
    .bind(millis(now));
    step.run(insert).await?;
    let facts = json!({
        "pass": issued.id,
        "audience": issued.audience,
        "quota": issued.quota,
        "expires_at": issued.expires_at.millis(),
    });
    step.tell(grant.id.as_str(), "pass_issued", facts, now)
        .await?;
    if new.is_told {
        if !issued.is_settled {
            notices::write(step, &issued, "payment_requested", json!({}), now).await?;
            notices::write(step, &issued, "payment_verified", json!({}), now).await?;
        }
        notices::write(step, &issued, "token_issued", json!({}), now).await?;
    }
    Ok(issued)
}

/// The pass that a grant was bought for, when its money has moved.
pub(super) async fn bought(
    step: &mut Step,
    grant: &GrantRecord,
    sold: &NewPass,
    receipt: &Value,
    now: Timestamp,
) -> Result<PassRecord, LedgerError> {
    let issued = insert(step, grant, sold, None, now).await?;
    if sold.is_told {
        let facts = json!({ "transaction": receipt.get("transaction") });
        notices::write(step, &issued, "payment_settled", facts, now).await?;
    }
    Ok(issued)
}

/// The money of a grant moved: its pass is settled, and what was promised to
/// its payer is kept.
pub(crate) async fn settled(
    step: &mut Step,
    grant: &GrantId,
    receipt: &Value,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let Some(found) = stored(step, by_grant(grant)).await? else {
        return Ok(());
    };
    paid(step, &found, now).await?;
    if found.is_told {
        let facts = json!({ "transaction": receipt.get("transaction") });
        notices::write(step, &found.pass, "payment_settled", facts, now).await?;
    }
    Ok(())
}

/// The money of a payment moves again after it was taken back: so is its pass.
pub(crate) async fn settled_again(
    step: &mut Step,
    identity: &Identity,
    now: Timestamp,
) -> Result<(), LedgerError> {
    // What was settled once has no order to settle any more.
    let of_payment =
        sql("SELECT * FROM passes WHERE identity = $1 AND is_settled = 0 AND payload IS NULL");
    match stored(step, of_payment.bind(digest(identity))).await? {
        Some(found) => paid(step, &found, now).await,
        None => Ok(()),
    }
}

/// A promise is kept, also one that was called lost: a pass whose payment was
/// found settled is good, unless the seller took it back.
async fn paid(step: &mut Step, found: &Stored, now: Timestamp) -> Result<(), LedgerError> {
    match found.lost_on {
        Some(day) => exposures::found(step, &found.pass, day).await?,
        None if !found.pass.is_settled => exposures::kept(step, &found.pass).await?,
        None => {}
    }
    let update = sql(
        "UPDATE passes SET status = 'active', is_settled = 1, lost_on = NULL, payload = NULL,
             requirements = NULL, updated_at = $2 WHERE id = $1",
    );
    let update = update.bind(found.pass.id.to_string()).bind(millis(now));
    step.run(update).await.map(drop)
}

/// The money of a payment will not move: its pass is dead, and what was promised
/// with it is lost.
pub(crate) async fn failed(
    step: &mut Step,
    identity: &Identity,
    code: &str,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let of_payment = sql("SELECT * FROM passes WHERE identity = $1").bind(digest(identity));
    let Some(found) = stored(step, of_payment).await?.filter(|f| !f.has_failed) else {
        return Ok(());
    };
    let pass = &found.pass;
    let lost_on = match pass.is_settled {
        true => None,
        false => Some(exposures::lost(step, pass, now).await?),
    };
    let update =
        sql("UPDATE passes SET status = 'revoked', lost_on = $2, updated_at = $3 WHERE id = $1");
    let update = update.bind(pass.id.to_string()).bind(lost_on.map(int));
    step.run(update.bind(millis(now))).await?;
    if found.is_told {
        let facts = json!({ "code": code });
        notices::write(step, pass, "payment_failed", facts, now).await?;
    }
    match found.is_withdrawn || mistake::is("pass_outlives_its_payment") {
        true => Ok(()),
        false => revoked(step, &found, Some(code), now).await,
    }
}

/// A settlement was taken back by the chain: its pass is read before it opens
/// anything, until the money moves again.
pub(crate) async fn taken_back(
    step: &mut Step,
    identity: &Identity,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let of_payment = sql("SELECT * FROM passes WHERE identity = $1 AND is_settled = 1");
    let Some(found) = stored(step, of_payment.bind(digest(identity))).await? else {
        return Ok(());
    };
    let update = sql("UPDATE passes SET is_settled = 0, updated_at = $2 WHERE id = $1");
    let update = update.bind(found.pass.id.to_string()).bind(millis(now));
    step.run(update).await?;
    exposures::promise_again(step, &found.pass).await?;
    announce(step, &found.pass).await
}

/// The seller takes a pass back. Its payment goes on, and so does what was
/// promised with it.
pub(crate) async fn revoke(
    step: &mut Step,
    id: &PassId,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let Some(found) = stored(step, by_id(id)).await? else {
        return Err(LedgerError::NotFound(id.to_string()));
    };
    if found.is_withdrawn {
        return Ok(());
    }
    let update = sql("UPDATE passes SET is_withdrawn = 1, updated_at = $2 WHERE id = $1");
    step.run(update.bind(id.to_string()).bind(millis(now)))
        .await?;
    match found.has_failed {
        true => Ok(()),
        false => revoked(step, &found, None, now).await,
    }
}

/// Tells of a pass that was good and opens nothing any more.
async fn revoked(
    step: &mut Step,
    found: &Stored,
    code: Option<&str>,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let pass = &found.pass;
    announce(step, pass).await?;
    let facts = json!({ "pass": pass.id, "code": code });
    step.tell(pass.grant.as_str(), "pass_revoked", facts, now)
        .await?;
    match found.is_told {
        true => notices::write(step, pass, "pass_revoked", json!({}), now).await,
        false => Ok(()),
    }
}

/// Tells all who trust passes unread. The number is taken from one row, which
/// orders the commits: nobody who asked on from a later number misses it.
async fn announce(step: &mut Step, pass: &PassRecord) -> Result<(), LedgerError> {
    let next = sql("UPDATE meta SET value = value + 1 WHERE name = 'revocations'");
    step.run(next).await?;
    let insert = sql("INSERT INTO revocations (seq, pass, expires_at)
         SELECT value, $1, $2 FROM meta WHERE name = 'revocations'");
    let insert = insert
        .bind(pass.id.to_string())
        .bind(millis(pass.expires_at));
    step.run(insert).await.map(drop)
}

pub(crate) async fn use_pass(
    step: &mut Step,
    id: &PassId,
    now: Timestamp,
) -> Result<Result<PassRecord, PassEnd>, LedgerError> {
    let update = sql(
        "UPDATE passes SET uses_left = uses_left - 1 WHERE id = $1 AND status = 'active'
             AND is_withdrawn = 0 AND uses_left > 0 AND expires_at > $2 AND (is_settled = 1 OR deadline >= $3)",
    )
    .bind(id.to_string())
    .bind(millis(now))
    .bind(millis(now) - millis_of(UNSETTLED_GRACE));
    let used = step.run(update).await? == 1;
    let Some(row) = step.find(by_id(id)).await? else {
        return Ok(Err(PassEnd::Unknown));
    };
    let pass = record(&row)?;
    if used {
        return Ok(Ok(pass));
    }
    match pass.end(now) {
        Some(end) => Ok(Err(end)),
        None if pass.quota.is_none() => Ok(Ok(pass)),
        None => Err(corrupt("pass", "neither good nor dead")),
    }
}

fn millis_of(time: std::time::Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

pub(crate) async fn give_use_back(step: &mut Step, id: &PassId) -> Result<(), LedgerError> {
    let update =
        sql("UPDATE passes SET uses_left = uses_left + 1 WHERE id = $1 AND uses_left < quota");
    step.run(update.bind(id.to_string())).await.map(drop)
}

/// Settled or revoked passes whose time is over. An unsettled one is kept: its
/// payment is still to be told of.
pub(crate) async fn forget(
    step: &mut Step,
    before: Timestamp,
    now: Timestamp,
    limit: i64,
) -> Result<u64, LedgerError> {
    exposures::forget(step, now).await?;
    notices::forget(step, now).await?;
    let revocations = sql("DELETE FROM revocations WHERE seq IN (
             SELECT seq FROM revocations WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)");
    step.run(revocations.bind(millis(before)).bind(limit))
        .await?;
    let passes = sql("DELETE FROM passes WHERE id IN (
             SELECT id FROM passes WHERE expires_at < $1
                 AND (is_settled = 1 OR status = 'revoked') ORDER BY expires_at LIMIT $2)");
    step.run(passes.bind(millis(before)).bind(limit)).await
}

/// What of an amount is left after another, zero at least.
pub(super) fn less(amount: Amount, other: Amount) -> Amount {
    amount.checked_sub(other).unwrap_or(Amount::ZERO)
}
