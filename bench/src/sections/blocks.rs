//! Paying for a while on blocks of two seconds: each connection verifies,
//! settles and goes on. How long until success against how long until the next
//! block, how many a second, and what it asks of the node.

use std::time::Duration;

use crate::node::{Node, Pace};
use crate::payments::Payers;
use crate::process::{Server, Spec};
use crate::report::{Bar, Figure, Table};
use crate::steady::{Outcome, Steady};
use crate::{Bench, SETTLE_ALL};

const CASE: &str = "/settle, 2 s blocks";
const OVER_BLOCK: &str = "p50 over the middle time to the next block";
const PER_SECOND: &str = "confirmed per second";
const CALLS: &str = "RPC methods per settled payment";

pub async fn run(bench: &Bench, table: &mut Table) {
    let (long, short) = bench.options.pick((8, 8), (60, 30));
    for (concurrency, during) in [(64, long), (512, short)] {
        // At 512 only the peer that the bars speak of: each takes most of a minute.
        let names = if concurrency == 64 {
            &SETTLE_ALL[..]
        } else {
            &SETTLE_ALL[..2]
        };
        for spec in bench.facilitators(names) {
            let ours = spec.name == "tollway";
            let seconds = if ours { during } else { short };
            let case = format!("{CASE}, c={concurrency}");
            let payers = Payers::distinct(most(concurrency, seconds));
            measure(spec, &case, payers, concurrency, seconds, table).await;
        }
        put_bars(table, concurrency);
    }
    one_each(bench, table, long).await;
}

/// The same with a transaction for every payment: what batches save, and that
/// there is little left to save without them.
async fn one_each(bench: &Bench, table: &mut Table, seconds: u64) {
    let case = format!("{CASE}, one transaction each, c=64");
    let payers = Payers::distinct(most(64, seconds)).one_transaction_each();
    measure(bench.ours(), &case, payers, 64, seconds, table).await;
    table.bar(&format!("{case}: {CALLS}"), Bar::AtMost(1.5));
}

fn put_bars(table: &mut Table, concurrency: usize) {
    let row = |what: &str| format!("{CASE}, c={concurrency}: {what}");
    table.bar(&row("p50"), Bar::ShareOfPeer(1.0 / 3.0));
    table.bar(&row(OVER_BLOCK), Bar::AtMost(1.1));
    table.bar(&row(PER_SECOND), Bar::TimesPeer(3.0));
    if concurrency == 64 {
        table.bar(&row(CALLS), Bar::AtMost(0.2));
    }
}

/// More payments than so many connections can settle at one a block.
fn most(concurrency: usize, seconds: u64) -> usize {
    concurrency * (usize::try_from(seconds).expect("seconds") / 2 + 3)
}

async fn measure(
    spec: &Spec,
    case: &str,
    mut payers: Payers,
    concurrency: usize,
    seconds: u64,
    table: &mut Table,
) {
    let node = Node::start(Pace::BLOCKS).await;
    let server = Server::start(spec, &node.url).await;
    node.fund(&payers.accounts());
    let steady = Steady {
        concurrency,
        during: Duration::from_secs(seconds),
        bodies: payers.bodies(most(concurrency, seconds)),
    };
    let outcome = steady.run(&server, &node).await;
    if let Some(refusal) = outcome.refusal() {
        let (settled, tried) = (outcome.settled(), outcome.tried());
        table.note(format!(
            "{case}: {} settled {settled} of {tried}; one answer was: {refusal}",
            spec.name
        ));
    }
    report(spec, case, &outcome, &node, table);
    server.stop().await;
    node.stop().await;
}

fn report(spec: &Spec, case: &str, outcome: &Outcome, node: &Node, table: &mut Table) {
    let next = outcome.to_next_block(&node.blocks());
    let (calls, settled) = outcome.calls_per_payment();
    let over = Figure::ratio(outcome.p50().as_secs_f64(), next.as_secs_f64());
    let figures = [
        ("p50", Figure::millis(outcome.p50())),
        (OVER_BLOCK, over),
        (PER_SECOND, Figure::rate(outcome.settled(), outcome.wall())),
        (
            "CPU per payment, verified and settled",
            Figure::micros(outcome.cpu_per_payment()),
        ),
        (CALLS, Figure::ratio(calls, settled)),
    ];
    for (what, figure) in figures {
        table.add(&format!("{case}: {what}"), spec.name, figure);
    }
    eprintln!("  {} asked the node: {}", spec.name, outcome.methods());
}
