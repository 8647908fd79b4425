//! `tollway gate`: prices on the routes of an HTTP server.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tollway_core::assets::{AssetTable, Method};
use tollway_core::money::Decimal;
use tollway_core::wire::PaymentRequirements;
use tollway_core::{Chain, Facilitator, Family, Finality, Network, PaymentFlow, Refusal};
use tollway_evm::EvmNotary;
use tollway_facilitator::Engine;
use tollway_gate::{
    Access, Discovery, Gate, GateBuilder, Offer, Page, Passes, Pattern, Proxy, RemoteFacilitator,
    Route, StartError, TokenKeys,
};
use tollway_ledger::{EngineLock, Store};
use tower::Layer;
use zeroize::Zeroizing;

use super::doors::{Doors, Health, Open};
use super::gate_renewal::GateRenewal;
use crate::assets;
use crate::chains::{ServedChain, Signers};
use crate::cli::{GateArgs, Settle};
use crate::dashboard::{self, Dashboard};
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::help::Help;
use crate::operate::{Admin, AdminSettings, Asks, Hangups, State, keep_reading};
use crate::replica::TakesPart;
use crate::routes::{self, RouteSetting, UNSIGNED_TXID};
use crate::sdk::SdkRoutes;
use crate::serve::{Certificate, Leaving, Tls};
use crate::settings::required;
use crate::storefront::About;
use crate::story::Story;
use crate::wiring::{self, EngineSettings, LocalEngine, NetworkSetting};
use crate::{keys, logs, serve};

/// Runs it until it is stopped.
pub async fn run(args: GateArgs, environment: &Environment) -> Result<Exit, Failure> {
    // From the beginning: one that comes while the ledger is opened must not end us.
    let hangups = Hangups::catch()?;
    let said = args.clone();
    let args = args.complete(environment)?;
    let metrics = crate::metrics::install()?;
    let admin = AdminSettings::open(args.admin_listen.as_deref(), args.admin_token_file.as_ref());
    let admin = admin.await?;
    let opened = Opened::open(&args, environment, None).await?;
    let delay = Duration::from_secs(args.drain_delay.unwrap_or_default().into());
    let leaving = serve::leave_on_signal(delay)?;
    if let Some(admin) = &admin {
        println!("tollway gate: admin on http://{}", admin.address());
    }
    println!("tollway gate: listening on {}", opened.url());
    let renewing = Renewing {
        said,
        began: args,
        hangups,
        metrics,
        admin,
    };
    tokio::spawn(crate::metrics::watch(opened.ledger.clone()));
    opened.serve_with(leaving, Some(renewing)).await;
    Ok(Exit::Done)
}

/// How a gate is run by somebody: its settings read anew, its admin's listener.
struct Renewing {
    /// The flags, without what stands behind them.
    said: GateArgs,
    /// What it was started with.
    began: GateArgs,
    hangups: Hangups,
    metrics: PrometheusHandle,
    admin: Option<AdminSettings>,
}

/// A gate that is bound and ready to serve.
pub struct Opened {
    /// Where it listens.
    pub address: SocketAddr,
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    gate: Gate,
    proxy: Proxy,
    sdk: Option<SdkRoutes>,
    settler: Arc<Settler>,
    ledger: Store,
    part: TakesPart,
    dashboard: Option<Dashboard>,
    base_url: String,
    settings: Settings,
}

