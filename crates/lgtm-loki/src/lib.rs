//! A `tracing` layer that pushes events to Loki: a stream for each level, structured metadata that links a line to its trace,
//! byte bounds, classified answers, and every loss counted.
//!
//! ```no_run
//! use tracing_subscriber::prelude::*;
//!
//! let (layer, pipeline) = lgtm_loki::builder()
//!     .endpoint(lgtm_core::Endpoint::parse("http://localhost:3100")?)
//!     .build()?;
//! tracing_subscriber::registry().with(layer).init();
//! // ... and before the program ends:
//! let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
//! pipeline.begin_shutdown(deadline);
//! let _ = pipeline.wait_ended(deadline);
//! println!("{}", pipeline.report());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a line looks like
//!
//! ```json
//! {"message":"order placed","level":"info","target":"shop::orders","order_id":17,"user":"ada","spans":["POST /orders","checkout"]}
//! ```
//!
//! The event's fields and those of its spans stand at top level, so that LogQL's `| json` finds them; the event wins over its
//! span, the leaf over the root. `spans` names the spans from the root to the leaf. A field that is named like one of these
//! (`message`, `level`, `target`, `spans`, `truncated`, `trace_id`, `span_id`, `trace_sampled`) gets the prefix `field_`.
//!
//! - **Stream labels**: `service_name` and `service` (the same value), `environment` if known, `level`, and what
//!   [`Builder::label`] and [`Builder::label_from_field`] add. A field without a cap on its values is no label: it is in the
//!   line, where LogQL finds it.
//! - **Structured metadata**: `trace_id`, `span_id`, `trace_sampled` inside a span; `target`, `code_file_path`,
//!   `code_line_number`; `service_instance_id`, `service_version`.
//!
//! # OTLP in place of Loki's push
//!
//! With [`Protocol::Otlp`] events are OTLP log records, for any receiver (a collector, Alloy) and for Loki's own OTLP endpoint
//! (`http://localhost:3100/otlp/v1/logs`, over HTTP). The body is the message; the fields of the event and of its spans are attributes,
//! of which the event's win over its span's and the leaf's over the root's; so are `target`, `code.file.path` and `code.line.number`,
//! and for an error among the fields `exception.message` and `exception.stacktrace`. The resource says who speaks; Loki makes stream
//! labels of what its configuration names. [`Builder::label`] and [`Builder::label_from_field`] are refused beside it.
//!
//! # Log records of the OpenTelemetry API
//!
//! With the feature `opentelemetry`, `Builder::build_opentelemetry` also gives an OpenTelemetry logger provider, whose records are lines like
//! those of events: see the module `opentelemetry`.
//!
//! # The thread boundary
//!
//! ```text
//! caller                                          | worker
//! layer.rs -> repeats.rs -> writer.rs ->          | repeats.rs, summaries.rs: what was left out
//!   labels.rs, line/, metadata.rs or record.rs    |
//!          -> core's queue: admit                 | core's batch: gather
//!                                                 | push.rs: encode (group, 1 ns rule, protobuf, snappy)
//!                                                 | or otlp.rs: encode (frame with resource and scope)
//!                                                 | core's deliver; push.rs, otlp.rs: classify the answer
//! ```
//!
//! # Limits
//!
//! Lines over 256 KiB, which Loki refuses, lose the end of their message and the fields that do not fit, and are marked
//! `"truncated":true`; so are lines of events with a value over 128 KiB, of which the rest is cut, or with more than 128 fields.
//! `otlp_logs_truncated_total` counts both. No entry shares its timestamp with an earlier one of its stream: it gets 1 ns more, because Loki drops a second entry
//! of the same time and text.

mod builder;
mod labels;
mod layer;
mod line;
mod metadata;
#[cfg(feature = "opentelemetry")]
pub mod opentelemetry;
mod otlp;
mod push;
mod record;
mod repeats;
mod summaries;
mod writer;

pub use builder::{BuildError, Builder, Format, Protocol, builder};
pub use layer::Layer;
pub use lgtm_core::otlp::Protocol as OtlpProtocol;

/// The examples of the package's page compile and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
