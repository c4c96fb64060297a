//! Operations that have a size: threads, stacks of spans, fields, long lines.

use super::{
    EXPORTER, LARGE, LAYERS, LOCAL, LOKI, Line, MIMIR, OPENTELEMETRY, Pace, SENDING, Section, TEMPO, TOGETHER,
    TRACING_LOKI,
};

pub(super) fn shapes() -> Vec<Section> {
    let section =
        |key, title, note, lines| Section { key, title, note, lines, has_instructions: false, is_main: false };
    let on_threads = |(name, contender): (&str, &'static str), operation, pace| {
        [1, 2, 4, 8].map(|threads| {
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
    vec![
        section(
            "threads",
            "Several threads at once",
            "CPU time of an operation, when so many threads do it at the same time, burst by burst. What grows is contention. What is lost \
             costs the caller less: tracing-loki's channel has 512 places, the queue of OpenTelemetry's batch processor 2,048.",
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
            [LAYERS, TOGETHER]
                .into_iter()
                .flat_map(|contender| depths.map(|depth| sized(contender, "depth", " deep", stacks(depth), &[depth])))
                .flatten()
                .collect(),
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

/// Stacks of so many spans: a burst with its lead is under 1,600 spans, which the smallest queue takes. A span's place has a buffer
/// for events from the first event in it on; the innermost span has been in every place when the clocks are read.
fn stacks(depth: usize) -> Pace {
    let burst = (1024 / depth as u64).clamp(1, 64);
    Pace { iterations: 800, burst, pause_ms: 10, ..SENDING }
}
