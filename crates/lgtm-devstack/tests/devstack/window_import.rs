//! What the window takes back from files, whose they are, and what it says of what it does not take.

use std::fmt::Write as _;

use lgtm_devstack::wire::prometheus;
use lgtm_devstack::{Devstack, Limits};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client::{
    DEADLINE, entry, export, export_http, get_json, get_text, http, now_ms, now_ns, post, push_logs, series, span,
    stream, text_attribute, write_request,
};

const TRACE: &str = "07070707070707070707070707070707";
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

async fn post_file(stack: &Devstack, body: impl Into<Vec<u8>>) -> (u16, Value) {
    let (status, text) = post(&format!("{}/api/v1/import", stack.window_url()), &JSON, body.into()).await;
    (status, serde_json::from_str(&text).unwrap())
}

/// What became of a file.
pub(crate) async fn import(stack: &Devstack, body: impl Into<Vec<u8>>) -> Value {
    let (status, outcome) = post_file(stack, body).await;
    assert_eq!(status, 200, "{outcome}");
    outcome
}

/// Why a file was refused whole.
async fn refusal(stack: &Devstack, body: impl Into<Vec<u8>>) -> (u16, String) {
    let (status, answer) = post_file(stack, body).await;
    (status, answer["error"].as_str().unwrap().to_owned())
}

fn counts(outcome: &Value, kind: &str) -> [u64; 4] {
    ["taken", "repeated", "refused", "evicted"].map(|name| outcome[kind][name].as_u64().unwrap())
}

/// A log line in a file.
fn saved(second: u32, line: &str) -> String {
    let time = format!("2019-03-04T05:06:{second:02}.123456789+01:00");
    json!({ "timestamp": time, "line": line, "labels": { "app": "old" }, "structuredMetadata": { "order": "7" } })
        .to_string()
}

