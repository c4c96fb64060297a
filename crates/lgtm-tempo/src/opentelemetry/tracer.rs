//! The tracer under tracing-opentelemetry's layer: the SDK's, which threads that export cannot reach. Caller threads.

use std::borrow::Cow;
use std::time::SystemTime;

use lgtm_core::is_suppressed;
use opentelemetry::trace::{SpanBuilder, SpanContext, Status};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace as sdk;

/// The SDK's tracer, with [`Span`]s.
#[derive(Clone, Debug)]
pub struct Tracer(pub(super) sdk::SdkTracer);

impl opentelemetry::trace::Tracer for Tracer {
    type Span = Span;

    fn build_with_context(&self, builder: SpanBuilder, parent: &Context) -> Span {
        Span(self.0.build_with_context(builder, parent))
    }
}

/// The SDK's span. What `tracing` reports on a thread that exports is no part of it.
#[derive(Debug)]
pub struct Span(sdk::Span);

impl opentelemetry::trace::Span for Span {
    fn add_event_with_timestamp<T>(&mut self, name: T, timestamp: SystemTime, attributes: Vec<KeyValue>)
    where
        T: Into<Cow<'static, str>>,
    {
        if !is_suppressed() {
            self.0.add_event_with_timestamp(name, timestamp, attributes);
        }
    }

    fn span_context(&self) -> &SpanContext {
        self.0.span_context()
    }

    fn is_recording(&self) -> bool {
        self.0.is_recording() && !is_suppressed()
    }

    fn set_attribute(&mut self, attribute: KeyValue) {
        if !is_suppressed() {
            self.0.set_attribute(attribute);
        }
    }

    fn set_status(&mut self, status: Status) {
        if !is_suppressed() {
            self.0.set_status(status);
        }
    }

    fn update_name<T>(&mut self, name: T)
    where
        T: Into<Cow<'static, str>>,
    {
        if !is_suppressed() {
            self.0.update_name(name);
        }
    }

    fn add_link(&mut self, linked: SpanContext, attributes: Vec<KeyValue>) {
        if !is_suppressed() {
            self.0.add_link(linked, attributes);
        }
    }

    fn end_with_timestamp(&mut self, timestamp: SystemTime) {
        self.0.end_with_timestamp(timestamp);
    }
}
