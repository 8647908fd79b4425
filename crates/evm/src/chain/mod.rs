//! [`EvmChain`]: one EVM network, seen from the facilitator.
//!
//! One file per step: `start` (is this the right chain, are these the right
//! tokens), `verify` (rules), `simulate` with `window` and `probe` (the chain's
//! word, asked for many at once) and `diagnose`, `plan` and `batch` (who shares a
//! transaction), `seal`, `fees` and `delegation`, `send`, `look` with `head`, `follow`
//! and `reads` (what became of it), `outcome` (receipts) and `lookup` (what others did).

mod batch;
mod config;
mod delegation;
mod diagnose;
mod fees;
mod follow;
mod funds;
mod head;
mod look;
mod lookup;
mod outcome;
mod payers;
mod plan;
mod presented;
mod probe;
mod reads;
mod recent;
mod seal;
mod send;
mod simulate;
mod start;
mod trials;
mod verify;
mod window;

use std::sync::Arc;

use alloy_primitives::{Address as Account, B256};
use async_trait::async_trait;
use tollway_core::assets::Method;
use tollway_core::wire::{Object, PaymentPayload, SupportedKind};
use tollway_core::{
    Address, Amount, Broadcast, Chain, ChainError, Clock, Expected, Finality, Head, Health,
    Identity, Intent, Lookup, Network, Outcome, Phase, Plan, PlannedPayment, Raw, Refusal, Scheme,
    Settlement, Sight, SignerState, Slot, Terms, Timestamp, TxHash, Verified, Watch,
};
use tollway_rpc::{Probe, RpcClient};

pub use config::{BatchWay, EvmConfig, EvmLimits};
pub use start::StartError;

use crate::EvmSigner;
use crate::authorization::SignedAuthorization;
use crate::token::{Token, Tokens};

/// One EVM network: verifies, settles and finds EIP-3009 payments.
pub struct EvmChain {
    network: Network,
    chain_id: u64,
    rpc: RpcClient,
    signers: Vec<EvmSigner>,
    accounts: Vec<Address>,
    tokens: Tokens,
    clock: Arc<dyn Clock>,
    limits: EvmLimits,
    fees: fees::FeeCache,
    follower: follow::Follower,
    payers: payers::PayerCache,
    window: window::Window,
    signatures: presented::Signatures,
    trials: trials::Trials,
    start: start::StartState,
}

impl std::fmt::Debug for EvmChain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EvmChain")
            .field("network", &self.network)
            .field("signers", &self.accounts)
            .finish_non_exhaustive()
    }
}

impl EvmChain {
    /// A chain that has not been asked anything: it refuses payments until
    /// [`EvmChain::check`] passes, and tries that by itself.
    ///
    /// # Errors
    /// [`StartError::NotEvm`] or [`StartError::NoAsset`].
    pub fn new(config: EvmConfig) -> Result<Self, StartError> {
        let chain_id = config
            .network
            .chain_id()
            .ok_or_else(|| StartError::NotEvm(config.network.to_string()))?;
        let tokens = Tokens::from_table(&config.assets, &config.network, chain_id);
        if tokens.is_empty() {
            return Err(StartError::NoAsset(config.network.to_string()));
        }
        let accounts = config
            .signers
            .iter()
            .map(|signer| account_text(&config.network, signer.address()))
            .collect::<Result<_, _>>()
            .map_err(|_| StartError::NotEvm(config.network.to_string()))?;
        config.rpc.set_probe(probe_of(chain_id, &config.rpc));
        let first = config.signers.first().map(EvmSigner::address);
        Ok(Self {
            chain_id,
            window: window::Window::new(config.rpc.clone(), first, config.limits.payment_gas),
            signatures: presented::Signatures::default(),
            trials: trials::Trials::default(),
            rpc: config.rpc,
            accounts,
            signers: config.signers,
            tokens,
            clock: config.clock,
            fees: fees::FeeCache::default(),
            follower: follow::Follower::default(),
            payers: payers::PayerCache::new(config.limits.payer_code_age),
            limits: config.limits,
            start: start::StartState::default(),
            network: config.network,
        })
    }

    /// A chain that was checked: the right chain id, and tokens whose domain is
    /// the one that we compute.
    ///
    /// # Errors
    /// [`StartError`], which says what to do.
    pub async fn connect(config: EvmConfig) -> Result<Self, StartError> {
        let chain = Self::new(config)?;
        chain.check().await?;
        Ok(chain)
    }

