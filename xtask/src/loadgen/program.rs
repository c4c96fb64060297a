//! One made-up program: layers, recorder and identity of its own. It lives on one thread at a time, its worker on another.

use std::time::{Duration, Instant};

use lgtm::{Console, Profile, Telemetry};
use tracing::Dispatch;
use tracing_subscriber::Registry;
use tracing_subscriber::layer::SubscriberExt as _;

use super::Destinations;
use super::plan::Plan;
use super::traffic::{Due, Made, Traffic};

/// How long the end may take: long enough for retries after a refusal for too much at once.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);
/// `deployment.environment.name` of all, so that what they leave is told from all else.
pub(crate) const ENVIRONMENT: &str = "loadgen";

/// A program.
pub(crate) struct Program {
    /// From 0, over all services.
    number: u64,
    dispatch: Dispatch,
    telemetry: Telemetry,
    traffic: Traffic,
}

impl Program {
    /// # Errors
    /// If lgtm cannot work with the settings.
    pub(crate) fn start(plan: &Plan, destinations: &Destinations, number: u64) -> anyhow::Result<Self> {
        let instances = u64::from(plan.load.instances_per_service).max(1);
        let service = number / instances + 1;
        let mut builder = lgtm::builder()
            // The environment is that of this tool; the programs are described by its options alone.
            .ignore_environment()
            .service_name(format!("loadgen-{service}"))
            .resource_attribute("service.instance.id", format!("{}-{service}-{}", plan.run, number % instances + 1))
            .resource_attribute("deployment.environment.name", ENVIRONMENT)
            .profile(Profile::Development)
            .console(Console::Off)
            .memory_budget(plan.memory_per_instance)
            .shutdown_timeout(SHUTDOWN_TIMEOUT)
            .push_interval(plan.load.push_interval)
            .log_label_from_field("stream", usize::try_from(plan.load.streams_per_service)?);
        builder = match &destinations.logs {
            Some(endpoint) => builder.loki(endpoint.clone()),
            None => builder.without_loki(),
        };
        builder = match &destinations.traces {
            Some(endpoint) => builder.tempo(endpoint.clone()),
            None => builder.without_tempo(),
        };
        builder = match &destinations.metrics {
            Some(endpoint) => builder.mimir(endpoint.clone()),
            None => builder.without_metrics(),
        };
        let (layers, telemetry) = builder.layers::<Registry>()?;
        let dispatch = Dispatch::new(tracing_subscriber::registry().with(layers));
        let new = || Traffic::new(&plan.load, destinations.metrics.is_some());
        let traffic = within(&dispatch, &telemetry, new);
        Ok(Self { number, dispatch, telemetry, traffic })
    }

    /// Does what is due after this time since the start.
    pub(crate) fn advance(&mut self, plan: &Plan, destinations: &Destinations, after: Duration, now: Instant) {
        let due = Due {
            lines: if destinations.logs.is_some() { plan.share(plan.lines(after), self.number) } else { 0 },
            traces: if destinations.traces.is_some() { plan.share(plan.traces(after), self.number) } else { 0 },
            seconds: after.as_secs(),
        };
        let traffic = &mut self.traffic;
        within(&self.dispatch, &self.telemetry, || traffic.advance(due, now));
    }

    /// Ends the requests that go on.
    pub(crate) fn finish(&mut self) {
        let traffic = &mut self.traffic;
        within(&self.dispatch, &self.telemetry, || traffic.finish());
    }

    pub(crate) fn made(&self) -> &Made {
        self.traffic.made()
    }

    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }
}

/// Runs `work` as the program: what it traces and records is the program's.
fn within<T>(dispatch: &Dispatch, telemetry: &Telemetry, work: impl FnOnce() -> T) -> T {
    tracing::dispatcher::with_default(dispatch, || match telemetry.recorder() {
        Some(recorder) => metrics::with_local_recorder(&recorder, work),
        None => work(),
    })
}
