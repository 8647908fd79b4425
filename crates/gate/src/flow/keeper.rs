//! What ends the grants that nobody waits for any more.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tollway_core::wire::SettleResponse;
use tollway_core::{Finality, Lookup, PaymentFlow, codes};
use tollway_ledger::{Evidence, GrantRecord, GrantState, LedgerError};

use crate::gate::{Inner, StartReport};

/// How often the keeper looks.
const EVERY: Duration = Duration::from_secs(15);
/// After the deadline, how long an unused nonce may still be a late block.
const LATE_BLOCK: Duration = Duration::from_secs(60);

/// Starts the keeper. It ends with the gate.
pub(crate) fn keep(gate: &Arc<Inner>) {
    let gate: Weak<Inner> = Arc::downgrade(gate);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(EVERY).await;
            let Some(gate) = gate.upgrade() else { return };
            if let Err(error) = pass(&gate).await {
                tracing::error!(%error, "unknown settlements could not be looked up");
            }
        }
    });
}

/// Ends what dead processes left before settling, and looks up the rest.
pub(crate) async fn recover(gate: &Arc<Inner>) -> Result<StartReport, LedgerError> {
    let refused = gate.grants.refuse_orphans(&gate.alive, gate.now()).await;
    let orphans_refused = gate.noted(refused)?;
    let still_open = pass(gate).await?;
    Ok(StartReport {
        orphans_refused,
        still_open,
        ..StartReport::default()
    })
}

/// Looks up every settlement that nobody here works on; returns how many are
/// still unknown.
async fn pass(gate: &Arc<Inner>) -> Result<usize, LedgerError> {
    let now = gate.now();
    let kept_since = now
        .millis()
        .saturating_sub(u64::try_from(gate.limits.keep_answers.as_millis()).unwrap_or(u64::MAX));
    let kept_since = tollway_core::Timestamp::from_millis(kept_since);
    gate.noted(gate.grants.forget_answers(kept_since).await)?;
    let open = gate.noted(gate.grants.open_grants().await)?;
    let mut unknown = 0;
    for record in open.iter().filter(|r| r.state == GrantState::Settling) {
        let Some(active) = gate.activate(&record.id) else {
            continue;
        };
        if !look_up(gate, record).await? {
            unknown += 1;
        }
        drop(active);
    }
    metrics::gauge!("tollway_gate_unknown_settlements")
        .set(u32::try_from(unknown).unwrap_or(u32::MAX));
    Ok(unknown)
}

/// Asks the chain what became of a settlement; whether that ended the grant.
async fn look_up(gate: &Inner, record: &GrantRecord) -> Result<bool, LedgerError> {
    let grant = &record.grant;
    let Some(used) = gate.chains.get(&grant.identity.network) else {
        return Ok(false);
    };
    let looked = used
        .chain
        .lookup(&grant.identity, &grant.expected, Finality::Included)
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
            let receipt = serde_json::to_value(&receipt).unwrap_or_default();
            // Who paid before being served and named the purchase may still
            // ask for it; the payment is only noted.
            if waits_for_its_buyer(gate, record) {
                gate.grants
                    .remember_receipt(&record.id, &receipt, gate.now())
                    .await
                    .map(|()| false)
            } else {
                let evidence = Evidence::Receipt {
                    transaction: settled.transaction,
                };
                gate.grants
                    .release(&record.id, &evidence, &receipt, gate.now())
                    .await
                    .map(|()| true)
            }
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
        Ok(Lookup::Unused) if gate.now() > grant.deadline.plus(LATE_BLOCK) => {
            refuse(
                gate,
                record,
                codes::AUTHORIZATION_EXPIRED,
                "The authorization expired unused; pay anew.",
            )
            .await
        }
        Ok(Lookup::Unused | Lookup::Unknown) | Err(_) => return Ok(false),
    };
    match gate.noted(ended) {
        // Somebody else ended it meanwhile.
        Err(LedgerError::Conflict { .. }) => Ok(true),
        other => other,
    }
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
    record.grant.flow == PaymentFlow::Upfront.as_str()
        && record.grant.payment_identifier.is_some()
        && gate.now() < record.claimed_at.plus(gate.limits.keep_answers)
}
