//! What one iteration of the hot path costs its thread, in instructions, held against `benches/instructions.json`.

use super::tools::Absent;
use super::{Failure, Workspace};
use crate::bench;

const REMEDY: &str = "find what costs more; where it is worth its cost, store it with `cargo xtask bench --instructions --update` and say \
                      why in the commit";

pub(super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let valgrind = match workspace.program(&["valgrind"], "the package valgrind") {
        Ok(program) => program,
        Err(Absent { finding }) => return Failure::unless_empty(finding.into_iter().collect(), REMEDY),
    };
    let verdict = bench::check_instructions(&valgrind).map_err(|error| Failure::new(format!("{error:#}"), REMEDY))?;
    for line in &verdict.lines {
        println!("  {line}");
    }
    Failure::unless_empty(verdict.findings, REMEDY)
}
