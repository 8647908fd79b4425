//! The deliberate bugs, and who must notice each.

/// What must notice a mistake.
#[derive(Clone, Copy, Debug)]
pub enum Suite {
    /// A package's tests whose names hold a text.
    Tests(&'static str, &'static str),
    /// Rounds of the crash sweep that die at this place, or by chance.
    Sweep(Option<&'static str>),
}

use Suite::{Sweep, Tests};

const LEDGER: Suite = Tests("tollway-ledger", "");
const ENGINE: Suite = Tests("tollway-facilitator", "");
const EVM: Suite = Tests("tollway-evm", "");
const GATE: Suite = Tests("tollway-gate", "");
const PAYER: Suite = Tests("tollway-payer", "");
const STORIES: Suite = Tests("tollway", "front_runner");
const POWER: Suite = Tests("tollway-test-faultvfs", "");

/// A deliberate bug.
pub struct Mistake {
    /// As `tollway_core::mistake::is` names it.
    pub name: &'static str,
    /// What goes wrong.
    pub what: &'static str,
    /// Who must notice, the likeliest first.
    pub caught_by: &'static [Suite],
}

macro_rules! mistakes {
    ($($name:literal, $what:literal, [$($suite:expr),*];)*) => {
        /// All of them.
        pub const MISTAKES: &[Mistake] = &[$(Mistake { name: $name, what: $what, caught_by: &[$($suite),*] }),*];
    };
}

mistakes! {
    "no_fsync", "commits are not synced to disk", [POWER];
    "answer_before_commit", "a write is answered before it is durable", [LEDGER, Sweep(Some("ledger::commit::before"))];
    "dedupe_by_bytes", "payments are told apart by their bytes", [LEDGER, ENGINE];
    "two_grants", "a claim looks first and then takes", [LEDGER, GATE];
    "budget_check_then_act", "a budget counts what was paid, not what is reserved", [LEDGER, PAYER];
    "success_twice", "success is handed out to everybody who asks", [LEDGER, ENGINE];
    "stale_epoch_accepted", "a replica that lost its lease may still sign", [LEDGER];
    "nonce_gap", "a nonce is left out now and then", [LEDGER, ENGINE, Sweep(None)];
    "hash_not_stored", "the hash of a replacement is not kept", [LEDGER, ENGINE];
    "story_not_chained", "an event does not hold the hash of the one before", [LEDGER, Sweep(None)];
    "new_signature_on_retry", "a repeated call signs anew", [LEDGER, PAYER];
    "send_before_store", "a transaction leaves before it is durable", [ENGINE, Sweep(Some("saga::submitted::before_write"))];
    "second_nonce_while_first_can_land", "a stuck payment is signed under another nonce", [ENGINE];
    "refused_on_timeout", "a send without an answer counts as failed", [ENGINE];
    "success_on_send", "a transaction that was sent counts as settled", [ENGINE];
    "paid_by_stranger_denied", "a payment that somebody else submitted is refused", [ENGINE, STORIES];
    "expired_by_own_clock", "a payment expires by our clock alone", [ENGINE];
    "pending_without_hash", "pending does not name the transaction", [ENGINE, Sweep(None)];
    "reorg_ignored", "replaced blocks are not noticed", [ENGINE];
    "verify_commits", "a verification takes the payment", [ENGINE];
    "recovery_forgets_signed", "what was signed before a crash is not taken up again", [ENGINE, Sweep(Some("saga::submitted::after_write"))];
    "status_ignored", "a reverted transaction counts", [EVM];
    "logs_ignored", "a receipt counts whatever moved", [EVM];
    "finality_ignored", "the first block is deep enough", [EVM];
    "underpay_passes", "less than the price passes", [EVM];
    "window_ignored", "an authorization's times are not looked at", [EVM];
    "fee_not_raised", "a replacement offers what was offered before", [EVM];
    "nonce_too_low_is_failure", "a used nonce counts as a failed payment", [EVM, ENGINE];
    "domain_from_server", "the server says which token is signed for", [EVM, PAYER];
    "release_before_settle", "the answer leaves before the money moved", [GATE];
    "any_status_trusted", "a facilitator's 200 counts as paid", [GATE];
    "get_only", "only GET costs anything", [GATE];
    "raw_path_gate", "a path is matched as it is spelled", [GATE];
    "public_cache", "paid answers may be kept by shared caches", [GATE];
    "repeat_gets_goods", "a payment shown again buys again", [GATE];
    "budget_freed_when_unclear", "money is given back when nobody knows", [PAYER];
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::build;

    #[test]
    fn every_mistake_has_a_name_of_its_own_and_somebody_to_catch_it() {
        let names: BTreeSet<_> = MISTAKES.iter().map(|mistake| mistake.name).collect();
        assert_eq!(names.len(), MISTAKES.len());
        assert!(names.len() >= 20);
        assert!(MISTAKES.iter().all(|mistake| !mistake.caught_by.is_empty()));
    }

    #[test]
    fn the_table_holds_the_mistakes_that_the_sources_make() {
        let mut made = BTreeSet::new();
        collect(&build::root().join("crates"), &mut made);
        let known: BTreeSet<String> = MISTAKES.iter().map(|m| m.name.to_owned()).collect();
        assert_eq!(known, made);
    }

    fn collect(folder: &Path, made: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, made);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let named = text.split("mistake::is(\"").skip(1);
                made.extend(named.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
            }
        }
    }
}
