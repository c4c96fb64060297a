//! LogQL, TraceQL and PromQL as the development stack reads them: a path, then the query, and further parameters.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use http::Request;
use lgtm_devstack::wire::prometheus::{Label, Sample, TimeSeries, WriteRequest};
use lgtm_devstack::{Endpoint, InProcess, Limits};
use prost::Message as _;
use serde_json::{Value, json};

/// What is asked, by the first byte of an input: the listener, its path, the parameter that has the query.
const ASKED: [(Endpoint, &str, &str); 10] = [
    (Endpoint::LokiQuery, "/loki/api/v1/query_range", "query"),
    (Endpoint::LokiQuery, "/loki/api/v1/query", "query"),
    (Endpoint::TempoQuery, "/api/search", "q"),
    (Endpoint::TempoQuery, "/api/search", "tags"),
    (Endpoint::PrometheusQuery, "/api/v1/query", "query"),
    (Endpoint::PrometheusQuery, "/api/v1/query_range", "query"),
    (Endpoint::PrometheusQuery, "/api/v1/query_exemplars", "query"),
    (Endpoint::PrometheusQuery, "/api/v1/series", "match[]"),
    (Endpoint::PrometheusQuery, "/api/v1/labels", "match[]"),
    (Endpoint::PrometheusQuery, "/api/v1/metadata", "metric"),
];

/// Every query has an answer: what it selects as JSON, a part of what is there, or what is wrong with it; the same each time.
///
/// # Panics
/// If not so.
pub fn queries(data: &[u8]) {
    let (kind, text) = data.split_first().map_or((0, data), |(kind, rest)| (*kind, rest));
    let (endpoint, path, parameter) = ASKED[usize::from(kind) % ASKED.len()];
    let text = String::from_utf8_lossy(text);
    // Behind the query, on lines of their own: `start=1`, `step=1m`.
    let mut lines = text.split('\n');
    let query = lines.next().unwrap_or_default();
    let further = lines.filter_map(|line| line.split_once('='));
    let mut parameters = format!("{parameter}={}", encoded(query));
    for (name, value) in further {
        parameters.push_str(&format!("&{}={}", encoded(name), encoded(value)));
    }
    let stack = stack();
    let ask = || {
        let request = Request::get(format!("{path}?{parameters}"))
            .header("x-loki-response-encoding-flags", "categorize-labels")
            .body(Vec::new())
            .expect("a request");
        let answer = stack.answer(endpoint, request);
        (answer.status().as_u16(), answer.into_body())
    };
    let (status, body) = ask();
    match status {
        200 => {
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            if endpoint == Endpoint::LokiQuery {
                is_part_of_what_is_there(&body);
            }
        }
        // A query with an error is the client's mistake, and the answer says which.
        400 | 404 | 422 => assert!(!body.is_empty(), "{query:?}"),
        // A request that is longer than an address may be.
        414 | 431 => {}
        _ => panic!("{status} {}: {query:?}", String::from_utf8_lossy(&body)),
    }
    // `end` defaults to now, which may be a second later: whether there is an answer does not depend on it.
    assert_eq!(ask().0, status, "{query:?}");
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// Lines that answer a query of logs are lines that were pushed.
fn is_part_of_what_is_there(body: &Value) {
    let streams = body["data"]["result"].as_array().expect("streams");
    for stream in streams {
        for value in stream["values"].as_array().expect("values") {
            let line = value[1].as_str().expect("a line");
            assert!(LINES.contains(&line), "{line:?}");
        }
    }
}

const LINES: [&str; 4] = [
    r#"{"message":"order placed","level":"info","order_id":17,"paid":true,"spans":["POST /orders"]}"#,
    r#"{"message":"no \"luck\"","level":"error","took":1.5,"nested":{"a":{"b":"c"}}}"#,
    "level=info message=plain took=12ms",
    "",
];

/// A stack with a few items of each signal.
fn stack() -> &'static InProcess {
    static STACK: OnceLock<InProcess> = OnceLock::new();
    STACK.get_or_init(|| {
        let stack = InProcess::new(Limits::default()).expect("a stack");
        let post = |endpoint, path: &str, content_type: &str, encoding: &str, body: Vec<u8>| {
            let request = Request::post(path).header("content-type", content_type).header("content-encoding", encoding);
            let answer = stack.answer(endpoint, request.body(body).expect("a request"));
            assert!(answer.status().is_success(), "{path}: {answer:?}");
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let nanos = |back: u128| (now.as_nanos() - back).to_string();
        let values: Vec<_> =
            (0..).zip(LINES).map(|(back, line)| json!([nanos(100 - back), line, {"trace_id": "abc"}])).collect();
        let streams = json!({"streams": [{"stream": {"service_name": "shop", "level": "info"}, "values": values}]});
        let body = streams.to_string().into_bytes();
        post(Endpoint::LokiPush, "/loki/api/v1/push", "application/json", "identity", body);
        let span = |id: &str, parent: &str, status: u8| {
            json!({
                "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": id, "parentSpanId": parent, "name": "GET /orders",
                "kind": 2, "startTimeUnixNano": nanos(2_000_000_000), "endTimeUnixNano": nanos(1_000_000_000),
                "attributes": [{"key": "http.status", "value": {"intValue": "500"}}, {"key": "ratio", "value": {"doubleValue": 0.5}}],
                "status": {"code": status}
            })
        };
        let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]});
        let spans = [span("00f067aa0ba902b7", "", 2), span("00f067aa0ba902b8", "00f067aa0ba902b7", 0)];
        let request = json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]});
        post(Endpoint::OtlpHttp, "/v1/traces", "application/json", "identity", request.to_string().into_bytes());
        let label = |name: &str, value: &str| Label { name: name.to_owned(), value: value.to_owned() };
        let millis = i64::try_from(now.as_millis()).expect("before the year 292278994");
        let series = TimeSeries {
            labels: vec![label("__name__", "requests_total"), label("job", "shop")],
            samples: (0..3).map(|number| Sample { value: f64::from(number), timestamp: millis - 3000 + 1000 * i64::from(number) }).collect(),
            ..TimeSeries::default()
        };
        let request = WriteRequest { timeseries: vec![series], ..WriteRequest::default() };
        let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).expect("a block");
        post(Endpoint::RemoteWrite, "/api/v1/push", "application/x-protobuf", "snappy", body);
        stack
    })
}
