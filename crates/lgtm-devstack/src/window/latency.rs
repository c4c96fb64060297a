//! Quantiles of durations that are all known.

/// The values below which half, nine tenths and 99 of 100 lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct Quantiles {
    pub(super) p50: u64,
    pub(super) p90: u64,
    pub(super) p99: u64,
}

/// The quantiles of some durations, by the nearest rank; `None` of nothing. Sorts them.
pub(super) fn quantiles(durations: &mut [u64]) -> Option<Quantiles> {
    durations.sort_unstable();
    let at = |hundredths: usize| {
        let rank = (durations.len() * hundredths).div_ceil(100).max(1);
        durations.get(rank - 1).copied()
    };
    Some(Quantiles { p50: at(50)?, p90: at(90)?, p99: at(99)? })
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
