//! How long the ledger takes to accept a payment durably, beside a bare sync of
//! the same disk, in the same seconds.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tollway_core::Timestamp;
use tollway_ledger::{SettlementStore as _, SqliteLedger};

use super::records::Records;
use crate::Bench;
use crate::load::percentile;
use crate::process::scratch;
use crate::report::{Bar, Figure, Table};

const ACCEPT: &str = "durable accept, 1,000 a second";
const BARE: &str = "bare write and sync of 4 KiB, same disk";

pub async fn run(bench: &Bench, table: &mut Table) {
    let seconds = bench.options.pick(2, 10);
    let folder = scratch("durable");
    let url = format!("sqlite:{}/ledger.db", folder.display());
    let ledger = SqliteLedger::open(&url).await.expect("ledger");
    let records = Records::new(1_000);
    let (mut bare, mut accepts) = (Vec::new(), Vec::new());
    // In turns: what the disk does meanwhile must touch both alike.
    for second in 0..seconds {
        bare.extend(bare_syncs(&folder));
        accepts.extend(steady_accepts(&ledger, &records, second * 1_000).await);
    }
    bare.sort_unstable();
    accepts.sort_unstable();
    for (what, times) in [(BARE, &bare), (ACCEPT, &accepts)] {
        for percent in [50, 99] {
            let figure = Figure::millis(percentile(times, percent));
            table.ours(&format!("{what}: p{percent}"), figure);
        }
    }
    let over = percentile(&accepts, 99).as_secs_f64() / percentile(&bare, 99).as_secs_f64();
    let row = format!("{ACCEPT}: p99 over the bare sync's p99");
    table.ours(&row, Figure::ratio(over, 1.0));
    table.bar(&row, Bar::AtMost(3.0));
    ledger.close().await;
}

fn bare_syncs(folder: &Path) -> Vec<Duration> {
    let path = folder.join("bare");
    let mut file = std::fs::File::create(path).expect("file");
    (0..100)
        .map(|_| {
            let start = Instant::now();
            file.write_all(&[7; 4096]).expect("write");
            file.sync_data().expect("sync");
            start.elapsed()
        })
        .collect()
}

/// One every millisecond, whatever became of those before; each is timed from
/// the moment it was due.
async fn steady_accepts(ledger: &SqliteLedger, records: &Records, first: u64) -> Vec<Duration> {
    let mut calls = JoinSet::new();
    let start = Instant::now();
    for n in 0..1_000 {
        let due = start + Duration::from_millis(n);
        tokio::time::sleep_until(due.into()).await;
        let ledger = ledger.clone();
        let payment = records.payment(first + n);
        calls.spawn(async move {
            let now = Timestamp::from_millis(first + n);
            ledger.accept(payment, now).await.expect("accept");
            due.elapsed()
        });
    }
    calls.join_all().await
}
