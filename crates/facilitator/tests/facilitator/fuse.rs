//! A fuse that burns one step at each touch of the world, and then stops the
//! world for whoever holds it: a crash at any chosen moment.

use std::sync::atomic::{AtomicI64, Ordering};

#[derive(Debug)]
pub struct Fuse(AtomicI64);

impl Default for Fuse {
    /// One that never burns out.
    fn default() -> Self {
        Self(AtomicI64::new(i64::MAX))
    }
}

impl Fuse {
    pub fn set(&self, steps: i64) {
        self.0.store(steps, Ordering::SeqCst);
    }

    pub fn is_out(&self) -> bool {
        self.0.load(Ordering::SeqCst) <= 0
    }

    /// Goes on, or never returns.
    pub async fn burn(&self) {
        if self.0.fetch_sub(1, Ordering::SeqCst) <= 0 {
            std::future::pending::<()>().await;
        }
    }
}
