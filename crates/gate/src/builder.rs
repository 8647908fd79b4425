//! Building a gate.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use http::HeaderValue;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tollway_core::extensions::offer_receipt::Notary;
use tollway_core::money::Decimal;
use tollway_core::{Chain, Clock, Facilitator, Finality, SystemClock};
use tollway_ledger::{GrantStore, SettlementStore};
use url::Url;

use crate::access::{Access, Guard};
use crate::cors::Cors;
use crate::error::shown;
use crate::event::{Event, OnEvent};
use crate::gate::{ChainUse, Credit, Gate, Inner, Settlements, extensions};
use crate::hooks::Hooks;
use crate::limits::{MAX_ASKERS, MAX_ROUTES};
use crate::pass::{Passes, SETTLEMENTS_PATH};
use crate::paywall::{Page, Paywall};
use crate::statements::Statements;
use crate::tally::Counts;
use crate::{BuildError, Discovery, Limits, Route, TokenKeys};

/// Builds a [`Gate`]; see [`Gate::builder`].
pub struct GateBuilder {
    base_url: String,
    facilitator: Arc<dyn Facilitator>,
    facilitator_origin: Option<String>,
    grants: Arc<dyn GrantStore>,
    settlements: Option<Settlements>,
    routes: Vec<Route>,
    chains: Vec<ChainUse>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    finality: Finality,
    origin: Option<String>,
    on_event: Option<OnEvent>,
    owner: Option<String>,
    alive: Vec<String>,
    identifier_required: bool,
    passes: Option<Passes>,
    proof_keys: Option<TokenKeys>,
    credit: Option<(Decimal, Decimal)>,
    page: Option<Page>,
    discovery: Option<Discovery>,
    access: Option<Access>,
    hooks: Option<Arc<dyn Hooks>>,
    statements: Option<Statements>,
}

impl GateBuilder {
    pub(crate) fn new(
        base_url: &str,
        facilitator: Arc<dyn Facilitator>,
        grants: Arc<dyn GrantStore>,
    ) -> Self {
        Self {
            base_url: base_url.to_owned(),
            facilitator,
            facilitator_origin: None,
            grants,
            settlements: None,
            routes: Vec::new(),
            chains: Vec::new(),
            clock: Arc::new(SystemClock),
            limits: Limits::default(),
            finality: Finality::default(),
            origin: Some("*".to_owned()),
            on_event: None,
            owner: None,
            alive: Vec::new(),
            identifier_required: false,
            passes: None,
            proof_keys: None,
            credit: None,
            page: None,
            discovery: None,
            access: None,
            hooks: None,
            statements: None,
        }
    }

    /// Adds a route. The first that fits a request prices it.
    #[must_use]
    pub fn route(mut self, route: Route) -> Self {
        self.routes.push(route);
        self
    }

    /// Adds a chain that tells what a payment is. Its node is not asked while
    /// requests are served; it is, to look up settlements that stayed unknown.
    #[must_use]
    pub fn chain(mut self, chain: Arc<dyn Chain>) -> Self {
        self.chains.push(ChainUse {
            chain,
            checks: false,
        });
        self
    }

    /// Adds a chain with which a remote facilitator's word is checked: nothing
    /// is released before its node shows the transfer.
    #[must_use]
    pub fn checking_chain(mut self, chain: Arc<dyn Chain>) -> Self {
        self.chains.push(ChainUse {
            chain,
            checks: true,
        });
        self
    }

    /// Says that the facilitator is a remote one, by its origin: what is
    /// released rests on its word, and the ledger records that.
    #[must_use]
    pub fn remote(mut self, origin: &str) -> Self {
        self.facilitator_origin = Some(origin.to_owned());
        self
    }

