//! `bench --builds`: what a library costs a program before it runs: the size of its executable, the crates in its tree, the time of a
//! clean build. The programs are in benches/builds, outside the workspace: each has the tree and the profile that a user's has.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::cargo;

/// One program with some of its features.
struct Program {
    /// Its folder; its executable has the same name behind `with-`.
    folder: &'static str,
    features: &'static str,
    /// What a reader is told of them.
    told: &'static str,
}

const PROGRAMS: [Program; 5] = [
    Program {
        folder: "lgtm",
        features: "all",
        told: "default: logs, traces, metrics, metrics of spans and system, console, `log`, spool",
    },
    Program {
        folder: "lgtm",
        features: "traces,console",
        told: "`tempo`, `console`: traces, and events on standard error",
    },
    Program { folder: "lgtm", features: "traces", told: "`tempo`: traces alone" },
    Program {
        folder: "init-tracing-opentelemetry",
        features: "documented",
        told: "`otlp`, `tracing_subscriber_ext` and default (aws-lc): traces, and events on standard output",
    },
    Program { folder: "init-tracing-opentelemetry", features: "ring", told: "the same with ring, which lgtm has" },
];

/// Jobs of cargo: on any machine the same.
const JOBS: &str = "2";
/// Set by people for their own builds: another compiler, other flags, a cache.
const NOT_OURS: [&str; 5] =
    ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR"];

/// What one program took.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Build {
    /// The library, and its version where it is not of this workspace.
    pub(super) name: String,
    pub(super) features: &'static str,
    /// Of the executable, without symbols.
    pub(super) bytes: u64,
    /// Beside the program's own.
    pub(super) crates: usize,
    pub(super) wall: Duration,
    /// Of cargo and all that it started; `None` where the system does not tell it.
    pub(super) cpu: Option<Duration>,
}

/// Builds all programs, one after the other, each with nothing built before.
///
/// # Errors
/// If one cannot be resolved or built.
pub(super) fn measure() -> anyhow::Result<Vec<Build>> {
    PROGRAMS.iter().map(build).collect()
}

fn build(program: &Program) -> anyhow::Result<Build> {
    let root = cargo::workspace_root();
    let folder = root.join("benches").join("builds").join(program.folder);
    let manifest = folder.join("Cargo.toml").display().to_string();
    // The same versions of what both have, those that the workspace is tested with.
    fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).context("Cargo.lock of the workspace")?;
    // Not within the time: what is downloaded, and that the lock file is made to fit.
    output(&["fetch", "--manifest-path", &manifest])?;
    let chosen = ["--manifest-path", &manifest, "--no-default-features", "--features", program.features, "--offline"];
    let tree = output(&[&["tree", "--edges", "normal", "--prefix", "none"], &chosen[..]].concat())?;
    let names = crates(&tree);

    let target = scratch(&root)?;
    let target_name = target.path().display().to_string();
    let arguments = [&["build", "--release", "--jobs", JOBS, "--target-dir", &target_name], &chosen[..]].concat();
    let (began, cpu_before) = (Instant::now(), cpu_of_children());
    output(&arguments)?;
    let wall = began.elapsed();
    let cpu = cpu_of_children().zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
    let name = format!("with-{}{}", program.folder, std::env::consts::EXE_SUFFIX);
    let executable = target.path().join("release").join(name);
    let bytes = fs::metadata(&executable).with_context(|| executable.display().to_string())?.len();
    let version = names.iter().find_map(|name| name.strip_prefix(program.folder)?.strip_prefix(" v"));
    let version = version.map(|version| format!(" {version}")).unwrap_or_default();
    Ok(Build {
        name: format!("{}{version}", program.folder),
        features: program.told,
        bytes,
        crates: names.len().saturating_sub(1),
        wall,
        cpu,
    })
}

/// A target folder of its own, which is gone afterwards, on the disk on which all is built.
fn scratch(root: &Path) -> anyhow::Result<tempfile::TempDir> {
    let above: PathBuf = root.join("target");
    fs::create_dir_all(&above)?;
    tempfile::Builder::new().prefix("builds-").tempdir_in(&above).with_context(|| above.display().to_string())
}

/// Cargo's standard output. What it says on standard error is shown if it fails.
fn output(arguments: &[&str]) -> anyhow::Result<String> {
    let mut command: Command = cargo::command();
    for name in NOT_OURS {
        command.env_remove(name);
    }
    // Only that: the rest of the profile is Cargo's own.
    command.env("CARGO_PROFILE_RELEASE_STRIP", "symbols").args(arguments).stdin(Stdio::null());
    eprintln!("$ cargo {}", arguments.join(" "));
    let output = command.output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("`cargo {}`: {}: {}", arguments.join(" "), output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The packages that `cargo tree` names, each once.
fn crates(tree: &str) -> BTreeSet<&str> {
    tree.lines().map(|line| line.trim_end_matches(" (*)").trim()).filter(|line| !line.is_empty()).collect()
}

/// CPU time of the programs that this one has started and waited for, and theirs.
fn cpu_of_children() -> Option<Duration> {
    of_children(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// `cutime` and `cstime` of proc(5), in hundredths of a second. The program's name before them may have anything in it.
fn of_children(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(13);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_package_of_a_tree_counts_once() {
        let tree = "with-lgtm v0.0.0 (/x)\ntracing v0.1.44\nsyn v2.0.1\ntracing v0.1.44 (*)\n\nsyn v3.0.1\n";
        assert_eq!(crates(tree).len(), 4);
    }

    #[test]
    fn the_time_of_children_stands_behind_a_name_with_brackets() {
        let stat = "7 (a) (b) S 1 7 7 0 -1 4194304 1 2 3 4 50 60 150 25 20 0 1 0 9";
        assert_eq!(of_children(stat), Some(Duration::from_millis(1_750)));
        assert_eq!(of_children("7 (a) S 1"), None);
    }

    #[test]
    fn every_program_has_its_folder_and_the_features_that_it_is_built_with() {
        for program in PROGRAMS {
            let folder = cargo::workspace_root().join("benches").join("builds").join(program.folder);
            let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
            assert!(manifest.contains(&format!("name = \"with-{}\"", program.folder)));
            for feature in program.features.split(',') {
                assert!(manifest.lines().any(|line| line.starts_with(&format!("{feature} = ["))), "{feature}");
            }
        }
    }
}
