//! A `tracing` layer that exports spans to Tempo, or any OTLP receiver, over gRPC or HTTP: written as OTLP bytes by the
//! thread that closes the span, framed and sent by the worker, bounded in bytes, every loss counted.
//!
//! ```no_run
//! use tracing_subscriber::prelude::*;
//!
//! let (layer, pipeline) = lgtm_tempo::builder()
//!     .endpoint(lgtm_core::Endpoint::parse("http://localhost:4317")?)
//!     .build()?;
//! tracing_subscriber::registry().with(layer).init();
//! tracing::info_span!("checkout", otel.kind = "server", order_id = 17).in_scope(|| tracing::info!("paid"));
//! // ... and before the program ends:
//! let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
//! pipeline.begin_shutdown(deadline);
//! let _ = pipeline.wait_ended(deadline);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What becomes of a span
//!
//! - Its fields become attributes; a field recorded late replaces an earlier value of the same name.
//! - `otel.name`, `otel.kind` (`server`, `client`, `producer`, `consumer`, `internal`), `otel.status_code` (`ok`, `error`)
//!   and `otel.status_description` describe the span and are no attributes. A value that is none of these stays an
//!   attribute, for all to see.
//! - Events inside become span events with `level` and `target`; an event of level ERROR sets the status to error, with its
//!   message, unless the program has set a status. An event with an error value (`error = &error as &dyn Error`) becomes an
//!   `exception` event, with the chain of its sources as `exception.stacktrace`.
//! - `follows_from` becomes a link.
//!
//! # Sampling
//!
//! The head sampler decides once per trace that begins here: [`Sampler`](lgtm_core::Sampler). Unsampled spans keep their ids,
//! for logs and propagation, and are not sent. With keep rules ([`Builder::keep`]) the part of such a trace that happens in this
//! process is sent all the same if a span of it fails, or if its local root takes long; its spans wait until that root closes.
//! Spans that are kept by chance say with which (`lgtm.sampling.probability`).
//!
//! # The thread boundary
//!
//! ```text
//! caller                                   | worker
//! layer.rs -> record.rs: OTLP bytes        |
//!          -> core's queue: admit          | core's batch: gather
//!                                          | otlp.rs: encode (frame with resource and scope)
//!                                          | core's deliver; core's otlp.rs: classify the answer
//! ```
//!
//! # The other front door
//!
//! With the feature `opentelemetry`, `Builder::build_opentelemetry` gives tracing-opentelemetry's layer and an OpenTelemetry tracer
//! provider instead, on the same pipeline: for programs that use the OpenTelemetry API.
//!
//! # Limits
//!
//! The OpenTelemetry specification's SpanLimits: 128 attributes, events and links a span, 128 attributes an event; also
//! 128 KiB a value and 256 KiB for all attributes, and all events, of a span. What goes beyond is counted in the span's
//! `dropped_*_count`. The program's own limits ([`Builder::limits`]) bind spans alone: log lines have what they are given.

mod builder;
mod detail;
mod layer;
#[cfg(feature = "opentelemetry")]
pub mod opentelemetry;
mod otlp;
mod record;

pub use builder::{BuildError, Builder, builder};
pub use detail::Detail;
pub use layer::Layer;
pub use lgtm_core::otlp::Protocol;

/// The examples of the package's page compile and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
