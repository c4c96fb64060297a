//! The programs behind the services, for the process runtime: how they are called, how to get them, how they say that they are
//! ready, and which of our settings are newer than they may be.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use serde_yaml_ng::Value;

/// A service's program.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) service: &'static str,
    /// Its names, the usual one first. Empty for the example program, which cargo builds.
    pub(crate) names: &'static [&'static str],
    pub(crate) install: &'static str,
    /// The port inside and the path that answer 200 when it is ready.
    pub(crate) ready: (u16, &'static str),
    /// What a person opens in a browser or asks, if anything.
    pub(crate) opened: Option<&'static str>,
}

/// The image of the example program, which cargo builds.
pub(crate) const SHOP_IMAGE: &str = "lgtm-shop";

pub(crate) const PROGRAMS: &[Program] = &[
    Program {
        service: "loki",
        names: &["loki"],
        install: "https://github.com/grafana/loki/releases, or the package loki of Grafana's repository",
        ready: (3100, "/ready"),
        opened: Some("logs, LogQL"),
    },
    Program {
        service: "tempo",
        names: &["tempo"],
        install: "https://github.com/grafana/tempo/releases, or the package tempo of Grafana's repository",
        ready: (3200, "/ready"),
        opened: Some("traces, TraceQL"),
    },
    Program {
        service: "mimir",
        names: &["mimir"],
        install: "https://github.com/grafana/mimir/releases, or the package mimir of Grafana's repository",
        ready: (9009, "/ready"),
        opened: Some("metrics, PromQL under /prometheus"),
    },
    Program {
        service: "prometheus",
        names: &["prometheus"],
        install: "https://prometheus.io/download, or the package prometheus of Debian",
        ready: (9090, "/-/ready"),
        opened: Some("metrics, PromQL, rules and alerts"),
    },
    Program {
        service: "alertmanager",
        names: &["alertmanager", "prometheus-alertmanager"],
        install: "https://prometheus.io/download, or the package prometheus-alertmanager of Debian",
        ready: (9093, "/-/ready"),
        opened: Some("alerts and silences"),
    },
    Program {
        service: "node-exporter",
        names: &["node_exporter", "prometheus-node-exporter"],
        install: "https://prometheus.io/download, or the package prometheus-node-exporter of Debian",
        ready: (9100, "/metrics"),
        opened: None,
    },
    Program {
        service: "grafana",
        names: &["grafana"],
        install: "https://grafana.com/grafana/download, or the package grafana of Grafana's repository",
        ready: (3000, "/api/health"),
        opened: Some("dashboards; user admin, the password is in deploy/.env"),
    },
    Program {
        service: "storefront",
        names: &[],
        install: "cargo builds it",
        ready: (3000, "/healthz"),
        opened: Some("the example program: GET /products/34, POST /orders {\"sku\":221}"),
    },
    Program { service: "inventory", names: &[], install: "cargo builds it", ready: (3002, "/healthz"), opened: None },
    Program { service: "alerts", names: &[], install: "cargo builds it", ready: (3003, "/healthz"), opened: None },
];

/// A setting that older programs refuse. What Debian's packages are too old for is listed here and nowhere else.
struct Newer {
    service: &'static str,
    since: (u32, u32),
    what: What,
}

enum What {
    /// A key of a mapping in the configuration: the mapping's key at the top, and its own.
    Key(&'static str, &'static str),
    Argument(&'static str),
}

const NEWER: &[Newer] = &[
    Newer { service: "prometheus", since: (3, 8), what: What::Key("global", "scrape_native_histograms") },
    Newer { service: "prometheus", since: (3, 0), what: What::Argument("--web.enable-otlp-receiver") },
    Newer {
        service: "prometheus",
        since: (2, 54),
        what: What::Argument("--web.remote-write-receiver.accepted-protobuf-messages"),
    },
];

/// What a program wants before it does what newer versions do without being asked.
const ASKED_FOR_UNTIL: &[(&str, (u32, u32), &str)] = &[("prometheus", (3, 8), "--enable-feature=native-histograms")];

impl Program {
    /// The program of a service.
    pub(crate) fn of(service: &str) -> Option<&'static Self> {
        PROGRAMS.iter().find(|program| program.service == service)
    }

    /// Its file on the path, by the first of its names that is there.
    pub(crate) fn find(&self) -> Option<PathBuf> {
        self.names.iter().find_map(|name| on_path(name))
    }
}