impl Opened {
    /// Reads the settings whole, then opens ledger, chains and port, and ends
    /// what a dead process left.
    pub async fn open(
        args: &GateArgs,
        environment: &Environment,
        story: Option<Story>,
    ) -> Result<Self, Failure> {
        let settings = Settings::read(args, environment)?;
        let pages = dashboard::Settings::read(
            args.dashboard.as_deref(),
            args.dashboard_token_file.as_deref(),
        )?;
        let ledger = wiring::ledger(args.ledger.as_deref(), "gate.db", environment).await?;
        let settler = Settler::start(args, &settings, &ledger, environment).await?;
        let tls = settings.certificate.clone().map(|c| Arc::new(Tls::new(c)));
        let (listener, address) = serve::bind(&settings.listen).await?;
        let base_url = args
            .public_url
            .clone()
            .unwrap_or_else(|| serve::url(address, tls.as_ref()));
        let proxy = proxy(&settings.upstream, &base_url)?;
        let dashboard = match pages {
            Some(pages) => {
                let url = wiring::ledger_url(args.ledger.as_deref(), "gate.db", environment)?;
                let source = dashboard::Source {
                    store: ledger.beside().await.map_err(wiring::ledger_unavailable)?,
                    name: dashboard::ledger_name(&url),
                    assets: settings.assets.clone(),
                    chains: Some(settler.chains()),
                };
                Some(Dashboard::open(&pages, source).await?)
            }
            None => None,
        };
        let part = TakesPart::begin(&ledger, "gate").await?;
        let gate = build(&base_url, &settings, &settler, &ledger, &part, story)?;
        let report = gate.start().await.map_err(not_started)?;
        for warning in &report.warnings {
            logs::say(warning);
        }
        Ok(Self {
            address,
            listener,
            tls,
            gate,
            proxy,
            sdk: settings.sdk_routes()?,
            settler: Arc::new(settler),
            ledger,
            part,
            dashboard,
            base_url,
            settings,
        })
    }

    /// Where it is reached.
    pub fn url(&self) -> String {
        serve::url(self.address, self.tls.as_ref())
    }

    /// Serves until stopped, then lets payments in flight end.
    pub async fn serve(self, stop: CancellationToken) {
        let leaving = Leaving {
            draining: stop.clone(),
            stop,
        };
        self.serve_with(leaving, None).await;
    }

    async fn serve_with(self, leaving: Leaving, renewing: Option<Renewing>) {
        let stop = leaving.stop.clone();
        let state = Arc::new(State::new(leaving.draining.clone()));
        let engine = self.settler.engine().cloned();
        let health = Arc::new(Health::new(self.gate.clone(), engine, Arc::clone(&state)));
        let open = Open {
            priced: self.gate.layer().layer(self.proxy.clone()),
            sdk: self.sdk.clone(),
        };
        let doors = Doors::new(Arc::clone(&health), open);
        if let Some(renewing) = renewing {
            let renewal = GateRenewal {
                said: renewing.said,
                began: renewing.began,
                routes_cost_gas: self.settings.costs_gas(),
                upstream: self.settings.upstream.clone(),
                base_url: self.base_url,
                gate: self.gate.clone(),
                proxy: self.proxy,
                settler: Arc::clone(&self.settler),
                ledger: self.ledger.clone(),
                doors: doors.current(),
                tls: self.tls.clone(),
            };
            let (asks, asked) = Asks::new();
            let keeping = keep_reading(renewal, renewing.hangups, asked, state, stop.clone());
            tokio::spawn(keeping);
            let admin = Admin {
                metrics: renewing.metrics,
                health,
                asks,
                leaving,
                passes: Some(self.ledger.clone()),
            };
            if let Some(settings) = renewing.admin {
                admin.serve(settings);
            }
        }
        let counts = tokio::spawn(dashboard::keep_counts(
            self.gate.clone(),
            self.ledger.clone(),
            stop.clone(),
        ));
        if let Some(dashboard) = self.dashboard {
            println!("tollway gate: dashboard at http://{}", dashboard.address);
            tokio::spawn(dashboard.serve(stop.clone()));
        }
        serve::serve_tls(self.listener, self.tls, doors, stop).await;
        self.gate.drain(serve::DRAIN_TIME).await;
        if let Some(engine) = self.settler.engine()
            && !engine.drain(serve::DRAIN_TIME).await
        {
            logs::say("some payments are still open; they go on at the next start.");
        }
        // What was counted last is written before the ledger closes.
        let _ = counts.await;
        self.part.end().await;
        self.ledger.close().await;
    }
}

/// A gate with nobody's server behind it: what it sells is called, not forwarded.
pub struct Till {
    /// It.
    pub gate: Gate,
    settler: Settler,
    ledger: Store,
    part: TakesPart,
}

