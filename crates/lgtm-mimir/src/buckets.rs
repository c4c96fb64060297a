//! Which histogram gets which buckets. Read by caller threads once per new histogram; fixed at build.

use std::fmt;
use std::sync::Arc;

use crate::builder::BuildError;
use crate::naming;
use crate::number::le_text;

/// Prometheus' default buckets, in seconds: what a histogram has if nothing else is said.
pub const DEFAULT_BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Most buckets of one histogram, `+Inf` not counted.
const MAX_BUCKETS: usize = 512;

/// Which metrics a setting is for. Compared with the name as it is exposed; the text given is made valid first, so
/// `http.server.duration` matches `http_server_duration`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matcher {
    /// The whole name. Wins over the other two.
    Full(String),
    /// The beginning of the name. Wins over suffixes; the longest one wins.
    Prefix(String),
    /// The end of the name. The longest one wins.
    Suffix(String),
}

impl From<&str> for Matcher {
    fn from(name: &str) -> Self {
        Self::Full(name.to_owned())
    }
}

impl From<String> for Matcher {
    fn from(name: String) -> Self {
        Self::Full(name)
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(full) => formatter.write_str(full),
            Self::Prefix(prefix) => write!(formatter, "{prefix}*"),
            Self::Suffix(suffix) => write!(formatter, "*{suffix}"),
        }
    }
}

impl Matcher {
    /// How exactly this matches the name; the greatest wins. `None`: not at all.
    pub(crate) fn rank(&self, name: &str) -> Option<(u8, usize)> {
        match self {
            Self::Full(full) => (name == full).then_some((2, full.len())),
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()).then_some((1, prefix.len())),
            Self::Suffix(suffix) => name.ends_with(suffix.as_str()).then_some((0, suffix.len())),
        }
    }

    /// As it is compared: with valid characters.
    pub(crate) fn valid(&self) -> Self {
        // A suffix may begin with a digit, a prefix of a name may not: the first character is tested with one before it.
        let suffix = |text: &str| naming::metric_name(&format!("_{text}")).split_off(1);
        match self {
            Self::Full(full) => Self::Full(naming::metric_name(full)),
            Self::Prefix(prefix) if prefix.is_empty() => Self::Prefix(String::new()),
            Self::Prefix(prefix) => Self::Prefix(naming::metric_name(prefix)),
            Self::Suffix(text) => Self::Suffix(suffix(text)),
        }
    }
}

/// Which histograms are native too, and with how many buckets of each sign at most.
#[derive(Debug, Default)]
pub(crate) struct NativeRules(Vec<(Matcher, usize)>);

impl NativeRules {
    pub(crate) fn new(rules: &[(Matcher, usize)]) -> Result<Self, BuildError> {
        if let Some((metric, value)) = rules.iter().find(|(_, buckets)| !(4..=MAX_BUCKETS).contains(buckets)) {
            return Err(BuildError::NativeBuckets { metric: metric.to_string(), value: *value, limit: MAX_BUCKETS });
        }
        Ok(Self(rules.iter().map(|(matcher, buckets)| (matcher.valid(), *buckets)).collect()))
    }

    pub(crate) fn buckets(&self, name: &str) -> Option<usize> {
        let ranked = self.0.iter().filter_map(|(matcher, buckets)| Some((matcher.rank(name)?, *buckets)));
        ranked.max_by_key(|(rank, _)| *rank).map(|(_, buckets)| buckets)
    }
}

/// The upper bounds of one histogram's buckets, with their texts. Shared by all series that have them.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    values: Box<[f64]>,
    /// The same by four, filled up with infinity: what a search looks at.
    by_four: Box<[[f64; 4]]>,
    /// One more than `values`: the last is `+Inf`.
    le: Box<[Box<str>]>,
}

impl Bounds {
    /// The upper bounds, without `+Inf`.
    pub(crate) fn values(&self) -> &[f64] {
        &self.values
    }

    /// Everything is in one bucket.
    pub(crate) fn none() -> Self {
        Self { le: ["+Inf".into()].into(), ..Self::default() }
    }

    /// Takes finite, strictly increasing bounds; `+Inf` at the end is implied and may be given.
    pub(crate) fn new(metric: &str, given: &[f64]) -> Result<Self, BuildError> {
        let refuse = |value: String| BuildError::Buckets { metric: metric.to_owned(), value, limit: MAX_BUCKETS };
        let values = match given {
            [values @ .., last] if *last == f64::INFINITY => values,
            values => values,
        };
        if values.is_empty() || values.len() > MAX_BUCKETS {
            return Err(refuse(format!("{} bounds", values.len())));
        }
        if let Some(first) = values.first().filter(|first| !first.is_finite()) {
            return Err(refuse(first.to_string()));
        }
        for pair in values.windows(2) {
            match pair {
                [one, next] if next.is_finite() && one < next => {}
                [one, next] => return Err(refuse(format!("{next} after {one}"))),
                _ => {}
            }
        }
        Ok(Self::of(values))
    }

    /// The buckets of a histogram that somebody else has filled: finite, strictly increasing bounds, or none at all.
    pub(crate) fn of(values: &[f64]) -> Self {
        let texts = values.iter().copied().chain([f64::INFINITY]).map(|value| le_text(value).into_boxed_str());
        let by_four = values.chunks(4).map(|some| {
            let mut four = [f64::INFINITY; 4];
            four.iter_mut().zip(some).for_each(|(place, bound)| *place = *bound);
            four
        });
        Self { values: values.into(), by_four: by_four.collect(), le: texts.collect() }
    }

