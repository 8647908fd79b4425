//! When the next block is expected, learned from those that came.
//!
//! Asking at the right moment costs two or three calls a block; asking all the
//! time costs one every few milliseconds and hears nothing.

use std::time::Duration;

use tollway_core::Timestamp;

/// Shortest time between two looks.
const FLOOR: Duration = Duration::from_millis(10);
/// Blocks that came as expected before the expectation is trusted.
const TRUSTED_AFTER: u32 = 3;
/// A window narrower than this is not halved any more.
const NARROW_MS: u64 = 24;
/// Looks at once after something was sent, in vain, until a block was seen.
const MOST_HURRIES: u32 = 4;
/// Blocks over which the interval is measured.
const MEASURED_OVER: u64 = 32;

/// One block that was seen: it came by then, by our clock, and at most so many
/// milliseconds earlier.
#[derive(Clone, Copy, Debug)]
struct Seen {
    number: u64,
    by: u64,
    width: u64,
}

/// The pace of a network's blocks, by our own clock.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    base: Option<Seen>,
    /// What becomes the base when that is too old.
    middle: Option<Seen>,
    last: Option<Seen>,
    interval_ms: u64,
    /// The next block is expected after this…
    from: u64,
    /// … and by this.
    by: u64,
    missed_at: u64,
    misses: u32,
    hurries: u32,
    good: u32,
}

impl Pace {
    /// Longest of the intervals seen lately, or nothing while that is not known.
    pub(super) fn interval(&self) -> Option<Duration> {
        (self.interval_ms > 0).then(|| Duration::from_millis(self.interval_ms))
    }

    pub(super) fn is_regular(&self) -> bool {
        self.good >= TRUSTED_AFTER && self.interval_ms > 0
    }

    /// The earliest moment at which the next block is expected, where it can be told.
    pub(super) fn expected_from(&self) -> Option<Timestamp> {
        self.is_regular().then(|| Timestamp::from_millis(self.from))
    }

    /// A look saw the same block as before.
    pub(super) fn missed(&mut self, now: Timestamp) {
        self.missed_at = now.millis();
        self.misses = self.misses.saturating_add(1);
    }

    /// Whether what was sent just now may be in a block at once: on a chain without
    /// a pace, unless looking for that was in vain.
    pub(super) fn is_hasty(&self) -> bool {
        !self.is_regular() && self.hurries < MOST_HURRIES
    }

    /// Something was sent that may be in a block at once.
    pub(super) fn hurry(&mut self) {
        self.misses = 0;
    }

    /// A look that was in a hurry saw nothing new.
    pub(super) fn hurried_in_vain(&mut self) {
        self.hurries += 1;
    }

    /// A look saw a new block.
    pub(super) fn seen(&mut self, number: u64, now: Timestamp) {
        let at = now.millis();
        let next = self.last.is_some_and(|last| number == last.number + 1);
        // It came after the last look that missed it, and by now.
        let (after, tolerance) = (self.missed_at.min(at), self.tolerance());
        let came_in_time = next
            && self.interval_ms > 0
            && after <= self.by + tolerance
            && at + tolerance >= self.from;
        self.good = match came_in_time {
            true => self.good.saturating_add(1),
            false => 0,
        };
        let (earliest, latest) = match came_in_time {
            true => (after.max(self.from).min(at), at.min(self.by).max(after)),
            false => (after.max(at.saturating_sub(self.interval_ms)), at),
        };
        let seen = Seen {
            number,
            by: latest.max(earliest),
            width: latest.saturating_sub(earliest),
        };
        let drift = self.measure(seen);
        self.from = earliest + self.interval_ms.saturating_sub(drift);
        self.by = latest.max(earliest) + self.interval_ms + drift;
        self.misses = 0;
        self.hurries = 0;
        self.last = Some(seen);
    }

    fn tolerance(&self) -> u64 {
        self.interval_ms / 8 + 5
    }

    /// Learns the interval; by how much it may be wrong.
    fn measure(&mut self, seen: Seen) -> u64 {
        let mut base = self.base.filter(|b| b.number < seen.number).unwrap_or(seen);
        let middle = self
            .middle
            .filter(|m| m.number < seen.number)
            .unwrap_or(seen);
        if seen.number - base.number > MEASURED_OVER {
            base = middle;
            self.middle = Some(seen);
        } else if seen.number - base.number <= MEASURED_OVER / 2 {
            self.middle = Some(seen);
        }
        self.base = Some(base);
        let blocks = seen.number.saturating_sub(base.number);
        let interval = seen.by.saturating_sub(base.by).checked_div(blocks);
        self.interval_ms = interval.unwrap_or(self.interval_ms);
        let wrong = (base.width + seen.width) / blocks.max(1);
        wrong.min(self.interval_ms / 2).max(2)
    }

    /// When to look next, at most `cap` from now where the pace is not known.
    pub(super) fn next_look(&self, now: Timestamp, cap: Duration) -> Timestamp {
        let patient = FLOOR
            .saturating_mul(1 << self.misses.min(5))
            .min(cap.max(Duration::from_millis(1)));
        if !self.is_regular() || now.millis() > self.by + self.interval_ms {
            return now.plus(patient);
        }
        let width = self.by.saturating_sub(self.from);
        let middle = self.from + width / 2;
        let at = now.millis();
        if width > NARROW_MS && at < middle {
            Timestamp::from_millis(middle)
        } else if at < self.by {
            Timestamp::from_millis(self.by).max(now.plus(FLOOR.min(cap)))
        } else {
            now.plus(patient)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at a chain with a block every `interval` ms; how many looks a block
    /// took, and how late the last ten were seen on average.
    fn watch(interval: u64, blocks: u64) -> (u64, u64) {
        let mut pace = Pace::default();
        let (mut now, mut head) = (1_000_000_u64, 0);
        let (mut looks, mut late) = (0, 0);
        let first = now / interval;
        while head < first + blocks {
            now = pace
                .next_look(Timestamp::from_millis(now), Duration::from_millis(250))
                .millis()
                .max(now + 1);
            let newest = now / interval;
            if head + 10 > first + blocks {
                looks += 1;
            }
            if newest == head {
                pace.missed(Timestamp::from_millis(now));
            } else {
                if head + 10 > first + blocks {
                    late += now - newest * interval;
                }
                head = newest;
                pace.seen(head, Timestamp::from_millis(now));
            }
        }
        (looks, late / 10)
    }

    #[test]
    fn a_chain_with_a_pace_is_asked_about_three_times_a_block_and_blocks_are_seen_soon() {
        let (looks, late) = watch(2000, 60);
        assert!(looks <= 35, "{looks} looks for ten blocks");
        assert!(late <= 60, "seen {late} ms late");
    }

    #[test]
    fn fast_blocks_are_not_missed() {
        let (looks, late) = watch(400, 100);
        assert!(looks <= 45 && late <= 60, "{looks} looks, {late} ms late");
    }

    #[test]
    fn without_a_pace_looks_become_rarer_up_to_the_cap() {
        let mut pace = Pace::default();
        let mut now = Timestamp::from_millis(1000);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let next = pace.next_look(now, Duration::from_millis(250));
            pauses.push(next.since(now).as_millis());
            now = next;
            pace.missed(now);
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 250, 250, 250]);
        pace.hurry();
        assert_eq!(
            pace.next_look(now, Duration::from_millis(250)),
            now.plus(FLOOR)
        );
    }
}
