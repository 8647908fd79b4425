//! Where the facilitator's CPU time goes while it verifies and settles: a
//! profile of `perf`, each sample given to the first frame, from the innermost
//! outwards, that belongs to somebody.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::Bench;
use crate::node::{Node, Pace};
use crate::payments::Payers;
use crate::process::{Server, scratch};
use crate::report::{Figure, Table};
use crate::steady::Steady;

const CONCURRENCY: usize = 512;

/// Whose a frame is: the first that one of these words is found in.
const OWNERS: [(&str, &[&str]); 5] = [
    ("signature", &["secp256k1", "keccak", "typed_data", "sha3"]),
    ("ledger", &["sqlite", "tollway_ledger", "sqlx"]),
    (
        "RPC",
        &[
            "tollway_rpc",
            "tollway_evm",
            "hyper_util::client",
            "hyper::client",
        ],
    ),
    (
        "HTTP",
        &[
            "tollway_facilitator::http",
            "hyper_util::server",
            "hyper::server",
            "axum",
        ],
    ),
    ("engine", &["tollway_facilitator::engine"]),
];
/// The runtime's own work: waking, parking, asking the kernel what is ready.
const REST: &str = "runtime and the rest";

pub async fn run(bench: &Bench, table: &mut Table) {
    if !has_perf().await {
        table.note("Where the time goes was not measured: there is no perf here.".into());
        return;
    }
    let seconds = bench.options.pick(8, 20);
    let node = Node::start(Pace::BLOCKS).await;
    let server = Server::start(bench.ours(), &node.url).await;
    let mut payers = Payers::distinct(CONCURRENCY * (seconds / 2 + 3));
    node.fund(&payers.accounts());
    let bodies = payers.bodies(payers.accounts().len());
    let data = scratch("profile").join("perf.data");
    let mut perf = Command::new("perf")
        .args(["record", "-q", "-F", "499", "--call-graph", "dwarf,16384"])
        .args(["-p", &server.pid().to_string(), "-o"])
        .arg(&data)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("perf");
    let steady = Steady {
        concurrency: CONCURRENCY,
        during: Duration::from_secs(seconds as u64),
        bodies,
    };
    let outcome = steady.run(&server, &node).await;
    server.stop().await;
    // perf ends with what it watches.
    perf.wait().await.expect("perf");
    node.stop().await;
    let samples = Samples::read(&data).await;
    report(&samples, outcome.cpu_per_payment(), table);
}

fn report(samples: &Samples, payment: Duration, table: &mut Table) {
    for (owner, count) in &samples.by_owner {
        let share = payment.mul_f64(*count as f64 / samples.all.max(1) as f64);
        let row = format!("CPU of a payment, verified and settled: {owner}");
        table.ours(&row, Figure::micros(share));
    }
    table.note(format!(
        "The parts of a payment's CPU rest on {} samples of perf, c={CONCURRENCY} on blocks of 2 s, while the profile was taken.",
        samples.all
    ));
}

async fn has_perf() -> bool {
    Command::new("perf")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await
        .is_ok_and(|status| status.success())
}

struct Samples {
    all: usize,
    by_owner: BTreeMap<&'static str, usize>,
}

impl Samples {
    async fn read(data: &std::path::Path) -> Self {
        let script = Command::new("perf")
            .args(["script", "--no-inline", "-F", "comm,ip,sym", "-i"])
            .arg(data)
            .stderr(Stdio::null())
            .output()
            .await
            .expect("perf script");
        let text = String::from_utf8_lossy(&script.stdout);
        let mut samples = Self {
            all: 0,
            by_owner: BTreeMap::new(),
        };
        for sample in text
            .split("\n\n")
            .filter(|sample| !sample.trim().is_empty())
        {
            samples.all += 1;
            *samples.by_owner.entry(owner(sample)).or_default() += 1;
        }
        samples
    }
}

/// A sample is the thread's name and then its frames, innermost first.
fn owner(sample: &str) -> &'static str {
    let mut lines = sample.trim().lines();
    let thread = lines.next().unwrap_or_default();
    let owned = |line: &str| {
        let has = |words: &&[&str]| words.iter().any(|word| line.contains(word));
        OWNERS
            .iter()
            .find(|(_, words)| has(words))
            .map(|(name, _)| *name)
    };
    lines
        .find_map(owned)
        .or_else(|| owned(thread))
        .unwrap_or(REST)
}
