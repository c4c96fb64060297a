//! `cargo xtask check`: every rule of the workspace that a machine can check. All of them run, also after a failure; each says its
//! name, how it went, and what to do about it.

mod book;
mod changelog;
mod deny;
mod dependencies;
mod deploy;
mod features;
mod headers;
mod instructions;
mod links;
mod machine_paths;
mod members;
mod metric_names;
mod metrics_page;
mod models;
mod package;
mod promises;
mod public_api;
mod readme;
mod sources;
mod tools;
mod window;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use cargo_metadata::Metadata;

use crate::{bench, cargo, demo, outage};
pub(crate) use deploy::queries::{Language, Query};
pub(crate) use public_api::rustdoc::stand_in as stand_in_for_rustdoc;

/// What `check` checks.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only the checks whose names begin so, such as `deploy`. Defaults to all.
    names: Vec<String>,
    /// Programs whose absence is a failure. Without this a check that cannot start its program says so and passes.
    #[arg(long, value_name = "PROGRAM", value_delimiter = ',')]
    require: Vec<String>,
    /// Adds what is too slow for every run: the queue under a model checker, each crate's features one by one, its package, a short
    /// demo, a short outage and a short bench beside the peers.
    #[arg(long)]
    full: bool,
    /// Writes what can be written before checking: the formatting, `docs/metrics.md`, and what the crates show to others.
    #[arg(long)]
    fix: bool,
}

/// What the checks look at.
struct Workspace {
    root: PathBuf,
    metadata: Metadata,
    /// Programs that must be there.
    required: Vec<String>,
    /// Programs that checks have asked for.
    asked: RefCell<BTreeSet<String>>,
}

impl Workspace {
    /// # Errors
    /// If cargo cannot say what the workspace has.
    fn read(required: Vec<String>) -> anyhow::Result<Self> {
        let metadata = cargo::metadata()?;
        Ok(Self { root: metadata.workspace_root.clone().into(), metadata, required, asked: RefCell::default() })
    }
}

/// The metrics that dashboards, rules and pages name, each with the places.
///
/// # Errors
/// If one of them cannot be read.
pub(crate) fn named_metrics() -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    deploy::queries::named_metrics(&Workspace::read(Vec::new())?).map_err(anyhow::Error::msg)
}

/// What brings a metric that is not there while all is well; `None` for the others.
pub(crate) fn metric_brought_by(name: &str) -> Option<&'static str> {
    deploy::metrics::brought_by(name)
}

/// The queries of dashboards, data sources, rules and pages, with values in the place of Grafana's variables.
///
/// # Errors
/// If a file cannot be read.
pub(crate) fn all_queries() -> anyhow::Result<Vec<Query>> {
    deploy::queries::all(&Workspace::read(Vec::new())?).map_err(anyhow::Error::msg)
}

/// The service of the stack that says a metric; `None` for those of lgtm and of the example program.
pub(crate) fn service_of_metric(name: &str) -> Option<&'static str> {
    deploy::metrics::service(name)
}

/// Why a check fails: what was found, and what to do.
#[derive(Debug)]
struct Failure {
    findings: Vec<String>,
    remedy: String,
}

impl Failure {
    /// `Ok` without findings.
    fn unless_empty(findings: Vec<String>, remedy: impl Into<String>) -> Result<(), Self> {
        if findings.is_empty() { Ok(()) } else { Err(Self { findings, remedy: remedy.into() }) }
    }

    fn new(finding: impl ToString, remedy: impl Into<String>) -> Self {
        Self { findings: vec![finding.to_string()], remedy: remedy.into() }
    }
}

