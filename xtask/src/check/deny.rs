//! What dependencies may be, as `deny.toml` says it: their licences, crates that must not be among them, two versions of one crate,
//! where they come from. Advisories are not asked for: their database is on the network.

use super::tools::{Absent, run};
use super::{Failure, Workspace};

const REMEDY: &str = "take another dependency or version, or say in deny.toml why not";

pub(super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let program = match workspace.program(&["cargo-deny"], "`cargo install --locked cargo-deny`") {
        Ok(program) => program,
        Err(Absent { finding }) => return Failure::unless_empty(finding.into_iter().collect(), REMEDY),
    };
    let arguments = ["--offline", "--color=never", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"];
    run(&program, &arguments, &workspace.root, None).map(drop).map_err(|error| Failure::new(error, REMEDY))
}
