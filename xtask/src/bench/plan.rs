//! What is measured: sections of lines. A line is one contender at one operation; the first of a section is what the others are
//! divided by.

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    let mut sections = signals();
    sections.extend(metrics());
    sections.extend(left_out());
    sections.extend(shapes());
    sections
}

fn signals() -> Vec<Section> {
    vec![
        Section {
            key: "event",
            title: "A log event in a span",
            note: "An event with a message and three fields, in a span of two fields that stays open. lgtm-loki writes JSON and adds the \
                   trace and span id as structured metadata; tracing-loki writes JSON with all fields of the span and no ids; emit \
                   sends OTLP log records with the ids and without the span's fields; the text layer writes text and sends nothing. \
                   Loki's bodies are compressed with snappy, emit's not at all. The registry alone keeps nothing of an event.",
            lines: lines("event", SENDING, &[LOKI, TRACING_LOKI, ("emit, emit_otlp over HTTP", "emit"), FMT, REGISTRY]),
            has_instructions: true,
            is_main: true,
        },
        Section {
            key: "span-event",
            title: "A span with an event in it",
            note: "A span with three fields, and in it an event with a message and one field. The event travels in its span; with emit \
                   it is a log record of its own, and the text layer writes no line for the span. fastrace's properties are text. \
                   Nothing is compressed. OpenTelemetry's attributes for location, thread and busy and idle time are on by default with \
                   tracing-opentelemetry and off by default with lgtm: see the bytes.",
            lines: lines(
                "span-event",
                SENDING,
                &[
                    TEMPO,
                    ("lgtm-tempo, gRPC", "lgtm-tempo-grpc"),
                    OPENTELEMETRY,
                    ("the same without location, thread, target and times", "opentelemetry-http-plain"),
                    ("tracing-opentelemetry, opentelemetry-otlp over gRPC", "opentelemetry-grpc"),
                    ("tracing-opentelemetry, batch processor, null exporter", "opentelemetry-null"),
                    ("OpenTelemetry's own interface, over HTTP", "opentelemetry-api"),
                    ("fastrace, fastrace-opentelemetry over HTTP", "fastrace"),
                    ("emit, emit_otlp over HTTP", "emit"),
                    FMT,
                    REGISTRY,
                ],
            ),
            has_instructions: true,
            is_main: true,
        },
        Section {
            key: "span",
            title: "A span alone",
            note: "A span with three fields, entered and left. For fastrace it is a root span.",
            lines: lines(
                "span",
                SENDING,
                &[
                    TEMPO,
                    OPENTELEMETRY,
                    ("OpenTelemetry's own interface, over HTTP", "opentelemetry-api"),
                    ("fastrace, fastrace-opentelemetry over HTTP", "fastrace"),
                    ("emit, emit_otlp over HTTP", "emit"),
                    REGISTRY,
                ],
            ),
            has_instructions: true,
            is_main: false,
        },
        Section {
            key: "all",
            title: "All signals at once",
            note: "A span with three fields, and in it an event with a message and three fields, as log line, span and metrics of the \
                   span: a counter and a histogram. With lgtm the histogram has exemplars, the log line has the ids of trace and span, and \
                   the event is in the span and in the log. The peers' program counts and times its span with the macros of `metrics`, \
                   and has neither exemplars nor ids in its lines. `lgtm::init` adds the filters, redaction and the panic hook.",
            lines: lines(
                "request",
                SENDING,
                &[LAYERS, FACADE, TOGETHER, ("lgtm-spanmetrics and lgtm-mimir alone", "lgtm-spanmetrics"), REGISTRY],
            ),
            has_instructions: true,
            is_main: false,
        },
    ]
}

