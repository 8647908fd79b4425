//! Who calls: API keys, and how much each caller may ask.
//!
//! A key is compared by its SHA-256, with all that are known and to the last
//! byte, so that neither time nor configuration says what it is.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};
use tollway_core::{Address, Timestamp, codes};

use super::config::CallerRule;
use super::error::EngineError;

/// The longest key that is looked at, in bytes.
const MOST_KEY_BYTES: usize = 512;

/// Somebody who calls, or nobody in particular.
#[derive(Clone, Debug, Default)]
pub struct Caller(Who);

#[derive(Clone, Debug, Default)]
enum Who {
    /// A gate in this process, for itself.
    #[default]
    Here,
    /// Anybody, over HTTP.
    Anybody,
    /// Somebody with an API key.
    Known(Arc<Known>),
}

#[derive(Debug)]
struct Known {
    rule: CallerRule,
    used: Arc<Use>,
    verifying: Semaphore,
}

/// What a caller has and did, whatever the rules are meanwhile.
#[derive(Debug)]
struct Use {
    quota: Mutex<Quota>,
    open: AtomicU32,
}

impl Known {
    fn new(rule: &CallerRule, used: Arc<Use>) -> Self {
        Self {
            verifying: Semaphore::new(usize::try_from(rule.concurrent.max(1)).unwrap_or(1)),
            rule: rule.clone(),
            used,
        }
    }
}

impl Use {
    fn none_yet(rule: &CallerRule) -> Self {
        Self {
            quota: Mutex::new(Quota {
                left: rule.most(),
                at: Timestamp::default(),
            }),
            open: AtomicU32::new(0),
        }
    }
}

impl CallerRule {
    /// A full bucket, in thousandths of a call.
    fn most(&self) -> u64 {
        u64::from(self.per_minute) * 1000
    }
}

/// Calls that are left: a bucket that fills up evenly.
#[derive(Debug)]
struct Quota {
    /// In thousandths of a call.
    left: u64,
    at: Timestamp,
}

/// All who may call.
#[derive(Debug)]
pub(super) struct Callers {
    known: Vec<Arc<Known>>,
}

impl Callers {
    pub(super) fn new(rules: &[CallerRule]) -> Self {
        let known = rules.iter().map(|rule| {
            let used = Arc::new(Use::none_yet(rule));
            Arc::new(Known::new(rule, used))
        });
        Self {
            known: known.collect(),
        }
    }

    /// The callers of other rules, among them the same with all that they have open.
    pub(super) fn renewed(&self, rules: &[CallerRule]) -> Self {
        let known = rules.iter().map(|rule| {
            let before = self.known.iter().find(|k| k.rule.name == rule.name);
            match before {
                Some(same) if same.rule == *rule => Arc::clone(same),
                Some(other) => Arc::new(Known::new(rule, Arc::clone(&other.used))),
                None => Arc::new(Known::new(rule, Arc::new(Use::none_yet(rule)))),
            }
        });
        Self {
            known: known.collect(),
        }
    }

    /// Whether anybody may say what of a maximum is charged.
    pub(super) fn charge(&self) -> bool {
        self.known.iter().any(|known| !known.rule.payees.is_empty())
    }

    /// Who has this key. Without any rule, everybody is nobody in particular.
    pub(super) fn find(&self, key: Option<&str>) -> Result<Caller, EngineError> {
        if self.known.is_empty() {
            return Ok(Caller(Who::Anybody));
        }
        let key = key
            .filter(|k| k.len() <= MOST_KEY_BYTES)
            .unwrap_or_default();
        let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let mut found = None;
        for known in &self.known {
            if is_equal(&known.rule.key_sha256, &digest) {
                found = Some(Arc::clone(known));
            }
        }
        found.map(|known| Caller(Who::Known(known))).ok_or_else(|| {
            EngineError::new(
                codes::INVALID_API_KEY,
                "No API key was sent, or one that is not known; send Authorization: Bearer KEY.",
            )
        })
    }

    /// A payment that was open when the engine started.
    pub(super) fn named(&self, name: Option<&str>) -> Caller {
        let name = name.unwrap_or_default();
        let known = self.known.iter().find(|k| k.rule.name == name).cloned();
        Caller(known.map_or(Who::Anybody, Who::Known))
    }
}

/// Looks at every byte, whatever the first ones are.
fn is_equal(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let differing = a.iter().zip(b).fold(0, |all, (x, y)| all | (x ^ y));
    std::hint::black_box(differing) == 0
}

impl Caller {
    fn known(&self) -> Option<&Known> {
        match &self.0 {
            Who::Known(known) => Some(known),
            Who::Here | Who::Anybody => None,
        }
    }

