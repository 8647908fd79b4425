//! The steps of slots: one nonce of one signer, and all that was signed for it.

use std::collections::{BTreeMap, HashSet};

use serde_json::json;
use tollway_core::{PaymentId, Raw, Timestamp, TxHash, mistake};

use super::{gas, payments, replicas};
use crate::sql::{Row, Statement, int, json as text, millis, sql};
use crate::store::{Rows, Step};
use crate::{Cost, Lease, LedgerError, PaymentState, ReplicaId, SlotRecord, SlotRef};

/// The name of a slot in the story: `slot:NETWORK:SIGNER:NONCE`.
pub(crate) fn subject((network, signer, nonce): &SlotRef) -> String {
    format!("slot:{network}:{signer}:{nonce}")
}

fn conflict(slot: &SlotRef, state: impl Into<String>, step: &'static str) -> LedgerError {
    LedgerError::Conflict {
        subject: subject(slot),
        state: state.into(),
        step,
    }
}

/// Binds a slot's key as the first three parameters.
fn keyed(statement: &'static str, (network, signer, nonce): &SlotRef) -> Statement {
    sql(statement)
        .bind(network.to_string())
        .bind(signer.to_string())
        .bind(int(*nonce))
}

/// One slot, whole.
pub(crate) async fn one(
    rows: &mut impl Rows,
    slot: &SlotRef,
) -> Result<Option<SlotRecord>, LedgerError> {
    let slots = keyed(
        "SELECT * FROM slots WHERE network = $1 AND signer = $2 AND nonce = $3",
        slot,
    );
    let raws = keyed(
        "SELECT * FROM slot_raws WHERE network = $1 AND signer = $2 AND nonce = $3 ORDER BY position",
        slot,
    );
    let found = assembled(rows, slots, raws).await?;
    Ok(found.into_iter().next())
}

