//! Points in time as RFC 3339 text in UTC, which is how every interface of the field writes them.

use std::time::{Duration, SystemTime};

/// Seconds since 1970 as `YYYY-MM-DDThh:mm:ss`.
fn seconds_text(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days to date in the proleptic Gregorian calendar, counted in eras of 400 years that begin on 1 March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Now, in whole seconds: `2026-11-20T23:20:02Z`.
#[must_use]
pub fn stamp() -> String {
    seconds_text(now().as_secs()) + "Z"
}

/// Now, in nanoseconds, trailing zeros cut as Go's `time.RFC3339Nano` does.
#[must_use]
pub fn stamp_nanos() -> String {
    let now = now();
    let mut text = seconds_text(now.as_secs());
    if now.subsec_nanos() != 0 {
        let fraction = format!(".{:09}", now.subsec_nanos());
        text.push_str(fraction.trim_end_matches('0'));
    }
    text + "Z"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_709_210_096, "2024-02-29T12:34:56"),
            (4_102_444_800, "2100-01-01T00:00:00"),
        ] {
            assert_eq!(seconds_text(seconds), expected);
        }
    }
}
