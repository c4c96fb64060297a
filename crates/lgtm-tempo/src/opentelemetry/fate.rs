//! Keep rules and probabilities for spans of the SDK: what becomes of the trace of each open span. Caller threads.
//!
//! Nothing is kept here for programs whose sampler is certain and that have no rules.

use std::collections::HashMap;
use std::sync::Arc;

use lgtm_core::span::{KeepRules, UndecidedTrace};
use lgtm_core::{Sampler, unix_nanos};
use opentelemetry::trace::{SpanContext, SpanId};
use parking_lot::Mutex;

/// What is known of a span's trace.
#[derive(Clone, Debug)]
pub(super) struct Fate {
    /// With which probability the head sampler of this process keeps it; 0: another one's decision was followed.
    pub(super) probability: f64,
    /// Set while, or since, the keep rules are asked.
    pub(super) undecided: Option<Arc<UndecidedTrace>>,
    /// The local root, whose end decides.
    pub(super) root: SpanId,
}

/// The fates of all open spans.
#[derive(Debug)]
pub(super) struct Fates {
    sampler: Sampler,
    rules: Option<KeepRules>,
    open: [Mutex<HashMap<SpanId, Fate>>; 16],
}

impl Fates {
    pub(super) fn new(sampler: Sampler, rules: Option<KeepRules>) -> Self {
        Self { sampler, rules, open: std::array::from_fn(|_| Mutex::default()) }
    }

    /// Whether a span whose trace is left out is recorded all the same: the rules may want it.
    pub(super) fn records_all(&self) -> bool {
        self.rules.is_some()
    }

    /// A span begins; `parent` is not valid for a root.
    pub(super) fn begin(&self, span: &SpanContext, parent: &SpanContext) {
        let fate = if parent.is_valid() && !parent.is_remote() {
            // A parent that is not known any more has ended: its trace's fate is settled.
            self.of(parent.span_id())
        } else {
            let remote = parent.is_valid().then(|| parent.is_sampled());
            self.of_root(span, self.sampler.probability(remote).unwrap_or(0.0))
        };
        if let (Some(fate), Some(open)) = (fate, self.shard(span.span_id())) {
            open.lock().insert(span.span_id(), fate);
        }
    }

    fn of_root(&self, span: &SpanContext, probability: f64) -> Option<Fate> {
        let uncertain = probability > 0.0 && probability < 1.0;
        let undecided = match self.rules {
            // A trace that is kept with certainty has nothing to wait for.
            Some(rules) if !span.is_sampled() || uncertain => {
                Some(UndecidedTrace::begin(rules, span.is_sampled(), probability, unix_nanos()))
            }
            _ => None,
        };
        (uncertain || undecided.is_some()).then(|| Fate { probability, undecided, root: span.span_id() })
    }

    /// What becomes of an open span's trace; `None`: what its sampled flag says.
    pub(super) fn of(&self, span: SpanId) -> Option<Fate> {
        self.shard(span)?.lock().get(&span).cloned()
    }

    /// The span has ended.
    pub(super) fn end(&self, span: SpanId) -> Option<Fate> {
        self.shard(span)?.lock().remove(&span)
    }

    fn shard(&self, span: SpanId) -> Option<&Mutex<HashMap<SpanId, Fate>>> {
        let [.., last] = span.to_bytes();
        self.open.get(usize::from(last % 16))
    }
}
