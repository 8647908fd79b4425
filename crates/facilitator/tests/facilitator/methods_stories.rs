//! Every way to pay through the whole engine: a real wallet, the devnet's
//! contracts, a ledger on disk.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tollway_core::assets::AssetTable;
use tollway_core::money::Price;
use tollway_core::wire::{PaymentPayload, PaymentRequirements, ResourceInfo, SettleResponse};
use tollway_core::{
    Clock, Facilitator, Limits, Network, Offered, Prepared, Scheme, SettleRequest, SystemClock,
    Terms, VerifyRequest, Wallet,
};
use tollway_devnet::{DEV_ACCOUNTS, Devnet, Mining, Preset};
use tollway_evm::{EvmChain, EvmConfig, EvmSigner, EvmWallet};
use tollway_facilitator::{Engine, EngineConfig, EngineParts};
use tollway_ledger::SqliteLedger;
use tollway_rpc::{RpcClient, RpcConfig};

use crate::scene::code;

const PAYEE: usize = 1;
const RESOURCE: &str = "https://shop.example/paid";

struct Town {
    engine: Engine,
    devnet: Devnet,
    network: Network,
    wallet: EvmWallet,
    _folder: tempfile::TempDir,
    _server: tollway_devnet::DevnetServer,
}

fn key(index: usize) -> EvmSigner {
    EvmSigner::from_bytes(&DEV_ACCOUNTS[index].key.0).unwrap()
}

/// Dev account 0 pays, 1 is paid, 2 and 3 settle.
async fn town() -> Town {
    let devnet = Devnet::builder().preset(Preset::BaseSepolia);
    let devnet = devnet.mining(Mining::Automine).build().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = devnet.serve(listener).unwrap();
    let rpc = RpcClient::new(RpcConfig::new(vec![server.url().parse().unwrap()])).unwrap();
    let network = Network::eip155(devnet.chain_id());
    let wallet = EvmWallet::new(key(0)).with_node(network.clone(), rpc.clone());
    let mut config = EvmConfig::new(network.clone(), rpc, vec![key(2), key(3)]);
    config.settler_payees = vec![key(PAYEE).address()];
    let folder = tempfile::tempdir().unwrap();
    let ledger = format!("sqlite:{}", folder.path().join("ledger.db").display());
    let engine = Engine::start(EngineParts {
        chains: vec![Arc::new(EvmChain::connect(config).await.unwrap())],
        store: Arc::new(SqliteLedger::open(&ledger).await.unwrap()),
        clock: Arc::new(SystemClock),
        config: EngineConfig::default(),
    });
    Town {
        engine,
        devnet,
        network,
        wallet,
        _folder: folder,
        _server: server,
    }
}

impl Town {
    fn offer(&self, scheme: Scheme, extra: &Value) -> PaymentRequirements {
        let price: Price = "$0.01".parse().unwrap();
        let payee = DEV_ACCOUNTS[PAYEE].address.to_string();
        let assets = AssetTable::builtin();
        let offer = PaymentRequirements::priced(scheme, &self.network, &price, &assets, payee, 300)
            .unwrap();
        let extra = extra.as_object().unwrap().clone().into_iter();
        extra.fold(offer, |offer, (name, value)| offer.with_extra(&name, value))
    }

    async fn prepare(&self, offer: &PaymentRequirements) -> Prepared {
        let terms = Terms::check(offer.clone()).unwrap();
        let limits = Limits {
            max_amount: terms.amount,
            max_lifetime: Duration::from_secs(900),
        };
        let resource = resource();
        let offered = Offered {
            resource: Some(&resource),
            ..Offered::default()
        };
        let prepared = self.wallet.prepare_offered(&terms, &limits, offered).await;
        prepared.unwrap()
    }

    /// Lets Permit2 move the payer's dollars.
    async fn approve(&self, offer: &PaymentRequirements) {
        let terms = Terms::check(offer.clone()).unwrap();
        let raw = self.wallet.approval(&terms).await.unwrap();
        self.wallet.broadcast(&self.network, &raw).await.unwrap();
    }

    async fn check(&self, request: &SettleRequest) -> Option<String> {
        let verify = VerifyRequest {
            payload: Arc::clone(&request.payload),
            requirements: Arc::clone(&request.requirements),
        };
        let verdict = self.engine.verify(&verify).await.unwrap();
        assert_eq!(verdict.is_valid, verdict.invalid_reason.is_none());
        verdict.invalid_reason
    }

    async fn settle(&self, request: &SettleRequest) -> SettleResponse {
        self.engine.settle(request).await.unwrap()
    }

    fn paid(&self) -> u64 {
        self.devnet.balance_of(DEV_ACCOUNTS[PAYEE].address).to()
    }
}

fn resource() -> ResourceInfo {
    ResourceInfo {
        url: RESOURCE.to_owned(),
        ..ResourceInfo::default()
    }
}

fn presented(offer: &PaymentRequirements, prepared: &Prepared, owner: &str) -> SettleRequest {
    let payload = PaymentPayload {
        x402_version: 2,
        resource: Some(resource()),
        accepted: offer.clone(),
        payload: prepared.payload.clone(),
        extensions: prepared.extensions.clone(),
    };
    SettleRequest {
        payload: payload.into(),
        requirements: offer.clone().into(),
        idempotency_key: Some(owner.to_owned()),
    }
}

