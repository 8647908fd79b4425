//! Settling behind what has left: a pass (the flow `background`), or a metered
//! stream. The grant and what is to be settled are durable together, so whoever
//! takes the grant over can go on.

use std::sync::Arc;

use tollway_core::Terms;
use tollway_core::wire::{PaymentPayload, PaymentRequirements, SettleResponse};
use tollway_ledger::{GrantRecord, LedgerError, Outstanding, Release};
use tracing::Instrument as _;

use super::authorization::{refuse, release_surely};
use super::keeper::end;
use super::settle::{Order, Settled, Settling};
use crate::event::Event;
use crate::gate::{Active, Inner};
use crate::limits::MAX_SETTLE_BACKOFF;
use crate::purchase::METERED;

/// Settles in a task of its own.
pub(super) fn start(gate: &Arc<Inner>, order: Arc<Order>, record: GrantRecord, active: Active) {
    let settling = settle(Arc::clone(gate), order, record, active, false);
    gate.tasks.spawn(settling.in_current_span());
}

/// Goes on with what a dead process left, or with what nobody could be asked
/// about for long.
pub(super) async fn resume(
    gate: &Arc<Inner>,
    record: GrantRecord,
    active: Active,
) -> Result<(), LedgerError> {
    // Whether or not this gate sells passes: what was signed is to be settled.
    let outstanding = gate.noted(gate.grants.outstanding(&record.id).await)?;
    let order = outstanding.and_then(|outstanding| order(gate, &record, outstanding));
    match order {
        Some(order) => {
            gate.tasks
                .spawn(settle(Arc::clone(gate), order, record, active, true));
        }
        // Nobody can ask for it any more: the chain says what became of it.
        None => drop(end(gate, &record).await?),
    }
    Ok(())
}

/// The order as it was given, from what the ledger kept of it.
fn order(gate: &Inner, record: &GrantRecord, outstanding: Outstanding) -> Option<Arc<Order>> {
    let payload: PaymentPayload = serde_json::from_value(outstanding.payload).ok()?;
    let terms: PaymentRequirements = serde_json::from_value(outstanding.requirements).ok()?;
    let (payload, terms) = (Arc::new(payload), Arc::new(Terms::check(terms).ok()?));
    let chain = gate.chains.get(&terms.network)?.clone();
    let intent = chain.chain.inspect(&payload, &terms).ok()?;
    let order = Order {
        payload,
        terms,
        intent,
        chain,
        route: record.grant.route.clone(),
        is_verified: true,
    };
    Some(Arc::new(match record.grant.flow == METERED {
        // What was handed out, as it was recorded.
        true => order.charging(record.grant.expected.amount),
        false => order,
    }))
}

/// Settles, however often that must be asked for, and writes down the end. The
/// receipt, if the money moved.
pub(super) async fn settle(
    gate: Arc<Inner>,
    order: Arc<Order>,
    record: GrantRecord,
    active: Active,
    uncertain: bool,
) -> Option<SettleResponse> {
    let mut paid = None;
    let mut outcome = outcome(&gate, &order, &record, uncertain).await;
    if let Settled::Yes { evidence, receipt } = &outcome {
        match release_surely(&gate, &record, evidence, receipt).await {
            Ok(Release::Released(_)) => {
                gate.emit(&Event::Released {
                    grant: record.id.clone(),
                    route: record.grant.route.clone(),
                    transaction: receipt.transaction.clone(),
                    payer: order.intent.identity.payer.to_string(),
                    amount: order.terms.amount,
                });
                paid = Some(receipt.clone());
            }
            Ok(Release::Anothers) => outcome = Settled::anothers(&record.id, receipt),
            // Where it cannot be written now, the keeper asks again.
            Err(_) => {}
        }
    }
    match outcome {
        Settled::Yes { .. } => {}
        Settled::No {
            refusal, receipt, ..
        } => {
            let why = (refusal.code(), refusal.message());
            // What is not written is settling still, and looked up by the keeper.
            let _ = refuse(&gate, &record, why, false, Some(&receipt)).await;
        }
        Settled::Unavailable | Settled::Unknown { .. } => {
            let _ = end(&gate, &record).await;
        }
    }
    drop(active);
    paid
}

/// The outcome. A facilitator that cannot be reached is asked again: the token
/// has left, so nothing can be given back.
async fn outcome(
    gate: &Arc<Inner>,
    order: &Arc<Order>,
    record: &GrantRecord,
    uncertain: bool,
) -> Settled {
    let give_up = order.intent.deadline.plus(gate.limits.settle_grace);
    let mut pause = gate.limits.settle_backoff;
    loop {
        let (gate, order) = (Arc::clone(gate), Arc::clone(order));
        let now = gate.now();
        let (settling, _) = Settling::new(gate, order, record.id.clone(), uncertain);
        match settling.run().await {
            Settled::Unavailable if now <= give_up => {}
            settled => return settled,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MAX_SETTLE_BACKOFF);
    }
}
