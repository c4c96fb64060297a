//! Puts the parts together: one worker, one recorder, one subscriber of all layers, one guard. Runs once, at the start.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lgtm_core::pipeline::PipelineOptions;
use lgtm_core::sampler::ChangingSampler;
#[cfg(feature = "tempo")]
use lgtm_core::sampler::Sampler;
use lgtm_core::{Identity, Worker, redaction};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tracing_core::{Dispatch, Subscriber, dispatcher};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

#[cfg(feature = "mimir")]
use crate::admin::Admin;
use crate::chain::{self, Chain, Signals};
use crate::config::Config;
use crate::error::Error;
use crate::filter::{Filter, Filters};
use crate::guard::Telemetry;
use crate::optional::Optional;
use crate::sampling::Sampling;
use crate::settings::{Console, Destination, Settings};

pub(crate) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
pub(crate) const MEMORY_BUDGET: usize = 64 * 1024 * 1024;

/// The process in which telemetry runs; 0: in none. A forked child is another one.
static RUNNING: AtomicU32 = AtomicU32::new(0);

/// What this process has for good. A child that was forked has it too, and goes on with it.
struct Installed {
    /// Retires the layers and puts these in their place.
    replace: fn(Signals) -> bool,
    filters: Filters,
    sampling: Sampling,
    #[cfg(feature = "mimir")]
    recorder: Option<lgtm_mimir::Recorder>,
}

static INSTALLED: Mutex<Option<Installed>> = Mutex::new(None);

/// Holds the claim on the process until it is certain; a start that fails gives it back.
struct Claim {
    keep: bool,
}

impl Claim {
    fn take() -> Result<Self, Error> {
        let here = std::process::id();
        if RUNNING.swap(here, Ordering::SeqCst) == here {
            Err(Error::AlreadyInitialized)
        } else {
            Ok(Self { keep: false })
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.keep {
            RUNNING.store(0, Ordering::SeqCst);
        }
    }
}

/// A layer right on the registry.
type Extra = Box<dyn Layer<Registry> + Send + Sync>;

/// The layers that were chosen.
#[derive(Default)]
struct Layers {
    /// The other front door: it finds its tracer through the registry, so it stands right on it.
    #[cfg(feature = "opentelemetry")]
    opentelemetry: Option<Extra>,
    #[cfg(feature = "tempo")]
    tempo: Option<lgtm_tempo::Layer>,
    #[cfg(feature = "loki")]
    loki: Option<lgtm_loki::Layer>,
    #[cfg(feature = "span-metrics")]
    span_metrics: Option<lgtm_spanmetrics::Layer>,
}

/// What all parts need.
struct Parts<'a> {
    settings: &'a Settings,
    identity: Identity,
    worker: Worker,
    telemetry: Telemetry,
    layers: Layers,
    recorders: Recorders,
    #[cfg(feature = "mimir")]
    admin: Option<Admin>,
}

/// What becomes of the recorder.
enum Recorders {
    /// It is the program's to install.
    Leave,
    /// It becomes the global one.
    Install,
    /// The global one is the parent's, and starts again.
    #[cfg(feature = "mimir")]
    Restart(lgtm_mimir::Recorder),
}

/// Starts everything that the settings choose.
pub(crate) fn start(
    settings: &Settings,
    config: Config,
    extra: Option<Extra>,
    runtime: Option<Handle>,
) -> Result<Telemetry, Error> {
    let mut claim = Claim::take()?;
    let mut installed = INSTALLED.lock();
    if let Some(installed) = &mut *installed {
        let telemetry = start_again(installed, settings, config, extra.is_some(), runtime)?;
        claim.keep = true;
        return Ok(telemetry);
    }
    redact(settings);
    let filter = filter(settings);
    let sampling = Sampling(ChangingSampler::new(settings.sampler()));
    let timeout = settings.shutdown_timeout.unwrap_or(SHUTDOWN_TIMEOUT);
    let telemetry = Telemetry::new(timeout, filter.handle(), sampling, config);
    #[cfg_attr(not(feature = "opentelemetry"), expect(unused_mut, reason = "the other front door is taken out"))]
    let (telemetry, mut layers) = start_parts(settings, telemetry, runtime, Recorders::Install)?;
    let console = settings.console.unwrap_or_default();
    #[cfg(feature = "opentelemetry")]
    let extra = match (layers.opentelemetry.take(), extra) {
        (Some(door), Some(extra)) => Some(Box::new(door.and_then(extra)) as Extra),
        (door, extra) => door.or(extra),
    };
    let replace = match extra {
        Some(extra) => install(tracing_subscriber::registry().with(extra), filter, layers, console)?,
        None => install(tracing_subscriber::registry(), filter, layers, console)?,
    };
    *installed = Some(Installed {
        replace,
        filters: telemetry.filters(),
        sampling: telemetry.sampling(),
        #[cfg(feature = "mimir")]
        recorder: telemetry.recorder(),
    });
    drop(installed);
    if !settings.without_panics {
        crate::panic::record(telemetry.running());
    }
    claim.keep = true;
    Ok(telemetry)
}

