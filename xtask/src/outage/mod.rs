//! `cargo xtask outage`: the same load on lgtm and on its peers, one after the other, against a server that goes away and comes back;
//! and what each has lost, in one table.

mod contender;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;
use tokio::time::Instant;

use crate::bench;
use crate::receiver::{Answer, Backend, Plan, Receiver};
use contender::{Ended, Made, Running};

/// The load before the outage, at most.
const BEFORE: Duration = Duration::from_secs(10);
/// The load after it, at most.
const AFTER: Duration = Duration::from_secs(5);
/// Who has sent nothing for so long has nothing left: longer than the longest pause between two tries of any of them.
const QUIET: Duration = Duration::from_secs(40);
/// lgtm's memory budget and what a program may have beside it.
const MEMORY_BOUND: u64 = (64 + 16) * 1024 * 1024;

/// What `outage` does.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How long the backends are gone, as 2s or 60s.
    #[arg(long = "for", default_value = "60s", value_name = "DURATION", value_parser = length)]
    length: Duration,
    /// How long what is left may take, once they are back.
    #[arg(long, default_value = "60s", value_name = "DURATION", value_parser = length)]
    drain: Duration,
    /// Spans in a second; each has five events.
    #[arg(long, default_value_t = 2_000)]
    spans_per_second: u32,
    /// Who takes part.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Contender::ALL)]
    contenders: Vec<Contender>,
    /// Cargo's profile for them.
    #[arg(long, default_value = "side-by-side")]
    profile: String,
    /// Prints one JSON document on standard output; progress goes to standard error.
    #[arg(long)]
    json: bool,
    /// Writes the table to docs/measurements/outage.md.
    #[arg(long)]
    write: bool,
}

impl Options {
    /// A short one, of a program that is quick to build.
    pub(crate) fn smoke() -> Self {
        Self {
            length: Duration::from_secs(2),
            drain: Duration::from_secs(15),
            spans_per_second: 200,
            contenders: Contender::ALL.to_vec(),
            profile: "dev".to_owned(),
            json: false,
            write: false,
        }
    }
}

fn length(text: &str) -> Result<Duration, String> {
    let length = humantime::parse_duration(text).map_err(|error| format!("{error}; accepted: 2s, 60s"))?;
    let accepted = Duration::from_secs(1)..=Duration::from_secs(3600);
    if accepted.contains(&length) { Ok(length) } else { Err("accepted: from 1s to 1h".to_owned()) }
}

/// Who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Contender {
    Lgtm,
    LgtmSpool,
    TracingLoki,
    OpentelemetryOtlp,
    OpentelemetryOtlpLargeQueue,
}

impl Contender {
    const ALL: [Self; 5] =
        [Self::LgtmSpool, Self::Lgtm, Self::TracingLoki, Self::OpentelemetryOtlp, Self::OpentelemetryOtlpLargeQueue];

    const fn is_lgtm(self) -> bool {
        matches!(self, Self::Lgtm | Self::LgtmSpool)
    }

    /// The program's word for it.
    const fn word(self) -> &'static str {
        match self {
            Self::Lgtm => "lgtm",
            Self::LgtmSpool => "lgtm-spool",
            Self::TracingLoki => "tracing-loki",
            Self::OpentelemetryOtlp => "opentelemetry-otlp",
            Self::OpentelemetryOtlpLargeQueue => "opentelemetry-otlp-large-queue",
        }
    }
}

/// Items of one kind.
#[derive(Debug, Clone, Copy, Serialize)]
struct Fate {
    created: u64,
    received: u64,
    /// What the library says that it has lost.
    counted: Option<u64>,
}

impl Fate {
    const fn lost(&self) -> u64 {
        self.created.saturating_sub(self.received)
    }
}

/// One contender's run.
#[derive(Debug, Serialize)]
struct Outcome {
    contender: Contender,
    events: Fate,
    /// None where it sends no spans.
    spans: Option<Fate>,
    /// Items that came more than once.
    copies: u64,
    idle_bytes: u64,
    peak_bytes: u64,
    /// CPU time of the calling thread for one span with its five events, in nanoseconds.
    caller_nanoseconds: f64,
    /// How long the load took: longer than asked for if the rate could not be kept.
    load_seconds: f64,
    /// From the end of the outage to the last item.
    caught_up_seconds: f64,
    shutdown_seconds: f64,
    said: String,
    problems: Vec<String>,
}

/// # Errors
/// If a run cannot be made. A promise of lgtm that is not kept is no error but an exit code.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let program = bench::build("lgtm-benches", "load", &options.profile)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no tokio runtime")?;
    let mut outcomes = Vec::new();
    for contender in &options.contenders {
        let outcome = runtime.block_on(one(options, &program, *contender)).with_context(|| contender.word())?;
        eprintln!("{}: {}", contender.word(), outcome.said.replace('\n', "; "));
        outcomes.push(outcome);
    }
    if options.json {
        outputln!("{}", serde_json::to_string_pretty(&outcomes)?);
    } else {
        output!("{}", table::text(options, &outcomes));
    }
    if options.write {
        table::write(options, &outcomes)?;
    }
    let is_well = outcomes.iter().all(|outcome| outcome.problems.is_empty());
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn one(options: &Options, program: &PathBuf, contender: Contender) -> anyhow::Result<Outcome> {
    let plan: Plan = Arc::new(|backend, items, _| Answer::taken(backend, items.len()));
    let mut receiver = Receiver::start(plan).await?;
    let scratch = tempfile::tempdir().context("no scratch folder")?;
    let (before, after) = (BEFORE.min(options.length), AFTER.min(options.length));
    let load = before + options.length + after;
    let mut running = Running::start(program, contender, &receiver, options.spans_per_second, load, scratch.path())?;
    let idle = running.idle().await?;
    eprintln!("{}: {load:?} of load, {before:?} before the outage and {after:?} after it", contender.word());
    running.go_on().await?;
    tokio::time::sleep(before).await;
    for backend in Backend::ALL {
        receiver.set_up(backend, false).await?;
    }
    tokio::time::sleep(options.length).await;
    for backend in Backend::ALL {
        receiver.set_up(backend, true).await?;
    }
    let back = Instant::now();
    let made = running.made(load).await?;
    let caught_up = drained(&receiver, contender, &made, back, options.drain).await;
    running.go_on().await?;
    let ended = running.ended().await?;
    Ok(outcome(contender, &receiver, idle, &made, ended, caught_up))
}

