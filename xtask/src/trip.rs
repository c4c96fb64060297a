//! One log line, one span and one sample, written by lgtm itself in a process of its own and read back: what `stack status` and
//! `doctor` believe. The process is this program with the hidden command `write-one`, because telemetry belongs to a whole process
//! and its settings to the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail};
use lgtm::{Console, Profile, SignalKind};
use lgtm_query::{LogQuery, TimeRange, TraceId, Wait};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::servers::{Ingest, Readers};
use crate::shop;

/// The service that writes, so that what it leaves is told from all else.
pub(crate) const SERVICE: &str = "lgtm-check";
/// The histogram of the one sample; its exemplar links to the span.
const HISTOGRAM: &str = "lgtm_check_duration_seconds";
/// How long the writer may take altogether.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// How long its shutdown may take: long enough for one retry, too short for all of them.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(6);
/// Variables that would keep the one item from being written, or open a port that the program itself has.
const NOT_INHERITED: [&str; 8] = [
    "LGTM_METRICS_ADDR",
    "LGTM_PROFILE",
    "LGTM_SPAN_FILTER",
    "LGTM_CONSOLE",
    "LGTM_LOG_FORMAT",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "RUST_LOG",
];

/// What `write-one` is told.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// `service.instance.id`.
    #[arg(long)]
    id: String,
}

/// What `write-one` says on its output.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Written {
    trace_id: String,
    /// Delivered items by signal. A signal that is off is not in it.
    delivered: BTreeMap<String, u64>,
    /// Items that were lost, by signal.
    lost: BTreeMap<String, u64>,
    /// What became of each signal, in words.
    said: BTreeMap<String, String>,
}

/// The one write.
#[derive(Debug, Clone)]
pub(crate) struct Trip {
    id: String,
    trace_id: Option<TraceId>,
    written: Written,
    /// What lgtm complained about on standard error.
    complaints: Vec<String>,
    range: TimeRange,
}

const fn signal_name(kind: SignalKind) -> &'static str {
    match kind {
        SignalKind::Logs => "logs",
        SignalKind::Spans => "traces",
        SignalKind::Metrics => "metrics",
    }
}

/// The hidden command: writes one item of each signal with the environment's settings, and says what became of them.
///
/// # Errors
/// If the settings cannot work.
pub(crate) fn write_one(options: &Options) -> anyhow::Result<ExitCode> {
    let telemetry = lgtm::builder()
        .service_name(SERVICE)
        .resource_attribute("service.instance.id", options.id.clone())
        .profile(Profile::Development)
        .console(Console::Off)
        .shutdown_timeout(SHUTDOWN_TIMEOUT)
        .init()?;
    let trace_id = tracing::info_span!("check").in_scope(|| {
        tracing::info!(check = options.id, "a check of the way to Loki");
        metrics::histogram!(HISTOGRAM).record(0.042);
        lgtm::current_trace().map(|context| context.trace_id.to_string())
    });
    let report = telemetry.shutdown();
    let by_signal = || report.signals().iter().map(|signal| (signal_name(signal.signal).to_owned(), signal));
    let written = Written {
        trace_id: trace_id.unwrap_or_default(),
        delivered: by_signal().map(|(name, signal)| (name, signal.delivered)).collect(),
        lost: by_signal().map(|(name, signal)| (name, signal.lost())).collect(),
        said: by_signal().map(|(name, signal)| (name, signal.to_string())).collect(),
    };
    let mut output = std::io::stdout();
    writeln!(output, "{}", serde_json::to_string(&written)?).context("the outcome cannot be written")?;
    Ok(ExitCode::SUCCESS)
}

impl Trip {
    /// Writes with the settings of this environment, and those of `ingest` over them.
    ///
    /// # Errors
    /// If the settings cannot work, in lgtm's own words.
    pub(crate) async fn write(ingest: &Ingest) -> anyhow::Result<Self> {
        Self::run(ingest, NOT_INHERITED.map(OsString::from)).await
    }

    /// Writes with the settings of `ingest` alone.
    ///
    /// # Errors
    /// If the settings cannot work, in lgtm's own words.
    pub(crate) async fn write_alone(ingest: &Ingest) -> anyhow::Result<Self> {
        Self::run(ingest, shop::not_inherited()).await
    }

