//! Moments as people write them: days, RFC 3339 in UTC, and so long ago.

use std::time::Duration;

pub use tollway_core::calendar::{day_and_time, rfc3339};
use tollway_core::{Clock as _, SystemClock, Timestamp, calendar};

use crate::exit::Failure;

const DAY_SECS: u64 = 86_400;

/// Reads `2026-11-21`, `2026-11-21T18:30:00Z`, or `24h` and `7d` for so long ago.
pub fn parse(text: &str, flag: &str) -> Result<Timestamp, Failure> {
    let text = text.trim();
    ago(text, SystemClock.now())
        .or_else(|| calendar::utc(text))
        .ok_or_else(|| {
            Failure::usage(format!(
                "{flag}: `{text}` is no moment; write a day (2026-11-21), a time in UTC (2026-11-21T18:30:00Z), or how long ago (24h, 7d)."
            ))
        })
}

fn ago(text: &str, now: Timestamp) -> Option<Timestamp> {
    let unit = match text.chars().last()? {
        'm' => 60,
        'h' => 3_600,
        'd' => DAY_SECS,
        _ => return None,
    };
    let count = text[..text.len() - 1].parse::<u32>().ok()?;
    let long = Duration::from_secs(u64::from(count) * unit);
    let millis = u64::try_from(long.as_millis()).ok()?;
    Some(Timestamp::from_millis(now.millis().saturating_sub(millis)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_they_are_written() {
        for (text, millis) in [
            ("1970-01-01", 0),
            ("2000-02-29", 951_782_400_000),
            ("2026-11-21T18:30:05Z", 1_795_285_805_000),
            ("2100-03-01", 4_107_542_400_000),
        ] {
            let at = parse(text, "--since").unwrap();
            assert_eq!(at.millis(), millis, "{text}");
            let shown = rfc3339(at);
            assert!(shown.starts_with(&text.replace('Z', "")), "{shown}");
        }
        assert_eq!(
            rfc3339(Timestamp::from_millis(1_795_285_805_007)),
            "2026-11-21T18:30:05.007Z"
        );
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "d",
            "-1d",
            "yesterday",
            "2026-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-11-31",
            "1969-12-31",
            "2026-11-21T25:00:00Z",
            "2026-11-21T18:30:00",
            "2026-11",
            "2026-11-21-1",
            "é",
        ] {
            let refused = parse(text, "--since").unwrap_err();
            assert!(refused.message.contains("write a day"), "{text}");
        }
    }

    #[test]
    fn so_long_ago_is_counted_from_now() {
        let now = Timestamp::from_secs(1_000_000);
        assert_eq!(ago("2h", now), Some(Timestamp::from_secs(992_800)));
        assert_eq!(ago("9999d", now), Some(Timestamp::default()));
    }
}
