//! The OpenTelemetry front door against a receiver that decodes with types of its own: one tree whoever makes the spans, the
//! same ids everywhere, the same content as from lgtm's own layer, nothing lost.

#![allow(clippy::unwrap_used, reason = "tests end where they find something wrong")]

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::HeaderMap;
use lgtm_core::pipeline::{Overflow, Pipeline, PipelineOptions};
use lgtm_core::propagation::{self, SetParentError};
use lgtm_core::span::{Attachment, Role};
use lgtm_core::{Endpoint, Identity, Sampler, TraceContext};
use lgtm_devstack::{Attributes, Devstack, LogEntry, Span, SpanEvent, SpanKind, SpanLink, Status, StatusCode, Value};
use lgtm_tempo::Protocol;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Array, Context, InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, info, info_span};
use tracing_core::span as core_span;
use tracing_core::{Dispatch, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Registry, registry};

const DEADLINE: Duration = Duration::from_secs(20);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// A receiver, and the door to it.
struct Door {
    stack: Devstack,
    provider: SdkTracerProvider,
    pipelines: Vec<Pipeline>,
    layer: Option<BoxedLayer>,
    logs: Option<lgtm_loki::Layer>,
}

fn identity() -> Identity {
    let mut identity = Identity::new("shop");
    identity.service_instance_id = "one".to_owned();
    identity
}

fn builder(stack: &Devstack) -> lgtm_tempo::Builder {
    let mut options = PipelineOptions::default();
    options.overflow = Overflow::Block(DEADLINE);
    lgtm_tempo::builder()
        .endpoint(Endpoint::parse(&stack.otlp_http_url()).unwrap())
        .protocol(Protocol::Http)
        .identity(identity())
        .options(options)
}

impl Door {
    fn open() -> Self {
        Self::with(Sampler::default(), |layer| layer)
    }

    fn with<L: Layer<Registry> + Send + Sync>(
        sampler: Sampler,
        wrap: impl FnOnce(lgtm_tempo::opentelemetry::Layer<Registry>) -> L,
    ) -> Self {
        let stack = Devstack::start_blocking().unwrap();
        let (layer, provider, spans) = builder(&stack).sampler(sampler).build_opentelemetry().unwrap();
        let (logs, lines) = lgtm_loki::builder().endpoint(Endpoint::parse(&stack.loki_url()).unwrap()).build().unwrap();
        let layer = Box::new(wrap(layer));
        Self { stack, provider, pipelines: vec![spans, lines], layer: Some(layer), logs: Some(logs) }
    }

    fn tracer(&self) -> opentelemetry_sdk::trace::SdkTracer {
        self.provider.tracer("library")
    }

    /// Runs the program under the door's layer and a log layer, and waits until everything has arrived.
    fn run<R>(&mut self, program: impl FnOnce() -> R) -> R {
        let subscriber = registry().with(self.layer.take().unwrap()).with(self.logs.take().unwrap());
        let outcome = tracing::subscriber::with_default(subscriber, program);
        self.settle();
        outcome
    }

    fn settle(&self) {
        let deadline = Instant::now() + DEADLINE;
        for pipeline in &self.pipelines {
            pipeline.begin_shutdown(deadline);
            assert!(pipeline.wait_ended(deadline));
            let report = pipeline.report();
            assert_eq!((report.lost(), report.pending, report.admitted), (0, 0, report.delivered), "{report}");
        }
    }

