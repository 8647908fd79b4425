//! A crash at the n-th touch of ledger or chain, for every n there is.

use std::sync::Arc;
use std::time::Duration;

use tollway_core::Facilitator;
use tollway_ledger::PaymentState;

use crate::fake_chain::{FakeChain, Node};
use crate::memory_store::MemoryStore;
use crate::scene::{ShiftedClock, code, quick, settle_request, start, until};

/// One payment whose world stops after `steps` touches, then a new engine.
/// Whether the payment was through before that.
async fn crash_after(steps: i64, first_reverts: bool) -> bool {
    let chain = FakeChain::new();
    chain.script().reverts = u32::from(first_reverts);
    let store = Arc::new(MemoryStore::default());
    let clock = Arc::<ShiftedClock>::default();
    let mut config = quick();
    config.recover_interval = Duration::from_secs(60);
    let request = settle_request(1, 1);

    store.fuse.set(steps);
    chain.fuse.set(steps);
    let engine = start(&chain, store.clone(), &clock, config.clone());
    let caller = {
        let (engine, request) = (engine.clone(), request.clone());
        tokio::spawn(async move { engine.settle(&request).await.unwrap() })
    };
    until("it ended or the world stopped", || {
        caller.is_finished() || store.fuse.is_out() || chain.fuse.is_out()
    })
    .await;
    tokio::time::sleep(Duration::from_millis(3)).await;
    let finished = caller.is_finished();
    let mut successes = 0;
    if finished {
        successes += usize::from(caller.await.unwrap().success);
    } else {
        caller.abort();
    }
    drop(engine);
    tokio::time::sleep(Duration::from_millis(2)).await;

    store.fuse.set(i64::MAX);
    chain.fuse.set(i64::MAX);
    assert_eq!(chain.script().node, Node::Automine);
    let engine = start(&chain, store.clone(), &clock, config);
    let after = engine.settle(&request).await.unwrap();
    successes += usize::from(after.success);
    let lost_answer = !after.success && code(&after) == "duplicate_settlement";
    assert!(after.success || lost_answer, "step {steps}: {after:?}");
    assert!(successes <= 1, "step {steps}: success was given twice");
    assert_eq!(chain.script().transfers(), 1, "step {steps}");
    let states: Vec<_> = store.model().payments.values().map(|p| p.state).collect();
    assert_eq!(states, [PaymentState::Settled], "step {steps}");
    finished
}

#[tokio::test]
async fn a_crash_at_any_step_loses_no_payment_and_repeats_none() {
    let mut steps = 0;
    while !crash_after(steps, false).await {
        steps += 1;
    }
    assert!(steps > 6, "only {steps} steps were crashed at");
}

#[tokio::test]
async fn a_crash_at_any_step_of_a_second_attempt_loses_no_payment_and_repeats_none() {
    let mut steps = 0;
    while !crash_after(steps, true).await {
        steps += 1;
    }
    assert!(steps > 12, "only {steps} steps were crashed at");
}
