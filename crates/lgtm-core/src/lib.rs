//! What lgtm's signal crates share: identity, endpoints, the one span record, the one pipeline, accounting.
//!
//! Programs use the facade (package `lgtm-telemetry`) or a signal crate; this crate is for those who write a layer or an
//! exporter that joins in.
//!
//! # The thread boundary
//!
//! ```text
//! caller                                   | worker: one OS thread, its own current-thread runtime
//! -----------------------------------------+----------------------------------------------------------------
//! span / attachment, fields, event: visit  |
//! current: the stack of entered spans      |
//! pipeline / queue: admit, bounded         | pipeline / batch: gather
//!                                          | the signal crate: encode, classify
//!                                          | pipeline / deliver, retry, http, grpc: send, try again
//!                                          | pipeline / connect, proxy, tls: the way to a backend
//!                                          | pipeline / spill: what memory cannot hold, by way of the
//!                                          | spool: segment files, on a thread of their own
//!                                          | accounting: settle, publish
//! ```
//!
//! Callers never block on I/O, await, or allocate in steady state. The worker's threads are marked
//! ([`suppress_this_thread`]), so no layer of ours listens to its HTTP client.
//!
//! # The span record
//!
//! Each layer owns an [`span::Attachment`] and forwards its callbacks to it. All layers on one `Registry` meet at the same
//! records: ids exist whichever layer came first, fields are visited once, a record has one start and one end.
//!
//! # The pipeline
//!
//! A signal crate implements [`pipeline::Signal`] and starts a [`pipeline::Pipeline`]; what its layer
//! [admits](pipeline::Queue::admit) is gathered into batches, encoded, delivered, and settled in the accounting:
//! admitted = delivered + rejected + dropped + pending, always.

pub mod accounting;
pub mod callsite;
pub mod catalogue;
mod clock;
pub mod current;
mod diagnostics;
mod elsewhere;
pub mod endpoint;
mod identity;
mod ids;
pub mod json;
pub mod otlp;
pub mod pipeline;
mod process;
pub mod propagation;
pub mod protobuf;
pub mod redaction;
pub mod sampler;
mod scratch;
mod secret;
pub mod span;
#[cfg_attr(not(feature = "spool"), path = "spool/absent.rs")]
mod spool;
mod suppress;
mod unprintable;
mod watched;

pub use accounting::{DropReason, ErrorType, SignalKind, SignalReport};
pub use clock::unix_nanos;
pub use current::TraceContext;
pub use diagnostics::warn;
pub use endpoint::{Auth, Compression, Endpoint, EndpointError, Proxy};
pub use identity::Identity;
pub use ids::{SpanId, TraceId};
pub use pipeline::Worker;
pub use sampler::Sampler;
pub use scratch::with_buffer;
pub use secret::Secret;
#[cfg(feature = "spool")]
pub use spool::{SpoolError, SpoolOptions};
pub use suppress::{is_suppressed, suppress_this_thread, suppressed};
pub use unprintable::is_unprintable;
pub use watched::ExpectedSecret;

/// The examples of the package's page compile and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
