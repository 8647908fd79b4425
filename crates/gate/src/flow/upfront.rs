//! The flow `upfront`: the money moves, then the service behind is asked, and
//! its answer streams.

use std::sync::Arc;

use http::Response;
use tollway_core::wire::SettleResponse;
use tollway_ledger::{
    Evidence, GrantRecord, GrantState, LedgerError, PassRecord, Release, StoredAnswer,
};

use super::authorization::{self, end_unpaid, give_back, is_released, with_pass};
use super::entry::not_settled;
use super::held::{self, Failure, Held};
use super::keeper::success;
use super::settle::{Order, Settled, Settling, recorded_evidence};
use super::{Work, ledger_failed};
use crate::answer;
use crate::body::Body;
use crate::crash::durably;
use crate::event::Event;
use crate::gate::{Active, Inner};
use crate::hooks::{self, Step};
use crate::purchase::Purchase;

pub(super) async fn serve(work: Work, record: GrantRecord, active: Active) -> Response<Body> {
    if let Err(stop) = hooks::before(&work.gate, &work.purchase, Step::Settle).await {
        return not_settled(&work.gate, &work.purchase, &record, &stop).await;
    }
    let settling = durably!(
        "settling",
        work.gate.grants.settling(&record.id, work.gate.now())
    );
    if let Err(error) = work.gate.noted(settling) {
        give_back(&work.gate, &record, tollway_core::codes::LEDGER_UNAVAILABLE).await;
        return ledger_failed(&error);
    }
    settle_and_serve(work, record, active, false).await
}

/// Settles (again, if an earlier outcome stayed unknown) and serves.
async fn settle_and_serve(
    work: Work,
    record: GrantRecord,
    active: Active,
    uncertain: bool,
) -> Response<Body> {
    let (gate, purchase) = (Arc::clone(&work.gate), Arc::clone(&work.purchase));
    let (settling, seen) = Settling::new(
        Arc::clone(&gate),
        Order::of(&purchase),
        record.id.clone(),
        uncertain,
    );
    let wait = gate.limits.settle_wait;
    let task = gate.tasks.spawn(tracing::Instrument::in_current_span({
        let (gate, purchase, record) = (Arc::clone(&gate), Arc::clone(&purchase), record.clone());
        async move {
            let settled = settling.run().await;
            (paid(&gate, &purchase, &record, settled).await, active)
        }
    }));
    match tokio::time::timeout(wait, task).await {
        Ok(Ok((Ok((evidence, receipt)), active))) => {
            deliver(work, record, active, &evidence, receipt).await
        }
        Ok(Ok((Err(response), _))) => response,
        Ok(Err(_)) | Err(_) => answer::pending(purchase.version, &seen.borrow()),
    }
}

/// Writes down that the money moved; the answer is still to be made.
async fn paid(
    gate: &Inner,
    purchase: &Purchase,
    record: &GrantRecord,
    settled: Settled,
) -> Result<(Evidence, SettleResponse), Response<Body>> {
    let settled = match settled {
        Settled::Yes { evidence, receipt } => {
            match settled_first(gate, record, &evidence, &receipt).await {
                Ok(true) => {
                    is_paid(gate, purchase, &receipt);
                    return Ok((evidence, receipt));
                }
                Ok(false) => Settled::anothers(&record.id, &receipt),
                // Told when it is written down: by the repeat, or by the keeper.
                Err(_) => return Err(answer::pending(purchase.version, &receipt)),
            }
        }
        other => other,
    };
    Err(end_unpaid(gate, purchase, record, settled).await)
}

/// Tells the seller's own code of it.
fn is_paid(gate: &Inner, purchase: &Purchase, receipt: &SettleResponse) {
    hooks::settled(gate, purchase, receipt);
    if let Some(guard) = gate
        .guard
        .as_ref()
        .filter(|_| !purchase.is_verified_first())
    {
        // What is paid is served, however often.
        let _ = guard.count(purchase.intent.identity.payer.as_str(), gate.now());
    }
}

/// The money first: whoever dies before the release leaves its evidence. False if
/// it is another payment's.
pub(super) async fn settled_first(
    gate: &Inner,
    record: &GrantRecord,
    evidence: &Evidence,
    receipt: &SettleResponse,
) -> Result<bool, LedgerError> {
    let value = serde_json::to_value(receipt).unwrap_or_default();
    let grants = &gate.grants;
    gate.noted(durably!(
        "paid",
        grants.settled_first(&record.id, evidence, &value, gate.now())
    ))
}

