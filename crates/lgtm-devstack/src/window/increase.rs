//! Samples on a grid of times: what a counter grew by in each step, and what a gauge stood at.
//!
//! What grew between two samples is spread evenly over the time between them. So nothing is lost and nothing is made up: the steps add up to
//! what the counter grew by, whatever the step and however rarely samples come.

use crate::store::Sample;

/// Samples further apart say nothing of the time between them, in milliseconds.
pub(super) const MAX_GAP_MS: i64 = 10 * 60 * 1000;
/// How long a gauge stands at its last value, in milliseconds: Prometheus' look back.
const LOOK_BACK_MS: i64 = 5 * 60 * 1000;

/// Equal steps; a step is named by the time at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    /// Beginning of the first step, in milliseconds since 1970.
    pub(super) from: i64,
    /// Length of a step, in milliseconds; above zero.
    pub(super) step: i64,
    /// Number of steps.
    pub(super) steps: usize,
}

impl Grid {
    /// The ends of the steps.
    pub(super) fn times(&self) -> impl Iterator<Item = i64> + use<> {
        let Self { from, step, steps } = *self;
        (1..=steps as i64).map(move |number| from.saturating_add(step.saturating_mul(number)))
    }

    /// The steps that a span of time touches, each with the share of that time that lies in it.
    pub(super) fn shares(&self, from: i64, to: i64) -> impl Iterator<Item = (usize, f64)> + use<> {
        let Self { from: start, step, steps } = *self;
        let length = (to - from).max(1) as f64;
        let first = from.saturating_sub(start).div_euclid(step).clamp(0, steps as i64);
        let last = (to - 1).saturating_sub(start).div_euclid(step).clamp(-1, steps as i64 - 1);
        (first..=last).filter_map(move |number| {
            let begin = start + step * number;
            let share = to.min(begin + step) - from.max(begin);
            (share > 0).then_some((usize::try_from(number).ok()?, share as f64 / length))
        })
    }
}

/// What a counter grew by in each step; `None` where nothing is known. A fall is a restart from zero.
pub(super) fn increases<'a>(grid: &Grid, samples: impl Iterator<Item = &'a Sample>) -> Vec<Option<f64>> {
    let mut grown: Vec<Option<f64>> = vec![None; grid.steps];
    let mut before: Option<&Sample> = None;
    for sample in samples {
        if sample.is_stale_marker() {
            before = None;
            continue;
        }
        if let Some(earlier) = before.replace(sample)
            && sample.timestamp_ms - earlier.timestamp_ms <= MAX_GAP_MS
        {
            let increase = if sample.value < earlier.value { sample.value } else { sample.value - earlier.value };
            for (step, share) in grid.shares(earlier.timestamp_ms, sample.timestamp_ms) {
                if let Some(grown) = grown.get_mut(step) {
                    *grown = Some(grown.unwrap_or_default() + increase * share);
                }
            }
        }
    }
    grown
}

/// The last value before the end of each step, as long as it is not older than five minutes.
pub(super) fn values<'a>(grid: &Grid, samples: impl Iterator<Item = &'a Sample>) -> Vec<Option<f64>> {
    let mut samples = samples.peekable();
    let mut last: Option<&Sample> = None;
    let value = |time: i64| {
        while let Some(sample) = samples.next_if(|sample| sample.timestamp_ms <= time) {
            last = Some(sample);
        }
        let known = last.filter(|last| !last.is_stale_marker() && time - last.timestamp_ms <= LOOK_BACK_MS);
        known.map(|known| known.value)
    };
    grid.times().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: Grid = Grid { from: 0, step: 1000, steps: 4 };

    fn samples(pairs: &[(i64, f64)]) -> Vec<Sample> {
        pairs.iter().map(|(timestamp_ms, value)| Sample { timestamp_ms: *timestamp_ms, value: *value }).collect()
    }

    #[test]
    fn an_increase_is_spread_over_the_time_between_its_samples() {
        let grown = increases(&GRID, samples(&[(500, 10.0), (2500, 50.0)]).iter());
        assert_eq!(grown, [Some(10.0), Some(20.0), Some(10.0), None]);
    }

    #[test]
    fn the_steps_add_up_to_what_the_counter_grew_by_also_over_a_restart() {
        let samples = samples(&[(0, 5.0), (700, 6.0), (1900, 16.0), (2000, 3.0), (4000, 4.0)]);
        let sum: f64 = increases(&GRID, samples.iter()).into_iter().flatten().sum();
        assert!((sum - (1.0 + 10.0 + 3.0 + 1.0)).abs() < 1e-9, "{sum}");
    }

    #[test]
    fn the_end_of_a_series_and_a_long_silence_are_no_increase() {
        let stale = f64::from_bits(0x7ff0_0000_0000_0002);
        let ended = samples(&[(0, 1.0), (1000, 2.0), (1500, stale), (3000, 50.0)]);
        assert_eq!(increases(&GRID, ended.iter()), [Some(1.0), None, None, None]);
        let silent = samples(&[(-MAX_GAP_MS, 1.0), (1000, 2.0)]);
        assert_eq!(increases(&GRID, silent.iter()), [None; 4]);
    }

    #[test]
    fn samples_outside_the_grid_count_for_the_part_inside() {
        let grown = increases(&GRID, samples(&[(-1000, 0.0), (1000, 20.0), (8000, 90.0)]).iter());
        assert_eq!(grown, [Some(10.0), Some(10.0), Some(10.0), Some(10.0)]);
    }

    #[test]
    fn a_gauge_stands_at_its_last_value_until_it_ends() {
        let stale = f64::from_bits(0x7ff0_0000_0000_0002);
        assert_eq!(
            values(&GRID, samples(&[(900, 1.0), (2000, 7.0), (2500, stale)]).iter()),
            [Some(1.0), Some(7.0), None, None]
        );
    }
}
