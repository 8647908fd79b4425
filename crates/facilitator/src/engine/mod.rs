//! The settlement engine: a pure machine, and the driver that performs its effects.
//!
//! [`Engine::start`] takes chains, a store and a clock, and gives a handle that
//! is cheap to clone. The handle is a [`Facilitator`]; the HTTP API is a thin
//! layer over it. Dropping the last handle stops the engine as a crash would:
//! nothing is lost, because every step is durable before the next, and the next
//! start on the same store goes on with what is open.

mod accept;
mod account;
mod actor;
mod admission;
mod answer;
mod callers;
mod config;
mod crash;
mod error;
mod event;
mod gas;
mod health;
mod holds;
mod intake;
mod intent;
mod keeper;
mod limits;
pub mod machine;
mod memory;
mod perform;
mod shared;
mod waiters;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::{CancellationToken, DropGuard};
use tollway_core::wire::{SettleResponse, SupportedKind, SupportedResponse, VerifyResponse};
use tollway_core::{
    Facilitator, FacilitatorError, Network, PaymentId, SettleRequest, VerifyRequest,
};
use tollway_ledger::{LedgerError, PaymentRecord};

pub use callers::Caller;
pub use config::{CallerRule, EngineConfig, EngineParts, GasCap, GasCaps, Holds};
pub use error::EngineError;
pub use event::{Hook, SettlementEvent};
pub use health::{EngineHealth, NetworkHealth};

use actor::Actor;
use shared::{NetworkHandle, Shared};

/// Identities that are remembered as verified.
const REMEMBERED: usize = 131_072;

