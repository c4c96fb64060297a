//! The instrumented programs of the demo: the two services of `examples/shop`, built by cargo and configured by environment
//! variables only.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use lgtm_core::{SignalKind, TraceId};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::Instant;
use url::Url;

use super::children::{Ended, Program};
use crate::servers::Ingest;
use crate::shop;

/// How long a service may take until it listens.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How long the services may take to end: 5 s for requests in flight, 10 s for telemetry, and some slack.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// `service.namespace` of both services.
pub(super) const NAMESPACE: &str = "shop";

/// One of the two services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Storefront,
    Inventory,
}

impl Role {
    pub(super) const ALL: [Self; 2] = [Self::Storefront, Self::Inventory];

    /// `service.name`.
    pub(super) const fn service_name(self) -> &'static str {
        match self {
            Self::Storefront => "storefront",
            Self::Inventory => "inventory",
        }
    }
}

/// One run of a service.
#[derive(Debug, Clone)]
pub(super) struct Instance {
    pub(super) role: Role,
    /// `service.instance.id`, another at each run: by it the run's items are told from all others in a backend.
    pub(super) id: String,
}

/// The running services.
pub(super) struct Shops {
    running: Vec<(Instance, Program)>,
    /// Where their spools are, if they have some.
    spool: Option<TempDir>,
}

/// A service that has ended.
pub(super) struct Finished {
    pub(super) instance: Instance,
    /// What it says that became of its telemetry.
    pub(super) report: Report,
}

/// What a service says at its end, signal by signal: `lgtm::Report` as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) logs: SignalReport,
    pub(super) spans: SignalReport,
    pub(super) metrics: SignalReport,
}

/// What a service says of one signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SignalReport {
    pub(super) created: u64,
    pub(super) delivered: u64,
    /// The whole line, with what was delivered, dropped and why.
    pub(super) said: String,
}

impl Report {
    fn read(lines: &[String]) -> Option<Self> {
        let signal = |kind: SignalKind| {
            let newest_first = lines.iter().rev();
            newest_first
                .filter_map(|line| {
                    let counts = line.strip_prefix(kind.items())?.strip_prefix(": ")?;
                    let count = |what| counts.split(", ").find_map(|part| part.strip_suffix(what)?.parse().ok());
                    Some(SignalReport {
                        created: count(" created")?,
                        delivered: count(" delivered")?,
                        said: line.clone(),
                    })
                })
                .next()
        };
        Some(Self {
            logs: signal(SignalKind::Logs)?,
            spans: signal(SignalKind::Spans)?,
            metrics: signal(SignalKind::Metrics)?,
        })
    }
}

impl Shops {
    /// None yet.
    ///
    /// # Errors
    /// If there is no room for spools.
    pub(super) fn new(spool: bool) -> anyhow::Result<Self> {
        let spool = spool.then(tempfile::tempdir).transpose().context("no folder for the spools")?;
        Ok(Self { running: Vec::new(), spool })
    }

    /// Starts both services, and gives the address of the storefront. What has been started is in `self` also after an error.
    ///
    /// # Errors
    /// If one does not start; with its last lines on standard error.
    pub(super) async fn start(&mut self, executable: &PathBuf, ingest: &Ingest) -> anyhow::Result<Url> {
        let inventory = self.start_one(Role::Inventory, executable, ingest, &[]).await?;
        let inventory = [("SHOP_INVENTORY_URL", inventory.to_string())];
        self.start_one(Role::Storefront, executable, ingest, &inventory).await
    }

    async fn start_one(
        &mut self,
        role: Role,
        executable: &PathBuf,
        ingest: &Ingest,
        more: &[(&str, String)],
    ) -> anyhow::Result<Url> {
        let name = role.service_name();
        let id = format!("{name}-{}", TraceId::random());
        let attributes =
            format!("service.namespace={NAMESPACE},service.instance.id={id},deployment.environment.name=demo");
        let mut command = Command::new(executable);
        for inherited in shop::not_inherited() {
            command.env_remove(inherited);
        }
        command
            .env("SHOP_ROLE", name)
            .env("SHOP_LISTEN", "127.0.0.1:0")
            .env("SHOP_REPORT", "1")
            .env("OTEL_SERVICE_NAME", name)
            .env("OTEL_RESOURCE_ATTRIBUTES", attributes)
            // The last lines are shown if it dies.
            .env("LGTM_CONSOLE", "pretty")
            .env("NO_COLOR", "1")
            .envs(ingest.variables())
            .envs(self.spool.iter().map(|folder| ("LGTM_SPOOL_DIR", folder.path())))
            .envs(more.iter().map(|(name, value)| (name, value)));
        let program = Program::start(name, command)?;
        self.running.push((Instance { role, id }, program));
        let Some((_, program)) = self.running.last_mut() else { bail!("{name} was not started") };
        let address = program.says("listening on ", START_DEADLINE).await?;
        Url::parse(&address).with_context(|| format!("{name} listens on `{address}`, which is not a URL"))
    }

    /// Waits until one of the services ends by itself, and gives that as an error.
    pub(super) async fn one_died(&mut self) -> anyhow::Error {
        let waiting: Vec<_> = self.running.iter_mut().map(|(_, program)| Box::pin(program.died())).collect();
        if waiting.is_empty() {
            return std::future::pending().await;
        }
        futures_util::future::select_all(waiting).await.0
    }

    /// Ends the services in order: first the storefront, which calls the other. All are ended and reaped, whatever goes wrong.
    ///
    /// # Errors
    /// The first thing that went wrong: a service that had to be killed, failed, or gave no report.
    pub(super) async fn stop(&mut self) -> anyhow::Result<Vec<Finished>> {
        let mut finished = Vec::new();
        let mut first_error = None;
        while let Some((instance, program)) = self.running.pop() {
            let ended = program.stop(Instant::now() + STOP_DEADLINE).await;
            match ended.and_then(|ended| report_of(&ended)) {
                Ok(report) => finished.push(Finished { instance, report }),
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        first_error.map_or(Ok(finished), Err)
    }
}

fn report_of(ended: &Ended) -> anyhow::Result<Report> {
    let Ended { name, status, killed, last_lines } = ended;
    let lines = || last_lines.join("\n  ");
    if *killed {
        bail!("{name} did not end within {STOP_DEADLINE:?} of SIGTERM and was killed; its last lines:\n  {}", lines());
    }
    if !status.success() {
        bail!("{name} ended with {status}; its last lines:\n  {}", lines());
    }
    Report::read(last_lines)
        .with_context(|| format!("{name} gave no report of all signals at its end; its last lines:\n  {}", lines()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_found_among_the_last_lines() {
        let ended = |last_lines: &[&str]| Ended {
            name: "shop".to_owned(),
            status: std::process::ExitStatus::default(),
            killed: false,
            last_lines: last_lines.iter().map(|line| (*line).to_owned()).collect(),
        };
        let spans = "spans: 3 created, 2 delivered, 1 dropped (shutdown)";
        let lines = ["spans: a log line about spans", "log lines: 5 created, 5 delivered", spans];
        let whole = [&lines[..], &["samples: 7 created, 7 delivered"]].concat();
        let report = report_of(&ended(&whole)).unwrap();
        assert_eq!((report.logs.created, report.metrics.created), (5, 7));
        assert_eq!(report.spans, SignalReport { created: 3, delivered: 2, said: spans.to_owned() });
        let error = report_of(&ended(&lines)).unwrap_err().to_string();
        assert!(
            error.starts_with("shop gave no report of all signals at its end; its last lines:\n  spans: a"),
            "{error}"
        );
    }
}
