//! Histograms on a grid of times: how many observations came into each bucket in each step, for classic and native ones alike, and
//! the quantiles of each step.

use std::collections::BTreeMap;

use super::increase::{Grid, MAX_GAP_MS, increases};
use crate::native_histogram::{MIN_SCHEMA, bound, coarsened};
use crate::store::Sample;
use crate::wire::prometheus::Histogram;

/// The most buckets shown; of more, neighbours are joined until they fit.
const MAX_BUCKETS: usize = 80;

/// Observations by bucket and step.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Heat {
    /// Lower and upper bound of each bucket, from the lowest on.
    pub(super) buckets: Vec<[f64; 2]>,
    /// For each step the observations of each bucket; `None` where nothing is known.
    pub(super) counts: Vec<Option<Vec<f64>>>,
    /// Whether bounds grow by a factor: quantiles lie evenly by logarithm then.
    exponential: bool,
}

impl Heat {
    /// From the series `_bucket` of a classic histogram, each with its upper bound; series of the same bound are added up.
    pub(super) fn classic<'a, S>(grid: &Grid, series: impl Iterator<Item = (f64, S)>) -> Self
    where
        S: Iterator<Item = &'a Sample>,
    {
        let series: Vec<(f64, S)> = series.filter(|(bound, _)| !bound.is_nan()).collect();
        let bounds = shown(series.iter().map(|(bound, _)| *bound));
        let mut cumulative: Vec<(f64, Vec<Option<f64>>)> =
            bounds.into_iter().map(|bound| (bound, vec![None; grid.steps])).collect();
        for (bound, samples) in series {
            let place = cumulative.binary_search_by(|(shown, _)| shown.total_cmp(&bound));
            if let Some((_, sum)) = place.ok().and_then(|place| cumulative.get_mut(place)) {
                add(sum, &increases(grid, samples));
            }
        }
        let mut lower = cumulative.first().map_or(0.0, |(bound, _)| if *bound > 0.0 { 0.0 } else { f64::NEG_INFINITY });
        let mut heat = Self { counts: vec![None; grid.steps], ..Self::default() };
        let mut below: Vec<Option<f64>> = vec![None; grid.steps];
        for (upper, grown) in cumulative {
            heat.buckets.push([lower, upper]);
            lower = upper;
            for ((counts, grown), below) in heat.counts.iter_mut().zip(&grown).zip(&mut below) {
                // A series of a bucket that began later than the others says nothing of the steps before.
                let up_to_here = grown.or(*below);
                let inside = (up_to_here.unwrap_or_default() - below.unwrap_or_default()).max(0.0);
                if up_to_here.is_some() {
                    counts.get_or_insert_default();
                    *below = up_to_here;
                }
                if let Some(counts) = counts {
                    counts.resize(heat.buckets.len() - 1, 0.0);
                    counts.push(inside);
                }
            }
        }
        heat
    }

    /// From native histograms with bounds of the sender's own, each series in the order of time: as the classic one that they stand for.
    pub(super) fn custom<'a, S>(grid: &Grid, series: impl Iterator<Item = S>) -> Self
    where
        S: Iterator<Item = &'a Histogram>,
    {
        let series: Vec<Vec<&Histogram>> =
            series.map(|histograms| histograms.filter(|histogram| histogram.is_custom()).collect()).collect();
        let finite = series.iter().flatten().flat_map(|histogram| histogram.custom_values.iter().copied());
        let bounds = shown(finite.chain([f64::INFINITY]));
        let mut cumulative: Vec<(f64, Vec<Sample>)> = Vec::new();
        for histograms in series {
            let mut by_bound: Vec<(f64, Vec<Sample>)> = bounds.iter().map(|bound| (*bound, Vec::new())).collect();
            for histogram in histograms {
                let mut counts = histogram.positive().peekable();
                let mut below = 0.0;
                let own = histogram.custom_values.iter().copied().chain([f64::INFINITY]);
                for (number, bound) in (0_i32..).zip(own) {
                    while let Some((_, count)) = counts.next_if(|(counted, _)| *counted <= number) {
                        below += count;
                    }
                    // The end of a series is the end of each of its buckets.
                    let value = if histogram.is_stale_marker() { histogram.sum } else { below };
                    let place = by_bound.binary_search_by(|(shown, _)| shown.total_cmp(&bound));
                    if let Some((_, samples)) = place.ok().and_then(|place| by_bound.get_mut(place)) {
                        samples.push(Sample { timestamp_ms: histogram.timestamp, value });
                    }
                }
            }
            cumulative.extend(by_bound.into_iter().filter(|(_, samples)| !samples.is_empty()));
        }
        if cumulative.is_empty() {
            return Self { counts: vec![None; grid.steps], ..Self::default() };
        }
        Self::classic(grid, cumulative.iter().map(|(bound, samples)| (*bound, samples.iter())))
    }

