//! `cargo xtask check`: every rule of the workspace that a machine can check. All of them run, also after a failure; each says its
//! name, how it went, and what to do about it.

mod alerts;
mod dependencies;
mod features;
mod headers;
mod machine_paths;
mod members;
mod metrics_page;
mod packages;
mod readme;
mod sources;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use cargo_metadata::Metadata;

use crate::{cargo, demo};

/// What `check` checks.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Adds what is too slow for every run: each crate's features one by one, its package, and a short demo.
    #[arg(long)]
    full: bool,
    /// Writes what can be written before checking: the formatting and `docs/metrics.md`.
    #[arg(long)]
    fix: bool,
}

/// What the checks look at.
struct Workspace {
    root: PathBuf,
    metadata: Metadata,
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
    ("metrics page", metrics_page::check),
    ("commands in documents", readme::check),
    ("alerts", alerts::check),
    ("lints", lints),
    ("documentation", documentation),
];

const SLOW_CHECKS: &[Check] = &[("features", features::check), ("packages", packages::check), ("demo", short_demo)];

/// Runs all checks.
///
/// # Errors
/// If the workspace cannot be read. A check that fails is not an error but an exit code.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let metadata = cargo::metadata()?;
    let workspace = Workspace { root: metadata.workspace_root.clone().into(), metadata };
    if options.fix {
        cargo::run(&["fmt", "--all"], &[])?;
        metrics_page::write(&workspace)?;
    }
    let slow = if options.full { SLOW_CHECKS } else { &[] };
    let checks: Vec<&Check> = CHECKS.iter().chain(slow).collect();
    let failed: Vec<&str> =
        checks.iter().filter(|(name, check)| !passes(name, *check, &workspace)).map(|(name, _)| *name).collect();
    if failed.is_empty() {
        println!("all {} checks passed", checks.len());
        return Ok(ExitCode::SUCCESS);
    }
    println!("{} of {} checks failed: {}", failed.len(), checks.len(), failed.join(", "));
    Ok(ExitCode::FAILURE)
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
