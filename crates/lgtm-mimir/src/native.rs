//! Native histograms: buckets that grow by a constant factor, as many as the samples need up to a bound; then neighbours are
//! merged. Caller threads write under a lock that is held for a few instructions; the worker reads.
//! Sources: Prometheus, "Native Histograms"; OpenTelemetry, "Exponential Histogram".

use parking_lot::Mutex;

/// The finest schema: buckets grow by the factor 2^(2^-8), 0.27 %.
const MAX_SCHEMA: i32 = 8;
/// The coarsest: by the factor 65,536.
const MIN_SCHEMA: i32 = -4;
/// Samples nearer to zero than this are in the zero bucket: Prometheus' default.
pub(crate) const ZERO_THRESHOLD: f64 = 2.938_735_877_055_719e-39;

/// One histogram.
#[derive(Debug)]
pub(crate) struct Native(Mutex<State>);

/// What a native histogram holds; a copy is what one collection sends.
#[derive(Clone, Debug)]
pub(crate) struct State {
    max_buckets: usize,
    pub(crate) schema: i32,
    pub(crate) zero: u64,
    pub(crate) sum: f64,
    pub(crate) positive: Buckets,
    pub(crate) negative: Buckets,
}

/// Buckets side by side, from the first that is not empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buckets {
    /// The index of the first: bucket i counts what is greater than base^(i-1) and at most base^i.
    pub(crate) first: i32,
    pub(crate) counts: Vec<u64>,
}

impl Native {
    pub(crate) fn restart(&self) {
        let mut state = self.0.lock();
        let Self(new) = Self::new(state.max_buckets);
        *state = new.into_inner();
    }

    pub(crate) fn new(max_buckets: usize) -> Self {
        Self(Mutex::new(State {
            max_buckets,
            schema: MAX_SCHEMA,
            zero: 0,
            sum: 0.0,
            positive: Buckets::default(),
            negative: Buckets::default(),
        }))
    }

    /// Counts a sample that is a number.
    pub(crate) fn record(&self, value: f64, samples: u64) {
        self.0.lock().record(value, samples);
    }

    pub(crate) fn read(&self) -> State {
        self.0.lock().clone()
    }

    /// What it is elsewhere.
    #[cfg(feature = "opentelemetry")]
    pub(crate) fn set(&self, state: State) {
        *self.0.lock() = state;
    }
}

#[cfg(feature = "opentelemetry")]
impl State {
    /// As somebody else has filled it, made as coarse as is needed; none if it is coarser than the coarsest schema.
    pub(crate) fn of(scale: i32, zero: u64, sum: f64, positive: Buckets, negative: Buckets) -> Option<Self> {
        let mut state = Self { max_buckets: usize::MAX, schema: scale, zero, sum, positive, negative };
        state.coarsen(MAX_SCHEMA);
        (state.schema >= MIN_SCHEMA).then_some(state)
    }

    /// Adds another one.
    pub(crate) fn add(&mut self, mut other: Self) {
        let schema = self.schema.min(other.schema);
        self.coarsen(schema);
        other.coarsen(schema);
        self.zero = self.zero.saturating_add(other.zero);
        self.sum += other.sum;
        for (all, more) in [(&mut self.positive, other.positive), (&mut self.negative, other.negative)] {
            for (index, count) in (more.first..).zip(more.counts) {
                all.add(index, count, usize::MAX);
            }
        }
    }

    /// Merges neighbours until the schema is not finer than this.
    fn coarsen(&mut self, schema: i32) {
        while self.schema > schema {
            self.schema -= 1;
            self.positive.merge_neighbours();
            self.negative.merge_neighbours();
        }
    }
}

impl State {
    /// The number of samples.
    pub(crate) fn count(&self) -> u64 {
        let counts = self.positive.counts.iter().chain(&self.negative.counts);
        counts.fold(self.zero, |sum, count| sum.saturating_add(*count))
    }

    fn record(&mut self, value: f64, samples: u64) {
        self.sum += value * samples as f64;
        if value.abs() <= ZERO_THRESHOLD {
            self.zero = self.zero.saturating_add(samples);
            return;
        }
        loop {
            let index = index(value.abs(), self.schema);
            let max = self.max_buckets;
            let buckets = if value > 0.0 { &mut self.positive } else { &mut self.negative };
            if buckets.add(index, samples, max) {
                return;
            }
            if self.schema == MIN_SCHEMA {
                // With factor 65,536 all numbers are in 130 buckets of each sign: only a bound below that gets here.
                self.zero = self.zero.saturating_add(samples);
                return;
            }
            self.schema -= 1;
            self.positive.merge_neighbours();
            self.negative.merge_neighbours();
        }
    }
}

impl Buckets {
    /// False if the buckets from the first to the last would be more than `max`.
    fn add(&mut self, index: i32, samples: u64, max: usize) -> bool {
        if self.counts.is_empty() {
            self.first = index;
        }
        let last = self.first + i32::try_from(self.counts.len()).unwrap_or(i32::MAX) - 1;
        let (first, last) = (self.first.min(index), last.max(index));
        let wanted = usize::try_from(last - first + 1).unwrap_or(usize::MAX);
        if wanted > max {
            return false;
        }
        let before = usize::try_from(self.first - first).unwrap_or(0);
        if before > 0 {
            self.counts.splice(0..0, std::iter::repeat_n(0, before));
            self.first = first;
        }
        self.counts.resize(wanted, 0);
        if let Some(count) = usize::try_from(index - first).ok().and_then(|place| self.counts.get_mut(place)) {
            *count = count.saturating_add(samples);
        }
        true
    }

