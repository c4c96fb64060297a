//! Every published crate compiles without features, with each feature alone, with each two, and with all: features add, they never
//! break.

use cargo_metadata::Package;

use super::{Failure, Workspace};
use crate::cargo;

pub(super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let mut findings = Vec::new();
    for package in super::packages::published(&workspace.metadata) {
        for selection in selections(package) {
            let mut arguments = vec!["clippy", "--package", package.name.as_str(), "--lib"];
            arguments.extend(selection.iter().map(String::as_str));
            arguments.extend(["--", "-D", "warnings"]);
            if let Err(error) = cargo::run(&arguments, &[]) {
                findings.push(error.to_string());
            }
        }
    }
    Failure::unless_empty(
        findings,
        "gate what needs the feature with #[cfg(feature = …)], or let the feature enable it",
    )
}

/// The options of cargo for each set of features that is worth a look.
fn selections(package: &Package) -> Vec<Vec<String>> {
    let none = || vec!["--no-default-features".to_owned()];
    // Optional dependencies without a feature of their own are no features of the crate.
    let alone = package.features.keys().filter(|feature| *feature != "default").map(|feature| {
        let mut selection = none();
        selection.extend(["--features".to_owned(), feature.clone()]);
        selection
    });
    let names: Vec<_> = package.features.keys().filter(|feature| *feature != "default").collect();
    let pairs = names.iter().enumerate().flat_map(|(place, one)| {
        names.iter().skip(place + 1).map(move |other| {
            let mut selection = none();
            selection.extend(["--features".to_owned(), format!("{one},{other}")]);
            selection
        })
    });
    let mut selections: Vec<_> = std::iter::once(none()).chain(alone).chain(pairs).collect();
    if package.features.len() > 1 {
        selections.push(vec!["--all-features".to_owned()]);
    }
    selections
}
