//! Passes, their tokens, and what is promised with them and with metered answers.

use std::collections::BTreeMap;

use super::Breaches;
use crate::client::Door;
use crate::ledger::{Grant, Purse};
use crate::{Evidence, Ledger};

/// How long a token may outlive its payment, in milliseconds.
const GRACE: u64 = 1_000;

/// When a grant or its payment failed for good, by the story.
fn failed_at(ledger: &Ledger, grant: &Grant) -> Option<u64> {
    let payment = ledger.payment(&grant.auth);
    let failed = payment.filter(|p| matches!(p.state.as_str(), "refused" | "expired"));
    let is_refused = grant.state == "refused" && !grant.reclaimable;
    let named = failed.map(|p| p.id.as_str());
    let own = is_refused.then_some(grant.id.as_str());
    let ends = ledger.events.iter().filter(|event| {
        let is_about = Some(event.subject.as_str());
        let ends = matches!(event.kind.as_str(), "refused" | "expired");
        ends && (is_about == named || is_about == own)
    });
    ends.map(|event| event.at).min()
}

pub(super) fn token_dies_with_payment(evidence: &Evidence, breaches: &mut Breaches<'_>) {
    for ledger in &evidence.ledgers {
        for grant in &ledger.grants {
            let Some(failed) = failed_at(ledger, grant) else {
                continue;
            };
            if ledger.pass(grant).is_some_and(|pass| !pass.failed) {
                breaches.add(&grant.auth, "failed, and its pass is good");
            }
            let lived = evidence.client.payments.get(&grant.auth);
            let uses = lived.into_iter().flat_map(|lived| &lived.uses);
            let late = uses.filter(|used| used.goods && used.sent_at > failed + GRACE);
            for used in late {
                let after = used.sent_at - failed;
                breaches.add(
                    &grant.auth,
                    format!("its token opened something {after} ms after it failed"),
                );
            }
        }
    }
}

/// The seller was told that a pass is taken back: it is, for ever.
pub(super) fn revoked_is_closed(evidence: &Evidence, breaches: &mut Breaches<'_>) {
    for (auth, lived) in &evidence.client.payments {
        for revoked in &lived.revoked {
            let mut passes = evidence.ledgers.iter().flat_map(|ledger| &ledger.passes);
            let pass = passes.find(|pass| pass.id == revoked.pass);
            if pass.is_none_or(|pass| !pass.withdrawn) {
                breaches.add(auth, "was taken back, and its pass is good");
            }
            // One that counts requests is read at each.
            let is_counted = pass.is_some_and(|pass| pass.quota.is_some());
            let grace = if is_counted { 0 } else { GRACE };
            let closed = revoked.at + grace;
            let late = lived.uses.iter().filter(|u| u.goods && u.sent_at > closed);
            for used in late {
                let after = used.sent_at - revoked.at;
                breaches.add(
                    auth,
                    format!("its token opened something {after} ms after it was taken back"),
                );
            }
        }
    }
}

pub(super) fn quota_holds(evidence: &Evidence, breaches: &mut Breaches<'_>) {
    for (auth, lived) in &evidence.client.payments {
        let opened = lived.uses.iter().filter(|used| used.goods).count() as u64;
        for token in &lived.tokens {
            let Some(quota) = token.quota else { continue };
            // The request that bought it by header is one of them.
            let bought = u64::from(token.door == Door::Gate);
            if opened + bought > quota {
                breaches.add(auth, format!("opened {opened} requests of {quota}"));
            }
            let mut passes = evidence.ledgers.iter().flat_map(|ledger| &ledger.passes);
            let pass = passes.find(|pass| pass.id == token.pass);
            let Some((_, left)) = pass.and_then(|pass| pass.quota) else {
                breaches.add(auth, "has a token of a pass that is not counted");
                continue;
            };
            if left + opened > quota {
                breaches.add(
                    auth,
                    format!("opened {opened} of {quota}, and has {left} left"),
                );
            }
        }
    }
}

pub(super) fn pass_is_kept(evidence: &Evidence, breaches: &mut Breaches<'_>) {
    for ledger in &evidence.ledgers {
        let sold = ledger.grants.iter().filter(|grant| grant.sells_pass);
        // What a dead process had claimed and was claimed anew is nothing.
        for grant in sold.filter(|grant| !grant.reclaimable) {
            let moved = evidence.chain.of(&grant.auth).next().is_some();
            let is_good = ledger
                .pass(grant)
                .is_some_and(|pass| pass.settled && !pass.failed);
            if grant.state == "released" && !is_good {
                breaches.add(&grant.auth, "is released, and its pass is no good");
            }
            if moved && !is_good {
                breaches.add(&grant.auth, "paid for a pass, and has none");
            }
        }
    }
    for (auth, lived) in &evidence.client.payments {
        let mut names: Vec<&str> = lived.tokens.iter().map(|t| t.pass.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() > 1 {
            breaches.add(auth, "has tokens of several passes");
        }
        for name in names {
            let mut passes = evidence.ledgers.iter().flat_map(|ledger| &ledger.passes);
            if !passes.any(|pass| pass.id == name) {
                breaches.add(auth, "has a token of a pass that is on no record");
            }
        }
    }
}

pub(super) fn exposure_is_conserved(evidence: &Evidence, breaches: &mut Breaches<'_>) {
    for ledger in &evidence.ledgers {
        let open = ledger.passes.iter().filter(|p| !p.settled && !p.failed);
        let open = open.map(|pass| (&pass.purse, pass.amount));
        let lost = ledger.passes.iter().filter(|p| p.lost);
        let lost = lost.map(|pass| (&pass.purse, pass.amount));
        let metered = || ledger.grants.iter().filter_map(|g| Some((g, g.meter?)));
        let streaming = metered().filter(|(_, promise)| promise.is_open);
        let streaming = streaming.map(|(grant, promise)| (&grant.purse, promise.permitted));
        let unpaid = metered().filter(|(g, promise)| !promise.is_open && g.state == "refused");
        let unpaid = unpaid.map(|(grant, _)| (&grant.purse, grant.amount));
        let (open, lost) = (sums(open.chain(streaming)), sums(lost.chain(unpaid)));
        for (what, counted, true_sums) in [
            ("promised", &ledger.exposures, open),
            ("lost", &ledger.losses, lost),
        ] {
            let mut counted_sums: BTreeMap<Purse, u128> = BTreeMap::new();
            for (purse, amount) in counted {
                *counted_sums.entry(purse.clone()).or_default() += amount;
            }
            for purse in counted_sums.keys().chain(true_sums.keys()) {
                let of = |sums: &BTreeMap<Purse, u128>| sums.get(purse).copied().unwrap_or(0);
                let (counted, truly) = (of(&counted_sums), of(&true_sums));
                if counted != truly {
                    let (_, asset, payer) = purse;
                    breaches.add(
                        format!("{payer} {asset}"),
                        format!("{counted} counts as {what}, and {truly} is"),
                    );
                }
            }
        }
    }
}

/// By purse, and of all payers.
fn sums<'a>(amounts: impl Iterator<Item = (&'a Purse, u128)>) -> BTreeMap<Purse, u128> {
    let mut sums: BTreeMap<Purse, u128> = BTreeMap::new();
    for ((network, asset, payer), amount) in amounts {
        for payer in [payer.clone(), String::new()] {
            let purse = (network.clone(), asset.clone(), payer);
            *sums.entry(purse).or_default() += amount;
        }
    }
    sums
}
