//! What a native histogram means: its kinds, its buckets with their bounds, what makes one invalid, and how it becomes coarser. Pure; wherever one
//! is taken or shown.
//!
//! Source: Prometheus, `model/histogram` (`generic.go`, `histogram.go`, `float_histogram.go`), whose words its errors are in.

use std::collections::BTreeMap;

use crate::store::Sample;
use crate::wire::prometheus::{BucketSpan, Histogram};

/// The coarsest resolution.
pub(crate) const MIN_SCHEMA: i32 = -4;
/// The finest resolution; finer ones become it.
pub(crate) const MAX_SCHEMA: i32 = 8;
/// The finest resolution that is understood at all.
const MAX_RESERVED_SCHEMA: i32 = 52;
/// Buckets by bounds of the sender's own.
const CUSTOM_SCHEMA: i32 = -53;
/// So many empty buckets are written out before a new span is cheaper.
const MAX_EMPTY_BUCKETS: i64 = 2;

/// Which of its bounds belong to a bucket, in the numbers of Prometheus' API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    Upper = 0,
    Lower = 1,
    Neither = 2,
    Both = 3,
}

impl Closed {
    fn of(lower: bool, upper: bool) -> Self {
        match (lower, upper) {
            (false, true) => Self::Upper,
            (true, false) => Self::Lower,
            (false, false) => Self::Neither,
            (true, true) => Self::Both,
        }
    }
}

/// One bucket with what it counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bucket {
    pub(crate) lower: f64,
    pub(crate) upper: f64,
    pub(crate) closed: Closed,
    pub(crate) count: f64,
}

impl Histogram {
    /// Whether its counts are floats.
    pub(crate) fn is_float(&self) -> bool {
        self.count_float.is_some()
    }

    /// Whether its buckets have bounds of the sender's own.
    pub(crate) fn is_custom(&self) -> bool {
        self.schema == CUSTOM_SCHEMA
    }

    /// True for the one by which Prometheus marks the end of a series.
    pub(crate) fn is_stale_marker(&self) -> bool {
        Sample { timestamp_ms: 0, value: self.sum }.is_stale_marker()
    }

    /// The number of observations.
    pub(crate) fn observations(&self) -> f64 {
        self.count_float.unwrap_or(self.count as f64)
    }

    /// The number of observations in the zero bucket.
    pub(crate) fn zero_observations(&self) -> f64 {
        if self.is_float() { self.zero_count_float.unwrap_or_default() } else { self.zero_count as f64 }
    }

