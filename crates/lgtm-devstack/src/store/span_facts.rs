//! What the window's lists and charts look at, of each span and of each trace, beside the spans: they go through all that is held.

use super::names::{Name, Names};
use crate::span::{Span, SpanKind};

/// One span in a few numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpanFacts {
    pub(crate) id: u64,
    /// `None` for a root.
    pub(crate) parent: Option<u64>,
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    pub(crate) service: Name,
    pub(crate) name: Name,
    pub(crate) kind: SpanKind,
    pub(crate) is_error: bool,
    pub(crate) has_links: bool,
}

impl SpanFacts {
    pub(super) fn of(span: &Span, services: &mut Names, names: &mut Names) -> Self {
        let number = |id: &str| u64::from_str_radix(id, 16).unwrap_or_default();
        Self {
            id: number(&span.span_id),
            parent: span.parent_span_id.as_deref().map(number),
            start_ns: span.start_ns,
            end_ns: span.end_ns,
            service: services.take(span.service_name()),
            name: names.take(&span.name),
            kind: span.kind,
            is_error: span.is_error(),
            has_links: !span.links.is_empty(),
        }
    }

    pub(crate) fn duration_ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.start_ns)
    }

    /// Whether it is the work of a service for somebody else: a server's or consumer's, or one without parent.
    pub(crate) fn is_request(&self) -> bool {
        matches!(self.kind, SpanKind::Server | SpanKind::Consumer) || self.parent.is_none()
    }
}

/// A span by its beginning and its number: the earliest is the least.
type Place = (u64, u64);

/// What the spans of a trace say together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    pub(crate) spans: u64,
    pub(crate) errors: u64,
    /// The earliest span without parent.
    root: Option<Place>,
    /// The earliest span.
    first: Place,
    /// Spans and errors of each service.
    pub(crate) services: Vec<(Name, u64, u64)>,
}

impl Summary {
    pub(super) fn add(&mut self, number: u64, span: &SpanFacts) {
        let place = (span.start_ns, number);
        let is_first = self.spans == 0;
        self.start_ns = if is_first { span.start_ns } else { self.start_ns.min(span.start_ns) };
        self.end_ns = self.end_ns.max(span.end_ns);
        self.first = if is_first { place } else { self.first.min(place) };
        self.spans += 1;
        let error = u64::from(span.is_error);
        self.errors += error;
        if span.parent.is_none() && self.root.is_none_or(|root| place < root) {
            self.root = Some(place);
        }
        match self.services.iter_mut().find(|(service, ..)| *service == span.service) {
            Some((_, spans, errors)) => {
                *spans += 1;
                *errors += error;
            }
            None => self.services.push((span.service, 1, error)),
        }
    }

    pub(crate) fn duration_ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.start_ns)
    }

    pub(crate) fn has_root(&self) -> bool {
        self.root.is_some()
    }

    /// The number of the span by which the trace is named: its earliest root, else its earliest span.
    pub(crate) fn named_by(&self) -> u64 {
        self.root.unwrap_or(self.first).1
    }
}
