//! The steps of spends.

use serde_json::json;
use tollway_core::{Amount, SpendId, Timestamp, TxHash, mistake};

use super::limits::{self, Change, Money, purses_of};
use super::precedents;
use super::spend_rows::{by_id, open_of_request, record};
use crate::failure::no_randomness;
use crate::sql::{Statement, json as text, millis, sql};
use crate::store::Step;
use crate::{
    LedgerError, Limit, NewSpend, Reservation, Rules, SignedSpend, SpendRecord, SpendState,
};

async fn load(step: &mut Step, id: &SpendId) -> Result<SpendRecord, LedgerError> {
    match step.find(by_id(id)).await? {
        Some(row) => record(&row),
        None => Err(LedgerError::NotFound(id.to_string())),
    }
}

fn conflict(spend: &SpendRecord, step: &'static str) -> LedgerError {
    LedgerError::Conflict {
        subject: spend.id.to_string(),
        state: spend.state.to_string(),
        step,
    }
}

/// Whether an authorization exists whose fate is open.
const fn is_signed_and_open(state: SpendState) -> bool {
    matches!(
        state,
        SpendState::Signed | SpendState::Presented | SpendState::Unknown
    )
}

pub(crate) async fn reserve(
    step: &mut Step,
    new: &NewSpend,
    rules: &Rules,
    now: Timestamp,
) -> Result<Reservation, LedgerError> {
    if let Some(open) = open_for_request(step, new).await?
        && !mistake::is("new_signature_on_retry")
    {
        return Ok(Reservation::Open(Box::new(open)));
    }
    let at = limits::latest(step, now).await?;
    if let Some(broken) = precedents::first_broken(step, new, rules).await? {
        return Ok(broken);
    }
    if let Some(exceeded) = first_exceeded(step, new, &rules.limits, at).await? {
        return Ok(exceeded);
    }
    let id = SpendId::random().map_err(no_randomness)?;
    if !limits::change(step, new, Change::Hold(new.amount), at).await? {
        return Err(LedgerError::Conflict {
            subject: format!("what {} spends", new.account),
            state: "too large to add this amount".to_owned(),
            step: "reserve it",
        });
    }
    let facts = json!({
        "network": new.network,
        "asset": new.asset,
        "amount": new.amount,
        "payee": new.payee,
        "host": new.host,
        "agent": new.agent,
    });
    step.run(insertion(&id, new.clone(), now)).await?;
    step.tell(id.as_str(), "reserved", facts, now).await?;
    Ok(Reservation::Reserved(id))
}

async fn open_for_request(
    step: &mut Step,
    new: &NewSpend,
) -> Result<Option<SpendRecord>, LedgerError> {
    let open = open_of_request(&new.account, &new.request);
    step.find(open).await?.as_ref().map(record).transpose()
}

/// The first limit that applies to the spend and has no room for it.
async fn first_exceeded(
    step: &mut Step,
    new: &NewSpend,
    limits: &[Limit],
    at: Timestamp,
) -> Result<Option<Reservation>, LedgerError> {
    let scopes = purses_of(new);
    for limit in limits.iter().filter(|l| scopes.contains(&l.scope)) {
        let total = limits::total(step, Money::of(new), limit, at).await?;
        let used = match mistake::is("budget_check_then_act") {
            true => total.paid,
            false => total.paid.checked_add(total.held).unwrap_or(Amount::MAX),
        };
        let counted = limits::counted(&limit.scope, new, new.amount);
        let after = counted.and_then(|counted| used.checked_add(counted));
        if after.is_none_or(|after| after > limit.max) {
            let limit = limit.clone();
            return Ok(Some(Reservation::Exceeded { limit, used }));
        }
    }
    Ok(None)
}

fn insertion(id: &SpendId, new: NewSpend, now: Timestamp) -> Statement {
    sql(
        "INSERT INTO spends (id, account, agent, request, url, host, payee, network, asset,
             amount, state, is_open, reserved_at, updated_at, limited_key, decimals,
             calls)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'reserved', 1, $11, $11, $12, $13,
             $14)",
    )
    .bind(id.to_string())
    .bind(new.account.to_string())
    .bind(new.agent)
    .bind(new.request)
    .bind(new.url)
    .bind(new.host)
    .bind(new.payee.to_string())
    .bind(new.network.to_string())
    .bind(new.asset.to_string())
    .bind(new.amount.to_string())
    .bind(millis(now))
    .bind(new.key)
    .bind(new.decimals.map(i64::from))
    .bind(new.calls.map(i64::from))
}

