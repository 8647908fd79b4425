//! Each way to pay on EVM networks: what verifying and settling a payment costs,
//! in CPU and in gas, with the real contracts.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tollway_evm::delegation::{Grant, decode_context, redeem_call, transfer_execution};

use super::gas::{Counted, Gas};
use crate::Bench;
use crate::foreign::Foreign;
use crate::load::{Load, Measured};
use crate::node::{Node, Pace};
use crate::payments::{dollar, shop};
use crate::process::{Server, Spec, every_way, self_calls};
use crate::report::{Figure, Table};
use crate::usdc;
use crate::ways::{self, Buyers, Way, context_of};

/// Connections that verify.
const CONNECTIONS: usize = 16;
/// What is known of permissions elsewhere: two links, five caveats in all, redeemed by hand.
const PUBLISHED: &str = "By hand, with two links and five caveats in all, a redemption takes 343,700 gas alone, 289,200 in five, 279,400 in twenty. Ours here carry five caveats in each of their two links, so that nobody but the facilitator can spend them, and only once.";

pub async fn run(bench: &Bench, table: &mut Table) {
    let Some(foreign) = Foreign::read() else {
        table.note("The ways to pay were left out: `npm ci` in interop/ brings the real Permit2 and Delegation Framework.".to_owned());
        return;
    };
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    for way in Way::ALL {
        let spec = match way {
            Way::Erc7710 => self_calls(&root),
            _ => every_way(&root),
        };
        verify(&spec, way, &foreign, bench.options.pick(100, 1_000), table).await;
        settle(&spec, way, &foreign, bench.options.pick(30, 150), table).await;
    }
    read_permissions(&foreign, bench.options.pick(200, 5_000), table).await;
    table.note(PUBLISHED.to_owned());
}

async fn chain(pace: Pace, foreign: &Foreign, buyers: usize) -> Node {
    let node = Node::start(pace).await;
    usdc::place(&node.devnet, &ways::accounts(buyers));
    foreign.place(&node.devnet);
    ways::place_settler(&node);
    node
}

async fn verify(spec: &Spec, way: Way, foreign: &Foreign, count: usize, table: &mut Table) {
    let first = CONNECTIONS * 4;
    let node = chain(Pace::default(), foreign, first + count).await;
    let server = Server::start(spec, &node.url).await;
    let mut buyers = Buyers::ready(&node, way, first + count).await;
    post(&server, "/verify", buyers.bodies(&node, first).await).await;
    let bodies = buyers.bodies(&node, count).await;
    let verified = post(&server, "/verify", bodies).await;
    let case = format!("/verify by {}, each payer new, c={CONNECTIONS}", way.name());
    let figures = [
        (
            "CPU per request",
            Figure::micros(verified.cpu_per_request()),
        ),
        ("verified per second", Figure::rate(count, verified.wall())),
    ];
    for (what, figure) in figures {
        table.ours(&format!("{case}: {what}"), figure);
    }
    server.stop().await;
    node.stop().await;
}

/// One, and then many at once, on blocks of two seconds.
async fn settle(spec: &Spec, way: Way, foreign: &Foreign, count: usize, table: &mut Table) {
    let node = chain(Pace::BLOCKS, foreign, 1 + count).await;
    let server = Server::start(spec, &node.url).await;
    let mut buyers = Buyers::ready(&node, way, 1 + count).await;
    let from = node.devnet.block_number() + 1;
    post(&server, "/settle", buyers.bodies(&node, 1).await).await;
    let then = node.devnet.block_number();
    let alone = Gas::of_blocks(&node.devnet, Counted::Transfers, from, then);
    let bodies = buyers.bodies(&node, count).await;
    let settled = post(&server, "/settle", bodies).await;
    let last = node.devnet.block_number();
    let gas = Gas::of_blocks(&node.devnet, Counted::Transfers, then + 1, last);
    let name = way.name();
    let row = format!("/settle by {name}, {count} at once: CPU per payment");
    table.ours(&row, Figure::micros(settled.cpu_per_request()));
    let whose = if way.is_sent() {
        ""
    } else {
        ", the payer's own"
    };
    let row = format!("gas by {name}, real USDC, one payment alone{whose}");
    table.ours(&row, Figure::count(alone.per_payment()));
    if way.is_sent() {
        let (used, most) = gas.fullest();
        let case = format!("gas by {name}, {count} at once, fullest transaction");
        table.ours(&format!("{case}: payments"), Figure::count(most));
        table.ours(&format!("{case}: each"), Figure::count(used / most.max(1)));
    }
    server.stop().await;
    node.stop().await;
}

async fn post(server: &Server, path: &'static str, bodies: Vec<Vec<u8>>) -> Measured {
    let (connections, yes) = match path {
        "/settle" => (bodies.len(), "success\":true"),
        _ => (CONNECTIONS, "isValid\":true"),
    };
    let load = Load::post(&server.url, path, bodies, connections);
    let measured = load.run(server).await;
    measured.expect_all(yes, "tollway");
    measured
}

/// What is looked at of a permission before the chain is asked: its links, their
/// hashes, every caveat, and the call that would redeem it. On one core.
async fn read_permissions(foreign: &Foreign, rounds: usize, table: &mut Table) {
    let node = chain(Pace::default(), foreign, 1).await;
    let mut buyers = Buyers::ready(&node, Way::Erc7710, 1).await;
    let context = context_of(&buyers.payments(&node, 1).await[0]);
    let began = Instant::now();
    for _ in 0..rounds {
        let chain = decode_context(&context).expect("a context");
        let grant = Grant::of(&chain).expect("a grant");
        let transfer = transfer_execution(grant.asset, shop(), grant.allowances[0].most());
        assert_eq!(grant.asset, dollar());
        std::hint::black_box(redeem_call(&context, &transfer));
    }
    let took: Duration = began.elapsed();
    let row = "permissions (erc7710) read and checked per second, without the chain";
    table.ours(row, Figure::rate(rounds, took));
    node.stop().await;
}
