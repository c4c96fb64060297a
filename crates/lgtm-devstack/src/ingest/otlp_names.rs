//! The names that OTLP's metrics, units and attributes have in Prometheus. Pure.
//!
//! Source: OpenTelemetry, "Prometheus and OpenMetrics Compatibility"; `prometheus/otlptranslator`, which Prometheus and Mimir use.

use std::collections::BTreeMap;

use super::otlp_text::text_of;
use crate::attribute::Attributes;
use crate::label_text;
use crate::wire::prometheus::Label;

/// What a name depends on besides name and unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Gauge,
    Counter,
    Other,
}

/// The name of a metric family with its unit, and the unit in Prometheus' words.
pub(super) fn metric_name(name: &str, unit: &str, shape: Shape) -> (String, String) {
    let is_part_of_name = |c: char| c.is_ascii_alphanumeric() || c == ':';
    let mut words: Vec<&str> = name.split(|c| !is_part_of_name(c)).filter(|word| !word.is_empty()).collect();
    let told = unit_words(unit);
    let has = |words: &[&str], word: &str| words.contains(&word);
    for (at, word) in told.iter().enumerate() {
        // Of "per second" the second alone is no unit.
        let is_told = has(&words, word) || (*word == "per" && told.get(at + 1).is_some_and(|next| has(&words, next)));
        if !is_told {
            words.push(word);
        }
    }
    let last = match shape {
        Shape::Counter => Some("total"),
        Shape::Gauge if unit == "1" => Some("ratio"),
        Shape::Gauge | Shape::Other => None,
    };
    if let Some(last) = last {
        words.retain(|word| *word != last);
        words.push(last);
    }
    let mut name = words.join("_");
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    (name, told.join("_"))
}

/// The words of a unit of UCUM: `By/s` is bytes per second. Annotations in braces are no unit.
fn unit_words(unit: &str) -> Vec<&str> {
    let (main, per) = unit.split_once('/').map_or((unit, ""), |(main, per)| (main, per));
    let (main, per) = (main.trim(), per.trim());
    let is_unit = |unit: &str| !unit.is_empty() && !unit.contains(['{', '}']);
    let mut words = Vec::new();
    if is_unit(main) {
        words.extend(parts(word_of_unit(main)));
    }
    if is_unit(per) {
        words.push("per");
        words.extend(parts(word_of_unit_below(per)));
    }
    words
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty())
}

fn word_of_unit(unit: &str) -> &str {
    match unit {
        "1" => "",
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "TiBy" => "tibibytes",
        "KBy" | "kBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "%" => "percent",
        other => other,
    }
}

fn word_of_unit_below(unit: &str) -> &str {
    match unit {
        "s" => "second",
        "m" => "minute",
        "h" => "hour",
        "d" => "day",
        "w" => "week",
        "mo" => "month",
        "y" => "year",
        other => other,
    }
}

/// The labels of attributes, sorted. Values whose names become the same are joined by `;`; an empty value is no label.
pub(super) fn labels_of(attributes: &Attributes) -> BTreeMap<String, String> {
    let mut sorted: Vec<_> = attributes.iter().collect();
    sorted.sort_by_key(|(name, _)| *name);
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in sorted {
        let value = text_of(value);
        if name.is_empty() || value.is_empty() {
            continue;
        }
        labels
            .entry(label_text::sanitise(name))
            .and_modify(|joined| *joined = format!("{joined};{value}"))
            .or_insert(value);
    }
    labels
}

pub(super) fn label(name: &str, value: impl Into<String>) -> Label {
    Label { name: name.to_owned(), value: value.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_their_units_and_endings_once() {
        for (name, unit, shape, expected) in [
            ("http.server.request.duration", "s", Shape::Other, "http_server_request_duration_seconds"),
            ("took_seconds", "s", Shape::Other, "took_seconds"),
            ("jobs", "{job}", Shape::Counter, "jobs_total"),
            ("jobs.total.done", "1", Shape::Counter, "jobs_done_total"),
            ("sent_total", "By", Shape::Counter, "sent_bytes_total"),
            ("cpu.utilization", "1", Shape::Gauge, "cpu_utilization_ratio"),
            ("queue", "1", Shape::Other, "queue"),
            ("network.io", "By/s", Shape::Gauge, "network_io_bytes_per_second"),
            ("speed", "m/s", Shape::Gauge, "speed_meters_per_second"),
            ("orders", "{order}/min", Shape::Gauge, "orders_per_min"),
            ("a..b__c", "widgets", Shape::Gauge, "a_b_c_widgets"),
            ("2xx", "", Shape::Gauge, "_2xx"),
            ("rule:latency:p99", "ms", Shape::Gauge, "rule:latency:p99_milliseconds"),
        ] {
            assert_eq!(metric_name(name, unit, shape).0, expected, "{name} in {unit}");
        }
        assert_eq!(metric_name("a", "By/s", Shape::Gauge).1, "bytes_per_second");
    }
}
