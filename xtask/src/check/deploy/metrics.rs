//! The metrics that queries may name: those of the catalogues, of recording rules, and those of other
//! programs that are listed here.

use std::collections::BTreeSet;

use lgtm_core::catalogue::{CATALOGUE, Metric, MetricKind};
use promql_parser::label::{METRIC_NAME, MatchOp};
use promql_parser::parser::{self, Expr, VectorSelector};

use super::rules::Rule;

/// What every program that pushes says of itself.
const TARGET_INFO: &str = "target_info";

/// What other programs say, by the service that says it.
const OUTSIDE: &[(&str, &[&str])] = &[
    ("prometheus", &["up", "ALERTS"]),
    ("node-exporter", &["node_cpu_seconds_total"]),
    ("loki", &["loki_discarded_samples_total"]),
    ("mimir", &["cortex_discarded_samples_total"]),
    (
        "tempo",
        &[
            "tempo_discarded_spans_total",
            "traces_spanmetrics_calls_total",
            "traces_spanmetrics_latency_bucket",
            "traces_service_graph_request_total",
            "traces_service_graph_request_failed_total",
            "traces_service_graph_request_client_seconds_bucket",
        ],
    ),
];

/// The service of the stack that says a metric; `None` for those of lgtm and of the example program.
pub(in super::super) fn service(name: &str) -> Option<&'static str> {
    OUTSIDE.iter().find(|(_, names)| names.contains(&name)).map(|(service, _)| *service)
}

/// Metrics that are not there while all is well, with what brings them.
const ABSENT_WHILE_WELL: &[(&str, &str)] = &[
    ("ALERTS", "an alert"),
    ("otlp_spans_export_errors_total", "a failed export"),
    ("otlp_logs_export_errors_total", "a failed push"),
    ("otlp_metrics_export_errors_total", "a failed push"),
    ("otlp_logs_label_overflow_total", "a stream label of a field, with too many values"),
    ("loki_discarded_samples_total", "a limit of Loki"),
    ("tempo_discarded_spans_total", "a limit of Tempo"),
    ("cortex_discarded_samples_total", "a limit of Mimir"),
];

/// What brings a metric that is not there while all is well.
pub(in super::super) fn brought_by(name: &str) -> Option<&'static str> {
    ABSENT_WHILE_WELL.iter().find(|(known, _)| *known == name).map(|(_, what)| *what)
}

/// The names that may be used.
pub(super) struct Known(BTreeSet<String>);

impl Known {
    pub(super) fn with(rules: &[Rule]) -> Self {
        let mut known = BTreeSet::new();
        for Metric { name, kind, .. } in CATALOGUE.iter().copied().chain(lgtm_http::catalogue::all()) {
            match kind {
                MetricKind::Histogram => {
                    known.extend(["_bucket", "_sum", "_count"].map(|suffix| format!("{name}{suffix}")));
                }
                _ => drop(known.insert(name.to_owned())),
            }
        }
        known.insert(TARGET_INFO.to_owned());
        known.extend(OUTSIDE.iter().flat_map(|(_, names)| *names).map(|name| (*name).to_owned()));
        known.extend(rules.iter().filter_map(|rule| rule.record.clone()));
        Self(known)
    }

    /// The names in a query that nobody emits.
    ///
    /// # Errors
    /// If it is not PromQL; with the parser's words.
    pub(super) fn unknown(&self, promql: &str) -> Result<Vec<String>, String> {
        Ok(names(promql)?.into_iter().filter(|name| !self.0.contains(name)).collect())
    }
}

/// The names that a query asks for.
///
/// # Errors
/// If it is not PromQL; with the parser's words.
pub(super) fn names(promql: &str) -> Result<BTreeSet<String>, String> {
    let expression = parser::parse(promql)?;
    let mut selected = Vec::new();
    selectors(&expression, &mut selected);
    Ok(selected.into_iter().flat_map(named).collect())
}

fn selectors<'a>(expression: &'a Expr, found: &mut Vec<&'a VectorSelector>) {
    match expression {
        Expr::Aggregate(aggregate) => selectors(&aggregate.expr, found),
        Expr::Unary(unary) => selectors(&unary.expr, found),
        Expr::Binary(binary) => {
            selectors(&binary.lhs, found);
            selectors(&binary.rhs, found);
        }
        Expr::Paren(paren) => selectors(&paren.expr, found),
        Expr::Subquery(subquery) => selectors(&subquery.expr, found),
        Expr::VectorSelector(selector) => found.push(selector),
        Expr::MatrixSelector(selector) => found.push(&selector.vs),
        Expr::Call(call) => call.args.args.iter().for_each(|argument| selectors(argument, found)),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
    }
}

/// The names that a selector asks for: of a regular expression its alternatives.
fn named(selector: &VectorSelector) -> Vec<String> {
    if let Some(name) = &selector.name {
        return vec![name.clone()];
    }
    let matchers = selector.matchers.matchers.iter().filter(|matcher| matcher.name == METRIC_NAME);
    matchers
        .flat_map(|matcher| match &matcher.op {
            MatchOp::Equal => vec![matcher.value.clone()],
            _ => matcher.value.split('|').map(str::to_owned).collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_nobody_emits_is_found_wherever_it_stands() {
        let known = Known::with(&[]);
        for (expression, wrong) in [
            ("up == 0", None),
            ("sum(rate(otlp_spans_created_total[5m])) > otlp_nothing", Some("otlp_nothing")),
            (r#"-(max_over_time({__name__=~"up|otlp_gone"}[5m] offset 1h))"#, Some("otlp_gone")),
            ("histogram_quantile(0.9, rate(otlp_exporter_latency_seconds_bucket[5m]))", None),
            ("otlp_exporter_latency_seconds", Some("otlp_exporter_latency_seconds")),
            ("max_over_time(rate(otlp_gone[1m])[5m:1m])", Some("otlp_gone")),
            ("sum by (path) (rate(http_requests_total[5m]))", None),
        ] {
            assert_eq!(known.unknown(expression).unwrap(), Vec::from_iter(wrong.map(str::to_owned)), "{expression}");
        }
        assert!(known.unknown("sum(").is_err());
    }
}
