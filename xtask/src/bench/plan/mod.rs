//! What is measured: sections of lines. A line is one contender at one operation; the first of a section is what the others are
//! divided by.
//!
//! ```text
//! signals.rs, metrics.rs, shapes.rs: tables of operations ── growth.rs: charts ── here: what all are made of, and who runs otherwise
//! ```

mod growth;
mod metrics;
mod shapes;
mod signals;

pub(super) use growth::{Cost, Growth, growths};

/// One table.
#[derive(Debug, Clone)]
pub(super) struct Section {
    /// Its word on the command line.
    pub(super) key: &'static str,
    pub(super) title: &'static str,
    /// What is done, and where one contender does more or less than another.
    pub(super) note: &'static str,
    pub(super) lines: Vec<Line>,
    /// Instructions are counted too.
    pub(super) has_instructions: bool,
    /// Measured with Cargo's default release profile too.
    pub(super) is_main: bool,
}

/// One contender at one operation.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) contender: &'static str,
    pub(super) operation: &'static str,
    pub(super) size: usize,
    pub(super) threads: u32,
    pub(super) pace: Pace,
    /// Its backend refuses every connection.
    pub(super) is_alone: bool,
}

/// How often an operation is done, and with which pauses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) iterations: u64,
    /// Before the clocks are read.
    pub(super) warm_up: u64,
    pub(super) burst: u64,
    pub(super) pause_ms: u64,
}

/// Something is sent: bursts that every queue takes, pauses in which it is emptied.
const SENDING: Pace = Pace { iterations: 12_800, warm_up: 10_000, burst: 128, pause_ms: 5 };
/// Nothing is.
const LOCAL: Pace = Pace { iterations: 400_000, warm_up: 10_000, burst: 10_000, pause_ms: 0 };
/// One operation is long.
const LONG: Pace = Pace { iterations: 3, warm_up: 1, burst: 1, pause_ms: 0 };
/// A line of 64 KiB: sixteen of them are a batch.
const LARGE: Pace = Pace { iterations: 1_000, warm_up: 64, burst: 16, pause_ms: 10 };

impl Line {
    fn new(name: impl Into<String>, contender: &'static str, operation: &'static str, pace: Pace) -> Self {
        Self { name: name.into(), contender, operation, size: 0, threads: 1, pace, is_alone: false }
    }

    /// A run without pauses.
    pub(super) fn flat_out(
        name: &str,
        contender: &'static str,
        operation: &'static str,
        threads: u32,
        pace: Pace,
    ) -> Self {
        Self::new(name, contender, operation, pace).threads(threads)
    }

    /// Pushes of so many series.
    pub(super) fn push(name: &str, contender: &'static str, series: usize) -> Self {
        let pace = Pace { iterations: 10, warm_up: 3, ..LONG };
        Self::new(name, contender, "remote-write", pace).size(series)
    }

    /// A run without operations.
    pub(super) fn life(contender: &'static str, operation: &'static str) -> Self {
        Self::new(contender, contender, operation, LONG)
    }

    /// Whether each operation makes a span.
    pub(super) fn makes_spans(&self) -> bool {
        matches!(self.operation, "span" | "span-event" | "request" | "depth")
    }

    fn size(self, size: usize) -> Self {
        Self { size, ..self }
    }

    fn threads(self, threads: u32) -> Self {
        Self { threads, ..self }
    }
}

const LOKI: (&str, &str) = ("lgtm-loki", "lgtm-loki");
const TEMPO: (&str, &str) = ("lgtm-tempo, HTTP", "lgtm-tempo");
const MIMIR: (&str, &str) = ("lgtm-mimir", "lgtm-mimir");
const LAYERS: (&str, &str) = ("lgtm, all layers and the recorder", "lgtm-layers");
const FACADE: (&str, &str) = ("lgtm, as `lgtm::init` sets it up", "lgtm");
const TRACING_LOKI: (&str, &str) = ("tracing-loki", "tracing-loki");
const OPENTELEMETRY: (&str, &str) = ("tracing-opentelemetry, opentelemetry-otlp over HTTP", "opentelemetry-http");
const TOGETHER: (&str, &str) =
    ("tracing-loki, tracing-opentelemetry over HTTP and metrics-exporter-prometheus", "together");
const EXPORTER: (&str, &str) = ("metrics-exporter-prometheus", "metrics-exporter-prometheus");
const REGISTRY: (&str, &str) = ("registry only", "registry");
const FMT: (&str, &str) = ("tracing-subscriber's text layer, to a sink", "fmt");

fn lines(operation: &'static str, pace: Pace, contenders: &[(&str, &'static str)]) -> Vec<Line> {
    contenders.iter().map(|(name, contender)| Line::new(*name, contender, operation, pace)).collect()
}

/// All tables of costs.
pub(super) fn sections() -> Vec<Section> {
    let mut sections = signals::signals();
    sections.extend(metrics::metrics());
    sections.extend(signals::left_out());
    sections.extend(shapes::shapes());
    sections
}

/// Which contenders run flat out, and with what.
pub(super) const FLAT_OUT: &[(&str, &str, &str, u64)] = &[
    ("lgtm-loki, blocking", "lgtm-loki", "event", 2_000_000),
    ("tracing-loki", "tracing-loki", "event", 1_000_000),
    ("lgtm-tempo, blocking", "lgtm-tempo", "span-event", 1_000_000),
    ("tracing-opentelemetry over HTTP, queue of 2,048", "opentelemetry-http", "span-event", 300_000),
    ("tracing-opentelemetry over HTTP, queue of 262,144", "opentelemetry-http-large", "span-event", 300_000),
    ("fastrace over HTTP", "fastrace", "span-event", 300_000),
    ("emit over HTTP", "emit", "span-event", 300_000),
];

/// Series of one push.
pub(super) const PUSHED_SERIES: usize = 100_000;

/// Who pushes them.
pub(super) const REMOTE_WRITE: &[(&str, &str)] =
    &[("lgtm-mimir, remote write 1.0", "lgtm-mimir"), ("lgtm-mimir, remote write 2.0", "lgtm-mimir-two")];

/// Whose start, flush, end and rest are measured.
pub(super) const LIVES: &[(&str, &str)] =
    &[FACADE, TOGETHER, TRACING_LOKI, OPENTELEMETRY, ("emit, emit_otlp over HTTP", "emit")];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_sections_or_charts_have_one_name_and_none_is_empty() {
        let sections = sections();
        let keys: HashSet<_> = sections.iter().map(|section| section.key).collect();
        assert_eq!(keys.len(), sections.len());
        assert!(sections.iter().all(|section| section.lines.len() > 1));
        let growths = growths();
        let files: HashSet<_> = growths.iter().map(|growth| growth.file).collect();
        assert_eq!(files.len(), growths.len());
    }
}
