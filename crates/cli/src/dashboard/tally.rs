//! Writes down what a gate counted, beside its requests and not with them.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tollway_core::{Clock as _, SystemClock};
use tollway_gate::Gate;
use tollway_ledger::{Store, Tally};

/// How often.
const EVERY: Duration = Duration::from_secs(5);
/// How long counts are kept, in hours.
const KEPT_HOURS: u64 = 100 * 24;

/// Writes a gate's counts into its ledger until it is stopped, and then once more.
pub async fn keep(gate: Gate, store: Store, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let is_over = tokio::select! {
            _ = ticks.tick() => false,
            () = stop.cancelled() => true,
        };
        write(&gate, &store).await;
        if is_over {
            return;
        }
    }
}

async fn write(gate: &Gate, store: &Store) {
    let counts = gate.take_counts();
    if counts.is_empty() {
        return;
    }
    let hour = SystemClock.now().secs() / 3_600;
    let tallies = counts.into_iter().map(|count| Tally {
        hour,
        route: count.route,
        what: count.what,
        times: count.times,
    });
    let written = store.tally(tallies.collect(), hour.saturating_sub(KEPT_HOURS));
    if let Err(error) = written.await {
        tracing::warn!(%error, "what the gate counted could not be written; the next count goes on");
    }
}