/// Serves a grant that was settled before, or may have been, and never served.
/// What the ledger knows to be settled is not asked for again: a facilitator
/// that keeps no keys would call it used.
pub(super) async fn serve_settled(
    work: Work,
    record: GrantRecord,
    active: Active,
) -> Response<Body> {
    if let Some(receipt) = success(&record) {
        let evidence = recorded_evidence(&work.gate, &record, &receipt);
        return deliver(work, record, active, &evidence, receipt).await;
    }
    settle_and_serve(work, record, active, true).await
}

/// Asks the service behind, and lets its answer go.
async fn deliver(
    mut work: Work,
    record: GrantRecord,
    active: Active,
    evidence: &Evidence,
    receipt: SettleResponse,
) -> Response<Body> {
    let request = work.request_for(&record);
    let Work {
        gate,
        purchase,
        upstream,
        ..
    } = work;
    let answered = held::call(upstream, request, gate.limits.upstream_timeout).await;
    let answered = match answered {
        Ok(response) => keepable(response, &gate).await,
        Err(failure) => Err(failure),
    };
    let (response, stored, failed) = match answered {
        Ok((response, stored)) => {
            let well = held::is_chargeable(&gate.base_url, response.status(), response.headers());
            (response, stored, !well)
        }
        Err(failure) => (paid_but_failed(failure), None, true),
    };
    gate.emit(&Event::Served {
        grant: record.id.clone(),
        status: response.status().as_u16(),
    });
    // Who named the purchase can ask again, and is served without paying again.
    if failed && purchase.identifier.is_some() {
        drop(active);
        return answer::with_receipt(response, purchase.version, &receipt);
    }
    let response = match release(&gate, &record, stored, evidence, &receipt).await {
        Ok(Release::Anothers) => {
            let settled = Settled::anothers(&record.id, &receipt);
            return end_unpaid(&gate, &purchase, &record, settled).await;
        }
        Ok(Release::Released(pass)) => {
            if failed {
                not_used(&gate, pass.as_deref()).await;
            }
            with_pass(&gate, response, pass.as_deref())
        }
        Err(error) => {
            tracing::error!(%error, grant = %record.id, "a paid answer could not be released");
            return answer::pending(purchase.version, &receipt);
        }
    };
    gate.emit(&Event::Released {
        grant: record.id.clone(),
        route: record.grant.route.clone(),
        transaction: receipt.transaction.clone(),
        payer: purchase.intent.identity.payer.to_string(),
        amount: purchase.terms.amount,
    });
    drop(active);
    answer::with_receipt(response, purchase.version, &receipt)
}

/// Writes down that it was served, unless a process did so that died then, and
/// that the answer may leave.
async fn release(
    gate: &Inner,
    record: &GrantRecord,
    stored: Option<StoredAnswer>,
    evidence: &Evidence,
    receipt: &SettleResponse,
) -> Result<Release, LedgerError> {
    if record.state != GrantState::Served {
        gate.noted(durably!(
            "served",
            gate.grants.served(&record.id, stored, None, gate.now())
        ))?;
    }
    match authorization::release(gate, record, evidence, receipt).await {
        // The keeper ended it between the two steps.
        Err(LedgerError::Conflict { .. }) if is_released(gate, record).await => {
            let pass = authorization::pass_of(gate, record).await;
            Ok(Release::Released(pass.map(Box::new)))
        }
        other => other,
    }
}

/// The request that bought a pass by header failed: it is none of those that the
/// pass counts.
async fn not_used(gate: &Inner, pass: Option<&PassRecord>) {
    if let (Some(passes), Some(pass)) = (&gate.passes, pass) {
        let _ = gate.noted(passes.store.give_use_back(&pass.id).await);
    }
}

/// The service behind failed after the money moved: the text must not say that
/// nothing was charged.
fn paid_but_failed(failure: Failure) -> Response<Body> {
    answer::problem(
        failure.response.status(),
        failure.code,
        "The payment is settled and the server behind the gate failed; ask again with the same payment and payment identifier, or show the receipt to the seller.",
    )
}

/// Keeps a copy of an answer that says beforehand that it is small. Streams
/// and large answers pass as they come.
async fn keepable(
    response: Response<Body>,
    gate: &Inner,
) -> Result<(Response<Body>, Option<StoredAnswer>), Failure> {
    let max = gate.limits.max_stored_answer_bytes;
    let exact = http_body::Body::size_hint(response.body()).exact();
    let small = exact.is_some_and(|bytes| usize::try_from(bytes).is_ok_and(|b| b <= max));
    if !small || held::streams(response.headers()) {
        return Ok((response, None));
    }
    let held = Held::read(response, max, gate.limits.upstream_timeout).await?;
    let stored = held.to_stored(max);
    Ok((held.into_response(), stored))
}
