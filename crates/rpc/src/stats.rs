//! How often each method was asked: what a benchmark compares.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of a client since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RpcStats {
    /// HTTP requests sent, repeats at another node included.
    pub http_requests: u64,
    /// Calls by method, each element of a batch counted.
    pub methods: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    http_requests: AtomicU64,
    methods: Mutex<BTreeMap<&'static str, u64>>,
}

impl Counters {
    pub(crate) fn sent(&self, methods: &[&'static str]) {
        self.http_requests.fetch_add(1, Ordering::Relaxed);
        let mut counts = self
            .methods
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for method in methods {
            *counts.entry(method).or_default() += 1;
        }
    }

    pub(crate) fn read(&self) -> RpcStats {
        let methods = self
            .methods
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        RpcStats {
            http_requests: self.http_requests.load(Ordering::Relaxed),
            methods: methods.clone(),
        }
    }
}