#[tokio::test]
async fn traces_and_lines_that_were_exported_come_back_in_a_fresh_stack_and_once() {
    let (stack, fresh) = (Devstack::start().await.unwrap(), Devstack::start().await.unwrap());
    let mut root = span(7, 1, None, "POST /orders");
    root.kind = SpanKind::Server as i32;
    root.attributes = vec![text_attribute("sku", "221")];
    export_http(&stack.otlp_http_url(), &export("shop", vec![root])).await;
    export_http(&stack.otlp_http_url(), &export("inventory", vec![span(7, 2, Some(1), "reserve")])).await;
    let lines = vec![entry(now_ns(), "order taken", &[("trace_id", TRACE)]), entry(now_ns(), "paid", &[])];
    push_logs(&stack.loki_url(), vec![stream(r#"{service_name="shop"}"#, lines)]).await;
    let get = async |path: &str| {
        let (status, text) = get_text(&format!("{}/api/v1{path}", stack.window_url()), &[]).await;
        assert_eq!(status, 200, "{text}");
        text
    };
    let (trace, logs) = (get(&format!("/traces/{TRACE}/otlp")).await, get("/logs/jsonl").await);
    let outcome = import(&fresh, trace.clone()).await;
    assert_eq!(counts(&outcome, "spans"), [2, 0, 0, 0]);
    assert_eq!((&outcome["traces"], &outcome["has_more_traces"]), (&json!([TRACE]), &json!(false)));
    let outcome = import(&fresh, logs.clone()).await;
    assert_eq!(counts(&outcome, "logs"), [2, 0, 0, 0]);
    assert_eq!(outcome["documents"], 2);
    assert_eq!(fresh.store().spans(), stack.store().spans());
    let sorted = |stack: &Devstack| {
        let mut logs = stack.store().logs();
        logs.sort_by_key(|entry| (entry.timestamp_ns, entry.line.clone()));
        logs
    };
    assert_eq!(sorted(&fresh), sorted(&stack));
    let path = format!("/api/v1/traces/{TRACE}");
    let shown = async |stack: &Devstack| get_json(&format!("{}{path}", stack.window_url()), &[]).await["spans"].clone();
    assert_eq!(shown(&fresh).await, shown(&stack).await, "the waterfall");
    // All again, in one file.
    let outcome = import(&fresh, format!("{trace}\n{logs}")).await;
    assert_eq!((counts(&outcome, "spans"), counts(&outcome, "logs")), ([0, 2, 0, 0], [0, 2, 0, 0]));
    let held = fresh.store().counts().spans;
    assert_eq!((held.held, held.received, held.duplicates), (2, 2, 2));
}

#[tokio::test]
async fn what_is_older_than_anything_the_ingest_takes_is_taken_in_any_order() {
    let stack = Devstack::start().await.unwrap();
    let newest = stream(r#"{app="old"}"#, vec![entry(now_ns(), "now", &[])]);
    assert_eq!(push_logs(&stack.loki_url(), vec![newest]).await.0, 204);
    let labels = [("__name__", "stock"), ("sku", "221")];
    let request = prometheus::WriteRequest { timeseries: vec![series(&labels, &[(now_ms(), 5.0)])], metadata: vec![] };
    assert_eq!(write_request(&stack.mimir_url(), &request).await.0, 200);
    let point = |second: u64, value: f64| {
        let attributes = json!([{ "key": "sku", "value": { "stringValue": "221" } }]);
        json!({ "timeUnixNano": (1_500_000_000_000_000_000 + second * 1_000_000_000).to_string(), "asDouble": value, "attributes": attributes })
    };
    let metrics = |points: Vec<Value>| json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [{ "name": "stock", "gauge": { "dataPoints": points } }] }] }] });
    let file = [
        saved(3, "third"),
        saved(1, "first"),
        metrics(vec![point(60, 3.0), point(0, 1.0)]).to_string(),
        json!({ "streams": [{ "stream": { "app": "old" }, "values": [["-1", "before 1970"], ["9000000000000000000", "far away"]] }] })
            .to_string(),
        metrics(vec![point(30, 2.0), point(60, 3.0), point(0, 9.0)]).to_string(),
    ];
    let outcome = import(&stack, file.join("\n")).await;
    assert_eq!(counts(&outcome, "logs"), [4, 0, 0, 0], "{outcome}");
    assert_eq!(counts(&outcome, "samples"), [3, 1, 1, 0], "{outcome}");
    assert_eq!(outcome["problems"][0]["line"], 5);
    assert!(outcome["problems"][0]["reason"].as_str().unwrap().contains("duplicate sample"), "{outcome}");
    assert_eq!(outcome["logs_from_ns"], "-1");
    let values: Vec<f64> = stack.store().series_named("stock")[0].samples.iter().map(|sample| sample.value).collect();
    assert_eq!(values, [1.0, 2.0, 3.0, 5.0], "in the order of time");
    let first = &stack.store().logs()[2];
    assert_eq!((first.line.as_str(), first.timestamp_ns), ("first", 1_551_672_361_123_456_789));
    // The ingest itself is as strict as before.
    let old = stream(r#"{app="old"}"#, vec![entry(1_500_000_000_000_000_000, "old", &[])]);
    assert_eq!(push_logs(&stack.loki_url(), vec![old]).await.0, 400);
    let old =
        prometheus::WriteRequest { timeseries: vec![series(&labels, &[(1_400_000_000_000, 5.0)])], metadata: vec![] };
    assert_eq!(write_request(&stack.mimir_url(), &old).await.0, 400);
}

