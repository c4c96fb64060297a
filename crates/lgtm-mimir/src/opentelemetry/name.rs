//! Names, units and labels of what the OpenTelemetry API records, as they are exposed. The collector's thread, once for each new
//! metric and label set; pure functions.
//! Source: OpenTelemetry, "Prometheus and OpenMetrics Compatibility", "OTLP Metric points to Prometheus".

use metrics::Label;
use opentelemetry::{InstrumentationScope, KeyValue, Value};

use crate::families::Kind;
use crate::naming::{self, Excess, Labels, OVERFLOW_LABEL};
use crate::unit::Unit;

/// The attribute of what the SDK counts together beyond its own limit.
const OVERFLOW_ATTRIBUTE: &str = "otel.metric.overflow";

/// The name of a metric with this unit (UCUM), and the unit as its metadata says it, if it is one of those in common use.
pub(super) fn exposed(name: &str, unit: &str, is_counter: bool) -> (String, Option<Unit>) {
    let words = unit_words(unit);
    let mut exposed = collapse(&naming::metric_name(name));
    let known = Unit::of_code(unit).filter(|_| !words.is_empty());
    if is_counter && let Some(length) = exposed.strip_suffix("_total").map(str::len) {
        exposed.truncate(length);
    }
    let says_it = exposed.strip_suffix(words.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('_'));
    if !words.is_empty() && !says_it {
        exposed.push('_');
        exposed.push_str(&words);
    }
    if is_counter {
        exposed.push_str("_total");
    }
    (exposed, known)
}

/// `By/s` as `bytes_per_second`; what stands in braces is left out, and so is `1`.
fn unit_words(unit: &str) -> String {
    let unit = without_braces(unit);
    let (main, per) = unit.split_once('/').unwrap_or((&unit, ""));
    let main = match main.trim() {
        "1" => "",
        code => match Unit::of_code(code) {
            Some(unit) => unit.as_str(),
            None => code,
        },
    };
    let per = match per.trim() {
        "s" => "second",
        "m" => "minute",
        "h" => "hour",
        "d" => "day",
        "w" => "week",
        "mo" => "month",
        "y" => "year",
        other => other,
    };
    let main = word(main);
    match word(per).as_str() {
        "" => main,
        per if main.is_empty() => format!("per_{per}"),
        per => format!("{main}_per_{per}"),
    }
}

fn without_braces(unit: &str) -> String {
    let mut rest = unit;
    let mut outside = String::with_capacity(unit.len());
    while let Some((before, inside)) = rest.split_once('{') {
        outside.push_str(before);
        rest = inside.split_once('}').map_or("", |(_, after)| after);
    }
    outside.push_str(rest);
    outside
}

/// What a unit has of letters and digits.
fn word(text: &str) -> String {
    let valid = |character: char| if character.is_ascii_alphanumeric() { character } else { '_' };
    collapse(&text.chars().map(valid).collect::<String>()).trim_matches('_').to_owned()
}

/// Several `_` side by side as one.
fn collapse(name: &str) -> String {
    let mut collapsed = String::with_capacity(name.len());
    for character in name.chars() {
        if character != '_' || !collapsed.ends_with('_') {
            collapsed.push(character);
        }
    }
    collapsed
}

fn label_name(name: &str) -> String {
    collapse(&naming::label_name(name))
}

/// The labels that say which library speaks.
pub(super) fn scope_labels(scope: &InstrumentationScope) -> Vec<Label> {
    let own = [("name", Some(scope.name())), ("version", scope.version()), ("schema_url", scope.schema_url())];
    let is_own = |name: &str| own.iter().any(|(known, _)| *known == label_name(name));
    let attributes = scope.attributes().filter(|attribute| !is_own(attribute.key.as_str()));
    let attributes = attributes.map(|attribute| label(&format!("otel_scope_{}", attribute.key), &attribute.value));
    let own = own.iter().filter_map(|(name, value)| {
        Some(Label::new(format!("otel_scope_{name}"), (*value).filter(|value| !value.is_empty())?.to_owned()))
    });
    own.chain(attributes).collect()
}

/// The labels of a data point, and what had to be left out.
pub(super) fn labels<'a>(
    attributes: impl Iterator<Item = &'a KeyValue>,
    scope: &[Label],
    kind: Kind,
) -> (Labels, Excess) {
    let attributes = attributes.map(|attribute| label(attribute.key.as_str(), &attribute.value));
    // Of the same name as one of the scope's: the scope's is the later one, which stays.
    let all: Vec<_> = attributes.chain(scope.iter().cloned()).collect();
    naming::labels_named(all.iter(), kind, label_name)
}

