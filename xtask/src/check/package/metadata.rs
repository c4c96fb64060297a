//! What a registry asks of a manifest, and what its page shows. Source: the Cargo book, "The Manifest Format" and "Publishing on
//! crates.io".

use cargo_metadata::{Dependency, Metadata, Package};

const LICENSE: &str = "MIT OR Apache-2.0";
const MOST_KEYWORDS: usize = 5;
const MOST_CATEGORIES: usize = 5;
const LONGEST_KEYWORD: usize = 20;
/// The registry's page and its search show no more of it.
const LONGEST_DESCRIPTION: usize = 120;
/// Those of crates.io that fit a crate of this workspace. A slug that crates.io does not know is left out there without an error.
const CATEGORIES: [&str; 11] = [
    "api-bindings",
    "asynchronous",
    "command-line-utilities",
    "development-tools",
    "development-tools::debugging",
    "development-tools::profiling",
    "development-tools::testing",
    "network-programming",
    "web-programming",
    "web-programming::http-client",
    "web-programming::http-server",
];

/// What is wrong with the manifest of `package`, one of the packages of `all`.
pub(super) fn faults(package: &Package, all: &Metadata) -> Vec<String> {
    let mut faults = Vec::new();
    let description = package.description.as_deref().unwrap_or_default();
    if description.is_empty() || description.len() > LONGEST_DESCRIPTION {
        faults.push(format!("a description of 1 to {LONGEST_DESCRIPTION} bytes is wanted, not {}", description.len()));
    }
    if package.license.as_deref() != Some(LICENSE) {
        faults.push(format!("the licence is {:?}, not {LICENSE:?}", package.license.as_deref().unwrap_or_default()));
    }
    faults.extend(of_words("keywords", &package.keywords, MOST_KEYWORDS, is_keyword));
    faults.extend(of_words("categories", &package.categories, MOST_CATEGORIES, |slug| CATEGORIES.contains(&slug)));
    if package.readme.as_ref().is_none_or(|file| file != "README.md") {
        faults.push("it has no README.md of its own".to_owned());
    }
    let pages = format!("https://docs.rs/{}", package.name);
    if package.documentation.as_ref() != Some(&pages) {
        faults.push(format!("documentation is not {pages:?}"));
    }
    if package.rust_version.is_none() {
        faults.push("rust-version is not stated".to_owned());
    }
    let ours = |dependency: &&Dependency| dependency.path.is_some();
    faults.extend(package.dependencies.iter().filter(ours).filter_map(|dependency| of_dependency(dependency, all)));
    faults.into_iter().map(|fault| format!("{}: {fault}", package.name)).collect()
}

fn of_words(what: &str, words: &[String], most: usize, is_right: impl Fn(&str) -> bool) -> Vec<String> {
    if words.is_empty() || words.len() > most {
        return vec![format!("it has {} {what}; 1 to {most} are wanted", words.len())];
    }
    words.iter().filter(|word| !is_right(word)).map(|word| format!("`{word}` cannot be among its {what}")).collect()
}

/// ASCII letters and digits, `_`, `-` and `+`; a letter or a digit first.
fn is_keyword(word: &str) -> bool {
    word.len() <= LONGEST_KEYWORD
        && word.starts_with(|first: char| first.is_ascii_alphanumeric())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+'))
}

/// A registry knows packages by their versions, and only those that are published.
fn of_dependency(dependency: &Dependency, all: &Metadata) -> Option<String> {
    let Dependency { name, req, .. } = dependency;
    let Some(package) = super::published(all).into_iter().find(|package| package.name == *name) else {
        return Some(format!("it depends on {name}, which is not published"));
    };
    let is_open = *req == cargo_metadata::semver::VersionReq::STAR;
    (is_open || !req.matches(&package.version))
        .then(|| format!("it asks for {name} {req}, whose version is {}", package.version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cargo;

    #[test]
    fn what_a_registry_refuses_or_leaves_out_is_found() {
        let all = cargo::metadata().unwrap();
        let sound = (*super::super::published(&all).first().unwrap()).clone();
        assert_eq!(faults(&sound, &all), [""; 0]);
        let fault = |spoil: &dyn Fn(&mut Package)| {
            let mut package = sound.clone();
            spoil(&mut package);
            let found = faults(&package, &all);
            assert_eq!(found.len(), 1, "{found:?}");
            found.concat()
        };
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        for (found, part) in [
            (fault(&|package| package.description = None), "description"),
            (fault(&|package| package.license = Some("MIT".to_owned())), "licence"),
            (fault(&|package| package.keywords = words(&["a", "b", "c", "d", "e", "f"])), "6 keywords"),
            (fault(&|package| package.keywords = words(&["two words"])), "`two words`"),
            (fault(&|package| package.categories = words(&["telemetry"])), "`telemetry`"),
            (fault(&|package| package.readme = None), "README.md"),
            (fault(&|package| package.documentation = Some("https://docs.rs/other".to_owned())), "documentation"),
            (fault(&|package| package.rust_version = None), "rust-version"),
        ] {
            assert!(found.contains(part), "{part}: {found}");
        }
    }

    #[test]
    fn a_dependency_that_a_registry_could_not_find_is_found() {
        let all = cargo::metadata().unwrap();
        let dependencies = |package: &&Package| package.dependencies.iter().any(|other| other.path.is_some());
        let mut package = super::super::published(&all).into_iter().find(dependencies).unwrap().clone();
        let ours = package.dependencies.iter_mut().find(|other| other.path.is_some()).unwrap();
        ours.req = "99".parse().unwrap();
        assert!(faults(&package, &all).concat().contains("^99, whose version is"), "{:?}", faults(&package, &all));
        let ours = package.dependencies.iter_mut().find(|other| other.path.is_some()).unwrap();
        ours.name = "xtask".to_owned();
        assert!(faults(&package, &all).concat().contains("xtask, which is not published"));
    }
}
