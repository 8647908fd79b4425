//! Starknet: what one core hashes, signs and verifies, and what a payment asks of a
//! node and how long it takes, on a starknet-devnet.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tollway_core::{Amount, Chain, Phase, SystemClock, Wallet};
use tollway_facilitator::{Engine, EngineConfig, EngineParts};
use tollway_gate::{Gate, Offer, Route};
use tollway_ledger::SqliteLedger;
use tollway_payer::{PayRequest, Payer, Policy};
use tollway_starknet::{Call, Felt, OutsideExecution, StarkKey, felt, selectors};
use tollway_test_starknet::{PRICE, STRK, World, address, assets, limits, network, number};

use crate::Bench;
use crate::report::{Figure, Table};

pub async fn run(bench: &Bench, table: &mut Table) {
    curve(bench.options.pick(200, 2_000), table);
    if !tollway_test_starknet::is_built() {
        table.note(
            "Starknet's node was left out: tests/starknet/build-node.sh builds it.".to_owned(),
        );
        return;
    }
    asked(table).await;
    bought(bench.options.pick(5, 30), table).await;
}

fn execution(nonce: usize) -> OutsideExecution {
    OutsideExecution {
        caller: Felt::from(7_u8),
        nonce: Felt::from(nonce),
        execute_after: 1,
        execute_before: 2_000_000_000,
        calls: vec![Call {
            to: number(STRK),
            selector: selectors::TRANSFER,
            calldata: vec![Felt::from(9_u8), Felt::from(10_000_u64), Felt::ZERO],
        }],
    }
}

/// On one core.
fn curve(rounds: usize, table: &mut Table) {
    let key = StarkKey::random().expect("a key");
    let chain_id = felt::chain_id(&network()).expect("a chain");
    let account = Felt::from(3_u8);
    let timed = |table: &mut Table, what: &str, work: &mut dyn FnMut(usize)| {
        let began = Instant::now();
        (0..rounds).for_each(work);
        table.ours(what, Figure::rate(rounds, began.elapsed()));
    };
    let mut hashes = Vec::with_capacity(rounds);
    timed(table, "Starknet: executions hashed per second", &mut |n| {
        hashes.push(execution(n).hash(&chain_id, &account));
    });
    let mut signatures = Vec::with_capacity(rounds);
    timed(table, "… signed per second", &mut |n| {
        signatures.push(key.sign(&hashes[n]).expect("a signature"));
    });
    let public = key.public();
    timed(table, "… signatures verified per second", &mut |n| {
        assert!(tollway_starknet::verifies(
            &public,
            &hashes[n],
            &signatures[n]
        ));
    });
}

/// What verifying and settling one payment asks of the node.
async fn asked(table: &mut Table) {
    let world = World::new().await;
    let terms = world.terms();
    let (wallet, limits) = (world.owner_wallet(&world.payer), limits());
    let prepared = wallet.prepare(&terms, &limits).await.expect("a payment");
    let count = || world.node.rpc.stats().methods.values().sum::<u64>();
    let before = count();
    let verified = world.verify(&terms, prepared).await.expect("verified");
    let at_verify = count() - before;
    let again = world
        .chain
        .verify(verified.intent.clone(), Phase::Settle, Amount::ZERO);
    again.await.expect("verified again");
    world.submit(&verified).await;
    let at_settle = count() - before - at_verify;
    let figure = |count: u64| Figure::count(usize::try_from(count).unwrap_or(usize::MAX));
    table.ours("Starknet: RPC methods of a /verify", figure(at_verify));
    table.ours(
        "… of a settlement, looked at every 100 ms until it is in a block",
        figure(at_settle),
    );
}

/// From the first request to the goods: 402, signed, verified, settled, delivered.
async fn bought(purchases: usize, table: &mut Table) {
    let world = World::new().await;
    let chain: Arc<dyn Chain> = Arc::new(world.connect(|_| {}).await);
    let ledger = SqliteLedger::open("sqlite::memory:")
        .await
        .expect("a ledger");
    let engine = Engine::start(EngineParts {
        chains: vec![chain.clone()],
        store: Arc::new(ledger.clone()),
        clock: Arc::new(SystemClock),
        config: EngineConfig::default(),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    let offer = Offer::from_requirements(world.offer_of(STRK, PRICE)).expect("an offer");
    let route = Route::new("GET /paid/*").expect("a route").offer(offer);
    let gate = Gate::builder(&base, Arc::new(engine), Arc::new(ledger.clone()))
        .chain(chain)
        .route(route)
        .build()
        .expect("a gate");
    gate.start().await.expect("a ledger");
    let app = axum::Router::new()
        .route("/paid/{n}", axum::routing::get(|| async { "data" }))
        .layer(gate.layer());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let record = SqliteLedger::open("sqlite::memory:")
        .await
        .expect("a ledger");
    let payer = Payer::builder()
        .wallet(Arc::new(world.owner_wallet(&world.payer)))
        .spends(Arc::new(record))
        .policy(Policy {
            assets: assets(),
            payees: vec![address(tollway_test_starknet::PAYEE)],
            ..Policy::default()
        })
        .build()
        .expect("a payer");
    let mut times: Vec<Duration> = Vec::with_capacity(purchases);
    for n in 0..purchases {
        let url = format!("{base}/paid/{n}").parse().expect("a URL");
        let began = Instant::now();
        let paid = payer.fetch(PayRequest::get(url)).await.expect("paid");
        paid.response.into_body().bytes(64).await.expect("data");
        times.push(began.elapsed());
    }
    times.sort();
    let at = |share: usize| Figure::millis(times[(times.len() - 1) * share / 100]);
    table.ours("Starknet: from asking through 402 to data, p50", at(50));
    table.ours("… p95", at(95));
}
