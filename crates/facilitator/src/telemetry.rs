//! Counters and histograms. Labels are bounded: networks and schemes that are
//! served, states, and codes of the error table; never an address or an id.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Counter, Histogram};

use tollway_core::{Amount, Broadcast, ChainError, Network, SignerState, Timestamp, codes};
use tollway_ledger::{Cost, PaymentRecord, PaymentState};

/// A code as a label: one of the table, or `other`.
fn code_label(code: Option<&str>) -> &'static str {
    let Some(code) = code else {
        return "none";
    };
    codes::ALL
        .iter()
        .find(|(known, _)| *known == code)
        .map_or("other", |(known, _)| known)
}

/// A scheme as a label.
fn scheme_label(scheme: &str) -> &'static str {
    tollway_core::Scheme::from_wire(scheme).map_or("other", tollway_core::Scheme::as_str)
}

/// How a call to `/verify` or `/settle` went.
pub(crate) struct Call<'a> {
    /// `verify` or `settle`.
    pub(crate) step: &'static str,
    /// Served network, if it is one.
    pub(crate) network: Option<&'a Network>,
    /// As it was sent.
    pub(crate) scheme: &'a str,
    /// `ok`, `refused`, `pending` or `error`.
    pub(crate) outcome: &'static str,
    /// Why not.
    pub(crate) code: Option<&'a str>,
    /// How long it took.
    pub(crate) took: Duration,
}

/// The meters of what goes well, found once: the rest is rare.
#[derive(Default)]
pub(crate) struct Meters {
    verify: OnceLock<(Counter, Histogram)>,
    settle: OnceLock<(Counter, Histogram)>,
}

impl Call<'_> {
    /// Counts it, with the network's prepared meters where it went well.
    pub(crate) fn count_with(&self, meters: Option<&Meters>) {
        let (Some(meters), "ok", "exact", Some(network)) =
            (meters, self.outcome, self.scheme, self.network)
        else {
            return self.count();
        };
        let prepared = match self.step {
            "verify" => &meters.verify,
            _ => &meters.settle,
        };
        let (counter, histogram) = prepared.get_or_init(|| {
            let (step, network) = (self.step, network.to_string());
            (
                metrics::counter!("tollway_requests_total", "step" => step, "network" => network.clone(), "scheme" => "exact", "outcome" => "ok", "code" => "none"),
                metrics::histogram!("tollway_request_seconds", "step" => step, "network" => network),
            )
        });
        counter.increment(1);
        histogram.record(self.took.as_secs_f64());
    }

    /// Counts it.
    fn count(&self) {
        let network = self
            .network
            .map_or_else(|| "other".to_owned(), Network::to_string);
        let scheme = scheme_label(self.scheme);
        metrics::counter!("tollway_requests_total", "step" => self.step, "network" => network.clone(), "scheme" => scheme, "outcome" => self.outcome, "code" => code_label(self.code)).increment(1);
        metrics::histogram!("tollway_request_seconds", "step" => self.step, "network" => network)
            .record(self.took.as_secs_f64());
    }
}

/// A payment ended.
pub(crate) fn ended(network: &Network, state: PaymentState) {
    let state = match state {
        PaymentState::Settled => "settled",
        PaymentState::Refused => "refused",
        PaymentState::Expired => "expired",
        PaymentState::Accepted | PaymentState::Submitted => "open",
    };
    metrics::counter!("tollway_payments_ended_total", "network" => network.to_string(), "state" => state).increment(1);
}

/// A node answered to a transaction.
pub(crate) fn broadcast(network: &Network, answer: &Result<Broadcast, ChainError>) {
    let answer = match answer {
        Ok(Broadcast::Accepted) => "accepted",
        Ok(Broadcast::NonceUsed) => "nonce_used",
        Ok(Broadcast::NonceTooHigh) => "nonce_too_high",
        Ok(Broadcast::Underpriced) => "underpriced",
        Ok(Broadcast::Rejected(_)) => "rejected",
        Err(_) => "unknown",
    };
    metrics::counter!("tollway_broadcasts_total", "network" => network.to_string(), "answer" => answer).increment(1);
}

/// The ledger failed to take a step.
pub(crate) fn ledger_failed() {
    metrics::counter!("tollway_ledger_failures_total").increment(1);
}

