//! The gate: what all clones of its service share.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, btree_map};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use http::Method;
use http::request::Parts;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tollway_core::money::Decimal;
use tollway_core::wire::{Object, ResourceInfo};
use tollway_core::{
    Amount, Chain, Clock, Facilitator, FacilitatorError, Finality, GrantId, Network, PaymentFlow,
    Refusal, Scheme, Timestamp,
};
use tollway_ledger::{ExposureCap, GrantStore, LedgerError, SettlementStore};

use crate::access::Guard;
use crate::builder::GateBuilder;
use crate::challenge::{Challenge, declared_extensions};
use crate::cors::Cors;
use crate::discovery::{BAZAAR, Discovery, Document, Documents, Listed};
use crate::event::{Event, OnEvent};
use crate::hooks::Hooks;
use crate::pass::{Extras, Passes, SoldPass};
use crate::paywall::Paywall;
use crate::proof;
use crate::redeemers;
use crate::renew::Former;
use crate::route::{Decision, Pricing, Quote, Route, decide};
use crate::service::GateLayer;
use crate::statements::{KeptOffers, Statements};
use crate::tally::{Count, Counts};
use crate::telemetry::{self, Challenges};
use crate::{BuildError, Limits, Meter, Offer, StartError, TokenKeys};

/// A price on routes: build it once, then wrap services with its
/// [`layer`](Gate::layer). Clones share everything.
#[derive(Clone)]
pub struct Gate {
    pub(crate) inner: Arc<Inner>,
}

/// What a start found; see [`Gate::start`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartReport {
    /// Sentences for the operator: what does not work yet.
    pub warnings: Vec<String>,
    /// Grants of dead processes that were ended.
    pub orphans_refused: u64,
    /// Grants whose settlement is still unknown.
    pub still_open: usize,
}

impl Gate {
    /// Starts to build a gate.
    ///
    /// `base_url` is what buyers see, such as `https://api.example.com`: the
    /// resource URL is made of it, never of the Host header.
    pub fn builder(
        base_url: &str,
        facilitator: Arc<dyn Facilitator>,
        grants: Arc<dyn GrantStore>,
    ) -> GateBuilder {
        GateBuilder::new(base_url, facilitator, grants)
    }

    /// The layer that puts this gate before a service.
    #[must_use]
    pub fn layer(&self) -> GateLayer {
        GateLayer::new(self.clone())
    }

    /// Asks the facilitator what it supports and takes over what it adds to the
    /// terms, ends what a dead process left, and starts the keeper that goes on
    /// asking about unknown settlements. Call it once, before serving.
    ///
    /// A facilitator that cannot be reached is a warning: the gate serves, and
    /// paying requests get 503 until it is there.
    ///
    /// # Errors
    /// The ledger's, if it cannot be read or written; and
    /// [`StartError::TokenKeys`] where tokens of another key are out.
    pub async fn start(&self) -> Result<StartReport, StartError> {
        self.inner.sign_tokens().await?;
        let mut report = self.recover().await?;
        report.warnings = self.refresh_supported().await;
        report.warnings.extend(self.inner.unsigned_proofs());
        report.warnings.extend(self.inner.uneven_passes());
        crate::flow::keep(&self.inner);
        Ok(report)
    }

    /// Ends what a dead process left before settling, and looks up what it left
    /// while settling.
    ///
    /// # Errors
    /// The ledger's, if it cannot be read or written.
    pub async fn recover(&self) -> Result<StartReport, LedgerError> {
        crate::flow::recover(&self.inner).await
    }

    /// Asks the facilitator what it supports, and renews the terms with what it
    /// adds to them. Returns sentences about what does not fit.
    pub async fn refresh_supported(&self) -> Vec<String> {
        self.inner.refresh_supported().await
    }

    /// Whether a request would have to be paid, and by which route's pattern.
    #[must_use]
    pub fn priced_route(&self, method: &Method, path: &str) -> Option<&str> {
        match self.inner.decide(method, path) {
            Decision::Paid { route, .. } => {
                self.inner.routes.get(route).map(|r| r.pattern.as_str())
            }
            _ => None,
        }
    }

    /// Waits until no payment is in flight, at most this long. Returns whether
    /// that came to be. Call it when the server takes no more connections.
    pub async fn drain(&self, at_most: Duration) -> bool {
        self.inner.tasks.close();
        let done = tokio::time::timeout(at_most, self.inner.tasks.wait()).await;
        self.inner.tasks.reopen();
        done.is_ok()
    }

