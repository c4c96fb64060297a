//! Exemplars: the newest traced sample of each bucket of a histogram.
//! Written by caller threads, read by the worker; nobody waits for anybody.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use lgtm_core::span::undecided::{ExemplarSink, WaitingExemplar, await_decision};
use lgtm_core::{SpanId, TraceContext, TraceId};
use parking_lot::Mutex;

use crate::push::FUTURE;

/// One sample and the span it was recorded in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Exemplar {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
    pub(crate) value: f64,
    /// Milliseconds since the Unix epoch.
    pub(crate) timestamp: i64,
}

/// A place for an exemplar for each bucket of one histogram. Allocated with the first exemplar, so that programs without
/// traces pay one pointer.
#[derive(Debug, Default)]
pub(crate) struct Exemplars {
    buckets: usize,
    places: OnceLock<Box<[Place]>>,
}

#[derive(Debug, Default)]
struct Place {
    /// The timestamp of the newest.
    taken: AtomicI64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    newest: Option<Exemplar>,
    /// The timestamp of the last exemplar that was pushed.
    pushed: i64,
}

/// The current trace, if it is one that is kept, or may be: a link to another leads nowhere.
#[inline]
pub(crate) fn current_trace() -> Option<TraceContext> {
    lgtm_core::current::trace().filter(|trace| trace.sampled || trace.is_undecided())
}

impl Exemplars {
    pub(crate) fn new(buckets: usize) -> Arc<Self> {
        Arc::new(Self { buckets, places: OnceLock::new() })
    }

    /// Whether the bucket has an exemplar of this millisecond: a later one of the same would not be pushed.
    #[inline]
    pub(crate) fn has_one_of(&self, bucket: usize, timestamp: i64) -> bool {
        let place = self.places.get().and_then(|places| places.get(bucket));
        place.is_some_and(|place| place.taken.load(Ordering::Relaxed) == timestamp)
    }

    /// A sample was taken in a trace whose fate is open: its exemplar waits.
    #[cold]
    pub(crate) fn await_decision(self: &Arc<Self>, bucket: usize, trace: TraceContext, value: f64, timestamp: i64) {
        let sink: Arc<dyn ExemplarSink> = Arc::clone(self) as _;
        await_decision(&sink, WaitingExemplar { bucket, trace, value, timestamp });
    }

    /// Keeps this sample as the newest of its bucket, unless another thread is at that bucket's place right now: then one
    /// of the two stays, and both are equally good.
    #[inline]
    pub(crate) fn offer(&self, bucket: usize, trace: &TraceContext, value: f64, timestamp: i64) {
        let places = self.places.get_or_init(|| (0..self.buckets).map(|_| Place::default()).collect());
        let Some(place) = places.get(bucket) else { return };
        if let Some(mut kept) = place.kept.try_lock() {
            place.taken.store(timestamp, Ordering::Relaxed);
            kept.newest = Some(Exemplar { trace_id: trace.trace_id, span_id: trace.span_id, value, timestamp });
        }
    }

    pub(crate) fn restart(&self) {
        for place in self.places.get().into_iter().flatten() {
            *place.kept.lock() = Kept::default();
            place.taken.store(0, Ordering::Relaxed);
        }
    }

    /// The newest exemplar of a bucket.
    pub(crate) fn newest(&self, bucket: usize) -> Option<Exemplar> {
        self.places.get()?.get(bucket)?.kept.lock().newest
    }

    /// The newest exemplar of a bucket if it is newer than the last one that this returned: a backend refuses an exemplar
    /// that is not, and with it the whole request.
    pub(crate) fn unpushed(&self, bucket: usize) -> Option<Exemplar> {
        let mut kept = self.places.get()?.get(bucket)?.kept.lock();
        // One that was further ahead than backends take says nothing of what is refused now: the clock has been set right.
        let is_new = |time: i64| time > kept.pushed || kept.pushed.saturating_sub(time) > FUTURE;
        let newest = kept.newest.filter(|newest| is_new(newest.timestamp))?;
        kept.pushed = newest.timestamp;
        Some(newest)
    }
}

impl ExemplarSink for Exemplars {
    fn publish(&self, exemplar: &WaitingExemplar) {
        self.offer(exemplar.bucket, &exemplar.trace, exemplar.value, exemplar.timestamp);
    }
}

/// When the sample was taken: milliseconds since the Unix epoch.
pub(crate) fn unix_milliseconds() -> i64 {
    i64::try_from(lgtm_core::current::unix_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace() -> TraceContext {
        TraceContext::new(TraceId::random(), SpanId::random(), true)
    }

    #[test]
    fn each_exemplar_is_pushed_once_and_only_if_newer() {
        let exemplars = Exemplars::new(2);
        assert_eq!(exemplars.unpushed(0), None);
        exemplars.offer(0, &trace(), 1.0, 10);
        exemplars.offer(0, &trace(), 2.0, 11);
        assert_eq!(exemplars.unpushed(0).map(|exemplar| exemplar.value), Some(2.0));
        assert_eq!(exemplars.unpushed(0), None);
        exemplars.offer(0, &trace(), 3.0, 11);
        assert_eq!(exemplars.unpushed(0), None, "the same millisecond is not newer");
        assert_eq!(exemplars.newest(0).map(|exemplar| exemplar.value), Some(3.0));
        exemplars.offer(0, &trace(), 4.0, 12);
        assert_eq!(exemplars.unpushed(0).map(|exemplar| exemplar.value), Some(4.0));
        assert_eq!(exemplars.newest(1), None);
    }

    #[test]
    fn a_clock_that_was_far_ahead_stops_no_exemplars_once_it_is_set_right() {
        let exemplars = Exemplars::new(1);
        exemplars.offer(0, &trace(), 1.0, 1_000 + 60 * 60 * 1000);
        assert!(exemplars.unpushed(0).is_some());
        exemplars.offer(0, &trace(), 2.0, 2_000);
        assert_eq!(exemplars.unpushed(0).map(|exemplar| exemplar.value), Some(2.0));
        assert_eq!(exemplars.unpushed(0), None);
    }

    #[test]
    fn a_bucket_tells_whether_it_has_an_exemplar_of_a_millisecond() {
        let exemplars = Exemplars::new(2);
        assert!(!exemplars.has_one_of(0, 7));
        exemplars.offer(0, &trace(), 1.0, 7);
        assert!(exemplars.has_one_of(0, 7));
        assert!(!exemplars.has_one_of(0, 8) && !exemplars.has_one_of(1, 7));
        exemplars.restart();
        assert!(!exemplars.has_one_of(0, 7));
    }

    #[test]
    fn a_place_in_use_is_skipped_instead_of_waited_for() {
        let exemplars = Exemplars::new(2);
        exemplars.offer(0, &trace(), 1.0, 1);
        let held = exemplars.places.get().unwrap()[0].kept.lock();
        exemplars.offer(0, &trace(), 2.0, 2);
        drop(held);
        assert_eq!(exemplars.newest(0).map(|exemplar| exemplar.value), Some(1.0));
    }
}