/// Starts everything that the settings choose in a child that was forked: what is installed is the parent's.
fn start_again(
    installed: &mut Installed,
    settings: &Settings,
    config: Config,
    has_layer: bool,
    runtime: Option<Handle>,
) -> Result<Telemetry, Error> {
    #[cfg(feature = "opentelemetry")]
    let has_layer = has_layer || settings.opentelemetry;
    if has_layer {
        let problem = "a child that was forked has its parent's subscriber".to_owned();
        return Err(Error::Setting {
            setting: "layer",
            problem,
            accepted: "init() without further layers in the child",
        });
    }
    // Before the identity and the first ids: those of the parent must not come again.
    (installed.replace)(Signals::default());
    let timeout = settings.shutdown_timeout.unwrap_or(SHUTDOWN_TIMEOUT);
    let telemetry = Telemetry::new(timeout, installed.filters.clone(), installed.sampling.clone(), config);
    #[cfg(feature = "mimir")]
    let recorders = installed.recorder.clone().map_or(Recorders::Install, Recorders::Restart);
    #[cfg(not(feature = "mimir"))]
    let recorders = Recorders::Install;
    let (telemetry, layers) = start_parts(settings, telemetry, runtime, recorders)?;
    if !(installed.replace)(layers.into()) {
        return Err(Error::SubscriberAlreadySet);
    }
    installed
        .filters
        .set(&settings.log_filter.clone().unwrap_or_default(), &settings.span_filter.clone().unwrap_or_default());
    #[cfg(feature = "mimir")]
    if installed.recorder.is_none() {
        installed.recorder = telemetry.recorder();
    }
    if !settings.without_panics {
        crate::panic::record(telemetry.running());
    }
    Ok(telemetry)
}

/// Starts everything that the settings choose, and installs nothing.
pub(crate) fn layers<S>(
    settings: &Settings,
    config: Config,
    runtime: Option<Handle>,
) -> Result<(crate::builder::Layers<S>, Telemetry), Error>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    #[cfg(feature = "opentelemetry")]
    if settings.opentelemetry {
        let problem = "it stands right on the registry".to_owned();
        let accepted = "init(), or lgtm_tempo's build_opentelemetry() beside layers() with Tempo off";
        return Err(Error::Setting { setting: "opentelemetry", problem, accepted });
    }
    redact(settings);
    let filter = filter(settings);
    let sampling = Sampling(ChangingSampler::new(settings.sampler()));
    let timeout = settings.shutdown_timeout.unwrap_or(SHUTDOWN_TIMEOUT);
    let telemetry = Telemetry::new(timeout, filter.handle(), sampling, config);
    let (telemetry, layers) = start_parts(settings, telemetry, runtime, Recorders::Leave)?;
    let layer = Optional(None::<tracing_subscriber::layer::Identity>);
    #[cfg(feature = "tempo")]
    let layer = layer.and_then(Optional(layers.tempo));
    #[cfg(feature = "span-metrics")]
    let layer = layer.and_then(Optional(layers.span_metrics));
    #[cfg(feature = "loki")]
    let layer = layer.and_then(Optional(layers.loki));
    #[cfg(feature = "console")]
    let layer = layer.and_then(Optional(crate::console::layer(settings.console.unwrap_or(Console::Off))));
    Ok((Box::new(layer.with_filter(filter)), telemetry))
}

