//! The page of the devstack's window: its committed files are those that its sources make, and the parts that need no browser pass their tests.

use super::deploy::grafana;
use super::{Failure, Workspace};

/// The npm package.
const FOLDER: &str = "crates/lgtm-devstack/window";
const SCRIPTS: [&str; 2] = ["check", "test"];

pub(super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let mut findings = Vec::new();
    for script in SCRIPTS {
        match grafana::run_in(workspace, FOLDER, script, None) {
            Ok(_) => {}
            // Not there, not required: said once.
            Err(None) => break,
            Err(Some(finding)) => findings.push(finding),
        }
    }
    Failure::unless_empty(findings, format!("mend {FOLDER}, then `npm run build` there"))
}