    /// The limits that it works within.
    #[must_use]
    pub const fn limits(&self) -> &EvmLimits {
        &self.limits
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn signer(&self, address: &Address) -> Result<&EvmSigner, ChainError> {
        self.accounts
            .iter()
            .position(|account| account == address)
            .and_then(|index| self.signers.get(index))
            .ok_or_else(|| {
                crate::node::unavailable_because(
                    "No settling account can act now; configure the key of the account that was chosen.",
                    format!("no key for {address}"),
                )
            })
    }

    fn token(&self, asset: &Address) -> Option<&Token> {
        self.tokens.get(&account(asset)?)
    }
}

/// Which chain a node serves is asked again and again; its height where there
/// are others to compare it with.
fn probe_of(chain_id: u64, rpc: &RpcClient) -> Probe {
    let ours = move |id: &serde_json::Value| quantity(id) == Some(chain_id);
    let probe = Probe::new("eth_chainId", serde_json::json!([]), ours);
    match rpc.hosts().len() {
        0 | 1 => probe,
        _ => probe.height("eth_blockNumber", serde_json::json!([]), quantity),
    }
}

fn quantity(value: &serde_json::Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// An account from its canonical text.
fn account(address: &Address) -> Option<Account> {
    address.as_str().parse().ok()
}

/// An account that was canonical before; anything else is a fault of ours.
pub(crate) fn known_account(address: &Address) -> Result<Account, ChainError> {
    account(address).ok_or_else(|| {
        ChainError::unavailable(format!("{address} is not an account of an EVM network"))
    })
}

fn account_text(network: &Network, account: Account) -> Result<Address, Refusal> {
    network
        .address(&format!("{account:#x}"))
        .map_err(|e| Refusal::new(tollway_core::codes::INVALID_NETWORK, e.to_string()))
}

/// The nonce as identities carry it.
fn nonce_text(nonce: B256) -> String {
    format!("{nonce:#x}")
}

#[async_trait]
impl Chain for EvmChain {
    fn network(&self) -> &Network {
        &self.network
    }

    fn kinds(&self) -> Vec<SupportedKind> {
        vec![SupportedKind {
            x402_version: 2,
            scheme: Scheme::Exact.as_str().to_owned(),
            network: self.network.to_string(),
            extra: Some(Object::new()),
        }]
    }

    fn signers(&self) -> Vec<Address> {
        self.accounts.clone()
    }

    fn inspect(
        &self,
        payload: &Arc<PaymentPayload>,
        terms: &Arc<Terms>,
    ) -> Result<Intent, Refusal> {
        if terms.network != self.network {
            return Err(Refusal::new(
                tollway_core::codes::INVALID_EXACT_EVM_NETWORK_MISMATCH,
                "The requirements name another network; send them to its facilitator.",
            ));
        }
        if terms
            .method()
            .is_some_and(|m| m != Method::Eip3009.as_str())
        {
            return Err(Refusal::new(
                tollway_core::codes::UNSUPPORTED_PAYLOAD_TYPE,
                "This network settles EIP-3009 authorizations only; offer that method.",
            ));
        }
        let signed = SignedAuthorization::parse(&payload.payload)?;
        let authorization = &signed.authorization;
        let payer = account_text(&self.network, authorization.from)?;
        let deadline = u64::try_from(authorization.valid_before).unwrap_or(u64::MAX);
        Ok(Intent {
            identity: Identity {
                network: self.network.clone(),
                scope: terms.asset.to_string(),
                payer: payer.clone(),
                nonce: nonce_text(authorization.nonce),
            },
            expected: Expected {
                asset: terms.asset.clone(),
                from: payer,
                to: terms.pay_to.clone(),
                amount: terms.amount,
            },
            deadline: Timestamp::from_secs(deadline),
            settlement: Settlement::Submit,
            payload: Arc::clone(payload),
            terms: Arc::clone(terms),
        })
    }

    async fn verify(
        &self,
        intent: Intent,
        phase: Phase,
        held: Amount,
    ) -> Result<Verified, ChainError> {
        self.verify_authorization(intent, phase, held).await
    }

    async fn plan(&self, payments: &[PlannedPayment]) -> Result<Vec<Plan>, ChainError> {
        self.require_check().await?;
        Ok(self.plan_all(payments))
    }

    async fn seal(&self, plan: &Plan, slot: &Slot) -> Result<Raw, ChainError> {
        self.seal_transaction(plan, slot).await
    }

    async fn broadcast(&self, raw: &Raw) -> Result<Broadcast, ChainError> {
        self.send_raw(raw).await
    }

    async fn look(&self, last: Option<&Head>, watches: &[Watch]) -> Result<Sight, ChainError> {
        self.look_at(last, watches).await
    }

    async fn block_hash(&self, number: u64) -> Result<Option<String>, ChainError> {
        let hash = self.hash_at(number).await?;
        Ok(hash.map(|hash| format!("{hash:#x}")))
    }

    async fn signer_states(&self) -> Result<Vec<SignerState>, ChainError> {
        self.read_signers().await
    }

    async fn lookup(
        &self,
        identity: &Identity,
        expected: &Expected,
        finality: Finality,
    ) -> Result<Lookup, ChainError> {
        self.look_up(identity, expected, finality).await
    }

    async fn observe(
        &self,
        transaction: &TxHash,
        identity: &Identity,
        expected: &Expected,
        finality: Finality,
    ) -> Result<Outcome, ChainError> {
        self.observe_transaction(transaction, identity, expected, finality)
            .await
    }

    async fn confirmed_nonce(&self, signer: &Address) -> Result<u64, ChainError> {
        let account = known_account(signer)?;
        self.transaction_count(account).await
    }

    async fn health(&self) -> Health {
        self.read_health().await
    }
}
