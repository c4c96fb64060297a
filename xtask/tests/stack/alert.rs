//! One alert from its cause to the webhook: the example program's exports fail, Prometheus fires, Alertmanager groups, inhibits and
//! delivers, and all of it ends when the exports succeed again. The rules and routes are those of `deploy/`, with every time in them
//! divided, so that minutes become seconds.

use std::fs;
use std::path::Path;
use std::time::Duration;

use lgtm_devstack::{Code, Devstack, Endpoint, Ports, Reply};
use regex::{Captures, Regex};
use serde_json::Value;

use super::harness::{self, Stack, are_there, wait_for};

const PROGRAMS: &[&[&str]] = &[&["prometheus"], &["alertmanager", "prometheus-alertmanager"]];
const OFFSET: u16 = 10_000;
/// What each time is divided by.
const FASTER: u64 = 30;

/// Each length of time in a file, divided; none becomes less than a second.
fn faster(text: &str) -> String {
    let times = Regex::new(r"(?P<before>[\[: ])(?P<number>\d+)(?P<unit>[smh])(?P<after>[\]:\s,}])").unwrap();
    let one = |found: &Captures<'_>| {
        let unit = match &found["unit"] {
            "s" => 1,
            "m" => 60,
            _ => 3600,
        };
        let seconds = found["number"].parse::<u64>().unwrap() * unit;
        let less = if seconds == 0 { 0 } else { (seconds / FASTER).max(1) };
        format!("{}{less}s{}", &found["before"], &found["after"])
    };
    // Twice: `[1h:1m]` has two that share the colon.
    let once = times.replace_all(text, one).into_owned();
    let again = Regex::new(r"(?P<before>:)(?P<number>\d+)(?P<unit>[mh])(?P<after>\])").unwrap();
    again.replace_all(&once, one).into_owned()
}

fn rewrite(file: &Path) {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    fs::write(file, faster(&text)).unwrap();
}

/// Where the example program sends lines and spans.
const EXPORTS: [Endpoint; 2] = [Endpoint::LokiPush, Endpoint::OtlpGrpc];

/// A refusal that no retry can mend.
fn refusal(endpoint: Endpoint) -> Reply {
    let reply = match endpoint {
        Endpoint::OtlpGrpc => Reply::grpc(Code::InvalidArgument, "refused by the test"),
        _ => Reply::status(400).body("refused by the test"),
    };
    reply.always()
}

#[test]
fn times_are_divided_wherever_they_stand() {
    for (text, expected) in [
        ("rate(a[5m])", "rate(a[10s])"),
        ("[1h:1m]) > 10", "[120s:2s]) > 10"),
        ("for: 10m\n", "for: 20s\n"),
        ("[1h] offset 15m)", "[120s] offset 15m)"),
        ("interval: 30s\n", "interval: 1s\n"),
        ("group_wait: 0s\n", "group_wait: 0s\n"),
        ("targets: [127.0.0.1:9090]", "targets: [127.0.0.1:9090]"),
    ] {
        assert_eq!(faster(text), expected);
    }
}

