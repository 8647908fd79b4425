//! CPU per verify and per settle with one payment in the ledger, and with a million.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::keccak256;
use tokio::task::JoinSet;
use tollway_core::{Amount, Network, PaymentId, Timestamp};
use tollway_devnet::DEV_ACCOUNTS;
use tollway_ledger::{
    Acceptance, Conclusion, Cost, Ending, Lease, NewPayment, ReplicaStore as _,
    SettlementStore as _, SqliteLedger,
};

use super::records::{Records, raw, settled};
use crate::Bench;
use crate::load::{Load, percentile};
use crate::node::{Node, Pace};
use crate::payments::Payers;
use crate::process::{Server, Spec, kept, scratch};
use crate::report::{Bar, Figure, Table};

const MILLION: u64 = 1_000_000;
/// Payments that share a transaction in the ledger that is made.
const BATCH: u64 = 100;
/// Batches that are written at the same time.
const AT_ONCE: usize = 16;
/// How often each figure is taken; the middle one counts.
const ROUNDS: usize = 3;

pub async fn run(bench: &Bench, table: &mut Table) {
    let large = large_ledger();
    if !is_complete(&large) {
        if !bench.options.million {
            table.note("Growth was not measured: --million makes the ledger that it takes.".into());
            return;
        }
        let took = make(&large).await;
        table.note(format!(
            "A ledger of {MILLION} settled payments took {took:?} to make."
        ));
    }
    let small = scratch("small");
    let (mut few, mut many) = (Costs::default(), Costs::default());
    for _ in 0..bench.options.pick(1, ROUNDS) {
        few.measure(bench, &small).await;
        many.measure(bench, &large).await;
    }
    for (what, few, many) in [
        ("/verify", few.verify, many.verify),
        ("/settle", few.settle, many.settle),
    ] {
        let (few, many) = (middle(few), middle(many));
        let row = format!("CPU per {what}, {MILLION} payments in the ledger");
        table.ours(&format!("CPU per {what}, new ledger"), Figure::micros(few));
        table.ours(&row, Figure::micros(many));
        let row = format!("CPU per {what}, {MILLION} payments over new ledger");
        let grown = Figure::ratio(many.as_secs_f64(), few.as_secs_f64());
        table.ours(&row, grown);
        table.bar(&row, Bar::AtMost(1.25));
    }
}

fn middle(mut costs: Vec<Duration>) -> Duration {
    costs.sort_unstable();
    percentile(&costs, 50)
}

/// CPU time per request, round by round.
#[derive(Default)]
struct Costs {
    verify: Vec<Duration>,
    settle: Vec<Duration>,
}

impl Costs {
    /// One round with the ledger in this folder.
    async fn measure(&mut self, bench: &Bench, folder: &Path) {
        let verify = Asked {
            path: "/verify",
            yes: "isValid\":true",
            pace: Pace::default(),
            requests: bench.options.pick(1_000, 4_000),
            concurrency: 64,
        };
        let settle = Asked {
            path: "/settle",
            yes: "success\":true",
            pace: Pace::BLOCKS,
            requests: 1_024,
            concurrency: 512,
        };
        let spec = bench.ours();
        self.verify.push(verify.cost(spec, folder).await);
        self.settle.push(settle.cost(spec, folder).await);
    }
}

/// What is asked to take a figure.
struct Asked {
    path: &'static str,
    yes: &'static str,
    pace: Pace,
    requests: usize,
    concurrency: usize,
}

impl Asked {
    /// CPU time per request, with the ledger in this folder.
    async fn cost(self, spec: &Spec, folder: &Path) -> Duration {
        let node = Node::start(self.pace).await;
        let next = next_nonce(folder).await;
        node.devnet.set_nonce(DEV_ACCOUNTS[0].address, next);
        let mut payers = Payers::distinct(self.requests);
        node.fund(&payers.accounts());
        let server = Server::start_in(spec, &node.url, folder).await;
        let bodies = payers.bodies(self.requests);
        let measured = Load::post(&server.url, self.path, bodies, self.concurrency)
            .run(&server)
            .await;
        measured.expect_all(self.yes, spec.name);
        server.end().await;
        node.stop().await;
        measured.cpu_per_request()
    }
}

/// Makes the ledger ready for a new chain: nothing of the last one is watched
/// any more, and the chain is to begin at the nonce that comes next.
async fn next_nonce(folder: &Path) -> u64 {
    let ledger = open(folder).await;
    let lease = lease(&ledger).await;
    let now = Timestamp::from_secs(1_800_000_000);
    loop {
        let watched = ledger.settled_since(&lease.network, None, 1_000).await;
        let ids: Vec<PaymentId> = watched
            .expect("watched")
            .into_iter()
            .map(|p| p.id)
            .collect();
        if ids.is_empty() {
            break;
        }
        ledger.mark_final(&ids, now).await.expect("final");
    }
    // A slot without a transaction is the first that is given out again.
    let slot = ledger.allocate_slot(&lease, 0, now).await.expect("slot");
    close(&ledger, &lease).await;
    slot.nonce
}