    fn span(&self, name: &str) -> Arc<Span> {
        let spans = self.stack.store().spans();
        let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
        assert_eq!(found.len(), 1, "{name} among {:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>());
        Arc::clone(found[0])
    }

    fn log(&self, message: &str) -> Arc<LogEntry> {
        let logs = self.stack.store().logs();
        let found: Vec<_> =
            logs.iter().filter(|entry| entry.json().is_some_and(|json| json["message"] == message)).collect();
        assert_eq!(found.len(), 1, "{message}");
        Arc::clone(found[0])
    }
}

fn ids(entry: &LogEntry) -> (&str, &str) {
    (entry.label("trace_id").unwrap_or_default(), entry.label("span_id").unwrap_or_default())
}

fn ids_of(span: &Span) -> (&str, &str) {
    (&span.trace_id, &span.span_id)
}

fn headers(flags: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", format!("00-{TRACE}-{CALLER}-{flags}").parse().unwrap());
    headers.insert("tracestate", "vendor=abc,other=1".parse().unwrap());
    headers
}

fn remote_context() -> Context {
    Context::new().with_remote_span_context(SpanContext::new(
        TraceId::from_hex(TRACE).unwrap(),
        SpanId::from_hex(CALLER).unwrap(),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    ))
}

#[test]
fn spans_of_macros_and_of_the_api_form_one_tree() {
    let mut door = Door::open();
    let tracer = door.tracer();
    door.run(|| {
        info_span!("root").in_scope(|| {
            tracer.in_span("api", |_| {
                info_span!("inner").in_scope(|| {
                    tracer.in_span("leaf", |context| context.span().add_event("reached", Vec::new()));
                });
            });
            let sibling = info_span!("sibling");
            let _explicit = info_span!(parent: &sibling, "explicit");
        });
        tracer.in_span("api root", |_| info_span!("below the api root").in_scope(|| ()));
    });
    let root = door.span("root");
    assert_eq!(root.parent_span_id, None);
    for (child, parent) in [("api", "root"), ("inner", "api"), ("leaf", "inner"), ("sibling", "root")] {
        let (child, parent) = (door.span(child), door.span(parent));
        assert_eq!(child.parent_span_id.as_ref(), Some(&parent.span_id), "{}", child.name);
        assert_eq!(child.trace_id, root.trace_id);
        assert_eq!(child.flags, 0x101);
    }
    assert_eq!(door.span("explicit").parent_span_id.as_ref(), Some(&door.span("sibling").span_id));
    let other = door.span("below the api root");
    assert_eq!(other.parent_span_id.as_ref(), Some(&door.span("api root").span_id));
    assert_ne!(other.trace_id, root.trace_id);
    assert_eq!(door.span("leaf").events[0].name, "reached");
    assert_eq!(door.stack.store().spans().len(), 8);
    // Whose span it is.
    assert_eq!((root.scope.name.as_str(), root.service_name()), ("lgtm-tempo", "shop"));
    assert_eq!(door.span("api").scope.name, "library");
}

/// What both doors must tell alike: all but ids and times.
#[derive(Debug, PartialEq)]
struct Content {
    kind: SpanKind,
    status: Status,
    attributes: Attributes,
    events: Vec<(String, Attributes, u32)>,
    links: Vec<(String, Attributes, u32)>,
    parent: Option<String>,
    flags: u32,
    trace_state: String,
    dropped: (u32, u32, u32),
    resource: Attributes,
    scope: String,
}

fn contents(stack: &Devstack) -> HashMap<String, Content> {
    let spans = stack.store().spans();
    let name_of = |id: &str| {
        let span = spans.iter().find(|span| span.span_id == id);
        span.map_or_else(|| id.to_owned(), |span| span.name.clone())
    };
    let event = |event: &SpanEvent| (event.name.clone(), event.attributes.clone(), event.dropped_attributes);
    let link = |link: &SpanLink| (name_of(&link.span_id), link.attributes.clone(), link.flags);
    let content = |span: &Arc<Span>| Content {
        kind: span.kind,
        status: span.status.clone(),
        attributes: span.attributes.clone(),
        events: span.events.iter().map(event).collect(),
        links: span.links.iter().map(link).collect(),
        parent: span.parent_span_id.as_deref().map(name_of),
        flags: span.flags,
        trace_state: span.trace_state.clone(),
        dropped: (span.dropped_attributes, span.dropped_events, span.dropped_links),
        resource: (*span.resource).clone(),
        scope: format!("{:?}", span.scope),
    };
    spans.iter().map(|span| (span.name.clone(), content(span))).collect()
}

/// A program that does what both doors can tell.
fn shop() {
    let request = info_span!(
        "request",
        otel.kind = "server",
        otel.name = "POST /orders",
        http.route = "/orders",
        size = 17,
        ratio = 0.25,
        cached = false,
        user = ?Some("ada"),
        total = %"12 EUR",
        late = tracing::field::Empty,
        replaced = 1,
    );
    propagation::set_parent(&request, &headers("01")).unwrap();
    let _request = request.enter();
    request.record("late", "now");
    request.record("replaced", 2);
    info!(item = "book", count = -3, "added to the basket");
    tracing::warn!(parent: &request, "explicit");
    info_span!("ok", otel.status_code = "ok").in_scope(|| tracing::error!("does not matter"));
    info_span!("told", otel.status_code = "error", otel.status_description = "told so", otel.kind = "client")
        .in_scope(|| tracing::error!("later"));
    info_span!("failed").in_scope(|| {
        tracing::error!(code = 7, "first failure");
        tracing::error!("last failure");
    });
    let follower = info_span!(parent: None, "follower");
    follower.follows_from(&request);
    follower.in_scope(|| {
        for number in 0..130 {
            info!(number, "many");
        }
    });
    let _never_entered = info_span!("never entered", otel.kind = "producer");
}

#[test]
fn both_doors_tell_the_same_of_the_same_program() {
    let mut door = Door::open();
    door.run(shop);

    let stack = Devstack::start_blocking().unwrap();
    let (layer, pipeline) = builder(&stack).build().unwrap();
    tracing::subscriber::with_default(registry().with(layer), shop);
    let deadline = Instant::now() + DEADLINE;
    pipeline.begin_shutdown(deadline);
    assert!(pipeline.wait_ended(deadline));

    let (theirs, ours) = (contents(&door.stack), contents(&stack));
    assert_eq!(ours.len(), 6);
    for (name, content) in &ours {
        assert_eq!(theirs.get(name), Some(content), "{name}");
    }
    assert_eq!(theirs.len(), ours.len());
    // The comparison is of something.
    let request = &theirs["POST /orders"];
    assert_eq!((request.kind, request.flags), (SpanKind::Server, 0x301));
    assert_eq!((request.parent.as_deref(), request.trace_state.as_str()), (Some(CALLER), "vendor=abc,other=1"));
    assert_eq!((request.attributes.text("late"), request.attributes.int("replaced")), (Some("now"), Some(2)));
    assert_eq!(request.events[0].0, "added to the basket");
    let error = |message: &str| Status { code: StatusCode::Error, message: message.to_owned() };
    assert_eq!((&theirs["failed"].status, &theirs["told"].status), (&error("last failure"), &error("told so")));
    assert_eq!(theirs["ok"].status.code, StatusCode::Ok);
    assert_eq!((theirs["follower"].links[0].0.as_str(), theirs["follower"].dropped), ("POST /orders", (0, 2, 0)));
}

#[test]
fn log_lines_and_headers_name_the_spans_that_arrive() {
    let mut door = Door::open();
    let tracer = door.tracer();
    let (mut inside, mut below_api) = (HeaderMap::new(), HeaderMap::new());
    door.run(|| {
        info_span!("outer").in_scope(|| {
            info!("in outer");
            propagation::inject(&mut inside);
            tracer.in_span("api", |_| {
                info_span!("inner").in_scope(|| {
                    info!("in inner");
                    propagation::inject(&mut below_api);
                });
            });
            info!("in outer again");
        });
        let quiet = info_span!("quiet");
        info!(parent: &quiet, "before quiet is entered");
        quiet.in_scope(|| info!("in quiet"));
    });
    for (message, span) in [
        ("in outer", "outer"),
        ("in outer again", "outer"),
        ("in inner", "inner"),
        ("before quiet is entered", "quiet"),
        ("in quiet", "quiet"),
    ] {
        let (entry, span) = (door.log(message), door.span(span));
        assert_eq!(ids(&entry), ids_of(&span), "{message}");
        assert_eq!(entry.label("trace_sampled"), Some("true"));
    }
    for (headers, span) in [(inside, door.span("outer")), (below_api, door.span("inner"))] {
        assert_eq!(headers["traceparent"], format!("00-{}-{}-01", span.trace_id, span.span_id));
    }
}

#[test]
fn lines_headers_and_exemplars_inside_spans_of_the_api_name_them() {
    let mut door = Door::open();
    let tracer = door.tracer();
    let mut headers = [HeaderMap::new(), HeaderMap::new(), HeaderMap::new()];
    let [alone, below, remote] = &mut headers;
    let note = |message: &str, headers: &mut HeaderMap| {
        info!("{message}");
        propagation::inject(headers);
        lgtm_core::current::trace()
    };
    let current = door.run(|| {
        let in_alone = tracer.in_span("alone", |_| note("in alone", alone));
        let in_below = info_span!("outer", order = 17).in_scope(|| {
            let in_below = tracer.in_span("below", |_| note("in below", below));
            info!("in outer");
            in_below
        });
        let attached = remote_context().attach();
        let after_remote = note("after a remote span", remote);
        drop(attached);
        info!("outside");
        assert_eq!(lgtm_core::current::trace(), None);
        // What is said of a moment in the past holds, whatever is current now.
        tracer.in_span("later", |_| {
            lgtm_core::current::with_trace(in_alone, || assert_eq!(lgtm_core::current::trace(), in_alone));
            lgtm_core::current::with_trace(None, || assert_eq!(lgtm_core::current::trace(), None));
        });
        [in_alone, in_below, after_remote]
    });
    let (alone, below, outer) = (door.span("alone"), door.span("below"), door.span("outer"));
    let places = [ids_of(&alone), ids_of(&below), (TRACE, CALLER)];
    for ((message, (trace, span)), (headers, current)) in
        ["in alone", "in below", "after a remote span"].into_iter().zip(places).zip(headers.iter().zip(&current))
    {
        assert_eq!(ids(&door.log(message)), (trace, span), "{message}");
        assert_eq!(headers["traceparent"], format!("00-{trace}-{span}-01"), "{message}");
        let current = current.unwrap();
        let current = (current.trace_id.to_string(), current.span_id.to_string(), current.sampled);
        assert_eq!(current, (trace.to_owned(), span.to_owned(), true), "{message}");
    }
    assert_eq!(ids(&door.log("in outer")), ids_of(&outer));
    assert_eq!(ids(&door.log("outside")), ("", ""));
    // The fields are those of the span of `tracing` around it.
    assert_eq!(door.log("in below").json().unwrap()["order"], 17);
}

#[test]
fn a_remote_parent_is_taken_from_headers_and_from_the_api() {
    let mut door = Door::open();
    let mut outgoing = HeaderMap::new();
    door.run(|| {
        let server = info_span!("server");
        propagation::set_parent(&server, &headers("01")).unwrap();
        info!(parent: &server, "before the server is entered");
        server.in_scope(|| {
            info!("in server");
            propagation::inject(&mut outgoing);
        });
        let consumer = info_span!("consumer");
        consumer.set_parent(remote_context()).unwrap();
        consumer.in_scope(|| info!("in consumer"));
        let _attached = remote_context().attach();
        info_span!("below an attached context").in_scope(|| info!("in attached"));
    });
    for (span, message) in
        [("server", "in server"), ("consumer", "in consumer"), ("below an attached context", "in attached")]
    {
        let span = door.span(span);
        assert_eq!((span.trace_id.as_str(), span.parent_span_id.as_deref()), (TRACE, Some(CALLER)), "{}", span.name);
        assert_eq!(span.flags, 0x301);
        assert_eq!(ids(&door.log(message)), ids_of(&span));
    }
    let server = door.span("server");
    assert_eq!(ids(&door.log("before the server is entered")), ids_of(&server));
    assert_eq!(server.trace_state, "vendor=abc,other=1");
    assert_eq!(outgoing["traceparent"], format!("00-{TRACE}-{}-01", server.span_id));
    assert_eq!(outgoing["tracestate"], "vendor=abc,other=1");
}

#[test]
fn a_parent_that_comes_too_late_is_refused_by_both_apis() {
    let mut door = Door::open();
    door.run(|| {
        let entered = info_span!("entered");
        entered.in_scope(|| ());
        let logged = info_span!("logged");
        info!(parent: &logged, "a line names it");
        let parent = info_span!("parent");
        let child = info_span!(parent: &parent, "child");
        let told = info_span!("told");
        let _context = told.context();
        for span in [&entered, &logged, &parent, &told] {
            assert_eq!(propagation::set_parent(span, &headers("01")), Err(SetParentError::InUse));
            assert!(span.set_parent(remote_context()).is_err());
        }
        assert_eq!(propagation::set_parent(&child, &headers("01")), Err(SetParentError::HasLocalParent));
    });
    for name in ["entered", "logged", "parent", "told"] {
        let span = door.span(name);
        assert_eq!(span.parent_span_id, None, "{name}");
        assert_ne!(span.trace_id, TRACE);
    }
    assert_eq!(ids(&door.log("a line names it")), ids_of(&door.span("logged")));
}

#[test]
fn what_the_sampler_refuses_keeps_its_ids_and_is_not_sent() {
    let mut door = Door::with(Sampler::AlwaysOff, |layer| layer);
    let tracer = door.tracer();
    let mut outgoing = HeaderMap::new();
    door.run(|| {
        let root = info_span!("root");
        propagation::set_parent(&root, &headers("01")).unwrap();
        root.in_scope(|| {
            info!("in root");
            propagation::inject(&mut outgoing);
            tracer.in_span("api", |_| info_span!("inner").in_scope(|| info!("in inner")));
        });
    });
    assert!(door.stack.store().spans().is_empty());
    assert_eq!(door.pipelines[0].report().admitted, 0);
    let (root, inner) = (door.log("in root"), door.log("in inner"));
    assert_eq!((ids(&root).0, ids(&inner).0), (TRACE, TRACE));
    assert_ne!(ids(&root).1, ids(&inner).1);
    assert_eq!(root.label("trace_sampled"), Some("false"));
    assert_eq!(outgoing["traceparent"], format!("00-{TRACE}-{}-00", ids(&root).1));
}

#[test]
fn the_remote_parents_decision_is_followed() {
    let mut door = Door::open();
    door.run(|| {
        for (name, flags) in [("kept", "01"), ("left out", "00")] {
            let span = info_span!("request", otel.name = name);
            propagation::set_parent(&span, &headers(flags)).unwrap();
            span.in_scope(|| info_span!("child", otel.name = format!("below {name}")).in_scope(|| ()));
        }
    });
    let names: HashSet<_> = door.stack.store().spans().iter().map(|span| span.name.clone()).collect();
    assert_eq!(names, HashSet::from(["kept".to_owned(), "below kept".to_owned()]));
}

#[test]
fn keep_rules_hold_for_spans_of_the_api_and_of_macros_in_one_trace() {
    let stack = Devstack::start_blocking().unwrap();
    let mut rules = lgtm_core::span::KeepRules::default();
    rules.slower_than = None;
    let door = builder(&stack).sampler(Sampler::AlwaysOff).keep(rules);
    let (layer, provider, spans) = door.build_opentelemetry().unwrap();
    let (logs, lines) = lgtm_loki::builder().endpoint(Endpoint::parse(&stack.loki_url()).unwrap()).build().unwrap();
    let layer: BoxedLayer = Box::new(layer);
    let mut door = Door { stack, provider, pipelines: vec![spans, lines], layer: Some(layer), logs: Some(logs) };
    let tracer = door.tracer();
    door.run(|| {
        tracer.in_span("api root", |_| {
            info_span!("macro").in_scope(|| {
                info!("inside");
                tracer.in_span("api leaf", |context| {
                    info!("in the leaf");
                    assert!(lgtm_core::current::trace().unwrap().is_undecided());
                    context.span().set_status(opentelemetry::trace::Status::error("declined"));
                });
            });
            assert!(is_recorded_unsampled(&tracer));
        });
        tracer.in_span("fine", |_| info_span!("fine too").in_scope(|| ()));
    });
    let mut names: Vec<_> = door.stack.store().spans().iter().map(|span| span.name.clone()).collect();
    names.sort();
    assert_eq!(names, ["api leaf", "api root", "macro", "probe"]);
    let entry = door.log("in the leaf");
    assert_eq!(ids(&entry), ids_of(&door.span("api leaf")));
    assert_eq!(entry.label("trace_sampled"), Some("undecided"));
    assert_eq!(door.span("api leaf").scope.name, "library");
    assert_eq!(door.span("macro").scope.name, "lgtm-tempo");
    for span in door.stack.store().spans() {
        assert_eq!(span.attributes.text("lgtm.sampling.reason"), Some("error"), "{}", span.name);
    }
    assert_eq!(door.log("inside").label("trace_sampled"), Some("undecided"));
}

/// Spans that are left out are recorded, in case that their trace is kept.
fn is_recorded_unsampled(tracer: &opentelemetry_sdk::trace::SdkTracer) -> bool {
    use opentelemetry::trace::Span as _;
    let span = tracer.start("probe");
    span.is_recording() && !span.span_context().is_sampled()
}

#[test]
fn every_span_of_many_threads_arrives_once_under_its_parent() {
    const THREADS: usize = 8;
    const TRACES: usize = 250;
    let mut door = Door::open();
    let tracer = door.tracer();
    let subscriber = Dispatch::new(registry().with(door.layer.take().unwrap()).with(door.logs.take().unwrap()));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (subscriber, tracer) = (subscriber.clone(), tracer.clone());
            scope.spawn(move || {
                tracing::dispatcher::with_default(&subscriber, || {
                    for number in 0..TRACES {
                        info_span!("root", thread, number).in_scope(|| {
                            tracer.in_span("api", |_| {
                                info_span!("leaf").in_scope(|| info!("line {thread}/{number}"));
                            });
                        });
                    }
                });
            });
        }
    });
    door.settle();
    let spans = door.stack.store().spans();
    let by_id: HashMap<_, _> = spans.iter().map(|span| (span.span_id.clone(), span)).collect();
    assert_eq!((spans.len(), by_id.len()), (3 * THREADS * TRACES, 3 * THREADS * TRACES));
    for (child, parent) in [("api", "root"), ("leaf", "api")] {
        let children: Vec<_> = spans.iter().filter(|span| span.name == child).collect();
        assert_eq!(children.len(), THREADS * TRACES);
        for span in children {
            let above = by_id[span.parent_span_id.as_ref().unwrap()];
            assert_eq!((above.name.as_str(), &above.trace_id), (parent, &span.trace_id));
        }
    }
    let logs = door.stack.store().logs();
    assert_eq!(logs.len(), THREADS * TRACES);
    for entry in &logs {
        let (trace_id, span_id) = ids(entry);
        let span = by_id[span_id];
        assert_eq!((span.name.as_str(), span.trace_id.as_str()), ("leaf", trace_id));
    }
}

