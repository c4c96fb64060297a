//! One program under load, from the package `lgtm-benches`: built by cargo, told by lines when to go on.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::Contender;
use crate::receiver::{Backend, Receiver};

/// How long a contender may take for anything but its load: the slowest shutdown ends after 30 s.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Deserialize)]
struct Idle {
    resident_bytes: u64,
}

/// What was made.
#[derive(Debug, Deserialize)]
pub(super) struct Made {
    pub(super) spans: u64,
    pub(super) events: u64,
    pub(super) seconds: f64,
    /// CPU time of the calling thread.
    pub(super) caller_seconds: f64,
}

/// How it ended.
#[derive(Debug, Deserialize)]
pub(super) struct Ended {
    pub(super) shutdown_seconds: f64,
    pub(super) peak_bytes: u64,
    pub(super) counted_events: Option<u64>,
    pub(super) counted_spans: Option<u64>,
    pub(super) said: String,
}

/// The running program. Dropping it kills it.
pub(super) struct Running {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// # Errors
    /// If the system cannot start it.
    pub(super) fn start(
        program: &PathBuf,
        contender: Contender,
        receiver: &Receiver,
        spans_per_second: u32,
        load: Duration,
        scratch: &Path,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command
            .arg(contender.word())
            .args(["--loki", &receiver.url(Backend::Loki), "--otlp", &receiver.url(Backend::Tempo)])
            .args(["--mimir", &receiver.url(Backend::Mimir), "--seconds", &load.as_secs_f64().to_string()])
            .args(["--spans-per-second", &spans_per_second.to_string()])
            .arg("--spool")
            .arg(scratch.join("spool"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let input = child.stdin.take().context("the program has no input")?;
        let output = child.stdout.take().context("the program has no output")?;
        Ok(Self { child, input, lines: BufReader::new(output).lines() })
    }

    /// Resident bytes before the load.
    ///
    /// # Errors
    /// If it does not say.
    pub(super) async fn idle(&mut self) -> anyhow::Result<u64> {
        Ok(self.hear::<Idle>("idle ", PATIENCE).await?.resident_bytes)
    }

    /// # Errors
    /// If it is gone.
    pub(super) async fn go_on(&mut self) -> anyhow::Result<()> {
        self.input.write_all(b"\n").await.context("the program does not listen")
    }

    /// What it has made, when it has made it.
    ///
    /// # Errors
    /// If it does not say.
    pub(super) async fn made(&mut self, load: Duration) -> anyhow::Result<Made> {
        self.hear("made ", load + PATIENCE).await
    }

    /// How it ended.
    ///
    /// # Errors
    /// If it does not say, or fails.
    pub(super) async fn ended(mut self) -> anyhow::Result<Ended> {
        let ended = self.hear("ended ", PATIENCE).await?;
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.context("it does not end")??;
        if !status.success() {
            bail!("it ended with {status}");
        }
        Ok(ended)
    }

    async fn hear<T: for<'a> Deserialize<'a>>(&mut self, beginning: &str, patience: Duration) -> anyhow::Result<T> {
        let line = tokio::time::timeout(patience, self.lines.next_line()).await;
        let line = line.with_context(|| format!("it has not said `{beginning}…` within {patience:?}"))??;
        let line = line.with_context(|| format!("it has ended before it said `{beginning}…`"))?;
        let rest = line.strip_prefix(beginning).with_context(|| format!("it says `{line}`, not `{beginning}…`"))?;
        Ok(serde_json::from_str(rest)?)
    }
}
