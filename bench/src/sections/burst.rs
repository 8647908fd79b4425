//! Five thousand payments at the same moment, one signer, blocks of 400M gas
//! every two seconds.

use std::time::{Duration, Instant};

use http::Method;

use crate::load::open;
use crate::node::{Node, Pace};
use crate::payments::Payers;
use crate::process::{Server, Spec};
use crate::report::{Bar, Figure, Table};
use crate::{Bench, SETTLE_ALL};

pub async fn run(bench: &Bench, table: &mut Table) {
    let payments = bench.options.pick(1_000, 5_000);
    let case = format!("{payments} payments at once, 2 s blocks");
    for spec in bench.facilitators(&SETTLE_ALL) {
        burst(spec, &case, payments, table).await;
    }
    let all = format!("{case}: settled");
    table.bar(&all, Bar::AtLeast(payments as f64));
    let rate = format!("{case}: confirmed per second");
    table.bar(&rate, Bar::AtLeast(1_000.0));
    table.bar(&rate, Bar::TimesPeer(3.0));
}

/// One connection a payment, all open before the first is sent.
async fn burst(spec: &Spec, case: &str, payments: usize, table: &mut Table) {
    let node = Node::start(Pace::BLOCKS).await;
    let server = Server::start(spec, &node.url).await;
    let mut payers = Payers::distinct(payments);
    node.fund(&payers.accounts());
    let bodies = payers.bodies(payments);
    let connections = open(&server.url, payments).await;
    let (cpu, start) = (server.cpu(), Instant::now());
    let calls: Vec<_> = connections
        .into_iter()
        .zip(bodies)
        .map(|(mut connection, body)| {
            tokio::spawn(async move {
                let answer = connection.ask(Method::POST, "/settle", body).await;
                (answer, start.elapsed())
            })
        })
        .collect();
    let (mut settled, mut last, mut other) = (0, Duration::ZERO, None);
    for call in calls {
        let (answer, after) = call.await.expect("call");
        if answer.holds("success\":true") {
            settled += 1;
            last = last.max(after);
        } else {
            other = Some(answer.describe());
        }
    }
    let cpu = server.cpu().saturating_sub(cpu);
    if let Some(other) = other {
        table.note(format!(
            "{case}: {} settled {settled}; one answer was: {other}",
            spec.name
        ));
    }
    table.add(
        &format!("{case}: settled"),
        spec.name,
        Figure::count(settled),
    );
    // Counted until the last success, so that what failed slows nobody down.
    let rate = Figure::rate(settled, last);
    table.add(&format!("{case}: confirmed per second"), spec.name, rate);
    let each = cpu / u32::try_from(settled.max(1)).expect("count");
    let each = Figure::micros(each);
    table.add(&format!("{case}: CPU per payment"), spec.name, each);
    server.stop().await;
    node.stop().await;
}
