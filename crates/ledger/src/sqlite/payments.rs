//! The steps of payments.

use serde_json::json;
use sqlx::sqlite::SqliteRow;
use tollway_core::{Identity, PaymentId, Proof, Settled, Timestamp, TxHash};

use super::failure::{corrupt, no_randomness};
use super::row::{Columns, json as text, millis};
use super::step::{Statement, Step};
use crate::{
    Acceptance, Conclusion, HandOut, LedgerError, NewPayment, PaymentFilter, PaymentRecord,
    PaymentState, SlotRef,
};

/// Most payments that one listing gives.
const PAGE: u32 = 1_000;

pub(super) fn by_id(id: &PaymentId) -> Statement<'static> {
    sqlx::query("SELECT * FROM payments WHERE id = $1").bind(id.as_str().to_owned())
}

pub(super) fn by_identity(identity: &Identity) -> Statement<'static> {
    sqlx::query("SELECT * FROM payments WHERE identity = $1").bind(identity.key())
}

pub(super) fn open() -> Statement<'static> {
    sqlx::query("SELECT * FROM payments WHERE is_open = 1 ORDER BY seq")
}

pub(super) fn listed(filter: &PaymentFilter) -> Statement<'static> {
    let before = filter.before.map_or(i64::MAX, millis);
    let limit = match filter.limit {
        0 => PAGE,
        limit => limit.min(PAGE),
    };
    match filter.state {
        Some(state) => sqlx::query(
            "SELECT * FROM payments WHERE state = $1 AND accepted_at < $2
             ORDER BY accepted_at DESC, seq DESC LIMIT $3",
        )
        .bind(state.as_str())
        .bind(before)
        .bind(i64::from(limit)),
        None => sqlx::query(
            "SELECT * FROM payments WHERE accepted_at < $1
             ORDER BY accepted_at DESC, seq DESC LIMIT $2",
        )
        .bind(before)
        .bind(i64::from(limit)),
    }
}

pub(super) fn record(row: &SqliteRow) -> Result<PaymentRecord, LedgerError> {
    let columns = Columns(row);
    let state = columns.word("state", PaymentState::from_word)?;
    let has_attempt = matches!(state, PaymentState::Submitted | PaymentState::Settled);
    Ok(PaymentRecord {
        id: PaymentId::from_text(columns.text("id")?),
        payment: NewPayment {
            identity: columns.identity()?,
            expected: columns.expected()?,
            deadline: columns.time("deadline")?,
            settlement: columns.json("settlement")?,
            finality: columns
                .text("finality")?
                .parse()
                .map_err(|e: String| corrupt("finality", e))?,
            payload: columns.json("payload")?,
            requirements: columns.json("requirements")?,
        },
        state,
        attempts: u32::try_from(columns.number("attempts")?).unwrap_or(u32::MAX),
        slot: if has_attempt {
            slot_ref(&columns)?
        } else {
            None
        },
        transaction: columns.opt_hash("transaction_id")?,
        settled: columns.opt_json("settled")?,
        refusal: columns.refusal()?,
        accepted_at: columns.time("accepted_at")?,
        updated_at: columns.time("updated_at")?,
    })
}

fn slot_ref(columns: &Columns<'_>) -> Result<Option<SlotRef>, LedgerError> {
    match columns.opt_number("slot_nonce")? {
        None => Ok(None),
        Some(nonce) => Ok(Some((
            columns.network("slot_network")?,
            columns.address("slot_signer")?,
            nonce,
        ))),
    }
}

pub(super) async fn load(step: &mut Step, id: &PaymentId) -> Result<PaymentRecord, LedgerError> {
    match step.find(by_id(id)).await? {
        Some(row) => record(&row),
        None => Err(LedgerError::NotFound(id.to_string())),
    }
}

pub(super) fn conflict(payment: &PaymentRecord, step: &'static str) -> LedgerError {
    LedgerError::Conflict {
        subject: payment.id.to_string(),
        state: payment.state.to_string(),
        step,
    }
}

