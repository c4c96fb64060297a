//! CHANGELOG.md keeps to Keep a Changelog 1.1.0: what is not released yet comes first, then the versions from the newest on, each with its
//! date, its changes in the six groups. `cargo xtask release notes` makes release notes of it.

use std::fs;

use cargo_metadata::semver::Version;
use chrono::NaiveDate;
use parse_changelog::{Changelog, Release};

use super::{Failure, Workspace};
use crate::changelog::{FILE, UNRELEASED, address, sections};

const REMEDY: &str = "write CHANGELOG.md as https://keepachangelog.com/en/1.1.0/ says";
const GROUPS: [&str; 6] = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];
/// What the format and the versions follow stands in the head.
const SOURCES: [&str; 2] = ["https://keepachangelog.com/", "https://semver.org/"];

pub(super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let text = fs::read_to_string(workspace.root.join(FILE))
        .map_err(|error| Failure::new(format!("{FILE} cannot be read: {error}"), REMEDY))?;
    let package = super::package::published(&workspace.metadata).into_iter().next();
    Failure::unless_empty(faults(&text, package.map(|package| &package.version)), REMEDY)
}

/// What is wrong with the text; `current` is the version of the published crates.
fn faults(text: &str, current: Option<&Version>) -> Vec<String> {
    let sections = match sections(text) {
        Ok(sections) => sections,
        Err(error) => return vec![format!("{error:#}")],
    };
    let mut faults = of_head(text);
    let known: Vec<&str> = sections.values().map(|section| section.title).collect();
    let headings = text.lines().filter_map(|line| line.strip_prefix("## ")).map(str::trim);
    faults.extend(
        headings.filter(|heading| !known.contains(heading)).map(|heading| format!("`## {heading}` is no version")),
    );
    if sections.keys().next() != Some(&UNRELEASED) {
        faults.push(format!("the first section is not `## [{UNRELEASED}]`"));
    }
    for section in sections.values() {
        faults.extend(of_section(section).into_iter().map(|fault| format!("[{}]: {fault}", section.version)));
    }
    faults.extend(of_order(&sections, current));
    faults.extend(of_addresses(text, &sections));
    faults
}

fn of_head(text: &str) -> Vec<String> {
    let head: Vec<&str> = text.lines().take_while(|line| !line.starts_with("## ")).collect();
    let mut faults = Vec::new();
    if head.first() != Some(&"# Changelog") {
        faults.push("the first line is not `# Changelog`".to_owned());
    }
    let missing = SOURCES.iter().filter(|source| !head.iter().any(|line| line.contains(**source)));
    faults.extend(missing.map(|source| format!("the head does not link to {source}")));
    faults
}

/// The title, and the groups with their changes.
fn of_section(section: &Release<'_>) -> Vec<String> {
    let mut faults = Vec::new();
    let is_titled = if section.version == UNRELEASED {
        section.title == format!("[{UNRELEASED}]")
    } else {
        date(section).is_some()
    };
    if !is_titled {
        faults.push(format!("`## {}` is not of the form `## [1.2.3] - 2026-01-31`", section.title));
    }
    let mut groups: Vec<(&str, usize)> = Vec::new();
    for line in section.notes.lines() {
        if let Some(group) = line.strip_prefix("### ") {
            if !GROUPS.contains(&group) {
                faults.push(format!("`### {group}` is none of {}", GROUPS.join(", ")));
            }
            if groups.iter().any(|(known, _)| *known == group) {
                faults.push(format!("`### {group}` is there twice"));
            }
            groups.push((group, 0));
        } else if line.starts_with("- ") {
            match groups.last_mut() {
                Some((_, changes)) => *changes += 1,
                None => faults.push(format!("`{line}` stands in no group")),
            }
        }
    }
    faults
        .extend(groups.iter().filter(|(_, changes)| *changes == 0).map(|(group, _)| format!("`### {group}` is empty")));
    if groups.is_empty() && section.version != UNRELEASED {
        faults.push("it says nothing".to_owned());
    }
    faults
}

/// The day of `[version] - day`, `[YANKED]` or not.
fn date(section: &Release<'_>) -> Option<NaiveDate> {
    let day = section.title.strip_prefix(&format!("[{}] - ", section.version))?;
    let day = day.strip_suffix(" [YANKED]").unwrap_or(day);
    NaiveDate::parse_from_str(day, "%Y-%m-%d").ok().filter(|date| date.to_string() == day)
}

/// The newest version first, none of them newer than the crates'.
fn of_order(sections: &Changelog<'_>, current: Option<&Version>) -> Vec<String> {
    let released = || sections.values().filter(|section| section.version != UNRELEASED);
    let versions: Vec<Version> = released().filter_map(|section| section.version.parse().ok()).collect();
    let mut faults = Vec::new();
    for (newer, older) in versions.iter().zip(versions.iter().skip(1)).filter(|(newer, older)| newer <= older) {
        faults.push(format!("[{newer}] stands above [{older}]"));
    }
    let dates: Vec<NaiveDate> = released().filter_map(date).collect();
    for (newer, older) in dates.iter().zip(dates.iter().skip(1)).filter(|(newer, older)| newer < older) {
        faults.push(format!("{newer} stands above {older}"));
    }
    if let (Some(newest), Some(current)) = (versions.first(), current)
        && newest > current
    {
        faults.push(format!("[{newest}] is newer than the crates, which are {current}"));
    }
    faults
}

