//! What the development stack takes: pushes of logs, spans and samples in every encoding, and the texts of a scrape.

use std::sync::OnceLock;

use http::{Request, header};
use lgtm_devstack::exposition::{self, Format};
use lgtm_devstack::wire::loki::PushRequest;
use lgtm_devstack::wire::prometheus::{WriteRequest, v2};
use lgtm_devstack::{Endpoint, InProcess, Limits};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use serde_json::Value;

/// Any body is stored, or refused with a reason; what is accepted is all there. No more is unpacked than the limits say.
///
/// # Panics
/// If not so.
pub fn ingest(data: &[u8]) {
    let (kind, body) = data.split_first().map_or((0, data), |(kind, rest)| (*kind, rest));
    let stack = stack();
    stack.store().clear();
    match kind % 14 {
        0 => loki_protobuf(stack, body),
        1 => loki_json(stack, body),
        2 => otlp_protobuf(stack, body),
        3 => otlp_json(stack, body),
        4 => remote_write_1(stack, body),
        5 => remote_write_2(stack, body),
        6 => text(body, Format::Text),
        7 => text(body, Format::OpenMetrics),
        // As they come, also packed: headers that do not fit the body.
        8 => drop(post(stack, Endpoint::LokiPush, "application/json", "gzip", body.to_vec())),
        9 => drop(post(stack, Endpoint::LokiPush, "application/x-protobuf", "snappy", body.to_vec())),
        10 => metrics(stack, "application/x-protobuf", body),
        11 => metrics(stack, "application/json", body),
        12 => drop(post(stack, Endpoint::OtlpLogsHttp, "application/x-protobuf", "", body.to_vec())),
        _ => drop(post(stack, Endpoint::OtlpLogsHttp, "application/json", "", body.to_vec())),
    }
    histograms_are_valid(stack);
}

fn stack() -> &'static InProcess {
    static STACK: OnceLock<InProcess> = OnceLock::new();
    STACK.get_or_init(|| {
        let limits = Limits { decompressed_bytes: 1 << 20, ..Limits::default() };
        InProcess::new(limits).expect("a stack")
    })
}

/// Whether the body was taken. No answer is the stack's own mistake.
fn post(stack: &InProcess, endpoint: Endpoint, content_type: &str, encoding: &str, body: Vec<u8>) -> bool {
    let path = match endpoint {
        Endpoint::LokiPush => "/loki/api/v1/push",
        Endpoint::OtlpHttp => "/v1/traces",
        Endpoint::OtlpLogsHttp => "/v1/logs",
        Endpoint::OtlpMetricsHttp => "/v1/metrics",
        _ if content_type.contains("v2") => "/api/v1/write",
        _ => "/api/v1/push",
    };
    let mut request = Request::post(path).header(header::CONTENT_TYPE, content_type);
    if !encoding.is_empty() {
        request = request.header(header::CONTENT_ENCODING, encoding);
    }
    let answer = stack.answer(endpoint, request.body(body).expect("a request"));
    let status = answer.status();
    assert!(status.is_success() || status.is_client_error(), "{status} {:?}", answer.body());
    assert!(status.is_success() || !answer.body().is_empty(), "{status} without a reason");
    status.is_success()
}

fn snappy(plain: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(plain).expect("a block")
}

fn loki_protobuf(stack: &InProcess, plain: &[u8]) {
    if post(stack, Endpoint::LokiPush, "application/x-protobuf", "snappy", snappy(plain)) {
        let request = PushRequest::decode(plain).expect("what is taken is protobuf");
        let entries = request.streams.iter().map(|stream| stream.entries.len() as u64).sum();
        let logs = stack.store().counts().logs;
        assert_eq!((logs.received + logs.duplicates, logs.rejected), (entries, 0));
    }
}

fn loki_json(stack: &InProcess, body: &[u8]) {
    if post(stack, Endpoint::LokiPush, "application/json", "", body.to_vec()) {
        let Some(request) = json(body) else { return };
        let streams = request["streams"].as_array().map(Vec::as_slice).unwrap_or_default();
        let entries = streams.iter().map(|stream| stream["values"].as_array().map_or(0, Vec::len) as u64).sum();
        let logs = stack.store().counts().logs;
        assert_eq!((logs.received + logs.duplicates, logs.rejected), (entries, 0));
    }
}

