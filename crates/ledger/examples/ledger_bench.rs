//! How long a step takes to be durable, beside a bare sync of the same disk,
//! and what it costs.
//!
//! `cargo run -p tollway-ledger --example ledger_bench [PLACE] [ROWS]`: accepts
//! at a steady 1,000 a second for 5 seconds, then as fast as 64 callers can;
//! takes payments through all their steps in batches of 100, before and after
//! the ledger holds ROWS of them; reserves within a budget that has 20,000
//! payments behind it. PLACE is a folder, or a `postgres://` URL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tollway_core::{PaymentId, Settled};
use tollway_ledger::{
    Acceptance, Conclusion, Cost, Ending, Lease, Limit, Reservation, SettlementStore as _,
    SpendStore as _, Store,
};
use tollway_test_records::{
    at, atomic, leased, limit, network, payment, raw, settled, signed, spend,
};

const BATCH: u64 = 100;

#[tokio::main(worker_threads = 2)]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let place = arguments.next().unwrap_or_else(|| ".".to_owned());
    let rows: u64 = arguments.next().map_or(0, |rows| rows.parse().unwrap());
    let is_url = place.contains("://");
    let folder = tempfile::tempdir_in(if is_url { "." } else { &place }).unwrap();
    let url = if is_url {
        place
    } else {
        format!("sqlite:{}/ledger.db", folder.path().display())
    };
    let bare = report("bare write and sync", &bare_syncs(folder.path()));
    let ledger = Store::open(&url).await.unwrap();
    let accepts = steady_accepts(&ledger).await;
    println!(
        "  p99 is {} % of a bare sync's",
        accepts.as_micros() * 100 / bare.as_micros()
    );
    crowded_accepts(&ledger).await;
    let lease = leased(&ledger, 9).await.unwrap();
    let few = whole_payments(&ledger, &lease, 2_000_000, 5_000, true).await;
    if rows > 0 {
        whole_payments(&ledger, &lease, 10_000_000, rows, false).await;
        let many = whole_payments(&ledger, &lease, 3_000_000, 5_000, true).await;
        println!(
            "with {rows} rows more a payment costs {} % of what it did",
            many * 100 / few
        );
    }
    long_budget(&ledger).await;
    ledger.close().await;
}

/// Prints the middle, the 99th percentile and the longest; gives the second.
fn report(what: &str, times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    let at = |percent: usize| sorted[(sorted.len() - 1) * percent / 100];
    println!(
        "{what}: p50 {:?}, p99 {:?}, longest {:?}",
        at(50),
        at(99),
        at(100)
    );
    at(99)
}

fn bare_syncs(folder: &Path) -> Vec<Duration> {
    let mut file = std::fs::File::create(folder.join("bare")).unwrap();
    let mut once = |_| {
        let start = Instant::now();
        file.write_all(&[7; 4096]).unwrap();
        file.sync_data().unwrap();
        start.elapsed()
    };
    (0..500).map(&mut once).collect()
}

/// CPU that all threads of this process took so far (Linux).
fn cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let nanos = tasks.map(|task| {
        let stat = std::fs::read_to_string(task.unwrap().path().join("schedstat"));
        let stat = stat.unwrap_or_default();
        stat.split(' ')
            .next()
            .and_then(|n| n.parse::<u64>().ok())
            .unwrap_or(0)
    });
    Duration::from_nanos(nanos.sum())
}

async fn steady_accepts(ledger: &Store) -> Duration {
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    let mut calls = JoinSet::new();
    let before = ledger.stats();
    for n in 0..5_000_u64 {
        ticks.tick().await;
        let ledger = ledger.clone();
        calls.spawn(async move {
            let start = Instant::now();
            ledger.accept(payment(n), at(n)).await.unwrap();
            start.elapsed()
        });
    }
    let p99 = report("accept at 1,000/s", &calls.join_all().await);
    let after = ledger.stats();
    println!(
        "  {} steps in {} commits",
        after.steps - before.steps,
        after.commits - before.commits
    );
    p99
}

async fn crowded_accepts(ledger: &Store) {
    let next = Arc::new(AtomicU64::new(1_000_000));
    let mut callers = JoinSet::new();
    let (before, start, before_cpu) = (ledger.stats(), Instant::now(), cpu());
    for _ in 0..64 {
        let (ledger, next) = (ledger.clone(), Arc::clone(&next));
        callers.spawn(async move {
            for _ in 0..200 {
                let n = next.fetch_add(1, Ordering::Relaxed);
                ledger.accept(payment(n), at(n)).await.unwrap();
            }
        });
    }
    callers.join_all().await;
    let (after, took) = (ledger.stats(), start.elapsed().as_millis().max(1));
    let steps = after.steps - before.steps;
    println!(
        "64 callers: {} accepts/s, {} commits/s, {:?} CPU each",
        u128::from(steps) * 1_000 / took,
        u128::from(after.commits - before.commits) * 1_000 / took,
        (cpu() - before_cpu) / 12_800
    );
}

