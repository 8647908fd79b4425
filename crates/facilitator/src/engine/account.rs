//! What is promised of one account's balance.

use std::collections::HashMap;
use std::time::Duration;

use tollway_core::{Amount, Timestamp};

/// So many holds are a list, the least that it takes: most payers have one
/// payment at a time. More are found by name.
const FEW: usize = 16;
/// Many holds are looked through for passed ones so often at most.
const SWEEP: Duration = Duration::from_secs(1);

/// The end of time.
const NEVER: Timestamp = Timestamp::from_millis(u64::MAX);

/// One promise.
#[derive(Clone, Copy, Debug)]
struct Hold {
    amount: Amount,
    until: Timestamp,
    /// It is in a block: the chain's balance is less by it already.
    paid: bool,
}

/// By the identities' fingerprints.
#[derive(Debug)]
enum Promises {
    Few(Vec<(u64, Hold)>),
    Many(HashMap<u64, Hold>),
}

/// One payer's promises of one asset.
#[derive(Debug)]
pub(super) struct Account {
    promises: Promises,
    /// Nothing ends before this.
    earliest: Timestamp,
    /// What is promised and in no block.
    held: Amount,
    /// What is in blocks.
    paid: Amount,
    /// What is being verified.
    pending: Amount,
    /// How many are being verified.
    verifying: usize,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            promises: Promises::Few(Vec::new()),
            earliest: NEVER,
            held: Amount::ZERO,
            paid: Amount::ZERO,
            pending: Amount::ZERO,
            verifying: 0,
        }
    }
}

impl Account {
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0 && self.verifying == 0
    }

    pub(super) fn len(&self) -> usize {
        match &self.promises {
            Promises::Few(few) => few.len(),
            Promises::Many(many) => many.len(),
        }
    }

    /// Promises, and what may become one.
    pub(super) fn count(&self) -> usize {
        self.len() + self.verifying
    }

    /// One more is being verified. What others had in verification before.
    pub(super) fn begin(&mut self, amount: Amount) -> Amount {
        let others = self.pending;
        self.pending = add(self.pending, amount);
        self.verifying += 1;
        others
    }

    /// One is not being verified any more.
    pub(super) fn end(&mut self, amount: Amount) {
        self.pending = less(self.pending, amount);
        self.verifying = self.verifying.saturating_sub(1);
    }

    /// What is promised of the balance that the chain shows, but for this one.
    pub(super) fn without(&self, id: u64) -> Amount {
        let own = self.get(id).filter(|hold| !hold.paid);
        less(self.held, own.map_or(Amount::ZERO, |hold| hold.amount))
    }

    /// What is in blocks, but for this one.
    pub(super) fn paid_besides(&self, id: u64) -> Amount {
        let own = self.get(id).filter(|hold| hold.paid);
        less(self.paid, own.map_or(Amount::ZERO, |hold| hold.amount))
    }

    /// A hold only becomes longer: an open payment that is verified again stays open.
    pub(super) fn hold(&mut self, id: u64, amount: Amount, until: Timestamp) {
        self.earliest = self.earliest.min(until);
        let known = self.take(id);
        let hold = Hold {
            amount,
            until: known.map_or(until, |known| known.until.max(until)),
            paid: known.is_some_and(|known| known.paid),
        };
        self.put(id, hold);
    }

    pub(super) fn pay(&mut self, id: u64, paid: bool) {
        if let Some(known) = self.take(id) {
            self.put(id, Hold { paid, ..known });
        }
    }

    pub(super) fn forget(&mut self, id: u64) {
        self.take(id);
    }

    pub(super) fn expire(&mut self, now: Timestamp) {
        if now < self.earliest {
            return;
        }
        let (mut held, mut paid, mut earliest) = (Amount::ZERO, Amount::ZERO, NEVER);
        let mut stays = |hold: &Hold| {
            if hold.until <= now {
                return false;
            }
            earliest = earliest.min(hold.until);
            let sum = if hold.paid { &mut paid } else { &mut held };
            *sum = add(*sum, hold.amount);
            true
        };
        let next = match &mut self.promises {
            Promises::Few(few) => {
                few.retain(|(_, hold)| stays(hold));
                now
            }
            Promises::Many(many) => {
                many.retain(|_, hold| stays(hold));
                now.plus(SWEEP)
            }
        };
        (self.held, self.paid) = (held, paid);
        self.earliest = earliest.max(next);
    }

    fn get(&self, id: u64) -> Option<&Hold> {
        match &self.promises {
            Promises::Few(few) => few.iter().find(|(name, _)| *name == id).map(|(_, h)| h),
            Promises::Many(many) => many.get(&id),
        }
    }

    fn take(&mut self, id: u64) -> Option<Hold> {
        let taken = match &mut self.promises {
            Promises::Few(few) => {
                let place = few.iter().position(|(name, _)| *name == id)?;
                few.swap_remove(place).1
            }
            Promises::Many(many) => many.remove(&id)?,
        };
        let sum = self.sum_of(&taken);
        *sum = less(*sum, taken.amount);
        Some(taken)
    }

    fn put(&mut self, id: u64, hold: Hold) {
        let sum = self.sum_of(&hold);
        *sum = add(*sum, hold.amount);
        match &mut self.promises {
            Promises::Few(few) if few.len() < FEW => {
                if few.len() == few.capacity() {
                    few.reserve_exact(few.len() / 4 + 1);
                }
                few.push((id, hold));
            }
            Promises::Few(few) => {
                let many = few.drain(..).chain([(id, hold)]).collect();
                self.promises = Promises::Many(many);
            }
            Promises::Many(many) => {
                many.insert(id, hold);
            }
        }
    }

    fn sum_of(&mut self, hold: &Hold) -> &mut Amount {
        if hold.paid {
            &mut self.paid
        } else {
            &mut self.held
        }
    }
}

pub(super) fn add(a: Amount, b: Amount) -> Amount {
    a.checked_add(b).unwrap_or(Amount::MAX)
}

fn less(a: Amount, b: Amount) -> Amount {
    a.checked_sub(b).unwrap_or_default()
}
