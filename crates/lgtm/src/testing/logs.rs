//! Captured events. Caller threads.

use std::fmt;
use std::ops::Deref;

use lgtm_core::TraceContext;
use lgtm_core::span::{Attributes, VisitedEvent};
use tracing_core::{Level, Metadata};

use super::value::{self, Fields, Value, fields};

/// An event.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Log {
    /// What it says; empty if it has no message.
    pub message: String,
    /// How severe it is.
    pub level: Level,
    /// Where it comes from: the module, unless the program says something else.
    pub target: String,
    /// Its own fields, in their order.
    pub fields: Vec<(String, Value)>,
    /// The names of the spans around it, the outermost first.
    pub spans: Vec<String>,
    /// The span it belongs to; `None` outside of all spans.
    pub trace: Option<TraceContext>,
    /// When it happened: nanoseconds since the Unix epoch.
    pub timestamp: u64,
    /// The fields of the spans, those of the innermost first.
    inherited: Fields,
}

impl Log {
    pub(super) fn new(callsite: &Metadata<'_>, event: &VisitedEvent, spans: Vec<(String, Fields)>) -> Self {
        let target = event.origin().map_or(callsite.target(), |origin| &origin.target).to_owned();
        let (mut names, inherited): (Vec<_>, Vec<_>) = spans.into_iter().unzip();
        names.reverse();
        Self {
            message: event.message().to_owned(),
            level: *callsite.level(),
            target,
            fields: fields(Attributes::new(event.attributes())),
            spans: names,
            trace: event.trace,
            timestamp: event.timestamp,
            inherited: inherited.into_iter().flatten().collect(),
        }
    }

    /// The value that its line has for this name: of its own field, else of the innermost span that has one.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Value> {
        value::find(&self.fields, name).or_else(|| value::find(&self.inherited, name))
    }

    /// Asserts that it happened in a span of this name, at any depth.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "it asserts")]
    pub fn in_span(self, name: &str) -> Self {
        assert!(self.spans.iter().any(|span| span == name), "not in a span `{name}`, but in {:?}: {self}", self.spans);
        self
    }

    /// Asserts that it happened outside of all spans.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "it asserts")]
    pub fn outside_spans(self) -> Self {
        assert!(self.spans.is_empty(), "in the spans {:?}: {self}", self.spans);
        self
    }

    /// Asserts that its line has this field ([`Log::field`]) with this value.
    #[track_caller]
    pub fn with(self, name: &str, value: impl Into<Value>) -> Self {
        value::assert_field(&self, self.field(name), name, &value.into());
        self
    }

    /// Asserts its level.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "it asserts")]
    pub fn at_level(self, level: Level) -> Self {
        assert!(self.level == level, "of level {}, not {level}: {self}", self.level);
        self
    }
}

/// `LEVEL message name=value ...`, with its own fields.
impl fmt::Display for Log {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.level)?;
        if !self.message.is_empty() {
            write!(formatter, " {}", self.message.escape_debug())?;
        }
        value::write(formatter, &self.fields)
    }
}

/// Events, in the order in which they happened. A slice of [`Log`]; as text a line each, as [`Log`] shows itself.
#[derive(Clone, Debug, Default)]
pub struct Logs(Vec<Log>);

impl Deref for Logs {
    type Target = [Log];

    fn deref(&self) -> &[Log] {
        &self.0
    }
}

impl IntoIterator for Logs {
    type Item = Log;
    type IntoIter = std::vec::IntoIter<Log>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Logs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|log| writeln!(formatter, "{log}"))
    }
}

impl Logs {
    pub(super) fn new(logs: Vec<Log>) -> Self {
        Self(logs)
    }

    /// Those for which `keep` is true.
    #[must_use]
    pub fn filter(mut self, keep: impl FnMut(&Log) -> bool) -> Self {
        self.0.retain(keep);
        self
    }

    /// Those of this level.
    #[must_use]
    pub fn level(self, level: Level) -> Self {
        self.filter(|log| log.level == level)
    }

    /// Those of this target and of the modules in it: `shop` has `shop::cart`.
    #[must_use]
    pub fn target(self, target: &str) -> Self {
        self.filter(|log| log.target.strip_prefix(target).is_some_and(|rest| rest.is_empty() || rest.starts_with("::")))
    }

    /// Those with this text in their message.
    #[must_use]
    pub fn containing(self, text: &str) -> Self {
        self.filter(|log| log.message.contains(text))
    }

    /// Those with this field ([`Log::field`]) of this value.
    #[must_use]
    pub fn with(self, name: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        self.filter(|log| log.field(name) == Some(&value))
    }

    /// Those in a span of this name, at any depth.
    #[must_use]
    pub fn in_span(self, name: &str) -> Self {
        self.filter(|log| log.spans.iter().any(|span| span == name))
    }

    /// Asserts that there is one with exactly this message, and one only. Gives it.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "it asserts")]
    pub fn assert_one(&self, message: &str) -> Log {
        let mut found = self.0.iter().filter(|log| log.message == message);
        match (found.next(), found.count()) {
            (Some(log), 0) => log.clone(),
            (None, _) => panic!("no line says {message:?} among {}:\n{self}", self.0.len()),
            (Some(_), more) => panic!("{} lines say {message:?}, not one:\n{self}", more + 1),
        }
    }

    /// Asserts that none has exactly this message.
    #[track_caller]
    pub fn assert_none(&self, message: &str) {
        assert!(self.0.iter().all(|log| log.message != message), "a line says {message:?}:\n{self}");
    }

    /// Asserts how many there are.
    #[track_caller]
    pub fn assert_count(&self, count: usize) {
        assert!(self.0.len() == count, "{} lines, not {count}:\n{self}", self.0.len());
    }
}
