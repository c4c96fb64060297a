//! What a shop of two services says in a minute, sent as any OpenTelemetry SDK and any client of Loki would: JSON over HTTP.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

use lgtm_devstack::{Devstack, Limits};
use serde_json::{Value, json};

/// A line with markup in it.
pub(crate) const HOSTILE: &str = "<img src=x onerror=\"window.hacked=1\"><script>window.hacked=2</script><b>bold</b>";

pub(crate) fn now_ns() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

/// A stack on a thread of its own, with room for all that tests send.
pub(crate) fn stack() -> Devstack {
    let limits = Limits { log_bytes: 256 << 20, trace_bytes: 256 << 20, request_bytes: 0, ..Limits::default() };
    Devstack::builder().limits(limits).start_blocking().unwrap()
}

fn post(url: &str, path: &str, body: &Value) {
    let (host, body) = (url.trim_start_matches("http://"), body.to_string());
    let mut connection = TcpStream::connect(host).unwrap();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).unwrap();
    connection.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 20"), "{path}: {answer}");
}

/// A line: its age in milliseconds, service, level, text, and its trace and span.
pub(crate) type Line<'a> = (u64, &'a str, &'a str, &'a str, Option<(&'a str, &'a str)>);

pub(crate) fn push(stack: &Devstack, lines: &[Line<'_>]) {
    let now = now_ns();
    let streams: Vec<Value> = lines
        .iter()
        .enumerate()
        .map(|(at, (age_ms, service, level, text, ids))| {
            let time = (now - age_ms * 1_000_000 + at as u64).to_string();
            let metadata = ids.map_or(json!({}), |(trace, span)| json!({ "trace_id": trace, "span_id": span }));
            json!({ "stream": { "service_name": service, "level": level }, "values": [[time, text, metadata]] })
        })
        .collect();
    post(&stack.loki_url(), "/loki/api/v1/push", &json!({ "streams": streams }));
}

/// Many lines of one stream, the newest last.
pub(crate) fn push_many(stack: &Devstack, number: usize) {
    let begin = now_ns() - 60_000_000_000;
    for chunk in (0..number).collect::<Vec<_>>().chunks(10_000) {
        let values: Vec<Value> = chunk
            .iter()
            .map(|at| json!([(begin + *at as u64 * 500_000).to_string(), format!("line {at} of many")]))
            .collect();
        let streams = json!([{ "stream": { "service_name": "many", "level": "info" }, "values": values }]);
        post(&stack.loki_url(), "/loki/api/v1/push", &json!({ "streams": streams }));
    }
}

fn resource(service: &str) -> Value {
    json!({ "attributes": [
        { "key": "service.name", "value": { "stringValue": service } },
        { "key": "service.version", "value": { "stringValue": "1.4.0" } },
    ] })
}

/// One span: id, parent, name, kind, from and to in milliseconds, failure, attributes.
struct Sketch<'a>(&'a str, &'a str, &'a str, u8, f64, f64, Option<&'a str>, &'a [(&'a str, &'a str)]);

