//! Points in time as the API writes them: RFC 3339 in UTC with nanoseconds, and seconds since 1970.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

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
        let nanos = i32::try_from(self.nanos).unwrap_or(0);
        let time = Timestamp::new(self.seconds, nanos).unwrap_or(Timestamp::MAX);
        format!("{time:.9}")
    }

    /// Understands RFC 3339, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let nanos = text.parse::<Timestamp>().ok()?.as_nanosecond();
        let (seconds, nanos) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
        Some(Self { seconds: i64::try_from(seconds).ok()?, nanos: u32::try_from(nanos).ok()? })
    }

    /// What a query may say: seconds with or without a fraction, RFC 3339, or a time ago such as `10m`.
    pub fn from_query(text: &str) -> Option<Self> {
        if let Some(time) = Self::parse(text) {
            return Some(time);
        }
        if let Some(ago) = duration(text) {
            return SystemTime::now().checked_sub(ago).map(Self::from);
        }
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        Some(Self {
            seconds: seconds.parse().ok()?,
            nanos: format!("{fraction:0<9}").get(..9)?.parse().ok()?,
        })
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
