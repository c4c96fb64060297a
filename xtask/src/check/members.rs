//! Every member of the workspace stands in the root `Cargo.toml` with the reason why it exists.

use std::collections::BTreeMap;
use std::fs;

use super::{Failure, Workspace};

pub(super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let remedy = "give each member its own line in the root Cargo.toml: \"path\", # why it exists";
    let manifest =
        fs::read_to_string(workspace.root.join("Cargo.toml")).map_err(|error| Failure::new(error, remedy))?;
    let reasons = reasons(&manifest);
    let mut findings = Vec::new();
    for package in workspace.metadata.workspace_packages() {
        let folder = package.manifest_path.parent().map(|path| path.as_std_path()).unwrap_or(&workspace.root);
        let path = folder.strip_prefix(&workspace.root).unwrap_or(folder).to_string_lossy().replace('\\', "/");
        match reasons.get(path.as_str()) {
            Some(reason) if !reason.is_empty() => {}
            Some(_) => findings.push(format!("{path} ({}) has no reason", package.name)),
            None => findings.push(format!("{path} ({}) has no line of its own", package.name)),
        }
    }
    Failure::unless_empty(findings, remedy)
}

/// The reason of each member by its path, from the lines of the `members` array.
fn reasons(manifest: &str) -> BTreeMap<&str, &str> {
    let lines = manifest.lines().map(str::trim).skip_while(|line| !line.starts_with("members")).skip(1);
    let members = lines.take_while(|line| !line.starts_with(']'));
    members
        .filter_map(|line| {
            let (path, rest) = line.strip_prefix('"')?.split_once('"')?;
            let reason = rest.split_once('#').map_or("", |(_, reason)| reason.trim());
            Some((path, reason))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::reasons;

    #[test]
    fn a_member_without_a_comment_has_no_reason() {
        let manifest =
            "[workspace]\nmembers = [\n    \"a\",   # the one\n    \"b\",\n    \"c\", #\n]\n\"d\", # outside\n";
        let expected = [("a", "the one"), ("b", ""), ("c", "")];
        assert_eq!(reasons(manifest).into_iter().collect::<Vec<_>>(), expected);
    }
}
