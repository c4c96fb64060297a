//! Capture: the `tracing` layer. Caller threads.

use lgtm_core::current;
use lgtm_core::span::{Attachment, EventFields, Role};
use lgtm_core::{Identity, is_suppressed};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Dispatch, Interest, Metadata, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::dimensions::Dimensions;

/// Counts and times the spans it sees. Made by [`layer`].
pub struct Layer {
    attachment: Attachment,
    dimensions: Dimensions,
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Layer").field("attachment", &self.attachment).finish_non_exhaustive()
    }
}

impl Layer {
    /// The layer sees nothing from now on. For a child that was forked: its layers are the parent's.
    pub fn retire(&self) {
        self.attachment.retire();
    }
}

/// A layer that counts and times the spans of this service.
#[must_use]
pub fn layer(identity: &Identity) -> Layer {
    Layer {
        attachment: Attachment::new(Role::Observer, None).with_event_fields(EventFields::None),
        dimensions: Dimensions::new(identity),
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
        let kind = self.attachment.new_span(attributes, id, &context);
        if let Some(series) = kind.and_then(|kind| self.dimensions.of(kind)) {
            series.created.increment(1);
        }
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

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        let closed = self.attachment.close(&id, |record| (record.kind, record.start, record.end, record.context()));
        let Some((kind, start, end, context)) = closed else { return };
        if is_suppressed() {
            return;
        }
        if let Some(series) = self.dimensions.of(kind) {
            // The span is not current any more: the exemplar is told where it belongs.
            let seconds = end.saturating_sub(start) as f64 / 1e9;
            current::with_trace_at(context, end, || series.duration.record(seconds));
        }
    }
}
