//! A seller, a buyer and an engine over the whole way: nothing above the chain
//! knows that it is Starknet.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tollway_core::wire::PaymentPayload;
use tollway_core::{
    Address, Amount, Chain, ChainError, Clock, Finality, Identity, Limits, Network, Prepared,
    SettleRequest, SystemClock, Terms, Wallet, WalletError, codes,
};
use tollway_core::{Facilitator, VerifyRequest};
use tollway_facilitator::{Engine, EngineConfig, EngineParts};
use tollway_gate::{Gate, Offer, Route};
use tollway_ledger::{SpendStore, SqliteLedger};
use tollway_payer::{ChainReconciler, PayRequest, Payer, PayerBuilder, Policy, Standing};
use tollway_starknet::session::{
    DEFAULT_DURATION, Policy as Spending, Registration, SessionKey, SessionWallet, register,
    revoke, set_policy,
};
use tollway_starknet::{Call, Felt, OwnerSender};
use tollway_test_starknet::{PAYEE, PRICE, STRK, World, address, assets, limits, network, number};

struct Town {
    world: World,
    chain: Arc<dyn Chain>,
    engine: Engine,
    ledger: SqliteLedger,
}

impl Town {
    async fn new() -> Self {
        let world = World::new().await;
        let chain: Arc<dyn Chain> = Arc::new(world.connect(|_| {}).await);
        let ledger = SqliteLedger::open("sqlite::memory:").await.unwrap();
        let engine = Engine::start(EngineParts {
            chains: vec![chain.clone()],
            store: Arc::new(ledger.clone()),
            clock: Arc::new(SystemClock),
            config: EngineConfig::default(),
        });
        Self {
            world,
            chain,
            engine,
            ledger,
        }
    }

    /// A server that sells one page, without naming any fee payer.
    async fn seller(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let mut wire = self.world.offer_of(STRK, PRICE);
        wire.extra = None;
        let route = Route::new("GET /paid/*").unwrap();
        let route = route.offer(Offer::from_requirements(wire).unwrap());
        let engine = Arc::new(self.engine.clone());
        let gate = Gate::builder(&base, engine, Arc::new(self.ledger.clone()))
            .chain(self.chain.clone())
            .route(route)
            .build()
            .unwrap();
        gate.start().await.unwrap();
        let page = axum::routing::get(|| async { "sunny, 24 degrees" });
        let app = axum::Router::new()
            .route("/paid/weather", page)
            .layer(gate.layer());
        tokio::spawn(async move { axum::serve(listener, app).await });
        format!("{base}/paid/weather")
    }

    async fn buyer(&self, wallet: Arc<dyn Wallet>) -> (PayerBuilder, SqliteLedger) {
        let record = SqliteLedger::open("sqlite::memory:").await.unwrap();
        let prover = ChainReconciler::new(vec![self.chain.clone()], Finality::Included);
        let policy = Policy {
            assets: assets(),
            payees: vec![address(PAYEE)],
            ..Policy::default()
        };
        let builder = Payer::builder()
            .wallet(wallet)
            .spends(Arc::new(record.clone()))
            .policy(policy)
            .reconciler(Arc::new(prover), true);
        (builder, record)
    }

    async fn session(&self, max_calls: u32) -> (SessionKey, SessionWallet) {
        let key = SessionKey::create(SystemClock.now(), DEFAULT_DURATION).unwrap();
        let account = number(&self.world.payer.address);
        let price = Amount::from_atomic(PRICE.into());
        let limit = Spending::for_session(price, max_calls, DEFAULT_DURATION.as_secs()).unwrap();
        let calls = [
            register(account, &key, &Registration::transfers(max_calls)).unwrap(),
            set_policy(account, key.public(), number(STRK), &limit).unwrap(),
        ];
        self.world.own(&calls).await;
        let owner = address(&self.world.payer.address);
        let rpc = self.world.node.rpc.clone();
        let wallet = SessionWallet::new(&owner, network(), key.clone(), rpc).unwrap();
        (key, wallet.with(assets(), Arc::new(SystemClock)))
    }

    /// A session that its owner stands behind, and something that the owner does right
    /// after it has signed.
    async fn meanwhile(&self, does: impl FnOnce(Felt, &SessionKey) -> Call) -> Arc<Meanwhile> {
        let (key, wallet) = self.session(5).await;
        let owner = self.world.owner_wallet(&self.world.payer);
        Arc::new(Meanwhile {
            call: does(number(&self.world.payer.address), &key),
            wallet: wallet.with_owner(owner),
            sender: self.world.sender(&self.world.payer),
        })
    }
}

#[tokio::test]
async fn an_agent_buys_with_a_session_until_its_calls_are_used_up() {
    let town = Town::new().await;
    let url = town.seller().await;
    let before = town.world.balance(PAYEE).await;
    let (_, wallet) = town.session(2).await;
    let (builder, record) = town.buyer(Arc::new(wallet)).await;
    let payer = builder.build().unwrap();
    for call in 1..=2 {
        let mut request = PayRequest::get(url.parse().unwrap());
        request.purchase = Some(call.to_string());
        let answer = payer.fetch(request).await.unwrap();
        let payment = answer.payment.clone().unwrap();
        assert_eq!(payment.standing, Standing::Confirmed);
        assert!(payment.transaction.is_some());
        let goods = answer.response.into_body().bytes(4096).await.unwrap();
        assert_eq!(goods, "sunny, 24 degrees");
    }
    assert_eq!(
        town.world.balance(PAYEE).await - before,
        u128::from(PRICE) * 2
    );
    let mut request = PayRequest::get(url.parse().unwrap());
    request.purchase = Some("3".to_owned());
    let refused = payer.fetch(request).await.unwrap_err();
    assert_eq!(
        refused.code(),
        codes::SESSION_MAX_CALLS_EXCEEDED,
        "{refused}"
    );
    assert_eq!(
        town.world.balance(PAYEE).await - before,
        u128::from(PRICE) * 2
    );
    drop(record);
}

