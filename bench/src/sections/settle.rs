//! /settle where blocks are instant, and a few at a time on blocks of two seconds.

use std::time::Duration;

use crate::load::Load;
use crate::node::{Node, Pace};
use crate::payments::Payers;
use crate::process::{Server, Spec};
use crate::report::{Bar, Figure, Table};
use crate::{ALL, Bench};

/// A chain, how many pay at once, and how many payments that makes.
struct Case {
    name: &'static str,
    pace: Pace,
    concurrency: usize,
    payments: usize,
}

const INSTANT: Pace = Pace {
    block_time: Duration::ZERO,
    delay: Duration::ZERO,
};
const INSTANT_SLOW: Pace = Pace {
    block_time: Duration::ZERO,
    delay: Duration::from_millis(20),
};
const EVERY_TWO_SECONDS: &str = "2 s blocks, 0 ms RPC";

fn cases(bench: &Bench) -> Vec<Case> {
    let many = bench.options.pick(64, 320);
    let few = bench.options.pick(4, 32);
    let mut cases = Vec::new();
    for (name, pace) in [
        ("instant blocks, 0 ms RPC", INSTANT),
        ("instant blocks, 20 ms RPC", INSTANT_SLOW),
    ] {
        for (concurrency, payments) in [(1, few), (16, many), (64, many)] {
            cases.push(Case {
                name,
                pace,
                concurrency,
                payments,
            });
        }
    }
    for (concurrency, payments) in [(1, 2), (16, 32)] {
        cases.push(Case {
            name: EVERY_TWO_SECONDS,
            pace: Pace::BLOCKS,
            concurrency,
            payments,
        });
    }
    cases
}

/// What did not settle is counted, not hidden.
pub async fn run(bench: &Bench, table: &mut Table) {
    for case in cases(bench) {
        for spec in bench.facilitators(&ALL) {
            settle(spec, &case, table).await;
        }
        if case.name == EVERY_TWO_SECONDS {
            let row = format!("/settle, {}, c={}: p50", case.name, case.concurrency);
            table.bar(&row, Bar::ShareOfPeer(1.0 / 3.0));
        }
    }
}

async fn settle(spec: &Spec, case: &Case, table: &mut Table) {
    let node = Node::start(case.pace).await;
    let server = Server::start(spec, &node.url).await;
    let mut payers = Payers::distinct(case.payments);
    node.fund(&payers.accounts());
    let bodies = payers.bodies(case.payments);
    let measured = Load::post(&server.url, "/settle", bodies, case.concurrency)
        .run(&server)
        .await;
    let row = format!("/settle, {}, c={}", case.name, case.concurrency);
    let settled = measured.matching("success\":true");
    table.add(
        &format!("{row}: settled of {}", case.payments),
        spec.name,
        Figure::count(settled),
    );
    if settled == case.payments {
        let p50 = Figure::millis(measured.percentile(50));
        table.add(&format!("{row}: p50"), spec.name, p50);
        let cpu = Figure::micros(measured.cpu_per_request());
        table.add(&format!("{row}: CPU per request"), spec.name, cpu);
    } else if let Some(other) = measured.other_than("success\":true") {
        // A server that settles a part of them is not fast.
        eprintln!("{}: {other}", spec.name);
    }
    server.stop().await;
    node.stop().await;
}
