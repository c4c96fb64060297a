//! Log records of OTLP as Loki keeps them: what the real one (3.4.6) answers to the same request was read off it.

use lgtm_devstack::{Devstack, LogEntry};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::client::{get_json, now_ns, post};

async fn send(stack: &Devstack, resource_logs: Value) -> Vec<Arc<LogEntry>> {
    let body = json!({ "resourceLogs": resource_logs }).to_string().into_bytes();
    let url = format!("{}/otlp/v1/logs", stack.loki_url());
    assert_eq!(post(&url, &[("content-type", "application/json")], body).await, (204, String::new()));
    stack.store().logs()
}

fn pairs(values: &[(&str, Value)]) -> Value {
    values.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
}

fn text(text: &str) -> Value {
    json!({ "stringValue": text })
}

/// The structured metadata as pairs.
fn metadata(entry: &LogEntry) -> Vec<(&str, &str)> {
    entry.structured_metadata.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[tokio::test]
async fn every_field_of_a_record_its_scope_and_its_resource_is_kept() {
    let stack = Devstack::start().await.unwrap();
    let now = now_ns();
    let record = json!({
        "timeUnixNano": now.to_string(), "observedTimeUnixNano": (now + 5).to_string(), "severityNumber": 17, "severityText": "ERROR",
        "body": text("all"), "droppedAttributesCount": 2, "flags": 1, "traceId": "5B8EFFF798038103D269B633813FC60C",
        "spanId": "EEE19B7EC3C1B174", "eventName": "login", "attributes": pairs(&[("http.route", text("/orders"))]),
    });
    let scope = json!({ "name": "sc", "version": "1", "attributes": pairs(&[("scope.attr", text("sa"))]), "droppedAttributesCount": 3 });
    let deep = json!({ "kvlistValue": { "values": pairs(&[("in.ner", text("x"))]) } });
    let resource = pairs(&[
        ("service.name", text("shop")),
        ("service.instance.id", text("i1")),
        ("cloud.availability_zone", text("z")),
        ("host.name", text("h")),
        ("deep", deep),
    ]);
    let logs = send(
        &stack,
        json!([{ "resource": { "attributes": resource },
        "scopeLogs": [{ "scope": scope, "logRecords": [record] }] }]),
    )
    .await;
    let labels: Vec<_> = logs[0].labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(labels, [("cloud_availability_zone", "z"), ("service_instance_id", "i1"), ("service_name", "shop")]);
    let observed = (now + 5).to_string();
    assert_eq!(
        metadata(&logs[0]),
        [
            ("deep_in_ner", "x"),
            ("dropped_attributes_count", "2"),
            ("event_name", "login"),
            ("flags", "1"),
            ("host_name", "h"),
            ("http_route", "/orders"),
            ("observed_timestamp", &observed),
            ("scope_attr", "sa"),
            ("scope_dropped_attributes_count", "3"),
            ("scope_name", "sc"),
            ("scope_version", "1"),
            ("severity_number", "17"),
            ("severity_text", "ERROR"),
            ("span_id", "eee19b7ec3c1b174"),
            ("trace_id", "5b8efff798038103d269b633813fc60c"),
        ]
    );
    // The query API gives it as the real one does.
    let url = format!("{}/loki/api/v1/query_range", stack.loki_url());
    let answer = get_json(&url, &[("query", r#"{service_name="shop"} | event_name="login""#)]).await;
    assert_eq!(answer["data"]["result"][0]["stream"]["observed_timestamp"], observed);
}

#[tokio::test]
async fn bodies_and_attributes_of_any_kind_are_the_text_that_loki_makes_of_them() {
    let stack = Devstack::start().await.unwrap();
    let now = now_ns();
    let kinds = [
        (text("plain"), "plain"),
        (json!({ "boolValue": true }), "true"),
        (json!({ "intValue": "-7" }), "-7"),
        (json!({ "doubleValue": 0.1 }), "0.1"),
        (json!({ "doubleValue": 1e21 }), "1e+21"),
        (json!({ "doubleValue": 1e-7 }), "1e-7"),
        (json!({ "doubleValue": 5 }), "5"),
        (json!({ "bytesValue": "AQL/" }), "AQL/"),
        (
            json!({ "arrayValue": { "values": [{ "intValue": "1" }, text("a<b>&\"q\" é\u{2028}"), { "doubleValue": 1.5 }, { "boolValue": false },
                { "bytesValue": "AQL/" }, { "arrayValue": { "values": [] } }, {}, { "doubleValue": 1e-9 }] } }),
            r#"[1,"a\u003cb\u003e\u0026\"q\" é\u2028",1.5,false,"AQL/",[],null,1e-9]"#,
        ),
        (json!({ "arrayValue": { "values": [] } }), "[]"),
        (json!({}), ""),
    ];
    let records = |of: fn(&Value, i64) -> Value| -> Value {
        kinds.iter().enumerate().map(|(at, (value, _))| of(value, now_ns() + i64::try_from(at).unwrap())).collect()
    };
    let bodies = records(|value, time| json!({ "timeUnixNano": time.to_string(), "body": value }));
    let attributes = records(
        |value, time| json!({ "timeUnixNano": time.to_string(), "attributes": [{ "key": "v", "value": value }] }),
    );
    let map = json!({ "kvlistValue": { "values": pairs(&[("z", text("1")), ("a", json!({ "intValue": "2" })),
        ("m", json!({ "kvlistValue": { "values": pairs(&[("x", text("y"))]) } }))]) } });
    let mapped =
        json!([{ "timeUnixNano": now.to_string(), "body": map, "attributes": [{ "key": "v", "value": map }] }]);
    let of = |records: Value| json!({ "scopeLogs": [{ "logRecords": records }] });
    let logs = send(&stack, json!([of(bodies), of(attributes), of(mapped)])).await;
    for (at, (_, expected)) in kinds.iter().enumerate() {
        assert_eq!(logs[at].line, *expected);
        assert_eq!(logs[kinds.len() + at].label("v"), Some(*expected));
    }
    let last = logs.last().unwrap();
    assert_eq!(last.line, r#"{"a":2,"m":{"x":"y"},"z":"1"}"#);
    assert_eq!(metadata(last), [("v_a", "2"), ("v_m_x", "y"), ("v_z", "1")]);
}

#[tokio::test]
async fn a_record_stands_at_its_time_or_when_it_was_observed_or_came() {
    let stack = Devstack::start().await.unwrap();
    let before = now_ns();
    let logs = send(&stack, json!([{ "scopeLogs": [{ "logRecords": [
        { "timeUnixNano": (before + 1).to_string(), "observedTimeUnixNano": (before + 7).to_string(), "body": text("own") },
        { "observedTimeUnixNano": (before + 2).to_string(), "body": text("observed") },
        { "body": text("came") },
    ] }] }])).await;
    assert_eq!((logs[0].timestamp_ns, logs[1].timestamp_ns), (before + 1, before + 2));
    assert_eq!((logs[0].label("observed_timestamp").is_some(), logs[1].label("observed_timestamp")), (true, None));
    assert!((before..=now_ns()).contains(&logs[2].timestamp_ns));
}

#[tokio::test]
async fn where_names_meet_the_scope_wins_over_the_resource_over_the_fields_over_the_attributes() {
    let stack = Devstack::start().await.unwrap();
    let names = pairs(&[
        ("_under", text("u")),
        ("__dunder", text("d")),
        ("9lives", text("n")),
        ("a-b", text("1")),
        ("a.b", text("2")),
        ("é", text("e")),
        ("empty", text("")),
        ("trace_id", text("own")),
        ("both", text("log")),
        ("scope_name", text("mine")),
        ("event_name", text("attribute")),
        ("twice", text("1")),
        ("twice", text("2")),
    ]);
    let record = json!({ "body": text("names"), "attributes": names, "eventName": "field", "traceId": "0".repeat(32), "spanId": "0".repeat(16) });
    let logs = send(&stack, json!([{ "resource": { "attributes": pairs(&[("both", text("resource")), ("x", text("y"))]) },
        "scopeLogs": [{ "scope": { "name": "sc", "attributes": pairs(&[("both", text("scope"))]) }, "logRecords": [record] }] }])).await;
    // Of a letter that no label may have, Loki 3.4.6 makes a name that its own query API cannot write.
    assert_eq!(
        metadata(&logs[0]),
        [
            ("__dunder", "d"),
            ("a_b", "2"),
            ("both", "scope"),
            ("empty", ""),
            ("event_name", "field"),
            ("key_", "e"),
            ("key_9lives", "n"),
            ("key_under", "u"),
            ("scope_name", "sc"),
            ("trace_id", "own"),
            ("twice", "2"),
            ("x", "y"),
        ]
    );
}

#[tokio::test]
async fn a_service_without_a_name_is_named_by_its_container_or_job_or_is_unknown() {
    let stack = Devstack::start().await.unwrap();
    let of = |attributes: &[(&str, &str)]| {
        let attributes: Vec<(&str, Value)> = attributes.iter().map(|(key, value)| (*key, text(value))).collect();
        json!({ "resource": { "attributes": pairs(&attributes) }, "scopeLogs": [{ "logRecords": [{ "body": text("x") }] }] })
    };
    let logs = send(
        &stack,
        json!([
            of(&[("k8s.container.name", "kc"), ("container.name", "cn")]),
            of(&[("service.name", ""), ("x", "y")]),
            of(&[]),
            of(&[("service.name", "shop"), ("container.name", "cn")]),
            of(&[("k8s.job.name", "nightly")]),
        ]),
    )
    .await;
    let services: Vec<_> = logs.iter().map(|entry| entry.labels["service_name"].as_str()).collect();
    assert_eq!(services, ["kc", "unknown_service", "unknown_service", "shop", "nightly"]);
}

#[tokio::test]
async fn over_grpc_what_is_refused_is_a_partial_success_too() {
    let stack = Devstack::start().await.unwrap();
    let record = |time: i64| LogRecord { time_unix_nano: time.cast_unsigned(), ..LogRecord::default() };
    let request = |log_records| ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            scope_logs: vec![ScopeLogs { log_records, ..ScopeLogs::default() }],
            ..ResourceLogs::default()
        }],
    };
    let mut client = LogsServiceClient::connect(stack.otlp_grpc_url()).await.unwrap();
    let response = client.export(request(vec![record(now_ns()), record(1)])).await.unwrap().into_inner();
    assert_eq!(response.partial_success.unwrap().rejected_log_records, 1);
    assert_eq!(client.export(request(vec![record(1)])).await.unwrap_err().code(), tonic::Code::InvalidArgument);
}