/// Before any callsite comes into use.
fn redact(settings: &Settings) {
    for (name, redacted) in &settings.redaction {
        if *redacted {
            redaction::redact([name]);
        } else {
            redaction::allow([name]);
        }
    }
}

fn filter(settings: &Settings) -> Filter {
    Filter::new(&settings.log_filter.clone().unwrap_or_default(), &settings.span_filter.clone().unwrap_or_default())
}

fn start_parts(
    settings: &Settings,
    telemetry: Telemetry,
    runtime: Option<Handle>,
    recorders: Recorders,
) -> Result<(Telemetry, Layers), Error> {
    if settings.disabled == Some(true) {
        return Ok((telemetry, Layers::default()));
    }
    let worker = Worker::spawn().map_err(Error::Worker)?;
    let identity = settings.identity();
    let mut parts = Parts {
        settings,
        identity,
        worker,
        telemetry,
        layers: Layers::default(),
        recorders,
        #[cfg(feature = "mimir")]
        admin: None,
    };
    // First: what the others record about themselves must find the recorder.
    #[cfg(feature = "mimir")]
    parts.start_metrics()?;
    parts.start_span_metrics(runtime);
    #[cfg(feature = "loki")]
    parts.start_logs()?;
    #[cfg(feature = "tempo")]
    parts.start_traces()?;
    parts.telemetry.publish();
    #[cfg(feature = "mimir")]
    if let Some(admin) = &parts.admin {
        parts.telemetry.open(admin);
    }
    parts.telemetry.keep_alive(parts.worker);
    #[cfg(unix)]
    if settings.shutdown_on_signals == Some(true) {
        crate::signals::watch(parts.telemetry.running()).map_err(Error::Signals)?;
    }
    Ok((parts.telemetry, parts.layers))
}

