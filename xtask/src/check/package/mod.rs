//! What goes to a registry: the published crates say what a registry asks for, their packages hold what they shall and nothing else,
//! and what is in them compiles without the rest of the workspace.

mod build;
mod contents;
mod metadata;

use std::fs;

use cargo_metadata::{Metadata, Package};

use super::{Failure, Workspace};

const REMEDY: &str = "mend the crate's Cargo.toml; what all have in common is in the root's [workspace.package]";

/// What the manifests say.
pub(super) fn check_metadata(workspace: &Workspace) -> Result<(), Failure> {
    let all = &workspace.metadata;
    Failure::unless_empty(published(all).into_iter().flat_map(|one| metadata::faults(one, all)).collect(), REMEDY)
}

/// Which files the packages have, and how large they are.
pub(super) fn check_contents(workspace: &Workspace) -> Result<(), Failure> {
    let remedy = "a package has its sources, a README.md of its own, and links to the workspace's licences";
    let mut findings = Vec::new();
    for license in contents::LICENSES {
        if fs::read(workspace.root.join(license)).is_err() {
            findings.push(format!("{license} is not in the workspace's folder"));
        }
    }
    for package in published(&workspace.metadata) {
        match contents::faults(package, &workspace.root) {
            Ok(faults) => findings.extend(faults.into_iter().map(|fault| format!("{}: {fault}", package.name))),
            Err(error) => findings.push(error.to_string()),
        }
    }
    Failure::unless_empty(findings, remedy)
}

/// Each package compiles as a registry would have it, with the others' packages in the place of their folders.
pub(super) fn check_build(workspace: &Workspace) -> Result<(), Failure> {
    build::check(&published(&workspace.metadata))
}

/// The packages of the workspace that go to a registry.
pub(super) fn published(metadata: &Metadata) -> Vec<&Package> {
    let is_published = |package: &&Package| package.publish.as_ref().is_none_or(|registries| !registries.is_empty());
    metadata.workspace_packages().into_iter().filter(is_published).collect()
}