fn metrics() -> Vec<Section> {
    let clients = [MIMIR, EXPORTER, ("prometheus", "prometheus"), ("prometheus-client", "prometheus-client")];
    let with = |key, title, note, operation| Section {
        key,
        title,
        note,
        lines: lines(operation, LOCAL, &clients),
        has_instructions: true,
        is_main: false,
    };
    vec![
        with(
            "counter",
            "A counter by name",
            "`counter!()` with two static labels; prometheus and prometheus-client look their counter up by its label values.",
            "counter",
        ),
        with("counter-handle", "A counter by its handle", "The program holds the handle.", "counter-handle"),
        with(
            "histogram",
            "A histogram by name",
            "As the counter; eleven buckets. metrics-exporter-prometheus buffers each sample, 16 bytes, until a scrape or its upkeep.",
            "histogram",
        ),
        with(
            "histogram-handle",
            "A histogram by its handle",
            "The program holds the handle; no span is open.",
            "histogram-handle",
        ),
        Section {
            key: "exemplar",
            title: "A histogram by its handle, in a span",
            note: "With lgtm's layers the sample may become the exemplar of its bucket; metrics-exporter-prometheus has no exemplars, \
                   and its span is nobody's.",
            lines: lines("histogram-in-span", LOCAL, &[LAYERS, EXPORTER]),
            has_instructions: true,
            is_main: false,
        },
        Section {
            key: "scrape",
            title: "A scrape of 100,000 series",
            note: "Ten counters of 10,000 series, two labels each; the text is made in memory and thrown away. lgtm writes OpenMetrics.",
            lines: lines("scrape", LONG, &clients).into_iter().map(|line| line.size(100_000)).collect(),
            has_instructions: false,
            is_main: false,
        },
    ]
}

fn left_out() -> Vec<Section> {
    vec![
        Section {
            key: "unsampled",
            title: "A span that is not sampled",
            note: "The head sampler takes nothing, no keep rules: a span with three fields and an event in it.",
            lines: lines(
                "span-event",
                SENDING,
                &[
                    ("lgtm-tempo", "lgtm-tempo-unsampled"),
                    ("tracing-opentelemetry", "opentelemetry-unsampled"),
                    REGISTRY,
                ],
            ),
            has_instructions: true,
            is_main: false,
        },
        Section {
            key: "production",
            title: "The profile `production`",
            note: "All of lgtm; the span, with an event of one field, waits until its root closes and is discarded, because it neither \
                   failed nor was slow; one trace in a hundred is sampled. Log line and span metrics are made all the same.",
            lines: lines("span-event", SENDING, &[("lgtm, profile `production`", "lgtm-production"), FACADE]),
            has_instructions: true,
            is_main: false,
        },
        Section {
            key: "disabled",
            title: "An event below the filter's level",
            note: "`debug!` under a filter that says `info`.",
            lines: lines(
                "disabled",
                LOCAL,
                &[FACADE, ("EnvFilter under the text layer", "fmt"), ("no subscriber", "nothing")],
            ),
            has_instructions: true,
            is_main: false,
        },
    ]
}

