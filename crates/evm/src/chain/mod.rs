//! [`EvmChain`]: one EVM network, seen from the facilitator.
//!
//! One file per step: `start` (is this the right chain, are these the right
//! tokens), `verify` and `rules` (each method's), `simulate` with `window` and `probe` (the chain's
//! word, asked for many at once) and `diagnose`, `plan` and `batch` (who shares a
//! transaction), `seal`, `fees` and `delegation`, `send`, `look` with `head`, `follow`
//! and `reads` (what became of it), `outcome` (receipts) and `lookup` with
//! `spent` (what others did); `proof` (transactions that buyers show), `permission`
//! with `redemption` and `allowance` (delegations), and what a payment may need
//! first: `settlers` and `helper`.

mod allowance;
mod batch;
mod config;
mod delegation;
pub(crate) mod diagnose;
mod fees;
mod follow;
mod funds;
mod head;
mod helper;
mod look;
mod lookup;
mod message;
mod outcome;
mod payers;
mod permission;
mod plan;
mod presented;
mod probe;
mod proof;
mod reads;
mod recent;
mod redemption;
mod rules;
pub(crate) mod seal;
pub(crate) mod send;
mod settlers;
pub(crate) mod simulate;
mod spent;
mod start;
mod trace;
mod trials;
mod verify;
mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use alloy_primitives::Address as Account;
use async_trait::async_trait;
use tollway_core::wire::{Object, PaymentPayload, SupportedKind};
use tollway_core::{
    Address, Amount, Broadcast, Chain, ChainError, Clock, Expected, Finality, Head, Health,
    Identity, Intent, Lookup, Network, Outcome, Phase, Plan, PlannedPayment, Raw, Refusal, Scheme,
    Settlement, Sight, SignerState, Slot, Terms, Timestamp, TxHash, Verified, Watch,
};
use tollway_rpc::{Probe, RpcClient};

pub use config::{BatchWay, EvmConfig, EvmLimits, HelperAccount};
pub use start::StartError;

use crate::SigningKey;
use crate::contracts::Contracts;
use crate::methods::Payment;
use crate::methods::permit2::permit2_domain;
use crate::methods::sponsoring::{EIP2612_GAS_SPONSORING, ERC20_APPROVAL_GAS_SPONSORING};
use crate::node::Receipt;
use crate::receipt::Uses;
use crate::token::{Token, Tokens};
use crate::typed_data::Domain;

