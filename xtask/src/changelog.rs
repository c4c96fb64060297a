//! Reads CHANGELOG.md: the sections of its versions, and their text as notes of a release.
//! Source: Keep a Changelog 1.1.0.

use anyhow::{Context as _, bail};
use parse_changelog::Changelog;

pub(crate) const FILE: &str = "CHANGELOG.md";
/// The section of what is not released yet.
pub(crate) const UNRELEASED: &str = "Unreleased";

/// The sections by their versions, as they stand in the file.
///
/// # Errors
/// If there is none, or one twice.
pub(crate) fn sections(text: &str) -> anyhow::Result<Changelog<'_>> {
    parse_changelog::parse(text).with_context(|| format!("{FILE} cannot be read"))
}

/// The text of a version's section, without the addresses of versions at the file's end.
///
/// # Errors
/// If there is no such section, or nothing in it.
pub(crate) fn notes(text: &str, version: &str) -> anyhow::Result<String> {
    let sections = sections(text)?;
    let Some(section) = sections.get(version) else {
        let known: Vec<&str> = sections.keys().copied().collect();
        bail!("{FILE} has no version `{version}`; it has {}", known.join(", "));
    };
    let is_address = |line: &str| address(line).is_some_and(|(label, _)| sections.contains_key(label));
    let lines: Vec<&str> = section.notes.lines().filter(|line| !is_address(line)).collect();
    let notes = lines.join("\n").trim().to_owned();
    if notes.is_empty() {
        bail!("{FILE} says nothing of version `{version}`");
    }
    Ok(notes)
}

/// The label and the address of a line `[label]: address`.
pub(crate) fn address(line: &str) -> Option<(&str, &str)> {
    let (label, address) = line.strip_prefix('[')?.split_once("]: ")?;
    Some((label, address.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2026-12-01\n\n### Added\n\n- Two.\n\n### Fixed\n\n- A fault, \
        see [the page].\n\n[the page]: https://example.org\n\n## [0.1.0] - 2026-11-01\n\n### Added\n\n- One.\n\n\
        [Unreleased]: https://example.org/2...head\n[0.2.0]: https://example.org/2\n[0.1.0]: https://example.org/1\n";

    #[test]
    fn the_notes_of_a_version_are_its_section_and_nothing_of_the_others() {
        let expected =
            "### Added\n\n- Two.\n\n### Fixed\n\n- A fault, see [the page].\n\n[the page]: https://example.org";
        assert_eq!(notes(TEXT, "0.2.0").unwrap(), expected);
        assert_eq!(notes(TEXT, "0.1.0").unwrap(), "### Added\n\n- One.");
    }

    #[test]
    fn a_version_that_is_not_there_or_says_nothing_is_an_error_that_names_those_that_are() {
        let unknown = notes(TEXT, "0.3.0").unwrap_err().to_string();
        assert!(unknown.ends_with("no version `0.3.0`; it has Unreleased, 0.2.0, 0.1.0"), "{unknown}");
        assert!(notes(TEXT, UNRELEASED).unwrap_err().to_string().contains("says nothing"));
        assert!(notes(&format!("{TEXT}## [0.1.0]\n"), "0.1.0").is_err(), "twice");
    }
}