    /// What left no record since this was called last: requests that got the terms,
    /// and refusals, by route.
    #[must_use]
    pub fn take_counts(&self) -> Vec<Count> {
        let counts = self.inner.all_counts.lock();
        let mut counts = counts.unwrap_or_else(PoisonError::into_inner);
        let taken = counts.iter().flat_map(|counts| counts.drain()).collect();
        // A gate that was replaced and works on nothing more counts nothing more.
        counts.retain(|counts| Arc::strong_count(counts) > 1);
        taken
    }

    /// Whether the ledger took the last step that it was asked for.
    #[must_use]
    pub fn ledger_is_well(&self) -> bool {
        !self
            .inner
            .ledger_failed
            .load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate")
            .field("base_url", &self.inner.base_url)
            .field("routes", &self.inner.routes)
            .finish_non_exhaustive()
    }
}

/// A chain, and whether its node is asked.
#[derive(Clone)]
pub(crate) struct ChainUse {
    pub chain: Arc<dyn Chain>,
    /// Whether a remote facilitator's word is checked with its node.
    pub checks: bool,
}

/// The record of an engine in this process.
#[derive(Clone)]
pub(crate) struct Settlements {
    pub store: Arc<dyn SettlementStore>,
    /// Whether no other process settles from it.
    pub alone: bool,
}

/// A route as it is sold: its final offers, and the answer that offers them.
#[derive(Debug)]
pub(crate) struct Sale {
    pub pattern: String,
    pub resource: ResourceInfo,
    /// What it declares, beside the gate's own.
    pub extensions: Object,
    pub offers: Vec<Offer>,
    /// Whether its terms differ from answer to answer: it takes signed proofs.
    pub is_stamped: bool,
    /// Whether each 402 answer says something of its own beside the terms.
    pub is_told_anew: bool,
    /// What its price was asked for, where that is more than the route: method,
    /// path and query.
    pub asked: String,
    pub pass: Option<SoldPass>,
    pub meter: Option<Meter>,
    /// For how long who paid gets it again by signing in.
    pub returning: Option<Duration>,
    /// What its 402 body says of tokens, where it sells a pass.
    pub extras: Option<Extras>,
    pub challenge: Challenge,
    /// Its signed offers, kept ready.
    pub signed: KeptOffers,
    /// Counts who got it.
    pub challenges: Challenges,
}

pub(crate) struct Inner {
    pub base_url: String,
    pub routes: Arc<[Route]>,
    /// What was sold before the settings changed, the latest first.
    pub former: Vec<Former>,
    /// Cancelled when another gate took this one's place.
    pub replaced: CancellationToken,
    pub extensions: Object,
    pub identifier_required: bool,
    pub facilitator: Arc<dyn Facilitator>,
    /// Origin of a remote facilitator; `None` for one in this process.
    pub facilitator_origin: Option<String>,
    pub chains: BTreeMap<Network, ChainUse>,
    pub grants: Arc<dyn GrantStore>,
    pub passes: Option<Passes>,
    /// What marks the references of transaction proofs.
    pub proof_keys: Option<TokenKeys>,
    /// Below which path it is told what became of a payment.
    pub settlements_path: Option<String>,
    /// What may be streamed before it is settled.
    pub credit: Credit,
    /// The engine's record, where the engine is of this process.
    pub settlements: Option<Settlements>,
    pub clock: Arc<dyn Clock>,
    pub limits: Limits,
    /// How deep a transfer must lie when the gate itself looks.
    pub finality: Finality,
    pub cors: Option<Cors>,
    /// Who may pay, and how often.
    pub guard: Option<Guard>,
    /// What signs offers and receipts.
    pub statements: Option<Statements>,
    /// The seller's own code at each step.
    pub hooks: Option<Arc<dyn Hooks>>,
    /// What programs that look for services are told, and as they are told it.
    pub discovery: Option<Discovery>,
    pub documents: RwLock<Documents>,
    /// What a person gets in a browser.
    pub paywall: Option<Paywall>,
    pub on_event: Option<OnEvent>,
    pub owner: String,
    pub alive: Vec<String>,
    /// Prebuilt, by route; `None` where a function says the price.
    pub sales: RwLock<Vec<Option<Arc<Sale>>>>,
    /// What the facilitator adds to `extra`, by scheme and network.
    pub added: RwLock<BTreeMap<(String, String), Object>>,
    /// Grants that a task of this process is working on; each channel closes
    /// when that task lets go.
    pub active: Arc<Mutex<HashMap<GrantId, watch::Receiver<()>>>>,
    /// What leaves no record, by route.
    pub counts: Arc<Counts>,
    /// The same of the gates before this one too, until they are taken.
    pub all_counts: Arc<Mutex<Vec<Arc<Counts>>>>,
    /// One permit for each paying request.
    pub places: Arc<Semaphore>,
    /// One permit for each repeat that asks the ledger again and again what
    /// another process makes of its grant.
    pub askers: Arc<Semaphore>,
    /// One permit for each metered stream.
    pub streams: Arc<Semaphore>,
    pub tasks: TaskTracker,
    pub ledger_failed: Arc<std::sync::atomic::AtomicBool>,
}

