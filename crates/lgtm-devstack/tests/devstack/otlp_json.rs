//! OTLP in JSON as SDKs of other languages write it: numbers as texts and as numbers, ids in both cases, what is unknown, left out or null.

use lgtm_devstack::{Devstack, Endpoint, Value as Attribute};
use serde_json::{Value, json};

use crate::client::{gzip, now_ns, post};

const JSON: (&str, &str) = ("content-type", "application/json");

/// Sends JSON to one of the three signals; status and answer.
async fn send(stack: &Devstack, signal: &str, body: &Value) -> (u16, Value) {
    let (status, text) =
        post(&format!("{}/v1/{signal}", stack.otlp_http_url()), &[JSON], body.to_string().into_bytes()).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

fn resource() -> Value {
    json!({ "attributes": [{ "key": "service.name", "value": { "stringValue": "shop" } }] })
}

fn spans(span: &Value) -> Value {
    json!({ "resourceSpans": [{ "resource": resource(), "scopeSpans": [{ "spans": [span] }] }] })
}

fn logs(record: &Value) -> Value {
    json!({ "resourceLogs": [{ "resource": resource(), "scopeLogs": [{ "logRecords": [record] }] }] })
}

fn metrics(metric: &Value) -> Value {
    json!({ "resourceMetrics": [{ "resource": resource(), "scopeMetrics": [{ "metrics": [metric] }] }] })
}

/// The value with a field that no version of OTLP has in each of its objects.
fn with_unknown_fields(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(with_unknown_fields).collect(),
        Value::Object(fields) => {
            let mut fields: serde_json::Map<String, Value> =
                fields.iter().map(|(name, value)| (name.clone(), with_unknown_fields(value))).collect();
            fields.insert("aNewField".to_owned(), json!({ "deep": [1, { "er": null }], "text": "x" }));
            Value::Object(fields)
        }
        other => other.clone(),
    }
}

/// The value with its integers that are written as text written as numbers.
fn with_numbers(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(with_numbers).collect(),
        Value::Object(fields) => {
            let number = |name: &String, value: &Value| {
                let is_number = ["Nano", "intValue", "asInt", "count", "Count", "bucketCounts"];
                let value = match value {
                    Value::String(text) if is_number.iter().any(|end| name.ends_with(end)) => {
                        text.parse::<i64>().map_or_else(|_| value.clone(), |number| json!(number))
                    }
                    Value::Array(items) if name == "bucketCounts" => {
                        items.iter().map(|item| json!(item.as_str().unwrap().parse::<u64>().unwrap())).collect()
                    }
                    other => with_numbers(other),
                };
                (name.clone(), value)
            };
            Value::Object(fields.iter().map(|(name, value)| number(name, value)).collect())
        }
        other => other.clone(),
    }
}

fn full_span() -> Value {
    json!({
        "traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "EEE19B7EC3C1B174", "parentSpanId": "EEE19b7ec3c1b173",
        "traceState": "a=1", "flags": 257, "name": "order", "kind": 2,
        "startTimeUnixNano": "1544712660000000001", "endTimeUnixNano": "1544712661000000002",
        "attributes": [
            { "key": "text", "value": { "stringValue": "a" } }, { "key": "int", "value": { "intValue": "-9007199254740993" } },
            { "key": "double", "value": { "doubleValue": 1 } }, { "key": "bool", "value": { "boolValue": true } },
            { "key": "bytes", "value": { "bytesValue": "AQL/" } },
            { "key": "array", "value": { "arrayValue": { "values": [{ "intValue": "1" }, { "stringValue": "b" }] } } },
            { "key": "map", "value": { "kvlistValue": { "values": [{ "key": "in", "value": { "boolValue": false } }] } } },
        ],
        "droppedAttributesCount": 3,
        "events": [{ "timeUnixNano": "1544712660300000000", "name": "tick", "attributes": [{ "key": "n", "value": { "intValue": "2" } }] }],
        "links": [{ "traceId": "5b8efff798038103d269b633813fc60d", "spanId": "eee19b7ec3c1b175", "traceState": "b=2", "flags": 1 }],
        "status": { "code": 2, "message": "gone" },
    })
}

