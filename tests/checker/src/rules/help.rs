//! What a helping account does for payers.

use std::collections::BTreeMap;

use super::Breaches;
use crate::Evidence;

/// What says that a payer's own approval, or the help with it, was not good enough.
const UNHELPED: [&str; 2] = ["erc20_approval", "permit2_allowance"];

pub(super) fn help_is_counted(evidence: &Evidence, breaches: &mut Breaches<'_>) {
    let mut spent: BTreeMap<&str, u128> = BTreeMap::new();
    for helped in &evidence.chain.helped {
        for whom in ["", &*helped.to] {
            *spent.entry(whom).or_default() += helped.wei;
        }
    }
    for (whom, spent) in spent {
        let pages = evidence.ledgers.iter().flat_map(|ledger| &ledger.help);
        let counted: u128 = pages.filter(|(of, _)| of == whom).map(|(_, wei)| wei).sum();
        if counted < spent {
            let whom = if whom.is_empty() { "all" } else { whom };
            breaches.add(whom, format!("{spent} is spent, and {counted} counted"));
        }
    }
}

pub(super) fn help_once(evidence: &Evidence, breaches: &mut Breaches<'_>) {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for helped in &evidence.chain.helped {
        *times.entry(&helped.to).or_default() += 1;
    }
    for (whom, times) in times {
        if times > 1 {
            breaches.add(whom, format!("was helped {times} times"));
        }
        for (auth, lived) in &evidence.client.payments {
            let codes = lived.answers.iter().filter_map(|(_, a)| a.code.as_deref());
            let is_unhelped = |code: &str| UNHELPED.iter().any(|of| code.starts_with(of));
            if auth.starts_with(whom) && codes.into_iter().any(is_unhelped) {
                breaches.add(auth, "was helped, and refused for want of help");
            }
        }
    }
}