/// Takes payments through all their steps; the nanoseconds of CPU each took.
async fn whole_payments(
    ledger: &Store,
    lease: &Lease,
    first: u64,
    count: u64,
    tells: bool,
) -> u128 {
    const STEPS: [&str; 5] = [
        "accept",
        "store_raw",
        "conclude_all",
        "close_slot",
        "mark_final",
    ];
    let mut spent = [Duration::ZERO; 5];
    let mut last = cpu();
    let mut lap = |step: usize| {
        let now = cpu();
        spent[step] += now - last;
        last = now;
    };
    let start = Instant::now();
    let mut confirmed = 0;
    for batch in 0..count / BATCH {
        let from = first + batch * BATCH;
        let ids = accepted(ledger, from).await;
        lap(0);
        let slot = ledger
            .allocate_slot(lease, confirmed, at(from))
            .await
            .unwrap();
        confirmed = slot.nonce + 1;
        let slot = (slot.network, slot.signer, slot.nonce);
        ledger
            .store_raw(&slot, &raw(from), &ids, lease, at(from))
            .await
            .unwrap();
        lap(1);
        let endings = ids.iter().zip(0..).map(|(id, place)| Ending {
            id: id.clone(),
            conclusion: Conclusion::Settled(Settled {
                log_index: Some(place),
                ..settled(from)
            }),
            hand_out: Some(None),
        });
        ledger
            .conclude_all(endings.collect(), at(from))
            .await
            .unwrap();
        lap(2);
        let costs: Vec<_> = ids.iter().map(|_| cost()).collect();
        ledger.close_slot(&slot, &costs, at(from)).await.unwrap();
        lap(3);
        ledger.mark_final(&ids, at(from)).await.unwrap();
        lap(4);
    }
    let each = |time: Duration| time / u32::try_from(count).unwrap();
    let all = each(spent.iter().sum());
    if tells {
        println!(
            "a payment's steps in batches of 100: {all:?} CPU, {:?} of time",
            each(start.elapsed())
        );
        for (name, time) in STEPS.iter().zip(spent) {
            println!("  {name}: {:?} CPU", each(time));
        }
    }
    all.as_nanos()
}

async fn accepted(ledger: &Store, from: u64) -> Vec<PaymentId> {
    let mut calls = JoinSet::new();
    for n in from..from + BATCH {
        let ledger = ledger.clone();
        calls.spawn(async move { ledger.accept(payment(n), at(from)).await.unwrap() });
    }
    let acceptances = calls.join_all().await.into_iter();
    let ids = acceptances.map(|acceptance| match acceptance {
        Acceptance::New(record) | Acceptance::Existing(record) => record.id,
    });
    ids.collect()
}

fn cost() -> Cost {
    Cost {
        payer: network().address(&format!("0x{:040x}", 7)).unwrap(),
        fee: atomic(21),
        lost: false,
    }
}

async fn long_budget(ledger: &Store) {
    let day = Limit {
        window: Some(Duration::from_secs(86_400)),
        ..limit(u128::MAX)
    };
    let limits = Arc::new([limit(u128::MAX), day]);
    let mut calls = JoinSet::new();
    for n in 0..20_000_u64 {
        if calls.len() >= 256 {
            calls.join_next().await;
        }
        let (ledger, limits) = (ledger.clone(), Arc::clone(&limits));
        calls.spawn(async move { pay(&ledger, &*limits, n).await });
    }
    calls.join_all().await;
    let mut times = Vec::new();
    for n in 0..500 {
        let start = Instant::now();
        ledger
            .reserve(spend(1_000_000 + n), &*limits, at(n))
            .await
            .unwrap();
        times.push(start.elapsed());
    }
    report("reserve, alone, after 20,000 payments", &times);
}

async fn pay(ledger: &Store, limits: &[Limit], n: u64) {
    let reserved = ledger.reserve(spend(n), limits, at(n)).await.unwrap();
    let Reservation::Reserved(id) = reserved else {
        return;
    };
    ledger.signed(&id, signed(n), at(n)).await.unwrap();
    ledger.paid(&id, atomic(10), None, at(n)).await.unwrap();
}
