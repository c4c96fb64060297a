//! Names and labels by Prometheus' rules. Caller threads, once per new series; pure functions.
//!
//! Rules: metric names `[a-zA-Z_:][a-zA-Z0-9_:]*`, label names `[a-zA-Z_][a-zA-Z0-9_]*`, every other character becomes
//! `_`. A label with an empty value is no label (Prometheus data model), so it is left out. Labels that become equal
//! are joined with `;`, in the order of their original names (OpenTelemetry, "Prometheus and OpenMetrics
//! compatibility"). Lengths are bounded: what is longer is cut.

use lgtm_core::redaction::{REDACTED, is_redacted};
use metrics::Label;

use crate::families::Kind;

/// Longest metric or label name, in bytes; leaves room for suffixes below Mimir's limit of 1,024.
pub(crate) const MAX_NAME_BYTES: usize = 512;
/// Longest label value, in bytes; Mimir's limit is 2,048.
pub(crate) const MAX_VALUE_BYTES: usize = 1024;
/// Most labels of one series; further ones are cut.
pub(crate) const MAX_LABELS: usize = 64;

/// The label of the series that stands for all beyond a limit.
pub(crate) const OVERFLOW_LABEL: &str = "otel_metric_overflow";

/// Labels of one series: valid names, sorted, distinct, values not empty.
pub(crate) type Labels = Vec<(String, String)>;

/// The name as a valid metric name.
pub(crate) fn metric_name(name: &str) -> String {
    valid_name(cut(name, MAX_NAME_BYTES), |byte| byte.is_ascii_alphabetic() || byte == '_' || byte == ':')
}

/// The name as a valid label name. Names that begin with `__` belong to Prometheus and keep one underscore.
pub(crate) fn label_name(name: &str) -> String {
    let valid = valid_name(cut(name, MAX_NAME_BYTES), |byte| byte.is_ascii_alphabetic() || byte == '_');
    match valid.strip_prefix("__") {
        Some(rest) => format!("_{}", rest.trim_start_matches('_')),
        None => valid,
    }
}

/// What does not fit into the bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Excess {
    /// Labels that are left out.
    pub(crate) labels: usize,
    /// Whether a name or value is cut.
    pub(crate) is_cut: bool,
}

/// The labels of a key as a series of this kind carries them, and what had to be left out. Where a name stands for a secret, the
/// value does not show: label sets that differ in it alone are one series.
pub(crate) fn labels<'a>(given: impl Iterator<Item = &'a Label>, kind: Kind) -> (Labels, Excess) {
    labels_named(given, kind, label_name)
}

/// As [`labels`], with names that `label_name` makes valid.
pub(crate) fn labels_named<'a>(
    given: impl Iterator<Item = &'a Label>,
    kind: Kind,
    label_name: fn(&str) -> String,
) -> (Labels, Excess) {
    let mut excess = Excess::default();
    let mut given: Vec<(String, &str, &str)> = given
        .map(|label| {
            excess.is_cut |= label.key().len() > MAX_NAME_BYTES || label.value().len() > MAX_VALUE_BYTES;
            let mut name = label_name(label.key());
            // A histogram's buckets are told apart by `le`, a summary's values by `quantile`: the user's label steps aside, as
            // Prometheus does it.
            let is_theirs = match kind {
                Kind::Histogram => name == "le",
                Kind::Summary => name == "quantile",
                Kind::Counter | Kind::Gauge => false,
            };
            if name == OVERFLOW_LABEL || is_theirs {
                name.insert_str(0, "exported_");
            }
            (name, label.key(), if is_redacted(label.key()) { REDACTED } else { label.value() })
        })
        .collect();
    // The sort is stable: of labels given twice under one name the last stays, as in a map.
    given.sort_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
    let mut labels: Labels = Vec::with_capacity(given.len());
    let mut previous: Option<(&str, usize)> = None;
    for (name, original, value) in given {
        let value = cut(value, MAX_VALUE_BYTES);
        match (labels.last_mut(), previous) {
            (Some((last, joined)), Some((same, start))) if *last == name && same == original => {
                joined.truncate(start);
                joined.push_str(value);
            }
            (Some((last, joined)), _) if *last == name => {
                joined.push(';');
                previous = Some((original, joined.len()));
                joined.push_str(value);
            }
            _ => {
                previous = Some((original, 0));
                labels.push((name, value.to_owned()));
            }
        }
    }
    for (_, value) in &mut labels {
        let length = cut(value, MAX_VALUE_BYTES).len();
        // Joined ones may be too long together.
        excess.is_cut |= length < value.len();
        value.truncate(length);
    }
    labels.retain(|(_, value)| !value.is_empty());
    excess.labels = labels.len().saturating_sub(MAX_LABELS);
    labels.truncate(MAX_LABELS);
    (labels, excess)
}