pub(super) async fn accept(
    step: &mut Step,
    new: NewPayment,
    now: Timestamp,
) -> Result<Acceptance, LedgerError> {
    let accepted = PaymentRecord {
        id: PaymentId::random().map_err(no_randomness)?,
        payment: new,
        state: PaymentState::Accepted,
        attempts: 0,
        slot: None,
        transaction: None,
        settled: None,
        refusal: None,
        accepted_at: now,
        updated_at: now,
    };
    if step.run(insertion(&accepted)?).await? == 0 {
        let row = step.find(by_identity(&accepted.payment.identity)).await?;
        let row = row.ok_or_else(|| corrupt("payment", "neither new nor known"))?;
        return record(&row).map(Acceptance::Existing);
    }
    let expected = &accepted.payment.expected;
    let facts = json!({
        "network": accepted.payment.identity.network,
        "asset": expected.asset,
        "from": expected.from,
        "to": expected.to,
        "amount": expected.amount,
        "deadline": accepted.payment.deadline,
    });
    step.tell(accepted.id.as_str(), "accepted", facts, now)
        .await?;
    Ok(Acceptance::New(accepted))
}

fn insertion(accepted: &PaymentRecord) -> Result<Statement<'static>, LedgerError> {
    let payment = &accepted.payment;
    let identity = &payment.identity;
    let expected = &payment.expected;
    Ok(sqlx::query(
        "INSERT INTO payments (id, identity, network, scope, payer, nonce, asset,
             from_account, to_account, amount, deadline, settlement, finality, payload,
             requirements, state, is_open, attempts, accepted_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,
             'accepted', 1, 0, $16, $16)
         ON CONFLICT DO NOTHING",
    )
    .bind(accepted.id.to_string())
    .bind(identity.key())
    .bind(identity.network.to_string())
    .bind(identity.scope.clone())
    .bind(identity.payer.to_string())
    .bind(identity.nonce.clone())
    .bind(expected.asset.to_string())
    .bind(expected.from.to_string())
    .bind(expected.to.to_string())
    .bind(expected.amount.to_string())
    .bind(millis(payment.deadline))
    .bind(text(&payment.settlement)?)
    .bind(payment.finality.to_string())
    .bind(text(&payment.payload)?)
    .bind(text(&payment.requirements)?)
    .bind(millis(accepted.accepted_at)))
}

pub(super) async fn note(
    step: &mut Step,
    id: PaymentId,
    kind: &'static str,
    data: serde_json::Value,
    now: Timestamp,
) -> Result<(), LedgerError> {
    load(step, &id).await?;
    step.tell(id.as_str(), kind, data, now).await
}

pub(super) async fn reopen(
    step: &mut Step,
    id: PaymentId,
    proof: Proof,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let payment = load(step, &id).await?;
    if payment.state != PaymentState::Submitted {
        return Err(conflict(&payment, "open a new attempt"));
    }
    let update = sqlx::query(
        "UPDATE payments SET state = 'accepted', slot_network = NULL, slot_signer = NULL,
             slot_nonce = NULL, updated_at = $2 WHERE id = $1",
    );
    step.run(update.bind(id.to_string()).bind(millis(now)))
        .await?;
    step.tell(id.as_str(), "reopened", json!({ "proof": proof }), now)
        .await
}

/// How a conclusion ends a payment: state, evidence, refusal.
type End = (
    PaymentState,
    Option<Settled>,
    Option<TxHash>,
    Option<(String, String)>,
);

