//! The `cargo xtask` commands in the documents for people exist, with the options they are given.

use clap::Parser as _;

use super::sources::Source;
use super::{Failure, Workspace};
use crate::CommandLine;

/// The page that must have commands.
const REQUIRED: &str = "README.md";

pub(super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let remedy = "write the commands as `cargo xtask --help` has them";
    let sources = workspace.sources().map_err(|error| Failure::new(error, remedy))?;
    let pages: Vec<&Source> = sources.iter().filter(|source| source.path.ends_with(".md")).collect();
    let mut findings = Vec::new();
    for Source { path, text } in &pages {
        let wrong = commands(text).into_iter().filter_map(|(line, command)| Some((line, refusal(command)?)));
        findings.extend(wrong.map(|(line, why)| format!("{path}:{line}: {why}")));
    }
    if !pages.iter().any(|page| page.path == REQUIRED && !commands(&page.text).is_empty()) {
        findings.push(format!("{REQUIRED} has no code block with a `cargo xtask` command"));
    }
    Failure::unless_empty(findings, remedy)
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
            found.push((index + 1, &line[at..]));
        }
    }
    found
}

/// Why the command line cannot be run, if so. What follows it on its line, such as a pipe or a comment, is not looked at.
fn refusal(command: &str) -> Option<String> {
    let Some(words) = shlex::split(command) else {
        return Some(format!("`{command}`: a quote is not closed"));
    };
    let is_next = |word: &String| matches!(word.as_str(), "|" | "&&" | "||" | "&" | ";" | ">" | ">>");
    let words = words.into_iter().take_while(|word| !is_next(word)).skip(1);
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
        assert_eq!(commands(text), [(3, "cargo xtask demo --for 5s   # a comment"), (4, "cargo xtask test && ls")]);
    }

    #[test]
    fn an_unknown_command_or_option_is_refused() {
        for fine in [
            "cargo xtask demo --against stack",
            "cargo xtask test -- --nocapture",
            "cargo xtask --help",
            "cargo xtask demo --for 5s   # a comment",
            "cargo xtask test && ls --nothing",
        ] {
            assert_eq!(refusal(fine), None);
        }
        for wrong in [
            "cargo xtask dance",
            "cargo xtask demo --fro 5s",
            "cargo xtask demo --for soon",
            "cargo xtask",
            "cargo xtask 'demo",
        ] {
            assert!(refusal(wrong).is_some(), "{wrong}");
        }
    }
}
