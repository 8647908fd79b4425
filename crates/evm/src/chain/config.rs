//! What an [`super::EvmChain`] is made of, and its limits.

use std::sync::Arc;
use std::time::Duration;

use tollway_core::assets::AssetTable;
use tollway_core::{Clock, GasPurse, Network, SystemClock};
use tollway_rpc::RpcClient;

use crate::SigningKey;
use crate::contracts::Contracts;

/// One EVM network, as the operator wants it served.
pub struct EvmConfig {
    /// Which one; must be `eip155:*`.
    pub network: Network,
    /// Its nodes.
    pub rpc: RpcClient,
    /// The accounts that settle and pay the gas; none to only verify.
    pub signers: Vec<SigningKey>,
    /// Who deploys smart wallets that pay before they exist, from
    /// [`EvmConfig::wallet_factories`], and pays for and sends approvals that payers
    /// hand over (`erc20ApprovalGasSponsoring`). Without it neither is taken.
    pub helper: Option<HelperAccount>,
    /// Payees whose settler (EIP-2612) is deployed with their first payment where it
    /// is missing. A stranger's would cost gas as often as he names another payee of
    /// his; he can put it there himself. None by default.
    pub settler_payees: Vec<alloy_primitives::Address>,
    /// Contracts that may deploy a paying smart wallet (EIP-6492); none by default.
    pub wallet_factories: Vec<alloy_primitives::Address>,
    /// Delegation managers that permissions (ERC-7710) are redeemed through: the
    /// published one by default, none to settle no permissions. A manager is a contract
    /// that says who may spend whose money; name only those whose code is known.
    pub delegation_managers: Vec<alloy_primitives::Address>,
    /// Where Permit2, the x402 proxies and Multicall3 are: the published addresses by
    /// default.
    pub contracts: Contracts,
    /// Our own table: tokens that are not in it are not settled.
    pub assets: AssetTable,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Margins, gas and fees.
    pub limits: EvmLimits,
}

/// An account without rights, that holds nothing but money for gas, and the
/// budget that it spends within. It must not be one that settles.
#[derive(Clone)]
pub struct HelperAccount {
    /// Its key.
    pub signer: SigningKey,
    /// What it may spend.
    pub purse: Arc<dyn GasPurse>,
}

impl EvmConfig {
    /// The built-in assets, the system's clock and the default limits.
    #[must_use]
    pub fn new(network: Network, rpc: RpcClient, signers: Vec<impl Into<SigningKey>>) -> Self {
        let limits = EvmLimits::for_network(&network);
        Self {
            network,
            rpc,
            signers: signers.into_iter().map(Into::into).collect(),
            helper: None,
            settler_payees: Vec::new(),
            wallet_factories: Vec::new(),
            delegation_managers: vec![crate::delegation::DELEGATION_MANAGER],
            contracts: Contracts::default(),
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
    /// Gas that a transaction needs beside its payments.
    pub transaction_gas: u64,
    /// Gas that each payment of a shared transaction needs beside its own: for its
    /// calldata and for calling.
    pub shared_gas: u64,
    /// Most gas that settling one payment of a plain account may take. What it
    /// does take is simulated.
    pub payment_gas: u64,
    /// Gas limit of a transaction that settles for an account with code, its
    /// signature check included.
    pub contract_payment_gas: u64,
    /// Gas limit of a transaction that redeems a permission: a chain of delegations
    /// and their caveats. It is tried with the very same.
    pub permission_gas: u64,
    /// Most payments that share a transaction; 1 is none.
    pub batch_max: usize,
    /// Most gas of a transaction that payments share. No more than a quarter of
    /// a block in any case.
    pub batch_gas: u64,
    /// How payments share a transaction.
    pub batch_way: BatchWay,
    /// Gas that an account's `isValidSignature` may burn when it is asked.
    pub signature_gas: u64,
    /// Gas of deploying a payee's settler or a paying smart wallet.
    pub deployment_gas: u64,
    /// Most wei that one sponsored approval may cost.
    pub approval_cost: u128,
    /// How long a transaction of the helper's is waited for.
    pub helper_wait: Duration,
    /// Gas limit of cancelling a nonce.
    pub cancel_gas: u64,
    /// Most wei per gas that are ever offered.
    pub max_fee_per_gas: u128,
    /// Least wei per gas that are offered to the block's builder.
    pub min_priority_fee: u128,
    /// Most wei per gas that are offered to the block's builder, whatever a
    /// node recommends.
    pub max_priority_fee: u128,
    /// How long a base fee is believed.
    pub fee_age: Duration,
    /// How long "this payer has no code" is believed.
    pub payer_code_age: Duration,
    /// How many blocks the first log query for a used authorization spans; each
    /// further one goes back further, as far as the node allows.
    pub lookup_chunk: u64,
    /// Log queries of one look-up at most.
    pub lookup_queries: u32,
    /// A settling account that cannot pay for so many of its dearest transactions
    /// is low.
    pub low_transactions: u32,
}

/// How payments share a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BatchWay {
    /// Multicall3 calls the tokens: needs nothing but that contract, and the
    /// caller that tokens see is not the settling account.
    #[default]
    Multicall3,
    /// The settling account calls as itself, by an EIP-7702 delegation to our own
    /// executor (see [`crate::executor_address`]). Each payment's gas is bounded.
    SelfCall,
}

/// EIP-7825's most gas of one transaction, less a margin for chains that count
/// a little differently.
const MOST_TRANSACTION_GAS: u64 = (1 << 24) - 277_216;

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
            transaction_gas: 150_000 + posting,
            shared_gas: 12_000 + posting / 4,
            payment_gas: 300_000,
            contract_payment_gas: 600_000 + posting,
            permission_gas: 750_000 + posting,
            batch_max: 100,
            batch_gas: MOST_TRANSACTION_GAS,
            batch_way: BatchWay::Multicall3,
            signature_gas: 250_000,
            deployment_gas: 1_500_000 + posting,
            approval_cost: 10_000_000_000_000_000,
            helper_wait: Duration::from_secs(15),
            cancel_gas: 21_000 + posting,
            max_fee_per_gas: 500_000_000_000,
            min_priority_fee: 1,
            max_priority_fee: 100_000_000_000,
            fee_age: Duration::from_secs(3),
            payer_code_age: Duration::from_secs(30),
            lookup_chunk: 2_000,
            lookup_queries: 64,
            low_transactions: 50,
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
