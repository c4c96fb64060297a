//! Spans by arrival, with an index by trace id.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::SignalCounts;
#[cfg(feature = "window")]
use super::names::Names;
#[cfg(feature = "window")]
use super::span_facts::{SpanFacts, Summary};
use crate::span::Span;

/// One span held.
pub(crate) struct Stored {
    pub(crate) span: Arc<Span>,
    /// Memory of the resource and scope that the spans of one request share is charged to its first span.
    bytes: usize,
    #[cfg(feature = "window")]
    pub(crate) facts: SpanFacts,
}

/// The numbers of the spans of one trace, oldest arrival first.
#[derive(Default)]
struct Trace {
    numbers: VecDeque<u64>,
    #[cfg(feature = "window")]
    summary: Summary,
    /// Whether spans of it were evicted, which the summary still has in it.
    #[cfg(feature = "window")]
    is_partial: bool,
}

/// Memory of a trace beside its spans.
const TRACE_BYTES: u64 = 320;

pub(crate) struct TraceStore {
    limit_bytes: usize,
    /// The number of the oldest span held: each gets the next one, also after everything was forgotten.
    first_number: u64,
    spans: VecDeque<Stored>,
    by_trace: HashMap<u128, Trace>,
    #[cfg(feature = "window")]
    services: Names,
    /// Of spans.
    #[cfg(feature = "window")]
    names: Names,
    counts: SignalCounts,
}

impl TraceStore {
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            first_number: 0,
            spans: VecDeque::new(),
            by_trace: HashMap::new(),
            #[cfg(feature = "window")]
            services: Names::default(),
            #[cfg(feature = "window")]
            names: Names::default(),
            counts: SignalCounts::default(),
        }
    }

    pub(crate) fn spans(&self) -> impl Iterator<Item = &Arc<Span>> {
        self.spans.iter().map(|stored| &stored.span)
    }

    pub(super) fn trace(&self, trace_id: &str) -> Vec<Arc<Span>> {
        let Some(trace) = number(trace_id).and_then(|id| self.by_trace.get(&id)) else { return Vec::new() };
        trace.numbers.iter().filter_map(|number| self.stored(*number)).map(|stored| Arc::clone(&stored.span)).collect()
    }

    fn stored(&self, number: u64) -> Option<&Stored> {
        self.spans.get(usize::try_from(number.checked_sub(self.first_number)?).ok()?)
    }

    pub(super) fn counts(&self) -> SignalCounts {
        SignalCounts { held_bytes: self.bytes(), ..self.counts }
    }

    /// With what is not of one span.
    fn bytes(&self) -> u64 {
        #[cfg(feature = "window")]
        let names = self.services.bytes() + self.names.bytes();
        #[cfg(not(feature = "window"))]
        let names = 0;
        self.counts.held_bytes + self.by_trace.len() as u64 * TRACE_BYTES + names
    }

    pub(super) fn clear(&mut self) {
        let first_number = self.next_number();
        *self = Self { first_number, ..Self::new(self.limit_bytes) };
    }

    /// The number that the next span will get.
    pub(crate) fn next_number(&self) -> u64 {
        self.first_number + self.spans.len() as u64
    }

    pub(crate) fn reject(&mut self, number: u64) {
        self.counts.rejected += number;
    }

    /// Counts spans that were not stored, because an import found them here.
    #[cfg(feature = "window")]
    pub(crate) fn repeat(&mut self, number: u64) {
        self.counts.duplicates += number;
    }

    /// Stores a span; `shared_bytes` is the memory of parts that it is the first to hold.
    pub(crate) fn push(&mut self, span: Span, shared_bytes: usize) {
        let number_of_span = self.next_number();
        let bytes = span.size() + shared_bytes + size_of::<Stored>();
        self.counts.received += 1;
        self.counts.held += 1;
        self.counts.held_bytes += bytes as u64;
        let trace = self.by_trace.entry(number(&span.trace_id).unwrap_or_default()).or_default();
        trace.numbers.push_back(number_of_span);
        #[cfg(feature = "window")]
        let facts = SpanFacts::of(&span, &mut self.services, &mut self.names);
        #[cfg(feature = "window")]
        trace.summary.add(number_of_span, &facts);
        self.spans.push_back(Stored {
            span: Arc::new(span),
            bytes,
            #[cfg(feature = "window")]
            facts,
        });
        while self.bytes() > self.limit_bytes as u64 {
            if !self.evict_oldest() {
                break;
            }
        }
    }

    fn evict_oldest(&mut self) -> bool {
        let Some(stored) = self.spans.pop_front() else {
            return false;
        };
        self.first_number += 1;
        self.counts.held -= 1;
        self.counts.held_bytes -= stored.bytes as u64;
        self.counts.evicted += 1;
        #[cfg(feature = "window")]
        {
            self.services.give_back(stored.facts.service);
            self.names.give_back(stored.facts.name);
        }
        let id = number(&stored.span.trace_id).unwrap_or_default();
        if let Some(trace) = self.by_trace.get_mut(&id) {
            // Arrival order within the trace is arrival order overall.
            trace.numbers.pop_front();
            #[cfg(feature = "window")]
            {
                trace.is_partial = true;
            }
            if trace.numbers.is_empty() {
                self.by_trace.remove(&id);
            }
        }
        true
    }
}