    /// From native histograms, each series in the order of time.
    pub(super) fn native<'a, S>(grid: &Grid, series: impl Iterator<Item = S>) -> Self
    where
        S: Iterator<Item = &'a Histogram>,
    {
        let series: Vec<Vec<&Histogram>> = series.map(Iterator::collect).collect();
        let all = || series.iter().flatten().filter(|histogram| is_exponential(histogram));
        let Some(mut schema) = all().map(|histogram| histogram.schema).min() else {
            return Self { counts: vec![None; grid.steps], exponential: true, ..Self::default() };
        };
        let mut steps = native_steps(grid, &series, schema);
        while schema > MIN_SCHEMA && places(&steps).len() > MAX_BUCKETS {
            schema -= 1;
            steps = native_steps(grid, &series, schema);
        }
        let places = places(&steps);
        let zero = all().map(|histogram| histogram.zero_threshold).fold(0.0, f64::max);
        let counts = steps.into_iter().map(|step| {
            let step = step?;
            Some(places.iter().map(|place| step.get(place).copied().unwrap_or_default()).collect())
        });
        Self {
            buckets: places.iter().map(|place| place.bounds(schema, zero)).collect(),
            counts: counts.collect(),
            exponential: true,
        }
    }

    /// A quantile of each step; `None` where nothing was observed. Beyond the last finite bound it is that bound.
    pub(super) fn quantile(&self, share: f64) -> Vec<Option<f64>> {
        self.counts.iter().map(|counts| self.quantile_of(counts.as_ref()?, share)).collect()
    }

    fn quantile_of(&self, counts: &[f64], share: f64) -> Option<f64> {
        let total: f64 = counts.iter().sum();
        if total <= 0.0 {
            return None;
        }
        let mut rank = share * total;
        for (count, [lower, upper]) in counts.iter().zip(&self.buckets) {
            if *count > 0.0 && rank <= *count {
                return Some(self.within(*lower, *upper, rank / count));
            }
            rank -= count;
        }
        // Rounding has left a little of the rank.
        let last = counts.iter().zip(&self.buckets).rev().find(|(count, _)| **count > 0.0);
        last.map(|(_, [lower, upper])| self.within(*lower, *upper, 1.0))
    }

    fn within(&self, lower: f64, upper: f64, share: f64) -> f64 {
        if upper.is_infinite() {
            return lower;
        }
        if lower.is_infinite() {
            return upper;
        }
        if self.exponential && lower > 0.0 {
            lower * (upper / lower).powf(share)
        } else {
            lower + (upper - lower) * share
        }
    }
}

/// The bounds in order, each once. Of too many so many are left out, evenly, that the others fit: what is below a bound is known without those
/// before it.
fn shown(bounds: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut bounds: Vec<f64> = bounds.collect();
    bounds.sort_by(f64::total_cmp);
    bounds.dedup();
    let each = bounds.len().div_ceil(MAX_BUCKETS).max(1);
    let number = bounds.len();
    let mut places = 0..number;
    // The last one stays: beyond it nothing would be counted.
    bounds.retain(|_| places.next().is_some_and(|place| (number - 1 - place).is_multiple_of(each)));
    bounds
}