/// It settles, once: success is the owner's, and nobody pays twice.
async fn settles_once(town: &Town, request: &SettleRequest, amount: u64) {
    let before = town.paid();
    assert_eq!(town.check(request).await, None);
    let answer = town.settle(request).await;
    assert!(answer.success, "{answer:?}");
    assert_eq!(answer.amount, Some(amount.to_string()));
    assert_eq!(town.paid() - before, amount);
    assert!(town.settle(request).await.success, "the owner hears again");
    let stranger = SettleRequest {
        idempotency_key: Some("stranger".to_owned()),
        ..request.clone()
    };
    assert_eq!(code(&town.settle(&stranger).await), "duplicate_settlement");
    assert_eq!(town.paid() - before, amount);
}

#[tokio::test]
async fn permit2_settles_and_a_missing_allowance_has_its_own_code() {
    let town = town().await;
    let offer = town.offer(Scheme::Exact, &json!({"assetTransferMethod": "permit2"}));
    let blind = EvmWallet::new(key(0));
    let terms = Terms::check(offer.clone()).unwrap();
    let limits = Limits {
        max_amount: terms.amount,
        max_lifetime: Duration::from_secs(900),
    };
    let early = blind.prepare(&terms, &limits).await.unwrap();
    let early = presented(&offer, &early, "early");
    let refused = town.check(&early).await;
    assert_eq!(refused.as_deref(), Some("permit2_allowance_required"));
    assert_eq!(
        code(&town.settle(&early).await),
        "permit2_allowance_required"
    );
    town.approve(&offer).await;
    settles_once(&town, &early, 10_000).await;
    let later = town.prepare(&offer).await;
    settles_once(&town, &presented(&offer, &later, "later"), 10_000).await;
}

#[tokio::test]
async fn what_was_used_is_charged_and_nothing_costs_no_transaction() {
    let town = town().await;
    let kinds = town.engine.kinds().kinds;
    let kind = kinds.iter().find(|kind| kind.scheme == "upto").unwrap();
    let extra = Value::Object(kind.extra.clone().unwrap());
    let offer = town.offer(Scheme::Upto, &extra);
    town.approve(&offer).await;
    for (owner, charge) in [("less", 1234), ("all", 10_000)] {
        let prepared = town.prepare(&offer).await;
        let mut request = presented(&offer, &prepared, owner);
        assert_eq!(town.check(&request).await, None);
        Arc::make_mut(&mut request.requirements).amount = charge.to_string();
        settles_once(&town, &request, charge).await;
    }
    let prepared = town.prepare(&offer).await;
    let mut request = presented(&offer, &prepared, "nothing");
    Arc::make_mut(&mut request.requirements).amount = "0".to_owned();
    let blocks = town.devnet.block_number();
    let answer = town.settle(&request).await;
    assert!(answer.success, "{answer:?}");
    assert_eq!(
        (answer.transaction.as_str(), answer.amount.as_deref()),
        ("", Some("0"))
    );
    assert_eq!(town.devnet.block_number(), blocks);
    Arc::make_mut(&mut request.requirements).amount = "10001".to_owned();
    let more = town.settle(&request).await;
    assert_eq!(
        code(&more),
        "invalid_upto_evm_payload_settlement_exceeds_amount"
    );
}

#[tokio::test]
async fn a_permit_that_names_no_payee_pays_only_the_one_it_was_signed_for() {
    let town = town().await;
    let offer = town.offer(Scheme::Exact, &json!({"assetTransferMethod": "eip2612"}));
    // The first deploys the payee's settler, the second finds it there.
    for owner in ["first", "second"] {
        let prepared = town.prepare(&offer).await;
        settles_once(&town, &presented(&offer, &prepared, owner), 10_000).await;
    }
}

#[tokio::test]
async fn a_transaction_of_the_buyers_own_buys_once_and_nothing_is_sent() {
    let town = town().await;
    let now = SystemClock.now().secs();
    let offer = town.offer(
        Scheme::Exact,
        &json!({
            "assetTransferMethod": "txid", "paymentFlow": "upfront",
            "reference": "offer-7f3c9a51d2e84b60", "issuedAt": now - 5, "expiresAt": now + 300,
        }),
    );
    let prepared = town.prepare(&offer).await;
    let request = presented(&offer, &prepared, "owner");
    // In no block yet: nothing is taken, and the same proof counts later.
    let early = code(&town.settle(&request).await).to_owned();
    assert_eq!(early, "invalid_exact_evm_txid_not_found");
    let raw = prepared.transaction.clone().unwrap();
    town.wallet.broadcast(&town.network, &raw).await.unwrap();
    let (blocks, paid) = (town.devnet.block_number(), town.paid());
    let mut callers = tokio::task::JoinSet::new();
    for n in 0..100 {
        let (engine, mut request) = (town.engine.clone(), request.clone());
        request.idempotency_key = Some(format!("key-{n}"));
        callers.spawn(async move { engine.settle(&request).await.unwrap() });
    }
    let answers = callers.join_all().await;
    let bought: Vec<_> = answers.iter().filter(|a| a.success).collect();
    assert_eq!(bought.len(), 1, "one proof, one purchase");
    assert_eq!(bought[0].transaction, raw.hash.to_string());
    assert_eq!((town.devnet.block_number(), town.paid()), (blocks, paid));
}
