//! `cargo xtask loadgen`: the telemetry of many made-up programs at a set rate, through lgtm's own layers, and what became of it.
//!
//! ```text
//! plan.rs ── run.rs: a few threads ── program.rs: one instance each, with its own layers, recorder, worker and identity
//!                                       └─ traffic.rs: traces, lines and counters that are due
//!              └─ account.rs: lgtm's report, summed ── verify.rs: what the servers say they have
//! ```
//!
//! What is made here is the load alone. Queues, batches, retries and accounting are those of a program that uses lgtm: the report
//! is the product's own. Every instance has its own pipelines and connections, as a process of its own would.

mod account;
mod plan;
mod program;
mod run;
mod traffic;
mod verify;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use lgtm::Endpoint;
use tokio::net::TcpStream;
use url::{Host, Url};

use crate::servers::{ServerOptions, Servers};
use account::Account;
use plan::{Load, Plan};

/// The longest load.
const LONGEST: Duration = Duration::from_secs(3600);
/// How long a connection may take before anything is sent.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What `loadgen` sends.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How long, as 30s or 10m; an hour at most. Ctrl-C ends it early, with the report.
    #[arg(long = "for", default_value = "30s", value_name = "DURATION", value_parser = length)]
    length: Duration,
    /// Which signals.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Signal::Logs, Signal::Traces, Signal::Metrics])]
    signals: Vec<Signal>,
    /// Asks the servers afterwards how much they have of it.
    #[arg(long)]
    verify: bool,
    /// Sends also to servers that are not on this machine.
    #[arg(long)]
    remote: bool,
    /// Prints one JSON document on standard output; progress goes to standard error.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    load: Load,
    #[command(flatten)]
    servers: ServerOptions,
}

/// A signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Signal {
    /// Log lines, to Loki.
    Logs,
    /// Spans, to Tempo.
    Traces,
    /// Samples, to Mimir or Prometheus.
    Metrics,
}

impl Signal {
    const fn server(self) -> &'static str {
        match self {
            Self::Logs => "Loki",
            Self::Traces => "Tempo",
            Self::Metrics => "Mimir or Prometheus",
        }
    }

    /// The option that says where the signal goes, with its variable.
    const fn option(self) -> &'static str {
        match self {
            Self::Logs => "--loki-url (LOKI_URL)",
            Self::Traces => "--tempo-endpoint (TEMPO_ENDPOINT)",
            Self::Metrics => "--mimir-endpoint (MIMIR_ENDPOINT)",
        }
    }
}

/// Where the signals go; those that are off go nowhere.
#[derive(Debug, Clone, Default)]
pub(crate) struct Destinations {
    pub(crate) logs: Option<Endpoint>,
    pub(crate) traces: Option<Endpoint>,
    pub(crate) metrics: Option<Endpoint>,
}

impl Destinations {
    fn new(servers: &Servers, signals: &[Signal]) -> anyhow::Result<Self> {
        let endpoint = |signal: Signal, url: &str| {
            let name = match signal {
                Signal::Logs => "LOKI",
                Signal::Traces => "TEMPO",
                Signal::Metrics => "MIMIR",
            };
            let wanted = signals.contains(&signal).then(|| servers.endpoint(name, url));
            wanted.transpose().with_context(|| signal.option())
        };
        Ok(Self {
            logs: endpoint(Signal::Logs, &servers.loki_url)?,
            traces: endpoint(Signal::Traces, &servers.tempo_endpoint)?,
            metrics: endpoint(Signal::Metrics, &servers.mimir_endpoint)?,
        })
    }

    fn all(&self) -> impl Iterator<Item = (Signal, &Endpoint)> {
        let all = [(Signal::Logs, &self.logs), (Signal::Traces, &self.traces), (Signal::Metrics, &self.metrics)];
        all.into_iter().filter_map(|(signal, endpoint)| Some((signal, endpoint.as_ref()?)))
    }
}

fn length(text: &str) -> Result<Duration, String> {
    let length = humantime::parse_duration(text).map_err(|error| format!("{error}; accepted: 30s, 10m"))?;
    let accepted = Duration::from_secs(1)..=LONGEST;
    if accepted.contains(&length) { Ok(length) } else { Err("accepted: from 1s to 1h".to_owned()) }
}

/// # Errors
/// If nothing can be sent. What is lost on the way is no error but an exit code.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let plan = Plan::new(&options.load, options.length)?;
    let servers = options.servers.servers()?;
    let destinations = Destinations::new(&servers, &options.signals)?;
    if !options.remote {
        refuse_remote(&destinations)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no tokio runtime")?;
    let account = runtime.block_on(async {
        for (signal, endpoint) in destinations.all() {
            reach(signal, &endpoint.url).await?;
        }
        let readers = servers.readers()?;
        let discarded = verify::discarded(&readers.tempo).await;
        let outcome = run::run(&plan, &destinations).await?;
        let mut account = Account::new(&plan, &destinations, &outcome);
        if options.verify {
            account.found = tokio::select! {
                found = verify::verify(&plan, &destinations, &outcome, &account, &readers, discarded) => found,
                _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted while the servers were asked; nothing is verified"),
            };
        }
        Ok::<_, anyhow::Error>(account)
    })?;
    let text = if options.json { serde_json::to_string_pretty(&account)? + "\n" } else { account.to_string() };
    // Whoever reads it may have gone; the exit code still says how it went.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(if account.all_is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A load test of somebody's production is asked for, not slipped into by a variable of the environment.
fn refuse_remote(destinations: &Destinations) -> anyhow::Result<()> {
    for (signal, endpoint) in destinations.all() {
        ensure!(
            is_loopback(&endpoint.url),
            "{} is `{}`, which is not on this machine; accepted: a loopback address, or any with --remote",
            signal.option(),
            endpoint.url
        );
    }
    Ok(())
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Whether anything listens there: a load that goes nowhere measures nothing.
async fn reach(signal: Signal, url: &Url) -> anyhow::Result<()> {
    let (server, option) = (signal.server(), signal.option());
    let addresses = url.socket_addrs(|| None).with_context(|| format!("{option}: {url} has no address"))?;
    let mut reason = "it has no address".to_owned();
    for address in addresses {
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => reason = error.to_string(),
            Err(_) => reason = format!("no connection within {CONNECT_TIMEOUT:?}"),
        }
    }
    bail!(
        "{server} at {url} does not answer: {reason}\n  what to do: start the stack with `cargo xtask stack up`, or say where {server} is by {option}, or leave it out of --signals"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_accepted_unless_asked_for() {
        let to = |url: &str| Destinations { logs: Some(Endpoint::parse(url).unwrap()), ..Destinations::default() };
        for url in ["http://localhost:3100", "http://127.0.0.9:1", "http://[::1]:3100", "http://loki.localhost"] {
            assert!(refuse_remote(&to(url)).is_ok(), "{url}");
        }
        for url in ["https://ann:hunter2@logs.example.com", "http://10.0.0.1:3100", "http://localhost.example.com"] {
            let error = refuse_remote(&to(url)).unwrap_err().to_string();
            for part in ["LOKI_URL", "--remote", "accepted"] {
                assert!(error.contains(part), "{error}");
            }
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_ends_it_before_it_begins() {
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let url = Url::parse(&format!("http://127.0.0.1:{port}")).unwrap();
        let error = reach(Signal::Logs, &url).await.unwrap_err().to_string();
        assert!(error.contains("Loki at") && error.contains("stack up") && error.contains("LOKI_URL"), "{error}");
    }
}
