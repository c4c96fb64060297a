//! `cargo xtask soak`: a program with lgtm in it, under a steady load, against backends that are up, slow, wrong and down in turn; and
//! whether it kept its promises: every item accounted for, memory and file descriptors flat.
//!
//! ```text
//! schedule.rs ─┬─▶ faults.rs: what is answered ─▶ the receiving server ◀── program.rs: a child process
//!              └─▶ ports that close and open                                 │ each second what lgtm reports
//!                                                 judge.rs ◀── sample.rs ◀───┘ and what /proc says
//!                                                 report.rs
//! ```

mod faults;
mod judge;
pub(crate) mod program;
mod report;
mod sample;
mod schedule;

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::Instant;

use crate::receiver::{Backend, Plan, Receiver};
use judge::Finding;
use program::Said;
use sample::{Process, Sample, folder_bytes};
use schedule::{Slot, State};

/// The longest run.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// A program that says nothing for so long hangs. It says something each second; its shutdown may take ten.
const SILENCE: Duration = Duration::from_secs(60);
/// Rows of the table while it runs.
const ROW_EVERY: Duration = Duration::from_secs(15);

/// What `soak` does.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How long, as 20s or 10m.
    #[arg(long = "for", default_value = "10m", value_name = "DURATION", value_parser = length)]
    length: Duration,
    /// Events in a second; for each five of them there are three spans.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(5..=100_000))]
    rate: u64,
    /// Number of the schedule; the same number gives the same one. Defaults to one that is drawn, and shown.
    #[arg(long)]
    seed: Option<u64>,
    /// Without the disk spool.
    #[arg(long)]
    no_spool: bool,
    /// Prints one JSON document on standard output, with every sample; progress goes to standard error.
    #[arg(long)]
    json: bool,
    /// Writes the outcome to docs/measurements.
    #[arg(long)]
    write: bool,
}

fn length(text: &str) -> Result<Duration, String> {
    let length = humantime::parse_duration(text).map_err(|error| format!("{error}; accepted: 20s, 10m"))?;
    let accepted = Duration::from_secs(10)..=LONGEST;
    if accepted.contains(&length) { Ok(length) } else { Err("accepted: from 10s to 24h".to_owned()) }
}

/// A run that has ended.
struct Outcome {
    options: Options,
    seed: u64,
    /// The first one is of the idle program.
    samples: Vec<Sample>,
    findings: Vec<Finding>,
    /// What the program wrote to standard error, its last lines.
    last_words: Vec<String>,
}

impl Outcome {
    fn is_well(&self) -> bool {
        self.findings.iter().all(|finding| finding.problem.is_none())
    }
}