    /// The bucket that counts this value: the first whose bound is not below it.
    #[inline]
    pub(crate) fn bucket(&self, value: f64) -> usize {
        // Counting those below all at once takes less than halving them, as long as they are few.
        if self.by_four.len() > 8 {
            return self.values.partition_point(|bound| *bound < value);
        }
        let below = |four: &[f64; 4]| four.map(|bound| u64::from(bound < value));
        let mut counts = [0; 4];
        for four in &self.by_four {
            for (count, below) in counts.iter_mut().zip(below(four)) {
                *count += below;
            }
        }
        counts.iter().sum::<u64>() as usize
    }

    /// The number of buckets, `+Inf` included.
    pub(crate) fn len(&self) -> usize {
        self.le.len()
    }

    /// The values of `le`, in order, `+Inf` last.
    pub(crate) fn le(&self) -> impl Iterator<Item = &str> {
        self.le.iter().map(AsRef::as_ref)
    }

    /// Whether values below zero have a bucket of their own, so that the sum is not a counter.
    pub(crate) fn reach_below_zero(&self) -> bool {
        self.values.first().is_some_and(|bound| *bound < 0.0)
    }
}

/// The buckets of every histogram.
#[derive(Debug)]
pub(crate) struct BucketRules {
    default: Arc<Bounds>,
    rules: Vec<(Matcher, Arc<Bounds>)>,
}

impl BucketRules {
    /// Rules given later win over equal ones before them.
    pub(crate) fn new(default: &[f64], rules: &[(Matcher, Vec<f64>)]) -> Result<Self, BuildError> {
        let rules = rules
            .iter()
            .map(|(matcher, bounds)| Ok((matcher.valid(), Arc::new(Bounds::new(&matcher.to_string(), bounds)?))))
            .collect::<Result<_, BuildError>>()?;
        Ok(Self { default: Arc::new(Bounds::new("every histogram", default)?), rules })
    }

    /// The bounds of the histogram with this name.
    pub(crate) fn bounds(&self, name: &str) -> Arc<Bounds> {
        self.rule(name).unwrap_or_else(|| Arc::clone(&self.default))
    }

    /// The bounds that a rule has for this name.
    pub(crate) fn rule(&self, name: &str) -> Option<Arc<Bounds>> {
        let ranked = self.rules.iter().filter_map(|(matcher, bounds)| Some((matcher.rank(name)?, bounds)));
        // Of rules that match equally well the last given wins, as with any setter called twice.
        ranked.max_by_key(|(rank, _)| *rank).map(|(_, bounds)| Arc::clone(bounds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(rules: &BucketRules, name: &str) -> f64 {
        rules.bounds(name).values[0]
    }

    #[test]
    fn the_most_exact_rule_wins() {
        let rules = BucketRules::new(
            &DEFAULT_BUCKETS,
            &[
                (Matcher::Suffix("_bytes".into()), vec![1.0]),
                (Matcher::Prefix("http.".into()), vec![2.0]),
                (Matcher::Prefix("http_server".into()), vec![3.0]),
                ("http.server.body_bytes".into(), vec![4.0]),
                (Matcher::Suffix("_bytes".into()), vec![5.0]),
            ],
        )
        .unwrap();
        assert_eq!(first(&rules, "queue_bytes"), 5.0);
        assert_eq!(first(&rules, "http_client_body_bytes"), 2.0);
        assert_eq!(first(&rules, "http_server_duration"), 3.0);
        assert_eq!(first(&rules, "http_server_body_bytes"), 4.0);
        assert_eq!(first(&rules, "other"), 0.005);
    }

    #[test]
    fn bounds_that_cannot_work_are_refused_by_value() {
        let refusal = |bounds: &[f64]| Bounds::new("size", bounds).unwrap_err().to_string();
        assert!(refusal(&[]).contains("`size`: 0 bounds"), "{}", refusal(&[]));
        assert!(refusal(&[1.0, 1.0]).contains("1 after 1"));
        assert!(refusal(&[2.0, 1.5]).contains("1.5 after 2"));
        assert!(refusal(&[f64::NAN]).contains("NaN"));
        assert!(refusal(&[1.0, f64::INFINITY, 2.0]).contains("inf after 1"));
        assert!(refusal(&[2.0, 1.5]).contains("strictly increasing"));
        assert_eq!(Bounds::new("size", &[1.0, f64::INFINITY]).unwrap().len(), 2);
    }

    #[test]
    fn a_value_belongs_to_the_first_bucket_whose_bound_is_not_below_it() {
        let bounds = Bounds::new("size", &[1.0, 2.0]).unwrap();
        assert_eq!([0.5, 1.0, 1.5, 2.0, 2.5, f64::INFINITY].map(|value| bounds.bucket(value)), [0, 0, 1, 1, 2, 2]);
        assert_eq!(bounds.le().collect::<Vec<_>>(), ["1", "2", "+Inf"]);
        for length in 1..100 {
            let given: Vec<f64> = (0..length).map(|bound| f64::from(bound) - 3.0).collect();
            let bounds = Bounds::new("size", &given).unwrap();
            for value in -10..210 {
                let value = f64::from(value) / 2.0;
                assert_eq!(bounds.bucket(value), given.partition_point(|bound| *bound < value), "{value} of {given:?}");
            }
        }
    }
}
