//! What became of every item, for people and for programs.

use std::fmt::{self, Write as _};

use lgtm_core::SignalReport;

/// What became of everything the program produced, signal by signal. `Display` gives one line a signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    signals: Vec<SignalReport>,
}

impl Report {
    pub(crate) fn new(signals: Vec<SignalReport>) -> Self {
        Self { signals }
    }

    /// The signals that are sent: logs, spans and pushed metrics. Scraped metrics are never lost on the way.
    #[must_use]
    pub fn signals(&self) -> &[SignalReport] {
        &self.signals
    }

    /// Items that will not arrive, of all signals.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.signals.iter().map(SignalReport::lost).sum()
    }

    /// Items that still wait, on disk or in memory, of all signals.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.signals.iter().map(|signal| signal.pending).sum()
    }

    /// Items on disk, of all signals: the next start sends them.
    #[must_use]
    pub fn spooled(&self) -> u64 {
        self.signals.iter().map(|signal| signal.spooled).sum()
    }

    /// One JSON object: for each signal (`logs`, `spans`, `metrics`) the numbers `admitted`, `delivered`, `rejected`, `pending`,
    /// of these `spooled`, of those admitted `recovered`, and the objects `dropped` (by reason) and `errors` (failed requests by type).
    #[must_use]
    pub fn json(&self) -> String {
        let mut text = String::from("{");
        for (index, signal) in self.signals.iter().enumerate() {
            let SignalReport { admitted, delivered, rejected, pending, spooled, recovered, .. } = signal;
            let comma = if index > 0 { "," } else { "" };
            // Names and reasons are plain words: nothing needs escaping. Writing to a string does not fail.
            let _ = write!(
                text,
                r#"{comma}"{}":{{"admitted":{admitted},"delivered":{delivered},"rejected":{rejected},"pending":{pending},"spooled":{spooled},"recovered":{recovered},"#,
                name(signal)
            );
            counts(&mut text, "dropped", signal.dropped.iter().map(|(reason, count)| (reason.as_str(), *count)));
            text.push(',');
            counts(&mut text, "errors", signal.errors.iter().map(|(error, count)| (error.as_str(), *count)));
            text.push('}');
        }
        text.push('}');
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, signal) in self.signals.iter().enumerate() {
            if index > 0 {
                formatter.write_char('\n')?;
            }
            signal.fmt(formatter)?;
        }
        Ok(())
    }
}

/// A flush that did not end in time. What waits stays in the queues.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the flush did not end within its deadline: {report}")]
#[non_exhaustive]
pub struct FlushError {
    /// How far it came.
    pub report: Report,
}

const fn name(signal: &SignalReport) -> &'static str {
    match signal.signal {
        lgtm_core::SignalKind::Logs => "logs",
        lgtm_core::SignalKind::Spans => "spans",
        lgtm_core::SignalKind::Metrics => "metrics",
    }
}

fn counts(text: &mut String, name: &str, counts: impl Iterator<Item = (&'static str, u64)>) {
    let _ = write!(text, "\"{name}\":{{");
    for (index, (key, count)) in counts.enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let _ = write!(text, "{comma}\"{key}\":{count}");
    }
    text.push('}');
}
