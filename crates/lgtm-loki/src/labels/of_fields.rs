//! Shape: stream labels whose values are those of fields, each with a cap on its values. Caller threads.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use lgtm_core::catalogue::LOGS_LABEL_OVERFLOW_TOTAL;
use lgtm_core::span::{Attributes, Value, VisitedEvent};
use parking_lot::RwLock;

use super::{LEVELS, Labels, MAX_VALUE_BYTES, by_level};
use crate::builder::BuildError;
use crate::line::Spans;

/// The most values that one label may have, and the most combinations of all labels.
const MOST: usize = 1000;
/// What stands for all values over the cap.
const OTHER: &[u8] = b"other";

/// One label.
#[derive(Debug)]
struct FieldLabel {
    field: String,
    label: String,
    most_values: usize,
    /// Whether standard error knows that there are too many values.
    told: AtomicBool,
}

/// The labels, and what values they have had.
#[derive(Debug)]
pub(crate) struct FieldLabels {
    /// The labels of every stream.
    fixed: Labels,
    labels: Vec<FieldLabel>,
    known: RwLock<Known>,
}

/// A value for each label; empty: the line has none.
type Values = Vec<Vec<u8>>;

#[derive(Debug, Default)]
struct Known {
    /// For each label the values that are told apart.
    values: Vec<HashSet<Vec<u8>>>,
    /// The number of each combination; 0, which is not in here, has no value at all.
    combinations: HashMap<Values, u32>,
    /// The label sets of the combinations, from number 1 on, by level.
    rendered: Vec<[String; LEVELS.len()]>,
}

thread_local! {
    static VALUES: RefCell<Values> = const { RefCell::new(Vec::new()) };
}

/// How often each label of a line had a value over a cap.
#[derive(Default)]
struct Over(Vec<u64>);

impl Over {
    fn add(&mut self, place: usize) {
        self.0.resize(self.0.len().max(place + 1), 0);
        if let Some(count) = self.0.get_mut(place) {
            *count += 1;
        }
    }

    /// Says it once, and counts.
    fn tell(&self, labels: &[FieldLabel]) {
        for (label, count) in labels.iter().zip(&self.0).filter(|(_, count)| **count > 0) {
            if !label.told.swap(true, Ordering::Relaxed) {
                lgtm_core::warn(&format!(
                    "label `{}` has more values than the {} that are told apart: further ones become `other`",
                    label.label, label.most_values
                ));
            }
            metrics::counter!(LOGS_LABEL_OVERFLOW_TOTAL, "label" => label.label.clone()).increment(*count);
        }
    }
}

impl FieldLabels {
    /// Fields with the names of their labels and their caps.
    pub(super) fn new(fixed: Labels, labels: Vec<(String, String, usize)>) -> Result<Self, BuildError> {
        if let Some((name, _, value)) = labels.iter().find(|(_, _, most)| !(1..=MOST).contains(most)) {
            return Err(BuildError::LabelValues { name: name.clone(), value: *value, most: MOST });
        }
        let label =
            |(field, label, most_values)| FieldLabel { field, label, most_values, told: AtomicBool::new(false) };
        let known = Known { values: vec![HashSet::new(); labels.len()], ..Known::default() };
        Ok(Self { fixed, labels: labels.into_iter().map(label).collect(), known: RwLock::new(known) })
    }

    /// The number of the combination that a line's fields make.
    #[cold]
    pub(crate) fn of_line(&self, event: &VisitedEvent, spans: Spans<'_>) -> u32 {
        let mut values = VALUES.try_with(RefCell::take).unwrap_or_default();
        values.resize(self.labels.len(), Vec::new());
        values.iter_mut().for_each(Vec::clear);
        self.collect(&mut values, event.attributes());
        if event.span != 0 && values.iter().any(Vec::is_empty) {
            spans(&mut |record| self.collect(&mut values, &record.attributes));
        }
        let number = self.number_of(&mut values);
        let _ = VALUES.try_with(|cell| cell.replace(values));
        number
    }

    /// Takes the values of labels that have none yet.
    fn collect(&self, values: &mut Values, attributes: &[u8]) {
        for attribute in Attributes::new(attributes) {
            for (label, value) in self.labels.iter().zip(values.iter_mut()) {
                if value.is_empty() && label.field.as_bytes() == attribute.key {
                    // Writing to a vector cannot fail.
                    let _ = match attribute.value {
                        Value::Text(text) => {
                            let text = String::from_utf8_lossy(text);
                            value.write_all(lgtm_core::span::cut(&text, MAX_VALUE_BYTES).as_bytes())
                        }
                        Value::Integer(number) => write!(value, "{number}"),
                        Value::Double(number) => write!(value, "{number}"),
                        Value::Bool(flag) => write!(value, "{flag}"),
                    };
                }
            }
        }
    }

    fn number_of(&self, values: &mut Values) -> u32 {
        let mut over = Over::default();
        let number = self.find_or_add(values, &mut over);
        // With no lock held: the recorder is the program's, and may log. What it logs of this would be counted again.
        if !over.0.is_empty() {
            lgtm_core::suppressed(|| over.tell(&self.labels));
        }
        number
    }

