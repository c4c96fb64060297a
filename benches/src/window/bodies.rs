//! Requests as clients send them: lines with structured metadata, spans of traces over three services, samples of a thousand series.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::Event};
use prost::Message;
use prost::bytes::Bytes;

use crate::stack::Addresses;

/// Items of a request; a batch of ours has as many.
const BATCH: usize = 1000;
const SPANS_OF_A_TRACE: usize = 6;
const SERIES: usize = 1000;
const SERVICES: [&str; 3] = ["storefront", "inventory", "worker"];
const LEVELS: [&str; 5] = ["info", "info", "info", "warn", "error"];

pub(crate) struct Request {
    pub(crate) url: String,
    pub(crate) content_type: &'static str,
    pub(crate) encoding: &'static str,
    pub(crate) body: Bytes,
    pub(crate) items: u64,
}

/// One way in.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    /// Requests that are under way at a time. Samples of one series must come in order.
    pub(crate) connections: usize,
    make: fn(usize, usize, u64, &Addresses) -> Request,
}

pub(crate) const WAYS: [Way; 3] = [
    Way { name: "log lines, Loki push", connections: 2, make: lines },
    Way { name: "spans, OTLP over HTTP", connections: 2, make: spans },
    Way { name: "samples, remote write 1", connections: 1, make: samples },
];

impl Way {
    /// So many items, of the last minutes.
    pub(crate) fn requests(&self, items: usize, addresses: &Addresses) -> Vec<Request> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let begin = u64::try_from(now).unwrap_or(u64::MAX) - 300_000_000_000;
        let step = 300_000_000_000 / items.max(1) as u64;
        let batches = items.div_ceil(BATCH);
        (0..batches).map(|batch| (self.make)(batch, BATCH, begin + (batch * BATCH) as u64 * step, addresses)).collect()
    }
}

fn snappy(message: &impl Message) -> Bytes {
    let plain = message.encode_to_vec();
    snap::raw::Encoder::new().compress_vec(&plain).map_or_else(|_| Bytes::new(), Bytes::from)
}