pub(crate) async fn signed(
    step: &mut Step,
    id: &SpendId,
    signed: &SignedSpend,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let spend = load(step, id).await?;
    if spend.state != SpendState::Reserved {
        return Err(conflict(&spend, "sign it"));
    }
    let holder = sql("SELECT * FROM spends WHERE identity = $1");
    let holder = holder.bind(signed.identity.key());
    if let Some(row) = step.find(holder).await? {
        return Err(conflict(&record(&row)?, "sign its authorization again"));
    }
    let facts = json!({
        "valid_until": signed.valid_until,
        "transaction": signed.transaction.as_ref().map(|raw| &raw.hash),
    });
    let identity = signed.identity.clone();
    let key = identity.key();
    let (hash, bytes) = signed
        .transaction
        .clone()
        .map(|r| (r.hash, r.bytes))
        .unzip();
    let update = sql(
        "UPDATE spends SET state = 'signed', identity = $2, identity_network = $3,
             identity_scope = $4, identity_payer = $5, identity_nonce = $6, payload = $7,
             valid_until = $8, raw_hash = $9, raw_bytes = $10, updated_at = $11 WHERE id = $1",
    )
    .bind(id.to_string())
    .bind(key)
    .bind(identity.network.to_string())
    .bind(identity.scope)
    .bind(identity.payer.to_string())
    .bind(identity.nonce)
    .bind(text(&signed.payload)?)
    .bind(millis(signed.valid_until))
    .bind(hash.map(|h: TxHash| h.to_string()))
    .bind(bytes)
    .bind(millis(now));
    step.run(update).await?;
    step.tell(id.as_str(), "signed", facts, now).await
}

pub(crate) async fn signed_again(
    step: &mut Step,
    id: &SpendId,
    signed: &SignedSpend,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let spend = load(step, id).await?;
    let before = spend.signed.as_ref();
    let same = before.is_some_and(|before| {
        before.identity == signed.identity
            && before.transaction.is_none()
            && signed.transaction.is_none()
    });
    if !is_signed_and_open(spend.state) || !same {
        return Err(conflict(&spend, "sign another authorization for it"));
    }
    // Whoever waits for the first signature's end waits for the later one.
    let valid_until = before.map_or(signed.valid_until, |b| {
        b.valid_until.max(signed.valid_until)
    });
    let update =
        sql("UPDATE spends SET payload = $2, valid_until = $3, updated_at = $4 WHERE id = $1")
            .bind(id.to_string())
            .bind(text(&signed.payload)?)
            .bind(millis(valid_until))
            .bind(millis(now));
    step.run(update).await?;
    let facts = json!({ "valid_until": valid_until });
    step.tell(id.as_str(), "signed_again", facts, now).await
}

pub(crate) async fn presented(
    step: &mut Step,
    id: &SpendId,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let spend = load(step, id).await?;
    if !is_signed_and_open(spend.state) {
        return Err(conflict(&spend, "present it"));
    }
    let update = sql("UPDATE spends SET state = 'presented', updated_at = $2 WHERE id = $1");
    step.run(update.bind(id.to_string()).bind(millis(now)))
        .await?;
    step.tell(id.as_str(), "presented", json!({}), now).await
}

pub(crate) async fn unclear(
    step: &mut Step,
    id: &SpendId,
    reason: &str,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let spend = load(step, id).await?;
    if !is_signed_and_open(spend.state) {
        return Err(conflict(&spend, "leave it open"));
    }
    let update =
        sql("UPDATE spends SET state = 'unknown', reason = $2, updated_at = $3 WHERE id = $1")
            .bind(id.to_string())
            .bind(reason.to_owned())
            .bind(millis(now));
    step.run(update).await?;
    step.tell(id.as_str(), "unknown", json!({ "reason": reason }), now)
        .await
}

pub(crate) async fn paid(
    step: &mut Step,
    id: &SpendId,
    paid: Amount,
    transaction: Option<&TxHash>,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let spend = load(step, id).await?;
    if spend.state == SpendState::Paid && spend.paid == Some(paid) {
        return Ok(());
    }
    let held = spend.spend.amount;
    if !is_signed_and_open(spend.state) || paid > held {
        return Err(conflict(&spend, "pay that much for it"));
    }
    let at = limits::latest(step, now).await?;
    if !limits::change(step, &spend.spend, Change::Pay { held, paid }, at).await? {
        return Err(conflict(&spend, "pay for it: its purses do not hold it"));
    }
    let facts = json!({ "amount": paid, "transaction": transaction });
    let update = sql(
        "UPDATE spends SET state = 'paid', is_open = 0, paid = $2, transaction_id = $3,
             updated_at = $4 WHERE id = $1",
    )
    .bind(id.to_string())
    .bind(paid.to_string())
    .bind(transaction.map(|t| t.to_string()))
    .bind(millis(now));
    step.run(update).await?;
    step.tell(id.as_str(), "paid", facts, now).await
}

pub(crate) async fn release(
    step: &mut Step,
    id: &SpendId,
    reason: &str,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let spend = load(step, id).await?;
    if spend.state == SpendState::Released {
        return Ok(());
    }
    if spend.state == SpendState::Paid {
        return Err(conflict(&spend, "release it"));
    }
    let freed = Change::Free(spend.spend.amount);
    if !limits::change(step, &spend.spend, freed, now).await? {
        return Err(conflict(&spend, "release it: its purses do not hold it"));
    }
    let update = sql(
        "UPDATE spends SET state = 'released', is_open = 0, reason = $2, updated_at = $3
         WHERE id = $1",
    )
    .bind(id.to_string())
    .bind(reason.to_owned())
    .bind(millis(now));
    step.run(update).await?;
    step.tell(id.as_str(), "released", json!({ "reason": reason }), now)
        .await
}
