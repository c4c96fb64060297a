//! Instructions, by valgrind's callgrind: those of the first thread, which calls, and those of all others. What an operation costs is
//! the difference of two runs of different length, divided: start and end cancel out.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// Instructions of one run or of one operation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Instructions {
    pub(crate) caller: f64,
    pub(crate) others: f64,
}

impl Instructions {
    /// What an operation costs, from a run and a longer one that has `more` operations.
    pub(crate) fn of_one(short: Self, long: Self, more: u64) -> Self {
        let more = more.max(1) as f64;
        Self { caller: (long.caller - short.caller) / more, others: (long.others - short.others) / more }
    }
}

/// The arguments of valgrind, up to the program that it runs. Counted from `main` on: before it, a peer's clock is set by the time
/// that passes, with instructions as they come.
pub(crate) fn arguments(folder: &Path) -> Vec<String> {
    let file = folder.join("out").display().to_string();
    ["--quiet", "--tool=callgrind", "--separate-threads=yes", "--zero-before=main"]
        .map(str::to_owned)
        .into_iter()
        .chain([format!("--callgrind-out-file={file}")])
        .collect()
}

/// Runs a program under callgrind.
///
/// # Errors
/// If it fails, or callgrind leaves no totals.
pub(crate) fn run(valgrind: &Path, program: &Path, words: &[&str]) -> anyhow::Result<Instructions> {
    let folder = tempfile::tempdir().context("no scratch folder")?;
    let mut command = Command::new(valgrind);
    command.args(arguments(folder.path())).arg(program).args(words).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("cannot start {}", valgrind.display()))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{} {} under callgrind: {}: {}", program.display(), words.join(" "), output.status, errors.trim());
    }
    totals(folder.path())
}

/// What callgrind left in `folder`: `out-01` for the first thread, `out-02` and so on for the others.
///
/// # Errors
/// If there is no first thread, or a file without totals.
pub(crate) fn totals(folder: &Path) -> anyhow::Result<Instructions> {
    let mut all = Instructions { caller: 0.0, others: 0.0 };
    let mut has_first = false;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(thread) = name.strip_prefix("out-").and_then(|number| number.parse::<u32>().ok()) else { continue };
        let text = fs::read_to_string(&path)?;
        let count = total(&text).with_context(|| format!("{name} has no totals"))?;
        if thread == 1 {
            has_first = true;
            all.caller += count;
        } else {
            all.others += count;
        }
    }
    if !has_first {
        bail!("callgrind has left nothing of the first thread");
    }
    Ok(all)
}

fn total(text: &str) -> Option<f64> {
    text.lines().rev().find_map(|line| line.strip_prefix("totals: "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_thread_calls_and_the_others_are_added_up() {
        let folder = tempfile::tempdir().unwrap();
        assert!(totals(folder.path()).is_err());
        for (name, count) in [("out-01", 1_000), ("out-02", 20), ("out-13", 3)] {
            fs::write(folder.path().join(name), format!("events: Ir\nfn=(1) main\n1 5\n\ntotals: {count}\n")).unwrap();
        }
        assert_eq!(totals(folder.path()).unwrap(), Instructions { caller: 1_000.0, others: 23.0 });
        fs::write(folder.path().join("out-03"), "events: Ir\n").unwrap();
        assert!(totals(folder.path()).is_err());
    }

    #[test]
    fn start_and_end_cancel_out() {
        let short = Instructions { caller: 1_000_100.0, others: 500.0 };
        let long = Instructions { caller: 1_010_100.0, others: 700.0 };
        assert_eq!(Instructions::of_one(short, long, 10), Instructions { caller: 1_000.0, others: 20.0 });
    }
}