impl Till {
    /// Opens ledger and chains, and ends what a dead process left.
    pub async fn open(
        args: &GateArgs,
        base_url: &str,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        let args = args.clone().complete(environment)?;
        let settings = Settings::read(&args, environment)?;
        let ledger = wiring::ledger(args.ledger.as_deref(), "gate.db", environment).await?;
        let settler = Settler::start(&args, &settings, &ledger, environment).await?;
        let part = TakesPart::begin(&ledger, "gate").await?;
        let gate = build(base_url, &settings, &settler, &ledger, &part, None)?;
        let report = gate.start().await.map_err(not_started)?;
        for warning in &report.warnings {
            logs::say(warning);
        }
        Ok(Self {
            gate,
            settler,
            ledger,
            part,
        })
    }

    /// Lets payments in flight end.
    pub async fn close(self) {
        self.gate.drain(serve::DRAIN_TIME).await;
        if let Some(engine) = self.settler.engine()
            && !engine.drain(serve::DRAIN_TIME).await
        {
            logs::say("some payments are still open; they go on at the next start.");
        }
        self.part.end().await;
        self.ledger.close().await;
    }
}

/// Why a gate could not be started.
pub fn not_started(error: StartError) -> Failure {
    match error {
        StartError::Ledger(error) => Failure::coded(Exit::Failed, "ledger_unavailable", error),
        error @ StartError::TokenKeys(_) => Failure::usage(format!(
            "--token-key-file: {error}; if the key is lost, start once with --new-token-keys."
        )),
    }
}

/// What the flags say, read whole before anything is opened.
pub struct Settings {
    /// Where it listens.
    pub listen: String,
    /// The server behind.
    pub upstream: String,
    pay_to: String,
    starknet_pay_to: Option<String>,
    /// What may be paid with.
    pub assets: AssetTable,
    /// Where it is paid.
    pub networks: Vec<NetworkSetting>,
    /// What costs what.
    pub routes: Vec<RouteSetting>,
    flow: PaymentFlow,
    /// `local`, or a URL.
    pub facilitator: String,
    finality: Finality,
    /// What may be handed out before it is settled; none settles first.
    exposure: Option<(Decimal, Decimal)>,
    /// How passes are sold, where a route sells one.
    passes: Option<PassSettings>,
    /// What marks the offers of transaction proofs, where a route takes them.
    proof_keys: Option<TokenKeys>,
    /// What signs offers and receipts, and whether these name transactions.
    notary: Option<(EvmNotary, bool)>,
    /// What a person gets in a browser.
    page: Option<Page>,
    /// What programs that look for services are told.
    discovery: Option<Discovery>,
    /// Who may pay, and how often.
    access: Option<Access>,
    /// What the routes say of themselves.
    about: Vec<About>,
    /// What https is served with.
    pub(super) certificate: Option<Certificate>,
}

/// What the flags say of passes.
struct PassSettings {
    token_path: Option<String>,
    keys: TokenKeys,
    /// Whether tokens of keys that are lost are given up.
    gives_keys_up: bool,
    /// Per payer and in all; none settles first.
    exposure: Option<(Decimal, Decimal)>,
    /// Who is told, and by which key.
    webhook: Option<(String, Zeroizing<String>)>,
}

/// What may be promised to one payer and to all, in dollars, unless it is said.
const EXPOSURE: (&str, &str) = ("1", "20");

impl PassSettings {
    fn read(args: &GateArgs, environment: &Environment) -> Result<Self, Failure> {
        let file = match &args.token_key_file {
            Some(file) => file.clone(),
            None => environment.home()?.join("token.keys"),
        };
        Ok(Self {
            token_path: args.token_path.clone(),
            keys: shared_keys(&file, "access tokens")?,
            gives_keys_up: args.new_token_keys,
            exposure: exposure(args)?,
            webhook: webhook(args)?,
        })
    }