#[test]
fn flush_and_shutdown_of_the_provider_are_those_of_the_pipeline() {
    let mut door = Door::open();
    let subscriber = registry().with(door.layer.take().unwrap());
    tracing::subscriber::with_default(subscriber, || {
        info_span!("first").in_scope(|| ());
        door.provider.force_flush().unwrap();
        assert_eq!(door.span("first").kind, SpanKind::Internal);
        info_span!("second").in_scope(|| ());
        door.provider.shutdown_with_timeout(DEADLINE).unwrap();
        assert_eq!(door.stack.store().spans().len(), 2);
        assert!(door.pipelines[0].wait_ended(Instant::now()));
        // Ids stay what they are, and nothing points at a span that will not be sent.
        info_span!("third").in_scope(|| assert!(!lgtm_core::current::trace().unwrap().sampled));
    });
    assert_eq!(door.pipelines[0].report().delivered, 2);
}

#[test]
fn threads_that_export_are_not_listened_to() {
    let mut door = Door::open();
    let tracer = door.tracer();
    door.run(|| {
        info_span!("heard").in_scope(|| {
            lgtm_core::suppressed(|| {
                info!("not heard");
                info_span!("not heard").in_scope(|| info!("nor this"));
                tracer.in_span("not heard either", |_| ());
            });
            info!("heard too");
        });
    });
    assert_eq!(door.stack.store().spans().len(), 1);
    let events: Vec<_> = door.span("heard").events.iter().map(|event| event.name.clone()).collect();
    assert_eq!(events, ["heard too"]);
}

