//! A service's configuration as its program finds it on this machine: host names become loopback addresses with the published
//! ports, paths those of the workspace, and what is not there is taken out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use regex::{Captures, Regex};
use serde_yaml_ng::{Mapping, Value};

/// Keys with a port that the service listens on.
const PORT_KEYS: [&str; 3] = ["http_listen_port", "grpc_listen_port", "bind_port"];

/// Where the ports of services are on this machine.
pub(crate) trait Places {
    /// The port of this machine for a service's own one; `None` where nothing listens there.
    fn port(&self, service: &str, inside: u16) -> Option<u16>;

    /// The port of this machine that a service would have if it ran.
    fn port_if_it_ran(&self, service: &str, inside: u16) -> u16;
}

/// Rewrites what one service reads.
pub(crate) struct Rewriter<'a> {
    service: String,
    places: &'a dyn Places,
    hosts: Regex,
    paths: Option<Regex>,
    here: BTreeMap<String, PathBuf>,
    /// Texts that are replaced before anything else.
    instead: Vec<(String, String)>,
}

impl<'a> Rewriter<'a> {
    /// `names` are the host names of all services, `here` the paths inside with what they are on this machine.
    ///
    /// # Errors
    /// If a name cannot be part of a regular expression.
    pub(crate) fn new(
        service: &str,
        names: &[String],
        here: BTreeMap<String, PathBuf>,
        places: &'a dyn Places,
    ) -> anyhow::Result<Self> {
        let names: Vec<String> = names.iter().map(|name| regex::escape(name)).collect();
        let hosts = format!(
            r"(?<before>^|[^\w.-])(?<host>0\.0\.0\.0|127\.0\.0\.1|localhost|{}):(?<port>\d+)\b",
            names.join("|")
        );
        let mut targets: Vec<&String> = here.keys().collect();
        targets.sort_by_key(|target| std::cmp::Reverse(target.len()));
        let targets: Vec<String> = targets.into_iter().map(|target| regex::escape(target)).collect();
        let paths = format!(r#"(?<before>^|[=\s"'])(?<path>{})(?<after>/|$|[\s"'])"#, targets.join("|"));
        let paths = (!here.is_empty()).then(|| Regex::new(&paths)).transpose().context("the paths of a service")?;
        let hosts = Regex::new(&hosts).context("the names of the services")?;
        Ok(Self { service: service.to_owned(), places, hosts, paths, here, instead: Vec::new() })
    }

    /// From now on `text` is read as `instead`.
    pub(crate) fn replace(&mut self, text: &str, instead: &str) {
        self.instead.push((text.to_owned(), instead.to_owned()));
    }

    /// A text with its hosts, ports and paths as they are on this machine.
    pub(crate) fn text(&self, text: &str) -> String {
        self.rewritten(text, |found| self.place(found))
    }

    /// A variable's value: a program is told where a service would be also while that does not run.
    pub(crate) fn variable(&self, text: &str) -> String {
        self.rewritten(text, |found| {
            let port = found["port"].parse().ok()?;
            self.place(found).or_else(|| Some(self.places.port_if_it_ran(self.host(found), port)))
        })
    }

    fn rewritten(&self, text: &str, place: impl Fn(&Captures<'_>) -> Option<u16>) -> String {
        let text = self.instead.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
        let text = self.hosts.replace_all(&text, |found: &Captures<'_>| match place(found) {
            Some(port) => format!("{}127.0.0.1:{port}", &found["before"]),
            None => found[0].to_owned(),
        });
        let Some(paths) = &self.paths else { return text.into_owned() };
        let path = |found: &Captures<'_>| {
            format!("{}{}{}", &found["before"], self.here[&found["path"]].display(), &found["after"])
        };
        paths.replace_all(&text, path).into_owned()
    }

    fn place(&self, found: &Captures<'_>) -> Option<u16> {
        self.places.port(self.host(found), found["port"].parse().ok()?)
    }

    fn host<'t>(&'t self, found: &'t Captures<'_>) -> &'t str {
        match &found["host"] {
            "0.0.0.0" | "127.0.0.1" | "localhost" => &self.service,
            other => other,
        }
    }

    /// Whether a text names a place where nothing listens.
    fn is_absent(&self, text: &str) -> bool {
        let text = self.instead.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
        self.hosts.captures_iter(&text).any(|found| self.place(&found).is_none())
    }

    /// A document with everything in it rewritten, and without the items of lists that name a place where nothing listens.
    pub(crate) fn document(&self, value: Value) -> Value {
        match value {
            Value::Mapping(mapping) => self.mapping(mapping),
            Value::Sequence(items) => {
                let kept = items.into_iter().filter(|item| !self.item_is_absent(item));
                Value::Sequence(kept.map(|item| self.document(item)).collect())
            }
            Value::String(text) => Value::String(self.text(&text)),
            other => other,
        }
    }

    fn item_is_absent(&self, item: &Value) -> bool {
        match item {
            Value::String(text) => self.is_absent(text),
            Value::Mapping(mapping) => mapping.values().filter_map(Value::as_str).any(|text| self.is_absent(text)),
            _ => false,
        }
    }

    fn mapping(&self, mapping: Mapping) -> Value {
        let mut rewritten = Mapping::new();
        for (key, value) in mapping {
            let is_port = key.as_str().is_some_and(|key| PORT_KEYS.contains(&key));
            let port = value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|_| is_port);
            let value = match port.and_then(|port| self.places.port(&self.service, port)) {
                Some(port) => Value::from(port),
                None => self.document(value),
            };
            rewritten.insert(key, value);
        }
        if rewritten.contains_key("http_listen_port") {
            // Inside a container all interfaces are its own; here they are everybody's.
            for key in ["http_listen_address", "grpc_listen_address"] {
                rewritten.insert(key.into(), "127.0.0.1".into());
            }
        }
        Value::Mapping(rewritten)
    }
}