    fn passes(&self, ledger: &Store) -> Result<Passes, Failure> {
        let mut passes = Passes::new(Arc::new(ledger.clone()), self.keys.clone());
        if let Some(path) = &self.token_path {
            passes = passes.token_path(path);
        }
        if self.gives_keys_up {
            passes = passes.give_lost_keys_up();
        }
        if let Some((own, all)) = self.exposure {
            passes = passes.in_background(own, all);
        }
        match &self.webhook {
            Some((url, key)) => passes
                .webhook(url, key.trim().as_bytes())
                .map_err(|e| Failure::usage(format!("--webhook: {e}."))),
            None => Ok(passes),
        }
    }
}

fn webhook(args: &GateArgs) -> Result<Option<(String, Zeroizing<String>)>, Failure> {
    match (&args.webhook, &args.webhook_key_file) {
        (None, _) => Ok(None),
        (Some(url), Some(file)) => Ok(Some((url.clone(), keys::read_private(file)?))),
        (Some(_), None) => Err(Failure::usage(
            "--webhook-key-file is missing; name a file (mode 0600) with the key that signs what the webhook is told.",
        )),
    }
}

/// What may be handed out before it is settled: to one payer, and to all.
fn exposure(args: &GateArgs) -> Result<Option<(Decimal, Decimal)>, Failure> {
    let own = dollars(
        args.exposure_per_payer.as_deref(),
        EXPOSURE.0,
        "--exposure-per-payer",
    )?;
    let all = dollars(args.exposure.as_deref(), EXPOSURE.1, "--exposure")?;
    Ok(own.zip(all))
}

/// An amount of dollars; none for zero.
fn dollars(text: Option<&str>, default: &str, flag: &str) -> Result<Option<Decimal>, Failure> {
    let text = text.unwrap_or(default).trim_start_matches('$');
    let amount = text.parse::<Decimal>().map_err(|_| {
        Failure::usage(format!(
            "{flag}: `{text}` is no amount of dollars; write for example 5."
        ))
    })?;
    let is_some = amount.to_atomic(18).is_some_and(|atomic| !atomic.is_zero());
    Ok(is_some.then_some(amount))
}

/// The keys that mark the offers of transaction proofs, where a route takes any.
fn proof_keys(
    args: &GateArgs,
    routes: &[RouteSetting],
    environment: &Environment,
) -> Result<Option<TokenKeys>, Failure> {
    if !routes.iter().any(RouteSetting::takes_signed_proofs) {
        return match args.proof_key_file {
            None => Ok(None),
            Some(_) => Err(Failure::usage(
                "--proof-key-file is there and no route takes transaction proofs; add `; methods=txid` to a route.",
            )),
        };
    }
    let file = match &args.proof_key_file {
        Some(file) => file.clone(),
        None => environment.home()?.join("proof.keys"),
    };
    shared_keys(&file, "transaction proofs").map(Some)
}

/// What signs offers and receipts, where that is asked for.
fn notary(args: &GateArgs) -> Result<Option<(EvmNotary, bool)>, Failure> {
    match &args.receipt_key_file {
        Some(file) => {
            let signer = keys::signer_from_file(file)?;
            Ok(Some((EvmNotary::new(signer), args.receipt_transactions)))
        }
        None if args.receipt_transactions => Err(Failure::usage(
            "--receipt-transactions is there and no receipt is signed; add --receipt-key-file FILE.",
        )),
        None => Ok(None),
    }
}

/// Keys that all gates of a seller share; a fresh one where there is no such file.
fn shared_keys(file: &Path, of: &str) -> Result<TokenKeys, Failure> {
    if !file.exists() {
        let fresh = TokenKeys::generate().map_err(Failure::new)?;
        keys::write_private(file, &fresh)?;
        logs::say(format_args!(
            "{} holds a fresh key for {of}; gates that share a ledger need the same file.",
            file.display()
        ));
    }
    let text = keys::read_private(file)?;
    TokenKeys::parse(&text).map_err(|e| Failure::usage(format!("{}: {e}.", file.display())))
}

impl Settings {
    /// Whether what its routes are paid by sends transactions of ours.
    pub(super) fn costs_gas(&self) -> bool {
        self.routes.iter().any(RouteSetting::costs_gas)
    }

