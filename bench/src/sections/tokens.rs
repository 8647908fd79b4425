//! Access tokens: issued for posted permits, each of a payer of its own, before
//! their payments settle; and checked, when theirs have settled.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;

use crate::Bench;
use crate::load::{Load, Measured};
use crate::node::{Node, Pace};
use crate::payments::Payers;
use crate::process::{Server, pass_gate};
use crate::report::{Figure, Table};

/// What the server behind says.
const GOODS: &str = "sunny";
/// How long an authorization lives that the gate's terms allow, seconds.
const LIFETIME: u64 = 240;
/// Until a settled payment's token is trusted without reading it.
const TRUSTED: Duration = Duration::from_secs(3);

pub async fn run(bench: &Bench, table: &mut Table) {
    let (tokens, uses) = bench.options.pick((400, 6_000), (4_000, 60_000));
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let node = Node::start(Pace::default()).await;
    let upstream = upstream().await;
    let both = format!("{} {upstream}", node.url);
    let gate = Server::start(&pass_gate(&root), &both).await;
    let mut payers = Payers::distinct(tokens + 1).lasting(LIFETIME);
    node.fund(&payers.accounts());

    let first = issue(&gate, payers.permits(1), 1).await;
    let body: Value = serde_json::from_slice(first.any_body()).expect("an answer");
    let token = body["access_token"].as_str().expect("a token").to_owned();
    let issued = issue(&gate, payers.permits(tokens), 16).await;
    add(table, "token issued, c=16", &issued);

    tokio::time::sleep(TRUSTED).await;
    show(&gate, &token, 500).await;
    let shown = show(&gate, &token, uses).await;
    add(table, "token checked, c=16", &shown);
    gate.stop().await;
    node.stop().await;
}

async fn issue(gate: &Server, permits: Vec<Vec<u8>>, concurrency: usize) -> Measured {
    let load = Load::post(&gate.url, "/token", permits, concurrency);
    let issued = load.run(gate).await;
    issued.expect_all("access_token", "tollway");
    issued
}

async fn show(gate: &Server, token: &str, count: usize) -> Measured {
    let load = Load::get(&gate.url, "/paid/report", count, 16);
    let shown = load.bearer(token).run(gate).await;
    shown.expect_all(GOODS, "tollway");
    shown
}

fn add(table: &mut Table, case: &str, measured: &Measured) {
    let figures = [
        (
            "CPU per request",
            Figure::micros(measured.cpu_per_request()),
        ),
        (
            "requests per second",
            Figure::rate(measured.count(), measured.wall()),
        ),
        ("p50", Figure::millis(measured.percentile(50))),
    ];
    for (what, figure) in figures {
        table.add(&format!("{case}: {what}"), "tollway", figure);
    }
}

/// A server that answers every request at once.
pub(super) async fn upstream() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    let app = axum::Router::new().fallback(async || GOODS);
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}