/// Lays `over` over `base`: mappings key by key, items of lists by their `name`, `null` takes away, all else replaces.
pub(crate) fn lay_over(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Mapping(base), Value::Mapping(over)) => {
            for (key, value) in over {
                match (base.get_mut(&key), value) {
                    (_, Value::Null) => drop(base.remove(&key)),
                    (Some(base), value) => lay_over(base, value),
                    (None, value) => drop(base.insert(key, value)),
                }
            }
        }
        (Value::Sequence(base), Value::Sequence(over)) if over.iter().all(|item| item.get("name").is_some()) => {
            for item in over {
                match base.iter_mut().find(|old| old.get("name") == item.get("name")) {
                    Some(old) => lay_over(old, item),
                    None => base.push(item),
                }
            }
        }
        (base, over) => *base = over,
    }
}

/// Reads a YAML file.
///
/// # Errors
/// If it cannot be read or is not YAML.
pub(crate) fn read(path: &Path) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    serde_yaml_ng::from_str(&text).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Two;

    impl Places for Two {
        fn port(&self, service: &str, inside: u16) -> Option<u16> {
            match service {
                "loki" => Some(inside + 1000),
                "prometheus" if inside == 9090 => Some(9091),
                _ => None,
            }
        }

        fn port_if_it_ran(&self, _: &str, inside: u16) -> u16 {
            inside + 2000
        }
    }

    fn rewriter() -> Rewriter<'static> {
        let names = ["alertmanager", "prometheus", "loki", "mimir"].map(str::to_owned);
        let here = [("/loki", "/here/data"), ("/etc/loki/rules", "/here/rules")];
        let here = here.into_iter().map(|(inside, here)| (inside.to_owned(), PathBuf::from(here))).collect();
        Rewriter::new("loki", &names, here, &Two).unwrap()
    }

    #[test]
    fn hosts_ports_and_paths_are_those_of_this_machine() {
        for (text, expected) in [
            ("http://prometheus:9090/api", "http://127.0.0.1:9091/api"),
            ("0.0.0.0:4317", "127.0.0.1:5317"),
            ("-config.file=/etc/loki/rules/a.yaml", "-config.file=/here/rules/a.yaml"),
            ("/loki", "/here/data"),
            ("/loki/chunks", "/here/data/chunks"),
            ("/lokis", "/lokis"),
            ("http://prometheus:9090/loki/api", "http://127.0.0.1:9091/loki/api"),
            ("my-loki:3100", "my-loki:3100"),
            ("mimir:9009", "mimir:9009"),
        ] {
            assert_eq!(rewriter().text(text), expected);
        }
        assert_eq!(rewriter().variable("http://mimir:9009"), "http://127.0.0.1:11009");
        assert_eq!(rewriter().variable("http://loki:3100"), "http://127.0.0.1:4100");
    }

    #[test]
    fn what_is_not_there_is_taken_out_of_lists_and_the_rest_stays() {
        let document = "
server: {http_listen_port: 3100}
remote_write: [{url: http://mimir:9009/push}, {url: http://prometheus:9090/write}]
targets: [alertmanager:9093]
path_prefix: /loki
";
        let rewritten = rewriter().document(serde_yaml_ng::from_str(document).unwrap());
        let expected = "
server: {http_listen_port: 4100, http_listen_address: 127.0.0.1, grpc_listen_address: 127.0.0.1}
remote_write: [{url: http://127.0.0.1:9091/write}]
targets: []
path_prefix: /here/data
";
        assert_eq!(rewritten, serde_yaml_ng::from_str::<Value>(expected).unwrap());
    }

    #[test]
    fn a_stand_in_is_there_where_the_other_is_not() {
        let mut rewriter = rewriter();
        rewriter.replace("http://mimir:9009/push", "http://prometheus:9090/write");
        let document: Value = serde_yaml_ng::from_str("[{url: http://mimir:9009/push}, mimir:9009]").unwrap();
        let expected: Value = serde_yaml_ng::from_str("[{url: http://127.0.0.1:9091/write}]").unwrap();
        assert_eq!(rewriter.document(document), expected);
    }

    #[test]
    fn an_overlay_adds_replaces_and_takes_away() {
        let mut base: Value =
            serde_yaml_ng::from_str("{a: {b: 1, c: 2}, d: [1], r: [{name: x, u: 1}, {name: y}]}").unwrap();
        lay_over(&mut base, serde_yaml_ng::from_str("{a: {b: null, e: 3}, d: [2, 3], r: [{name: x, v: 2}]}").unwrap());
        let expected: Value =
            serde_yaml_ng::from_str("{a: {c: 2, e: 3}, d: [2, 3], r: [{name: x, u: 1, v: 2}, {name: y}]}").unwrap();
        assert_eq!(base, expected);
    }
}
