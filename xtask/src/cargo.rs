//! Runs cargo, the one that runs this program, and asks it about the workspace.

use std::env;
use std::ffi::OsString;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use cargo_metadata::{Metadata, MetadataCommand};

/// What cargo tells the program that it runs about its package. Another cargo must not see it: build scripts that watch these
/// variables would run again each time the two take turns, and most of the workspace would be built again after them.
const OF_THIS_PACKAGE: [&str; 2] = ["CARGO_PKG_", "CARGO_MANIFEST_"];

/// The cargo that runs this program, else the one on the path, in the workspace's folder.
pub(crate) fn command() -> Command {
    let mut command = Command::new(program());
    command.current_dir(workspace_root());
    let is_of_this_package = |name: &OsString| {
        let name = name.to_string_lossy();
        OF_THIS_PACKAGE.iter().any(|beginning| name.starts_with(beginning))
    };
    for (name, _) in env::vars_os().filter(|(name, _)| is_of_this_package(name)) {
        command.env_remove(name);
    }
    command
}

fn program() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Runs cargo in the workspace's folder with its output shown, after saying so.
///
/// # Errors
/// If it cannot be started or fails; the error is the command line and its exit status.
pub(crate) fn run(arguments: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<()> {
    let shown = shown(arguments, environment);
    eprintln!("$ {shown}");
    let status = command()
        .args(arguments)
        .envs(environment.iter().copied())
        .status()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed: {status}");
    }
    Ok(())
}

/// Runs cargo in the workspace's folder and gives its standard output, after saying so.
///
/// # Errors
/// As [`run`].
pub(crate) fn output(arguments: &[&str]) -> anyhow::Result<String> {
    output_with(arguments, &[])
}

/// The same with these variables.
///
/// # Errors
/// As [`run`].
pub(crate) fn output_with(arguments: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<String> {
    let shown = shown(arguments, environment);
    eprintln!("$ {shown}");
    let output = command()
        .args(arguments)
        .envs(environment.iter().copied())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` failed: {}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command line as a person would type it.
fn shown(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let quoted = |text: &str| {
        if text.is_empty() || text.contains(char::is_whitespace) { format!("'{text}'") } else { text.to_owned() }
    };
    let variables = environment.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
    let words = std::iter::once("cargo".to_owned()).chain(arguments.iter().map(|word| quoted(word)));
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

/// The workspace's packages and their declared dependencies; resolves nothing.
///
/// # Errors
/// If cargo cannot read the workspace.
pub(crate) fn metadata() -> anyhow::Result<Metadata> {
    MetadataCommand::new()
        .cargo_path(program())
        .current_dir(workspace_root())
        .no_deps()
        .exec()
        .context("cargo cannot describe the workspace")
}

/// The folder of the workspace, wherever the program is started from: cargo tells at run time where this package is.
pub(crate) fn workspace_root() -> std::path::PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").map(std::path::PathBuf::from);
    package.as_deref().and_then(std::path::Path::parent).map_or_else(|| ".".into(), std::path::Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_can_be_typed() {
        let shown = shown(&["doc", "--no-deps"], &[("RUSTDOCFLAGS", "-D warnings")]);
        assert_eq!(shown, "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps");
    }

    #[test]
    fn the_workspace_knows_this_package() {
        let metadata = metadata().unwrap();
        assert!(metadata.workspace_packages().iter().any(|package| package.name == "xtask"));
    }
}
