//! A program of many traces, and the proof that exactly what it made has arrived, once. Caller threads.
//!
//! Each trace is a request of five spans; every span has a number of its own, `key`, and logs it:
//!
//! ```text
//! request (server)
//! +- parse
//! |  +- validate
//! +- query (client)       joined with parse: both are open at the same time
//!    +- fetch             a task of its own where there is a runtime; fails
//! ```

use std::collections::{HashMap, HashSet};
use std::fmt;

use lgtm_devstack::{Span as Stored, SpanKind, StatusCode, Store};
use tracing::instrument::WithSubscriber as _;
use tracing::{Instrument as _, Span};

/// How many tasks, and how many traces each of them makes.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Concurrent tasks or threads.
    pub tasks: u64,
    /// Traces of each.
    pub traces: u64,
}

/// What is expected of one span of a trace.
struct Expected {
    name: &'static str,
    parent: Option<usize>,
    kind: SpanKind,
    /// Names from the root to this one.
    path: &'static [&'static str],
    message: &'static str,
}

const SPANS: [Expected; 5] = [
    Expected { name: "request", parent: None, kind: SpanKind::Server, path: &["request"], message: "received" },
    Expected {
        name: "parse",
        parent: Some(0),
        kind: SpanKind::Internal,
        path: &["request", "parse"],
        message: "parsed",
    },
    Expected {
        name: "validate",
        parent: Some(1),
        kind: SpanKind::Internal,
        path: &["request", "parse", "validate"],
        message: "validated",
    },
    Expected {
        name: "query",
        parent: Some(0),
        kind: SpanKind::Client,
        path: &["request", "query"],
        message: "queried",
    },
    Expected {
        name: "fetch",
        parent: Some(3),
        kind: SpanKind::Internal,
        path: &["request", "query", "fetch"],
        message: "fetching",
    },
];

const PARSE: u64 = 1;
const VALIDATE: u64 = 2;
const QUERY: u64 = 3;
const FETCH: u64 = 4;
/// The message of the event that makes `fetch` an error.
const FAILURE: &str = "fetch failed";

/// Why `fetch` fails.
#[derive(Debug)]
struct Unreachable;

impl fmt::Display for Unreachable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the shelf is unreachable")
    }
}

impl std::error::Error for Unreachable {}

fn request(key: u64) -> Span {
    tracing::info_span!("request", otel.kind = "server", key, route = "/orders/{id}")
}

fn parse(key: u64) -> Span {
    tracing::info_span!("parse", key)
}

fn validate(key: u64) -> Span {
    tracing::debug_span!("validate", key, strict = true)
}

fn query(key: u64) -> Span {
    tracing::info_span!("query", otel.kind = "client", key, rows = tracing::field::Empty)
}

fn fetch(key: u64) -> Span {
    tracing::info_span!("fetch", key, weight = 0.5)
}

fn fail(event_key: u64) {
    tracing::error!(event_key, error = &Unreachable as &(dyn std::error::Error + 'static), "fetch failed");
}

impl Workload {
    /// Number of spans.
    #[must_use]
    pub const fn spans(&self) -> u64 {
        self.tasks * self.traces * SPANS.len() as u64
    }

    /// Number of log lines: one a span, and the failure.
    #[must_use]
    pub const fn logs(&self) -> u64 {
        self.tasks * self.traces * (SPANS.len() as u64 + 1)
    }

    fn first_key(&self, task: u64, trace: u64) -> u64 {
        (task * self.traces + trace) * SPANS.len() as u64
    }

    /// All tasks on the runtime of the caller, under its current subscriber.
    ///
    /// # Panics
    /// If a task does.
    pub async fn run_tasks(self) {
        let tasks: Vec<_> = (0..self.tasks)
            .map(|task| {
                let traces = async move {
                    for trace in 0..self.traces {
                        let key = self.first_key(task, trace);
                        handle(key).instrument(request(key)).await;
                    }
                };
                tokio::spawn(traces.with_current_subscriber())
            })
            .collect();
        for task in tasks {
            task.await.expect("a task");
        }
    }

    /// All tasks on threads of their own, without a runtime; `scope` runs a thread's work under its subscriber.
    pub fn run_threads(self, scope: impl Fn(&dyn Fn()) + Sync) {
        let scope = &scope;
        std::thread::scope(|threads| {
            for task in 0..self.tasks {
                threads.spawn(move || {
                    scope(&|| {
                        for trace in 0..self.traces {
                            handle_blocking(self.first_key(task, trace));
                        }
                    });
                });
            }
        });
    }

    /// Fails the test unless exactly what the workload made is in the store, once.
    ///
    /// # Panics
    /// If anything is missing, doubled or in a wrong place.
    pub fn assert_arrived(&self, store: &Store) {
        let spans = store.spans();
        let by_key = self.assert_spans(&spans.iter().map(|span| &**span).collect::<Vec<_>>());
        self.assert_logs(store, &by_key);
        let counts = store.counts();
        let untouched = [counts.logs, counts.spans].map(|kind| (kind.evicted, kind.duplicates, kind.rejected));
        assert_eq!(untouched, [(0, 0, 0); 2], "evicted, duplicates, rejected");
    }

    fn assert_spans<'a>(&self, spans: &[&'a Stored]) -> HashMap<u64, &'a Stored> {
        assert_eq!(spans.len() as u64, self.spans(), "spans");
        let by_key: HashMap<u64, &Stored> = spans.iter().map(|span| (key_of(span), *span)).collect();
        assert_eq!(by_key.len(), spans.len(), "every key once");
        assert!(by_key.keys().all(|key| *key < self.spans()), "no unknown key");
        let ids: HashSet<&str> = spans.iter().map(|span| span.span_id.as_str()).collect();
        assert_eq!(ids.len(), spans.len(), "span ids are unique");
        let traces: HashSet<&str> = spans.iter().map(|span| span.trace_id.as_str()).collect();
        assert_eq!(traces.len() as u64, self.tasks * self.traces, "trace ids are unique");
        for (key, span) in &by_key {
            let place = (key % SPANS.len() as u64) as usize;
            let expected = &SPANS[place];
            let first = key - place as u64;
            assert_eq!(span.name, expected.name, "span {key}");
            assert_eq!(span.kind, expected.kind, "span {key}");
            assert_eq!(span.trace_id, by_key[&first].trace_id, "span {key} is in its request's trace");
            let parent = expected.parent.map(|parent| by_key[&(first + parent as u64)].span_id.as_str());
            assert_eq!(span.parent_span_id.as_deref(), parent, "parent of span {key}");
            assert!(span.start_ns > 0 && span.start_ns <= span.end_ns, "times of span {key}");
            assert_eq!((span.dropped_attributes, span.dropped_events, span.dropped_links), (0, 0, 0), "span {key}");
            assert_eq!(span.attributes.duplicate_keys(), Vec::<&str>::new(), "span {key}");
            if place as u64 == QUERY {
                assert_eq!(span.attributes.int("rows"), Some(key.cast_signed()), "late field of span {key}");
            }
            assert_events(*key, place as u64, span, expected);
        }
        by_key
    }

    fn assert_logs(&self, store: &Store, by_key: &HashMap<u64, &Stored>) {
        let logs = store.logs();
        assert_eq!(logs.len() as u64, self.logs(), "log lines");
        let mut seen = HashSet::new();
        for entry in &logs {
            let line = entry.json().expect("a line of JSON");
            let key = line["event_key"].as_u64().expect("the event's key");
            let message = line["message"].as_str().expect("a message").to_owned();
            let place = (key % SPANS.len() as u64) as usize;
            let expected = &SPANS[place];
            assert!(
                message == expected.message || (place as u64 == FETCH && message == FAILURE),
                "{message} with the key {key}"
            );
            assert_eq!(entry.label("level"), Some(if message == FAILURE { "error" } else { "info" }));
            assert_eq!(line["key"].as_u64(), Some(key), "the leaf's field wins: {}", entry.line);
            assert_eq!(line["spans"], serde_json::json!(expected.path), "{}", entry.line);
            let span = by_key[&key];
            let metadata = &entry.structured_metadata;
            assert_eq!(metadata.get("trace_id"), Some(&span.trace_id), "{}", entry.line);
            assert_eq!(metadata.get("span_id"), Some(&span.span_id), "{}", entry.line);
            assert_eq!(metadata.get("trace_sampled").map(String::as_str), Some("true"));
            assert!(seen.insert((key, message)), "twice: {}", entry.line);
        }
    }
}

