//! What ends the grants that nobody waits for any more.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tollway_core::wire::SettleResponse;
use tollway_core::{GrantId, Lookup, PaymentFlow, Timestamp, codes};
use tollway_ledger::{Evidence, GrantRecord, GrantState, LedgerError, PaymentState, Release};

use super::authorization::{self, give_back, release};
use super::background;
use super::settle::{of_anothers, recorded_evidence};
use super::upfront::settled_first;
use crate::gate::{Active, Inner, StartReport};
use crate::pass;
use crate::purchase::{BACKGROUND, METERED};
use crate::telemetry;

/// How often the keeper looks.
const EVERY: Duration = Duration::from_secs(15);
/// After the deadline, how long an unused nonce may still be a late block.
const LATE_BLOCK: Duration = Duration::from_secs(60);
/// How long a refused grant for which nothing was submitted is remembered.
const KEEP_REFUSED: Duration = Duration::from_secs(60 * 60);

/// Starts the keeper. It ends with the gate, or when another takes its place.
pub(crate) fn keep(gate: &Arc<Inner>) {
    if let Some(passes) = &gate.passes {
        // Whose feed goes over to another gate, whose it is then.
        if passes.feed.is_unheard() {
            let clock = Arc::clone(&gate.clock);
            let store = Arc::clone(&passes.store);
            tokio::spawn(pass::follow(
                Arc::downgrade(&passes.feed),
                store,
                move || clock.now(),
            ));
        }
        if let Some(webhook) = passes.webhook.clone() {
            tokio::spawn(pass::tell_all(Arc::downgrade(gate), webhook));
        }
    }
    let replaced = gate.replaced.clone();
    let gate: Weak<Inner> = Arc::downgrade(gate);
    tokio::spawn(async move {
        loop {
            let waited = replaced
                .run_until_cancelled(tokio::time::sleep(EVERY))
                .await;
            if waited.is_none() {
                return;
            }
            let Some(gate) = gate.upgrade() else { return };
            let passed = async {
                refuse_orphans(&gate).await?;
                pass(&gate).await
            };
            if let Err(error) = passed.await {
                tracing::error!(%error, "unknown settlements could not be looked up");
            }
        }
    });
}

/// Ends what dead processes left before settling, and looks up the rest.
pub(crate) async fn recover(gate: &Arc<Inner>) -> Result<StartReport, LedgerError> {
    let orphans_refused = refuse_orphans(gate).await? + refuse_unaccepted(gate).await?;
    let still_open = pass(gate).await?;
    Ok(StartReport {
        orphans_refused,
        still_open,
        ..StartReport::default()
    })
}

/// Where several gates share a ledger, any of them may die at any time.
async fn refuse_orphans(gate: &Inner) -> Result<u64, LedgerError> {
    gate.noted(gate.grants.refuse_orphans(&gate.alive, gate.now()).await)
}

/// Ends what a dead process was about to settle and its engine never accepted:
/// nothing was sent for it, nor will be.
async fn refuse_unaccepted(gate: &Arc<Inner>) -> Result<u64, LedgerError> {
    let Some(engine) = gate.settlements.as_ref().filter(|engine| engine.alone) else {
        return Ok(0);
    };
    let mut refused = 0;
    for record in gate.noted(gate.grants.open_grants().await)? {
        if resumes(&record) || record.state != GrantState::Settling || record.receipt.is_some() {
            continue;
        }
        // What a living process is about to settle may be accepted any moment.
        if gate.alive.contains(&record.grant.owner) {
            continue;
        }
        let Some((record, _active)) = taken(gate, &record.id).await? else {
            continue;
        };
        let identity = &record.grant.identity;
        let accepted = gate.noted(engine.store.payment_by_identity(identity).await)?;
        if accepted.is_some() {
            continue;
        }
        let message = "The server stopped before it could settle; send the same payment again.";
        let step = gate
            .grants
            .refuse(&record.id, "server_stopped", message, true, gate.now());
        gate.noted(step.await)?;
        refused += 1;
    }
    Ok(refused)
}