/// Waits until everything is there, or nothing comes any more; when the last thing came, after the backends came back.
async fn drained(receiver: &Receiver, contender: Contender, made: &Made, back: Instant, longest: Duration) -> Duration {
    let deadline = Instant::now() + longest;
    let mut last = (received(receiver, contender), Instant::now());
    loop {
        let now = received(receiver, contender);
        if now != last.0 {
            last = (now, Instant::now());
        }
        let is_all = now.0 >= made.events && now.1.is_none_or(|spans| spans >= made.spans);
        if is_all || Instant::now() > deadline || last.1.elapsed() > QUIET {
            return last.1 - back;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Events, and spans if it sends them.
fn received(receiver: &Receiver, contender: Contender) -> (u64, Option<u64>) {
    let (lines, _) = receiver.numbered(Backend::Loki);
    let (spans, events) = receiver.numbered(Backend::Tempo);
    match contender {
        Contender::Lgtm | Contender::LgtmSpool => (lines, Some(spans)),
        Contender::TracingLoki => (lines, None),
        Contender::OpentelemetryOtlp | Contender::OpentelemetryOtlpLargeQueue => (events, Some(spans)),
    }
}

fn outcome(
    contender: Contender,
    receiver: &Receiver,
    idle_bytes: u64,
    made: &Made,
    ended: Ended,
    caught_up: Duration,
) -> Outcome {
    let (events, spans) = received(receiver, contender);
    let copies = [Backend::Loki, Backend::Tempo].iter().map(|backend| receiver.tally(*backend).copies()).sum();
    let mut outcome = Outcome {
        contender,
        events: Fate { created: made.events, received: events, counted: ended.counted_events },
        spans: spans.map(|spans| Fate { created: made.spans, received: spans, counted: ended.counted_spans }),
        copies,
        idle_bytes,
        peak_bytes: ended.peak_bytes,
        caller_nanoseconds: made.caller_seconds * 1e9 / made.spans.max(1) as f64,
        load_seconds: made.seconds,
        caught_up_seconds: caught_up.as_secs_f64(),
        shutdown_seconds: ended.shutdown_seconds,
        said: ended.said,
        problems: Backend::ALL.iter().flat_map(|backend| receiver.tally(*backend).problems).collect(),
    };
    if contender.is_lgtm() {
        let problems = broken(&outcome);
        outcome.problems.extend(problems);
    }
    outcome
}

/// Promises of lgtm that are not kept.
fn broken(outcome: &Outcome) -> Vec<String> {
    let mut problems = Vec::new();
    for (what, fate) in [("events", Some(outcome.events)), ("spans", outcome.spans)] {
        let Some(fate) = fate else { continue };
        if fate.counted != Some(fate.lost()) {
            problems.push(format!("{} {what} are lost, {:?} counted", fate.lost(), fate.counted));
        }
        if outcome.contender == Contender::LgtmSpool && fate.lost() > 0 {
            problems.push(format!("{} {what} are lost with a spool", fate.lost()));
        }
    }
    let above = outcome.peak_bytes.saturating_sub(outcome.idle_bytes);
    if above > MEMORY_BOUND {
        problems.push(format!("{above} bytes above the idle program, {MEMORY_BOUND} are promised"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(contender: Contender, received: u64, counted: u64, peak_bytes: u64) -> Outcome {
        let fate = Fate { created: 10, received, counted: Some(counted) };
        Outcome {
            contender,
            events: fate,
            spans: Some(fate),
            copies: 0,
            idle_bytes: 0,
            peak_bytes,
            caller_nanoseconds: 0.0,
            load_seconds: 0.0,
            caught_up_seconds: 0.0,
            shutdown_seconds: 0.0,
            said: String::new(),
            problems: Vec::new(),
        }
    }

    #[test]
    fn losses_that_are_not_counted_and_losses_with_a_spool_break_a_promise() {
        assert_eq!(broken(&outcome(Contender::Lgtm, 7, 3, 0)), [""; 0]);
        assert_eq!(broken(&outcome(Contender::Lgtm, 7, 2, 0)).len(), 2);
        assert_eq!(broken(&outcome(Contender::LgtmSpool, 10, 0, 0)), [""; 0]);
        assert_eq!(broken(&outcome(Contender::LgtmSpool, 7, 3, 0)).len(), 2);
        assert_eq!(broken(&outcome(Contender::LgtmSpool, 10, 0, MEMORY_BOUND + 1)).len(), 1);
    }
}
