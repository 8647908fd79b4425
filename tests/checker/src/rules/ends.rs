//! How payments and grants end.

use std::collections::BTreeMap;

use super::{Breaches, payments};
use crate::Evidence;
use crate::client::Verdict;

/// An answer that means that the payment was taken leaves a record.
pub(super) fn accepted_is_kept(evidence: &Evidence, breaches: &mut Breaches<'_>) {
    for (auth, lived) in &evidence.client.payments {
        let taken = lived.verdicts().any(|verdict| {
            matches!(
                verdict,
                Verdict::Success | Verdict::Duplicate | Verdict::Pending
            )
        });
        let grants = || evidence.ledgers.iter().flat_map(|ledger| &ledger.grants);
        if !lived.tokens.is_empty() && !grants().any(|grant| grant.auth == *auth) {
            breaches.add(auth, "was given a token, and is on no record");
        }
        if taken && !payments(evidence).any(|(_, payment)| payment.auth == *auth) {
            breaches.add(auth, "was taken, and is on no record");
        }
    }
}

pub(super) fn all_ends(evidence: &Evidence, breaches: &mut Breaches<'_>) {
    for (_, payment) in payments(evidence) {
        if matches!(payment.state.as_str(), "accepted" | "submitted") {
            breaches.add(&payment.id, format!("is still {}", payment.state));
        }
    }
    for grant in evidence.ledgers.iter().flat_map(|ledger| &ledger.grants) {
        if matches!(grant.state.as_str(), "claimed" | "served" | "settling") {
            breaches.add(&grant.auth, format!("its grant is still {}", grant.state));
        }
    }
}

pub(super) fn ends_are_true(evidence: &Evidence, breaches: &mut Breaches<'_>) {
    for (_, payment) in payments(evidence) {
        let moved = evidence.chain.of(&payment.auth).next();
        match payment.state.as_str() {
            "settled" => match moved {
                // Nothing is what costs nothing.
                None if payment.amount == 0 => {}
                None => breaches.add(&payment.id, "is settled, and nothing moved"),
                Some(transfer) if transfer.to != payment.to => {
                    breaches.add(&payment.id, "is settled, and somebody else was paid");
                }
                Some(_) => {}
            },
            "refused" if moved.is_some() => breaches.add(&payment.id, "is refused, and moved"),
            "expired" => {
                if moved.is_some() || evidence.chain.used.contains(&payment.auth) {
                    breaches.add(&payment.id, "is expired, and its nonce is used");
                }
                if evidence.chain.time * 1_000 <= payment.deadline {
                    breaches.add(&payment.id, "is expired before its deadline");
                }
            }
            _ => {}
        }
        if payment.handed_out && payment.state != "settled" {
            breaches.add(&payment.id, "was handed out, and is not settled");
        }
    }
}

pub(super) fn one_grant(evidence: &Evidence, breaches: &mut Breaches<'_>) {
    let mut grants: BTreeMap<&str, usize> = BTreeMap::new();
    for grant in evidence.ledgers.iter().flat_map(|ledger| &ledger.grants) {
        if !grant.reclaimable {
            *grants.entry(&grant.auth).or_default() += 1;
        }
    }
    for (auth, count) in grants {
        if count > 1 {
            breaches.add(auth, format!("opened {count} grants"));
        }
    }
    for (auth, lived) in &evidence.client.payments {
        let goods = lived.answers.iter().map(|(_, answer)| answer);
        let unnamed = goods.filter(|answer| answer.goods && answer.key.is_none());
        if unnamed.count() > 1 {
            breaches.add(auth, "fetched its goods twice without a name");
        }
        if lived.streams.iter().filter(|s| s.units > 0).count() > 1 {
            breaches.add(auth, "was streamed its goods twice");
        }
    }
}

pub(super) fn released_is_paid(evidence: &Evidence, breaches: &mut Breaches<'_>) {
    for grant in evidence.ledgers.iter().flat_map(|ledger| &ledger.grants) {
        let moved = evidence.chain.of(&grant.auth).next().is_some();
        let is_free = grant.meter.is_some() && grant.amount == 0;
        if grant.state == "released" && !moved && !is_free {
            breaches.add(&grant.auth, "its grant is released, and nothing moved");
        }
        if grant.state == "refused" && !grant.reclaimable && moved {
            breaches.add(&grant.auth, "its grant is refused, and money moved");
        }
    }
}