/// Whether the SDK counts here what is beyond its own limit of label sets.
pub(super) fn is_overflow<'a>(mut attributes: impl Iterator<Item = &'a KeyValue>) -> bool {
    attributes.any(|attribute| attribute.key.as_str() == OVERFLOW_ATTRIBUTE && attribute.value == Value::Bool(true))
}

/// The labels of the series beyond a limit, one for each library.
pub(super) fn overflow_labels(scope: &[Label], kind: Kind) -> Labels {
    let (mut labels, _) = naming::labels_named(scope.iter(), kind, label_name);
    let place = labels.partition_point(|(name, _)| name.as_str() < OVERFLOW_LABEL);
    labels.insert(place, (OVERFLOW_LABEL.to_owned(), "true".to_owned()));
    labels
}

/// Text as it is, everything else as JSON writes it.
fn label(name: &str, value: &Value) -> Label {
    Label::new(name.to_owned(), value.as_str().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str, unit: &str, is_counter: bool) -> String {
        exposed(name, unit, is_counter).0
    }

    #[test]
    fn names_end_with_their_unit_and_counters_with_total() {
        assert_eq!(name("http.server.request.duration", "s", false), "http_server_request_duration_seconds");
        assert_eq!(name("http.server.request.duration_seconds", "s", false), "http_server_request_duration_seconds");
        assert_eq!(name("process.cpu.time", "s", true), "process_cpu_time_seconds_total");
        assert_eq!(name("sent_total", "By", true), "sent_bytes_total");
        assert_eq!(name("requests", "{request}", true), "requests_total");
        assert_eq!(name("rate", "{request}/s", false), "rate_per_second");
        assert_eq!(name("network.io", "By/s", false), "network_io_bytes_per_second");
        assert_eq!(name("speed", "m/s", false), "speed_meters_per_second");
        assert_eq!(name("power", "kW.h", true), "power_kW_h_total");
        assert_eq!(name("ratio", "1", false), "ratio");
        assert_eq!(name("load", "%", false), "load_percent");
        assert_eq!(name("a..b--c", "", false), "a_b_c");
        assert_eq!(name("seconds", "s", false), "seconds");
        assert_eq!(name("milliseconds", "s", false), "milliseconds_seconds");
        assert_eq!(name("total", "", true), "total_total");
    }

    #[test]
    fn units_in_common_use_are_metadata_and_others_are_not() {
        let unit = |code| exposed("x", code, false).1.map(Unit::as_str);
        assert_eq!(
            [unit("s"), unit("By"), unit("{request}"), unit("By/s"), unit("kWh"), unit("1")],
            [Some("seconds"), Some("bytes"), None, None, None, None]
        );
    }

    #[test]
    fn braces_that_do_not_close_take_the_rest_with_them() {
        assert_eq!([without_braces("a{b}c{d}"), without_braces("s{x"), without_braces("}s")], ["ac", "s", "}s"]);
    }

    fn scope() -> InstrumentationScope {
        InstrumentationScope::builder("library")
            .with_version("1.2")
            .with_attributes([KeyValue::new("mascot", "gopher"), KeyValue::new("version", "other")])
            .build()
    }

    fn pairs(labels: &Labels) -> Vec<(&str, &str)> {
        labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    #[test]
    fn attributes_are_labels_beside_those_of_the_scope() {
        let attributes = [
            KeyValue::new("http.route", "/a"),
            KeyValue::new("a..b", true),
            KeyValue::new("le", 7),
            KeyValue::new("otel.scope.name", "mine"),
            KeyValue::new("otel_scope_version", "mine"),
            KeyValue::new("db.password", "hunter2"),
        ];
        let (labels, excess) = labels(attributes.iter(), &scope_labels(&scope()), Kind::Histogram);
        assert_eq!(excess, Excess::default());
        assert_eq!(
            pairs(&labels),
            [
                ("a_b", "true"),
                ("db_password", lgtm_core::redaction::REDACTED),
                ("exported_le", "7"),
                ("http_route", "/a"),
                ("otel_scope_mascot", "gopher"),
                ("otel_scope_name", "mine;library"),
                ("otel_scope_version", "1.2"),
            ]
        );
    }

    #[test]
    fn the_overflow_of_a_library_has_its_scope() {
        let labels = overflow_labels(&scope_labels(&InstrumentationScope::builder("library").build()), Kind::Gauge);
        assert_eq!(pairs(&labels), [(OVERFLOW_LABEL, "true"), ("otel_scope_name", "library")]);
        assert!(is_overflow([KeyValue::new(OVERFLOW_ATTRIBUTE, true)].iter()));
        assert!(!is_overflow([KeyValue::new(OVERFLOW_ATTRIBUTE, "true")].iter()));
    }
}