/// One EVM network: verifies, settles and finds payments.
pub struct EvmChain {
    network: Network,
    chain_id: u64,
    rpc: RpcClient,
    signers: Vec<SigningKey>,
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
    contracts: Contracts,
    permit2: Domain,
    helper: helper::Helper,
    untold: trace::Untold,
    there: settlers::There,
    managers: Vec<Account>,
    allowances: allowance::Allowances,
    simulations: redemption::Simulations,
    settler_payees: Vec<alloy_primitives::Address>,
    /// The place of the account that settles now, where one must be chosen.
    preferred: AtomicUsize,
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
    /// [`StartError::NotEvm`], [`StartError::NoAsset`], [`StartError::OddContracts`] or
    /// [`StartError::HelperSettles`].
    pub fn new(config: EvmConfig) -> Result<Self, StartError> {
        let chain_id = config
            .network
            .chain_id()
            .ok_or_else(|| StartError::NotEvm(config.network.to_string()))?;
        let tokens = Tokens::from_table(&config.assets, &config.network, chain_id);
        if tokens.is_empty() {
            return Err(StartError::NoAsset(config.network.to_string()));
        }
        if !config.contracts.are_sound() {
            return Err(StartError::OddContracts(config.network.to_string()));
        }
        if let Some(helper) = &config.helper
            && config
                .signers
                .iter()
                .any(|s| s.address() == helper.signer.address())
        {
            return Err(StartError::HelperSettles(
                helper.signer.address().to_checksum(None),
            ));
        }
        let accounts = config
            .signers
            .iter()
            .map(|signer| account_text(&config.network, signer.address()))
            .collect::<Result<_, _>>()
            .map_err(|_| StartError::NotEvm(config.network.to_string()))?;
        config.rpc.set_probe(probe_of(chain_id, &config.rpc));
        let first = config.signers.first().map(SigningKey::address);
        Ok(Self {
            chain_id,
            window: window::Window::new(config.rpc.clone(), first, config.limits.payment_gas),
            signatures: presented::Signatures::default(),
            trials: trials::Trials::default(),
            contracts: config.contracts,
            permit2: permit2_domain(chain_id, config.contracts.permit2),
            helper: helper::Helper::new(config.helper, config.wallet_factories),
            untold: trace::Untold::default(),
            there: settlers::There::default(),
            managers: config.delegation_managers,
            allowances: allowance::Allowances::default(),
            simulations: redemption::Simulations::default(),
            settler_payees: config.settler_payees,
            preferred: AtomicUsize::new(0),
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

    /// Whether no block that carries a receipt is ever replaced here: one is as
    /// deep as many.
    fn is_instant(&self) -> bool {
        self.network
            .info()
            .is_some_and(|info| info.instant_finality)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn signer(&self, address: &Address) -> Result<&SigningKey, ChainError> {
        self.accounts
            .iter()
            .position(|account| account == address)
            .and_then(|index| self.signers.get(index))
            .ok_or_else(|| {
                ChainError::unavailable_because(
                    "No settling account can act now; configure the key of the account that was chosen.",
                    format!("no key for {address}"),
                )
            })
    }

    /// The account that whatever needs one in particular is tried and settled as.
    fn preferred(&self) -> Option<Account> {
        let at = self.preferred.load(Ordering::Acquire);
        let signer = self.signers.get(at).or_else(|| self.signers.first());
        signer.map(SigningKey::address)
    }

    /// One of our accounts, as the engine names it.
    fn account_of(&self, account: Account) -> Option<Address> {
        let at = self.signers.iter().position(|s| s.address() == account)?;
        self.accounts.get(at).cloned()
    }

    /// What a receipt proves here.
    fn uses<'a>(&self, receipt: &'a Receipt) -> Uses<'a> {
        Uses::of(receipt, self.contracts)
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

/// How a payment comes to be settled.
fn settlement(payment: &Payment, terms: &Terms) -> Settlement {
    match payment {
        Payment::Txid(proof) => Settlement::Observe {
            transaction: TxHash::new(&format!("{:#x}", proof.tx_hash)),
        },
        Payment::Permit2(_) if terms.scheme == Scheme::Upto && terms.amount.is_zero() => {
            Settlement::Nothing
        }
        _ => Settlement::Submit,
    }
}

#[async_trait]
impl Chain for EvmChain {
    fn network(&self) -> &Network {
        &self.network
    }

    fn kinds(&self) -> Vec<SupportedKind> {
        let kind = |scheme: Scheme, extra: Object| SupportedKind {
            x402_version: 2,
            scheme: scheme.as_str().to_owned(),
            network: self.network.to_string(),
            extra: Some(extra),
        };
        let mut kinds = vec![kind(Scheme::Exact, self.redeemers())];
        // Whoever settles `upto` is named in what the buyer signs.
        if let Some(signer) = self.signers.first()
            && self.settles_upto()
        {
            let address = signer.address().to_checksum(None);
            let extra = [("facilitatorAddress".to_owned(), address.into())];
            kinds.push(kind(Scheme::Upto, extra.into_iter().collect()));
        }
        kinds
    }

    fn extensions(&self) -> Vec<String> {
        let mut extensions = vec![EIP2612_GAS_SPONSORING.to_owned()];
        if self.helper.is_there() {
            extensions.push(ERC20_APPROVAL_GAS_SPONSORING.to_owned());
        }
        extensions
    }

    fn signers(&self) -> Vec<Address> {
        self.accounts.clone()
    }

    fn prefer(&self, signers: &[Address]) {
        let place = |signer| self.accounts.iter().position(|account| account == signer);
        if let Some(at) = signers.iter().find_map(place) {
            self.preferred.store(at, Ordering::Release);
        }
    }

    async fn lookup_at_most(
        &self,
        identity: &Identity,
        expected: &Expected,
        finality: Finality,
    ) -> Result<Lookup, ChainError> {
        self.look_for(identity, expected, finality, true).await
    }

    async fn is_overtaken(&self, identity: &Identity, raw: &Raw) -> Result<bool, ChainError> {
        self.nonce_is_anothers(identity, raw).await
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
        let payment = Payment::parse(&payload.payload, terms)?;
        let payer = account_text(&self.network, payment.payer())?;
        let (scope, nonce) = payment.scope_and_nonce(terms.asset.as_str(), self.contracts.permit2);
        Ok(Intent {
            identity: Identity {
                network: self.network.clone(),
                scope,
                payer: payer.clone(),
                nonce,
            },
            expected: Expected {
                asset: terms.asset.clone(),
                from: payer,
                to: terms.pay_to.clone(),
                amount: terms.amount,
            },
            deadline: Timestamp::from_secs(payment.deadline(terms, self.now().secs())?),
            settlement: settlement(&payment, terms),
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

    fn resume(&self, intent: &Intent) {
        self.hold_again(intent);
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

    async fn message_signer(
        &self,
        account: &tollway_core::Address,
        message: &str,
        signature: &str,
    ) -> Result<Option<tollway_core::SignedWith>, ChainError> {
        self.signer_of_message(account, message, signature).await
    }

    async fn confirmed_nonce(&self, signer: &Address) -> Result<u64, ChainError> {
        let account = known_account(signer)?;
        self.transaction_count(account).await
    }

    async fn health(&self) -> Health {
        self.read_health().await
    }
}