fn trace_of(item: usize) -> u128 {
    // Scattered, as ids are.
    ((item / SPANS_OF_A_TRACE) as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
}

fn span_of(item: usize) -> u64 {
    (item as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Loki's `PushRequest`.
#[derive(Clone, PartialEq, Message)]
struct Push {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<Stream>,
}

#[derive(Clone, PartialEq, Message)]
struct Stream {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    line: String,
    #[prost(message, repeated, tag = "3")]
    structured_metadata: Vec<Pair>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// A name and a value, in Loki's metadata and in remote write's labels.
#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

fn pair(name: &str, value: impl Into<String>) -> Pair {
    Pair { name: name.to_owned(), value: value.into() }
}

fn lines(batch: usize, number: usize, begin: u64, addresses: &Addresses) -> Request {
    let mut streams: Vec<Stream> = Vec::new();
    for (service, level) in SERVICES.iter().flat_map(|service| LEVELS[2..].iter().map(move |level| (service, level))) {
        let labels =
            format!("{{environment=\"dev\",level=\"{level}\",service=\"{service}\",service_name=\"{service}\"}}");
        streams.push(Stream { labels, entries: Vec::new() });
    }
    for item in batch * number..(batch + 1) * number {
        let level = LEVELS[item % LEVELS.len()];
        let kind = LEVELS[2..].iter().position(|known| *known == level).unwrap_or_default();
        let time = begin + (item % number) as u64;
        let line = format!(
            r#"{{"message":"order {item} was taken","target":"shop::orders","order":{item},"customer":"c-{}","items":{},"total":"{}.90 EUR"}}"#,
            item % 977,
            item % 7,
            item % 230
        );
        let structured_metadata = vec![
            pair("trace_id", format!("{:032x}", trace_of(item))),
            pair("span_id", format!("{:016x}", span_of(item))),
            pair("service_instance_id", "0b5f2c4e-5d0c-4f5e-9c39-1a2b3c4d5e6f"),
        ];
        let timestamp = Timestamp { seconds: (time / 1_000_000_000) as i64, nanos: (time % 1_000_000_000) as i32 };
        streams[(item % SERVICES.len()) * 3 + kind].entries.push(Entry {
            timestamp: Some(timestamp),
            line,
            structured_metadata,
        });
    }
    Request {
        url: format!("{}/loki/api/v1/push", addresses.loki),
        content_type: "application/x-protobuf",
        encoding: "snappy",
        body: snappy(&Push { streams }),
        items: number as u64,
    }
}

fn attribute(key: &str, value: impl Into<String>) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.into())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

fn spans(batch: usize, number: usize, begin: u64, addresses: &Addresses) -> Request {
    let mut by_service = SERVICES.map(|_| Vec::new());
    for item in batch * number..(batch + 1) * number {
        let (place, first) = (item % SPANS_OF_A_TRACE, item - item % SPANS_OF_A_TRACE);
        let start = begin + (first % number) as u64 * 1000 + place as u64 * 200_000;
        let fails = item % 50 == 0;
        let length = (1 + item as u64 * 7919 % 900) * 1_000_000;
        let exception = Event {
            time_unix_nano: start + 1000,
            name: "exception".to_owned(),
            attributes: vec![attribute("exception.type", "OutOfStock"), attribute("exception.message", "sku 221")],
            ..Event::default()
        };
        by_service[place / 2].push(Span {
            trace_id: trace_of(item).to_be_bytes().to_vec(),
            span_id: span_of(item).to_be_bytes().to_vec(),
            parent_span_id: if place == 0 { Vec::new() } else { span_of(item - 1).to_be_bytes().to_vec() },
            name: ["POST /orders", "reserve", "POST /reservations", "SELECT stock", "receive", "send mail"][place]
                .to_owned(),
            kind: [2, 3, 2, 3, 5, 1][place],
            start_time_unix_nano: start,
            end_time_unix_nano: start + length,
            attributes: vec![
                attribute("http.request.method", "POST"),
                attribute("http.route", "/orders/{id}"),
                attribute("server.address", "inventory"),
                attribute("code.file.path", "src/orders.rs"),
                attribute("order", item.to_string()),
                attribute("customer", format!("c-{}", item % 977)),
            ],
            events: if fails { vec![exception] } else { Vec::new() },
            status: fails.then(|| Status { code: 2, message: "sku 221 is out of stock".to_owned() }),
            ..Span::default()
        });
    }
    let resource_spans = SERVICES
        .iter()
        .zip(by_service)
        .map(|(service, spans)| ResourceSpans {
            resource: Some(Resource {
                attributes: vec![attribute("service.name", *service), attribute("service.version", "1.4.0")],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        })
        .collect();
    Request {
        url: format!("{}/v1/traces", addresses.otlp_http),
        content_type: "application/x-protobuf",
        encoding: "identity",
        body: Bytes::from(ExportTraceServiceRequest { resource_spans }.encode_to_vec()),
        items: number as u64,
    }
}

/// Remote write's `WriteRequest`.
#[derive(Clone, PartialEq, Message)]
struct Write {
    #[prost(message, repeated, tag = "1")]
    series: Vec<Series>,
}

#[derive(Clone, PartialEq, Message)]
struct Series {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Pair>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

/// A sample of each series: a tenth of them counters, the rest the buckets of histograms.
fn samples(batch: usize, number: usize, begin: u64, addresses: &Addresses) -> Request {
    const BOUNDS: [&str; 9] = ["0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf"];
    let timestamp = (begin / 1_000_000) as i64;
    let series = (0..number)
        .map(|item| {
            let item = item % SERIES;
            let (route, place) = (item / 10, item % 10);
            let name = if place == 9 { "http_requests_total" } else { "http_request_duration_seconds_bucket" };
            let mut labels = vec![
                pair("__name__", name),
                pair("instance", "0b5f2c4e-5d0c-4f5e-9c39-1a2b3c4d5e6f"),
                pair("job", SERVICES[route % SERVICES.len()]),
            ];
            if let Some(bound) = BOUNDS.get(place) {
                labels.push(pair("le", *bound));
            }
            labels.push(pair("route", format!("/route/{route}")));
            Series { labels, samples: vec![Sample { value: (batch * (place + 1)) as f64, timestamp }] }
        })
        .collect();
    Request {
        url: format!("{}/api/v1/push", addresses.mimir),
        content_type: "application/x-protobuf",
        encoding: "snappy",
        body: snappy(&Write { series }),
        items: number as u64,
    }
}
