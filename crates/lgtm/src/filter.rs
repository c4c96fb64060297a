//! What is recorded at all: one filter for events and one for spans, before every layer. Caller threads.
//!
//! It stands in front of all layers instead of at each of them: what it refuses is refused once, at the callsite, and costs
//! nothing from then on; what it lets through pays nothing for it either. [`Filters`] replaces it while the program runs.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use lgtm_core::is_suppressed;
use parking_lot::Mutex;
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::subscriber::Interest;
use tracing_core::{Event, LevelFilter, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{self, Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::error::Error;

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

impl fmt::Display for Directives {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
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
        // The reader counts bytes without spaces around a directive, and takes them from the text with them: it reads `info, a=warn`
        // wrongly, and panics where a character has several bytes.
        let text = text.split(',').map(str::trim).collect::<Vec<_>>().join(",");
        EnvFilter::builder().parse(&text).map_err(|error| error.to_string())?;
        Ok(Self(text))
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

/// The directives in force, and the filters made of them.
struct Both {
    log: Directives,
    span: Directives,
    events: OneFilter,
    spans: OneFilter,
}

impl Both {
    fn new(log: &Directives, span: &Directives) -> Self {
        Self { events: log.filter(), spans: span.filter(), log: log.clone(), span: span.clone() }
    }

    fn of(&self, metadata: &Metadata<'_>) -> &EnvFilter {
        if metadata.is_event() { &self.events.filter } else { &self.spans.filter }
    }
}

struct State {
    both: ArcSwap<Both>,
    /// Whether one of the filters is shown spans: looked at before anything else.
    follows_spans: AtomicBool,
    /// Held while one of the two is replaced.
    changing: Mutex<()>,
}

/// Changes the filters of running telemetry: what is recorded from now on. Given by [`Telemetry::filters`](crate::Telemetry::filters);
/// clones change the same filters.
///
/// ```no_run
/// # fn main() -> Result<(), lgtm::Error> {
/// let telemetry = lgtm::init()?;
/// let filters = telemetry.filters();
/// filters.set_log_filter("info,my_crate::orders=debug")?; // such as at a request of an operator
/// filters.set_log_filter("info")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Filters {
    state: Arc<State>,
}

impl fmt::Debug for Filters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Filters")
            .field("log_filter", &self.log_filter())
            .field("span_filter", &self.span_filter())
            .finish()
    }
}

impl Filters {
    /// Which events are recorded from now on, as directives of `RUST_LOG`. A directive about spans (`[order{id=7}]=debug`)
    /// holds for spans that are opened from now on.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) if the text is not a list of directives: then nothing has changed.
    pub fn set_log_filter(&self, directives: &str) -> Result<(), Error> {
        self.change("log_filter", directives, |known, new| Both::new(&new, &known.span))
    }

    /// Which spans are recorded from now on, in the same form. Spans that are open stay what they are.
    ///
    /// # Errors
    /// As [`Filters::set_log_filter`].
    pub fn set_span_filter(&self, directives: &str) -> Result<(), Error> {
        self.change("span_filter", directives, |known, new| Both::new(&known.log, &new))
    }

    /// The directives that choose events now.
    #[must_use]
    pub fn log_filter(&self) -> String {
        self.state.both.load().log.0.clone()
    }

    /// The directives that choose spans now.
    #[must_use]
    pub fn span_filter(&self) -> String {
        self.state.both.load().span.0.clone()
    }

    /// Replaces both.
    pub(crate) fn set(&self, log: &Directives, span: &Directives) {
        self.replace(|_| Both::new(log, span));
    }

    /// Replaces those that are given: all of them, or none if one is no list of directives.
    #[cfg(feature = "mimir")]
    pub(crate) fn set_some(&self, log: Option<&str>, span: Option<&str>) -> Result<(), Error> {
        let log = log.map(|text| directives("log_filter", text)).transpose()?;
        let span = span.map(|text| directives("span_filter", text)).transpose()?;
        self.replace(|known| Both::new(log.as_ref().unwrap_or(&known.log), span.as_ref().unwrap_or(&known.span)));
        Ok(())
    }

    fn change(
        &self,
        setting: &'static str,
        text: &str,
        with: impl FnOnce(&Both, Directives) -> Both,
    ) -> Result<(), Error> {
        let directives = directives(setting, text)?;
        self.replace(|known| with(known, directives));
        Ok(())
    }

    fn replace(&self, with: impl FnOnce(&Both) -> Both) {
        {
            let _changing = self.state.changing.lock();
            let both = with(&self.state.both.load());
            // Spans that a filter follows must find it also while it is replaced.
            self.state.follows_spans.fetch_or(both.events.follows_spans || both.spans.follows_spans, Ordering::Relaxed);
            self.state.both.store(Arc::new(both));
        }
        // Callsites have remembered what the filters said.
        tracing_core::callsite::rebuild_interest_cache();
    }
}