#[test]
fn a_span_hidden_by_a_filter_is_no_ones_parent() {
    let mut door = Door::with(Sampler::default(), |layer| layer.with_filter(LevelFilter::INFO));
    door.run(|| {
        info_span!("outer").in_scope(|| {
            tracing::debug_span!("hidden").in_scope(|| {
                info!("in hidden");
                info_span!("inner").in_scope(|| info!("in inner"));
            });
        });
        tracing::debug_span!("hidden root").in_scope(|| {
            info!("in hidden root");
            info_span!("alone").in_scope(|| info!("in alone"));
        });
    });
    let outer = door.span("outer");
    assert_eq!(door.span("inner").parent_span_id.as_ref(), Some(&outer.span_id));
    assert_eq!(ids(&door.log("in hidden")), ids_of(&outer));
    assert_eq!(ids(&door.log("in inner")), ids_of(&door.span("inner")));
    assert_eq!(door.span("alone").parent_span_id, None);
    assert_eq!(ids(&door.log("in hidden root")), ("", ""));
    assert_eq!(ids(&door.log("in alone")), ids_of(&door.span("alone")));
    assert_eq!(door.stack.store().spans().len(), 3);
}

/// What the layers of other signals see of a span at its end.
struct Observer {
    attachment: Attachment,
    seen: Arc<Mutex<HashMap<String, TraceContext>>>,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Observer {
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        self.attachment.register(dispatch);
    }

