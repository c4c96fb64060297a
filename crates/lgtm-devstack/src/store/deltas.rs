//! Delta streams of OTLP added up to cumulative ones, in bounded memory: the streams that were silent longest are forgotten first. Under the lock
//! of the [store](super), by the task that handles a request.
//!
//! As the OpenTelemetry Collector's `deltatocumulative` does it: a stream is what has the same resource, scope, metric and attributes; a point that
//! ends no later than the one before is refused, gaps and overlaps are added up and counted. Unlike there, a point that comes again is known as
//! a repetition.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hasher;
use std::sync::Arc;

use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use prost::Message;

use crate::exponential::Exponential;

/// What all streams may take, in bytes.
pub(super) const MAX_BYTES: usize = 32 << 20;

const MILLISECOND_NS: u64 = 1_000_000;

/// What became of the points of delta temporality.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeltaCounts {
    /// Streams whose sums are held now.
    pub streams: u64,
    /// Points that were added up.
    pub added: u64,
    /// Those of them that began after the end of the one before. Nothing happened in between, or what told of it is lost.
    pub gaps: u64,
    /// Those of them that began before the end of the one before: two programs say that they are the same one.
    pub overlaps: u64,
    /// Points that came again, ignored.
    pub repeated: u64,
    /// Points that ended no later than the one before and are not the same, refused.
    pub refused: u64,
    /// Streams forgotten to stay under the limit: what comes of them begins at zero again.
    pub forgotten: u64,
}

/// What tells streams apart, encoded.
pub(crate) type StreamId = Vec<u8>;

/// What was added up.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Total {
    Number(Value),
    Explicit { bounds: Vec<f64>, counts: Vec<u64>, count: u64, sum: Option<f64> },
    Exponential(Exponential),
}

impl Total {
    /// One of the same form before anything happened.
    pub(crate) fn zero(&self) -> Self {
        match self {
            Self::Number(Value::AsInt(_)) => Self::Number(Value::AsInt(0)),
            Self::Number(Value::AsDouble(_)) => Self::Number(Value::AsDouble(0.0)),
            Self::Explicit { bounds, counts, sum, .. } => Self::Explicit {
                bounds: bounds.clone(),
                counts: vec![0; counts.len()],
                count: 0,
                sum: sum.map(|_| 0.0),
            },
            Self::Exponential(histogram) => Self::Exponential(histogram.zero()),
        }
    }

    /// Where the forms differ there is nothing to add to: it begins anew.
    fn add(&mut self, delta: Self) {
        match (&mut *self, delta) {
            (Self::Number(own), Self::Number(more)) => *own = sum_of(*own, more),
            (
                Self::Explicit { bounds, counts, count, sum },
                Self::Explicit { bounds: same, counts: more, count: others, sum: rest },
            ) if *bounds == same && counts.len() == more.len() => {
                *count = count.saturating_add(others);
                *sum = sum.zip(rest).map(|(sum, rest)| sum + rest);
                for (own, more) in counts.iter_mut().zip(more) {
                    *own = own.saturating_add(more);
                }
            }
            (Self::Exponential(own), Self::Exponential(more)) => own.add(more),
            (own, other) => *own = other,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Number(_) => 0,
            Self::Explicit { bounds, counts, .. } => 8 * (bounds.len() + counts.len()),
            Self::Exponential(histogram) => 24 * histogram.buckets(),
        }
    }
}

fn sum_of(one: Value, other: Value) -> Value {
    let double = |value| match value {
        Value::AsInt(value) => value as f64,
        Value::AsDouble(value) => value,
    };
    if let (Value::AsInt(one), Value::AsInt(other)) = (one, other)
        && let Some(sum) = one.checked_add(other)
    {
        return Value::AsInt(sum);
    }
    Value::AsDouble(double(one) + double(other))
}

/// What happened in a span of time, in nanoseconds since 1970.
pub(crate) struct Delta {
    /// 0 if it was not told.
    pub(crate) begin_ns: u64,
    pub(crate) end_ns: u64,
    /// Of the point as it came, to know it again.
    pub(crate) fingerprint: u64,
    pub(crate) amount: Total,
}

/// The fingerprint of a point.
pub(crate) fn fingerprint(point: &impl Message) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(&point.encode_to_vec());
    hasher.finish()
}

