//! A second process for the tests: it spends from a shared budget, or runs one
//! of every step, and dies where it is told to.
//!
//! `ledger_worker spend URL MAX`, `ledger_worker script URL` and `ledger_worker
//! engine URL TTL_MILLIS FIRST COUNT`; `CRASH_AT=name#n` aborts at the n-th time
//! that the failpoint is reached.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "worker/engine.rs"]
mod engine;
#[path = "../tests/stories/script.rs"]
mod script;

use std::sync::atomic::{AtomicU64, Ordering};

use tollway_core::{Identity, SpendId};
use tollway_ledger::{
    NewSpend, Reservation, SignedSpend, SpendStore as _, SqliteLedger, StoryStore as _,
};
use tollway_test_records::{at, atomic, limit, signed, spend};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let scenario = fail::FailScenario::setup();
    if let Ok(place) = std::env::var("CRASH_AT") {
        crash_at(&place);
    }
    let arguments: Vec<String> = std::env::args().collect();
    let ledger = SqliteLedger::open(&arguments[2]).await.unwrap();
    match arguments[1].as_str() {
        "spend" => spend_all(&ledger, arguments[3].parse().unwrap()).await,
        "engine" => {
            let number = |place: usize| arguments[place].parse().unwrap();
            engine::run(&ledger, number(3), number(4), number(5)).await;
        }
        _ => run_script(&ledger).await,
    }
    scenario.teardown();
}

fn crash_at(place: &str) {
    let (name, count) = place.split_once('#').unwrap();
    let count: u64 = count.parse().unwrap();
    let reached = AtomicU64::new(0);
    let crash = move || {
        if reached.fetch_add(1, Ordering::SeqCst) + 1 == count {
            std::process::abort();
        }
    };
    fail::cfg_callback(name, crash).unwrap();
}

async fn run_script(ledger: &SqliteLedger) {
    let done = script::run(ledger, async || println!("durable")).await;
    if let Err(error) = done {
        println!("failed: {error}");
        println!("healthy: {}", ledger.health().writable);
        // Nothing but the first failure's word, and no waiting for the disk.
        let again = ledger.reserve(spend(9), &[], at(1)).await.unwrap_err();
        println!("again: {again}");
        println!(
            "readable: {}",
            ledger.verify_chain().await.unwrap().is_none()
        );
    }
}

/// Spends until the budget is used up: a third is paid, a third stays open,
/// and a third is given back.
async fn spend_all(ledger: &SqliteLedger, max: u128) {
    let process = u64::from(std::process::id()) << 32;
    for n in 0.. {
        let new = NewSpend {
            amount: atomic(10),
            ..spend(process + n)
        };
        match ledger.reserve(new, &[limit(max)], at(n)).await.unwrap() {
            Reservation::Reserved(id) => {
                println!("{id}");
                end(ledger, &id, process + n).await;
            }
            _ => return,
        }
    }
}

async fn end(ledger: &SqliteLedger, id: &SpendId, n: u64) {
    match n % 3 {
        0 => {
            let unique = SignedSpend {
                identity: Identity {
                    nonce: id.to_string(),
                    ..tollway_test_records::identity(n)
                },
                ..signed(n)
            };
            ledger.signed(id, unique, at(n)).await.unwrap();
            ledger.paid(id, atomic(10), None, at(n)).await.unwrap();
        }
        1 => ledger.release(id, "never signed", at(n)).await.unwrap(),
        _ => {}
    }
}
