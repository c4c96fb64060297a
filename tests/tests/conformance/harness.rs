//! What a row of the table is, and how it runs: a receiver of its own, all layers, a recorder.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use lgtm_core::pipeline::{Overflow, PipelineOptions};
use lgtm_core::{Endpoint, Identity, Sampler, Worker};
use lgtm_devstack::{Devstack, Span, SpanEvent, Value};
use lgtm_mimir::Format;
use lgtm_tempo::Protocol;
use lgtm_tests::capture::Captured;
use lgtm_tests::signals::PATIENCE;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;

/// Through which layer spans are captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// lgtm's own.
    Native,
    /// tracing-opentelemetry's, on lgtm's tracer provider.
    OpenTelemetry,
}

/// One behaviour.
pub(crate) struct Row {
    /// What holds, as a sentence.
    pub(crate) behaviour: &'static str,
    program: fn(),
    check: fn(&Arrived),
    differs: Option<Difference>,
    setup: Setup,
}

/// What the other front door does instead.
struct Difference {
    reason: &'static str,
    check: fn(&Arrived),
}

struct Setup {
    sampler: fn() -> Sampler,
    tempo: fn(lgtm_tempo::Builder) -> lgtm_tempo::Builder,
    loki: fn(lgtm_loki::Builder) -> lgtm_loki::Builder,
    /// In front of the layer for spans only.
    span_filter: LevelFilter,
}

/// A row: what holds, a program, what must have arrived of it.
pub(crate) fn row(behaviour: &'static str, program: fn(), check: fn(&Arrived)) -> Row {
    let setup = Setup {
        sampler: Sampler::default,
        tempo: std::convert::identity,
        loki: std::convert::identity,
        span_filter: LevelFilter::TRACE,
    };
    Row { behaviour, program, check, differs: None, setup }
}

impl Row {
    /// What arrives through the `opentelemetry` door instead, and why.
    pub(crate) fn but(mut self, reason: &'static str, check: fn(&Arrived)) -> Self {
        self.differs = Some(Difference { reason, check });
        self
    }

    pub(crate) fn sampler(mut self, sampler: fn() -> Sampler) -> Self {
        self.setup.sampler = sampler;
        self
    }

    pub(crate) fn tempo(mut self, tempo: fn(lgtm_tempo::Builder) -> lgtm_tempo::Builder) -> Self {
        self.setup.tempo = tempo;
        self
    }

    pub(crate) fn loki(mut self, loki: fn(lgtm_loki::Builder) -> lgtm_loki::Builder) -> Self {
        self.setup.loki = loki;
        self
    }

    pub(crate) fn span_filter(mut self, filter: LevelFilter) -> Self {
        self.setup.span_filter = filter;
        self
    }

    fn run(&self, door: Door, protocol: Protocol) {
        let arrived = self.arrive(door, protocol);
        match (&self.differs, door) {
            (Some(difference), Door::OpenTelemetry) => {
                assert!(!difference.reason.is_empty());
                (difference.check)(&arrived);
            }
            _ => (self.check)(&arrived),
        }
    }

