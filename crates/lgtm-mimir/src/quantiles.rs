//! Which histograms are exposed as summaries, and with which quantiles. Runs once; callers ask once per new name.

use std::sync::Arc;
use std::time::Duration;

use crate::buckets::Matcher;
use crate::builder::BuildError;
use crate::number::le_text;

/// Most quantiles of one summary.
const MAX_QUANTILES: usize = 32;
/// The shortest window: below it a scrape would find nothing in it.
const LEAST_WINDOW: Duration = Duration::from_secs(1);
/// The longest.
const MOST_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);
/// What a window is if nothing else is said.
const WINDOW: Duration = Duration::from_secs(60);

/// The quantiles of one summary, with their texts, and the time that they are told of. Shared by all series that have them.
#[derive(Debug)]
pub(crate) struct Quantiles {
    values: Box<[f64]>,
    texts: Box<[Box<str>]>,
    window: Duration,
}

impl Quantiles {
    /// Takes strictly increasing quantiles from 0 to 1.
    pub(crate) fn new(metric: &str, given: &[f64], window: Duration) -> Result<Self, BuildError> {
        let refuse = |value: String| BuildError::Quantiles { metric: metric.to_owned(), value, limit: MAX_QUANTILES };
        if given.is_empty() || given.len() > MAX_QUANTILES {
            return Err(refuse(format!("{} quantiles", given.len())));
        }
        if let Some(wrong) = given.iter().find(|quantile| !(0.0..=1.0).contains(*quantile)) {
            return Err(refuse(wrong.to_string()));
        }
        for pair in given.windows(2) {
            if let [one, next] = pair
                && one >= next
            {
                return Err(refuse(format!("{next} after {one}")));
            }
        }
        let texts = given.iter().map(|quantile| le_text(*quantile).into_boxed_str()).collect();
        Ok(Self { values: given.into(), texts, window })
    }

    pub(crate) fn values(&self) -> &[f64] {
        &self.values
    }

    /// The values of the label `quantile`, in order.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(AsRef::as_ref)
    }

    /// The time that they are told of.
    pub(crate) fn window(&self) -> Duration {
        self.window
    }
}

/// The quantiles of every histogram that has some.
#[derive(Debug, Default)]
pub(crate) struct QuantileRules(Vec<(Matcher, Arc<Quantiles>)>);

impl QuantileRules {
    /// Rules given later win over equal ones before them.
    pub(crate) fn new(rules: &[(Matcher, Vec<f64>)], window: Option<Duration>) -> Result<Self, BuildError> {
        let window = window.unwrap_or(WINDOW);
        if !(LEAST_WINDOW..=MOST_WINDOW).contains(&window) {
            return Err(BuildError::QuantileWindow { value: window });
        }
        let rules = rules.iter().map(|(matcher, given)| {
            let quantiles = Quantiles::new(&matcher.to_string(), given, window)?;
            Ok((matcher.valid(), Arc::new(quantiles)))
        });
        rules.collect::<Result<_, BuildError>>().map(Self)
    }

    /// Those of the histogram with this name, if it is exposed as a summary.
    pub(crate) fn of(&self, name: &str) -> Option<Arc<Quantiles>> {
        let ranked = self.0.iter().filter_map(|(matcher, quantiles)| Some((matcher.rank(name)?, quantiles)));
        ranked.max_by_key(|(rank, _)| *rank).map(|(_, quantiles)| Arc::clone(quantiles))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_exact_rule_wins_and_others_stay_histograms() {
        let rules = [
            (Matcher::Suffix("_seconds".to_owned()), vec![0.5]),
            (Matcher::Full("http.seconds".to_owned()), vec![0.9, 0.99]),
        ];
        let rules = QuantileRules::new(&rules, None).unwrap();
        let of = |name: &str| rules.of(name).map(|quantiles| quantiles.values().to_vec());
        assert_eq!(of("http_seconds"), Some(vec![0.9, 0.99]));
        assert_eq!(of("job_seconds"), Some(vec![0.5]));
        assert_eq!(of("body_bytes"), None);
        assert_eq!(rules.of("http_seconds").unwrap().texts().collect::<Vec<_>>(), ["0.9", "0.99"]);
    }

    #[test]
    fn quantiles_that_cannot_work_are_refused_by_value() {
        let refusal = |given: &[f64]| Quantiles::new("size", given, WINDOW).unwrap_err().to_string();
        for (given, part) in [
            (&[][..], "0 quantiles"),
            (&[1.5], "1.5"),
            (&[f64::NAN], "NaN"),
            (&[0.9, 0.9], "0.9 after 0.9"),
            (&[-0.1], "-0.1"),
        ] {
            let text = refusal(given);
            assert!(text.contains("`size`") && text.contains(part) && text.contains("0.5, 0.9, 0.99"), "{text}");
        }
        let window = QuantileRules::new(&[], Some(Duration::from_millis(10))).unwrap_err().to_string();
        assert!(window.contains("10ms") && window.contains("1 s to 24 h"), "{window}");
    }
}
