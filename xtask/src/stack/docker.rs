//! The stack with Docker: `docker compose` does the work, with the profile's variables and the password. What it cannot wait for is
//! asked from outside, and a service that fails is named with the last lines of its log.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::compose::{Compose, Profile};
use super::effective;
use super::probe;
use super::programs::Program;
use super::state::Started;

/// How long services may take to be ready after compose says that they are up.
const READY_DEADLINE: Duration = Duration::from_secs(120);
/// How often is looked.
const INTERVAL: Duration = Duration::from_millis(500);
/// The lines of a log that are shown of a service that failed.
const LAST_LINES: &str = "15";

/// The command line of compose for one profile.
pub(super) struct Docker {
    arguments: Vec<String>,
    alertmanager: PathBuf,
}

/// Whether there is an engine, and the compose plugin.
pub(super) fn is_there() -> bool {
    let succeeds = |arguments: &[&str]| {
        let mut command = Command::new("docker");
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    succeeds(&["compose", "version"]) && succeeds(&["version"])
}

impl Docker {
    /// Writes what is not in `deploy/` as it is: Alertmanager's file with the receivers whose secret is there.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub(super) fn new(deploy: &Path, folder: &Path, profile: Profile) -> anyhow::Result<Self> {
        let alertmanager = folder.join("config/alertmanager.yaml");
        let document = effective::document(deploy, "alertmanager", effective::Storage::Local)?;
        std::fs::create_dir_all(folder.join("config")).with_context(|| folder.display().to_string())?;
        std::fs::write(&alertmanager, serde_yaml_ng::to_string(&document)?)
            .with_context(|| alertmanager.display().to_string())?;
        let path = |path: PathBuf| path.display().to_string();
        let arguments = vec![
            "compose".to_owned(),
            "--env-file".to_owned(),
            path(deploy.join(format!("{}.env", profile.name()))),
            "--env-file".to_owned(),
            path(effective::password_file(deploy)),
            "--file".to_owned(),
            path(deploy.join("compose.yaml")),
        ];
        Ok(Self { arguments, alertmanager })
    }

    /// Starts all services, and waits until they are ready.
    ///
    /// # Errors
    /// If one does not start or is not ready in time; with the last lines of its log.
    pub(super) async fn up(&self, services: &[Started]) -> anyhow::Result<()> {
        if let Err(error) = self.run(&["up", "--build", "--detach", "--wait"]) {
            return Err(error.context(self.failed()));
        }
        let http = probe::client()?;
        let started = Instant::now();
        let mut waiting: Vec<&Started> = services.iter().collect();
        while let Some(first) = waiting.first() {
            if started.elapsed() > READY_DEADLINE {
                let lines = self.last_lines(&first.service);
                bail!("{} is not ready after {READY_DEADLINE:?} ({}){lines}", first.service, first.ready);
            }
            let mut unready = Vec::new();
            for service in waiting {
                match probe::is_ready(&http, &service.ready).await {
                    Ok(()) => eprintln!("  {} is ready", service.service),
                    Err(_) => unready.push(service),
                }
            }
            waiting = unready;
            if !waiting.is_empty() {
                sleep(INTERVAL).await;
            }
        }
        Ok(())
    }

    /// What compose says of each service that it has started: its state, and its health where it has a check.
    pub(super) fn services(&self) -> Vec<Container> {
        let listed = self.said(&["ps", "--all", "--format", "json"]);
        // Newer versions print a line a service, older ones a list.
        let lines = listed.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let entries = lines.flat_map(|value| match value {
            Value::Array(entries) => entries,
            entry => vec![entry],
        });
        let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        entries
            .map(|entry| Container {
                service: text(&entry, "Service"),
                state: text(&entry, "State"),
                health: text(&entry, "Health"),
            })
            .collect()
    }

    /// The services that do not run or are not healthy, each with the last lines of its log.
    fn failed(&self) -> String {
        let containers = self.services();
        let failed = containers.iter().filter(|container| !container.is_well());
        let failed: Vec<String> =
            failed.map(|container| format!("{container}{}", self.last_lines(&container.service))).collect();
        if failed.is_empty() { "no service says why".to_owned() } else { failed.join("\n") }
    }

    fn last_lines(&self, service: &str) -> String {
        let lines = self.said(&["logs", "--no-color", "--tail", LAST_LINES, service]);
        format!("; its last lines:\n  {}", lines.trim_end().replace('\n', "\n  "))
    }

    /// What `docker compose` says with `more`; nothing if it cannot be asked.
    fn said(&self, more: &[&str]) -> String {
        let output = self.command(more).output();
        output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `docker compose` with `more`, its output for all to see.
    ///
    /// # Errors
    /// If it cannot be started or fails.
    pub(super) fn run(&self, more: &[&str]) -> anyhow::Result<()> {
        eprintln!("$ docker compose {}", more.join(" "));
        let status = self.command(more).status().context("docker cannot be started")?;
        if !status.success() {
            bail!("`docker compose {}` failed: {status}", more.join(" "));
        }
        Ok(())
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(&self.arguments).args(more).env("ALERTMANAGER_CONFIG", &self.alertmanager).stdin(Stdio::null());
        command
    }
}

/// A service as compose sees it.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) service: String,
    state: String,
    health: String,
}

impl Container {
    pub(super) fn is_well(&self) -> bool {
        self.state == "running" && matches!(self.health.as_str(), "" | "healthy")
    }

    /// Its state, and its health where it has a check.
    pub(super) fn said(&self) -> String {
        format!("{} {}", self.state, self.health).trim_end().to_owned()
    }
}

impl fmt::Display for Container {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.service, self.said())
    }
}

/// Where the services of a profile answer.
///
/// # Errors
/// If `compose.yaml` cannot be read.
pub(super) fn services(deploy: &Path, profile: Profile) -> anyhow::Result<Vec<Started>> {
    let compose = Compose::read(deploy, profile, &effective::password_variables(deploy))?;
    let published = compose.services.keys().filter_map(|name| {
        let program = Program::of(name)?;
        // What publishes no port is asked by its own health check alone.
        compose.published_by(name).next()?;
        let url = format!("http://127.0.0.1:{}", compose.host_port(name, program.ready.0));
        let ready = format!("{url}{}", program.ready.1);
        Some(Started { service: name.clone(), url, ready, process: None })
    });
    Ok(published.collect())
}
