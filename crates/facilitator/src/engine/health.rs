//! How an engine is.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use super::Engine;
use super::shared::NetworkHandle;
use crate::telemetry;

/// A node that takes longer than this to say how it is, is not well.
const PATIENCE: Duration = Duration::from_secs(5);

/// How an engine is, network by network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EngineHealth {
    /// Whether payments are taken on every network.
    pub ready: bool,
    /// Why none are taken at all, as a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What is wrong with the ledger, as a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger: Option<String>,
    /// Each network.
    pub networks: Vec<NetworkHealth>,
}

/// How one network is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkHealth {
    /// Which.
    pub network: String,
    /// Whether payments can be verified and settled now.
    pub ready: bool,
    /// Newest block that was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_number: Option<u64>,
    /// What is wrong, as a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Payments that have not ended.
    pub open_payments: usize,
    /// Those of them that are in a block, and not as deep as they must be.
    pub included_payments: usize,
    /// Transactions whose nonce is not known to be used.
    pub open_slots: usize,
    /// Settled payments whose block could still be replaced.
    pub watched_payments: usize,
    /// Settling accounts that are low on gas; nothing new is begun with them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub low_signers: Vec<String>,
}

impl Engine {
    /// How the networks and the ledger are now.
    pub async fn health(&self) -> EngineHealth {
        let mut networks = Vec::with_capacity(self.networks.len());
        for (network, handle) in self.networks.iter() {
            networks.push(network_health(network.as_str(), handle).await);
        }
        let ledger = self.shared.ledger.problem();
        let draining = self.shared.draining.load(Ordering::Acquire);
        EngineHealth {
            ready: ledger.is_none() && !draining && networks.iter().all(|n| n.ready),
            problem: draining.then(|| "The server is stopping and takes no payments.".to_owned()),
            ledger,
            networks,
        }
    }

    /// Sets the gauges of open work, before metrics are shown.
    pub(crate) fn show_open_work(&self) {
        for (network, handle) in self.networks.iter() {
            let gauge = &handle.gauge;
            telemetry::open_work(
                network,
                gauge.open_payments.load(Ordering::Relaxed),
                gauge.open_slots.load(Ordering::Relaxed),
            );
        }
    }
}

async fn network_health(network: &str, handle: &NetworkHandle) -> NetworkHealth {
    let asked = tokio::time::timeout(PATIENCE, handle.chain.health()).await;
    let (ready, block_number, problem) = match asked {
        Ok(health) => (health.ready, health.block_number, health.problem),
        Err(_) => (
            false,
            None,
            Some("The node does not answer; check its URL and its load.".to_owned()),
        ),
    };
    let rejection = handle
        .gauge
        .rejection
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
        .map(|reason| format!("A node rejects a settlement ({reason}); fund the signer with gas or check its fees."));
    let low = handle.gauge.low_signers();
    let drained = handle.gauge.drained.load(Ordering::Relaxed);
    let low_on_gas = (!low.is_empty()).then(|| {
        "A settling account is low on gas and is not used; fund the accounts in lowSigners."
            .to_owned()
    });
    NetworkHealth {
        network: network.to_owned(),
        ready: ready && rejection.is_none() && !drained,
        block_number,
        problem: problem.or(rejection).or(low_on_gas),
        watched_payments: handle.gauge.watched.load(Ordering::Relaxed),
        low_signers: low.iter().map(|s| s.signer.to_string()).collect(),
        open_payments: handle.gauge.open_payments.load(Ordering::Relaxed),
        included_payments: handle.gauge.included.load(Ordering::Relaxed),
        open_slots: handle.gauge.open_slots.load(Ordering::Relaxed),
    }
}
