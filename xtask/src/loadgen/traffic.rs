//! What one program does: requests with work below them, lines about them, counters. Driven by the clock, within the program's own
//! dispatcher and recorder.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use lgtm_core::TraceId;
use metrics::Counter;
use tracing::{Span, error, info, info_span, warn};

use super::plan::Load;

/// Label sets of one metric: lgtm takes ten times as many.
const SERIES_OF_A_NAME: u32 = 1_000;
/// Work of one moment: a program that has fallen behind comes back to the clock.
const MOST_AT_ONCE: u64 = 10_000;
/// How long a span may take.
const SPAN_MILLISECONDS: std::ops::RangeInclusive<u64> = 1..=40;
/// One request in so many fails.
const FAILS: u64 = 100;
/// Traces whose ids are kept, to be asked for.
const KEPT_IDS: usize = 5;

/// What a program has made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) lines: u64,
    pub(crate) spans: u64,
    /// Added to all counters.
    pub(crate) increments: u64,
    /// Some traces.
    pub(crate) traces: Vec<TraceId>,
}

/// What is due, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) lines: u64,
    pub(crate) traces: u64,
    /// Whole seconds: each counter counts once a second.
    pub(crate) seconds: u64,
}

/// A request that goes on: its children follow each other.
struct OpenTrace {
    root: Span,
    child: Option<Span>,
    children_left: u32,
    /// When the next step is.
    next: Instant,
}

/// One program's doings.
pub(crate) struct Traffic {
    spans_per_trace: u32,
    streams: Vec<String>,
    message: String,
    counters: Vec<Counter>,
    open: VecDeque<OpenTrace>,
    traces: u64,
    seconds: u64,
    made: Made,
}

impl Traffic {
    /// Within the program's recorder.
    pub(crate) fn new(load: &Load, with_metrics: bool) -> Self {
        let counter = |series: u32| {
            let name = format!("loadgen_work_{}_total", series / SERIES_OF_A_NAME + 1);
            metrics::counter!(name, "series" => format!("{:05}", series + 1))
        };
        let words = "the quick brown fox jumps over the lazy dog ";
        Self {
            spans_per_trace: load.spans_per_trace,
            streams: (1..=load.streams_per_service).map(|stream| format!("stream-{stream:04}")).collect(),
            message: words.chars().cycle().take(usize::try_from(load.message_bytes).unwrap_or(usize::MAX)).collect(),
            counters: if with_metrics { (0..load.series_per_instance).map(counter).collect() } else { Vec::new() },
            open: VecDeque::new(),
            traces: 0,
            seconds: 0,
            made: Made::default(),
        }
    }

    /// Does what is due, within the program's dispatcher and recorder. What is too much for one moment is left for the next.
    pub(crate) fn advance(&mut self, due: Due, now: Instant) {
        let new = due.traces.saturating_sub(self.traces).min(MOST_AT_ONCE / u64::from(self.spans_per_trace).max(1) + 1);
        for _ in 0..new {
            self.begin_trace(now);
        }
        for _ in 0..self.open.len() {
            if let Some(trace) = self.open.pop_front() {
                self.go_on(trace, Some(now));
            }
        }
        for _ in 0..due.lines.saturating_sub(self.made.lines).min(MOST_AT_ONCE) {
            self.line();
        }
        if due.seconds > self.seconds {
            let seconds = due.seconds - self.seconds;
            self.seconds = due.seconds;
            self.count(seconds);
        }
    }

    /// Ends every request that goes on, within the program's dispatcher and recorder.
    pub(crate) fn finish(&mut self) {
        // So that each counter has counted, however short the run.
        self.count(1);
        while let Some(trace) = self.open.pop_front() {
            self.go_on(trace, None);
        }
    }

    pub(crate) fn made(&self) -> &Made {
        &self.made
    }

    fn count(&mut self, times: u64) {
        for counter in &self.counters {
            counter.increment(times);
        }
        self.made.increments += times * self.counters.len() as u64;
    }

    fn begin_trace(&mut self, now: Instant) {
        self.traces += 1;
        let root = info_span!(
            parent: None,
            "GET /items/{id}",
            otel.kind = "server",
            otel.status_code = tracing::field::Empty,
            http.request.method = "GET",
            http.route = "/items/{id}",
            url.path = format!("/items/{}", self.traces % 1_000),
        );
        if self.traces.is_multiple_of(FAILS) {
            root.record("otel.status_code", "ERROR");
        }
        self.keep(&root);
        self.made.spans += 1;
        let next = now + pause();
        self.open.push_back(OpenTrace { root, child: None, children_left: self.spans_per_trace - 1, next });
    }

    /// Keeps the ids of some traces, each trace with the same chance: what is lost at the end must be seen too.
    fn keep(&mut self, root: &Span) {
        let id = || root.in_scope(lgtm::current_trace).map(|context| context.trace_id);
        let kept = &mut self.made.traces;
        if kept.len() < KEPT_IDS {
            kept.extend(id());
            return;
        }
        let place = usize::try_from(rand::random_range(0..self.traces)).unwrap_or(usize::MAX);
        if let Some(kept) = kept.get_mut(place)
            && let Some(id) = id()
        {
            *kept = id;
        }
    }

    /// The steps of a trace until `now`; all of them, if there is no time left.
    fn go_on(&mut self, mut trace: OpenTrace, now: Option<Instant>) {
        while now.is_none_or(|now| trace.next <= now) {
            // A child ends before the next one begins, and before its parent ends.
            trace.child = None;
            if trace.children_left == 0 {
                return;
            }
            trace.children_left -= 1;
            self.made.spans += 1;
            let number = trace.children_left;
            trace.child = Some(
                info_span!(parent: &trace.root, "SELECT items", otel.kind = "client", db.operation.number = number),
            );
            trace.next += pause();
        }
        self.open.push_back(trace);
    }

    /// A line about one of the requests that go on, if any does.
    fn line(&mut self) {
        let number = self.made.lines;
        let index = usize::try_from(number).unwrap_or(0);
        let position = index % self.streams.len().max(1);
        let Some(stream) = self.streams.get(position) else { return };
        let message = self.message.as_str();
        let say = || match position {
            // The level is part of the stream: so each stream has one.
            position if position % 10 == 9 => error!(stream, number, "{message}"),
            position if position % 5 == 3 => warn!(stream, number, "{message}"),
            _ => info!(stream, number, "{message}"),
        };
        match self.open.get(index % self.open.len().max(1)) {
            Some(trace) => trace.root.in_scope(say),
            None => say(),
        }
        self.made.lines += 1;
    }
}

fn pause() -> Duration {
    Duration::from_millis(rand::random_range(SPAN_MILLISECONDS))
}