    /// The numbers of the positive buckets with what they count.
    pub(crate) fn positive(&self) -> impl Iterator<Item = (i32, f64)> + '_ {
        let counts = Counts::of(self.is_float(), &self.positive_counts, &self.positive_deltas);
        numbers(&self.positive_spans).zip(counts)
    }

    /// The numbers of the negative buckets, by the amount, with what they count.
    pub(crate) fn negative(&self) -> impl Iterator<Item = (i32, f64)> + '_ {
        let counts = Counts::of(self.is_float(), &self.negative_counts, &self.negative_deltas);
        numbers(&self.negative_spans).zip(counts)
    }

    /// All buckets from the lowest on, empty ones too.
    pub(crate) fn buckets(&self) -> Vec<Bucket> {
        let zero = self.zero_threshold;
        if self.is_custom() {
            let bound = |number: i32| match usize::try_from(number) {
                Err(_) => f64::NEG_INFINITY,
                Ok(place) => self.custom_values.get(place).copied().unwrap_or(f64::INFINITY),
            };
            let bucket = |(number, count): (i32, f64)| Bucket {
                lower: bound(number.saturating_sub(1)),
                upper: bound(number),
                closed: Closed::of(number == 0, true),
                count,
            };
            return self.positive().map(bucket).collect();
        }
        let bounds = |number: i32| {
            let (lower, upper) = (bound(number.saturating_sub(1), self.schema), bound(number, self.schema));
            (if lower < zero { zero } else { lower }, upper)
        };
        let mut buckets: Vec<Bucket> = self
            .negative()
            .map(|(number, count)| {
                let (lower, upper) = bounds(number);
                Bucket { lower: -upper, upper: -lower, closed: Closed::of(true, false), count }
            })
            .collect();
        buckets.reverse();
        if self.zero_observations() > 0.0 {
            buckets.push(Bucket { lower: -zero, upper: zero, closed: Closed::Both, count: self.zero_observations() });
        }
        buckets.extend(self.positive().map(|(number, count)| {
            let (lower, upper) = bounds(number);
            Bucket { lower, upper, closed: Closed::of(false, true), count }
        }));
        buckets
    }

    /// Makes one of a finer schema than the finest that is kept coarser.
    ///
    /// # Errors
    /// In Prometheus' words, if it is not valid.
    pub(crate) fn validated(mut self) -> Result<Self, String> {
        if (MAX_SCHEMA + 1..=MAX_RESERVED_SCHEMA).contains(&self.schema) {
            self.check_spans()?;
            let coarser = u32::try_from(self.schema - MAX_SCHEMA).unwrap_or_default();
            let join = |buckets: &mut dyn Iterator<Item = (i32, f64)>| {
                let mut joined: BTreeMap<i32, f64> = BTreeMap::new();
                for (number, count) in buckets {
                    *joined.entry(coarsened(number, coarser)).or_default() += count;
                }
                joined
            };
            let (positive, negative) = (join(&mut self.positive()), join(&mut self.negative()));
            (self.positive_spans, self.positive_deltas, self.positive_counts) = written(self.is_float(), positive);
            (self.negative_spans, self.negative_deltas, self.negative_counts) = written(self.is_float(), negative);
            self.schema = MAX_SCHEMA;
        }
        self.check()?;
        Ok(self)
    }

    fn lengths(&self) -> (usize, usize) {
        if self.is_float() {
            (self.positive_counts.len(), self.negative_counts.len())
        } else {
            (self.positive_deltas.len(), self.negative_deltas.len())
        }
    }

    fn check_spans(&self) -> Result<(), String> {
        let (positive, negative) = self.lengths();
        check_spans(&self.positive_spans, positive).map_err(|problem| format!("positive side: {problem}"))?;
        check_spans(&self.negative_spans, negative).map_err(|problem| format!("negative side: {problem}"))
    }

    fn check(&self) -> Result<(), String> {
        let mut in_buckets = 0;
        if self.is_custom() {
            let (positive, negative) = self.lengths();
            check_custom(&self.custom_values, &self.positive_spans, positive)
                .map_err(|problem| format!("custom buckets: {problem}"))?;
            for (is_wrong, problem) in [
                (self.zero_observations() != 0.0, "must have zero count of 0"),
                (self.zero_threshold != 0.0, "must have zero threshold of 0"),
                (!self.negative_spans.is_empty(), "must not have negative spans"),
                (negative > 0, "must not have negative buckets"),
            ] {
                if is_wrong {
                    return Err(format!("custom buckets: {problem}"));
                }
            }
        } else if (MIN_SCHEMA..=MAX_SCHEMA).contains(&self.schema) {
            self.check_spans()?;
            in_buckets += check_counts(self.is_float(), &self.negative_counts, &self.negative_deltas)
                .map_err(|problem| format!("negative side: {problem}"))?;
            if self.zero_observations() < 0.0 {
                let count = self.zero_observations();
                return Err(format!("zero bucket has observation count of {count}: {NEGATIVE_BUCKET}"));
            }
            if !self.custom_values.is_empty() {
                return Err("histogram with exponential schema must not have custom bounds".to_owned());
            }
        } else {
            return Err(format!(
                "histogram has an invalid schema, which must be between {MIN_SCHEMA} and {MAX_SCHEMA} for exponential buckets, or \
                 {CUSTOM_SCHEMA} for custom buckets, got schema {}",
                self.schema
            ));
        }
        if self.observations() < 0.0 {
            let count = self.observations();
            return Err(format!("observation count is {count}: histogram's observation count is negative"));
        }
        in_buckets += check_counts(self.is_float(), &self.positive_counts, &self.positive_deltas)
            .map_err(|problem| format!("positive side: {problem}"))?;
        if self.is_float() || self.is_stale_marker() {
            return Ok(());
        }
        in_buckets += i128::from(self.zero_count);
        let (count, found) = (i128::from(self.count), "observations found in buckets, but the Count field is");
        // An observation that is no number is counted, but is in no bucket.
        if self.sum.is_nan() && in_buckets > count {
            return Err(format!(
                "{in_buckets} {found} {count}: histogram's observation count should be at least the number of observations found in the buckets"
            ));
        }
        if !self.sum.is_nan() && in_buckets != count {
            return Err(format!(
                "{in_buckets} {found} {count}: histogram's observation count should equal the number of observations found in the buckets (in \
                 absence of NaN)"
            ));
        }
        Ok(())
    }
}

