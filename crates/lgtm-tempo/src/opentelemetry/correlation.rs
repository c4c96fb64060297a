//! Correlation: the layer that keeps lgtm's span record beside tracing-opentelemetry's, and gives it the tracer's ids.
//! Caller threads.

use std::str::FromStr as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::fate::Fates;
use lgtm_core::propagation::RemoteParent;
use lgtm_core::span::{AssignedIds, Attachment, IdSource, Role, Status, Value};
use lgtm_core::{Sampler, SpanId, TraceContext, TraceId};
use opentelemetry::KeyValue;
use opentelemetry::trace::{self as otel, SpanContext, TraceContextExt as _, TraceFlags, TraceState};
use tracing::Span;
use tracing_core::dispatcher::{self, WeakDispatch};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Dispatch, Interest, Metadata, Subscriber};
use tracing_opentelemetry::{OpenTelemetrySpanExt as _, get_otel_context};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Keeps lgtm's span record of what tracing-opentelemetry sees, under the tracer's ids.
#[derive(Debug)]
pub struct Correlation {
    attachment: Attachment,
    tracer: Arc<TracerIds>,
}

impl Correlation {
    pub(super) fn new(sampler: Sampler, fates: Arc<Fates>) -> Self {
        let tracer = Arc::new(TracerIds { dispatch: OnceLock::new(), fates });
        let source: Arc<dyn IdSource> = Arc::clone(&tracer) as _;
        Self { attachment: Attachment::new(Role::Exporter, Some(sampler)).with_id_source(source), tracer }
    }
}

impl<S> tracing_subscriber::Layer<S> for Correlation
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn register_callsite(&self, callsite: &'static Metadata<'static>) -> Interest {
        self.attachment.register_callsite(callsite)
    }

    fn enabled(&self, callsite: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.attachment.enabled(callsite)
    }

    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        let _ = self.tracer.dispatch.set(dispatch.downgrade());
        self.attachment.register(dispatch);
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.attachment.new_span(attributes, id, &context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        self.attachment.record(id, values);
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        self.attachment.enter(id);
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        self.attachment.exit(id);
    }

    // Before tracing-opentelemetry's, which forgets the span.
    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.attachment.close(&id, |_| ());
    }
}

/// The tracer's ids, found through the subscriber that its layer is part of.
#[derive(Debug)]
struct TracerIds {
    dispatch: OnceLock<WeakDispatch>,
    fates: Arc<Fates>,
}

thread_local! {
    /// Whether the API's own thread-local can be asked: it panics once the thread has destroyed it. This one is made after it, and
    /// thus destroyed before it.
    static CONTEXT: Usable = Usable::new();
}

struct Usable(bool);

impl Usable {
    fn new() -> Self {
        Self(std::panic::catch_unwind(|| opentelemetry::Context::map_current(|_| ())).is_ok())
    }

    fn then<R>(&self, ask: impl FnOnce() -> R) -> Option<R> {
        self.0.then(ask)
    }
}

impl Drop for Usable {
    fn drop(&mut self) {
        self.0 = false;
    }
}

impl TracerIds {
    fn assigned(&self, span: &SpanContext) -> Option<AssignedIds> {
        let state = span.trace_state().header();
        // Invalid after the provider's shutdown.
        Some(AssignedIds {
            trace_id: TraceId::from_bytes(span.trace_id().to_bytes())?,
            span_id: SpanId::from_bytes(span.span_id().to_bytes())?,
            sampled: span.is_sampled(),
            trace_state: (!state.is_empty()).then(|| state.into()),
            undecided: self.fates.of(span.span_id()).and_then(|fate| fate.undecided),
        })
    }

    fn dispatch(&self) -> Option<Dispatch> {
        match self.dispatch.get() {
            Some(dispatch) => dispatch.upgrade(),
            // Inside a wrapper that does not forward `on_register_dispatch`: the global default, like the attachment.
            None => Some(dispatcher::get_default(Dispatch::clone)),
        }
    }
}

impl IdSource for TracerIds {
    fn assign(&self, span: u64) -> Option<AssignedIds> {
        let dispatch = self.dispatch()?;
        let id = Id::from_u64(span);
        // tracing-opentelemetry takes it for granted that the span is open: held here, it stays so.
        let _open = dispatch.downcast_ref::<Registry>()?.span(&id)?;
        let context = get_otel_context(&id, &dispatch).or_else(|| {
            warn_once();
            None
        })?;
        self.assigned(context.span().span_context())
    }

    fn current(&self, entered: Option<SpanId>) -> Option<AssignedIds> {
        let of_context = |context: &opentelemetry::Context| {
            let span = context.span();
            let span = span.span_context();
            let is_entered = entered.is_some_and(|entered| entered.to_bytes() == span.span_id().to_bytes());
            if is_entered { None } else { self.assigned(span) }
        };
        CONTEXT.try_with(|usable| usable.then(|| opentelemetry::Context::map_current(of_context)).flatten()).ok()?
    }

    fn set_parent(&self, span: &Span, parent: &RemoteParent) -> bool {
        let remote = SpanContext::new(
            otel::TraceId::from_bytes(parent.trace_id.to_bytes()),
            otel::SpanId::from_bytes(parent.span_id.to_bytes()),
            TraceFlags::default().with_sampled(parent.sampled),
            true,
            parent.trace_state.as_deref().and_then(|state| TraceState::from_str(state).ok()).unwrap_or_default(),
        );
        span.set_parent(opentelemetry::Context::new().with_remote_span_context(remote)).is_ok()
    }

    fn add_link(&self, span: &Span, to: &TraceContext, attributes: &[(&str, Value<'_>)]) {
        let context = SpanContext::new(
            otel::TraceId::from_bytes(to.trace_id.to_bytes()),
            otel::SpanId::from_bytes(to.span_id.to_bytes()),
            TraceFlags::default().with_sampled(to.sampled),
            false,
            TraceState::default(),
        );
        let attributes = attributes.iter().map(|(key, value)| KeyValue::new((*key).to_owned(), owned(*value)));
        span.add_link_with_attributes(context, attributes.collect());
    }

    fn set_status(&self, span: &Span, status: Status, description: &str) {
        span.set_status(match status {
            Status::Unset => otel::Status::Unset,
            Status::Ok => otel::Status::Ok,
            Status::Error => otel::Status::error(description.to_owned()),
        });
    }

    fn set_attribute(&self, span: &Span, key: &str, value: Value<'_>) {
        span.set_attribute(key.to_owned(), owned(value));
    }
}

fn owned(value: Value<'_>) -> opentelemetry::Value {
    match value {
        Value::Text(text) => String::from_utf8_lossy(text).into_owned().into(),
        Value::Integer(number) => number.into(),
        Value::Double(number) => number.into(),
        Value::Bool(flag) => flag.into(),
    }
}

fn warn_once() {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if !WARNED.swap(true, Ordering::Relaxed) {
        lgtm_core::warn(
            "the OpenTelemetry layer cannot be found in its subscriber (is it inside a reload layer?): log lines and exemplars \
             do not name the spans that are sent",
        );
    }
}
