//! The way of a payment through a gate.
//!
//! ```text
//! authorization   repeat? · verify · claim · upstream · store the answer · settle · release
//! upfront         repeat? · claim · settle (which verifies) · upstream · release
//! transaction     repeat? · verify · claim · settle (which looks at it) · upstream · release
//! metered         repeat? · verify · claim · upstream · stream, recording · settle what was handed out
//! ```
//!
//! A transaction that is shown as proof is verified before it is claimed: its hash is
//! public, and nobody but its payer is to keep it from being shown.
//!
//! A paying request runs in a task of its own, to its end, whether or not the
//! client stays: what was charged can be fetched again by its identifier.

mod authorization;
mod background;
mod entry;
mod evidence;
mod held;
mod keeper;
mod metered;
mod repeat;
mod settle;
mod token;
mod upfront;

pub(crate) use keeper::{keep, recover};
pub(crate) use token::sell;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, StatusCode};
use tollway_core::wire::VerifyResponse;
use tollway_core::{FacilitatorError, PaymentFlow, Refusal, VerifyRequest, codes};
use tollway_ledger::{Claim, GrantRecord, LedgerError, NewGrant};
use tracing::Instrument as _;

use self::settle::Order;
use crate::body::{self, Body};
use crate::crash::durably;
use crate::event::Event;
use crate::gate::{Active, Inner};
use crate::hooks::{self, Step};
use crate::proxy::HasPlace;
use crate::purchase::{Purchase, Rejection};
use crate::{answer, challenge, hygiene};

/// One call of the service behind.
pub(crate) type Upstream = Box<
    dyn FnOnce(Request<Body>) -> BoxFuture<'static, Result<Response<Body>, UpstreamError>> + Send,
>;

/// How the service behind failed, for the log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UpstreamError(String);

impl UpstreamError {
    pub(crate) fn new(error: &(dyn std::error::Error + Send + Sync)) -> Self {
        Self(error.to_string())
    }
}

/// How often a claim is tried when others win it and give it up again.
const MAX_CLAIMS: usize = 3;

/// A paying request with all that serves it.
pub(crate) struct Work {
    gate: Arc<Inner>,
    purchase: Arc<Purchase>,
    request: Request<Bytes>,
    upstream: Upstream,
}

impl Work {
    pub(crate) fn new(
        gate: Arc<Inner>,
        purchase: Purchase,
        request: Request<Bytes>,
        upstream: Upstream,
    ) -> Self {
        Self {
            gate,
            purchase: Arc::new(purchase),
            request,
            upstream,
        }
    }

    /// Serves the request; the answer may leave.
    pub(crate) async fn run(self) -> Response<Body> {
        for _ in 0..MAX_CLAIMS {
            match repeat::known(&self.gate, &self.purchase).await {
                Ok(repeat::Known::No) => {}
                Ok(repeat::Known::Answer(response)) => return response,
                Ok(repeat::Known::Settled(record, active)) => {
                    return upfront::serve_settled(self, *record, active).await;
                }
                Err(error) => return ledger_failed(&error),
            }
            if let Some(answer) = self.purchase.outdated(&self.gate) {
                return answer;
            }
            // Neither slow bodies nor waiting repeats hold a place.
            let places = Arc::clone(&self.gate.places);
            let place =
                tokio::time::timeout(self.gate.limits.place_wait, places.acquire_owned()).await;
            let Ok(Ok(_place)) = place else {
                return answer::unavailable(
                    codes::TOO_MANY_REQUESTS,
                    "Too many payments are being handled; ask again with the same payment.",
                );
            };
            let owed = match entry::admitted(&self.gate, &self.purchase).await {
                Ok(owed) => owed,
                Err(response) => return response,
            };
            if self.purchase.is_verified_first()
                && let Err(response) = verify(&self.gate, &self.purchase)
                    .instrument(step("verify", &self.purchase))
                    .await
            {
                return response;
            }
            let claiming = claim(&self.gate, &self.purchase);
            match claiming.instrument(step("claim", &self.purchase)).await {
                Ok(Some((record, active))) => match owed {
                    None => return self.serve(record, active).await,
                    Some(why) => {
                        return entry::owe(&self.gate, &self.purchase, &record, &why).await;
                    }
                },
                Ok(None) => {}
                Err(error) => return ledger_failed(&error),
            }
        }
        answer::unavailable(
            codes::PAYMENT_IN_PROGRESS,
            "The same payment is being handled right now; ask again with it.",
        )
    }