    async fn run(ingest: &Ingest, not_inherited: impl IntoIterator<Item = OsString>) -> anyhow::Result<Self> {
        let id = format!("check-{}", lgtm_core::TraceId::random());
        let mut command = Command::new(std::env::current_exe().context("this program does not know its own file")?);
        for inherited in not_inherited {
            command.env_remove(inherited);
        }
        let from = SystemTime::now();
        command
            .args(["write-one", "--id", &id])
            .envs(ingest.variables())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let output = tokio::time::timeout(WRITE_DEADLINE, command.output())
            .await
            .with_context(|| format!("the writing did not end in {WRITE_DEADLINE:?}"))??;
        let errors = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!("{}", errors.trim().trim_start_matches("error: "));
        }
        let written: Written = serde_json::from_slice(&output.stdout).context("write-one said something else")?;
        let complaints = errors.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
        let range = TimeRange::between(from, SystemTime::now()).widened(Duration::from_secs(60));
        Ok(Self { id, trace_id: written.trace_id.parse().ok(), written, complaints, range })
    }

    /// Whether the backend has taken what was written of a signal.
    ///
    /// # Errors
    /// If it has not, with lgtm's account of it; or if the signal is off.
    pub(crate) fn delivered(&self, signal: &str) -> anyhow::Result<String> {
        let Some(delivered) = self.written.delivered.get(signal) else { bail!("the signal is off") };
        let said = self.written.said.get(signal).map_or("", String::as_str);
        let lost = self.written.lost.get(signal).copied().unwrap_or_default();
        if *delivered == 0 || lost > 0 {
            let server = match signal {
                "logs" => "lgtm: loki ",
                "traces" => "lgtm: tempo ",
                _ => "lgtm: mimir ",
            };
            let complaints = self.complaints.iter().filter(|said| said.starts_with(server)).map(String::as_str);
            let complaints = complaints.collect::<Vec<_>>().join("; ");
            bail!("{said}{}{complaints}", if complaints.is_empty() { "" } else { ": " });
        }
        Ok(said.to_owned())
    }

    /// Finds the line; its trace is the one that was written.
    ///
    /// # Errors
    /// If it does not appear within `patience`, or has no such trace.
    pub(crate) async fn log_and_its_trace(&self, readers: &Readers, patience: Duration) -> anyhow::Result<String> {
        let query = LogQuery::new(format!(r#"{{service="{SERVICE}"}} |= "{}""#, self.id)).range(self.range);
        let data = Wait::up_to(patience)
            .until(|| readers.loki.query_range(&query), |data| !data.entries().is_empty())
            .await
            .context("the line is not found")?;
        let traces = data.values("trace_id");
        if !traces.contains(self.written.trace_id.as_str()) {
            bail!("the line is there, with the trace_id {traces:?} where {} was written", self.written.trace_id);
        }
        Ok(format!("the line was found, with its trace_id {}", self.written.trace_id))
    }

    /// Finds the trace by its id.
    ///
    /// # Errors
    /// If it does not appear within `patience`.
    pub(crate) async fn trace(&self, readers: &Readers, patience: Duration) -> anyhow::Result<String> {
        let id = self.trace_id.context("nothing was traced")?;
        let started = Instant::now();
        let found = Wait::up_to(patience).until(|| readers.tempo.trace(id), Option::is_some).await;
        found.context("the trace is not found")?;
        Ok(format!("the trace was found after {:.1} s", started.elapsed().as_secs_f64()))
    }

    /// Finds the lines of the trace.
    ///
    /// # Errors
    /// If none appears within `patience`.
    pub(crate) async fn logs_of_trace(&self, readers: &Readers, patience: Duration) -> anyhow::Result<String> {
        let query = format!(r#"{{service="{SERVICE}"}} | trace_id = "{}""#, self.written.trace_id);
        let query = LogQuery::new(query).range(self.range);
        let data = Wait::up_to(patience)
            .until(|| readers.loki.query_range(&query), |data| !data.entries().is_empty())
            .await
            .context("no line has the trace's id")?;
        Ok(format!("{} line with the trace's id", data.entries().len()))
    }

    /// Finds the sample.
    ///
    /// # Errors
    /// If it does not appear within `patience`.
    pub(crate) async fn sample(&self, readers: &Readers, patience: Duration) -> anyhow::Result<String> {
        let selector = format!(r#"{HISTOGRAM}_count{{instance="{}"}}"#, self.id);
        // Stale markers end the series with the process: it is asked for among those of the time, not for its value.
        let selectors = [selector.as_str()];
        Wait::up_to(patience)
            .until(|| readers.prometheus.series(&selectors, self.range), |series| !series.is_empty())
            .await
            .context("the sample is not found")?;
        Ok("the sample was found".to_owned())
    }

    /// Finds the exemplar; its trace is the one that was written.
    ///
    /// # Errors
    /// If it does not appear within `patience`, or has another trace.
    pub(crate) async fn exemplar(&self, readers: &Readers, patience: Duration) -> anyhow::Result<String> {
        let promql = format!(r#"{HISTOGRAM}_bucket{{instance="{}"}}"#, self.id);
        let query = || readers.prometheus.query_exemplars(&promql, self.range);
        let found = Wait::up_to(patience)
            .until(query, |series| series.iter().any(|series| !series.exemplars.is_empty()))
            .await
            .context("the histogram has no exemplar (Prometheus: --enable-feature=exemplar-storage; Mimir: max_global_exemplars_per_user)")?;
        let ids: Vec<_> = found.iter().flat_map(|series| &series.exemplars).filter_map(|one| one.trace_id()).collect();
        if !ids.iter().any(|id| Some(*id) == self.trace_id) {
            bail!("the exemplar has the trace {ids:?} where {} was written", self.written.trace_id);
        }
        Ok("the exemplar points to the trace".to_owned())
    }
}