    fn on_new_span(
        &self,
        attributes: &core_span::Attributes<'_>,
        id: &core_span::Id,
        context: tracing_subscriber::layer::Context<'_, S>,
    ) {
        self.attachment.new_span(attributes, id, &context);
    }

    fn on_close(&self, id: core_span::Id, _: tracing_subscriber::layer::Context<'_, S>) {
        let seen = self.attachment.close(&id, |record| (record.name().to_owned(), record.context()));
        if let Some((name, Some(context))) = seen {
            self.seen.lock().unwrap().insert(name, context);
        }
    }
}

#[test]
fn layers_on_either_side_see_the_ids_of_spans_that_were_never_entered() {
    for below in [true, false] {
        let mut door = Door::open();
        let seen = Arc::new(Mutex::new(HashMap::new()));
        let observer = || Observer { attachment: Attachment::new(Role::Observer, None), seen: Arc::clone(&seen) };
        let layer = door.layer.take().unwrap();
        door.layer =
            Some(if below { Box::new(observer().and_then(layer)) } else { Box::new(layer.and_then(observer())) });
        door.run(|| {
            let parent = info_span!("parent");
            let remote = info_span!("remote");
            propagation::set_parent(&remote, &headers("01")).unwrap();
            drop(info_span!(parent: &parent, "child"));
        });
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 3);
        for (name, context) in &*seen {
            let span = door.span(name);
            let ids = (context.trace_id.to_string(), context.span_id.to_string());
            assert_eq!((ids.0.as_str(), ids.1.as_str(), context.sampled), (&*span.trace_id, &*span.span_id, true));
        }
        assert_eq!(door.span("remote").trace_id, TRACE);
    }
}

