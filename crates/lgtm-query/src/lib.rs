//! A client for LogQL, TraceQL and PromQL: asks Loki, Tempo, and Prometheus or Mimir what they have, and gives typed answers.
//!
//! # Guide
//! A [`Client`] is a connection pool to one backend: URL, tenant, credentials, timeout. [`Loki`], [`Tempo`] and [`Prometheus`]
//! put a query language on it.
//!
//! | to ask for | use |
//! |---|---|
//! | log entries, numbers from logs | [`Loki::query_range`], [`Loki::query`] |
//! | log entries as they arrive | [`Loki::tail`] |
//! | what logs there are | [`Loki::labels`], [`Loki::series`], [`Loki::stats`], [`Loki::volume`], [`Loki::detected_fields`], [`Loki::patterns`] |
//! | a trace by its id, and its picture | [`Tempo::trace`], [`Trace::tree`] |
//! | traces by TraceQL, numbers from traces | [`Tempo::search`], [`Tempo::metrics_range`], [`Tempo::metrics_instant`] |
//! | what traces there are | [`Tempo::tags`], [`Tempo::tag_values`] |
//! | numbers | [`Prometheus::query`], [`Prometheus::query_range`] |
//! | what numbers there are | [`Prometheus::series`], [`Prometheus::labels`], [`Prometheus::metadata`] |
//! | rules, alerts, scrape targets | [`Prometheus::rules`], [`Prometheus::alerts`], [`Prometheus::targets`] |
//! | the trace behind a number | [`Prometheus::query_exemplars`], [`Exemplar::trace_id`] |
//! | a server's own page, such as its metrics | [`Client::page`] |
//! | an answer that is not there yet | [`wait_until`], [`Wait`] |
//!
//! From a slow request to its trace and its log lines:
//!
//! ```no_run
//! use std::time::Duration;
//! use lgtm_query::{Client, LogQuery, Loki, Prometheus, Tempo, TimeRange, wait_until};
//!
//! # async fn example() -> Result<(), lgtm_query::Error> {
//! let mimir = Client::builder("http://localhost:9009/prometheus").tenant("shop").build()?;
//! let metrics = Prometheus::new(mimir);
//! let tempo = Tempo::at("http://localhost:3200")?;
//! let loki = Loki::at("http://localhost:3100")?;
//!
//! let range = TimeRange::last(Duration::from_secs(900));
//! let series = metrics.query_exemplars("http_request_duration_seconds_bucket", range).await?;
//! let slowest = series
//!     .iter()
//!     .flat_map(|series| &series.exemplars)
//!     .max_by(|a, b| a.value.total_cmp(&b.value))
//!     .and_then(|exemplar| exemplar.trace_id());
//! if let Some(id) = slowest {
//!     let found = wait_until(Duration::from_secs(10), || tempo.trace(id), |trace| trace.is_some()).await?;
//!     if let Some(trace) = found {
//!         println!("{}", trace.tree());
//!     }
//!     let lines = LogQuery::new(format!(r#"{{service="shop"}} | trace_id="{id}""#)).range(range);
//!     for (_, entry) in loki.query_range(&lines).await?.entries() {
//!         println!("{}", entry.line);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Units
//! Times are nanoseconds since the Unix epoch, as `u64`; fields say so in their names. Prometheus and Loki's metric queries count
//! in milliseconds, Tempo's search in whole seconds for its range.
//!
//! # Errors
//! Every error of a query has its URL without credentials; if there was an answer, its status and the server's own words or the
//! beginning of the body, cut at 1 KiB. [`Error::is_transient`] tells which may be better later.
//!
//! # Limits
//! - An answer longer than 64 MiB is an error ([`ClientBuilder::max_response_bytes`]).
//! - A query is one GET with its text in the URL: a proxy in between may refuse queries of many kilobytes.
//! - Answers come whole, but for [`Loki::tail`]: no paging. A log query gives at most as many entries as its limit.
//! - Redirects are not followed, so that credentials stay with the configured host.
//! - Futures run in a tokio runtime with its time and I/O drivers on.

mod auth;
mod client;
mod envelope;
mod error;
mod ids;
mod loki;
mod otlp_json;
mod prometheus;
mod samples;
mod tail;
mod tempo;
mod time;
mod tls;
mod trace;
pub mod tree;
mod wait;

pub use client::{Client, ClientBuilder};
pub use error::Error;
pub use ids::{SpanId, TraceId};
pub use loki::{DetectedField, Direction, IndexStats, LogData, LogEntry, LogQuery, Loki, Pattern, Stream};
pub use prometheus::{
    Alert, Exemplar, ExemplarSeries, Metadata, MetricAnswer, MetricData, Prometheus, Rule, RuleGroup, ScrapeTarget,
};
pub use samples::{HistogramBucket, HistogramSample, InstantSample, Labels, Sample, Series};
pub use tail::{DroppedEntry, Tail, TailBatch};
pub use tempo::{FoundSpan, FoundTrace, TagScope, TagValue, Tempo, TraceExemplar, TraceMetric, TraceSearch};
pub use time::TimeRange;
pub use trace::{AttributeValue, Attributes, Event, Link, Span, SpanKind, Status, StatusCode, Trace};
pub use wait::{Wait, wait_until};

/// The examples of the package's page compile and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