#[tokio::test]
async fn histograms_and_exemplars_of_old_files_find_their_place() {
    let stack = Devstack::start().await.unwrap();
    let file = |second: u64| {
        let time = ((1_500_000_000 + second) * 1_000_000_000).to_string();
        let exemplar = json!({ "timeUnixNano": time, "asDouble": 0.5, "traceId": TRACE, "spanId": "0101010101010101" });
        let point = json!({ "timeUnixNano": time, "count": "2", "sum": 1.0, "scale": 0, "zeroCount": "0",
            "positive": { "offset": 0, "bucketCounts": ["1", "1"] }, "exemplars": [exemplar] });
        json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [{ "name": "wait",
            "exponentialHistogram": { "aggregationTemporality": 2, "dataPoints": [point] } }] }] }] })
        .to_string()
    };
    for (second, expected) in [(60, [1, 0, 0, 0]), (0, [1, 0, 0, 0]), (30, [1, 0, 0, 0]), (0, [0, 1, 0, 0])] {
        let outcome = import(&stack, file(second)).await;
        assert_eq!(counts(&outcome, "histograms"), expected, "{second}: {outcome}");
        assert_eq!(counts(&outcome, "exemplars"), expected, "{second}: {outcome}");
    }
    let series = stack.store().series_named("wait");
    let times: Vec<i64> = series[0].histograms.iter().map(|histogram| histogram.timestamp).collect();
    assert_eq!(times, [1_500_000_000_000, 1_500_000_030_000, 1_500_000_060_000]);
    let times: Vec<i64> = series[0].exemplars.iter().map(|exemplar| exemplar.timestamp_ms).collect();
    assert_eq!(times, [1_500_000_000_000, 1_500_000_030_000, 1_500_000_060_000]);
}

#[tokio::test]
async fn what_other_programs_have_saved_is_recognised_by_its_content() {
    let sender = Devstack::start().await.unwrap();
    let mut one = span(7, 1, None, "order");
    one.kind = SpanKind::Client as i32;
    one.attributes = vec![text_attribute("sku", "221")];
    export_http(&sender.otlp_http_url(), &export("shop", vec![one])).await;
    let expected = sender.store().spans();
    let tempo = |path: &str| format!("{}{path}/{TRACE}", sender.tempo_url());
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap();
    // Tempo's answers, as they come and as a tool prints them.
    for (path, member) in [("/api/traces", "batches"), ("/api/v2/traces", "trace")] {
        let answer = get_json(&tempo(path), &[]).await;
        assert!(answer.get(member).is_some(), "{answer}");
        for file in [answer.to_string(), pretty(&answer), format!("\u{feff}{}\r\n", pretty(&answer))] {
            let stack = Devstack::start().await.unwrap();
            assert_eq!(counts(&import(&stack, file).await, "spans"), [1, 0, 0, 0], "{path}");
            assert_eq!(stack.store().spans(), expected, "{path}");
        }
    }
    // The Collector's file: one request a line, of any signal, and with what it leaves out or writes as null.
    let stack = Devstack::start().await.unwrap();
    let resource = json!({ "attributes": [{ "key": "service.name", "value": { "stringValue": "payment" } }] });
    let record = json!({ "timeUnixNano": "1500000000000000000", "severityNumber": 17, "severityText": null, "traceId": TRACE, "spanId": "",
        "body": { "stringValue": "charge refused" }, "droppedAttributesCount": 0, "newInALaterVersion": { "deep": [] },
        "attributes": [{ "key": "list", "value": { "arrayValue": {} } }, { "key": "ratio", "value": { "doubleValue": "NaN" } }] });
    let logs = json!({ "resourceLogs": [{ "resource": resource, "scopeLogs": [{ "scope": null, "logRecords": [record] }], "schemaUrl": "x" }] });
    let spans: Value = serde_json::from_str(&sender.store().trace_otlp_json(TRACE).unwrap()).unwrap();
    let outcome = import(&stack, format!("{logs}\n{spans}\n")).await;
    assert_eq!((counts(&outcome, "logs"), counts(&outcome, "spans")), ([1, 0, 0, 0], [1, 0, 0, 0]), "{outcome}");
    let line = &stack.store().logs()[0];
    assert_eq!(line.label("service_name"), Some("payment"));
    assert!(line.label("ratio").is_some_and(|ratio| ratio.contains("NaN")), "{line:?}");
    // Several documents one behind the other, as `jq .` prints lines.
    let outcome = import(&stack, format!("{}\n{}", pretty(&logs), pretty(&spans))).await;
    assert_eq!((counts(&outcome, "logs"), counts(&outcome, "spans")), ([0, 1, 0, 0], [0, 1, 0, 0]), "{outcome}");
    // Loki's push, with and without metadata.
    let push = json!({ "streams": [{ "stream": { "app": "cron" }, "values": [["1500000000000000000", "a"], ["1500000000000000001", "b", { "order": "7" }]] }] });
    assert_eq!(counts(&import(&stack, pretty(&push)).await, "logs"), [2, 0, 0, 0]);
}