    /// Reads them, and asks nobody.
    pub fn read(args: &GateArgs, environment: &Environment) -> Result<Self, Failure> {
        let mut settings = Self {
            listen: required(args.listen.clone(), "--listen", "127.0.0.1:4021")?,
            upstream: required(args.upstream.clone(), "--upstream", "http://127.0.0.1:3000")?,
            pay_to: args
                .pay_to
                .clone()
                .or_else(|| args.starknet_pay_to.clone())
                .ok_or_else(|| {
                    Failure::usage("--pay-to is missing; add --pay-to 0xYourAddress.")
                })?,
            starknet_pay_to: args.starknet_pay_to.clone(),
            assets: assets::table(&args.add_assets, environment)?,
            networks: wiring::networks(&args.networks, environment)?,
            routes: args
                .routes
                .iter()
                .map(|text| routes::parse(text))
                .collect::<Result<_, _>>()?,
            flow: match args.settle.unwrap_or_default() {
                Settle::Before => PaymentFlow::Upfront,
                Settle::After => PaymentFlow::Authorization,
            },
            finality: wiring::finality(args.finality.as_deref(), "--finality")?,
            facilitator: required(args.facilitator.clone(), "--facilitator", "local")?,
            exposure: exposure(args)?,
            passes: None,
            proof_keys: None,
            notary: notary(args)?,
            page: args.page.page(args.no_page)?,
            discovery: args.discovery.discovery(args.no_discovery),
            access: args.access.access()?,
            about: args.about.clone(),
            certificate: serve::certificate(args.tls_cert.as_deref(), args.tls_key.as_deref())?,
        };
        wiring::http_url(&settings.upstream, "--upstream")?;
        if settings.networks.is_empty() {
            return Err(Failure::usage(
                "--network is missing; add --network base-sepolia=RPC_URL.",
            ));
        }
        settings.check_payees(args)?;
        settings.sdk_routes()?;
        if settings.routes.is_empty() {
            return Err(Failure::usage(
                "--route is missing; add --route 'GET /paid/*=$0.01'.",
            ));
        }
        let meters = settings.routes.iter().any(|route| route.meter.is_some());
        if meters && settings.exposure.is_none() {
            return Err(Failure::usage(
                "A route is metered, and --exposure lets nothing be handed out before it is settled; raise it.",
            ));
        }
        if settings.routes.iter().any(|route| route.pass.is_some()) {
            settings.passes = Some(PassSettings::read(args, environment)?);
        } else if args.token_path.is_some() || args.webhook.is_some() {
            return Err(Failure::usage(
                "--token-path or --webhook is there and no route sells a pass; add for example `; pass=1h` to a route.",
            ));
        }
        settings.proof_keys = proof_keys(args, &settings.routes, environment)?;
        Ok(settings)
    }

    /// An address of one family is no address of the other, though it may look
    /// like one: each needs its own.
    fn check_payees(&self, args: &GateArgs) -> Result<(), Failure> {
        let serves = |family| self.networks.iter().any(|n| n.network.family() == family);
        let (evm, starknet) = (serves(Family::Evm), serves(Family::Starknet));
        if evm && args.pay_to.is_none() {
            return Err(Failure::usage(
                "--pay-to is missing; add --pay-to 0xYourAddress.",
            ));
        }
        if evm && starknet && self.starknet_pay_to.is_none() {
            return Err(Failure::usage(
                "--starknet-pay-to is missing; add the account that is paid on Starknet.",
            ));
        }
        Ok(())
    }

    /// The routes that speak the exchange of the published Starknet session SDK.
    pub(super) fn sdk_routes(&self) -> Result<Option<SdkRoutes>, Failure> {
        let pattern = |route: &RouteSetting| {
            let pattern = route.pattern.parse::<Pattern>();
            let pattern = pattern.map(|pattern| (pattern, route.starknet_sdk));
            pattern.map_err(|e| Failure::usage(format!("--route '{}': {e}", route.pattern)))
        };
        let routes = self.routes.iter().map(pattern);
        let spoken = SdkRoutes::new(routes.collect::<Result<Vec<_>, _>>()?);
        let paid = |name: &str| self.networks.iter().any(|n| n.network.as_str() == name);
        if spoken.is_some() && !paid("starknet:SN_MAIN") && !paid("starknet:SN_SEPOLIA") {
            return Err(Failure::usage(
                "A route is for the Starknet SDK and no Starknet network is paid on; add --network starknet=RPC_URL.",
            ));
        }
        Ok(spoken)
    }

