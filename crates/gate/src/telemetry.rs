//! Counters and gauges of a gate. Labels are bounded: patterns of routes and codes of
//! the error table; never a payer, a grant or a URL.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::Counter;
use tollway_core::codes;

use crate::event::Event;

/// Ages by which open settlements are counted, and what they are called.
const AGES: [(u64, &str); 4] = [
    (60, "under_1m"),
    (600, "under_10m"),
    (3_600, "under_1h"),
    (u64::MAX, "older"),
];

/// An event happened.
pub(crate) fn happened(event: &Event) {
    metrics::counter!("tollway_gate_events_total", "kind" => event.kind()).increment(1);
    let (route, outcome) = match event {
        Event::Challenged { route } => (route, "challenged"),
        Event::Released { route, .. } => (route, "paid"),
        Event::TokenIssued { route, .. } => (route, "token"),
        Event::Refused { route, code, .. } => {
            metrics::counter!("tollway_gate_refusals_total", "code" => code_label(code))
                .increment(1);
            (route, "refused")
        }
        Event::SignedIn { .. } => return signed_in("accepted", "none"),
        Event::SignInRefused { code, .. } => return signed_in("refused", code_label(code)),
        _ => return,
    };
    counted(route, outcome).increment(1);
}

fn counted(route: &str, outcome: &'static str) -> Counter {
    metrics::counter!("tollway_gate_requests_total", "route" => route.to_owned(), "outcome" => outcome)
}

fn signed_in(outcome: &'static str, code: &'static str) {
    metrics::counter!("tollway_gate_sign_ins_total", "outcome" => outcome, "code" => code)
        .increment(1);
}

/// The counters of a route's 402 answers, looked up once: they are the most frequent
/// event by far.
#[derive(Default)]
pub(crate) struct Challenges(OnceLock<[Counter; 2]>);

impl Challenges {
    /// One more.
    pub(crate) fn count(&self, route: &str) {
        let found = || {
            let events = metrics::counter!("tollway_gate_events_total", "kind" => "challenged");
            [events, counted(route, "challenged")]
        };
        for counter in self.0.get_or_init(found) {
            counter.increment(1);
        }
    }
}

impl std::fmt::Debug for Challenges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Challenges")
    }
}

/// A code as a label: one of the table, or `other`.
fn code_label(code: &str) -> &'static str {
    let known = codes::ALL.iter().find(|(known, _)| *known == code);
    known.map_or("other", |(known, _)| known)
}

/// What is being settled and has not ended, by how long ago it was claimed.
pub(crate) fn open_settlements(ages: impl Iterator<Item = Duration>) {
    let mut counts = [0_u32; AGES.len()];
    let mut oldest = 0;
    for age in ages.map(|age| age.as_secs()) {
        oldest = oldest.max(age);
        let place = AGES.iter().position(|(most, _)| age < *most);
        counts[place.unwrap_or(AGES.len() - 1)] += 1;
    }
    for ((_, name), count) in AGES.into_iter().zip(counts) {
        metrics::gauge!("tollway_gate_open_settlements", "age" => name).set(count);
    }
    metrics::gauge!("tollway_gate_oldest_settlement_seconds").set(seconds(oldest));
}

/// Settlements whose outcome nobody can say yet, as the last look found.
pub(crate) fn unknown_settlements(count: usize) {
    metrics::gauge!("tollway_gate_unknown_settlements")
        .set(u32::try_from(count).unwrap_or(u32::MAX));
}

/// How long the oldest notice waits that the seller's server did not take.
pub(crate) fn webhook_lag(lag: Duration) {
    metrics::gauge!("tollway_gate_webhook_lag_seconds").set(seconds(lag.as_secs()));
}

fn seconds(seconds: u64) -> f64 {
    f64::from(u32::try_from(seconds).unwrap_or(u32::MAX))
}
