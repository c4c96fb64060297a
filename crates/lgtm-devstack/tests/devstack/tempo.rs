//! Tempo's read API: a trace by its id, and search.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use lgtm_devstack::Devstack;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1::{self as proto, TracesData, span as span_parts};
use prost::Message;
use serde_json::{Value, json};

use crate::client::{attribute, export, export_http, get_json, get_text, http, span, text_attribute};

/// Two traces: one of two services with a failed leaf, one of a single span and an id with leading zeros.
async fn with_traces() -> Devstack {
    let stack = Devstack::start().await.unwrap();
    let root = proto::Span {
        kind: span_parts::SpanKind::Server as i32,
        attributes: vec![
            text_attribute("http.route", "/pay"),
            attribute("http.response.status_code", any_value::Value::IntValue(503)),
        ],
        flags: 0x101,
        ..span(0xab, 1, None, "POST /pay")
    };
    let failed = proto::Span {
        status: Some(proto::Status { message: "refused".to_owned(), code: proto::status::StatusCode::Error as i32 }),
        events: vec![span_parts::Event {
            time_unix_nano: 1_700_000_000_000_000_123,
            name: "exception".to_owned(),
            ..span_parts::Event::default()
        }],
        ..span(0xab, 2, Some(1), "charge")
    };
    let mut small = span(0x01, 3, None, "tick");
    small.trace_id = [&[0; 8][..], &[0x0c; 8][..]].concat();
    small.end_time_unix_nano = small.start_time_unix_nano + 5_000_000;
    for request in [export("shop", vec![root]), export("bank", vec![failed]), export("clock", vec![small])] {
        assert_eq!(export_http(&stack.otlp_http_url(), &request).await.0, 200);
    }
    stack
}

#[tokio::test]
async fn a_trace_by_id_is_protobuf_s_json_with_base64_ids() {
    let stack = with_traces().await;
    let trace = get_json(&format!("{}/api/v2/traces/{}", stack.tempo_url(), "ab".repeat(16)), &[]).await;
    let groups = trace["trace"]["resourceSpans"].as_array().unwrap();
    assert_eq!(groups.len(), 2);
    let shop = json!([{"key": "service.name", "value": {"stringValue": "shop"}}]);
    assert_eq!(groups[0]["resource"]["attributes"], shop);
    assert_eq!(groups[0]["scopeSpans"][0]["scope"], json!({"name": "shop::checkout", "version": "1.2.3"}));
    assert_eq!(
        groups[0]["scopeSpans"][0]["spans"][0],
        json!({
            "traceId": BASE64.encode([0xab; 16]),
            "spanId": BASE64.encode([1; 8]),
            "flags": 257,
            "name": "POST /pay",
            "kind": "SPAN_KIND_SERVER",
            "startTimeUnixNano": "1700000000001000000",
            "endTimeUnixNano": "1700000000201000000",
            "attributes": [
                {"key": "http.route", "value": {"stringValue": "/pay"}},
                {"key": "http.response.status_code", "value": {"intValue": "503"}},
            ],
            "status": {},
        })
    );
    let failed = &groups[1]["scopeSpans"][0]["spans"][0];
    assert_eq!(failed["parentSpanId"], BASE64.encode([1; 8]));
    assert_eq!(failed["status"], json!({"message": "refused", "code": "STATUS_CODE_ERROR"}));
    assert_eq!(failed["events"], json!([{"timeUnixNano": "1700000000000000123", "name": "exception"}]));
    let first = get_json(&format!("{}/api/traces/{}", stack.tempo_url(), "AB".repeat(16)), &[]).await;
    assert_eq!(first["batches"], trace["trace"]["resourceSpans"]);
}

#[tokio::test]
async fn a_miss_is_404_on_the_first_path_and_an_empty_trace_on_the_second() {
    let stack = with_traces().await;
    let id = "cd".repeat(16);
    assert_eq!(get_text(&format!("{}/api/traces/{id}", stack.tempo_url()), &[]).await.0, 404);
    let miss = get_json(&format!("{}/api/v2/traces/{id}", stack.tempo_url()), &[]).await;
    assert_eq!(miss, json!({"trace": {}}));
    for bad in ["xyz", &"a".repeat(33)] {
        let (status, text) = get_text(&format!("{}/api/v2/traces/{bad}", stack.tempo_url()), &[]).await;
        assert_eq!(status, 400, "{text}");
    }
}