/// What a delta has become.
pub(crate) struct Taken {
    pub(crate) total: Total,
    /// When the total was that, in milliseconds since 1970. A series has one sample a millisecond: of two that end in one, the later is told later.
    pub(crate) at_ms: u64,
    /// Whether the stream began with it: before there was nothing.
    pub(crate) is_first: bool,
    /// Whether it began before the end of the one before.
    pub(crate) overlaps: bool,
}

struct Stream {
    total: Total,
    end_ns: u64,
    at_ms: u64,
    newest: u64,
    /// Its place in the order of use.
    used: u64,
    bytes: usize,
}

pub(crate) struct Deltas {
    limit_bytes: usize,
    streams: HashMap<Arc<StreamId>, Stream>,
    by_use: BTreeMap<u64, Arc<StreamId>>,
    uses: u64,
    bytes: usize,
    counts: DeltaCounts,
}

impl Deltas {
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            streams: HashMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
            bytes: 0,
            counts: DeltaCounts::default(),
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.limit_bytes);
    }

    pub(super) fn counts(&self) -> DeltaCounts {
        DeltaCounts { streams: self.streams.len() as u64, ..self.counts }
    }

    /// Adds what happened to what happened before.
    ///
    /// # Errors
    /// If it ends no later than what was added last, and is not the same again.
    pub(crate) fn take(&mut self, id: &StreamId, delta: Delta) -> Result<Taken, String> {
        let Delta { begin_ns, end_ns, fingerprint, amount } = delta;
        let Some(mut stream) = self.remove(id) else {
            self.counts.added += 1;
            let at_ms = end_ns / MILLISECOND_NS;
            let taken = Taken { total: amount.clone(), at_ms, is_first: true, overlaps: false };
            self.insert(id.clone(), Stream { total: amount, end_ns, at_ms, newest: fingerprint, used: 0, bytes: 0 });
            return Ok(taken);
        };
        if end_ns <= stream.end_ns {
            let is_repeated = end_ns == stream.end_ns && fingerprint == stream.newest;
            let taken = if is_repeated {
                self.counts.repeated += 1;
                Ok(Taken { total: stream.total.clone(), at_ms: stream.at_ms, is_first: false, overlaps: false })
            } else {
                self.counts.refused += 1;
                Err(format!(
                    "the delta until {end_ns} ends no later than the one before, which ended at {}",
                    stream.end_ns
                ))
            };
            self.insert(id.clone(), stream);
            return taken;
        }
        let overlaps = begin_ns != 0 && begin_ns < stream.end_ns;
        self.counts.added += 1;
        self.counts.gaps += u64::from(begin_ns > stream.end_ns);
        self.counts.overlaps += u64::from(overlaps);
        stream.total.add(amount);
        stream.end_ns = end_ns;
        stream.newest = fingerprint;
        stream.at_ms = (end_ns / MILLISECOND_NS).max(stream.at_ms + 1);
        let taken = Taken { total: stream.total.clone(), at_ms: stream.at_ms, is_first: false, overlaps };
        self.insert(id.clone(), stream);
        Ok(taken)
    }

    /// Forgets a stream that has ended.
    pub(crate) fn end(&mut self, id: &StreamId) {
        drop(self.remove(id));
    }

    fn remove(&mut self, id: &StreamId) -> Option<Stream> {
        let stream = self.streams.remove(id)?;
        self.by_use.remove(&stream.used);
        self.bytes -= stream.bytes;
        Some(stream)
    }

    fn insert(&mut self, id: StreamId, mut stream: Stream) {
        self.uses += 1;
        stream.used = self.uses;
        stream.bytes = 256 + id.len() + stream.total.bytes();
        self.bytes += stream.bytes;
        let id = Arc::new(id);
        self.by_use.insert(stream.used, Arc::clone(&id));
        self.streams.insert(id, stream);
        while self.bytes > self.limit_bytes {
            let Some((_, oldest)) = self.by_use.pop_first() else { return };
            if let Some(stream) = self.streams.remove(&oldest) {
                self.bytes -= stream.bytes;
                self.counts.forgotten += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(begin: u64, end: u64, amount: i64) -> Delta {
        let [begin_ns, end_ns] = [begin, end].map(|milliseconds| milliseconds * MILLISECOND_NS);
        Delta {
            begin_ns,
            end_ns,
            fingerprint: end ^ amount.unsigned_abs(),
            amount: Total::Number(Value::AsInt(amount)),
        }
    }

    fn total(taken: &Taken) -> i64 {
        match taken.total {
            Total::Number(Value::AsInt(total)) => total,
            _ => panic!("another form"),
        }
    }

    #[test]
    fn gaps_and_overlaps_are_added_and_counted_and_what_goes_back_is_refused() {
        let (mut deltas, id) = (Deltas::new(MAX_BYTES), b"stream".to_vec());
        let first = deltas.take(&id, delta(10, 20, 1)).unwrap();
        assert!(first.is_first && !first.overlaps);
        assert_eq!(total(&deltas.take(&id, delta(20, 30, 2)).unwrap()), 3);
        assert_eq!(total(&deltas.take(&id, delta(35, 40, 4)).unwrap()), 7);
        let overlapping = deltas.take(&id, delta(39, 50, 8)).unwrap();
        assert_eq!((total(&overlapping), overlapping.overlaps), (15, true));
        let again = deltas.take(&id, delta(39, 50, 8)).unwrap();
        assert_eq!((total(&again), again.at_ms), (15, 50));
        assert!(deltas.take(&id, delta(50, 50, 16)).is_err_and(|problem| problem.contains("ended at 50000000")));
        assert!(deltas.take(&id, delta(20, 45, 16)).is_err());
        let counts = deltas.counts();
        assert_eq!((counts.streams, counts.added, counts.gaps, counts.overlaps), (1, 4, 1, 1));
        assert_eq!((counts.repeated, counts.refused, counts.forgotten), (1, 2, 0));
    }

    #[test]
    fn two_points_of_one_millisecond_are_told_one_after_the_other() {
        let (mut deltas, id) = (Deltas::new(MAX_BYTES), Vec::new());
        let at = |end_ns| Delta { begin_ns: 0, end_ns, fingerprint: end_ns, amount: Total::Number(Value::AsInt(1)) };
        let times: Vec<u64> =
            [5_000_000, 5_000_001, 5_000_002, 9_000_000].map(|end| deltas.take(&id, at(end)).unwrap().at_ms).into();
        assert_eq!(times, [5, 6, 7, 9]);
    }

    #[test]
    fn at_the_limit_the_stream_that_was_silent_longest_is_forgotten() {
        let mut deltas = Deltas::new(3 * 300);
        for id in [b"a", b"b", b"c", b"a", b"d"] {
            let end = deltas.uses + 10;
            deltas.take(&id.to_vec(), delta(end - 1, end, 1)).unwrap();
        }
        assert_eq!((deltas.counts().streams, deltas.counts().forgotten), (3, 1));
        assert_eq!(total(&deltas.take(&b"a".to_vec(), delta(90, 91, 1)).unwrap()), 3);
        assert!(deltas.take(&b"b".to_vec(), delta(90, 91, 1)).unwrap().is_first);
        assert_eq!(deltas.by_use.len(), deltas.streams.len());
    }

    #[test]
    fn sums_that_leave_the_integers_go_on_as_floats_and_other_bounds_begin_anew() {
        assert_eq!(sum_of(Value::AsInt(i64::MAX), Value::AsInt(1)), Value::AsDouble(2_f64.powi(63)));
        assert_eq!(sum_of(Value::AsInt(1), Value::AsDouble(0.5)), Value::AsDouble(1.5));
        let explicit =
            |bound: f64| Total::Explicit { bounds: vec![bound], counts: vec![1, 2], count: 3, sum: Some(4.0) };
        let mut total = explicit(1.0);
        total.add(explicit(1.0));
        let twice = Total::Explicit { bounds: vec![1.0], counts: vec![2, 4], count: 6, sum: Some(8.0) };
        assert_eq!(total, twice);
        total.add(explicit(2.0));
        assert_eq!(total, explicit(2.0));
        assert_eq!(total.zero(), Total::Explicit { bounds: vec![2.0], counts: vec![0, 0], count: 0, sum: Some(0.0) });
    }
}