/// Open work of a network.
pub(crate) fn open_work(network: &Network, payments: usize, slots: usize) {
    let gauge = |name: &'static str, count: usize| {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        metrics::gauge!(name, "network" => network.to_string()).set(f64::from(count));
    };
    gauge("tollway_open_payments", payments);
    gauge("tollway_open_slots", slots);
}

/// A settled payment's block was replaced.
pub(crate) fn taken_back(network: &Network) {
    metrics::counter!("tollway_payments_taken_back_total", "network" => network.to_string())
        .increment(1);
}

/// Receipts said what transactions cost.
pub(crate) fn gas_spent(network: &Network, costs: &[Cost]) {
    let lost = u64::try_from(costs.iter().filter(|c| c.lost).count()).unwrap_or(u64::MAX);
    let useful = u64::try_from(costs.len()).unwrap_or(u64::MAX) - lost;
    let count = |outcome: &'static str, by: u64| {
        metrics::counter!("tollway_settlement_items_total", "network" => network.to_string(), "outcome" => outcome).increment(by);
    };
    count("moved", useful);
    count("lost", lost);
}

/// Ages by which open payments are counted, and what they are called.
const AGES: [(u64, &str); 4] = [
    (60, "under_1m"),
    (600, "under_10m"),
    (3_600, "under_1h"),
    (u64::MAX, "older"),
];

/// What a network's payments wait for: `accepted` ones for a transaction, `submitted`
/// ones for an outcome that nobody can say yet.
pub(crate) fn by_age<'a>(
    network: &Network,
    payments: impl Iterator<Item = &'a PaymentRecord>,
    now: Timestamp,
) {
    let mut counts = [[0_u32; AGES.len()]; 2];
    let mut oldest = [0_u64; 2];
    for payment in payments {
        let state = usize::from(payment.state == PaymentState::Submitted);
        let age = now.since(payment.accepted_at).as_secs();
        let place = AGES.iter().position(|(most, _)| age < *most);
        counts[state][place.unwrap_or(AGES.len() - 1)] += 1;
        oldest[state] = oldest[state].max(age);
    }
    for (state, name) in ["accepted", "submitted"].into_iter().enumerate() {
        for (place, (_, age)) in AGES.into_iter().enumerate() {
            metrics::gauge!("tollway_payments_by_age", "network" => network.to_string(), "state" => name, "age" => age)
                .set(counts[state][place]);
        }
        metrics::gauge!("tollway_oldest_payment_seconds", "network" => network.to_string(), "state" => name)
            .set(f64::from(u32::try_from(oldest[state]).unwrap_or(u32::MAX)));
    }
}

/// How a network's node is, and when its newest block was first seen.
pub(crate) fn head(network: &Network, ready: bool, block: Option<(u64, Timestamp)>) {
    let gauge = |name: &'static str, value: f64| {
        metrics::gauge!(name, "network" => network.to_string()).set(value);
    };
    gauge("tollway_network_ready", if ready { 1.0 } else { 0.0 });
    if let Some((block, seen)) = block {
        gauge("tollway_head_block", number(u128::from(block)));
        gauge(
            "tollway_head_seen_timestamp_seconds",
            number(u128::from(seen.secs())),
        );
    }
}

/// What a settling account has, in its network's coin, and for how many payments that
/// is enough at what they cost until now.
pub(crate) fn signer(network: &Network, state: &SignerState, per_payment: Option<Amount>) {
    let gauge = |name: &'static str, value: f64| {
        metrics::gauge!(name, "network" => network.to_string(), "signer" => state.signer.to_string()).set(value);
    };
    // Every coin that is known to pay for gas has as many digits.
    let coins = state.balance.to_decimal(18).parse().unwrap_or(0.0);
    gauge("tollway_signer_balance_coins", coins);
    let cost = per_payment
        .and_then(|cost| cost.as_u128())
        .filter(|cost| *cost > 0);
    if let (Some(balance), Some(cost)) = (state.balance.as_u128(), cost) {
        gauge("tollway_signer_payments_left", number(balance / cost));
    }
}

/// A whole number as Prometheus writes it.
fn number(whole: u128) -> f64 {
    whole.to_string().parse().unwrap_or(0.0)
}

/// Settling accounts that are low on gas.
pub(crate) fn low_signers(network: &Network, low: usize) {
    let low = u32::try_from(low).unwrap_or(u32::MAX);
    metrics::gauge!("tollway_low_signers", "network" => network.to_string()).set(f64::from(low));
}
