//! When a pipeline says on standard error that its backend fails, and that it works again: each at most once a minute, however
//! often the backend changes its mind; what was not said is counted in the next warning. No clock of its own. Worker thread.

use std::time::{Duration, Instant};

/// The least time between two warnings of the same kind.
const INTERVAL: Duration = Duration::from_secs(60);

/// What was said of one backend.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    /// Since when it fails; nothing while it works.
    failing: Option<Instant>,
    /// How long it failed, the last time.
    outage: Duration,
    /// Whether the last word was that it fails.
    told_failing: bool,
    said_failing: Option<Instant>,
    said_working: Option<Instant>,
    /// Failures since the last word.
    unsaid: u64,
}

impl Warnings {
    /// A request failed. What to add to the warning, if one is due.
    pub(super) fn failed(&mut self, now: Instant) -> Option<String> {
        self.failing.get_or_insert(now);
        // A failure that goes on is said when its time has come.
        if self.told_failing || is_too_soon(self.said_failing, now) {
            self.unsaid += 1;
            return None;
        }
        self.told_failing = true;
        self.said_failing = Some(now);
        let unsaid = self.take_unsaid();
        Some(unsaid.map_or_else(String::new, |times| format!(" (failed {times} since the last warning)")))
    }

    /// A request succeeded. After how long, if a warning is due.
    pub(super) fn recovered(&mut self, now: Instant) -> Option<String> {
        if let Some(since) = self.failing.take() {
            self.outage = now.saturating_duration_since(since);
        }
        if !self.told_failing || is_too_soon(self.said_working, now) {
            return None;
        }
        self.told_failing = false;
        self.said_working = Some(now);
        let unsaid = self.take_unsaid();
        let seconds = self.outage.as_secs();
        Some(unsaid.map_or_else(
            || format!("after {seconds} s"),
            |times| format!("after {seconds} s (failed {times} meanwhile)"),
        ))
    }

    /// Whether the last request failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failing.is_some()
    }

    fn take_unsaid(&mut self) -> Option<String> {
        match std::mem::take(&mut self.unsaid) {
            0 => None,
            1 => Some("once".to_owned()),
            times => Some(format!("{times} times")),
        }
    }
}

fn is_too_soon(said: Option<Instant>, now: Instant) -> bool {
    said.is_some_and(|said| now.saturating_duration_since(said) < INTERVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_and_its_end_are_said_once_each() {
        let (mut warnings, start) = (Warnings::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(warnings.recovered(at(0)), None, "nothing has failed");
        assert_eq!(warnings.failed(at(1)), Some(String::new()));
        (2..100).for_each(|second| assert_eq!(warnings.failed(at(second)), None));
        assert_eq!(warnings.recovered(at(100)).as_deref(), Some("after 99 s (failed 98 times meanwhile)"));
        assert_eq!(warnings.recovered(at(101)), None);
        assert_eq!(warnings.failed(at(200)), Some(String::new()), "all failures were said");
        assert_eq!(warnings.recovered(at(203)).as_deref(), Some("after 3 s"));
    }

    #[test]
    fn a_backend_that_alternates_is_said_to_fail_once_a_minute_and_the_rest_is_counted() {
        let (mut warnings, start) = (Warnings::default(), Instant::now());
        let mut said = Vec::new();
        // Ten changes a second, for five minutes.
        for tenth in 0..3000 {
            let now = start + Duration::from_millis(tenth * 100);
            let what = if tenth % 2 == 0 { warnings.failed(now) } else { warnings.recovered(now) };
            said.extend(what.map(|what| (tenth / 10, what)));
        }
        let expected: Vec<(u64, String)> = (0..5)
            .flat_map(|minute| {
                let counted = if minute == 0 { "" } else { " (failed 299 times since the last warning)" };
                [(minute * 60, counted.to_owned()), (minute * 60, "after 0 s".to_owned())]
            })
            .collect();
        assert_eq!(said, expected);
    }

    #[test]
    fn what_came_too_soon_to_be_said_is_said_when_it_goes_on() {
        let (mut warnings, start) = (Warnings::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(warnings.failed(at(0)).is_some());
        assert!(warnings.recovered(at(1)).is_some());
        assert_eq!(warnings.failed(at(2)), None);
        assert_eq!(warnings.failed(at(59)), None);
        assert_eq!(warnings.failed(at(60)).as_deref(), Some(" (failed 2 times since the last warning)"));
        assert_eq!(warnings.recovered(at(60)), None, "it was said a moment ago that it works");
        assert_eq!(warnings.recovered(at(61)).as_deref(), Some("after 58 s"));
    }
}
