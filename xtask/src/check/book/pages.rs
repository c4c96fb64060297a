//! What the book's pages say, before it is built: the summary names each page once, each block of Rust is compiled, and what is included
//! is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

use super::super::Workspace;
use super::super::links::{links, plain};
use super::super::sources::Source;
use super::BOOK;

/// mdBook's list of pages.
const SUMMARY: &str = "docs/SUMMARY.md";
/// Where the pages' Rust is compiled: it names each that has some, by its path in the book.
const COMPILED_BY: &str = "tests/book/lib.rs";

/// `{{#include path}}`, `{{#include path:anchor}}`, `{{#include path:3:9}}`.
static INCLUDE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\{\{#(\w+) ([^\s:}]+)(?::([^\s}]*))?\}\}").ok());

/// What is wrong with the pages.
///
/// # Errors
/// If a file cannot be read.
pub(super) fn faults(workspace: &Workspace) -> std::io::Result<Vec<String>> {
    let sources = workspace.sources()?;
    let texts: BTreeMap<&str, &str> =
        sources.iter().map(|Source { path, text }| (path.as_str(), text.as_str())).collect();
    let members: Vec<String> = workspace
        .metadata
        .workspace_packages()
        .iter()
        .filter_map(|package| package.manifest_path.parent()?.as_std_path().strip_prefix(&workspace.root).ok())
        .map(|folder| format!("{}/", folder.to_string_lossy().replace('\\', "/")))
        .collect();
    let mut findings = of_summary(&texts);
    findings.extend(of_compiled(&texts));
    for (path, text) in pages(&texts) {
        findings.extend(of_blocks(path, text, &members));
        findings.extend(of_includes(path, text, &texts));
    }
    Ok(findings)
}

/// The book's pages: all of its folder, but for the summary.
fn pages<'a>(texts: &'a BTreeMap<&str, &str>) -> impl Iterator<Item = (&'a str, &'a str)> {
    let is_page = |path: &str| path.starts_with(&format!("{BOOK}/")) && path.ends_with(".md") && path != SUMMARY;
    texts.iter().map(|(path, text)| (*path, *text)).filter(move |(path, _)| is_page(path))
}

/// The summary names each page, and each once; that each is there, the check of links sees.
fn of_summary(texts: &BTreeMap<&str, &str>) -> Vec<String> {
    let Some(summary) = texts.get(SUMMARY) else { return vec![format!("{SUMMARY} is not there")] };
    let mut named = BTreeSet::new();
    let mut findings = Vec::new();
    for (line, target) in links(summary) {
        if !named.insert(format!("{BOOK}/{target}")) {
            findings.push(format!("{SUMMARY}:{line}: `{target}` is there twice"));
        }
    }
    let missing = pages(texts).filter(|(path, _)| !named.contains(*path));
    findings.extend(missing.map(|(path, _)| format!("{SUMMARY} does not name {path}")));
    findings
}

/// Each page with Rust is compiled.
fn of_compiled(texts: &BTreeMap<&str, &str>) -> Vec<String> {
    let compiled = texts.get(COMPILED_BY).copied().unwrap_or_default();
    let has_rust = |text: &str| blocks(text).iter().any(|block| block.language() == "rust");
    let with_rust = pages(texts).filter(|(_, text)| has_rust(text));
    let paths = with_rust.filter_map(|(path, _)| path.strip_prefix(BOOK)?.strip_prefix('/'));
    let missing = paths.filter(|path| !compiled.contains(&format!("= \"{path}\";")));
    missing.map(|path| format!("{COMPILED_BY} does not name {path}: its code is not compiled")).collect()
}

/// A block of code: the line where it begins, what its fence says, and its text.
struct Block<'a> {
    line: usize,
    fence: &'a str,
    text: Vec<&'a str>,
}

impl Block<'_> {
    fn language(&self) -> &str {
        self.fence.split(',').next().unwrap_or_default().trim()
    }
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut found: Vec<Block<'_>> = Vec::new();
    let mut is_open = false;
    for (index, line) in text.lines().enumerate() {
        match line.trim_start().strip_prefix("```") {
            Some(_) if is_open => is_open = false,
            Some(fence) => {
                is_open = true;
                found.push(Block { line: index + 1, fence: fence.trim(), text: Vec::new() });
            }
            None if is_open => {
                if let Some(block) = found.last_mut() {
                    block.text.push(line);
                }
            }
            None => {}
        }
    }
    found
}

/// Rust is compiled where it stands (`rust`), or it is a file of a package (`rs`, one include).
fn of_blocks(path: &str, text: &str, members: &[String]) -> Vec<String> {
    let fault = |block: &Block<'_>| match block.language() {
        "rust" => block
            .fence
            .split(',')
            .map(str::trim)
            .find(|word| !matches!(*word, "rust" | "no_run"))
            .map(|word| format!("`{word}`: a block is compiled, and run unless it is marked `no_run`")),
        "rs" => match block.text.as_slice() {
            [one] if included(one).is_some_and(|(file, _)| is_compiled(path, file, members)) => None,
            _ => Some("a block `rs` is one `{{#include …}}` of a file of a package of the workspace".to_owned()),
        },
        _ => None,
    };
    let of_block = |block: Block<'_>| Some(format!("{path}:{}: {}", block.line, fault(&block)?));
    blocks(text).into_iter().filter_map(of_block).collect()
}