/// The addresses of the versions: each has one, or none has.
fn of_addresses(text: &str, sections: &Changelog<'_>) -> Vec<String> {
    let mut faults = Vec::new();
    let addresses: Vec<(&str, &str)> = text.lines().filter_map(address).collect();
    let with_address = |version: &&str| addresses.iter().any(|(label, _)| label == version);
    let without: Vec<&str> = sections.keys().copied().filter(|version| !with_address(version)).collect();
    if without.len() < sections.len() {
        faults.extend(without.iter().map(|version| format!("[{version}] has no address, others have one")));
    }
    for (label, address) in addresses {
        if !address.starts_with("https://") {
            faults.push(format!("[{label}] leads to `{address}`, which is no https address"));
        }
        if label.parse::<Version>().is_ok() && !sections.contains_key(label) {
            faults.push(format!("[{label}] has an address and no section"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "# Changelog\n\n[Keep a Changelog](https://keepachangelog.com/en/1.1.0/), [Semantic \
        Versioning](https://semver.org/spec/v2.0.0.html).\n\n";
    const NEXT: &str = "## [Unreleased]\n\n### Added\n\n- More.\n\n";
    const TWO: &str = "## [0.2.0] - 2026-12-01\n\n### Added\n\n- Two.\n\n### Fixed\n\n- A fault.\n\n";
    const ONE: &str = "## [0.1.0] - 2026-11-01 [YANKED]\n\n### Added\n\n- One.\n\n";

    fn of(parts: &[&str]) -> Vec<String> {
        faults(&parts.concat(), Some(&Version::new(0, 2, 0)))
    }

    #[test]
    fn what_keeps_to_the_format_passes() {
        let addresses =
            "[Unreleased]: https://example.org/2\n[0.2.0]: https://example.org/1\n[0.1.0]: https://example.org/0\n";
        for fine in [&[HEAD, NEXT][..], &[HEAD, "## [Unreleased]\n\n", TWO], &[HEAD, NEXT, TWO, ONE, addresses]] {
            assert_eq!(of(fine), [""; 0], "{fine:?}");
        }
    }

    #[test]
    fn what_does_not_is_found() {
        for (wrong, part) in [
            (&[NEXT, TWO][..], "# Changelog"),
            (&["# Changelog\n\n", NEXT], "https://semver.org/"),
            (&[HEAD], "no release note was found"),
            (&[HEAD, TWO], "the first section is not `## [Unreleased]`"),
            (&[HEAD, TWO, NEXT], "the first section is not `## [Unreleased]`"),
            (&[HEAD, NEXT, TWO, TWO], "multiple release notes"),
            (&[HEAD, NEXT, ONE, TWO], "[0.1.0] stands above [0.2.0]"),
            (
                &[HEAD, NEXT, TWO, "## [0.1.0] - 2026-12-24\n\n### Added\n\n- One.\n"],
                "2026-12-01 stands above 2026-12-24",
            ),
            (&[HEAD, NEXT, "## [0.3.0] - 2026-12-24\n\n### Added\n\n- Three.\n"], "newer than the crates"),
            (&[HEAD, NEXT, "## [0.2.0]\n\n### Added\n\n- Two.\n"], "`## [0.2.0]` is not of the form"),
            (&[HEAD, NEXT, "## [0.2.0] - 2026-13-01\n\n### Added\n\n- Two.\n"], "is not of the form"),
            (&[HEAD, NEXT, "## [0.2.0] - 2026-12-01\n\nTwo.\n"], "it says nothing"),
            (&[HEAD, NEXT, "## [0.2.0] - 2026-12-01\n\n- Two.\n"], "stands in no group"),
            (&[HEAD, NEXT, "### Fixed\n\n## Others\n\n"], "`### Fixed` is empty"),
            (&[HEAD, NEXT, "## Others\n\n"], "`## Others` is no version"),
            (&[HEAD, NEXT, "### Improved\n\n- Speed.\n"], "`### Improved` is none of"),
            (&[HEAD, NEXT, "### Added\n\n- Again.\n"], "`### Added` is there twice"),
            (&[HEAD, NEXT, TWO, "[0.2.0]: https://example.org/2\n"], "[Unreleased] has no address"),
            (&[HEAD, NEXT, "[Unreleased]: example.org\n"], "no https address"),
            (&[HEAD, NEXT, "[0.7.0]: https://example.org/7\n"], "[0.7.0] has an address and no section"),
        ] {
            let found = of(wrong);
            assert!(found.iter().any(|fault| fault.contains(part)), "{part}: {found:?}");
        }
    }
}
