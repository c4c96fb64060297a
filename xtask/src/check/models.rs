//! The queue and the flush under the model checker: every order of steps of a few threads (`lgtm-core/src/pipeline/models.rs`).

use super::{Failure, Workspace};
use crate::cargo;

const REMEDY: &str = "the model that failed names the order of steps; LOOM_LOG=trace shows them";

pub(super) fn check(_: &Workspace) -> Result<(), Failure> {
    // Another flag for all packages: a folder of its own, or both builds would take turns.
    let arguments = ["test", "--package", "lgtm-core", "--lib", "--target-dir", "target/models", "models::"];
    let output = cargo::output_with(&arguments, &[("RUSTFLAGS", "--cfg lgtm_loom")])
        .map_err(|error| Failure::new(error, REMEDY))?;
    match passed(&output) {
        0 => Err(Failure::new(format!("no model ran: {output}"), "the models need `--cfg lgtm_loom`")),
        models => {
            println!("  {models} models");
            Ok(())
        }
    }
}

/// How many tests passed, by what libtest says at the end.
fn passed(output: &str) -> usize {
    let ended = output.lines().filter_map(|line| line.strip_prefix("test result: ok. "));
    ended.filter_map(|rest| rest.split(' ').next()?.parse::<usize>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::passed;

    #[test]
    fn a_run_without_models_is_seen() {
        let line =
            |passed| format!("\ntest result: ok. {passed} passed; 0 failed; 0 ignored; 0 measured; 80 filtered out\n");
        assert_eq!(passed(&line(8)), 8);
        assert_eq!(passed(&line(0)), 0);
        assert_eq!(passed("running 0 tests"), 0);
    }
}