fn add(sum: &mut [Option<f64>], more: &[Option<f64>]) {
    for (sum, more) in sum.iter_mut().zip(more) {
        if let Some(more) = more {
            *sum = Some(sum.unwrap_or_default() + more);
        }
    }
}

/// A bucket of a native histogram, in the order of the values in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Negative values; the number is turned round, so that greater ones come first.
    Negative(i32),
    Zero,
    Positive(i32),
}

impl Place {
    fn bounds(self, schema: i32, zero: f64) -> [f64; 2] {
        match self {
            Self::Zero => [0.0, zero],
            Self::Positive(number) => [bound(number.saturating_sub(1), schema), bound(number, schema)],
            Self::Negative(turned) => {
                let number = turned.saturating_neg();
                [-bound(number, schema), -bound(number.saturating_sub(1), schema)]
            }
        }
    }
}

type Step = BTreeMap<Place, f64>;

fn places(steps: &[Option<Step>]) -> Vec<Place> {
    let mut places: Vec<Place> = steps.iter().flatten().flat_map(BTreeMap::keys).copied().collect();
    places.sort_unstable();
    places.dedup();
    places
}

fn is_exponential(histogram: &Histogram) -> bool {
    !histogram.is_custom()
}

fn native_steps(grid: &Grid, series: &[Vec<&Histogram>], schema: i32) -> Vec<Option<Step>> {
    let mut steps: Vec<Option<Step>> = vec![None; grid.steps];
    for histograms in series {
        let mut before: Option<(&Histogram, Step)> = None;
        for histogram in histograms {
            if histogram.is_stale_marker() || !is_exponential(histogram) {
                before = None;
                continue;
            }
            let counts = counts_of(histogram, schema);
            if let Some((earlier, earlier_counts)) = &before
                && histogram.timestamp - earlier.timestamp <= MAX_GAP_MS
            {
                let restarted = histogram.observations() < earlier.observations();
                for (step, share) in grid.shares(earlier.timestamp, histogram.timestamp) {
                    let Some(step) = steps.get_mut(step) else { continue };
                    let step = step.get_or_insert_default();
                    for (place, count) in &counts {
                        let known =
                            if restarted { 0.0 } else { earlier_counts.get(place).copied().unwrap_or_default() };
                        if *count > known {
                            *step.entry(*place).or_default() += (count - known) * share;
                        }
                    }
                }
            }
            before = Some((histogram, counts));
        }
    }
    steps
}