/// What may be handed out before it is settled, to one payer and to all, in whole
/// units of an asset. Unless it is said: one and twenty.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credit(pub Option<(Decimal, Decimal)>);

impl Credit {
    /// The cap for an asset with so many decimals.
    pub(crate) fn cap(&self, decimals: u8) -> Option<ExposureCap> {
        let Some((per_payer, total)) = self.0 else {
            let one = Amount::from_atomic(10_u128.checked_pow(decimals.into())?);
            return Some(ExposureCap {
                per_payer: one,
                total: one.checked_mul(20)?,
            });
        };
        Some(ExposureCap {
            per_payer: per_payer.to_atomic(decimals)?,
            total: total.to_atomic(decimals)?,
        })
    }
}

impl Inner {
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn emit(&self, event: &Event) {
        telemetry::happened(event);
        tracing::debug!(?event, "gate");
        self.counts.take(event);
        if let Some(on_event) = &self.on_event {
            on_event(event);
        }
    }

    pub(crate) fn decide(&self, method: &Method, path: &str) -> Decision {
        decide(self.routes.iter().map(|r| &r.pattern), method, path)
    }

    /// The prebuilt sale of a route with fixed prices.
    pub(crate) fn fixed_sale(&self, route: usize) -> Option<Arc<Sale>> {
        let sales = self.sales.read().unwrap_or_else(PoisonError::into_inner);
        sales.get(route).cloned().flatten()
    }

    /// The prebuilt sales of all routes with fixed prices.
    pub(crate) fn fixed_sales(&self) -> Vec<Arc<Sale>> {
        let sales = self.sales.read().unwrap_or_else(PoisonError::into_inner);
        sales.iter().flatten().cloned().collect()
    }

    /// Asks the route's function; `None` means free.
    pub(crate) async fn asked_sale(
        &self,
        route: &Route,
        parts: &Parts,
    ) -> Result<Option<Arc<Sale>>, Refusal> {
        let offers = match &route.pricing {
            Pricing::Fixed(offers) => offers.clone(),
            Pricing::Asked(price) => match price(parts).await? {
                Quote::Free => return Ok(None),
                Quote::Pay(offers) => offers,
            },
        };
        let mut sale = self.sale(route, &offers).map_err(|error| {
            Refusal::new(
                "internal_error",
                "The price of this request cannot be told now; try again later.",
            )
            .with_detail(error)
        })?;
        if matches!(route.pricing, Pricing::Asked(_)) {
            let method = match parts.method {
                Method::HEAD => &Method::GET,
                ref other => other,
            };
            sale.asked = format!("{method} {}", parts.uri);
        }
        Ok(Some(Arc::new(sale)))
    }

