//! What the engine remembers for a while, and may forget: nothing here is
//! needed for safety.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A bounded map that forgets the oldest first.
#[derive(Debug)]
pub(super) struct Memory<K, V> {
    most: usize,
    inner: Mutex<(HashMap<K, V>, VecDeque<K>)>,
}

impl<K: Clone + Eq + Hash, V: Clone> Memory<K, V> {
    pub(super) fn of_at_most(most: usize) -> Self {
        Self {
            most,
            inner: Mutex::new((HashMap::new(), VecDeque::new())),
        }
    }

    pub(super) fn put(&self, key: K, value: V) {
        let mut inner = self.lock();
        let (known, order) = &mut *inner;
        if known.insert(key.clone(), value).is_none() {
            order.push_back(key);
        }
        if order.len() > self.most
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<V> {
        self.lock().0.get(key).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, (HashMap<K, V>, VecDeque<K>)> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
