//! What mdBook makes of the pages: it says nothing against them, and each link of each page leads to a file and an anchor that are there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

use super::super::links::plain;
use super::super::tools;
use super::BOOK;

/// Where a page leads to. In text and code quotes are escaped, so that none of it looks so.
static LINK: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"\s(?:href|src)="([^"]*)""#).ok());
static ANCHOR: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"\sid="([^"]*)""#).ok());

/// The page for addresses that are none: its links are those of a site at `/`.
const NOT_FOUND: &str = "404.html";
/// Fewer pages than the book has had for long: the build has gone wrong.
const LEAST_PAGES: usize = 20;

/// Builds the book in a scratch folder and reads it.
///
/// # Errors
/// If it cannot be built or read.
pub(super) fn faults(mdbook: &Path, root: &Path) -> Result<Vec<String>, String> {
    let scratch = tempfile::tempdir().map_err(|error| format!("no scratch folder: {error}"))?;
    let site = scratch.path().join("site");
    let arguments = ["build", "--dest-dir", &site.to_string_lossy(), BOOK];
    let (output, errors) = tools::said(mdbook, &arguments, root, None)?;
    let objections =
        output.lines().chain(errors.lines()).filter(|line| line.contains("WARN") || line.contains("ERROR"));
    let mut findings: Vec<String> = objections.map(|line| format!("mdbook: {}", line.trim())).collect();
    let files = files(&site).map_err(|error| format!("the built book cannot be read: {error}"))?;
    let pages = files.iter().filter(|(_, text)| text.is_some()).count();
    if pages < LEAST_PAGES {
        findings.push(format!("the built book has only {pages} pages"));
    }
    findings.extend(dead_links(&files));
    Ok(findings)
}

/// The site's files by their paths, with the text of those that are pages.
type Files = BTreeMap<PathBuf, Option<String>>;

fn files(site: &Path) -> std::io::Result<Files> {
    let mut files = Files::new();
    let mut folders = vec![site.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let is_page = path.extension().is_some_and(|extension| extension == "html");
            let text = if is_page { Some(fs::read_to_string(&path)?) } else { None };
            files.insert(path.strip_prefix(site).unwrap_or(&path).to_owned(), text);
        }
    }
    Ok(files)
}

fn dead_links(files: &Files) -> Vec<String> {
    let (Some(link), Some(anchor)) = (LINK.as_ref(), ANCHOR.as_ref()) else {
        return vec!["the forms of links do not compile".to_owned()];
    };
    let texts = |form: &'static Regex, text: &str| -> BTreeSet<String> {
        form.captures_iter(text).filter_map(|found| Some(found.get(1)?.as_str().replace("&amp;", "&"))).collect()
    };
    let anchors: BTreeMap<&Path, BTreeSet<String>> =
        files.iter().filter_map(|(path, text)| Some((path.as_path(), texts(anchor, text.as_deref()?)))).collect();
    let mut findings = Vec::new();
    for (page, text) in files {
        let Some(text) = text.as_ref().filter(|_| page != Path::new(NOT_FOUND)) else { continue };
        for target in texts(link, text) {
            if let Some(fault) = fault(page, &target, files, &anchors) {
                findings.push(format!("{}: {fault}", page.display()));
            }
        }
    }
    findings
}

fn fault(page: &Path, target: &str, files: &Files, anchors: &BTreeMap<&Path, BTreeSet<String>>) -> Option<String> {
    let is_elsewhere =
        ["http:", "https:", "mailto:", "data:", "javascript:"].iter().any(|scheme| target.starts_with(scheme));
    if is_elsewhere {
        return None;
    }
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let file =
        if file.is_empty() { page.to_owned() } else { plain(&page.parent().unwrap_or(Path::new("")).join(file)) };
    if !files.contains_key(&file) {
        return Some(format!("`{target}` leads nowhere"));
    }
    let anchor = anchor.filter(|anchor| !anchor.is_empty())?;
    let is_there = anchors.get(file.as_path()).is_some_and(|anchors| anchors.contains(anchor));
    (!is_there).then(|| format!("`{target}`: the page has no such anchor"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_lead_nowhere_are_found_and_others_are_not() {
        let page = |links: &str| Some(format!("<h1 id=\"top\">A</h1><code>href=&quot;x&quot;</code>{links}"));
        let files = |links: &str| {
            let mut files = Files::from([("book/a.html".into(), page(links)), ("b.html".into(), page(""))]);
            files.insert("images/c.svg".into(), None);
            files.insert(NOT_FOUND.into(), page("<a href=\"/lost.html\">"));
            files
        };
        for fine in ["../b.html#top", "#top", "../b.html", "https://example.org/x", "../images/c.svg", "#"] {
            assert_eq!(dead_links(&files(&format!("<a href=\"{fine}\">x</a>"))), [""; 0], "{fine}");
        }
        for wrong in ["b.html", "../b.html#bottom", "../images/d.svg", "../images/c.svg#top"] {
            let found = dead_links(&files(&format!("<img src=\"{wrong}\">")));
            assert!(found.len() == 1 && found[0].starts_with("book/a.html: "), "{wrong}: {found:?}");
        }
    }
}
