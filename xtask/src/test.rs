//! `cargo xtask test`: the one way to run all tests, the same on a desk and in continuous integration.

use std::process::ExitCode;

use crate::cargo;

/// What `test` runs.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Passed on to `cargo test`: a filter, `--package <name>`, or `-- --nocapture`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs the tests of the whole workspace.
///
/// # Errors
/// If one fails or does not compile.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    cargo::run(&arguments(&options.arguments), &[])?;
    Ok(ExitCode::SUCCESS)
}

/// All packages with all features (both front doors for spans), unless the caller names some.
fn arguments(given: &[String]) -> Vec<&str> {
    let own = given.iter().map(String::as_str).take_while(|word| *word != "--");
    let selects = own.clone().any(|word| matches!(word, "-p" | "--package") || word.starts_with("--package="));
    let scope: &[&str] = if selects { &[] } else { &["--workspace", "--all-features"] };
    std::iter::once("test").chain(scope.iter().copied()).chain(given.iter().map(String::as_str)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_tested_unless_one_is_named() {
        let words = |given: &[&str]| given.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(arguments(&words(&[])), ["test", "--workspace", "--all-features"]);
        assert_eq!(arguments(&words(&["--package", "shop"])), ["test", "--package", "shop"]);
        assert_eq!(arguments(&words(&["--", "-p"])), ["test", "--workspace", "--all-features", "--", "-p"]);
    }
}
