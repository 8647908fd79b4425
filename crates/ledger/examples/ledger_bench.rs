//! How long a step takes to be durable, beside a bare sync of the same disk.
//!
//! `cargo run -p tollway-ledger --example ledger_bench [FOLDER]`: accepts at a
//! steady 1,000 a second for 5 seconds, then as fast as 64 callers can, then
//! reserves within a budget that has 20,000 payments behind it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/stories/make.rs"]
#[allow(dead_code, reason = "the stories use the rest")]
mod make;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use make::{at, atomic, limit, payment, signed, spend};
use tokio::task::JoinSet;
use tollway_ledger::{Limit, Reservation, SettlementStore as _, SpendStore as _, SqliteLedger};

#[tokio::main(worker_threads = 2)]
async fn main() {
    let folder = std::env::args().nth(1);
    let place = match folder {
        Some(folder) => tempfile::tempdir_in(folder).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    report("bare write and sync", &bare_syncs(place.path()));
    let url = format!("sqlite:{}/ledger.db", place.path().display());
    let ledger = SqliteLedger::open(&url).await.unwrap();
    steady_accepts(&ledger).await;
    crowded_accepts(&ledger).await;
    long_budget(&ledger).await;
}

/// Prints the middle, the 99th percentile and the longest.
fn report(what: &str, times: &[Duration]) {
    let mut sorted = times.to_vec();
    sorted.sort();
    let at = |percent: usize| sorted[(sorted.len() - 1) * percent / 100];
    println!(
        "{what}: p50 {:?}, p99 {:?}, longest {:?}",
        at(50),
        at(99),
        at(100)
    );
}

fn bare_syncs(folder: &Path) -> Vec<Duration> {
    let mut file = std::fs::File::create(folder.join("bare")).unwrap();
    let mut once = |_| {
        let start = Instant::now();
        file.write_all(&[7; 4096]).unwrap();
        file.sync_data().unwrap();
        start.elapsed()
    };
    (0..200).map(&mut once).collect()
}

async fn steady_accepts(ledger: &SqliteLedger) {
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
    report("accept at 1,000/s", &calls.join_all().await);
    let after = ledger.stats();
    println!(
        "  {} steps in {} commits",
        after.steps - before.steps,
        after.commits - before.commits
    );
}

async fn crowded_accepts(ledger: &SqliteLedger) {
    let next = Arc::new(AtomicU64::new(1_000_000));
    let mut callers = JoinSet::new();
    let (before, start) = (ledger.stats(), Instant::now());
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
        "64 callers: {} accepts/s, {} commits/s",
        u128::from(steps) * 1_000 / took,
        u128::from(after.commits - before.commits) * 1_000 / took
    );
}

async fn long_budget(ledger: &SqliteLedger) {
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

async fn pay(ledger: &SqliteLedger, limits: &[Limit], n: u64) {
    let reserved = ledger.reserve(spend(n), limits, at(n)).await.unwrap();
    let Reservation::Reserved(id) = reserved else {
        return;
    };
    ledger.signed(&id, signed(n), at(n)).await.unwrap();
    ledger.paid(&id, atomic(10), None, at(n)).await.unwrap();
}