#[tokio::test]
async fn a_span_in_json_is_the_same_however_its_numbers_are_written_and_whatever_else_stands_there() {
    let stack = Devstack::start().await.unwrap();
    let plain = spans(&full_span());
    for body in [plain.clone(), with_numbers(&plain), with_unknown_fields(&plain)] {
        assert_eq!(send(&stack, "traces", &body).await, (200, json!({})));
    }
    let found = stack.store().spans();
    assert_eq!(found.len(), 3);
    assert_eq!((&found[0], &found[0]), (&found[1], &found[2]));
    let span = &found[0];
    assert_eq!(span.trace_id, "5b8efff798038103d269b633813fc60c");
    assert_eq!(span.parent_span_id.as_deref(), Some("eee19b7ec3c1b173"));
    assert_eq!((span.start_ns, span.end_ns), (1_544_712_660_000_000_001, 1_544_712_661_000_000_002));
    assert_eq!((span.flags, span.trace_state.as_str(), span.dropped_attributes), (257, "a=1", 3));
    assert_eq!(span.attributes.int("int"), Some(-9_007_199_254_740_993));
    assert_eq!(span.attributes.get("double"), Some(&Attribute::Double(1.0)));
    assert_eq!(span.attributes.get("bytes"), Some(&Attribute::Bytes(vec![1, 2, 255])));
    let array = Attribute::Array(vec![Attribute::Int(1), Attribute::String("b".to_owned())]);
    assert_eq!(span.attributes.get("array"), Some(&array));
    assert!(matches!(span.attributes.get("map"), Some(Attribute::Map(map)) if map.len() == 1));
    assert_eq!((span.events[0].name.as_str(), span.links[0].span_id.as_str()), ("tick", "eee19b7ec3c1b175"));
    assert_eq!(span.status.message, "gone");
}

#[tokio::test]
async fn a_log_record_in_json_is_the_same_however_its_numbers_are_written_and_whatever_else_stands_there() {
    let stack = Devstack::start().await.unwrap();
    let now = now_ns();
    let plain = |number: i64| {
        logs(&json!({
            "timeUnixNano": (now + number).to_string(), "observedTimeUnixNano": (now + 10).to_string(), "severityNumber": 9,
            "severityText": "INFO", "body": { "stringValue": "hello" }, "attributes": [{ "key": "n", "value": { "intValue": "7" } }],
            "traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "", "eventName": "login", "flags": 1,
        }))
    };
    for body in [plain(0), with_numbers(&plain(1)), with_unknown_fields(&plain(2))] {
        assert_eq!(send(&stack, "logs", &body).await, (200, json!({})));
    }
    let found = stack.store().logs();
    assert_eq!(found.iter().map(|entry| entry.timestamp_ns).collect::<Vec<_>>(), [now, now + 1, now + 2]);
    for entry in &found {
        assert_eq!((&entry.line, &entry.structured_metadata), (&found[0].line, &found[0].structured_metadata));
    }
    assert_eq!(found[0].label("trace_id"), Some("5b8efff798038103d269b633813fc60c"));
    assert_eq!(
        (found[0].label("n"), found[0].label("event_name"), found[0].label("span_id")),
        (Some("7"), Some("login"), None)
    );
}

