//! Runs a piece of a program under all layers, against a development stack of its own, and gives back what arrived, in the
//! order sent. Caller threads.

use std::sync::Arc;

use lgtm_devstack::{Devstack, LogEntry, Span};
use tracing::Dispatch;

use crate::signals::{Layers, Order, PATIENCE, Settings};

/// What has arrived.
#[derive(Debug)]
pub struct Captured {
    /// Log entries.
    pub logs: Vec<Arc<LogEntry>>,
    /// Spans.
    pub spans: Vec<Arc<Span>>,
}

/// Runs `program` under all layers.
#[must_use]
pub fn capture(settings: &Settings, program: impl FnOnce()) -> Captured {
    capture_on(settings, |layers| layers.dispatch(Order::default()), program)
}

/// Runs `program` under what `subscriber` makes of the layers. Everything must arrive.
#[must_use]
pub fn capture_on(
    settings: &Settings,
    subscriber: impl FnOnce(Layers) -> Dispatch,
    program: impl FnOnce(),
) -> Captured {
    let stack = Devstack::start_blocking().expect("a development stack");
    let (layers, pipelines) = settings.start(&stack);
    let dispatch = subscriber(layers);
    tracing::dispatcher::with_default(&dispatch, program);
    for report in pipelines.shutdown(PATIENCE) {
        assert_eq!(report.delivered, report.admitted, "{report}");
    }
    Captured { logs: stack.store().logs(), spans: stack.store().spans() }
}

impl Captured {
    /// The only span of this name.
    #[must_use]
    #[track_caller]
    pub fn span(&self, name: &str) -> &Span {
        let mut found = self.spans.iter().filter(|span| span.name == name);
        match (found.next(), found.next()) {
            (Some(span), None) => span,
            (None, _) => panic!("no span `{name}` among {:?}", self.span_names()),
            (Some(_), Some(_)) => panic!("more than one span `{name}`"),
        }
    }

    /// The names of all spans.
    #[must_use]
    pub fn span_names(&self) -> Vec<&str> {
        self.spans.iter().map(|span| span.name.as_str()).collect()
    }

    /// The only log entry with this message.
    #[must_use]
    #[track_caller]
    pub fn log(&self, message: &str) -> &LogEntry {
        let wanted = |entry: &&Arc<LogEntry>| entry.json().is_some_and(|line| line["message"] == message);
        let mut found = self.logs.iter().filter(wanted);
        match (found.next(), found.next()) {
            (Some(entry), None) => entry,
            (None, _) => panic!("no line with the message `{message}`"),
            (Some(_), Some(_)) => panic!("more than one line with the message `{message}`"),
        }
    }

    /// Where a log entry points: trace and span id, or nowhere.
    #[must_use]
    #[track_caller]
    pub fn place_of_log(&self, message: &str) -> Option<(&str, &str)> {
        let metadata = &self.log(message).structured_metadata;
        Some((metadata.get("trace_id")?.as_str(), metadata.get("span_id")?.as_str()))
    }
}

/// Where a span is: its trace and span id.
#[must_use]
pub fn place_of(span: &Span) -> (&str, &str) {
    (&span.trace_id, &span.span_id)
}
