//! The end of the subscriber's layers, to which more can be added: the console, and in a child that was forked the layers of its
//! own telemetry, because a process keeps its subscriber for good. Caller threads; nothing is there as long as nothing was added.

use std::sync::OnceLock;

use tracing_core::span::{Attributes, Id, Record};
use tracing_core::subscriber::Interest;
use tracing_core::{Dispatch, Event, Metadata, Subscriber, dispatcher};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::optional::Optional;

/// The layers of one telemetry.
#[derive(Default)]
pub(crate) struct Signals {
    #[cfg(feature = "tempo")]
    pub(crate) tempo: Optional<lgtm_tempo::Layer>,
    #[cfg(feature = "span-metrics")]
    pub(crate) span_metrics: Optional<lgtm_spanmetrics::Layer>,
    #[cfg(feature = "loki")]
    pub(crate) loki: Optional<lgtm_loki::Layer>,
}

/// One more.
enum Link<S> {
    Console(Box<dyn Layer<S> + Send + Sync>),
    Signals(Box<Signals>),
}

/// What was added, and the end.
pub(crate) struct Chain<S>(OnceLock<Box<(Link<S>, Chain<S>)>>);

impl<S> Default for Chain<S> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<S> Chain<S> {
    /// Adds the console, at the start.
    pub(crate) fn with_console(self, console: Option<Box<dyn Layer<S> + Send + Sync>>) -> Self {
        if let Some(console) = console {
            self.push(Link::Console(console));
        }
        self
    }

    fn push(&self, link: Link<S>) {
        let mut end = self;
        let mut boxed = Box::new((link, Self::default()));
        // Another thread may be adding too.
        while let Err(back) = end.0.set(boxed) {
            boxed = back;
            let Some(next) = end.0.get() else { return };
            end = &next.1;
        }
    }

    fn links(&self) -> impl Iterator<Item = &Link<S>> {
        let mut end = self;
        std::iter::from_fn(move || {
            let link = end.0.get()?;
            end = &link.1;
            Some(&link.0)
        })
    }
}

/// Retires the layers of the global subscriber, whose chain stands on `S`, and adds these. False if that subscriber is not ours.
pub(crate) fn replace<S>(signals: Signals) -> bool
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let mut signals = Some(signals);
    let replaced = dispatcher::get_default(|dispatch| {
        let (Some(chain), Some(signals)) = (dispatch.downcast_ref::<Chain<S>>(), signals.take()) else { return false };
        #[cfg(feature = "tempo")]
        retire(dispatch.downcast_ref(), lgtm_tempo::Layer::retire);
        #[cfg(feature = "span-metrics")]
        retire(dispatch.downcast_ref(), lgtm_spanmetrics::Layer::retire);
        #[cfg(feature = "loki")]
        retire(dispatch.downcast_ref(), lgtm_loki::Layer::retire);
        for link in chain.links() {
            if let Link::Signals(signals) = link {
                signals.retire();
            }
        }
        if !signals.is_empty() {
            Layer::<S>::on_register_dispatch(&signals, dispatch);
            chain.push(Link::Signals(Box::new(signals)));
        }
        true
    });
    // The new layers learn the callsites.
    tracing_core::callsite::rebuild_interest_cache();
    replaced
}

fn retire<L>(layer: Option<&Optional<L>>, retire: impl FnOnce(&L)) {
    if let Some(Optional(Some(layer))) = layer {
        retire(layer);
    }
}

/// Does the same with each layer.
macro_rules! each {
    ($signals:expr, $layer:ident => $work:expr) => {{
        #[cfg(feature = "tempo")]
        {
            let $layer = &$signals.tempo;
            $work;
        }
        #[cfg(feature = "span-metrics")]
        {
            let $layer = &$signals.span_metrics;
            $work;
        }
        #[cfg(feature = "loki")]
        {
            let $layer = &$signals.loki;
            $work;
        }
    }};
}

impl Signals {
    fn is_empty(&self) -> bool {
        let mut empty = true;
        each!(self, layer => empty &= layer.0.is_none());
        empty
    }

    fn retire(&self) {
        #[cfg(feature = "tempo")]
        retire(Some(&self.tempo), lgtm_tempo::Layer::retire);
        #[cfg(feature = "span-metrics")]
        retire(Some(&self.span_metrics), lgtm_spanmetrics::Layer::retire);
        #[cfg(feature = "loki")]
        retire(Some(&self.loki), lgtm_loki::Layer::retire);
    }
}

impl<S> Layer<S> for Signals
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        each!(self, layer => Layer::<S>::on_register_dispatch(layer, dispatch));
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        each!(self, layer => Layer::<S>::register_callsite(layer, metadata));
        Interest::always()
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        each!(self, layer => layer.on_new_span(attributes, id, context.clone()));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        each!(self, layer => layer.on_record(id, values, context.clone()));
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, context: Context<'_, S>) {
        each!(self, layer => layer.on_follows_from(id, follows, context.clone()));
    }

    fn event_enabled(&self, event: &Event<'_>, context: Context<'_, S>) -> bool {
        let mut enabled = true;
        each!(self, layer => enabled &= layer.event_enabled(event, context.clone()));
        enabled
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        each!(self, layer => layer.on_event(event, context.clone()));
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        each!(self, layer => layer.on_enter(id, context.clone()));
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        each!(self, layer => layer.on_exit(id, context.clone()));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        each!(self, layer => layer.on_close(id.clone(), context.clone()));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Link<S> {
    fn layer(&self) -> &dyn Layer<S> {
        match self {
            Self::Console(console) => &**console,
            Self::Signals(signals) => &**signals,
        }
    }
}

impl<S> Layer<S> for Chain<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        self.links().for_each(|link| link.layer().on_register_dispatch(dispatch));
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.links().for_each(|link| {
            link.layer().register_callsite(metadata);
        });
        Interest::always()
    }

    #[inline]
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.links().for_each(|link| link.layer().on_new_span(attributes, id, context.clone()));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.links().for_each(|link| link.layer().on_record(id, values, context.clone()));
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, context: Context<'_, S>) {
        self.links().for_each(|link| link.layer().on_follows_from(id, follows, context.clone()));
    }

    #[inline]
    fn event_enabled(&self, event: &Event<'_>, context: Context<'_, S>) -> bool {
        self.links().all(|link| link.layer().event_enabled(event, context.clone()))
    }

    #[inline]
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        self.links().for_each(|link| link.layer().on_event(event, context.clone()));
    }

    #[inline]
    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        self.links().for_each(|link| link.layer().on_enter(id, context.clone()));
    }

    #[inline]
    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        self.links().for_each(|link| link.layer().on_exit(id, context.clone()));
    }

    #[inline]
    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.links().for_each(|link| link.layer().on_close(id.clone(), context.clone()));
    }
}
