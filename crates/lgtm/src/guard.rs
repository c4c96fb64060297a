//! The guard: flush and shutdown under one deadline, and the report. Any thread: sync or async code, any tokio flavour or
//! none, also while a panic unwinds. The work itself is the worker's.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lgtm_core::pipeline::Pipeline;
use parking_lot::Mutex;

use crate::config::Config;
use crate::filter::Filters;
use crate::report::{FlushError, Report};
use crate::sampling::Sampling;

/// Running telemetry. Keep it until the end of `main`: dropping it sends what is left, within the shutdown's deadline.
///
/// The subscriber and the recorder stay in place after the end; what comes later is dropped and counted.
#[must_use = "dropping it ends telemetry: bind it to a name (not `_`) until the end of main"]
pub struct Telemetry {
    running: Arc<Running>,
    filters: Filters,
    sampling: Sampling,
    config: Config,
    #[cfg(feature = "mimir")]
    recorder: Option<(lgtm_mimir::Recorder, lgtm_mimir::Renderer)>,
    #[cfg(feature = "opentelemetry")]
    providers: Providers,
    /// Goes last: what is sent at the end is for it.
    #[cfg(feature = "devstack")]
    devstack: Option<lgtm_devstack::Devstack>,
}

/// The other front door.
#[cfg(feature = "opentelemetry")]
#[derive(Default)]
pub(crate) struct Providers {
    pub(crate) tracer: Option<opentelemetry_sdk::trace::SdkTracerProvider>,
    #[cfg(feature = "mimir")]
    pub(crate) meter: Option<lgtm_mimir::opentelemetry::MeterProvider>,
    #[cfg(feature = "loki")]
    pub(crate) logger: Option<opentelemetry_sdk::logs::SdkLoggerProvider>,
}

/// What runs. The thread that waits for signals ends it too.
pub(crate) struct Running {
    /// Logs and spans: they end first.
    events: Vec<Pipeline>,
    /// Ends last, so that the last losses of the others are in it.
    metrics: Option<Pipeline>,
    metrics_addr: Option<SocketAddr>,
    timeout: Duration,
    state: Mutex<State>,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Telemetry")
            .field("events", &self.running.events)
            .field("metrics", &self.running.metrics)
            .field("metrics_addr", &self.running.metrics_addr)
            .field("timeout", &self.running.timeout)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    /// When the shutdown that has begun must be over.
    deadline: Option<Instant>,
    ended: bool,
    /// What lives until the shutdown: the worker, the system monitor, the scrape listener.
    keep_alive: Vec<Box<dyn Send>>,
}

/// The parts of a shutdown's time: logs and spans get four fifths, metrics the rest, and each some slack to settle in.
struct Schedule {
    /// Logs and spans drop what is left.
    events: Instant,
    /// Metrics begin even if logs and spans have not ended.
    handover: Instant,
    /// Metrics drop what is left.
    metrics: Instant,
    /// The caller goes on.
    end: Instant,
}

impl Schedule {
    fn new(begin: Instant, timeout: Duration) -> Self {
        Self {
            events: begin + timeout.mul_f64(0.75),
            handover: begin + timeout.mul_f64(0.8),
            metrics: begin + timeout.mul_f64(0.95),
            end: begin + timeout,
        }
    }
}

impl Telemetry {
    pub(crate) fn new(timeout: Duration, filters: Filters, sampling: Sampling, config: Config) -> Self {
        let running =
            Running { events: Vec::new(), metrics: None, metrics_addr: None, timeout, state: Mutex::default() };
        Self {
            running: Arc::new(running),
            filters,
            sampling,
            config,
            #[cfg(feature = "mimir")]
            recorder: None,
            #[cfg(feature = "opentelemetry")]
            providers: Providers::default(),
            #[cfg(feature = "devstack")]
            devstack: None,
        }
    }

    #[cfg(feature = "opentelemetry")]
    pub(crate) fn providers(&mut self) -> &mut Providers {
        &mut self.providers
    }

    pub(crate) fn add_events(&mut self, pipeline: Pipeline) {
        if let Some(running) = Arc::get_mut(&mut self.running) {
            running.events.push(pipeline);
        }
    }

    pub(crate) fn set_metrics(&mut self, pipeline: Option<Pipeline>, addr: Option<SocketAddr>) {
        if let Some(running) = Arc::get_mut(&mut self.running) {
            running.metrics = pipeline;
            running.metrics_addr = addr;
        }
    }

    #[cfg(feature = "mimir")]
    pub(crate) fn set_recorder(&mut self, recorder: lgtm_mimir::Recorder, renderer: lgtm_mimir::Renderer) {
        self.recorder = Some((recorder, renderer));
    }

    /// Registers the pipelines' own metrics, so that the worker has none to register while the program forks.
    pub(crate) fn publish(&self) {
        self.running.events.iter().chain(&self.running.metrics).for_each(Pipeline::publish);
    }

