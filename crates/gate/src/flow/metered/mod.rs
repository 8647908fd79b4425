//! Metered streams: credit up to what was signed for.
//!
//! ```text
//! verify · claim · upstream · promise the most · stream, recording as it goes · settle what was handed out · release
//! ```
//!
//! The answer leaves before it is settled, so all of it is capped: one stream by
//! what was signed for, all that is open by what may be promised to a payer and
//! in total. What leaves unrecorded is a small part of one stream's maximum: if
//! this process dies, whoever takes the grant over settles what was recorded.

mod outlet;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, TE, TRAILER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tollway_core::wire::SettleResponse;
use tollway_core::{Amount, Refusal, codes, header};
use tollway_ledger::{GrantRecord, LedgerError, Outstanding};

use super::authorization::give_back;
use super::background;
use super::held::{self, Held};
use super::settle::Order;
use super::{Work, ledger_failed, not_taken};
use tracing::Instrument as _;

use crate::answer;
use crate::body::{self, Body};
use crate::crash::durably;
use crate::event::Event;
use crate::gate::{Active, Inner};
use crate::hygiene::TOLLWAY_PAYMENT;
use crate::limits::STREAM_MARGIN;
use crate::meter::{Rate, Unit};
use crate::purchase::Purchase;
use outlet::{Outlet, Tally};
use stream::{End, Stream};

pub(super) async fn serve(
    mut work: Work,
    rate: Rate,
    record: GrantRecord,
    active: Active,
) -> Response<Body> {
    let wants_trailers = asks_for_trailers(work.request.headers());
    let mut request = work.request_for(&record);
    if rate.unit == Unit::Event {
        // Events are counted as they are.
        request.headers_mut().remove(ACCEPT_ENCODING);
    }
    let Work {
        gate,
        purchase,
        upstream,
        ..
    } = work;
    let Ok(place) = Arc::clone(&gate.streams).try_acquire_owned() else {
        give_back(&gate, &record, codes::TOO_MANY_REQUESTS).await;
        return answer::unavailable(
            codes::TOO_MANY_REQUESTS,
            "Too many answers are being streamed; ask again with the same payment.",
        );
    };
    let lasts = purchase
        .intent
        .deadline
        .since(gate.now().plus(STREAM_MARGIN));
    if lasts.is_zero() {
        give_back(&gate, &record, codes::CANNOT_SETTLE_IN_TIME).await;
        let refusal = Refusal::new(
            codes::CANNOT_SETTLE_IN_TIME,
            "The authorization ends too soon to stream and to settle; sign one that holds as long as the terms say.",
        );
        return not_taken(&gate, &purchase, refusal);
    }
    let ends_at = Instant::now() + lasts;
    let within = lasts.min(gate.limits.upstream_timeout);
    let answered = match held::call(upstream, request, within).await {
        Ok(response) => response,
        Err(failure) => {
            give_back(&gate, &record, failure.code).await;
            return failure.response;
        }
    };
    gate.emit(&Event::Served {
        grant: record.id.clone(),
        status: answered.status().as_u16(),
    });
    if !held::is_chargeable(&gate.base_url, answered.status(), answered.headers()) {
        return free(&gate, &record, answered, within).await;
    }
    if let Some(why) = rate.unfit(answered.headers()) {
        give_back(&gate, &record, codes::UPSTREAM_FAILED).await;
        return answer::problem(StatusCode::BAD_GATEWAY, codes::UPSTREAM_FAILED, why);
    }
    match promise(&gate, &purchase, &record).await {
        Ok(true) => {}
        Ok(false) => {
            give_back(&gate, &record, codes::TOO_MANY_REQUESTS).await;
            return answer::unavailable(
                codes::TOO_MANY_REQUESTS,
                "Too much is being streamed that is not settled yet, to this payer or to all; ask again with the same payment when other streams have ended.",
            );
        }
        Err(error) => {
            give_back(&gate, &record, codes::LEDGER_UNAVAILABLE).await;
            return ledger_failed(&error);
        }
    }
    let tally = Tally::default();
    let (out, outlet) = Outlet::new(tally.clone());
    let stream = Stream::new(
        Arc::clone(&gate),
        record.clone(),
        rate,
        (out, tally),
        ends_at,
    );
    let (mut parts, body) = answered.into_parts();
    if let Ok(name) = HeaderValue::from_str(record.id.as_str()) {
        parts.headers.insert(TOLLWAY_PAYMENT, name);
    }
    if wants_trailers {
        // Trailers follow only what has no length.
        parts.headers.remove(CONTENT_LENGTH);
        let name = HeaderValue::from_static("PAYMENT-RESPONSE");
        parts.headers.append(TRAILER, name);
    }
    let metered = Metered {
        purchase,
        record,
        active,
        wants_trailers,
        _place: place,
    };
    let running = metered.run(Arc::clone(&gate), stream, body);
    gate.tasks.spawn(running.in_current_span());
    Response::from_parts(parts, body::boxed(outlet))
}

