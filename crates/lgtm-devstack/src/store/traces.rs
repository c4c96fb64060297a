//! Spans by arrival, with an index by trace id.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::SignalCounts;
use crate::span::Span;

/// Memory of the resource and scope that the spans of one request share is charged to its first span.
struct Stored {
    span: Arc<Span>,
    bytes: usize,
}

pub(crate) struct TraceStore {
    limit_bytes: usize,
    /// The number of the oldest span held: each gets the next one, also after everything was forgotten.
    first_number: u64,
    spans: VecDeque<Stored>,
    by_trace: HashMap<String, VecDeque<Arc<Span>>>,
    counts: SignalCounts,
}

impl TraceStore {
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            first_number: 0,
            spans: VecDeque::new(),
            by_trace: HashMap::new(),
            counts: SignalCounts::default(),
        }
    }

    pub(crate) fn spans(&self) -> impl Iterator<Item = &Arc<Span>> {
        self.spans.iter().map(|stored| &stored.span)
    }

    pub(super) fn trace(&self, trace_id: &str) -> Vec<Arc<Span>> {
        self.by_trace
            .get(&trace_id.to_ascii_lowercase())
            .map(|spans| spans.iter().cloned().collect())
            .unwrap_or_default()
    }

    pub(super) fn counts(&self) -> SignalCounts {
        self.counts
    }

    pub(super) fn clear(&mut self) {
        let first_number = self.next_number();
        *self = Self { first_number, ..Self::new(self.limit_bytes) };
    }

    /// The number of the oldest span held.
    #[cfg(feature = "window")]
    pub(crate) fn first_number(&self) -> u64 {
        self.first_number
    }

    /// The number that the next span will get.
    pub(crate) fn next_number(&self) -> u64 {
        self.first_number + self.spans.len() as u64
    }

    /// Whether a span of this trace is held; the id in lower case.
    #[cfg(feature = "window")]
    pub(crate) fn has_trace(&self, trace_id: &str) -> bool {
        self.by_trace.contains_key(trace_id)
    }

    pub(crate) fn reject(&mut self, number: u64) {
        self.counts.rejected += number;
    }

    /// Stores a span; `shared_bytes` is the memory of parts that it is the first to hold.
    pub(crate) fn push(&mut self, span: Span, shared_bytes: usize) {
        let span = Arc::new(span);
        let bytes = span.size() + shared_bytes;
        self.counts.received += 1;
        self.counts.held += 1;
        self.counts.held_bytes += bytes as u64;
        self.by_trace.entry(span.trace_id.clone()).or_default().push_back(Arc::clone(&span));
        self.spans.push_back(Stored { span, bytes });
        while self.counts.held_bytes > self.limit_bytes as u64 {
            if !self.evict_oldest() {
                break;
            }
        }
    }

    fn evict_oldest(&mut self) -> bool {
        let Some(Stored { span, bytes }) = self.spans.pop_front() else {
            return false;
        };
        self.first_number += 1;
        self.counts.held -= 1;
        self.counts.held_bytes -= bytes as u64;
        self.counts.evicted += 1;
        if let Some(trace) = self.by_trace.get_mut(&span.trace_id) {
            // Arrival order within the trace is arrival order overall.
            trace.pop_front();
            if trace.is_empty() {
                self.by_trace.remove(&span.trace_id);
            }
        }
        true
    }
}
