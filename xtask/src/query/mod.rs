//! `cargo xtask query`: LogQL, TraceQL and PromQL on a terminal, and as lines of JSON for programs.
//!
//! ```text
//! logs ── logs.rs ─────────────┐
//! tail ── tail.rs ── logs.rs ──┤
//! traces ── traces.rs ── waterfall.rs (one trace) ──┤── screen.rs ── standard output
//! metrics, and numbers of the others ── numbers.rs ── chart.rs ──┘
//! moment.rs: --since, --until, the step            problem.rs: errors
//! ```
//!
//! Answers go to standard output, all else to standard error. An output that is gone (`| head`) ends it quietly.

pub(crate) mod chart;
mod logs;
mod moment;
mod numbers;
mod problem;
mod screen;
mod tail;
#[cfg(test)]
mod tests;
mod traces;
mod waterfall;

use std::io::ErrorKind;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use lgtm_query::{LogQuery, Loki, MetricData, Prometheus, TimeRange};

use crate::servers::{Readers, ServerOptions};
use moment::Moment;
use numbers::Numbers;
use problem::{Server, explain};
use screen::{Color, Screen, Zone};

/// What is left of the width of the screen beside a chart.
const BESIDE_CHART: usize = 14;
/// The exit code of `--fail-empty`: not 1, which is any failure, nor 2, which is a wrong command line.
const EMPTY: u8 = 3;

/// What `query` asks.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum What {
    /// Asks Loki: log entries, or numbers made of them, by LogQL.
    Logs(Logs),
    /// Asks Tempo: a trace by its id, or what TraceQL finds; numbers made of spans as charts.
    Traces(Traces),
    /// Asks Prometheus or Mimir by PromQL: a table of now, or with --since charts over time.
    Metrics(Metrics),
    /// Follows log entries as they arrive, until Ctrl-C.
    Tail(TailOptions),
}

/// What all queries have.
#[derive(Debug, Clone, clap::Args)]
struct Common {
    /// Prints each entry, trace, span or series as one line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    look: Look,
    /// Exits with 3 if nothing is found. Otherwise that is a remark on standard error, and 0.
    #[arg(long)]
    fail_empty: bool,
    #[command(flatten)]
    servers: ServerOptions,
}

/// How answers look.
#[derive(Debug, Clone, clap::Args)]
struct Look {
    /// When there are colours.
    #[arg(long, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    color: Color,
    /// Times in UTC instead of the local zone.
    #[arg(long)]
    utc: bool,
    /// Columns. Defaults to the terminal's, else 100.
    #[arg(long, value_name = "COLUMNS")]
    width: Option<usize>,
}

/// `query logs`.
#[derive(Debug, Clone, clap::Args)]
struct Logs {
    // As text: brackets in a comment would be links.
    #[arg(
        value_name = "LOGQL",
        help = r#"LogQL, such as '{service="storefront"} |= "error"' or 'sum by (level) (count_over_time({service="storefront"}[1m]))'"#
    )]
    query: String,
    /// The beginning of the time to look at: so long ago (15m), or a time (2026-01-31T12:00:00Z).
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = Moment::parse)]
    since: Moment,
    /// The end of the time to look at. Defaults to now.
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    until: Option<Moment>,
    /// At most so many entries, or series of numbers.
    #[arg(long, default_value_t = 100, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// The order of entries, and which of them --limit keeps.
    #[arg(long, value_enum, default_value_t = Direction::Backward)]
    direction: Direction,
    /// Numbers of now instead of a chart; only for queries that give numbers.
    #[arg(long)]
    instant: bool,
    /// The distance between points of a chart. Defaults to what fits the screen.
    #[arg(long, value_name = "DURATION", value_parser = positive, conflicts_with = "instant")]
    step: Option<Duration>,
    /// Shows also what is rarely read: where in the code, which process, which span.
    #[arg(long)]
    all_fields: bool,
    #[command(flatten)]
    common: Common,
}

/// The order of log entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Direction {
    /// Newest first.
    Backward,
    /// Oldest first.
    Forward,
}

impl From<Direction> for lgtm_query::Direction {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Backward => Self::Backward,
            Direction::Forward => Self::Forward,
        }
    }
}

/// `query traces`.
#[derive(Debug, Clone, clap::Args)]
struct Traces {
    /// TraceQL, such as '{ duration > 500ms }' or '{ status = error } | rate() by (resource.service.name)'; or a trace's id,
    /// which shows it whole.
    #[arg(value_name = "TRACEQL|ID")]
    query: String,
    /// The beginning of the time to look at: so long ago (15m), or a time (2026-01-31T12:00:00Z).
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = Moment::parse)]
    since: Moment,
    /// The end of the time to look at. Defaults to now.
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    until: Option<Moment>,
    /// At most so many traces, or series of numbers.
    #[arg(long, default_value_t = 20, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
    /// Shows each found trace whole.
    #[arg(long)]
    tree: bool,
    /// One number for each series over the whole time instead of a chart; only for queries that give numbers.
    #[arg(long)]
    instant: bool,
    /// The distance between points of a chart. Defaults to what fits the screen.
    #[arg(long, value_name = "DURATION", value_parser = positive, conflicts_with = "instant")]
    step: Option<Duration>,
    #[command(flatten)]
    common: Common,
}

