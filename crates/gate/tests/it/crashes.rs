//! The process dies at any durable step; the buyer comes back with the same
//! payment, and gets what it paid for, charged once.
//!
//! The dying process is this test binary again, as a child that runs only
//! [`the_process_that_dies`] with a place to die at.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use tollway_core::PaymentFlow;
use tollway_gate::Route;
use tollway_ledger::SqliteLedger;

use crate::support::{FakeChain, Payment, World, price};

const PLACE: &str = "TOLLWAY_TEST_DIE_AT";
const FOLDER: &str = "TOLLWAY_TEST_FOLDER";
const FLOW: &str = "TOLLWAY_TEST_FLOW";

async fn world(folder: &Path, flow: PaymentFlow) -> World {
    let url = format!("sqlite:{}", folder.join("gate.db").display());
    let ledger = Arc::new(SqliteLedger::open(&url).await.unwrap());
    let chain = Arc::new(FakeChain::kept_in(&folder.join("chain.json")));
    let route = Route::new("/paid/*").unwrap().offer(price()).flow(flow);
    World::on(ledger, chain, |gate| gate.route(route))
}

/// Does nothing but in a child, where it pays and dies on the way.
#[tokio::test]
async fn the_process_that_dies() {
    let Ok(place) = std::env::var(PLACE) else {
        return;
    };
    let folder = std::env::var(FOLDER).unwrap();
    let folder = Path::new(&folder);
    let flow = match std::env::var(FLOW).unwrap().as_str() {
        "upfront" => PaymentFlow::Upfront,
        _ => PaymentFlow::Authorization,
    };
    fail::cfg(place, "return").unwrap();
    let world = world(folder, flow).await;
    let payment = Payment::load(&folder.join("payment.json"));
    world.send(payment.get("/paid/x")).await;
    panic!("it should have died");
}

async fn survives(place: &str, flow: PaymentFlow) {
    let folder = tempfile::tempdir().unwrap();
    let before = world(folder.path(), flow).await;
    let payment = before
        .payment("/paid/x")
        .await
        .named("paid-through-a-crash");
    payment.save(&folder.path().join("payment.json"));
    drop(before);

    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crashes::the_process_that_dies", "--nocapture"])
        .env(PLACE, place)
        .env(FOLDER, folder.path())
        .env(FLOW, flow.as_str())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&child.stderr);
    assert!(
        !told.contains("it should have died"),
        "{place} was not on the way: {told}"
    );
    // Aborted, not panicked.
    assert_eq!(child.status.code(), None, "{place}: {told}");

    let after = world(folder.path(), flow).await;
    after.gate.recover().await.unwrap();
    let answer = after.send(payment.get("/paid/x")).await;
    assert!(answer.has_secret(), "{place} {flow:?}: {answer:?}");
    assert!(answer.receipt().success);
    let again = after.send(payment.get("/paid/x")).await;
    assert!(again.has_secret(), "{place} {flow:?}: {again:?}");
    assert_eq!(after.chain.settled.lock().unwrap().len(), 1, "charged once");
    let stranger = Payment {
        payload: payment.payload.clone(),
        ..payment
    }
    .unnamed();
    assert!(!after.send(stranger.get("/paid/x")).await.has_secret());
    assert_eq!(after.gate.recover().await.unwrap().still_open, 0);
}

#[tokio::test]
async fn a_crash_before_the_answer_leaves_loses_nothing() {
    for step in ["claimed", "served", "settling", "released"] {
        for side in ["before", "after"] {
            let place = format!("grant::{step}::{side}_write");
            survives(&place, PaymentFlow::Authorization).await;
        }
    }
}

#[tokio::test]
async fn a_crash_after_paying_upfront_loses_nothing() {
    for step in ["claimed", "settling", "paid", "served", "released"] {
        for side in ["before", "after"] {
            let place = format!("grant::{step}::{side}_write");
            survives(&place, PaymentFlow::Upfront).await;
        }
    }
}