const NEGATIVE_BUCKET: &str = "histogram has a bucket whose observation count is negative";

fn check_spans(spans: &[BucketSpan], buckets: usize) -> Result<(), String> {
    let mut needed = 0_u64;
    for (at, span) in spans.iter().enumerate() {
        if at > 0 && span.offset < 0 {
            return Err(negative_offset(at, span));
        }
        needed += u64::from(span.length);
    }
    if needed == buckets as u64 { Ok(()) } else { Err(other_number(needed, buckets)) }
}

fn negative_offset(at: usize, span: &BucketSpan) -> String {
    format!("span number {} with offset {}: histogram has a span whose offset is negative", at + 1, span.offset)
}

fn other_number(needed: u64, buckets: usize) -> String {
    format!(
        "spans need {needed} buckets, have {buckets} buckets: histogram spans specify different number of buckets than provided"
    )
}

fn check_custom(bounds: &[f64], spans: &[BucketSpan], buckets: usize) -> Result<(), String> {
    if bounds.iter().any(|bound| bound.is_nan()) {
        return Err("histogram custom bounds must not be NaN".to_owned());
    }
    if let Some([previous, current]) = bounds.array_windows().find(|[previous, current]| current <= previous) {
        return Err(format!(
            "previous bound is {previous:.6} and current is {current:.6}: histogram custom bounds must be in strictly increasing order"
        ));
    }
    if bounds.last() == Some(&f64::INFINITY) {
        return Err("last +Inf bound must not be explicitly defined: histogram custom bounds must be finite".to_owned());
    }
    let (mut needed, mut end) = (0_u64, 0_u64);
    for (at, span) in spans.iter().enumerate() {
        let offset = u64::try_from(span.offset).map_err(|_| negative_offset(at, span))?;
        needed += u64::from(span.length);
        end += u64::from(span.length) + offset;
    }
    if needed != buckets as u64 {
        return Err(other_number(needed, buckets));
    }
    if end > bounds.len() as u64 + 1 {
        return Err(format!(
            "only {} custom bounds defined which is insufficient to cover total span length of {end}: histogram custom bounds are too few",
            bounds.len()
        ));
    }
    Ok(())
}

/// The sum of the counts of an integer histogram; of floats 0.
fn check_counts(is_float: bool, counts: &[f64], deltas: &[i64]) -> Result<i128, String> {
    let negative = |at: usize, count: String| {
        Err(format!("bucket number {} has observation count of {count}: {NEGATIVE_BUCKET}", at + 1))
    };
    if is_float {
        return match counts.iter().position(|count| *count < 0.0) {
            Some(at) => negative(at, counts.get(at).map(f64::to_string).unwrap_or_default()),
            None => Ok(0),
        };
    }
    let (mut count, mut sum) = (0_i128, 0_i128);
    for (at, delta) in deltas.iter().enumerate() {
        count += i128::from(*delta);
        if count < 0 {
            return negative(at, count.to_string());
        }
        sum += count;
    }
    Ok(sum)
}

/// The upper bound of a positive bucket. The last one that finite numbers fall into ends at the greatest of them.
pub(crate) fn bound(number: i32, schema: i32) -> f64 {
    let (whole, part) = if schema <= 0 {
        (i64::from(number) << schema.unsigned_abs().min(31), 0.0)
    } else {
        let (number, buckets) = (i64::from(number), 1_i64 << schema.min(31));
        (number.div_euclid(buckets), number.rem_euclid(buckets) as f64 / buckets as f64)
    };
    if whole == 1024 && part == 0.0 {
        return f64::MAX;
    }
    // The part first: beyond the range of normal numbers it would lose its precision.
    let power = i32::try_from(whole).unwrap_or(if whole > 0 { i32::MAX } else { i32::MIN });
    if power < -1000 {
        part.exp2() * 2_f64.powi(-1000) * 2_f64.powi(power + 1000)
    } else {
        part.exp2() * 2_f64.powi(power)
    }
}

/// The number of the bucket that a bucket becomes part of when two become one as often as said.
pub(crate) fn coarsened(number: i32, times: u32) -> i32 {
    let from = i64::from(number) - 1;
    i32::try_from((from >> times.min(63)) + 1).unwrap_or(i32::MIN)
}

