//! A payment that was seen before.
//!
//! Looked up before anybody is asked. The same request under the same payment
//! identifier gets the stored answer; another payment under that identifier
//! gets 409; an authorization shown again without it never gets the content.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Response, StatusCode};
use tokio::time::Instant;
use tollway_core::wire::SettleResponse;
use tollway_core::{Refusal, codes};
use tollway_ledger::{GrantRecord, GrantState, LedgerError};

use super::authorization::{end, refused as refusal_of};
use super::held::Held;
use super::keeper::{close, has_ended, may_be_paid, settles_first, success, taken};
use super::settle::{Order, Settling, recorded_evidence};
use crate::answer;
use crate::body::Body;
use crate::event::Event;
use crate::gate::{Active, Inner};
use crate::pass::TOLLWAY_PASS;
use crate::purchase::Purchase;

/// From a claim in the ledger to the task that works on it, and how often it is looked
/// for: a busy machine takes longer.
const ABOUT_TO_BEGIN: Duration = Duration::from_millis(10);
const MOST_LOOKS: u32 = 200;
/// How often the ledger is read while another process works on a grant.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What is known about a payment.
pub(super) enum Known {
    /// Nothing, or nothing that stands in its way.
    No,
    /// Its answer.
    Answer(Response<Body>),
    /// Paid (or perhaps paid) before it was served, and not served since.
    Settled(Box<GrantRecord>, Active),
}

pub(super) async fn known(
    gate: &Arc<Inner>,
    purchase: &Arc<Purchase>,
) -> Result<Known, LedgerError> {
    let Some(record) = find(gate, purchase).await? else {
        return Ok(Known::No);
    };
    if purchase.names(&record.grant) && !purchase.is_same_request(&record.grant) {
        return Ok(Known::Answer(conflict(gate, &record)));
    }
    let until = Instant::now() + gate.limits.repeat_wait;
    let mut record = record;
    loop {
        let next = match record.state {
            GrantState::Released => {
                return released(gate, purchase, &record).await.map(Known::Answer);
            }
            GrantState::Refused if record.reclaimable => return Ok(Known::No),
            GrantState::Refused => return Ok(Known::Answer(refused(gate, purchase, &record))),
            _ if !may_be_paid(&record) || gate.is_active(&record.id) => Next::Wait,
            // Its own terms are nobody's: whoever ends it goes by the ledger's.
            _ if purchase.is_only_known => hand_over(gate, purchase, &record).await?,
            _ => go_on(gate, purchase, &record).await?,
        };
        match next {
            Next::Known(known) => return Ok(known),
            Next::Ended => {}
            Next::Wait if Instant::now() >= until => {
                let receipt = receipt(purchase, &record);
                return Ok(Known::Answer(answer::pending(purchase.version, &receipt)));
            }
            Next::Wait => {
                if !wait(gate, &record, until).await {
                    let receipt = receipt(purchase, &record);
                    return Ok(Known::Answer(answer::pending(purchase.version, &receipt)));
                }
            }
        }
        match find(gate, purchase).await? {
            Some(newer) => record = newer,
            None => return Ok(Known::No),
        }
    }
}

/// Waits for the task that works on a grant. Where that is another process's,
/// nobody rings, and only so many may ask the ledger again: false to the others.
pub(super) async fn wait(gate: &Inner, record: &GrantRecord, until: Instant) -> bool {
    match gate.ending(&record.id) {
        Some(mut ending) => {
            // Nothing is ever sent: it changes when it closes.
            let _ = tokio::time::timeout_at(until, ending.changed()).await;
        }
        None => {
            // One of ours: the task that claimed it is about to begin.
            if record.grant.owner == gate.owner && begins(gate, record, until).await {
                return true;
            }
            let Ok(_turn) = gate.askers.try_acquire() else {
                return false;
            };
            tokio::time::sleep(LOOK_AGAIN.min(until.saturating_duration_since(Instant::now())))
                .await;
        }
    }
    true
}

/// Whether the task that works on a grant of this process comes soon.
async fn begins(gate: &Inner, record: &GrantRecord, until: Instant) -> bool {
    for _ in 0..MOST_LOOKS {
        if Instant::now() >= until {
            break;
        }
        tokio::time::sleep(ABOUT_TO_BEGIN).await;
        if gate.is_active(&record.id) {
            return true;
        }
    }
    false
}

/// What a repeat does about a grant that has not ended.
enum Next {
    Known(Known),
    /// It was ended just now.
    Ended,
    Wait,
}

/// Goes on with a grant that may be paid and that nobody works on: a process
/// died in the middle, gave up, or could not write.
async fn go_on(
    gate: &Arc<Inner>,
    purchase: &Arc<Purchase>,
    record: &GrantRecord,
) -> Result<Next, LedgerError> {
    let Some((record, active)) = taken(gate, &record.id).await? else {
        return Ok(Next::Wait);
    };
    if has_ended(&record) {
        return Ok(Next::Ended);
    }
    let is_to_be_served = !record.has_answer && purchase.is_same_request(&record.grant);
    if settles_first(&record)
        && !is_to_be_served
        && let Some(receipt) = success(&record)
    {
        let evidence = recorded_evidence(gate, &record, &receipt);
        return match gate.noted(close(gate, &record, &evidence, &receipt).await) {
            Ok(true) => Ok(Next::Ended),
            Ok(false) | Err(LedgerError::Conflict { .. }) => Ok(Next::Wait),
            Err(error) => Err(error),
        };
    }
    let settling = go_on_settling(gate, purchase, record, active);
    Ok(settling.map_or(Next::Wait, Next::Known))
}

