//! What time it is on the chain: the wall clock or a fixed start, plus an offset.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::RpcError;

/// The chain's clock, in whole seconds since the Unix epoch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    /// A clock that stands still at this second instead of following the wall.
    fixed: Option<u64>,
    offset: i64,
    /// The timestamp that the next block must have.
    next: Option<u64>,
}

impl Clock {
    /// A clock that follows the wall, or stands at `fixed` until it is moved.
    pub(crate) fn new(fixed: Option<u64>) -> Self {
        Self {
            fixed,
            ..Self::default()
        }
    }

    /// Now, but never before `last`: time does not run backwards on a chain.
    pub(crate) fn now(&self, last: u64) -> u64 {
        self.next
            .unwrap_or_else(|| self.base().saturating_add_signed(self.offset))
            .max(last)
    }

    /// The next block's timestamp, using up a timestamp set for it.
    pub(crate) fn take(&mut self, last: u64) -> u64 {
        let now = self.now(last);
        if self.next.take().is_some() {
            // Time goes on from the timestamp that was set.
            self.set(now);
        }
        now
    }

    /// Moves the clock forward.
    pub(crate) fn increase(&mut self, seconds: u64) -> Result<i64, RpcError> {
        let too_far = || RpcError::params("the time is out of range: use fewer seconds");
        let seconds = i64::try_from(seconds).map_err(|_| too_far())?;
        self.offset = self.offset.checked_add(seconds).ok_or_else(too_far)?;
        Ok(self.offset)
    }

    /// Makes it `timestamp` now.
    pub(crate) fn set(&mut self, timestamp: u64) {
        let difference = i128::from(timestamp) - i128::from(self.base());
        self.offset = i64::try_from(difference).unwrap_or(i64::MAX);
    }

    /// Gives the next block this timestamp.
    pub(crate) fn set_next(&mut self, timestamp: u64, last: u64) -> Result<(), RpcError> {
        if timestamp < last {
            return Err(RpcError::params(format!(
                "timestamp {timestamp} is lower than the previous block's timestamp {last}"
            )));
        }
        self.next = Some(timestamp);
        Ok(())
    }

    fn base(&self) -> u64 {
        self.fixed.unwrap_or_else(|| {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |elapsed| elapsed.as_secs())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_set_back_does_not_set_the_chain_back() {
        let mut clock = Clock::new(Some(100));
        assert_eq!((clock.now(50), clock.now(200)), (100, 200));
        assert_eq!(clock.take(200), 200);
    }
}
