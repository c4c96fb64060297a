//! A layer that may be absent. Caller threads.
//!
//! tracing-subscriber's own `Option<Layer>` does not forward `on_register_dispatch`, by which our layers find their registry,
//! and switches levels off where it stands for nothing.

use tracing_core::span::{Attributes, Id, Record};
use tracing_core::subscriber::Interest;
use tracing_core::{Dispatch, Event, LevelFilter, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// The layer, or nothing in its place.
pub(crate) struct Optional<L>(pub(crate) Option<L>);

impl<L> Default for Optional<L> {
    fn default() -> Self {
        Self(None)
    }
}

impl<S: Subscriber, L: Layer<S>> Layer<S> for Optional<L> {
    fn on_register_dispatch(&self, subscriber: &Dispatch) {
        if let Some(layer) = &self.0 {
            layer.on_register_dispatch(subscriber);
        }
    }

    fn on_layer(&mut self, subscriber: &mut S) {
        if let Some(layer) = &mut self.0 {
            layer.on_layer(subscriber);
        }
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.0.as_ref().map_or_else(Interest::always, |layer| layer.register_callsite(metadata))
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        self.0.as_ref().is_none_or(|layer| layer.enabled(metadata, context))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.0.as_ref().and_then(|layer| layer.max_level_hint())
    }

    #[inline]
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(layer) = &self.0 {
            layer.on_new_span(attributes, id, context);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(layer) = &self.0 {
            layer.on_record(id, values, context);
        }
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, context: Context<'_, S>) {
        if let Some(layer) = &self.0 {
            layer.on_follows_from(id, follows, context);
        }
    }

    #[inline]
    fn event_enabled(&self, event: &Event<'_>, context: Context<'_, S>) -> bool {
        self.0.as_ref().is_none_or(|layer| layer.event_enabled(event, context))
    }

    #[inline]
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if let Some(layer) = &self.0 {
            layer.on_event(event, context);
        }
    }

    #[inline]
    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        if let Some(layer) = &self.0 {
            layer.on_enter(id, context);
        }
    }

    #[inline]
    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        if let Some(layer) = &self.0 {
            layer.on_exit(id, context);
        }
    }

    #[inline]
    fn on_close(&self, id: Id, context: Context<'_, S>) {
        if let Some(layer) = &self.0 {
            layer.on_close(id, context);
        }
    }

    fn on_id_change(&self, old: &Id, new: &Id, context: Context<'_, S>) {
        if let Some(layer) = &self.0 {
            layer.on_id_change(old, new, context);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tracing_subscriber::prelude::*;

    use super::*;

    struct Registered(Arc<AtomicBool>);

    impl<S: Subscriber> Layer<S> for Registered {
        fn on_register_dispatch(&self, _: &Dispatch) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_layer_learns_of_its_registry_and_an_absent_one_disables_nothing() {
        let registered = Arc::new(AtomicBool::new(false));
        let subscriber = tracing_subscriber::registry()
            .with(LevelFilter::INFO)
            .with(Optional(Some(Registered(Arc::clone(&registered)))))
            .with(Optional::<Registered>(None));
        assert_eq!(subscriber.max_level_hint(), Some(LevelFilter::INFO));
        let _default = tracing::subscriber::set_default(subscriber);
        assert!(registered.load(Ordering::SeqCst));
        assert!(tracing::enabled!(tracing::Level::INFO));
        assert!(!tracing::enabled!(tracing::Level::DEBUG));
    }
}
