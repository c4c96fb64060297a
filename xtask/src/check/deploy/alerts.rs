//! The alerts: each with a severity, a runbook and, in Prometheus, tests in which it fires, resolves, and does not fire.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::super::{Failure, Workspace, tools};
use super::rules::{self, Expected, LOKI, PROMETHEUS, Rule, TESTS, Test};

const RUNBOOKS: &str = "docs/runbooks";
const SEVERITIES: [&str; 3] = ["critical", "warning", "info"];

pub(in super::super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let root = &workspace.root;
    let remedy = format!("mend {PROMETHEUS}, {LOKI}, {TESTS} and {RUNBOOKS}");
    let read = || Ok((rules::read(root, PROMETHEUS)?, rules::read(root, LOKI)?, rules::tests(root)?));
    let (prometheus, loki, tests) = read().map_err(|error: String| Failure::new(error, &remedy))?;
    let mut findings = Vec::new();
    complete(root, PROMETHEUS, &prometheus, &mut findings);
    complete(root, LOKI, &loki, &mut findings);
    tested(&prometheus, &tests, &mut findings);
    pages(root, prometheus.iter().chain(&loki), &mut findings);
    match workspace.program(&["promtool"], "Prometheus") {
        Ok(promtool) => {
            for arguments in [["check", "rules", PROMETHEUS], ["test", "rules", TESTS]] {
                findings.extend(tools::run(&promtool, &arguments, root, None).err());
            }
        }
        Err(absent) => findings.extend(absent.finding),
    }
    Failure::unless_empty(findings, remedy)
}

/// Each alert has what a person needs at night.
fn complete(root: &Path, file: &str, rules: &[Rule], findings: &mut Vec<String>) {
    for rule in rules.iter().filter(|rule| rule.alert.is_some()) {
        let name = rule.name();
        let severity = rule.labels.get("severity").map_or("none", String::as_str);
        if !SEVERITIES.contains(&severity) {
            findings.push(format!("{file}: {name}: its severity is {severity}; accepted: {}", SEVERITIES.join(", ")));
        }
        if !rule.labels.contains_key("component") {
            findings.push(format!("{file}: {name}: it has no label component"));
        }
        let missing = ["summary", "description"].into_iter().filter(|key| !rule.annotations.contains_key(*key));
        findings.extend(missing.map(|key| format!("{file}: {name}: it has no {key}")));
        let runbook = format!("{RUNBOOKS}/{name}.md");
        if rule.annotations.get("runbook_url") != Some(&runbook) || !root.join(&runbook).is_file() {
            findings.push(format!("{file}: {name}: its runbook_url is not {runbook}, or that page is not there"));
        }
    }
}

/// Each tier of each alert of Prometheus has a test in which it fires and later does not any more, and one in which it never fires.
fn tested(rules: &[Rule], tests: &[Test], findings: &mut Vec<String>) {
    let tiers: BTreeSet<(&str, &str)> = rules
        .iter()
        .filter_map(|rule| Some((rule.alert.as_deref()?, rule.labels.get("severity").map_or("none", String::as_str))))
        .collect();
    for (name, severity) in &tiers {
        let fires = |expected: &Expected| expected.exp_labels.get("severity").map(String::as_str) == Some(severity);
        let of_it = |test: &Test| -> Vec<(Duration, bool)> {
            let looks = test.alert_rule_test.iter().filter(|look| look.alertname == *name);
            let looks = looks.map(|look| {
                let at = humantime::parse_duration(&look.eval_time).unwrap_or_default();
                (at, look.exp_alerts.iter().any(fires))
            });
            looks.collect()
        };
        let resolves = tests.iter().map(of_it).any(|looks| {
            let first = looks.iter().filter(|(_, fires)| *fires).map(|(at, _)| *at).min();
            first.is_some_and(|first| looks.iter().any(|(at, fires)| *at > first && !fires))
        });
        if !resolves {
            let must = "there must be a test in which it fires and later resolves";
            findings.push(format!("{TESTS}: {name} ({severity}): {must}"));
        }
        let silent = tests.iter().map(of_it).any(|looks| !looks.is_empty() && looks.iter().all(|(_, fires)| !fires));
        if !silent {
            findings.push(format!("{TESTS}: {name} ({severity}): there must be a test in which it does not fire"));
        }
    }
    let known: BTreeSet<&str> = tiers.iter().map(|(name, _)| *name).collect();
    let tested = tests.iter().flat_map(|test| &test.alert_rule_test).map(|look| look.alertname.as_str());
    let unknown: BTreeSet<&str> = tested.filter(|name| !known.contains(name)).collect();
    findings.extend(unknown.into_iter().map(|name| format!("{TESTS}: there is no alert {name}")));
}

/// No runbook is left of an alert that is gone.
fn pages<'a>(root: &Path, rules: impl Iterator<Item = &'a Rule>, findings: &mut Vec<String>) {
    let known: BTreeSet<&str> = rules.filter_map(|rule| rule.alert.as_deref()).collect();
    let pages = fs::read_dir(root.join(RUNBOOKS)).into_iter().flatten().flatten();
    let pages = pages.filter_map(|page| Some(page.path().file_stem()?.to_string_lossy().into_owned()));
    let orphans = pages.filter(|page| !known.contains(page.as_str()));
    findings.extend(orphans.map(|page| format!("{RUNBOOKS}: there is no alert {page}")));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn rule() -> Rule {
        Rule {
            record: None,
            alert: Some("Any".to_owned()),
            expr: "up == 0".to_owned(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        }
    }

    fn test_of(looks: &[(&str, bool)]) -> Test {
        let looks = looks.iter().map(|(at, fires)| {
            let expected = if *fires { "[{exp_labels: {severity: none}}]" } else { "[]" };
            format!("{{alertname: Any, eval_time: {at}, exp_alerts: {expected}}}")
        });
        let looks: Vec<String> = looks.collect();
        serde_yaml_ng::from_str(&format!("alert_rule_test: [{}]", looks.join(", "))).unwrap()
    }

    #[test]
    fn an_alert_without_severity_component_text_or_runbook_is_found() {
        let mut findings = Vec::new();
        complete(Path::new("/nowhere"), "rules.yaml", &[rule()], &mut findings);
        for part in ["severity", "component", "summary", "description", "runbook_url"] {
            assert!(findings.iter().any(|finding| finding.contains(part)), "{part}: {findings:?}");
        }
    }

    #[test]
    fn an_alert_must_be_seen_to_fire_resolve_and_stay_silent() {
        let findings = |tests: &[Test]| {
            let mut findings = Vec::new();
            tested(&[rule()], tests, &mut findings);
            findings.len()
        };
        let silent = || test_of(&[("5m", false)]);
        assert_eq!(findings(&[test_of(&[("5m", true), ("1h 30m", false)]), silent()]), 0);
        assert_eq!(findings(&[test_of(&[("5m", false), ("10m", true)]), silent()]), 1, "it never resolves");
        assert_eq!(findings(&[test_of(&[("5m", true), ("9m", false)])]), 1, "it is never silent");
        assert_eq!(findings(&[]), 2);
    }
}
