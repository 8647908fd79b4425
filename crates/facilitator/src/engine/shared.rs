//! What the parts of one engine share.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tollway_core::{
    Address, Amount, Chain, Clock, Network, PaymentId, SignerState, Timestamp, codes,
};
use tollway_ledger::{LedgerError, PaymentRecord, PaymentState, ReplicaId, SettlementStore};

use super::callers::{Callers, OpenPlace};
use super::config::EngineConfig;
use super::error::EngineError;
use super::event::{Hook, SettlementEvent};
use super::gas::Gas;
use super::holds::{Holds, Open};
use super::machine::{Event, Update};
use super::memory::Memory;
use super::waiters::Waiters;
use crate::telemetry;

/// This process, as the ledger knows it.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) id: ReplicaId,
    /// The ledger's handle that acts for it.
    pub(super) store: Arc<dyn SettlementStore>,
}

/// What intake, actors and effects all see.
pub(super) struct Shared {
    /// The ledger, acting for nobody.
    pub(super) base: Arc<dyn SettlementStore>,
    /// This process in the ledger, once it takes part.
    pub(super) member: watch::Sender<Option<Member>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) config: EngineConfig,
    pub(super) waiters: Arc<Waiters>,
    pub(super) stop: CancellationToken,
    pub(super) draining: AtomicBool,
    /// Callers inside verify or settle.
    pub(super) inside: AtomicUsize,
    pub(super) ledger: LedgerWatch,
    /// Who may call, by the rules of now.
    pub(super) callers: RwLock<Arc<Callers>>,
    pub(super) holds: Arc<Holds>,
    pub(super) open: Open,
    /// Identities that we verified as unused, by fingerprint.
    pub(super) unused: Memory<u64, ()>,
    /// Signers whose lease was lost since the keeper looked.
    pub(super) lost: Mutex<Vec<(Network, Address)>>,
    pub(super) hooks: RwLock<Vec<Hook>>,
    /// Whether anybody listens.
    pub(super) hooked: AtomicBool,
}

impl Shared {
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The ledger, acting for this process; waits a little for it to take part.
    pub(super) async fn store(&self) -> Result<Arc<dyn SettlementStore>, EngineError> {
        if let Some(member) = &*self.member.borrow() {
            return Ok(Arc::clone(&member.store));
        }
        let mut joined = self.member.subscribe();
        let waiting = joined.wait_for(Option::is_some);
        let member = tokio::time::timeout(Duration::from_secs(2), waiting).await;
        let store = match &member {
            Ok(Ok(member)) => member.as_ref().map(|m| Arc::clone(&m.store)),
            _ => None,
        };
        store.ok_or_else(|| {
            EngineError::new(
                codes::LEDGER_UNAVAILABLE,
                "The ledger cannot be used yet; try again later.",
            )
        })
    }

    /// The handle at once, acting for this process if it takes part.
    pub(super) fn store_now(&self) -> Arc<dyn SettlementStore> {
        match &*self.member.borrow() {
            Some(member) => Arc::clone(&member.store),
            None => Arc::clone(&self.base),
        }
    }

