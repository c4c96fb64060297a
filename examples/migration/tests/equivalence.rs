//! Before and after a migration the same data arrives: the programs of the book's migration pages run against a development stack each, and
//! what they sent is compared, item by item. What differs is named here, and on the page: nothing else may.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed step fails the test, also in its helpers"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use lgtm_devstack::{Attributes, Devstack, LogEntry, ScrapeTarget, Span};
use serde_json::Value;

/// The bound on everything that a test waits for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A log line, a span, a console line or a family of series: what it says, by names such as `label level` or `attribute rows`.
type Item = BTreeMap<String, String>;

/// How items may differ: exactly so. The last word of each name stands on the page.
struct Differences {
    /// Under another name afterwards.
    renamed: &'static [(&'static str, &'static str)],
    /// Not there any more.
    lost: &'static [&'static str],
    /// New.
    gained: &'static [&'static str],
    /// Another value.
    changed: &'static [&'static str],
    /// The page.
    page: &'static str,
}

impl Differences {
    #[track_caller]
    fn hold(&self, before: &[Item], after: &[Item]) {
        assert!(!before.is_empty());
        assert_eq!(before.len(), after.len(), "before: {before:#?}\nafter: {after:#?}");
        let (mut renamed, mut lost, mut gained, mut changed) = <(Names, Names, Names, Names)>::default();
        for (before, after) in before.iter().zip(after) {
            let mut rest = after.clone();
            for (name, value) in before {
                let other = self.renamed.iter().find(|(old, _)| old == name);
                renamed.extend(other.map(|(old, _)| (*old).to_owned()));
                match rest.remove(other.map_or(name.as_str(), |(_, new)| new)) {
                    None => drop(lost.insert(name.clone())),
                    Some(now) if now != *value => drop(changed.insert(name.clone())),
                    Some(_) => {}
                }
            }
            gained.extend(rest.into_keys());
        }
        let said = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Names>();
        let told = self.renamed.iter().map(|(old, _)| *old).collect::<Vec<_>>();
        let found = [("renamed", renamed), ("lost", lost), ("gained", gained), ("changed", changed)];
        let named = [said(&told), said(self.lost), said(self.gained), said(self.changed)];
        for ((kind, found), named) in found.iter().zip(&named) {
            assert_eq!(found, named, "{kind}; before: {before:#?}\nafter: {after:#?}");
        }
        let new = self.renamed.iter().map(|(_, new)| (*new).to_owned());
        for name in named.into_iter().flatten().chain(new) {
            let word = format!("`{}`", name.split(' ').next_back().unwrap_or_default());
            assert!(self.page.contains(&word), "the page does not name {word} among the differences");
        }
    }
}

type Names = BTreeSet<String>;

/// A program with these variables alone.
fn command(program: &str, variables: &[(&str, String)]) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(variables.iter().map(|(name, value)| (*name, value.as_str())));
    command
}

/// Runs a program to its end, with the addresses of a stack of its own.
fn run(program: &str) -> (Devstack, Output) {
    let stack = Devstack::start_blocking().expect("a development stack");
    let variables = [
        ("LOKI_URL", stack.loki_url()),
        ("MIMIR_ENDPOINT", stack.mimir_url()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", stack.otlp_grpc_url()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc".to_owned()),
        ("OTEL_SERVICE_NAME", "shop".to_owned()),
    ];
    let output = command(program, &variables).output().expect("the program runs");
    assert!(output.status.success(), "{program}: {output:?}");
    (stack, output)
}

fn line(entry: &LogEntry) -> Item {
    let mut item = Item::new();
    let json = entry.json().expect("a line of JSON");
    for (name, value) in json.as_object().expect("an object") {
        item.insert(format!("field {name}"), value.to_string());
    }
    let texts = |texts: &BTreeMap<String, String>, kind: &str, item: &mut Item| {
        for (name, value) in texts {
            // Numbers stay numbers where they are compared with a field.
            let value = value.parse::<u64>().map_or_else(|_| Value::from(value.as_str()), Value::from);
            item.insert(format!("{kind} {name}"), value.to_string());
        }
    };
    texts(&entry.labels, "label", &mut item);
    texts(&entry.structured_metadata, "metadata", &mut item);
    item
}

