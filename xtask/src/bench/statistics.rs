//! The middle of several rounds, and how far they lie apart.

/// Some rounds of one measurement.
#[derive(Debug, Clone, Default)]
pub(super) struct Rounds(Vec<f64>);

impl Rounds {
    pub(super) fn push(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Of an even number, the mean of the middle two; 0 of none.
    pub(super) fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        let at = |place: usize| self.0.get(place).copied().unwrap_or_default();
        if self.0.len().is_multiple_of(2) {
            f64::midpoint(at(middle.saturating_sub(1)), at(middle))
        } else {
            at(middle)
        }
    }

    pub(super) fn least(&self) -> f64 {
        self.0.first().copied().unwrap_or_default()
    }

    pub(super) fn most(&self) -> f64 {
        self.0.last().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::Rounds;

    #[test]
    fn the_middle_is_no_round_that_went_wrong() {
        let mut rounds = Rounds::default();
        assert!((rounds.median() - 0.0).abs() < f64::EPSILON);
        for value in [3.0, 1.0, 900.0] {
            rounds.push(value);
        }
        assert_eq!((rounds.least(), rounds.median(), rounds.most()), (1.0, 3.0, 900.0));
        rounds.push(5.0);
        assert!((rounds.median() - 4.0).abs() < f64::EPSILON);
    }
}
