//! The files of rules of Prometheus and Loki, and promtool's tests of them, as far as checks look at them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

/// The rules for Prometheus and Mimir's ruler.
pub(super) const PROMETHEUS: &str = "deploy/prometheus/rules/lgtm.yaml";
/// The tests of [`PROMETHEUS`].
pub(super) const TESTS: &str = "deploy/prometheus/tests/lgtm.yaml";
/// The rules for Loki's ruler. Without tenants the folder's name is `fake`.
pub(super) const LOKI: &str = "deploy/loki/rules/fake/lgtm.yaml";

#[derive(Deserialize)]
struct RuleFile {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

/// A recording rule or an alert.
#[derive(Debug, Deserialize)]
pub(super) struct Rule {
    #[serde(default)]
    pub(super) record: Option<String>,
    #[serde(default)]
    pub(super) alert: Option<String>,
    pub(super) expr: String,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
}

impl Rule {
    pub(super) fn name(&self) -> &str {
        self.alert.as_deref().or(self.record.as_deref()).unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct TestFile {
    tests: Vec<Test>,
}

/// One test: series, and what is expected of alerts at some times.
#[derive(Debug, Deserialize)]
pub(super) struct Test {
    #[serde(default)]
    pub(super) alert_rule_test: Vec<AlertTest>,
}

#[derive(Debug, Deserialize)]
pub(super) struct AlertTest {
    pub(super) alertname: String,
    pub(super) eval_time: String,
    #[serde(default)]
    pub(super) exp_alerts: Vec<Expected>,
}

/// An alert that is to fire.
#[derive(Debug, Deserialize)]
pub(super) struct Expected {
    #[serde(default)]
    pub(super) exp_labels: BTreeMap<String, String>,
}

/// All rules of a file.
///
/// # Errors
/// If it cannot be read, or is no file of rules.
pub(super) fn read(root: &Path, path: &str) -> Result<Vec<Rule>, String> {
    Ok(parsed::<RuleFile>(root, path)?.groups.into_iter().flat_map(|group| group.rules).collect())
}

/// All tests of [`TESTS`].
///
/// # Errors
/// If it cannot be read, or is no file of tests.
pub(super) fn tests(root: &Path) -> Result<Vec<Test>, String> {
    Ok(parsed::<TestFile>(root, TESTS)?.tests)
}

fn parsed<T: for<'de> Deserialize<'de>>(root: &Path, path: &str) -> Result<T, String> {
    let text = fs::read_to_string(root.join(path)).map_err(|error| format!("{path} cannot be read: {error}"))?;
    serde_yaml_ng::from_str(&text).map_err(|error| format!("{path}: {error}"))
}