async fn open(folder: &Path) -> SqliteLedger {
    let url = format!("sqlite:{}/ledger.db", folder.display());
    SqliteLedger::open(&url).await.expect("ledger")
}

async fn close(ledger: &SqliteLedger, lease: &Lease) {
    ledger.leave(&lease.replica).await.expect("leave");
    ledger.close().await;
}

/// Where the large ledger is kept, for as long as the tables look the same.
fn large_ledger() -> PathBuf {
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/ledger/migrations");
    let mut files: Vec<PathBuf> = std::fs::read_dir(migrations)
        .expect("migrations")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    let tables: Vec<u8> = files
        .iter()
        .flat_map(|path| std::fs::read(path).expect("migration"))
        .collect();
    let digest = keccak256(tables).to_string();
    kept(&format!("million-{}", &digest[2..14]))
}

fn is_complete(folder: &Path) -> bool {
    folder.join("complete").exists()
}

/// What a batch is settled with.
#[derive(Clone)]
struct Settling {
    ledger: SqliteLedger,
    lease: Lease,
    records: Arc<Records>,
}

/// Settles a million payments in a ledger, through the same steps as the engine.
async fn make(folder: &Path) -> Duration {
    eprintln!("making a ledger of {MILLION} payments …");
    let start = Instant::now();
    for left in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        let _ = std::fs::remove_file(folder.join(left));
    }
    let ledger = open(folder).await;
    let lease = lease(&ledger).await;
    let settling = Settling {
        ledger: ledger.clone(),
        lease: lease.clone(),
        records: Arc::new(Records::new(100_000)),
    };
    let mut batches = JoinSet::new();
    for batch in 0..MILLION / BATCH {
        if batches.len() >= AT_ONCE {
            batches.join_next().await.expect("batch").expect("batch");
        }
        if batch % 1_000 == 0 {
            eprintln!("  {} of {MILLION}", batch * BATCH);
        }
        batches.spawn(settling.clone().settle(batch));
    }
    batches.join_all().await;
    close(&ledger, &lease).await;
    std::fs::write(folder.join("complete"), []).expect("mark");
    start.elapsed()
}

async fn lease(ledger: &SqliteLedger) -> Lease {
    let network = Network::eip155(84_532);
    let signer = network
        .address(&format!("{:#x}", DEV_ACCOUNTS[0].address))
        .expect("signer");
    let hour = Duration::from_secs(3_600);
    let replica = ledger.join("bench", hour).await.expect("replica").id;
    let lease = ledger.lease_signer(&replica, &network, &signer).await;
    lease.expect("lease").expect("nobody else has it")
}

impl Settling {
    /// One transaction's payments: accepted, submitted, settled and handed out, final.
    async fn settle(self, batch: u64) {
        let now = Timestamp::from_millis(1_700_000_000_000 + batch * 2_000);
        let ids = self.accept(batch, now).await;
        let slot = self
            .ledger
            .allocate_slot(&self.lease, 0, now)
            .await
            .expect("slot");
        let key = (slot.network, slot.signer, slot.nonce);
        let sent = raw(key.2, ids.len());
        self.ledger
            .store_raw(&key, &sent, &ids, &self.lease, now)
            .await
            .expect("raw");
        let endings = (0..).zip(&ids).map(|(place, id)| Ending {
            id: id.clone(),
            conclusion: Conclusion::Settled(settled(key.2, place)),
            hand_out: Some(None),
        });
        let ended = self.ledger.conclude_all(endings.collect(), now).await;
        for ended in ended.expect("endings") {
            ended.expect("ending");
        }
        let costs = self.costs(batch);
        self.ledger
            .close_slot(&key, &costs, now)
            .await
            .expect("close");
        self.ledger.mark_final(&ids, now).await.expect("final");
    }

    async fn accept(&self, batch: u64, now: Timestamp) -> Vec<PaymentId> {
        let mut accepting = JoinSet::new();
        for payment in self.payments(batch) {
            let ledger = self.ledger.clone();
            accepting.spawn(async move { ledger.accept(payment, now).await.expect("accept") });
        }
        let accepted = accepting.join_all().await.into_iter();
        let ids = accepted.map(|accepted| match accepted {
            Acceptance::New(record) | Acceptance::Existing(record) => record.id,
        });
        ids.collect()
    }

    fn payments(&self, batch: u64) -> impl Iterator<Item = NewPayment> {
        (batch * BATCH..(batch + 1) * BATCH).map(|n| self.records.payment(n))
    }

    fn costs(&self, batch: u64) -> Vec<Cost> {
        let cost = |payment: NewPayment| Cost {
            payer: payment.identity.payer,
            fee: Amount::from_atomic(1),
            lost: false,
        };
        self.payments(batch).map(cost).collect()
    }
}
