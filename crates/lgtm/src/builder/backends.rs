//! The settings in code of where telemetry goes, and of what happens where it cannot.

use std::time::Duration;

#[cfg(any(feature = "loki", feature = "tempo", feature = "mimir"))]
use lgtm_core::Endpoint;
use lgtm_core::pipeline::Overflow;

use super::Builder;
#[cfg(feature = "devstack")]
use crate::devstack;
#[cfg(any(feature = "loki", feature = "tempo", feature = "mimir"))]
use crate::settings::Destination;

impl Builder {
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

    /// How often metrics are pushed; a flush and the shutdown push besides. Defaults to 15 s.
    #[cfg(feature = "mimir")]
    pub fn push_interval(mut self, interval: Duration) -> Self {
        self.settings.push_interval = Some(interval);
        self
    }

    /// Which version of remote write metrics are pushed by. Defaults to 1.0; to a receiver that does not take 2.0, 1.0 is sent.
    #[cfg(feature = "mimir")]
    pub fn remote_write(mut self, version: lgtm_mimir::RemoteWrite) -> Self {
        self.settings.remote_write = version;
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

    /// What happens when a queue is full. Defaults to dropping (and counting) the newest item.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.settings.overflow = Some(overflow);
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

    /// Bytes that waiting telemetry may take, of all signals together: 3/8 each for logs and spans, 1/8 for metrics, the rest
    /// for requests in flight and for what waits for the keep rules. Defaults to 64 MiB; 4 MiB is the least.
    pub fn memory_budget(mut self, bytes: usize) -> Self {
        self.settings.memory_budget = Some(bytes);
        self
    }

    /// Runs a development stack in the program itself, on a thread of its own, and sends everything to it that code does not send
    /// elsewhere, whatever the environment says of backends: its window, a page in the browser, shows logs, traces and metrics as they come.
    /// The console says where it is, and [`Telemetry::devstack`](crate::Telemetry::devstack) does.
    ///
    /// It listens on 127.0.0.1, on the ports of the real backends (3100, 4317, 4318, 3200, 9009; 4320 for the window) or, where one is
    /// taken, on a free one: other programs of this machine that say nothing of backends send to it too, and their traces are whole. It holds
    /// about 64 MiB each of logs, traces and metrics in this process, the newest, and ends with [`Telemetry`](crate::Telemetry). Metrics are pushed every 2 s
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
}