fn spans(trace: &str, begin: u64, sketches: &[Sketch<'_>]) -> Vec<Value> {
    let time = |ms: f64| (begin + (ms * 1e6) as u64).to_string();
    sketches
        .iter()
        .map(|Sketch(id, parent, name, kind, from, to, failure, attributes)| {
            let attributes: Vec<Value> = attributes
                .iter()
                .map(|(key, value)| json!({ "key": key, "value": { "stringValue": value } }))
                .collect();
            let mut span = json!({
                "traceId": trace, "spanId": id, "parentSpanId": parent, "name": name, "kind": kind,
                "startTimeUnixNano": time(*from), "endTimeUnixNano": time(*to), "attributes": attributes,
            });
            if let Some(message) = failure {
                span["status"] = json!({ "code": 2, "message": message });
                span["events"] = json!([{
                    "timeUnixNano": time((from + to) / 2.0), "name": "exception",
                    "attributes": [
                        { "key": "exception.type", "value": { "stringValue": "OutOfStock" } },
                        { "key": "exception.message", "value": { "stringValue": message } },
                    ],
                }]);
            }
            span
        })
        .collect()
}

fn export(stack: &Devstack, by_service: &[(&str, Vec<Value>)]) {
    let resources: Vec<Value> = by_service
        .iter()
        .map(|(service, spans)| {
            json!({ "resource": resource(service), "scopeSpans": [{ "scope": { "name": "shop" }, "spans": spans }] })
        })
        .collect();
    post(&stack.otlp_http_url(), "/v1/traces", &json!({ "resourceSpans": resources }));
}

pub(crate) fn trace_id(number: u64) -> String {
    format!("{:032x}", 0x5eed_0000_0000_0000_u128 << 64 | u128::from(number + 1))
}

/// An order that takes `ms` milliseconds: storefront, inventory, database; every fifth one fails.
fn order(stack: &Devstack, number: u64, age_ms: u64, ms: f64) {
    let (trace, begin) = (trace_id(number), now_ns() - age_ms * 1_000_000);
    let id = |at: u64| format!("{:016x}", (number + 1) << 8 | at);
    let (root, check, call, work, query, notify) = (id(1), id(2), id(3), id(4), id(5), id(6));
    let fails = (number % 5 == 4).then_some("sku 221 is out of stock");
    let route = [("http.route", "/orders"), ("http.request.method", "POST")];
    let storefront = [
        Sketch(&root, "", "POST /orders", 2, 0.0, ms, fails, &route),
        Sketch(&check, &root, "check basket", 1, ms * 0.02, ms * 0.12, None, &[("items", "3")]),
        Sketch(&call, &root, "reserve", 3, ms * 0.14, ms * 0.85, fails, &[("server.address", "inventory:3001")]),
        Sketch(&notify, &root, "send mail", 4, ms * 0.3, ms * 0.6, None, &[("messaging.system", "kafka")]),
    ];
    let inventory = [
        Sketch(&work, &call, "POST /reservations", 2, ms * 0.18, ms * 0.8, fails, &[("sku", "221")]),
        Sketch(
            &query,
            &work,
            "SELECT stock",
            3,
            ms * 0.22,
            ms * 0.7,
            None,
            &[("db.system.name", "postgresql"), ("db.query.text", "SELECT left FROM stock WHERE sku = $1")],
        ),
    ];
    export(
        stack,
        &[("storefront", spans(&trace, begin, &storefront)), ("inventory", spans(&trace, begin, &inventory))],
    );
    let age = |share: f64| age_ms - (ms * share) as u64;
    let text = format!(r#"{{"message":"order {number} taken","order":{number},"customer":"c-{}"}}"#, number % 7);
    let mut lines: Vec<Line<'_>> = vec![
        (age(0.05), "storefront", "info", &text, Some((&trace, &root))),
        (age(0.25), "inventory", "debug", "looking for sku 221 in aisle 7", Some((&trace, &work))),
    ];
    if let Some(failure) = fails {
        lines.push((age(0.75), "inventory", "error", failure, Some((&trace, &work))));
        lines.push((
            age(0.9),
            "storefront",
            "warn",
            "the customer is told to come back tomorrow",
            Some((&trace, &root)),
        ));
    }
    push(stack, &lines);
}

const BOUNDS: [f64; 7] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];

