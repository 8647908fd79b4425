//! The steps of slots: one nonce of one signer, and all that was signed for it.

use std::collections::BTreeMap;

use serde_json::json;
use tollway_core::{Address, Network, PaymentId, Raw, Timestamp, TxHash};

use super::payments;
use super::row::{Columns, int, millis};
use super::step::{Statement, Step};
use super::{Rows, SqliteRow};
use crate::{LedgerError, PaymentRecord, PaymentState, SlotRecord, SlotRef};

/// The name of a slot in the story: `slot:NETWORK:SIGNER:NONCE`.
pub(super) fn subject((network, signer, nonce): &SlotRef) -> String {
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
fn keyed(sql: &'static str, (network, signer, nonce): &SlotRef) -> Statement<'static> {
    sqlx::query(sql)
        .bind(network.to_string())
        .bind(signer.to_string())
        .bind(int(*nonce))
}

/// One slot, whole.
pub(super) async fn one(
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
    let carried = keyed(
        "SELECT * FROM slot_payments WHERE network = $1 AND signer = $2 AND nonce = $3 ORDER BY position",
        slot,
    );
    let found = assembled(rows, slots, raws, carried).await?;
    Ok(found.into_iter().next())
}

/// All slots that are not closed, whole, by signer and nonce.
pub(super) async fn open(rows: &mut impl Rows) -> Result<Vec<SlotRecord>, LedgerError> {
    let slots = sqlx::query("SELECT * FROM slots WHERE closed = 0 ORDER BY network, signer, nonce");
    let raws = sqlx::query(
        "SELECT r.* FROM slots s JOIN slot_raws r
             ON r.network = s.network AND r.signer = s.signer AND r.nonce = s.nonce
         WHERE s.closed = 0 ORDER BY r.network, r.signer, r.nonce, r.position",
    );
    let carried = sqlx::query(
        "SELECT p.* FROM slots s JOIN slot_payments p
             ON p.network = s.network AND p.signer = s.signer AND p.nonce = s.nonce
         WHERE s.closed = 0 ORDER BY p.network, p.signer, p.nonce, p.position",
    );
    assembled(rows, slots, raws, carried).await
}

/// Slots come first: what is stored in between belongs to later steps.
async fn assembled(
    rows: &mut impl Rows,
    slots: Statement<'static>,
    raws: Statement<'static>,
    carried: Statement<'static>,
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
    for row in rows.rows(carried).await? {
        if let Some(slot) = found.get_mut(&key(&row)?) {
            let id = Columns(&row).text("payment_id")?;
            slot.payments.push(PaymentId::from_text(id));
        }
    }
    Ok(found.into_values().collect())
}

fn key(row: &SqliteRow) -> Result<SlotRef, LedgerError> {
    let columns = Columns(row);
    Ok((
        columns.network("network")?,
        columns.address("signer")?,
        columns.number("nonce")?,
    ))
}

fn record(row: &SqliteRow) -> Result<SlotRecord, LedgerError> {
    let (network, signer, nonce) = key(row)?;
    let columns = Columns(row);
    Ok(SlotRecord {
        network,
        signer,
        nonce,
        raws: Vec::new(),
        payments: Vec::new(),
        closed: columns.flag("closed")?,
        allocated_at: columns.time("allocated_at")?,
    })
}

fn raw(row: &SqliteRow) -> Result<Raw, LedgerError> {
    let columns = Columns(row);
    Ok(Raw {
        hash: TxHash::new(&columns.text("hash")?),
        bytes: columns.bytes("bytes")?,
    })
}

async fn load(step: &mut Step, slot: &SlotRef) -> Result<SlotRecord, LedgerError> {
    let found = one(step, slot).await?;
    found.ok_or_else(|| LedgerError::NotFound(subject(slot)))
}

pub(super) async fn allocate(
    step: &mut Step,
    network: Network,
    signer: Address,
    confirmed_nonce: u64,
    now: Timestamp,
) -> Result<SlotRecord, LedgerError> {
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
    let slot = (network, signer, nonce);
    let insert = keyed(
        "INSERT INTO slots (network, signer, nonce, raws, closed, allocated_at)
         VALUES ($1, $2, $3, 0, 0, $4)",
        &slot,
    );
    step.run(insert.bind(millis(now))).await?;
    let facts = json!({ "confirmed_nonce": confirmed_nonce });
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

/// The lowest nonce at or above the chain's, above every open slot, and not
/// that of a closed one: a node that lags behind names nonces that are used.
async fn next_nonce(step: &mut Step, bottom: &SlotRef) -> Result<u64, LedgerError> {
    let (network, signer, confirmed_nonce) = bottom;
    let highest = sqlx::query(
        "SELECT nonce FROM slots WHERE network = $1 AND signer = $2 AND closed = 0
         ORDER BY nonce DESC LIMIT 1",
    )
    .bind(network.to_string())
    .bind(signer.to_string());
    let above_open = match step.find(highest).await? {
        Some(row) => Columns(&row).number("nonce")?.saturating_add(1),
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
        if Columns(&row).number("nonce")? != nonce {
            break;
        }
        nonce = nonce.saturating_add(1);
    }
    if i64::try_from(nonce).is_err() || nonce == i64::MAX as u64 {
        return Err(conflict(&from, "beyond every nonce", "allocate a slot"));
    }
    Ok(nonce)
}

pub(super) async fn store_raw(
    step: &mut Step,
    slot: SlotRef,
    raw: Raw,
    ids: Vec<PaymentId>,
    now: Timestamp,
) -> Result<(), LedgerError> {
    const WHAT: &str = "store a transaction under it";
    let held = load(step, &slot).await?;
    if held.closed {
        return Err(conflict(&slot, "closed", WHAT));
    }
    if held.raws.contains(&raw) {
        return Ok(());
    }
    if hash_is_taken(step, &slot.0, &raw.hash).await? {
        return Err(conflict(
            &slot,
            "not the one of that transaction's hash",
            WHAT,
        ));
    }
    // Without payments it cancels the slot, whatever the slot carries.
    if !ids.is_empty() && !held.payments.is_empty() && ids != held.payments {
        return Err(conflict(&slot, "carrying other payments", WHAT));
    }
    for (position, id) in ids.iter().enumerate() {
        let payment = payments::load(step, id).await?;
        if ids[..position].contains(id) {
            return Err(payments::conflict(&payment, "carry it twice in one slot"));
        }
        submit(step, &slot, &raw.hash, &payment, now).await?;
        if held.payments.is_empty() {
            carry(step, &slot, position, id).await?;
        }
    }
    insert_raw(step, &slot, held.raws.len(), &raw).await?;
    let facts = json!({ "transaction": raw.hash, "payments": ids });
    step.tell(&subject(&slot), "stored_raw", facts, now).await
}

async fn hash_is_taken(
    step: &mut Step,
    network: &Network,
    hash: &TxHash,
) -> Result<bool, LedgerError> {
    let holder = sqlx::query("SELECT nonce FROM slot_raws WHERE network = $1 AND hash = $2")
        .bind(network.to_string())
        .bind(hash.to_string());
    Ok(step.find(holder).await?.is_some())
}

/// `accepted → submitted`, or a replacement of what is submitted under this slot.
async fn submit(
    step: &mut Step,
    slot: &SlotRef,
    hash: &TxHash,
    payment: &PaymentRecord,
    now: Timestamp,
) -> Result<(), LedgerError> {
    const WHAT: &str = "sign a transaction for it";
    if payment.payment.identity.network != slot.0 {
        return Err(payments::conflict(payment, "sign it on another network"));
    }
    let is_first = match payment.state {
        PaymentState::Accepted => true,
        PaymentState::Submitted if payment.slot.as_ref() == Some(slot) => false,
        _ => return Err(payments::conflict(payment, WHAT)),
    };
    let update = keyed(
        "UPDATE payments SET state = 'submitted', slot_network = $1, slot_signer = $2,
             slot_nonce = $3, transaction_id = $4, attempts = attempts + $5, updated_at = $6
         WHERE id = $7",
        slot,
    )
    .bind(hash.to_string())
    .bind(i64::from(is_first))
    .bind(millis(now))
    .bind(payment.id.to_string());
    step.run(update).await?;
    let facts = json!({
        "transaction": hash,
        "signer": slot.1,
        "nonce": slot.2,
        "replacement": !is_first,
    });
    step.tell(payment.id.as_str(), "stored_raw", facts, now)
        .await
}

async fn carry(
    step: &mut Step,
    slot: &SlotRef,
    position: usize,
    id: &PaymentId,
) -> Result<(), LedgerError> {
    let insert = keyed(
        "INSERT INTO slot_payments (network, signer, nonce, position, payment_id)
         VALUES ($1, $2, $3, $4, $5)",
        slot,
    );
    let insert = insert.bind(int(position as u64)).bind(id.to_string());
    step.run(insert).await.map(|_| ())
}

async fn insert_raw(
    step: &mut Step,
    slot: &SlotRef,
    position: usize,
    raw: &Raw,
) -> Result<(), LedgerError> {
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
    let count =
        "UPDATE slots SET raws = raws + 1 WHERE network = $1 AND signer = $2 AND nonce = $3";
    step.run(keyed(count, slot)).await.map(|_| ())
}

pub(super) async fn close(
    step: &mut Step,
    slot: SlotRef,
    now: Timestamp,
) -> Result<(), LedgerError> {
    if load(step, &slot).await?.closed {
        return Ok(());
    }
    let update = "UPDATE slots SET closed = 1 WHERE network = $1 AND signer = $2 AND nonce = $3";
    step.run(keyed(update, &slot)).await?;
    step.tell(&subject(&slot), "closed", json!({}), now).await
}

/// A reorganisation freed its nonce.
pub(super) async fn open_again(step: &mut Step, slot: &SlotRef) -> Result<(), LedgerError> {
    let update = "UPDATE slots SET closed = 0 WHERE network = $1 AND signer = $2 AND nonce = $3";
    step.run(keyed(update, slot)).await.map(|_| ())
}
