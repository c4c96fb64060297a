//! No file names a path of the machine it was written on.

use std::env;

use super::{Failure, Workspace};

pub(super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let remedy = "name files relative to the workspace, or make the path a setting";
    let sources = workspace.sources().map_err(|error| Failure::new(error, remedy))?;
    let own = own_paths(workspace);
    let mut findings = Vec::new();
    for source in &sources {
        for (index, line) in source.text.lines().enumerate() {
            if let Some(found) = machine_path(line, &own) {
                findings.push(format!("{}:{}: {found}", source.path, index + 1));
            }
        }
    }
    Failure::unless_empty(findings, remedy)
}

/// This machine's own: the workspace and the home folder, each with a slash at its end.
fn own_paths(workspace: &Workspace) -> Vec<String> {
    let root = workspace.root.to_string_lossy().into_owned();
    let home = env::var("HOME").unwrap_or_default();
    // A workspace at `/src` or a home at `/` would match half of all texts.
    let deep_root = Some(root).filter(|root| root.matches('/').count() >= 2);
    let real_home = Some(home).filter(|home| home.len() > 1 && home.starts_with('/'));
    deep_root.into_iter().chain(real_home).map(|path| format!("{}/", path.trim_end_matches('/'))).collect()
}

/// The folders in which people's own folders are.
const HOMES: [&str; 2] = ["/home", "/Users"];

/// The machine path in `line`, if there is one: one of `own`, or a person's folder.
fn machine_path<'a>(line: &'a str, own: &[String]) -> Option<&'a str> {
    let begins_path = |at: usize| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '.' | '_' | '-' | '/' | '}' | '*'))
    };
    let token = |at: usize| line[at..].split([' ', '"', '\'', '`', ')', ',', ';']).next().unwrap_or_default();
    let own = own.iter().flat_map(|path| line.match_indices(path.as_str())).map(|(at, _)| at);
    let homes = HOMES.iter().flat_map(|home| line.match_indices(home).map(|(at, home)| (at, at + home.len())));
    // Someone's folder has a name, and something in it.
    let persons = homes.filter(|(_, end)| {
        let mut parts = line[*end..].split('/');
        parts.next() == Some("")
            && parts.next().is_some_and(|name| {
                !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-'))
            })
            && parts.next().is_some()
    });
    own.chain(persons.map(|(at, _)| at)).find(|at| begins_path(*at)).map(token)
}

#[cfg(test)]
mod tests {
    use super::machine_path;

    #[test]
    fn own_folders_and_those_of_people_are_found_and_routes_are_not() {
        let own = ["/builds/lgtm/".to_owned()];
        let home = super::HOMES[0];
        assert_eq!(machine_path("see `/builds/lgtm/README.md`.", &own), Some("/builds/lgtm/README.md"));
        assert_eq!(machine_path(&format!("cp {home}/ann/x y"), &own), Some(format!("{home}/ann/x").as_str()));
        for fine in ["GET /home/", "http://h/builds/lgtm/x", "deploy/builds/lgtm/", "/etc/loki/config.yaml"] {
            assert_eq!(machine_path(fine, &own), None, "{fine}");
        }
        assert_eq!(machine_path(&format!("https://example.org{home}/ann/x"), &own), None);
    }
}