/// What is taken is JSON; only in fields that nobody knows there may be text that is no UTF-8.
fn json(body: &[u8]) -> Option<Value> {
    let request = serde_json::from_slice(body);
    assert!(request.is_ok() || std::str::from_utf8(body).is_err(), "{request:?}");
    request.ok()
}

fn spans_of(request: &ExportTraceServiceRequest) -> u64 {
    let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    scopes.map(|scope| scope.spans.len() as u64).sum()
}

fn otlp_protobuf(stack: &InProcess, body: &[u8]) {
    if post(stack, Endpoint::OtlpHttp, "application/x-protobuf", "", body.to_vec()) {
        let request = ExportTraceServiceRequest::decode(body).expect("what is taken is protobuf");
        assert_eq!(stack.store().counts().spans.received, spans_of(&request));
    }
}

fn otlp_json(stack: &InProcess, body: &[u8]) {
    if post(stack, Endpoint::OtlpHttp, "application/json", "", body.to_vec()) {
        let Some(request) = json(body) else { return };
        let array = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let scopes =
            array(&request["resourceSpans"]).iter().flat_map(|one| array(&one["scopeSpans"])).collect::<Vec<_>>();
        let spans: usize = scopes.iter().map(|scope| array(&scope["spans"]).len()).sum();
        assert_eq!(stack.store().counts().spans.received, spans as u64);
    }
}

fn remote_write_1(stack: &InProcess, plain: &[u8]) {
    if post(stack, Endpoint::RemoteWrite, "application/x-protobuf", "snappy", snappy(plain)) {
        let request = WriteRequest::decode(plain).expect("what is taken is protobuf");
        samples_are_there(stack, request.timeseries.iter().map(|series| series.samples.len()).sum());
    }
}

fn remote_write_2(stack: &InProcess, plain: &[u8]) {
    let content_type = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    if post(stack, Endpoint::RemoteWrite, content_type, "snappy", snappy(plain)) {
        let request = v2::Request::decode(plain).expect("what is taken is protobuf");
        samples_are_there(stack, request.timeseries.iter().map(|series| series.samples.len()).sum());
    }
}

fn samples_are_there(stack: &InProcess, expected: usize) {
    let samples = stack.store().counts().samples;
    assert_eq!((samples.received + samples.duplicates, samples.rejected), (expected as u64, 0));
}

/// Points are taken or counted as refused, and what they became can be asked for.
fn metrics(stack: &InProcess, content_type: &str, body: &[u8]) {
    post(stack, Endpoint::OtlpMetricsHttp, content_type, "", body.to_vec());
    let deltas = stack.store().counts().deltas;
    assert!(deltas.gaps + deltas.overlaps <= deltas.added && deltas.streams <= deltas.added, "{deltas:?}");
    let query = "/api/v1/query?query=%7B__name__%3D~%22.%2B%22%7D";
    let answer = stack.answer(Endpoint::PrometheusQuery, Request::get(query).body(Vec::new()).expect("a request"));
    assert!(answer.status().is_success(), "{:?}", answer.body());
}

/// A native histogram that is held has its schema among those that are known, and as many observations as its buckets.
fn histograms_are_valid(stack: &InProcess) {
    for histogram in stack.store().series().iter().flat_map(|series| &series.histograms) {
        assert!(histogram.schema == -53 || (-4..=8).contains(&histogram.schema), "{histogram:?}");
        if histogram.count_float.is_some() || histogram.sum.is_nan() {
            continue;
        }
        let sum = |deltas: &[i64]| {
            let counts = deltas.iter().scan(0_i128, |count, delta| {
                *count += i128::from(*delta);
                Some(*count)
            });
            counts.sum::<i128>()
        };
        let in_buckets = sum(&histogram.positive_deltas) + sum(&histogram.negative_deltas);
        assert_eq!(in_buckets + i128::from(histogram.zero_count), i128::from(histogram.count), "{histogram:?}");
    }
}

/// An exposition that is taken has a sample for each line that is no comment.
fn text(body: &[u8], format: Format) {
    let text = String::from_utf8_lossy(body);
    let Ok(exposition) = exposition::parse(&text, format) else { return };
    let is_sample = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    assert_eq!(exposition.samples.len(), text.lines().filter(is_sample).count(), "{text:?}");
    assert!(exposition.samples.iter().all(|sample| !sample.labels["__name__"].is_empty()), "{text:?}");
    assert!(format == Format::Text || text.ends_with("# EOF\n") || text.ends_with("# EOF"), "{text:?}");
}
