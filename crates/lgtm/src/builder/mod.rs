//! The settings in code; `values.rs` says which cannot be. Runs once, at the start.

#[cfg(any(feature = "loki", feature = "tempo", feature = "mimir"))]
mod receiver;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use lgtm_core::Sampler;
use lgtm_core::pipeline::Overflow;
use lgtm_core::span::Limits;
use tokio::runtime::Handle;
use tracing_core::Subscriber;
use tracing_subscriber::Registry;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

use crate::compose;
use crate::config::{Chosen, Config};
#[cfg(feature = "devstack")]
use crate::devstack;
use crate::environment;
use crate::error::Error;
use crate::filter::directives;
use crate::guard::Telemetry;
#[cfg(any(feature = "loki", feature = "tempo", feature = "mimir"))]
use crate::settings::Destination;
use crate::settings::{Console, Profile, Settings};
#[cfg(any(feature = "loki", feature = "tempo", feature = "mimir"))]
use lgtm_core::Endpoint;

/// All layers that were chosen, as one.
pub type Layers<S> = Box<dyn Layer<S> + Send + Sync>;

/// The settings as code and environment together say them, and what else was given.
struct Settled {
    settings: Settings,
    config: Config,
    layer: Option<Layers<Registry>>,
    runtime: Option<Handle>,
    #[cfg(feature = "devstack")]
    devstack: Option<lgtm_devstack::Devstack>,
}

/// Starts from the environment; what is set here wins over it.
pub fn builder() -> Builder {
    Builder {
        settings: Settings::default(),
        use_environment: true,
        variables: None,
        log_filter: None,
        span_filter: None,
        layer: None,
        runtime: None,
    }
}

/// Configures and starts telemetry. Everything has a default, see [the crate's table](crate#configuration); each method
/// wins over the variable that says the same.
///
/// ```no_run
/// use std::time::Duration;
///
/// # fn main() -> Result<(), lgtm::Error> {
/// let telemetry = lgtm::builder()
///     .service_name("shop")
///     .resource_attribute("service.version", env!("CARGO_PKG_VERSION"))
///     .shutdown_timeout(Duration::from_secs(2))
///     .init()?;
/// # drop(telemetry);
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing happens before init()"]
pub struct Builder {
    settings: Settings,
    use_environment: bool,
    /// In the place of the process's, for tests.
    variables: Option<BTreeMap<String, String>>,
    log_filter: Option<String>,
    span_filter: Option<String>,
    layer: Option<Layers<Registry>>,
    runtime: Option<Handle>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Builder")
            .field("settings", &self.settings)
            .field("use_environment", &self.use_environment)
            .field("log_filter", &self.log_filter)
            .field("span_filter", &self.span_filter)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// Reads no environment variable: what is not set in code has its default, and backends are reached without a proxy unless
    /// their endpoint names one. (`NO_COLOR` still speaks for the terminal.)
    pub fn ignore_environment(mut self) -> Self {
        self.use_environment = false;
        self
    }

    /// Reads these variables instead of those of the process, which tests cannot change.
    #[doc(hidden)]
    pub fn variables(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.variables = Some(variables.into_iter().collect());
        self
    }

    /// `service.name`. Defaults to the executable's name.
    pub fn service_name(mut self, name: impl Into<String>) -> Self {
        self.settings.service_name = Some(name.into());
        self
    }