fn is_compiled(page: &str, file: &str, members: &[String]) -> bool {
    let file = beside(page, file);
    file.ends_with(".rs") && members.iter().any(|member| file.starts_with(member.as_str()))
}

/// The file and the part of it, if the line is an include and nothing else.
fn included(line: &str) -> Option<(&str, Option<&str>)> {
    let found = INCLUDE.as_ref()?.captures(line)?;
    let is_all = found.get(0).is_some_and(|all| all.as_str() == line.trim());
    let is_include = found.get(1).is_some_and(|kind| kind.as_str() == "include");
    (is_all && is_include).then_some(())?;
    Some((found.get(2)?.as_str(), found.get(3).map(|part| part.as_str())))
}

/// mdBook passes over an anchor that is not there, and leaves the place empty.
fn of_includes(path: &str, text: &str, texts: &BTreeMap<&str, &str>) -> Vec<String> {
    let fault = |line: &str| {
        let (file, part) = included(line)?;
        let whole = beside(path, file);
        let Some(content) = texts.get(whole.as_str()) else { return Some(format!("`{file}` is not there")) };
        let anchor = part.filter(|part| !part.starts_with(|c: char| c.is_ascii_digit() || c == ':'))?;
        let mut lines = content.lines();
        let has = |mark: &str, line: &str| {
            line.split(mark).nth(1).is_some_and(|rest| rest.split_whitespace().next() == Some(anchor))
        };
        let is_there = lines.any(|line| has("ANCHOR:", line)) && lines.any(|line| has("ANCHOR_END:", line));
        (!is_there).then(|| format!("`{file}` has no anchor `{anchor}`"))
    };
    let of_line = |(index, line)| Some(format!("{path}:{}: {}", index + 1, fault(line)?));
    text.lines().enumerate().filter_map(of_line).collect()
}

/// A path that a page names, from the root of the workspace.
fn beside(page: &str, file: &str) -> String {
    let folder = Path::new(page).parent().unwrap_or(Path::new(""));
    plain(&folder.join(file)).to_string_lossy().replace('\\', "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "docs/book/a.md";

    #[test]
    fn a_page_that_the_summary_or_the_compiler_does_not_see_is_found() {
        let summary = "- [A](book/a.md)\n- [Again](book/a.md)\n";
        let rust = "```rust\n1;\n```\n";
        let texts =
            BTreeMap::from([(SUMMARY, summary), (PAGE, rust), ("docs/b.md", "b"), (COMPILED_BY, "c = \"c.md\";")]);
        assert_eq!(
            of_summary(&texts),
            ["docs/SUMMARY.md:2: `book/a.md` is there twice", "docs/SUMMARY.md does not name docs/b.md"]
        );
        assert_eq!(of_compiled(&texts), ["tests/book/lib.rs does not name book/a.md: its code is not compiled"]);
    }

    #[test]
    fn rust_that_nobody_compiles_is_found() {
        let members = ["examples/cli/".to_owned()];
        let fault = |page: &str, block: &str| of_blocks(page, block, &members).pop();
        for fine in [
            "```rust\n1;\n```\n",
            "```rust,no_run\n1;\n```\n",
            "```sh\nls\n```\n",
            "```rs\n{{#include ../../examples/cli/src/main.rs:part}}\n```\n",
        ] {
            assert_eq!(fault(PAGE, fine), None, "{fine}");
        }
        for wrong in [
            "```rust,ignore\n1;\n```\n",
            "```rs\n1;\n```\n",
            "```rs\n{{#include ../../README.md}}\n```\n",
            "```rs\n{{#include ../../elsewhere/main.rs}}\n```\n",
        ] {
            assert!(fault(PAGE, wrong).is_some_and(|fault| fault.starts_with("docs/book/a.md:1: ")), "{wrong}");
        }
    }

    #[test]
    fn a_file_or_an_anchor_that_is_not_there_is_found() {
        let file = "// ANCHOR: part\n1;\n// ANCHOR_END: part\n// ANCHOR: open\n";
        let texts = BTreeMap::from([("examples/a.rs", file)]);
        let faults = |include: &str| of_includes(PAGE, include, &texts);
        for fine in [
            "{{#include ../../examples/a.rs}}",
            "{{#include ../../examples/a.rs:part}}",
            "{{#include ../../examples/a.rs:2:}}",
        ] {
            assert_eq!(faults(fine), [""; 0], "{fine}");
        }
        for wrong in [
            "{{#include ../examples/a.rs}}",
            "{{#include ../../examples/a.rs:whole}}",
            "{{#include ../../examples/a.rs:open}}",
        ] {
            assert_eq!(faults(wrong).len(), 1, "{wrong}");
        }
    }
}
