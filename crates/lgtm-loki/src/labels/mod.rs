//! Shape: the streams that lines go to. One for each level; where labels come from fields (`of_fields.rs`), one for each
//! level and combination of their values. Caller threads pick by number.

mod of_fields;

use lgtm_core::Identity;
use lgtm_core::pipeline::Priority;
use tracing_core::Level;

use crate::builder::BuildError;
pub(crate) use of_fields::FieldLabels;

/// Loki's default limit on labels of a stream.
const MAX_LABELS: usize = 15;
/// Loki's default limit on a label's value, in bytes here.
const MAX_VALUE_BYTES: usize = 2048;
/// Loki's default limit on a label's name.
const MAX_NAME_BYTES: usize = 1024;

/// The label sets of all streams, as Loki's push takes them: `{level="info", service="shop"}`.
#[derive(Debug)]
pub(crate) struct Streams {
    /// By level, without labels from fields.
    plain: [String; LEVELS.len()],
    of_fields: Option<FieldLabels>,
}

/// One label set.
type Labels = Vec<(String, String)>;

/// The levels, by the number of their stream.
const LEVELS: [(&str, Level); 5] = [
    ("trace", Level::TRACE),
    ("debug", Level::DEBUG),
    ("info", Level::INFO),
    ("warn", Level::WARN),
    ("error", Level::ERROR),
];

/// The number of a level's stream.
#[inline]
pub(crate) fn stream_of(level: Level) -> u32 {
    match level {
        Level::TRACE => 0,
        Level::DEBUG => 1,
        Level::INFO => 2,
        Level::WARN => 3,
        Level::ERROR => 4,
    }
}

/// What survives longer when the queue fills.
#[inline]
pub(crate) fn priority_of(level: Level) -> Priority {
    match level {
        Level::TRACE | Level::DEBUG => Priority::Low,
        Level::INFO => Priority::Middle,
        Level::WARN | Level::ERROR => Priority::High,
    }
}

/// The level's name as label and in the line.
#[inline]
pub(crate) fn level_name(level: Level) -> &'static str {
    match level {
        Level::TRACE => "trace",
        Level::DEBUG => "debug",
        Level::INFO => "info",
        Level::WARN => "warn",
        Level::ERROR => "error",
    }
}

/// The number of a stream: of a combination of field labels (0: none), and of a level.
pub(crate) fn stream_in(combination: u32, level: u32) -> u32 {
    combination * LEVELS.len() as u32 + level
}

impl Streams {
    /// Puts the label sets together.
    pub(crate) fn new(
        identity: &Identity,
        labels: &[(String, String)],
        field_labels: &[(String, usize)],
    ) -> Result<Self, BuildError> {
        let mut all = vec![
            ("service_name".to_owned(), identity.service_name.clone()),
            ("service".to_owned(), identity.service_name.clone()),
        ];
        all.extend(identity.environment.clone().map(|environment| ("environment".to_owned(), environment)));
        for (name, value) in labels {
            let clean = checked(name, |clean| all.iter().any(|(known, _)| known == clean))?;
            all.push((clean, value.clone()));
        }
        let mut of_fields: Vec<(String, String, usize)> = Vec::new();
        for (field, most) in field_labels {
            let stands = |clean: &str| {
                all.iter().any(|(known, _)| known == clean) || of_fields.iter().any(|(_, known, _)| known == clean)
            };
            let clean = checked(field, stands)?;
            of_fields.push((field.clone(), clean, *most));
        }
        let count = all.len() + of_fields.len() + 1;
        if count > MAX_LABELS {
            return Err(BuildError::TooManyLabels { count, limit: MAX_LABELS });
        }
        let plain = by_level(&all);
        let of_fields = if of_fields.is_empty() { None } else { Some(FieldLabels::new(all, of_fields)?) };
        Ok(Self { plain, of_fields })
    }

    /// The labels from fields, if there are any.
    #[inline]
    pub(crate) fn of_fields(&self) -> Option<&FieldLabels> {
        self.of_fields.as_ref()
    }

    /// Shows the label set of a stream.
    pub(crate) fn with_labels<R>(&self, stream: u32, show: impl FnOnce(&str) -> R) -> R {
        let (combination, level) = (stream as usize / LEVELS.len(), stream as usize % LEVELS.len());
        match (combination, &self.of_fields) {
            (1.., Some(labels)) => labels.with_labels(combination, level, show),
            _ => show(self.plain.get(level).map_or("{}", String::as_str)),
        }
    }
}