fn end_of(conclusion: Conclusion) -> End {
    match conclusion {
        Conclusion::Settled(settled) => {
            let transaction = settled.transaction.clone();
            (
                PaymentState::Settled,
                Some(settled),
                Some(transaction),
                None,
            )
        }
        Conclusion::SettledWithoutTransaction => (PaymentState::Settled, None, None, None),
        Conclusion::Refused { code, message } => {
            (PaymentState::Refused, None, None, Some((code, message)))
        }
        Conclusion::Expired => (
            PaymentState::Expired,
            None,
            None,
            Some((
                "payment_expired".to_owned(),
                "The authorization's time passed before it was settled; sign a new one.".to_owned(),
            )),
        ),
    }
}

pub(super) async fn conclude(
    step: &mut Step,
    id: PaymentId,
    conclusion: Conclusion,
    now: Timestamp,
) -> Result<PaymentRecord, LedgerError> {
    let payment = load(step, &id).await?;
    let (state, settled, transaction, refusal) = end_of(conclusion);
    let is_open = matches!(
        payment.state,
        PaymentState::Accepted | PaymentState::Submitted
    );
    if !is_open {
        let recorded = payment.settled.as_ref().map(|s| &s.transaction);
        let same = payment.state == state && recorded == transaction.as_ref();
        return if same {
            Ok(payment)
        } else {
            Err(conflict(&payment, "end it another way"))
        };
    }
    let evidence = settled.as_ref().map(text).transpose()?;
    let (code, message) = refusal.unzip();
    let update = sqlx::query(
        "UPDATE payments SET state = $2, is_open = 0, settled = $3,
             transaction_id = COALESCE($4, transaction_id), refusal_code = $5,
             refusal_message = $6, updated_at = $7 WHERE id = $1",
    )
    .bind(id.to_string())
    .bind(state.as_str())
    .bind(evidence)
    .bind(transaction.map(|t| t.to_string()))
    .bind(code.clone())
    .bind(message)
    .bind(millis(now));
    step.run(update).await?;
    let facts = json!({ "evidence": settled, "code": code });
    step.tell(id.as_str(), state.as_str(), facts, now).await?;
    load(step, &id).await
}

/// A payment that a slot of ours carried waits on that slot again; one that
/// somebody else sent waits without.
pub(super) async fn take_back(
    step: &mut Step,
    id: PaymentId,
    reason: String,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let payment = load(step, &id).await?;
    if payment.state != PaymentState::Settled || payment.settled.is_none() {
        return Err(conflict(&payment, "take it back"));
    }
    let state = match &payment.slot {
        Some(slot) => {
            super::slots::open_again(step, slot).await?;
            PaymentState::Submitted
        }
        None => PaymentState::Accepted,
    };
    let update = sqlx::query(
        "UPDATE payments SET state = $2, is_open = 1, settled = NULL, updated_at = $3 WHERE id = $1",
    )
    .bind(id.to_string())
    .bind(state.as_str())
    .bind(millis(now));
    step.run(update).await?;
    step.tell(id.as_str(), "taken_back", json!({ "reason": reason }), now)
        .await
}

pub(super) async fn hand_out(
    step: &mut Step,
    id: PaymentId,
    key: Option<String>,
    now: Timestamp,
) -> Result<HandOut, LedgerError> {
    let row = step.find(by_id(&id)).await?;
    let row = row.ok_or_else(|| LedgerError::NotFound(id.to_string()))?;
    let payment = record(&row)?;
    if payment.state != PaymentState::Settled {
        return Err(conflict(&payment, "hand out success"));
    }
    let columns = Columns(&row);
    if columns.opt_integer("handed_out_at")?.is_some() {
        let first = columns.opt_text("handed_out_key")?;
        let again = key.is_some() && key == first;
        return Ok(if again {
            HandOut::Again
        } else {
            HandOut::Duplicate
        });
    }
    let update =
        sqlx::query("UPDATE payments SET handed_out_at = $2, handed_out_key = $3 WHERE id = $1")
            .bind(id.to_string())
            .bind(millis(now))
            .bind(key);
    step.run(update).await?;
    step.tell(id.as_str(), "handed_out", json!({}), now).await?;
    Ok(HandOut::First)
}