    fn find_or_add(&self, values: &mut Values, over: &mut Over) -> u32 {
        {
            let known = self.known.read();
            self.replace_over_cap(&known, values, over);
            if values.iter().all(Vec::is_empty) {
                return 0;
            }
            if let Some(number) = known.combinations.get(values) {
                return *number;
            }
        }
        let mut known = self.known.write();
        // Another thread may have been here in between.
        self.replace_over_cap(&known, values, over);
        if let Some(number) = known.combinations.get(values) {
            return *number;
        }
        if known.combinations.len() + 1 >= MOST {
            // The last combination stands for all further ones.
            for (place, value) in values.iter_mut().enumerate() {
                if !value.is_empty() {
                    over.add(place);
                }
                OTHER.clone_into(value);
            }
            if let Some(number) = known.combinations.get(values) {
                return *number;
            }
        }
        for (value, values) in values.iter().zip(known.values.iter_mut()).filter(|(value, _)| !value.is_empty()) {
            if value != OTHER {
                values.insert(value.clone());
            }
        }
        let mut set = self.fixed.clone();
        let named = self.labels.iter().zip(values.iter()).filter(|(_, value)| !value.is_empty());
        set.extend(named.map(|(label, value)| (label.label.clone(), String::from_utf8_lossy(value).into_owned())));
        known.rendered.push(by_level(&set));
        let number = u32::try_from(known.rendered.len()).unwrap_or(u32::MAX);
        known.combinations.insert(values.clone(), number);
        number
    }

    /// Puts `other` in the place of values that are not told apart.
    fn replace_over_cap(&self, known: &Known, values: &mut Values, over: &mut Over) {
        let labels = self.labels.iter().zip(values.iter_mut()).zip(&known.values);
        for (place, ((label, value), values)) in labels.enumerate() {
            if !value.is_empty() && value != OTHER && values.len() >= label.most_values && !values.contains(value) {
                OTHER.clone_into(value);
                over.add(place);
            }
        }
    }

    pub(super) fn with_labels<R>(&self, combination: usize, level: usize, show: impl FnOnce(&str) -> R) -> R {
        let known = self.known.read();
        let set = known.rendered.get(combination.saturating_sub(1)).and_then(|sets| sets.get(level));
        show(set.map_or("{}", String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(of: &[(&str, usize)]) -> FieldLabels {
        let fixed = vec![("service".to_owned(), "shop".to_owned())];
        FieldLabels::new(fixed, of.iter().map(|(name, most)| ((*name).to_owned(), (*name).to_owned(), *most)).collect())
            .unwrap()
    }

    fn number(labels: &FieldLabels, values: &[&str]) -> u32 {
        labels.number_of(&mut values.iter().map(|value| value.as_bytes().to_vec()).collect())
    }

    fn set(labels: &FieldLabels, number: u32) -> String {
        labels.with_labels(number as usize, 2, str::to_owned)
    }

    #[test]
    fn values_are_told_apart_up_to_the_cap_and_the_first_ones_stay() {
        let labels = labels(&[("queue", 2)]);
        assert_eq!(number(&labels, &[""]), 0);
        let (a, b) = (number(&labels, &["a"]), number(&labels, &["b"]));
        let (c, d) = (number(&labels, &["c"]), number(&labels, &["d"]));
        assert_eq!((a, b, c, d), (1, 2, 3, 3));
        assert_eq!((number(&labels, &["a"]), number(&labels, &["b"])), (a, b));
        assert_eq!(set(&labels, a), r#"{level="info", queue="a", service="shop"}"#);
        assert_eq!(set(&labels, c), r#"{level="info", queue="other", service="shop"}"#);
    }

    #[test]
    fn combinations_are_bounded_too() {
        let labels = labels(&[("one", 100), ("two", 100)]);
        let numbers: HashSet<u32> = (0..100)
            .flat_map(|one| (0..100).map(move |two| (one, two)))
            .map(|(one, two)| number(&labels, &[&one.to_string(), &two.to_string()]))
            .collect();
        assert_eq!(numbers.len(), MOST);
        assert_eq!(labels.known.read().rendered.len(), MOST);
        assert!(numbers.iter().any(|number| set(&labels, *number).contains(r#"one="other""#)));
    }

    #[test]
    fn threads_that_meet_agree() {
        let labels = labels(&[("queue", 50)]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for value in 0..200 {
                        let value = value.to_string();
                        let number = number(&labels, &[&value]);
                        let set = set(&labels, number);
                        assert!(set.contains(&format!("\"{value}\"")) || set.contains("other"), "{set}");
                    }
                });
            }
        });
        assert_eq!(labels.known.read().values[0].len(), 50);
    }

    #[test]
    fn a_cap_of_nothing_is_an_error() {
        for most in [0, 1001] {
            let error = FieldLabels::new(Vec::new(), vec![("queue".to_owned(), "queue".to_owned(), most)]).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("queue") && text.contains(&most.to_string()) && text.contains("1 to 1000"), "{text}");
        }
    }
}