#[tokio::test]
async fn lines_of_logcli_have_labels_and_metadata_in_one_and_are_taken_apart() {
    let stack = Devstack::start().await.unwrap();
    let line =
        |labels: Value| json!({ "labels": labels, "line": "x", "timestamp": "2019-03-04T05:06:07.5Z" }).to_string();
    let many: serde_json::Map<String, Value> = (0..20).map(|at| (format!("k8s_{at}"), json!("v"))).collect();
    let mut all = json!({ "service_name": "shop" });
    all.as_object_mut().unwrap().extend(many);
    let bare = json!({ "line": "x", "timestamp": "2019-03-04T05:06:07.5Z" }).to_string();
    let file = [line(json!({ "app": "shop", "trace_id": TRACE })), line(json!({})), line(all)];
    let outcome = import(&stack, file.join("\n")).await;
    assert_eq!((counts(&outcome, "logs"), &outcome["refused_lines"]), ([3, 0, 0, 0], &json!(0)), "{outcome}");
    assert_eq!(counts(&import(&stack, bare).await, "logs"), [0, 1, 0, 0], "common labels are left out, or all are");
    let logs = stack.store().logs();
    let labels =
        |at: usize| logs[at].labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",");
    assert_eq!((labels(0).as_str(), logs[0].label("trace_id")), ("app=shop", Some(TRACE)));
    assert_eq!(labels(1), "service_name=unknown_service");
    assert_eq!((labels(2).as_str(), logs[2].structured_metadata.len()), ("service_name=shop", 20));
}

#[tokio::test]
async fn the_first_ten_refused_lines_are_named_with_the_reason_and_the_others_are_taken() {
    let stack = Devstack::start().await.unwrap();
    let no_trace = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [
        { "traceId": "00000000000000000000000000000000", "spanId": "0101010101010101", "name": "bad" },
        { "traceId": TRACE, "spanId": "0101010101010101", "name": "good" },
    ] }] }] });
    let mut file = vec![
        saved(1, "good"),
        "{\"line\": \"cut".to_owned(),
        String::new(),
        "{\"neither\": 1}".to_owned(),
        saved(2, "good too"),
        json!({ "line": "x", "timestamp": "yesterday" }).to_string(),
        json!({ "line": "x".repeat(300_000), "timestamp": "2019-03-04T05:06:07Z" }).to_string(),
        no_trace.to_string(),
        json!({ "streams": [{ "stream": { "no-name": "x" }, "values": [] }] }).to_string(),
        json!({ "resourceSpans": "x".repeat(5000) }).to_string(),
    ];
    file.extend((0..6).map(|_| "[]".to_owned()));
    file.push(saved(3, "the last"));
    let outcome = import(&stack, file.join("\n")).await;
    assert_eq!((counts(&outcome, "logs"), counts(&outcome, "spans")), ([3, 0, 1, 0], [1, 0, 1, 0]), "{outcome}");
    assert_eq!(outcome["refused_lines"], 13);
    let problems = outcome["problems"].as_array().unwrap();
    let named: Vec<u64> = problems.iter().map(|problem| problem["line"].as_u64().unwrap()).collect();
    assert_eq!(named, [2, 4, 6, 7, 8, 9, 10, 11, 12, 13]);
    let parts = [
        "it is not JSON: EOF",
        "its form is not recognised; accepted: OTLP JSON",
        "timestamp \"yesterday\" is not accepted; accepted: an RFC 3339 time",
        "max entry size",
        "trace id \"00000000000000000000000000000000\" of span \"bad\"",
        "\"no-name\" is not a label name",
        "expected a sequence",
    ];
    for (problem, part) in problems.iter().zip(parts) {
        let reason = problem["reason"].as_str().unwrap();
        assert!(!reason.contains("fake"), "{reason}");
        assert!(reason.contains(part) && reason.len() < 600, "{part}: {reason}");
    }
}

