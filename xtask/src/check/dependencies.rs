//! Which package may depend on which: downwards only, and never sideways between the signals.

use cargo_metadata::{DependencyKind, Metadata};

use super::{Failure, Workspace};

/// What a package may have among its dependencies, of ours. Packages that are not here may have none.
const ALLOWED: &[(&str, &[&str])] = &[
    ("lgtm-core", &[]),
    ("lgtm-query", &[]),
    ("lgtm-devstack", &[]),
    ("lgtm-loki", &["lgtm-core"]),
    ("lgtm-tempo", &["lgtm-core"]),
    ("lgtm-mimir", &["lgtm-core"]),
    ("lgtm-spanmetrics", &["lgtm-core"]),
    ("lgtm-http", &["lgtm-core"]),
    (FACADE, &["lgtm-core", "lgtm-loki", "lgtm-tempo", "lgtm-mimir", "lgtm-spanmetrics", "lgtm-http", "lgtm-devstack"]),
    ("quickstart", &[FACADE]),
    ("layers", &["lgtm-core", "lgtm-loki", "lgtm-tempo", "lgtm-spanmetrics"]),
    ("worker", &[FACADE]),
    ("queue", &[FACADE]),
    ("metrics_only", &[FACADE]),
    ("logs_only", &[FACADE]),
    ("cli", &[FACADE]),
    ("shop", &[FACADE]),
    ("migration", &[FACADE]),
    ("lgtm-book", ALL),
    ("lgtm-window-tests", &["lgtm-devstack"]),
    ("lgtm-tests", ALL),
    ("lgtm-benches", ALL),
    ("xtask", ALL),
];

const FACADE: &str = "lgtm-telemetry";

/// All that is published, for the packages that nothing depends on.
const ALL: &[&str] = &[
    "lgtm-core",
    "lgtm-query",
    "lgtm-devstack",
    "lgtm-loki",
    "lgtm-tempo",
    "lgtm-mimir",
    "lgtm-spanmetrics",
    "lgtm-http",
    FACADE,
];

/// What every package may have in its tests: the backends, and their reader. They depend on nothing of ours.
const ALLOWED_IN_TESTS: &[&str] = &["lgtm-devstack", "lgtm-query"];

pub(super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    Failure::unless_empty(
        violations(&edges(&workspace.metadata)),
        "turn the dependency around, or move what both need down into lgtm-core; a new package gets its rule in \
         xtask/src/check/dependencies.rs",
    )
}

/// A dependency between two packages of the workspace.
struct Edge {
    from: String,
    to: String,
    in_tests: bool,
    optional: bool,
}

fn edges(metadata: &Metadata) -> Vec<Edge> {
    let packages = metadata.workspace_packages();
    let ours = |name: &str| packages.iter().any(|package| package.name == name);
    let mut edges = Vec::new();
    for package in &packages {
        for dependency in package.dependencies.iter().filter(|dependency| ours(&dependency.name)) {
            edges.push(Edge {
                from: package.name.to_string(),
                to: dependency.name.clone(),
                in_tests: dependency.kind == DependencyKind::Development,
                optional: dependency.optional,
            });
        }
    }
    edges
}

fn violations(edges: &[Edge]) -> Vec<String> {
    let mut findings = Vec::new();
    for Edge { from, to, in_tests, optional } in edges {
        let allowed = ALLOWED.iter().find(|(name, _)| name == from).map_or(&[] as &[&str], |(_, allowed)| allowed);
        let is_for_tests = *in_tests && ALLOWED_IN_TESTS.contains(&to.as_str());
        if from == FACADE && to == "lgtm-devstack" && !optional && !in_tests {
            findings.push(format!("{from} -> {to}: only as an optional dependency, behind a feature"));
        } else if !is_for_tests && !allowed.contains(&to.as_str()) {
            let kind = if *in_tests { " (in its tests)" } else { "" };
            let may = if allowed.is_empty() { "nothing of ours".to_owned() } else { allowed.join(", ") };
            findings.push(format!("{from} -> {to}{kind}: {from} may depend on {may}"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(from: &str, to: &str, in_tests: bool, optional: bool) -> Vec<String> {
        violations(&[Edge { from: from.to_owned(), to: to.to_owned(), in_tests, optional }])
    }

    #[test]
    fn a_signal_that_needs_another_is_named() {
        assert_eq!(findings("lgtm-loki", "lgtm-core", false, false), [""; 0]);
        assert_eq!(
            findings("lgtm-loki", "lgtm-tempo", false, false),
            ["lgtm-loki -> lgtm-tempo: lgtm-loki may depend on lgtm-core"]
        );
        assert_eq!(
            findings("lgtm-core", "lgtm-loki", true, false),
            ["lgtm-core -> lgtm-loki (in its tests): lgtm-core may depend on nothing of ours"]
        );
    }

    #[test]
    fn tests_may_have_backends_and_the_facade_only_behind_a_feature() {
        assert_eq!(findings("lgtm-loki", "lgtm-devstack", true, false), [""; 0]);
        assert_eq!(findings("lgtm-loki", "lgtm-tempo", true, false).len(), 1);
        assert_eq!(findings("lgtm-loki", "lgtm-devstack", false, false).len(), 1);
        assert_eq!(findings(FACADE, "lgtm-devstack", false, true), [""; 0]);
        assert_eq!(findings(FACADE, "lgtm-devstack", false, false).len(), 1);
    }

    #[test]
    fn a_package_without_a_rule_may_have_nothing() {
        assert_eq!(findings("new", "lgtm-core", false, false), ["new -> lgtm-core: new may depend on nothing of ours"]);
    }
}
