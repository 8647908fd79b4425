//! Metered answers, which leave before they are paid.

use super::Breaches;
use crate::Evidence;
use crate::client::{Lived, Meter, StreamEnd};
use crate::ledger::{Grant, Promise};

/// The grant in which so much was promised for an authorization.
fn promised<'a>(evidence: &'a Evidence, auth: &str) -> Option<(&'a Grant, Promise)> {
    let mut grants = evidence.ledgers.iter().flat_map(|ledger| &ledger.grants);
    grants.find_map(|grant| Some((grant, grant.meter?)).filter(|_| grant.auth == auth))
}

pub(super) fn metered_is_promised(evidence: &Evidence, breaches: &mut Breaches<'_>) {
    for (auth, lived) in &evidence.client.payments {
        let permitted = lived.signed.as_ref().map(|signed| signed.amount);
        match promised(evidence, auth) {
            None if !lived.streams.is_empty() => {
                breaches.add(auth, "was streamed, and nothing is promised for it");
            }
            Some((_, promise)) if Some(promise.permitted) != permitted => {
                breaches.add(
                    auth,
                    format!("{} is promised, not what was signed", promise.permitted),
                );
            }
            _ => {}
        }
    }
}

pub(super) fn metered_is_charged(evidence: &Evidence, breaches: &mut Breaches<'_>) {
    for (auth, lived) in &evidence.client.payments {
        let Some(signed) = lived.signed.as_ref() else {
            continue;
        };
        let Some(meter) = signed.meter else { continue };
        let moved = evidence.chain.of(auth).next().map(|moved| moved.amount);
        let Some((grant, promise)) = promised(evidence, auth) else {
            if moved.is_some() {
                breaches.add(auth, "paid, and nothing is promised for it");
            }
            continue;
        };
        let charged = grant.amount;
        if charged > promise.permitted || charged % meter.price.max(1) != 0 {
            breaches.add(auth, format!("is charged {charged}"));
        }
        if moved.is_some_and(|moved| moved != charged) {
            breaches.add(auth, format!("is charged {charged}, and moved otherwise"));
        }
        if let Some(how) = unfair(lived, meter, charged) {
            breaches.add(auth, how);
        }
    }
}

/// What a charge for what came is not: all of it where it came whole; where it broke
/// off, a piece less at most, since it may have left before it was recorded, or more,
/// since it may have been recorded and never have left.
fn unfair(lived: &Lived, meter: Meter, charged: u128) -> Option<String> {
    let units = u128::from(lived.streamed());
    let piece = u128::from(meter.piece);
    let charged = charged / meter.price.max(1);
    let is = |end| lived.streams.iter().any(|stream| stream.end == end);
    let (least, most) = if is(StreamEnd::Whole) {
        (units, units)
    } else if is(StreamEnd::Left) {
        (units.saturating_sub(piece), u128::MAX)
    } else {
        (units.saturating_sub(piece), units + piece)
    };
    let is_fair = (least..=most).contains(&charged);
    (!is_fair).then(|| format!("{units} units came, and {charged} are charged"))
}