#[tokio::test]
async fn a_trace_by_id_is_protobuf_when_asked_and_has_a_repeated_span_once() {
    let stack = with_traces().await;
    // As Tempo, by id and kind: the two sides of a call may share an id.
    let root = proto::Span { kind: span_parts::SpanKind::Server as i32, ..span(0xab, 1, None, "POST /pay") };
    let again = export("shop", vec![root, span(0xab, 4, Some(1), "new")]);
    assert_eq!(export_http(&stack.otlp_http_url(), &again).await.0, 200);
    assert_eq!(stack.store().trace(&"ab".repeat(16)).len(), 4, "the repeated one is there for tests to see");
    let url = format!("{}/api/traces/{}", stack.tempo_url(), "ab".repeat(16));
    let response = http().get(url).header("accept", "application/protobuf").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/protobuf");
    let trace = TracesData::decode(response.bytes().await.unwrap()).unwrap();
    let mut names: Vec<&str> = trace
        .resource_spans
        .iter()
        .flat_map(|group| &group.scope_spans)
        .flat_map(|scope| &scope.spans)
        .map(|span| span.name.as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["POST /pay", "charge", "new"]);
}

#[tokio::test]
async fn search_finds_traces_by_conjunctions() {
    let stack = with_traces().await;
    let url = format!("{}/api/search", stack.tempo_url());
    let found = async |query: &str| {
        let answer = get_json(&url, &[("q", query)]).await;
        let ids = answer["traces"].as_array().unwrap().iter().map(|trace| trace["traceID"].as_str().unwrap());
        ids.collect::<Vec<&str>>().join(" ")
    };
    let (pay, tick) = ("ab".repeat(16), "c0c0c0c0c0c0c0c".to_owned());
    assert_eq!(found("{}").await.split(' ').count(), 2);
    assert_eq!(found(r#"{ resource.service.name = "bank" && status = error && duration > 100ms }"#).await, pay);
    assert_eq!(found(r#"{ span.http.route = "/pay" && span.http.response.status_code >= 500 }"#).await, pay);
    assert_eq!(found(r#"{ name =~ "POST .*" && kind = server }"#).await, pay);
    assert_eq!(found(&format!(r#"{{ trace:id = "{pay}" && statusMessage = "refused" }}"#)).await, pay);
    assert_eq!(found(r#"{ .service.name = "clock" }"#).await, tick, "leading zeros are left out");
    assert_eq!(found(&format!(r#"{{ trace:id = "{tick}" }}"#)).await, tick);
    assert_eq!(found("{ duration < 10ms }").await, tick);
    assert_eq!(found(r#"{ rootServiceName = "shop" && span.http.route = nil }"#).await, pay);
    // Both conditions must hold for one span.
    assert!(found(r#"{ resource.service.name = "shop" && status = error }"#).await.is_empty());
    assert!(found(r#"{ span.http.response.status_code = "503" }"#).await.is_empty(), "the type counts");
}

#[tokio::test]
async fn a_search_result_has_tempo_s_shape() {
    let stack = with_traces().await;
    let url = format!("{}/api/search", stack.tempo_url());
    let query = [("q", r#"{ resource.service.name = "bank" }"#)];
    let answer = get_json(&url, &query).await;
    let trace = &answer["traces"][0];
    assert_eq!(trace["rootServiceName"], "shop");
    assert_eq!(trace["rootTraceName"], "POST /pay");
    assert_eq!(trace["startTimeUnixNano"], "1700000000001000000");
    assert_eq!(trace["durationMs"], 201);
    assert_eq!(trace["serviceStats"], json!({"shop": {"spanCount": 1}, "bank": {"spanCount": 1, "errorCount": 1}}));
    let expected = json!({"matched": 1, "spans": [{
        "spanID": "02".repeat(8),
        "name": "charge",
        "startTimeUnixNano": "1700000000002000000",
        "durationNanos": "200000000",
        "attributes": [{"key": "service.name", "value": {"stringValue": "bank"}}],
    }]});
    assert_eq!(trace["spanSets"], json!([expected]));
    let limited = get_json(&url, &[("q", "{}"), ("limit", "1")]).await;
    assert_eq!(limited["traces"].as_array().map(Vec::len), Some(1));
    let far = usize::MAX.to_string();
    assert_eq!(get_json(&url, &[("q", "{}"), ("start", &far), ("end", &far)]).await["traces"], json!([]));
    let later = get_json(&url, &[("q", "{}"), ("start", "1700000010"), ("end", "1700000020")]).await;
    assert_eq!(later["traces"], Value::Array(Vec::new()));
}

#[tokio::test]
async fn what_search_does_not_know_is_an_error_that_names_it() {
    let stack = with_traces().await;
    let url = format!("{}/api/search", stack.tempo_url());
    for (query, reason) in [
        (r#"{ service.name = "x" }"#, "service.name"),
        (r#"{ name = "x" || name = "y" }"#, "||"),
        (r#"{ name = "x" } | rate()"#, "rate"),
        ("{ status = broken }", "a status or a kind"),
        ("{ duration > soon }", "soon"),
        (r#"{ name =~ "(" }"#, "regex"),
    ] {
        let (status, text) = get_text(&url, &[("q", query)]).await;
        assert_eq!(status, 400, "{query}");
        assert!(text.contains(reason), "{query}: {text}");
    }
    assert_eq!(get_text(&format!("{}/api/echo", stack.tempo_url()), &[]).await, (200, "echo".to_owned()));
}
