//! Transactions that buyers made by themselves and show as proof: nothing is sent.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tollway_core::{Facilitator, SettleRequest};
use tollway_ledger::PaymentState;

use crate::fake_chain::FakeChain;
use crate::scene::{Scene, code, quick, settle_request, until};

const SHOWN: &str = "0xcafe";

/// Shows a transaction, and asks as the owner of a key.
fn proof(key: Option<&str>) -> SettleRequest {
    let mut request = settle_request(1, 1);
    let object = &mut Arc::make_mut(&mut request.payload).payload;
    object.insert("settles".to_owned(), json!("observe"));
    object.insert("nonce".to_owned(), json!(SHOWN));
    request.idempotency_key = key.map(str::to_owned);
    request
}

fn state(scene: &Scene) -> Option<PaymentState> {
    let model = scene.store.model();
    model.payments.values().next().map(|p| p.state)
}

#[tokio::test]
async fn a_transaction_that_is_in_no_block_yet_takes_nothing_and_counts_when_it_is() {
    let scene = Scene::new();
    scene.chain.script().shown = Some(Default::default());
    let request = proof(Some("a"));
    assert_eq!(code(&scene.settle(&request).await), "txid_not_found");
    assert!(scene.store.model().payments.is_empty());
    scene.chain.script().show(SHOWN);
    let response = scene.settle(&request).await;
    assert!(response.success, "{response:?}");
    assert_eq!(response.transaction, SHOWN);
    assert!(scene.chain.script().sent.is_empty());
}

#[tokio::test]
async fn a_transaction_buys_once_however_many_show_it_at_once() {
    let scene = Scene::new();
    scene.chain.script().show(SHOWN);
    let mut callers = tokio::task::JoinSet::new();
    let request = proof(None);
    for n in 0..1000 {
        let (engine, mut request) = (scene.engine.clone(), request.clone());
        request.idempotency_key = Some(format!("key-{n}"));
        callers.spawn(async move { engine.settle(&request).await.unwrap() });
    }
    let answers = callers.join_all().await;
    assert_eq!(answers.iter().filter(|a| a.success).count(), 1);
    let others = answers.iter().filter(|a| !a.success);
    assert!(others.map(code).all(|c| c == "duplicate_settlement"));
    assert_eq!(code(&scene.settle(&request).await), "duplicate_settlement");
}

#[tokio::test]
async fn a_shown_transaction_whose_block_was_replaced_is_looked_for_again() {
    let scene = Scene::new();
    scene.chain.script().show(SHOWN);
    assert!(scene.settle(&proof(Some("a"))).await.success);
    scene.chain.script().reorganise(1);
    until("it is open again", || {
        state(&scene) == Some(PaymentState::Accepted)
    })
    .await;
    scene.chain.script().show(SHOWN);
    until("it is settled again", || {
        state(&scene) == Some(PaymentState::Settled)
    })
    .await;
    assert!(scene.chain.script().sent.is_empty());
    assert_eq!(
        code(&scene.settle(&proof(Some("b"))).await),
        "duplicate_settlement"
    );
}

#[tokio::test]
async fn a_shown_transaction_that_is_gone_for_good_ends() {
    let scene = Scene::with(FakeChain::new(), quick());
    scene.chain.script().show(SHOWN);
    assert!(scene.settle(&proof(Some("a"))).await.success);
    scene.chain.script().reorganise(1);
    until("it is open again", || {
        state(&scene) == Some(PaymentState::Accepted)
    })
    .await;
    until("it ended", || {
        scene.clock.advance(Duration::from_secs(50));
        state(&scene) == Some(PaymentState::Expired)
    })
    .await;
    assert!(scene.chain.script().sent.is_empty());
}

#[tokio::test]
async fn a_node_that_lags_ends_no_proof_however_late_it_is() {
    let scene = Scene::with(FakeChain::new(), quick());
    scene.chain.script().show(SHOWN);
    assert!(scene.settle(&proof(Some("a"))).await.success);
    // Nobody knows the block any more, and the time to show it is over.
    scene.chain.script().reorganise(1);
    until("it is open again", || {
        state(&scene) == Some(PaymentState::Accepted)
    })
    .await;
    scene.clock.advance(Duration::from_secs(400));
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        scene.clock.advance(Duration::from_secs(5));
        assert_eq!(state(&scene), Some(PaymentState::Accepted));
    }
    scene.chain.script().show(SHOWN);
    until("it is settled again", || {
        scene.clock.advance(Duration::from_secs(1));
        state(&scene) == Some(PaymentState::Settled)
    })
    .await;
}
