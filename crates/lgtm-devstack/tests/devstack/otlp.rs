//! OTLP traces over gRPC and HTTP.

use lgtm_devstack::{Answer, Devstack, Endpoint, Limits, SpanKind, StatusCode, Value};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1::{self as proto, span as span_parts};
use prost::Message;
use tonic::Code;
use tonic::codec::CompressionEncoding;

use crate::client::{attribute, export, export_http, gzip, http, post, span, text_attribute};

fn full_span() -> proto::Span {
    proto::Span {
        trace_state: "vendor=1".to_owned(),
        flags: 0x101,
        kind: span_parts::SpanKind::Client as i32,
        attributes: vec![
            text_attribute("db.system.name", "postgresql"),
            attribute("rows", any_value::Value::IntValue(-7)),
            attribute("ratio", any_value::Value::DoubleValue(0.25)),
            attribute("cached", any_value::Value::BoolValue(true)),
        ],
        dropped_attributes_count: 1,
        events: vec![span_parts::Event {
            time_unix_nano: 1_700_000_000_000_000_123,
            name: "exception".to_owned(),
            attributes: vec![text_attribute("exception.message", "gone")],
            dropped_attributes_count: 2,
        }],
        dropped_events_count: 3,
        links: vec![span_parts::Link {
            trace_id: vec![9; 16],
            span_id: vec![8; 8],
            trace_state: "linked=1".to_owned(),
            attributes: vec![text_attribute("why", "batch")],
            dropped_attributes_count: 0,
            flags: 1,
        }],
        dropped_links_count: 4,
        status: Some(proto::Status { message: "no rows".to_owned(), code: proto::status::StatusCode::Error as i32 }),
        ..span(0xab, 0x01, Some(0x02), "SELECT")
    }
}

#[tokio::test]
async fn a_span_over_grpc_is_read_back_with_every_field() {
    let stack = Devstack::start().await.unwrap();
    let mut client = TraceServiceClient::connect(stack.otlp_grpc_url()).await.unwrap();
    let response = client.export(export("shop", vec![full_span()])).await.unwrap().into_inner();
    assert_eq!(response, ExportTraceServiceResponse { partial_success: None });
    let spans = stack.store().spans();
    assert_eq!(spans.len(), 1);
    let span = &spans[0];
    assert_eq!(span.service_name(), "shop");
    assert_eq!((span.scope.name.as_str(), span.scope.version.as_str()), ("shop::checkout", "1.2.3"));
    assert_eq!(span.trace_id, "ab".repeat(16));
    assert_eq!(span.span_id, "01".repeat(8));
    assert_eq!(span.parent_span_id.as_deref(), Some("02".repeat(8).as_str()));
    assert_eq!((span.name.as_str(), span.kind, span.flags), ("SELECT", SpanKind::Client, 0x101));
    assert_eq!(span.trace_state, "vendor=1");
    assert_eq!(span.duration().as_millis(), 200);
    assert_eq!(span.attributes.text("db.system.name"), Some("postgresql"));
    assert_eq!(span.attributes.int("rows"), Some(-7));
    assert_eq!(span.attributes.get("ratio"), Some(&Value::Double(0.25)));
    assert_eq!(span.attributes.get("cached").and_then(Value::as_bool), Some(true));
    assert_eq!((span.status.code, span.status.message.as_str()), (StatusCode::Error, "no rows"));
    assert_eq!((span.dropped_attributes, span.dropped_events, span.dropped_links), (1, 3, 4));
    assert_eq!((span.events[0].name.as_str(), span.events[0].time_ns), ("exception", 1_700_000_000_000_000_123));
    assert_eq!(span.events[0].attributes.text("exception.message"), Some("gone"));
    assert_eq!(span.events[0].dropped_attributes, 2);
    assert_eq!((span.links[0].trace_id.as_str(), span.links[0].flags), ("09".repeat(16).as_str(), 1));
    assert_eq!(span.links[0].attributes.text("why"), Some("batch"));
}

#[tokio::test]
async fn a_grpc_request_is_recorded_with_metadata_and_body() {
    let stack = Devstack::start().await.unwrap();
    let client = TraceServiceClient::connect(stack.otlp_grpc_url()).await.unwrap();
    let mut client = client.send_compressed(CompressionEncoding::Gzip);
    let sent = export("shop", vec![span(1, 1, None, "root")]);
    let mut request = tonic::Request::new(sent.clone());
    request.metadata_mut().insert("x-scope-orgid", "team-a".parse().unwrap());
    client.export(request).await.unwrap();
    let requests = stack.store().requests_to(Endpoint::OtlpGrpc);
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].header("x-scope-orgid"), Some("team-a"));
    assert_eq!(requests[0].answer, Answer::Grpc(0));
    assert_eq!(requests[0].body[0], 1, "the message is compressed");
    let body = requests[0].decoded_body().unwrap();
    assert_eq!(ExportTraceServiceRequest::decode(body.as_slice()).unwrap(), sent);
}

