//! The whole of it over HTTP: a real wallet, a real chain, a real ledger.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tollway_core::assets::AssetTable;
use tollway_core::money::Price;
use tollway_core::wire::PaymentRequirements;
use tollway_core::{Chain, Limits, Network, Scheme, SystemClock, Terms, Wallet};
use tollway_devnet::{DEV_ACCOUNTS, Devnet, DevnetServer, Mining, Preset};
use tollway_evm::{EvmChain, EvmConfig, EvmSigner, EvmWallet};
use tollway_facilitator::{Engine, EngineConfig, EngineParts, HttpOptions, router};
use tollway_ledger::SqliteLedger;
use tollway_rpc::{RpcClient, RpcConfig};

struct Town {
    devnet: Devnet,
    network: Network,
    base: String,
    client: reqwest::Client,
    _server: DevnetServer,
    _folder: tempfile::TempDir,
}

fn key(index: usize) -> EvmSigner {
    EvmSigner::from_bytes(&DEV_ACCOUNTS[index].key.0).unwrap()
}

impl Town {
    /// Account 0 pays, 1 is paid, 2 and 3 settle.
    async fn new(mining: Mining) -> Self {
        let devnet = Devnet::builder()
            .preset(Preset::BaseSepolia)
            .mining(mining)
            .build()
            .unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = devnet.serve(listener).unwrap();
        let rpc = RpcClient::new(RpcConfig::new(vec![server.url().parse().unwrap()])).unwrap();
        let network = Network::eip155(devnet.chain_id());
        let chain: Arc<dyn Chain> = Arc::new(
            EvmChain::connect(EvmConfig::new(network.clone(), rpc, vec![key(2), key(3)]))
                .await
                .unwrap(),
        );
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("ledger.db").display());
        let engine = Engine::start(EngineParts {
            chains: vec![chain],
            store: Arc::new(SqliteLedger::open(&url).await.unwrap()),
            clock: Arc::new(SystemClock),
            config: EngineConfig::default(),
        });
        Self {
            devnet,
            network,
            base: serve(engine).await,
            client: reqwest::Client::new(),
            _server: server,
            _folder: folder,
        }
    }

    /// What a server posts for a freshly signed payment.
    async fn signed(&self) -> Value {
        let price: Price = "$0.01".parse().unwrap();
        let wire = PaymentRequirements::priced(
            Scheme::Exact,
            &self.network,
            &price,
            &AssetTable::builtin(),
            DEV_ACCOUNTS[1].address.to_string(),
            300,
        )
        .unwrap();
        let terms = Terms::check(wire.clone()).unwrap();
        let limits = Limits {
            max_amount: terms.amount,
            max_lifetime: Duration::from_secs(900),
        };
        let prepared = EvmWallet::new(key(0))
            .prepare(&terms, &limits)
            .await
            .unwrap();
        json!({
            "x402Version": 2,
            "paymentPayload": {"x402Version": 2, "accepted": wire, "payload": prepared.payload},
            "paymentRequirements": wire,
        })
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let request = self
            .client
            .post(format!("{}{path}", self.base))
            .body(body.to_string());
        let response = request.header("content-type", "application/json").send();
        serde_json::from_slice(&response.await.unwrap().bytes().await.unwrap()).unwrap()
    }

    fn paid(&self) -> u64 {
        self.devnet.balance_of(DEV_ACCOUNTS[1].address).to()
    }
}

async fn serve(engine: Engine) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let api = router(engine, HttpOptions::default());
    tokio::spawn(async move { axum::serve(listener, api).await });
    format!("http://{address}")
}

#[tokio::test]
async fn a_signed_payment_is_verified_settled_and_found_on_chain() {
    let town = Town::new(Mining::Automine).await;
    let body = town.signed().await;
    let before = town.paid();
    assert_eq!(town.post("/verify", &body).await["isValid"], true);
    assert_eq!(town.paid(), before, "verify moved money");
    let settled = town.post("/settle", &body).await;
    assert_eq!(settled["success"], true, "{settled}");
    assert_eq!(town.paid() - before, 10_000);
    let hash = settled["transaction"].as_str().unwrap().parse().unwrap();
    assert_eq!(town.devnet.succeeded(hash), Some(true));
    let again = town.post("/settle", &body).await;
    assert_eq!(again["errorReason"], "duplicate_settlement");
    assert_eq!(town.paid() - before, 10_000);
}

#[tokio::test]
async fn many_payments_at_once_all_settle_on_blocks_of_a_second() {
    let town = Arc::new(Town::new(Mining::Interval(Duration::from_secs(1))).await);
    let before = town.paid();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let town = Arc::clone(&town);
        callers.spawn(async move {
            let body = town.signed().await;
            town.post("/settle", &body).await
        });
    }
    let answers = callers.join_all().await;
    assert!(answers.iter().all(|a| a["success"] == true), "{answers:?}");
    assert_eq!(town.paid() - before, 200_000);
}