#[tokio::test]
async fn a_file_whose_form_is_not_recognised_is_refused_with_what_is_accepted() {
    let stack = Devstack::start().await.unwrap();
    let deep = format!("{{\"unknown\":{}{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    let mut nested = String::new();
    (0..100_000).for_each(|_| nested.push_str("{\"arrayValue\":{\"values\":["));
    let nested = format!(
        "{{\"resourceLogs\":[{{\"scopeLogs\":[{{\"logRecords\":[{{\"body\":{nested}{}}}]}}]}}]}}",
        "]}}".repeat(100_000)
    );
    let binary: Vec<u8> = (0..100_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for (file, status, parts) in [
        (Vec::new(), 400, ["the body is empty", "resourceSpans"]),
        (b"hello\nworld\n".to_vec(), 400, ["line 1: it is not JSON", "logcli"]),
        (b"{\"a\": 1}".to_vec(), 400, ["not recognised", "resourceMetrics"]),
        (b"[1, 2]".to_vec(), 400, ["line 1", "invalid"]),
        (b"{\n\"resourceSpans\": [\n{\"scopeSpans\": 7}]}".to_vec(), 400, ["line 3", "invalid type"]),
        (b"<html><script>alert(1)</script>".to_vec(), 400, ["it is not JSON", "batches"]),
        (binary, 400, ["it is not JSON", "streams"]),
        (deep.into_bytes(), 400, ["line 1", "not recognised"]),
        (nested.into_bytes(), 400, ["line 1", "recursion limit"]),
    ] {
        let (found, error) = refusal(&stack, file).await;
        assert!(found == status && parts.iter().all(|part| error.contains(part)), "{parts:?}: {found} {error}");
    }
    let counts = stack.store().counts();
    assert_eq!((counts.logs.received, counts.spans.received, counts.samples.received), (0, 0, 0));
}

#[tokio::test]
async fn a_file_may_be_longer_than_a_request_but_a_line_of_it_may_not() {
    let limits = Limits { body_bytes: 20_000, in_flight_bytes: 40_000, log_bytes: 64 << 20, ..Limits::default() };
    let stack = Devstack::builder().limits(limits).start().await.unwrap();
    let mut file = String::new();
    for at in 0..2000 {
        let long = if at == 1000 { "y".repeat(1_000_000) } else { "x".repeat(100) };
        writeln!(file, "{}", saved(at % 60, &format!("line {at} {long}"))).unwrap();
    }
    let outcome = import(&stack, file).await;
    assert_eq!((counts(&outcome, "logs"), &outcome["refused_lines"]), ([1999, 0, 0, 0], &json!(1)), "{outcome}");
    assert_eq!(outcome["problems"], json!([{ "line": 1001, "reason": "it is longer than 20000 bytes" }]));
    let pretty = format!("{{\n\"streams\": [\n{}]}}", " ".repeat(100_000));
    let (status, error) = refusal(&stack, pretty).await;
    assert_eq!((status, error.as_str()), (413, "line 1: it is longer than 20000 bytes"));
    // The memory of a body is given back: what is left is enough for the next.
    for _ in 0..20 {
        assert_eq!(counts(&import(&stack, saved(1, &"z".repeat(15_000))).await, "logs")[2], 0);
    }
}

#[tokio::test]
async fn what_had_to_go_for_an_import_is_told_by_its_answer_and_by_the_overview() {
    let limits = Limits { log_bytes: 20_000, trace_bytes: 20_000, metric_bytes: 20_000, ..Limits::default() };
    let stack = Devstack::builder().limits(limits).start().await.unwrap();
    let mut file: Vec<String> = (0..500).map(|at| saved(at % 60, &format!("line {at}"))).collect();
    let spans: Vec<Value> = (1..=200)
        .map(|at| json!({ "traceId": TRACE, "spanId": format!("{at:016x}"), "name": "x", "startTimeUnixNano": "1", "endTimeUnixNano": "2" }))
        .collect();
    file.push(json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] }).to_string());
    let points: Vec<Value> =
        (0..2000).map(|at| json!({ "timeUnixNano": (at * 1_000_000).to_string(), "asDouble": 1.0 })).collect();
    file.push(
        json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [{ "name": "stock", "gauge": { "dataPoints": points } }] }] }] })
            .to_string(),
    );
    let outcome = import(&stack, file.join("\n")).await;
    let overview = get_json(&format!("{}/api/v1/overview", stack.window_url()), &[]).await;
    for (kind, taken) in [("logs", 500), ("spans", 200), ("samples", 2000)] {
        let [received, repeated, refused, evicted] = counts(&outcome, kind);
        assert_eq!((received, repeated, refused), (taken, 0, 0), "{kind}: {outcome}");
        let store = |name: &str| overview["store"][kind][name].as_u64().unwrap();
        assert!(evicted > 0 && evicted < taken, "{kind}: {evicted}");
        assert_eq!((store("received"), store("evicted")), (taken, evicted), "{kind}");
        assert_eq!(store("held") + store("evicted"), store("received"), "{kind}");
        assert!(store("held_bytes") <= store("limit_bytes"), "{kind}");
    }
}

