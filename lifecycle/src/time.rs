//! Points in time as the API writes them: RFC 3339 in UTC with nanoseconds, and seconds since 1970.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What Docker writes for a time that has not come: Go's zero time.
pub const NEVER: &str = "0001-01-01T00:00:00Z";

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds of that second.
    pub nanos: u32,
}

impl Time {
    /// The present.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// Nanoseconds since 1970.
    pub fn total_nanos(self) -> i64 {
        self.seconds.saturating_mul(1_000_000_000).saturating_add(self.nanos.into())
    }

    /// How long ago it was.
    pub fn elapsed(self) -> Duration {
        let nanos = Self::now().total_nanos().saturating_sub(self.total_nanos());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }

    /// As `2006-01-02T15:04:05.999999999Z`.
    pub fn rfc3339(self) -> String {
        let days = self.seconds.div_euclid(86400);
        let rest = self.seconds.rem_euclid(86400);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
        let nanos = self.nanos;
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
    }

    /// Understands RFC 3339, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, rest) = text.split_once(['T', ' '])?;
        let mut parts = date.splitn(3, '-');
        let year: i64 = parts.next()?.parse().ok()?;
        let month: i64 = parts.next()?.parse().ok()?;
        let day: i64 = parts.next()?.parse().ok()?;
        let zone = rest.rfind(['Z', '+', '-'])?;
        let (clock, zone) = rest.split_at(zone);
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
        let mut parts = clock.splitn(3, ':');
        let hour: i64 = parts.next()?.parse().ok()?;
        let minute: i64 = parts.next()?.parse().ok()?;
        let second: i64 = parts.next()?.parse().ok()?;
        let offset = match zone {
            "Z" => 0,
            _ => {
                let (hours, minutes) = zone.get(1..)?.split_once(':')?;
                let offset = hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60;
                if zone.starts_with('-') { -offset } else { offset }
            }
        };
        let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
        let in_range = (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && (0..=9999).contains(&year)
            && (0..24).contains(&hour)
            && (0..60).contains(&minute)
            && (0..=60).contains(&second);
        let seconds = days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset;
        in_range.then_some(Self { seconds, nanos: digits.parse().ok()? })
    }

    /// What a query may say: seconds with or without a fraction, RFC 3339, or a time ago such as `10m`.
    pub fn from_query(text: &str) -> Option<Self> {
        if let Some(time) = Self::parse(text) {
            return Some(time);
        }
        if let Some(ago) = duration(text) {
            let nanos = Self::now().total_nanos() - i64::try_from(ago.as_nanos()).ok()?;
            return Some(Self::from_nanos(nanos));
        }
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
        Some(Self { seconds: seconds.parse().ok()?, nanos: digits.parse().ok()? })
    }

    /// From nanoseconds since 1970.
    pub fn from_nanos(nanos: i64) -> Self {
        let part = u32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or(0);
        Self { seconds: nanos.div_euclid(1_000_000_000), nanos: part }
    }
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos() }
    }
}

/// Now, as text.
pub fn now() -> String {
    Time::now().rfc3339()
}

/// A duration as Go writes it: `1h2m3.5s`, `100ms`.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let units = [("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
        let (unit, factor) = units.iter().find(|(unit, _)| {
            rest.starts_with(unit) && rest[unit.len()..].chars().next().is_none_or(|c| c.is_ascii_digit())
        })?;
        total += number * factor;
        rest = &rest[unit.len()..];
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(total).ok())?
}

/// Days since 1970 of a date, and back. Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read() {
        let time = Time { seconds: 1_700_000_000, nanos: 5 };
        assert_eq!(time.rfc3339(), "2023-11-14T22:13:20.000000005Z");
        assert_eq!(Time::parse(&time.rfc3339()), Some(time));
        assert_eq!(Time::parse("2023-11-14T23:13:20.5+01:00").map(|t| t.nanos), Some(500_000_000));
        assert_eq!(Time::parse("2023-11-14T23:13:20+01:00").map(|t| t.seconds), Some(1_700_000_000));
        assert_eq!(
            Time::parse("2024-02-29T00:00:00Z").map(|t| t.rfc3339()),
            Some("2024-02-29T00:00:00.000000000Z".into())
        );
        assert_eq!(Time::parse("yesterday"), None);
        assert_eq!(Time::from_query("12.25"), Some(Time { seconds: 12, nanos: 250_000_000 }));
    }

    #[test]
    fn durations_are_those_of_go() {
        assert_eq!(duration("1h2m3.5s"), Some(Duration::from_millis(3_723_500)));
        assert_eq!(duration("100ms"), Some(Duration::from_millis(100)));
        assert_eq!((duration("5"), duration("")), (None, None));
    }
}
