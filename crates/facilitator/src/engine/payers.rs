//! How many payments of one payer may be open at a time.
//!
//! Each payment is verified alone, so that one balance could cover many that
//! are under way and revert all but one at our expense. A payer therefore
//! starts with a few at a time, gets more with each that settles, and one at a
//! time after one that did not. What is above waits, and is verified when the
//! earlier ones have ended; nothing is refused for it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tollway_core::{Identity, PaymentId};

/// Payers that are remembered; beyond it, those without open payments are forgotten.
const MOST_PAYERS: usize = 65_536;

/// Bounds of a payer's open payments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) first: u32,
    pub(super) most: u32,
}

#[derive(Debug)]
struct Payer {
    open: u32,
    allowed: u32,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Book {
    payers: HashMap<String, Payer>,
    /// Payments that count, by the payer that they count for.
    counted: HashSet<PaymentId>,
}

/// Everybody's open payments.
#[derive(Debug)]
pub(super) struct Payers {
    bounds: Bounds,
    book: Mutex<Book>,
}

impl Payers {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            book: Mutex::default(),
        }
    }

    /// Waits for a place. Whether it was free at once.
    pub(super) async fn place(self: &Arc<Self>, identity: &Identity) -> (Place, bool) {
        let name = name(identity);
        let mut at_once = true;
        loop {
            let changed = match self.try_place(&name) {
                None => {
                    let place = Place {
                        payers: Arc::clone(self),
                        name: Some(name),
                    };
                    return (place, at_once);
                }
                Some(changed) => changed,
            };
            at_once = false;
            let notified = changed.notified();
            tokio::pin!(notified);
            // A place that is given up from here on is heard of.
            notified.as_mut().enable();
            if self.has_room(&name) {
                continue;
            }
            notified.await;
        }
    }

    /// `None` if the place is taken, else what tells of the next free one.
    fn try_place(&self, name: &str) -> Option<Arc<Notify>> {
        let mut book = self.lock();
        if book.payers.len() >= MOST_PAYERS {
            book.payers.retain(|_, p| p.open > 0);
        }
        let payer = book.payers.entry(name.to_owned()).or_insert_with(|| Payer {
            open: 0,
            allowed: self.bounds.first,
            changed: Arc::default(),
        });
        if payer.open < payer.allowed {
            payer.open += 1;
            return None;
        }
        Some(Arc::clone(&payer.changed))
    }

    fn has_room(&self, name: &str) -> bool {
        let book = self.lock();
        book.payers.get(name).is_none_or(|p| p.open < p.allowed)
    }

    /// A payment ended, and whether money moved by our own transaction at the
    /// first attempt.
    pub(super) fn ended(&self, id: &PaymentId, identity: &Identity, well: bool) {
        let mut book = self.lock();
        let counted = book.counted.remove(id);
        let Some(payer) = book.payers.get_mut(&name(identity)) else {
            return;
        };
        payer.allowed = if well {
            payer.allowed.saturating_mul(2).min(self.bounds.most)
        } else {
            1
        };
        if counted {
            payer.open = payer.open.saturating_sub(1);
        }
        payer.changed.notify_waiters();
    }

    fn give_up(&self, name: &str) {
        if let Some(payer) = self.lock().payers.get_mut(name) {
            payer.open = payer.open.saturating_sub(1);
            payer.changed.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(identity: &Identity) -> String {
    format!("{}|{}", identity.network, identity.payer)
}

/// A payer's place. Given up when dropped, unless a payment takes it over.
#[derive(Debug)]
pub(super) struct Place {
    payers: Arc<Payers>,
    name: Option<String>,
}

impl Place {
    /// The place is the payment's until that ends.
    pub(super) fn keep_for(mut self, id: &PaymentId) {
        self.name = None;
        self.payers.lock().counted.insert(id.clone());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            self.payers.give_up(&name);
        }
    }
}
