//! What the window gives as files: everything that was sent is in them, in the forms that others read.

use lgtm_devstack::Devstack;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList, any_value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::{Value, json};

use crate::client::{
    entry, export, export_http, get_text, http, now_ns, post, push_logs, span as simple_span, stream, text_attribute,
};
use crate::window_import::import;

const TRACE: &str = "5b8efff798038103d269b633813fc60c";

fn api(stack: &Devstack, path: &str) -> String {
    format!("{}/api/v1{path}", stack.window_url())
}

/// The objects of an answer in lines.
async fn lines(stack: &Devstack, path: &str, query: &[(&str, &str)]) -> Vec<Value> {
    let (status, text) = get_text(&api(stack, path), query).await;
    assert_eq!(status, 200, "{text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A trace with everything that the protocol has, as its specification writes it.
fn everything() -> Value {
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    json!({ "resourceSpans": [{
        "resource": {
            "attributes": [text("service.name", "shop"), text("host.name", "a")],
            "droppedAttributesCount": 3,
            "entityRefs": [{ "schemaUrl": "https://opentelemetry.io/schemas/1.37.0", "type": "service",
                "idKeys": ["service.name"], "descriptionKeys": ["host.name"] }],
        },
        "scopeSpans": [{
            "scope": { "name": "checkout", "version": "1.2", "attributes": [text("short", "x")], "droppedAttributesCount": 1 },
            "spans": [{
                "traceId": TRACE,
                "spanId": "eee19b7ec3c1b174",
                "traceState": "vendor=1",
                "parentSpanId": "eee19b7ec3c1b173",
                "flags": 257,
                "name": "<b>I'm a \"server\" span</b>\u{1f980}",
                "kind": 2,
                "startTimeUnixNano": "1544712660000000001",
                "endTimeUnixNano": "1544712661000000002",
                "attributes": [
                    text("text", ""),
                    { "key": "truth", "value": { "boolValue": false } },
                    { "key": "large", "value": { "intValue": "-9223372036854775808" } },
                    { "key": "double", "value": { "doubleValue": 0.1 } },
                    { "key": "infinite", "value": { "doubleValue": "-Infinity" } },
                    { "key": "none", "value": { "doubleValue": "NaN" } },
                    { "key": "bytes", "value": { "bytesValue": "AP9A" } },
                    { "key": "list", "value": { "arrayValue": { "values": [{ "stringValue": "a" }, { "intValue": "1" }, {}] } } },
                    { "key": "empty list", "value": { "arrayValue": { "values": [] } } },
                    { "key": "map", "value": { "kvlistValue": { "values": [{ "key": "inner", "value": { "kvlistValue": { "values": [] } } }] } } },
                    { "key": "empty", "value": {} },
                ],
                "droppedAttributesCount": 4,
                "events": [{ "timeUnixNano": "1544712660500000000", "name": "exception", "attributes": [text("a", "b")], "droppedAttributesCount": 5 }],
                "droppedEventsCount": 6,
                "links": [{ "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "traceState": "a=b",
                    "attributes": [text("why", "retry")], "droppedAttributesCount": 7, "flags": 1 }],
                "droppedLinksCount": 8,
                "status": { "message": "it failed", "code": 2 },
            }],
            "schemaUrl": "https://opentelemetry.io/schemas/1.24.0",
        }],
        "schemaUrl": "https://opentelemetry.io/schemas/1.25.0",
    }] })
}

#[tokio::test]
async fn a_trace_with_everything_that_the_protocol_has_is_exported_as_its_specification_writes_it() {
    let stack = Devstack::start().await.unwrap();
    assert_eq!(import(&stack, everything().to_string()).await["spans"]["taken"], 1);
    let url = api(&stack, &format!("/traces/{}/otlp", TRACE.to_ascii_uppercase()));
    let response = http().get(&url).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["content-disposition"], format!("attachment; filename=\"trace-{TRACE}.json\""));
    let exported: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(exported, everything());
    assert_eq!(stack.store().trace_otlp_json(TRACE).map(|text| serde_json::from_str(&text).unwrap()), Some(exported));
    assert_eq!(stack.store().trace_otlp_json("0af7651916cd43dd8448eb211c80319c"), None);
    let kept = &stack.store().spans()[0];
    assert_eq!(kept.resource_schema_url(), "https://opentelemetry.io/schemas/1.25.0");
    assert_eq!((kept.resource_dropped_attributes(), kept.scope.dropped_attributes), (3, 1));
}

#[tokio::test]
async fn a_span_that_was_sent_again_is_exported_once_and_one_that_differs_is_kept() {
    let stack = Devstack::start().await.unwrap();
    let mut other = simple_span(7, 1, None, "order");
    other.attributes.push(text_attribute("attempt", "2"));
    for span in [simple_span(7, 1, None, "order"), simple_span(7, 1, None, "order"), other] {
        export_http(&stack.otlp_http_url(), &export("shop", vec![span])).await;
    }
    let exported = lines(&stack, "/traces/jsonl", &[]).await;
    assert_eq!(exported[0]["resourceSpans"].as_array().unwrap().len(), 1, "one resource: {exported:?}");
    assert_eq!(exported[0]["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_export_of_what_is_not_there_or_not_understood_says_so() {
    let stack = Devstack::start().await.unwrap();
    for (path, status, part) in [
        ("/traces/0123456789abcdef0123456789abcdef/otlp", 404, "has not arrived"),
        ("/traces/abc/otlp", 404, "32 hexadecimal digits"),
        ("/traces/jsonl?limit=5", 400, "limit"),
        ("/traces/jsonl?min=long", 400, "250ms"),
        ("/logs/jsonl?lvl=info", 400, "lvl"),
        ("/logs/jsonl?regex=a(", 400, "unclosed group"),
    ] {
        let response = http().get(api(&stack, path)).send().await.unwrap();
        let (found, text) = (response.status().as_u16(), response.text().await.unwrap());
        assert!(found == status && text.contains(part), "{path}: {found} {text}");
    }
    assert_eq!(lines(&stack, "/traces/jsonl", &[]).await, [json!(null); 0]);
    assert_eq!(lines(&stack, "/logs/jsonl", &[]).await, [json!(null); 0]);
}

#[tokio::test]
async fn all_traces_that_a_search_finds_are_exported_one_request_a_line() {
    let stack = Devstack::start().await.unwrap();
    // More than one page of the list.
    let spans: Vec<Span> = (0..2300_u64)
        .map(|at| Span {
            trace_id: u128::from(at + 1).to_be_bytes().to_vec(),
            span_id: (at + 1).to_be_bytes().to_vec(),
            name: format!("order {at}"),
            start_time_unix_nano: 1_700_000_000_000_000_000 + at,
            end_time_unix_nano: 1_700_000_000_000_000_000 + at + if at % 2 == 0 { 10 } else { 2_000_000 },
            ..Span::default()
        })
        .collect();
    export_http(&stack.otlp_http_url(), &export("shop", spans)).await;
    export_http(&stack.otlp_http_url(), &export("worker", vec![simple_span(9, 1, None, "tick")])).await;
    let all = lines(&stack, "/traces/jsonl", &[]).await;
    assert_eq!(all.len(), 2301);
    let name =
        |line: &Value| line["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["name"].as_str().unwrap().to_owned();
    assert_eq!(name(&all[2300]), "order 0", "the newest first, as in the list");
    for (query, expected) in [
        (&[("service", "worker")][..], 1),
        (&[("service", "shop"), ("min", "1ms")], 1150),
        (&[("q", "order 22"), ("sort", "slowest")], 111),
        (&[("last", "1h")], 0),
    ] {
        assert_eq!(lines(&stack, "/traces/jsonl", query).await.len(), expected, "{query:?}");
    }
    let request: ExportTraceServiceRequest = serde_json::from_value(all[1].clone()).unwrap();
    assert_eq!(request.resource_spans.len(), 1);
}

#[tokio::test]
async fn lines_are_exported_as_logcli_writes_them_oldest_first_with_their_metadata() {
    let stack = Devstack::start().await.unwrap();
    let now = now_ns() / 1_000_000_000 * 1_000_000_000;
    let url = stack.loki_url();
    let pushed = push_logs(
        &url,
        vec![
            stream(
                r#"{service_name="shop", level="info"}"#,
                vec![entry(now + 120, "later", &[]), entry(now, "<b>first</b>\n\"\u{0}", &[("trace_id", TRACE)])],
            ),
            stream(r#"{service_name="cron", level="error"}"#, vec![entry(now + 7, "between", &[])]),
        ],
    );
    assert_eq!(pushed.await.0, 204);
    let second = chrono::DateTime::from_timestamp_nanos(now).format("%Y-%m-%dT%H:%M:%S").to_string();
    let shop = json!({ "service_name": "shop", "level": "info" });
    let first = json!({ "labels": shop, "line": "<b>first</b>\n\"\u{0}", "structuredMetadata": { "trace_id": TRACE },
        "timestamp": format!("{second}.000000000Z") });
    let between = json!({ "labels": { "service_name": "cron", "level": "error" }, "line": "between", "structuredMetadata": {},
        "timestamp": format!("{second}.000000007Z") });
    let later = json!({ "labels": shop, "line": "later", "structuredMetadata": {}, "timestamp": format!("{second}.000000120Z") });
    for (query, expected) in [
        (&[][..], vec![&first, &between, &later]),
        (&[("service", "shop"), ("q", "LATER")], vec![&later]),
        (&[("level", "error")], vec![&between]),
        (&[("trace", TRACE)], vec![&first]),
        (&[("attr", "level=debug")], vec![]),
    ] {
        let found = lines(&stack, "/logs/jsonl", query).await;
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{query:?}");
    }
    let response = http().get(api(&stack, "/logs/jsonl")).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    assert_eq!(response.headers()["content-disposition"], "attachment; filename=\"logs.jsonl\"");
}

#[tokio::test]
async fn an_export_of_many_lines_is_streamed() {
    let stack = Devstack::start().await.unwrap();
    let now = now_ns();
    let many = (0..20_000).map(|at| entry(now + at, &format!("line {at} {}", "x".repeat(100)), &[])).collect();
    push_logs(&stack.loki_url(), vec![stream(r#"{app="x"}"#, many)]).await;
    let response = http().get(api(&stack, "/logs/jsonl")).send().await.unwrap();
    assert_eq!(response.headers().get("content-length"), None, "its length is not known when it begins");
    let text = response.text().await.unwrap();
    assert_eq!(text.lines().count(), 20_000);
    assert!(text.lines().last().unwrap().contains("line 19999 x"));
}

fn value() -> impl Strategy<Value = AnyValue> {
    use any_value::Value::{
        ArrayValue as List, BoolValue, BytesValue, DoubleValue, IntValue, KvlistValue, StringValue,
    };
    let simple = prop_oneof![
        Just(None),
        ".{0,8}".prop_map(|text| Some(StringValue(text))),
        any::<bool>().prop_map(|truth| Some(BoolValue(truth))),
        any::<i64>().prop_map(|number| Some(IntValue(number))),
        any::<f64>().prop_map(|number| Some(DoubleValue(number))),
        proptest::collection::vec(any::<u8>(), 0..5).prop_map(|bytes| Some(BytesValue(bytes))),
    ];
    let value = simple.prop_map(|value| AnyValue { value });
    value.prop_recursive(4, 12, 3, |inner| {
        let list = proptest::collection::vec(inner.clone(), 0..3);
        prop_oneof![
            list.prop_map(|values| AnyValue { value: Some(List(ArrayValue { values })) }),
            proptest::collection::vec((".{0,3}", inner), 0..3).prop_map(|pairs| {
                let values = pairs.into_iter().map(|(key, value)| pair(key, value)).collect();
                AnyValue { value: Some(KvlistValue(KeyValueList { values })) }
            }),
        ]
    })
}

fn pair(key: String, value: AnyValue) -> KeyValue {
    KeyValue { key, value: Some(value), ..KeyValue::default() }
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    proptest::collection::vec((".{0,6}", value()).prop_map(|(key, value)| pair(key, value)), 0..4)
}

fn bytes(length: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(1_u8.., length)
}

fn event() -> impl Strategy<Value = span::Event> {
    (any::<u64>(), ".{0,6}", attributes(), any::<u32>()).prop_map(|(time_unix_nano, name, attributes, dropped)| {
        span::Event { time_unix_nano, name, attributes, dropped_attributes_count: dropped }
    })
}

fn link() -> impl Strategy<Value = span::Link> {
    (bytes(16), bytes(8), ".{0,6}", attributes(), any::<(u32, u32)>()).prop_map(
        |(trace_id, span_id, trace_state, attributes, (dropped, flags))| span::Link {
            trace_id,
            span_id,
            trace_state,
            attributes,
            dropped_attributes_count: dropped,
            flags,
        },
    )
}

fn any_span() -> impl Strategy<Value = Span> {
    let ids = (prop_oneof![Just(vec![7; 16]), bytes(16)], bytes(8), prop_oneof![Just(vec![]), bytes(8)]);
    let parts = (
        attributes(),
        proptest::collection::vec(event(), 0..3),
        proptest::collection::vec(link(), 0..3),
        (0..=2, ".{0,6}").prop_map(|(code, message)| Status { code, message }),
    );
    (ids, ".{0,8}", ".{0,8}", 0..=5, any::<(u64, u64)>(), any::<[u32; 4]>(), parts).prop_map(
        |((trace_id, span_id, parent_span_id), name, trace_state, kind, (start, end), numbers, parts)| Span {
            trace_id,
            span_id,
            parent_span_id,
            name,
            trace_state,
            kind,
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            flags: numbers[0],
            dropped_attributes_count: numbers[1],
            dropped_events_count: numbers[2],
            dropped_links_count: numbers[3],
            attributes: parts.0,
            events: parts.1,
            links: parts.2,
            status: Some(parts.3),
        },
    )
}

fn request() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let entity =
        (".{0,4}", "[a-z]{1,4}", proptest::collection::vec(".{0,3}", 0..2)).prop_map(|(schema_url, r#type, keys)| {
            EntityRef { schema_url, r#type, id_keys: keys.clone(), description_keys: keys }
        });
    let resource = (attributes(), any::<u32>(), proptest::collection::vec(entity, 0..2)).prop_map(
        |(attributes, dropped_attributes_count, entity_refs)| Resource {
            attributes,
            dropped_attributes_count,
            entity_refs,
        },
    );
    let scope = (".{0,4}", ".{0,4}", attributes(), any::<u32>()).prop_map(
        |(name, version, attributes, dropped_attributes_count)| InstrumentationScope {
            name,
            version,
            attributes,
            dropped_attributes_count,
        },
    );
    let scope_spans = (scope, proptest::collection::vec(any_span(), 0..4), ".{0,4}")
        .prop_map(|(scope, spans, schema_url)| ScopeSpans { scope: Some(scope), spans, schema_url });
    let resource_spans = (resource, proptest::collection::vec(scope_spans, 0..3), ".{0,4}").prop_map(
        |(resource, scope_spans, schema_url)| ResourceSpans { resource: Some(resource), scope_spans, schema_url },
    );
    proptest::collection::vec(resource_spans, 0..3)
        .prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}

/// Each span with its resource and scope, as one message of its own, in an order that does not depend on that of sending.
fn apart(requests: &[ExportTraceServiceRequest]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for of_resource in requests.iter().flat_map(|request| &request.resource_spans) {
        for of_scope in &of_resource.scope_spans {
            for span in &of_scope.spans {
                let scope_spans = vec![ScopeSpans { spans: vec![span.clone()], ..of_scope.clone() }];
                found.push(ResourceSpans { scope_spans, ..of_resource.clone() }.encode_to_vec());
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Whether a number is in it that JSON does not have: the types that decode here do not read those.
fn has_special_number(value: &Value) -> bool {
    match value {
        Value::Array(values) => values.iter().any(has_special_number),
        Value::Object(members) => {
            members.get("doubleValue").is_some_and(Value::is_string) || members.values().any(has_special_number)
        }
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn whatever_was_sent_by_otlp_is_in_the_export_and_comes_back_by_an_import(request in request()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (stack, fresh) = (Devstack::start().await.unwrap(), Devstack::start().await.unwrap());
            let (status, text) = export_http(&stack.otlp_http_url(), &request).await;
            assert_eq!(status, 200, "{text}");
            let exported = lines(&stack, "/traces/jsonl", &[]).await;
            if !exported.iter().any(has_special_number) {
                // Decoded by types that are not ours.
                let decoded: Vec<ExportTraceServiceRequest> =
                    exported.iter().map(|line| serde_json::from_value(line.clone()).unwrap()).collect();
                assert_eq!(apart(&decoded), apart(std::slice::from_ref(&request)));
            }
            if exported.is_empty() {
                return;
            }
            let file: String = exported.iter().map(|line| format!("{line}\n")).collect();
            let outcome = import(&fresh, file.clone()).await;
            assert_eq!(outcome["spans"]["taken"], apart(std::slice::from_ref(&request)).len());
            assert_eq!(outcome["refused_lines"], 0, "{outcome}");
            // As text: what is not a number does not equal itself.
            let held = |stack: &Devstack| {
                let mut spans: Vec<String> = stack.store().spans().iter().map(|span| format!("{span:?}")).collect();
                spans.sort();
                spans.dedup();
                spans
            };
            assert_eq!(held(&stack), held(&fresh));
            let again = import(&fresh, file).await;
            assert_eq!((&again["spans"]["taken"], &again["spans"]["repeated"]), (&json!(0), &outcome["spans"]["taken"]));
        });
    }
}

#[tokio::test]
async fn an_exported_trace_is_taken_by_an_otlp_receiver() {
    let (stack, receiver) = (Devstack::start().await.unwrap(), Devstack::start().await.unwrap());
    let mut span = simple_span(7, 1, None, "order");
    span.attributes.push(text_attribute("sku", "221"));
    export_http(&stack.otlp_http_url(), &export("shop", vec![span, simple_span(7, 2, Some(1), "pay")])).await;
    let exported = stack.store().trace_otlp_json("07070707070707070707070707070707").unwrap();
    let url = format!("{}/v1/traces", receiver.otlp_http_url());
    assert_eq!(post(&url, &[("content-type", "application/json")], exported.into_bytes()).await.0, 200);
    assert_eq!(receiver.store().spans(), stack.store().spans());
}
