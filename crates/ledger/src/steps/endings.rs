//! How payments end, and who is told of success.

use serde_json::json;
use tollway_core::{PaymentId, Settled, Timestamp, TxHash, codes, mistake};

use super::payments::{by_id, check_owner, conflict, record};
use super::{passes, transfers};
use crate::sql::{Row, json as text, millis, sql};
use crate::store::Step;
use crate::{
    Conclusion, Ended, Ending, HandOut, LedgerError, PaymentRecord, PaymentState, ReplicaId,
};

/// How a conclusion ends a payment.
struct End {
    state: PaymentState,
    settled: Option<Settled>,
    /// The transaction that it is told of.
    transaction: Option<TxHash>,
    refusal: Option<(String, String)>,
}

impl End {
    fn of(conclusion: Conclusion) -> Self {
        let (state, settled, refusal) = match conclusion {
            Conclusion::Settled(settled) => (PaymentState::Settled, Some(settled), None),
            Conclusion::SettledWithoutTransaction => (PaymentState::Settled, None, None),
            Conclusion::Refused { code, message } => {
                (PaymentState::Refused, None, Some((code, message)))
            }
            Conclusion::Expired => (PaymentState::Expired, None, Some(expired())),
        };
        Self {
            state,
            transaction: settled.as_ref().map(|s: &Settled| s.transaction.clone()),
            settled,
            refusal,
        }
    }

    /// The transfer that was taken for its own is another payment's. Nobody is
    /// told to sign anew for it: the answer names the transaction, without terms.
    fn of_anothers(settled: &Settled) -> Self {
        Self {
            state: PaymentState::Refused,
            settled: None,
            transaction: Some(settled.transaction.clone()),
            refusal: Some((
                codes::DUPLICATE_SETTLEMENT.to_owned(),
                "The transfer that this payment rests on was counted for another payment; look at the named transaction, and show it to the seller.".to_owned(),
            )),
        }
    }
}

fn expired() -> (String, String) {
    (
        "payment_expired".to_owned(),
        "The authorization's time passed before it was settled; sign a new one.".to_owned(),
    )
}

async fn load(step: &mut Step, id: &PaymentId) -> Result<(Row, PaymentRecord), LedgerError> {
    match step.find(by_id(id)).await? {
        Some(row) => {
            let payment = record(&row)?;
            Ok((row, payment))
        }
        None => Err(LedgerError::NotFound(id.to_string())),
    }
}

/// Each for itself: whatever refuses an ending refuses it before it writes.
pub(crate) async fn conclude_all(
    step: &mut Step,
    endings: &[Ending],
    acting: Option<&ReplicaId>,
    now: Timestamp,
) -> Result<Vec<Ended>, LedgerError> {
    let mut all = Vec::with_capacity(endings.len());
    for ending in endings {
        match conclude_one(step, ending, acting, now).await {
            Err(error) if error.is_storage() => return Err(error),
            ended => all.push(ended),
        }
    }
    Ok(all)
}

async fn conclude_one(
    step: &mut Step,
    ending: &Ending,
    acting: Option<&ReplicaId>,
    now: Timestamp,
) -> Ended {
    let (row, mut payment) = load(step, &ending.id).await?;
    let key = ending.hand_out.as_ref().map(Option::as_deref);
    let was_told = payment.is_handed_out;
    end(
        step,
        &mut payment,
        ending.conclusion.clone(),
        key,
        acting,
        now,
    )
    .await?;
    let told = match key {
        Some(_) if !was_told && payment.is_handed_out => Some(HandOut::First),
        Some(key) if payment.state == PaymentState::Settled => {
            Some(tell(step, &row, &mut payment, key, now).await?)
        }
        _ => None,
    };
    Ok((payment, told))
}

