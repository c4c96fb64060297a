//! `cargo xtask demo`: two instrumented services under load, and the proof that all they said arrived and is linked.
//!
//! ```text
//! backend: devstack in this process, or real servers ── crate::servers
//!    ▲  push                                   │ queries
//! shops.rs: two child processes (children.rs)  ▼
//!    ▲  requests                   received.rs, account.rs: created = received?
//! load.rs, progress.rs             story.rs: exemplar -> trace -> log lines
//!                                              └─ report.rs
//! ```
//!
//! Everything waits with a deadline. Ctrl-C or SIGTERM ends the services in order; they are reaped in any case.

mod account;
mod children;
mod load;
mod progress;
mod received;
mod report;
mod shops;
mod story;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use lgtm_devstack::{Devstack, Limits, Ports};
use lgtm_query::Wait;
use serde::Serialize;

use crate::servers::{self, Addresses, Ingest, Readers, ServerOptions, Servers};
use crate::shop;

use load::Counters;
use report::Report;
use shops::{Role, Shops};

/// What `demo` does.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How long the load runs, as `15s` or `2m`.
    #[arg(long = "for", default_value = "15s", value_name = "DURATION", value_parser = length)]
    length: Duration,
    /// Prints one JSON document on standard output; progress goes to standard error.
    #[arg(long)]
    json: bool,
    /// Starts the services again afterwards and stays up with them until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Gives each service a disk spool, in a folder for the occasion: backends may go away meanwhile.
    #[arg(long)]
    spool: bool,
    /// Which backends receive the telemetry.
    #[arg(long, value_enum, default_value_t = Against::Devstack)]
    against: Against,
    #[command(flatten)]
    servers: ServerOptions,
}

/// Which backends receive the telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Against {
    /// The development stack, started for the occasion.
    Devstack,
    /// Real servers that are running already: Loki, Tempo, and Mimir or Prometheus.
    Stack,
}

impl Options {
    /// The short run that `cargo xtask check --full` makes.
    pub(crate) fn smoke() -> Self {
        #[derive(clap::Parser)]
        struct Defaults {
            #[command(flatten)]
            options: Options,
        }
        let options = <Defaults as clap::Parser>::parse_from(["demo", "--for", "3s"]).options;
        Self { against: Against::Devstack, ..options }
    }
}

/// The shortest load that has every kind of request in it.
const SHORTEST: Duration = Duration::from_secs(2);
/// The longest load whose items the development stack certainly holds at once.
const LONGEST: Duration = Duration::from_secs(600);

fn length(text: &str) -> Result<Duration, String> {
    let length = humantime::parse_duration(text).map_err(|error| format!("{error}; accepted: 15s, 2m"))?;
    if (SHORTEST..=LONGEST).contains(&length) { Ok(length) } else { Err("accepted: from 2s to 10m".to_owned()) }
}

/// Where the telemetry goes.
enum Backend {
    Devstack(Box<Devstack>),
    Servers(Box<Servers>),
}

/// What the development stack may hold of each kind of item, in bytes.
const MEMORY: usize = 512 << 20;
/// How long real servers may take to be ready. Loki takes 20 s after its start.
const READY_DEADLINE: Duration = Duration::from_secs(60);

impl Backend {
    async fn start(options: &Options) -> anyhow::Result<Self> {
        match options.against {
            Against::Devstack => {
                // The samples are counted by request: all of them are held, and more of the rest than the longest load makes.
                let limits = Limits {
                    log_bytes: MEMORY,
                    trace_bytes: MEMORY,
                    metric_bytes: MEMORY,
                    request_bytes: MEMORY,
                    ..Limits::default()
                };
                let stack = Devstack::builder().ports(Ports::usual()).limits(limits).start().await?;
                eprint!("{}", stack.startup_note());
                Ok(Self::Devstack(Box::new(stack)))
            }
            Against::Stack => {
                let servers = Self::Servers(Box::new(options.servers.servers()?));
                eprintln!("waiting for the servers to be ready");
                wait_until_ready(&servers.readers()?).await?;
                Ok(servers)
            }
        }
    }

    fn ingest(&self) -> Ingest {
        match self {
            Self::Devstack(stack) => servers::devstack_ingest(stack),
            Self::Servers(servers) => servers.ingest(),
        }
    }

    fn readers(&self) -> anyhow::Result<Readers> {
        match self {
            Self::Devstack(stack) => servers::devstack_readers(stack),
            Self::Servers(servers) => servers.readers(),
        }
    }

    fn addresses(&self) -> anyhow::Result<Addresses> {
        match self {
            Self::Devstack(stack) => Ok(servers::devstack_addresses(stack)),
            Self::Servers(servers) => servers.addresses(),
        }
    }

    /// How long what was delivered may take to be visible. The development stack shows it at once, Tempo's search after 30 s.
    fn patience(&self) -> Duration {
        match self {
            Self::Devstack(_) => Duration::from_secs(5),
            Self::Servers(_) => Duration::from_secs(60),
        }
    }
}