    /// Who is paid on a network.
    pub fn payee(&self, network: &Network) -> &str {
        match &self.starknet_pay_to {
            Some(payee) if network.family() == Family::Starknet => payee,
            _ => &self.pay_to,
        }
    }

    /// The offers of a route: each price on its network, or on every one.
    pub fn offers(&self, route: &RouteSetting) -> Result<Vec<Offer>, Failure> {
        let table = &self.assets;
        let mut offers = Vec::new();
        for price in &route.prices {
            if let Some(network) = &price.network
                && !self
                    .networks
                    .iter()
                    .any(|setting| setting.network == *network)
            {
                return Err(Failure::usage(format!(
                    "Route {} has a price on {network}, which is not configured; add --network {network}.",
                    route.pattern
                )));
            }
            let on = self.networks.iter().map(|setting| &setting.network);
            for network in
                on.filter(|network| price.network.as_ref().is_none_or(|only| only == *network))
            {
                let offer = Offer::priced(&price.price, network, self.payee(network), table);
                let offer = offer.map_err(bad_route)?;
                if price.is_most && network.family() != Family::Evm {
                    return Err(Failure::usage(format!(
                        "Route {} has a price of at most so much on {network}, where use is not metered; write ` on NETWORK` after it.",
                        route.pattern
                    )));
                }
                if price.is_most {
                    offers.push(offer.up_to().map_err(bad_route)?);
                    continue;
                }
                if route.methods.is_empty() || network.family() != Family::Evm {
                    offers.push(offer);
                    continue;
                }
                for method in &route.methods {
                    offers.push(paid_by(offer.clone(), method)?);
                }
            }
        }
        Ok(offers)
    }
}

/// The same offer, paid by a method.
fn paid_by(offer: Offer, method: &str) -> Result<Offer, Failure> {
    if method == UNSIGNED_TXID {
        return offer.by_unsigned_proof().map_err(bad_route);
    }
    let method = Method::from_wire(method).unwrap_or(Method::Eip3009);
    let offer = offer.by(method).map_err(bad_route)?;
    if method != Method::Eip2612 {
        return Ok(offer);
    }
    let wire = PaymentRequirements::clone(&offer.terms().wire);
    let payee = wire.pay_to.parse::<alloy_primitives::Address>();
    let payee = payee.map_err(|_| Failure::usage("--pay-to is no address; correct it."))?;
    let settler = tollway_evm::settler_address(payee).to_string();
    Offer::from_requirements(wire.with_extra("settler", settler)).map_err(bad_route)
}

fn bad_route(refusal: Refusal) -> Failure {
    Failure::coded(Exit::Usage, refusal.code().to_owned(), refusal.message())
}

pub(super) fn proxy(upstream: &str, base_url: &str) -> Result<Proxy, Failure> {
    let mut builder = Proxy::builder(upstream).max_connections(serve::most_connections());
    if base_url.starts_with("https://") {
        builder = builder.public_https();
    }
    builder
        .build()
        .map_err(|e| Failure::usage(format!("--upstream: {e}.")))
}

/// A facilitator far away, by the flags.
pub fn remote(args: &GateArgs, url: &str) -> Result<RemoteFacilitator, Failure> {
    let mut builder = RemoteFacilitator::builder(url);
    if args.allow_http {
        builder = builder.allow_plain_http();
    }
    if let Some(file) = &args.facilitator_key_file {
        let key = keys::read_private(file)?;
        builder = builder.bearer_token(key.trim().to_owned());
    }
    builder
        .build()
        .map_err(|e| Failure::usage(format!("--facilitator: {e}")))
}

