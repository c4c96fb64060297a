//! Captured spans, and their tree. Caller threads.

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use lgtm_core::protobuf::{Field, Fields as Encoded};
use lgtm_core::span::{SpanKind, SpanRecord, Status};
use lgtm_core::{SpanId, TraceContext, TraceId};

use super::logs::Log;
use super::value::{self, Value, fields};

/// A span.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Span {
    /// Its name: `otel.name`, else that of the macro.
    pub name: String,
    /// Its kind: `otel.kind`.
    pub kind: SpanKind,
    /// How it ended: `otel.status_code`, or what [`SpanExt`](crate::SpanExt) says.
    pub status: Status,
    /// What the status says beside; often empty.
    pub status_description: String,
    /// Its fields, in their order, late ones among them.
    pub fields: Vec<(String, Value)>,
    /// The trace it is in.
    pub trace_id: TraceId,
    /// Its id.
    pub span_id: SpanId,
    /// The span above it, which may be another process's; `None` for a root.
    pub parent_span_id: Option<SpanId>,
    /// Whether the span above it is another process's.
    pub has_remote_parent: bool,
    /// Trace and span that it points at beside its parent.
    pub links: Vec<(TraceId, SpanId)>,
    /// How long it took; `None` while it is open.
    pub duration: Option<Duration>,
}

impl Span {
    pub(super) fn of(record: &SpanRecord) -> Self {
        Self {
            name: record.name().to_owned(),
            kind: record.kind,
            status: record.status,
            status_description: record.status_description.clone(),
            fields: fields(record.attributes()),
            trace_id: record.trace_id,
            span_id: record.span_id,
            parent_span_id: Some(record.parent_span_id).filter(|parent| !parent.is_zero()),
            has_remote_parent: record.remote_parent,
            links: links(&record.links),
            duration: (record.end != 0).then(|| Duration::from_nanos(record.end.saturating_sub(record.start))),
        }
    }

    /// The value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Value> {
        value::find(&self.fields, name)
    }

    /// Asserts that it has this field with this value.
    #[track_caller]
    pub fn with(self, name: &str, value: impl Into<Value>) -> Self {
        value::assert_field(&self, self.field(name), name, &value.into());
        self
    }

    /// Asserts its kind.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "it asserts")]
    pub fn of_kind(self, kind: SpanKind) -> Self {
        assert!(self.kind == kind, "of kind {}, not {}: {self}", self.kind.as_str(), kind.as_str());
        self
    }

    /// Asserts that it failed.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "it asserts")]
    pub fn failed(self) -> Self {
        assert!(self.status == Status::Error, "it did not fail: {self}");
        self
    }

    /// Asserts that it did not fail.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "it asserts")]
    pub fn not_failed(self) -> Self {
        assert!(self.status != Status::Error, "it failed: {self}");
        self
    }

    /// Asserts that it has ended.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "it asserts")]
    pub fn ended(self) -> Self {
        assert!(self.duration.is_some(), "it is still open: {self}");
        self
    }

    /// Asserts that it has no span above it.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "it asserts")]
    pub fn is_root(self) -> Self {
        assert!(self.parent_span_id.is_none(), "it has a parent: {self}");
        self
    }

    /// Asserts that it is right below this one, in the same trace.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "it asserts")]
    pub fn child_of(self, parent: &Self) -> Self {
        assert!(
            self.parent_span_id == Some(parent.span_id) && self.trace_id == parent.trace_id,
            "it is not a child of `{}`: {self}",
            parent.name
        );
        self
    }
}

/// `name name=value ...`, then what is not usual: the kind, a status, that it is open, how many links.
impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)?;
        value::write(formatter, &self.fields)?;
        if self.kind != SpanKind::Internal {
            write!(formatter, " [{}]", self.kind.as_str())?;
        }
        match self.status {
            Status::Unset => {}
            Status::Ok => formatter.write_str(" [ok]")?,
            Status::Error if self.status_description.is_empty() => formatter.write_str(" [error]")?,
            Status::Error => write!(formatter, " [error: {}]", self.status_description.escape_debug())?,
        }
        match self.links.len() {
            0 => {}
            1 => formatter.write_str(" [1 link]")?,
            links => write!(formatter, " [{links} links]")?,
        }
        if self.duration.is_none() {
            formatter.write_str(" [open]")?;
        }
        Ok(())
    }
}