    /// Each two buckets become one of the next coarser schema.
    fn merge_neighbours(&mut self) {
        let Some(length) = i32::try_from(self.counts.len()).ok().filter(|length| *length > 0) else { return };
        // The greater of the two has an even index.
        let coarser = |index: i32| (index + 1) >> 1;
        let first = coarser(self.first);
        let mut merged = vec![0_u64; usize::try_from(coarser(self.first + length - 1) - first + 1).unwrap_or(0)];
        for (index, count) in (self.first..).zip(&self.counts) {
            if let Some(sum) = usize::try_from(coarser(index) - first).ok().and_then(|place| merged.get_mut(place)) {
                *sum = sum.saturating_add(*count);
            }
        }
        self.counts.clear();
        self.counts.extend_from_slice(&merged);
        self.first = first;
    }

    /// The runs of buckets that are not empty: the number of empty ones before each, counted from index 0 for the first run.
    pub(crate) fn runs(&self) -> Vec<(i32, &[u64])> {
        let mut runs = Vec::new();
        let mut end = 0;
        let mut index = self.first;
        for run in self.counts.chunk_by(|one, next| (*one == 0) == (*next == 0)) {
            let length = i32::try_from(run.len()).unwrap_or(i32::MAX);
            if run.first() != Some(&0) {
                runs.push((index - end, run));
                end = index + length;
            }
            index += length;
        }
        runs
    }
}

/// The bucket of a positive number that is not subnormal.
fn index(value: f64, schema: i32) -> i32 {
    if value == f64::INFINITY {
        return index(f64::MAX, schema) + 1;
    }
    const FRACTION_BITS: u32 = 52;
    let bits = value.to_bits();
    // value = fraction * 2^exponent, with a fraction from 1 to below 2.
    let exponent = i32::try_from((bits >> FRACTION_BITS) & 0x7ff).unwrap_or(0) - 1023;
    let fraction = f64::from_bits((bits & ((1 << FRACTION_BITS) - 1)) | (1023 << FRACTION_BITS));
    let is_power_of_two = bits.trailing_zeros() >= FRACTION_BITS;
    if schema <= 0 {
        // The least e with value <= 2^e, then the group of 2^-schema of them.
        let above = if is_power_of_two { exponent } else { exponent + 1 };
        let width = 1 << -schema;
        return (above + width - 1) >> -schema;
    }
    let per_power = 1 << schema;
    if is_power_of_two {
        return exponent * per_power;
    }
    // Between two powers of two; rounding at a bound costs no more than the neighbouring bucket.
    let within = (fraction.log2() * f64::from(per_power)).ceil().clamp(1.0, f64::from(per_power));
    exponent * per_power + within as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The greatest value of a bucket.
    fn bound(index: i32, schema: i32) -> f64 {
        (f64::from(index) * (-f64::from(schema)).exp2()).exp2()
    }

    proptest! {
        #[test]
        fn a_value_is_within_its_bucket(mantissa in 1.0..2.0_f64, exponent in -100..100_i32, schema in MIN_SCHEMA..=MAX_SCHEMA) {
            let value = mantissa * f64::from(exponent).exp2();
            let index = index(value, schema);
            let slack = 1.0 + 1e-9;
            prop_assert!(value <= bound(index, schema) * slack, "{value} in {index} of {schema}");
            prop_assert!(value * slack > bound(index - 1, schema), "{value} in {index} of {schema}");
        }

        #[test]
        fn no_sample_is_lost_and_the_bound_holds(values in prop::collection::vec(-1e12..1e12_f64, 0..300), max in 4..200_usize) {
            let native = Native::new(max);
            for value in &values {
                native.record(*value, 1);
            }
            let state = native.read();
            prop_assert_eq!(state.count(), values.len() as u64);
            for buckets in [&state.positive, &state.negative] {
                prop_assert!(buckets.counts.len() <= max);
                let in_runs: u64 = buckets.runs().iter().flat_map(|(_, run)| run.iter()).sum();
                prop_assert_eq!(in_runs, buckets.counts.iter().sum::<u64>());
            }
        }
    }

    #[test]
    fn powers_of_two_are_the_bounds_of_every_schema() {
        for schema in 0..=MAX_SCHEMA {
            for exponent in -20..20 {
                assert_eq!(index(f64::from(exponent).exp2(), schema), exponent << schema);
            }
        }
        assert_eq!([0.5, 1.0, 1.5, 2.0, 4.0, 5.0].map(|value| index(value, -1)), [0, 0, 1, 1, 1, 2]);
        assert_eq!(index(f64::INFINITY, 0), 1025);
    }

    #[test]
    fn merging_neighbours_keeps_each_value_in_its_bucket() {
        let native = Native::new(8);
        let values = [0.001, 0.5, 1.0, 3.0, 100.0, 1e6];
        for value in values {
            native.record(value, 2);
        }
        let state = native.read();
        for value in values {
            let place = index(value, state.schema) - state.positive.first;
            assert!(state.positive.counts[usize::try_from(place).unwrap()] >= 2, "{value}: {state:?}");
        }
        assert_eq!(state.count(), 12);
        let mut indices = Vec::new();
        let mut next = 0;
        for (gap, run) in state.positive.runs() {
            indices.extend((0..run.len()).map(|place| next + gap + i32::try_from(place).unwrap()));
            next += gap + i32::try_from(run.len()).unwrap();
        }
        let mut expected = values.map(|value| index(value, state.schema)).to_vec();
        expected.dedup();
        assert_eq!(indices, expected);
    }
}
