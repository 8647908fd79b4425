//! What the stories are made of.

pub mod buyer;
pub mod certificates;
pub mod chaos;
pub mod collector;
pub mod mcp;
pub mod program;
pub mod raw;
pub mod town;
pub mod upstream;
pub mod walk;

use std::time::{Duration, Instant};

pub use buyer::Buyer;
pub use program::Program;

/// Waits until `what` is so, asking every 20 ms.
pub async fn until(within: Duration, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + within;
    while !is_so().await {
        assert!(Instant::now() < end, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Seconds, for readable stories.
pub const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}