fn asks_for_trailers(headers: &HeaderMap) -> bool {
    let te = headers.get(TE).and_then(|te| te.to_str().ok());
    te.is_some_and(|te| te.split(',').any(|c| c.trim() == "trailers"))
}

/// An answer that is not charged for.
async fn free(
    gate: &Inner,
    record: &GrantRecord,
    answered: Response<Body>,
    within: Duration,
) -> Response<Body> {
    let held = Held::read(answered, gate.limits.max_held_answer_bytes, within).await;
    give_back(gate, record, codes::UPSTREAM_FAILED).await;
    match held {
        Ok(held) => held.into_failure(),
        Err(failure) => failure.response,
    }
}

/// From here on bytes may leave, and what they come to is settled whatever happens.
async fn promise(
    gate: &Inner,
    purchase: &Purchase,
    record: &GrantRecord,
) -> Result<bool, LedgerError> {
    let outstanding = Outstanding {
        payload: serde_json::to_value(&*purchase.payload).unwrap_or_default(),
        requirements: serde_json::to_value(&*purchase.terms.wire).unwrap_or_default(),
    };
    let Some(cap) = gate.credit.cap(purchase.decimals) else {
        return Ok(false);
    };
    gate.noted(durably!(
        "promised",
        gate.grants.meter(&record.id, outstanding, cap, gate.now())
    ))
}

/// A stream that is under way, with what ends with it.
struct Metered {
    purchase: Arc<Purchase>,
    record: GrantRecord,
    active: Active,
    wants_trailers: bool,
    _place: OwnedSemaphorePermit,
}

impl Metered {
    async fn run(self, gate: Arc<Inner>, mut stream: Stream, body: Body) {
        let end = stream.drive(body).await;
        let word = end.word();
        let was_lost = matches!(end, End::Lost);
        let closed = stream.close().await;
        let tail = stream.end(end.breaks_off());
        let (units, charged) = match closed {
            Ok(closed) if !was_lost => closed,
            _ => {
                tracing::error!(grant = %self.record.id, "what was streamed last is not recorded; what was recorded is settled");
                return;
            }
        };
        gate.emit(&Event::Metered {
            grant: self.record.id.clone(),
            route: self.record.grant.route.clone(),
            units,
            charged,
            maximum: self.purchase.terms.amount,
            end: word,
        });
        let (version, wants_trailers) = (self.purchase.version, self.wants_trailers);
        let settling = self.settle(&gate, charged);
        if !wants_trailers {
            tail.close(HeaderMap::new());
            drop(settling.await);
            return;
        }
        let wait = gate.limits.settle_wait;
        let receipt = tokio::time::timeout(wait, settling).await.ok().flatten();
        let named = receipt.map(|receipt| header::response(version, &receipt));
        tail.close(named.into_iter().collect());
    }

    /// Settles in a task of its own, which goes on when nobody waits any more.
    fn settle(
        self,
        gate: &Arc<Inner>,
        charged: Amount,
    ) -> impl Future<Output = Option<SettleResponse>> + use<> {
        let order = Order::of(&self.purchase.charging(charged));
        let settling = background::settle(Arc::clone(gate), order, self.record, self.active, false);
        let task = gate.tasks.spawn(settling.in_current_span());
        async move { task.await.ok().flatten() }
    }
}