/// An id as a number; `None` if it is none.
fn number(trace_id: &str) -> Option<u128> {
    u128::from_str_radix(trace_id, 16).ok()
}

/// One trace in place.
#[cfg(feature = "window")]
#[derive(Clone, Copy)]
pub(crate) struct TraceInPlace<'a> {
    store: &'a TraceStore,
    trace: &'a Trace,
}

#[cfg(feature = "window")]
impl<'a> TraceInPlace<'a> {
    /// The number of its oldest span held.
    pub(crate) fn first_number(self) -> u64 {
        self.trace.numbers.front().copied().unwrap_or_default()
    }

    /// Its spans with their numbers, oldest arrival first.
    pub(crate) fn spans(self) -> impl Iterator<Item = (u64, &'a Stored)> {
        self.trace.numbers.iter().filter_map(move |number| Some((*number, self.store.stored(*number)?)))
    }

    /// What its spans that are held say together.
    pub(crate) fn summary(self) -> std::borrow::Cow<'a, Summary> {
        if !self.trace.is_partial {
            return std::borrow::Cow::Borrowed(&self.trace.summary);
        }
        let mut summary = Summary::default();
        self.spans().for_each(|(number, stored)| summary.add(number, &stored.facts));
        std::borrow::Cow::Owned(summary)
    }
}

#[cfg(feature = "window")]
impl TraceStore {
    /// All spans held, oldest arrival first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Stored> {
        self.spans.iter()
    }

    /// The span of this number, if it is held.
    pub(crate) fn numbered(&self, number: u64) -> Option<&Stored> {
        self.stored(number)
    }

    /// All traces, in no order.
    pub(crate) fn traces(&self) -> impl Iterator<Item = (u128, TraceInPlace<'_>)> {
        self.by_trace.iter().map(|(id, trace)| (*id, TraceInPlace { store: self, trace }))
    }

    pub(crate) fn trace_in_place(&self, id: u128) -> Option<TraceInPlace<'_>> {
        Some(TraceInPlace { store: self, trace: self.by_trace.get(&id)? })
    }

    /// Whether a span of this trace is held.
    pub(crate) fn has_trace(&self, trace_id: &str) -> bool {
        number(trace_id).is_some_and(|id| self.by_trace.contains_key(&id))
    }

    /// The services of the spans held.
    pub(crate) fn services(&self) -> &Names {
        &self.services
    }

    /// The names of the spans held.
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }
}
