//! How an engine is set up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tollway_core::{Address, Amount, Chain, Clock, Finality, Network};
use tollway_ledger::{Replica, SettlementStore};

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

/// Where balances are held between verify and settle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Holds {
    /// In memory, for a while: verifying commits nothing. For remote callers.
    #[default]
    Memory,
    /// What the ledger has open counts too: for a gate in the same process, and
    /// for several engines over one ledger.
    Ledger,
}

/// A bound on fees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GasCap {
    /// In the chain's own atomic units (wei).
    Fees(Amount),
    /// In thousandths of what the settling accounts have, and have spent that day.
    Share(u32),
    /// None but what the accounts have.
    Unbounded,
}

/// What may be spent on gas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GasCaps {
    /// Fees of transactions that moved no payment, per payer and UTC day.
    pub lost_per_payer_and_day: GasCap,
    /// All fees, per UTC day.
    pub per_day: GasCap,
}

impl Default for GasCaps {
    /// One payer loses a hundredth at most, and a quarter is there the next day.
    fn default() -> Self {
        Self {
            lost_per_payer_and_day: GasCap::Share(10),
            per_day: GasCap::Share(750),
        }
    }
}

/// One who may call, and how much.
#[derive(Clone, PartialEq, Eq)]
pub struct CallerRule {
    /// Its name, for metrics, records and logs.
    pub name: String,
    /// SHA-256 of its API key. The key itself is nowhere.
    pub key_sha256: [u8; 32],
    /// Calls to verify and settle per minute at most.
    pub per_minute: u32,
    /// Open payments at most.
    pub open_payments: u32,
    /// Verifications at a time at most; more wait for their turn.
    pub concurrent: u32,
    /// For whom it may say what of a maximum is charged (`upto`): the addresses that
    /// its own payments are paid to.
    pub payees: Vec<Address>,
}

impl std::fmt::Debug for CallerRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallerRule")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Durations and limits of an engine.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// What the machine of each network keeps.
    pub rules: Rules,
    /// How deep a receipt must lie, where neither network nor seller says else.
    pub finality: Finality,
    /// How deep a receipt must lie on these networks.
    pub finality_by_network: BTreeMap<Network, Finality>,
    /// How long a settling caller waits before it hears `settlement_pending`.
    pub settle_wait: Duration,
    /// A chain call that takes longer counts as unanswered.
    pub chain_timeout: Duration,
    /// How often the ledger's open records are compared with memory.
    pub recover_interval: Duration,
    /// How often work is looked for that another replica left, and signers that
    /// it let go.
    pub adopt_interval: Duration,
    /// How deep a seller may ask for, in blocks as [`Finality::blocks`] counts them.
    /// What the operator asks for is never too deep.
    pub finality_cap: Finality,
    /// The least that is settled of an asset, where there is a least: gas for dust
    /// is the operator's, and the dust may be its sender's own.
    pub min_amounts: BTreeMap<(Network, Address), Amount>,
    /// Payments per network that wait to be in a block from which on new ones are
    /// not taken.
    pub queue_limit: usize,
    /// The same for all that are open: those in blocks that are not deep enough too.
    pub open_limit: usize,
    /// Pause of intake after the ledger failed, before it is tried again.
    pub ledger_retry: Duration,
    /// Where balances are held between verify and settle.
    pub holds: Holds,
    /// How long a verified payment's amount is held in memory.
    pub hold_for: Duration,
    /// What may be spent on gas, where a network says nothing else.
    pub gas: GasCaps,
    /// What may be spent on gas on these networks.
    pub gas_by_network: BTreeMap<Network, GasCaps>,
    /// Who may call over HTTP. Empty: anybody.
    pub callers: Vec<CallerRule>,
    /// Whether anybody may say over HTTP what of a maximum is charged (`upto`).
    /// Otherwise only callers may, for their payees: who has seen such a payment,
    /// its payer first of all, could settle it for nothing before its payee does.
    pub open_upto: bool,
    /// How often the signers' balances are asked for.
    pub signer_interval: Duration,
    /// The name under which this process takes part in the ledger, for people.
    pub replica_name: String,
    /// The process takes part in the ledger already, as this replica.
    pub replica: Option<Replica>,
    /// For how long this process counts as alive without a sign of life.
    pub replica_ttl: Duration,
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
            adopt_interval: Duration::from_secs(2),
            finality_cap: Finality::Finalized,
            min_amounts: BTreeMap::new(),
            queue_limit: 16_384,
            open_limit: 262_144,
            ledger_retry: Duration::from_secs(5),
            holds: Holds::Memory,
            hold_for: Duration::from_secs(30),
            gas: GasCaps::default(),
            gas_by_network: BTreeMap::new(),
            callers: Vec::new(),
            open_upto: false,
            signer_interval: Duration::from_secs(30),
            replica_name: "engine".to_owned(),
            replica: None,
            replica_ttl: Duration::from_secs(10),
        }
    }
}

impl EngineConfig {
    /// What may be spent on gas on a network.
    #[must_use]
    pub fn gas_on(&self, network: &Network) -> GasCaps {
        self.gas_by_network
            .get(network)
            .copied()
            .unwrap_or(self.gas)
    }
}
