//! The whole stack: started, used, asked, watched, and with one service gone.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::harness::{self, Stack, are_there, wait_for};
use super::pages;

const PROGRAMS: &[&[&str]] = &[
    &["loki"],
    &["tempo"],
    &["prometheus"],
    &["alertmanager", "prometheus-alertmanager"],
    &["node_exporter", "prometheus-node-exporter"],
];
const OFFSET: u16 = 10_000;
/// Metrics that a dashboard or rule names and that a healthy demo of the example program does not have, with the reason.
const NOT_SEEN: &[(&str, &str)] = &[
    ("otlp_logs_label_overflow_total", "the example program makes no stream label of a field"),
    ("loki_discarded_samples_total", "within its limits Loki discards nothing"),
    ("tempo_discarded_spans_total", "within its limits Tempo discards nothing"),
];

#[test]
fn the_stack_is_up_linked_and_watched_and_says_what_is_gone() {
    if !are_there(PROGRAMS) {
        return;
    }
    let stack = Stack::up(OFFSET, "full", &[]);
    let runtime = harness::runtime();
    let storefront = stack.url(3000);
    runtime.block_on(harness::buy(&harness::http(), &storefront, 60));

    assert!(stack.xtask(&["stack", "status"]).ok);
    // Long enough for a push before the last one: what a program says of its pushes comes with the next.
    let demo = stack.xtask(&["demo", "--against", "stack", "--for", "18s"]);
    assert!(demo.ok && demo.output.contains("Nothing was lost, and every link leads on."));
    let doctor = stack.xtask(&["doctor"]);
    assert!(doctor.ok && doctor.output.contains("All is well."));

    runtime.block_on(harness::buy(&harness::http(), &storefront, 60));
    runtime.block_on(pages::ask_all(&stack));
    retentions(&stack, &runtime);
    wait_for("every panel shows something", Duration::from_secs(90), || {
        panels_without_answer(&stack).is_empty().then_some(())
    });

    log_alert(&stack, &runtime);

    let _misled = Misled::start(&stack, &runtime);
    stack.kill("tempo");
    runtime.block_on(harness::buy(&harness::http(), &storefront, 20));
    let status = stack.xtask(&["stack", "status"]);
    let of_tempo = status.output.lines().find(|line| line.starts_with("tempo")).unwrap_or_default();
    assert!(!status.ok && of_tempo.contains("has ended"), "{of_tempo}");
    let doctor = stack.xtask(&["doctor"]);
    assert!(!doctor.ok && doctor.output.contains("tempo does not run there"));

    // With Tempo gone there are errors too, and all that dashboards and rules name has been there.
    // Whoever starts the stack again gets what has ended, and keeps the rest.
    stack.start_again("tempo");
    assert!(stack.xtask(&["stack", "status"]).ok);

    let mut left = Vec::new();
    wait_for("every metric has been seen", Duration::from_secs(90), || {
        let now = not_seen(&stack);
        if now != left {
            eprintln!("not seen yet: {now:?}");
            left = now;
        }
        left.is_empty().then_some(())
    });
}

/// A program whose logs and metrics go where nothing listens, and that is scraped: it alone can say so.
struct Misled(Child);

impl Drop for Misled {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Misled {
    const METRICS: u16 = 9192;
    const LISTEN: u16 = 3004;