async fn wait_until_ready(readers: &Readers) -> anyhow::Result<()> {
    let wait = || Wait::up_to(READY_DEADLINE).every(Duration::from_secs(1));
    let unready = |name: &str, url: &url::Url| format!("{name} at {url} is not ready");
    let Readers { loki, tempo, prometheus } = readers;
    let (loki_ready, tempo_ready, prometheus_ready) = tokio::join!(
        wait().until(|| loki.is_ready(), |ready| *ready),
        wait().until(|| tempo.is_ready(), |ready| *ready),
        wait().until(|| prometheus.is_ready(), |ready| *ready),
    );
    loki_ready.with_context(|| unready("Loki", loki.client().url()))?;
    tempo_ready.with_context(|| unready("Tempo", tempo.client().url()))?;
    prometheus_ready.with_context(|| unready("the metrics backend", prometheus.client().url()))?;
    Ok(())
}

/// Runs the demo on a runtime of its own.
///
/// # Errors
/// If something cannot be started or dies, or Ctrl-C comes before the proof. A loss or a missing link is not an error but an exit
/// code.
pub(crate) fn run(options: Options) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no tokio runtime")?;
    runtime.block_on(async {
        let mut shops = Shops::new(options.spool)?;
        let mut proven = None;
        let outcome = tokio::select! {
            outcome = demonstrate(&options, &mut shops, &mut proven) => outcome,
            () = interruption() => proven.context("interrupted"),
        };
        // Whatever happened: the services that still run are ended and reaped. What they say at their end matters no more.
        let _ = shops.stop().await;
        outcome
    })
}

/// Starts all, proves, reports, and stays up if that is wanted; `proven` tells how the proof went as soon as that is known.
async fn demonstrate(options: &Options, shops: &mut Shops, proven: &mut Option<ExitCode>) -> anyhow::Result<ExitCode> {
    let backend = Backend::start(options).await?;
    let executable = shop::build().await?;
    let report = prove(options, &backend, &executable, shops).await?;
    let text = if options.json { serde_json::to_string_pretty(&report)? + "\n" } else { report.to_string() };
    std::io::stdout().write_all(text.as_bytes()).context("the report cannot be written")?;
    let code = if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    *proven = Some(code);
    if options.keep {
        keep(&backend, &executable, shops).await?;
    }
    Ok(code)
}

/// Load, end of the services, account, story.
async fn prove(
    options: &Options,
    backend: &Backend,
    executable: &PathBuf,
    shops: &mut Shops,
) -> anyhow::Result<Report> {
    let readers = backend.readers()?;
    let since = SystemTime::now();
    let storefront = shops.start(executable, &backend.ingest()).await?;
    eprintln!("the storefront is at {storefront}; load for {:?}", options.length);
    let counters = Arc::new(Counters::default());
    let load = tokio::select! {
        load = load::drive(&storefront, options.length, Arc::clone(&counters)) => load,
        died = shops.one_died() => Err(died),
        never = progress::show(options.length, &counters, backend) => match never {},
    };
    progress::end();
    let load = load?;
    eprintln!("ending the services");
    let finished = shops.stop().await?;
    let Some(storefront) = finished.iter().find(|finished| finished.instance.role == Role::Storefront) else {
        bail!("the storefront gave no report");
    };
    eprintln!("reading back what arrived");
    let patience = backend.patience();
    let (account, mut problems) = account::settle(backend, &readers, &finished, load.requests, since, patience).await;
    let (story, missing) = story::follow(&readers, &storefront.instance, since, patience).await;
    problems.extend(missing.into_iter().map(|link| format!("missing link: {link}")));
    if load.unexpected > 0 {
        let examples = load.surprises.join("; ");
        problems.push(format!("{} requests were not answered as expected: {examples}", load.unexpected));
    }
    Ok(Report {
        ok: problems.is_empty(),
        against: options.against,
        addresses: backend.addresses()?,
        seconds: options.length.as_secs_f64(),
        load,
        account,
        story,
        problems,
    })
}

/// Stays up with the services until one dies; Ctrl-C is the caller's.
async fn keep(backend: &Backend, executable: &PathBuf, shops: &mut Shops) -> anyhow::Result<()> {
    let storefront = shops.start(executable, &backend.ingest()).await?;
    let Addresses { loki, tempo, metrics, .. } = backend.addresses()?;
    eprintln!(
        "\nThe services run again, until Ctrl-C.\n  storefront {storefront}  (GET {storefront}products/34, POST {storefront}orders \
         {{\"sku\":221}})\n  Loki       {loki}\n  Tempo      {tempo}\n  metrics    {metrics}"
    );
    if let Backend::Devstack(stack) = backend {
        eprintln!("  window     {}  (logs, traces and metrics, linked: open it in a browser)", stack.window_url());
    }
    Err(shops.one_died().await)
}

/// Ctrl-C, or SIGTERM where there is such a thing.
async fn interruption() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_without_unit_or_out_of_bounds_is_refused_with_the_accepted_form() {
        assert_eq!(length("15s"), Ok(Duration::from_secs(15)));
        for wrong in ["soon", "15", "1s", "1h"] {
            assert!(length(wrong).unwrap_err().contains("accepted"), "{wrong}");
        }
    }
}
