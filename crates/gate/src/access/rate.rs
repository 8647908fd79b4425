//! So many in a minute, evenly: the generic cell rate algorithm (ITU-T I.371).

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tollway_core::Timestamp;

const MINUTE_MILLIS: u64 = 60_000;
/// Most who are counted at once; whoever comes then is not counted.
const MAX_COUNTED: usize = 65_536;
/// How often room is looked for, where there is none.
const SWEEP_MILLIS: u64 = 1_000;

/// How often each may come.
#[derive(Debug)]
pub(super) struct Rate<K> {
    /// Milliseconds that one takes.
    one: u64,
    counted: Mutex<Counted<K>>,
}

#[derive(Debug)]
struct Counted<K> {
    /// When each has nothing used, in milliseconds.
    free_at: HashMap<K, u64>,
    /// When room is looked for again.
    sweep_at: u64,
}

impl<K: Eq + Hash> Counted<K> {
    /// Whether there is room for one more. All are looked through for it, which costs
    /// whoever comes then, so not for each of them.
    fn has_room(&mut self, now: u64) -> bool {
        if self.free_at.len() >= MAX_COUNTED && now >= self.sweep_at {
            self.sweep_at = now.saturating_add(SWEEP_MILLIS);
            self.free_at.retain(|_, free_at| *free_at > now);
        }
        self.free_at.len() < MAX_COUNTED
    }
}

impl<K: Eq + Hash> Rate<K> {
    pub(super) fn new(per_minute: u32) -> Self {
        Self {
            one: (MINUTE_MILLIS / u64::from(per_minute.max(1))).max(1),
            counted: Mutex::new(Counted {
                free_at: HashMap::new(),
                sweep_at: 0,
            }),
        }
    }

    /// How long until there is one more; none if there is.
    pub(super) fn wait(&self, key: &K, now: Timestamp) -> Option<Duration> {
        let free_at = self.lock().free_at.get(key).copied().unwrap_or_default();
        self.missing(free_at, now.millis())
    }

    /// Takes one, or says how long until there is one.
    pub(super) fn take(&self, key: K, now: Timestamp) -> Result<(), Duration> {
        let now = now.millis();
        let mut all = self.lock();
        let free_at = all.free_at.get(&key).copied().unwrap_or_default();
        if let Some(wait) = self.missing(free_at, now) {
            return Err(wait);
        }
        if all.free_at.contains_key(&key) || all.has_room(now) {
            let free_at = free_at.max(now).saturating_add(self.one);
            all.free_at.insert(key, free_at);
        }
        Ok(())
    }

    /// What is missing of a minute's worth.
    fn missing(&self, free_at: u64, now: u64) -> Option<Duration> {
        let used = free_at.saturating_sub(now).saturating_add(self.one);
        let over = used.checked_sub(MINUTE_MILLIS).filter(|over| *over > 0)?;
        Some(Duration::from_millis(over))
    }

    fn lock(&self) -> MutexGuard<'_, Counted<K>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis)
    }

    #[test]
    fn so_many_in_a_minute_and_then_one_after_the_other() {
        let rate = Rate::new(3);
        for _ in 0..3 {
            assert_eq!(rate.wait(&"a", at(0)), None);
            assert_eq!(rate.take("a", at(0)), Ok(()));
        }
        assert_eq!(rate.take("a", at(0)), Err(Duration::from_secs(20)));
        assert_eq!(rate.wait(&"a", at(5_000)), Some(Duration::from_secs(15)));
        assert_eq!(rate.take("b", at(0)), Ok(()));
        assert_eq!(rate.take("a", at(20_000)), Ok(()));
        assert!(rate.take("a", at(20_000)).is_err());
        assert_eq!(rate.take("a", at(200_000)), Ok(()));
    }

    #[test]
    fn as_many_as_there_is_room_for_are_counted() {
        let rate = Rate::new(1);
        for n in 0..MAX_COUNTED + 10 {
            assert_eq!(rate.take(n, at(0)), Ok(()));
        }
        assert_eq!(rate.lock().free_at.len(), MAX_COUNTED);
        assert!(rate.take(0, at(0)).is_err());
        // Who used nothing for a minute makes room.
        assert_eq!(rate.take(MAX_COUNTED + 99, at(120_000)), Ok(()));
        assert_eq!(rate.lock().free_at.len(), 1);
    }

    #[test]
    fn room_is_looked_for_once_a_second() {
        let rate = Rate::new(1);
        for n in 0..MAX_COUNTED {
            assert_eq!(rate.take(n, at(0)), Ok(()));
        }
        // Everybody has used nothing from here on.
        let (full, later) = (at(59_999), at(60_000));
        assert_eq!(rate.take(MAX_COUNTED, full), Ok(()));
        assert_eq!(rate.take(MAX_COUNTED, later), Ok(()));
        assert_eq!(rate.lock().free_at.len(), MAX_COUNTED, "it was just looked");
        assert_eq!(rate.take(MAX_COUNTED, at(60_999)), Ok(()));
        assert_eq!(rate.lock().free_at.len(), 1);
        assert!(rate.take(MAX_COUNTED, at(61_000)).is_err());
    }
}