/// The metrics of a run: a histogram with exemplars, a counter with two labels, a gauge, losses; a point every five seconds.
fn measure(stack: &Devstack, orders: &[(u64, f64)]) {
    let now = now_ns();
    for tick in 0..=12_u64 {
        let age_ms = (12 - tick) * 5000;
        let time = (now - age_ms * 1_000_000).to_string();
        let before: Vec<&(u64, f64)> = orders.iter().filter(|(age, _)| *age >= age_ms).collect();
        let mut counts = vec![0_u64; BOUNDS.len() + 1];
        for (_, ms) in &before {
            counts[BOUNDS.iter().position(|bound| ms / 1000.0 <= *bound).unwrap_or(BOUNDS.len())] += 1;
        }
        let exemplars: Vec<Value> = orders
            .iter()
            .enumerate()
            .filter(|(_, (age, _))| *age >= age_ms && *age < age_ms + 5000)
            .map(|(number, (age, ms))| {
                json!({
                    "timeUnixNano": (now - age * 1_000_000).to_string(), "asDouble": ms / 1000.0,
                    "traceId": trace_id(number as u64), "spanId": format!("{:016x}", ((number as u64 + 1) << 8) | 1),
                })
            })
            .collect();
        let attribute = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
        let number = |value: f64, attributes: Vec<Value>| json!({ "timeUnixNano": time, "asDouble": value, "attributes": attributes });
        let total = before.len() as f64;
        let sum = |name: &str, help: &str, unit: &str, points: Vec<Value>| {
            json!({ "name": name, "description": help, "unit": unit,
                "sum": { "aggregationTemporality": 2, "isMonotonic": true, "dataPoints": points } })
        };
        let metrics = json!([
            { "name": "shop.order.duration", "description": "How long an order takes", "unit": "s", "histogram": {
                "aggregationTemporality": 2, "dataPoints": [{
                    "timeUnixNano": time, "count": before.len().to_string(), "sum": before.iter().map(|(_, ms)| ms / 1000.0).sum::<f64>(),
                    "bucketCounts": counts.iter().map(ToString::to_string).collect::<Vec<_>>(), "explicitBounds": BOUNDS,
                    "exemplars": exemplars }] } },
            sum("shop.orders", "Orders by outcome", "", vec![
                number(total * 0.8, vec![attribute("outcome", "taken"), attribute("region", "north")]),
                number(total * 0.2, vec![attribute("outcome", "refused"), attribute("region", "south")]),
            ]),
            sum("otlp_logs_dropped", "Log lines lost", "", vec![
                number(3.0, vec![attribute("exporter", "loki"), attribute("reason", "queue_full")]),
            ]),
            { "name": "shop.stock", "description": "What is left of a sku", "gauge": { "dataPoints": [
                number(221.0 - total, vec![attribute("sku", "221")]),
                number(180.0 - total / 3.0, vec![attribute("sku", "17")]),
            ] } },
            { "name": "process.memory.usage", "description": "Memory in use", "unit": "By", "gauge": { "dataPoints": [
                number(48e6 + tick as f64 * 1e5, Vec::new()),
            ] } },
        ]);
        let request = json!({ "resourceMetrics": [{
            "resource": resource("storefront"), "scopeMetrics": [{ "scope": { "name": "shop" }, "metrics": metrics }] }] });
        post(&stack.otlp_http_url(), "/v1/metrics", &request);
    }
}

/// A minute of a shop: 40 orders with their lines and metrics.
pub(crate) fn run(stack: &Devstack) {
    let orders: Vec<(u64, f64)> = (0..40_u64)
        .map(|number| {
            (58_000 - number * 1400, 20.0 + (number * 37 % 180) as f64 + if number % 9 == 0 { 420.0 } else { 0.0 })
        })
        .collect();
    for (number, (age, ms)) in orders.iter().enumerate() {
        order(stack, number as u64, *age, *ms);
    }
    measure(stack, &orders);
}

/// Many traces of two spans.
pub(crate) fn many_traces(stack: &Devstack, number: u64) {
    let begin = now_ns() - 60_000_000_000;
    for chunk in (0..number).collect::<Vec<_>>().chunks(2000) {
        let (mut roots, mut children) = (Vec::new(), Vec::new());
        for at in chunk {
            let (trace, root, child) = (trace_id(*at), format!("{:016x}", at * 2 + 1), format!("{:016x}", at * 2 + 2));
            let name = format!("request {at}");
            let ms = 1.0 + (at * 7919 % 1000) as f64;
            let begin = begin + at * 5_000_000;
            let failure = (at % 50 == 0).then_some("it failed");
            roots.extend(spans(&trace, begin, &[Sketch(&root, "", &name, 2, 0.0, ms, failure, &[])]));
            children.extend(spans(&trace, begin, &[Sketch(&child, &root, "work", 1, ms * 0.1, ms * 0.9, None, &[])]));
        }
        export(stack, &[("front", roots), ("back", children)]);
    }
}