/// The counts of the buckets at a coarser schema.
fn counts_of(histogram: &Histogram, schema: i32) -> Step {
    let mut counts = Step::new();
    if histogram.zero_observations() > 0.0 {
        counts.insert(Place::Zero, histogram.zero_observations());
    }
    let times = u32::try_from(histogram.schema - schema).unwrap_or_default();
    for (number, count) in histogram.positive() {
        *counts.entry(Place::Positive(coarsened(number, times))).or_default() += count;
    }
    for (number, count) in histogram.negative() {
        *counts.entry(Place::Negative(coarsened(number, times).saturating_neg())).or_default() += count;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::prometheus::BucketSpan;

    const GRID: Grid = Grid { from: 0, step: 1000, steps: 2 };

    fn samples(first: f64, second: f64) -> Vec<Sample> {
        vec![Sample { timestamp_ms: 0, value: first }, Sample { timestamp_ms: 1000, value: second }]
    }

    #[test]
    fn classic_buckets_are_told_apart_and_quantiles_lie_between_their_bounds() {
        let series = [(0.1, samples(0.0, 50.0)), (0.5, samples(10.0, 100.0)), (f64::INFINITY, samples(10.0, 110.0))];
        let heat = Heat::classic(&GRID, series.iter().map(|(bound, samples)| (*bound, samples.iter())));
        assert_eq!(heat.buckets, [[0.0, 0.1], [0.1, 0.5], [0.5, f64::INFINITY]]);
        assert_eq!(heat.counts, [Some(vec![50.0, 40.0, 10.0]), None]);
        assert_eq!(heat.quantile(0.5), [Some(0.1), None]);
        assert_eq!(heat.quantile(0.25).first(), Some(&Some(0.05)));
        let between = heat.quantile(0.7).first().copied().flatten().unwrap();
        assert!((between - 0.3).abs() < 1e-9, "{between}");
        assert_eq!(heat.quantile(0.99).first(), Some(&Some(0.5)), "the last finite bound");
    }

    #[test]
    fn series_of_several_instances_are_added_up_by_bound() {
        let one = samples(0.0, 4.0);
        let series = [(1.0, &one), (f64::INFINITY, &one), (1.0, &one), (f64::INFINITY, &one)];
        let heat = Heat::classic(&GRID, series.iter().map(|(bound, samples)| (*bound, samples.iter())));
        assert_eq!(heat.counts.first(), Some(&Some(vec![8.0, 0.0])));
    }

    fn native(timestamp: i64, schema: i32, count: u64, offset: i32, deltas: &[i64]) -> Histogram {
        Histogram {
            count,
            sum: 1.0,
            schema,
            zero_threshold: 1e-6,
            positive_spans: vec![BucketSpan { offset, length: u32::try_from(deltas.len()).unwrap() }],
            positive_deltas: deltas.to_vec(),
            timestamp,
            ..Histogram::default()
        }
    }

    #[test]
    fn native_buckets_have_the_bounds_of_their_schema() {
        // Schema 0: bucket 1 is (1, 2], bucket 2 is (2, 4].
        let series = [native(0, 0, 0, 1, &[0, 0]), native(1000, 0, 10, 1, &[4, 2])];
        let heat = Heat::native(&GRID, [series.iter()].into_iter());
        assert_eq!(heat.buckets, [[1.0, 2.0], [2.0, 4.0]]);
        assert_eq!(heat.counts, [Some(vec![4.0, 6.0]), None]);
        // 5 of 10: the first of the 6 in (2, 4], a sixth of the way by logarithm.
        let median = heat.quantile(0.5).first().copied().flatten().unwrap();
        assert!((median - 2.0 * 2.0_f64.powf(1.0 / 6.0)).abs() < 1e-9, "{median}");
    }

    #[test]
    fn histograms_of_different_schemas_meet_at_the_coarser_one() {
        // Schema 1: buckets 1 and 2 together are bucket 1 of schema 0.
        let fine = [native(0, 1, 0, 1, &[0, 0]), native(1000, 1, 7, 1, &[3, 1])];
        let coarse = [native(0, 0, 0, 1, &[0]), native(1000, 0, 5, 1, &[5])];
        let heat = Heat::native(&GRID, [fine.iter(), coarse.iter()].into_iter());
        assert_eq!(heat.buckets, [[1.0, 2.0]]);
        assert_eq!(heat.counts.first(), Some(&Some(vec![12.0])));
    }

    #[test]
    fn too_many_native_buckets_are_joined_and_nothing_is_lost() {
        let deltas: Vec<i64> = std::iter::once(1).chain(std::iter::repeat_n(0, 499)).collect();
        let none = vec![0; 500];
        let series = [native(0, 8, 0, -250, &none), native(1000, 8, 500, -250, &deltas)];
        let heat = Heat::native(&GRID, [series.iter()].into_iter());
        assert!(heat.buckets.len() <= MAX_BUCKETS, "{}", heat.buckets.len());
        let sum: f64 = heat.counts.iter().flatten().flatten().sum();
        assert!((sum - 500.0).abs() < 1e-6, "{sum}");
        assert!(
            heat.buckets
                .windows(2)
                .all(|pair| matches!(pair, [[_, upper], [lower, _]] if (upper - lower).abs() < 1e-9))
        );
    }

    #[test]
    fn gaps_negative_values_and_zeros_keep_their_places() {
        let mut second = native(1000, 0, 9, 1, &[2]);
        second.positive_spans.push(BucketSpan { offset: 2, length: 1 });
        second.positive_deltas.push(1);
        second.negative_spans = vec![BucketSpan { offset: 1, length: 1 }];
        second.negative_deltas = vec![3];
        second.zero_count = 1;
        let series = [native(0, 0, 0, 1, &[0]), second];
        let heat = Heat::native(&GRID, [series.iter()].into_iter());
        assert_eq!(heat.buckets, [[-2.0, -1.0], [0.0, 1e-6], [1.0, 2.0], [8.0, 16.0]]);
        assert_eq!(heat.counts.first(), Some(&Some(vec![3.0, 1.0, 2.0, 3.0])));
    }

    #[test]
    fn float_counts_are_counted_as_they_are() {
        let float = |timestamp, count: f64| Histogram {
            count_float: Some(count),
            sum: 1.0,
            zero_count_float: Some(count / 4.0),
            zero_threshold: 0.5,
            positive_spans: vec![BucketSpan { offset: 1, length: 1 }],
            positive_counts: vec![count * 0.75],
            timestamp,
            ..Histogram::default()
        };
        let series = [float(0, 0.0), float(1000, 2.0)];
        let heat = Heat::native(&GRID, [series.iter()].into_iter());
        assert_eq!(heat.buckets, [[0.0, 0.5], [1.0, 2.0]]);
        assert_eq!(heat.counts.first(), Some(&Some(vec![0.5, 1.5])));
    }

    #[test]
    fn bounds_of_the_senders_own_are_those_of_the_heat() {
        let custom = |timestamp, deltas: &[i64]| Histogram {
            count: 6,
            sum: 1.0,
            schema: -53,
            custom_values: vec![0.1, 0.5, 1.0],
            positive_spans: vec![BucketSpan { offset: 0, length: 2 }, BucketSpan { offset: 1, length: 1 }],
            positive_deltas: deltas.to_vec(),
            timestamp,
            ..Histogram::default()
        };
        let series = [custom(0, &[0, 0, 0]), custom(1000, &[1, 1, 1])];
        let heat = Heat::custom(&GRID, [series.iter()].into_iter());
        assert_eq!(heat.buckets, [[0.0, 0.1], [0.1, 0.5], [0.5, 1.0], [1.0, f64::INFINITY]]);
        assert_eq!(heat.counts.first(), Some(&Some(vec![1.0, 2.0, 0.0, 3.0])));
        assert_eq!(heat.quantile(0.5).first(), Some(&Some(0.5)));
    }

    #[test]
    fn too_many_bounds_are_joined_and_nothing_is_lost() {
        let bounds: Vec<f64> = (1..=1000).map(f64::from).chain([f64::INFINITY]).collect();
        let series: Vec<(f64, Vec<Sample>)> =
            bounds.iter().enumerate().map(|(place, bound)| (*bound, samples(0.0, place as f64 + 1.0))).collect();
        let heat = Heat::classic(&GRID, series.iter().map(|(bound, samples)| (*bound, samples.iter())));
        assert!(heat.buckets.len() <= MAX_BUCKETS, "{}", heat.buckets.len());
        assert_eq!(heat.buckets.last().map(|[_, upper]| *upper), Some(f64::INFINITY));
        let sum: f64 = heat.counts.iter().flatten().flatten().sum();
        assert!((sum - 1001.0).abs() < 1e-6, "{sum}");
        let median = heat.quantile(0.5).first().copied().flatten().unwrap();
        assert!((median - 500.0).abs() < 14.0, "{median}");
    }
}
