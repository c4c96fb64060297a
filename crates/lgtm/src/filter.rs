//! What is recorded at all: one filter for events and one for spans, before every layer. Caller threads.
//!
//! It stands in front of all layers instead of at each of them: what it refuses is refused once, at the callsite, and costs
//! nothing from then on; what it lets through pays nothing for it either.

use std::fmt;

use lgtm_core::is_suppressed;
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::subscriber::Interest;
use tracing_core::{Event, LevelFilter, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{self, Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// The accepted form, for errors.
pub(crate) const FORM: &str =
    "comma-separated directives such as `info` or `warn,my_crate=debug`; levels: trace, debug, info, warn, error, off";

/// Filter directives that were read successfully.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Directives(String);

impl fmt::Debug for Directives {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl Default for Directives {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl Directives {
    /// The reason, if the text is not a list of directives.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        EnvFilter::builder().parse(text).map_err(|error| error.to_string())?;
        Ok(Self(text.to_owned()))
    }

    fn filter(&self) -> OneFilter {
        OneFilter { filter: EnvFilter::builder().parse_lossy(&self.0), follows_spans: self.0.contains('[') }
    }
}

/// A filter that is shown spans only if one of its directives is about spans.
struct OneFilter {
    filter: EnvFilter,
    follows_spans: bool,
}

/// The layer that decides for all others.
pub(crate) struct Filter {
    events: OneFilter,
    spans: OneFilter,
}

impl Filter {
    pub(crate) fn new(events: &Directives, spans: &Directives) -> Self {
        Self { events: events.filter(), spans: spans.filter() }
    }

    fn of(&self, metadata: &Metadata<'_>) -> &EnvFilter {
        if metadata.is_event() { &self.events.filter } else { &self.spans.filter }
    }

    fn following(&self) -> impl Iterator<Item = &EnvFilter> {
        [&self.events, &self.spans].into_iter().filter(|one| one.follows_spans).map(|one| &one.filter)
    }
}

impl<S: Subscriber> Layer<S> for Filter {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.is_span() && self.events.follows_spans {
            // It learns the callsite; whether the span exists is for the filter of spans to say.
            let _ = Layer::<S>::register_callsite(&self.events.filter, metadata);
        }
        Layer::<S>::register_callsite(self.of(metadata), metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        self.of(metadata).enabled(metadata, context)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // A filter without a hint may enable any level.
        Some(self.events.filter.max_level_hint()?.max(self.spans.filter.max_level_hint()?))
    }

    fn event_enabled(&self, _: &Event<'_>, _: Context<'_, S>) -> bool {
        !is_suppressed()
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.following().for_each(|filter| filter.on_new_span(attributes, id, context.clone()));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.following().for_each(|filter| filter.on_record(id, values, context.clone()));
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        self.following().for_each(|filter| filter.on_enter(id, context.clone()));
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        self.following().for_each(|filter| filter.on_exit(id, context.clone()));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.following().for_each(|filter| filter.on_close(id.clone(), context.clone()));
    }
}

/// The same for the layers of a registry that is not ours: its other layers see everything.
impl<S: Subscriber + for<'a> LookupSpan<'a>> layer::Filter<S> for Filter {
    fn enabled(&self, metadata: &Metadata<'_>, context: &Context<'_, S>) -> bool {
        self.of(metadata).enabled(metadata, context.clone())
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        <Self as Layer<S>>::register_callsite(self, metadata)
    }

    fn event_enabled(&self, _: &Event<'_>, _: &Context<'_, S>) -> bool {
        !is_suppressed()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        <Self as Layer<S>>::max_level_hint(self)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        <Self as Layer<S>>::on_new_span(self, attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        <Self as Layer<S>>::on_record(self, id, values, context);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        <Self as Layer<S>>::on_enter(self, id, context);
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        <Self as Layer<S>>::on_exit(self, id, context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        <Self as Layer<S>>::on_close(self, id, context);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::{debug, debug_span, info, info_span, trace_span, warn};
    use tracing_subscriber::prelude::*;

    use super::*;

    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Seen {
        fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
            self.0.lock().unwrap().push(attributes.metadata().name().to_owned());
        }

        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(event.metadata().level().to_string());
        }
    }

    fn seen(events: &str, spans: &str, work: impl FnOnce()) -> Vec<String> {
        let seen = Seen::default();
        let filter = Filter::new(&Directives::parse(events).unwrap(), &Directives::parse(spans).unwrap());
        let subscriber = tracing_subscriber::registry().with(filter).with(seen.clone());
        tracing::subscriber::with_default(subscriber, work);
        seen.0.lock().unwrap().clone()
    }

    #[test]
    fn events_and_spans_have_filters_of_their_own() {
        let work = || {
            let _span = info_span!("kept").entered();
            let _hidden = debug_span!("hidden").entered();
            info!("hidden");
            warn!("kept");
        };
        assert_eq!(seen("warn", "info", work), ["kept", "WARN"]);
        let work = || {
            let _span = info_span!("hidden").entered();
            info!("kept");
        };
        assert_eq!(seen("info", "off", work), ["INFO"]);
    }

    #[test]
    fn a_directive_about_spans_works_in_the_filter_of_events() {
        let work = || {
            debug!("outside");
            let one = info_span!("request", id = 1).entered();
            debug!("of another request");
            drop(one);
            let _two = info_span!("request", id = 2).entered();
            debug!("of this request");
        };
        assert_eq!(seen("warn,[request{id=2}]=debug", "info", work), ["request", "request", "DEBUG"]);
    }

    #[test]
    fn the_level_hint_covers_both_filters() {
        let hint = |events: &str, spans: &str| {
            let filter = Filter::new(&Directives::parse(events).unwrap(), &Directives::parse(spans).unwrap());
            Layer::<tracing_subscriber::Registry>::max_level_hint(&filter)
        };
        assert_eq!(hint("warn", "info"), Some(LevelFilter::INFO));
        assert_eq!(hint("my_crate=debug", "info"), Some(LevelFilter::DEBUG));
        assert_eq!(hint("off", "off"), Some(LevelFilter::OFF));
    }

    #[test]
    fn threads_that_export_are_not_listened_to() {
        let work = || {
            lgtm_core::suppressed(|| warn!("hidden"));
            let _span = trace_span!("hidden");
            warn!("kept");
        };
        assert_eq!(seen("info", "info", work), ["WARN"]);
    }

    #[test]
    fn wrong_directives_are_refused() {
        for wrong in ["info,my_crate=loud", "my_crate=[", "=="] {
            assert!(Directives::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Directives::parse("info,hyper=off,[request{id=2}]=debug").is_ok());
    }
}