    /// The final offers of a route, and the answer that offers them.
    pub(crate) fn sale(&self, route: &Route, offers: &[Offer]) -> Result<Sale, BuildError> {
        let pattern = route.pattern.as_str().to_owned();
        if offers.is_empty() {
            return Err(BuildError::NoPrice(pattern));
        }
        if offers.len() > crate::limits::MAX_OFFERS {
            return Err(BuildError::TooManyOffers(pattern));
        }
        let mut offers = offers
            .iter()
            .map(|offer| self.complete(route, offer))
            .collect::<Result<Vec<_>, _>>()?;
        // Most clients take the first entry that they know.
        offers.sort_by_key(Offer::is_own);
        self.check_proofs(&pattern, &offers)?;
        let pass = self.sold_pass(&pattern);
        let is_metered = |offer: &Offer| offer.terms().scheme == Scheme::Upto;
        if pass.is_some() && offers.iter().any(is_metered) {
            return Err(BuildError::MeteredPass(pattern));
        }
        if let Some(meter) = &route.meter {
            let why = self.unmetered(route, meter, &offers);
            if let Some(why) = why {
                return Err(BuildError::Meter {
                    route: pattern,
                    why,
                });
            }
        }
        let extras = pass.as_ref().and(self.passes.as_ref()).map(|passes| {
            let route = utf8_percent_encode(&pattern, NON_ALPHANUMERIC);
            Extras::new(&format!("{}?for={route}", passes.token_path), &offers)
        });
        let mut extensions = self.extensions.clone();
        if let Some(usage) = &route.usage {
            usage.check().map_err(|why| BuildError::Usage {
                route: pattern.clone(),
                why,
            })?;
            extensions.insert(BAZAAR.to_owned(), usage.declared(&route.pattern));
        }
        // As long as it will be when it is sent.
        let shown = self
            .stamped_offers(&offers, &pattern, ("/", ""))
            .ok_or(BuildError::Random)?;
        let challenge = Challenge::new(
            &self.base_url,
            &route.resource,
            &shown,
            &extensions,
            extras.as_ref(),
        )?;
        self.check_returning(route, &offers)?;
        let is_returning = route.returning.is_some();
        let says = (is_returning, &KeptOffers::default());
        let told = self.told_extensions(&extensions, says, &shown, "/");
        let is_signed = matches!(told, Cow::Owned(_));
        if is_signed {
            let (base, resource) = (&self.base_url, &route.resource);
            Challenge::new(base, resource, &shown, &told, extras.as_ref())?;
        }
        Ok(Sale {
            is_stamped: offers.iter().any(proof::is_signed),
            is_told_anew: is_signed,
            asked: String::new(),
            pattern,
            resource: route.resource.clone(),
            extensions,
            offers,
            pass,
            meter: route.meter,
            returning: route.returning,
            extras,
            challenge,
            signed: KeptOffers::default(),
            challenges: Challenges::default(),
        })
    }

