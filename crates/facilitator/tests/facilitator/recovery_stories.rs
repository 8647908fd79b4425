//! The engine dies and starts again on the same SQLite ledger.

use std::sync::Arc;
use std::time::Duration;

use tollway_core::wire::PaymentPayload;
use tollway_core::{Facilitator, SettleRequest};
use tollway_ledger::{PaymentFilter, PaymentState, SettlementStore, SqliteLedger};

use crate::fake_chain::{FakeChain, Node};
use crate::fixtures::requirements;
use crate::scene::{ShiftedClock, code, quick, settle_request, start, until};

struct Scene {
    chain: Arc<FakeChain>,
    clock: Arc<ShiftedClock>,
    ledger: Arc<SqliteLedger>,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("ledger.db").display());
        Self {
            chain: FakeChain::new(),
            clock: Arc::default(),
            ledger: Arc::new(SqliteLedger::open(&url).await.unwrap()),
            _folder: folder,
        }
    }

    fn start(&self) -> tollway_facilitator::Engine {
        start(&self.chain, self.ledger.clone(), &self.clock, quick())
    }

    async fn state(&self) -> PaymentState {
        let filter = PaymentFilter::default();
        self.ledger.payments(&filter).await.unwrap()[0].state
    }

    async fn until_state(&self, state: PaymentState) {
        for _ in 0..1000 {
            let known = self
                .ledger
                .payments(&PaymentFilter::default())
                .await
                .unwrap();
            if known.first().is_some_and(|p| p.state == state) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("never {state:?}, but {:?}", self.state().await);
    }
}

fn again(payload: &Arc<PaymentPayload>) -> SettleRequest {
    SettleRequest {
        payload: Arc::clone(payload),
        requirements: requirements().into(),
        idempotency_key: None,
    }
}

#[tokio::test]
async fn a_crash_between_storing_and_sending_sends_the_same_bytes_and_settles_once() {
    let scene = Scene::new().await;
    scene.chain.script().node = Node::Hanging;
    let request = settle_request(1, 1);
    let engine = scene.start();
    let caller = {
        let (engine, request) = (engine.clone(), request.clone());
        tokio::spawn(async move { engine.settle(&request).await })
    };
    scene.until_state(PaymentState::Submitted).await;
    caller.abort();
    let _ = caller.await;
    drop(engine);
    let stored = scene.ledger.open_slots().await.unwrap()[0].raws[0].clone();
    assert!(scene.chain.script().sent.is_empty(), "nothing had left");

    scene.chain.script().node = Node::Automine;
    let engine = scene.start();
    scene.until_state(PaymentState::Settled).await;
    let sent = scene.chain.script().sent.clone();
    assert_eq!(sent, std::slice::from_ref(&stored.hash));
    let first = engine.settle(&again(&request.payload)).await.unwrap();
    assert!(first.success, "nobody had heard of it: {first:?}");
    assert_eq!(first.transaction, stored.hash.as_str());
    let second = engine.settle(&again(&request.payload)).await.unwrap();
    assert_eq!(code(&second), "duplicate_settlement");
}

#[tokio::test]
async fn a_crash_before_signing_verifies_again_and_settles() {
    let scene = Scene::new().await;
    scene.chain.script().plans_hang = true;
    let engine = scene.start();
    let caller = {
        let engine = engine.clone();
        tokio::spawn(async move { engine.settle(&settle_request(1, 1)).await })
    };
    scene.until_state(PaymentState::Accepted).await;
    caller.abort();
    let _ = caller.await;
    drop(engine);
    scene.chain.script().plans_hang = false;
    let verified = scene.chain.script().verified;
    let _engine = scene.start();
    scene.until_state(PaymentState::Settled).await;
    assert!(scene.chain.script().verified > verified);
    assert_eq!(scene.chain.script().transfers(), 1);
}

#[tokio::test]
async fn a_crash_after_sending_finds_the_receipt_and_sends_no_second_transaction() {
    let scene = Scene::new().await;
    scene.chain.script().node = Node::Slow;
    let engine = scene.start();
    let caller = {
        let engine = engine.clone();
        tokio::spawn(async move { engine.settle(&settle_request(1, 1)).await })
    };
    until("it is sent", || !scene.chain.script().sent.is_empty()).await;
    caller.abort();
    let _ = caller.await;
    drop(engine);
    scene.chain.script().include_all();
    let _engine = scene.start();
    scene.until_state(PaymentState::Settled).await;
    assert_eq!(scene.chain.script().distinct().len(), 1);
}

#[tokio::test]
async fn what_expired_while_nobody_ran_ends_expired() {
    let scene = Scene::new().await;
    scene.chain.script().node = Node::Rejecting;
    let engine = scene.start();
    let caller = {
        let engine = engine.clone();
        tokio::spawn(async move { engine.settle(&settle_request(1, 1)).await })
    };
    scene.until_state(PaymentState::Submitted).await;
    caller.abort();
    let _ = caller.await;
    drop(engine);
    scene.clock.advance(Duration::from_secs(3600));
    let _engine = scene.start();
    scene.until_state(PaymentState::Expired).await;
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_take_the_payment_or_its_success_with_it() {
    let scene = Scene::new().await;
    scene.chain.script().node = Node::Slow;
    let request = settle_request(1, 1);
    let engine = scene.start();
    let caller = {
        let (engine, request) = (engine.clone(), request.clone());
        tokio::spawn(async move { engine.settle(&request).await })
    };
    until("it is sent", || !scene.chain.script().sent.is_empty()).await;
    caller.abort();
    let _ = caller.await;
    scene.chain.script().include_all();
    scene.until_state(PaymentState::Settled).await;
    let answer = engine.settle(&again(&request.payload)).await.unwrap();
    assert!(answer.success, "{answer:?}");
}