/// A gate as the settings make it, that somebody only looks at: with a facilitator that
/// settles nothing.
pub async fn looked_at(
    settings: &Settings,
    base_url: &str,
    facilitator: Arc<dyn Facilitator>,
    chains: Vec<ServedChain>,
    ledger: &Store,
) -> Result<(Gate, Proxy, Option<SdkRoutes>), Failure> {
    let settler = Settler::Looked {
        facilitator,
        chains,
    };
    let part = TakesPart::begin(ledger, "check").await?;
    let gate = build(base_url, settings, &settler, ledger, &part, None)?;
    let proxy = proxy(&settings.upstream, base_url)?;
    Ok((gate, proxy, settings.sdk_routes()?))
}

/// Who settles: our own engine, or somebody far away.
pub(super) enum Settler {
    Local(LocalEngine),
    /// Nobody: the gate is only looked at.
    Looked {
        facilitator: Arc<dyn Facilitator>,
        chains: Vec<ServedChain>,
    },
    Remote {
        facilitator: Arc<RemoteFacilitator>,
        origin: String,
        /// With a node of our own the facilitator's word is checked.
        chains: Vec<(ServedChain, bool)>,
        _lock: EngineLock,
    },
}

impl Settler {
    async fn start(
        args: &GateArgs,
        settings: &Settings,
        ledger: &Store,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        if settings.facilitator == "local" {
            let engine = EngineSettings {
                networks: &settings.networks,
                signer_key_files: &args.signer_key_files,
                starknet_accounts: &args.starknet_accounts,
                starknet_max_fee: args.starknet_max_fee.as_deref(),
                assets: &settings.assets,
                sends: settings.costs_gas(),
                finality: settings.finality,
                // The routes are the operator's own.
                finality_cap: Finality::Confirmations(u32::MAX),
                min_validity: None,
                allow_http: args.allow_http,
                batch: args.batch,
                max_gas_per_day: args.max_gas_per_day.as_deref(),
                max_lost_gas_per_payer: args.max_lost_gas_per_payer.as_deref(),
                min_amount: "0",
                callers: &[],
                open_upto: false,
                help: Help {
                    key_file: args.helper_key_file.as_deref(),
                    max_per_day: args.max_help_per_day.as_deref(),
                    wallet_factories: &args.wallet_factories,
                    // A payee elsewhere needs none.
                    settlers_for: args
                        .pay_to
                        .as_deref()
                        .filter(|text| text.len() == 42)
                        .into_iter()
                        .collect(),
                },
                with_gate: true,
            };
            return engine.start(ledger, environment).await.map(Self::Local);
        }
        // One gate for each SQLite ledger: a second would end the first one's claims.
        let lock = ledger
            .lock_engine()
            .map_err(|e| Failure::coded(Exit::Failed, "ledger_in_use", e))?;
        let facilitator = remote(args, &settings.facilitator)?;
        let mut chains = Vec::new();
        for setting in &settings.networks {
            chains.push(observed_chain(setting, args.allow_http, &settings.assets).await?);
        }
        let origin = facilitator.origin().to_owned();
        Ok(Self::Remote {
            facilitator: Arc::new(facilitator),
            origin,
            chains,
            _lock: lock,
        })
    }

    fn engine(&self) -> Option<&Engine> {
        match self {
            Self::Local(local) => Some(&local.engine),
            Self::Remote { .. } | Self::Looked { .. } => None,
        }
    }

    fn chains(&self) -> Vec<Arc<dyn Chain>> {
        match self {
            Self::Local(local) => local.chains.iter().map(ServedChain::chain).collect(),
            // One without a node is never asked.
            Self::Remote { chains, .. } => chains
                .iter()
                .filter(|(_, checks)| *checks)
                .map(|(chain, _)| chain.chain())
                .collect(),
            Self::Looked { chains, .. } => chains.iter().map(ServedChain::chain).collect(),
        }
    }

    fn facilitator(&self) -> Arc<dyn Facilitator> {
        match self {
            Self::Local(local) => Arc::new(local.engine.clone()),
            Self::Remote { facilitator, .. } => facilitator.clone(),
            Self::Looked { facilitator, .. } => facilitator.clone(),
        }
    }