/// The numbers that spans stand for. Beyond the range of numbers there are none.
fn numbers(spans: &[BucketSpan]) -> impl Iterator<Item = i32> + '_ {
    let mut next = 0_i64;
    spans.iter().flat_map(move |span| {
        let first = next.saturating_add(i64::from(span.offset));
        next = first.saturating_add(i64::from(span.length));
        (first..next).map_while(|number| i32::try_from(number).ok())
    })
}

/// Counts as they are written: each by itself, or as the difference to the one before.
enum Counts<'a> {
    Floats(std::slice::Iter<'a, f64>),
    Integers(i64, std::slice::Iter<'a, i64>),
}

impl<'a> Counts<'a> {
    fn of(is_float: bool, counts: &'a [f64], deltas: &'a [i64]) -> Self {
        if is_float { Self::Floats(counts.iter()) } else { Self::Integers(0, deltas.iter()) }
    }
}

impl Iterator for Counts<'_> {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        match self {
            Self::Floats(counts) => counts.next().copied(),
            Self::Integers(last, deltas) => {
                *last = last.saturating_add(*deltas.next()?);
                Some(*last as f64)
            }
        }
    }
}

/// Spans with deltas or counts of buckets by their numbers. Few empty ones between others are written out, more begin a new span.
pub(crate) fn written(is_float: bool, buckets: BTreeMap<i32, f64>) -> (Vec<BucketSpan>, Vec<i64>, Vec<f64>) {
    let (mut spans, mut counts): (Vec<BucketSpan>, Vec<f64>) = Default::default();
    let mut next: Option<i64> = None;
    for (number, count) in buckets {
        let number = i64::from(number);
        let gap = number - next.unwrap_or_default();
        match spans.last_mut() {
            Some(span) if gap <= MAX_EMPTY_BUCKETS => {
                span.length += u32::try_from(gap + 1).unwrap_or(1);
                counts.extend(std::iter::repeat_n(0.0, usize::try_from(gap).unwrap_or_default()));
            }
            _ => spans.push(BucketSpan { offset: i32::try_from(gap).unwrap_or(i32::MAX), length: 1 }),
        }
        counts.push(count);
        next = Some(number + 1);
    }
    if is_float {
        return (spans, Vec::new(), counts);
    }
    let mut before = 0;
    let deltas = counts.iter().map(|count| {
        let count = *count as i64;
        let delta = count.wrapping_sub(before);
        before = count;
        delta
    });
    (spans, deltas.collect(), Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_powers_of_two_at_each_schema_and_end_at_the_greatest_number() {
        assert_eq!([bound(-1, 0), bound(0, 0), bound(1, 0), bound(10, 0)], [0.5, 1.0, 2.0, 1024.0]);
        assert_eq!([bound(8, 3), bound(-8, 3), bound(4, 3)], [2.0, 0.5, std::f64::consts::SQRT_2]);
        assert_eq!([bound(1, -4), bound(-1, -2)], [65536.0, 0.0625]);
        for schema in MIN_SCHEMA..=MAX_SCHEMA {
            let last = if schema < 0 { 1024 >> -schema } else { 1024 << schema };
            assert_eq!(bound(last, schema), f64::MAX, "{schema}");
            assert_eq!(bound(last + 1, schema), f64::INFINITY, "{schema}");
        }
        assert_eq!(bound(-1074, 0), f64::from_bits(1));
        assert_eq!((bound(i32::MIN, 8), bound(i32::MAX, -4)), (0.0, f64::INFINITY));
    }

    #[test]
    fn coarser_buckets_end_where_the_finer_ones_in_them_end() {
        for number in -20..20 {
            let coarse = coarsened(number, 1);
            assert!(bound(coarse, 2) >= bound(number, 3) && bound(coarse - 1, 2) <= bound(number - 1, 3), "{number}");
        }
        assert_eq!((coarsened(i32::MIN, 44), coarsened(i32::MAX, 44)), (0, 1));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let buckets: BTreeMap<i32, f64> = [(-7, 3.0), (-4, 1.0), (0, 2.0), (1, 9.0)].into();
        let (positive_spans, positive_deltas, _) = written(false, buckets.clone());
        assert_eq!(positive_spans, [BucketSpan { offset: -7, length: 4 }, BucketSpan { offset: 3, length: 2 }]);
        let histogram = Histogram { positive_spans, positive_deltas, ..Histogram::default() };
        let read: BTreeMap<i32, f64> = histogram.positive().filter(|(_, count)| *count > 0.0).collect();
        assert_eq!(read, buckets);
    }
}