/// Goods that were paid for first, and that nobody was served: nothing more is decided
/// about the payment, and the request is the one that was paid for.
async fn hand_over(
    gate: &Arc<Inner>,
    purchase: &Purchase,
    record: &GrantRecord,
) -> Result<Next, LedgerError> {
    let is_owed = |record: &GrantRecord| {
        settles_first(record)
            && !record.has_answer
            && success(record).is_some()
            && purchase.is_same_request(&record.grant)
    };
    if !is_owed(record) {
        return Ok(Next::Wait);
    }
    Ok(match taken(gate, &record.id).await? {
        None => Next::Wait,
        Some((record, _)) if has_ended(&record) => Next::Ended,
        Some((record, active)) if is_owed(&record) => {
            Next::Known(Known::Settled(Box::new(record), active))
        }
        Some(_) => Next::Wait,
    })
}

/// By identifier, else by what makes the payment unique. A grant that may be
/// claimed again holds no identifier.
async fn find(gate: &Inner, purchase: &Purchase) -> Result<Option<GrantRecord>, LedgerError> {
    if let Some(id) = &purchase.identifier
        && let Some(record) = gate.noted(gate.grants.grant_by_identifier(id.as_str()).await)?
        && !record.reclaimable
    {
        return Ok(Some(record));
    }
    gate.noted(
        gate.grants
            .grant_by_identity(&purchase.intent.identity)
            .await,
    )
}

/// A settlement that nobody works on: a process died in the middle, or gave up. The payment is here again, so settling can go on, with
/// the same authorization and the same key.
fn go_on_settling(
    gate: &Arc<Inner>,
    purchase: &Arc<Purchase>,
    record: GrantRecord,
    active: Active,
) -> Option<Known> {
    if record.grant.payload_digest != purchase.payload_digest {
        return None;
    }
    let same = purchase.is_same_request(&record.grant);
    if settles_first(&record) {
        return same.then(|| Known::Settled(Box::new(record), active));
    }
    // It goes on with what was charged, which may be less than was signed for.
    let charged = record.grant.expected.amount;
    let purchase = match charged == purchase.terms.amount {
        true => Arc::clone(purchase),
        false => Arc::new(purchase.charging(charged)),
    };
    let (settling, _) = Settling::new(
        Arc::clone(gate),
        Order::of(&purchase),
        record.id.clone(),
        true,
    );
    gate.tasks.spawn({
        let gate = Arc::clone(gate);
        async move {
            let settled = settling.run().await;
            let _ = end(&gate, &purchase, &record, settled).await;
            drop(active);
        }
    });
    None
}

/// The receipt of a grant, as far as there is one.
fn receipt(purchase: &Purchase, record: &GrantRecord) -> SettleResponse {
    let kept = record.receipt.clone().map(serde_json::from_value);
    kept.and_then(Result::ok)
        .unwrap_or_else(|| Order::of(purchase).unknown_receipt())
}

async fn released(
    gate: &Inner,
    purchase: &Purchase,
    record: &GrantRecord,
) -> Result<Response<Body>, LedgerError> {
    let receipt = receipt(purchase, record);
    if purchase.is_same_request(&record.grant)
        && let Some(stored) = gate.noted(gate.grants.answer(&record.id).await)?
    {
        gate.emit(&Event::Redelivered {
            grant: record.id.clone(),
        });
        let mut response = Held::from_stored(stored).into_response();
        if let Some(pass) = bought_pass(gate, record).await? {
            response.headers_mut().insert(TOLLWAY_PASS, pass);
        }
        return Ok(answer::with_receipt(response, purchase.version, &receipt));
    }
    gate.emit(&Event::Refused {
        grant: Some(record.id.clone()),
        route: record.grant.route.clone(),
        code: codes::DUPLICATE_SETTLEMENT.to_owned(),
    });
    let receipt = SettleResponse {
        success: false,
        error_reason: Some(codes::DUPLICATE_SETTLEMENT.to_owned()),
        ..receipt
    };
    Ok(answer::duplicate(purchase.version, &receipt))
}

/// The token of the pass that came with a grant, for whoever shows the whole
/// purchase again, whether or not its route still sells passes.
async fn bought_pass(
    gate: &Inner,
    record: &GrantRecord,
) -> Result<Option<HeaderValue>, LedgerError> {
    let (Some(passes), Some(_)) = (&gate.passes, &record.grant.pass) else {
        return Ok(None);
    };
    let pass = gate.noted(passes.store.pass_of(&record.id).await)?;
    Ok(pass.map(|pass| passes.header(&pass)))
}

/// The payment failed before, for good.
fn refused(gate: &Inner, purchase: &Purchase, record: &GrantRecord) -> Response<Body> {
    let (code, message) = record.refusal.clone().unwrap_or_else(|| {
        (
            codes::INVALID_TRANSACTION_STATE.to_owned(),
            "The payment failed before; pay anew.".to_owned(),
        )
    });
    let receipt = SettleResponse {
        success: false,
        error_reason: Some(code.clone()),
        ..receipt(purchase, record)
    };
    refusal_of(gate, purchase, Refusal::foreign(code, message), &receipt)
}

fn conflict(gate: &Inner, record: &GrantRecord) -> Response<Body> {
    gate.emit(&Event::Refused {
        grant: Some(record.id.clone()),
        route: record.grant.route.clone(),
        code: codes::PAYMENT_IDENTIFIER_CONFLICT.to_owned(),
    });
    answer::problem(
        StatusCode::CONFLICT,
        codes::PAYMENT_IDENTIFIER_CONFLICT,
        "The payment identifier was used with another payment or request; repeat that one unchanged, or choose a new identifier.",
    )
}
