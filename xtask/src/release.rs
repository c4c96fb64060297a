//! `cargo xtask release`: what a release needs beside cargo. CONTRIBUTING.md has the steps.

use std::fs;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::{cargo, changelog};

/// What `release` does.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    step: Step,
}

#[derive(Debug, clap::Subcommand)]
enum Step {
    /// Prints what CHANGELOG.md says of a version, as the text of its release.
    Notes {
        /// The version, such as 0.1.0, or Unreleased. Defaults to that of the workspace.
        version: Option<String>,
    },
}

/// Runs one step.
///
/// # Errors
/// If the changelog cannot be read or has no such version.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let Step::Notes { version } = &options.step;
    let version = match version {
        Some(version) => version.clone(),
        None => workspace_version()?,
    };
    let path = cargo::workspace_root().join(changelog::FILE);
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", changelog::FILE))?;
    println!("{}", changelog::notes(&text, &version)?);
    Ok(ExitCode::SUCCESS)
}

/// All published crates have one version.
fn workspace_version() -> anyhow::Result<String> {
    let metadata = cargo::metadata()?;
    let package = metadata.workspace_packages().into_iter().next().context("the workspace has no package")?;
    Ok(package.version.to_string())
}
