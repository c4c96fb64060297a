//! The alerts: valid for Prometheus, each tested to fire and not to fire, each with a runbook, and no name of a metric that nobody
//! emits.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use lgtm_core::catalogue::{CATALOGUE, MetricKind};
use promql_parser::label::{METRIC_NAME, MatchOp};
use promql_parser::parser::{self, Expr, VectorSelector};
use serde::Deserialize;

use super::{Failure, Workspace};

const RULES: &str = "deploy/prometheus/rules/lgtm.yaml";
const TESTS: &str = "deploy/prometheus/tests/lgtm.yaml";
const RUNBOOKS: &str = "docs/runbooks";
const SEVERITIES: [&str; 3] = ["critical", "warning", "info"];
/// What rules may name besides the catalogue: Prometheus' own, and what every push carries.
const OTHERS: [&str; 2] = ["up", "target_info"];

#[derive(Deserialize)]
struct RuleFile {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    #[serde(default)]
    record: Option<String>,
    #[serde(default)]
    alert: Option<String>,
    expr: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct TestFile {
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    #[serde(default)]
    alert_rule_test: Vec<AlertTest>,
}

#[derive(Deserialize)]
struct AlertTest {
    alertname: String,
    #[serde(default)]
    exp_alerts: Vec<serde::de::IgnoredAny>,
}

pub(super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let mut findings = Vec::new();
    let rules: Vec<Rule> = match read::<RuleFile>(&workspace.root, RULES) {
        Ok(file) => file.groups.into_iter().flat_map(|group| group.rules).collect(),
        Err(error) => return Err(Failure::new(error, "write the file as Prometheus has it")),
    };
    let tests: Vec<AlertTest> = match read::<TestFile>(&workspace.root, TESTS) {
        Ok(file) => file.tests.into_iter().flat_map(|test| test.alert_rule_test).collect(),
        Err(error) => return Err(Failure::new(error, "write the file as promtool has it")),
    };
    names(&rules, &mut findings);
    alerts(&workspace.root, &rules, &tests, &mut findings);
    promtool(&workspace.root, &mut findings);
    let remedy = format!("mend {RULES}, {TESTS} and {RUNBOOKS}");
    Failure::unless_empty(findings, remedy)
}

fn read<T: for<'de> Deserialize<'de>>(root: &Path, path: &str) -> Result<T, String> {
    let text = fs::read_to_string(root.join(path)).map_err(|error| format!("{path} cannot be read: {error}"))?;
    serde_yaml_ng::from_str(&text).map_err(|error| format!("{path}: {error}"))
}

/// Every metric that an expression names is emitted by somebody.
fn names(rules: &[Rule], findings: &mut Vec<String>) {
    let mut known: BTreeSet<String> = OTHERS.iter().map(|name| (*name).to_owned()).collect();
    known.extend(rules.iter().filter_map(|rule| rule.record.clone()));
    for metric in CATALOGUE {
        match metric.kind {
            MetricKind::Histogram => {
                known.extend(["_bucket", "_sum", "_count"].map(|suffix| format!("{}{suffix}", metric.name)));
            }
            _ => drop(known.insert(metric.name.to_owned())),
        }
    }
    for rule in rules {
        let title = rule.alert.as_deref().or(rule.record.as_deref()).unwrap_or_default();
        match parser::parse(&rule.expr) {
            Err(error) => findings.push(format!("{RULES}: {title}: {error}")),
            Ok(expression) => {
                let mut selected = Vec::new();
                selectors(&expression, &mut selected);
                let unknown = selected.into_iter().flat_map(named).filter(|name| !known.contains(name));
                findings.extend(unknown.map(|name| format!("{RULES}: {title}: nobody emits `{name}`")));
            }
        }
    }
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

fn alerts(root: &Path, rules: &[Rule], tests: &[AlertTest], findings: &mut Vec<String>) {
    let alerts: Vec<&Rule> = rules.iter().filter(|rule| rule.alert.is_some()).collect();
    let known: BTreeSet<&str> = alerts.iter().filter_map(|rule| rule.alert.as_deref()).collect();
    for rule in &alerts {
        let name = rule.alert.as_deref().unwrap_or_default();
        let severity = rule.labels.get("severity").map_or("none", String::as_str);
        if !SEVERITIES.contains(&severity) {
            findings.push(format!("{RULES}: {name}: its severity is {severity}; accepted: {}", SEVERITIES.join(", ")));
        }
        let missing = ["summary", "description"].into_iter().filter(|key| !rule.annotations.contains_key(*key));
        findings.extend(missing.map(|key| format!("{RULES}: {name}: it has no {key}")));
        let runbook = format!("{RUNBOOKS}/{name}.md");
        if rule.annotations.get("runbook_url") != Some(&runbook) || !root.join(&runbook).is_file() {
            findings.push(format!("{RULES}: {name}: its runbook_url is not {runbook}, or that page is not there"));
        }
    }
    for name in &known {
        let of = |fires: bool| tests.iter().any(|test| test.alertname == *name && test.exp_alerts.is_empty() != fires);
        if !of(true) || !of(false) {
            findings
                .push(format!("{TESTS}: {name}: there must be a test in which it fires, and one in which it does not"));
        }
    }
    let tested = tests.iter().map(|test| test.alertname.as_str()).filter(|name| !known.contains(name));
    findings.extend(tested.map(|name| format!("{TESTS}: there is no alert {name}")));
    let pages = fs::read_dir(root.join(RUNBOOKS)).into_iter().flatten().flatten();
    let pages = pages.filter_map(|page| Some(page.path().file_stem()?.to_string_lossy().into_owned()));
    findings.extend(
        pages.filter(|page| !known.contains(page.as_str())).map(|page| format!("{RUNBOOKS}: there is no alert {page}")),
    );
}

/// Prometheus' own tool, where it is on the path.
fn promtool(root: &Path, findings: &mut Vec<String>) {
    for arguments in [["check", "rules", RULES], ["test", "rules", TESTS]] {
        eprintln!("$ promtool {}", arguments.join(" "));
        match Command::new("promtool").args(arguments).current_dir(root).output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                let said = [output.stdout, output.stderr].concat();
                findings.push(format!("promtool {}: {}", arguments.join(" "), String::from_utf8_lossy(&said)));
            }
            Err(error) => {
                println!("  skipped: promtool cannot be started ({error}); it comes with Prometheus");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(expression: &str) -> Rule {
        Rule {
            record: None,
            alert: Some("Any".to_owned()),
            expr: expression.to_owned(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        }
    }

    #[test]
    fn a_name_that_nobody_emits_is_found_wherever_it_stands() {
        for (expression, wrong) in [
            ("up == 0", None),
            ("sum(rate(otlp_spans_created_total[5m])) > otlp_nothing", Some("otlp_nothing")),
            (r#"-(max_over_time({__name__=~"up|otlp_gone"}[5m] offset 1h))"#, Some("otlp_gone")),
            ("histogram_quantile(0.9, rate(otlp_exporter_latency_seconds_bucket[5m]))", None),
            ("otlp_exporter_latency_seconds", Some("otlp_exporter_latency_seconds")),
            ("max_over_time(rate(otlp_gone[1m])[5m:1m])", Some("otlp_gone")),
        ] {
            let mut findings = Vec::new();
            names(&[rule(expression)], &mut findings);
            match wrong {
                None => assert!(findings.is_empty(), "{findings:?}"),
                Some(name) => {
                    assert!(findings.len() == 1 && findings[0].contains(&format!("`{name}`")), "{findings:?}")
                }
            }
        }
        let mut findings = Vec::new();
        names(&[rule("sum(")], &mut findings);
        assert_eq!(findings.len(), 1);
    }

    #[test]
    fn an_alert_without_severity_runbook_or_test_is_found() {
        let mut findings = Vec::new();
        alerts(Path::new("/nowhere"), &[rule("up == 0")], &[], &mut findings);
        for part in ["severity", "summary", "description", "runbook_url", "fires"] {
            assert!(findings.iter().any(|finding| finding.contains(part)), "{part}: {findings:?}");
        }
    }
}