#[test]
fn values_of_the_api_arrive_as_they_are_within_the_limits() {
    let mut door = Door::open();
    let scope = InstrumentationScope::builder("payments")
        .with_version("1.2")
        .with_attributes([KeyValue::new("team", "blue")])
        .build();
    let tracer = door.provider.tracer_with_scope(scope);
    let linked = SpanContext::new(
        TraceId::from_hex(TRACE).unwrap(),
        SpanId::from_hex(CALLER).unwrap(),
        TraceFlags::SAMPLED,
        true,
        TraceState::from_key_value([("vendor", "x")]).unwrap(),
    );
    let long = "é".repeat(100_000);
    door.run(|| {
        let attributes = vec![
            KeyValue::new("text", "twice"),
            KeyValue::new("bools", opentelemetry::Value::Array(Array::Bool(vec![true, false]))),
            KeyValue::new("integers", opentelemetry::Value::Array(Array::I64(vec![-1, 0, i64::MAX]))),
            KeyValue::new("doubles", opentelemetry::Value::Array(Array::F64(vec![0.5, f64::INFINITY]))),
            KeyValue::new("texts", opentelemetry::Value::Array(Array::String(vec!["a".into(), "".into(), "ü".into()]))),
            KeyValue::new("empty", opentelemetry::Value::Array(Array::I64(Vec::new()))),
            KeyValue::new("text", "once"),
            KeyValue::new("long", long.clone()),
            KeyValue::new("long too", long.clone()),
            KeyValue::new("too much", long.clone()),
        ];
        let span = tracer
            .span_builder("charge")
            .with_kind(opentelemetry::trace::SpanKind::Consumer)
            .with_attributes(attributes)
            .with_links(vec![opentelemetry::trace::Link::new(linked.clone(), vec![KeyValue::new("why", "retry")], 0)])
            .start_with_context(&tracer, &remote_context());
        let context = Context::current_with_span(span);
        context.span().add_event("asked", vec![KeyValue::new("attempt", 3)]);
        context.span().set_status(opentelemetry::trace::Status::error("declined"));
        context.span().end();
    });
    let span = door.span("charge");
    let text = |text: &str| Value::String(text.to_owned());
    let expected = [
        ("bools", Value::Array(vec![Value::Bool(true), Value::Bool(false)])),
        ("integers", Value::Array(vec![Value::Int(-1), Value::Int(0), Value::Int(i64::MAX)])),
        ("doubles", Value::Array(vec![Value::Double(0.5), Value::Double(f64::INFINITY)])),
        ("texts", Value::Array(vec![text("a"), text(""), text("ü")])),
        ("empty", Value::Array(Vec::new())),
        ("text", text("once")),
        ("long", text(&long[..128 * 1024])),
    ];
    let received: Vec<_> = span.attributes.iter().map(|(key, value)| (key, value.clone())).collect();
    assert_eq!(received, expected);
    assert_eq!(span.dropped_attributes, 2);
    assert_eq!(span.kind, SpanKind::Consumer);
    assert_eq!(span.status, Status { code: StatusCode::Error, message: "declined".to_owned() });
    assert_eq!(span.events[0].attributes.int("attempt"), Some(3));
    let link = &span.links[0];
    assert_eq!((link.trace_id.as_str(), link.span_id.as_str(), link.flags), (TRACE, CALLER, 0x301));
    assert_eq!((link.trace_state.as_str(), link.attributes.text("why")), ("vendor=x", Some("retry")));
    assert_eq!((span.scope.name.as_str(), span.scope.version.as_str()), ("payments", "1.2"));
    assert_eq!(span.scope.attributes.text("team"), Some("blue"));
    assert_eq!((span.parent_span_id.as_deref(), span.flags), (Some(CALLER), 0x301));
    assert!(span.end_ns >= span.start_ns);
}

