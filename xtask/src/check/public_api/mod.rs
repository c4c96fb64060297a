//! What the published crates show, held against `crates/*/public-api.txt`: a change of the public surface is seen in review. Everything
//! that the crates' features give, on Linux; implementations of traits among it, but for those that rustc makes by itself and nobody
//! relies on.

pub(crate) mod rustdoc;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use cargo_metadata::Package;

use super::{Failure, Workspace, package};

pub(super) const NAME: &str = "public-api";
const FILE: &str = "public-api.txt";
/// The most differences of one crate that are shown.
const SHOWN: usize = 40;
/// Which of the traits that rustc implements by itself say nothing to a program's author. `Send`, `Sync` and `Unpin` do.
const UNTOLD: [&str; 4] = [
    "core::marker::Freeze",
    "core::marker::UnsafeUnpin",
    "core::panic::unwind_safe::RefUnwindSafe",
    "core::panic::unwind_safe::UnwindSafe",
];

pub(super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let remedy = "look whether a program that compiled still does (semver), then `cargo xtask check public-api --fix`";
    let surfaces = surfaces(workspace)
        .map_err(|error| Failure::new(format!("{error:#}"), "run it with the Rust of `rust-version` in Cargo.toml"))?;
    let mut findings = Vec::new();
    for (package, now) in surfaces {
        let then = fs::read_to_string(file(package)).unwrap_or_default();
        findings.extend(differences(&then, &now).into_iter().map(|line| format!("{}: {line}", package.name)));
    }
    Failure::unless_empty(findings, remedy)
}

/// Writes what the crates show now.
///
/// # Errors
/// If rustdoc fails, or a file cannot be written.
pub(super) fn write(workspace: &Workspace) -> anyhow::Result<()> {
    for (package, surface) in surfaces(workspace)? {
        let file = file(package);
        fs::write(&file, surface).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn file(package: &Package) -> PathBuf {
    package.manifest_path.with_file_name(FILE).into()
}

/// Each published package with its public items, one a line.
fn surfaces(workspace: &Workspace) -> anyhow::Result<Vec<(&Package, String)>> {
    rustdoc::write_json()?;
    let folder = workspace.metadata.target_directory.join("doc");
    let mut surfaces = Vec::new();
    for package in package::published(&workspace.metadata) {
        let is_library = |target: &&cargo_metadata::Target| target.is_lib();
        let library =
            package.targets.iter().find(is_library).with_context(|| format!("{} is no library", package.name))?;
        let json = folder.join(format!("{}.json", library.name.replace('-', "_")));
        let api = public_api::Builder::from_rustdoc_json(&json)
            .omit_blanket_impls(true)
            .build()
            .with_context(|| format!("{json} is not of the form that the crate public-api reads"))?;
        let lines = api.items().map(ToString::to_string).filter(|line| is_told(line));
        surfaces.push((package, lines.map(|line| line + "\n").collect()));
    }
    Ok(surfaces)
}

fn is_told(line: &str) -> bool {
    let untold = |name: &&str| line.starts_with("impl") && line.contains(&format!("{name} for "));
    !UNTOLD.iter().any(untold)
}

/// The lines that are gone, with `-`, and those that are new, with `+`.
fn differences(then: &str, now: &str) -> Vec<String> {
    let (then, now): (BTreeSet<&str>, BTreeSet<&str>) = (then.lines().collect(), now.lines().collect());
    let gone = then.difference(&now).map(|line| format!("- {line}"));
    let new = now.difference(&then).map(|line| format!("+ {line}"));
    let mut lines: Vec<String> = gone.chain(new).collect();
    let count = lines.len();
    if count > SHOWN {
        lines.truncate(SHOWN);
        lines.push(format!("… {} more", count - SHOWN));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_and_what_is_new_are_told_apart() {
        let (then, now) = ("pub fn a::f()\npub fn a::g()\n", "pub fn a::f() -> u8\npub fn a::g()\n");
        assert_eq!(differences(then, then), [""; 0]);
        assert_eq!(differences(then, now), ["- pub fn a::f()", "+ pub fn a::f() -> u8"]);
        let many: String = (0..100).map(|number| format!("pub fn a::f{number}()\n")).collect();
        let shown = differences("", &many);
        assert_eq!((shown.len(), shown.last().unwrap().as_str()), (SHOWN + 1, "… 60 more"));
    }

    #[test]
    fn an_implementation_that_nobody_relies_on_is_left_out() {
        assert!(
            !is_told("impl core::marker::Freeze for a::S")
                && !is_told("impl<T> core::marker::Freeze for a::S<T> where T: Clone")
        );
        assert!(is_told("impl core::marker::Send for a::S") && is_told("pub fn a::freeze(core::marker::Freeze)"));
    }
}
