//! `deploy/compose.yaml` as the process runtime reads it: the services of a profile, with their variables filled in. What a service
//! is (program, arguments, environment, volumes, ports) is said there and nowhere else.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use regex::{Captures, Regex};
use serde::{Deserialize, Serialize};
use serde_yaml_ng::Value;

/// Which services run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Profile {
    /// Loki, Tempo, Mimir, Grafana; the example program pushes its metrics.
    Core,
    /// All services; Prometheus scrapes the example program.
    Full,
}

impl Profile {
    pub(crate) const ALL: [Self; 2] = [Self::Core, Self::Full];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Full => "full",
        }
    }
}

/// The services of one profile.
#[derive(Debug)]
pub(crate) struct Compose {
    pub(crate) services: BTreeMap<String, Service>,
    /// The ports of all services of the file, also of those that are not in the profile: the port inside and that on this machine.
    published: BTreeMap<(String, u16), u16>,
}

/// A service.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) image: String,
    pub(crate) command: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) has_health_check: bool,
    pub(crate) memory_limit: Option<String>,
}

/// What a service finds at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) source: Source,
    pub(crate) target: String,
}

/// Where a mount comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file or folder of this machine, absolute.
    Host(PathBuf),
    /// A named volume.
    Volume(String),
}

#[derive(Deserialize)]
struct File {
    services: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    image: String,
    #[serde(default)]
    profiles: Vec<String>,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    volumes: Vec<String>,
    #[serde(default)]
    ports: Vec<String>,
    #[serde(default)]
    healthcheck: Option<Value>,
    #[serde(default)]
    mem_limit: Option<String>,
}

impl Compose {
    /// Reads `compose.yaml` of the folder `deploy`, with the variables of the profile's file and `more`.
    ///
    /// # Errors
    /// If a file cannot be read, or says something that this reader does not know.
    pub(crate) fn read(deploy: &Path, profile: Profile, more: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let path = deploy.join("compose.yaml");
        let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        let mut variables = variables(&deploy.join(format!("{}.env", profile.name())))?;
        variables.extend(more.clone());
        Self::parse(&text, deploy, profile, &variables).with_context(|| path.display().to_string())
    }

    fn parse(
        text: &str,
        deploy: &Path,
        profile: Profile,
        variables: &BTreeMap<String, String>,
    ) -> anyhow::Result<Self> {
        let mut document: Value = serde_yaml_ng::from_str(text)?;
        merge(&mut document)?;
        interpolate(&mut document, variables)?;
        let file: File = serde_yaml_ng::from_value(document)?;
        let mut published = BTreeMap::new();
        let mut services = BTreeMap::new();
        for (name, entry) in file.services {
            for port in &entry.ports {
                let (inside, outside) = parse_port(port).with_context(|| format!("services.{name}.ports"))?;
                published.insert((name.clone(), inside), outside);
            }
            if !entry.profiles.iter().any(|other| other == profile.name()) {
                continue;
            }
            let mounts = entry.volumes.iter().map(|volume| parse_mount(volume, deploy)).collect::<Result<_, _>>();
            let mounts = mounts.with_context(|| format!("services.{name}.volumes"))?;
            let Entry { image, command, environment, healthcheck, mem_limit: memory_limit, .. } = entry;
            let has_health_check = healthcheck.is_some();
            services.insert(name, Service { image, command, environment, mounts, has_health_check, memory_limit });
        }
        Ok(Self { services, published })
    }

    /// The port of this machine on which `service` listens that has `inside` as its own.
    pub(crate) fn host_port(&self, service: &str, inside: u16) -> u16 {
        self.published.get(&(service.to_owned(), inside)).copied().unwrap_or(inside)
    }

    /// All ports of this machine that `service` publishes.
    pub(crate) fn published_by(&self, service: &str) -> impl Iterator<Item = u16> {
        self.published.iter().filter(move |((name, _), _)| name == service).map(|(_, port)| *port)
    }

    /// The names of all services of the file, longest first, so that none is found within another.
    pub(crate) fn names(deploy: &Path) -> anyhow::Result<Vec<String>> {
        let path = deploy.join("compose.yaml");
        let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        let document: Value = serde_yaml_ng::from_str(&text)?;
        let services = document.get("services").and_then(Value::as_mapping).context("compose.yaml has no services")?;
        let mut names: Vec<String> = services.keys().filter_map(|key| Some(key.as_str()?.to_owned())).collect();
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        Ok(names)
    }
}

/// The `NAME=value` lines of a file.
///
/// # Errors
/// If it cannot be read, or a line has no `=`.
pub(crate) fn variables(path: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) =
                line.split_once('=').with_context(|| format!("{}: `{line}`; accepted: NAME=value", path.display()))?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        })
        .collect()
}

/// `<<: *anchor`, wherever it stands, also in what it brings.
fn merge(value: &mut Value) -> anyhow::Result<()> {
    match value {
        Value::Mapping(mapping) => {
            while let Some(merged) = mapping.remove("<<") {
                let Value::Mapping(merged) = merged else { bail!("`<<` wants one mapping") };
                for (key, value) in merged {
                    if !mapping.contains_key(&key) {
                        mapping.insert(key, value);
                    }
                }
            }
            mapping.iter_mut().try_for_each(|(_, value)| merge(value))
        }
        Value::Sequence(items) => items.iter_mut().try_for_each(merge),
        _ => Ok(()),
    }
}