    /// Its name in the ledger.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.known().map(|known| known.rule.name.as_str())
    }

    /// Whether it is known to act for this payee: it says what of a maximum is charged,
    /// which whoever has seen the payment could do otherwise, its payer first of all;
    /// and what is sold there.
    pub(crate) fn speaks_for(&self, payee: &Address) -> bool {
        match &self.0 {
            Who::Here => true,
            Who::Anybody => false,
            Who::Known(known) => known.rule.payees.contains(payee),
        }
    }

    /// Counts one call, or refuses it.
    pub(super) fn count(&self, now: Timestamp) -> Result<(), EngineError> {
        let Some(known) = self.known() else {
            return Ok(());
        };
        let per_minute = u64::from(known.rule.per_minute);
        let quota = known.used.quota.lock();
        let mut quota = quota.unwrap_or_else(PoisonError::into_inner);
        // One call is 1000: a millisecond brings per_minute / 60.
        let passed = u64::try_from(now.since(quota.at).as_millis()).unwrap_or(u64::MAX);
        let filled = passed.saturating_mul(per_minute) / 60;
        if filled > 0 {
            quota.left = quota.left.saturating_add(filled);
            quota.at = now;
        }
        // There may have been more under another rule.
        quota.left = quota.left.min(known.rule.most());
        match quota.left.checked_sub(1000) {
            Some(left) => {
                quota.left = left;
                Ok(())
            }
            None => Err(quota_used_up(
                "The API key's calls of this minute are used up; try again later.",
                Duration::from_millis(60_000 / per_minute.max(1)),
            )),
        }
    }

    /// Waits for its turn among its own verifications.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.known()?.verifying.acquire().await.ok()
    }

    /// One more payment of it is open, unless that is too many.
    pub(super) fn open(&self) -> Result<OpenPlace, EngineError> {
        let Some(known) = self.known() else {
            return Ok(OpenPlace(self.clone()));
        };
        let before = known.used.open.fetch_add(1, Ordering::AcqRel);
        let place = OpenPlace(self.clone());
        match before < known.rule.open_payments {
            true => Ok(place),
            false => Err(quota_used_up(
                "Too many payments of this API key are open; try again when some have ended.",
                Duration::from_secs(2),
            )),
        }
    }
}

/// An open payment's place in its caller's bound; free again when dropped.
#[derive(Debug)]
pub(super) struct OpenPlace(Caller);

impl OpenPlace {
    /// Of a payment that is open already, however many there are.
    pub(super) fn taken(caller: Caller) -> Self {
        if let Some(known) = caller.known() {
            known.used.open.fetch_add(1, Ordering::AcqRel);
        }
        Self(caller)
    }
}

impl Drop for OpenPlace {
    fn drop(&mut self) {
        if let Some(known) = self.0.known() {
            known.used.open.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

fn quota_used_up(message: &str, after: Duration) -> EngineError {
    let mut error = EngineError::new(codes::TOO_MANY_REQUESTS, message);
    error.is_quota = true;
    error.retry_after = after.max(Duration::from_secs(1));
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, key: &str, per_minute: u32) -> CallerRule {
        CallerRule {
            name: name.to_owned(),
            key_sha256: Sha256::digest(key.as_bytes()).into(),
            per_minute,
            open_payments: 2,
            concurrent: 4,
            payees: Vec::new(),
        }
    }

    #[test]
    fn a_key_names_its_caller_and_no_other_key_does() {
        let callers = Callers::new(&[rule("a", "key-a", 60), rule("b", "key-b", 60)]);
        assert_eq!(callers.find(Some("key-b")).unwrap().name(), Some("b"));
        for wrong in [None, Some(""), Some("key-c")] {
            let error = callers.find(wrong).unwrap_err();
            assert_eq!(error.code, codes::INVALID_API_KEY);
        }
        assert_eq!(Callers::new(&[]).find(None).unwrap().name(), None);
        assert!(!format!("{callers:?}").contains("key_sha256"));
    }

    #[test]
    fn a_quota_fills_up_evenly() {
        let callers = Callers::new(&[rule("a", "key", 60)]);
        let caller = callers.find(Some("key")).unwrap();
        let at = |millis: u64| Timestamp::from_millis(1_000_000 + millis);
        for _ in 0..60 {
            caller.count(at(0)).unwrap();
        }
        let error = caller.count(at(0)).unwrap_err();
        assert!(error.is_quota && error.code == codes::TOO_MANY_REQUESTS);
        caller.count(at(1000)).unwrap();
        assert!(caller.count(at(1100)).is_err());
    }

    #[test]
    fn other_rules_forget_nothing_that_a_caller_did() {
        let first = Callers::new(&[rule("a", "key", 60), rule("b", "gone", 60)]);
        let before = first.find(Some("key")).unwrap();
        let at = Timestamp::from_millis(1_000_000);
        for _ in 0..60 {
            before.count(at).unwrap();
        }
        let _one = before.open().unwrap();
        let then = first.renewed(&[rule("a", "new-key", 120)]);
        assert!(then.find(Some("key")).is_err() && then.find(Some("gone")).is_err());
        let caller = then.find(Some("new-key")).unwrap();
        assert!(caller.count(at).is_err(), "the minute is used up");
        let _two = caller.open().unwrap();
        assert!(caller.open().is_err(), "one was open before");
    }

    #[test]
    fn open_payments_are_bounded_until_they_end() {
        let callers = Callers::new(&[rule("a", "key", 60)]);
        let caller = callers.find(Some("key")).unwrap();
        let first = caller.open().unwrap();
        let _second = caller.open().unwrap();
        assert!(caller.open().is_err());
        drop(first);
        caller.open().unwrap();
    }
}
