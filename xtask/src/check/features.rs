//! Every published crate compiles without features, with each feature alone, with each two, and with all: features add, they never
//! break. `cargo hack` makes the selections; it is installed where it is missing.

use super::{Failure, Workspace};
use crate::cargo;

const REMEDY: &str = "gate what needs the feature with #[cfg(feature = …)], or let the feature enable it";

pub(super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    if cargo::run(&["hack", "--version"], &[]).is_err() {
        cargo::run(&["install", "cargo-hack", "--locked"], &[])
            .map_err(|error| Failure::new(error, "run `cargo install cargo-hack`"))?;
    }
    let published = super::package::published(&workspace.metadata);
    let names = published.iter().flat_map(|package| ["--package", package.name.as_str()]);
    let mut arguments = vec!["hack"];
    arguments.extend(names);
    arguments.extend(["--feature-powerset", "--depth", "2", "--keep-going", "clippy", "--lib", "--", "-D", "warnings"]);
    cargo::run(&arguments, &[]).map_err(|error| Failure::new(error, REMEDY))
}
