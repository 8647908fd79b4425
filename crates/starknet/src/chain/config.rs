//! What a [`super::StarknetChain`] is made of, and its limits.

use std::sync::Arc;
use std::time::Duration;

use tollway_core::assets::AssetTable;
use tollway_core::{Clock, Network, SystemClock};
use tollway_rpc::RpcClient;

use crate::account::StarknetAccount;
use crate::rules::Margins;

/// One Starknet network, as the operator wants it served.
pub struct StarknetConfig {
    /// Which one; must be `starknet:*`.
    pub network: Network,
    /// Its nodes.
    pub rpc: RpcClient,
    /// The accounts that send and pay the fees; none to only verify. The first
    /// one is announced as `extra.feePayer`. Each is used for nothing else.
    pub accounts: Vec<StarknetAccount>,
    /// Our own table: tokens that are not in it are not settled.
    pub assets: AssetTable,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Margins, gas and fees.
    pub limits: StarknetLimits,
}

impl StarknetConfig {
    /// The built-in assets, the system's clock and the default limits.
    #[must_use]
    pub fn new(network: Network, rpc: RpcClient, accounts: Vec<StarknetAccount>) -> Self {
        Self {
            network,
            rpc,
            accounts,
            assets: AssetTable::builtin(),
            clock: Arc::new(SystemClock),
            limits: StarknetLimits::default(),
        }
    }
}

/// A limit on everything. Prices are in fri (10^-18 STRK) per unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StarknetLimits {
    /// Differences of clocks, and time that settling needs.
    pub margins: Margins,
    /// Most L2 gas of a transaction that settles one payment. What one takes is
    /// simulated.
    pub payment_gas: u64,
    /// L2 gas for the sender's own signature check and nonce, which the
    /// simulation leaves out.
    pub validation_gas: u64,
    /// Most L1 data gas of a transaction.
    pub data_gas: u64,
    /// L2 gas of cancelling a nonce.
    pub cancel_gas: u64,
    /// Most fri that one transaction may cost, all resources and the tip.
    pub max_transaction_fee: u128,
    /// Fri per L2 gas that are offered to the sequencer.
    pub tip: u64,
    /// How long a block's prices are believed.
    pub price_age: Duration,
    /// How many blocks the first search for a used nonce spans; each further one
    /// goes back further.
    pub lookup_span: u64,
    /// Searches of one look-up at most.
    pub lookup_queries: u32,
    /// A settling account that cannot pay for so many of its dearest transactions
    /// is low.
    pub low_transactions: u32,
}

impl Default for StarknetLimits {
    fn default() -> Self {
        Self {
            margins: Margins::default(),
            payment_gas: 12_000_000,
            validation_gas: 2_000_000,
            data_gas: 4_000,
            cancel_gas: 4_000_000,
            max_transaction_fee: 1_000_000_000_000_000_000,
            tip: 0,
            price_age: Duration::from_secs(10),
            lookup_span: 2_000,
            lookup_queries: 32,
            low_transactions: 50,
        }
    }
}
