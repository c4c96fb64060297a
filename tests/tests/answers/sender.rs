//! A layer or recorder with its pipeline, on a worker of its own. Caller threads.

use std::time::{Duration, Instant};

use lgtm_core::pipeline::{Pipeline, PipelineOptions};
use lgtm_core::{DropReason, Endpoint, ErrorType, Identity, SignalReport, Worker};
use lgtm_devstack::{Devstack, ReceivedRequest};
use lgtm_tempo::Protocol;
use lgtm_tests::signals::PATIENCE;
use tracing::{Dispatch, info, info_span};
use tracing_subscriber::prelude::*;

/// A pause that no test waits for.
pub(crate) const NEVER: Duration = Duration::from_secs(24 * 3600);

/// To whom is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Loki,
    TempoHttp,
    TempoGrpc,
    Mimir,
}

impl Backend {
    pub(crate) const ALL: [Self; 4] = [Self::Loki, Self::TempoHttp, Self::TempoGrpc, Self::Mimir];
    /// Those that are spoken to over HTTP/1.
    pub(crate) const HTTP: [Self; 3] = [Self::Loki, Self::TempoHttp, Self::Mimir];

    pub(crate) fn url(self, stack: &Devstack) -> String {
        match self {
            Self::Loki => stack.loki_url(),
            Self::TempoHttp => stack.otlp_http_url(),
            Self::TempoGrpc => stack.otlp_grpc_url(),
            Self::Mimir => stack.mimir_url(),
        }
    }

    pub(crate) fn script(self) -> lgtm_devstack::Endpoint {
        match self {
            Self::Loki => lgtm_devstack::Endpoint::LokiPush,
            Self::TempoHttp => lgtm_devstack::Endpoint::OtlpHttp,
            Self::TempoGrpc => lgtm_devstack::Endpoint::OtlpGrpc,
            Self::Mimir => lgtm_devstack::Endpoint::RemoteWrite,
        }
    }

    pub(crate) fn requests(self, stack: &Devstack) -> Vec<std::sync::Arc<ReceivedRequest>> {
        stack.store().requests_to(self.script())
    }

    /// How many items of this kind are stored, and how many came once more.
    pub(crate) fn stored(self, stack: &Devstack) -> (u64, u64) {
        let counts = stack.counts();
        let counts = match self {
            Self::Loki => counts.logs,
            Self::TempoHttp | Self::TempoGrpc => counts.spans,
            Self::Mimir => counts.samples,
        };
        (counts.received, counts.duplicates)
    }
}

/// Nothing is sent by itself; a failed try is followed by the next one within 5 ms, unless a pause is asked for.
pub(crate) fn options() -> PipelineOptions {
    let mut options = PipelineOptions::default();
    options.batch.age = NEVER;
    options.retry.initial = Duration::from_millis(1);
    options.retry.max = Duration::from_millis(5);
    options.retry.probe = Duration::from_millis(150);
    options
}

/// Makes so many items with this text.
type Emit = Box<dyn Fn(u64, &str)>;

/// A running layer or recorder.
pub(crate) struct Sender {
    pub(crate) pipeline: Pipeline,
    emit: Emit,
}

impl Sender {
    pub(crate) fn to(backend: Backend, stack: &Devstack) -> Self {
        Self::start(backend, endpoint(&backend.url(stack)), options())
    }

    pub(crate) fn start(backend: Backend, endpoint: Endpoint, options: PipelineOptions) -> Self {
        let sender = Self::begin(backend, endpoint, options);
        if backend != Backend::Mimir {
            // The worker's first round is over: what is made together goes together.
            sender.flush();
        }
        sender
    }

