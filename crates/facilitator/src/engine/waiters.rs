//! Callers that wait for a payment to end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tollway_core::{PaymentId, TxHash};
use tollway_ledger::PaymentRecord;

/// How far a payment has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// The latest transaction that is durable.
    pub(super) transaction: Option<TxHash>,
    /// The record, once the payment ended.
    pub(super) ended: Option<Arc<PaymentRecord>>,
}

type Senders = HashMap<PaymentId, watch::Sender<Progress>>;

/// Who waits for what. Any number of callers may wait for one payment.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    senders: Mutex<Senders>,
}

impl Waiters {
    pub(super) fn subscribe(self: &Arc<Self>, id: &PaymentId) -> Waiting {
        let receiver = self
            .lock()
            .entry(id.clone())
            .or_insert_with(|| watch::Sender::new(Progress::default()))
            .subscribe();
        Waiting {
            id: id.clone(),
            receiver: Some(receiver),
            waiters: Arc::clone(self),
        }
    }

    pub(super) fn submitted(&self, id: &PaymentId, transaction: &TxHash) {
        if let Some(sender) = self.lock().get(id) {
            sender.send_modify(|p| p.transaction = Some(transaction.clone()));
        }
    }

    pub(super) fn ended(&self, id: &PaymentId, record: &Arc<PaymentRecord>) {
        if let Some(sender) = self.lock().remove(id) {
            sender.send_modify(|p| p.ended = Some(Arc::clone(record)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Senders> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One caller's place. Dropping it gives the place up.
#[derive(Debug)]
pub(super) struct Waiting {
    id: PaymentId,
    receiver: Option<watch::Receiver<Progress>>,
    waiters: Arc<Waiters>,
}

impl Waiting {
    /// Waits until the payment ends or the time is over; either way, how far it came.
    pub(super) async fn wait(&mut self, at_most: Duration) -> Progress {
        let Some(receiver) = self.receiver.as_mut() else {
            return Progress::default();
        };
        // The time may pass, or the engine stop; how far it came is told anyway.
        let ended = receiver.wait_for(|p| p.ended.is_some());
        let _ = tokio::time::timeout(at_most, ended).await.is_ok();
        receiver.borrow().clone()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut senders = self.waiters.lock();
        self.receiver = None;
        if senders
            .get(&self.id)
            .is_some_and(|s| s.receiver_count() == 0)
        {
            senders.remove(&self.id);
        }
    }
}
