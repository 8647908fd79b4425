//! The flow `authorization`: the answer is made and held back, then the money
//! moves, then the answer leaves.

use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode};
use tollway_core::wire::SettleResponse;
use tollway_core::{Refusal, codes, mistake, wire::Version};
use tollway_ledger::{Evidence, GrantRecord, GrantState, LedgerError, PassRecord, Release};

use super::entry::not_settled;
use super::held::{self, Failure, Held};
use super::settle::{Order, Settled, Settling};
use super::{Work, ledger_failed, no_verdict, not_taken};
use crate::answer;
use crate::body::Body;
use crate::crash::durably;
use crate::event::Event;
use crate::gate::{Active, Inner};
use crate::hooks::{self, Step};
use crate::limits::SETTLE_MARGIN;
use crate::pass::TOLLWAY_PASS;
use crate::purchase::Purchase;

/// How often a release is tried when the ledger fails.
const MAX_RELEASES: u32 = 5;

pub(super) async fn serve(mut work: Work, record: GrantRecord, active: Active) -> Response<Body> {
    let request = work.request_for(&record);
    let Work {
        gate,
        purchase,
        upstream,
        ..
    } = work;
    let within = time_to_serve(&gate, &purchase);
    let answer = held::call(upstream, request, within).await;
    let mut held = match hold(&gate, answer, within).await {
        Ok(held) => held,
        Err(Failure { code, response }) => {
            give_back(&gate, &record, code).await;
            return response;
        }
    };
    gate.emit(&Event::Served {
        grant: record.id.clone(),
        status: held.status.as_u16(),
    });
    if !held.is_chargeable(&gate.base_url) {
        give_back(&gate, &record, codes::UPSTREAM_FAILED).await;
        return held.into_failure();
    }
    let purchase = match held.charged(&purchase) {
        Ok(None) => purchase,
        Ok(Some(amount)) => Arc::new(purchase.charging(amount)),
        Err(refusal) => {
            tracing::error!(
                route = record.grant.route,
                "the service behind charges what was not permitted"
            );
            give_back(&gate, &record, refusal.code()).await;
            return answer::refusal(StatusCode::BAD_GATEWAY, &refusal);
        }
    };
    if let Err(stop) = hooks::before(&gate, &purchase, Step::Settle).await {
        return not_settled(&gate, &purchase, &record, &stop).await;
    }
    if let Err(error) = store(&gate, &purchase, &record, &held).await {
        give_back(&gate, &record, codes::LEDGER_UNAVAILABLE).await;
        return ledger_failed(&error);
    }
    if mistake::is("release_before_settle") {
        tokio::spawn(settle_bounded(gate, purchase, record, active));
        return held.into_response();
    }
    let shop = Arc::clone(&gate);
    match settle_bounded(gate, purchase, record, active).await {
        Ok((version, receipt, pass)) => {
            let response = with_pass(&shop, held.into_response(), pass.as_ref());
            answer::with_receipt(response, version, &receipt)
        }
        Err(response) => response,
    }
}

/// What is left for the service behind: it must be done, and the seller's own code
/// after it, before the payment can no longer be settled.
pub(super) fn time_to_serve(gate: &Inner, purchase: &Purchase) -> Duration {
    let after = match gate.hooks {
        Some(_) => SETTLE_MARGIN + gate.limits.hook_wait,
        None => SETTLE_MARGIN,
    };
    let left = purchase.intent.deadline.since(gate.now().plus(after));
    left.min(gate.limits.upstream_timeout)
}

async fn hold(
    gate: &Inner,
    answer: Result<Response<Body>, Failure>,
    within: Duration,
) -> Result<Held, Failure> {
    Held::read(answer?, gate.limits.max_held_answer_bytes, within).await
}

