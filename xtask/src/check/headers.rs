//! Every module file begins with a `//!` header that says what it owns.

use super::{Failure, Workspace};

pub(super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let remedy = "begin each file with `//! …`: what it owns and, where it matters, which thread runs it";
    let sources = workspace.sources().map_err(|error| Failure::new(error, remedy))?;
    let rust = sources.iter().filter(|source| source.path.ends_with(".rs"));
    let without = rust.filter(|source| !has_header(&source.text)).map(|source| source.path.clone());
    Failure::unless_empty(without.collect(), remedy)
}

fn has_header(text: &str) -> bool {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty());
    first.and_then(|line| line.strip_prefix("//!")).is_some_and(|header| !header.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::has_header;

    #[test]
    fn a_header_is_the_first_line_and_says_something() {
        assert!(has_header("\n//! Owns the queue.\nuse std::fmt;\n"));
        assert!(!has_header("use std::fmt;\n//! Too late.\n"));
        assert!(!has_header("//!\n//! Begins with nothing.\n"));
        assert!(!has_header("// A plain comment.\n"));
        assert!(!has_header(""));
    }
}