#[test]
fn failing_exports_reach_the_webhook_once_and_grouped_and_resolve() {
    if !are_there(PROGRAMS) {
        return;
    }
    let stack = Stack::up(OFFSET, "full", &["loki", "tempo", "mimir", "grafana", "node-exporter"]);
    rewrite(&stack.config("prometheus", "etc-prometheus-prometheus.yaml"));
    rewrite(&stack.config("prometheus", "etc-prometheus-rules").join("lgtm.yaml"));
    rewrite(&stack.config("alertmanager", "etc-alertmanager-alertmanager.yaml"));
    let runtime = harness::runtime();
    let http = harness::http();
    for port in [9091, 9093] {
        let url = stack.url(port) + "/-/reload";
        runtime.block_on(async { http.post(url).send().await?.error_for_status() }).expect("it reads its files again");
    }
    // What refuses is refused at each try, without the pauses that an unreachable server brings.
    let ports = Ports {
        loki: stack.port(3100),
        otlp_grpc: stack.port(4317),
        otlp_http: stack.port(4318),
        tempo: stack.port(3200),
        mimir: stack.port(9009),
        ..Ports::free()
    };
    let devstack =
        Devstack::builder().ports(ports).fall_back_to_free_ports(false).start_blocking().expect("the ports are free");
    for endpoint in EXPORTS {
        devstack.script(endpoint, [refusal(endpoint)]);
    }
    let storefront = stack.url(3000);
    // Requests all the time, so that there is always something to export; they end with the test.
    let (client, address) = (http.clone(), storefront.clone());
    let traffic = runtime.spawn(async move {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(240);
        let mut sku = 0;
        while tokio::time::Instant::now() < deadline {
            sku += 1;
            let _ = client.get(format!("{address}/products/{sku}")).send().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });

    let alerts = || -> Vec<Value> {
        let url = stack.url(9093) + "/api/v2/alerts";
        let answer = runtime.block_on(async { http.get(url).send().await?.json::<Vec<Value>>().await });
        answer.unwrap_or_default()
    };
    let of = |alerts: &[Value], name: &str, exporter: &str| -> Vec<Value> {
        let is = |alert: &&Value| {
            let labels = &alert["labels"];
            labels["alertname"] == name && labels["exporter"] == exporter && labels["job"] == "shop/storefront"
        };
        alerts.iter().filter(is).cloned().collect()
    };
    let patience = Duration::from_secs(120);
    // Both exporters deliver nothing; what else their failure causes is held back.
    let inhibited = wait_for("the failure of both exporters, and what it inhibits", patience, || {
        let alerts = alerts();
        let both = ["tempo", "loki"].iter().all(|exporter| {
            of(&alerts, "PipelineDeliversNothing", exporter).iter().any(|alert| alert["status"]["state"] == "active")
        });
        let ratio = of(&alerts, "HighExportErrorRate", "tempo");
        let held = ratio.iter().all(|alert| alert["status"]["state"] == "suppressed");
        (both && !ratio.is_empty() && held).then_some(ratio)
    });
    for alert in &inhibited {
        assert!(alert["status"]["inhibitedBy"].as_array().is_some_and(|by| !by.is_empty()), "{alert}");
    }

    // The webhook got it: both exporters in one notification, because they are one group, from the receiver of critical alerts.
    let received = || -> Vec<Value> {
        let said = stack.xtask(&["stack", "logs", "alerts", "--lines", "500"]);
        said.output.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    let field = |line: &Value, name: &str| line.pointer(&format!("/fields/{name}")).or_else(|| line.get(name)).cloned();
    let is = |line: &Value, name: &str, value: &str| field(line, name).is_some_and(|found| found == value);
    let of_pipeline = |status: &str| -> Vec<Value> {
        let lines = received().into_iter();
        lines
            .filter(|line| is(line, "alertname", "PipelineDeliversNothing") && is(line, "status", status))
            .filter(|line| is(line, "job", "shop/storefront"))
            .collect()
    };
    let fired = wait_for("the webhook's own words", patience, || {
        let lines = of_pipeline("firing");
        let together = lines.iter().filter(|line| field(line, "together").is_some_and(|count| count == 2));
        let exporters: Vec<Value> = together.filter_map(|line| field(line, "exporter")).collect();
        (exporters.contains(&"tempo".into()) && exporters.contains(&"loki".into())).then_some(lines)
    });
    assert!(fired.iter().all(|line| is(line, "receiver", "critical") && is(line, "severity", "critical")), "{fired:?}");

    // The exports succeed again, and Alertmanager says that too.
    for endpoint in EXPORTS {
        devstack.clear_script(endpoint);
    }
    wait_for("the end of the alert at the webhook", patience, || {
        let exporters: Vec<Value> = of_pipeline("resolved").iter().filter_map(|line| field(line, "exporter")).collect();
        (exporters.contains(&"tempo".into()) && exporters.contains(&"loki".into())).then_some(())
    });
    traffic.abort();
    drop(devstack);
}
