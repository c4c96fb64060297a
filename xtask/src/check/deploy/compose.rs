//! `deploy/compose.yaml`: what compose itself says of each profile, and the rules that the stack has beyond that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_yaml_ng::Value;

use super::super::{Failure, Workspace};
use crate::stack::compose::{Compose, Profile, Source};
use crate::stack::{programs, rewrite};

const FILE: &str = "deploy/compose.yaml";
/// Services whose image has nothing that could look after their health; `stack` asks them from outside.
const WITHOUT_HEALTH_CHECK: [&str; 1] = ["mimir"];
/// Keys that compose 1.29, the one of Debian 12, does not know yet.
const NEWER_THAN_COMPOSE_1: [&str; 1] = ["name"];

pub(in super::super) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let deploy = workspace.root.join("deploy");
    let password = BTreeMap::from([("GRAFANA_ADMIN_PASSWORD".to_owned(), "any".to_owned())]);
    let mut findings = Vec::new();
    for profile in Profile::ALL {
        let title = format!("{FILE}, profile {}", profile.name());
        match Compose::read(&deploy, profile, &password) {
            Ok(compose) => findings.extend(faults(&compose).into_iter().map(|fault| format!("{title}: {fault}"))),
            Err(error) => findings.push(format!("{title}: {error:#}")),
        }
        if let Err(finding) = compose_itself(workspace, &deploy, profile) {
            findings.push(format!("{title}: {finding}"));
        }
    }
    Failure::unless_empty(findings, format!("mend {FILE}, or deploy/<profile>.env"))
}

/// What is wrong with one profile.
fn faults(compose: &Compose) -> Vec<String> {
    let mut faults = Vec::new();
    let mut taken: BTreeMap<u16, &str> = BTreeMap::new();
    for (name, service) in &compose.services {
        if programs::Program::of(name).is_none() {
            faults.push(format!("{name}: xtask/src/stack/programs.rs does not have it"));
        }
        let pinned = service.image.rsplit_once(':').is_some_and(|(_, tag)| !tag.is_empty() && tag != "latest");
        if service.image != programs::SHOP_IMAGE && !pinned {
            faults.push(format!("{name}: its image `{}` has no version", service.image));
        }
        if service.memory_limit.is_none() {
            faults.push(format!("{name}: it has no mem_limit"));
        }
        if !service.has_health_check && !WITHOUT_HEALTH_CHECK.contains(&name.as_str()) {
            faults.push(format!("{name}: it has no healthcheck"));
        }
        for port in compose.published_by(name) {
            if let Some(other) = taken.insert(port, name) {
                faults.push(format!("{name}: {other} has the port {port} too"));
            }
        }
        let is_there = |path: &Path| path.exists();
        for mount in &service.mounts {
            if let Source::Host(path) = &mount.source
                && !is_there(path)
            {
                faults.push(format!("{name}: {} is not there", path.display()));
            }
        }
        let is_on = |variable: &str| {
            service.environment.get(variable).is_some_and(|value| !matches!(value.as_str(), "" | "off"))
        };
        if is_on("MIMIR_ENDPOINT") && is_on("LGTM_METRICS_ADDR") {
            faults.push(format!("{name}: its metrics are pushed and scraped"));
        }
    }
    let rulers: BTreeSet<&str> = compose
        .services
        .iter()
        .filter(|(_, service)| has_rules(&service.mounts))
        .map(|(name, _)| name.as_str())
        .collect();
    if rulers.len() != 1 {
        faults.push(format!("the rules are evaluated by {rulers:?}; accepted: one of prometheus, mimir"));
    }
    faults
}

/// Whether the rules for metrics are mounted.
fn has_rules(mounts: &[crate::stack::compose::Mount]) -> bool {
    mounts.iter().any(|mount| matches!(&mount.source, Source::Host(path) if path.ends_with("prometheus/rules")))
}

/// `docker compose config`, with the plugin or the older program.
fn compose_itself(workspace: &Workspace, deploy: &Path, profile: Profile) -> Result<(), String> {
    let plugin = Command::new("docker").args(["compose", "version"]).output();
    workspace.knows("docker-compose");
    let has_plugin = plugin.is_ok_and(|output| output.status.success());
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut file = deploy.join("compose.yaml");
    let mut command = if has_plugin {
        let mut command = Command::new("docker");
        command.arg("compose");
        command
    } else {
        let program = match workspace.program(&["docker-compose"], "Docker, or the package docker-compose of Debian") {
            Ok(program) => program,
            Err(absent) => return absent.finding.map_or(Ok(()), Err),
        };
        file = older(&file, scratch.path())?;
        Command::new(program)
    };
    let env_file = deploy.join(format!("{}.env", profile.name()));
    command.arg("--project-directory").arg(deploy).arg("--env-file").arg(&env_file).arg("--file").arg(&file);
    command.args(["config", "--quiet"]).env("GRAFANA_ADMIN_PASSWORD", "any");
    eprintln!("$ docker compose --env-file {} config --quiet", env_file.display());
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned())
}

/// The file without the keys that the older program does not know.
fn older(file: &Path, folder: &Path) -> Result<PathBuf, String> {
    let mut document: Value = rewrite::read(file).map_err(|error| format!("{error:#}"))?;
    document.apply_merge().map_err(|error| error.to_string())?;
    if let Some(mapping) = document.as_mapping_mut() {
        NEWER_THAN_COMPOSE_1.iter().for_each(|key| drop(mapping.remove(*key)));
    }
    let text = serde_yaml_ng::to_string(&document).map_err(|error| error.to_string())?;
    let path = folder.join("compose.yaml");
    std::fs::write(&path, text).map_err(|error| error.to_string())?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_stack_forbids_is_found() {
        let text = "
services:
  loki: {image: grafana/loki, profiles: [core], volumes: ['./nowhere:/x:ro'], ports: ['127.0.0.1:1:1'], mem_limit: 1g}
  tempo: {image: 'grafana/tempo:3', profiles: [core], ports: ['127.0.0.1:1:2'], healthcheck: {test: [CMD]}}
  other: {image: 'o:1', profiles: [core], mem_limit: 1g, healthcheck: {}, environment: {MIMIR_ENDPOINT: x, LGTM_METRICS_ADDR: y}}
";
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("compose.yaml"), text).unwrap();
        std::fs::write(folder.path().join("core.env"), "").unwrap();
        let compose = Compose::read(folder.path(), Profile::Core, &BTreeMap::new()).unwrap();
        let found = faults(&compose);
        for part in [
            "loki: its image `grafana/loki` has no version",
            "loki: it has no healthcheck",
            "nowhere is not there",
            "tempo: it has no mem_limit",
            "tempo: loki has the port 1 too",
            "other: xtask/src/stack/programs.rs",
            "other: its metrics are pushed and scraped",
            "the rules are evaluated by {}",
        ] {
            assert!(found.iter().any(|fault| fault.contains(part)), "{part}: {found:?}");
        }
        assert_eq!(found.len(), 8, "{found:?}");
    }
}
