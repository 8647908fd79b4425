//! What moved, against what was told and written down.

use std::collections::BTreeMap;

use super::{Breaches, payments};
use crate::Evidence;
use crate::client::Verdict;

pub(super) fn moved_once(evidence: &Evidence, breaches: &mut Breaches<'_>) {
    let mut moved: BTreeMap<&str, usize> = BTreeMap::new();
    for transfer in &evidence.chain.transfers {
        match &transfer.auth {
            Some(auth) => *moved.entry(auth).or_default() += 1,
            None if paid_to_somebody(evidence, &transfer.to) => breaches.add(
                &transfer.transaction,
                "pays without any authorization that it used",
            ),
            None => {}
        }
    }
    for (auth, times) in moved {
        if times > 1 {
            breaches.add(auth, format!("moved money {times} times"));
        }
        if evidence.client.payments.contains_key(auth) && !evidence.chain.used.contains(auth) {
            breaches.add(auth, "moved money, and its nonce is not used");
        }
    }
}

/// Whether anybody signed a payment to this account.
fn paid_to_somebody(evidence: &Evidence, account: &str) -> bool {
    let lived = evidence.client.payments.values();
    lived
        .filter_map(|lived| lived.signed.as_ref())
        .any(|signed| signed.to.eq_ignore_ascii_case(account))
}

pub(super) fn success_is_paid(evidence: &Evidence, breaches: &mut Breaches<'_>) {
    for (auth, lived) in &evidence.client.payments {
        let successes = lived
            .answers
            .iter()
            .filter(|(_, answer)| answer.verdict() == Verdict::Success);
        for (_, answer) in successes {
            let Some(transfer) = evidence.chain.of(auth).next() else {
                breaches.add(auth, "was told as paid, and nothing moved");
                continue;
            };
            let signed = lived.signed.as_ref();
            if signed.is_some_and(|signed| {
                !signed.allows(transfer.amount) || !signed.to.eq_ignore_ascii_case(&transfer.to)
            }) {
                breaches.add(auth, "moved another amount or to somebody else");
            }
            let told = answer.transaction.as_deref().unwrap_or_default();
            if !told.is_empty() && !told.eq_ignore_ascii_case(&transfer.transaction) {
                breaches.add(
                    auth,
                    format!("was told {told}, and moved in {}", transfer.transaction),
                );
            }
        }
        for told in lived.streams.iter().filter_map(|s| s.transaction.as_ref()) {
            let moved = evidence.chain.of(auth).next();
            if moved.is_none_or(|moved| !told.eq_ignore_ascii_case(&moved.transaction)) {
                breaches.add(auth, format!("was told {told}, in which nothing moved"));
            }
        }
    }
}

pub(super) fn paid_is_settled(evidence: &Evidence, breaches: &mut Breaches<'_>) {
    for transfer in &evidence.chain.transfers {
        let Some(auth) = &transfer.auth else { continue };
        let Some(lived) = evidence.client.payments.get(auth) else {
            continue;
        };
        let only_refused = lived.tokens.is_empty()
            && lived.streams.is_empty()
            && lived.broke == 0
            && lived.verdicts().all(|verdict| verdict == Verdict::Refused);
        if only_refused {
            continue;
        }
        let record = payments(evidence).find(|(_, payment)| payment.auth == *auth);
        match record.map(|(_, payment)| payment) {
            None => breaches.add(auth, "moved money, and is on no record"),
            Some(payment) if payment.state != "settled" => {
                breaches.add(auth, format!("moved money, and is {}", payment.state));
            }
            Some(payment) if payment.transaction.as_ref() != Some(&transfer.transaction) => {
                breaches.add(auth, "is settled by another transaction than moved it");
            }
            Some(_) => {}
        }
    }
}

pub(super) fn sums_agree(evidence: &Evidence, breaches: &mut Breaches<'_>) {
    let mut settled = 0_u128;
    let mut moved = 0_u128;
    for (_, payment) in payments(evidence) {
        if payment.state == "settled" {
            settled += payment.amount;
        }
        moved += evidence
            .chain
            .of(&payment.auth)
            .map(|transfer| transfer.amount)
            .sum::<u128>();
    }
    if settled != moved {
        breaches.add("sum", format!("{settled} settled, {moved} moved"));
    }
}
