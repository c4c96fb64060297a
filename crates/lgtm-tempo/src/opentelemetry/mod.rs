//! The other front door: an `opentelemetry_sdk` tracer provider and tracing-opentelemetry's layer, exporting through the
//! same pipeline as [`Layer`](crate::Layer).
//!
//! For programs, or libraries in them, that use the OpenTelemetry API or `OpenTelemetrySpanExt`. It costs several times what
//! this crate's own layer does; programs that only use `tracing` are better off with that one. A registry takes one of the two.
//!
//! ```no_run
//! use opentelemetry::trace::{Tracer as _, TracerProvider as _};
//! use tracing_subscriber::prelude::*;
//!
//! let (layer, provider, pipeline) = lgtm_tempo::builder()
//!     .endpoint(lgtm_core::Endpoint::parse("http://localhost:4317")?)
//!     .build_opentelemetry()?;
//! tracing_subscriber::registry().with(layer).init();
//! // For libraries that use the OpenTelemetry API: opentelemetry::global::set_tracer_provider(provider.clone());
//! let tracer = provider.tracer("shop");
//! tracing::info_span!("checkout").in_scope(|| tracer.in_span("charge", |_| tracing::info!("paid")));
//! // ... and before the program ends:
//! let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
//! pipeline.begin_shutdown(deadline);
//! let _ = pipeline.wait_ended(deadline);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # One trace, whoever asks
//!
//! The tracer assigns the ids, and it does so late: when a span is entered, has a child, is closed, or its context is asked
//! for. lgtm's span record adopts them before anything that shows ids happens to the span, so log lines, exemplars and
//! propagated headers name the ids that arrive at Tempo. Until then a remote parent can be set, with
//! [`lgtm_core::propagation::set_parent`] or `OpenTelemetrySpanExt::set_parent`; afterwards both say that it is too late.
//!
//! A span of the OpenTelemetry API inside a tracing span is its child, and the reverse. Log lines, exemplars and
//! [`lgtm_core::propagation::inject`] name the innermost of both; the fields of spans in a log line are those of tracing spans.
//!
//! # Shutdown
//!
//! End the pipeline, as above: spans that end later are counted as dropped. `SdkTracerProvider::shutdown` and `force_flush`
//! end and flush it too and block until it is done; but after its `shutdown` the SDK itself throws later spans away, uncounted.
//!
//! # The thread boundary
//!
//! ```text
//! caller                                                    | worker
//! correlation.rs; tracing-opentelemetry; the SDK, sampler.rs|
//!   -> processor.rs, fate.rs (keep rules) -> span.rs        | core's batch: gather
//!   -> core's queue: admit                                  | otlp.rs: encode (frame with resource and scopes)
//! ```
//!
//! # Differences from this crate's own layer
//!
//! All come from tracing-opentelemetry or the SDK:
//!
//! - Unsigned and 128-bit fields are text: it visits them by their `Debug` form.
//! - An event's error value (`error = &error as &dyn Error`) has its chain as an array, `exception.stacktrace` and
//!   `error.chain`, and the event keeps its message as name. An event without message but with a field `error` is named
//!   `exception`, and that text becomes the span's status at any level.
//! - An error value among a span's fields becomes `exception.*` and `<field>.chain` attributes too.
//! - `otel.status_description` alone sets the status to error; a status code after it takes the description away. A status
//!   that a program sets to `unset` does not shield it from events of level ERROR.
//! - `otel.name` and `otel.kind` recorded after the span was entered are ignored, unknown values of `otel.kind` and
//!   `otel.status_code` too; `otel.status_message` is an attribute.
//! - A span ends when it was last left, not when it is closed.
//! - A malformed `tracestate` is not passed on.
//!
//! # Limits
//!
//! As this crate's own layer, its keep rules included: spans that the sampler leaves out are recorded then, and wait until the
//! local root ends, whether `tracing` or the API made it. 255 instrumentation scopes are told apart; spans of further ones carry `otel.scope.name` and
//! `otel.scope.version` as attributes. `OpenTelemetrySpanExt` and the adoption of ids need a layer that can be found by its
//! type from outside: not inside `reload::Layer`, nor a wrapper that does not forward `Layer::downcast_raw`.

mod correlation;
mod fate;
mod processor;
mod sampler;
mod scope;
mod span;
mod tracer;

use std::sync::Arc;

use lgtm_core::pipeline::Pipeline;
use lgtm_core::span::{KeepRules, Limits};
use lgtm_core::{Identity, Sampler};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanLimits};
use tracing_core::Subscriber;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::Layered;
use tracing_subscriber::registry::LookupSpan;

pub use correlation::Correlation;
pub(crate) use scope::ScopeIndex;
pub use tracer::{Span, Tracer};

use crate::detail::Detail;
use fate::Fates;
use processor::Processor;
use sampler::Decide;

/// tracing-opentelemetry's layer, on top of the one that keeps lgtm's span record in step with it. Made by
/// [`Builder::build_opentelemetry`](crate::Builder::build_opentelemetry).
///
/// A composition rather than a type of its own: `OpenTelemetrySpanExt` must find the layer inside.
pub type Layer<S> = Layered<OpenTelemetryLayer<S, Tracer>, Correlation, S>;

/// The provider whose spans go to this pipeline, and the layer on it.
pub(crate) fn start<S>(
    identity: &Identity,
    sampler: Sampler,
    limits: Limits,
    detail: Detail,
    rules: Option<KeepRules>,
    scopes: ScopeIndex,
    pipeline: &Pipeline,
) -> (Layer<S>, SdkTracerProvider)
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let attributes = identity.resource_attributes().map(|(key, value)| KeyValue::new(key.to_owned(), value.to_owned()));
    let fates = Arc::new(Fates::new(sampler.clone(), rules));
    let provider = SdkTracerProvider::builder()
        .with_sampler(Decide { sampler: sampler.clone(), records_all: fates.records_all() })
        .with_resource(Resource::builder_empty().with_attributes(attributes).build())
        .with_span_limits(SpanLimits {
            max_attributes_per_span: limits.attributes,
            max_events_per_span: limits.events,
            max_links_per_span: limits.links,
            max_attributes_per_event: limits.event_attributes,
            max_attributes_per_link: limits.link_attributes,
        })
        .with_span_processor(Processor::new(pipeline.clone(), scopes, limits, Arc::clone(&fates)))
        .build();
    let own = InstrumentationScope::builder(crate::otlp::SCOPE_NAME).with_version(crate::otlp::SCOPE_VERSION).build();
    // What is not asked for is left out, as this crate's own layer does.
    let spans = tracing_opentelemetry::layer()
        .with_tracer(Tracer(provider.tracer_with_scope(own)))
        .with_location(detail.location)
        .with_threads(detail.threads)
        .with_target(false)
        .with_tracked_inactivity(detail.busy_and_idle)
        .with_error_records_to_exceptions(false);
    let layer = Correlation::new(sampler, fates).and_then(spans);
    (layer, provider)
}

/// For the builder: the scopes are shared by the processor and the encoder.
pub(crate) fn scopes() -> (ScopeIndex, Arc<crate::otlp::Scopes>) {
    let encoded = Arc::default();
    (ScopeIndex::new(Arc::clone(&encoded)), encoded)
}
