//! Points and ranges of time, as nanoseconds since the Unix epoch, and how the three APIs write them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A range of time in nanoseconds since the Unix epoch. Loki's ranges exclude the end, Prometheus' and Tempo's include it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// The first nanosecond.
    pub start_unix_nanos: u64,
    /// The end.
    pub end_unix_nanos: u64,
}

impl TimeRange {
    /// From `start_unix_nanos` to `end_unix_nanos`.
    pub fn new(start_unix_nanos: u64, end_unix_nanos: u64) -> Self {
        Self { start_unix_nanos, end_unix_nanos }
    }

    /// From `start` to `end`; times before 1970 count as 1970.
    pub fn between(start: SystemTime, end: SystemTime) -> Self {
        Self::new(unix_nanos(start), unix_nanos(end))
    }

    /// The time from `length` ago until now.
    pub fn last(length: Duration) -> Self {
        let end = unix_nanos(SystemTime::now());
        Self::new(end.saturating_sub(whole_nanos(length)), end)
    }

    /// The same range, longer by `by` at both ends: for looking around one event.
    #[must_use]
    pub fn widened(self, by: Duration) -> Self {
        let by = whole_nanos(by);
        Self::new(self.start_unix_nanos.saturating_sub(by), self.end_unix_nanos.saturating_add(by))
    }

    /// The length of the range.
    pub fn duration(self) -> Duration {
        Duration::from_nanos(self.end_unix_nanos.saturating_sub(self.start_unix_nanos))
    }
}

fn unix_nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, whole_nanos)
}

fn whole_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Seconds with all nine decimals, as Prometheus reads them.
pub(crate) fn decimal_seconds(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

/// Seconds as JSON number (Prometheus, Loki's metric queries) to nanoseconds. Both APIs count in milliseconds, so the digits
/// below are noise of the floating point form.
pub(crate) fn nanos_of_seconds(seconds: f64) -> u64 {
    // The conversion saturates: NaN and times before 1970 become 0.
    ((seconds * 1000.0).round() as u64).saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_keep_their_milliseconds() {
        assert_eq!(nanos_of_seconds(1_700_000_000.123), 1_700_000_000_123_000_000);
        assert_eq!(nanos_of_seconds(-1.0), 0);
        assert_eq!(nanos_of_seconds(f64::NAN), 0);
        assert_eq!(decimal_seconds(1_700_000_000_000_000_007), "1700000000.000000007");
    }

    #[test]
    fn widening_saturates() {
        let range = TimeRange::new(5, u64::MAX - 5).widened(Duration::from_secs(1));
        assert_eq!(range, TimeRange::new(0, u64::MAX));
    }
}
