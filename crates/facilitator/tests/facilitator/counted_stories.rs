//! How often the node is asked for a settled payment, elements of batches counted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::{Router, routing::post};
use serde_json::{Value, json};
use tollway_core::assets::AssetTable;
use tollway_core::money::Price;
use tollway_core::wire::{PaymentPayload, PaymentRequirements};
use tollway_core::{
    Facilitator, Limits, Network, Scheme, SettleRequest, SystemClock, Terms, VerifyRequest, Wallet,
};
use tollway_devnet::{DEV_ACCOUNTS, Devnet, Mining, Preset};
use tollway_evm::{EvmChain, EvmConfig, EvmSigner, EvmWallet};
use tollway_facilitator::{Engine, EngineConfig, EngineParts};
use tollway_ledger::SqliteLedger;
use tollway_rpc::{RpcClient, RpcConfig};

const BLOCK: Duration = Duration::from_secs(1);
/// Blocks until the chain's pace is known, and blocks that are counted.
const LEARNING: u32 = 5;
const COUNTED: u32 = 8;

type Calls = Arc<Mutex<BTreeMap<String, usize>>>;

fn key(index: usize) -> EvmSigner {
    EvmSigner::from_bytes(&DEV_ACCOUNTS[index].key.0).unwrap()
}

fn answer(devnet: &Devnet, calls: &Calls, call: &Value) -> Value {
    let method = call["method"].as_str().unwrap();
    *calls.lock().unwrap().entry(method.to_owned()).or_default() += 1;
    match devnet.request(method, call["params"].clone()) {
        Ok(result) => json!({"jsonrpc": "2.0", "id": call["id"], "result": result}),
        Err(error) => json!({
            "jsonrpc": "2.0", "id": call["id"],
            "error": {"code": error.code, "message": error.message, "data": error.data},
        }),
    }
}

/// The devnet behind a door that counts.
async fn counted(devnet: &Devnet, calls: &Calls) -> String {
    let (devnet, calls) = (devnet.clone(), Arc::clone(calls));
    let door = post(move |body: Bytes| async move {
        let asked: Value = serde_json::from_slice(&body).unwrap();
        let said = match &asked {
            Value::Array(all) => all.iter().map(|c| answer(&devnet, &calls, c)).collect(),
            one => answer(&devnet, &calls, one),
        };
        said.to_string()
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/", door);
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}/")
}

async fn signed(network: &Network) -> (Arc<PaymentPayload>, Arc<PaymentRequirements>) {
    let price: Price = "$0.01".parse().unwrap();
    let payee = DEV_ACCOUNTS[1].address.to_string();
    let assets = AssetTable::builtin();
    let wire =
        PaymentRequirements::priced(Scheme::Exact, network, &price, &assets, payee, 300).unwrap();
    let terms = Terms::check(wire.clone()).unwrap();
    let limits = Limits {
        max_amount: terms.amount,
        max_lifetime: Duration::from_secs(900),
    };
    let wallet = EvmWallet::new(key(0));
    let prepared = wallet.prepare(&terms, &limits).await.unwrap();
    let payload = PaymentPayload {
        x402_version: 2,
        resource: None,
        accepted: wire.clone(),
        payload: prepared.payload,
        extensions: None,
    };
    (Arc::new(payload), Arc::new(wire))
}

/// Callers that verify and settle without pause: methods that were asked, and
/// payments that settled.
async fn asked_per_payment(count: usize, batch_max: usize) -> (usize, usize) {
    let devnet = Devnet::builder().preset(Preset::BaseSepolia);
    let devnet = devnet.mining(Mining::Interval(BLOCK)).build().unwrap();
    let calls = Calls::default();
    let url = counted(&devnet, &calls).await;
    let rpc = RpcClient::new(RpcConfig::new(vec![url.parse().unwrap()])).unwrap();
    let network = Network::eip155(devnet.chain_id());
    let config = EvmConfig::new(network.clone(), rpc, vec![key(2)]);
    let folder = tempfile::tempdir().unwrap();
    let ledger = format!("sqlite:{}", folder.path().join("ledger.db").display());
    let mut settings = EngineConfig::default();
    settings.rules.batch_max = batch_max;
    let engine = Engine::start(EngineParts {
        chains: vec![Arc::new(EvmChain::connect(config).await.unwrap())],
        store: Arc::new(SqliteLedger::open(&ledger).await.unwrap()),
        clock: Arc::new(SystemClock),
        config: settings,
    });
    let learned = Instant::now() + BLOCK * LEARNING;
    let end = learned + BLOCK * COUNTED;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..count {
        let (engine, network) = (engine.clone(), network.clone());
        callers.spawn(async move {
            let mut settled = 0;
            while Instant::now() < end {
                let (payload, requirements) = signed(&network).await;
                let verify = VerifyRequest {
                    payload: Arc::clone(&payload),
                    requirements: Arc::clone(&requirements),
                };
                assert!(engine.verify(&verify).await.unwrap().is_valid);
                let settle = SettleRequest {
                    payload,
                    requirements,
                    idempotency_key: None,
                };
                let answer = engine.settle(&settle).await.unwrap();
                assert!(answer.success, "{answer:?}");
                settled += usize::from(Instant::now() > learned);
            }
            settled
        });
    }
    tokio::time::sleep_until(learned.into()).await;
    calls.lock().unwrap().clear();
    let settled: usize = callers.join_all().await.into_iter().sum();
    let calls = calls.lock().unwrap();
    let asked: usize = calls.values().sum();
    println!("{settled} settled, {asked} asked: {calls:?}");
    (asked, settled)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_settles_by_itself_asks_the_node_one_and_a_half_times_at_most() {
    let (asked, settled) = asked_per_payment(64, 1).await;
    assert!(2 * asked <= 3 * settled, "{asked} methods for {settled}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payments_that_share_transactions_ask_the_node_once_for_five_at_most() {
    let (asked, settled) = asked_per_payment(300, 100).await;
    assert!(5 * asked <= settled, "{asked} methods for {settled}");
}
