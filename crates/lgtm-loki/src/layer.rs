//! Capture: the `tracing` layer. Caller threads.

use std::sync::Arc;

use lgtm_core::pipeline::Queue;
use lgtm_core::span::{Attachment, EventFields, Role, VisitedEvent};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Dispatch, Event, Interest, Metadata, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

#[cfg(feature = "opentelemetry")]
use crate::opentelemetry::Records;
use crate::repeats::Repeats;
use crate::writer::Writer;

/// Sends every event it sees to Loki. Made by [`builder`](crate::builder).
#[derive(Debug)]
pub struct Layer {
    attachment: Arc<Attachment>,
    queue: Arc<Queue>,
    writer: Arc<Writer>,
    repeats: Option<Arc<Repeats>>,
}

impl Layer {
    pub(crate) fn new(queue: Arc<Queue>, writer: Arc<Writer>, repeats: Option<Arc<Repeats>>) -> Self {
        let mut attachment = Attachment::new(Role::Observer, None);
        if writer.reads_json() {
            attachment = attachment.with_event_fields(EventFields::Json);
        }
        Self { attachment: Arc::new(attachment), queue, writer, repeats }
    }

    /// What else puts records among these lines: the spans around them are the layer's.
    #[cfg(feature = "opentelemetry")]
    pub(crate) fn records(&self) -> Records {
        Records {
            attachment: Arc::clone(&self.attachment),
            queue: Arc::clone(&self.queue),
            writer: Arc::clone(&self.writer),
            repeats: self.repeats.clone(),
        }
    }

    /// The layer sees nothing from now on. For a child that was forked: its layers are the parent's.
    pub fn retire(&self) {
        self.attachment.retire();
    }

    #[inline]
    fn admit(&self, callsite: &'static Metadata<'static>, event: &VisitedEvent) {
        if self.repeats.as_ref().is_none_or(|repeats| repeats.admits(callsite, event)) {
            self.writer.admit(&self.queue, Some(&*self.attachment), callsite, event);
        }
    }
}

impl<S> tracing_subscriber::Layer<S> for Layer
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
        self.attachment.register(dispatch);
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.attachment.new_span(attributes, id, &context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        self.attachment.record(id, values);
    }

    fn event_enabled(&self, _: &Event<'_>, _: Context<'_, S>) -> bool {
        self.attachment.announce_event();
        true
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let callsite = event.metadata();
        self.attachment.event(event, |visited| self.admit(callsite, visited));
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        self.attachment.enter(id);
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        self.attachment.exit(id);
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.attachment.close(&id, |_| ());
    }
}
