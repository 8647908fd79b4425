//! The promises, each as a function that names every breach.

mod answers;
mod ends;
mod help;
mod meters;
mod money;
mod nonces;
mod passes;
mod story;

#[cfg(test)]
mod doctored;

use std::fmt;

use crate::{Evidence, Ledger};

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub rule: &'static str,
    /// By what: an authorization, a payment, a nonce, an event.
    pub about: String,
    /// How.
    pub how: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.rule, self.about, self.how)
    }
}

type Rule = fn(&Evidence, &mut Breaches<'_>);

/// Every promise by its name, and what it says.
const RULES: &[(&str, &str, Rule)] = &[
    (
        "moved_once",
        "an authorization moves money at most once",
        money::moved_once,
    ),
    (
        "success_is_paid",
        "no success is told without its Transfer",
        money::success_is_paid,
    ),
    (
        "paid_is_settled",
        "what moved ends as settled in the ledger",
        money::paid_is_settled,
    ),
    (
        "sums_agree",
        "the ledger's settled sum is the chain's",
        money::sums_agree,
    ),
    (
        "accepted_is_kept",
        "what was accepted is on record",
        ends::accepted_is_kept,
    ),
    ("all_ends", "every payment and grant ends", ends::all_ends),
    (
        "ends_are_true",
        "settled, refused and expired are what the chain says",
        ends::ends_are_true,
    ),
    (
        "one_grant",
        "an authorization opens one grant",
        ends::one_grant,
    ),
    (
        "released_is_paid",
        "a grant is released if and only if it is paid",
        ends::released_is_paid,
    ),
    (
        "success_once",
        "success is handed out once, or to one key",
        answers::success_once,
    ),
    (
        "refusal_holds",
        "what was refused for good is never paid",
        answers::refusal_holds,
    ),
    (
        "payer_is_served",
        "who paid is served or told the transaction",
        answers::payer_is_served,
    ),
    (
        "pending_has_hash",
        "pending names its transaction",
        answers::pending_has_hash,
    ),
    (
        "hashes_are_kept",
        "no transaction is unknown to the ledger",
        nonces::hashes_are_kept,
    ),
    (
        "no_overlap",
        "no authorization is signed under a nonce while another can land",
        nonces::no_overlap,
    ),
    (
        "no_gaps",
        "nonces have no gaps and all are closed",
        nonces::no_gaps,
    ),
    (
        "token_dies_with_payment",
        "no token opens anything a second after its payment failed",
        passes::token_dies_with_payment,
    ),
    (
        "quota_holds",
        "a pass opens no more requests than were sold, and the ledger counts them all",
        passes::quota_holds,
    ),
    (
        "pass_is_kept",
        "who paid for a pass has it",
        passes::pass_is_kept,
    ),
    (
        "exposure_is_conserved",
        "what is promised or lost is what its passes say",
        passes::exposure_is_conserved,
    ),
    (
        "revoked_is_closed",
        "what was taken back opens nothing more",
        passes::revoked_is_closed,
    ),
    (
        "metered_is_promised",
        "no part of a metered answer leaves before its payment is promised",
        meters::metered_is_promised,
    ),
    (
        "metered_is_charged",
        "what a metered answer costs is what was handed out",
        meters::metered_is_charged,
    ),
    (
        "help_is_counted",
        "no more is spent on help than is counted",
        help::help_is_counted,
    ),
    (
        "help_once",
        "a payer is helped once, and pays then",
        help::help_once,
    ),
    (
        "story_holds",
        "the story's hashes fit each other",
        story::story_holds,
    ),
];

/// Collects the breaches of one promise.
struct Breaches<'a> {
    rule: &'static str,
    found: &'a mut Vec<Violation>,
}

impl Breaches<'_> {
    fn add(&mut self, about: impl Into<String>, how: impl Into<String>) {
        self.found.push(Violation {
            rule: self.rule,
            about: about.into(),
            how: how.into(),
        });
    }
}

/// Every promise: its name, and what it says.
pub fn promises() -> impl Iterator<Item = (&'static str, &'static str)> {
    RULES.iter().map(|(name, says, _)| (*name, *says))
}

/// Judges. Nothing found is all promises kept.
#[must_use]
pub fn check(evidence: &Evidence) -> Vec<Violation> {
    let mut found = Vec::new();
    for (rule, _, judge) in RULES {
        let found = &mut found;
        judge(evidence, &mut Breaches { rule, found });
    }
    found
}

/// Every engine's payment of all ledgers.
fn payments(evidence: &Evidence) -> impl Iterator<Item = (&Ledger, &crate::ledger::Payment)> {
    let of = |ledger: &'_ Ledger| ledger.payments.len();
    evidence
        .ledgers
        .iter()
        .flat_map(move |ledger| (0..of(ledger)).map(move |at| (ledger, &ledger.payments[at])))
}
