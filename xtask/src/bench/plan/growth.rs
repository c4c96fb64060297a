//! The charts: how a cost grows.

use super::{LOCAL, Line, Pace, SENDING};

/// Whose CPU time a chart shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bench) enum Cost {
    /// The calling thread's, an operation.
    Caller,
    /// That of all other threads until the end, an item that arrived.
    Others,
}

/// One chart: how a cost grows.
#[derive(Debug, Clone)]
pub(in crate::bench) struct Growth {
    /// The name of its file, without the ending.
    pub(in crate::bench) file: &'static str,
    pub(in crate::bench) title: &'static str,
    pub(in crate::bench) axis: &'static str,
    pub(in crate::bench) cost: Cost,
    /// The lines of each curve, with where they stand on the axis.
    pub(in crate::bench) curves: Vec<(&'static str, Vec<(u64, Line)>)>,
}

/// All charts.
pub(in crate::bench) fn growths() -> Vec<Growth> {
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
    // Nothing is warmed up: the other threads' cost is that of the whole run, its connection and its end too.
    let worker = |contender, operation| {
        let points = [1_000, 10_000, 100_000, 300_000].map(|items| {
            let pace = Pace { iterations: items, warm_up: 0, burst: 256, pause_ms: 5 };
            (items, Line::new(format!("{contender}, {items}"), contender, operation, pace))
        });
        points.to_vec()
    };
    let fill = Pace { iterations: 2_000, warm_up: 100, ..SENDING };
    vec![
        Growth {
            file: "series",
            title: "counter!(), each time another of so many series",
            axis: "series",
            cost: Cost::Caller,
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
            cost: Cost::Caller,
            curves: vec![("lgtm-loki", curve("lgtm-loki-streams", "streams", SENDING, &[1, 10, 100, 1_000], false))],
        },
        Growth {
            file: "threads",
            title: "span with an event, so many threads at once",
            axis: "threads",
            cost: Cost::Caller,
            curves: vec![
                ("lgtm-tempo", threads("lgtm-tempo", "span-event")),
                ("tracing-opentelemetry", threads("opentelemetry-http", "span-event")),
            ],
        },
        Growth {
            file: "queue",
            title: "log event, with so many in the queue of a dead backend",
            axis: "events waiting",
            cost: Cost::Caller,
            curves: vec![(
                "lgtm-loki",
                curve("lgtm-loki", "filled", fill, &[100, 1_000, 10_000, 30_000, 60_000, 90_000], true),
            )],
        },
        Growth {
            file: "worker",
            title: "all other threads: so many log events, or spans with an event, in one run",
            axis: "items",
            cost: Cost::Others,
            curves: vec![
                ("lgtm-loki, events", worker("lgtm-loki", "event")),
                ("lgtm-tempo, spans", worker("lgtm-tempo", "span-event")),
                ("tracing-loki, events", worker("tracing-loki", "event")),
                ("opentelemetry over HTTP, spans", worker("opentelemetry-http", "span-event")),
            ],
        },
    ]
}