impl Parts<'_> {
    #[cfg(feature = "loki")]
    fn start_logs(&mut self) -> Result<(), Error> {
        let Some(Destination::To(endpoint)) = &self.settings.loki else { return Ok(()) };
        let mut builder = lgtm_loki::builder();
        for (name, value) in &self.settings.log_labels {
            builder = builder.label(name, value);
        }
        for (field, most_values) in &self.settings.log_labels_from_fields {
            builder = builder.label_from_field(field, *most_values);
        }
        if let Some(Some((lines, within))) = self.settings.log_rate_limit {
            builder = builder.rate_limit(lines, within);
        }
        if let Some(Some(within)) = self.settings.log_deduplicate {
            builder = builder.deduplicate(within);
        }
        let builder = builder
            .endpoint(endpoint.clone())
            .identity(self.identity.clone())
            .worker(self.worker.clone())
            .protocol(self.settings.loki_protocol.unwrap_or_default())
            .format(self.settings.log_format.unwrap_or_default())
            .options(self.options(3));
        #[cfg(feature = "opentelemetry")]
        if self.settings.opentelemetry {
            let (layer, provider, pipeline) = builder.build_opentelemetry()?;
            self.layers.loki = Some(layer);
            self.telemetry.providers().logger = Some(provider);
            self.telemetry.add_events(pipeline);
            return Ok(());
        }
        let (layer, pipeline) = builder.build()?;
        self.layers.loki = Some(layer);
        self.telemetry.add_events(pipeline);
        Ok(())
    }

    #[cfg(feature = "tempo")]
    fn start_traces(&mut self) -> Result<(), Error> {
        let Some(Destination::To(endpoint)) = &self.settings.tempo else { return Ok(()) };
        let builder = lgtm_tempo::builder()
            .endpoint(endpoint.clone())
            .protocol(self.settings.tempo_protocol.unwrap_or_default())
            .sampler(Sampler::Changing(self.telemetry.sampling().0))
            .identity(self.identity.clone())
            .worker(self.worker.clone())
            .options(self.options(3));
        let mut builder = builder.detail(self.settings.span_detail);
        if let Some(mut rules) = self.settings.keep_rules() {
            // What waits is of the last eighth of the memory.
            let budget = self.settings.memory_budget.unwrap_or(MEMORY_BUDGET);
            rules.all_bytes = rules.all_bytes.min(budget / 16);
            rules.trace_bytes = rules.trace_bytes.min(rules.all_bytes / 2);
            builder = builder.keep(rules);
        }
        if let Some(limits) = self.settings.span_limits {
            builder = builder.limits(limits);
        }
        #[cfg(feature = "opentelemetry")]
        if self.settings.opentelemetry {
            let (layer, provider, pipeline) = builder.build_opentelemetry::<Registry>()?;
            opentelemetry::global::set_tracer_provider(provider.clone());
            self.telemetry.providers().tracer = Some(provider);
            propagate();
            self.layers.opentelemetry = Some(Box::new(layer));
            self.telemetry.add_events(pipeline);
            return Ok(());
        }
        let (layer, pipeline) = builder.build()?;
        self.layers.tempo = Some(layer);
        self.telemetry.add_events(pipeline);
        Ok(())
    }

    #[cfg(feature = "mimir")]
    fn start_metrics(&mut self) -> Result<(), Error> {
        let push = match self.settings.push() {
            Some(Destination::To(endpoint)) => Some(endpoint),
            _ => None,
        };
        let address = self.settings.metrics_addr.filter(|_| !self.settings.without_metrics);
        let renders = self.settings.renders_metrics && !self.settings.without_metrics;
        if push.is_none() && address.is_none() && !renders {
            return Ok(());
        }
        let mut builder =
            lgtm_mimir::builder().identity(self.identity.clone()).worker(self.worker.clone()).options(self.options(1));
        if let Some(endpoint) = push {
            builder = builder.push(endpoint).protocol(self.settings.mimir_protocol.unwrap_or_default());
        }
        if let Some(address) = address {
            builder = builder.listen(address);
            if self.settings.admin == Some(true) {
                let admin = self.admin.insert(Admin::at(address));
                builder = builder.routes(admin.routes());
            }
        }
        if let Some(token) = &self.settings.metrics_token {
            builder = builder.listen_token(token.clone());
        }
        if let Some(interval) = self.settings.push_interval {
            builder = builder.push_interval(interval);
        }
        if let Some(bounds) = &self.settings.buckets {
            builder = builder.buckets(bounds);
        }
        #[cfg(feature = "http")]
        {
            builder = with_buckets_of_bodies(builder, &self.settings.buckets_for);
        }
        for (histograms, bounds) in &self.settings.buckets_for {
            builder = builder.buckets_for(histograms.clone(), bounds);
        }
        for (histograms, buckets) in &self.settings.native_histograms_for {
            builder = builder.native_histograms_for(histograms.clone(), *buckets);
        }
        for (histograms, quantiles) in &self.settings.quantiles_for {
            builder = builder.quantiles_for(histograms.clone(), quantiles);
        }
        if let Some(window) = self.settings.quantile_window {
            builder = builder.quantile_window(window);
        }
        if let Some(idle) = self.settings.expire_metrics_after {
            builder = builder.expire_after(idle);
        }
        if let Recorders::Restart(recorder) = &self.recorders {
            builder = builder.restart(recorder.clone());
        }
        let mimir = builder.remote_write(self.settings.remote_write).build()?;
        if matches!(self.recorders, Recorders::Install) {
            mimir.install().map_err(|_| Error::RecorderAlreadySet)?;
        }
        #[cfg(feature = "opentelemetry")]
        if self.settings.opentelemetry {
            let provider = mimir.meter_provider().map_err(Error::Worker)?;
            opentelemetry::global::set_meter_provider(provider.clone());
            self.telemetry.providers().meter = Some(provider);
        }
        self.telemetry.set_recorder(mimir.recorder(), mimir.renderer());
        self.telemetry.set_metrics(mimir.pipeline().cloned(), mimir.local_addr());
        self.telemetry.keep_alive(mimir);
        Ok(())
    }

    fn start_span_metrics(&mut self, runtime: Option<Handle>) {
        #[cfg(feature = "span-metrics")]
        {
            self.layers.span_metrics = Some(lgtm_spanmetrics::layer(&self.identity));
        }
        #[cfg(feature = "system")]
        self.telemetry.keep_alive(lgtm_spanmetrics::system::start(&self.worker, runtime));
    }

    /// The options of a pipeline with this many eighths of the memory.
    fn options(&self, eighths: usize) -> PipelineOptions {
        let bytes = self.settings.memory_budget.unwrap_or(MEMORY_BUDGET) / 8 * eighths;
        let mut options = PipelineOptions::default();
        options.queue.bytes = bytes;
        options.queue.item_bytes = options.queue.item_bytes.min(bytes / 4);
        options.batch.bytes = options.batch.bytes.min(bytes / 4);
        options.overflow = self.settings.overflow.unwrap_or_default();
        #[cfg(feature = "spool")]
        {
            options.spool = self.settings.spool.clone().map(|mut spool| {
                spool.folder.push(file_name(&self.identity.service_name));
                spool
            });
        }
        options
    }
}