#[test]
fn the_listed_differences_are_as_listed() {
    #[derive(Debug, thiserror::Error)]
    #[error("no stock")]
    struct NoStock(#[source] std::num::ParseIntError);
    let mut door = Door::open();
    let was_left = door.run(|| {
        let span = info_span!("work", unsigned = 7_u64, otel.status_description = "why", otel.status_message = "text");
        span.in_scope(|| {
            span.record("unsigned", 8_u64);
            let error = NoStock("x".parse::<i32>().unwrap_err());
            tracing::warn!(error = &error as &dyn std::error::Error, "refused");
        });
        info_span!("returned").in_scope(|| tracing::warn!(error = "lost"));
        let left = info_span!("left");
        left.in_scope(|| ());
        let was_left = lgtm_core::unix_nanos();
        while lgtm_core::unix_nanos() == was_left {}
        was_left
    });
    let (work, returned) = (door.span("work"), door.span("returned"));
    assert_eq!(work.attributes.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["otel.status_message", "unsigned"]);
    assert_eq!(work.attributes.text("unsigned"), Some("8"));
    assert_eq!(work.status, Status { code: StatusCode::Error, message: "why".to_owned() });
    let refused = &work.events[0];
    assert_eq!((refused.name.as_str(), refused.attributes.text("error")), ("refused", Some("no stock")));
    let chain = Value::Array(vec![Value::String("invalid digit found in string".to_owned())]);
    assert_eq!(refused.attributes.get("exception.stacktrace"), Some(&chain));
    assert_eq!(refused.attributes.get("error.chain"), Some(&chain));
    assert_eq!((returned.events[0].name.as_str(), returned.status.code), ("exception", StatusCode::Error));
    assert_eq!(returned.status.message, "\"lost\"");
    assert!(door.span("left").end_ns <= was_left);
}

#[test]
fn status_and_attributes_of_the_span_extension_arrive() {
    let mut door = Door::open();
    door.run(|| {
        let span = info_span!("work");
        span.set_attribute("before", 1);
        span.in_scope(|| {
            span.set_attribute("during", "yes");
            span.add_event("extended", vec![KeyValue::new("deep", true)]);
            span.set_status(opentelemetry::trace::Status::error("why"));
        });
        assert!(tracing::enabled!(Level::INFO));
    });
    let span = door.span("work");
    assert_eq!((span.attributes.int("before"), span.attributes.text("during")), (Some(1), Some("yes")));
    assert_eq!(span.events[0].name, "extended");
    assert_eq!(span.status, Status { code: StatusCode::Error, message: "why".to_owned() });
}

#[test]
fn what_a_program_says_of_a_span_at_run_time_is_what_is_sent() {
    use lgtm_core::span::{SpanExt, Status as SpanStatus};

    let mut door = Door::open();
    let to = TraceContext::new(
        lgtm_core::TraceId::from_hex(TRACE.as_bytes()).unwrap(),
        lgtm_core::SpanId::from_hex(CALLER.as_bytes()).unwrap(),
        true,
    );
    door.run(|| {
        let span = info_span!("request", known = 1);
        SpanExt::set_attribute(&span, "customer.tier", "gold");
        SpanExt::set_attribute(&span, "ratio", 0.5);
        SpanExt::set_status(&span, SpanStatus::Error, "refused");
        SpanExt::add_link(&span, to, &[("why", "retry".into())]);
        span.in_scope(|| info!("inside"));
    });
    let spans = door.stack.store().spans();
    let [span] = spans.as_slice() else { panic!("one span: {spans:?}") };
    assert_eq!(span.attributes.text("customer.tier"), Some("gold"));
    assert_eq!(span.attributes.get("ratio").and_then(Value::as_f64), Some(0.5));
    assert_eq!((span.status.code, span.status.message.as_str()), (StatusCode::Error, "refused"));
    let [link] = span.links.as_slice() else { panic!("one link: {:?}", span.links) };
    assert_eq!((link.trace_id.as_str(), link.span_id.as_str()), (TRACE, CALLER));
    assert_eq!(link.attributes.text("why"), Some("retry"));
    let line = door.stack.store().logs()[0].json().unwrap();
    assert_eq!((&line["customer.tier"], &line["known"]), (&"gold".into(), &1.into()));
}