    /// A resource attribute by its OpenTelemetry name, such as `service.version`, `service.namespace`, `service.instance.id`
    /// or `deployment.environment.name`. Of two with one name the later wins.
    pub fn resource_attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.resource_attributes.push((name.into(), value.into()));
        self
    }

    /// One OTLP receiver for logs, traces and metrics, such as a collector or Grafana Cloud's gateway: what `LGTM_ENDPOINT` is in the
    /// environment. Over HTTP `/v1/logs`, `/v1/traces` and `/v1/metrics` are appended to its path. It is spoken to by gRPC on port 4317, by HTTP
    /// on port 4318, else by HTTP if it has a path and by gRPC if it has none, unless a protocol is set. What is set for one signal wins.
    /// Credentials of the environment are not sent to it.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), lgtm::Error> {
    /// use lgtm::{Compression, Endpoint, Secret};
    ///
    /// let gateway = Endpoint::parse("https://otlp-gateway-prod-eu-west-2.grafana.net/otlp").expect("a URL");
    /// let token = Secret::from_file("/run/secrets/grafana-token").expect("a readable file");
    /// let gateway = gateway.basic_auth("123456", token).compression(Compression::Gzip);
    /// let telemetry = lgtm::builder().endpoint(gateway).init()?;
    /// # drop(telemetry);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(any(feature = "loki", feature = "tempo", feature = "mimir"))]
    pub fn endpoint(mut self, receiver: Endpoint) -> Self {
        self.settings.endpoint = Some(receiver);
        self
    }

    /// Where logs go. Defaults to `http://localhost:3100`. The endpoint is taken as it is: credentials of the environment are
    /// not sent to it.
    #[cfg(feature = "loki")]
    pub fn loki(mut self, endpoint: Endpoint) -> Self {
        self.settings.loki = Some(Destination::To(endpoint));
        self
    }

    /// How logs travel to the endpoint of [`Builder::loki`]. Defaults to Loki's own push; with OTLP they go to any receiver, and have
    /// no labels of the program's own ([`Builder::log_label`]).
    #[cfg(feature = "loki")]
    pub fn loki_protocol(mut self, protocol: lgtm_loki::Protocol) -> Self {
        self.settings.loki_protocol = Some(protocol);
        self
    }

    /// Sends no logs to Loki; the console is not concerned.
    #[cfg(feature = "loki")]
    pub fn without_loki(mut self) -> Self {
        self.settings.loki = Some(Destination::Off);
        self
    }

    /// Where traces go. Defaults to `http://localhost:4317`. The endpoint is taken as it is: credentials and headers of the
    /// environment are not sent to it.
    #[cfg(feature = "tempo")]
    pub fn tempo(mut self, endpoint: Endpoint) -> Self {
        self.settings.tempo = Some(Destination::To(endpoint));
        self
    }

    /// The protocol of traces. Defaults to what the endpoint says: port 4317 gRPC, port 4318 HTTP, else HTTP if it has a path
    /// and gRPC if it has none.
    #[cfg(feature = "tempo")]
    pub fn tempo_protocol(mut self, protocol: lgtm_tempo::Protocol) -> Self {
        self.settings.tempo_protocol = Some(protocol);
        self
    }

    /// Sends no traces. Logs and exemplars keep their ids.
    #[cfg(feature = "tempo")]
    pub fn without_tempo(mut self) -> Self {
        self.settings.tempo = Some(Destination::Off);
        self
    }

    /// How metrics are pushed to the endpoint of [`Builder::mimir`]. Defaults to remote write; with OTLP they go to any receiver.
    #[cfg(feature = "mimir")]
    pub fn mimir_protocol(mut self, protocol: lgtm_mimir::Protocol) -> Self {
        self.settings.mimir_protocol = Some(protocol);
        self
    }

    /// Where metrics are pushed. Defaults to `http://localhost:9009`, unless [`Builder::metrics_addr`] is set: a program
    /// is scraped or it pushes. Set both only where no scraper reads what is pushed already, else everything is counted
    /// twice. The endpoint is taken as it is: credentials of the environment are not sent to it.
    #[cfg(feature = "mimir")]
    pub fn mimir(mut self, endpoint: Endpoint) -> Self {
        self.settings.mimir = Some(Destination::To(endpoint));
        self
    }

    /// Where metrics can be scraped, at `/metrics`; port 0 takes a free one, see [`Telemetry::metrics_addr`]. Set alone,
    /// metrics are not pushed. Default: nowhere.
    #[cfg(feature = "mimir")]
    pub fn metrics_addr(mut self, address: impl Into<SocketAddr>) -> Self {
        self.settings.metrics_addr = Some(address.into());
        self
    }

    /// Scrapers must show this bearer token. Without one everybody who reaches [`Builder::metrics_addr`] may read: choose a loopback
    /// address then, or one that only the scraper reaches. One that comes from a file
    /// ([`Secret::from_file`](crate::Secret::from_file)) is read again when that changes.
    #[cfg(feature = "mimir")]
    pub fn metrics_token(mut self, token: impl Into<lgtm_core::Secret>) -> Self {
        self.settings.metrics_token = Some(token.into());
        self
    }

    /// Whether the program can be asked and changed while it runs, under `/admin/` at [`Builder::metrics_addr`]: report, configuration,
    /// [filters](crate::Filters), [sampling](crate::Sampling), flush. The book's page "Runtime control" has the requests.
    /// Whoever reaches the address can do all that, so one that other machines reach needs [`Builder::metrics_token`]. Defaults to false.
    #[cfg(feature = "mimir")]
    pub fn admin(mut self, on: bool) -> Self {
        self.settings.admin = Some(on);
        self
    }

    /// How often metrics are pushed; a flush and the shutdown push besides. Defaults to 15 s.
    #[cfg(feature = "mimir")]
    pub fn push_interval(mut self, interval: Duration) -> Self {
        self.settings.push_interval = Some(interval);
        self
    }

    /// The upper bounds of every histogram's buckets, `+Inf` is implied. Defaults to Prometheus' own: 5 ms to 10 s, in seconds.
    #[cfg(feature = "mimir")]
    pub fn buckets(mut self, bounds: &[f64]) -> Self {
        self.settings.buckets = Some(bounds.to_vec());
        self
    }

    /// The upper bounds of the buckets of some histograms: those of this name, or those that a [`Matcher`](crate::Matcher)
    /// chooses. lgtm's own histograms, and the sizes of bodies of `lgtm::http`, have theirs.
    #[cfg(feature = "mimir")]
    pub fn buckets_for(mut self, histograms: impl Into<lgtm_mimir::Matcher>, bounds: &[f64]) -> Self {
        self.settings.buckets_for.push((histograms.into(), bounds.to_vec()));
        self
    }

    /// Also pushes these histograms as native ones (exponential buckets), at most so many buckets of each sign (4 to 512; 160 in
    /// OpenTelemetry), beside the classic buckets. `Matcher::Prefix(String::new())` means all. Defaults to none; the backend
    /// must take them.
    #[cfg(feature = "mimir")]
    pub fn native_histograms_for(mut self, histograms: impl Into<lgtm_mimir::Matcher>, buckets: usize) -> Self {
        self.settings.native_histograms_for.push((histograms.into(), buckets));
        self
    }

    /// Exposes these histograms as summaries: these quantiles of the last minute in place of buckets. Quantiles of several instances
    /// cannot be put together: see [`lgtm_mimir::Builder::quantiles_for`] before. Defaults to none.
    #[cfg(feature = "mimir")]
    pub fn quantiles_for(mut self, histograms: impl Into<lgtm_mimir::Matcher>, quantiles: &[f64]) -> Self {
        self.settings.quantiles_for.push((histograms.into(), quantiles.to_vec()));
        self
    }

    /// The time that the quantiles of summaries are told of, 1 s to 24 h. Defaults to one minute.
    #[cfg(feature = "mimir")]
    pub fn quantile_window(mut self, window: Duration) -> Self {
        self.settings.quantile_window = Some(window);
        self
    }

    /// Series in which nothing was recorded for this long go, if no handle to them is held; at least one second, and longer than
    /// the interval of pushes or scrapes. Defaults to never.
    #[cfg(feature = "mimir")]
    pub fn expire_metrics_after(mut self, idle: Duration) -> Self {
        self.settings.expire_metrics_after = Some(idle);
        self
    }

    /// Which version of remote write metrics are pushed by. Defaults to 1.0; to a receiver that does not take 2.0, 1.0 is sent.
    #[cfg(feature = "mimir")]
    pub fn remote_write(mut self, version: lgtm_mimir::RemoteWrite) -> Self {
        self.settings.remote_write = version;
        self
    }

    /// Metrics are recorded for a server of the program's own, which answers scrapes by [`Telemetry::metrics_renderer`]. Set
    /// alone, they are not pushed, as with [`Builder::metrics_addr`].
    #[cfg(feature = "mimir")]
    pub fn render_metrics(mut self) -> Self {
        self.settings.renders_metrics = true;
        self
    }

    /// Neither pushes metrics nor offers them for scraping, and leaves the global recorder to the program.
    #[cfg(feature = "mimir")]
    pub fn without_metrics(mut self) -> Self {
        self.settings.mimir = Some(Destination::Off);
        self.settings.without_metrics = true;
        self
    }

    /// Spans go through an OpenTelemetry `TracerProvider`, which becomes the global one, with tracing-opentelemetry's layer on
    /// it: programs and libraries that use the OpenTelemetry API or `OpenTelemetrySpanExt` export through the same pipeline,
    /// with the same ids in logs and exemplars. It costs several times more than the native layer, which is the default.
    ///
    /// Metrics of the OpenTelemetry API are beside those of the `metrics` crate: its `MeterProvider` becomes the global one too. For log
    /// records of that API there is `Telemetry::logger_provider`.
    #[cfg(feature = "opentelemetry")]
    pub fn opentelemetry(mut self) -> Self {
        self.settings.opentelemetry = true;
        self
    }

    /// What log lines look like in Loki. Defaults to JSON.
    #[cfg(feature = "loki")]
    pub fn log_format(mut self, format: lgtm_loki::Format) -> Self {
        self.settings.log_format = Some(format);
        self
    }

    /// Of the lines of one callsite at most so many within a time; further ones are left out, counted and told: see
    /// [`lgtm_loki::Builder::rate_limit`]. Spans and the console have all events. Defaults to no limit.
    #[cfg(feature = "loki")]
    pub fn log_rate_limit(mut self, lines: u32, within: Duration) -> Self {
        self.settings.log_rate_limit = Some(Some((lines, within)));
        self
    }

    /// Lines of one callsite that say the same are one within this time after the first of them: see
    /// [`lgtm_loki::Builder::deduplicate`]. Defaults to none.
    #[cfg(feature = "loki")]
    pub fn log_deduplicate(mut self, within: Duration) -> Self {
        self.settings.log_deduplicate = Some(Some(within));
        self
    }

    /// Adds a stream label to all lines, beside `service_name`, `service`, `environment` and `level`. Streams are expensive in
    /// Loki: use few labels, with few values.
    #[cfg(feature = "loki")]
    pub fn log_label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.log_labels.push((name.into(), value.into()));
        self
    }

    /// Adds a stream label whose value is that of a field of the event, else of the nearest of its spans that has it. Only the
    /// first `most_values` (1 to 1,000) are told apart, further ones are `other` and counted.
    #[cfg(feature = "loki")]
    pub fn log_label_from_field(mut self, field: impl Into<String>, most_values: usize) -> Self {
        self.settings.log_labels_from_fields.push((field.into(), most_values));
        self
    }

    /// Which traces are recorded. Defaults to that of the profile.
    pub fn sampler(mut self, sampler: Sampler) -> Self {
        self.settings.sampler = Some(sampler);
        self
    }

    /// Whether traces that the sampler leaves out are kept if a span of this process fails: the part of them that happens
    /// here. Defaults to that of the profile.
    pub fn keep_errors(mut self, keep: bool) -> Self {
        self.settings.keep_errors = Some(keep);
        self
    }

    /// Whether traces that the sampler leaves out are kept if they take longer than this here; `None`: not for that. Defaults
    /// to that of the profile.
    pub fn keep_slower_than(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.keep_slower_than = Some(limit.into());
        self
    }

    /// Bounds of a span's attributes, events and links. Defaults to those of the OpenTelemetry specification.
    pub fn span_limits(mut self, limits: Limits) -> Self {
        self.settings.span_limits = Some(limits);
        self
    }

    /// What spans say beside their fields: location, thread, busy and idle time, backtraces. Nothing by default.
    #[cfg(feature = "tempo")]
    pub fn span_detail(mut self, detail: lgtm_tempo::Detail) -> Self {
        self.settings.span_detail = detail;
        self
    }

    /// The purpose, which chooses the sampler. Defaults to [`Profile::Development`].
    pub fn profile(mut self, profile: Profile) -> Self {
        self.settings.profile = Some(profile);
        self
    }

    /// What happens when a queue is full. Defaults to dropping (and counting) the newest item.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.settings.overflow = Some(overflow);
        self
    }

    /// Which events are recorded, as directives of `RUST_LOG`. Defaults to `info`.
    pub fn log_filter(mut self, directives: impl Into<String>) -> Self {
        self.log_filter = Some(directives.into());
        self
    }

    /// Which spans are recorded, as directives of `RUST_LOG`. Defaults to `info`.
    pub fn span_filter(mut self, directives: impl Into<String>) -> Self {
        self.span_filter = Some(directives.into());
        self
    }

    /// Fields of these names do not show their values: `[redacted]` stands in logs, spans, their events and links, metric labels
    /// and on the console instead. For the whole process, beside [the defaults](lgtm_core::redaction::DEFAULTS) such as
    /// `password`, `token` and `authorization`. A name also stands for all that end with its words:
    /// [how names match](crate::redaction).
    ///
    /// ```no_run
    /// # fn main() -> Result<(), lgtm::Error> {
    /// let telemetry = lgtm::builder().redact(["ssn", "iban"]).without_redacting(["page_token"]).init()?;
    /// # drop(telemetry);
    /// # Ok(())
    /// # }
    /// ```
    pub fn redact<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.settings.redaction.extend(names.into_iter().map(|name| (name.into(), true)));
        self
    }

    /// Fields of these names show their values, although a shorter name of the list stands for them (`page_token`), or they are
    /// a default themselves.
    pub fn without_redacting<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.settings.redaction.extend(names.into_iter().map(|name| (name.into(), false)));
        self
    }

    /// What standard error shows. Defaults to [`Console::Auto`].
    pub fn console(mut self, console: Console) -> Self {
        self.settings.console = Some(console);
        self
    }

    /// The bound on a flush and on the shutdown. Defaults to 5 s.
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.settings.shutdown_timeout = Some(timeout);
        self
    }

    /// Where telemetry goes that memory cannot hold, and what is left at the end of the program: to disk, from where it is sent when
    /// the backend takes it again, also by the next start. In the folder each service has a folder of its own. Defaults to none: what
    /// memory cannot hold is dropped and counted.
    #[cfg(feature = "spool")]
    pub fn spool(mut self, options: lgtm_core::SpoolOptions) -> Self {
        self.settings.spool = Some(options);
        self
    }

    /// Whether a panic is an event of level ERROR, with the target `panic`, before the program's own hook runs. Defaults to true.
    /// Call `init` after setting a hook of your own: one that is set later replaces this one.
    pub fn panics(mut self, on: bool) -> Self {
        self.settings.without_panics = !on;
        self
    }

    /// Whether SIGTERM and Ctrl-C send what is left before they end the process, with the exit status that they have without
    /// lgtm. A signal for which the program has a handler already is left to that; one that sets its handlers later keeps this
    /// off. Defaults to off. Unix only.
    pub fn shutdown_on_signals(mut self, on: bool) -> Self {
        self.settings.shutdown_on_signals = Some(on);
        self
    }

    /// Bytes that waiting telemetry may take, of all signals together: 3/8 each for logs and spans, 1/8 for metrics, the rest
    /// for requests in flight and for what waits for the keep rules. Defaults to 64 MiB; 4 MiB is the least.
    pub fn memory_budget(mut self, bytes: usize) -> Self {
        self.settings.memory_budget = Some(bytes);
        self
    }

    /// Runs a development stack in the program itself, on a thread of its own, and sends everything to it that code does not send
    /// elsewhere, whatever the environment says of backends: its window, a page in the browser, shows logs, traces and metrics as they come.
    /// The console says where it is, and [`Telemetry::devstack`] does.
    ///
    /// It listens on 127.0.0.1, on the ports of the real backends (3100, 4317, 4318, 3200, 9009; 4320 for the window) or, where one is
    /// taken, on a free one: other programs of this machine that say nothing of backends send to it too, and their traces are whole. It holds
    /// about 64 MiB each of logs, traces and metrics in this process, the newest, and ends with [`Telemetry`]. Metrics are pushed every 2 s
    /// if no interval is set.
    ///
    /// `init` refuses it in a build without debug assertions, so that it is not left in a release; see [`Builder::force_devstack`].
    ///
    /// ```no_run
    /// # fn main() -> Result<(), lgtm::Error> {
    /// let telemetry = lgtm::builder().devstack().init()?; // and open http://127.0.0.1:4320
    /// # drop(telemetry);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "devstack")]
    pub fn devstack(mut self) -> Self {
        self.settings.devstack = Some(devstack::Wanted::InDebugBuilds);
        self
    }

    /// As [`Builder::devstack`], also in a release build: for trying out what is built as for production.
    #[cfg(feature = "devstack")]
    pub fn force_devstack(mut self) -> Self {
        self.settings.devstack = Some(devstack::Wanted::Always);
        self
    }

    /// Sends nothing, and records no metrics: only the console shows events. The same as `OTEL_SDK_DISABLED=true`.
    pub fn disabled(mut self, disabled: bool) -> Self {
        self.settings.disabled = Some(disabled);
        self
    }

    /// The runtime whose tasks are counted. Defaults to the one in which `init` is called; outside of runtimes the gauge
    /// `otlp_system_tasks_count` is absent.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// A layer of the program's own, behind the same filters. Several are added one by one.
    pub fn layer(mut self, layer: impl Layer<Registry> + Send + Sync) -> Self {
        self.layer = Some(match self.layer {
            None => Box::new(layer),
            Some(others) => Box::new(others.and_then(layer)),
        });
        self
    }

    /// Starts telemetry: installs the global subscriber and the global recorder. Call it once, early in `main`, in or outside
    /// of a runtime. An unreachable backend is no error: what is recorded waits in its queue.
    ///
    /// # Errors
    /// [`Error`] names the setting or variable that cannot work, its value and the accepted form; or what is installed already.
    pub fn init(self) -> Result<Telemetry, Error> {
        let settled = self.settle(true)?;
        let telemetry = compose::start(&settled.settings, settled.config, settled.layer, settled.runtime)?;
        #[cfg(feature = "devstack")]
        let telemetry = with_devstack(telemetry, settled.devstack, settled.settings.console.unwrap_or_default());
        Ok(telemetry)
    }

    /// Starts the pipelines and gives their layers, as one layer for a registry of the program's own, behind the same filters
    /// as with [`Builder::init`]; other layers of the registry are not filtered. Nothing is installed: neither a subscriber nor
    /// a recorder ([`Telemetry::recorder`] gives it), nor the bridge from the `log` crate.
    ///
    /// ```no_run
    /// use tracing_subscriber::prelude::*;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (layers, telemetry) = lgtm::layers()?; // or lgtm::builder() ... .layers()?
    /// tracing_subscriber::registry().with(layers).with(tracing_subscriber::fmt::layer()).init();
    /// if let Some(recorder) = telemetry.recorder() {
    ///     metrics::set_global_recorder(recorder)?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error`] names the setting or variable that cannot work, its value and the accepted form. [`Builder::layer`] and
    /// `Builder::opentelemetry` are for `init` alone.
    pub fn layers<S>(self) -> Result<(Layers<S>, Telemetry), Error>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let settled = self.settle(true)?;
        if settled.layer.is_some() {
            let problem = "the program composes the layers itself".to_owned();
            return Err(Error::Setting { setting: "layer", problem, accepted: "registry().with(layers).with(layer)" });
        }
        let (layers, telemetry) = compose::layers(&settled.settings, settled.config, settled.runtime)?;
        #[cfg(feature = "devstack")]
        let telemetry = with_devstack(telemetry, settled.devstack, settled.settings.console.unwrap_or(Console::Off));
        Ok((layers, telemetry))
    }

    /// What telemetry would run with, and who chose it; starts nothing. Secrets are not in it.
    ///
    /// ```
    /// # fn main() -> Result<(), lgtm::Error> {
    /// println!("{}", lgtm::builder().config()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error`] names the setting or variable that cannot work, its value and the accepted form.
    pub fn config(self) -> Result<Config, Error> {
        self.settle(false).map(|settled| settled.config)
    }

    /// The settings that count. With `start`, what they say of the development stack is done.
    #[cfg_attr(not(feature = "devstack"), expect(unused_variables, reason = "there is nothing to start"))]
    fn settle(self, start: bool) -> Result<Settled, Error> {
        #[cfg_attr(
            not(any(feature = "loki", feature = "tempo", feature = "mimir")),
            expect(unused_mut, reason = "there is nothing to send")
        )]
        let mut code = Settings {
            log_filter: self.log_filter.map(|text| directives("log_filter", &text)).transpose()?,
            span_filter: self.span_filter.map(|text| directives("span_filter", &text)).transpose()?,
            ..self.settings
        };
        values::refuse_bad_values(&code)?;
        #[cfg(any(feature = "loki", feature = "tempo", feature = "mimir"))]
        receiver::spread(&mut code)?;
        let use_environment = self.use_environment;
        let lookup = |name: &str| match &self.variables {
            _ if !use_environment => None,
            Some(variables) => variables.get(name).cloned(),
            None => environment::variable(name),
        };
        let chosen = Chosen::in_code(&code);
        #[cfg(feature = "mimir")]
        let admin_in_code = code.admin.is_some();
        #[cfg(feature = "devstack")]
        let in_code = devstack::InCode::of(&code);
        let mut settings = code.or(environment::read(lookup)?);
        #[cfg(feature = "devstack")]
        let (chosen, stack) = if devstack::is_wanted(&settings, &in_code, cfg!(debug_assertions))? {
            let stack = devstack::take_place(&mut settings, &in_code, start)?;
            (chosen.with_devstack(in_code.replaced()), stack)
        } else {
            (chosen, None)
        };
        #[cfg(feature = "tempo")]
        settings.settle_tempo()?;
        #[cfg(any(feature = "loki", feature = "mimir"))]
        settings.refuse_mismatches()?;
        #[cfg(feature = "mimir")]
        values::refuse_open_admin(&settings, admin_in_code)?;
        if !use_environment {
            settings.ignore_proxies();
        }
        let config = chosen.describe(&settings, &lookup);
        let runtime = self.runtime.or_else(|| Handle::try_current().ok());
        Ok(Settled {
            settings,
            config,
            layer: self.layer,
            runtime,
            #[cfg(feature = "devstack")]
            devstack: stack,
        })
    }
}

/// The stack lives as long as telemetry does, and the console says where it is.
#[cfg(feature = "devstack")]
fn with_devstack(telemetry: Telemetry, stack: Option<lgtm_devstack::Devstack>, console: Console) -> Telemetry {
    if let Some(stack) = &stack {
        devstack::tell(stack, console);
    }
    telemetry.with_devstack(stack)
}

#[cfg(test)]
mod tests;