    /// Says that the facilitator is an engine of this process that settles from the
    /// same ledger: what it refused there ends here, whoever was waiting. `alone`
    /// says that no other process settles from it: what the ledger holds no payment
    /// of when the gate starts was never accepted, and is ended at once.
    #[must_use]
    pub fn settles_here(mut self, settlements: Arc<dyn SettlementStore>, alone: bool) -> Self {
        self.settlements = Some(Settlements {
            store: settlements,
            alone,
        });
        self
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How deep a transfer must lie when the gate itself looks for it (default:
    /// included in a block).
    #[must_use]
    pub fn finality(mut self, finality: Finality) -> Self {
        self.finality = finality;
        self
    }

    /// Sets the clock (default: the system's).
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Which origin may read paid answers in a browser: `*` (default), one
    /// origin, or `None` to leave CORS and preflights to the service behind.
    #[must_use]
    pub fn cors_origin(mut self, origin: Option<&str>) -> Self {
        self.origin = origin.map(str::to_owned);
        self
    }

    /// Refuses payments without a payment identifier (default: offered, not
    /// required).
    #[must_use]
    pub fn require_payment_identifier(mut self) -> Self {
        self.identifier_required = true;
        self
    }

    /// Sells passes on the routes that say so ([`Route::pass`]).
    #[must_use]
    pub fn passes(mut self, passes: Passes) -> Self {
        self.passes = Some(passes);
        self
    }

    /// Takes transaction proofs (method `txid`) on the routes that offer them. The keys
    /// mark the references of their offers, so that nothing is remembered of what was
    /// asked; gates that serve the same routes need the same keys.
    #[must_use]
    pub fn proofs(mut self, keys: TokenKeys) -> Self {
        self.proof_keys = Some(keys);
        self
    }

    /// Caps what metered routes may have handed out before it is settled: to one
    /// payer, and to all, in whole units of each asset, such as dollars (default 1
    /// and 20). A route whose most is above the first cannot be built.
    #[must_use]
    pub fn credit(mut self, per_payer: Decimal, total: Decimal) -> Self {
        self.credit = Some((per_payer, total));
        self
    }

    /// Serves a page on which a person pays, to browsers that open a priced route
    /// (default: everybody gets the terms as JSON). Programs never get it.
    #[must_use]
    pub fn page(mut self, page: Page) -> Self {
        self.page = Some(page);
        self
    }

    /// Tells programs that look for services which routes there are, at
    /// `/.well-known/x402` and `/openapi.json` (default: nobody is told).
    #[must_use]
    pub fn discovery(mut self, discovery: Discovery) -> Self {
        self.discovery = Some(discovery);
        self
    }

    /// Says who may pay, and how often (default: everybody, as often as they like).
    /// What was paid for is shown again however often its payer paid.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = Some(access);
        self
    }

    /// Runs code of the seller's own at each step of a payment.
    #[must_use]
    pub fn hooks(mut self, hooks: Arc<dyn Hooks>) -> Self {
        self.hooks = Some(hooks);
        self
    }

    /// Signs the offers of every 402 answer, and a receipt with every answer that is
    /// paid for and delivered (extension `offer-receipt`; default: neither is signed).
    /// Receipts name the payment's transaction if `names_transaction`; without it
    /// whoever is shown one cannot look the payment up.
    #[must_use]
    pub fn statements(mut self, notary: Arc<dyn Notary>, names_transaction: bool) -> Self {
        self.statements = Some(Statements {
            notary,
            names_transaction,
        });
        self
    }

    /// Calls a function at every event. It must not block.
    #[must_use]
    pub fn on_event(mut self, call: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.on_event = Some(Arc::new(call));
        self
    }

    /// Names this process in the ledger (default: a random name), and the
    /// processes that share the ledger and live: what others left is ended or
    /// taken over. Where several machines share the ledger, the name is that of
    /// a replica that beats ([`tollway_ledger::ReplicaStore`]), and whoever else
    /// beats lives.
    #[must_use]
    pub fn owner(mut self, name: &str, alive: &[String]) -> Self {
        self.owner = Some(name.to_owned());
        self.alive = alive.to_vec();
        self
    }

    /// Checks everything and builds the gate. Asks nobody.
    ///
    /// # Errors
    /// [`BuildError`] says what to correct.
    pub fn build(self) -> Result<Gate, BuildError> {
        self.assemble(None)
    }

    /// Builds the gate that takes the place of another, whose work goes on in it.
    pub(crate) fn build_after(self, before: &Inner) -> Result<Gate, BuildError> {
        self.assemble(Some(before))
    }

    fn assemble(self, before: Option<&Inner>) -> Result<Gate, BuildError> {
        if self.routes.is_empty() {
            return Err(BuildError::NoRoutes);
        }
        if self.routes.len() > MAX_ROUTES {
            return Err(BuildError::TooManyRoutes);
        }
        let owner = match (before, self.owner) {
            (Some(before), _) => before.owner.clone(),
            (None, Some(name)) => name,
            (None, None) => random_owner()?,
        };
        let mut alive = self.alive;
        alive.push(owner.clone());
        let chains: BTreeMap<_, _> = self
            .chains
            .into_iter()
            .map(|used| (used.chain.network().clone(), used))
            .collect();
        let heard = before.and_then(|before| before.passes.as_ref());
        let passes = self.passes.map(|passes| Passes {
            store: passes.store.passes_of_owner(&owner),
            feed: heard.map_or(passes.feed, |heard| Arc::clone(&heard.feed)),
            ..passes
        });
        if let Some(passes) = &passes {
            passes.check()?;
        } else if let Some(route) = self.routes.iter().find(|route| route.pass.is_some()) {
            return Err(BuildError::NoPasses(route.pattern.as_str().to_owned()));
        }
        let is_metered = self.routes.iter().any(|route| route.meter.is_some());
        let settlements_path = match &passes {
            Some(passes) => Some(passes.settlements_path.clone()),
            None => is_metered.then(|| SETTLEMENTS_PATH.to_owned()),
        };
        let places = self.limits.max_in_flight.min(Semaphore::MAX_PERMITS);
        let streams = self.limits.max_streams.min(Semaphore::MAX_PERMITS);
        let patterns = self.routes.iter().map(|r| r.pattern.as_str().to_owned());
        let counts = Arc::new(Counts::of(patterns));
        let all_counts: Arc<Mutex<Vec<_>>> =
            before.map_or_else(Arc::default, |b| Arc::clone(&b.all_counts));
        let added = before.map(|b| {
            b.added
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
        });
        let added = added.unwrap_or_default();
        let inner = Inner {
            all_counts,
            counts,
            base_url: base_url(&self.base_url)?,
            routes: self.routes.into(),
            former: before.map(Inner::former_after).unwrap_or_default(),
            replaced: CancellationToken::new(),
            extensions: extensions(self.identifier_required),
            identifier_required: self.identifier_required,
            facilitator: self.facilitator,
            facilitator_origin: self.facilitator_origin,
            chains,
            grants: self.grants.owned_by(&owner),
            passes,
            proof_keys: self.proof_keys,
            settlements_path,
            credit: Credit(self.credit),
            settlements: self.settlements,
            clock: self.clock,
            limits: self.limits,
            finality: self.finality,
            cors: self.origin.map(|o| cors(&o)).transpose()?,
            guard: self.access.map(Guard::new),
            hooks: self.hooks,
            statements: self.statements,
            discovery: self.discovery,
            documents: RwLock::default(),
            paywall: self.page.map(Paywall::new),
            on_event: self.on_event,
            owner,
            alive,
            sales: RwLock::default(),
            added: RwLock::new(added),
            active: before.map_or_else(Arc::default, |b| Arc::clone(&b.active)),
            places: shared(before.map(|b| &b.places), places),
            askers: shared(before.map(|b| &b.askers), MAX_ASKERS),
            streams: shared(before.map(|b| &b.streams), streams),
            tasks: before.map_or_else(TaskTracker::new, |b| b.tasks.clone()),
            ledger_failed: before.map_or_else(Arc::default, |b| Arc::clone(&b.ledger_failed)),
        };
        inner.build_sales()?;
        let all = inner.all_counts.lock();
        all.unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&inner.counts));
        inner.check_logo()?;
        Ok(Gate {
            inner: Arc::new(inner),
        })
    }
}

/// The places of the gate before, or so many.
fn shared(before: Option<&Arc<Semaphore>>, count: usize) -> Arc<Semaphore> {
    before.map_or_else(|| Arc::new(Semaphore::new(count)), Arc::clone)
}

/// The base URL without its trailing slash.
fn base_url(text: &str) -> Result<String, BuildError> {
    let wrong = || BuildError::BaseUrl(shown(text));
    let url = Url::parse(text).map_err(|_| wrong())?;
    // Tools are named below mcp://tool.
    let fits = matches!(url.scheme(), "http" | "https" | "mcp")
        && url.host_str().is_some()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && url.as_str().len() <= 512;
    fits.then(|| url.as_str().trim_end_matches('/').to_owned())
        .ok_or_else(wrong)
}

fn cors(origin: &str) -> Result<Cors, BuildError> {
    HeaderValue::from_str(origin)
        .map(Cors::new)
        .map_err(|_| BuildError::Origin(origin.to_owned()))
}

fn random_owner() -> Result<String, BuildError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|_| BuildError::Random)?;
    Ok(format!("gate_{}", hex::encode(bytes)))
}
