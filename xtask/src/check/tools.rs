//! Programs of others that checks start: where they are, and what it means if one is not there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Workspace;
use crate::stack::on_path;

/// A program that is not there: a finding where it is required, else nothing.
#[derive(Debug)]
pub(super) struct Absent {
    pub(super) finding: Option<String>,
}

impl Workspace {
    /// The first of `names` that is on the path. What is not there is said, and is a finding where it is required.
    pub(super) fn program(&self, names: &[&str], from: &str) -> Result<PathBuf, Absent> {
        self.asked.borrow_mut().extend(names.iter().map(|name| (*name).to_owned()));
        if let Some(file) = names.iter().find_map(|name| on_path(name)) {
            return Ok(file);
        }
        let title = names.join(" or ");
        if self.requires(names) {
            return Err(Absent { finding: Some(format!("{title} is not on the path; it comes with {from}")) });
        }
        println!("  skipped: {title} is not on the path; it comes with {from}");
        Err(Absent { finding: None })
    }
}

impl Workspace {
    fn requires(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.required.iter().any(|required| required == name))
    }

    /// The programs that were required and that no check has asked for: a name that is misspelt requires nothing.
    pub(super) fn required_in_vain(&self) -> Vec<&str> {
        let asked = self.asked.borrow();
        self.required.iter().filter(|name| !asked.contains(*name)).map(String::as_str).collect()
    }

    /// Says that a check would use `name`, where another program does as well.
    pub(super) fn knows(&self, name: &str) {
        self.asked.borrow_mut().insert(name.to_owned());
    }
}

/// Runs a program in `folder` with an optional standard input; gives its standard output.
///
/// # Errors
/// If it cannot be started or fails; with the command and all that it said.
pub(super) fn run(program: &Path, arguments: &[&str], folder: &Path, input: Option<&str>) -> Result<String, String> {
    said(program, arguments, folder, input).map(|(output, _)| output)
}

/// Runs a program in `folder`; gives its standard output and standard error.
///
/// # Errors
/// As [`run`].
pub(super) fn said(
    program: &Path,
    arguments: &[&str],
    folder: &Path,
    input: Option<&str>,
) -> Result<(String, String), String> {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let shown = format!("{name} {}", arguments.join(" "));
    eprintln!("$ {shown}");
    let failed = |why: String| format!("`{shown}` {why}");
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.spawn().map_err(|error| failed(format!("cannot be started: {error}")))?;
    let stdin = child.stdin.take();
    let output = std::thread::scope(|scope| {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            // A program that has read enough may close its input: its own answer says how it went.
            scope.spawn(move || std::io::Write::write_all(&mut stdin, input.as_bytes()));
        }
        child.wait_with_output()
    });
    let output = output.map_err(|error| failed(format!("cannot be waited for: {error}")))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        return Ok((said, errors));
    }
    Err(failed(format!("failed ({}): {}", output.status, [said.trim(), errors.trim()].join(" ").trim())))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_failure_has_the_command_and_what_it_said() {
        let sh = on_path("sh").unwrap();
        assert_eq!(run(&sh, &["-c", "cat"], Path::new("/"), Some("input")), Ok("input".to_owned()));
        let error = run(&sh, &["-c", "echo out; echo err >&2; exit 3"], Path::new("/"), None).unwrap_err();
        for part in ["sh -c", "exit status: 3", "out", "err"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(run(Path::new("/nowhere/sh"), &[], Path::new("/"), None).unwrap_err().contains("cannot be started"));
    }
}
