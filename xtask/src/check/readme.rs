//! The `cargo xtask` commands in the documents for people exist, with the options they are given.

use std::fs;

use clap::Parser as _;

use super::{Failure, Workspace};
use crate::CommandLine;

const REQUIRED: &str = "README.md";
const DOCUMENTS: [&str; 3] = [REQUIRED, "ARCHITECTURE.md", "CONTRIBUTING.md"];

pub(super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let mut findings = Vec::new();
    for document in DOCUMENTS {
        match fs::read_to_string(workspace.root.join(document)) {
            Ok(text) => {
                let commands = commands(&text);
                if document == REQUIRED && commands.is_empty() {
                    findings.push(format!("{document} has no code block with a `cargo xtask` command"));
                }
                let wrong = commands.into_iter().filter_map(|(line, command)| Some((line, refusal(command)?)));
                findings.extend(wrong.map(|(line, why)| format!("{document}:{line}: {why}")));
            }
            Err(_) if document != REQUIRED => {}
            Err(error) => findings.push(format!("{document} cannot be read: {error}")),
        }
    }
    Failure::unless_empty(findings, "write the commands as `cargo xtask --help` has them")
}

/// The commands in the code blocks of a document, with their line numbers.
fn commands(text: &str) -> Vec<(usize, &str)> {
    let mut in_block = false;
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.starts_with("```") {
            in_block = !in_block;
        } else if in_block && let Some(at) = line.find("cargo xtask") {
            let command = line[at..].split(['#', '|', '&', ';', '>']).next().unwrap_or_default().trim_end();
            found.push((index + 1, command));
        }
    }
    found
}

/// Why the command line cannot be run, if so.
fn refusal(command: &str) -> Option<String> {
    let words = command.split_whitespace().skip(1);
    match CommandLine::try_parse_from(words) {
        Ok(_) => None,
        Err(error) if !error.use_stderr() => None, // --help and --version
        Err(error) => {
            let reason = error.to_string();
            Some(format!("`{command}`: {}", reason.lines().next().unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_in_code_blocks_only() {
        let text =
            "`cargo xtask nothing`\n```sh\ncargo xtask demo --for 5s   # a comment\n$ cargo xtask test && ls\n```\n";
        assert_eq!(commands(text), [(3, "cargo xtask demo --for 5s"), (4, "cargo xtask test")]);
    }

    #[test]
    fn an_unknown_command_or_option_is_refused() {
        for fine in ["cargo xtask demo --against stack", "cargo xtask test -- --nocapture", "cargo xtask --help"] {
            assert_eq!(refusal(fine), None);
        }
        for wrong in ["cargo xtask dance", "cargo xtask demo --fro 5s", "cargo xtask demo --for soon", "cargo xtask"] {
            assert!(refusal(wrong).is_some(), "{wrong}");
        }
    }
}