/// The engine's own record says that a payment ended without money: so does its
/// grant, whoever died before he could say so. Whether that was so.
async fn refused_by_engine(gate: &Inner, record: &GrantRecord) -> Result<bool, LedgerError> {
    let Some(engine) = &gate.settlements else {
        return Ok(false);
    };
    let identity = &record.grant.identity;
    let payment = gate.noted(engine.store.payment_by_identity(identity).await)?;
    let Some(payment) = payment else {
        return Ok(false);
    };
    let (code, message) = match (payment.state, payment.refusal) {
        (PaymentState::Refused, Some(refusal)) => refusal,
        (PaymentState::Expired, _) => (
            codes::AUTHORIZATION_EXPIRED.to_owned(),
            "The authorization expired unused and no money moved; sign a new payment.".to_owned(),
        ),
        _ => return Ok(false),
    };
    not_ended_by_others(gate.noted(refuse(gate, record, &code, &message).await))
}

fn before(now: Timestamp, by: Duration) -> Timestamp {
    let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
    Timestamp::from_millis(now.millis().saturating_sub(by))
}

/// A grant to work on: nobody else of this process does, and its owner is this
/// process or a dead one, whose it is no more.
pub(super) async fn taken(
    gate: &Arc<Inner>,
    id: &GrantId,
) -> Result<Option<(GrantRecord, Active)>, LedgerError> {
    let Some(active) = gate.activate(id) else {
        return Ok(None);
    };
    let taking = gate
        .grants
        .take_over(id, &gate.owner, &gate.alive, gate.now());
    let record = gate.noted(taking.await)?;
    Ok(record.map(|record| (record, active)))
}

/// Whether something has left that is to be settled, and the ledger keeps what.
fn resumes(record: &GrantRecord) -> bool {
    let is_metered = record.grant.flow == METERED && record.state == GrantState::Settling;
    record.grant.flow == BACKGROUND || is_metered
}

/// Whether nothing more happens to a grant.
pub(super) fn has_ended(record: &GrantRecord) -> bool {
    matches!(record.state, GrantState::Released | GrantState::Refused)
}

/// Looks up every settlement that nobody works on; returns how many are still
/// unknown. What this process began and does not work on any more, since the
/// ledger failed or the task broke down, is given back.
async fn pass(gate: &Arc<Inner>) -> Result<usize, LedgerError> {
    let now = gate.now();
    let kept_since = before(now, gate.limits.keep_answers);
    gate.noted(gate.grants.forget_answers(kept_since).await)?;
    let refused_since = before(now, KEEP_REFUSED);
    gate.noted(gate.grants.forget_refused(refused_since).await)?;
    if let Some(passes) = &gate.passes {
        gate.noted(passes.store.forget_passes(kept_since, now).await)?;
    }
    let open = gate.noted(gate.grants.open_grants().await)?;
    let unsettled = |record: &&GrantRecord| may_be_paid(record) && success(record).is_none();
    let unsettled = open.iter().filter(unsettled);
    telemetry::open_settlements(unsettled.map(|record| now.since(record.claimed_at)));
    let mut unknown = 0;
    for record in &open {
        if !may_be_paid(record) && record.grant.owner != gate.owner {
            continue;
        }
        let Some((record, active)) = taken(gate, &record.id).await? else {
            continue;
        };
        if has_ended(&record) {
            continue;
        }
        if resumes(&record) {
            unknown += 1;
            background::resume(gate, record, active).await?;
            continue;
        }
        if !may_be_paid(&record) {
            give_back(gate, &record, "server_stopped").await;
        } else if !end(gate, &record).await? {
            unknown += 1;
        }
    }
    telemetry::unknown_settlements(unknown);
    Ok(unknown)
}

