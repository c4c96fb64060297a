//! The tests that the documents name are there: a promise without its test is none.

use std::sync::LazyLock;

use regex::Regex;

use super::sources::Source;
use super::{Failure, Workspace};

/// The pages that name tests: each of these has a few dozen of them.
const PAGES: [&str; 2] = ["docs/features.md", "docs/reliability.md"];
/// `` `file.rs: name` `` and `` `file.rs` ``, with the end of a path, and with the name of a crate before it.
static TEST: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"`(?:[a-z-]+ )?([a-z0-9_/-]+\.rs)(?:: ([a-z0-9_]+))?`").ok());

pub(super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let remedy = "name the test as it is called, or write it";
    let sources = workspace.sources().map_err(|error| Failure::new(error, remedy))?;
    let mut findings = Vec::new();
    for page in PAGES {
        let Some(source) = sources.iter().find(|source| source.path == page) else {
            findings.push(format!("{page} is not there"));
            continue;
        };
        let named = named(&source.text);
        if named.len() < 20 {
            findings.push(format!("{page} names only {} tests: has their form changed?", named.len()));
        }
        let missing = named.into_iter().filter(|(_, file, test)| !is_there(&sources, file, *test));
        findings.extend(missing.map(|(line, file, test)| {
            format!(
                "{page}:{line}: there is no `{file}`{}",
                test.map(|test| format!(" with `fn {test}`")).unwrap_or_default()
            )
        }));
    }
    Failure::unless_empty(findings, remedy)
}

/// The tests that a page names, with their lines.
fn named(text: &str) -> Vec<(usize, &str, Option<&str>)> {
    let Some(form) = TEST.as_ref() else { return Vec::new() };
    let of_line = |(index, line)| {
        form.captures_iter(line)
            .filter_map(move |named| Some((index + 1, named.get(1)?.as_str(), named.get(2).map(|name| name.as_str()))))
    };
    text.lines().enumerate().flat_map(of_line).collect()
}

fn is_there(sources: &[Source], file: &str, test: Option<&str>) -> bool {
    let is_file = |source: &&Source| source.path == file || source.path.ends_with(&format!("/{file}"));
    let has_test = |source: &Source| test.is_none_or(|test| source.text.contains(&format!("fn {test}(")));
    sources.iter().filter(is_file).any(has_test)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_named_by_file_and_function_and_found_by_both() {
        let page = "| a | `push.rs: it_works` |\n| b | `lgtm-core spool/tests/order.rs` | `not a.rs file` |";
        assert_eq!(named(page), [(1, "push.rs", Some("it_works")), (2, "spool/tests/order.rs", None)]);
        let source = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
        let sources = [source("crates/a/src/push.rs", "fn other() {}"), source("b/push.rs", "    fn it_works() {")];
        assert!(is_there(&sources, "push.rs", Some("it_works")));
        assert!(is_there(&sources, "src/push.rs", None));
        assert!(!is_there(&sources, "src/push.rs", Some("it_works")));
        assert!(!is_there(&sources, "sh.rs", None), "a file is named whole");
    }
}
