//! Capture: the `tracing` layer. Caller threads.

use std::backtrace::Backtrace;
use std::sync::Arc;

use lgtm_core::pipeline::Queue;
use lgtm_core::protobuf::put_bytes;
use lgtm_core::span::{Attachment, Limits, Status, VisitedEvent, write_link};
use lgtm_core::with_buffer;
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Dispatch, Event, Interest, Level, Metadata, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::detail::Detail;
use crate::record;

/// Exports every span it sees. Made by [`builder`](crate::builder).
#[derive(Debug)]
pub struct Layer {
    attachment: Attachment,
    queue: Arc<Queue>,
    detail: Detail,
    /// The program's limits, where they are below what is visited.
    bounds: Option<Limits>,
}

impl Layer {
    pub(crate) fn new(queue: Arc<Queue>, attachment: Attachment, detail: Detail, limits: Option<Limits>) -> Self {
        Self { attachment, queue, detail, bounds: limits.filter(Limits::are_below_default) }
    }

    /// The layer sees nothing from now on. For a child that was forked: its layers are the parent's.
    pub fn retire(&self) {
        self.attachment.retire();
    }

    /// Adds the event to its span, or to the nearest ancestor that is exported.
    fn add_event(&self, callsite: &'static Metadata<'static>, event: &VisitedEvent) {
        let limits = self.attachment.limits();
        // Outside the record's lock: it takes its time.
        let backtrace = if self.detail.backtraces && event.exception().is_some() {
            Backtrace::force_capture().to_string()
        } else {
            String::new()
        };
        let mut span = event.span;
        while span != 0 {
            let hidden_by = self.attachment.with(span, |record| {
                if !record.is_exported() {
                    return record.parent;
                }
                if record.is_recorded() {
                    record.push_event(limits, |buffer| {
                        record::event(buffer, callsite, event, &backtrace, self.bounds.as_ref())
                    });
                    if *callsite.level() == Level::ERROR && !record.status_is_set {
                        record.status = Status::Error;
                        record.status_description.clear();
                        record.status_description.push_str(event.message());
                    }
                }
                0
            });
            span = hidden_by.unwrap_or(0);
        }
    }

    fn export(&self, id: &Id) {
        with_buffer(|span| {
            let mut undecided = None;
            let end = self.attachment.close(id, |record| {
                if let Some(trace) = &record.undecided {
                    undecided = Some(Arc::clone(trace));
                } else if !record.sampled {
                    return 0;
                }
                record::span(span, record, self.bounds.as_ref());
                record.end
            });
            // The record's lock is free again: admitting may wait.
            match (end, undecided) {
                (Some(end), Some(trace)) => trace.offer(&self.queue, 0, end, span, record::kept),
                (Some(end @ 1..), None) => {
                    self.queue.admit(0, end, |buffer| put_bytes(buffer, record::SPAN, span));
                }
                _ => {}
            }
        });
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
        if self.detail.any_at_start() {
            self.attachment.with(id.into_u64(), |record| self.detail.at_start(record, attributes.metadata()));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        self.attachment.record(id, values);
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, _: Context<'_, S>) {
        let limits = self.attachment.limits();
        let context = self.attachment.with(follows.into_u64(), |record| record.context()).flatten();
        let _ = self.attachment.with(id.into_u64(), |record| match context {
            Some(context) => record.push_link(limits, |buffer| write_link(buffer, &context, &[], limits)),
            // A closed span has given its ids back.
            None => record.dropped_links += 1,
        });
    }

    fn event_enabled(&self, _: &Event<'_>, _: Context<'_, S>) -> bool {
        self.attachment.announce_event();
        true
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let callsite = event.metadata();
        self.attachment.recorded_event(event, |visited| self.add_event(callsite, visited));
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        self.attachment.enter(id);
        if self.detail.busy_and_idle {
            self.attachment.with(id.into_u64(), |record| record.turn(true));
        }
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        self.attachment.exit(id);
        if self.detail.busy_and_idle {
            self.attachment.with(id.into_u64(), |record| record.turn(false));
        }
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.export(&id);
    }
}
