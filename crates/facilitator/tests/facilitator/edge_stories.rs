//! Callers without a key, blame for gas, and answers that come at the wrong moment.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tollway_core::{Amount, Facilitator, SettleRequest};
use tollway_facilitator::EngineConfig;
use tollway_ledger::PaymentState;

use crate::fake_chain::{FakeChain, Node};
use crate::fixtures::{account, new_payment, requirements};
use crate::scene::{Scene, code, deadline, quick, settle_request, until};

#[tokio::test]
async fn who_waits_without_a_key_hears_of_success_that_is_being_recorded_as_his_time_ends() {
    let config = EngineConfig {
        settle_wait: Duration::from_millis(200),
        ..quick()
    };
    let scene = Scene::with(FakeChain::new(), config);
    scene.store.slow_to_end.store(400, Ordering::SeqCst);
    let response = scene.settle(&settle_request(1, 1)).await;
    assert!(response.success, "{response:?}");
}

#[tokio::test]
async fn a_commit_in_doubt_gives_success_to_who_waited_for_it_without_a_key() {
    let scene = Scene::new();
    scene.store.doubtful_ends.store(2, Ordering::SeqCst);
    let request = settle_request(1, 1);
    let response = scene.settle(&request).await;
    assert!(response.success, "{response:?}");
    assert_eq!(code(&scene.settle(&request).await), "duplicate_settlement");
}

#[tokio::test]
async fn a_shallow_settlement_is_no_success_for_who_asked_for_a_deep_one() {
    let config = EngineConfig {
        settle_wait: Duration::from_millis(300),
        ..quick()
    };
    let scene = Scene::with(FakeChain::new(), config);
    // The buyer is first, and asks for less.
    let shallow = settle_request(1, 1);
    let engine = scene.engine.clone();
    let first = shallow.clone();
    scene.chain.script().node = Node::Slow;
    let buyer = tokio::spawn(async move { engine.settle(&first).await });
    until("it is sent", || !scene.chain.script().sent.is_empty()).await;
    buyer.abort();
    let _ = buyer.await;
    scene.chain.script().include_all();
    until("it settled", || {
        let model = scene.store.model();
        model
            .payments
            .values()
            .all(|p| p.state == PaymentState::Settled)
    })
    .await;
    let deep = SettleRequest {
        requirements: requirements().with_extra("finality", "5").into(),
        ..shallow
    };
    assert_eq!(code(&scene.settle(&deep).await), "settlement_pending");
    scene.chain.script().mine_empty(5);
    let response = scene.settle(&deep).await;
    assert!(response.success, "{response:?}");
}

#[tokio::test]
async fn what_somebody_used_and_nobody_can_look_up_yet_is_not_refused() {
    let mut config = quick();
    config.rules.unsigned_limit = Duration::from_millis(100);
    let scene = Scene::with(FakeChain::new(), config);
    scene.chain.script().plans_hang = true;
    scene.chain.script().cannot_look_up = true;
    let engine = scene.engine.clone();
    let waiting = tokio::spawn(async move { engine.settle(&settle_request(1, 1)).await.unwrap() });
    until("it is taken", || !scene.store.model().payments.is_empty()).await;
    let identity = new_payment(1, 1, deadline()).identity;
    scene.chain.script().front_run(&identity);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!waiting.is_finished(), "{:?}", waiting.await);
    scene.chain.script().cannot_look_up = false;
    assert!(waiting.await.unwrap().success);
}

#[tokio::test]
async fn one_that_cannot_be_sealed_takes_no_other_along() {
    let scene = Scene::new();
    scene.chain.script().node = Node::Slow;
    let bad = new_payment(7, 7, deadline()).identity.key();
    scene.chain.script().unsealable.insert(bad);
    let mut callers = tokio::task::JoinSet::new();
    for n in 0..30 {
        let engine = scene.engine.clone();
        callers.spawn(async move { engine.settle(&settle_request(n, n)).await.unwrap() });
    }
    let mut failed = Vec::new();
    while !callers.is_empty() {
        scene.chain.script().include_all();
        let wait = tokio::time::timeout(Duration::from_millis(5), callers.join_next());
        if let Ok(Some(answer)) = wait.await {
            failed.extend(answer.ok().filter(|a| !a.success));
        }
    }
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(code(&failed[0]), "invalid_payload");
}

#[tokio::test]
async fn nobody_is_charged_with_gas_that_others_lost() {
    // A batch that is undone as a whole: nobody knows by whom.
    let scene = Scene::new();
    scene.chain.script().node = Node::Slow;
    let mut callers = tokio::task::JoinSet::new();
    for n in 1..=30 {
        let engine = scene.engine.clone();
        callers.spawn(async move { engine.settle(&settle_request(n, n)).await.unwrap() });
    }
    until("a batch is sent", || {
        scene.chain.script().sizes().iter().sum::<usize>() == 30
    })
    .await;
    scene.chain.script().reverts = 100;
    scene.chain.script().include_all();
    scene.chain.script().reverts = 0;
    while !callers.is_empty() {
        scene.chain.script().include_all();
        let wait = tokio::time::timeout(Duration::from_millis(5), callers.join_next());
        if let Ok(Some(answer)) = wait.await {
            assert!(answer.unwrap().success);
        }
    }
    let singles = scene.chain.script().sizes();
    let alone = singles.iter().filter(|size| **size == 1).count() as u128;
    until("all is counted", || {
        let spent = scene.store.model().gas_spent(None);
        spent.fee > Amount::ZERO && scene.store.model().open_slots().is_empty()
    })
    .await;
    let lost = scene.store.model().gas_spent(None).lost;
    assert!(
        lost <= Amount::from_atomic(alone * 1000),
        "{lost} lost by innocents"
    );

    // One whose payment was sent by somebody else, ahead of ours.
    let scene = Scene::new();
    scene.chain.script().node = Node::Slow;
    let engine = scene.engine.clone();
    let waiting = tokio::spawn(async move { engine.settle(&settle_request(1, 1)).await.unwrap() });
    until("it is sent", || !scene.chain.script().sent.is_empty()).await;
    scene
        .chain
        .script()
        .front_run(&new_payment(1, 1, deadline()).identity);
    scene.chain.script().include_all();
    assert!(waiting.await.unwrap().success);
    until("its cost is known", || {
        !scene.store.model().gas_spent(None).fee.is_zero()
    })
    .await;
    let spent = scene.store.model().gas_spent(Some(&account(1)));
    assert!(spent.lost.is_zero(), "{spent:?}");
}
