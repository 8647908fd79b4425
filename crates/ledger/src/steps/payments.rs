//! The steps of payments until they end.

use std::sync::Arc;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use tollway_core::{Identity, Network, PaymentId, Proof, Timestamp, mistake};

use super::{fresh_name, passes, slots, transfers};
use crate::failure::corrupt;
use crate::sql::{Row, Statement, json as text, millis, sql};
use crate::store::Step;
use crate::{
    Acceptance, LedgerError, NewPayment, PaymentFilter, PaymentRecord, PaymentState, ReplicaId,
    SlotRef,
};

/// Most payments that one listing gives.
pub(crate) const PAGE: u32 = 1_000;

/// An identity as it is stored: short, however long its text is.
pub(crate) fn digest(identity: &Identity) -> Vec<u8> {
    Sha256::digest(identity.key()).to_vec()
}

pub(crate) fn by_id(id: &PaymentId) -> Statement {
    sql("SELECT * FROM payments WHERE id = $1").bind(id.to_string())
}

pub(crate) fn by_identity(identity: &Identity) -> Statement {
    sql("SELECT * FROM payments WHERE identity = $1").bind(digest(identity))
}

/// What is open, of one replica or of all. In no order: a sorted question would
/// walk through all that ever was, in place of the few that are open.
pub(crate) fn open(replica: Option<&ReplicaId>) -> Statement {
    match replica {
        Some(replica) => sql("SELECT * FROM payments WHERE is_open = 1 AND replica = $1")
            .bind(replica.to_string()),
        None => sql("SELECT * FROM payments WHERE is_open = 1"),
    }
}

/// What one listing gives of what was asked for.
pub(crate) fn page(limit: u32) -> i64 {
    let limit = if limit == 0 { PAGE } else { limit };
    i64::from(limit.min(PAGE))
}

/// Newest first; with a plus before it, without the index over all.
macro_rules! newest {
    ($condition:literal, $plus:literal) => {
        concat!(
            "SELECT * FROM payments WHERE ",
            $condition,
            $plus,
            "accepted_at < $1 ORDER BY ",
            $plus,
            "accepted_at DESC, seq DESC LIMIT $2"
        )
    };
}

pub(crate) fn listed(filter: &PaymentFilter) -> Statement {
    // Each in the words of the partial index that answers it.
    let question = match filter.state {
        None => newest!("", ""),
        Some(PaymentState::Accepted) => newest!("is_open = 1 AND state = 'accepted' AND ", "+"),
        Some(PaymentState::Submitted) => newest!("is_open = 1 AND state = 'submitted' AND ", "+"),
        Some(PaymentState::Settled) => newest!("state = 'settled' AND ", ""),
        Some(PaymentState::Refused) => {
            newest!(
                "state IN ('refused', 'expired') AND state = 'refused' AND ",
                ""
            )
        }
        Some(PaymentState::Expired) => {
            newest!(
                "state IN ('refused', 'expired') AND state = 'expired' AND ",
                ""
            )
        }
    };
    sql(question)
        .bind(filter.before.map_or(i64::MAX, millis))
        .bind(page(filter.limit))
}

pub(crate) fn record(row: &Row) -> Result<PaymentRecord, LedgerError> {
    let state = row.word("state", PaymentState::from_word)?;
    let has_attempt = matches!(state, PaymentState::Submitted | PaymentState::Settled);
    Ok(PaymentRecord {
        id: PaymentId::from_text(row.text("id")?),
        payment: accepted(row)?,
        state,
        replica: row.opt_text("replica")?.map(ReplicaId::from_text),
        attempts: u32::try_from(row.number("attempts")?).unwrap_or(u32::MAX),
        slot: if has_attempt { slot_ref(row)? } else { None },
        transaction: row.opt_hash("transaction_id")?,
        settled: row.opt_json("settled")?,
        refusal: row.refusal()?,
        is_handed_out: row.opt_integer("handed_out_at")?.is_some(),
        is_watched: row.flag("is_watched")?,
        accepted_at: row.time("accepted_at")?,
        updated_at: row.time("updated_at")?,
    })
}