#[test]
fn tracing_loki_and_lgtm_send_the_same_lines() {
    let lines = |program| run(program).0.store().logs().iter().map(|entry| line(entry)).collect::<Vec<_>>();
    let before = lines(env!("CARGO_BIN_EXE_loki_before"));
    let after = lines(env!("CARGO_BIN_EXE_loki_after"));
    assert_eq!(before.len(), 3);
    let differences = Differences {
        renamed: &[
            ("field _file", "metadata code_file_path"),
            ("field _line", "metadata code_line_number"),
            ("field _spans", "field spans"),
            ("field _target", "field target"),
        ],
        lost: &["field _module_path"],
        gained: &[
            "field level",
            "label service",
            "metadata service_instance_id",
            "metadata span_id",
            "metadata target",
            "metadata trace_id",
            "metadata trace_sampled",
        ],
        changed: &[],
        page: include_str!("../../../docs/book/migration/tracing-loki.md"),
    };
    differences.hold(&before, &after);
}

/// What spans say, by their names; ids as what they lead to.
fn spans(stack: &Devstack) -> Vec<Item> {
    let spans = stack.store().spans();
    let name_of = |id: &String| spans.iter().find(|span| span.span_id == *id).map(|span| span.name.clone());
    let mut items: Vec<Item> = spans
        .iter()
        .map(|span| {
            let parent = span.parent_span_id.as_ref().map(|id| name_of(id).unwrap_or_else(|| format!("remote {id}")));
            item(span, parent)
        })
        .collect();
    items.sort_by_key(|item| item["name"].clone());
    items
}

fn item(span: &Span, parent: Option<String>) -> Item {
    let mut item = Item::new();
    item.insert("name".to_owned(), span.name.clone());
    item.insert("kind".to_owned(), format!("{:?}", span.kind));
    item.insert("parent".to_owned(), format!("{parent:?}"));
    item.insert("status code".to_owned(), format!("{:?}", span.status.code));
    item.insert("status message".to_owned(), span.status.message.clone());
    item.insert("scope".to_owned(), span.scope.name.clone());
    let mut attributes = |kind: &str, attributes: &Attributes| {
        for (name, value) in attributes.iter() {
            let value =
                format!("{value:?}").replace(&span.span_id, "(the span)").replace(&span.trace_id, "(the trace)");
            item.insert(format!("{kind} {name}"), value);
        }
    };
    attributes("attribute", &span.attributes);
    attributes("resource", &span.resource);
    for event in &span.events {
        attributes(&format!("event, {}:", event.name), &event.attributes);
    }
    item
}

/// Spans have what OpenTelemetry's layer adds to each: not here, unless `span_detail` asks for it.
const DETAIL: &[&str] = &[
    "attribute busy_ns",
    "attribute code.file.path",
    "attribute code.line.number",
    "attribute code.module.name",
    "attribute idle_ns",
    "attribute target",
    "attribute thread.id",
    "attribute thread.name",
];
const CHANGED: &[&str] = &["resource telemetry.sdk.name", "resource telemetry.sdk.version", "scope", "status message"];

/// Events lose where they are in the code: their log lines have it.
fn without_places(spans: Vec<Item>) -> Vec<Item> {
    let is_place = |name: &str| name.starts_with("event, ") && name.contains(": code.");
    let places: usize = spans.iter().flat_map(Item::keys).filter(|name| is_place(name)).count();
    assert!(places > 0, "{spans:#?}");
    spans.into_iter().map(|span| span.into_iter().filter(|(name, _)| !is_place(name)).collect()).collect()
}

#[test]
fn tracing_opentelemetry_and_lgtm_send_the_same_spans() {
    let before = without_places(spans(&run(env!("CARGO_BIN_EXE_opentelemetry_before")).0));
    let after = spans(&run(env!("CARGO_BIN_EXE_opentelemetry_after")).0);
    assert_eq!(before.len(), 2);
    let root = before.iter().find(|span| span["name"] == "POST /orders").expect("the request's span");
    assert_eq!(root["parent"], "Some(\"remote 00f067aa0ba902b7\")");
    let asked = &root["event, the warehouse was asked: traceparent"];
    assert!(asked.contains("00-(the trace)-(the span)-01"), "{asked}");
    let page = include_str!("../../../docs/book/migration/tracing-opentelemetry.md");
    let gained = &["resource service.instance.id"];
    Differences { renamed: &[], lost: DETAIL, gained, changed: CHANGED, page }.hold(&before, &after);
}

/// The lines of this program's own events on an output; those of libraries are left out.
fn console(output: &[u8], stack: &Devstack) -> Vec<Item> {
    let traces: BTreeSet<String> = stack.store().spans().iter().map(|span| span.trace_id.clone()).collect();
    let objects = String::from_utf8_lossy(output)
        .lines()
        .map(|line| serde_json::from_str::<BTreeMap<String, Value>>(line).expect("a line of JSON"))
        .filter(|line| line["target"] == "migration")
        .collect::<Vec<_>>();
    let item = |object: BTreeMap<String, Value>| {
        let of = |(name, value): (String, Value)| match value.as_str() {
            Some(id) if traces.contains(id) => (name, "(the trace)".to_owned()),
            _ => (name, value.to_string()),
        };
        object.into_iter().map(of).collect()
    };
    objects.into_iter().map(item).collect()
}

