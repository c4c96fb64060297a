//! Programs as child processes: started, watched, ended by SIGTERM and at the latest by SIGKILL, always reaped. One task a child
//! and stream reads what it writes; only the last lines are kept.

use std::collections::VecDeque;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

/// How many of its last lines on standard error a child is remembered by.
const KEPT_LINES: usize = 12;
/// Longer lines are cut, in bytes.
const MAX_LINE_BYTES: u64 = 16 * 1024;
/// How long the pipes of an ended child may take to end too: a grandchild may hold them.
const PIPE_DEADLINE: Duration = Duration::from_secs(2);

/// The last lines of a stream.
#[derive(Clone, Default)]
struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// A running child. Dropping it kills it.
pub(super) struct Program {
    name: String,
    child: Child,
    errors: Tail,
    /// The newest line on standard output.
    said: watch::Receiver<String>,
    readers: Vec<JoinHandle<()>>,
}

/// A child that has ended.
pub(super) struct Ended {
    pub(super) name: String,
    pub(super) status: ExitStatus,
    /// Whether it had to be killed.
    pub(super) killed: bool,
    /// Its last lines on standard error, oldest first.
    pub(super) last_lines: Vec<String>,
}

impl Program {
    /// Starts `command` without input, in a process group of its own: Ctrl-C on the terminal is for this process, which ends its
    /// children in order.
    ///
    /// # Errors
    /// If the system cannot start it.
    pub(super) fn start(name: &str, mut command: Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let errors = Tail::default();
        let (saying, said) = watch::channel(String::new());
        let mut readers = Vec::new();
        if let Some(stream) = child.stdout.take() {
            readers.push(tokio::spawn(each_line(stream, move |line| {
                saying.send_replace(line);
            })));
        }
        if let Some(stream) = child.stderr.take() {
            let errors = errors.clone();
            readers.push(tokio::spawn(each_line(stream, move |line| errors.push(line))));
        }
        Ok(Self { name: name.to_owned(), child, errors, said, readers })
    }

    /// Waits for a line on standard output that begins with `beginning`, and gives the rest of it.
    ///
    /// # Errors
    /// If the child ends before, or does not say it by the deadline; with its last lines on standard error.
    pub(super) async fn says(&mut self, beginning: &str, deadline: Duration) -> anyhow::Result<String> {
        let mut said = self.said.clone();
        let heard = tokio::select! {
            heard = timeout(deadline, said.wait_for(|line| line.starts_with(beginning))) => heard,
            died = self.died() => return Err(died),
        };
        match heard {
            Ok(Ok(line)) => Ok(line[beginning.len()..].trim().to_owned()),
            // Standard output is closed: it has died or is about to.
            Ok(Err(_)) => match timeout(PIPE_DEADLINE, self.died()).await {
                Ok(died) => Err(died),
                Err(_) => bail!("{} closed its output before it said `{beginning}…`", self.name),
            },
            Err(_) => Err(self.with_last_lines(format!("{} did not say `{beginning}…` in {deadline:?}", self.name))),
        }
    }

    /// Waits until the child ends by itself, and gives that as an error with its last lines on standard error.
    pub(super) async fn died(&mut self) -> anyhow::Error {
        let status = self.child.wait().await;
        self.read_to_the_end().await;
        match status {
            Ok(status) => self.with_last_lines(format!("{} ended early: {status}", self.name)),
            Err(error) => anyhow!(error).context(format!("{} cannot be watched", self.name)),
        }
    }

    fn with_last_lines(&self, what: String) -> anyhow::Error {
        let lines = self.errors.lines();
        if lines.is_empty() {
            return anyhow!("{what}; it wrote nothing on standard error");
        }
        anyhow!("{what}; its last lines on standard error:\n  {}", lines.join("\n  "))
    }

    /// Ends the child: by SIGTERM, and if it has not ended by the deadline, by SIGKILL. It is reaped in any case.
    ///
    /// # Errors
    /// If the system cannot wait for it.
    pub(super) async fn stop(mut self, deadline: Instant) -> anyhow::Result<Ended> {
        self.ask_to_end();
        let (status, killed) = match timeout_at(deadline, self.child.wait()).await {
            Ok(status) => (status, false),
            Err(_) => {
                // Fails only if it has just ended, which the wait tells.
                let _ = self.child.start_kill();
                (self.child.wait().await, true)
            }
        };
        self.read_to_the_end().await;
        let status = status.with_context(|| format!("cannot wait for {}", self.name))?;
        Ok(Ended { name: self.name, status, killed, last_lines: self.errors.lines() })
    }

    /// SIGTERM, unless it has ended.
    fn ask_to_end(&mut self) {
        #[cfg(unix)]
        if let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok())
            && let Some(process) = rustix::process::Pid::from_raw(id)
        {
            // Not reaped yet, so the number is still the child's. It fails only where it has ended, which the wait tells.
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        }
        #[cfg(not(unix))]
        let _ = self.child.start_kill();
    }

    async fn read_to_the_end(&mut self) {
        for reader in self.readers.drain(..) {
            let abort = reader.abort_handle();
            if timeout(PIPE_DEADLINE, reader).await.is_err() {
                abort.abort();
            }
        }
    }
}

/// Calls `take` with every line, cut at the limit, until the stream ends.
async fn each_line(stream: impl AsyncRead + Unpin, mut take: impl FnMut(String)) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut stream).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await {
            // A pipe that fails is as good as ended.
            Ok(0) | Err(_) => return,
            Ok(_) => take(String::from_utf8_lossy(&line).trim_end().to_owned()),
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    fn shell(script: &str) -> Program {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Program::start("script", command).unwrap()
    }

    #[tokio::test]
    async fn a_child_that_dies_is_reported_with_its_last_lines() {
        let mut program = shell("echo one >&2; echo two >&2; exit 3");
        let error = program.says("listening on ", LONG).await.unwrap_err().to_string();
        assert!(error.contains("script ended early: exit status: 3"), "{error}");
        assert!(error.ends_with("one\n  two"), "{error}");
    }

    #[tokio::test]
    async fn a_child_that_obeys_ends_in_order() {
        let mut program =
            shell("trap 'echo last words >&2; exit 0' TERM; echo ready now; while :; do sleep 0.05; done");
        assert_eq!(program.says("ready ", LONG).await.unwrap(), "now");
        let ended = program.stop(Instant::now() + LONG).await.unwrap();
        assert!(ended.status.success() && !ended.killed);
        assert_eq!(ended.last_lines, ["last words"]);
    }

    #[tokio::test]
    async fn a_child_that_does_not_obey_is_killed() {
        let mut program = shell("trap '' TERM; echo ready now; while :; do sleep 0.05; done");
        program.says("ready ", LONG).await.unwrap();
        let ended = program.stop(Instant::now() + Duration::from_millis(200)).await.unwrap();
        assert!(ended.killed && !ended.status.success());
    }

    #[tokio::test]
    async fn only_the_last_lines_are_kept() {
        let mut program =
            shell("i=0; while [ $i -lt 100 ]; do echo $i >&2; i=$((i+1)); done; echo ready now; sleep 60");
        program.says("ready ", LONG).await.unwrap();
        let ended = program.stop(Instant::now() + LONG).await.unwrap();
        assert_eq!(ended.last_lines.len(), KEPT_LINES);
        assert_eq!(ended.last_lines.last().unwrap(), "99");
    }
}