    /// Why offers cannot be metered, if they cannot.
    fn unmetered(&self, route: &Route, meter: &Meter, offers: &[Offer]) -> Option<&'static str> {
        if route.flow != PaymentFlow::Authorization {
            return Some(
                "what it comes to is known only afterwards; let it settle after it is served",
            );
        }
        offers.iter().find_map(|offer| {
            let (terms, decimals) = (offer.terms(), offer.decimals());
            if terms.scheme != Scheme::Upto {
                return Some("it has a fixed price; make every price the most that is charged");
            }
            if meter.rate(terms.amount, decimals).is_none() {
                return Some(
                    "the asset cannot express the price of a unit, or the most does not pay for one; change the price of a unit",
                );
            }
            let cap = self.credit.cap(decimals);
            cap.is_none_or(|cap| cap.per_payer.min(cap.total) < terms.amount).then_some(
                "its most is more than may be handed out unsettled to one payer; raise that, or lower the price",
            )
        })
    }

    fn complete(&self, route: &Route, offer: &Offer) -> Result<Offer, BuildError> {
        let terms = offer.terms();
        if !self.chains.contains_key(&terms.network) {
            return Err(BuildError::NoChain {
                route: route.pattern.as_str().to_owned(),
                network: terms.network.clone(),
            });
        }
        let added = self.added.read().unwrap_or_else(PoisonError::into_inner);
        let key = (terms.wire.scheme.clone(), terms.wire.network.clone());
        let mut extra = route.added();
        if let Some(rate) = route
            .meter
            .and_then(|m| m.rate(terms.amount, offer.decimals()))
        {
            extra.insert("meter".to_owned(), rate.to_string().into());
        }
        let listed = added.get(&key).cloned().unwrap_or_default();
        extra.extend(redeemers::added(terms, listed));
        offer
            .complete(route.flow, &extra)
            .map_err(|refusal| BuildError::Offer {
                route: route.pattern.as_str().to_owned(),
                refusal,
            })
    }

    /// The pass that the first route of this pattern sells. Unless it says
    /// another, its audience is this route of this gate, and of no other gate
    /// over the same ledger and keys.
    pub(crate) fn sold_pass(&self, pattern: &str) -> Option<SoldPass> {
        self.passes.as_ref()?;
        let route = self.routes.iter().find(|r| r.pattern.as_str() == pattern)?;
        let offer = route.pass.clone()?;
        Some(SoldPass {
            audience: match &offer.audience {
                Some(named) => named.clone(),
                None => own_audience(&self.base_url, pattern),
            },
            offer,
        })
    }

    /// How deep a settlement of a route must lie when the gate itself looks.
    pub(crate) fn finality_of(&self, pattern: &str) -> Finality {
        self.routes
            .iter()
            .filter(|route| route.pattern.as_str() == pattern)
            .fold(self.finality, |deepest, route| {
                deepest.deeper(route.finality)
            })
            .deeper(self.former_finality(pattern))
    }

    /// Builds the sales of all routes with fixed prices.
    pub(crate) fn build_sales(&self) -> Result<(), BuildError> {
        let sales = self
            .routes
            .iter()
            .map(|route| match &route.pricing {
                Pricing::Fixed(offers) => self.sale(route, offers).map(|s| Some(Arc::new(s))),
                Pricing::Asked(_) => self.check_returning(route, &[]).map(|()| None),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if let Some(discovery) = &self.discovery {
            let listed: Vec<Listed<'_>> = self.routes.iter().zip(&sales).map(Listed::new).collect();
            let documents = Documents::of(discovery, &self.base_url, &listed);
            *self
                .documents
                .write()
                .unwrap_or_else(PoisonError::into_inner) = documents;
        }
        *self.sales.write().unwrap_or_else(PoisonError::into_inner) = sales;
        Ok(())
    }

    /// The document that a path names, where programs are told of the routes.
    pub(crate) fn document(&self, path: &str) -> Option<(&Discovery, Document)> {
        Some((self.discovery.as_ref()?, Document::at(path)?))
    }

    /// A logo that costs money would never be seen.
    pub(crate) fn check_logo(&self) -> Result<(), BuildError> {
        let path = self.paywall.as_ref().and_then(Paywall::logo_path);
        match path.map(|path| (path, self.decide(&Method::GET, path))) {
            None | Some((_, Decision::Free { .. })) => Ok(()),
            Some((path, _)) => Err(BuildError::Logo(path.to_owned())),
        }
    }

    /// Signs with our keys, if gates over the same ledger know them.
    pub(crate) async fn sign_tokens(&self) -> Result<(), StartError> {
        let Some(passes) = &self.passes else {
            return Ok(());
        };
        let keys = passes.keys.names();
        let signing = passes
            .store
            .sign_with(&keys, passes.gives_keys_up, self.now());
        match self.noted(signing.await)? {
            None => Ok(()),
            Some(unknown) => Err(StartError::TokenKeys(unknown)),
        }
    }

    /// Routes that share passes and sell them differently: whoever buys the
    /// cheapest opens all.
    pub(crate) fn uneven_passes(&self) -> Vec<String> {
        let sales = self.sales.read().unwrap_or_else(PoisonError::into_inner);
        let mut first: BTreeMap<&str, (&str, _)> = BTreeMap::new();
        let mut warnings = Vec::new();
        for sale in sales.iter().flatten() {
            let Some(pass) = &sale.pass else { continue };
            let offers = sale.offers.iter().map(|offer| &offer.terms().wire);
            let prices: BTreeSet<_> = offers
                .map(|wire| (&wire.network, &wire.asset, &wire.amount))
                .collect();
            let sold = (prices, pass.offer.quota, pass.offer.lifetime);
            match first.entry(&pass.audience) {
                btree_map::Entry::Vacant(place) => {
                    place.insert((&sale.pattern, sold));
                }
                btree_map::Entry::Occupied(other) if other.get().1 != sold => {
                    warnings.push(format!(
                        "The routes `{}` and `{}` share the passes of `{}` and sell them differently; whoever buys the cheaper one opens both.",
                        other.get().0, sale.pattern, pass.audience
                    ));
                }
                btree_map::Entry::Occupied(_) => {}
            }
        }
        warnings
    }

    async fn refresh_supported(&self) -> Vec<String> {
        let supported = match self.facilitator.supported().await {
            Ok(supported) => supported,
            Err(error) => return vec![unreachable_warning(&error)],
        };
        let kinds = supported.kinds.iter().filter(|k| k.x402_version == 2);
        let added: BTreeMap<_, _> = kinds
            .map(|k| {
                (
                    (k.scheme.clone(), k.network.clone()),
                    k.extra.clone().unwrap_or_default(),
                )
            })
            .collect();
        let mut warnings = self.unsupported(&added);
        *self.added.write().unwrap_or_else(PoisonError::into_inner) = added;
        if let Err(error) = self.build_sales() {
            warnings.push(format!(
                "What the facilitator adds to the terms cannot be taken over: {error}."
            ));
        }
        warnings
    }

    /// Offers that the facilitator does not list.
    fn unsupported(&self, kinds: &BTreeMap<(String, String), Object>) -> Vec<String> {
        let sales = self.sales.read().unwrap_or_else(PoisonError::into_inner);
        let offers = || sales.iter().flatten().flat_map(|sale| &sale.offers);
        let unredeemed = offers().filter(|offer| redeemers::are_missing(offer.terms()));
        let unredeemed = unredeemed.map(|offer| {
            format!(
                "The facilitator names nobody who redeems permissions on {}; payments by erc7710 there will fail until it does.",
                offer.terms().wire.network
            )
        });
        let mut missing: Vec<String> = offers()
            .map(|offer| &offer.terms().wire)
            .filter(|wire| {
                let family = wire.network.split(':').next().unwrap_or_default();
                let named = |n: &str| kinds.contains_key(&(wire.scheme.clone(), n.to_owned()));
                !named(&wire.network) && !named(&format!("{family}:*"))
            })
            .map(|wire| {
                format!(
                    "The facilitator does not list {} on {}; payments there will fail until it does.",
                    wire.scheme, wire.network
                )
            })
            .chain(unredeemed)
            .collect();
        missing.sort();
        missing.dedup();
        missing
    }

    /// Marks a grant as being worked on, until the guard is dropped.
    pub(crate) fn activate(self: &Arc<Self>, id: &GrantId) -> Option<Active> {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let Entry::Vacant(place) = active.entry(id.clone()) else {
            return None;
        };
        let (working, ended) = watch::channel(());
        place.insert(ended);
        Some(Active {
            gate: Arc::clone(self),
            id: id.clone(),
            _working: working,
        })
    }

    pub(crate) fn is_active(&self, id: &GrantId) -> bool {
        self.ending(id).is_some()
    }

    /// Closes when the task of this process that works on a grant lets go.
    pub(crate) fn ending(&self, id: &GrantId) -> Option<watch::Receiver<()>> {
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        active.get(id).cloned()
    }

    /// Notes whether the ledger works, and passes the result on.
    pub(crate) fn noted<T>(&self, result: Result<T, LedgerError>) -> Result<T, LedgerError> {
        let failed = matches!(&result, Err(error) if error.is_storage());
        self.ledger_failed
            .store(failed, std::sync::atomic::Ordering::Relaxed);
        if let Err(error) = &result {
            tracing::error!(%error, ?error, "the ledger did not take a step");
        }
        result
    }
}

/// Longest name of a set of routes that tokens spell out.
const MAX_AUDIENCE_BYTES: usize = 256;

/// The name of one route's own passes.
fn own_audience(base_url: &str, pattern: &str) -> String {
    let name = format!("{base_url} {pattern}");
    match name.len() {
        0..=MAX_AUDIENCE_BYTES => name,
        _ => format!("sha256:{}", hex::encode(Sha256::digest(name))),
    }
}

fn unreachable_warning(error: &FacilitatorError) -> String {
    format!(
        "The facilitator did not say what it supports ({error}); paying requests get 503 until it is there."
    )
}

/// A grant that this process is working on.
pub(crate) struct Active {
    gate: Arc<Inner>,
    id: GrantId,
    /// Dropped last: who waits for it finds the grant free.
    _working: watch::Sender<()>,
}

impl Drop for Active {
    fn drop(&mut self) {
        self.gate
            .active
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.id);
    }
}

/// The extensions of a gate.
pub(crate) fn extensions(identifier_required: bool) -> Object {
    declared_extensions(identifier_required)
}