fn accepted(row: &Row) -> Result<NewPayment, LedgerError> {
    let payload: Arc<_> = Arc::new(row.json::<tollway_core::wire::PaymentPayload>("payload")?);
    let requirements = match row.opt_json("requirements")? {
        Some(requirements) => requirements,
        None => payload.accepted.clone(),
    };
    Ok(NewPayment {
        identity: row.identity()?,
        expected: row.expected()?,
        deadline: row.time("deadline")?,
        settlement: row.json("settlement")?,
        finality: row.parsed("finality")?,
        payload,
        requirements: Arc::new(requirements),
        caller: row.opt_text("caller")?,
        opener: row.opt_text("opener")?,
    })
}

fn slot_ref(row: &Row) -> Result<Option<SlotRef>, LedgerError> {
    match row.opt_number("slot_nonce")? {
        None => Ok(None),
        Some(nonce) => Ok(Some((
            row.network("slot_network")?,
            row.address("slot_signer")?,
            nonce,
        ))),
    }
}

pub(crate) async fn load(step: &mut Step, id: &PaymentId) -> Result<PaymentRecord, LedgerError> {
    match step.find(by_id(id)).await? {
        Some(row) => record(&row),
        None => Err(LedgerError::NotFound(id.to_string())),
    }
}

/// Where a payment stands: all that most steps need of it.
pub(crate) struct Standing {
    id: PaymentId,
    pub network: Network,
    pub state: PaymentState,
    replica: Option<ReplicaId>,
    pub slot: Option<SlotRef>,
}

pub(crate) async fn standing(step: &mut Step, id: &PaymentId) -> Result<Standing, LedgerError> {
    let found = sql(
        "SELECT network, state, replica, slot_network, slot_signer, slot_nonce FROM payments
         WHERE id = $1",
    );
    let found = step.find(found.bind(id.to_string())).await?;
    let row = found.ok_or_else(|| LedgerError::NotFound(id.to_string()))?;
    Ok(Standing {
        id: id.clone(),
        network: row.network("network")?,
        state: row.word("state", PaymentState::from_word)?,
        replica: row.opt_text("replica")?.map(ReplicaId::from_text),
        slot: slot_ref(&row)?,
    })
}

impl Standing {
    pub fn conflict(&self, step: &'static str) -> LedgerError {
        conflict(&self.id, self.state, step)
    }

    /// Refuses what a replica wants to do to another one's payment.
    pub fn check_owner(
        &self,
        acting: Option<&ReplicaId>,
        step: &'static str,
    ) -> Result<(), LedgerError> {
        check_owner(&self.id, self.replica.as_ref(), acting, step)
    }

    pub const fn is_open(&self) -> bool {
        matches!(self.state, PaymentState::Accepted | PaymentState::Submitted)
    }
}

pub(crate) fn conflict(id: &PaymentId, state: PaymentState, step: &'static str) -> LedgerError {
    LedgerError::Conflict {
        subject: id.to_string(),
        state: state.to_string(),
        step,
    }
}

pub(crate) fn check_owner(
    id: &PaymentId,
    owner: Option<&ReplicaId>,
    acting: Option<&ReplicaId>,
    step: &'static str,
) -> Result<(), LedgerError> {
    match (owner, acting) {
        (Some(owner), Some(acting)) if owner != acting => Err(LedgerError::Conflict {
            subject: id.to_string(),
            state: "held by another replica".to_owned(),
            step,
        }),
        _ => Ok(()),
    }
}

pub(crate) async fn accept(
    step: &mut Step,
    new: &NewPayment,
    acting: Option<&ReplicaId>,
    now: Timestamp,
) -> Result<Acceptance, LedgerError> {
    let accepted = PaymentRecord {
        id: PaymentId::from_text(fresh_name("pay", now)?),
        payment: new.clone(),
        state: PaymentState::Accepted,
        replica: acting.cloned(),
        attempts: 0,
        slot: None,
        transaction: None,
        settled: None,
        refusal: None,
        is_handed_out: false,
        is_watched: false,
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
        "caller": accepted.payment.caller,
    });
    step.tell(accepted.id.as_str(), "accepted", facts, now)
        .await?;
    Ok(Acceptance::New(accepted))
}