/// Reads OTLP `Span.Link` messages, of which ids are the fields 1 and 2.
fn links(encoded: &[u8]) -> Vec<(TraceId, SpanId)> {
    let id = |link: &[u8], wanted: u32| {
        Encoded(link).find_map(|field| match field {
            Field::Bytes(number, bytes) if number == wanted => Some(bytes.to_vec()),
            _ => None,
        })
    };
    Encoded(encoded)
        .filter_map(|field| {
            let Field::Bytes(_, link) = field else { return None };
            let trace = TraceId::from_bytes(id(link, 1)?.try_into().ok()?)?;
            Some((trace, SpanId::from_bytes(id(link, 2)?.try_into().ok()?)?))
        })
        .collect()
}

/// Spans, in the order in which they began. A slice of [`Span`]; as text a tree: a line each, children below their parents and two
/// spaces further in. A span whose parent is not among them stands at the margin.
#[derive(Clone, Debug, Default)]
pub struct Spans {
    spans: Vec<Span>,
    logs: Vec<Log>,
    shows_events: bool,
}

impl Deref for Spans {
    type Target = [Span];

    fn deref(&self) -> &[Span] {
        &self.spans
    }
}

impl IntoIterator for Spans {
    type Item = Span;
    type IntoIter = std::vec::IntoIter<Span>;

    fn into_iter(self) -> Self::IntoIter {
        self.spans.into_iter()
    }
}

impl Spans {
    pub(super) fn new(spans: Vec<Span>, logs: Vec<Log>) -> Self {
        Self { spans, logs, shows_events: false }
    }

    /// Those for which `keep` is true.
    #[must_use]
    pub fn filter(mut self, keep: impl FnMut(&Span) -> bool) -> Self {
        self.spans.retain(keep);
        self
    }

    /// Those of this name.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        self.filter(|span| span.name == name)
    }

    /// The tree also shows the events that happened in the spans, before the spans below.
    #[must_use]
    pub fn with_events(mut self) -> Self {
        self.shows_events = true;
        self
    }

    /// Asserts that there is one of this name, and one only. Gives it.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "it asserts")]
    pub fn assert_one(&self, name: &str) -> Span {
        let mut found = self.spans.iter().filter(|span| span.name == name);
        match (found.next(), found.count()) {
            (Some(span), 0) => span.clone(),
            (None, _) => panic!("no span `{name}` among {}:\n{self}", self.spans.len()),
            (Some(_), more) => panic!("{} spans `{name}`, not one:\n{self}", more + 1),
        }
    }

    /// Asserts that there is none of this name.
    #[track_caller]
    pub fn assert_none(&self, name: &str) {
        assert!(self.spans.iter().all(|span| span.name != name), "there is a span `{name}`:\n{self}");
    }

    /// Asserts how many there are.
    #[track_caller]
    pub fn assert_count(&self, count: usize) {
        assert!(self.spans.len() == count, "{} spans, not {count}:\n{self}", self.spans.len());
    }
}

impl fmt::Display for Spans {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places: HashMap<_, _> =
            self.spans.iter().enumerate().map(|(place, span)| ((span.trace_id, span.span_id), place)).collect();
        let mut children: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut roots = Vec::new();
        for (place, span) in self.spans.iter().enumerate() {
            match span.parent_span_id.and_then(|parent| places.get(&(span.trace_id, parent))) {
                Some(parent) => children.entry(*parent).or_default().push(place),
                None => roots.push(place),
            }
        }
        // Those that are still to be written, the next one last, with their depths: a deep tree needs no deep stack.
        let mut next: Vec<_> = roots.into_iter().rev().map(|root| (root, 0)).collect();
        while let Some((place, depth)) = next.pop() {
            let Some(span) = self.spans.get(place) else { continue };
            writeln!(formatter, "{:indent$}{span}", "", indent = 2 * depth)?;
            if self.shows_events {
                let is_here = |trace: TraceContext| (trace.trace_id, trace.span_id) == (span.trace_id, span.span_id);
                for log in self.logs.iter().filter(|log| log.trace.is_some_and(is_here)) {
                    writeln!(formatter, "{:indent$}- {log}", "", indent = 2 * depth + 2)?;
                }
            }
            next.extend(children.remove(&place).into_iter().flatten().rev().map(|child| (child, depth + 1)));
        }
        Ok(())
    }
}
