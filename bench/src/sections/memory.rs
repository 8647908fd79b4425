//! Memory with a hundred thousand authorizations that were verified and still live.

use crate::Bench;
use crate::load::Load;
use crate::node::{Node, Pace};
use crate::payments::Payers;
use crate::process::Server;
use crate::report::{Bar, Figure, Table};

/// What we may hold beyond 1.2 times x402-rs idle, bytes.
const ALLOWANCE: f64 = 64e6;
/// How many are signed at a time.
const CHUNK: usize = 5_000;

pub async fn run(bench: &Bench, table: &mut Table) {
    let live = bench.options.pick(10_000, 100_000);
    let node = Node::start(Pace::default()).await;
    let mut idle = 0;
    for spec in bench.facilitators(&["x402-rs"]) {
        let server = Server::start(spec, &node.url).await;
        idle = server.memory();
        let figure = Figure::megabytes(idle);
        table.add("memory idle", spec.name, figure);
        server.stop().await;
    }
    let server = Server::start(bench.ours(), &node.url).await;
    let before = server.memory();
    let mut payers = Payers::distinct(live / 10);
    node.fund(&payers.accounts());
    for _ in 0..live / CHUNK {
        let measured = Load::post(&server.url, "/verify", payers.bodies(CHUNK), 64)
            .run(&server)
            .await;
        measured.expect_all("isValid\":true", "tollway");
    }
    let row = format!("memory with {live} live authorizations");
    table.ours(&row, Figure::megabytes(server.memory()));
    let most = (idle as f64 * 1.2 + ALLOWANCE) / 1e6;
    table.bar(&row, Bar::AtMost(most));
    let each = server.memory().saturating_sub(before) / live as u64;
    table.note(format!(
        "Each of {live} live authorizations took {each} bytes."
    ));
    server.stop().await;
    node.stop().await;
}
