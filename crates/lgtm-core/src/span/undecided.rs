//! Traces whose fate is open until their local root closes: the keep rules. Caller threads.
//!
//! The head sampler decides at the start; a trace that it leaves out is kept all the same if something in it fails or its
//! local root takes too long. Until that is known its spans and exemplars wait here, bounded in bytes, and are published or
//! discarded together. Spans that close after their root follow its decision.
//!
//! Lock order: a trace's state, then the list of traces. No record's lock is held while a trace publishes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::catalogue;
use crate::clock;
use crate::current::TraceContext;
use crate::pipeline::Queue;
use crate::suppress::suppressed;

/// What keeps a trace that the head sampler leaves out.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct KeepRules {
    /// A span of this process with the status Error. Default: true.
    pub errors: bool,
    /// A local root that takes longer than this. Default: 500 ms; `None`: its duration does not matter.
    pub slower_than: Option<Duration>,
    /// Bytes of the spans of one trace that wait; with more the trace is decided at once. Default: 256 KiB.
    pub trace_bytes: usize,
    /// Bytes of all spans that wait in this process; with more a trace is decided at once. Default: 4 MiB.
    pub all_bytes: usize,
    /// How long a trace may wait: what closes later decides it at once. Default: 60 s.
    pub longest_wait: Duration,
}

impl Default for KeepRules {
    fn default() -> Self {
        Self {
            errors: true,
            slower_than: Some(Duration::from_millis(500)),
            trace_bytes: 256 * 1024,
            all_bytes: 4 * 1024 * 1024,
            longest_wait: Duration::from_secs(60),
        }
    }
}

/// Why a trace was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum KeepReason {
    /// The head sampler chose it.
    Head = 1,
    /// A span failed.
    Error = 2,
    /// The local root was slow.
    Slow = 3,
}

impl KeepReason {
    /// The reason's name, as the attribute `lgtm.sampling.reason` says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Error => "error",
            Self::Slow => "slow",
        }
    }
}

/// Where a sample's exemplar is published once its trace is kept.
pub trait ExemplarSink: Send + Sync {
    /// The exemplar of a kept trace.
    fn publish(&self, exemplar: &WaitingExemplar);
}

/// An exemplar of a trace whose fate is open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WaitingExemplar {
    /// The histogram's bucket.
    pub bucket: usize,
    /// The place in the trace.
    pub trace: TraceContext,
    /// The sample.
    pub value: f64,
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
}

/// Writes a waiting span as an item of its queue: the content as it was given, and why its trace was kept.
pub type WriteKept = fn(&mut Vec<u8>, &[u8], KeepReason, f64);

/// Exemplars that wait in one trace.
const EXEMPLARS: usize = 64;

const WAITING: u8 = 0;
const DISCARDED: u8 = u8::MAX;

/// Bytes of all spans that wait in this process.
static WAITING_BYTES: AtomicUsize = AtomicUsize::new(0);

impl TraceContext {
    /// The same place, in a trace whose spans may wait for the keep rules.
    #[inline]
    pub(super) fn waiting_for(mut self, trace: Option<&UndecidedTrace>) -> Self {
        if let Some(trace) = trace {
            self.sampled |= trace.is_kept() == Some(true);
            self.undecided = trace.open_number();
        }
        self
    }
}

/// The traces that wait, by number: exemplars find them here, and the end of the program.
static TRACES: LazyLock<[Shard; 16]> = LazyLock::new(|| std::array::from_fn(|_| Shard::default()));

type Shard = Mutex<HashMap<u64, Weak<UndecidedTrace>>>;

fn shard(number: u64) -> Option<&'static Shard> {
    TRACES.get((number % 16) as usize)
}

/// One local root with all that happens below it.
pub struct UndecidedTrace {
    /// Never 0.
    number: u64,
    rules: KeepRules,
    /// What the head sampler said.
    head: bool,
    /// The probability with which it says yes; 0: unknown.
    probability: f64,
    /// When the local root was opened: nanoseconds since the Unix epoch.
    start: u64,
    /// [`WAITING`], [`DISCARDED`], or a [`KeepReason`].
    decision: AtomicU8,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    failed: bool,
    content: Vec<u8>,
    spans: Vec<WaitingSpan>,
    exemplars: Vec<(Arc<dyn ExemplarSink>, WaitingExemplar)>,
}