/// How to get the program of a service.
pub(crate) fn install(service: &str) -> &'static str {
    Program::of(service).map_or("its own project", |program| program.install)
}

/// An executable file of this name in a folder of `PATH`.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let name = format!("{name}{}", env::consts::EXE_SUFFIX);
    env::split_paths(&path).map(|folder| folder.join(&name)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    #[cfg(unix)]
    let executable = |metadata: &std::fs::Metadata| {
        use std::os::unix::fs::PermissionsExt as _;
        metadata.permissions().mode() & 0o111 != 0
    };
    #[cfg(not(unix))]
    let executable = |_: &std::fs::Metadata| true;
    file.metadata().is_ok_and(|metadata| metadata.is_file() && executable(&metadata))
}

/// The first two numbers of a program's version, as it says them itself.
pub(crate) fn version(program: &Path) -> Option<(u32, u32)> {
    let output = Command::new(program).arg("--version").output().ok()?;
    parse_version(&String::from_utf8_lossy(&[output.stdout, output.stderr].concat()))
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let found = Regex::new(r"version v?(\d+)\.(\d+)").ok()?.captures(text)?;
    Some((found[1].parse().ok()?, found[2].parse().ok()?))
}

/// Takes out of a configuration what `version` does not know yet, and names it.
pub(crate) fn without_newer_keys(service: &str, version: (u32, u32), document: &mut Value) -> Vec<String> {
    let newer = NEWER.iter().filter(|newer| newer.service == service && version < newer.since);
    newer
        .filter_map(|newer| match newer.what {
            What::Key(mapping, key) => {
                document.get_mut(mapping)?.as_mapping_mut()?.remove(key)?;
                Some(format!("{mapping}.{key}"))
            }
            What::Argument(_) => None,
        })
        .collect()
}

/// Takes out of the arguments what `version` does not know yet, and names it.
pub(crate) fn without_newer_arguments(service: &str, version: (u32, u32), arguments: &mut Vec<String>) -> Vec<String> {
    let newer = NEWER.iter().filter(|newer| newer.service == service && version < newer.since);
    let mut named = Vec::new();
    for newer in newer {
        let What::Argument(name) = newer.what else { continue };
        let before = arguments.len();
        arguments.retain(|argument| argument.split('=').next() != Some(name));
        if arguments.len() < before {
            named.push(name.to_owned());
        }
    }
    named
}

/// Adds to the arguments what `version` must be asked for.
pub(crate) fn ask_for(service: &str, version: (u32, u32), arguments: &mut Vec<String>) {
    let asked = ASKED_FOR_UNTIL.iter().filter(|(of, until, _)| *of == service && version < *until);
    arguments.extend(asked.map(|(_, _, argument)| (*argument).to_owned()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_the_programs_say_them() {
        for (text, expected) in [
            ("prometheus, version 2.42.0+ds (branch: debian/sid)", Some((2, 42))),
            ("tempo, version v3.0.3 (branch: HEAD", Some((3, 0))),
            ("flag provided but not defined", None),
        ] {
            assert_eq!(parse_version(text), expected);
        }
    }

    #[test]
    fn only_what_a_program_is_too_old_for_is_taken_out_and_named() {
        let mut document: Value =
            serde_yaml_ng::from_str("global: {scrape_interval: 15s, scrape_native_histograms: true}").unwrap();
        assert!(without_newer_keys("prometheus", (3, 14), &mut document).is_empty());
        assert_eq!(without_newer_keys("prometheus", (2, 42), &mut document), ["global.scrape_native_histograms"]);
        assert_eq!(document, serde_yaml_ng::from_str::<Value>("global: {scrape_interval: 15s}").unwrap());
        let mut arguments = ["--web.enable-otlp-receiver", "--storage.tsdb.path=/x"].map(str::to_owned).to_vec();
        assert_eq!(without_newer_arguments("prometheus", (2, 42), &mut arguments), ["--web.enable-otlp-receiver"]);
        assert_eq!(arguments, ["--storage.tsdb.path=/x"]);
        ask_for("prometheus", (3, 14), &mut arguments);
        ask_for("prometheus", (2, 42), &mut arguments);
        assert_eq!(arguments, ["--storage.tsdb.path=/x", "--enable-feature=native-histograms"]);
    }
}
