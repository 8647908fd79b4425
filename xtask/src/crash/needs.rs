//! What a place needs, for the server to come to it.

use tollway_sweep::{Scene, Setup};

/// What no client here does: it signs in with nothing, and a sign-in moves no money.
const ELSEWHERE: [&str; 1] = ["saga::use_sign_in::"];
/// Steps of a gate that sells passes.
const PASSES: [&str; 9] = [
    "::issue::",
    "::issued::",
    "::use_pass::",
    "::give_use_back::",
    "::take_notices::",
    "::told::",
    "::forget_passes::",
    "::revoke::",
    "::sign_with::",
];
/// Steps of a gate that sells what is streamed, by a meter.
const METERS: [&str; 3] = ["::promised::", "::meter::", "::metered::"];
/// Steps of who helps payers.
const HELPERS: [&str; 2] = ["::help::", "::unhelp::"];
/// Steps that a life takes once, or that a scene leads to once.
const RARE: [&str; 22] = [
    "::expired::",
    "::final::",
    "::forget_answers::",
    "::forget_passes::",
    "::forget_refused::",
    "::hand_out::",
    "::join::",
    "::lease_signer::",
    "::leave::",
    "::mark_final::",
    "::read::",
    "::refuse::",
    "::refuse_orphans::",
    "::refused::",
    "::reopen::",
    "::reopen_slot::",
    "::reopened::",
    "::take_back::",
    "::taken_back::",
    "::close_slot::",
    "::sign_with::",
    "::take_over::",
];
/// Steps of the gate.
const GATES: [&str; 9] = [
    "claim",
    "served",
    "settling",
    "settled_first",
    "release",
    "refuse_orphans",
    "forget",
    "remember",
    "tally",
];
/// Steps of whoever has the signer.
const SIGNERS: [&str; 5] = ["allocate", "store_raw", "submitted", "settled", "closed"];

/// Whether a server here ever comes there.
pub fn is_served(place: &str) -> bool {
    !ELSEWHERE.iter().any(|step| place.starts_with(step))
}

/// Whether to ask for its first time only.
pub fn is_rare(place: &str) -> bool {
    RARE.iter().any(|step| place.contains(step))
}

/// Whether a round is long, for what its server waits for: that another one's lease
/// runs out, or that the chain is deep or late enough.
pub fn is_long(place: Option<&str>, setup: Setup) -> bool {
    let waits = [
        "tally",
        "final",
        "expired",
        "lease_signer",
        "take_over",
        "remember_receipt",
    ];
    let leads = |place: &str| waits.iter().any(|step| place.contains(step));
    matches!(setup, Setup::Takeover | Setup::Pair) || place.is_some_and(leads)
}

/// Who settles, and what goes on, in the n-th round for a place.
pub fn settings(place: &str, n: u32) -> (Setup, Scene) {
    let setups = setups(place);
    (setups[n as usize % setups.len()], scene(place, n))
}

fn setups(place: &str) -> &'static [Setup] {
    let has = |step: &&str| place.contains(*step);
    let is_gates = place.starts_with("grant::") || GATES.iter().any(has);
    if PASSES.iter().any(has) {
        &[Setup::Passes]
    } else if METERS.iter().any(has) {
        &[Setup::Meter]
    } else if HELPERS.iter().any(has) {
        &[Setup::Facilitator]
    } else if place.contains("::take_over::") {
        &[Setup::Passes, Setup::Gate, Setup::Upfront]
    } else if is_given_up(place) {
        &[Setup::Pair]
    } else if has(&"expired") {
        // A gate serves nothing for what runs out so soon.
        &[Setup::Facilitator]
    } else if has(&"remember_receipt") {
        &[Setup::Upfront, Setup::Gate]
    } else if is_gates && ["settled_first", "paid"].iter().any(has) {
        &[Setup::Upfront]
    } else if is_gates || place.contains("refuse::") {
        &[Setup::Gate, Setup::Upfront, Setup::Passes]
    } else if SIGNERS.iter().any(has) {
        &[Setup::Facilitator, Setup::Gate, Setup::Takeover]
    } else {
        &[Setup::Facilitator, Setup::Gate]
    }
}

fn scene(place: &str, n: u32) -> Scene {
    let has = |step: &str| place.contains(step);
    if has("expired") {
        Scene::Expiring
    } else if HELPERS.iter().any(|step| has(step)) {
        Scene::Helped
    } else if has("::take_over::") {
        Scene::Orphaned
    } else if has("take_back") || has("taken_back") {
        Scene::Replaced
    } else if has("reopen_slot") {
        Scene::Freed
    } else if has("reopen") {
        Scene::Taken
    } else if has("final") {
        Scene::Final
    } else if has("remember_receipt") {
        Scene::Stalled
    } else if has("refuse") {
        Scene::Robbed
    } else if is_given_up(place) {
        Scene::Busy
    } else {
        [Scene::Busy, Scene::Replaced, Scene::Robbed][n as usize % 3]
    }
}

fn is_given_up(place: &str) -> bool {
    place.contains("give_up") || place.contains("given_up")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_died_at_where_something_leads_to_it() {
        assert!(is_served("saga::revoke::before_write"));
        assert!(!is_served("saga::use_sign_in::before_write"));
        let freed = settings("saga::reopen_slot::before_write", 0);
        assert_eq!(freed, (Setup::Facilitator, Scene::Freed));
        let taken = settings("saga::reopened::after_write", 1);
        assert_eq!(taken, (Setup::Gate, Scene::Taken));
        let heir = settings("saga::submitted::before_send", 2);
        assert_eq!(heir, (Setup::Takeover, Scene::Robbed));
        assert!(is_rare("saga::join::after_write"));
        let revoked = settings("saga::revoke::before_write", 0);
        assert_eq!(revoked, (Setup::Passes, Scene::Busy));
        let streamed = settings("grant::metered::before_write", 2);
        assert_eq!(streamed, (Setup::Meter, Scene::Robbed));
        let helped = settings("saga::unhelp::before_write", 1);
        assert_eq!(helped, (Setup::Facilitator, Scene::Helped));
        let sold = settings("grant::issued::before_write", 1);
        assert_eq!(sold, (Setup::Passes, Scene::Replaced));
        let left = settings("saga::take_over::after_write", 0);
        assert_eq!(left, (Setup::Passes, Scene::Orphaned));
    }
}
