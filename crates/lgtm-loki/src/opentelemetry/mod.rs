//! Log records of the OpenTelemetry API in the same pipeline as events: an `SdkLoggerProvider` for appenders
//! (`opentelemetry-appender-log`) and for libraries that use the API themselves.
//!
//! ```no_run
//! use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
//! use tracing_subscriber::prelude::*;
//!
//! let (layer, provider, pipeline) = lgtm_loki::builder()
//!     .endpoint(lgtm_core::Endpoint::parse("http://localhost:3100")?)
//!     .build_opentelemetry()?;
//! tracing_subscriber::registry().with(layer).init();
//!
//! let logger = provider.logger("library");
//! let mut record = logger.create_log_record();
//! record.set_severity_number(Severity::Warn);
//! record.set_body(AnyValue::from("out of stock"));
//! record.add_attribute("item", 17);
//! logger.emit(record);
//! // ... and before the program ends:
//! let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
//! pipeline.begin_shutdown(deadline);
//! let _ = pipeline.wait_ended(deadline);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What becomes of a record
//!
//! A line as of an event, in each format and protocol, under the same rules: redaction, limits, labels from fields, rate limit,
//! deduplication, priorities in a full queue, accounting.
//!
//! | record | line |
//! |---|---|
//! | body | `message`; one that is no text, as JSON |
//! | severity number, else text, else info | `level`: fatal is `error` |
//! | target, else the scope's name | `target` |
//! | attributes | fields; bytes as hex, lists and maps as JSON text |
//! | attributes `code.file.path`, `code.line.number` | as those of an event |
//! | trace context, else the calling thread's current trace | `trace_id`, `span_id`, `trace_sampled` |
//! | timestamp, else the observed one | the entry's time |
//!
//! `severity_number`, `severity_text`, `event_name`, `observed_timestamp`, `scope_name` and `scope_version` are structured metadata,
//! as with Loki's own OTLP endpoint. With [`Protocol::Otlp`](crate::Protocol::Otlp) they are what they are there, except for the scope:
//! the attributes `otel.scope.name` and `otel.scope.version`. Inside a span of `tracing` the record has the span's fields, unless its
//! trace context is that of another trace.
//!
//! # Not twice
//!
//! `opentelemetry-appender-tracing` makes records of `tracing` events. The [`Layer`](crate::Layer) takes those already: with that bridge on this
//! provider each event would be two lines. It is for events of a subscriber that has no such layer.
//!
//! # Limits
//!
//! What filters stand before the layer do not see these records: appenders have filters of their own. What a thread that exports has to say
//! is left out, as with events. `force_flush` waits until everything has been sent, at most 5 s, `shutdown` as long as it is given; the layer
//! and its pipeline go on, which end as above.

mod convert;
mod processor;

use std::sync::Arc;

use lgtm_core::pipeline::{Pipeline, Queue};
use lgtm_core::span::Attachment;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;

use crate::repeats::Repeats;
use crate::writer::Writer;

/// What records need of the layer.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) attachment: Arc<Attachment>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) writer: Arc<Writer>,
    pub(crate) repeats: Option<Arc<Repeats>>,
}

/// A provider whose records go the way of the layer's lines.
pub(crate) fn logger_provider(records: Records, pipeline: Pipeline) -> SdkLoggerProvider {
    SdkLoggerProvider::builder()
        // Who speaks is the layer's to say.
        .with_resource(Resource::builder_empty().build())
        .with_log_processor(processor::Processor::new(records, pipeline))
        .build()
}