/// All slots that are not closed, whole, by signer and nonce; or those of the
/// signers that one replica leases.
pub(crate) async fn open(
    rows: &mut impl Rows,
    replica: Option<&ReplicaId>,
) -> Result<Vec<SlotRecord>, LedgerError> {
    let (slots, raws) = match replica {
        None => (
            sql("SELECT s.* FROM slots s WHERE s.closed = 0"),
            sql("SELECT r.* FROM slots s JOIN slot_raws r
                     ON r.network = s.network AND r.signer = s.signer AND r.nonce = s.nonce
                 WHERE s.closed = 0 ORDER BY r.position"),
        ),
        Some(replica) => (
            sql("SELECT s.* FROM leases l JOIN slots s
                     ON s.network = l.network AND s.signer = l.signer
                 WHERE s.closed = 0 AND l.replica = $1")
            .bind(replica.to_string()),
            sql("SELECT r.* FROM leases l JOIN slots s
                     ON s.network = l.network AND s.signer = l.signer
                 JOIN slot_raws r
                     ON r.network = s.network AND r.signer = s.signer AND r.nonce = s.nonce
                 WHERE s.closed = 0 AND l.replica = $1 ORDER BY r.position")
            .bind(replica.to_string()),
        ),
    };
    assembled(rows, slots, raws).await
}

/// Slots come first: what is stored in between belongs to later steps.
async fn assembled(
    rows: &mut impl Rows,
    slots: Statement,
    raws: Statement,
) -> Result<Vec<SlotRecord>, LedgerError> {
    let mut found = BTreeMap::new();
    for row in rows.rows(slots).await? {
        found.insert(key(&row)?, record(&row)?);
    }
    for row in rows.rows(raws).await? {
        if let Some(slot) = found.get_mut(&key(&row)?) {
            slot.raws.push(raw(&row)?);
        }
    }
    Ok(found.into_values().collect())
}

fn key(row: &Row) -> Result<SlotRef, LedgerError> {
    Ok((
        row.network("network")?,
        row.address("signer")?,
        row.number("nonce")?,
    ))
}

fn record(row: &Row) -> Result<SlotRecord, LedgerError> {
    let (network, signer, nonce) = key(row)?;
    Ok(SlotRecord {
        network,
        signer,
        nonce,
        raws: Vec::new(),
        payments: row.json("payments")?,
        closed: row.flag("closed")?,
        allocated_at: row.time("allocated_at")?,
    })
}

fn raw(row: &Row) -> Result<Raw, LedgerError> {
    Ok(Raw {
        hash: TxHash::new(&row.text("hash")?),
        bytes: row.bytes("bytes")?,
    })
}

async fn load(step: &mut Step, slot: &SlotRef) -> Result<SlotRecord, LedgerError> {
    let found = one(step, slot).await?;
    found.ok_or_else(|| LedgerError::NotFound(subject(slot)))
}

pub(crate) async fn allocate(
    step: &mut Step,
    lease: &Lease,
    confirmed_nonce: u64,
    now: Timestamp,
) -> Result<SlotRecord, LedgerError> {
    replicas::check(step, lease).await?;
    let (network, signer) = (lease.network.clone(), lease.signer.clone());
    let bottom = (network.clone(), signer.clone(), confirmed_nonce);
    let unused = keyed(
        "SELECT * FROM slots WHERE network = $1 AND signer = $2 AND nonce >= $3
             AND closed = 0 AND raws = 0 ORDER BY nonce LIMIT 1",
        &bottom,
    );
    if let Some(row) = step.find(unused).await? {
        return record(&row);
    }
    let nonce = next_nonce(step, &bottom).await?;
    let facts = json!({ "confirmed_nonce": confirmed_nonce });
    create(step, (network, signer, nonce), facts, now).await
}

/// A new slot, empty.
async fn create(
    step: &mut Step,
    slot: SlotRef,
    facts: serde_json::Value,
    now: Timestamp,
) -> Result<SlotRecord, LedgerError> {
    let insert = keyed(
        "INSERT INTO slots (network, signer, nonce, raws, payments, closed, allocated_at)
         VALUES ($1, $2, $3, 0, '[]', 0, $4)",
        &slot,
    );
    step.run(insert.bind(millis(now))).await?;
    step.tell(&subject(&slot), "allocated", facts, now).await?;
    let (network, signer, nonce) = slot;
    Ok(SlotRecord {
        network,
        signer,
        nonce,
        raws: Vec::new(),
        payments: Vec::new(),
        closed: false,
        allocated_at: now,
    })
}

/// Opens a slot that is closed or unknown.
pub(crate) async fn reopen(
    step: &mut Step,
    slot: &SlotRef,
    lease: &Lease,
    now: Timestamp,
) -> Result<SlotRecord, LedgerError> {
    check_lease(step, slot, lease, "open it again").await?;
    let Some(mut held) = one(step, slot).await? else {
        let facts = json!({ "gap": true });
        return create(step, slot.clone(), facts, now).await;
    };
    if held.closed {
        open_again(step, slot).await?;
        step.tell(&subject(slot), "reopened", json!({}), now)
            .await?;
        held.closed = false;
    }
    Ok(held)
}

async fn check_lease(
    step: &mut Step,
    slot: &SlotRef,
    lease: &Lease,
    what: &'static str,
) -> Result<(), LedgerError> {
    if (&slot.0, &slot.1) != (&lease.network, &lease.signer) {
        return Err(conflict(slot, "another signer's", what));
    }
    replicas::check(step, lease).await
}

/// The lowest nonce at or above the chain's, above every open slot, and not
/// that of a closed one: a node that lags behind names nonces that are used.
async fn next_nonce(step: &mut Step, bottom: &SlotRef) -> Result<u64, LedgerError> {
    let (network, signer, confirmed_nonce) = bottom;
    let highest = sql(
        "SELECT nonce FROM slots WHERE network = $1 AND signer = $2 AND closed = 0
         ORDER BY nonce DESC LIMIT 1",
    )
    .bind(network.to_string())
    .bind(signer.to_string());
    let above_open = match step.find(highest).await? {
        Some(row) => row.number("nonce")?.saturating_add(1),
        None => 0,
    };
    let mut nonce = above_open.max(*confirmed_nonce);
    let from = (network.clone(), signer.clone(), nonce);
    let closed = keyed(
        "SELECT nonce FROM slots WHERE network = $1 AND signer = $2 AND nonce >= $3
             AND closed = 1 ORDER BY nonce",
        &from,
    );
    for row in step.list(closed).await? {
        if row.number("nonce")? != nonce {
            break;
        }
        nonce = nonce.saturating_add(1);
    }
    if i64::try_from(nonce).is_err() || nonce == i64::MAX as u64 {
        return Err(conflict(&from, "beyond every nonce", "allocate a slot"));
    }
    let gap = mistake::is("nonce_gap") && nonce % 4 == 3;
    Ok(nonce + u64::from(gap))
}

pub(crate) async fn store_raw(
    step: &mut Step,
    slot: &SlotRef,
    raw: &Raw,
    ids: &[PaymentId],
    lease: &Lease,
    now: Timestamp,
) -> Result<(), LedgerError> {
    const WHAT: &str = "store a transaction under it";
    check_lease(step, slot, lease, WHAT).await?;
    let held = load(step, slot).await?;
    if held.closed {
        return Err(conflict(slot, "closed", WHAT));
    }
    if held.raws.contains(raw) {
        return Ok(());
    }
    if hash_is_taken(step, slot, &raw.hash).await? {
        return Err(conflict(
            slot,
            "not the one of that transaction's hash",
            WHAT,
        ));
    }
    // Without payments it cancels the slot, whatever the slot carries.
    if !ids.is_empty() && !held.payments.is_empty() && ids != held.payments {
        return Err(conflict(slot, "carrying other payments", WHAT));
    }
    let firsts = submittable(step, slot, ids, lease).await?;
    for (id, is_first) in ids.iter().zip(firsts) {
        submit(step, slot, &raw.hash, id, is_first, now).await?;
    }
    let carried = if ids.is_empty() { &held.payments } else { ids };
    insert_raw(step, slot, held.raws.len(), raw, carried).await?;
    let facts = json!({ "transaction": raw.hash, "payments": ids });
    step.tell(&subject(slot), "stored_raw", facts, now).await
}

/// Checks every payment before any is written: whether each is submitted for
/// the first time, or again under this very slot.
async fn submittable(
    step: &mut Step,
    slot: &SlotRef,
    ids: &[PaymentId],
    lease: &Lease,
) -> Result<Vec<bool>, LedgerError> {
    const WHAT: &str = "sign a transaction for it";
    let mut known = HashSet::new();
    let mut firsts = Vec::with_capacity(ids.len());
    for id in ids {
        let payment = payments::standing(step, id).await?;
        if !known.insert(id) {
            return Err(payment.conflict("carry it twice in one slot"));
        }
        payment.check_owner(Some(&lease.replica), WHAT)?;
        if payment.network != slot.0 {
            return Err(payment.conflict("sign it on another network"));
        }
        firsts.push(match payment.state {
            PaymentState::Accepted => true,
            PaymentState::Submitted if payment.slot.as_ref() == Some(slot) => false,
            _ => return Err(payment.conflict(WHAT)),
        });
    }
    Ok(firsts)
}

async fn hash_is_taken(
    step: &mut Step,
    slot: &SlotRef,
    hash: &TxHash,
) -> Result<bool, LedgerError> {
    let holder = sql("SELECT nonce FROM slot_raws WHERE network = $1 AND hash = $2")
        .bind(slot.0.to_string())
        .bind(hash.to_string());
    Ok(step.find(holder).await?.is_some())
}

/// `accepted → submitted`, or a replacement of what is submitted under this slot.
async fn submit(
    step: &mut Step,
    slot: &SlotRef,
    hash: &TxHash,
    id: &PaymentId,
    is_first: bool,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let update = keyed(
        "UPDATE payments SET state = 'submitted', slot_network = $1, slot_signer = $2,
             slot_nonce = $3, transaction_id = $4, attempts = attempts + $5, updated_at = $6
         WHERE id = $7",
        slot,
    )
    .bind(hash.to_string())
    .bind(i64::from(is_first))
    .bind(millis(now))
    .bind(id.to_string());
    step.run(update).await?;
    let facts = json!({
        "transaction": hash,
        "signer": slot.1,
        "nonce": slot.2,
        "replacement": !is_first,
    });
    step.tell(id.as_str(), "stored_raw", facts, now).await
}

async fn insert_raw(
    step: &mut Step,
    slot: &SlotRef,
    position: usize,
    raw: &Raw,
    carried: &[PaymentId],
) -> Result<(), LedgerError> {
    if mistake::is("hash_not_stored") && position > 0 {
        return Ok(());
    }
    let insert = keyed(
        "INSERT INTO slot_raws (network, signer, nonce, position, hash, bytes)
         VALUES ($1, $2, $3, $4, $5, $6)",
        slot,
    );
    let insert = insert
        .bind(int(position as u64))
        .bind(raw.hash.to_string())
        .bind(raw.bytes.clone());
    step.run(insert).await?;
    let count = keyed(
        "UPDATE slots SET raws = raws + 1, payments = $4
         WHERE network = $1 AND signer = $2 AND nonce = $3",
        slot,
    );
    step.run(count.bind(text(&carried)?)).await.map(drop)
}

pub(crate) async fn close(
    step: &mut Step,
    slot: &SlotRef,
    costs: &[Cost],
    now: Timestamp,
) -> Result<(), LedgerError> {
    let found = keyed(
        "SELECT closed FROM slots WHERE network = $1 AND signer = $2 AND nonce = $3",
        slot,
    );
    let found = step.find(found).await?;
    let found = found.ok_or_else(|| LedgerError::NotFound(subject(slot)))?;
    if found.flag("closed")? {
        return Ok(());
    }
    let update = "UPDATE slots SET closed = 1 WHERE network = $1 AND signer = $2 AND nonce = $3";
    step.run(keyed(update, slot)).await?;
    gas::spend(step, &slot.0, costs, now).await?;
    let costs: Vec<_> = costs
        .iter()
        .map(|cost| json!({ "payer": cost.payer, "fee": cost.fee, "lost": cost.lost }))
        .collect();
    let facts = json!({ "costs": costs });
    step.tell(&subject(slot), "closed", facts, now).await
}

/// A reorganisation freed its nonce.
pub(crate) async fn open_again(step: &mut Step, slot: &SlotRef) -> Result<(), LedgerError> {
    let update = "UPDATE slots SET closed = 0 WHERE network = $1 AND signer = $2 AND nonce = $3";
    step.run(keyed(update, slot)).await.map(drop)
}