/// `query metrics`.
#[derive(Debug, Clone, clap::Args)]
struct Metrics {
    #[arg(value_name = "PROMQL", help = "PromQL, such as 'sum by (path) (rate(http_requests_total[5m]))'")]
    query: String,
    /// Charts from this time on: so long ago (15m), or a time (2026-01-31T12:00:00Z). Without it a table of now, or of --until.
    #[arg(long, visible_alias = "range", value_name = "TIME", value_parser = Moment::parse)]
    since: Option<Moment>,
    /// The end of the time to look at. Defaults to now.
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    until: Option<Moment>,
    /// At most so many series are shown.
    #[arg(long, default_value_t = 20, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
    /// The distance between points of a chart. Defaults to what fits the screen.
    #[arg(long, value_name = "DURATION", value_parser = positive, requires = "since")]
    step: Option<Duration>,
    #[command(flatten)]
    common: Common,
}

/// `query tail`.
#[derive(Debug, Clone, clap::Args)]
struct TailOptions {
    /// A LogQL log query, such as '{service="storefront", level="error"}'.
    #[arg(value_name = "LOGQL")]
    query: String,
    /// How far before now it begins, as 5m.
    #[arg(long, default_value = "0s", value_name = "DURATION", value_parser = humantime::parse_duration)]
    since: Duration,
    /// Ends after so many entries.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Ends after this time, as 10s. Defaults to Ctrl-C.
    #[arg(long = "for", value_name = "DURATION", value_parser = positive)]
    length: Option<Duration>,
    /// Shows also what is rarely read: where in the code, which process, which span.
    #[arg(long)]
    all_fields: bool,
    #[command(flatten)]
    common: Common,
}

fn positive(text: &str) -> Result<Duration, String> {
    let form = "accepted: 500ms, 15s, 1m";
    let length = humantime::parse_duration(text).map_err(|error| format!("{error}; {form}"))?;
    if length.is_zero() { Err(form.to_owned()) } else { Ok(length) }
}

/// The time that is asked about.
#[derive(Debug, Clone, Copy)]
struct Asked {
    range: TimeRange,
    step: Duration,
}

impl Asked {
    fn new(since: Moment, until: Option<Moment>, step: Option<Duration>, width: usize) -> anyhow::Result<Self> {
        let range = moment::range(since, until)?;
        let step = step.unwrap_or_else(|| moment::step(range, width.saturating_sub(BESIDE_CHART)));
        Ok(Self { range, step })
    }
}

/// How a query ended, if without an error.
#[derive(Debug)]
enum Outcome {
    Found,
    /// Nothing, and what to say of it.
    Empty(String),
    /// Nothing, and all is said.
    Quiet,
}

impl Outcome {
    fn empty(what: String, hint: String) -> Self {
        Self::Empty(format!("{what}\n  hint: {hint}"))
    }

    fn nothing_in(range: TimeRange, hint: String) -> Self {
        let length = humantime::format_duration(Duration::from_secs(range.duration().as_secs()));
        Self::empty(format!("nothing is found in {length}"), hint)
    }
}

/// # Errors
/// If a server does not answer or refuses the query.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let common = match &options.what {
        What::Logs(logs) => &logs.common,
        What::Traces(traces) => &traces.common,
        What::Metrics(metrics) => &metrics.common,
        What::Tail(tail) => &tail.common,
    };
    let zone = if common.look.utc { Zone::Utc } else { Zone::Local };
    let mut screen = Screen::standard(common.look.color, common.look.width, zone);
    let readers = common.servers.servers()?.readers()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no tokio runtime")?;
    let outcome = runtime.block_on(ask(options, &readers, &mut screen));
    match outcome {
        Ok(Outcome::Found) => Ok(ExitCode::SUCCESS),
        Ok(empty) => {
            if let Outcome::Empty(words) = &empty {
                eprintln!("{words}");
            }
            Ok(if common.fail_empty { ExitCode::from(EMPTY) } else { ExitCode::SUCCESS })
        }
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error),
    }
}

async fn ask(options: &Options, readers: &Readers, screen: &mut Screen<'_>) -> anyhow::Result<Outcome> {
    match &options.what {
        What::Logs(options) => query_logs(options, &readers.loki, screen).await,
        What::Traces(options) => traces::run(options, &readers.tempo, screen).await,
        What::Metrics(options) => query_metrics(options, &readers.prometheus, screen).await,
        What::Tail(options) => tail::run(options, &readers.loki, screen).await,
    }
}

