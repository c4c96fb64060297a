//! The stack in a process of its own, so that its memory and its CPU time are known.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::Context as _;
use lgtm_devstack::{Devstack, Limits};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Addresses {
    pub(crate) loki: String,
    pub(crate) otlp_http: String,
    pub(crate) mimir: String,
    pub(crate) window: String,
}

/// What the store has now.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) lines: u64,
    pub(crate) spans: u64,
    pub(crate) samples: u64,
    pub(crate) series: u64,
    pub(crate) bytes: u64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) resident: u64,
    pub(crate) cpu_seconds: f64,
    /// Items of all signals.
    pub(crate) received: u64,
    pub(crate) held: Held,
}

/// Is the stack: says its addresses, and at each line on standard input what it has; ends where standard input ends.
pub(crate) fn serve(mebibytes: usize) -> anyhow::Result<()> {
    let bytes = mebibytes << 20;
    let limits =
        Limits { log_bytes: bytes, trace_bytes: bytes, metric_bytes: bytes, request_bytes: 0, ..Limits::default() };
    let stack = Devstack::builder().limits(limits).start_blocking()?;
    let addresses = Addresses {
        loki: stack.loki_url(),
        otlp_http: stack.otlp_http_url(),
        mimir: stack.mimir_url(),
        window: stack.window_url(),
    };
    println!("{}", serde_json::to_string(&addresses)?);
    for line in std::io::stdin().lines() {
        line?;
        let counts = stack.counts();
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let told = Told {
            resident: lgtm_benches::resident_bytes()?,
            cpu_seconds: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
            received: counts.logs.received + counts.spans.received + counts.samples.received,
            held: Held {
                lines: counts.logs.held,
                spans: counts.spans.held,
                samples: counts.samples.held,
                series: counts.series,
                bytes: counts.logs.held_bytes + counts.spans.held_bytes + counts.samples.held_bytes,
            },
        };
        println!("{}", serde_json::to_string(&told)?);
    }
    Ok(())
}

/// The process. Dropping it ends it.
pub(crate) struct Stack {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pub(crate) addresses: Addresses,
}

impl Stack {
    pub(crate) fn start(mebibytes: usize) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--serve", "--mebibytes", &mebibytes.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().context("the stack has no input")?;
        let mut output = BufReader::new(child.stdout.take().context("the stack has no output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let addresses = serde_json::from_str(&line).with_context(|| format!("the stack says `{line}`"))?;
        Ok(Self { child, input, output, addresses })
    }

    pub(crate) fn tell(&mut self) -> anyhow::Result<Told> {
        self.input.write_all(b"\n")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("the stack says `{line}`"))
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
