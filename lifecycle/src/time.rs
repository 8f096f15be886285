//! Points in time as the API writes them: RFC 3339 in UTC with nanoseconds, and seconds since 1970.

use std::time::Duration;

use jiff::SignedDuration;
pub use jiff::Timestamp as Time;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

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

/// How long after `start` it is `end`; no time when it is before.
pub fn between(start: Time, end: Time) -> Duration {
    start.duration_until(end).try_into().unwrap_or_default()
}

/// What a query may say: RFC 3339, as far as it is said and in UTC where it says no zone, a time ago such as `10m`, or seconds
/// since 1970 with or without a fraction.
pub fn from_query(text: &str) -> Option<Time> {
    let part = || {
        Some(text.trim_end_matches('Z').parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp())
    };
    let signed = |text: &str| text.parse::<SignedDuration>().ok();
    let ago = || Time::now().checked_sub(signed(text)?).ok();
    let seconds = || Time::UNIX_EPOCH.checked_add(signed(&format!("{text}s"))?).ok();
    parse(text).or_else(ago).or_else(seconds).or_else(part)
}

/// A duration as Go writes it: `1h2m3.5s`, `100ms`.
pub fn duration(text: &str) -> Option<Duration> {
    text.parse::<SignedDuration>().ok()?.try_into().ok()
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
        assert_eq!(["-1", "-9223372036854775808"].map(from_query), [Time::new(-1, 0).ok(), None]);
        let day = parse("2026-01-02T00:00:00Z");
        assert_eq!(["2026-01-02", "2026-01-02Z", "2026-01-02T00:00"].map(from_query), [day; 3]);
        assert_eq!(
            ["1700000000", "20260102"].map(|text| from_query(text).map(Time::as_second)),
            [Some(1_700_000_000), Some(20_260_102)]
        );
    }

    #[test]
    fn durations_are_those_of_go() {
        assert_eq!(duration("1h2m3.5s"), Some(Duration::from_millis(3_723_500)));
        assert_eq!(duration("100ms"), Some(Duration::from_millis(100)));
        assert_eq!((duration("5"), duration("")), (None, None));
    }
}