/// Stores the answer, then that settling begins: from here on the facilitator
/// may act.
async fn store(
    gate: &Inner,
    purchase: &Purchase,
    record: &GrantRecord,
    held: &Held,
) -> Result<(), LedgerError> {
    let stored = held.to_stored(gate.limits.max_stored_answer_bytes);
    let permitted = record.grant.expected.amount;
    let charged = Some(purchase.terms.amount).filter(|charged| *charged != permitted);
    gate.noted(durably!(
        "served",
        gate.grants.served(&record.id, stored, charged, gate.now())
    ))?;
    gate.noted(durably!(
        "settling",
        gate.grants.settling(&record.id, gate.now())
    ))
}

/// Ends a grant for which nothing was submitted: the payment stays good.
pub(super) async fn give_back(gate: &Inner, record: &GrantRecord, code: &str) {
    let message = "Nothing was charged; ask again with the same payment.";
    // A grant that cannot be refused now is nobody's work: the keeper refuses it.
    let _ = refuse(gate, record, (code, message), true, None).await;
}

/// Ends a grant without its answer, in one step with the transaction that is known of
/// it: a repeat is told the same.
pub(super) async fn refuse(
    gate: &Inner,
    record: &GrantRecord,
    why: (&str, &str),
    reclaimable: bool,
    receipt: Option<&SettleResponse>,
) -> Result<(), LedgerError> {
    let (code, message) = why;
    let named = receipt.filter(|receipt| !receipt.transaction.is_empty());
    let (grants, id, now) = (&gate.grants, &record.id, gate.now());
    let refused = match named {
        None => durably!(
            "refused",
            grants.refuse(id, code, message, reclaimable, now)
        ),
        Some(receipt) => {
            let receipt = serde_json::to_value(receipt).unwrap_or_default();
            durably!(
                "refused",
                grants.refuse_with_receipt(id, code, message, reclaimable, &receipt, now)
            )
        }
    };
    gate.emit(&Event::Refused {
        grant: Some(record.id.clone()),
        route: record.grant.route.clone(),
        code: code.to_owned(),
    });
    gate.noted(refused)
}

/// Settles in a task of its own, which goes on when the buyer is told to ask
/// again.
pub(super) async fn settle_bounded(
    gate: Arc<Inner>,
    purchase: Arc<Purchase>,
    record: GrantRecord,
    active: Active,
) -> Result<(Version, SettleResponse, Option<PassRecord>), Response<Body>> {
    let version = purchase.version;
    let (settling, seen) = Settling::new(
        Arc::clone(&gate),
        Order::of(&purchase),
        record.id.clone(),
        false,
    );
    let wait = gate.limits.settle_wait;
    let task = gate.tasks.spawn(tracing::Instrument::in_current_span({
        let (gate, purchase) = (Arc::clone(&gate), Arc::clone(&purchase));
        async move {
            let settled = settling.run().await;
            let ended = end(&gate, &purchase, &record, settled).await;
            drop(active);
            ended
        }
    }));
    match tokio::time::timeout(wait, task).await {
        Ok(Ok(ended)) => ended.map(|(receipt, pass)| (version, receipt, pass)),
        Ok(Err(_)) | Err(_) => Err(answer::pending(version, &seen.borrow())),
    }
}

pub(super) async fn is_released(gate: &Inner, record: &GrantRecord) -> bool {
    let found = gate.grants.grant_by_identity(&record.grant.identity).await;
    matches!(found, Ok(Some(found)) if found.id == record.id && found.state == GrantState::Released)
}

/// Writes down that a grant is paid; the pass that it bought, if it bought one.
/// Tried again while the ledger fails.
pub(super) async fn release_surely(
    gate: &Inner,
    record: &GrantRecord,
    evidence: &Evidence,
    receipt: &SettleResponse,
) -> Result<Release, LedgerError> {
    let mut attempt = 1;
    loop {
        match release(gate, record, evidence, receipt).await {
            Ok(release) => return Ok(release),
            // The keeper or another process found the same success first.
            Err(LedgerError::Conflict { .. }) if is_released(gate, record).await => {
                return Ok(Release::Released(pass_of(gate, record).await.map(Box::new)));
            }
            Err(error) if attempt == MAX_RELEASES => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(200) * attempt).await,
        }
        attempt += 1;
    }
}