    pub(super) fn is_ours(&self, record: &PaymentRecord) -> bool {
        let member = self.member.borrow();
        record.replica.as_ref() == member.as_ref().map(|m| &m.id)
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

    /// Who may call now.
    pub(super) fn callers(&self) -> Arc<Callers> {
        let callers = self.callers.read();
        Arc::clone(&callers.unwrap_or_else(PoisonError::into_inner))
    }

    /// A payment is open here from now on.
    pub(super) fn opened(&self, record: &PaymentRecord, place: OpenPlace) {
        let facts = &record.payment;
        let fingerprint = self.holds.fingerprint(&facts.identity);
        self.open.add(fingerprint, record.id.clone(), place);
        let expected = &facts.expected;
        self.holds
            .open(&facts.identity, &expected.asset, expected.amount);
    }

    /// A payment is not open here any more.
    pub(super) fn closed(&self, record: &PaymentRecord) {
        let facts = &record.payment;
        self.open.remove(self.holds.fingerprint(&facts.identity));
        self.holds.release(&facts.identity, &facts.expected.asset);
    }

    /// An open payment came into a block, and the chain's balance is less by it; or
    /// it left its block again.
    fn hold_less(&self, record: &PaymentRecord, is_paid: bool) {
        let facts = &record.payment;
        let (identity, asset) = (&facts.identity, &facts.expected.asset);
        self.holds.paid(identity, asset, is_paid);
    }

    /// Tells waiters, hooks and counters that a payment moved on.
    pub(super) fn moved(&self, network: &Network, id: PaymentId, update: Update) {
        match &update {
            Update::Stored { transaction, .. } => self.waiters.submitted(&id, transaction),
            Update::Ended(record) => {
                telemetry::ended(network, record.state);
                self.closed(record);
                self.waiters.ended(&id, record, None);
                if record.state == PaymentState::Expired && record.is_handed_out {
                    tracing::error!(payment = %id, %network, "a payment that was told as settled was lost in a reorganisation");
                }
            }
            Update::Resumed(record) => {
                let caller = self.callers().named(record.payment.caller.as_deref());
                self.opened(record, OpenPlace::taken(caller));
            }
            Update::Left(record) => self.closed(record),
            Update::Included(record) => self.hold_less(record, true),
            Update::LeftBlock(record) => self.hold_less(record, false),
            Update::Rejected { reason, .. } => {
                tracing::warn!(payment = %id, %network, reason, "a node rejected a transaction");
            }
            Update::TakenBack { block } => {
                telemetry::taken_back(network);
                tracing::warn!(payment = %id, %network, block, "a settled payment's block was replaced; it is settled again");
            }
            Update::Sent { .. } | Update::Reopened { .. } => {}
        }
        if self.hooked.load(Ordering::Acquire) {
            self.tell(&SettlementEvent::Moved { id, update });
        }
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
                codes::LEDGER_UNAVAILABLE,
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
    pub(super) gas: Arc<Gas>,
    pub(super) meters: Arc<telemetry::Meters>,
}

/// What an actor shows of itself.
#[derive(Debug, Default)]
pub(super) struct NetworkGauge {
    pub(super) open_payments: AtomicUsize,
    /// Those of them that wait for nothing but blocks on top of theirs.
    pub(super) included: AtomicUsize,
    pub(super) open_slots: AtomicUsize,
    pub(super) waiting: AtomicUsize,
    /// Settled payments whose block could still be replaced.
    pub(super) watched: AtomicUsize,
    /// Milliseconds between blocks, as far as that is known.
    pub(super) block_millis: AtomicUsize,
    pub(super) rejection: Mutex<Option<String>>,
    /// The signers, as they were when they were last asked for.
    pub(super) signers: Mutex<Vec<SignerState>>,
    /// All signers are low on gas.
    pub(super) drained: AtomicBool,
    /// The newest block, and when it was first seen.
    pub(super) head: Mutex<Option<(u64, Timestamp)>>,
}

impl NetworkGauge {
    /// What the signers have for gas in all, once that is known.
    pub(super) fn funds(&self) -> Option<Amount> {
        let signers = self.signers.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = |sum: Amount, s: &SignerState| sum.checked_add(s.balance);
        let all = signers.iter().try_fold(Amount::ZERO, sum);
        all.filter(|_| !signers.is_empty())
    }

    /// The newest block that was ever seen, and when that was first.
    pub(super) fn head(&self, block: Option<u64>, now: Timestamp) -> Option<(u64, Timestamp)> {
        let mut head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(block) = block
            && head.is_none_or(|(known, _)| known < block)
        {
            *head = Some((block, now));
        }
        *head
    }

    /// Signers that are low on gas.
    pub(super) fn low_signers(&self) -> Vec<SignerState> {
        let signers = self.signers.lock().unwrap_or_else(PoisonError::into_inner);
        signers.iter().filter(|s| s.low).cloned().collect()
    }
}