fn key_of(span: &Stored) -> u64 {
    span.attributes.int("key").expect("a key").cast_unsigned()
}

fn assert_events(key: u64, place: u64, span: &Stored, expected: &Expected) {
    let names: Vec<&str> = span.events.iter().map(|event| event.name.as_str()).collect();
    if place == FETCH {
        assert_eq!(names, [expected.message, "exception"], "events of span {key}");
        assert_eq!(span.status.code, StatusCode::Error, "span {key}");
        assert_eq!(span.status.message, FAILURE, "span {key}");
        let exception = &span.events[1].attributes;
        assert_eq!(exception.text("exception.message"), Some("the shelf is unreachable"), "span {key}");
    } else {
        assert_eq!(names, [expected.message], "events of span {key}");
        assert_eq!(span.status.code, StatusCode::Unset, "span {key}");
    }
    for event in &span.events {
        assert_eq!(event.attributes.int("event_key"), Some(key.cast_signed()), "an event of span {key}");
        assert!((span.start_ns..=span.end_ns).contains(&event.time_ns), "an event's time of span {key}");
    }
}

async fn handle(key: u64) {
    tracing::info!(event_key = key, "received");
    tokio::join!(
        handle_parse(key + PARSE).instrument(parse(key + PARSE)),
        handle_query(key + QUERY).instrument(query(key + QUERY)),
    );
}

async fn handle_parse(key: u64) {
    tracing::info!(event_key = key, "parsed");
    tokio::task::yield_now().await;
    let key = key - PARSE + VALIDATE;
    async { tracing::info!(event_key = key, "validated") }.instrument(validate(key)).await;
}

async fn handle_query(key: u64) {
    tracing::info!(event_key = key, "queried");
    let fetch_key = key - QUERY + FETCH;
    let work = async move {
        tracing::info!(event_key = fetch_key, "fetching");
        tokio::task::yield_now().await;
        fail(fetch_key);
    };
    let span = fetch(fetch_key);
    // The span closes inside the task: outside its subscriber's scope a registry cannot release the parent.
    let task = async move { work.instrument(span).await };
    tokio::spawn(task.with_current_subscriber()).await.expect("the task of a fetch");
    Span::current().record("rows", key);
}

fn handle_blocking(key: u64) {
    let _request = request(key).entered();
    tracing::info!(event_key = key, "received");
    let key_of_parse = key + PARSE;
    parse(key_of_parse).in_scope(|| {
        tracing::info!(event_key = key_of_parse, "parsed");
        let key = key + VALIDATE;
        validate(key).in_scope(|| tracing::info!(event_key = key, "validated"));
    });
    let key_of_query = key + QUERY;
    let query = query(key_of_query);
    query.in_scope(|| {
        tracing::info!(event_key = key_of_query, "queried");
        let key = key + FETCH;
        fetch(key).in_scope(|| {
            tracing::info!(event_key = key, "fetching");
            fail(key);
        });
    });
    query.record("rows", key_of_query);
}
