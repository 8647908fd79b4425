//! What an [`super::EvmChain`] is made of, and its limits.

use std::sync::Arc;
use std::time::Duration;

use tollway_core::assets::AssetTable;
use tollway_core::{Clock, Network, SystemClock};
use tollway_rpc::RpcClient;

use crate::EvmSigner;

/// One EVM network, as the operator wants it served.
pub struct EvmConfig {
    /// Which one; must be `eip155:*`.
    pub network: Network,
    /// Its nodes.
    pub rpc: RpcClient,
    /// The accounts that settle and pay the gas; none to only verify.
    pub signers: Vec<EvmSigner>,
    /// Our own table: tokens that are not in it are not settled.
    pub assets: AssetTable,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Margins, gas and fees.
    pub limits: EvmLimits,
}

impl EvmConfig {
    /// The built-in assets, the system's clock and the default limits.
    #[must_use]
    pub fn new(network: Network, rpc: RpcClient, signers: Vec<EvmSigner>) -> Self {
        let limits = EvmLimits::for_network(&network);
        Self {
            network,
            rpc,
            signers,
            assets: AssetTable::builtin(),
            clock: Arc::new(SystemClock),
            limits,
        }
    }
}

/// A limit on everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvmLimits {
    /// Validity that must remain at verify, before the goods are made.
    pub verify_remaining: Duration,
    /// Validity that must remain at settle, right before the money moves.
    pub settle_remaining: Duration,
    /// Validity that may remain at most, where the terms' own
    /// `maxTimeoutSeconds` is not longer.
    pub max_remaining: Duration,
    /// How far a payer's clock may run ahead of ours before `max_remaining` bites.
    pub clock_skew: Duration,
    /// Gas limit of settling for a plain account.
    pub payment_gas: u64,
    /// Gas limit of settling for an account with code, its signature check included.
    pub contract_payment_gas: u64,
    /// Gas that an account's `isValidSignature` may burn when it is asked.
    pub signature_gas: u64,
    /// Gas limit of cancelling a nonce.
    pub cancel_gas: u64,
    /// Most wei per gas that are ever offered.
    pub max_fee_per_gas: u128,
    /// Least wei per gas that are offered to the block's builder.
    pub min_priority_fee: u128,
    /// Most wei per gas that are offered to the block's builder, whatever a
    /// node recommends.
    pub max_priority_fee: u128,
    /// How long fees are believed.
    pub fee_age: Duration,
    /// How long "this payer has no code" is believed.
    pub payer_code_age: Duration,
    /// How many blocks back a used authorization is searched for.
    pub lookup_blocks: u64,
    /// How many blocks one log query spans at most.
    pub lookup_chunk: u64,
}

impl EvmLimits {
    /// The defaults of a network.
    ///
    /// Gas limits are bounds, not estimates: unused gas costs nothing, and a
    /// payment is simulated under the very limit that it is settled with.
    #[must_use]
    pub fn for_network(network: &Network) -> Self {
        let posting = posting_gas(network);
        Self {
            verify_remaining: Duration::from_secs(30),
            settle_remaining: Duration::from_secs(6),
            max_remaining: Duration::from_secs(900),
            clock_skew: Duration::from_secs(60),
            payment_gas: 300_000 + posting,
            contract_payment_gas: 600_000 + posting,
            signature_gas: 250_000,
            cancel_gas: 21_000 + posting,
            max_fee_per_gas: 500_000_000_000,
            min_priority_fee: 1,
            max_priority_fee: 100_000_000_000,
            fee_age: Duration::from_secs(1),
            payer_code_age: Duration::from_secs(30),
            lookup_blocks: 20_000,
            lookup_chunk: 2_000,
        }
    }
}

/// Arbitrum counts the cost of posting a transaction to Ethereum as its gas.
fn posting_gas(network: &Network) -> u64 {
    match network.chain_id() {
        Some(42_161 | 42_170 | 421_614) => 2_000_000,
        _ => 0,
    }
}
