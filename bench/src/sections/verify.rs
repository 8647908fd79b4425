//! /verify: at several concurrencies, on an instant and on a slow node, and
//! with payers that nobody has seen before.

use std::time::Duration;

use crate::load::{Load, Measured};
use crate::node::{Node, Pace};
use crate::payments::Payers;
use crate::process::{Server, Spec};
use crate::report::{Bar, Figure, Table};
use crate::{ALL, Bench};

const VALID: &str = "isValid\":true";
/// A node that is not in the house.
const SLOW: Duration = Duration::from_millis(20);

pub async fn run(bench: &Bench, table: &mut Table) {
    let instant = bench.options.pick(600, 4_000);
    let slow = bench.options.pick(100, 200);
    for (delay, requests) in [(Duration::ZERO, instant), (SLOW, slow)] {
        for spec in bench.facilitators(&ALL) {
            known_payers(spec, delay, requests, table).await;
        }
    }
    for spec in bench.facilitators(&ALL) {
        new_payers(spec, slow, table).await;
    }
    put_bars(table);
}

fn put_bars(table: &mut Table) {
    table.bar(&cpu_row(Duration::ZERO, 16), Bar::ShareOfPeer(0.25));
    table.bar(&cpu_row(Duration::ZERO, 64), Bar::ShareOfPeer(0.25));
    table.bar(&cpu_row(Duration::ZERO, 64), Bar::ShareOfPeer(0.20));
    for concurrency in [1, 16] {
        table.bar(&cold_row(concurrency), Bar::ShareOfPeer(0.6));
    }
}

fn case(delay: Duration, concurrency: usize) -> String {
    format!("/verify, {} ms RPC, c={concurrency}", delay.as_millis())
}

fn cpu_row(delay: Duration, concurrency: usize) -> String {
    format!("{}: CPU per request", case(delay, concurrency))
}

fn cold_row(concurrency: usize) -> String {
    format!("{}, each payer new: p50", case(SLOW, concurrency))
}

async fn known_payers(spec: &Spec, delay: Duration, requests: usize, table: &mut Table) {
    // It takes milliseconds for each; fewer say the same.
    let requests = match spec.name {
        "official TypeScript" => requests.div_ceil(4),
        _ => requests,
    };
    let node = Node::start(Pace {
        delay,
        ..Pace::default()
    })
    .await;
    let server = Server::start(spec, &node.url).await;
    if delay.is_zero() {
        let ready = Figure::millis(server.ready_after);
        table.add("start-up to ready", spec.name, ready);
        let memory = Figure::megabytes(server.memory());
        table.add("memory idle", spec.name, memory);
    }
    let mut payers = Payers::dev();
    verify(&server, spec, payers.bodies(200), 16).await;
    for concurrency in [1, 16, 64] {
        // One at a time takes long where the node is slow.
        let requests = if delay.is_zero() || concurrency == 1 {
            requests
        } else {
            4 * requests
        };
        let measured = verify(&server, spec, payers.bodies(requests), concurrency).await;
        add(table, delay, concurrency, spec.name, &measured);
    }
    if delay.is_zero() {
        let memory = Figure::megabytes(server.memory());
        table.add("memory after /verify", spec.name, memory);
    }
    server.stop().await;
    node.stop().await;
}

async fn verify(
    server: &Server,
    spec: &Spec,
    bodies: Vec<Vec<u8>>,
    concurrency: usize,
) -> Measured {
    let measured = Load::post(&server.url, "/verify", bodies, concurrency)
        .run(server)
        .await;
    measured.expect_all(VALID, spec.name);
    measured
}

fn add(
    table: &mut Table,
    delay: Duration,
    concurrency: usize,
    name: &'static str,
    measured: &Measured,
) {
    let cpu = Figure::micros(measured.cpu_per_request());
    table.add(&cpu_row(delay, concurrency), name, cpu);
    let case = case(delay, concurrency);
    let p50 = Figure::millis(measured.percentile(50));
    table.add(&format!("{case}: p50"), name, p50);
    let p99 = Figure::millis(measured.percentile(99));
    table.add(&format!("{case}: p99"), name, p99);
}

/// Nothing about the payer is known, so nothing can be left out.
async fn new_payers(spec: &Spec, requests: usize, table: &mut Table) {
    let node = Node::start(Pace {
        delay: SLOW,
        ..Pace::default()
    })
    .await;
    let server = Server::start(spec, &node.url).await;
    verify(&server, spec, Payers::dev().bodies(200), 16).await;
    let mut payers = Payers::distinct(2 * requests);
    node.fund(&payers.accounts());
    for concurrency in [1, 16] {
        let bodies = payers.bodies(requests);
        let measured = verify(&server, spec, bodies, concurrency).await;
        let p50 = Figure::millis(measured.percentile(50));
        table.add(&cold_row(concurrency), spec.name, p50);
    }
    server.stop().await;
    node.stop().await;
}