/// The directives of this text; the error names the setting.
pub(crate) fn directives(setting: &'static str, text: &str) -> Result<Directives, Error> {
    Directives::parse(text).map_err(|reason| Error::Setting {
        setting,
        problem: format!("`{text}` is not a filter ({reason})"),
        accepted: FORM,
    })
}

/// The layer that decides for all others.
pub(crate) struct Filter {
    state: Arc<State>,
}

impl Filter {
    pub(crate) fn new(events: &Directives, spans: &Directives) -> Self {
        let both = Both::new(events, spans);
        let follows_spans = AtomicBool::new(both.events.follows_spans || both.spans.follows_spans);
        Self { state: Arc::new(State { both: ArcSwap::from_pointee(both), follows_spans, changing: Mutex::new(()) }) }
    }

    pub(crate) fn handle(&self) -> Filters {
        Filters { state: Arc::clone(&self.state) }
    }

    fn following(&self, show: impl Fn(&EnvFilter)) {
        if self.state.follows_spans.load(Ordering::Relaxed) {
            let both = self.state.both.load();
            [&both.events, &both.spans].into_iter().filter(|one| one.follows_spans).for_each(|one| show(&one.filter));
        }
    }
}

impl<S: Subscriber> Layer<S> for Filter {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        let both = self.state.both.load();
        if metadata.is_span() && both.events.follows_spans {
            // It learns the callsite; whether the span exists is for the filter of spans to say.
            let _ = Layer::<S>::register_callsite(&both.events.filter, metadata);
        }
        Layer::<S>::register_callsite(both.of(metadata), metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        self.state.both.load().of(metadata).enabled(metadata, context)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let both = self.state.both.load();
        // A filter without a hint may enable any level.
        Some(both.events.filter.max_level_hint()?.max(both.spans.filter.max_level_hint()?))
    }

    fn event_enabled(&self, _: &Event<'_>, _: Context<'_, S>) -> bool {
        !is_suppressed()
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.following(|filter| filter.on_new_span(attributes, id, context.clone()));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.following(|filter| filter.on_record(id, values, context.clone()));
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        self.following(|filter| filter.on_enter(id, context.clone()));
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        self.following(|filter| filter.on_exit(id, context.clone()));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.following(|filter| filter.on_close(id.clone(), context.clone()));
    }
}

/// The same for the layers of a registry that is not ours: its other layers see everything.
impl<S: Subscriber + for<'a> LookupSpan<'a>> layer::Filter<S> for Filter {
    fn enabled(&self, metadata: &Metadata<'_>, context: &Context<'_, S>) -> bool {
        self.state.both.load().of(metadata).enabled(metadata, context.clone())
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
    fn the_filters_of_a_running_program_are_changed_and_wrong_ones_are_refused() {
        let seen = Seen::default();
        let filter = Filter::new(&Directives::default(), &Directives::default());
        let filters = filter.handle();
        let subscriber = tracing_subscriber::registry().with(filter).with(seen.clone());
        let work = |number: usize| {
            let _span = debug_span!("span").entered();
            let _order = info_span!("order", id = number).entered();
            debug!("event");
        };
        let mut logs = Vec::new();
        tracing::subscriber::with_default(subscriber, || {
            let mut now_seen = |number| {
                work(number);
                logs.push(std::mem::take(&mut *seen.0.lock().unwrap()).join(" "));
            };
            now_seen(1);
            filters.set_log_filter("debug").unwrap();
            now_seen(2);
            filters.set_span_filter("debug").unwrap();
            now_seen(3);
            filters.set_log_filter("info,[order{id=7}]=debug").unwrap();
            now_seen(4);
            now_seen(7);
            let error = filters.set_log_filter("==").unwrap_err().to_string();
            assert!(error.contains("log_filter") && error.contains("`==`") && error.contains("info"), "{error}");
            now_seen(7);
            filters.set_span_filter("off").unwrap();
            now_seen(7);
        });
        assert_eq!(
            logs,
            ["order", "order DEBUG", "span order DEBUG", "span order", "span order DEBUG", "span order DEBUG", ""]
        );
        assert_eq!(
            (filters.log_filter().as_str(), filters.span_filter().as_str()),
            ("info,[order{id=7}]=debug", "off")
        );
    }

    #[test]
    fn spaces_around_directives_mean_nothing() {
        for text in ["info,größe=warn", " info ,\tgröße=warn ", "info,\u{2003}größe=warn\u{b}"] {
            assert_eq!(Directives::parse(text).unwrap().to_string(), "info,größe=warn");
        }
        for text in [" größer€[", "\u{b}€", "  P\u{ffff}=x,", " \u{ffff}€[{€=€}"] {
            // Read or refused; without a panic.
            let _ = Directives::parse(text);
        }
        assert_eq!(seen(" off , lgtm=info ", "info", || info!("kept")), ["INFO"]);
    }

    #[test]
    fn wrong_directives_are_refused() {
        for wrong in ["info,my_crate=loud", "my_crate=[", "=="] {
            assert!(Directives::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Directives::parse("info,hyper=off,[request{id=2}]=debug").is_ok());
    }
}
