//! The window's API as its page asks it: raw requests to its listener, items sent through the real ingest endpoints.

use std::time::Duration;

use futures_util::StreamExt as _;
use lgtm_devstack::wire::prometheus;
use lgtm_devstack::{Devstack, Limits};
use opentelemetry_proto::tonic::trace::v1::{Status, span::SpanKind};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client::{
    DEADLINE, entry, export, export_http, get_json, get_text, http, now_ms, now_ns, post, push_logs, series, span,
    stream, text_attribute, write_request,
};

const TRACE: &str = "07070707070707070707070707070707";

fn api(stack: &Devstack, path: &str) -> String {
    format!("{}/api/v1{path}", stack.window_url())
}

async fn logs(stack: &Devstack, query: &[(&str, &str)]) -> Vec<String> {
    let answer = get_json(&api(stack, "/logs"), query).await;
    answer["rows"].as_array().unwrap().iter().map(|row| row["message"].as_str().unwrap().to_owned()).collect()
}

/// A storefront that asks an inventory, which fails; with a line of each.
async fn send_shop(stack: &Devstack) {
    let mut root = span(7, 1, None, "POST /orders");
    root.kind = SpanKind::Server as i32;
    let mut call = span(7, 2, Some(1), "reserve");
    call.kind = SpanKind::Client as i32;
    let mut work = span(7, 3, Some(2), "POST /reservations");
    work.kind = SpanKind::Server as i32;
    work.status = Some(Status { message: "out of stock".to_owned(), code: 2 });
    work.attributes = vec![text_attribute("sku", "221")];
    let mut query = span(7, 4, Some(3), "SELECT stock");
    query.kind = SpanKind::Client as i32;
    query.attributes = vec![text_attribute("db.system.name", "postgresql")];
    for (span, from, to) in [(&mut root, 0, 100), (&mut call, 10, 90), (&mut work, 20, 80), (&mut query, 30, 60)] {
        span.start_time_unix_nano = 1_700_000_000_000_000_000 + from * 1_000_000;
        span.end_time_unix_nano = 1_700_000_000_000_000_000 + to * 1_000_000;
    }
    for (service, spans) in [("storefront", vec![root, call]), ("inventory", vec![work, query])] {
        assert_eq!(export_http(&stack.otlp_http_url(), &export(service, spans)).await.0, 200);
    }
    let ids = |span: &'static str| [("trace_id", TRACE), ("span_id", span)];
    let url = stack.loki_url();
    let pushed = push_logs(
        &url,
        vec![
            stream(
                r#"{service_name="storefront", level="info"}"#,
                vec![entry(now_ns(), r#"{"message":"order taken","order":17}"#, &ids("0101010101010101"))],
            ),
            stream(
                r#"{service_name="inventory", level="error"}"#,
                vec![entry(now_ns() + 1, "sku 221 is out of stock", &ids("0303030303030303"))],
            ),
        ],
    );
    assert_eq!(pushed.await, (204, String::new()));
}

#[tokio::test]
async fn lines_are_found_by_service_level_text_expression_attribute_and_trace() {
    let stack = Devstack::start().await.unwrap();
    send_shop(&stack).await;
    let (taken, missing) = ("order taken", "sku 221 is out of stock");
    for (query, expected) in [
        (&[][..], vec![missing, taken]),
        (&[("service", "storefront")], vec![taken]),
        (&[("service", "storefront"), ("service", "inventory")], vec![missing, taken]),
        (&[("level", "error"), ("level", "fatal")], vec![missing]),
        (&[("q", "OUT OF")], vec![missing]),
        (&[("regex", r"sku \d{3}")], vec![missing]),
        (&[("attr", "order=17")], vec![taken]),
        (&[("attr", "order!=17")], vec![missing]),
        (&[("attr", "level=~info|warn")], vec![taken]),
        (&[("trace", TRACE), ("span", "0303030303030303")], vec![missing]),
        (&[("last", "1m"), ("q", "taken")], vec![taken]),
        (&[("to", "1700000000")], vec![]),
    ] {
        assert_eq!(logs(&stack, query).await, expected, "{query:?}");
    }
    let line = get_json(&api(&stack, "/logs/0"), &[]).await;
    assert_eq!(line["fields"], json!({ "message": "order taken", "order": 17 }));
    assert_eq!(line["labels"]["service_name"], "storefront");
    assert_eq!(line["trace_id"], TRACE);
}

#[tokio::test]
async fn a_list_is_read_by_place_and_what_arrives_meanwhile_moves_nothing() {
    let stack = Devstack::start().await.unwrap();
    let now = now_ns();
    let lines = |range: std::ops::Range<i64>| {
        vec![stream(r#"{app="x"}"#, range.map(|at| entry(now + at, &format!("line {at}"), &[])).collect())]
    };
    push_logs(&stack.loki_url(), lines(0..2500)).await;
    let first = get_json(&api(&stack, "/logs"), &[("limit", "1")]).await;
    assert_eq!((&first["total"], &first["rows"][0]["message"]), (&json!(2500), &json!("line 2499")));
    push_logs(&stack.loki_url(), lines(2500..2600)).await;
    let until = first["until"].as_str().unwrap();
    let page = [("limit", "3"), ("skip", "1000"), ("until", until)];
    let second = get_json(&api(&stack, "/logs"), &page).await;
    assert_eq!(second["total"], 2500);
    assert_eq!(logs(&stack, &page).await, ["line 1499", "line 1498", "line 1497"]);
}

#[tokio::test]
async fn a_question_that_is_not_understood_is_refused_with_its_parameter_value_and_accepted_form() {
    let stack = Devstack::start().await.unwrap();
    for (path, query, parts) in [
        ("/logs", ("limit", "100000"), ["\"limit\"", "\"100000\"", "0 to 1000"]),
        ("/logs", ("regex", "a("), ["\"regex\"", "\"a(\"", "unclosed group"]),
        ("/logs", ("lvl", "info"), ["\"lvl\"", "\"info\"", "level"]),
        ("/traces", ("min", "long"), ["\"min\"", "\"long\"", "250ms"]),
        ("/traces", ("status", "bad"), ["\"status\"", "\"bad\"", "error, ok"]),
        ("/traces", ("kind", "serve"), ["\"kind\"", "\"serve\"", "server"]),
        ("/metrics", ("limit", "0"), ["\"limit\"", "\"0\"", "from 1"]),
        ("/overview", ("last", "15"), ["\"last\"", "\"15\"", "250ms"]),
    ] {
        let (status, text) = get_text(&api(&stack, path), &[query]).await;
        assert_eq!(status, 400, "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        let error = answer["error"].as_str().unwrap();
        assert!(parts.iter().all(|part| error.contains(part)), "{parts:?}: {error}");
    }
    for (path, part) in [
        ("/logs/17", "it has not arrived"),
        ("/logs/x", "\"x\""),
        ("/traces/abc", "32 hexadecimal digits"),
        ("/traces/0123456789abcdef0123456789abcdef", "has not arrived"),
        ("/metrics/up", "\"up\""),
        ("/nothing", "/api/v1/nothing"),
    ] {
        let (status, text) = get_text(&api(&stack, path), &[]).await;
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert!(status == 404 && answer["error"].as_str().unwrap().contains(part), "{path}: {status} {text}");
    }
}

#[tokio::test]
async fn traces_are_found_by_what_one_of_their_spans_is() {
    let stack = Devstack::start().await.unwrap();
    send_shop(&stack).await;
    export_http(&stack.otlp_http_url(), &export("worker", vec![span(9, 1, None, "tick")])).await;
    let (order, tick) = (TRACE, "09090909090909090909090909090909");
    for (query, expected) in [
        (&[][..], vec![tick, order]),
        (&[("service", "inventory")], vec![order]),
        (&[("service", "inventory"), ("q", "post /res")], vec![order]),
        (&[("service", "storefront"), ("attr", "sku=221")], vec![]),
        (&[("attr", "sku=~2.*")], vec![order]),
        (&[("status", "error")], vec![order]),
        (&[("status", "ok")], vec![tick]),
        (&[("min", "150ms")], vec![tick]),
        (&[("max", "150ms")], vec![order]),
        (&[("kind", "client")], vec![order]),
        (&[("sort", "slowest"), ("limit", "1")], vec![tick]),
        (&[("last", "1h")], vec![]),
    ] {
        let answer = get_json(&api(&stack, "/traces"), query).await;
        let found: Vec<&str> =
            answer["rows"].as_array().unwrap().iter().map(|row| row["trace_id"].as_str().unwrap()).collect();
        assert_eq!(found, expected, "{query:?}");
    }
    let answer = get_json(&api(&stack, "/traces"), &[("service", "inventory"), ("points", "1")]).await;
    let row = &answer["rows"][0];
    assert_eq!((&row["service"], &row["name"]), (&json!("storefront"), &json!("POST /orders")));
    assert_eq!((&row["spans"], &row["errors"], &row["duration_ns"]), (&json!(4), &json!(1), &json!(100_000_000)));
    assert_eq!(answer["points"], json!([[1_700_000_000_000.0, 100_000_000, 1, TRACE]]));
}

#[tokio::test]
async fn a_trace_has_its_tree_its_critical_path_and_the_lines_of_its_spans() {
    let stack = Devstack::start().await.unwrap();
    send_shop(&stack).await;
    let trace = get_json(&api(&stack, &format!("/traces/{}", TRACE.to_ascii_uppercase())), &[]).await;
    let spans = trace["spans"].as_array().unwrap();
    let shape: Vec<(&str, u64)> =
        spans.iter().map(|span| (span["name"].as_str().unwrap(), span["depth"].as_u64().unwrap())).collect();
    assert_eq!(shape, [("POST /orders", 0), ("reserve", 1), ("POST /reservations", 2), ("SELECT stock", 3)]);
    assert_eq!(trace["critical_path_ns"], 100_000_000);
    assert_eq!(spans[2]["critical"], json!([[20_000_000, 30_000_000], [60_000_000, 80_000_000]]));
    assert_eq!(spans[2]["self_ns"], 30_000_000);
    assert_eq!(spans[2]["status_message"], "out of stock");
    assert_eq!(spans[2]["attributes"], json!([["sku", "221", "string"]]));
    let lines: Vec<&str> =
        trace["logs"].as_array().unwrap().iter().map(|line| line["span_id"].as_str().unwrap()).collect();
    assert_eq!(lines, ["0101010101010101", "0303030303030303"]);
    assert_eq!(trace["problems"], json!([]));
}

#[tokio::test]
async fn the_map_has_the_calls_between_services_and_to_what_has_no_spans() {
    let stack = Devstack::start().await.unwrap();
    send_shop(&stack).await;
    let map = get_json(&api(&stack, "/service-map"), &[]).await;
    let edges: Vec<(&str, &str, u64, u64)> = map["edges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|edge| {
            let text = |name: &str| edge[name].as_str().unwrap();
            let number = |name: &str| edge["calls"][name].as_u64().unwrap();
            (text("from"), text("to"), number("count"), number("errors"))
        })
        .collect();
    assert_eq!(
        edges,
        [("service:inventory", "database:postgresql", 1, 0), ("service:storefront", "service:inventory", 1, 1),]
    );
    assert_eq!(map["edges"][1]["calls"]["latency_ns"]["p50"], 60_000_000);
}

#[tokio::test]
async fn the_overview_tells_rates_errors_latencies_losses_and_what_was_evicted() {
    let limits = Limits { log_bytes: 20_000, ..Limits::default() };
    let stack = Devstack::builder().limits(limits).start().await.unwrap();
    send_shop(&stack).await;
    let now = now_ns();
    let many = (0..200).map(|at| entry(now + at, &format!("line {at}"), &[])).collect();
    push_logs(&stack.loki_url(), vec![stream(r#"{service_name="storefront", level="info"}"#, many)]).await;
    let dropped = series(
        &[
            ("__name__", "otlp_logs_dropped_total"),
            ("exporter", "loki"),
            ("instance", "a"),
            ("job", "shop"),
            ("reason", "queue_full"),
        ],
        &[(now_ms() - 1000, 2.0), (now_ms(), 7.0)],
    );
    let zero = series(&[("__name__", "otlp_spans_dropped_total"), ("reason", "queue_full")], &[(now_ms(), 0.0)]);
    write_request(&stack.mimir_url(), &prometheus::WriteRequest { timeseries: vec![dropped, zero], metadata: vec![] })
        .await;
    let overview = get_json(&api(&stack, "/overview"), &[]).await;
    let service = |name: &str| {
        overview["services"].as_array().unwrap().iter().find(|service| service["name"] == name).unwrap().clone()
    };
    let (storefront, inventory) = (service("storefront"), service("inventory"));
    assert_eq!((&storefront["requests"], &storefront["errors"]), (&json!(1), &json!(0)));
    assert_eq!((&inventory["requests"], &inventory["errors"]), (&json!(1), &json!(1)));
    assert_eq!(inventory["latency_ns"], json!({ "p50": 60_000_000, "p90": 60_000_000, "p99": 60_000_000 }));
    assert_eq!(
        overview["dropped"],
        json!([{
            "metric": "otlp_logs_dropped_total", "job": "shop", "exporter": "loki", "reason": "queue_full", "value": 7.0
        }])
    );
    let logs = &overview["store"]["logs"];
    let number = |name: &str| logs[name].as_u64().unwrap();
    assert_eq!(number("received"), 202);
    assert!(number("evicted") > 0);
    assert_eq!(number("held") + number("evicted"), 202);
    assert!(number("held_bytes") <= number("limit_bytes"));
}

#[tokio::test]
async fn a_counter_is_a_rate_and_a_gauge_stands_where_it_stood() {
    let stack = Devstack::start().await.unwrap();
    let begin = (now_ms() - 60_000) / 1000 * 1000;
    let samples = |factor: f64| (0..=6).map(|at| (begin + at * 10_000, at as f64 * factor)).collect::<Vec<_>>();
    let request = prometheus::WriteRequest {
        timeseries: vec![
            series(&[("__name__", "orders_total"), ("status", "failed")], &samples(10.0)),
            series(&[("__name__", "orders_total"), ("status", "ok")], &samples(30.0)),
            series(&[("__name__", "stock")], &samples(1.0)),
        ],
        metadata: vec![prometheus::MetricMetadata {
            r#type: prometheus::MetricType::Gauge as i32,
            metric_family_name: "stock".to_owned(),
            help: "What is left".to_owned(),
            unit: String::new(),
        }],
    };
    assert_eq!(write_request(&stack.mimir_url(), &request).await.0, 200);
    let list = get_json(&api(&stack, "/metrics"), &[]).await;
    let rows: Vec<(&str, &str, u64)> = list["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["name"].as_str().unwrap(), row["type"].as_str().unwrap(), row["series"].as_u64().unwrap()))
        .collect();
    assert_eq!(rows, [("orders_total", "counter", 2), ("stock", "gauge", 1)]);
    assert_eq!(list["rows"][0]["last"], 240.0);
    assert_eq!(get_json(&api(&stack, "/metrics"), &[("q", "is LEFT")]).await["total"], 1);

    let (from, to) = ((begin * 1_000_000).to_string(), ((begin + 60_000) * 1_000_000).to_string());
    let range = [("from", from.as_str()), ("to", to.as_str()), ("steps", "6")];
    let one = async |name: &str, more: &[(&str, &str)]| {
        get_json(&api(&stack, &format!("/metrics/{name}")), &[&range[..], more].concat()).await
    };
    let answer = one("orders_total", &[]).await;
    assert_eq!((&answer["shown"], &answer["step_ms"]), (&json!("rates"), &json!(10_000)));
    assert_eq!(
        answer["lines"]["lines"],
        json!([
            { "labels": { "status": "failed" }, "values": [1.0, 1.0, 1.0, 1.0, 1.0, 1.0] },
            { "labels": { "status": "ok" }, "values": [3.0, 3.0, 3.0, 3.0, 3.0, 3.0] },
        ])
    );
    let failed = one("orders_total", &[("attr", "status=failed"), ("as", "values")]).await;
    assert_eq!(failed["lines"]["lines"][0]["values"], json!([10.0, 20.0, 30.0, 40.0, 50.0, 60.0]));
    assert_eq!(failed["labels"]["status"], json!(["failed", "ok"]), "the choice stays");
    let stock = one("stock", &[]).await;
    assert_eq!(stock["lines"]["lines"][0]["values"], json!([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
}

#[tokio::test]
async fn a_histogram_is_heat_with_quantiles_and_exemplars_that_say_whether_their_trace_is_held() {
    let stack = Devstack::start().await.unwrap();
    send_shop(&stack).await;
    let begin = (now_ms() - 10_000) / 1000 * 1000;
    let bucket = |bound: &str, count: f64| {
        series(&[("__name__", "latency_seconds_bucket"), ("le", bound)], &[(begin, 0.0), (begin + 10_000, count)])
    };
    let mut middle = bucket("0.5", 9.0);
    for (at, trace) in [(1, TRACE), (2, "ffffffffffffffffffffffffffffffff")] {
        middle.exemplars.push(prometheus::Exemplar {
            labels: vec![prometheus::Label { name: "trace_id".to_owned(), value: trace.to_owned() }],
            value: 0.25,
            timestamp: begin + at * 1000,
        });
    }
    let whole = |suffix: &str, value: f64| {
        series(&[("__name__", &format!("latency_seconds_{suffix}"))], &[(begin, 0.0), (begin + 10_000, value)])
    };
    let timeseries = vec![bucket("0.1", 5.0), middle, bucket("+Inf", 10.0), whole("sum", 3.0), whole("count", 10.0)];
    let request = prometheus::WriteRequest { timeseries, metadata: Vec::new() };
    assert_eq!(write_request(&stack.mimir_url(), &request).await.0, 200);
    let list = get_json(&api(&stack, "/metrics"), &[]).await;
    assert_eq!(list["total"], 1, "one family");
    assert_eq!((&list["rows"][0]["type"], &list["rows"][0]["last"]), (&json!("histogram"), &json!(10.0)));
    let (from, to) = ((begin * 1_000_000).to_string(), ((begin + 10_000) * 1_000_000).to_string());
    let answer =
        get_json(&api(&stack, "/metrics/latency_seconds"), &[("from", &from), ("to", &to), ("steps", "1")]).await;
    assert_eq!(answer["heat"]["buckets"], json!([[0.0, 0.1], [0.1, 0.5], [0.5, "+Inf"]]));
    assert_eq!(answer["heat"]["counts"], json!([[5.0, 4.0, 1.0]]));
    assert_eq!(answer["heat"]["quantiles"]["p50"], json!([0.1]));
    assert_eq!(answer["lines"]["lines"][0]["values"], json!([1.0]), "observations per second");
    assert_eq!(answer["unit"], "seconds");
    let held: Vec<bool> =
        answer["exemplars"].as_array().unwrap().iter().map(|exemplar| exemplar["is_held"].as_bool().unwrap()).collect();
    assert_eq!(held, [false, true], "the newest first");
}

/// Reads events until one has this name; gives its data.
async fn next_event(
    events: &mut (impl futures_util::Stream<Item = reqwest::Result<bytes::Bytes>> + Unpin),
    name: &str,
) -> Value {
    let reading = async {
        let mut text = String::new();
        loop {
            while let Some(end) = text.find("\n\n") {
                let event: String = text.drain(..end + 2).collect();
                if event.contains(&format!("event: {name}\n")) {
                    let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
                    return serde_json::from_str(data).unwrap();
                }
            }
            text.push_str(std::str::from_utf8(&events.next().await.unwrap().unwrap()).unwrap());
        }
    };
    tokio::time::timeout(DEADLINE, reading).await.unwrap()
}

#[tokio::test]
async fn lines_that_satisfy_the_filter_are_told_as_they_arrive_and_a_client_that_comes_back_goes_on() {
    let stack = Devstack::start().await.unwrap();
    let push = async |line: &str, level: &str| {
        let labels = format!(r#"{{service_name="shop", level="{level}"}}"#);
        push_logs(&stack.loki_url(), vec![stream(&labels, vec![entry(now_ns(), line, &[])])]).await;
    };
    push("before", "error").await;
    let url = api(&stack, "/live?logs=1&level=error");
    let response = http().get(&url).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut events = response.bytes_stream();
    assert_eq!(next_event(&mut events, "counts").await["logs"]["received"], 1);
    push("fine", "info").await;
    push("broken", "error").await;
    let rows = next_event(&mut events, "logs").await;
    assert_eq!((&rows["rows"][0]["message"], &rows["rows"][0]["id"]), (&json!("broken"), &json!(2)));
    drop(events);
    push("missed meanwhile", "error").await;
    let back = http().get(&url).header("last-event-id", "3").send().await.unwrap();
    let rows = next_event(&mut back.bytes_stream(), "logs").await;
    assert_eq!(rows["rows"].as_array().unwrap().len(), 1);
    assert_eq!(rows["rows"][0]["message"], "missed meanwhile");
}

#[tokio::test]
async fn a_client_is_told_how_many_lines_came_too_fast() {
    let stack = Devstack::start().await.unwrap();
    let now = now_ns();
    let lines = (0..3000).map(|at| entry(now + at, &format!("line {at}"), &[])).collect();
    push_logs(&stack.loki_url(), vec![stream(r#"{app="x"}"#, lines)]).await;
    let response = http().get(api(&stack, "/live?logs=1&after=0")).send().await.unwrap();
    let mut events = response.bytes_stream();
    assert_eq!(next_event(&mut events, "missed").await, json!({ "lines": 2000 }));
}

/// Status and headers of an answer to a request with exactly these header lines.
async fn raw(stack: &Devstack, path: &str, headers: &str) -> String {
    let address = stack.window_url().trim_start_matches("http://").to_owned();
    let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(DEADLINE, connection.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer).to_ascii_lowercase()
}

#[tokio::test]
async fn another_site_gets_nothing_neither_by_its_name_nor_from_its_page() {
    let stack = Devstack::start().await.unwrap();
    for (headers, status) in [
        ("host: localhost\r\n", "200"),
        ("host: 127.0.0.1:1\r\n", "200"),
        ("host: evil.example\r\n", "421"),
        ("host: evil.example:4320\r\n", "421"),
        ("host: localhost.evil.example\r\n", "421"),
        ("host: localhost\r\nsec-fetch-site: cross-site\r\nsec-fetch-mode: no-cors\r\n", "403"),
        ("host: localhost\r\nsec-fetch-site: cross-site\r\nsec-fetch-mode: navigate\r\n", "200"),
        ("host: localhost\r\nsec-fetch-site: same-origin\r\nsec-fetch-mode: cors\r\n", "200"),
    ] {
        for path in ["/", "/api/v1/logs"] {
            let answer = raw(&stack, path, headers).await;
            assert!(answer.starts_with(&format!("http/1.1 {status}")), "{headers:?} {path}: {answer}");
            assert!(!answer.contains("access-control-allow"), "{answer}");
        }
    }
}

#[tokio::test]
async fn every_answer_forbids_what_the_page_does_not_need() {
    let stack = Devstack::start().await.unwrap();
    for path in ["/", "/traces/abc/def", "/assets/window.js", "/api/v1/logs", "/nothing"] {
        let answer = raw(&stack, path, "host: localhost\r\n").await;
        let policy = answer.lines().find_map(|line| line.strip_prefix("content-security-policy: ")).unwrap();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "connect-src 'self'",
            "frame-ancestors 'none'",
            "trusted-types 'none'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(answer.contains("x-content-type-options: nosniff"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn the_page_comes_compressed_or_plain_and_names_no_other_host() {
    let stack = Devstack::start().await.unwrap();
    let compressed = raw(&stack, "/assets/window.js", "host: localhost\r\naccept-encoding: br, gzip\r\n").await;
    assert!(compressed.contains("content-encoding: gzip"), "{compressed}");
    for (path, kind) in
        [("/", "text/html"), ("/assets/window.js", "text/javascript"), ("/assets/window.css", "text/css")]
    {
        let plain = raw(&stack, path, "host: localhost\r\n").await;
        assert!(plain.contains(&format!("content-type: {kind}")) && !plain.contains("content-encoding"), "{path}");
        let hosts: Vec<&str> =
            plain.split("://").skip(1).map(|rest| rest.split(['/', '"', '`', '\'']).next().unwrap()).collect();
        // The names of markup languages, which nobody asks.
        assert!(hosts.iter().all(|host| *host == "www.w3.org"), "{path}: {hosts:?}");
        if path == "/" {
            assert!(!plain.contains("<style") && !plain.contains("style=") && !plain.contains("<script>"), "{plain}");
        }
    }
}

#[tokio::test]
async fn what_others_send_in_json_is_seen_as_what_lgtm_sends() {
    let stack = Devstack::start().await.unwrap();
    let json = [("content-type", "application/json")];
    // As OpenTelemetry's SDKs write it: numbers of 64 bits as text, or not; a body that is a map; a severity as a number.
    let record = json!({
        "timeUnixNano": now_ns().to_string(), "severityNumber": 17, "traceId": TRACE, "spanId": "0101010101010101",
        "body": { "stringValue": "charge refused" },
        "attributes": [{ "key": "order.id", "value": { "intValue": 17 } }, { "key": "user", "value": { "kvlistValue": { "values": [
            { "key": "name", "value": { "stringValue": "ada" } }] } } }],
    });
    let resource = json!({ "attributes": [{ "key": "service.name", "value": { "stringValue": "payment" } }] });
    let logs_request = json!({ "resourceLogs": [{ "resource": resource, "scopeLogs": [{ "logRecords": [record] }] }] });
    let url = format!("{}/v1/logs", stack.otlp_http_url());
    assert_eq!(post(&url, &json, logs_request.to_string().into_bytes()).await.0, 200);
    let pushed = json!({ "streams": [{ "stream": { "app": "cron" }, "values": [[now_ns().to_string(), "level=warn disk is full"]] }] });
    let url = format!("{}/loki/api/v1/push", stack.loki_url());
    assert_eq!(post(&url, &json, pushed.to_string().into_bytes()).await.0, 204);
    let point = json!({ "timeUnixNano": now_ns(), "asInt": "7", "attributes": [] });
    let metrics = json!([{ "name": "queue.length", "gauge": { "dataPoints": [point] } }]);
    let request = json!({ "resourceMetrics": [{ "resource": resource, "scopeMetrics": [{ "metrics": metrics }] }] });
    let url = format!("{}/v1/metrics", stack.otlp_http_url());
    assert_eq!(post(&url, &json, request.to_string().into_bytes()).await.0, 200);

    assert_eq!(logs(&stack, &[("level", "error"), ("service", "payment")]).await, ["charge refused"]);
    assert_eq!(logs(&stack, &[("attr", "order_id=17"), ("attr", "user_name=ada")]).await, ["charge refused"]);
    assert_eq!(logs(&stack, &[("trace", TRACE)]).await, ["charge refused"]);
    assert_eq!(logs(&stack, &[("level", "warn"), ("service", "cron")]).await, ["level=warn disk is full"]);
    let list = get_json(&api(&stack, "/metrics"), &[("q", "queue")]).await;
    assert_eq!((&list["rows"][0]["name"], &list["rows"][0]["last"]), (&json!("queue_length"), &json!(7.0)));
}

#[tokio::test]
async fn the_window_has_a_port_of_its_own_and_the_start_says_so() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let ports = lgtm_devstack::Ports { window: port, ..lgtm_devstack::Ports::free() };
    let stack = Devstack::builder().ports(ports).start().await.unwrap();
    assert!(stack.startup_note().contains(&format!("Window     {}", stack.window_url())));
    assert_eq!(stack.moved_ports()[0].service, "Window");
    assert_eq!(get_text(&format!("{}/ready", stack.window_url()), &[]).await, (200, "ready\n".to_owned()));
    tokio::time::timeout(Duration::from_secs(20), stack.shutdown()).await.unwrap();
}