fn every_kind_of_metric(time: &str) -> Vec<Value> {
    vec![
        json!({ "name": "stock", "gauge": { "dataPoints": [{ "timeUnixNano": time, "asInt": "-3" }, {
            "timeUnixNano": time, "asDouble": 2, "attributes": [{ "key": "sku", "value": { "intValue": "7" } }] }] } }),
        json!({ "name": "orders", "sum": { "aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [{
            "timeUnixNano": time, "startTimeUnixNano": time, "asInt": "12",
            "exemplars": [{ "timeUnixNano": time, "asInt": "1", "traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "EEE19B7EC3C1B174" }] }] } }),
        json!({ "name": "took", "unit": "s", "histogram": { "aggregationTemporality": 2, "dataPoints": [{
            "timeUnixNano": time, "count": "3", "sum": 4, "bucketCounts": ["1", "2"], "explicitBounds": [1], "min": 0.5, "max": "3" }] } }),
        json!({ "name": "size", "exponentialHistogram": { "aggregationTemporality": 2, "dataPoints": [{
            "timeUnixNano": time, "count": "5", "sum": 9.5, "scale": 3, "zeroCount": "2", "zeroThreshold": 0.25,
            "positive": { "offset": -1, "bucketCounts": ["1", "2"] }, "negative": {} }] } }),
        json!({ "name": "old", "summary": { "dataPoints": [{ "timeUnixNano": time, "count": "2", "sum": "NaN",
            "quantileValues": [{ "quantile": 0.5, "value": 3 }] }] } }),
    ]
}

#[tokio::test]
async fn metrics_of_every_kind_in_json_are_the_same_however_their_numbers_are_written_and_whatever_else_stands_there() {
    let time = now_ns().to_string();
    let mut all = Vec::new();
    for change in [Value::clone, with_numbers, with_unknown_fields] {
        let stack = Devstack::start().await.unwrap();
        for metric in every_kind_of_metric(&time) {
            let (status, answer) = send(&stack, "metrics", &change(&metrics(&metric))).await;
            assert_eq!((status, answer), (200, json!({})), "{metric}");
        }
        // A NaN equals nothing.
        all.push(format!("{:?}", stack.store().series()));
        let last = |name: &str| stack.store().series_named(name)[0].last_value();
        assert_eq!(
            (last("orders_total"), last("took_seconds_sum"), last("old_count")),
            (Some(12.0), Some(4.0), Some(2.0))
        );
        let size = &stack.store().series_named("size")[0].histograms[0];
        assert_eq!((size.count, size.zero_count, size.schema, size.positive_deltas.as_slice()), (5, 2, 3, &[1, 1][..]));
        assert_eq!(
            stack.store().series_named("orders_total")[0].exemplars[0].trace_id(),
            Some("5b8efff798038103d269b633813fc60c")
        );
    }
    assert_eq!((&all[0], &all[0]), (&all[1], &all[2]));
}

#[tokio::test]
async fn what_is_left_out_empty_or_null_has_its_default() {
    let stack = Devstack::start().await.unwrap();
    let time = now_ns().to_string();
    let id = json!({ "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174" });
    let nulls = json!({
        "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "parentSpanId": null, "name": null, "kind": null,
        "attributes": null, "events": null, "links": null, "status": null, "startTimeUnixNano": null,
    });
    for (signal, body) in [
        ("traces", json!({})),
        ("traces", json!({ "resourceSpans": [] })),
        ("traces", json!({ "resourceSpans": [{}] })),
        ("traces", json!({ "resourceSpans": [{ "resource": {}, "scopeSpans": [{ "scope": {}, "spans": [] }] }] })),
        ("traces", spans(&id)),
        ("traces", spans(&nulls)),
        (
            "traces",
            spans(
                &json!({ "traceId": id["traceId"], "spanId": id["spanId"], "status": {}, "events": [{}], "links": [{}],
            "attributes": [{}, { "key": "only" }, { "key": "empty", "value": {} }, { "key": "null", "value": null }] }),
            ),
        ),
        ("logs", json!({})),
        ("logs", json!({ "resourceLogs": [{ "scopeLogs": [{}] }] })),
        ("logs", logs(&json!({}))),
        (
            "logs",
            logs(
                &json!({ "body": null, "timeUnixNano": null, "attributes": null, "severityNumber": null, "traceId": null }),
            ),
        ),
        ("metrics", json!({})),
        ("metrics", json!({ "resourceMetrics": [{ "scopeMetrics": [{}] }] })),
        ("metrics", metrics(&json!({ "name": "nothing" }))),
        ("metrics", metrics(&json!({ "name": "nothing", "description": null, "unit": null, "gauge": null }))),
        ("metrics", metrics(&json!({ "name": "nothing", "gauge": {} }))),
        (
            "metrics",
            metrics(
                &json!({ "name": "none", "gauge": { "dataPoints": [{ "timeUnixNano": time, "exemplars": null }] } }),
            ),
        ),
    ] {
        let (status, answer) = send(&stack, signal, &body).await;
        assert_eq!((status, answer), (200, json!({})), "{signal}: {body}");
    }
    assert_eq!(stack.counts().spans.held, 3);
}

#[tokio::test]
async fn a_charset_gzip_and_either_case_of_the_type_are_taken_on_all_three_signals() {
    let stack = Devstack::start().await.unwrap();
    let span = json!({ "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "a" });
    let record = |body: &str| logs(&json!({ "timeUnixNano": now_ns().to_string(), "body": { "stringValue": body } }));
    let metric = |name: &str| {
        metrics(
            &json!({ "name": name, "gauge": { "dataPoints": [{ "timeUnixNano": now_ns().to_string(), "asInt": "1" }] } }),
        )
    };
    for (number, kind) in
        ["application/json; charset=utf-8", "application/json;charset=UTF-8", "Application/JSON"].iter().enumerate()
    {
        for (signal, body) in [
            ("traces", spans(&span)),
            ("logs", record(&number.to_string())),
            ("metrics", metric(&format!("m{number}"))),
        ] {
            let url = format!("{}/v1/{signal}", stack.otlp_http_url());
            let (status, text) =
                post(&url, &[("content-type", kind), ("content-encoding", "gzip")], gzip(body.to_string().as_bytes()))
                    .await;
            assert_eq!((status, text.as_str()), (200, "{}"), "{signal} {kind}");
        }
    }
    let counts = stack.counts();
    assert_eq!((counts.spans.held, counts.logs.held, counts.samples.held), (3, 3, 3));
}

#[tokio::test]
async fn an_empty_message_is_a_request_without_items_and_what_is_no_json_is_refused_with_a_status() {
    let stack = Devstack::start().await.unwrap();
    for signal in ["traces", "logs", "metrics"] {
        let url = format!("{}/v1/{signal}", stack.otlp_http_url());
        assert_eq!(post(&url, &[("content-type", "application/x-protobuf")], Vec::new()).await, (200, String::new()));
        for wrong in [
            "",
            "[]",
            "1",
            "{",
            r#"{"resourceSpans":1,"resourceLogs":1,"resourceMetrics":1}"#,
            r#"{"resourceSpans":[1],"resourceLogs":[1],"resourceMetrics":[1]}"#,
        ] {
            let (status, text) = post(&url, &[JSON], wrong.as_bytes().to_vec()).await;
            assert_eq!(status, 400, "{signal} {wrong:?}");
            let status: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(status["code"], 3, "{text}");
            assert!(!status["message"].as_str().unwrap().is_empty(), "{text}");
        }
    }
    for wrong in [
        json!({ "traceId": "xyz" }),
        json!({ "startTimeUnixNano": "soon" }),
        json!({ "startTimeUnixNano": -1 }),
        json!({ "flags": 1.5 }),
    ] {
        let (status, answer) = send(&stack, "traces", &spans(&wrong)).await;
        assert_eq!(status, 400, "{wrong}");
        let field = wrong.as_object().unwrap().keys().next().unwrap();
        assert!(answer["message"].as_str().unwrap().contains(field), "{answer}");
    }
    assert_eq!(stack.store().requests_to(Endpoint::OtlpHttp).len(), 11);
}

#[tokio::test]
async fn a_partial_success_says_in_json_how_many_were_refused_and_why() {
    let stack = Devstack::start().await.unwrap();
    let record = |time: i64| json!({ "timeUnixNano": time.to_string(), "body": { "stringValue": "x" } });
    let body = |records: Vec<Value>| json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": records }] }] });
    let (status, answer) = send(&stack, "logs", &body(vec![record(now_ns()), record(1)])).await;
    assert_eq!((status, &answer["partialSuccess"]["rejectedLogRecords"]), (200, &json!("1")));
    assert!(answer["partialSuccess"]["errorMessage"].as_str().unwrap().contains("timestamp too old"), "{answer}");
    assert_eq!(send(&stack, "logs", &body(vec![record(1)])).await.0, 400, "nothing of it was taken");
    assert_eq!((stack.counts().logs.held, stack.counts().logs.rejected), (1, 2));
    let metric = json!({ "name": "a", "sum": { "aggregationTemporality": 0, "dataPoints": [{ "asInt": "1" }, { "asInt": "2" }] } });
    let (status, answer) = send(&stack, "metrics", &metrics(&metric)).await;
    assert_eq!((status, &answer["partialSuccess"]["rejectedDataPoints"]), (200, &json!("2")));
    stack.script(Endpoint::OtlpHttp, [lgtm_devstack::Reply::partial_success(3, "three")]);
    let (status, answer) = send(&stack, "traces", &json!({})).await;
    let expected = json!({ "partialSuccess": { "rejectedSpans": "3", "errorMessage": "three" } });
    assert_eq!((status, answer), (200, expected));
}