/// The sanitised name of a label, if it is one and does not stand already.
fn checked(name: &str, stands: impl Fn(&str) -> bool) -> Result<String, BuildError> {
    let clean = sanitise(name);
    if name.is_empty() || clean.len() > MAX_NAME_BYTES {
        return Err(BuildError::LabelName { name: name.to_owned() });
    }
    if clean == "level" || stands(&clean) {
        return Err(BuildError::LabelCollision { name: name.to_owned(), label: clean });
    }
    Ok(clean)
}

/// This label set with each level.
fn by_level(labels: &Labels) -> [String; LEVELS.len()] {
    LEVELS.map(|(level, _)| {
        let mut set = labels.clone();
        set.push(("level".to_owned(), level.to_owned()));
        set.sort();
        render(&set)
    })
}

/// Makes a Prometheus label name of any name: what is not a letter, digit or underscore becomes one.
pub(crate) fn sanitise(name: &str) -> String {
    let mut clean: String =
        name.chars().map(|character| if character.is_ascii_alphanumeric() { character } else { '_' }).collect();
    if clean.starts_with(|first: char| first.is_ascii_digit()) {
        clean.insert(0, '_');
    }
    clean
}

fn render(set: &[(String, String)]) -> String {
    let mut text = String::from("{");
    for (place, (name, value)) in set.iter().enumerate() {
        if place > 0 {
            text.push_str(", ");
        }
        text.push_str(name);
        text.push_str("=\"");
        let value = value.get(..value.floor_char_boundary(MAX_VALUE_BYTES)).unwrap_or_default();
        for character in value.chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                // Go's string syntax, which Loki parses, has no other way to write these.
                control if control.is_control() => text.extend(format!("\\u{:04x}", u32::from(control)).chars()),
                plain => text.push(plain),
            }
        }
        text.push('"');
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        let mut identity = Identity::new("shop");
        identity.environment = Some("test".to_owned());
        identity
    }

    #[test]
    fn every_level_has_a_stream_with_all_labels_in_order() {
        let streams = Streams::new(&identity(), &[("team.name".to_owned(), "a\"b\\\n".to_owned())], &[]).unwrap();
        let labels = |level| streams.with_labels(stream_of(level), str::to_owned);
        assert_eq!(
            labels(Level::WARN),
            r#"{environment="test", level="warn", service="shop", service_name="shop", team_name="a\"b\\\n"}"#
        );
        for (name, level) in LEVELS {
            assert_eq!(name, level_name(level));
            assert!(labels(level).contains(&format!("level=\"{name}\"")));
        }
    }

    #[test]
    fn a_label_that_stands_already_is_an_error_that_names_it() {
        for name in ["level", "service", "service.name"] {
            let fixed = Streams::new(&identity(), &[(name.to_owned(), "x".to_owned())], &[]).unwrap_err();
            let of_field = Streams::new(&identity(), &[], &[(name.to_owned(), 3)]).unwrap_err();
            for error in [fixed, of_field] {
                assert!(matches!(error, BuildError::LabelCollision { .. }), "{error}");
                assert!(error.to_string().contains(name), "{error}");
            }
        }
        let twice = [("queue.name".to_owned(), 3), ("queue_name".to_owned(), 3)];
        assert!(matches!(Streams::new(&identity(), &[], &twice), Err(BuildError::LabelCollision { .. })));
    }

    proptest::proptest! {
        #[test]
        fn no_value_forges_a_label(value in "(\\PC|[\"\\\\,={}\\x00-\\x1f\u{85}\u{2028}]){0,40}") {
            let streams = Streams::new(&identity(), &[("own".to_owned(), value.clone())], &[]).unwrap();
            let set = streams.with_labels(2, str::to_owned);
            let (before, rest) = set.split_once("own=").unwrap();
            // Of Go's escapes only those are used that JSON has too.
            let mut strings = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            let read = strings.next().unwrap().unwrap();
            let (_, after) = rest.split_at(strings.byte_offset());
            proptest::prop_assert_eq!(read, value);
            proptest::prop_assert_eq!(before, r#"{environment="test", level="info", "#);
            proptest::prop_assert_eq!(after, r#", service="shop", service_name="shop"}"#);
        }
    }

    #[test]
    fn more_labels_than_loki_takes_are_an_error() {
        let labels: Vec<_> = (0..12).map(|number| (format!("label{number}"), String::new())).collect();
        assert!(matches!(Streams::new(&identity(), &labels, &[]), Err(BuildError::TooManyLabels { count: 16, .. })));
    }
}
