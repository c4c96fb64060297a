//! A backend that takes every request and keeps nothing but numbers: items and bytes as they came over the wire. It answers Loki's
//! push, OTLP over HTTP and gRPC, remote write in both versions, and anything else. It says `listening <URL>`; at each line on standard input it says what came, as
//! JSON, and ends where standard input ends.

#![allow(clippy::print_stdout, reason = "a program tells its outcome")]

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use axum::response::IntoResponse as _;
use http_body_util::{BodyExt as _, Full};
use prost::Message;
use prost::bytes::{Buf as _, Bytes};
use serde::Serialize;
use tokio::net::TcpListener;

/// More than any contender sends at once.
const LARGEST: usize = 256 * 1024 * 1024;
/// The flag and the length before a message of gRPC.
const GRPC_HEADER: usize = 5;

/// Loki's push.
const LOKI: &str = "/loki/api/v1/push";
/// Mimir's.
const REMOTE_WRITE: &str = "/api/v1/push";

/// What came.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Tally {
    requests: u64,
    /// Log lines, to Loki or OTLP.
    lines: u64,
    line_bytes: u64,
    spans: u64,
    span_bytes: u64,
    /// Time series of remote write, requests of them and bytes of those.
    series: u64,
    series_requests: u64,
    series_bytes: u64,
    /// Of everything else.
    other_bytes: u64,
    /// Requests that could not be read.
    unreadable: u64,
}

type Shared = Arc<Mutex<Tally>>;

/// Loki's `PushRequest`, as far as it takes to count its entries.
#[derive(Clone, PartialEq, Message)]
struct Push {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<Stream>,
}

#[derive(Clone, PartialEq, Message)]
struct Stream {
    #[prost(bytes = "bytes", repeated, tag = "2")]
    entries: Vec<Bytes>,
}

/// OTLP's requests for traces and logs: resources, scopes, items; both have the same numbers.
#[derive(Clone, PartialEq, Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<OfResource>,
}

#[derive(Clone, PartialEq, Message)]
struct OfResource {
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<OfScope>,
}

#[derive(Clone, PartialEq, Message)]
struct OfScope {
    #[prost(bytes = "bytes", repeated, tag = "2")]
    items: Vec<Bytes>,
}

/// Remote write of both versions, as far as it takes to count the series: those of 1.0 and of 2.0 have numbers of their own.
#[derive(Clone, PartialEq, Message)]
struct Write {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    series: Vec<Bytes>,
    #[prost(message, repeated, tag = "5")]
    series_of_2: Vec<SeriesOf2>,
}

/// A receiver of 2.0 says how many samples and histograms it has written.
#[derive(Clone, PartialEq, Message)]
struct SeriesOf2 {
    #[prost(bytes = "bytes", repeated, tag = "2")]
    samples: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "3")]
    histograms: Vec<Bytes>,
}

impl Write {
    fn series(&self) -> u64 {
        (self.series.len() + self.series_of_2.len()) as u64
    }
}

impl Export {
    fn items(&self) -> u64 {
        let scopes = self.resources.iter().flat_map(|resource| &resource.scopes);
        scopes.map(|scope| scope.items.len() as u64).sum()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let tally = Shared::default();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("listening http://{}", listener.local_addr()?);
    let asked = Arc::clone(&tally);
    // Not a task: reading standard input blocks.
    std::thread::spawn(move || {
        for _ in std::io::stdin().lines().map_while(Result::ok) {
            let now = *asked.lock().unwrap_or_else(PoisonError::into_inner);
            println!("{}", serde_json::to_string(&now).unwrap_or_default());
        }
        std::process::exit(0);
    });
    axum::serve(listener, Router::new().fallback(take).with_state(tally)).await?;
    Ok(())
}

async fn take(State(tally): State<Shared>, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LARGEST).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let is_grpc = head.headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let written = (head.uri.path() == REMOTE_WRITE).then(|| written(&body)).flatten();
    count(&tally, head.uri.path(), &body, is_grpc, written.as_ref());
    if is_grpc {
        return empty_message();
    }
    match written {
        Some(written) => written_all(&written),
        None if head.uri.path() == LOKI => StatusCode::NO_CONTENT.into_response(),
        None => StatusCode::OK.into_response(),
    }
}

/// All of a request of remote write was written: what 2.0 asks a receiver to say.
fn written_all(write: &Write) -> Response<Body> {
    let all = |of: fn(&SeriesOf2) -> usize| write.series_of_2.iter().map(of).sum::<usize>();
    let mut response = StatusCode::NO_CONTENT.into_response();
    if !write.series_of_2.is_empty() {
        let headers = response.headers_mut();
        headers.insert("x-prometheus-remote-write-samples-written", all(|series| series.samples.len()).into());
        headers.insert("x-prometheus-remote-write-histograms-written", all(|series| series.histograms.len()).into());
    }
    response
}

/// An empty message, and that all is well.
fn empty_message() -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from_static(&[0; GRPC_HEADER])).with_trailers(async { Some(Ok(trailers)) });
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

fn count(tally: &Shared, path: &str, body: &Bytes, is_grpc: bool, written: Option<&Write>) {
    let bytes = body.len() as u64;
    let mut message = body.clone();
    if is_grpc {
        message.advance(GRPC_HEADER.min(message.len()));
    }
    let lines = |lines| Tally { lines, line_bytes: bytes, ..Tally::default() };
    let spans = |spans| Tally { spans, span_bytes: bytes, ..Tally::default() };
    let series = |series| Tally { series, series_requests: 1, series_bytes: bytes, ..Tally::default() };
    let came = match path {
        LOKI => pushed(&message).map(lines),
        REMOTE_WRITE => written.map(Write::series).map(series),
        "/v1/logs" => Export::decode(message).ok().map(|export| lines(export.items())),
        "/v1/traces" | "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => {
            Export::decode(message).ok().map(|export| spans(export.items()))
        }
        _ => Some(Tally { other_bytes: bytes, ..Tally::default() }),
    };
    let came = came.unwrap_or(Tally { unreadable: 1, ..Tally::default() });
    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    tally.requests += 1;
    tally.lines += came.lines;
    tally.line_bytes += came.line_bytes;
    tally.spans += came.spans;
    tally.span_bytes += came.span_bytes;
    tally.series += came.series;
    tally.series_requests += came.series_requests;
    tally.series_bytes += came.series_bytes;
    tally.other_bytes += came.other_bytes;
    tally.unreadable += came.unreadable;
}

fn pushed(body: &Bytes) -> Option<u64> {
    let push = Push::decode(plain(body)?).ok()?;
    Some(push.streams.iter().map(|stream| stream.entries.len() as u64).sum())
}

fn written(body: &Bytes) -> Option<Write> {
    Write::decode(plain(body)?).ok()
}

fn plain(body: &Bytes) -> Option<Bytes> {
    snap::raw::Decoder::new().decompress_vec(body).ok().map(Bytes::from)
}
