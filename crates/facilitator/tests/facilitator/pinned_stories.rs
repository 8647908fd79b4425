//! Payments that only one settling account may settle: those of contracts, which
//! may answer by who asks.

use std::time::Duration;

use tollway_core::Facilitator;
use tollway_facilitator::EngineConfig;

use crate::fake_chain::{FakeChain, Node};
use crate::fixtures::account;
use crate::memory_store::MemoryStore;
use crate::scene::{Scene, quick, settle_request, start, until, verify_request};

fn often() -> EngineConfig {
    EngineConfig {
        signer_interval: Duration::from_millis(20),
        ..quick()
    }
}

/// Two settling accounts; the payers 1 to 100 are contracts.
fn contracts(config: EngineConfig) -> Scene {
    let scene = Scene::with(FakeChain::with_signers(2), config);
    scene.chain.script().contracts = (1..=100).map(account).collect();
    scene
}

#[tokio::test]
async fn a_contract_is_settled_by_an_account_that_has_gas() {
    let scene = contracts(often());
    scene.chain.script().low.insert(account(0xa1));
    until("that is known", || {
        scene.chain.script().preferred == [account(0xa2)]
    })
    .await;
    assert!(scene.settle(&settle_request(1, 1)).await.success);
    let sent = scene.chain.script().distinct();
    assert_eq!(sent[0].0, account(0xa2));
}

#[tokio::test]
async fn what_waits_for_an_account_that_ran_out_of_gas_goes_by_another() {
    let mut config = often();
    config.rules.window = 1;
    let scene = contracts(config);
    scene.chain.script().node = Node::Slow;
    let callers: Vec<_> = (1..=3)
        .map(|n| {
            let engine = scene.engine.clone();
            tokio::spawn(async move { engine.settle(&settle_request(n, n)).await.unwrap() })
        })
        .collect();
    until("one is sent, two wait", || {
        let open = scene.store.model().payments.len();
        open == 3 && scene.chain.script().distinct().len() == 1
    })
    .await;
    let first = scene.chain.script().distinct()[0].0.clone();
    scene.chain.script().low.insert(first.clone());
    until("the next goes by the other", || {
        scene.chain.script().distinct().len() == 2
    })
    .await;
    assert_ne!(scene.chain.script().distinct()[1].0, first);
    for caller in callers {
        while !caller.is_finished() {
            scene.chain.script().include_all();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(caller.await.unwrap().success);
    }
}

#[tokio::test]
async fn a_flood_that_waits_for_one_account_leaves_the_other_to_the_others() {
    let mut config = quick();
    config.rules.window = 1;
    let scene = contracts(config);
    scene.chain.script().node = Node::Slow;
    scene.chain.script().pin = Some(account(0xa1));
    let mut flood = tokio::task::JoinSet::new();
    for n in 1..=100 {
        let engine = scene.engine.clone();
        flood.spawn(async move { engine.settle(&settle_request(n, n)).await.unwrap() });
    }
    until("the flood waits", || {
        scene.store.model().payments.len() == 100 && scene.chain.script().distinct().len() == 1
    })
    .await;
    let engine = scene.engine.clone();
    let other = tokio::spawn(async move { engine.settle(&settle_request(200, 200)).await });
    until("the other is sent", || {
        let sent = scene.chain.script().distinct();
        sent.iter().any(|(signer, ..)| *signer == account(0xa2))
    })
    .await;
    scene.chain.script().include_all();
    assert!(other.await.unwrap().unwrap().success);
    flood.abort_all();
}

#[tokio::test]
async fn a_contract_that_only_an_account_without_gas_may_settle_is_refused_at_once() {
    let scene = contracts(often());
    scene.chain.script().low.insert(account(0xa1));
    scene.chain.script().pin = Some(account(0xa1));
    until("that is known", || {
        scene.chain.script().preferred == [account(0xa2)]
    })
    .await;
    let error = scene.engine.check(&verify_request(1, 1)).await.unwrap_err();
    assert_eq!(error.code, "signer_unavailable");
    let error = scene.engine.pay(&settle_request(1, 1)).await.unwrap_err();
    assert_eq!(error.code, "signer_unavailable");
    assert!(scene.store.model().payments.is_empty());
}

#[tokio::test]
async fn what_only_anothers_account_may_settle_is_left_to_that_machine() {
    let (chain, store) = (FakeChain::with_signers(2), MemoryStore::of_several());
    let other = store.model().join();
    assert!(store.model().lease(&other, &account(0xa1)).is_some());
    chain.script().contracts.insert(account(1));
    chain.script().pin = Some(account(0xa1));
    let mut config = quick();
    config.adopt_interval = Duration::from_secs(60);
    config.rules.patience = Duration::from_millis(20);
    let store = std::sync::Arc::new(store);
    let engine = start(&chain, store.clone(), &Default::default(), config);
    tokio::spawn(async move { engine.settle(&settle_request(1, 1)).await });
    until("nobody has it", || {
        let model = store.model();
        let mut payments = model.payments.values();
        payments.next().is_some_and(|p| p.replica.is_none())
    })
    .await;
    assert!(chain.script().sent.is_empty());
}