    async fn serve(self, record: GrantRecord, active: Active) -> Response<Body> {
        if let Some(rate) = self.purchase.rate() {
            return metered::serve(self, rate, record, active).await;
        }
        match self.purchase.flow {
            PaymentFlow::Upfront => upfront::serve(self, record, active).await,
            PaymentFlow::Authorization => authorization::serve(self, record, active).await,
        }
    }

    /// The request as the service behind gets it: it is told who pays.
    fn request_for(&mut self, record: &GrantRecord) -> Request<Body> {
        let request = std::mem::take(&mut self.request);
        let mut request = request.map(body::full);
        request.extensions_mut().insert(HasPlace);
        let headers = request.headers_mut();
        let payer = record.grant.identity.payer.as_str();
        for (name, text) in [
            (hygiene::TOLLWAY_PAYER, payer),
            (hygiene::TOLLWAY_PAYMENT, record.id.as_str()),
        ] {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        }
        request
    }
}

/// The span of a step.
fn step(name: &'static str, purchase: &Purchase) -> tracing::Span {
    let (route, network) = (&purchase.sale.pattern, purchase.terms.network.as_str());
    tracing::info_span!("step", otel.name = name, route, network)
}

/// Claims the grant; `None` if somebody else has it.
async fn claim(
    gate: &Arc<Inner>,
    purchase: &Purchase,
) -> Result<Option<(GrantRecord, Active)>, LedgerError> {
    let sold = gate.passes.as_ref().zip(purchase.sale.pass.as_ref());
    let new = NewGrant {
        pass: sold.map(|(passes, sold)| passes.new_pass(sold, purchase.is_door)),
        ..purchase.grant(&gate.owner)
    };
    let claim = gate.noted(durably!("claimed", gate.grants.claim(new, gate.now())))?;
    let Claim::New(record) = claim else {
        return Ok(None);
    };
    let Some(active) = gate.activate(&record.id) else {
        return Ok(None);
    };
    gate.emit(&Event::Claimed {
        grant: record.id.clone(),
        route: purchase.sale.pattern.clone(),
    });
    Ok(Some((record, active)))
}

/// Asks the facilitator whether the payment would settle now.
async fn verify(gate: &Inner, purchase: &Purchase) -> Result<(), Response<Body>> {
    if purchase.is_proof() && gate.now() >= purchase.intent.deadline {
        let over = Refusal::new(
            codes::INVALID_EXACT_EVM_TXID_REFERENCE,
            "The time to show a transaction for these terms is over; send its hash to the seller.",
        );
        return Err(not_taken(gate, purchase, over));
    }
    let request = VerifyRequest {
        payload: purchase.payload.clone(),
        requirements: purchase.terms.wire.clone(),
    };
    let verdict = tokio::time::timeout(
        gate.limits.verify_timeout,
        gate.facilitator.verify(&request),
    )
    .await;
    match verdict {
        Ok(Ok(verdict)) if verdict.is_valid => {
            if entry::ends_too_soon(gate, purchase) {
                let why = Refusal::new(
                    codes::CANNOT_SETTLE_IN_TIME,
                    "The authorization ends too soon to serve and to settle; sign one that holds as long as the terms say.",
                );
                return Err(not_taken(gate, purchase, why));
            }
            gate.emit(&Event::Verified {
                route: purchase.sale.pattern.clone(),
                payer: purchase.intent.identity.payer.to_string(),
                network: purchase.terms.network.clone(),
                amount: purchase.terms.amount,
            });
            hooks::verified(gate, purchase);
            entry::counted(gate, purchase).map_or(Ok(()), Err)
        }
        Ok(Ok(verdict)) => Err(invalid(gate, purchase, verdict)),
        Ok(Err(error)) => Err(no_verdict(&error)),
        Err(_) => Err(no_verdict(&FacilitatorError::Unavailable(
            "no answer in time".to_owned(),
        ))),
    }
}

