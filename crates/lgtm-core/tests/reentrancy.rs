//! `Debug` implementations that log and open spans while their value is visited. tracing lets them under a global
//! subscriber only, so this is a program of its own, with one test.

#![allow(missing_docs, reason = "a test")]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use lgtm_core::TraceContext;
use lgtm_core::current;
use lgtm_core::span::{Attachment, Attributes, Role};
use parking_lot::Mutex;
use tracing::{info, info_span};
use tracing_core::field::{Field, Visit};
use tracing_core::span::{Attributes as NewSpan, Id, Record};
use tracing_core::{Dispatch, Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

type Seen = (String, String, Option<TraceContext>);

/// A layer that notes what it sees: message or name, fields, place in the trace.
struct Probe {
    attachment: Attachment,
    events: Arc<Mutex<Vec<Seen>>>,
    spans: Arc<Mutex<Vec<Seen>>>,
}

impl Probe {
    fn new(role: Role) -> Self {
        Self { attachment: Attachment::new(role, None), events: Arc::default(), spans: Arc::default() }
    }
}

impl<S> Layer<S> for Probe
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        self.attachment.register(dispatch);
    }

    fn on_new_span(&self, attributes: &NewSpan<'_>, id: &Id, context: Context<'_, S>) {
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
        self.attachment.event(event, |visited| {
            let fields =
                format!("{:?}", Attributes::new(visited.attributes()).map(|field| field.value).collect::<Vec<_>>());
            self.events.lock().push((visited.message().to_owned(), fields, visited.trace));
        });
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        self.attachment.enter(id);
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        self.attachment.exit(id);
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        let closed = self.attachment.close(&id, |record| {
            let fields = format!("{:?}", record.attributes().map(|field| field.value).collect::<Vec<_>>());
            (record.name().to_owned(), fields, record.context())
        });
        self.spans.lock().extend(closed);
    }
}

/// Another library's layer, which formats all fields itself.
struct Formatter;

struct Discard;

impl Visit for Discard {
    fn record_debug(&mut self, _: &Field, value: &dyn fmt::Debug) {
        assert!(!format!("{value:?}").is_empty());
    }
}

impl<S: Subscriber> Layer<S> for Formatter {
    fn on_new_span(&self, attributes: &NewSpan<'_>, _: &Id, _: Context<'_, S>) {
        attributes.record(&mut Discard);
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut Discard);
    }
}

/// Does something each time it is shown.
struct Shown<F>(AtomicU32, F);

impl<F: Fn()> fmt::Debug for Shown<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fetch_add(1, Ordering::Relaxed);
        (self.1)();
        formatter.write_str("shown")
    }
}

#[test]
fn what_a_debug_implementation_logs_is_seen_and_disturbs_nothing() {
    let probes = [Role::Observer, Role::Exporter, Role::Observer].map(Probe::new);
    let logs = [0, 1, 2].map(|index: usize| (Arc::clone(&probes[index].events), Arc::clone(&probes[index].spans)));
    let [first, second, third] = probes;
    // The second one is told of no dispatch: `Option` keeps that to itself. It finds the global one.
    let layers = tracing_subscriber::registry().with(first).with(Some(second)).with(Formatter).with(third);
    tracing::subscriber::set_global_default(layers).unwrap();

    let innermost = Shown(AtomicU32::new(0), || info!(depth = 2, "innermost"));
    let inner = Shown(AtomicU32::new(0), || {
        info_span!("inner", ?innermost).in_scope(|| info!(depth = 1, ?innermost, "inner"));
    });
    let outer = info_span!("outer", first = 1, ?inner, last = 2, late = tracing::field::Empty).entered();
    let trace = current::trace();
    assert!(trace.is_some());
    info!(first = 3, ?inner, last = 4, "outer");
    outer.record("late", tracing::field::debug(&inner));
    info!("plain");
    assert_eq!(current::trace(), trace);
    drop(outer);
    assert_eq!(current::trace(), None);

    let shown = inner.0.load(Ordering::Relaxed);
    assert!((4..=7).contains(&shown), "by our layers once or twice, by the other one once: {shown}");
    for (events, spans) in &logs {
        let (events, spans) = (events.lock(), spans.lock());
        let of = |seen: &[Seen], name: &str| seen.iter().filter(|one| one.0 == name).cloned().collect::<Vec<_>>();
        let [outer] = &of(&spans, "outer")[..] else { panic!("{spans:?}") };
        assert!(outer.1.starts_with("[Integer(1), Text(") && outer.1.matches("Text(").count() == 2, "{}", outer.1);
        assert_eq!(outer.2, trace);
        let [event] = &of(&events, "outer")[..] else { panic!("{events:?}") };
        assert!(event.1.starts_with("[Integer(3), Text(") && event.1.ends_with("Integer(4)]"), "{}", event.1);
        assert_eq!((of(&events, "plain").len(), event.2), (1, trace));
        assert_eq!(of(&spans, "inner").len() as u32, shown);
        for (event, span) in of(&events, "inner").iter().zip(of(&spans, "inner")) {
            assert_eq!((event.2, event.1.starts_with("[Integer(1), ")), (span.2, true));
        }
        assert_eq!(of(&events, "innermost").len() as u32, innermost.0.load(Ordering::Relaxed));
    }
    let events = logs.each_ref().map(|(events, _)| events.lock().clone());
    let spans = logs.each_ref().map(|(_, spans)| spans.lock().clone());
    for other in [1, 2] {
        assert_eq!(spans[other], spans[0]);
        let sorted = |seen: &[Seen]| {
            let mut seen = seen.to_vec();
            seen.sort_by_key(|one| format!("{one:?}"));
            seen
        };
        assert_eq!(sorted(&events[other]), sorted(&events[0]));
    }
}
