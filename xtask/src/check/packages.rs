//! Every published crate can be packaged: cargo accepts its manifest and finds its files.

use cargo_metadata::{Metadata, Package};

use super::{Failure, Workspace};
use crate::cargo;

pub(super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let mut findings = Vec::new();
    for package in published(&workspace.metadata) {
        if package.description.as_deref().unwrap_or_default().is_empty() {
            findings.push(format!("{} has no description", package.name));
        }
        let arguments = ["package", "--list", "--quiet", "--allow-dirty", "--package", package.name.as_str()];
        match cargo::output(&arguments) {
            Ok(files) if files.lines().any(|file| file == "src/lib.rs") => {}
            Ok(_) => findings.push(format!("the package of {} would have no src/lib.rs", package.name)),
            Err(error) => findings.push(error.to_string()),
        }
    }
    Failure::unless_empty(findings, "mend the manifest that cargo names above")
}

/// The packages of the workspace that go to a registry.
pub(super) fn published(metadata: &Metadata) -> Vec<&Package> {
    let is_published = |package: &&Package| package.publish.as_ref().is_none_or(|registries| !registries.is_empty());
    metadata.workspace_packages().into_iter().filter(is_published).collect()
}
