//! Counters and histograms. Labels are bounded: networks and schemes that are
//! served, states, and codes of the error table; never an address or an id.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Counter, Histogram};

use tollway_core::{Broadcast, ChainError, Network, codes};
use tollway_ledger::{Cost, PaymentState};

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

/// Settling accounts that are low on gas.
pub(crate) fn low_signers(network: &Network, low: usize) {
    let low = u32::try_from(low).unwrap_or(u32::MAX);
    metrics::gauge!("tollway_low_signers", "network" => network.to_string()).set(f64::from(low));
}
