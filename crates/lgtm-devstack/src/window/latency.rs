//! Quantiles of durations that are all known.

/// The values below which half, nine tenths and 99 of 100 lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct Quantiles {
    pub(super) p50: u64,
    pub(super) p90: u64,
    pub(super) p99: u64,
}

/// The quantiles of some durations, by the nearest rank; `None` of nothing. Changes their order.
pub(super) fn quantiles(durations: &mut [u64]) -> Option<Quantiles> {
    let number = durations.len();
    let mut nearest = |hundredths: usize| {
        let place = (number * hundredths).div_ceil(100).max(1) - 1;
        (place < number).then(|| *durations.select_nth_unstable(place).1)
    };
    Some(Quantiles { p50: nearest(50)?, p90: nearest(90)?, p99: nearest(99)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let mut hundred: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(quantiles(&mut hundred), Some(Quantiles { p50: 50, p90: 90, p99: 99 }));
        assert_eq!(quantiles(&mut [7]), Some(Quantiles { p50: 7, p90: 7, p99: 7 }));
        assert_eq!(quantiles(&mut [1, 2]), Some(Quantiles { p50: 1, p90: 2, p99: 2 }));
        assert_eq!(quantiles(&mut []), None);
    }
}