type Check = (&'static str, fn(&Workspace) -> Result<(), Failure>);

/// The quick ones first: they answer while the compiler has not even begun.
const CHECKS: &[Check] = &[
    ("formatting", formatting),
    ("module headers", headers::check),
    ("machine paths", machine_paths::check),
    ("workspace members", members::check),
    ("dependency direction", dependencies::check),
    ("package: metadata", package::check_metadata),
    ("package: contents", package::check_contents),
    ("cargo deny", deny::check),
    ("changelog", changelog::check),
    ("metrics page", metrics_page::check),
    ("metric names", metric_names::check),
    ("commands in documents", readme::check),
    ("links in documents", links::check),
    ("tests in documents", promises::check),
    ("book", book::check),
    ("deploy: files", deploy::files::check),
    ("deploy: compose", deploy::compose::check),
    ("deploy: configurations", deploy::configurations::check),
    ("deploy: alerts", deploy::alerts::check),
    ("deploy: grafana", deploy::grafana::check),
    ("deploy: queries", deploy::queries::check),
    ("lints", lints),
    ("documentation", documentation),
    (public_api::NAME, public_api::check),
    ("window", window::check),
    ("instructions", instructions::check),
];

const SLOW_CHECKS: &[Check] = &[
    ("models", models::check),
    ("features", features::check),
    ("package: build", package::check_build),
    ("deploy: Dockerfile", deploy::dockerfile::check),
    ("demo", short_demo),
    ("outage", short_outage),
    ("bench", short_bench),
];

/// Runs all checks.
///
/// # Errors
/// If the workspace cannot be read. A check that fails is not an error but an exit code.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::read(options.require.clone())?;
    if options.fix {
        cargo::run(&["fmt", "--all"], &[])?;
        metrics_page::write(&workspace)?;
    }
    let slow = if options.full { SLOW_CHECKS } else { &[] };
    let all: Vec<&Check> = CHECKS.iter().chain(slow).collect();
    let checks = chosen(&all, &options.names)?;
    if options.fix && checks.iter().any(|(name, _)| *name == public_api::NAME) {
        public_api::write(&workspace)?;
    }
    let failed: Vec<&str> =
        checks.iter().filter(|(name, check)| !passes(name, *check, &workspace)).map(|(name, _)| *name).collect();
    let in_vain = workspace.required_in_vain();
    if !in_vain.is_empty() {
        anyhow::bail!("--require {}: none of these checks uses it; is it misspelt?", in_vain.join(","));
    }
    if failed.is_empty() {
        println!("all {} checks passed", checks.len());
        return Ok(ExitCode::SUCCESS);
    }
    println!("{} of {} checks failed: {}", failed.len(), checks.len(), failed.join(", "));
    Ok(ExitCode::FAILURE)
}

/// The checks of these names, or all.
fn chosen<'a>(all: &[&'a Check], names: &[String]) -> anyhow::Result<Vec<&'a Check>> {
    let is = |check: &Check, name: &String| check.0.starts_with(name.as_str());
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|check| is(check, name))) {
        let known: Vec<&str> = all.iter().map(|check| check.0).collect();
        anyhow::bail!("there is no check `{unknown}`; accepted: the beginnings of {}", known.join(", "));
    }
    Ok(all.iter().filter(|check| names.is_empty() || names.iter().any(|name| is(check, name))).copied().collect())
}

fn passes(name: &str, check: fn(&Workspace) -> Result<(), Failure>, workspace: &Workspace) -> bool {
    let started = Instant::now();
    println!("check {name}");
    let outcome = check(workspace);
    let took = started.elapsed().as_secs_f64();
    match outcome {
        Ok(()) => println!("  ok ({took:.1} s)"),
        Err(Failure { findings, remedy }) => {
            println!("  FAILED ({took:.1} s)");
            for finding in &findings {
                println!("    {finding}");
            }
            println!("  to do: {remedy}");
            return false;
        }
    }
    true
}

fn formatting(_: &Workspace) -> Result<(), Failure> {
    cargo::run(&["fmt", "--all", "--check"], &[])
        .map_err(|error| Failure::new(error, "run `cargo fmt --all`, or `cargo xtask check --fix`"))
}

fn lints(_: &Workspace) -> Result<(), Failure> {
    cargo::run(&["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"], &[])
        .map_err(|error| Failure::new(error, "mend what the compiler and clippy name above"))
}

fn documentation(_: &Workspace) -> Result<(), Failure> {
    cargo::run(&["doc", "--workspace", "--no-deps", "--all-features"], &[("RUSTDOCFLAGS", "-D warnings")])
        .map_err(|error| Failure::new(error, "mend the documentation comments that rustdoc names above"))
}

fn short_demo(_: &Workspace) -> Result<(), Failure> {
    let remedy = "run `cargo xtask demo --for 3s`; what it names is lost or not linked";
    match demo::run(demo::Options::smoke()) {
        Ok(code) if code == ExitCode::SUCCESS => Ok(()),
        Ok(_) => Err(Failure::new("the demo found a loss or a missing link, see above", remedy)),
        Err(error) => Err(Failure::new(format!("{error:#}"), remedy)),
    }
}

fn short_outage(_: &Workspace) -> Result<(), Failure> {
    let remedy = "run `cargo xtask outage --for 2s --profile dev`; what it names is a promise of lgtm that is not kept";
    match outage::run(&outage::Options::smoke()) {
        Ok(code) if code == ExitCode::SUCCESS => Ok(()),
        Ok(_) => {
            Err(Failure::new("lgtm lost something that it did not count, or more memory than it may have", remedy))
        }
        Err(error) => Err(Failure::new(format!("{error:#}"), remedy)),
    }
}

fn short_bench(_: &Workspace) -> Result<(), Failure> {
    let remedy = "run `cargo xtask bench --smoke`; a contender that cannot be run or read is named";
    match bench::run(&bench::Options::smoke()) {
        Ok(code) if code == ExitCode::SUCCESS => Ok(()),
        Ok(_) => Err(Failure::new("lgtm has lost items at a pace that its queue takes, see above", remedy)),
        Err(error) => Err(Failure::new(format!("{error:#}"), remedy)),
    }
}
