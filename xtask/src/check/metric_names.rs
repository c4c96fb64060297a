//! Names and labels of the metric catalogue follow Prometheus' rules: `<namespace>_<subsystem>_<what>_<unit>`, and no label whose
//! values have no end. `promtool check metrics` has a say too, where it is on the path.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use lgtm_core::catalogue::{CATALOGUE, Metric, MetricKind};
use metrics::Unit;

use super::{Failure, Workspace, tools};

const NAMESPACE: &str = "otlp";
const SUBSYSTEMS: [&str; 5] = ["spans", "exporter", "logs", "metrics", "system"];
/// The most labels of one metric: each multiplies the series.
const MOST_LABELS: usize = 3;
/// What a label's name may not have among its words: their values have no end.
const ENDLESS: [&str; 16] = [
    "id",
    "uuid",
    "user",
    "session",
    "request",
    "trace",
    "span_id",
    "email",
    "ip",
    "address",
    "url",
    "uri",
    "path",
    "query",
    "message",
    "timestamp",
];
/// What promtool objects to and stays: the name is that of dashboards and alerts in the field.
const ALLOWED: [&str; 1] =
    ["otlp_system_tasks_count non-histogram and non-summary metrics should not have \"_count\" suffix"];

pub(super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let mut findings: Vec<String> = CATALOGUE.iter().flat_map(faults).collect();
    let mut seen = BTreeSet::new();
    let twice = CATALOGUE.iter().filter(|metric| !seen.insert(metric.name));
    findings.extend(twice.map(|metric| format!("{} is there twice", metric.name)));
    match workspace.program(&["promtool"], "Prometheus") {
        Ok(promtool) => {
            let said = tools::run(&promtool, &["check", "metrics"], &workspace.root, Some(&exposition()));
            findings.extend(said.err().into_iter().flat_map(|said| objections(&said)));
        }
        Err(absent) => findings.extend(absent.finding),
    }
    Failure::unless_empty(findings, "name it as Prometheus' naming guide says, in lgtm_core::catalogue")
}

fn faults(metric: &Metric) -> Vec<String> {
    let mut faults = Vec::new();
    let mut words = metric.name.split('_');
    let subsystem_is_known =
        words.next() == Some(NAMESPACE) && words.next().is_some_and(|word| SUBSYSTEMS.contains(&word));
    if !subsystem_is_known {
        faults.push(format!("it does not begin with {NAMESPACE}_ and one of {}", SUBSYSTEMS.join(", ")));
    }
    if metric.name.contains(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')) {
        faults.push("it is not lower case with underscores".to_owned());
    }
    let endings: &[&str] = match (metric.kind, metric.unit) {
        (MetricKind::Counter, Unit::Count) => &["_total"],
        (MetricKind::Counter, Unit::Seconds) => &["_seconds_total"],
        (MetricKind::Counter, _) => &["_bytes_total"],
        (_, Unit::Seconds) => &["_seconds"],
        (_, Unit::Bytes) => &["_bytes"],
        (_, Unit::Percent) => &["_percent"],
        _ => &["_size", "_count"],
    };
    if !endings.iter().any(|ending| metric.name.ends_with(ending)) {
        faults.push(format!("a {:?} in {} ends in {}", metric.kind, metric.unit.as_str(), endings.join(" or ")));
    }
    if metric.labels.len() > MOST_LABELS {
        faults.push(format!("it has {} labels; at most {MOST_LABELS}", metric.labels.len()));
    }
    for label in metric.labels {
        if label.split('_').any(|word| ENDLESS.contains(&word)) || ENDLESS.contains(label) {
            faults.push(format!("the values of its label `{label}` have no end"));
        }
    }
    let rises = metric.buckets.iter().zip(metric.buckets.iter().skip(1)).all(|(lower, upper)| lower < upper);
    if (metric.kind == MetricKind::Histogram) == metric.buckets.is_empty() || !rises {
        faults.push("a histogram, and nothing else, has buckets, in rising order".to_owned());
    }
    if metric.help.is_empty() || metric.help.ends_with('.') {
        faults.push("its help is one phrase without a full stop".to_owned());
    }
    faults.into_iter().map(|fault| format!("{}: {fault}", metric.name)).collect()
}

/// The catalogue as a scrape would show it.
fn exposition() -> String {
    let mut text = String::new();
    for metric in CATALOGUE {
        let name = metric.name;
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("{label}=\"any\"")).collect();
        let labels = labels.join(",");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", metric.help);
        let _ = match metric.kind {
            MetricKind::Histogram => {
                let comma = if labels.is_empty() { "" } else { "," };
                writeln!(
                    text,
                    "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} 1\n{name}_sum{{{labels}}} 1\n{name}_count{{{labels}}} 1"
                )
            }
            _ => writeln!(text, "{name}{{{labels}}} 1"),
        };
    }
    text
}

/// What promtool objects to beyond what is allowed: a line each.
fn objections(said: &str) -> Vec<String> {
    // Its lines follow the command and the exit status on the first one.
    let lines = said.lines().flat_map(|line| line.rsplit("): ").next());
    lines.map(str::trim).filter(|line| !line.is_empty() && !ALLOWED.contains(line)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Metric = Metric {
        name: "otlp_spans_anything_total",
        kind: MetricKind::Counter,
        unit: Unit::Count,
        labels: &["exporter"],
        buckets: &[],
        help: "Anything",
    };

    #[test]
    fn each_rule_finds_what_breaks_it() {
        assert_eq!(faults(&FINE), [""; 0]);
        for (metric, word) in [
            (Metric { name: "spans_created_total", ..FINE }, "begin"),
            (Metric { name: "otlp_spans_Created_total", ..FINE }, "lower case"),
            (Metric { name: "otlp_spans_created", ..FINE }, "_total"),
            (Metric { name: "otlp_spans_time", kind: MetricKind::Gauge, unit: Unit::Seconds, ..FINE }, "_seconds"),
            (Metric { labels: &["user_id"], ..FINE }, "user_id"),
            (Metric { labels: &["a", "b", "c", "d"], ..FINE }, "4 labels"),
            (Metric { name: "otlp_spans_size", kind: MetricKind::Histogram, buckets: &[2.0, 1.0], ..FINE }, "rising"),
            (Metric { buckets: &[1.0], ..FINE }, "nothing else"),
            (Metric { help: "Anything.", ..FINE }, "full stop"),
        ] {
            let found = faults(&metric);
            assert!(found.len() == 1 && found[0].contains(word), "{word}: {found:?}");
        }
    }

    #[test]
    fn only_what_is_allowed_by_name_is_passed_over() {
        let said = format!("`promtool check metrics` failed (exit status: 3): {}\notlp_x no help text", ALLOWED[0]);
        assert_eq!(objections(&said), ["otlp_x no help text"]);
    }
}
