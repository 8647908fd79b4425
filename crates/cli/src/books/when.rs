//! Moments as people write them: days, RFC 3339 in UTC, and so long ago.

use std::time::Duration;

use tollway_core::{Clock as _, SystemClock, Timestamp};

use crate::exit::Failure;

const DAY_SECS: u64 = 86_400;

/// Reads `2026-11-21`, `2026-11-21T18:30:00Z`, or `24h` and `7d` for so long ago.
pub fn parse(text: &str, flag: &str) -> Result<Timestamp, Failure> {
    let text = text.trim();
    ago(text, SystemClock.now())
        .or_else(|| utc(text))
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

fn utc(text: &str) -> Option<Timestamp> {
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, Some(time.strip_suffix('Z')?)),
        None => (text, None),
    };
    let [year, month, day] = numbers(date, '-')?;
    let days = days_from_civil(year, month, day)?;
    let secs = match time {
        None => 0,
        Some(time) => {
            let [hour, minute, second] = numbers(time, ':')?;
            if hour > 23 || minute > 59 || second > 59 {
                return None;
            }
            hour * 3_600 + minute * 60 + second
        }
    };
    Some(Timestamp::from_secs(days * DAY_SECS + secs))
}

fn numbers(text: &str, between: char) -> Option<[u64; 3]> {
    let mut parts = text.split(between).map(|part| {
        let digits = part.len() <= 4 && part.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| part.parse().ok()).flatten()
    });
    let three = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(three)
}

/// Days since 1970-01-01, from 1970 to 9999; `None` for days that are none
/// (`days_from_civil` of Howard Hinnant's "chrono-Compatible Low-Level Date
/// Algorithms").
fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    let y = if month <= 2 { year - 1 } else { year };
    let era = y / 400;
    let year_of_era = y % 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era;
    let days = days.checked_sub(719_468)?;
    // The 31st of a month with 30 days is the first of the next.
    (civil_from_days(days) == (year, month, day)).then_some(days)
}

fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// The day and the time of day in UTC, `2026-11-21` and `18:30:00`.
pub fn day_and_time(at: Timestamp) -> (String, String) {
    // What has no end in time has no date.
    let secs = at.secs().min(253_402_300_799);
    let (year, month, day) = civil_from_days(secs / DAY_SECS);
    let rest = secs % DAY_SECS;
    (
        format!("{year:04}-{month:02}-{day:02}"),
        format!(
            "{:02}:{:02}:{:02}",
            rest / 3_600,
            rest % 3_600 / 60,
            rest % 60
        ),
    )
}

/// RFC 3339 in UTC with milliseconds.
pub fn rfc3339(at: Timestamp) -> String {
    let (day, time) = day_and_time(at);
    format!("{day}T{time}.{:03}Z", at.millis() % 1_000)
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
