//! The program under test, a process of its own: this program with the hidden command `soak-program`. It makes events, spans with
//! children and metrics at a steady rate, and once a second says what lgtm reports.

use std::io::BufRead as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lgtm::{Console, Endpoint, Profile, Protocol, SpoolOptions, Telemetry};
use serde::{Deserialize, Serialize};

use super::sample::Signals;

/// Events of one request of the made-up program.
pub(super) const EVENTS: u64 = 5;
/// Its spans: a root and two children.
pub(super) const SPANS: u64 = 3;
/// How long it does nothing first: what it takes then is the idle program.
const IDLE: Duration = Duration::from_secs(2);
/// How long the end may take after the load: the longest pause between two tries, a minute, and then some.
const SETTLE_DEADLINE: Duration = Duration::from_secs(150);
/// How often metrics are pushed.
const PUSH_INTERVAL: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(5);

/// What the program is told.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    loki: String,
    #[arg(long)]
    otlp: String,
    #[arg(long)]
    mimir: String,
    /// Events in a second.
    #[arg(long)]
    rate: u64,
    /// How long the load lasts.
    #[arg(long)]
    seconds: f64,
    #[arg(long)]
    spool: Option<PathBuf>,
}

/// What the program says each second.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Said {
    /// Seconds since the load began; 0 before.
    pub(super) seconds: f64,
    /// Requests that had ended before the report, and those that had begun after it.
    pub(super) ended: u64,
    pub(super) begun: u64,
    pub(super) report: Signals,
    /// The load is over.
    pub(super) is_over: bool,
    /// It waits for a line on its standard input before it shuts down: time to look at the process.
    pub(super) waits: bool,
    /// The shutdown is over: the last words.
    pub(super) shutdown_seconds: Option<f64>,
}

#[derive(Default)]
struct Progress {
    begun: AtomicU64,
    ended: AtomicU64,
    stop: AtomicBool,
}

/// # Errors
/// If lgtm cannot work with the settings.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let mut builder = lgtm::builder()
        .ignore_environment()
        .service_name("soak")
        .profile(Profile::Development)
        .console(Console::Off)
        .loki(Endpoint::parse(&options.loki)?)
        .tempo(Endpoint::parse(&options.otlp)?)
        .tempo_protocol(Protocol::Http)
        .mimir(Endpoint::parse(&options.mimir)?)
        .push_interval(PUSH_INTERVAL)
        .shutdown_timeout(Duration::from_secs(10));
    if let Some(folder) = &options.spool {
        builder = builder.spool(SpoolOptions::new(folder));
    }
    let telemetry = builder.init()?;
    let progress = Arc::new(Progress::default());
    std::thread::sleep(IDLE);
    let say = |seconds, is_over, waits, shutdown_seconds| {
        say(&telemetry, &progress, Moment { seconds, is_over, waits, shutdown_seconds })
    };
    say(0.0, false, false, None)?;

    let started = Instant::now();
    let rate = options.rate.div_ceil(EVENTS);
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let progress = Arc::clone(&progress);
            std::thread::spawn(move || drive(&progress, rate, started))
        })
        .collect();
    let length = Duration::from_secs_f64(options.seconds);
    let mut next = started;
    while started.elapsed() < length {
        next += Duration::from_secs(1);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        // A thread that ends leaves nothing behind.
        let of_thread = Arc::clone(&progress);
        let short = std::thread::spawn(move || request(&of_thread));
        let _ = short.join();
        say(started.elapsed().as_secs_f64(), false, false, None)?;
    }
    progress.stop.store(true, Ordering::Relaxed);
    for thread in threads {
        let _ = thread.join();
    }
    let deadline = Instant::now() + SETTLE_DEADLINE;
    loop {
        let pending = match telemetry.flush() {
            Ok(report) => report.pending(),
            Err(error) => error.report.pending(),
        };
        let waits = pending == 0 || Instant::now() > deadline;
        say(started.elapsed().as_secs_f64(), true, waits, None)?;
        if waits {
            break;
        }
    }
    std::io::stdin().lock().lines().next().transpose()?;
    let shutdown = Instant::now();
    telemetry.shutdown();
    say(started.elapsed().as_secs_f64(), true, false, Some(shutdown.elapsed().as_secs_f64()))?;
    Ok(ExitCode::SUCCESS)
}

/// When something is said.
struct Moment {
    seconds: f64,
    is_over: bool,
    waits: bool,
    shutdown_seconds: Option<f64>,
}

fn say(telemetry: &Telemetry, progress: &Progress, moment: Moment) -> anyhow::Result<()> {
    let ended = progress.ended.load(Ordering::Acquire);
    let report = serde_json::from_str(&telemetry.report().json())?;
    let begun = progress.begun.load(Ordering::Acquire);
    let Moment { seconds, is_over, waits, shutdown_seconds } = moment;
    let said = Said { seconds, ended, begun, report, is_over, waits, shutdown_seconds };
    outputln!("{}", serde_json::to_string(&said)?);
    Ok(())
}

/// Two threads share the rate.
fn drive(progress: &Progress, rate: u64, started: Instant) {
    while !progress.stop.load(Ordering::Relaxed) {
        let due = (started.elapsed().as_secs_f64() * rate as f64) as u64;
        while progress.begun.load(Ordering::Relaxed) < due && !progress.stop.load(Ordering::Relaxed) {
            request(progress);
        }
        std::thread::sleep(TICK);
    }
}

/// One request: its spans and events have the numbers by which the server knows them.
fn request(progress: &Progress) {
    let number = progress.begun.fetch_add(1, Ordering::AcqRel);
    let event = |place: u64| number * EVENTS + place;
    let span = |place: u64| number * SPANS + place;
    let route = ["/orders", "/orders/{id}", "/items", "/items/{id}"][(number % 4) as usize];
    tracing::info_span!("request", span_seq = span(0), route).in_scope(|| {
        tracing::info!(seq = event(0), "request received");
        tracing::info_span!("query", span_seq = span(1), table = "orders").in_scope(|| {
            tracing::info!(seq = event(1), rows = number % 17, "rows read");
            tracing::info!(seq = event(2), text = "a line of an ordinary length, as programs write them", "details");
        });
        tracing::info_span!("render", span_seq = span(2)).in_scope(|| {
            tracing::info!(seq = event(3), bytes = number % 4096, "page rendered");
        });
        if number.is_multiple_of(50) {
            tracing::error!(seq = event(4), reason = "out of stock", "order refused");
        } else {
            tracing::info!(seq = event(4), latency_ms = number % 97, "order placed");
        }
        metrics::counter!("soak_requests_total", "route" => route).increment(1);
        metrics::histogram!("soak_request_duration_seconds", "route" => route).record((number % 97) as f64 / 1000.0);
        metrics::gauge!("soak_request_number").set(number as f64);
    });
    progress.ended.fetch_add(1, Ordering::AcqRel);
}
