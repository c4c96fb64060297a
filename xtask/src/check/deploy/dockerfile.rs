//! The Dockerfile of the example program: its build runs here, as the plain command that it is.

use std::fs;

use super::super::{Failure, Workspace};
use crate::cargo;

const FILE: &str = "deploy/shop/Dockerfile";

pub(in super::super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let remedy = format!("mend {FILE}");
    let text = fs::read_to_string(workspace.root.join(FILE)).map_err(|error| Failure::new(error, &remedy))?;
    let command = build(&text).ok_or_else(|| Failure::new(format!("{FILE} runs no `cargo build`"), &remedy))?;
    cargo::run(&command, &[]).map_err(|error| Failure::new(error, &remedy))?;
    // What the next step copies out of the build must be there.
    let copied = text.split_whitespace().find(|word| word.starts_with("target/"));
    let made = copied.map(|path| workspace.metadata.target_directory.as_std_path().join(&path["target/".len()..]));
    match made {
        Some(path) if path.is_file() => Ok(()),
        _ => Err(Failure::new(format!("{FILE}: the build makes no file {}", copied.unwrap_or("target/…")), remedy)),
    }
}

/// The arguments of the `cargo build` among the steps.
fn build(dockerfile: &str) -> Option<Vec<&str>> {
    let words = dockerfile.split_whitespace().skip_while(|word| *word != "cargo").skip(1);
    let arguments: Vec<&str> = words.take_while(|word| !matches!(*word, "\\" | "&&")).collect();
    (arguments.first() == Some(&"build")).then_some(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_is_found_among_the_steps() {
        let text = "FROM rust\nRUN --mount=type=cache \\\n    cargo build --release --package shop \\\n && cp a b\n";
        assert_eq!(build(text).unwrap(), ["build", "--release", "--package", "shop"]);
        assert_eq!(build("FROM rust\nRUN cargo fetch\n"), None);
    }
}
