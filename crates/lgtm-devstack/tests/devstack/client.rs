//! Raw clients, and messages for them to send.

use std::io::Write;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lgtm_devstack::wire::{loki, prometheus};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, span};
use prost::Message;
use serde_json::Value;

/// Long enough for a loaded machine; no test waits for it when all is well.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A client without idle connections, so that it can be shared by tests with runtimes of their own.
pub(crate) fn http() -> reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        // The HTTP client wants a TLS provider even where no TLS is spoken. A second installation fails, and may.
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::builder().timeout(DEADLINE).no_proxy().pool_max_idle_per_host(0).build().unwrap()
    });
    CLIENT.clone()
}

/// Status and text of the answer.
pub(crate) async fn post(url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> (u16, String) {
    let mut request = http().post(url).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

/// Status and text of the answer; the query is a list of parameters.
pub(crate) async fn get_text(url: &str, query: &[(&str, &str)]) -> (u16, String) {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    let response = http().get(format!("{url}?{query}")).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

/// The JSON of an answer with status 200.
pub(crate) async fn get_json(url: &str, query: &[(&str, &str)]) -> Value {
    let (status, text) = get_text(url, query).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn now_ns() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

pub(crate) fn now_ms() -> i64 {
    now_ns() / 1_000_000
}

pub(crate) fn snappy(message: &impl Message) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(&message.encode_to_vec()).unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn entry(timestamp_ns: i64, line: &str, metadata: &[(&str, &str)]) -> loki::EntryAdapter {
    loki::EntryAdapter {
        timestamp: Some(loki::Timestamp {
            seconds: timestamp_ns.div_euclid(1_000_000_000),
            nanos: i32::try_from(timestamp_ns.rem_euclid(1_000_000_000)).unwrap(),
        }),
        line: line.to_owned(),
        structured_metadata: metadata
            .iter()
            .map(|(name, value)| loki::LabelPairAdapter { name: (*name).to_owned(), value: (*value).to_owned() })
            .collect(),
        parsed: Vec::new(),
    }
}

pub(crate) fn stream(labels: &str, entries: Vec<loki::EntryAdapter>) -> loki::StreamAdapter {
    loki::StreamAdapter { labels: labels.to_owned(), entries, hash: 0 }
}

/// Pushes streams to Loki; status and text of the answer.
pub(crate) async fn push_logs(loki_url: &str, streams: Vec<loki::StreamAdapter>) -> (u16, String) {
    let body = snappy(&loki::PushRequest { streams });
    post(&format!("{loki_url}/loki/api/v1/push"), &[("content-type", "application/x-protobuf")], body).await
}

pub(crate) fn text_attribute(key: &str, value: &str) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.to_owned()))
}

pub(crate) fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// A span of 200 ms that starts at a fixed time.
pub(crate) fn span(trace: u8, id: u8, parent: Option<u8>, name: &str) -> Span {
    let start = 1_700_000_000_000_000_000 + u64::from(id) * 1_000_000;
    Span {
        trace_id: vec![trace; 16],
        span_id: vec![id; 8],
        parent_span_id: parent.map(|parent| vec![parent; 8]).unwrap_or_default(),
        name: name.to_owned(),
        kind: span::SpanKind::Internal as i32,
        start_time_unix_nano: start,
        end_time_unix_nano: start + 200_000_000,
        ..Span::default()
    }
}

pub(crate) fn export(service: &str, spans: Vec<Span>) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![text_attribute("service.name", service)],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: "shop::checkout".to_owned(),
                    version: "1.2.3".to_owned(),
                    ..InstrumentationScope::default()
                }),
                spans,
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    }
}

/// Exports spans over HTTP; status and text of the answer.
pub(crate) async fn export_http(otlp_url: &str, request: &ExportTraceServiceRequest) -> (u16, String) {
    let headers = [("content-type", "application/x-protobuf")];
    post(&format!("{otlp_url}/v1/traces"), &headers, request.encode_to_vec()).await
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Vec<prometheus::Label> {
    pairs
        .iter()
        .map(|(name, value)| prometheus::Label { name: (*name).to_owned(), value: (*value).to_owned() })
        .collect()
}

pub(crate) fn series(pairs: &[(&str, &str)], samples: &[(i64, f64)]) -> prometheus::TimeSeries {
    prometheus::TimeSeries {
        labels: labels(pairs),
        samples: samples
            .iter()
            .map(|(timestamp, value)| prometheus::Sample { value: *value, timestamp: *timestamp })
            .collect(),
        ..prometheus::TimeSeries::default()
    }
}

/// Pushes series by remote write; status and text of the answer.
pub(crate) async fn write_series(mimir_url: &str, timeseries: Vec<prometheus::TimeSeries>) -> (u16, String) {
    write_request(mimir_url, &prometheus::WriteRequest { timeseries, metadata: Vec::new() }).await
}

pub(crate) async fn write_request(mimir_url: &str, request: &prometheus::WriteRequest) -> (u16, String) {
    let headers = [
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "snappy"),
        ("x-prometheus-remote-write-version", "0.1.0"),
    ];
    post(&format!("{mimir_url}/api/v1/push"), &headers, snappy(request)).await
}
