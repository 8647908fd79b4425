//! What happened lately.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use tollway_core::Timestamp;

/// What happened lately, by name, forgotten in the order in which it came.
#[derive(Clone, Debug)]
pub(super) struct Lately<K> {
    names: BTreeSet<K>,
    order: VecDeque<(Timestamp, K)>,
}

impl<K> Default for Lately<K> {
    fn default() -> Self {
        Self {
            names: BTreeSet::new(),
            order: VecDeque::new(),
        }
    }
}

impl<K: Clone + Ord> Lately<K> {
    pub(super) fn add(&mut self, name: K, at: Timestamp) {
        if self.names.insert(name.clone()) {
            self.order.push_back((at, name));
        }
    }

    pub(super) fn contains(&self, name: &K) -> bool {
        self.names.contains(name)
    }

    /// It happened otherwise after all.
    pub(super) fn remove(&mut self, name: &K) {
        if self.names.remove(name) {
            self.order.retain(|(_, known)| known != name);
        }
    }

    pub(super) fn forget(&mut self, now: Timestamp, retention: Duration) {
        while self
            .order
            .front()
            .is_some_and(|(at, _)| now >= at.plus(retention))
        {
            if let Some((_, name)) = self.order.pop_front() {
                self.names.remove(&name);
            }
        }
    }
}
