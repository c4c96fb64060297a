//! The hot path's instructions (`tests/src/bin/hot_path.rs`), held against those that are stored: `cargo xtask check instructions`,
//! and in full `cargo xtask bench --instructions`. Times tell nothing on a shared machine; instructions do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use serde::{Deserialize, Serialize};

use super::callgrind::{self, Instructions};
use super::{build, machine};
use crate::cargo;
use crate::stack::on_path;

/// What is run under callgrind, by its name: the layers of one iteration.
const SETS: [(&str, &[&str]); 6] = [
    ("all layers", &[]),
    ("loki", &["loki"]),
    ("line", &["line"]),
    ("tempo", &["tempo"]),
    ("spanmetrics and mimir", &["spanmetrics", "mimir"]),
    ("facade", &["facade"]),
];

/// The profile: thin LTO. The profile `release`, with fat LTO, takes several minutes to build, and costs a seventh less.
const PROFILE: &str = "side-by-side";
/// Iterations of the short and of the long run. When the worker comes by, buffers are given away and made anew: a million
/// instructions more or less in a run, which have to be little beside the rest. After the
/// short one, every place of a span has its buffers.
const SHORT: u64 = 10_000;
const LONG: u64 = 34_000;
/// Runs of each, of which the least counts.
const RUNS: usize = 3;
/// How much more is too much, and how much less is worth storing.
const TOLERANCE: f64 = 0.03;

/// What is stored.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Stored {
    /// Who made the instructions: another compiler makes others.
    compiler: String,
    profile: String,
    /// Of the calling thread, for one iteration.
    instructions: BTreeMap<String, f64>,
}

fn file() -> PathBuf {
    cargo::workspace_root().join("benches").join("instructions.json")
}

/// What has come out.
#[derive(Debug, PartialEq)]
pub(crate) struct Verdict {
    /// One line for each set of layers.
    pub(crate) lines: Vec<String>,
    /// Those that are too much.
    pub(crate) findings: Vec<String>,
}

/// Holds the hot path against what is stored.
///
/// # Errors
/// If it cannot be built or run, or if nothing is stored.
pub(crate) fn check(valgrind: &Path) -> anyhow::Result<Verdict> {
    let file = file();
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let stored: Stored = serde_json::from_str(&text).with_context(|| file.display().to_string())?;
    Ok(verdict(&stored, &measured(valgrind)?))
}

/// # Errors
/// As [`check`], or if valgrind is not there, or the file cannot be written.
pub(super) fn run(update: bool) -> anyhow::Result<ExitCode> {
    let Some(valgrind) = on_path("valgrind") else {
        bail!("valgrind is not on the path; it comes with the package valgrind")
    };
    if update {
        let now = measured(&valgrind)?;
        for (name, count) in &now.instructions {
            outputln!("{name}: {count:.0}");
        }
        std::fs::write(file(), serde_json::to_string_pretty(&now)? + "\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    let verdict = check(&valgrind)?;
    for line in verdict.lines.iter().chain(&verdict.findings) {
        outputln!("{line}");
    }
    Ok(if verdict.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measured(valgrind: &Path) -> anyhow::Result<Stored> {
    let program = build("lgtm-tests", "hot_path", PROFILE)?;
    let mut instructions = BTreeMap::new();
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    for sets in SETS.chunks(at_once) {
        let counts: Vec<_> = std::thread::scope(|scope| {
            let program = &program;
            let threads: Vec<_> = sets
                .iter()
                .map(|(name, layers)| (*name, scope.spawn(move || of_one(valgrind, program, layers))))
                .collect();
            threads.into_iter().map(|(name, thread)| (name, thread.join())).collect()
        });
        for (name, count) in counts {
            let count = count.map_err(|_| anyhow!("{name}: the thread that measures has panicked"))??;
            instructions.insert(name.to_owned(), count.round());
        }
    }
    let compiler = machine::compiler().context("rustc does not say its version")?;
    Ok(Stored { compiler, profile: PROFILE.to_owned(), instructions })
}

/// Of the calling thread, for one iteration.
fn of_one(valgrind: &Path, program: &Path, layers: &[&str]) -> anyhow::Result<f64> {
    let least = |iterations: u64| {
        let iterations = iterations.to_string();
        let words: Vec<&str> = std::iter::once(iterations.as_str()).chain(layers.iter().copied()).collect();
        let mut least = callgrind::run(valgrind, program, &words)?;
        for _ in 1..RUNS {
            let next = callgrind::run(valgrind, program, &words)?;
            least.caller = least.caller.min(next.caller);
        }
        anyhow::Ok(least)
    };
    Ok(Instructions::of_one(least(SHORT)?, least(LONG)?, LONG - SHORT).caller)
}

fn verdict(stored: &Stored, now: &Stored) -> Verdict {
    let mut verdict = Verdict { lines: Vec::new(), findings: Vec::new() };
    for (name, count) in &now.instructions {
        let Some(before) = stored.instructions.get(name) else {
            verdict.findings.push(format!("{name}: {count:.0} instructions, and none stored"));
            continue;
        };
        let change = count / before - 1.0;
        let line = format!("{name}: {count:.0} instructions, stored {before:.0} ({:+.1} %)", change * 100.0);
        if change > TOLERANCE {
            verdict.findings.push(line);
        } else if change < -TOLERANCE {
            verdict.lines.push(format!("{line}: store the gain with `cargo xtask bench --instructions --update`"));
        } else {
            verdict.lines.push(line);
        }
    }
    let gone = stored.instructions.keys().filter(|name| !now.instructions.contains_key(*name));
    verdict.findings.extend(gone.map(|name| format!("{name}: stored, and not measured")));
    if stored.compiler != now.compiler && !verdict.findings.is_empty() {
        verdict.findings.push(format!("the stored ones are of {}, these of {}", stored.compiler, now.compiler));
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(instructions: &[(&str, f64)]) -> Stored {
        Stored {
            compiler: "rustc 1".to_owned(),
            profile: PROFILE.to_owned(),
            instructions: instructions.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
        }
    }

    #[test]
    fn what_costs_more_than_three_in_a_hundred_more_is_found_and_a_gain_is_told() {
        let before = stored(&[("a", 1_000.0), ("b", 1_000.0), ("c", 1_000.0)]);
        let verdict = verdict(&before, &stored(&[("a", 1_031.0), ("b", 1_029.0), ("c", 900.0)]));
        assert_eq!(verdict.findings, ["a: 1031 instructions, stored 1000 (+3.1 %)"]);
        assert_eq!(verdict.lines[0], "b: 1029 instructions, stored 1000 (+2.9 %)");
        assert!(verdict.lines[1].contains("-10.0 %): store the gain"), "{}", verdict.lines[1]);
    }

    #[test]
    fn a_set_that_is_not_stored_or_not_measured_is_found() {
        let verdict = verdict(&stored(&[("a", 1.0)]), &stored(&[("b", 1.0)]));
        assert_eq!(verdict.findings, ["b: 1 instructions, and none stored", "a: stored, and not measured"]);
    }

    #[test]
    fn another_compiler_is_named_where_something_is_found() {
        let now = Stored { compiler: "rustc 2".to_owned(), ..stored(&[("a", 2.0)]) };
        let verdict = verdict(&stored(&[("a", 1.0)]), &now);
        assert_eq!(verdict.findings[1], "the stored ones are of rustc 1, these of rustc 2");
    }
}
