//! `--since` and `--until`: points of time as people give them, and the distance between the points of a chart.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::DateTime;
use lgtm_query::TimeRange;

use super::screen::nanos;

/// A point of time: so long ago, or a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Ago(Duration),
    At(u64),
}

impl Moment {
    /// # Errors
    /// If the text is neither a length of time nor a time of RFC 3339.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text == "now" {
            return Ok(Self::Ago(Duration::ZERO));
        }
        if let Ok(ago) = humantime::parse_duration(text) {
            return Ok(Self::Ago(ago));
        }
        let at =
            DateTime::parse_from_rfc3339(text).ok().and_then(|time| u64::try_from(time.timestamp_nanos_opt()?).ok());
        at.map(Self::At).ok_or_else(|| {
            "accepted: a length of time before now (90s, 15m, 2h, 7d), a time (2026-01-31T12:00:00Z), or now".to_owned()
        })
    }

    pub(super) fn unix_nanos(self, now: u64) -> u64 {
        match self {
            Self::Ago(ago) => now.saturating_sub(nanos(ago)),
            Self::At(at) => at,
        }
    }
}

/// Now, in nanoseconds since the Unix epoch.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanos)
}

/// # Errors
/// If the range ends before it begins.
pub(super) fn range(since: Moment, until: Option<Moment>) -> anyhow::Result<TimeRange> {
    let now = now();
    let range = TimeRange::new(since.unix_nanos(now), until.map_or(now, |until| until.unix_nanos(now)));
    anyhow::ensure!(
        range.start_unix_nanos < range.end_unix_nanos,
        "the range of time is empty: --since must be before --until"
    );
    Ok(range)
}

/// Distances that people can divide in their heads, in seconds.
const STEPS: [u64; 18] =
    [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200, 86_400];

/// The shortest such distance that gives at most `points` points in `range`.
pub(super) fn step(range: TimeRange, points: usize) -> Duration {
    let least = range.duration().as_secs_f64() / points.max(1) as f64;
    let step = STEPS.into_iter().find(|&step| step as f64 >= least);
    Duration::from_secs(step.unwrap_or_else(|| (least / 86_400.0).ceil() as u64 * 86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_length_of_time_or_a_date() {
        assert_eq!(Moment::parse("15m"), Ok(Moment::Ago(Duration::from_secs(900))));
        assert_eq!(Moment::parse("2023-11-14T22:13:20Z"), Ok(Moment::At(1_700_000_000_000_000_000)));
        assert_eq!(Moment::parse("now").unwrap().unix_nanos(7), 7);
        assert!(Moment::parse("yesterday").unwrap_err().contains("accepted"));
        assert!(Moment::parse("1969-01-01T00:00:00Z").is_err());
    }

    #[test]
    fn an_empty_range_is_refused() {
        let hour = Moment::Ago(Duration::from_secs(3600));
        assert!(range(hour, Some(Moment::Ago(Duration::from_secs(7200)))).is_err());
        assert_eq!(range(hour, None).unwrap().duration(), Duration::from_secs(3600));
    }

    #[test]
    fn steps_are_round_and_give_no_more_points_than_there_is_room_for() {
        let range = |seconds: u64| TimeRange::new(0, seconds * 1_000_000_000);
        for (seconds, expected) in [(60, 1), (3600, 60), (86_400, 1_800), (86_400 * 365, 4 * 86_400)] {
            assert_eq!(step(range(seconds), 92), Duration::from_secs(expected), "{seconds} s");
        }
    }
}
