//! Points in time as the API writes them: RFC 3339 in UTC with nanoseconds, and seconds since 1970.

use std::time::Duration;

pub use jiff::Timestamp as Time;

/// What Docker writes for a time that has not come: Go's zero time.
pub const NEVER: &str = "0001-01-01T00:00:00Z";

/// Now, as text.
pub fn now() -> String {
    text(Time::now())
}

/// As `2006-01-02T15:04:05.999999999Z`.
pub fn text(time: Time) -> String {
    format!("{time:.9}")
}

/// Understands RFC 3339, and nothing else.
pub fn parse(text: &str) -> Option<Time> {
    text.parse().ok()
}

/// Nanoseconds since 1970.
pub fn nanos(time: Time) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

/// How long after `start` it is `end`; no time when it is before.
pub fn between(start: Time, end: Time) -> Duration {
    start.duration_until(end).try_into().unwrap_or_default()
}

/// What a query may say: seconds with or without a fraction, RFC 3339, or a time ago such as `10m`.
pub fn from_query(text: &str) -> Option<Time> {
    if let Some(time) = parse(text) {
        return Some(time);
    }
    if let Some(ago) = duration(text) {
        return Time::now().checked_sub(ago).ok();
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    Time::new(seconds.parse().ok()?, format!("{fraction:0<9}").get(..9)?.parse().ok()?).ok()
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
        let time = Time::new(1_700_000_000, 5).unwrap();
        assert_eq!(text(time), "2023-11-14T22:13:20.000000005Z");
        assert_eq!(parse(&text(time)), Some(time));
        assert_eq!(parse("2023-11-14T23:13:20.5+01:00").map(Time::subsec_nanosecond), Some(500_000_000));
        assert_eq!(parse("2023-11-14T23:13:20+01:00").map(Time::as_second), Some(1_700_000_000));
        assert_eq!(parse("2024-02-29T00:00:00Z").map(text), Some("2024-02-29T00:00:00.000000000Z".into()));
        assert_eq!(parse("yesterday"), None);
        assert_eq!(from_query("12.25"), Time::new(12, 250_000_000).ok());
    }

    #[test]
    fn durations_are_those_of_go() {
        assert_eq!(duration("1h2m3.5s"), Some(Duration::from_millis(3_723_500)));
        assert_eq!(duration("100ms"), Some(Duration::from_millis(100)));
        assert_eq!((duration("5"), duration("")), (None, None));
    }
}