/// Ends a payment in the ledger and in the record; tells of success at once if
/// somebody waits who is the first.
async fn end(
    step: &mut Step,
    payment: &mut PaymentRecord,
    conclusion: Conclusion,
    hand_out: Option<Option<&str>>,
    acting: Option<&ReplicaId>,
    now: Timestamp,
) -> Result<(), LedgerError> {
    const WHAT: &str = "end it another way";
    let end = End::of(conclusion);
    if !matches!(
        payment.state,
        PaymentState::Accepted | PaymentState::Submitted
    ) {
        let recorded = payment.settled.as_ref().map(|s| &s.transaction);
        let same =
            payment.state == end.state && recorded == end.settled.as_ref().map(|s| &s.transaction);
        return if same {
            Ok(())
        } else {
            Err(conflict(&payment.id, payment.state, WHAT))
        };
    }
    let end = match &end.settled {
        Some(settled) if !count(step, payment, settled).await? => End::of_anothers(settled),
        _ => end,
    };
    // That the money moved is a fact, whoever saw it.
    if end.settled.is_none() {
        check_owner(&payment.id, payment.replica.as_ref(), acting, WHAT)?;
    }
    let evidence = end.settled.as_ref().map(text).transpose()?;
    let (code, message) = end.refusal.clone().unzip();
    let is_settled = end.state == PaymentState::Settled;
    let first =
        hand_out.filter(|key| is_settled && !payment.is_handed_out && may_hear(payment, *key));
    let update = sql(
        "UPDATE payments SET state = $2, is_open = 0, is_watched = $3, settled = $4,
             transaction_id = COALESCE($5, transaction_id), refusal_code = $6,
             refusal_message = $7, updated_at = $8,
             handed_out_at = COALESCE(handed_out_at, $9),
             handed_out_key = COALESCE(handed_out_key, $10) WHERE id = $1",
    )
    .bind(payment.id.to_string())
    .bind(end.state.as_str())
    .bind(i64::from(end.settled.is_some()))
    .bind(evidence)
    .bind(end.transaction.as_ref().map(ToString::to_string))
    .bind(code.clone())
    .bind(message)
    .bind(millis(now))
    .bind(first.map(|_| millis(now)))
    .bind(first.flatten().map(str::to_owned));
    step.run(update).await?;
    let mut facts = json!({ "evidence": end.settled, "code": code });
    if end.settled.is_none() {
        facts["transaction"] = json!(end.transaction);
    }
    step.tell(payment.id.as_str(), end.state.as_str(), facts, now)
        .await?;
    if first.is_some() {
        step.tell(payment.id.as_str(), "handed_out", json!({}), now)
            .await?;
        payment.is_handed_out = true;
    }
    let identity = &payment.payment.identity;
    if is_settled {
        passes::settled_again(step, identity, now).await?;
    } else {
        passes::failed(step, identity, &code.unwrap_or_default(), now).await?;
    }
    ended(payment, end, now);
    Ok(())
}

/// Counts the log that a payment was settled by; false if it is another's.
async fn count(
    step: &mut Step,
    payment: &PaymentRecord,
    settled: &Settled,
) -> Result<bool, LedgerError> {
    let (transaction, index) = (&settled.transaction, settled.log_index);
    transfers::count(step, payment.into(), transaction, index).await
}

fn ended(payment: &mut PaymentRecord, end: End, now: Timestamp) {
    if let Some(transaction) = end.transaction {
        payment.transaction = Some(transaction);
    }
    if end.state != PaymentState::Settled {
        payment.slot = None;
    }
    payment.state = end.state;
    payment.is_watched = end.settled.is_some();
    payment.settled = end.settled;
    payment.refusal = end.refusal;
    payment.updated_at = now;
}

pub(crate) async fn hand_out(
    step: &mut Step,
    id: &PaymentId,
    key: Option<&str>,
    now: Timestamp,
) -> Result<HandOut, LedgerError> {
    let (row, mut payment) = load(step, id).await?;
    if payment.state != PaymentState::Settled {
        return Err(conflict(id, payment.state, "hand out success"));
    }
    tell(step, &row, &mut payment, key, now).await
}

/// Success of a payment that was opened with a key is for that key alone: the
/// payment itself is public once it is on chain.
fn may_hear(payment: &PaymentRecord, key: Option<&str>) -> bool {
    let opener = payment.payment.opener.as_deref();
    opener.is_none() || key == opener
}

/// Decides who is told of success; `row` is from before this step.
async fn tell(
    step: &mut Step,
    row: &Row,
    payment: &mut PaymentRecord,
    key: Option<&str>,
    now: Timestamp,
) -> Result<HandOut, LedgerError> {
    if !may_hear(payment, key) {
        return Ok(HandOut::Duplicate);
    }
    if payment.is_handed_out && !mistake::is("success_twice") {
        let first = row.opt_text("handed_out_key")?;
        let again = key.is_some() && key == first.as_deref();
        return Ok(if again {
            HandOut::Again
        } else {
            HandOut::Duplicate
        });
    }
    let update = sql("UPDATE payments SET handed_out_at = $2, handed_out_key = $3 WHERE id = $1")
        .bind(payment.id.to_string())
        .bind(millis(now))
        .bind(key.map(str::to_owned));
    step.run(update).await?;
    step.tell(payment.id.as_str(), "handed_out", json!({}), now)
        .await?;
    payment.is_handed_out = true;
    Ok(HandOut::First)
}