    fn tell(&self, mut builder: GateBuilder) -> GateBuilder {
        match self {
            Self::Local(local) => {
                for chain in &local.chains {
                    builder = builder.chain(chain.chain());
                }
            }
            Self::Looked { chains, .. } => {
                for chain in chains {
                    builder = builder.chain(chain.chain());
                }
            }
            Self::Remote { origin, chains, .. } => {
                builder = builder.remote(origin);
                for (chain, checks) in chains {
                    let chain: Arc<dyn Chain> = chain.chain();
                    builder = if *checks {
                        builder.checking_chain(chain)
                    } else {
                        builder.chain(chain)
                    };
                }
            }
        }
        builder
    }
}

/// A chain that only looks: with a node that was named, or else with none that
/// is ever asked.
async fn observed_chain(
    setting: &NetworkSetting,
    allow_http: bool,
    assets: &AssetTable,
) -> Result<(ServedChain, bool), Failure> {
    let looks = |node| ServedChain::build(setting, node, &Signers::none(), assets, None);
    if setting.rpc.is_empty() {
        return Ok((looks(wiring::no_node()?)?, false));
    }
    let chain = looks(wiring::node(setting, allow_http)?)?;
    chain.check().await?;
    Ok((chain, true))
}

fn build(
    base_url: &str,
    settings: &Settings,
    settler: &Settler,
    ledger: &Store,
    part: &TakesPart,
    story: Option<Story>,
) -> Result<Gate, Failure> {
    let mut builder = builder(base_url, settings, settler, ledger)?;
    if let Some(name) = part.name() {
        builder = builder.owner(name, &[]);
    }
    if let Some(story) = story {
        builder = builder.on_event(move |event| story.tell_seller(event));
        if let Some(engine) = settler.engine() {
            engine.on_event(move |event| story.tell_operator(event));
        }
    }
    builder.build().map_err(Failure::usage)
}

/// What the settings say of a gate, over what it is started with.
pub(super) fn builder(
    base_url: &str,
    settings: &Settings,
    settler: &Settler,
    ledger: &Store,
) -> Result<GateBuilder, Failure> {
    let mut builder = settler.tell(Gate::builder(
        base_url,
        settler.facilitator(),
        Arc::new(ledger.clone()),
    ));
    builder = builder.finality(settings.finality);
    if let Some(page) = &settings.page {
        builder = builder.page(page.clone());
    }
    if let Some(discovery) = &settings.discovery {
        builder = builder.discovery(discovery.clone());
    }
    if let Some(access) = &settings.access {
        builder = builder.access(access.clone());
    }
    let patterns = settings.routes.iter().map(|route| route.pattern.as_str());
    About::check(&settings.about, patterns)?;
    if let Some((own, all)) = settings.exposure {
        builder = builder.credit(own, all);
    }
    if let Some(passes) = &settings.passes {
        builder = builder.passes(passes.passes(ledger)?);
    }
    if let Some((notary, names_transaction)) = &settings.notary {
        builder = builder.statements(Arc::new(notary.clone()), *names_transaction);
    }
    if let Some(keys) = &settings.proof_keys {
        builder = builder.proofs(keys.clone());
    }
    if settler.engine().is_some() {
        builder = builder.settles_here(Arc::new(ledger.clone()), !ledger.is_shared());
    }
    for setting in &settings.routes {
        let mut route = Route::new(&setting.pattern)
            .map_err(|e| Failure::usage(format!("--route '{}': {e}", setting.pattern)))?
            .flow(settings.flow);
        if let Some(finality) = setting.finality {
            route = route.finality(finality);
        }
        if setting.single {
            route = route.single_transaction();
        }
        if let Some(pass) = &setting.pass {
            route = route.pass(pass.clone());
        }
        if let Some(within) = setting.returning {
            route = route.returning(within);
        }
        if let Some(meter) = setting.meter {
            // What it comes to is known only afterwards, whatever the others do.
            route = route.meter(meter).flow(PaymentFlow::Authorization);
        }
        if let Some(about) = settings
            .about
            .iter()
            .find(|about| about.route == setting.pattern)
        {
            route = about.told(route);
        }
        for offer in settings.offers(setting)? {
            route = route.offer(offer);
        }
        builder = builder.route(route);
    }
    Ok(builder)
}
