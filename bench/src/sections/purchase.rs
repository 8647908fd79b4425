//! From asking for a paid resource through the 402 to its 200, one purchase after
//! the other, on blocks of 400 ms: by header, by a transaction proof, and by a
//! permit for an access token that is settled in the background.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::U256;
use http::Method;
use serde_json::Value;
use tollway_core::Network;
use tollway_evm::{EvmSigner, EvmWallet};
use tollway_ledger::SqliteLedger;
use tollway_payer::{PayRequest, Payer, Policy};
use tollway_rpc::{RpcClient, RpcConfig};

use super::tokens::upstream;
use crate::Bench;
use crate::connection::Connection;
use crate::load::percentile;
use crate::node::{Node, Pace};
use crate::payments::{CHAIN, Payers, payer_key};
use crate::process::{Server, shop_gate};
use crate::report::{Figure, Table};

/// As short as blocks are anywhere that this is settled on.
const BLOCK: Duration = Duration::from_millis(400);
/// How long an authorization lives that the gate's terms allow, seconds.
const LIFETIME: u64 = 240;

pub async fn run(bench: &Bench, table: &mut Table) {
    let purchases = bench.options.pick(5, 30);
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let node = Node::start(Pace {
        block_time: BLOCK,
        ..Pace::default()
    })
    .await;
    let both = format!("{} {}", node.url, upstream().await);
    let gate = Server::start(&shop_gate(&root), &both).await;
    let mut payers = Payers::distinct(1 + purchases).lasting(LIFETIME);
    node.fund(&payers.accounts());
    for account in payers.accounts() {
        let wei = U256::from(10).pow(U256::from(18));
        node.devnet.set_balance(account, wei);
    }
    for (name, path) in [("header", "once"), ("transaction proof", "shown")] {
        let payer = payer(&node).await;
        let times = buy(&payer, &format!("{}/{path}", gate.url), purchases).await;
        add(table, name, &times);
    }
    let times = by_token(&gate, &mut payers, purchases).await;
    add(table, "permit for a token", &times);
    gate.stop().await;
    node.stop().await;
}

fn add(table: &mut Table, name: &str, times: &[Duration]) {
    let row = format!("402 to 200, blocks of {} ms, by {name}", BLOCK.as_millis());
    table.ours(
        &format!("{row}: p50"),
        Figure::millis(percentile(times, 50)),
    );
    table.ours(
        &format!("{row}: p95"),
        Figure::millis(percentile(times, 95)),
    );
}

/// Somebody whose wallet knows the node.
async fn payer(node: &Node) -> Payer {
    let config = RpcConfig::new(vec![node.url.parse().expect("URL")]);
    let rpc = RpcClient::new(config).expect("client");
    let signer = EvmSigner::from_bytes(&payer_key(0).0).expect("key");
    let wallet = EvmWallet::new(signer).with_node(Network::eip155(CHAIN), rpc);
    let record = SqliteLedger::open("sqlite::memory:")
        .await
        .expect("a ledger");
    Payer::builder()
        .wallet(Arc::new(wallet))
        .spends(Arc::new(record))
        .policy(Policy::default())
        .build()
        .expect("a payer")
}

async fn buy(payer: &Payer, base: &str, purchases: usize) -> Vec<Duration> {
    let mut times = Vec::with_capacity(purchases);
    for n in 0..purchases {
        let url = format!("{base}/{n}").parse().expect("URL");
        let began = Instant::now();
        let paid = payer.fetch(PayRequest::get(url)).await.expect("paid");
        paid.response.into_body().bytes(64).await.expect("goods");
        times.push(began.elapsed());
    }
    times.sort();
    times
}

/// Asks, posts a permit, shows the token that comes back.
async fn by_token(gate: &Server, payers: &mut Payers, purchases: usize) -> Vec<Duration> {
    let mut connection = Connection::open(&gate.url).await;
    let mut times = Vec::with_capacity(purchases);
    for permit in payers.permits(purchases) {
        let began = Instant::now();
        let asked = connection
            .ask(Method::GET, "/paid/report", Vec::new())
            .await;
        assert_eq!(asked.status, 402, "{}", asked.describe());
        let issued = connection.ask(Method::POST, "/token", permit).await;
        let body: Value = serde_json::from_slice(&issued.body).expect("an answer");
        let token = body["access_token"]
            .as_str()
            .unwrap_or_else(|| panic!("no token: {}", issued.describe()));
        let said = format!("Bearer {token}");
        let served = connection
            .ask_with(Method::GET, "/paid/report", Vec::new(), Some(&said))
            .await;
        assert_eq!(served.status, 200, "{}", served.describe());
        times.push(began.elapsed());
    }
    times.sort();
    times
}
