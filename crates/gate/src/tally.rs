//! What leaves no record, counted: how often each route asked to be paid, and why
//! it refused. Whoever runs the gate takes the counts now and then.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::Event;

/// Reasons that are told apart; a remote facilitator may invent any number.
const MOST_REASONS: usize = 256;

/// How often something happened at a route since it was asked last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The route's pattern.
    pub route: String,
    /// `challenged`, or `refused:` and a stable code.
    pub what: String,
    /// How often.
    pub times: u64,
}

/// The counts of a gate.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// The most frequent of all: no lock, by the route's place.
    challenged: Vec<(String, AtomicU64)>,
    refused: Mutex<BTreeMap<(String, String), u64>>,
}

impl Counts {
    /// For routes by their patterns.
    pub(crate) fn of(patterns: impl Iterator<Item = String>) -> Self {
        Self {
            challenged: patterns.map(|p| (p, AtomicU64::new(0))).collect(),
            refused: Mutex::default(),
        }
    }

    /// A request got the terms.
    pub(crate) fn challenged(&self, pattern: &str) {
        let route = self.challenged.iter().find(|(known, _)| known == pattern);
        if let Some((_, count)) = route {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes an event, if it is one of those that are counted here.
    pub(crate) fn take(&self, event: &Event) {
        let Event::Refused { route, code, .. } = event else {
            return;
        };
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (route.clone(), code.clone());
        let key = match refused.len() < MOST_REASONS || refused.contains_key(&key) {
            true => key,
            false => (route.clone(), "other".to_owned()),
        };
        *refused.entry(key).or_default() += 1;
    }

    /// All that was counted since this was called last.
    pub(crate) fn drain(&self) -> Vec<Count> {
        let challenged = self.challenged.iter().map(|(route, count)| Count {
            route: route.clone(),
            what: "challenged".to_owned(),
            times: count.swap(0, Ordering::Relaxed),
        });
        let mut counts: Vec<Count> = challenged.filter(|count| count.times > 0).collect();
        let refused = {
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *refused)
        };
        counts.extend(refused.into_iter().map(|((route, code), times)| Count {
            route,
            what: format!("refused:{code}"),
            times,
        }));
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_taken_once_and_reasons_are_bounded() {
        let counts = Counts::of(["/a".to_owned()].into_iter());
        counts.challenged("/a");
        counts.challenged("/a");
        counts.challenged("/unknown");
        for n in 0..2_000 {
            counts.take(&Event::Refused {
                grant: None,
                route: "/a".to_owned(),
                code: format!("invented_{n}"),
            });
        }
        let taken = counts.drain();
        assert_eq!((taken[0].what.as_str(), taken[0].times), ("challenged", 2));
        assert!(taken.len() <= MOST_REASONS + 2, "{}", taken.len());
        let refused: u64 = taken[1..].iter().map(|count| count.times).sum();
        assert_eq!(refused, 2_000);
        assert_eq!(counts.drain(), []);
    }
}
