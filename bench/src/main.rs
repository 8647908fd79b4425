//! Tollway beside its peers: one command, one run, one table.
//!
//! `cargo run --release -p tollway-bench [-- --quick]` builds the peers from
//! their published packages, starts every server in turn against the same
//! embedded chain, and prints medians and ratios. The steady figure is CPU per
//! request, read from the kernel's account of the server's process: load
//! generator and server share the machine's cores.

mod load;
mod node;
mod payments;
mod process;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use load::{Load, Measured};
use node::Node;
use process::{Server, Spec};
use report::Table;

/// How much work a run does.
struct Effort {
    requests: usize,
    slow_requests: usize,
    settles: usize,
}

#[tokio::main]
async fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let effort = if quick {
        Effort {
            requests: 600,
            slow_requests: 200,
            settles: 16,
        }
    } else {
        Effort {
            requests: 4000,
            slow_requests: 600,
            settles: 64,
        }
    };
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    process::build(&root);
    let specs = Spec::all(&root);

    let mut table = Table::default();
    for delay in [Duration::ZERO, Duration::from_millis(20)] {
        verify(&specs, delay, &effort, &mut table).await;
    }
    settle(&specs, &effort, &mut table).await;
    challenge(&specs, &effort, &mut table).await;
    table.print();
}

/// /verify at several concurrencies, with an instant and a slow node.
async fn verify(specs: &[Spec], delay: Duration, effort: &Effort, table: &mut Table) {
    let requests = if delay.is_zero() {
        effort.requests
    } else {
        effort.slow_requests
    };
    for spec in specs.iter().filter(|spec| spec.settles) {
        let node = Node::start(Duration::ZERO, delay).await;
        let server = Server::start(spec, &node.url).await;
        if delay.is_zero() {
            table.add(
                "start-up to ready",
                spec.name,
                &report::millis(server.ready_after),
            );
            table.add(
                "memory idle",
                spec.name,
                &report::megabytes(server.memory()),
            );
        }
        let warm = payments::verify_bodies(200).await;
        Load::post(&server.url, "/verify", warm, 16)
            .run(&server)
            .await
            .expect_all("isValid\":true", spec.name);
        for concurrency in [1, 16, 64] {
            let bodies = payments::verify_bodies(requests).await;
            let measured = Load::post(&server.url, "/verify", bodies, concurrency)
                .run(&server)
                .await;
            measured.expect_all("isValid\":true", spec.name);
            let case = format!("/verify, {} ms RPC, c={concurrency}", delay.as_millis());
            add(table, &case, spec.name, &measured);
        }
        if delay.is_zero() {
            table.add(
                "memory after /verify",
                spec.name,
                &report::megabytes(server.memory()),
            );
        }
        server.stop().await;
        node.stop().await;
    }
}

/// A chain for /settle: its blocks, and how slow its node is.
struct Pace {
    name: &'static str,
    block_time: Duration,
    delay: Duration,
}

const PACES: [Pace; 3] = [
    Pace {
        name: "instant blocks, 0 ms RPC",
        block_time: Duration::ZERO,
        delay: Duration::ZERO,
    },
    Pace {
        name: "instant blocks, 20 ms RPC",
        block_time: Duration::ZERO,
        delay: Duration::from_millis(20),
    },
    Pace {
        name: "2 s blocks, 0 ms RPC",
        block_time: Duration::from_secs(2),
        delay: Duration::ZERO,
    },
];

/// /settle at several concurrencies. What did not settle is counted, not hidden.
async fn settle(specs: &[Spec], effort: &Effort, table: &mut Table) {
    for pace in &PACES {
        for concurrency in [1, 16, 64] {
            for spec in specs.iter().filter(|spec| spec.settles) {
                settle_at(spec, pace, concurrency, effort, table).await;
            }
        }
    }
}

async fn settle_at(
    spec: &Spec,
    pace: &Pace,
    concurrency: usize,
    effort: &Effort,
    table: &mut Table,
) {
    let node = Node::start(pace.block_time, pace.delay).await;
    let server = Server::start(spec, &node.url).await;
    let count = if concurrency == 1 {
        4
    } else {
        effort.settles.max(concurrency)
    };
    let bodies = payments::verify_bodies(count).await;
    let measured = Load::post(&server.url, "/settle", bodies, concurrency)
        .run(&server)
        .await;
    let case = format!("/settle, {}, c={concurrency}", pace.name);
    let settled = measured.matching("success\":true");
    table.add(
        &format!("{case}: settled of {count}"),
        spec.name,
        &settled.to_string(),
    );
    // A server that settles a part of them is not fast.
    if settled == count {
        table.add(
            &format!("{case}: p50"),
            spec.name,
            &report::millis(measured.percentile(50)),
        );
        table.add(
            &format!("{case}: settled per second"),
            spec.name,
            &measured.per_second().to_string(),
        );
        table.add(
            &format!("{case}: CPU per request"),
            spec.name,
            &report::micros(measured.cpu_per_request()),
        );
    }
    server.stop().await;
    node.stop().await;
}

/// The 402 answer of a paid route.
async fn challenge(specs: &[Spec], effort: &Effort, table: &mut Table) {
    let node = Node::start(Duration::ZERO, Duration::ZERO).await;
    let Some(tollway) = specs
        .iter()
        .find(|spec| spec.settles && spec.name == "tollway")
    else {
        return;
    };
    let facilitator = Server::start(tollway, &node.url).await;
    for spec in specs.iter().filter(|spec| !spec.settles) {
        let server = Server::start(spec, &facilitator.url).await;
        Load::get(&server.url, "/paid/report", 500, 16)
            .run(&server)
            .await
            .expect_status(402, spec.name);
        let measured = Load::get(&server.url, "/paid/report", effort.requests * 5, 16)
            .run(&server)
            .await;
        measured.expect_status(402, spec.name);
        add(table, "402 challenge, c=16", spec.name, &measured);
        server.stop().await;
    }
    facilitator.stop().await;
    node.stop().await;
}

fn add(table: &mut Table, case: &str, name: &'static str, measured: &Measured) {
    table.add(
        &format!("{case}: CPU per request"),
        name,
        &report::micros(measured.cpu_per_request()),
    );
    table.add(
        &format!("{case}: requests per second"),
        name,
        &measured.per_second().to_string(),
    );
    table.add(
        &format!("{case}: p50"),
        name,
        &report::millis(measured.percentile(50)),
    );
    table.add(
        &format!("{case}: p99"),
        name,
        &report::millis(measured.percentile(99)),
    );
}
