//! How an engine is set up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tollway_core::{Chain, Clock, Finality, Network};
use tollway_ledger::SettlementStore;

use super::machine::Rules;

/// What an engine is made of.
#[derive(Clone)]
pub struct EngineParts {
    /// One for each network.
    pub chains: Vec<Arc<dyn Chain>>,
    /// The durable record. All engines whose sellers are paid at one address must
    /// share it: what another ledger's engine settled looks, from here, like a
    /// payment that somebody sent ahead of us, and counts as paid once more.
    pub store: Arc<dyn SettlementStore>,
    /// What says how late it is.
    pub clock: Arc<dyn Clock>,
    /// Durations and limits.
    pub config: EngineConfig,
}

/// Durations and limits of an engine.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// What the machine of each network keeps.
    pub rules: Rules,
    /// How deep a receipt must lie, where a network says nothing else.
    pub finality: Finality,
    /// How deep a receipt must lie on these networks.
    pub finality_by_network: BTreeMap<Network, Finality>,
    /// How long a settling caller waits before it hears `settlement_pending`.
    pub settle_wait: Duration,
    /// A chain call that takes longer counts as unanswered.
    pub chain_timeout: Duration,
    /// How often the ledger's open records are compared with memory.
    pub recover_interval: Duration,
    /// Open payments per network from which on new ones are not taken.
    pub queue_limit: usize,
    /// Open payments that a payer who is not known yet may have; more wait for
    /// their turn. Each that settles doubles it, one that does not sets it to 1.
    pub payer_first: u32,
    /// Open payments that any payer may have.
    pub payer_most: u32,
    /// Pause of intake after the ledger failed, before it is tried again.
    pub ledger_retry: Duration,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            finality: Finality::Included,
            finality_by_network: BTreeMap::new(),
            settle_wait: Duration::from_secs(45),
            chain_timeout: Duration::from_secs(15),
            recover_interval: Duration::from_secs(15),
            queue_limit: 4096,
            payer_first: 4,
            payer_most: 256,
            ledger_retry: Duration::from_secs(5),
        }
    }
}

impl EngineConfig {
    /// How deep a receipt must lie on a network.
    #[must_use]
    pub fn finality_on(&self, network: &Network) -> Finality {
        self.finality_by_network
            .get(network)
            .copied()
            .unwrap_or(self.finality)
    }
}