struct WaitingSpan {
    queue: Arc<Queue>,
    stream: u32,
    /// When it closed.
    end: u64,
    length: usize,
    write: WriteKept,
}

impl std::fmt::Debug for UndecidedTrace {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("UndecidedTrace").field("number", &self.number).finish_non_exhaustive()
    }
}

impl UndecidedTrace {
    /// The trace of a new local root, with what the head sampler says of it and with which probability it says yes (0:
    /// unknown). `start`: when the root was opened, in nanoseconds since the Unix epoch.
    pub fn begin(rules: KeepRules, head: bool, probability: f64, start: u64) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let trace = Arc::new(Self {
            number,
            rules,
            head,
            probability,
            start,
            decision: AtomicU8::new(WAITING),
            waiting: Mutex::default(),
        });
        if let Some(shard) = shard(number) {
            shard.lock().insert(number, Arc::downgrade(&trace));
        }
        trace
    }

    /// The trace's number while its fate is open; else 0.
    pub(super) fn open_number(&self) -> u64 {
        if self.decision.load(Ordering::Acquire) == WAITING { self.number } else { 0 }
    }

    /// What was decided; `None` while the fate is open.
    pub(super) fn is_kept(&self) -> Option<bool> {
        match self.decision.load(Ordering::Acquire) {
            WAITING => None,
            decision => Some(decision != DISCARDED),
        }
    }

    /// A span's content waits for the decision, or goes the way that was decided. Never called under a record's lock.
    ///
    /// `end` (nanoseconds since the Unix epoch) is when the span closed, `stream` what the queue's encoder is told.
    pub fn offer(&self, queue: &Arc<Queue>, stream: u32, end: u64, content: &[u8], write: WriteKept) {
        let mut waiting = self.waiting.lock();
        match self.decision.load(Ordering::Acquire) {
            WAITING => {
                let too_large = waiting.content.len() + content.len() > self.rules.trace_bytes;
                let all = WAITING_BYTES.fetch_add(content.len(), Ordering::Relaxed) + content.len();
                waiting.content.extend_from_slice(content);
                waiting.spans.push(WaitingSpan { queue: Arc::clone(queue), stream, end, length: content.len(), write });
                let waits_long = Duration::from_nanos(end.saturating_sub(self.start)) > self.rules.longest_wait;
                if too_large || waits_long || all > self.rules.all_bytes {
                    drop(waiting);
                    self.decide_early(end);
                }
            }
            decision => {
                drop(waiting);
                self.publish_span(queue, (stream, end), content, write, decision);
            }
        }
    }

    fn publish_span(&self, queue: &Queue, place: (u32, u64), content: &[u8], write: WriteKept, decision: u8) {
        let Some(reason) = reason(decision) else { return };
        let probability = if reason == KeepReason::Head { self.probability } else { 1.0 };
        queue.admit(place.0, place.1, |buffer| write(buffer, content, reason, probability));
    }

    /// A span of the trace has ended; `root`: the local root, which decides. Never called under a record's lock. Spans that a
    /// layer sees through its attachment are told of by that.
    pub fn span_ended(&self, failed: bool, root: bool, end: u64) {
        if failed {
            self.waiting.lock().failed = true;
        }
        if root {
            self.decide(end);
        }
    }

    /// Decides before the local root has closed, by what is known.
    #[cold]
    fn decide_early(&self, now: u64) {
        if let Some(kept) = self.decide(now) {
            let outcome = if kept { "kept" } else { "discarded" };
            // The recorder is the program's: what it traces of this may be decided early again.
            suppressed(|| metrics::counter!(catalogue::SPANS_DECIDED_EARLY_TOTAL, "outcome" => outcome).increment(1));
        }
    }

    /// Decides, publishes or discards what waits. `None` if it was decided before.
    fn decide(&self, now: u64) -> Option<bool> {
        let (decision, waiting) = {
            let mut waiting = self.waiting.lock();
            if self.decision.load(Ordering::Acquire) != WAITING {
                return None;
            }
            let age = Duration::from_nanos(now.saturating_sub(self.start));
            // A trace that is kept for what happened in it is kept with certainty, whatever the head sampler said.
            let decision = if self.rules.errors && waiting.failed {
                KeepReason::Error as u8
            } else if self.rules.slower_than.is_some_and(|limit| age > limit) {
                KeepReason::Slow as u8
            } else if self.head {
                KeepReason::Head as u8
            } else {
                DISCARDED
            };
            self.decision.store(decision, Ordering::Release);
            (decision, std::mem::take(&mut *waiting))
        };
        self.forget();
        WAITING_BYTES.fetch_sub(waiting.content.len(), Ordering::Relaxed);
        let kept = decision != DISCARDED;
        if kept {
            let mut rest = waiting.content.as_slice();
            for span in &waiting.spans {
                let Some((content, after)) = rest.split_at_checked(span.length) else { break };
                rest = after;
                self.publish_span(&span.queue, (span.stream, span.end), content, span.write, decision);
            }
            for (sink, exemplar) in &waiting.exemplars {
                sink.publish(exemplar);
            }
        }
        Some(kept)
    }

    fn forget(&self) {
        if let Some(shard) = shard(self.number) {
            shard.lock().remove(&self.number);
        }
    }
}