/// Whether whoever reads the output has had enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

async fn query_logs(options: &Logs, loki: &Loki, screen: &mut Screen<'_>) -> anyhow::Result<Outcome> {
    let explained = |error| explain(Server::Loki, loki.client(), &options.query, &error);
    let asked = Asked::new(options.since, options.until, options.step, screen.width)?;
    let data = if options.instant {
        loki.query(&options.query, Some(asked.range.end_unix_nanos)).await
    } else {
        let query = LogQuery::new(&options.query).range(asked.range).step(asked.step);
        loki.query_range(&query.limit(options.limit).direction(options.direction.into())).await
    };
    let data = data.map_err(explained)?;
    if let Some(numbers) = Numbers::of_logs(&data) {
        if numbers.is_empty() {
            return Ok(nothing_in_loki(loki, asked.range).await);
        }
        let limit = usize::try_from(options.limit)?;
        if options.common.json {
            show_json_numbers(screen, &serde_json::to_value(&data)?)?;
        } else {
            numbers.show(screen, asked.range, asked.step, limit)?;
        }
        return Ok(Outcome::Found);
    }
    let entries = logs::in_order(&data, options.direction.into());
    if entries.is_empty() {
        return Ok(nothing_in_loki(loki, asked.range).await);
    }
    if options.common.json {
        entries.iter().try_for_each(|(stream, entry)| logs::show_json(screen, stream, entry))?;
    } else {
        let common = logs::common_labels(&entries);
        logs::show_common(screen, &common)?;
        entries
            .iter()
            .try_for_each(|(stream, entry)| logs::show(screen, stream, entry, &common, options.all_fields))?;
    }
    if entries.len() == usize::try_from(options.limit)? {
        let (end, order) = match options.direction {
            Direction::Backward => ("newest", "older"),
            Direction::Forward => ("oldest", "newer"),
        };
        eprintln!("the {} {end} entries; --limit and --until show {order} ones", options.limit);
    }
    Ok(Outcome::Found)
}

/// Names the services that have logs, so that a mistyped one is seen.
async fn nothing_in_loki(loki: &Loki, range: TimeRange) -> Outcome {
    let hint = match loki.label_values("service_name", range).await {
        Ok(services) if services.is_empty() => {
            "no service has logged anything in this time; --since asks for more time, `cargo xtask loadgen` makes logs"
                .to_owned()
        }
        Ok(services) => format!("services with logs in this time: {}; --since asks for more time", services.join(", ")),
        Err(_) => "--since asks for more time".to_owned(),
    };
    Outcome::nothing_in(range, hint)
}

async fn query_metrics(options: &Metrics, prometheus: &Prometheus, screen: &mut Screen<'_>) -> anyhow::Result<Outcome> {
    let explained = |error| explain(Server::Prometheus, prometheus.client(), &options.query, &error);
    let asked = match options.since {
        Some(since) => Asked::new(since, options.until, options.step, screen.width)?,
        None => {
            let at = options.until.unwrap_or(Moment::Ago(Duration::ZERO)).unix_nanos(moment::now());
            Asked { range: TimeRange::new(at, at), step: Duration::from_secs(1) }
        }
    };
    let answer = if options.since.is_some() {
        prometheus.query_range(&options.query, asked.range, asked.step).await
    } else {
        prometheus.query(&options.query, Some(asked.range.end_unix_nanos)).await
    };
    let answer = answer.map_err(explained)?;
    for warning in &answer.warnings {
        eprintln!("the server remarks: {}", screen::clean(warning));
    }
    if answer.data.is_empty() {
        return Ok(if options.since.is_some() {
            Outcome::nothing_in(asked.range, "--since asks for more time".to_owned())
        } else {
            let hint = "a series is current for 5 minutes after its last sample; --since 1h looks further back";
            Outcome::empty("no series has this now".to_owned(), hint.to_owned())
        });
    }
    if options.common.json {
        match &answer.data {
            MetricData::String((_, text)) => screen.json(text)?,
            data => show_json_numbers(screen, &serde_json::to_value(data)?)?,
        }
    } else {
        Numbers::of_metrics(&answer.data).show(screen, asked.range, asked.step, options.limit.into())?;
    }
    Ok(Outcome::Found)
}

/// Each series of an answer on a line.
fn show_json_numbers(screen: &mut Screen<'_>, answer: &serde_json::Value) -> anyhow::Result<()> {
    match answer.get("result") {
        Some(serde_json::Value::Array(series)) => series.iter().try_for_each(|series| screen.json(series))?,
        Some(scalar) => screen.json(scalar)?,
        None => {}
    }
    Ok(())
}
