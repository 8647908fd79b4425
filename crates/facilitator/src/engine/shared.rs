//! What the parts of one engine share.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tollway_core::{Chain, Clock, Network, PaymentId, Timestamp};
use tollway_ledger::{LedgerError, PaymentState, SettlementStore};

use super::config::EngineConfig;
use super::error::EngineError;
use super::event::{Hook, SettlementEvent};
use super::machine::{Event, Update};
use super::memory::Memory;
use super::payers::Payers;
use super::waiters::Waiters;
use crate::telemetry;

/// What intake, actors and effects all see.
pub(super) struct Shared {
    pub(super) store: Arc<dyn SettlementStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) config: EngineConfig,
    pub(super) waiters: Arc<Waiters>,
    pub(super) stop: CancellationToken,
    pub(super) draining: AtomicBool,
    /// Callers inside verify or settle.
    pub(super) callers: AtomicUsize,
    pub(super) ledger: LedgerWatch,
    pub(super) payers: Arc<Payers>,
    /// Identities that we verified as unused.
    pub(super) unused: Memory<String, ()>,
    /// With which idempotency key a payment was opened.
    pub(super) openers: Memory<PaymentId, Option<String>>,
    pub(super) hooks: RwLock<Vec<Hook>>,
}

impl Shared {
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn tell(&self, event: &SettlementEvent) {
        for hook in self
            .hooks
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            hook(event);
        }
    }

    /// Tells waiters, hooks and counters that a payment moved on.
    pub(super) fn moved(&self, network: &Network, id: PaymentId, update: Update) {
        match &update {
            Update::Stored { transaction, .. } => self.waiters.submitted(&id, transaction),
            Update::Ended(record) => {
                telemetry::ended(network, record.state);
                let ours = record.settled.as_ref().is_none_or(|s| !s.by_third_party);
                let well = record.state == PaymentState::Settled && ours && record.attempts <= 1;
                self.payers.ended(&id, &record.payment.identity, well);
                self.waiters.ended(&id, record);
            }
            Update::Rejected { reason, .. } => {
                tracing::warn!(payment = %id, %network, reason, "a node rejected a transaction");
            }
            Update::Sent { .. } | Update::Reopened { .. } => {}
        }
        self.tell(&SettlementEvent::Moved { id, update });
    }

    /// Notes how a ledger step went: a broken ledger stops intake.
    pub(super) fn note_ledger<T>(&self, result: &Result<T, LedgerError>) {
        match result {
            Err(error) if error.is_storage() => {
                telemetry::ledger_failed();
                self.ledger
                    .failed(error, self.now().plus(self.config.ledger_retry));
            }
            Ok(_) => self.ledger.worked(),
            Err(_) => {}
        }
    }
}

/// Whether the ledger takes steps.
#[derive(Debug, Default)]
pub(super) struct LedgerWatch {
    problem: Mutex<Option<LedgerProblem>>,
    broken: AtomicBool,
}

#[derive(Clone, Debug)]
struct LedgerProblem {
    message: String,
    /// Nothing is taken before this; `None`: until the process is started again.
    retry_at: Option<Timestamp>,
}

impl LedgerWatch {
    fn failed(&self, error: &LedgerError, retry_at: Timestamp) {
        tracing::error!(?error, "the ledger failed; payments are not taken");
        let fatal = matches!(error, LedgerError::Fatal { .. });
        let problem = LedgerProblem {
            message: error.to_string(),
            retry_at: (!fatal).then_some(retry_at),
        };
        *self.lock() = Some(problem);
        self.broken.store(true, Ordering::Release);
    }

    fn worked(&self) {
        if !self.broken.load(Ordering::Acquire) {
            return;
        }
        let mut problem = self.lock();
        if problem.as_ref().is_some_and(|p| p.retry_at.is_some()) {
            *problem = None;
            self.broken.store(false, Ordering::Release);
        }
    }

    /// What is wrong, if something is.
    pub(super) fn problem(&self) -> Option<String> {
        self.lock().as_ref().map(|p| p.message.clone())
    }

    /// Refuses intake while the ledger is broken. After a pause one more step
    /// is let through, to find out.
    pub(super) fn admit(&self, now: Timestamp) -> Result<(), EngineError> {
        if !self.broken.load(Ordering::Acquire) {
            return Ok(());
        }
        match &*self.lock() {
            Some(p) if p.retry_at.is_none_or(|at| now < at) => Err(EngineError::new(
                tollway_core::codes::LEDGER_UNAVAILABLE,
                p.message.clone(),
            )),
            _ => Ok(()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<LedgerProblem>> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One network: its chain, and the way to its actor.
#[derive(Clone)]
pub(super) struct NetworkHandle {
    pub(super) chain: Arc<dyn Chain>,
    pub(super) events: mpsc::UnboundedSender<Event>,
    pub(super) gauge: Arc<NetworkGauge>,
}

/// What an actor shows of itself.
#[derive(Debug, Default)]
pub(super) struct NetworkGauge {
    pub(super) open_payments: AtomicUsize,
    pub(super) open_slots: AtomicUsize,
    pub(super) rejection: Mutex<Option<String>>,
}

impl NetworkHandle {
    /// Whether another payment may be taken.
    pub(super) fn admit(&self, limit: usize) -> Result<(), EngineError> {
        if self.gauge.open_payments.load(Ordering::Relaxed) < limit {
            return Ok(());
        }
        let mut error = EngineError::new(
            tollway_core::codes::TOO_MANY_REQUESTS,
            "Too many payments wait to be settled on this network; try again later.",
        );
        error.retry_after = Duration::from_secs(5);
        Err(error)
    }
}
