//! What the client was told.

use std::collections::BTreeSet;

use super::Breaches;
use crate::Evidence;
use crate::client::{Door, Verdict};

pub(super) fn success_once(evidence: &Evidence, breaches: &mut Breaches<'_>) {
    for (auth, lived) in &evidence.client.payments {
        let mut keys = BTreeSet::new();
        let mut unnamed = 0;
        for (door, answer) in &lived.answers {
            if *door == Door::Settle && answer.verdict() == Verdict::Success {
                unnamed += usize::from(answer.key.is_none());
                keys.insert(&answer.key);
            }
        }
        if keys.len() > 1 || unnamed > 1 {
            breaches.add(auth, "success was handed out twice");
        }
    }
}

pub(super) fn refusal_holds(evidence: &Evidence, breaches: &mut Breaches<'_>) {
    for (auth, lived) in &evidence.client.payments {
        // Whose pass its seller took back has paid, and gets no token any more.
        let is_refused = lived.answers.iter().any(|(_, answer)| {
            let is_closed = answer.code.as_deref() == Some("token_revoked");
            answer.verdict() == Verdict::Refused && !(is_closed && is_withdrawn(evidence, auth))
        });
        if is_refused && evidence.chain.of(auth).next().is_some() {
            breaches.add(auth, "was refused for good, and money moved");
        }
    }
}

fn is_withdrawn(evidence: &Evidence, auth: &str) -> bool {
    evidence.ledgers.iter().any(|ledger| {
        let mut grants = ledger.grants.iter().filter(|grant| grant.auth == *auth);
        grants.any(|grant| ledger.pass(grant).is_some_and(|pass| pass.withdrawn))
    })
}

/// The last word to who paid is success, or the transaction's name where the
/// success went to a connection that broke.
pub(super) fn payer_is_served(evidence: &Evidence, breaches: &mut Breaches<'_>) {
    for (auth, lived) in &evidence.client.payments {
        let Some(transfer) = evidence.chain.of(auth).next() else {
            continue;
        };
        let has_goods = !lived.tokens.is_empty() || !lived.streams.is_empty();
        let is_served = has_goods || lived.verdicts().any(|v| v == Verdict::Success);
        if lived.sent.is_empty() || is_served {
            continue;
        }
        let Some((_, last)) = lived.answers.last() else {
            breaches.add(auth, "paid, and was never answered");
            continue;
        };
        let names_it = last
            .transaction
            .as_deref()
            .is_some_and(|told| told.eq_ignore_ascii_case(&transfer.transaction));
        let excused = last.verdict() == Verdict::Duplicate
            && last.key.is_none()
            && lived.broke > 0
            && names_it;
        if !excused {
            let code = last.code.as_deref().unwrap_or("nothing");
            breaches.add(auth, format!("paid, and was told {} {code}", last.status));
        }
    }
}

pub(super) fn pending_has_hash(evidence: &Evidence, breaches: &mut Breaches<'_>) {
    for (auth, lived) in &evidence.client.payments {
        for (_, answer) in &lived.answers {
            let told = answer.transaction.as_deref().unwrap_or_default();
            if answer.verdict() == Verdict::Pending && told.is_empty() {
                breaches.add(auth, "was told pending without a transaction");
            }
        }
    }
}
