//! What the examples share: a chain with test dollars and a facilitator in
//! this process, so that each of them runs offline with one command.
//!
//! `cargo run -p tollway-examples --bin sell_axum` (or `sell_tonic`, `buy_reqwest`,
//! `buy_tower`).

pub mod grpc;

use std::sync::Arc;

use tollway_core::{Amount, Chain, Finality, Network, SystemClock};
use tollway_devnet::{DEV_ACCOUNTS, DevAccount, Devnet, DevnetServer, Preset};
use tollway_evm::{EvmChain, EvmConfig, EvmSigner, EvmWallet};
use tollway_facilitator::{Engine, EngineConfig, EngineParts};
use tollway_gate::{Gate, Offer, Route};
use tollway_ledger::{EngineLock, Limit, LimitScope, SqliteLedger};
use tollway_payer::{ChainReconciler, Payer, PayerBuilder};
use tollway_rpc::{RpcClient, RpcConfig};

/// Any error, boxed.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The network that the embedded chain poses as.
pub const NETWORK: &str = "base-sepolia";
/// Pays for gas.
const SETTLER: DevAccount = DEV_ACCOUNTS[0];
/// Is paid.
pub const SELLER: DevAccount = DEV_ACCOUNTS[1];
/// Pays.
pub const BUYER: DevAccount = DEV_ACCOUNTS[2];

/// A chain, and a facilitator that settles on it.
pub struct Stage {
    /// The chain's test dollars and blocks.
    pub devnet: Devnet,
    /// The chain as facilitators and buyers see it.
    pub chain: Arc<EvmChain>,
    /// The facilitator.
    pub engine: Engine,
    /// What seller and facilitator record.
    pub ledger: SqliteLedger,
    before: Amount,
    rpc: RpcClient,
    directory: tempfile::TempDir,
    _lock: EngineLock,
    _server: DevnetServer,
}

impl Stage {
    /// Sets it up. It goes when it is dropped.
    ///
    /// # Errors
    /// Fails where no port can be bound or no file written.
    pub async fn open() -> Result<Self, Error> {
        let devnet = Devnet::builder().preset(Preset::BaseSepolia).build()?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let server = devnet.serve(listener)?;
        let rpc = RpcClient::new(RpcConfig::new(vec![server.url().parse()?]))?;
        let settler = EvmSigner::from_bytes(&SETTLER.key.0)?;
        let network = Network::resolve(NETWORK)?;
        let chain = Arc::new(EvmChain::new(EvmConfig::new(
            network,
            rpc.clone(),
            vec![settler],
        ))?);
        chain.check().await?;
        let directory = tempfile::tempdir()?;
        let ledger = open_ledger(&directory, "seller.db").await?;
        let lock = ledger.lock_engine()?;
        let engine = Engine::start(EngineParts {
            chains: vec![chain.clone()],
            store: Arc::new(ledger.clone()),
            clock: Arc::new(SystemClock),
            config: EngineConfig::default(),
        });
        Ok(Self {
            before: Amount::from(devnet.balance_of(SELLER.address)),
            devnet,
            chain,
            engine,
            ledger,
            rpc,
            directory,
            _lock: lock,
            _server: server,
        })
    }

    /// What the seller has more than at the beginning, in whole dollars.
    #[must_use]
    pub fn earned(&self) -> String {
        let now = Amount::from(self.devnet.balance_of(SELLER.address));
        now.checked_sub(self.before)
            .unwrap_or_default()
            .to_decimal(6)
    }

    /// A gate over some routes.
    ///
    /// # Errors
    /// Fails if a route makes no sense.
    pub async fn gate(&self, base_url: &str, routes: Vec<Route>) -> Result<Gate, Error> {
        let (engine, ledger) = (Arc::new(self.engine.clone()), Arc::new(self.ledger.clone()));
        let builder = Gate::builder(base_url, engine, ledger).chain(self.chain.clone());
        let gate = routes
            .into_iter()
            .fold(builder, |builder, route| builder.route(route))
            .build()?;
        gate.start().await?;
        Ok(gate)
    }

    /// A server with one page at `/paid/weather`, for a cent.
    ///
    /// # Errors
    /// Fails where no port can be bound.
    pub async fn seller(&self) -> Result<String, Error> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let base_url = format!("http://{}", listener.local_addr()?);
        let price = Offer::new("$0.01", NETWORK, &SELLER.address.to_string())?;
        let gate = self
            .gate(&base_url, vec![Route::new("GET /paid/*")?.offer(price)])
            .await?;
        let page = axum::routing::get(|| async { "sunny, 24 degrees" });
        let app = axum::Router::new()
            .route("/paid/weather", page)
            .layer(gate.layer());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(base_url)
    }

    /// A buyer with test dollars and a budget in millionths of a dollar. Its
    /// record is a file: budgets and open payments outlive the process.
    ///
    /// # Errors
    /// Fails where no file can be written.
    pub async fn buyer(&self, budget: u128) -> Result<PayerBuilder, Error> {
        let key = EvmSigner::from_bytes(&BUYER.key.0)?;
        let wallet = EvmWallet::new(key).with_node(Network::resolve(NETWORK)?, self.rpc.clone());
        let record = open_ledger(&self.directory, "buyer.db").await?;
        let chains: Vec<Arc<dyn Chain>> = vec![self.chain.clone()];
        let prover = ChainReconciler::new(chains, Finality::Included);
        Ok(Payer::builder()
            .wallet(Arc::new(wallet))
            .spends(Arc::new(record))
            .limits(vec![Limit {
                scope: LimitScope::Account,
                window: None,
                max: Amount::from_atomic(budget),
            }])
            .reconciler(Arc::new(prover), true))
    }
}

async fn open_ledger(directory: &tempfile::TempDir, name: &str) -> Result<SqliteLedger, Error> {
    let path = directory.path().join(name);
    Ok(SqliteLedger::open(&format!("sqlite:{}", path.display())).await?)
}