/// # Errors
/// If the run cannot be made. A promise that is not kept is no error but an exit code.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let seed = options.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no tokio runtime")?;
    let outcome = runtime.block_on(soak(options, seed))?;
    if options.json {
        outputln!("{}", report::json(&outcome)?);
    } else {
        output!("{}", report::text(&outcome));
    }
    if options.write {
        report::write(&outcome)?;
    }
    Ok(if outcome.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How the backends are now.
#[derive(Clone)]
struct Now(Arc<Mutex<[State; 3]>>);

impl Now {
    fn states(&self) -> [State; 3] {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, states: [State; 3]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = states;
    }
}

async fn soak(options: &Options, seed: u64) -> anyhow::Result<Outcome> {
    let now = Now(Arc::new(Mutex::new([State::Up; 3])));
    let mut receiver = Receiver::start(plan(now.clone(), seed)).await?;
    let scratch = tempfile::tempdir().context("no scratch folder")?;
    let spool = (!options.no_spool).then(|| scratch.path().join("spool"));
    let errors = scratch.path().join("stderr");
    let mut program = Running::start(options, &receiver, spool.as_deref(), &errors)?;
    let slots = schedule::schedule(options.length, seed);
    eprintln!(
        "{} events/s for {} against backends on schedule {seed} of {} slots (up, slow, wrong, down); {}",
        options.rate,
        humantime::format_duration(options.length),
        slots.len(),
        if options.no_spool { "without a spool" } else { "with a spool" }
    );
    let samples = watch(&mut program, &mut receiver, &now, &slots, spool.as_deref()).await;
    let samples = match samples {
        Ok(samples) => samples,
        Err(error) => bail!("{error:#}; its last words:\n  {}", last_lines(&errors).join("\n  ")),
    };
    let status = tokio::time::timeout(SILENCE, program.child.wait()).await.context("the program does not end")??;
    if !status.success() {
        bail!("the program ended with {status}; its last words:\n  {}", last_lines(&errors).join("\n  "));
    }
    let tallies = Backend::ALL.map(|backend| receiver.tally(backend));
    let findings = judge::judge(&samples, &tallies, spool.is_some());
    let last_words = last_lines(&errors);
    Ok(Outcome { options: options.clone(), seed, samples, findings, last_words })
}

fn plan(now: Now, seed: u64) -> Plan {
    let random = Mutex::new(StdRng::seed_from_u64(!seed));
    Arc::new(move |backend, items, _| {
        let [loki, tempo, mimir] = now.states();
        let state = match backend {
            Backend::Loki => loki,
            Backend::Tempo => tempo,
            Backend::Mimir => mimir,
        };
        faults::answer(backend, state, items.len(), &mut random.lock().unwrap_or_else(PoisonError::into_inner))
    })
}

/// The child process.
struct Running {
    child: Child,
    id: u32,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(options: &Options, receiver: &Receiver, spool: Option<&Path>, errors: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe().context("this program has no path")?);
        command
            .arg("soak-program")
            .args(["--loki", &receiver.url(Backend::Loki), "--otlp", &receiver.url(Backend::Tempo)])
            .args(["--mimir", &receiver.url(Backend::Mimir), "--rate", &options.rate.to_string()])
            .args(["--seconds", &options.length.as_secs_f64().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(errors)?)
            .kill_on_drop(true);
        if let Some(folder) = spool {
            command.arg("--spool").arg(folder);
        }
        let mut child = command.spawn().context("cannot start the program under test")?;
        let id = child.id().context("the program under test has ended at once")?;
        let input = child.stdin.take().context("the program under test has no input")?;
        let output = child.stdout.take().context("the program under test has no output")?;
        Ok(Self { child, id, input, lines: BufReader::new(output).lines() })
    }

    /// It may shut down.
    ///
    /// # Errors
    /// If it is gone.
    async fn go_on(&mut self) -> anyhow::Result<()> {
        self.input.write_all(b"\n").await.context("the program does not listen")
    }

    /// What it says next; nothing when it has said all.
    ///
    /// # Errors
    /// If it hangs, dies or says something else.
    async fn hear(&mut self) -> anyhow::Result<Said> {
        let line = tokio::time::timeout(SILENCE, self.lines.next_line()).await;
        let line = line.with_context(|| format!("the program has said nothing for {SILENCE:?}"))??;
        let line = line.context("the program has ended before its shutdown")?;
        serde_json::from_str(&line).with_context(|| format!("the program says `{line}`"))
    }
}

/// Takes a sample each time that the program says something, and changes the backends by the schedule.
async fn watch(
    program: &mut Running,
    receiver: &mut Receiver,
    now: &Now,
    slots: &[Slot],
    spool: Option<&Path>,
) -> anyhow::Result<Vec<Sample>> {
    let mut samples: Vec<Sample> = Vec::new();
    let (mut shown, mut slots) = (None, slots.iter());
    let mut change = None;
    loop {
        let until = async {
            match change {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let said = tokio::select! {
            said = program.hear() => said?,
            () = until => {
                change = next(&mut slots, receiver, now, change.unwrap_or_else(Instant::now)).await?;
                continue;
            }
        };
        let ended = said.shutdown_seconds.is_some();
        let process = if ended { None } else { Some(Process::read(program.id)?) };
        let last = samples.last();
        let sample = Sample {
            states: now.states(),
            // After the shutdown the process may be gone.
            resident_bytes: process
                .as_ref()
                .map_or_else(|| last.map_or(0, |last| last.resident_bytes), |of| of.resident_bytes),
            descriptors: process.as_ref().map_or_else(|| last.map_or(0, |last| last.descriptors), |of| of.descriptors),
            threads: process.as_ref().map_or_else(|| last.map_or(0, |last| last.threads), |of| of.threads),
            spool_bytes: spool.map_or(0, folder_bytes),
            answered: Backend::ALL.map(|backend| {
                let tally = receiver.tally(backend);
                tally.delivered + tally.doubtful
            }),
            said,
        };
        let is_first = samples.is_empty();
        if shown.is_none_or(|at: f64| sample.said.seconds >= at + ROW_EVERY.as_secs_f64()) || ended {
            eprint!("{}", report::row(&sample, is_first));
            shown = Some(sample.said.seconds);
        }
        if sample.said.waits {
            program.go_on().await?;
        }
        samples.push(sample);
        if is_first {
            // The load begins.
            change = next(&mut slots, receiver, now, Instant::now()).await?;
        }
        if ended {
            return Ok(samples);
        }
    }
}

/// The next slot, which begins at `at`; when the one after it does.
async fn next(
    slots: &mut std::slice::Iter<'_, Slot>,
    receiver: &mut Receiver,
    now: &Now,
    at: Instant,
) -> anyhow::Result<Option<Instant>> {
    let Some(slot) = slots.next() else {
        return Ok(None);
    };
    now.set(slot.states);
    for (backend, state) in Backend::ALL.into_iter().zip(slot.states) {
        receiver.set_up(backend, state != State::Down).await?;
    }
    Ok(Some(at + slot.length))
}

fn last_lines(path: &PathBuf) -> Vec<String> {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(12)).map(|line| (*line).to_owned()).collect()
}