/// Escapes backslashes and line feeds, and quotes where asked.
pub(crate) fn escape(value: &str, quotes: bool, text: &mut String) {
    let mut rest = value;
    while let Some(position) = rest.find(|character| matches!(character, '\\' | '\n') || (quotes && character == '"')) {
        let (plain, special) = rest.split_at(position);
        text.push_str(plain);
        text.push_str(match special.as_bytes().first() {
            Some(b'\\') => "\\\\",
            Some(b'\n') => "\\n",
            _ => "\\\"",
        });
        rest = special.get(1..).unwrap_or_default();
    }
    text.push_str(rest);
}

/// The longest beginning of `text` of at most `limit` bytes that ends between characters.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or_default()
}

fn valid_name(name: &str, may_begin: impl Fn(char) -> bool) -> String {
    if name.is_empty() {
        return "_".to_owned();
    }
    name.chars()
        .enumerate()
        .map(|(index, character)| match character {
            _ if may_begin(character) => character,
            '0'..='9' if index > 0 => character,
            _ => '_',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(pairs: &[(&'static str, &'static str)], kind: Kind) -> Labels {
        let given: Vec<_> = pairs.iter().map(|(name, value)| Label::new(*name, *value)).collect();
        labels(given.iter(), kind).0
    }

    fn pairs(labels: &[(String, String)]) -> Vec<(&str, &str)> {
        labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    #[test]
    fn dots_and_leading_digits_become_underscores() {
        assert_eq!(metric_name("http.server.duration"), "http_server_duration");
        assert_eq!(metric_name("5xx:rate"), "_xx:rate");
        assert_eq!(metric_name(""), "_");
        assert_eq!(label_name("http.route"), "http_route");
        assert_eq!(label_name("a:b"), "a_b");
        assert_eq!(label_name("__name__"), "_name__");
        assert_eq!(label_name("größe"), "gr__e");
    }

    #[test]
    fn labels_that_become_equal_are_joined_in_the_order_of_their_names() {
        let one = of(&[("a_b", "2"), ("a.b", "1")], Kind::Counter);
        assert_eq!(pairs(&one), [("a_b", "1;2")]);
        assert_eq!(one, of(&[("a.b", "1"), ("a_b", "2")], Kind::Counter));
        assert_eq!(pairs(&of(&[("a", "1"), ("a", "2")], Kind::Counter)), [("a", "2")]);
        assert_eq!(pairs(&of(&[("a.b", "0"), ("a_b", "1"), ("a_b", "2")], Kind::Counter)), [("a_b", "0;2")]);
    }

    #[test]
    fn reserved_names_step_aside_and_empty_values_are_no_labels() {
        assert_eq!(pairs(&of(&[("le", "1"), ("x", "")], Kind::Histogram)), [("exported_le", "1")]);
        assert_eq!(pairs(&of(&[("le", "1")], Kind::Gauge)), [("le", "1")]);
        let summary = of(&[("le", "1"), ("quantile", "2")], Kind::Summary);
        assert_eq!(pairs(&summary), [("exported_quantile", "2"), ("le", "1")]);
        assert_eq!(
            pairs(&of(&[("otel_metric_overflow", "true")], Kind::Gauge)),
            [("exported_otel_metric_overflow", "true")]
        );
    }

    #[test]
    fn lengths_and_numbers_are_bounded() {
        let long = "é".repeat(2000);
        let given: Vec<_> = (0..100).map(|index| Label::new(format!("l{index}"), long.clone())).collect();
        let (labels, excess) = labels(given.iter(), Kind::Gauge);
        assert_eq!((labels.len(), excess), (MAX_LABELS, Excess { labels: 36, is_cut: true }));
        assert!(labels.iter().all(|(_, value)| value.len() == MAX_VALUE_BYTES));
        assert_eq!(metric_name(&"n".repeat(9000)).len(), MAX_NAME_BYTES);
    }

    proptest! {
        #[test]
        fn every_name_comes_out_valid(name: String) {
            let metric = metric_name(&name);
            prop_assert!(metric.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == ':'));
            prop_assert!(metric.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':'));
            let label = label_name(&name);
            prop_assert!(label.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'));
            prop_assert!(label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
            prop_assert!(!label.starts_with("__"));
        }

        #[test]
        fn labels_come_out_sorted_and_distinct(given: Vec<(String, String)>) {
            let given: Vec<_> = given.into_iter().map(|(name, value)| Label::new(name, value)).collect();
            let (labels, _) = labels(given.iter(), Kind::Histogram);
            prop_assert!(labels.windows(2).all(|pair| pair[0].0 < pair[1].0));
            prop_assert!(labels.iter().all(|(_, value)| !value.is_empty()));
        }
    }
}
