//! The npm package that makes Grafana's dashboards: its own checks, and the grammars of the query languages for others.

use std::path::Path;

use super::super::{Failure, Workspace, tools};

/// The package.
const FOLDER: &str = "deploy/grafana/source";
/// What of it is run: its tests, whether the dashboards are what the sources say, and Grafana's schema.
const SCRIPTS: [&str; 3] = ["test", "check", "schema"];

pub(in super::super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let mut findings = Vec::new();
    for script in SCRIPTS {
        match run(workspace, script, None) {
            Ok(_) => {}
            // Not there, not required: said once.
            Err(None) => break,
            Err(Some(finding)) => findings.push(finding),
        }
    }
    Failure::unless_empty(findings, format!("mend {FOLDER}, then `npm run build` there"))
}

/// Runs a script of the package, with what it needs installed.
///
/// # Errors
/// `None` if npm is not there and not required; else what failed.
pub(super) fn run(workspace: &Workspace, script: &str, input: Option<&str>) -> Result<String, Option<String>> {
    run_in(workspace, FOLDER, script, input)
}

/// [`run`] for the npm package in another folder of the workspace.
pub(in super::super) fn run_in(
    workspace: &Workspace,
    folder: &str,
    script: &str,
    input: Option<&str>,
) -> Result<String, Option<String>> {
    let npm = workspace.program(&["npm"], "Node.js").map_err(|absent| absent.finding)?;
    let folder = workspace.root.join(folder);
    install(&npm, &folder).map_err(Some)?;
    tools::run(&npm, &["run", "--silent", script], &folder, input).map_err(Some)
}

/// Installs what the lock names, unless that is there.
fn install(npm: &Path, folder: &Path) -> Result<(), String> {
    let changed = |path: &str| folder.join(path).metadata().and_then(|metadata| metadata.modified()).ok();
    let installed = changed("node_modules/.package-lock.json");
    if installed.is_some() && installed >= changed("package-lock.json") {
        return Ok(());
    }
    tools::run(npm, &["ci", "--no-audit", "--no-fund"], folder, None).map(drop)
}