#[tokio::test]
async fn imports_at_the_same_time_as_the_ingest_count_only_their_own() {
    let stack = Devstack::start().await.unwrap();
    let pushing = async {
        for at in 0..50 {
            push_logs(&stack.loki_url(), vec![stream(r#"{app="live"}"#, vec![entry(now_ns(), &format!("{at}"), &[])])])
                .await;
        }
    };
    let importing = async {
        for round in 0..5 {
            let file: Vec<String> = (0..100).map(|at| saved(at % 60, &format!("{round} {at}"))).collect();
            assert_eq!(counts(&import(&stack, file.join("\n")).await, "logs"), [100, 0, 0, 0]);
        }
    };
    tokio::join!(pushing, importing);
    assert_eq!(stack.store().counts().logs.received, 550);
}

/// A file of every form, some over several lines.
fn of_every_form() -> Vec<u8> {
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    let resource = json!({ "attributes": [text("service.name", "shop")] });
    let span = json!({ "traceId": TRACE, "spanId": "0101010101010101", "name": "order", "startTimeUnixNano": "1", "endTimeUnixNano": 2,
        "attributes": [{ "key": "list", "value": { "arrayValue": { "values": [{ "intValue": "1" }, { "doubleValue": "NaN" }] } } }] });
    let record = json!({ "timeUnixNano": "1", "body": { "stringValue": "paid" }, "attributes": [text("order", "7")] });
    let point = json!({ "timeUnixNano": "1000000", "asInt": "7", "attributes": [text("sku", "221")] });
    let documents = [
        json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "spans": [span] }] }] }),
        json!({ "batches": [{ "resource": resource, "scopeSpans": [{ "spans": [span] }] }] }),
        json!({ "resourceLogs": [{ "resource": resource, "scopeLogs": [{ "logRecords": [record] }] }] }),
        json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [{ "name": "stock", "gauge": { "dataPoints": [point] } }] }] }] }),
        json!({ "streams": [{ "stream": { "app": "cron" }, "values": [["1", "a"], ["2", "b", { "order": "7" }]] }] }),
        serde_json::from_str(&saved(1, "x")).unwrap(),
    ];
    documents.iter().map(|document| format!("{document}\n")).collect::<String>().into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// Bytes changed, cut out and put in, at the places and in the ways that the numbers say.
    #[test]
    fn whatever_is_wrong_in_a_file_is_told_and_what_is_counted_is_what_is_stored(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 0..5_u8, any::<u8>()), 0..12),
    ) {
        let mut file = of_every_form();
        for (place, way, byte) in changes {
            let at = place.index(file.len());
            match way {
                0 => file[at] = byte,
                1 => file.insert(at, b"{}[],:\"\n0"[usize::from(byte) % 9]),
                2 => drop(file.drain(at..(at + usize::from(byte)).min(file.len() - 1))),
                3 => file.truncate(at.max(1)),
                _ => file.swap(at, 0),
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let stack = Devstack::start().await.unwrap();
            let (status, outcome) = post_file(&stack, file).await;
            if status == 400 {
                assert!(outcome["error"].as_str().unwrap().starts_with("line "), "{outcome}");
                return;
            }
            assert_eq!(status, 200, "{outcome}");
            let held = stack.store().counts();
            for (kind, held) in [("logs", held.logs), ("spans", held.spans), ("samples", held.samples)] {
                assert_eq!(counts(&outcome, kind), [held.received, held.duplicates, held.rejected, held.evicted], "{kind}");
            }
            assert!(outcome["problems"].as_array().unwrap().len() as u64 <= outcome["refused_lines"].as_u64().unwrap());
        });
    }
}