/// Ends a grant whose settlement is known to its record or to the chain;
/// whether that was so.
pub(super) async fn end(gate: &Inner, record: &GrantRecord) -> Result<bool, LedgerError> {
    if let Some(receipt) = success(record) {
        let evidence = recorded_evidence(gate, record, &receipt);
        return not_ended_by_others(gate.noted(close(gate, record, &evidence, &receipt).await));
    }
    if refused_by_engine(gate, record).await? {
        return Ok(true);
    }
    let grant = &record.grant;
    let Some(used) = gate.chains.get(&grant.identity.network) else {
        return Ok(false);
    };
    let looked = used
        .chain
        .lookup(
            &grant.identity,
            &grant.expected,
            gate.finality_of(&grant.route),
        )
        .await;
    let ended = match looked {
        Ok(Lookup::Settled(settled)) => {
            let receipt = SettleResponse {
                success: true,
                payer: Some(grant.identity.payer.to_string()),
                transaction: settled.transaction.to_string(),
                network: grant.identity.network.to_string(),
                ..SettleResponse::default()
            };
            let evidence = Evidence::Receipt {
                transaction: settled.transaction,
                log_index: settled.log_index,
            };
            close(gate, record, &evidence, &receipt).await
        }
        Ok(Lookup::Spent) => {
            refuse(
                gate,
                record,
                codes::INVALID_TRANSACTION_STATE,
                "The authorization was used or cancelled elsewhere; pay anew.",
            )
            .await
        }
        Ok(Lookup::Unused { as_of }) if as_of > grant.deadline.plus(LATE_BLOCK) => {
            refuse(
                gate,
                record,
                codes::AUTHORIZATION_EXPIRED,
                "The authorization expired unused; pay anew.",
            )
            .await
        }
        Ok(Lookup::Unused { .. } | Lookup::Unknown) | Err(_) => return Ok(false),
    };
    not_ended_by_others(gate.noted(ended))
}

fn not_ended_by_others(ended: Result<bool, LedgerError>) -> Result<bool, LedgerError> {
    match ended {
        Err(LedgerError::Conflict { .. }) => Ok(true),
        other => other,
    }
}

/// The receipt of a grant that was paid before it was served.
pub(super) fn success(record: &GrantRecord) -> Option<SettleResponse> {
    let receipt: SettleResponse = serde_json::from_value(record.receipt.clone()?).ok()?;
    receipt.success.then_some(receipt)
}

/// Writes down that a grant is paid. Who paid before being served, and named
/// the purchase, may still ask for it: such a grant stays open.
pub(super) async fn close(
    gate: &Inner,
    record: &GrantRecord,
    evidence: &Evidence,
    receipt: &SettleResponse,
) -> Result<bool, LedgerError> {
    if waits_for_its_buyer(gate, record) {
        let is_new = success(record).is_none();
        if is_new && !settled_first(gate, record, evidence, receipt).await? {
            return not_its_own(gate, record, receipt).await;
        }
        return Ok(false);
    }
    if settles_first(record) && record.state == GrantState::Settling {
        gate.grants
            .served(&record.id, None, None, gate.now())
            .await?;
    }
    match release(gate, record, evidence, receipt).await? {
        Release::Released(_) => Ok(true),
        Release::Anothers => not_its_own(gate, record, receipt).await,
    }
}

/// Ends a grant whose success rests on another payment's transfer.
async fn not_its_own(
    gate: &Inner,
    record: &GrantRecord,
    receipt: &SettleResponse,
) -> Result<bool, LedgerError> {
    let (refusal, receipt) = of_anothers(&record.id, receipt);
    let why = (refusal.code(), refusal.message());
    authorization::refuse(gate, record, why, false, Some(&receipt)).await?;
    Ok(true)
}

/// Whether the money of an open grant may have moved.
pub(super) fn may_be_paid(record: &GrantRecord) -> bool {
    match record.state {
        GrantState::Settling => true,
        GrantState::Served => settles_first(record),
        _ => false,
    }
}

pub(super) fn settles_first(record: &GrantRecord) -> bool {
    record.grant.flow == PaymentFlow::Upfront.as_str()
}

async fn refuse(
    gate: &Inner,
    record: &GrantRecord,
    code: &str,
    message: &str,
) -> Result<bool, LedgerError> {
    gate.grants
        .refuse(&record.id, code, message, false, gate.now())
        .await
        .map(|()| true)
}

fn waits_for_its_buyer(gate: &Inner, record: &GrantRecord) -> bool {
    settles_first(record)
        && !record.has_answer
        && record.grant.payment_identifier.is_some()
        && gate.now() < record.claimed_at.plus(gate.limits.keep_answers)
}
