//! [`StarknetChain`]: one Starknet network, seen from the facilitator.
//!
//! One file per step: `start` (is this the right chain), `verify` with `reads` and
//! `simulate` (would it settle), `plan`, `seal` with `fees`, `send`, `look` with
//! `head` (what became of it), `outcome` (receipts) and `lookup` (what others did).

mod config;
mod fees;
mod head;
mod look;
mod lookup;
mod outcome;
mod plan;
mod reads;
mod seal;
mod send;
mod simulate;
mod start;
mod verify;

use std::sync::Arc;

use async_trait::async_trait;
use starknet_crypto::Felt;
use tollway_core::assets::AssetTable;
use tollway_core::wire::{Object, PaymentPayload, SupportedKind};
use tollway_core::{
    Address, Amount, Broadcast, Chain, ChainError, Clock, Expected, Finality, Head, Health,
    Identity, Intent, Lookup, Network, Outcome, Phase, Plan, PlannedPayment, Raw, Refusal, Scheme,
    Settlement, Sight, SignerState, Slot, Terms, Timestamp, TxHash, Verified, Watch, codes,
};
use tollway_rpc::{Probe, RpcClient};

pub use config::{StarknetConfig, StarknetLimits};
pub(crate) use reads::{STRK, amount_of, balance_call};
pub use start::StartError;

use crate::account::StarknetAccount;
use crate::felt;
use crate::payload::SignedExecution;
use crate::refusal::refuse;

/// One Starknet network: verifies, settles and finds payments of scheme `exact`.
pub struct StarknetChain {
    network: Network,
    chain_id: Felt,
    rpc: RpcClient,
    accounts: Vec<StarknetAccount>,
    executors: Vec<Felt>,
    assets: AssetTable,
    clock: Arc<dyn Clock>,
    limits: StarknetLimits,
    prices: fees::PriceCache,
    follower: head::Follower,
    sent: send::Sent,
    start: start::StartState,
}

impl std::fmt::Debug for StarknetChain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StarknetChain")
            .field("network", &self.network)
            .field("accounts", &self.accounts)
            .finish_non_exhaustive()
    }
}

impl StarknetChain {
    /// A chain that has not been asked anything: it refuses payments until
    /// [`StarknetChain::check`] passes, and tries that by itself.
    ///
    /// # Errors
    /// [`StartError::NotStarknet`] or [`StartError::NoAsset`].
    pub fn new(config: StarknetConfig) -> Result<Self, StartError> {
        let chain_id = felt::chain_id(&config.network)
            .ok_or_else(|| StartError::NotStarknet(config.network.to_string()))?;
        if config.assets.default_for(&config.network).is_none() {
            return Err(StartError::NoAsset(config.network.to_string()));
        }
        config.rpc.set_probe(probe_of(chain_id, &config.rpc));
        Ok(Self {
            chain_id,
            rpc: config.rpc,
            executors: config.accounts.iter().map(|a| a.number).collect(),
            accounts: config.accounts,
            assets: config.assets,
            clock: config.clock,
            limits: config.limits,
            prices: fees::PriceCache::default(),
            follower: head::Follower::default(),
            sent: send::Sent::default(),
            start: start::StartState::default(),
            network: config.network,
        })
    }

    /// A chain that was checked.
    ///
    /// # Errors
    /// [`StartError`], which says what to do.
    pub async fn connect(config: StarknetConfig) -> Result<Self, StartError> {
        let chain = Self::new(config)?;
        chain.check().await?;
        Ok(chain)
    }

    /// The limits that it works within.
    #[must_use]
    pub const fn limits(&self) -> &StarknetLimits {
        &self.limits
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn account(&self, address: &Address) -> Result<&StarknetAccount, ChainError> {
        let account = self.accounts.iter().find(|a| a.address == *address);
        account.ok_or_else(|| {
            ChainError::unavailable_because(
                "No settling account can act now; configure the key of the account that was chosen.",
                format!("no key for {address}"),
            )
        })
    }

    fn address(&self, number: &Felt) -> Result<Address, Refusal> {
        felt::to_address(&self.network, number)
            .ok_or_else(|| refuse(codes::INVALID_NETWORK, "pay on a Starknet network"))
    }
}

/// Which chain a node serves is asked again and again; its height where there
/// are others to compare it with.
fn probe_of(chain_id: Felt, rpc: &RpcClient) -> Probe {
    let none = || serde_json::json!([]);
    let ours = move |id: &serde_json::Value| {
        let number = id.as_str().and_then(|text| felt::parse(text).ok());
        number == Some(chain_id)
    };
    let probe = Probe::new("starknet_chainId", none(), ours);
    match rpc.hosts().len() {
        0 | 1 => probe,
        _ => probe.height("starknet_blockNumber", none(), serde_json::Value::as_u64),
    }
}

/// A number that was an account before; anything else is a fault of ours.
fn known(address: &Address) -> Result<Felt, ChainError> {
    felt::of_address(address)
        .ok_or_else(|| ChainError::unavailable(format!("{address} is no account of Starknet")))
}

#[async_trait]
impl Chain for StarknetChain {
    fn network(&self) -> &Network {
        &self.network
    }

    /// One kind; `extra.feePayer` is what servers copy into their requirements.
    fn kinds(&self) -> Vec<SupportedKind> {
        let first = self.accounts.first();
        let extra = first.map(|account| {
            let payer = account.address.to_string();
            Object::from_iter([("feePayer".to_owned(), payer.into())])
        });
        vec![SupportedKind {
            x402_version: 2,
            scheme: Scheme::Exact.as_str().to_owned(),
            network: self.network.to_string(),
            extra: Some(extra.unwrap_or_default()),
        }]
    }

    fn signers(&self) -> Vec<Address> {
        self.accounts.iter().map(|a| a.address.clone()).collect()
    }

    fn inspect(
        &self,
        payload: &Arc<PaymentPayload>,
        terms: &Arc<Terms>,
    ) -> Result<Intent, Refusal> {
        if terms.network != self.network {
            return Err(refuse(
                codes::INVALID_NETWORK,
                "send the requirements to the facilitator of their network",
            ));
        }
        let signed = SignedExecution::parse(&payload.payload, &self.chain_id)?;
        let payer = self.address(&signed.from)?;
        let before = u64::try_from(signed.execution.execute_before).unwrap_or(u64::MAX);
        Ok(Intent {
            identity: Identity {
                network: self.network.clone(),
                scope: payer.to_string(),
                payer: payer.clone(),
                nonce: felt::text(&signed.execution.nonce),
            },
            expected: Expected {
                asset: terms.asset.clone(),
                from: payer,
                to: terms.pay_to.clone(),
                amount: terms.amount,
            },
            deadline: Timestamp::from_secs(before),
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
        self.verify_payment(intent, phase, held).await
    }

    async fn plan(&self, payments: &[PlannedPayment]) -> Result<Vec<Plan>, ChainError> {
        self.require_check().await?;
        Ok(self.plan_each(payments))
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
        Ok(hash.map(|hash| felt::text(&hash)))
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
        self.nonce_of(&known(signer)?).await
    }

    async fn health(&self) -> Health {
        self.read_health().await
    }
}
