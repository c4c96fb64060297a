//! `docs/metrics.md` is made from the metric catalogues, so that every metric is documented and no other is.

use std::fmt::Write as _;
use std::fs;

use anyhow::Context as _;
use lgtm_core::catalogue::{CATALOGUE, Metric, MetricKind};
use lgtm_http::catalogue;

use super::{Failure, Workspace};

const PAGE: &str = "docs/metrics.md";

pub(super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let remedy = format!("run `cargo xtask check --fix`: it writes {PAGE} from lgtm_core::catalogue");
    let written = fs::read_to_string(workspace.root.join(PAGE))
        .map_err(|error| Failure::new(format!("{PAGE} cannot be read: {error}"), &remedy))?;
    Failure::unless_empty(differences(&written), remedy)
}

/// Writes the page.
///
/// # Errors
/// If it cannot be written.
pub(super) fn write(workspace: &Workspace) -> anyhow::Result<()> {
    let path = workspace.root.join(PAGE);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder of {PAGE}"))?;
    }
    fs::write(&path, page()).with_context(|| format!("cannot write {PAGE}"))
}

/// What is wrong with the page: the metrics that it lacks, else that it differs.
fn differences(written: &str) -> Vec<String> {
    let name = |metric: &Metric| format!("`{}`", metric.name);
    let missing = CATALOGUE.iter().copied().chain(catalogue::all()).filter(|metric| !written.contains(&name(metric)));
    let mut findings: Vec<_> = missing.map(|metric| format!("{} is not documented", metric.name)).collect();
    if findings.is_empty() && written != page() {
        findings.push(format!("{PAGE} is not what the catalogue says"));
    }
    findings
}

fn page() -> String {
    let mut page = String::from(
        "# The metrics of lgtm itself\n\n\
         What lgtm says about spans, about its own three pipelines, and about the system. This page is made from the catalogue in \
         `crates/lgtm-core/src/catalogue.rs`, and the requests from that in `crates/lgtm-http/src/catalogue.rs`, by \
         `cargo xtask check --fix`.\n\n",
    );
    table(&mut page, CATALOGUE);
    page.push_str("\n## Requests\n\nWhat the layers of `lgtm::http` say about HTTP and gRPC.\n\n");
    let requests: Vec<Metric> = catalogue::all().collect();
    table(&mut page, &requests);
    page.push_str("\n## Buckets\n\nUpper bounds of the histograms; each has a last bucket `+Inf`.\n\n");
    for metric in CATALOGUE.iter().chain(&requests).filter(|metric| !metric.buckets.is_empty()) {
        let bounds: Vec<_> = metric.buckets.iter().map(f64::to_string).collect();
        let told =
            if metric.unit == metrics::Unit::Bytes { "; without the facade the recorder has to be told" } else { "" };
        let _ = writeln!(page, "- `{}`: {}{told}", metric.name, bounds.join(", "));
    }
    page
}

fn table(page: &mut String, metrics: &[Metric]) {
    page.push_str("| metric | type | unit | labels | meaning |\n|---|---|---|---|---|\n");
    for metric in metrics {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} |",
            metric.name,
            kind(metric.kind),
            metric.unit.as_str(),
            labels.join(", "),
            metric.help
        );
    }
}

fn kind(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram => "histogram",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_complete_and_a_missing_metric_is_named() {
        assert_eq!(differences(&page()), [""; 0]);
        let name = CATALOGUE[0].name;
        let without = page().replace(&format!("`{name}`"), "`another`");
        assert_eq!(differences(&without), [format!("{name} is not documented")]);
        let other_help = page().replace(CATALOGUE[0].help, "something else");
        assert_eq!(differences(&other_help).len(), 1);
    }
}
