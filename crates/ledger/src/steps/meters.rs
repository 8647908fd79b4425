//! The steps of metered grants.

use serde_json::{Value, json};
use tollway_core::{Amount, GrantId, Timestamp, mistake};

use super::exposures;
use super::grants::{begin_story, conflict, own, settles_at_once};
use crate::failure::corrupt;
use crate::sql::{Row, Statement, json as text, millis, sql};
use crate::store::Step;
use crate::{ExposureCap, GrantRecord, GrantState, LedgerError, MeterRecord, Outstanding};

pub(crate) fn by_grant(grant: &GrantId) -> Statement {
    sql("SELECT * FROM meters WHERE grant_id = $1").bind(grant.to_string())
}

pub(crate) fn record(row: &Row) -> Result<MeterRecord, LedgerError> {
    let payload: Option<Value> = row.opt_json("payload")?;
    let requirements: Option<Value> = row.opt_json("requirements")?;
    Ok(MeterRecord {
        permitted: row.amount("permitted")?,
        outstanding: payload
            .zip(requirements)
            .map(|(payload, requirements)| Outstanding {
                payload,
                requirements,
            }),
    })
}

pub(super) fn is_metered(grant: &GrantRecord) -> bool {
    grant.grant.flow == "metered"
}

/// Whether something of it may have left: then it is never claimed again.
pub(super) fn has_begun(grant: &GrantRecord) -> bool {
    is_metered(grant) && grant.state == GrantState::Settling
}

pub(crate) async fn meter(
    step: &mut Step,
    id: &GrantId,
    owner: Option<&str>,
    outstanding: &Outstanding,
    cap: ExposureCap,
    now: Timestamp,
) -> Result<bool, LedgerError> {
    const WHAT: &str = "meter it";
    let grant = own(step, id, owner, WHAT).await?;
    if grant.state != GrantState::Claimed || !is_metered(&grant) {
        return Err(conflict(&grant, WHAT));
    }
    if exposures::promise(step, &grant.grant, cap, now)
        .await?
        .is_none()
    {
        return Ok(false);
    }
    begin_story(step, &grant).await?;
    let permitted = grant.grant.expected.amount;
    let insert = sql(
        "INSERT INTO meters (grant_id, permitted, is_promised, payload, requirements)
         VALUES ($1, $2, 1, $3, $4)",
    )
    .bind(id.to_string())
    .bind(permitted.to_string())
    .bind(text(&outstanding.payload)?)
    .bind(text(&outstanding.requirements)?);
    step.run(insert).await?;
    charge(step, id, Amount::ZERO, now).await?;
    let facts = json!({ "permitted": permitted });
    step.tell(id.as_str(), "metered", facts, now).await?;
    settles_at_once(step, grant, now).await?;
    Ok(true)
}

/// Not told: what became of it is, in the end.
pub(crate) async fn metered(
    step: &mut Step,
    id: &GrantId,
    owner: Option<&str>,
    charged: Amount,
    now: Timestamp,
) -> Result<(), LedgerError> {
    const WHAT: &str = "charge it";
    let grant = own(step, id, owner, WHAT).await?;
    let row = step.find(by_grant(id)).await?;
    let permitted = match &row {
        Some(row) => record(row)?.permitted,
        None => return Err(conflict(&grant, WHAT)),
    };
    let recorded = grant.grant.expected.amount;
    let is_too_much = charged > permitted && !mistake::is("metered_beyond_the_maximum");
    if !has_begun(&grant) || is_too_much || charged < recorded {
        return Err(conflict(&grant, WHAT));
    }
    charge(step, id, charged, now).await
}

async fn charge(
    step: &mut Step,
    id: &GrantId,
    amount: Amount,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let update = sql("UPDATE grants SET amount = $2, updated_at = $3 WHERE id = $1")
        .bind(id.to_string())
        .bind(amount.to_string())
        .bind(millis(now));
    step.run(update).await.map(drop)
}

/// Its grant has ended: nothing is promised any more, and nothing to be settled. So
/// much was handed out and will not be paid.
pub(super) async fn ended(
    step: &mut Step,
    grant: &GrantRecord,
    unpaid: Amount,
    now: Timestamp,
) -> Result<(), LedgerError> {
    if !is_metered(grant) {
        return Ok(());
    }
    let Some(row) = step.find(by_grant(&grant.id)).await? else {
        return Ok(());
    };
    let meter = record(&row)?;
    if !row.flag("is_promised")? {
        return Err(corrupt("meter", "it ended twice"));
    }
    exposures::ended(step, &grant.grant, meter.permitted, unpaid, now).await?;
    let update = sql(
        "UPDATE meters SET is_promised = 0, payload = NULL, requirements = NULL
         WHERE grant_id = $1",
    );
    step.run(update.bind(grant.id.to_string())).await.map(drop)
}
