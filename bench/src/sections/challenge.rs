//! The 402 answer of a paid route.

use crate::Bench;
use crate::load::Load;
use crate::node::{Node, Pace};
use crate::process::Server;
use crate::report::{Bar, Figure, Table};

const CASE: &str = "402 challenge, c=16";

pub async fn run(bench: &Bench, table: &mut Table) {
    // Many: the kernel counts CPU time in ticks of 10 ms.
    let requests = bench.options.pick(6_000, 60_000);
    let node = Node::start(Pace::default()).await;
    let facilitator = Server::start(bench.ours(), &node.url).await;
    for spec in bench.sellers() {
        let server = Server::start(spec, &facilitator.url).await;
        Load::get(&server.url, "/paid/report", 500, 16)
            .run(&server)
            .await
            .expect_status(402, spec.name);
        let requests = match spec.name {
            "official TypeScript" => requests / 10,
            _ => requests,
        };
        let measured = Load::get(&server.url, "/paid/report", requests, 16)
            .run(&server)
            .await;
        measured.expect_status(402, spec.name);
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
            table.add(&format!("{CASE}: {what}"), spec.name, figure);
        }
        server.stop().await;
    }
    table.bar(&format!("{CASE}: CPU per request"), Bar::ShareOfPeer(0.75));
    facilitator.stop().await;
    node.stop().await;
}
