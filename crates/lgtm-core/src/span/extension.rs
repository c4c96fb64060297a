//! What a program says of a span at run time: parent, links, status, attributes. Caller threads.

use tracing_core::Dispatch;
use tracing_core::span::Id;

use super::attributes::Value;
use super::fields::{FieldVisitor, SPAN_ATTRIBUTE, Status};
use super::link;
use super::parent::SetParentError;
use super::redact;
use super::store::{SpanStore, find_store};
use crate::current::TraceContext;
use crate::propagation::{self, Extractor, RemoteParent};

/// What `tracing::Span` has no method for.
///
/// All methods do nothing on a disabled span, on one that no lgtm layer sees, and on one that is closed.
///
/// ```
/// use lgtm_core::span::{SpanExt as _, Status};
///
/// let span = tracing::info_span!("order");
/// span.set_attribute("customer.tier", "gold");
/// span.set_status(Status::Error, "the card was refused");
/// ```
pub trait SpanExt {
    /// Makes the span the child of the one that the headers of an incoming request name. Right after creating the span: see
    /// [`propagation::set_parent`].
    ///
    /// # Errors
    /// [`SetParentError`] if the span is disabled, has a parent already, or its ids are in use already.
    fn set_parent(&self, headers: &(impl Extractor + ?Sized)) -> Result<(), SetParentError>;

    /// Makes the span the child of one in another process.
    ///
    /// # Errors
    /// As [`SpanExt::set_parent`].
    fn set_remote_parent(&self, parent: &RemoteParent) -> Result<(), SetParentError>;

    /// Links the span to another one, of this or another trace, with attributes of the link. Links over the limit
    /// ([`Limits::links`](super::Limits::links)) are counted on the span.
    fn add_link(&self, to: TraceContext, attributes: &[(&str, Value<'_>)]);

    /// Sets the status; events of level ERROR do not change it any more. The description counts for [`Status::Error`] only.
    /// Once set to [`Status::Ok`] it is final.
    fn set_status(&self, status: Status, description: &str);

    /// Sets an attribute, also one that the span's macro does not name; an earlier value of the same name is replaced.
    /// The names `otel.name`, `otel.kind`, `otel.status_code` and `otel.status_description` describe the span.
    fn set_attribute<'a>(&self, key: &str, value: impl Into<Value<'a>>);

    /// The place in the trace that logs, exemplars and children of this span point at. From here on its parent cannot change.
    fn trace_context(&self) -> Option<TraceContext>;
}

impl SpanExt for tracing::Span {
    fn set_parent(&self, headers: &(impl Extractor + ?Sized)) -> Result<(), SetParentError> {
        propagation::set_parent(self, headers)
    }

    fn set_remote_parent(&self, parent: &RemoteParent) -> Result<(), SetParentError> {
        propagation::set_remote_parent(self, parent)
    }

    fn add_link(&self, to: TraceContext, attributes: &[(&str, Value<'_>)]) {
        with_store(self, |store, id| {
            let attributes: Vec<_> = attributes.iter().map(|(key, value)| (*key, redact::shown(key, *value))).collect();
            let attributes = attributes.as_slice();
            if let Some(source) = store.id_source.get() {
                source.add_link(self, &to, attributes);
            }
            store.with(id.into_u64(), |record| {
                let limits = *store.limits();
                record.push_link(&limits, |buffer| link::write(buffer, &to, attributes, &limits));
            });
        });
    }

    fn set_status(&self, status: Status, description: &str) {
        with_store(self, |store, id| {
            if let Some(source) = store.id_source.get() {
                source.set_status(self, status, description);
            }
            store.with(id.into_u64(), |record| record.set_status(status, description.to_owned()));
        });
    }

    fn set_attribute<'a>(&self, key: &str, value: impl Into<Value<'a>>) {
        let value = redact::shown(key, value.into());
        with_store(self, |store, id| {
            if let Some(source) = store.id_source.get() {
                source.set_attribute(self, key, value);
            }
            let foreign =
                self.metadata().is_none_or(|callsite| callsite.fields().iter().all(|field| field.name() != key));
            store.merge(
                id.into_u64(),
                |visited| {
                    let mut visitor = FieldVisitor { visited, tag: SPAN_ATTRIBUTE, limits: store.span_visit() };
                    visitor.value(key, value);
                },
                foreign,
            );
        });
    }

    fn trace_context(&self) -> Option<TraceContext> {
        with_store(self, |store, id| {
            store.expose(id.into_u64());
            store.with(id.into_u64(), |record| record.context()).flatten()
        })
        .flatten()
    }
}

fn with_store<R>(span: &tracing::Span, use_store: impl FnOnce(&SpanStore, &Id) -> R) -> Option<R> {
    span.with_subscriber(|(id, dispatch): (&Id, &Dispatch)| Some(use_store(&*find_store(dispatch)?, id))).flatten()
}
