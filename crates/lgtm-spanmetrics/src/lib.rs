//! A `tracing` layer that counts and times every span, sampled or not: `otlp_spans_created_total` and
//! `otlp_spans_duration_seconds`, by service and kind. It records through the `metrics` facade, so it works with any
//! recorder; with lgtm-mimir's, each duration leaves an exemplar that points at its span.
//!
//! ```no_run
//! use tracing_subscriber::prelude::*;
//!
//! let identity = lgtm_core::Identity::new("shop");
//! tracing_subscriber::registry().with(lgtm_spanmetrics::layer(&identity)).init();
//! ```
//!
//! Feature `system` (default): [`system::start`] keeps the gauges `otlp_system_*` up to date, every 15 s.
//!
//! # The thread boundary
//!
//! ```text
//! caller                                               | worker
//! layer.rs -> dimensions.rs -> the recorder's atomics  | system.rs: reads the host every 15 s
//! ```
//!
//! # Limits
//!
//! The labels are closed: one service name, five kinds. A span's kind is known from its fields at its opening; a kind that
//! is recorded later shows in its duration but not in the count of created spans. A recorder may log while it counts, but not
//! open spans: they would be counted too, without end.

mod dimensions;
mod layer;
#[cfg(feature = "system")]
pub mod system;

pub use layer::{Layer, layer};

/// The examples of the package's page compile and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