fn shapes() -> Vec<Section> {
    let section =
        |key, title, note, lines| Section { key, title, note, lines, has_instructions: false, is_main: false };
    let on_threads = |(name, contender): (&str, &'static str), operation, pace| {
        [1, 2, 4].map(|threads| {
            let plural = if threads == 1 { "" } else { "s" };
            Line::new(format!("{name}, {threads} thread{plural}"), contender, operation, pace).threads(threads)
        })
    };
    let sized = |(name, contender): (&str, &'static str), operation, what: &str, pace, sizes: &[usize]| {
        let lines =
            sizes.iter().map(|size| Line::new(format!("{name}, {size}{what}"), contender, operation, pace).size(*size));
        lines.collect::<Vec<_>>()
    };
    let threads = [
        on_threads(LAYERS, "request", SENDING),
        on_threads(TOGETHER, "request", SENDING),
        on_threads(TEMPO, "span-event", SENDING),
        on_threads(OPENTELEMETRY, "span-event", SENDING),
        on_threads(LOKI, "event", SENDING),
        on_threads(TRACING_LOKI, "event", SENDING),
    ];
    let counters = [on_threads(MIMIR, "histogram-handle", LOCAL), on_threads(EXPORTER, "histogram-handle", LOCAL)];
    let depths = [1, 8, 64];
    let field_counts = [0, 8, 16, 31];
    // Sixteen stacks of 64 are half of what the smallest queue takes.
    let shallow = Pace { iterations: 800, warm_up: 400, burst: 16, pause_ms: 20 };
    vec![
        section(
            "threads",
            "Several threads at once",
            "CPU time of an operation, when so many threads do it at the same time, burst by burst. What grows is contention.",
            threads.concat(),
        ),
        section(
            "metric-threads",
            "Several threads at one histogram",
            "The same handle on all threads.",
            counters.concat(),
        ),
        section(
            "depth",
            "Deep stacks of spans",
            "So many spans of one field above each other, opened and closed, with an event in the innermost: the cost of the whole stack.",
            [sized(LAYERS, "depth", " deep", shallow, &depths), sized(TOGETHER, "depth", " deep", shallow, &depths)]
                .concat(),
        ),
        section(
            "fields",
            "Fields of a log event",
            "An event with a message and so many fields, in an open span of two; 32 with the message is the most that `tracing` has.",
            [
                sized(LOKI, "fields", " fields", SENDING, &field_counts),
                sized(TRACING_LOKI, "fields", " fields", SENDING, &field_counts),
            ]
            .concat(),
        ),
        section(
            "long",
            "Long lines",
            "A message of 64 KiB.",
            [
                sized(LOKI, "long-line", " bytes", LARGE, &[65_536]),
                sized(TRACING_LOKI, "long-line", " bytes", LARGE, &[65_536]),
            ]
            .concat(),
        ),
    ]
}

/// One chart: how the caller's cost grows.
#[derive(Debug, Clone)]
pub(super) struct Growth {
    /// The name of its file, without the ending.
    pub(super) file: &'static str,
    pub(super) title: &'static str,
    pub(super) axis: &'static str,
    /// The lines of each curve, with where they stand on the axis.
    pub(super) curves: Vec<(&'static str, Vec<(u64, Line)>)>,
}

/// All charts.
pub(super) fn growths() -> Vec<Growth> {
    let curve = |contender, operation, pace, sizes: &[usize], is_alone| {
        let points = sizes.iter().map(|size| {
            let line =
                Line { is_alone, ..Line::new(format!("{contender}, {size}"), contender, operation, pace).size(*size) };
            (*size as u64, line)
        });
        points.collect::<Vec<_>>()
    };
    let threads = |contender, operation| {
        let points = [1, 2, 4, 8].map(|threads| {
            (
                u64::from(threads),
                Line::new(format!("{contender}, {threads}"), contender, operation, SENDING).threads(threads),
            )
        });
        points.to_vec()
    };
    let fill = Pace { iterations: 2_000, warm_up: 100, ..SENDING };
    vec![
        Growth {
            file: "series",
            title: "counter!(), each time another of so many series",
            axis: "series",
            curves: vec![
                ("lgtm-mimir", curve("lgtm-mimir", "series", LOCAL, &[1, 10, 100, 1_000, 10_000, 100_000], false)),
                (
                    "metrics-exporter-prometheus",
                    curve("metrics-exporter-prometheus", "series", LOCAL, &[1, 10, 100, 1_000, 10_000, 100_000], false),
                ),
            ],
        },
        Growth {
            file: "streams",
            title: "log event, each time of another of so many streams",
            axis: "streams",
            curves: vec![("lgtm-loki", curve("lgtm-loki-streams", "streams", SENDING, &[1, 10, 100, 1_000], false))],
        },
        Growth {
            file: "threads",
            title: "span with an event, so many threads at once",
            axis: "threads",
            curves: vec![
                ("lgtm-tempo", threads("lgtm-tempo", "span-event")),
                ("tracing-opentelemetry", threads("opentelemetry-http", "span-event")),
            ],
        },
        Growth {
            file: "queue",
            title: "log event, with so many in the queue of a dead backend",
            axis: "events waiting",
            curves: vec![(
                "lgtm-loki",
                curve("lgtm-loki", "filled", fill, &[100, 1_000, 10_000, 30_000, 60_000, 90_000], true),
            )],
        },
    ]
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