    fn arrive(&self, door: Door, protocol: Protocol) -> Arrived {
        let stack = Devstack::start_blocking().expect("a development stack");
        let traces = match protocol {
            Protocol::Http => stack.otlp_http_url(),
            _ => stack.otlp_grpc_url(),
        };
        let mut identity = Identity::new("shop");
        identity.service_instance_id = "one".to_owned();
        let mut options = PipelineOptions::default();
        options.overflow = Overflow::Block(PATIENCE);
        let worker = Worker::spawn().expect("a worker");
        let tempo = (self.setup.tempo)(lgtm_tempo::builder())
            .endpoint(Endpoint::parse(&traces).expect("Tempo's address"))
            .protocol(protocol)
            .identity(identity.clone())
            .worker(worker.clone())
            .sampler((self.setup.sampler)())
            .options(options.clone());
        type BoxedLayer = Box<dyn tracing_subscriber::Layer<Registry> + Send + Sync>;
        let filter = self.setup.span_filter;
        let (spans_layer, spans, _provider): (BoxedLayer, _, _) = match door {
            Door::Native => {
                let (layer, pipeline) = tempo.build().expect("a layer");
                (Box::new(layer.with_filter(filter)), pipeline, None)
            }
            Door::OpenTelemetry => {
                let (layer, provider, pipeline) = tempo.build_opentelemetry().expect("a layer");
                (Box::new(layer.with_filter(filter)), pipeline, Some(provider))
            }
        };
        let (loki, lines) = (self.setup.loki)(lgtm_loki::builder())
            .endpoint(Endpoint::parse(&stack.loki_url()).expect("Loki's address"))
            .identity(identity.clone())
            .worker(worker)
            .options(options)
            .build()
            .expect("a layer");
        let mimir = lgtm_mimir::builder().identity(identity.clone()).build().expect("a recorder");
        let subscriber =
            tracing_subscriber::registry().with(spans_layer).with(loki).with(lgtm_spanmetrics::layer(&identity));
        metrics::with_local_recorder(&mimir.recorder(), || {
            tracing::subscriber::with_default(subscriber, self.program);
        });
        let deadline = Instant::now() + PATIENCE;
        for pipeline in [&spans, &lines] {
            pipeline.begin_shutdown(deadline);
            assert!(pipeline.wait_ended(deadline), "{}", pipeline.report());
            let report = pipeline.report();
            assert_eq!((report.lost(), report.pending, report.admitted), (0, 0, report.delivered), "{report}");
        }
        let store = stack.store();
        Arrived {
            captured: Captured { logs: store.logs(), spans: store.spans() },
            exposition: mimir.render(Format::OpenMetrics),
        }
    }
}

/// Runs all rows; fails with the names of those that fail.
pub(crate) fn run_all(rows: &[Row], door: Door, protocol: Protocol) {
    let fails = |row: &&Row| catch_unwind(AssertUnwindSafe(|| row.run(door, protocol))).is_err();
    let failed: Vec<_> = rows.iter().filter(fails).map(|row| format!("- {}", row.behaviour)).collect();
    assert!(failed.is_empty(), "{} of {} rows:\n{}", failed.len(), rows.len(), failed.join("\n"));
}

/// What has arrived of a row's program.
pub(crate) struct Arrived {
    pub(crate) captured: Captured,
    /// The metrics, as a scraper would read them.
    pub(crate) exposition: String,
}

impl std::ops::Deref for Arrived {
    type Target = Captured;

    fn deref(&self) -> &Captured {
        &self.captured
    }
}

impl Arrived {
    /// The name of a span's parent; its id where it is a span of another process.
    pub(crate) fn parent_of(&self, name: &str) -> Option<String> {
        let id = self.span(name).parent_span_id.as_ref()?;
        let parent = self.spans.iter().find(|span| span.span_id == *id);
        Some(parent.map_or_else(|| id.clone(), |parent| parent.name.clone()))
    }

    /// An attribute of a span.
    pub(crate) fn attribute(&self, span: &str, key: &str) -> Option<&Value> {
        self.span(span).attributes.get(key)
    }

    /// Names and values of a span's attributes in order.
    pub(crate) fn attributes(&self, span: &str) -> Vec<(&str, &Value)> {
        self.span(span).attributes.iter().collect()
    }

    /// The names of a span's events.
    pub(crate) fn events(&self, span: &str) -> Vec<&str> {
        self.span(span).events.iter().map(|event| event.name.as_str()).collect()
    }

    /// The only event of a span.
    pub(crate) fn event(&self, span: &str) -> &SpanEvent {
        let [event] = self.span(span).events.as_slice() else { panic!("one event: {:?}", self.events(span)) };
        event
    }

    /// Whether the line with this message points at this span.
    pub(crate) fn is_in(&self, message: &str, span: &str) -> bool {
        self.place_of_log(message) == Some(lgtm_tests::capture::place_of(self.span(span)))
    }

    /// A field of the line with this message; null if it is not there.
    pub(crate) fn field(&self, message: &str, name: &str) -> serde_json::Value {
        self.log(message).json().expect("a JSON line")[name].clone()
    }

    /// What the line with this message says of its trace's sampling.
    pub(crate) fn sampled(&self, message: &str) -> Option<&str> {
        self.log(message).structured_metadata.get("trace_sampled").map(String::as_str)
    }
}

/// Text as an attribute's value.
pub(crate) fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

/// Whether two spans are of one trace.
pub(crate) fn same_trace(one: &Span, other: &Span) -> bool {
    one.trace_id == other.trace_id
}