fn insertion(accepted: &PaymentRecord) -> Result<Statement, LedgerError> {
    let payment = &accepted.payment;
    let identity = &payment.identity;
    let expected = &payment.expected;
    let key = match mistake::is("dedupe_by_bytes") {
        true => Sha256::digest(text(&*payment.payload)?).to_vec(),
        false => digest(identity),
    };
    // What was asked for is mostly what the payload says it accepts.
    let requirements = (*payment.requirements != payment.payload.accepted)
        .then(|| text(&*payment.requirements))
        .transpose()?;
    Ok(sql(
        "INSERT INTO payments (id, identity, network, scope, payer, nonce, asset,
             from_account, to_account, amount, deadline, settlement, finality, payload,
             requirements, caller, opener, replica, state, is_open, is_watched, attempts,
             accepted_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
             $18, 'accepted', 1, 0, 0, $19, $19)
         ON CONFLICT DO NOTHING",
    )
    .bind(accepted.id.to_string())
    .bind(key)
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
    .bind(text(&*payment.payload)?)
    .bind(requirements)
    .bind(payment.caller.clone())
    .bind(payment.opener.clone())
    .bind(accepted.replica.as_ref().map(ToString::to_string))
    .bind(millis(accepted.accepted_at)))
}

pub(crate) async fn reopen(
    step: &mut Step,
    id: &PaymentId,
    proof: &Proof,
    acting: Option<&ReplicaId>,
    now: Timestamp,
) -> Result<(), LedgerError> {
    const WHAT: &str = "open a new attempt";
    let payment = standing(step, id).await?;
    payment.check_owner(acting, WHAT)?;
    if payment.state != PaymentState::Submitted {
        return Err(payment.conflict(WHAT));
    }
    let update = sql(
        "UPDATE payments SET state = 'accepted', slot_network = NULL, slot_signer = NULL,
             slot_nonce = NULL, updated_at = $2 WHERE id = $1",
    );
    step.run(update.bind(id.to_string()).bind(millis(now)))
        .await?;
    step.tell(id.as_str(), "reopened", json!({ "proof": proof }), now)
        .await
}

/// A payment that a slot of ours carried waits on that slot again; one that
/// somebody else sent waits without.
pub(crate) async fn take_back(
    step: &mut Step,
    id: &PaymentId,
    reason: &str,
    acting: Option<&ReplicaId>,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let payment = load(step, id).await?;
    if payment.state != PaymentState::Settled || payment.settled.is_none() {
        return Err(conflict(id, payment.state, "take it back"));
    }
    let state = match &payment.slot {
        Some(slot) => {
            slots::open_again(step, slot).await?;
            PaymentState::Submitted
        }
        None => PaymentState::Accepted,
    };
    let owner = acting.or(payment.replica.as_ref());
    let update = sql(
        "UPDATE payments SET state = $2, is_open = 1, is_watched = 0, settled = NULL,
             replica = $3, updated_at = $4 WHERE id = $1",
    )
    .bind(id.to_string())
    .bind(state.as_str())
    .bind(owner.map(ToString::to_string))
    .bind(millis(now));
    step.run(update).await?;
    transfers::free(step, &payment).await?;
    passes::taken_back(step, &payment.payment.identity, now).await?;
    step.tell(id.as_str(), "taken_back", json!({ "reason": reason }), now)
        .await
}

/// Settled payments that may still be reorganised away.
pub(crate) fn watched(network: &Network, after: Option<&PaymentId>, limit: u32) -> Statement {
    sql(
        "SELECT * FROM payments WHERE is_watched = 1 AND network = $1 AND id > $2
         ORDER BY id LIMIT $3",
    )
    .bind(network.to_string())
    .bind(after.map_or_else(String::new, ToString::to_string))
    .bind(page(limit))
}

/// The same, of one replica and of those that nobody alive works on.
pub(crate) fn watched_by(
    network: &Network,
    after: Option<&PaymentId>,
    limit: u32,
    replica: &ReplicaId,
    now: Timestamp,
) -> Statement {
    sql(
        "SELECT * FROM payments WHERE is_watched = 1 AND network = $1 AND id > $2
             AND (replica IS NULL OR replica = $4 OR replica NOT IN (
                 SELECT id FROM replicas WHERE alive_until > $5))
         ORDER BY id LIMIT $3",
    )
    .bind(network.to_string())
    .bind(after.map_or_else(String::new, ToString::to_string))
    .bind(page(limit))
    .bind(replica.to_string())
    .bind(millis(now))
}

pub(crate) async fn mark_final(
    step: &mut Step,
    ids: &[PaymentId],
    now: Timestamp,
) -> Result<(), LedgerError> {
    for id in ids {
        let update = sql("UPDATE payments SET is_watched = 0 WHERE id = $1 AND is_watched = 1");
        if step.run(update.bind(id.to_string())).await? == 1 {
            step.tell(id.as_str(), "final", json!({}), now).await?;
        }
    }
    Ok(())
}