    fn start(stack: &Stack, runtime: &tokio::runtime::Runtime) -> Self {
        let shop = std::path::Path::new(env!("CARGO_BIN_EXE_xtask")).with_file_name("shop");
        let metrics = format!("127.0.0.1:{}", stack.port(Self::METRICS));
        let listen = format!("127.0.0.1:{}", stack.port(Self::LISTEN));
        let child = Command::new(shop)
            .envs([("SHOP_ROLE", "inventory"), ("SHOP_LISTEN", listen.as_str()), ("OTEL_SERVICE_NAME", "misled")])
            .envs([("LOKI_URL", "http://127.0.0.1:1"), ("MIMIR_ENDPOINT", "http://127.0.0.1:1")])
            .envs([("TEMPO_ENDPOINT", stack.url(4317).as_str()), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")])
            .env("LGTM_METRICS_ADDR", &metrics)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the example program starts");
        let config = stack.config("prometheus", "etc-prometheus-prometheus.yaml");
        let mut text = fs::read_to_string(&config).unwrap();
        let job = format!("- job_name: misled\n  static_configs: [{{targets: ['{metrics}']}}]\n");
        text = text.replacen("scrape_configs:\n", &format!("scrape_configs:\n{job}"), 1);
        fs::write(&config, text).unwrap();
        let reload = stack.url(9091) + "/-/reload";
        let http = harness::http();
        runtime
            .block_on(async { http.post(reload).send().await?.error_for_status() })
            .expect("Prometheus reads its file");
        // It has something to say, and cannot.
        let reserve = stack.url(Self::LISTEN) + "/reserve/1";
        wait_for("the misled program answers", Duration::from_secs(20), || {
            runtime.block_on(async { http.post(&reserve).send().await?.error_for_status() }).ok()
        });
        Self(child)
    }
}

/// A line of a panic fires the alert that Loki's own ruler evaluates, and Alertmanager has it.
fn log_alert(stack: &Stack, runtime: &tokio::runtime::Runtime) {
    let http = harness::http();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos().to_string();
    let line = json!({"streams": [{
        "stream": {"service": "panicky", "service_name": "panicky", "environment": "test", "level": "error"},
        "values": [[now, r#"{"message":"index out of bounds","level":"error"}"#, {"target": "panic"}]],
    }]});
    let push = http.post(stack.url(3100) + "/loki/api/v1/push").json(&line);
    runtime.block_on(async { push.send().await?.error_for_status() }).expect("Loki takes the line");
    wait_for("the log alert", Duration::from_secs(90), || {
        let alerts = http.get(stack.url(9093) + "/api/v2/alerts?filter=alertname%3DProgramPanicked");
        let alerts = runtime.block_on(async { alerts.send().await?.json::<Vec<Value>>().await }).ok()?;
        let labels = alerts.first()?["labels"].clone();
        (labels["service"] == "panicky" && labels["severity"] == "critical").then_some(())
    });
}

/// What the servers themselves say of how long they keep data.
fn retentions(stack: &Stack, runtime: &tokio::runtime::Runtime) {
    let http = harness::http();
    let get = |url: String| {
        let answer = runtime.block_on(async { http.get(url).send().await?.error_for_status()?.text().await });
        answer.expect("a server says its configuration")
    };
    let loki = get(stack.url(3100) + "/config");
    let limits = loki.split("\nlimits_config:").nth(1).expect("Loki has limits");
    // A week, as Loki writes 168h.
    assert!(limits.contains("\n  retention_period: 1w\n"), "{limits}");
    assert!(loki.contains("\n  retention_enabled: true\n") && loki.contains("\n  delete_request_store: filesystem\n"));
    let tempo = get(stack.url(3200) + "/status/config");
    let retentions: Vec<&str> =
        tempo.lines().map(str::trim).filter(|line| line.starts_with("block_retention:")).collect();
    let is_a_day = |line: &&str| line.ends_with(" 24h0m0s") || line.ends_with(" 1d");
    assert!(retentions.len() >= 3 && retentions.iter().all(is_a_day), "{retentions:?}");
    let flags: Value = serde_json::from_str(&get(stack.url(9091) + "/api/v1/status/flags")).unwrap();
    assert_eq!(flags["data"]["storage.tsdb.retention.time"], "15d");
}

/// Panels that show nothing while all is well: there are no errors, alerts and overflows, and what pushed has ended.
const EMPTY_WHILE_WELL: [&str; 4] = ["errors by type", "Samples: queue size", "Stream labels overflowed", "alerts"];

/// The panels of all dashboards whose query has an empty answer, and should not. No query is refused.
fn panels_without_answer(stack: &Stack) -> Vec<String> {
    let said = stack.xtask(&["stack", "queries"]);
    assert!(said.ok && said.output.contains(" queries taken, 0 refused"));
    let empty = said.output.lines().filter_map(|line| line.strip_prefix("empty: "));
    let empty = empty.filter(|place| EMPTY_WHILE_WELL.iter().all(|known| !place.contains(known)));
    empty.map(str::to_owned).collect()
}

/// The metrics of services that run which nothing has been seen of yet, without those that cannot be seen.
fn not_seen(stack: &Stack) -> Vec<String> {
    let said = stack.xtask(&["stack", "metrics", "--json"]);
    let seen: Vec<Value> = serde_json::from_str(&said.output).expect("a list of metrics");
    assert!(seen.len() > 40, "dashboards and rules name more than this: {seen:?}");
    let missing = seen.iter().filter(|one| one["series"] == 0 && one["runs"] == true);
    let missing = missing.filter_map(|one| Some(one["name"].as_str()?.to_owned()));
    missing.filter(|name| NOT_SEEN.iter().all(|(known, _)| known != name)).collect()
}