/// The status of an answer to an import with exactly these header lines.
async fn import_raw(stack: &Devstack, headers: &str) -> String {
    let address = stack.window_url().trim_start_matches("http://").to_owned();
    let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
    let body = saved(1, "x");
    let length = body.len();
    let request =
        format!("POST /api/v1/import HTTP/1.1\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(DEADLINE, connection.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer).to_ascii_lowercase()
}

#[tokio::test]
async fn no_page_of_another_site_or_port_imports_anything() {
    let stack = Devstack::start().await.unwrap();
    let json = "content-type: application/json\r\n";
    let own = "host: 127.0.0.1:4320\r\n";
    for (headers, status) in [
        // A page of another site, as browsers of today say it, and as those that only send an origin.
        (format!("{own}{json}sec-fetch-site: cross-site\r\nsec-fetch-mode: cors\r\n"), "403"),
        (format!("{own}{json}sec-fetch-site: cross-site\r\nsec-fetch-mode: navigate\r\n"), "403"),
        (format!("{own}{json}origin: https://evil.example\r\n"), "403"),
        (format!("{own}{json}origin: null\r\n"), "403"),
        // A page that another program of this machine serves: the same site, another port.
        (format!("{own}{json}sec-fetch-site: same-site\r\norigin: http://127.0.0.1:3000\r\n"), "403"),
        (format!("{own}{json}sec-fetch-site: same-site\r\n"), "403"),
        (format!("{own}{json}origin: http://127.0.0.1:3000\r\n"), "403"),
        (format!("{own}{json}origin: https://127.0.0.1:4320\r\n"), "403"),
        // A browser that says nothing of itself sends these types without asking for leave.
        (own.to_owned(), "415"),
        (format!("{own}content-type: text/plain\r\n"), "415"),
        (format!("{own}content-type: Text/Plain; charset=application/json\r\n"), "415"),
        (format!("{own}content-type: application/x-www-form-urlencoded\r\n"), "415"),
        (format!("{own}content-type: multipart/form-data; boundary=x\r\n"), "415"),
        (format!("{own}{json}content-encoding: gzip\r\n"), "415"),
        (format!("host: evil.example\r\n{json}"), "421"),
    ] {
        let answer = import_raw(&stack, &headers).await;
        assert!(answer.starts_with(&format!("http/1.1 {status}")), "{headers:?}: {answer}");
        assert!(answer.contains("accept") || answer.contains("a page of"), "{headers:?}: {answer}");
        assert!(!answer.contains("access-control-allow"), "{answer}");
    }
    assert_eq!(stack.store().counts().logs.received, 0);
    // A page asks for leave first when it wants to send another type; none is given.
    let asking = http()
        .request(reqwest::Method::OPTIONS, format!("{}/api/v1/import", stack.window_url()))
        .header("origin", "http://127.0.0.1:3000")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type")
        .send()
        .await
        .unwrap();
    assert!(!asking.status().is_success() && !asking.headers().contains_key("access-control-allow-origin"));
    for headers in [
        format!("{own}{json}sec-fetch-site: same-origin\r\norigin: http://127.0.0.1:4320\r\n"),
        format!("{own}content-type: application/x-ndjson\r\n"),
        format!("host: LOCALHOST:4320\r\n{json}origin: http://localhost:4320\r\n"),
        format!("{own}content-type: Application/JSON; charset=utf-8\r\n"),
    ] {
        let answer = import_raw(&stack, &headers).await;
        assert!(answer.starts_with("http/1.1 200"), "{headers:?}: {answer}");
    }
}