/// [`release_surely`], tried once.
pub(super) async fn release(
    gate: &Inner,
    record: &GrantRecord,
    evidence: &Evidence,
    receipt: &SettleResponse,
) -> Result<Release, LedgerError> {
    let value = serde_json::to_value(receipt).unwrap_or_default();
    let released = durably!(
        "released",
        gate.grants
            .release(&record.id, evidence, &value, gate.now())
    );
    gate.noted(released)
}

pub(super) async fn pass_of(gate: &Inner, record: &GrantRecord) -> Option<PassRecord> {
    let passes = gate.passes.as_ref()?;
    passes.store.pass_of(&record.id).await.ok().flatten()
}

/// An answer with the token that came with it.
pub(super) fn with_pass(
    gate: &Inner,
    mut response: Response<Body>,
    pass: Option<&PassRecord>,
) -> Response<Body> {
    if let (Some(passes), Some(pass)) = (&gate.passes, pass) {
        let header = passes.header(pass);
        response.headers_mut().insert(TOLLWAY_PASS, header);
    }
    response
}

/// Writes down how settling ended, and says whether the answer may leave.
pub(super) async fn end(
    gate: &Inner,
    purchase: &Purchase,
    record: &GrantRecord,
    settled: Settled,
) -> Result<(SettleResponse, Option<PassRecord>), Response<Body>> {
    let settled = match settled {
        Settled::Yes { evidence, receipt } => {
            match release_surely(gate, record, &evidence, &receipt).await {
                Ok(Release::Released(pass)) => {
                    gate.emit(&Event::Released {
                        grant: record.id.clone(),
                        route: record.grant.route.clone(),
                        transaction: receipt.transaction.clone(),
                        payer: purchase.intent.identity.payer.to_string(),
                        amount: purchase.terms.amount,
                    });
                    hooks::settled(gate, purchase, &receipt);
                    return Ok((receipt, pass.map(|pass| *pass)));
                }
                Ok(Release::Anothers) => Settled::anothers(&record.id, &receipt),
                Err(_) => return Err(answer::pending(purchase.version, &receipt)),
            }
        }
        other => other,
    };
    Err(end_unpaid(gate, purchase, record, settled).await)
}

/// Writes down that settling brought no money to this grant, and says so.
pub(super) async fn end_unpaid(
    gate: &Inner,
    purchase: &Purchase,
    record: &GrantRecord,
    settled: Settled,
) -> Response<Body> {
    match settled {
        Settled::No {
            refusal,
            receipt,
            reclaimable,
        } => {
            let why = (refusal.code(), refusal.message());
            // What is not written is settling still, and looked up by the keeper.
            let _ = refuse(gate, record, why, reclaimable, Some(&receipt)).await;
            hooks::failed(gate, purchase, Step::Settle, &refusal);
            match codes::is_early_proof(refusal.code()) {
                true => not_taken(gate, purchase, refusal),
                false => refused(gate, purchase, refusal, &receipt),
            }
        }
        Settled::Unavailable => {
            give_back(gate, record, codes::FACILITATOR_UNAVAILABLE).await;
            no_verdict(&tollway_core::FacilitatorError::Unavailable(
                "at settle".to_owned(),
            ))
        }
        Settled::Yes { receipt, .. } | Settled::Unknown { receipt } => {
            answer::pending(purchase.version, &receipt)
        }
    }
}

/// What a payment that failed for good is told: the terms again, unless its money
/// may have moved. Whose transaction was claimed had paid.
pub(super) fn refused(
    gate: &Inner,
    purchase: &Purchase,
    refusal: Refusal,
    receipt: &SettleResponse,
) -> Response<Body> {
    match refusal.code() {
        codes::DUPLICATE_SETTLEMENT => answer::duplicate(purchase.version, receipt),
        _ if purchase.is_proof() => answer::late(purchase.version, receipt.clone(), &refusal),
        _ => answer::with_receipt(
            not_taken(gate, purchase, refusal),
            purchase.version,
            receipt,
        ),
    }
}
