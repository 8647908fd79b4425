//! Moments as people and protocols write them: RFC 3339 in UTC.

use crate::Timestamp;

const DAY_SECS: u64 = 86_400;

/// Reads `2026-11-21`, `2026-11-21T18:30:00Z` or `2026-11-21T18:30:00.123Z` (also with a
/// blank for the `T`); parts of a second are left out. `None` if it is no such moment.
#[must_use]
pub fn utc(text: &str) -> Option<Timestamp> {
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, Some(whole_seconds(time.strip_suffix('Z')?)?)),
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

/// A time of day without parts of a second.
fn whole_seconds(time: &str) -> Option<&str> {
    match time.split_once('.') {
        None => Some(time),
        Some((whole, parts)) => {
            let digits = parts.bytes().all(|b| b.is_ascii_digit());
            (digits && (1..=9).contains(&parts.len())).then_some(whole)
        }
    }
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
#[must_use]
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
#[must_use]
pub fn rfc3339(at: Timestamp) -> String {
    let (day, time) = day_and_time(at);
    format!("{day}T{time}.{:03}Z", at.millis() % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for (text, millis) in [
            ("1970-01-01", 0),
            ("2000-02-29T00:00:00.999Z", 951_782_400_000),
            ("2026-11-21T18:30:05Z", 1_795_285_805_000),
            ("2100-03-01 00:00:00Z", 4_107_542_400_000),
        ] {
            let at = utc(text).unwrap();
            assert_eq!(at.millis(), millis, "{text}");
            assert_eq!(utc(&rfc3339(at)), Some(at));
        }
        for text in [
            "",
            "2026-11-21T18:30:05",
            "2026-11-21T18:30:05.Z",
            "2026-11-21T18:30:05.1234567890Z",
            "2026-02-29",
        ] {
            assert_eq!(utc(text), None, "{text}");
        }
    }
}