impl Drop for UndecidedTrace {
    fn drop(&mut self) {
        if self.decision.load(Ordering::Acquire) == WAITING {
            // The local root was never closed: its registry is gone.
            WAITING_BYTES.fetch_sub(self.waiting.get_mut().content.len(), Ordering::Relaxed);
            self.forget();
        }
    }
}

fn reason(decision: u8) -> Option<KeepReason> {
    [KeepReason::Head, KeepReason::Error, KeepReason::Slow].into_iter().find(|reason| *reason as u8 == decision)
}

/// An exemplar waits until the fate of its trace is known. It is lost if that is known already: the thread has not heard of
/// it yet.
#[cold]
pub fn await_decision(sink: &Arc<dyn ExemplarSink>, exemplar: WaitingExemplar) {
    let number = exemplar.trace.undecided;
    let trace = shard(number).and_then(|shard| shard.lock().get(&number).and_then(Weak::upgrade));
    let Some(trace) = trace else { return };
    let mut waiting = trace.waiting.lock();
    if trace.decision.load(Ordering::Acquire) != WAITING {
        if trace.is_kept() == Some(true) {
            drop(waiting);
            sink.publish(&exemplar);
        }
        return;
    }
    // The newest of each bucket is enough; of too many buckets the oldest goes.
    let same = |(known, waits): &(Arc<dyn ExemplarSink>, WaitingExemplar)| {
        Arc::ptr_eq(known, sink) && waits.bucket == exemplar.bucket
    };
    if let Some(place) = waiting.exemplars.iter().position(same) {
        waiting.exemplars.remove(place);
    } else if waiting.exemplars.len() >= EXEMPLARS {
        waiting.exemplars.remove(0);
    }
    waiting.exemplars.push((Arc::clone(sink), exemplar));
}

/// Decides every trace of which spans wait for this queue: nothing waits beyond the end of the program.
///
/// The end has a deadline: what finds the queue full now is dropped, also where callers wait for space.
pub(crate) fn decide_all(queue: &Queue) {
    suppressed(|| decide_all_now(queue));
}

fn decide_all_now(queue: &Queue) {
    for shard in TRACES.iter() {
        let traces: Vec<_> = shard.lock().values().filter_map(Weak::upgrade).collect();
        for trace in traces {
            let waits_here =
                trace.waiting.lock().spans.iter().any(|span| std::ptr::eq(Arc::as_ptr(&span.queue), queue));
            if waits_here {
                trace.decide_early(clock::end_of(trace.start));
            }
        }
    }
}