/// A running engine. Cheap to clone; it stops when the last clone is dropped.
#[derive(Clone)]
pub struct Engine {
    networks: Arc<BTreeMap<Network, NetworkHandle>>,
    shared: Arc<Shared>,
    _stop: Arc<DropGuard>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let networks: Vec<&Network> = self.networks.keys().collect();
        f.debug_struct("Engine")
            .field("networks", &networks)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts one actor for each chain; each first recovers what the ledger
    /// holds open. Must be called within a tokio runtime. Of two chains for one
    /// network the last counts.
    #[must_use]
    pub fn start(parts: EngineParts) -> Self {
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            base: parts.store,
            member: tokio::sync::watch::Sender::new(None),
            clock: parts.clock,
            waiters: Arc::default(),
            stop: stop.clone(),
            draining: false.into(),
            inside: 0.into(),
            ledger: shared::LedgerWatch::default(),
            callers: Arc::new(callers::Callers::new(&parts.config.callers)).into(),
            holds: Arc::default(),
            open: holds::Open::default(),
            unused: memory::Memory::of_at_most(REMEMBERED),
            lost: Vec::new().into(),
            hooks: Vec::new().into(),
            hooked: false.into(),
            config: parts.config,
        });
        let chains: BTreeMap<Network, _> = parts
            .chains
            .into_iter()
            .map(|c| (c.network().clone(), c))
            .collect();
        let mut networks = BTreeMap::new();
        for (network, chain) in chains {
            let (actor, handle) = Actor::new(Arc::clone(&shared), chain);
            tokio::spawn(actor.run());
            networks.insert(network, handle);
        }
        let networks = Arc::new(networks);
        let keeper = keeper::Keeper {
            shared: Arc::clone(&shared),
            networks: Arc::clone(&networks),
        };
        tokio::spawn(keeper.run());
        Self {
            networks,
            shared,
            _stop: Arc::new(stop.drop_guard()),
        }
    }

    /// The time by its clock.
    pub(crate) fn now(&self) -> tollway_core::Timestamp {
        self.shared.now()
    }

    /// Calls this for every event from now on. Hooks run in the engine's tasks
    /// and must not block.
    pub fn on_event(&self, hook: impl Fn(&SettlementEvent) + Send + Sync + 'static) {
        self.shared
            .hooks
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::new(hook));
        self.shared.hooked.store(true, Ordering::Release);
    }

    /// Who calls with this API key. Without callers in the configuration,
    /// everybody may call, with or without one.
    ///
    /// # Errors
    /// `invalid_api_key` if nobody has this key.
    pub fn caller(&self, key: Option<&str>) -> Result<Caller, EngineError> {
        self.shared.callers().find(key)
    }

    /// From now on these may call, and no others. What callers of the same names have
    /// open, and have used up of their quotas, goes on counting; requests that are
    /// under way end by the rules that they began with.
    pub fn set_callers(&self, rules: &[CallerRule]) {
        let callers = self.shared.callers.write();
        let mut callers = callers.unwrap_or_else(PoisonError::into_inner);
        *callers = Arc::new(callers.renewed(rules));
    }

    /// The same, and counts one call against the caller's quota.
    ///
    /// # Errors
    /// `invalid_api_key`, or `too_many_requests` where the quota is used up.
    pub fn call_of(&self, key: Option<&str>) -> Result<Caller, EngineError> {
        let caller = self.caller(key)?;
        caller.count(self.shared.clock.now())?;
        Ok(caller)
    }

    /// A payment by its name.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub async fn status(&self, id: &PaymentId) -> Result<Option<PaymentRecord>, LedgerError> {
        self.shared.store_now().payment(id).await
    }

    /// Takes no more payments, waits at most so long for callers and open
    /// payments, and stops. Whatever is still open is gone on with at the next
    /// start. Whether everything had ended.
    pub async fn drain(&self, at_most: Duration) -> bool {
        self.shared.draining.store(true, Ordering::Release);
        let quiet = async {
            while !self.is_quiet() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let ended = tokio::time::timeout(at_most, quiet).await.is_ok();
        self.shared.stop.cancel();
        let member = self.shared.member.borrow().clone();
        if let Some(member) = member {
            // Others need not wait until this process counts as dead.
            let left = member.store.leave(&member.id).await;
            self.shared.note_ledger(&left);
        }
        ended
    }

    fn is_quiet(&self) -> bool {
        let open = |h: &NetworkHandle| h.gauge.open_payments.load(Ordering::Relaxed);
        self.shared.inside.load(Ordering::Acquire) == 0
            && self.networks.values().all(|h| open(h) == 0)
    }

    /// What can be paid, in both versions, and who settles.
    #[must_use]
    pub fn kinds(&self) -> SupportedResponse {
        let mut response = SupportedResponse::default();
        for (network, handle) in self.networks.iter() {
            let kinds = handle.chain.kinds();
            response
                .kinds
                .extend(kinds.iter().filter_map(|k| in_version_1(network, k)));
            response.kinds.extend(kinds);
            for extension in handle.chain.extensions() {
                if !response.extensions.contains(&extension) {
                    response.extensions.push(extension);
                }
            }
            let family = network.as_str().split(':').next().unwrap_or_default();
            let signers = response.signers.entry(format!("{family}:*")).or_default();
            for signer in handle.chain.signers() {
                if !signers.iter().any(|s| s == signer.as_str()) {
                    signers.push(signer.to_string());
                }
            }
        }
        // Version 2 first, each in the order of its network.
        response
            .kinds
            .sort_by_key(|k| std::cmp::Reverse(k.x402_version));
        response
    }

    /// The same for those who call over HTTP.
    pub(crate) fn kinds_for_others(&self) -> SupportedResponse {
        let mut response = self.kinds();
        let lists_upto = self.shared.config.open_upto || self.shared.callers().charge();
        if !lists_upto {
            response.kinds.retain(|kind| kind.scheme != "upto");
        }
        response
    }
}

/// The version 1 kind of a version 2 kind: scheme `exact` with the default
/// method, on networks that version 1 has a name for.
fn in_version_1(network: &Network, kind: &SupportedKind) -> Option<SupportedKind> {
    let method = kind
        .extra
        .as_ref()
        .and_then(|e| e.get("assetTransferMethod"))
        .and_then(|m| m.as_str());
    let fits =
        kind.x402_version == 2 && kind.scheme == "exact" && method.is_none_or(|m| m == "eip3009");
    Some(SupportedKind {
        x402_version: 1,
        network: network.v1_name()?.to_owned(),
        extra: None,
        ..kind.clone()
    })
    .filter(|_| fits)
}

#[async_trait]
impl Facilitator for Engine {
    async fn verify(&self, request: &VerifyRequest) -> Result<VerifyResponse, FacilitatorError> {
        Ok(self.check(request).await?)
    }

    async fn settle(&self, request: &SettleRequest) -> Result<SettleResponse, FacilitatorError> {
        Ok(self.pay(request).await?)
    }

    async fn supported(&self) -> Result<SupportedResponse, FacilitatorError> {
        Ok(self.kinds())
    }
}