fn invalid(gate: &Inner, purchase: &Purchase, verdict: VerifyResponse) -> Response<Body> {
    let code = verdict
        .invalid_reason
        .unwrap_or_else(|| codes::UNEXPECTED_VERIFY_ERROR.to_owned());
    let message = verdict
        .invalid_message
        .or_else(|| codes::sentence(&code).map(str::to_owned))
        .unwrap_or_else(|| {
            "The facilitator refused the payment; correct it and try again.".to_owned()
        });
    let refusal = Refusal::foreign(code, message);
    hooks::failed(gate, purchase, Step::Verify, &refusal);
    not_taken(gate, purchase, refusal)
}

/// The terms again, with a facilitator's reason. A transaction that only has to wait,
/// or is shown too late, gets no terms: nobody is to pay again for it.
fn not_taken(gate: &Inner, purchase: &Purchase, refusal: Refusal) -> Response<Body> {
    let is_early = codes::is_early_proof(refusal.code());
    // One that was seen, and is gone for so long that its payment ended.
    let refusal = match refusal.code() {
        codes::PAYMENT_EXPIRED if purchase.is_proof() => Refusal::new(
            codes::PAYMENT_EXPIRED,
            "The transaction was in a block and is in none now; if it comes back, show its hash to the seller.",
        ),
        _ => refusal,
    };
    let is_over = codes::is_late_proof(refusal.code()) || refusal.code() == codes::PAYMENT_EXPIRED;
    if is_early || purchase.is_proof() && is_over {
        gate.emit(&Event::Refused {
            grant: None,
            route: purchase.sale.pattern.clone(),
            code: refusal.code().to_owned(),
        });
        let receipt = Order::of(purchase).unknown_receipt();
        return match is_early {
            true => answer::early(purchase.version, receipt, &refusal),
            false => answer::late(purchase.version, receipt, &refusal),
        };
    }
    let status = match refusal.code() {
        codes::PERMIT2_ALLOWANCE_REQUIRED => StatusCode::PRECONDITION_FAILED,
        _ => StatusCode::PAYMENT_REQUIRED,
    };
    let why = Rejection {
        status,
        ..Rejection::terms(refusal)
    };
    challenge::rejected(gate, purchase.told(), &purchase.target.path, &why)
}

/// The facilitator gave no verdict: nothing is served and nothing happened.
fn no_verdict(error: &FacilitatorError) -> Response<Body> {
    tracing::warn!(%error, "the facilitator gave no answer");
    match error {
        FacilitatorError::Protocol(_) => answer::problem(
            StatusCode::BAD_GATEWAY,
            codes::FACILITATOR_PROTOCOL_ERROR,
            "The facilitator answered something that is not in the protocol; nothing was charged, try again later.",
        ),
        _ => answer::unavailable(
            codes::FACILITATOR_UNAVAILABLE,
            "The facilitator cannot be asked now; nothing was charged, ask again with the same payment.",
        ),
    }
}

/// The ledger did not take a step: no payment is taken.
pub(crate) fn ledger_failed(error: &LedgerError) -> Response<Body> {
    tracing::error!(%error, "a payment was not taken since the ledger failed");
    answer::unavailable(
        codes::LEDGER_UNAVAILABLE,
        "Payments cannot be recorded now, so none is taken; try again later.",
    )
}
