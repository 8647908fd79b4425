//! When who must be looked at next: nothing is scanned, however much is open.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tollway_core::{Address, PaymentId, Timestamp};

use super::SlotKey;

/// Who wanted to be woken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sleeper {
    Payment(PaymentId),
    Slot(SlotKey),
    Lane(Address),
    /// The queue gathers a batch.
    Queue,
    /// The receipt watcher.
    Watcher,
    /// A block whose payments are in doubt.
    Block(u64),
    /// Settled payments that are deep enough.
    Finals,
}

/// Alarms in the order of their moments. An alarm that is not needed any more
/// stays until it rings or the heap is swept; whoever is woken looks for itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Alarms {
    heap: BinaryHeap<Reverse<(Timestamp, Sleeper)>>,
}

impl Alarms {
    pub(super) fn set(&mut self, at: Timestamp, sleeper: Sleeper) {
        self.heap.push(Reverse((at, sleeper)));
    }

    pub(super) fn next(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// The earliest that is due.
    pub(super) fn ring(&mut self, now: Timestamp) -> Option<(Timestamp, Sleeper)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(alarm)| alarm)
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Forgets alarms that nobody needs.
    pub(super) fn sweep(&mut self, mut needed: impl FnMut(Timestamp, &Sleeper) -> bool) {
        self.heap.retain(|Reverse((at, who))| needed(*at, who));
    }
}