/// A session wallet whose owner does something between signing and showing.
struct Meanwhile {
    wallet: SessionWallet,
    sender: OwnerSender,
    call: Call,
}

#[async_trait]
impl Wallet for Meanwhile {
    fn address(&self, network: &Network) -> Option<Address> {
        self.wallet.address(network)
    }

    fn supports(&self, terms: &Terms) -> bool {
        self.wallet.supports(terms)
    }

    async fn balance(
        &self,
        network: &Network,
        asset: &Address,
    ) -> Result<Option<Amount>, ChainError> {
        self.wallet.balance(network, asset).await
    }

    async fn prepare(&self, terms: &Terms, limits: &Limits) -> Result<Prepared, WalletError> {
        let prepared = self.wallet.prepare(terms, limits).await?;
        let hash = self.sender.send(std::slice::from_ref(&self.call)).await?;
        self.sender.wait(&hash, Duration::from_secs(60)).await?;
        Ok(prepared)
    }

    async fn sign_again(
        &self,
        terms: &Terms,
        limits: &Limits,
        identity: &Identity,
    ) -> Result<Option<Prepared>, WalletError> {
        self.wallet.sign_again(terms, limits, identity).await
    }
}

#[tokio::test]
async fn a_session_that_ends_during_its_payment_is_paid_for_by_the_owner_under_one_nonce() {
    let town = Town::new().await;
    let url = town.seller().await;
    let before = town.world.balance(PAYEE).await;
    let wallet = town
        .meanwhile(|account, key| revoke(account, key.public()))
        .await;
    let (builder, record) = town.buyer(wallet).await;
    let payer = builder.build().unwrap();
    let request = PayRequest::get(url.parse().unwrap());
    let answer = payer.fetch(request).await.unwrap();
    assert_eq!(answer.payment.unwrap().standing, Standing::Confirmed);
    assert_eq!(town.world.balance(PAYEE).await - before, u128::from(PRICE));
    let spends = record.spends(10).await.unwrap();
    assert_eq!(spends.len(), 1, "one purchase, one nonce, one amount held");
    let payload = &spends[0].signed.as_ref().unwrap().payload.payload;
    let signature = payload["outsideExecution"]["signature"].as_array().unwrap();
    assert_eq!(signature.len(), 2, "the owner's");
}

#[tokio::test]
async fn a_limit_that_is_lowered_during_a_payment_is_not_passed_by_the_owner() {
    let town = Town::new().await;
    let url = town.seller().await;
    let before = town.world.balance(PAYEE).await;
    let dust = Spending::for_session(Amount::from_atomic(1), 5, 3600).unwrap();
    let wallet = town
        .meanwhile(|account, key| set_policy(account, key.public(), number(STRK), &dust).unwrap())
        .await;
    let (builder, _record) = town.buyer(wallet).await;
    let request = PayRequest::get(url.parse().unwrap());
    let refused = builder.build().unwrap().fetch(request).await.unwrap_err();
    assert_eq!(refused.code(), codes::SIMULATION_FAILED, "{refused}");
    assert_eq!(town.world.balance(PAYEE).await, before);
}

#[tokio::test]
async fn one_authorization_is_settled_once_by_the_engine() {
    let town = Town::new().await;
    let before = town.world.balance(PAYEE).await;
    let terms = town.world.terms();
    let wallet = town.world.owner_wallet(&town.world.payer);
    let prepared = wallet.prepare(&terms, &limits()).await.unwrap();
    let payload = PaymentPayload {
        x402_version: 2,
        resource: None,
        accepted: (*terms.wire).clone(),
        payload: prepared.payload,
        extensions: None,
    };
    let payload = Arc::new(payload);
    let verified = town
        .engine
        .verify(&VerifyRequest {
            payload: payload.clone(),
            requirements: terms.wire.clone(),
        })
        .await
        .unwrap();
    assert!(verified.is_valid, "{verified:?}");
    let request = SettleRequest {
        payload,
        requirements: terms.wire.clone(),
        idempotency_key: None,
    };
    let mut settling = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (engine, request) = (town.engine.clone(), request.clone());
        settling.spawn(async move { engine.settle(&request).await.unwrap() });
    }
    let answers = settling.join_all().await;
    let paid = answers.iter().filter(|answer| answer.success).count();
    assert_eq!(paid, 1, "{answers:?}");
    let repeated = |a: &&tollway_core::wire::SettleResponse| {
        a.error_reason.as_deref() == Some(codes::DUPLICATE_SETTLEMENT)
    };
    assert_eq!(answers.iter().filter(repeated).count(), 7, "{answers:?}");
    assert_eq!(town.world.balance(PAYEE).await - before, u128::from(PRICE));
}