#[tokio::test]
async fn traces_over_http_are_taken_as_protobuf_gzipped_and_as_json() {
    let stack = Devstack::start().await.unwrap();
    let url = format!("{}/v1/traces", stack.otlp_http_url());
    let request = |name: &str| export("shop", vec![span(1, 1, None, name)]);
    assert_eq!(export_http(&stack.otlp_http_url(), &request("plain")).await, (200, String::new()));
    let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "gzip")];
    assert_eq!(post(&url, &headers, gzip(&request("zipped").encode_to_vec())).await.0, 200);
    let json =
        br#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},
        "scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"json",
        "startTimeUnixNano":"1700000000000000000","endTimeUnixNano":"1700000000000000001","kind":2}]}]}]}"#;
    let (status, text) = post(&url, &[("content-type", "application/json")], json.to_vec()).await;
    assert_eq!(status, 200, "{text}");
    let spans = stack.store().spans();
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["plain", "zipped", "json"]);
    assert_eq!((spans[2].trace_id.as_str(), spans[2].kind), ("5b8efff798038103d269b633813fc60c", SpanKind::Server));
    assert_eq!(stack.store().requests()[1].decoded_body().unwrap(), request("zipped").encode_to_vec());
}

#[tokio::test]
async fn one_invalid_id_refuses_the_whole_batch() {
    let stack = Devstack::start().await.unwrap();
    let good = span(1, 1, None, "good");
    let all_zero = span(0, 2, None, "zero");
    let short = proto::Span { span_id: vec![1; 4], ..span(1, 3, None, "short") };
    for bad in [all_zero, short] {
        let request = export("shop", vec![good.clone(), bad]);
        let response = http()
            .post(format!("{}/v1/traces", stack.otlp_http_url()))
            .header("content-type", "application/x-protobuf")
            .body(request.encode_to_vec())
            .send()
            .await
            .unwrap();
        assert_eq!(response.status().as_u16(), 400);
        let status = tonic_types::Status::decode(response.bytes().await.unwrap()).unwrap();
        assert!(status.message.contains("not all zero"), "{}", status.message);
        let mut client = TraceServiceClient::connect(stack.otlp_grpc_url()).await.unwrap();
        assert_eq!(client.export(request).await.unwrap_err().code(), Code::InvalidArgument);
    }
    assert_eq!(stack.counts().spans.held, 0);
    assert_eq!(stack.counts().spans.rejected, 8);
    let answers: Vec<Answer> = stack.store().requests().iter().map(|request| request.answer).collect();
    assert_eq!(answers, [Answer::Http(400), Answer::Grpc(3), Answer::Http(400), Answer::Grpc(3)]);
}

#[tokio::test]
async fn other_types_and_broken_bodies_are_refused() {
    let stack = Devstack::start().await.unwrap();
    let url = format!("{}/v1/traces", stack.otlp_http_url());
    assert_eq!(post(&url, &[("content-type", "text/plain")], Vec::new()).await.0, 415);
    let protobuf = ("content-type", "application/x-protobuf");
    assert_eq!(post(&url, &[protobuf, ("content-encoding", "zstd")], Vec::new()).await.0, 415);
    assert_eq!(post(&url, &[protobuf], vec![0xff; 9]).await.0, 400);
    assert_eq!(post(&url, &[protobuf, ("content-encoding", "gzip")], vec![1, 2, 3]).await.0, 400);
    assert_eq!(post(&url, &[("content-type", "application/json")], b"[".to_vec()).await.0, 400);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_as_tempo_refuses_it() {
    let limits = Limits { body_bytes: 1000, ..Limits::default() };
    let stack = Devstack::builder().limits(limits).start().await.unwrap();
    let request = export("shop", vec![span(1, 1, None, &"x".repeat(1000))]);
    let (status, text) = export_http(&stack.otlp_http_url(), &request).await;
    assert_eq!(status, 400);
    assert!(text.contains("request body too large"), "{text}");
    let mut client = TraceServiceClient::connect(stack.otlp_grpc_url()).await.unwrap();
    assert_eq!(client.export(request).await.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(stack.counts().spans.held, 0);
}
