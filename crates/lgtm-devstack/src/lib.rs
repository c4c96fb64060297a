//! A development stand-in for Loki, Tempo and Mimir, embedded, in bounded memory.
//!
//! One process, nothing to install: real ingest endpoints on the usual ports, and the read APIs that a client of the
//! real servers uses. With scripted replies it is also a test backend: it fails, delays, resets or never answers on
//! command, and gives back what arrived, decoded by types that the library's own encoders do not share.
//!
//! It is for development and tests. It keeps everything in memory, evicts the oldest at its limits, wants no
//! authentication unless it is told to ([`DevstackBuilder::basic_auth`]), knows no tenants, and listens on 127.0.0.1 only, unless told otherwise.
//!
//! # In a test
//!
//! ```
//! use std::time::Duration;
//! use lgtm_devstack::{Devstack, Endpoint, Reply};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Free ports, on a thread of its own. In async code: `Devstack::start().await?`.
//! let stack = Devstack::start_blocking()?;
//!
//! // The next two pushes fail; the third gets the normal behaviour.
//! stack.script(Endpoint::LokiPush, [
//!     Reply::status(503).retry_after(Duration::from_secs(1)),
//!     Reply::reset(),
//! ]);
//!
//! // … point the program under test at stack.loki_url(), stack.otlp_grpc_url(), stack.mimir_url() …
//! # stack.clear_script(Endpoint::LokiPush);
//! # send(&stack.loki_url())?;
//!
//! stack.wait_for_blocking(|store| store.counts().logs.held == 1, Duration::from_secs(5))?;
//! let entry = &stack.store().logs()[0];
//! assert_eq!(entry.label("service_name"), Some("shop"));
//! assert_eq!(entry.line, "hello");
//! assert_eq!(stack.store().requests()[0].status(), Some(204));
//! # Ok(())
//! # }
//! # fn send(url: &str) -> Result<(), Box<dyn std::error::Error>> {
//! #     use std::io::{Read, Write};
//! #     let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
//! #     let body = format!(r#"{{"streams":[{{"stream":{{"service_name":"shop"}},"values":[["{now}","hello"]]}}]}}"#);
//! #     let host = url.trim_start_matches("http://");
//! #     let mut connection = std::net::TcpStream::connect(host)?;
//! #     write!(connection, "POST /loki/api/v1/push HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
//! #         content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())?;
//! #     connection.read_to_string(&mut String::new())?;
//! #     Ok(())
//! # }
//! ```
//!
//! # As the stack of a demonstration
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use lgtm_devstack::{Devstack, Ports, ScrapeTarget};
//!
//! let stack = Devstack::builder()
//!     .ports(Ports::usual()) // a free one where one is taken
//!     .scrape_target(ScrapeTarget::new("http://127.0.0.1:9090/metrics").job("shop"))
//!     .start()
//!     .await?;
//! eprint!("{}", stack.startup_note()); // also names the ports that were taken
//! # Ok(())
//! # }
//! ```
//!
//! # As a program
//!
//! The feature `program` has the stack as a program, for what is written in any language: `lgtm-devstack --memory 256`, with the window at
//! <http://127.0.0.1:4320>. `--help` has the rest.
//!
//! # What it serves
//!
//! | listener, usual port | ingest | read |
//! |---|---|---|
//! | Loki, 3100 | `POST /loki/api/v1/push`: protobuf in a snappy block; JSON, also gzipped | `query_range`, `query`, `labels`, `label/{name}/values` under `/loki/api/v1/` |
//! | OTLP gRPC, 4317 | `Export` of `TraceService`, `LogsService` and `MetricsService`, also gzipped | |
//! | OTLP HTTP, 4318 | `POST /v1/traces`, `/v1/logs`, `/v1/metrics`: protobuf and JSON, also gzipped; metrics cumulative and as deltas | |
//! | Tempo, 3200 | | `/api/traces/{id}`, `/api/v2/traces/{id}`, `/api/search`, `/api/echo` |
//! | Mimir, 9009 | `POST /api/v1/push` and `/api/v1/write`: remote write 1 and 2, with native histograms; `POST /otlp/v1/metrics` | `query`, `query_range`, `query_exemplars`, `series`, `labels`, `label/{name}/values`, `metadata` under `/prometheus/api/v1/` and `/api/v1/` |
//!
//! Each HTTP listener has `/ready`, and says at `/` what it is. What arrives is in the [`Store`]; what was asked and
//! answered, byte for byte, in [`Store::requests`].
//!
//! # The window
//!
//! With the feature `window` there is one listener more, usually on port 4320: a page for a browser that shows what was received, linked, and follows
//! what comes. `Devstack::window_url` says where. Its address bar is its state, so every view and item can be kept and
//! passed on. It needs nothing but this process: no request leaves the machine.
//!
//! The page asks a JSON API that programs may ask too, under `/api/v1/`: `overview`, `logs`, `logs/{number}`, `live` (server-sent events),
//! `traces`, `traces/{id}`, `service-map`, `services`, `metrics`, `metrics/{name}`, `store` (counts; `DELETE` forgets all that is held); as files `traces/{id}/otlp` (OTLP's JSON), `traces/jsonl` and
//! `logs/jsonl`, which `POST import` takes back, of this stack or another one and of any time. Its answers are bounded and say what they left out; its errors name
//! the parameter, its value and what is accepted. It may change with any version, unlike the APIs of the real servers above.
//!
//! Whoever can reach the port can read everything. On the loopback address that is every program of this machine, but no page of
//! another site: requests for other hosts than an address or `localhost` are refused, and no answer can be read across sites.
//!
//! # Limits
//!
//! Memory is bounded by [`Limits`]: 64 MiB a signal as a usual allocator takes it, oldest evicted and counted in [`SignalCounts::evicted`]. A
//! log line or a span takes 1 to 1.5 KiB, so a test that reads back 100,000 of them raises [`Limits::log_bytes`] or [`Limits::trace_bytes`].
//!
//! The query languages are parts of the real ones; what is missing is an error that says so, never a wrong answer:
//! - LogQL: stream selectors, line filters, `json`, label filters. No metric queries.
//! - TraceQL: one spanset filter whose comparisons are joined by `&&`.
//! - PromQL: vector selectors with matchers. No functions and no operators, except in `query_exemplars`, which only
//!   looks for the selectors in an expression.
//!
//! Validation follows the real servers with their default settings, and is stricter in two places, so that a test
//! sees what the real servers let pass: span ids must be 8 bytes and not all zero, and a content type that Loki does not
//! know is refused. Rate limits and tenants are not there.
//!
//! OTLP metrics of delta temporality are added up to cumulative series ([`DeltaCounts`] says what became of them), where Prometheus and Mimir
//! refuse them or leave that to the Collector. Native histograms are checked in Prometheus' words, and queries answer them in its form. The
//! `event_name` of log records is kept as structured metadata, as versions of Loki after 3.7 do it; `detected_level` is not added.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod attribute;
mod auth;
mod builder;
mod compression;
mod devstack;
mod exponential;
pub mod exposition;
#[cfg(feature = "window")]
mod fields;
mod gate;
mod go_number;
mod in_process;
mod ingest;
mod label_text;
mod limits;
mod native_histogram;
mod otlp_json;
mod ports;
mod read;
mod routes;
mod scrape;
mod script;
mod server;
mod span;
mod store;
mod text_scanner;
#[cfg(feature = "window")]
mod window;
pub mod wire;

pub use attribute::{Attributes, Value};
pub use builder::{DevstackBuilder, StartError};
pub use devstack::Devstack;
pub use in_process::InProcess;
pub use limits::Limits;
pub use ports::{MovedPort, Ports};
pub use scrape::{ScrapeError, ScrapeReport, ScrapeStatus, ScrapeTarget};
pub use script::{Endpoint, Reply, Signal};
pub use span::{Scope, Span, SpanEvent, SpanKind, SpanLink, Status, StatusCode};
pub use store::{
    Answer, Counts, DeltaCounts, Exemplar, Labels, LogEntry, MetricMetadata, MetricType, ReceivedRequest, Sample,
    Series, SignalCounts, Store, WaitError,
};
/// The gRPC status codes for [`Reply::grpc`].
pub use tonic::Code;

/// What the stack says of itself, on `GET /` and at the start.
pub const PURPOSE: &str = "lgtm development stack: a stand-in for Loki, Tempo and Mimir for development and tests; \
everything is in memory, nothing is kept, do not use it in production";

/// The examples of the package's page compile and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
