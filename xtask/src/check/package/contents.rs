//! The files of a package: sources, built assets, a README, the licences, what cargo adds; no tests, no data, nothing large.

use std::fs;
use std::path::Path;

use cargo_metadata::Package;

use crate::cargo;

pub(super) const LICENSES: [&str; 2] = ["LICENSE-MIT", "LICENSE-APACHE"];
const WANTED: [&str; 5] = ["Cargo.toml", "README.md", "src/lib.rs", LICENSES[0], LICENSES[1]];
/// What cargo adds by itself.
const ADDED: [&str; 3] = ["Cargo.toml.orig", "Cargo.lock", ".cargo_vcs_info.json"];
/// Twice the sources of the largest crate: what is larger has something in it that is no source.
const MOST_BYTES: u64 = 1_500_000;

/// What is wrong with the files of a package.
///
/// # Errors
/// If cargo cannot list them.
pub(super) fn faults(package: &Package, root: &Path) -> anyhow::Result<Vec<String>> {
    let arguments = ["package", "--list", "--quiet", "--allow-dirty", "--package", package.name.as_str()];
    let listed = cargo::output(&arguments)?;
    let files: Vec<String> = listed.lines().map(|file| file.replace('\\', "/")).collect();
    let mut faults = of_names(&files);
    let folder = package.manifest_path.parent().map_or(root, |folder| folder.as_std_path());
    let bytes = files.iter().filter_map(|file| Some(fs::metadata(folder.join(file)).ok()?.len())).sum();
    faults.extend(of_size(bytes));
    // A link that a checkout has turned into a file holds the path in the place of the text.
    let differs = |license: &&&str| fs::read(folder.join(license)).ok() != fs::read(root.join(license)).ok();
    faults.extend(LICENSES.iter().filter(differs).map(|license| format!("{license} is not the workspace's")));
    Ok(faults)
}

fn of_names(files: &[String]) -> Vec<String> {
    let is_there = |wanted: &&&str| !files.iter().any(|file| file == **wanted);
    let missing = WANTED.iter().filter(is_there).map(|wanted| format!("its package has no {wanted}"));
    let is_source = |file: &str| file.starts_with("src/") && file.ends_with(".rs");
    // What the window of the devstack shows is built before it is packaged.
    let is_asset = |file: &str| file.starts_with("window/assets/") && file.ends_with(".gz");
    let is_known = |file: &str| is_source(file) || is_asset(file) || WANTED.contains(&file) || ADDED.contains(&file);
    let more = files.iter().filter(|file| !is_known(file)).map(|file| format!("its package has {file}"));
    missing.chain(more).collect()
}

fn of_size(bytes: u64) -> Option<String> {
    (bytes > MOST_BYTES).then(|| format!("its package has {bytes} bytes, more than {MOST_BYTES}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_lack_or_do_not_belong_into_a_package_are_found() {
        let files = |more: &[&str]| -> Vec<String> {
            [&WANTED[..], &ADDED, more].concat().into_iter().map(String::from).collect()
        };
        assert_eq!(of_names(&files(&["src/layer.rs", "src/span/mod.rs", "window/assets/window.js.gz"])), [""; 0]);
        for wrong in [
            "tests/api.rs",
            "src/sample.pb",
            "src/snapshots/a.snap",
            "benches/series.rs",
            "window/src/list.tsx",
            ".env",
        ] {
            assert_eq!(of_names(&files(&[wrong])), [format!("its package has {wrong}")]);
        }
        let without: Vec<String> = files(&[]).into_iter().filter(|file| file != "LICENSE-MIT").collect();
        assert_eq!(of_names(&without), ["its package has no LICENSE-MIT"]);
        assert!(of_size(MOST_BYTES).is_none() && of_size(MOST_BYTES + 1).is_some());
    }
}
