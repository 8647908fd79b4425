//! What was noted a moment ago, within bounds and without ever sweeping.

use std::collections::HashMap;
use std::hash::Hash;

/// Entries of one generation.
const GENERATION: usize = 4096;

/// The newest entries: at least the last [`GENERATION`], at most twice as many.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }
}

impl<K: Eq + Hash, V> Recent<K, V> {
    pub fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    pub fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    pub fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_the_oldest_go() {
        let mut recent = Recent::default();
        for n in 0..20_000 {
            recent.insert(n, n);
        }
        assert!((20_000 - GENERATION..20_000).all(|n| recent.get(&n) == Some(&n)));
        assert_eq!(recent.get(&0), None);
        assert!(recent.young.len() + recent.old.len() <= 2 * GENERATION);
        recent.remove(&19_999);
        assert_eq!(recent.get(&19_999), None);
    }
}
