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

const LEDGER: &str = "tollway-ledger";
const ENGINE: &str = "tollway-facilitator";
const EVM: &str = "tollway-evm";
const GATE: &str = "tollway-gate";
const PAYER: &str = "tollway-payer";
const POWER: &str = "tollway-test-faultvfs";

/// A deliberate bug.
pub struct Mistake {
    /// As `tollway_core::mistake::is` names it.
    pub name: &'static str,
    /// What goes wrong.
    pub what: &'static str,
    /// Who must notice, the likeliest first.
    pub caught_by: &'static [Suite],
}

impl Mistake {
    /// Whether a server may have to be killed to notice it.
    pub fn needs_a_server(&self) -> bool {
        self.caught_by.iter().any(|suite| matches!(suite, Sweep(_)))
    }
}

macro_rules! mistakes {
    ($($name:literal, $what:literal, [$($suite:expr),*];)*) => {
        /// All of them.
        pub const MISTAKES: &[Mistake] = &[$(Mistake { name: $name, what: $what, caught_by: &[$($suite),*] }),*];
    };
}

mistakes! {
    "no_fsync", "commits are not synced to disk", [Tests(POWER, "power_loss::a_life_of_two_hundred_power_losses_loses_no_step")];
    "answer_before_commit", "a write is answered before it is durable", [Tests(LEDGER, "crashes::a_failed_sync_ends_all_writing"), Sweep(Some("ledger::commit::before"))];
    "dedupe_by_bytes", "payments are told apart by their bytes", [Tests(LEDGER, "races::a_thousand_accepts_make_one_payment::in_a_file")];
    "two_grants", "a claim looks first and then takes", [Tests(LEDGER, "races::a_thousand_claims_open_one_grant::in_a_file")];
    "budget_check_then_act", "a budget counts what was paid, not what is reserved", [Tests(LEDGER, "races::a_thousand_reservations_stay_within_the_budget::in_a_file")];
    "one_log_pays_two", "two payments may rest on one transfer", [Tests(LEDGER, "settlements::one_transfer_settles_one_payment::in_a_file")];
    "release_counts_no_log", "what a gate itself sees on the chain is counted for nobody", [Tests(LEDGER, "grants::one_transfer_is_evidence_for_one_grant::in_a_file")];
    "promised_beyond_the_cap", "more is promised unsettled than the cap allows", [Tests(LEDGER, "passes::no_more_is_promised_than_the_cap::in_a_file")];
    "pass_outlives_its_payment", "a pass whose payment failed opens as before", [Tests(LEDGER, "passes::a_pass_dies_with_its_payment::in_a_file")];
    "metered_beyond_the_maximum", "a stream is charged more than was permitted", [Tests(LEDGER, "meters::what_is_handed_out_is_charged_and_never_more_than_was_permitted::in_a_file")];
    "helped_without_budget", "what is paid for others is counted and never refused", [Tests(LEDGER, "meters::what_is_paid_for_others_is_bounded_by_the_day::in_a_file")];
    "execution_counts_one", "an execution of many calls counts as one", [Tests(LEDGER, "spends::an_execution_counts_as_many_as_it_makes_calls::in_a_file")];
    "success_twice", "success is handed out to everybody who asks", [Tests(LEDGER, "settlements::success_is_handed_out_once::in_a_file")];
    "stale_epoch_accepted", "a replica that lost its lease may still sign", [Tests(LEDGER, "replicas::a_lost_lease_stores_nothing::in_a_file")];
    "nonce_gap", "a nonce is left out now and then", [Tests(LEDGER, "settlements::nonces_are_given_out_without_gaps::in_a_file")];
    "hash_not_stored", "the hash of a replacement is not kept", [Tests(LEDGER, "settlements::a_payment_has_one_open_attempt::in_a_file")];
    "story_not_chained", "an event does not hold the hash of the one before", [Tests(LEDGER, "tampering::an_untouched_history_is_whole")];
    "new_signature_on_retry", "a repeated call signs anew", [Tests(LEDGER, "spends::a_spend_comes_back_as_it_was_signed::in_a_file")];
    "send_before_store", "a transaction leaves before it is durable", [Tests(ENGINE, "step_stories::crashes_at_any_moment_lose_nothing_and_repeat_nothing"), Sweep(Some("saga::submitted::before_write"))];
    "second_nonce_while_first_can_land", "a stuck payment is signed under another nonce", [Tests(ENGINE, "a_stuck_transaction_is_replaced_under_its_nonce_with_higher_fees")];
    "refused_on_timeout", "a send without an answer counts as failed", [Tests(ENGINE, "step_stories::crashes_at_any_moment_lose_nothing_and_repeat_nothing")];
    "success_on_send", "a transaction that was sent counts as settled", [Tests(ENGINE, "an_unknown_outcome_is_pending_with_the_hash_and_success_comes_later_once")];
    "paid_by_stranger_denied", "a payment that somebody else submitted is refused", [Tests(ENGINE, "a_front_run_payment_counts_as_paid_once")];
    "expired_by_own_clock", "a payment expires by our clock alone", [Tests(ENGINE, "a_chain_that_stands_still_expires_nothing")];
    "pending_without_hash", "pending does not name the transaction", [Tests(ENGINE, "an_unknown_outcome_is_pending_with_the_hash_and_success_comes_later_once"), Sweep(None)];
    "reorg_ignored", "replaced blocks are not noticed", [Tests(ENGINE, "a_settled_payment_whose_block_was_replaced_is_settled_again_and_told_once")];
    "verify_commits", "a verification takes the payment", [Tests(ENGINE, "verify_commits_nothing_and_says_why_not")];
    "recovery_forgets_signed", "what was signed before a crash is not taken up again", [Tests(ENGINE, "a_crash_after_sending_finds_the_receipt_and_sends_no_second_transaction")];
    "status_ignored", "a reverted transaction counts", [Tests(EVM, "a_payment_that_a_stranger_submitted_first_still_counts")];
    "logs_ignored", "a receipt counts whatever moved", [Tests(EVM, "a_transaction_that_somebody_names_counts_only_for_its_own_authorization")];
    "finality_ignored", "the first block is deep enough", [Tests(EVM, "a_receipt_counts_only_at_the_depth_that_was_asked_for")];
    "underpay_passes", "less than the price passes", [Tests(EVM, "a_facilitator_reaches_the_official_verdicts_with_their_codes")];
    "window_ignored", "an authorization's times are not looked at", [Tests(EVM, "an_authorization_that_outlives_every_timeout_is_refused")];
    "fee_not_raised", "a replacement offers what was offered before", [Tests(EVM, "a_stuck_transaction_is_outbid_under_its_own_nonce")];
    "nonce_too_low_is_failure", "a used nonce counts as a failed payment", [Tests(EVM, "a_payment_that_was_settled_is_not_verified_again")];
    "domain_from_server", "the server says which token is signed for", [Tests(EVM, "the_domain_comes_from_our_own_table_and_a_server_that_differs_is_not_paid")];
    "release_before_settle", "the answer leaves before the money moved", [Tests(GATE, "a_crash_before_the_answer_leaves_loses_nothing")];
    "any_status_trusted", "a facilitator's 200 counts as paid", [Tests(GATE, "once_settle_may_have_been_received_everything_else_is_unknown")];
    "get_only", "only GET costs anything", [Tests(GATE, "bodies::a_body_over_the_limit_is_refused_before_anybody_is_asked")];
    "raw_path_gate", "a path is matched as it is spelled", [Tests(GATE, "proxied::a_free_request_reaches_the_server_behind_with_true_forwarding_headers")];
    "public_cache", "paid answers may be kept by shared caches", [Tests(GATE, "doors::what_the_service_behind_says_of_payments_does_not_pass")];
    "repeat_gets_goods", "a payment shown again buys again", [Tests(GATE, "doors::another_encoding_of_the_same_authorization_is_the_same_authorization")];
    "reference_of_anybody", "a transaction proof's terms may be anybody's", [Tests(GATE, "proofs::terms_that_the_gate_did_not_make_are_not_taken")];
    "budget_freed_when_unclear", "money is given back when nobody knows", [Tests(PAYER, "budget::what_is_held_counts_like_what_is_spent")];
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
