//! What the process runtime will start: programs, arguments, environment, and the configuration rewritten for this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_yaml_ng::Value;

use super::compose::{Compose, Mount, Profile, Service, Source};
use super::effective;
use super::programs::{self, Program, SHOP_IMAGE};
use super::rewrite::{self, Places, Rewriter};

/// All that will be started.
pub(crate) struct Plan {
    pub(crate) services: Vec<Planned>,
    /// Services of the profile whose program is not there.
    pub(crate) missing: Vec<&'static Program>,
    /// Whether Prometheus receives what is meant for Mimir.
    pub(crate) prometheus_for_mimir: bool,
    /// What a person should know, such as settings that a program is too old for.
    pub(crate) notes: Vec<String>,
}

/// A service that will be started.
pub(crate) struct Planned {
    pub(crate) program: &'static Program,
    pub(crate) file: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
    /// Where it runs; what it writes to relative paths lands there.
    pub(crate) folder: PathBuf,
    /// The port of this machine that answers.
    pub(crate) port: u16,
    /// All its ports that are published.
    pub(crate) ports: Vec<u16>,
}

/// Where a plan is made from and for.
pub(crate) struct Site<'a> {
    /// The folder `deploy`.
    pub(crate) deploy: &'a Path,
    /// The folder of the stack: `config`, `data`, `logs`.
    pub(crate) folder: &'a Path,
    pub(crate) profile: Profile,
    /// Added to every port.
    pub(crate) port_offset: u16,
    /// Services that are left out.
    pub(crate) without: &'a BTreeSet<String>,
    /// The example program, where it is built.
    pub(crate) shop: Option<&'a Path>,
}

/// The services that will run, and their ports.
struct Running {
    compose: Compose,
    services: BTreeMap<String, (Service, &'static Program, PathBuf)>,
    port_offset: u16,
}

impl Places for Running {
    fn port(&self, service: &str, inside: u16) -> Option<u16> {
        let (service_, _, _) = self.services.get(service)?;
        if service_.image == SHOP_IMAGE {
            // It listens where its environment says so, and nowhere else.
            let suffix = format!(":{inside}");
            service_.environment.values().find(|value| value.ends_with(&suffix))?;
        }
        self.compose.host_port(service, inside).checked_add(self.port_offset)
    }

    fn port_if_it_ran(&self, service: &str, inside: u16) -> u16 {
        self.compose.host_port(service, inside).saturating_add(self.port_offset)
    }
}

impl Plan {
    /// Finds the programs, and writes their configuration into the stack's folder.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub(crate) fn make(site: &Site<'_>) -> anyhow::Result<Self> {
        let names = Compose::names(site.deploy)?;
        // The process runtime needs no password before Grafana starts; `stack up` has made it by then.
        let password = effective::password_variables(site.deploy);
        let compose = Compose::read(site.deploy, site.profile, &password)?;
        let mut missing = Vec::new();
        let mut services = BTreeMap::new();
        for (name, service) in &compose.services {
            let Some(program) = Program::of(name) else {
                anyhow::bail!("compose.yaml has a service `{name}` that xtask/src/stack/programs.rs does not have");
            };
            if site.without.contains(name) {
                continue;
            }
            let file = if service.image == SHOP_IMAGE { site.shop.map(Path::to_owned) } else { program.find() };
            match file {
                Some(file) => drop(services.insert(name.clone(), (service.clone(), program, file))),
                None => missing.push(program),
            }
        }
        let mut notes = Vec::new();
        let no_mimir = !services.contains_key("mimir");
        if no_mimir && !services.contains_key("prometheus") && !site.without.contains("prometheus") {
            let full = Compose::read(site.deploy, Profile::Full, &password)?;
            if let (Some(service), Some(program)) = (full.services.get("prometheus"), Program::of("prometheus"))
                && let Some(file) = program.find()
            {
                services.insert("prometheus".to_owned(), (service.clone(), program, file));
            }
        }
        let prometheus_for_mimir = no_mimir && services.contains_key("prometheus");
        if prometheus_for_mimir {
            notes.push("Mimir does not run: what is meant for it goes to Prometheus, by remote write".to_owned());
        }
        let running = Running { compose, services, port_offset: site.port_offset };
        let mut planned = Vec::new();
        for (name, (service, program, file)) in &running.services {
            let place = (name.as_str(), service, *program, file.as_path());
            planned.push(plan(site, &running, &names, place, prometheus_for_mimir, &mut notes)?);
        }
        Ok(Self { services: planned, missing, prometheus_for_mimir, notes })
    }
}