/// Sizes of bodies have no use for buckets of seconds. What the program says of them, or of histograms that end like them, counts.
#[cfg(all(feature = "mimir", feature = "http"))]
fn with_buckets_of_bodies(
    mut builder: lgtm_mimir::Builder,
    chosen: &[(lgtm_mimir::Matcher, Vec<f64>)],
) -> lgtm_mimir::Builder {
    use lgtm_mimir::Matcher::Suffix;
    let sizes = lgtm_http::catalogue::all().filter(|metric| metric.buckets == lgtm_http::catalogue::BODY_BYTES);
    for metric in sizes {
        let is_chosen = |histograms: &_| matches!(histograms, Suffix(end) if metric.name.ends_with(end.as_str()));
        if !chosen.iter().any(|(histograms, _)| is_chosen(histograms)) {
            // The weakest way to name one: any other rule of the program wins.
            builder = builder.buckets_for(Suffix(metric.name.to_owned()), metric.buckets);
        }
    }
    builder
}

/// A service's name as the name of a folder: two services never send each other's telemetry.
#[cfg(feature = "spool")]
/// Libraries on the OpenTelemetry API read and write headers by the global propagator, which does nothing unless it is set.
#[cfg(feature = "opentelemetry")]
fn propagate() {
    use opentelemetry::propagation::TextMapCompositePropagator;
    use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};

    // The program's own stays.
    if opentelemetry::global::get_text_map_propagator(|propagator| propagator.fields().next().is_none()) {
        opentelemetry::global::set_text_map_propagator(TextMapCompositePropagator::new(vec![
            Box::new(TraceContextPropagator::new()),
            Box::new(BaggagePropagator::new()),
        ]));
    }
}

fn file_name(service: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    service
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect::<String>()
        .chars()
        .take(200)
        .collect()
}

impl From<Layers> for Signals {
    fn from(layers: Layers) -> Self {
        Self {
            #[cfg(feature = "tempo")]
            tempo: Optional(layers.tempo),
            #[cfg(feature = "span-metrics")]
            span_metrics: Optional(layers.span_metrics),
            #[cfg(feature = "loki")]
            loki: Optional(layers.loki),
        }
    }
}

/// An empty chain for this subscriber, and how its layers are replaced.
fn chain_on<S>(_: &S) -> (Chain<S>, fn(Signals) -> bool)
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    (Chain::default(), chain::replace::<S>)
}

fn install<B>(base: B, filter: Filter, layers: Layers, console: Console) -> Result<fn(Signals) -> bool, Error>
where
    B: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    // The filter stands nearest to the registry; every layer after it is behind it all the same, because all are asked.
    let subscriber = base.with(filter);
    #[cfg(feature = "tempo")]
    let subscriber = subscriber.with(Optional(layers.tempo));
    #[cfg(feature = "span-metrics")]
    let subscriber = subscriber.with(Optional(layers.span_metrics));
    #[cfg(feature = "loki")]
    let subscriber = subscriber.with(Optional(layers.loki));
    let (chain, replace) = chain_on(&subscriber);
    #[cfg(feature = "console")]
    let chain = chain.with_console(crate::console::layer(console));
    let subscriber = subscriber.with(chain);
    dispatcher::set_global_default(Dispatch::new(subscriber)).map_err(|_| Error::SubscriberAlreadySet)?;
    // Records of the `log` crate become events. A program that has a logger of its own keeps it.
    #[cfg(feature = "log")]
    if tracing_log::LogTracer::init().is_err() {
        lgtm_core::warn("the program has a logger of the `log` crate already: its records do not become events");
    }
    Ok(replace)
}
