//! Each package is made and built as whoever downloads it would build it. Cargo puts the packages of one run in the place of a
//! registry for each other.

use cargo_metadata::Package;

use super::super::Failure;
use crate::cargo;

pub(super) fn check(packages: &[&Package]) -> Result<(), Failure> {
    let names = packages.iter().flat_map(|package| ["--package", package.name.as_str()]);
    let arguments: Vec<&str> = ["package", "--quiet", "--allow-dirty"].into_iter().chain(names).collect();
    let remedy = "mend what the compiler names above: a package has nothing of the workspace but its own `include`";
    cargo::run(&arguments, &[]).map_err(|error| Failure::new(error, remedy))
}
