//! The programs of the package `lgtm-benches`: built by cargo, one process for each measurement, with a backend of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};
use cargo_metadata::Message;
use serde::Deserialize;

use super::plan::{Line, Pace};
use crate::cargo;

/// A port on which nothing listens.
const NOBODY: &str = "http://127.0.0.1:9";

/// Builds one program of the package and gives its path.
///
/// # Errors
/// If cargo fails; it has said why on standard error.
pub(crate) fn build(package: &str, program: &str, profile: &str) -> anyhow::Result<PathBuf> {
    let arguments = ["build", "--package", package, "--bin", program, "--profile", profile];
    let messages = cargo::output(&[&arguments[..], &["--message-format", "json-render-diagnostics"]].concat())?;
    let executable =
        Message::parse_stream(messages.as_bytes()).filter_map(Result::ok).find_map(|message| match message {
            Message::CompilerArtifact(artifact) if artifact.target.name == program => artifact.executable,
            _ => None,
        });
    executable.map(PathBuf::from).with_context(|| format!("cargo has built {program}, but names no executable of it"))
}

/// What a measured program says at its end.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Outcome {
    pub(super) made: u64,
    pub(super) caller_ns: f64,
    pub(super) others_ns: f64,
    pub(super) allocations: Option<f64>,
    pub(super) start_seconds: f64,
    pub(super) flush_seconds: Option<f64>,
    pub(super) load_seconds: f64,
    pub(super) shutdown_seconds: f64,
    pub(super) resident_bytes: u64,
    pub(super) peak_bytes: u64,
    pub(super) wake_ups_per_second: Option<f64>,
}

/// What its backend says.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct Received {
    pub(super) lines: u64,
    pub(super) line_bytes: u64,
    pub(super) spans: u64,
    pub(super) span_bytes: u64,
    pub(super) series: u64,
    pub(super) series_requests: u64,
    pub(super) series_bytes: u64,
    pub(super) unreadable: u64,
}

/// Both.
#[derive(Debug, Clone, Default)]
pub(super) struct Run {
    pub(super) outcome: Outcome,
    pub(super) received: Received,
}

/// The backend; dropping it ends it.
struct Backend {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    url: String,
}

impl Backend {
    fn start(program: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let input = child.stdin.take().context("the backend has no input")?;
        let mut output = BufReader::new(child.stdout.take().context("the backend has no output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let url = line.trim().strip_prefix("listening ").context("the backend does not listen")?.to_owned();
        Ok(Self { child, input, output, url })
    }

    fn received(&mut self) -> anyhow::Result<Received> {
        self.input.write_all(b"\n")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let received: Received = serde_json::from_str(&line).with_context(|| format!("the backend says `{line}`"))?;
        if received.unreadable > 0 {
            bail!("the backend cannot read {} requests", received.unreadable);
        }
        Ok(received)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The programs.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    pub(super) backend: PathBuf,
    pub(super) cost: PathBuf,
}

impl Programs {
    /// Measures a line at this pace.
    ///
    /// # Errors
    /// If a program does not start, fails, or says something else.
    pub(super) fn run(&self, line: &Line, pace: Pace, more: &[&str]) -> anyhow::Result<Run> {
        self.run_under(&[], line, pace, more)
    }

    /// The same under a program that takes it as its arguments.
    ///
    /// # Errors
    /// As [`Programs::run`].
    pub(super) fn run_under(&self, above: &[&str], line: &Line, pace: Pace, more: &[&str]) -> anyhow::Result<Run> {
        let mut backend = Backend::start(&self.backend)?;
        let mut command = match above.split_first() {
            None => Command::new(&self.cost),
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(&self.cost);
                command
            }
        };
        command
            .args([line.contender, line.operation, "--backend", if line.is_alone { NOBODY } else { &backend.url }])
            .args([
                "--iterations",
                &pace.iterations.to_string(),
                "--warm-up",
                &pace.warm_up.to_string(),
                "--burst",
                &pace.burst.to_string(),
            ])
            .args(["--pause", &pace.pause_ms.to_string(), "--threads", &line.threads.to_string()])
            .args(["--size", &line.size.to_string()])
            .args(more)
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        let output = command.output().with_context(|| format!("cannot start {}", self.cost.display()))?;
        let errors = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!("{} at {}: {}: {}", line.contender, line.operation, output.status, errors.trim());
        }
        let said = String::from_utf8_lossy(&output.stdout);
        let last = said.lines().next_back().unwrap_or_default();
        let outcome = serde_json::from_str(last).with_context(|| format!("{} says `{said}`", line.contender))?;
        Ok(Run { outcome, received: backend.received()? })
    }
}