/// `${NAME:-default}`, `${NAME:?message}`, `${NAME}` and `$$` in every text, after the Compose specification.
fn interpolate(value: &mut Value, variables: &BTreeMap<String, String>) -> anyhow::Result<()> {
    match value {
        Value::Mapping(mapping) => mapping.iter_mut().try_for_each(|(_, value)| interpolate(value, variables)),
        Value::Sequence(items) => items.iter_mut().try_for_each(|item| interpolate(item, variables)),
        Value::String(text) => {
            *text = filled_in(text, variables)?;
            Ok(())
        }
        _ => Ok(()),
    }
}

fn filled_in(text: &str, variables: &BTreeMap<String, String>) -> anyhow::Result<String> {
    let form = Regex::new(r"\$\$|\$\{(?<name>\w+)(?:(?<kind>:-|:\?)(?<rest>[^}]*))?\}")?;
    let mut missing = None;
    let filled = form.replace_all(text, |found: &Captures<'_>| {
        let Some(name) = found.name("name") else { return "$".to_owned() };
        let value = variables.get(name.as_str()).filter(|value| !value.is_empty());
        let rest = found.name("rest").map_or("", |rest| rest.as_str());
        match (value, found.name("kind").map(|kind| kind.as_str())) {
            (Some(value), _) => value.clone(),
            (None, Some(":-")) => rest.to_owned(),
            (None, Some(_)) => {
                missing = Some(format!("{} is not set: {rest}", name.as_str()));
                String::new()
            }
            (None, None) => String::new(),
        }
    });
    let filled = filled.into_owned();
    missing.map_or(Ok(filled), |missing| Err(anyhow!(missing)))
}

/// `127.0.0.1:9091:9090`: the port inside and that on this machine.
fn parse_port(text: &str) -> anyhow::Result<(u16, u16)> {
    let parse = || {
        let (outside, inside) = text.strip_prefix("127.0.0.1:")?.split_once(':')?;
        Some((inside.parse().ok()?, outside.parse().ok()?))
    };
    parse().with_context(|| format!("`{text}`; accepted: 127.0.0.1:<port of this machine>:<port inside>"))
}

/// `./file:/inside:ro`, `volume:/inside`.
fn parse_mount(text: &str, deploy: &Path) -> anyhow::Result<Mount> {
    let mut parts = text.split(':');
    let (Some(source), Some(target)) = (parts.next(), parts.next()) else {
        bail!("`{text}`; accepted: ./path:/inside or volume:/inside, with :ro");
    };
    let source = match source.strip_prefix("./") {
        Some(relative) => Source::Host(deploy.join(relative)),
        None if source.starts_with('/') => Source::Host(PathBuf::from(source)),
        None => Source::Volume(source.to_owned()),
    };
    Ok(Mount { source, target: target.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
x-a: &a {mem_limit: 1g, profiles: [full]}
x-b: &b {<<: *a, profiles: [core, full]}
services:
  one:
    <<: *b
    image: "one:${VERSION:-1}"
    command: [--price=5$$]
    environment: {URL: "${URL:?say it}"}
    volumes: [./one.yaml:/etc/one.yaml:ro, one:/data, /:/host:ro]
    ports: ["127.0.0.1:9091:9090"]
  two: {<<: *a, image: two}
"#;

    fn parse(profile: Profile, variables: &[(&str, &str)]) -> anyhow::Result<Compose> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Compose::parse(TEXT, Path::new("/deploy"), profile, &variables)
    }

    #[test]
    fn a_service_has_what_it_says_and_what_it_merges() {
        let compose = parse(Profile::Core, &[("URL", "http://two:1")]).unwrap();
        assert_eq!(compose.services.keys().collect::<Vec<_>>(), ["one"]);
        let one = &compose.services["one"];
        assert_eq!((one.image.as_str(), one.command[0].as_str()), ("one:1", "--price=5$"));
        assert_eq!(one.environment["URL"], "http://two:1");
        assert_eq!(one.mounts[0].source, Source::Host(PathBuf::from("/deploy/one.yaml")));
        assert_eq!(one.mounts[1].source, Source::Volume("one".to_owned()));
        assert_eq!(one.mounts[2].target, "/host");
        assert_eq!((compose.host_port("one", 9090), compose.host_port("one", 80)), (9091, 80));
        assert_eq!(parse(Profile::Full, &[("URL", "x")]).unwrap().services.len(), 2);
    }

    #[test]
    fn a_variable_that_must_be_set_is_named() {
        let error = format!("{:#}", parse(Profile::Core, &[]).unwrap_err());
        assert_eq!(error, "URL is not set: say it");
    }

    #[test]
    fn a_port_on_all_interfaces_is_refused() {
        for wrong in ["9091:9090", "0.0.0.0:9091:9090", "127.0.0.1:9091"] {
            assert!(format!("{:#}", parse_port(wrong).unwrap_err()).contains("accepted"), "{wrong}");
        }
    }
}