#[test]
fn init_tracing_opentelemetry_and_lgtm_send_the_same_spans_and_show_the_same_lines() {
    let (stack_before, output_before) = run(env!("CARGO_BIN_EXE_init_before"));
    let (stack_after, output_after) = run(env!("CARGO_BIN_EXE_init_after"));
    let (before, after) = (without_places(spans(&stack_before)), spans(&stack_after));
    assert_eq!(before.len(), 2);
    let page = include_str!("../../../docs/book/migration/init-tracing-opentelemetry.md");
    let gained = &["resource service.instance.id"];
    Differences { renamed: &[], lost: DETAIL, gained, changed: CHANGED, page }.hold(&before, &after);

    let lines_before = console(&output_before.stdout, &stack_before);
    let lines_after = console(&output_after.stderr, &stack_after);
    assert_eq!(lines_before.len(), 3);
    let lines = Differences { renamed: &[], lost: &["filename"], gained: &["span_id"], changed: &["timestamp"], page };
    lines.hold(&lines_before, &lines_after);
    assert_eq!(lines_after[0]["trace_id"], "(the trace)");
}

/// A program that serves its metrics; it ends with its input.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// What a scrape of the program gives.
fn scraped(program: &str) -> Item {
    // The port is free when it is chosen; who finds it taken ends, and another one is chosen.
    (0..10).find_map(|_| scraped_once(program)).unwrap_or_else(|| panic!("{program} finds no free port"))
}

/// A value for each series, and what is said of each family; nothing if the program has ended before its scrape.
fn scraped_once(program: &str) -> Option<Item> {
    let stack = Devstack::start_blocking().expect("a development stack");
    let address = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a free port");
    let variables =
        [("METRICS_ADDR", address.to_string()), ("LOKI_URL", "off".to_owned()), ("TEMPO_ENDPOINT", "off".to_owned())];
    let mut served = Served(command(program, &variables).stdin(Stdio::piped()).spawn().expect("the program runs"));
    let target = ScrapeTarget::new(format!("http://{address}/metrics")).job("shop");
    let begin = Instant::now();
    let has_orders = |stack: &Devstack| !stack.store().series_named("stock_copies").is_empty();
    while stack.scrape_blocking(&target).is_err() || !has_orders(&stack) {
        if served.0.try_wait().expect("the program's state").is_some() {
            return None;
        }
        assert!(begin.elapsed() < PATIENCE, "{program}: {:?}", stack.scrape_status());
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut item = Item::new();
    let scrapers_own = ["up", "scrape_duration_seconds"];
    for series in stack.store().series().iter().filter(|series| !scrapers_own.contains(&series.name())) {
        let mut labels = series.labels.clone();
        labels.retain(|name, _| !matches!(name.as_str(), "__name__" | "job" | "instance"));
        item.insert(format!("{} {labels:?}", series.name()), format!("{:?}", series.last_value()));
    }
    for (name, family) in stack.store().metric_metadata() {
        item.insert(format!("{name} type"), format!("{:?}", family.metric_type));
        item.insert(format!("{name} help"), family.help.clone());
        item.insert(format!("{name} unit"), family.unit.clone());
    }
    Some(item)
}

#[test]
fn metrics_exporter_prometheus_and_lgtm_offer_the_same_series() {
    let before = scraped(env!("CARGO_BIN_EXE_prometheus_before"));
    let mut after = scraped(env!("CARGO_BIN_EXE_prometheus_after"));
    let all = after.len();
    // lgtm's own, and those of features that this program does not ask for: a workspace has one set of them.
    after.retain(|name, _| !["otlp_", "process_", "tokio_"].iter().any(|own| name.starts_with(own)));
    assert!(after.len() < all, "lgtm's own series");
    assert!(before.contains_key(r#"orders_total {"payment": "card"}"#), "{before:#?}");
    let page = include_str!("../../../docs/book/migration/metrics-exporter-prometheus.md");
    assert!(page.contains("`otlp_*`"));
    let differences = Differences {
        // OpenMetrics: a counter's family has no `_total`.
        renamed: &[
            ("orders_total help", "orders help"),
            ("orders_total type", "orders type"),
            ("orders_total unit", "orders unit"),
        ],
        lost: &[],
        gained: &[],
        changed: &["order_duration_seconds unit"],
        page,
    };
    differences.hold(&[before], &[after]);
}
