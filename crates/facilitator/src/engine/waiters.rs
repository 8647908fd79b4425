//! Callers that wait for a payment to end.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tollway_core::{PaymentId, TxHash};
use tollway_ledger::{HandOut, PaymentRecord};

/// How a payment ended, for one caller.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) record: Arc<PaymentRecord>,
    /// Whether success is this caller's, if that was decided with the end.
    pub(super) handed: Option<HandOut>,
}

/// How far a payment has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// The latest transaction that is durable.
    pub(super) transaction: Option<TxHash>,
    /// The end, once it came.
    pub(super) ended: Option<Ended>,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    key: Option<String>,
    /// Success is being recorded as this one's: it must not go.
    chosen: bool,
    sender: oneshot::Sender<Ended>,
}

#[derive(Debug, Default)]
struct Line {
    /// The idempotency key that opened the payment.
    opener: Option<String>,
    waiters: Vec<Waiter>,
    transaction: Option<TxHash>,
}

#[derive(Debug, Default)]
struct Lines {
    lines: HashMap<PaymentId, Line>,
    last_number: u64,
}

/// Who waits for what. Any number of callers may wait for one payment.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    lines: Mutex<Lines>,
    secret: RandomState,
}

impl Waiters {
    /// Takes a place, for the caller with this idempotency key.
    pub(super) fn subscribe(
        self: &Arc<Self>,
        id: &PaymentId,
        key: Option<&str>,
        opener: Option<&str>,
    ) -> Waiting {
        let (sender, receiver) = oneshot::channel();
        let mut lines = self.lock();
        lines.last_number += 1;
        let number = lines.last_number;
        let line = lines.lines.entry(id.clone()).or_insert_with(|| Line {
            opener: opener.map(str::to_owned),
            ..Line::default()
        });
        line.waiters.push(Waiter {
            number,
            key: key.map(str::to_owned),
            chosen: false,
            sender,
        });
        Waiting {
            id: id.clone(),
            number,
            voice: self.voice(key, number),
            receiver: Some(receiver),
            waiters: Arc::clone(self),
        }
    }

    pub(super) fn submitted(&self, id: &PaymentId, transaction: &TxHash) {
        if let Some(line) = self.lock().lines.get_mut(id) {
            line.transaction = Some(transaction.clone());
        }
    }

    /// Who is to be told of success when it comes: whoever has the key that opened
    /// the payment, or who came first where it was opened without one. Nobody, if
    /// nobody of these waits: what is on chain is public, and proves nothing.
    pub(super) fn chosen(&self, id: &PaymentId) -> Option<Chosen> {
        let mut lines = self.lock();
        let line = lines.lines.get_mut(id)?;
        let mut here = line.waiters.iter_mut().filter(|w| !w.sender.is_closed());
        let waiter = here.find(|w| line.opener.is_none() || w.key == line.opener)?;
        waiter.chosen = true;
        Some(Chosen {
            number: waiter.number,
            voice: self.voice(waiter.key.as_deref(), waiter.number),
        })
    }

    /// What success is recorded under for a caller: its key, or what nobody else
    /// can know, so that a step that is repeated finds the same caller again.
    fn voice(&self, key: Option<&str>, number: u64) -> String {
        let own = || {
            let half = |part: u8| self.secret.hash_one((number, part));
            format!("caller-{:016x}{:016x}", half(0), half(1))
        };
        key.map_or_else(own, str::to_owned)
    }

    /// Tells everybody who waits; the chosen one with what was decided for it.
    pub(super) fn ended(
        &self,
        id: &PaymentId,
        record: &Arc<PaymentRecord>,
        handed: Option<(u64, HandOut)>,
    ) {
        let Some(line) = self.lock().lines.remove(id) else {
            return;
        };
        for waiter in line.waiters {
            let handed = handed.filter(|(number, _)| *number == waiter.number);
            // Whoever is gone hears nothing.
            let _ = waiter.sender.send(Ended {
                record: Arc::clone(record),
                handed: handed.map(|(_, handed)| handed),
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A caller that success goes to.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub(super) number: u64,
    pub(super) voice: String,
}

/// One caller's place. Dropping it gives the place up.
#[derive(Debug)]
pub(super) struct Waiting {
    id: PaymentId,
    number: u64,
    /// What success is recorded under for this caller.
    pub(super) voice: String,
    receiver: Option<oneshot::Receiver<Ended>>,
    waiters: Arc<Waiters>,
}

impl Waiting {
    /// Waits until the payment ends or the time is over; either way, how far it came.
    pub(super) async fn wait(&mut self, at_most: Duration) -> Progress {
        let mut ended = None;
        if let Some(receiver) = self.receiver.as_mut()
            && let Ok(Ok(end)) = tokio::time::timeout(at_most, receiver).await
        {
            self.receiver = None;
            ended = Some(end);
        }
        let lines = self.waiters.lock();
        Progress {
            transaction: lines
                .lines
                .get(&self.id)
                .and_then(|l| l.transaction.clone()),
            ended,
        }
    }
}

impl Waiting {
    /// Goes, unless success is being recorded as this caller's.
    pub(super) fn give_up(&mut self) -> bool {
        let mut lines = self.waiters.lock();
        let Some(line) = lines.lines.get_mut(&self.id) else {
            // It ended just now.
            return false;
        };
        let chosen = |w: &Waiter| w.number == self.number && w.chosen;
        if line.waiters.iter().any(chosen) {
            return false;
        }
        line.waiters.retain(|w| w.number != self.number);
        true
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.receiver.take().is_none() {
            return;
        }
        let mut lines = self.waiters.lock();
        if let Some(line) = lines.lines.get_mut(&self.id) {
            line.waiters.retain(|w| w.number != self.number);
            if line.waiters.is_empty() {
                lines.lines.remove(&self.id);
            }
        }
    }
}
