//! One engine, its fake chain and its ledger, quick enough for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tollway_core::wire::SettleResponse;
use tollway_core::{Clock, Facilitator, SettleRequest, SystemClock, Timestamp, VerifyRequest};
use tollway_facilitator::engine::machine::Rules;
use tollway_facilitator::{Engine, EngineConfig, EngineParts};
use tollway_ledger::SettlementStore;

use crate::fake_chain::FakeChain;
use crate::fixtures::{payload, requirements};
use crate::memory_store::MemoryStore;

/// The system's clock, and as much later as a test says.
#[derive(Debug, Default)]
pub struct ShiftedClock(AtomicU64);

impl ShiftedClock {
    pub fn advance(&self, by: Duration) {
        self.0
            .fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for ShiftedClock {
    fn now(&self) -> Timestamp {
        SystemClock
            .now()
            .plus(Duration::from_millis(self.0.load(Ordering::SeqCst)))
    }
}

pub fn quick() -> EngineConfig {
    EngineConfig {
        rules: Rules {
            poll_interval: Duration::from_millis(10),
            retry_min: Duration::from_millis(5),
            retry_max: Duration::from_millis(50),
            ..Rules::default()
        },
        settle_wait: Duration::from_secs(20),
        ledger_retry: Duration::from_millis(50),
        recover_interval: Duration::from_millis(100),
        ..EngineConfig::default()
    }
}

pub struct Scene {
    pub engine: Engine,
    pub chain: Arc<FakeChain>,
    pub store: Arc<MemoryStore>,
    pub clock: Arc<ShiftedClock>,
}

impl Scene {
    pub fn new() -> Self {
        Self::with(FakeChain::new(), quick())
    }

    pub fn with(chain: Arc<FakeChain>, config: EngineConfig) -> Self {
        let (store, clock) = (Arc::<MemoryStore>::default(), Arc::default());
        let engine = start(&chain, store.clone(), &clock, config);
        Self {
            engine,
            chain,
            store,
            clock,
        }
    }

    pub async fn settle(&self, request: &SettleRequest) -> SettleResponse {
        self.engine.settle(request).await.unwrap()
    }
}

pub fn start(
    chain: &Arc<FakeChain>,
    store: Arc<dyn SettlementStore>,
    clock: &Arc<ShiftedClock>,
    config: EngineConfig,
) -> Engine {
    Engine::start(EngineParts {
        chains: vec![chain.clone()],
        store,
        clock: clock.clone(),
        config,
    })
}

/// Five minutes from now.
pub fn deadline() -> Timestamp {
    SystemClock.now().plus(Duration::from_secs(300))
}

pub fn settle_request(payer: u64, nonce: u64) -> SettleRequest {
    SettleRequest {
        payload: payload(payer, nonce, deadline()).into(),
        requirements: requirements().into(),
        idempotency_key: None,
    }
}

pub fn verify_request(payer: u64, nonce: u64) -> VerifyRequest {
    VerifyRequest {
        payload: payload(payer, nonce, deadline()).into(),
        requirements: requirements().into(),
    }
}

pub fn code(response: &SettleResponse) -> &str {
    response.error_reason.as_deref().unwrap_or("none")
}

/// Waits until something is so.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never came to be: {what}");
}
