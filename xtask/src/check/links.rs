//! The links of every page lead to a file or folder that is there, and to a heading that is there.

use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

use super::sources::Source;
use super::{Failure, Workspace};

/// `[text](target)`, and `[text](target "title")`.
static LINK: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"\]\(([^()\s]+)(?:\s+"[^"]*")?\)"#).ok());

pub(super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let remedy = "mend the link, or write the page";
    let sources = workspace.sources().map_err(|error| Failure::new(error, remedy))?;
    let pages: Vec<&Source> = sources.iter().filter(|source| source.path.ends_with(".md")).collect();
    let text_of = |path: &str| pages.iter().find(|page| page.path == path).map(|page| page.text.as_str());
    let mut findings = Vec::new();
    for page in &pages {
        for (line, target) in links(&page.text) {
            if let Some(fault) = fault(&workspace.root, &page.path, target, &text_of) {
                findings.push(format!("{}:{line}: {fault}", page.path));
            }
        }
    }
    Failure::unless_empty(findings, remedy)
}

/// The links of a page outside its code blocks, with their line numbers.
pub(super) fn links(text: &str) -> Vec<(usize, &str)> {
    let Some(form) = LINK.as_ref() else { return Vec::new() };
    let mut in_block = false;
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            let targets = form.captures_iter(line).filter_map(|link| link.get(1));
            found.extend(targets.map(|target| (index + 1, target.as_str())));
        }
    }
    found
}

/// What is wrong with a link from the page at `path`, if anything.
fn fault<'a>(root: &Path, path: &str, target: &str, text_of: &dyn Fn(&str) -> Option<&'a str>) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, heading) = target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading)));
    let page = if file.is_empty() {
        PathBuf::from(path)
    } else {
        plain(&Path::new(path).parent().unwrap_or(Path::new("")).join(file))
    };
    if !root.join(&page).exists() {
        return Some(format!("`{target}` leads nowhere"));
    }
    let text = text_of(&page.to_string_lossy())?;
    let there = heading.is_none_or(|heading| text.lines().any(|line| is_heading(line, heading)));
    (!there).then(|| format!("`{target}`: the page has no such heading"))
}

/// The path without `.` and `..`.
pub(super) fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

/// Whether a line is the heading of this anchor, as web pages make it of the text.
fn is_heading(line: &str, anchor: &str) -> bool {
    let Some(title) = line.strip_prefix('#') else { return false };
    let title = title.trim_start_matches('#').trim().to_lowercase();
    let made: String = title
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect();
    made == anchor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("docs")).unwrap();
        std::fs::write(folder.path().join("docs/a.md"), "").unwrap();
        let text_of = |path: &str| (path == "docs/a.md").then_some("# One page: its title\n");
        let fault = |target: &str| fault(folder.path(), "docs/b.md", target, &text_of);
        for fine in ["a.md", "../docs/a.md#one-page-its-title", "https://example.org/x", "../docs"] {
            assert_eq!(fault(fine), None, "{fine}");
        }
        for wrong in ["c.md", "../a.md", "a.md#two-pages"] {
            assert!(fault(wrong).is_some(), "{wrong}");
        }
    }

    #[test]
    fn links_in_code_are_none() {
        let text = "[a](b.md) and [c](d.md \"title\")\n```\n[e](f.md)\n```\n";
        assert_eq!(links(text), [(1, "b.md"), (1, "d.md")]);
    }
}