fn plan(
    site: &Site<'_>,
    running: &Running,
    names: &[String],
    (name, service, program, file): (&str, &Service, &'static Program, &Path),
    prometheus_for_mimir: bool,
    notes: &mut Vec<String>,
) -> anyhow::Result<Planned> {
    let here: BTreeMap<String, PathBuf> =
        service.mounts.iter().map(|mount| (mount.target.clone(), place(site, name, service, mount))).collect();
    let mut rewriter = Rewriter::new(name, names, here, running)?;
    if prometheus_for_mimir && name != "prometheus" {
        rewriter.replace("http://mimir:9009/api/v1/push", "http://prometheus:9090/api/v1/write");
        rewriter.replace("http://mimir:9009/prometheus", "http://prometheus:9090");
    }
    let version = programs::version(file);
    for mount in &service.mounts {
        let here = place(site, name, service, mount);
        match &mount.source {
            Source::Volume(_) => fs::create_dir_all(&here).with_context(|| here.display().to_string())?,
            Source::Host(source) if *source != here => {
                let newer = write_configuration(site, (source, &here), name, version, &rewriter)?;
                notes.extend(newer.into_iter().map(|key| format!("{name} is too old for {key}: left out")));
            }
            Source::Host(_) => {}
        }
    }
    let mut arguments: Vec<String> = service.command.iter().map(|argument| rewriter.text(argument)).collect();
    if let Some(version) = version {
        let newer = programs::without_newer_arguments(name, version, &mut arguments);
        notes.extend(newer.into_iter().map(|argument| format!("{name} is too old for {argument}: left out")));
        programs::ask_for(name, version, &mut arguments);
    }
    let mut environment: BTreeMap<String, String> =
        service.environment.iter().map(|(variable, value)| (variable.clone(), rewriter.variable(value))).collect();
    if prometheus_for_mimir && environment.get("MIMIR_ENDPOINT").is_some_and(|value| value != "off") {
        let url = rewriter.text("http://prometheus:9090/api/v1/write");
        environment.insert("MIMIR_ENDPOINT".to_owned(), url);
    }
    let folder = site.folder.join("work").join(name);
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let at = |port: u16| port.saturating_add(site.port_offset);
    let port = at(running.compose.host_port(name, program.ready.0));
    if name == "grafana" {
        grafana(site, port, &rewriter, file, &mut arguments, &mut environment);
    }
    let ports = running.compose.published_by(name).map(at).collect();
    Ok(Planned { program, file: file.to_owned(), arguments, environment, folder, port, ports })
}

/// What Grafana's image says in its own environment.
fn grafana(
    site: &Site<'_>,
    port: u16,
    rewriter: &Rewriter<'_>,
    file: &Path,
    arguments: &mut Vec<String>,
    environment: &mut BTreeMap<String, String>,
) {
    let near = file.parent().and_then(Path::parent).map(Path::to_owned);
    let homes = [Some(PathBuf::from("/usr/share/grafana")), near];
    arguments.push("server".to_owned());
    if let Some(home) = homes.into_iter().flatten().find(|home| home.join("conf/defaults.ini").is_file()) {
        arguments.push(format!("--homepath={}", home.display()));
    }
    for (variable, value) in [
        ("GF_SERVER_HTTP_ADDR", "127.0.0.1".to_owned()),
        ("GF_SERVER_HTTP_PORT", port.to_string()),
        ("GF_PATHS_DATA", rewriter.text("/var/lib/grafana")),
        ("GF_PATHS_LOGS", site.folder.join("data/grafana/log").display().to_string()),
        ("GF_PATHS_PROVISIONING", rewriter.text("/etc/grafana/provisioning")),
    ] {
        environment.insert(variable.to_owned(), value);
    }
}

/// Where a mount is on this machine: volumes under `data`, files that are rewritten under `config`, the rest where it is. What is
/// mounted within another mount is within it here too.
fn place(site: &Site<'_>, name: &str, service: &Service, mount: &Mount) -> PathBuf {
    let within = service.mounts.iter().find_map(|other| {
        let rest = mount.target.strip_prefix(&other.target)?.strip_prefix('/')?;
        Some((other, rest))
    });
    match &mount.source {
        Source::Volume(name) => site.folder.join("data").join(name),
        Source::Host(source) if has_configuration(source) => match within {
            Some((other, rest)) => place(site, name, service, other).join(rest),
            None => {
                let flat = mount.target.trim_start_matches('/').replace('/', "-");
                site.folder.join("config").join(name).join(flat)
            }
        },
        Source::Host(source) => source.clone(),
    }
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml")
}

/// Whether it is, or holds, configuration of ours. Secrets and dashboards are read where they are.
fn has_configuration(source: &Path) -> bool {
    if source == Path::new("/") {
        return false;
    }
    match fs::read_dir(source) {
        Ok(entries) => entries.flatten().any(|entry| has_configuration(&entry.path())),
        Err(_) => is_yaml(source),
    }
}

/// Writes a file, or all files of a folder, as this machine has them. Gives the keys that the program is too old for.
fn write_configuration(
    site: &Site<'_>,
    (source, here): (&Path, &Path),
    service: &str,
    version: Option<(u32, u32)>,
    rewriter: &Rewriter<'_>,
) -> anyhow::Result<Vec<String>> {
    let mut newer = Vec::new();
    if source.is_dir() {
        // What an earlier run has left there may be gone by now.
        if here.exists() {
            fs::remove_dir_all(here).with_context(|| here.display().to_string())?;
        }
        for entry in fs::read_dir(source).with_context(|| source.display().to_string())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default();
            newer.extend(write_configuration(site, (&path, &here.join(name)), service, version, rewriter)?);
        }
        return Ok(newer);
    }
    if let Some(folder) = here.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    if !is_yaml(source) {
        fs::copy(source, here).with_context(|| source.display().to_string())?;
        return Ok(newer);
    }
    let mut document: Value = rewrite::read(source)?;
    effective::lay_receivers_over(site.deploy, source, &mut document)?;
    if let Some(version) = version {
        newer = programs::without_newer_keys(service, version, &mut document);
    }
    let text = serde_yaml_ng::to_string(&rewriter.document(document))?;
    fs::write(here, text).with_context(|| here.display().to_string())?;
    Ok(newer)
}
