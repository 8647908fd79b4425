//! Payments that are in a block, and must lie deeper than that: they wait for
//! the chain, and nobody waits for them.

use std::time::Duration;

use tollway_core::wire::SettleResponse;
use tollway_core::{Facilitator, Finality, SettleRequest};
use tollway_facilitator::{EngineConfig, Holds};

use crate::fake_chain::{FakeChain, Node};
use crate::fixtures::requirements;
use crate::scene::{Scene, code, quick, settle_request, start, until, verify_request};

/// A payment with a transaction of its own, so many blocks deep.
fn deep(payer: u64, nonce: u64, finality: &str) -> SettleRequest {
    let wire = requirements().with_extra("finality", finality);
    SettleRequest {
        requirements: wire.with_extra("singleTransaction", true).into(),
        ..settle_request(payer, nonce)
    }
}

fn asked(scene: &Scene, request: &SettleRequest) -> tokio::task::JoinHandle<SettleResponse> {
    let (engine, request) = (scene.engine.clone(), request.clone());
    tokio::spawn(async move { engine.settle(&request).await.unwrap() })
}

/// Waits until the engine has seen so many of its open payments in blocks.
async fn included(scene: &Scene, payments: usize) {
    for _ in 0..1000 {
        let health = scene.engine.health().await;
        if health.networks[0].included_payments == payments {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{payments} payments were never seen in blocks");
}

#[tokio::test]
async fn transactions_that_are_in_blocks_and_not_deep_yet_fill_no_window() {
    let mut config = quick();
    config.rules.window = 2;
    let scene = Scene::with(FakeChain::new(), config.clone());
    let requests = [1, 2].map(|n| deep(n, n, "50"));
    let waiting = requests.each_ref().map(|one| asked(&scene, one));
    included(&scene, 2).await;
    assert!(scene.settle(&settle_request(3, 3)).await.success);
    assert!(waiting.iter().all(|one| !one.is_finished()));

    // Nor after a restart.
    for one in waiting {
        one.abort();
        assert!(one.await.is_err());
    }
    let store = scene.store.clone();
    drop(scene.engine);
    let engine = start(&scene.chain, store, &scene.clock, config);
    assert!(engine.settle(&settle_request(4, 4)).await.unwrap().success);
    scene.chain.script().mine_empty(50);
    for request in &requests {
        let answer = engine.settle(request).await.unwrap();
        assert!(answer.success, "{answer:?}");
    }
}

#[tokio::test]
async fn a_payment_in_a_block_holds_neither_a_balance_nor_a_place_in_the_queue() {
    for holds in [Holds::Memory, Holds::Ledger] {
        let config = EngineConfig {
            queue_limit: 1,
            holds,
            ..quick()
        };
        let scene = Scene::with(FakeChain::new(), config);
        scene.chain.script().balance = Some(20_000);
        let waiting = asked(&scene, &deep(1, 1, "50"));
        included(&scene, 1).await;
        // What is left of the balance covers one more.
        let verdict = scene.engine.check(&verify_request(1, 2)).await.unwrap();
        assert!(verdict.is_valid, "{holds:?} {verdict:?}");
        assert!(scene.settle(&settle_request(1, 2)).await.success);
        assert!(!waiting.is_finished());
        scene.chain.script().mine_empty(50);
        assert!(waiting.await.unwrap().success);
    }
}

#[tokio::test]
async fn a_payment_whose_block_was_replaced_holds_its_balance_again_and_goes_out_again() {
    for holds in [Holds::Memory, Holds::Ledger] {
        let config = EngineConfig { holds, ..quick() };
        let scene = Scene::with(FakeChain::new(), config);
        let waiting = asked(&scene, &deep(1, 1, "50"));
        included(&scene, 1).await;
        scene.chain.script().node = Node::Slow;
        scene.chain.script().balance = Some(15_000);
        scene.chain.script().reorganise(1);
        included(&scene, 0).await;
        let verdict = scene.engine.check(&verify_request(1, 2)).await.unwrap();
        assert_eq!(
            verdict.invalid_reason.as_deref(),
            Some("insufficient_funds"),
            "{holds:?}"
        );
        until("the same bytes are sent again", || {
            scene.chain.script().sent.len() > 1
        })
        .await;
        scene.chain.script().include_all();
        scene.chain.script().mine_empty(50);
        assert!(waiting.await.unwrap().success);
        assert_eq!(scene.chain.script().distinct().len(), 1);
    }
}

#[tokio::test]
async fn what_is_in_a_block_is_neither_sent_again_nor_outbid_nor_cancelled() {
    let mut config = quick();
    config.rules.stuck_after = Duration::from_millis(40);
    config.rules.rebroadcast_after = Duration::from_millis(20);
    let scene = Scene::with(FakeChain::new(), config);
    let waiting = asked(&scene, &deep(1, 1, "50"));
    included(&scene, 1).await;
    let sent = scene.chain.script().sent.len();
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(scene.chain.script().sent.len(), sent);
    scene.chain.script().mine_empty(50);
    assert!(waiting.await.unwrap().success);
}

#[tokio::test]
async fn all_payments_that_are_open_are_bounded_those_in_blocks_too() {
    let config = EngineConfig {
        open_limit: 1,
        ..quick()
    };
    let scene = Scene::with(FakeChain::new(), config);
    let waiting = asked(&scene, &deep(1, 1, "50"));
    included(&scene, 1).await;
    let error = scene.engine.check(&verify_request(2, 2)).await.unwrap_err();
    assert_eq!(error.code, "too_many_requests");
    scene.chain.script().mine_empty(50);
    assert!(waiting.await.unwrap().success);
}

#[tokio::test]
async fn a_finality_beyond_the_operators_cap_is_refused_before_anything_is_served() {
    let finality = |text: &str| text.parse::<Finality>().unwrap();
    for (cap, allowed, refused) in [
        ("finalized", "96", "97"),
        ("finalized", "finalized", "10000"),
        ("64", "safe", "finalized"),
        ("3", "3", "safe"),
        ("included", "included", "1"),
    ] {
        let config = EngineConfig {
            finality_cap: finality(cap),
            ..quick()
        };
        let scene = Scene::with(FakeChain::new(), config);
        let check = async |depth: &str| {
            let mut request = verify_request(1, 1);
            request.requirements = requirements().with_extra("finality", depth).into();
            let verdict = scene.engine.check(&request).await.unwrap();
            verdict.invalid_reason
        };
        assert_eq!(check(allowed).await, None, "{allowed} within {cap}");
        let code_of = check(refused).await;
        assert_eq!(code_of.as_deref(), Some("finality_too_deep"), "{refused}");
        let response = scene.settle(&deep(1, 1, refused)).await;
        assert_eq!(code(&response), "finality_too_deep");
        assert!(scene.store.model().payments.is_empty());
    }
}

#[tokio::test]
async fn what_the_operator_asks_for_is_never_too_deep() {
    let config = EngineConfig {
        finality: Finality::Confirmations(100),
        finality_cap: Finality::Included,
        ..quick()
    };
    let scene = Scene::with(FakeChain::new(), config);
    let waiting = asked(&scene, &deep(1, 1, "100"));
    included(&scene, 1).await;
    scene.chain.script().mine_empty(100);
    assert!(waiting.await.unwrap().success);
}