    pub(crate) fn keep_alive(&mut self, part: impl Send + 'static) {
        self.running.state.lock().keep_alive.push(Box::new(part));
    }

    pub(crate) fn running(&self) -> &Arc<Running> {
        &self.running
    }

    /// Requests of runtime control are answered from now on. After everything was added: from then on what runs is shared.
    #[cfg(feature = "mimir")]
    pub(crate) fn open(&self, admin: &crate::admin::Admin) {
        admin.open(Arc::downgrade(&self.running), self.filters(), self.sampling(), &self.config);
    }

    /// The recorder of metrics, if there is one: for programs that install it themselves, after [`Builder::layers`](crate::Builder::layers).
    #[cfg(feature = "mimir")]
    #[must_use]
    pub fn recorder(&self) -> Option<lgtm_mimir::Recorder> {
        self.recorder.as_ref().map(|(recorder, _)| recorder.clone())
    }

    /// Renders the metrics for a server of the program's own, if there is a recorder: [`Builder::render_metrics`](crate::Builder::render_metrics)
    /// sees to that. It can be cloned into handlers.
    #[cfg(feature = "mimir")]
    #[must_use]
    pub fn metrics_renderer(&self) -> Option<lgtm_mimir::Renderer> {
        self.recorder.as_ref().map(|(_, renderer)| renderer.clone())
    }

    /// The OpenTelemetry tracer provider, with [`Builder::opentelemetry`](crate::Builder::opentelemetry) and Tempo. It is the global one
    /// too.
    #[cfg(feature = "opentelemetry")]
    #[must_use]
    pub fn tracer_provider(&self) -> Option<opentelemetry_sdk::trace::SdkTracerProvider> {
        self.providers.tracer.clone()
    }

    /// The OpenTelemetry meter provider, with [`Builder::opentelemetry`](crate::Builder::opentelemetry) and metrics that are pushed,
    /// scraped or rendered. It is the global one too: `opentelemetry::global::meter`.
    #[cfg(all(feature = "opentelemetry", feature = "mimir"))]
    #[must_use]
    pub fn meter_provider(&self) -> Option<lgtm_mimir::opentelemetry::MeterProvider> {
        self.providers.meter.clone()
    }

    /// The OpenTelemetry logger provider, with [`Builder::opentelemetry`](crate::Builder::opentelemetry) and Loki: for appenders such as
    /// `opentelemetry-appender-log`, and libraries that take one. OpenTelemetry has no global one.
    ///
    /// Not for `opentelemetry-appender-tracing`: events of `tracing` are lines already, and would be twice.
    #[cfg(all(feature = "opentelemetry", feature = "loki"))]
    #[must_use]
    pub fn logger_provider(&self) -> Option<opentelemetry_sdk::logs::SdkLoggerProvider> {
        self.providers.logger.clone()
    }

    #[cfg(feature = "devstack")]
    pub(crate) fn with_devstack(mut self, stack: Option<lgtm_devstack::Devstack>) -> Self {
        self.devstack = stack;
        self
    }

    /// The development stack in this process, if it runs: [`Builder::devstack`](crate::Builder::devstack). It says where its window is, and
    /// what has arrived; it ends when `Telemetry` is dropped, so after a [`Telemetry::shutdown`] the window can still be looked at.
    #[cfg(feature = "devstack")]
    #[must_use]
    pub fn devstack(&self) -> Option<&lgtm_devstack::Devstack> {
        self.devstack.as_ref()
    }

    /// Sends everything produced so far, metrics included, and waits for it, at most as long as a shutdown may take
    /// (default: 5 s). Blocks the thread; in async code prefer [`Telemetry::flush_async`].
    ///
    /// # Errors
    /// [`FlushError`] if the deadline came first: what waits stays in the queues and is tried further.
    pub fn flush(&self) -> Result<Report, FlushError> {
        self.outcome(self.running.flush(self.running.timeout))
    }

    /// As [`Telemetry::flush`], without blocking the thread. Works in any runtime.
    ///
    /// # Errors
    /// As [`Telemetry::flush`].
    pub async fn flush_async(&self) -> Result<Report, FlushError> {
        self.outcome(self.running.flush_async().await)
    }

    fn outcome(&self, done: bool) -> Result<Report, FlushError> {
        let report = self.report();
        if done { Ok(report) } else { Err(FlushError { report }) }
    }

    /// Ends telemetry: sends logs and spans, then the metrics for the last time, and returns by the deadline (default: 5 s).
    /// What is left then, and what comes later, is dropped and counted. A second call waits for the first one's deadline at
    /// most. Blocks the thread; in async code prefer [`Telemetry::shutdown_async`].
    pub fn shutdown(&self) -> Report {
        self.running.shutdown()
    }

