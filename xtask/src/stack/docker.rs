//! The stack with Docker: `docker compose` does the work, with the profile's variables and the password.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::compose::{Compose, Profile};
use super::effective;
use super::programs::Program;
use super::state::Started;

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

    /// Runs `docker compose` with `more`, its output for all to see.
    ///
    /// # Errors
    /// If it cannot be started or fails.
    pub(super) fn run(&self, more: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new("docker");
        command.args(&self.arguments).args(more).env("ALERTMANAGER_CONFIG", &self.alertmanager).stdin(Stdio::null());
        eprintln!("$ docker compose {}", more.join(" "));
        let status = command.status().context("docker cannot be started")?;
        if !status.success() {
            bail!("`docker compose {}` failed: {status}", more.join(" "));
        }
        Ok(())
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
