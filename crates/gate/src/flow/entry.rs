//! Who is let in: by the seller's lists and rates, and by its own code.
//!
//! Who is kept out is told so, and nothing happened. But who shows a transaction has
//! paid before anybody could say so: it is looked at all the same, and where it is
//! good its grant is refused on record, so that the seller sees whom it owes.

use http::{Response, StatusCode};
use tollway_core::wire::SettleResponse;
use tollway_core::{PaymentFlow, Refusal, codes};
use tollway_ledger::GrantRecord;

use super::authorization::{give_back, refuse, time_to_serve};
use super::ledger_failed;
use super::settle::Order;
use crate::access::Denied;
use crate::answer;
use crate::body::Body;
use crate::event::Event;
use crate::gate::Inner;
use crate::hooks::{self, Step, Stop};
use crate::purchase::Purchase;

/// Lets a payment in before anybody is asked, and never what was paid already. Why it
/// is refused, where it is a transaction that is still to be looked at.
pub(super) async fn admitted(
    gate: &Inner,
    purchase: &Purchase,
) -> Result<Option<Refusal>, Response<Body>> {
    match denied(gate, purchase) {
        Some(denied) if purchase.is_proof() => return Ok(Some(denied.refusal())),
        Some(denied) => return Err(kept_out(gate, purchase, &denied)),
        None => {}
    }
    if !purchase.is_verified_first() && !purchase.is_door {
        return Ok(None);
    }
    match hooks::before(gate, purchase, Step::Verify).await {
        Ok(()) => Ok(None),
        Err(Stop::Refused(why)) if purchase.is_proof() => Ok(Some(why)),
        Err(stop) => {
            tell(gate, purchase, stop.code());
            Err(stopped(purchase, &stop))
        }
    }
}

/// What keeps a payer out. However often it pays, what is paid is served.
fn denied(gate: &Inner, purchase: &Purchase) -> Option<Denied> {
    let guard = gate.guard.as_ref()?;
    let payer = purchase.intent.identity.payer.as_str();
    let let_in = match purchase.is_proof() {
        true => guard.is_listed(payer),
        false => guard.is_let_in(payer, gate.now()),
    };
    let_in.err()
}

/// Whether no time is left for the service behind, where it is asked before the money
/// moves.
pub(super) fn ends_too_soon(gate: &Inner, purchase: &Purchase) -> bool {
    let serves_first = purchase.flow == PaymentFlow::Authorization && purchase.rate().is_none();
    serves_first && time_to_serve(gate, purchase).is_zero()
}

/// One more payment that was verified; the answer where it is one too many.
pub(super) fn counted(gate: &Inner, purchase: &Purchase) -> Option<Response<Body>> {
    let guard = gate.guard.as_ref().filter(|_| !purchase.is_proof())?;
    let payer = purchase.intent.identity.payer.as_str();
    let denied = guard.count(payer, gate.now()).err()?;
    Some(kept_out(gate, purchase, &denied))
}

/// The answer to who is not let in; it holds no terms.
fn kept_out(gate: &Inner, purchase: &Purchase, denied: &Denied) -> Response<Body> {
    tell(gate, purchase, denied.code());
    denied.answer()
}

fn tell(gate: &Inner, purchase: &Purchase, code: &str) {
    gate.emit(&Event::Refused {
        grant: None,
        route: purchase.sale.pattern.clone(),
        code: code.to_owned(),
    });
}

/// The answer where the seller's own code lets a payment go no further.
fn stopped(purchase: &Purchase, stop: &Stop) -> Response<Body> {
    match stop {
        Stop::Refused(why) => answer::refusal(StatusCode::FORBIDDEN, why),
        Stop::NoAnswer if purchase.is_proof() => answer::unavailable(
            codes::ACCESS_DENIED,
            "A rule of the server did not answer in time; show the same transaction again, do not pay again.",
        ),
        Stop::NoAnswer => answer::problem(
            StatusCode::FORBIDDEN,
            codes::ACCESS_DENIED,
            "A rule of the server did not answer in time; nothing was charged, ask again with the same payment.",
        ),
    }
}

/// The end of a grant that the seller's own code stopped before it settled.
pub(super) async fn not_settled(
    gate: &Inner,
    purchase: &Purchase,
    record: &GrantRecord,
    stop: &Stop,
) -> Response<Body> {
    match stop {
        Stop::Refused(why) if purchase.is_proof() => owe(gate, purchase, record, why).await,
        _ => {
            give_back(gate, record, stop.code()).await;
            stopped(purchase, stop)
        }
    }
}

/// Refuses a grant of a transaction that was made, and keeps which one it was: in one
/// step, since what is on its way to be settled is served.
pub(super) async fn owe(
    gate: &Inner,
    purchase: &Purchase,
    record: &GrantRecord,
    why: &Refusal,
) -> Response<Body> {
    let message = format!(
        "{} The transaction that was shown is on record; send its hash to the seller.",
        why.message()
    );
    let why = Refusal::foreign(why.code(), message);
    let receipt = SettleResponse {
        error_reason: Some(why.code().to_owned()),
        ..Order::of(purchase).unknown_receipt()
    };
    let said = (why.code(), why.message());
    match refuse(gate, record, said, false, Some(&receipt)).await {
        Ok(()) => answer::late(purchase.version, receipt, &why),
        // A claim that comes to nothing: whoever shows it next is looked at again.
        Err(error) => {
            give_back(gate, record, codes::LEDGER_UNAVAILABLE).await;
            ledger_failed(&error)
        }
    }
}