    /// As [`Telemetry::shutdown`], without blocking the thread. Works in any runtime.
    pub async fn shutdown_async(&self) -> Report {
        let running = &self.running;
        let schedule = running.begin_shutdown();
        for pipeline in &running.events {
            let _ = pipeline.ended(schedule.handover).await;
        }
        if let Some(metrics) = &running.metrics {
            metrics.begin_shutdown(schedule.metrics);
            let _ = metrics.ended(schedule.end).await;
        }
        running.end()
    }

    /// What has become of everything so far.
    pub fn report(&self) -> Report {
        self.running.report()
    }

    /// Changes the filters while the program runs.
    #[must_use]
    pub fn filters(&self) -> Filters {
        self.filters.clone()
    }

    /// Changes which traces are recorded while the program runs.
    #[must_use]
    pub fn sampling(&self) -> Sampling {
        self.sampling.clone()
    }

    /// What telemetry runs with, and who chose it. Secrets are not in it.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where metrics can be scraped, if they can: says which port was given where port 0 was asked for.
    #[must_use]
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.running.metrics_addr
    }
}

impl Running {
    /// As [`Telemetry::flush`], within this time; whether it is done.
    pub(crate) fn flush(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let events = begin_flush(&self.events);
        let mut done = true;
        for (pipeline, flush) in &events {
            done &= pipeline.wait_flushed(flush, deadline);
        }
        // Second, so that the pipelines' own counts of this flush are in it.
        if let Some(metrics) = &self.metrics {
            done &= metrics.wait_flushed(&metrics.begin_flush(), deadline);
        }
        done
    }

    /// As [`Telemetry::flush_async`]; whether it is done.
    pub(crate) async fn flush_async(&self) -> bool {
        let deadline = Instant::now() + self.timeout;
        let events = begin_flush(&self.events);
        let mut done = true;
        for (pipeline, flush) in &events {
            done &= pipeline.flushed(flush, deadline).await;
        }
        if let Some(metrics) = &self.metrics {
            done &= metrics.flushed(&metrics.begin_flush(), deadline).await;
        }
        done
    }

    /// As [`Telemetry::shutdown`].
    pub(crate) fn shutdown(&self) -> Report {
        let schedule = self.begin_shutdown();
        for pipeline in &self.events {
            let _ = pipeline.wait_ended(schedule.handover);
        }
        if let Some(metrics) = &self.metrics {
            metrics.begin_shutdown(schedule.metrics);
            let _ = metrics.wait_ended(schedule.end);
        }
        self.end()
    }

    fn begin_shutdown(&self) -> Schedule {
        let now = Instant::now();
        let end = *self.state.lock().deadline.get_or_insert(now + self.timeout);
        let schedule = Schedule::new(now, end.saturating_duration_since(now));
        for pipeline in &self.events {
            pipeline.begin_shutdown(schedule.events);
        }
        schedule
    }

    fn end(&self) -> Report {
        let mut state = self.state.lock();
        state.ended = true;
        let parts = std::mem::take(&mut state.keep_alive);
        drop(state);
        drop(parts);
        self.report()
    }

    pub(crate) fn report(&self) -> Report {
        Report::new(self.events.iter().chain(&self.metrics).map(Pipeline::report).collect())
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        // Also after an asynchronous shutdown that was cancelled half-way.
        if !self.running.state.lock().ended {
            let _ = self.shutdown();
        }
    }
}

fn begin_flush(pipelines: &[Pipeline]) -> Vec<(&Pipeline, lgtm_core::pipeline::Flush)> {
    pipelines.iter().map(|pipeline| (pipeline, pipeline.begin_flush())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_begin_at_four_fifths_and_everything_is_settled_by_the_deadline() {
        let begin = Instant::now();
        for timeout in [Duration::ZERO, Duration::from_secs(5), Duration::from_secs(86_400)] {
            let schedule = Schedule::new(begin, timeout);
            assert!(schedule.events <= schedule.handover && schedule.handover <= schedule.metrics);
            assert_eq!(schedule.handover, begin + timeout.mul_f64(0.8));
            assert!(schedule.metrics <= schedule.end && schedule.end == begin + timeout);
        }
    }

    #[test]
    fn a_guard_without_signals_ends_at_once_and_says_nothing() {
        let filters = crate::filter::Filter::new(&Default::default(), &Default::default()).handle();
        let sampling = Sampling(lgtm_core::sampler::ChangingSampler::new(Default::default()));
        let telemetry = Telemetry::new(Duration::from_secs(60), filters, sampling, Config::default());
        let begin = Instant::now();
        assert_eq!(telemetry.flush().unwrap().json(), "{}");
        assert_eq!(telemetry.shutdown().to_string(), "");
        assert!(begin.elapsed() < Duration::from_secs(60));
    }
}