    fn begin(backend: Backend, endpoint: Endpoint, options: PipelineOptions) -> Self {
        let identity = Identity::new("answers");
        let worker = Worker::spawn().unwrap();
        match backend {
            Backend::Loki => {
                let builder = lgtm_loki::builder().endpoint(endpoint).identity(identity).worker(worker);
                let (layer, pipeline) = builder.options(options).build().unwrap();
                let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
                let emit = move |items, text: &str| {
                    let lines = || (0..items).for_each(|number| info!(number, text, "line"));
                    tracing::dispatcher::with_default(&dispatch, lines);
                };
                Self { pipeline, emit: Box::new(emit) }
            }
            Backend::TempoHttp | Backend::TempoGrpc => {
                let protocol = if backend == Backend::TempoHttp { Protocol::Http } else { Protocol::Grpc };
                let builder = lgtm_tempo::builder().endpoint(endpoint).protocol(protocol).identity(identity);
                let (layer, pipeline) = builder.worker(worker).options(options).build().unwrap();
                let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
                let emit = move |items, text: &str| {
                    let spans = || (0..items).for_each(|number| drop(info_span!("work", number, text)));
                    tracing::dispatcher::with_default(&dispatch, spans);
                };
                Self { pipeline, emit: Box::new(emit) }
            }
            Backend::Mimir => {
                let builder = lgtm_mimir::builder().push(endpoint).push_interval(NEVER).identity(identity);
                let mimir = builder.worker(worker).options(options).build().unwrap();
                let pipeline = mimir.pipeline().unwrap().clone();
                let emit = move |items: u64, _: &str| {
                    metrics::with_local_recorder(&mimir.recorder(), || {
                        // `target_info` is one more.
                        (1..items).for_each(|number| metrics::gauge!("items", "number" => number.to_string()).set(1.0));
                    });
                };
                Self { pipeline, emit: Box::new(emit) }
            }
        }
    }

    /// Makes so many items: lines, spans, or samples, which are collected at the next flush.
    pub(crate) fn emit(&self, items: u64) {
        (self.emit)(items, "");
    }

    /// Makes one item with this text.
    pub(crate) fn emit_with(&self, text: &str) {
        (self.emit)(1, text);
    }

    /// Sends what there is, until everything is settled.
    #[track_caller]
    pub(crate) fn flush(&self) -> SignalReport {
        let flush = self.pipeline.begin_flush();
        assert!(self.pipeline.wait_flushed(&flush, Instant::now() + PATIENCE), "no flush: {}", self.pipeline.report());
        let report = self.pipeline.report();
        assert_adds_up(&report);
        assert_eq!(report.pending, 0, "{report}");
        report
    }

    /// Ends the pipeline with this deadline; how long that took.
    #[track_caller]
    pub(crate) fn end(&self, within: Duration) -> (SignalReport, Duration) {
        let began = Instant::now();
        self.pipeline.begin_shutdown(began + within);
        assert!(self.pipeline.wait_ended(began + within + PATIENCE), "no end: {}", self.pipeline.report());
        let report = self.pipeline.report();
        assert_adds_up(&report);
        assert_eq!(report.pending, 0, "{report}");
        (report, began.elapsed())
    }
}

/// The endpoint at this address, with a time-out that no test waits for, and no proxy.
pub(crate) fn endpoint(url: &str) -> Endpoint {
    Endpoint::parse(url).unwrap().timeout(PATIENCE).proxy(lgtm_core::Proxy::Direct)
}

#[track_caller]
pub(crate) fn assert_adds_up(report: &SignalReport) {
    let dropped: u64 = report.dropped.iter().map(|(_, count)| count).sum();
    assert_eq!(report.admitted, report.delivered + report.rejected + dropped + report.pending, "{report:?}");
}

pub(crate) fn dropped(report: &SignalReport, reason: DropReason) -> u64 {
    report.dropped.iter().find(|(known, _)| *known == reason).map_or(0, |(_, count)| *count)
}

pub(crate) fn errors(report: &SignalReport, error: ErrorType) -> u64 {
    report.errors.iter().find(|(known, _)| *known == error).map_or(0, |(_, count)| *count)
}

/// Polls until `done`.
#[track_caller]
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
