//! Configuration: from buckets, limits and addresses to a recorder with its pipeline and scrape endpoint.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lgtm_core::catalogue::{CATALOGUE, MetricKind};
use lgtm_core::pipeline::{Pipeline, PipelineOptions, StartError, Target};
use lgtm_core::{Endpoint, Identity, Secret, Worker, otlp};

use crate::buckets::{BucketRules, DEFAULT_BUCKETS, Matcher, NativeRules};
use crate::families::{Families, Kind, Limits};
use crate::mimir::Mimir;
use crate::push::{Push, RemoteWrite, Sending};
use crate::quantiles::QuantileRules;
use crate::recorder::Recorder;
use crate::registry::Registry;
use crate::remote_write;
use crate::scrape::Scrape;
use crate::unit::Unit;

const PUSH_INTERVAL: Duration = Duration::from_secs(15);
const SERIES: usize = 100_000;
const SERIES_OF_NAME: usize = 10_000;

/// Why metrics could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No lane, or too many.
    #[error("metrics pushed in {value} lanes: 1 to {most} are accepted")]
    PushLanes {
        /// What was given.
        value: u32,
        /// The most.
        most: u32,
    },
    /// Buckets that cannot work.
    #[error(
        "buckets of `{metric}`: {value}; 1 to {limit} finite, strictly increasing upper bounds are accepted, such as 0.1, 0.5, 1"
    )]
    Buckets {
        /// Which histograms: a name, or its beginning or end with a `*`.
        metric: String,
        /// What is wrong.
        value: String,
        /// The most bounds.
        limit: usize,
    },
    /// A number of native buckets that cannot work.
    #[error("native buckets of `{metric}`: {value}; 4 to {limit} are accepted, 160 is usual")]
    NativeBuckets {
        /// Which histograms: a name, or its beginning or end with a `*`.
        metric: String,
        /// What was given.
        value: usize,
        /// The most.
        limit: usize,
    },
    /// Quantiles that cannot work.
    #[error(
        "quantiles of `{metric}`: {value}; 1 to {limit} strictly increasing numbers from 0 to 1 are accepted, such as 0.5, 0.9, 0.99"
    )]
    Quantiles {
        /// Which histograms: a name, or its beginning or end with a `*`.
        metric: String,
        /// What is wrong.
        value: String,
        /// The most quantiles.
        limit: usize,
    },
    /// A window of quantiles that cannot work.
    #[error("window of quantiles {value:?}: 1 s to 24 h are accepted")]
    QuantileWindow {
        /// What was given.
        value: Duration,
    },
    /// An interval that cannot work.
    #[error("push interval {value:?}: at least 100 ms are accepted")]
    PushInterval {
        /// What was given.
        value: Duration,
    },
    /// Series would come and go between two collections.
    #[error("expiry of idle series after {value:?}: at least 1 s is accepted")]
    ExpireAfter {
        /// What was given.
        value: Duration,
    },
    /// No series could ever be exposed.
    #[error("series limit {value}: at least 1 is accepted")]
    SeriesLimit {
        /// What was given.
        value: usize,
    },
    /// The endpoint or the spool cannot work.
    #[error("remote write {0}")]
    Start(#[from] StartError),
    /// The address cannot be listened on.
    #[error("scrape endpoint {address}: {source}; a free address such as 127.0.0.1:9464 is accepted")]
    Listen {
        /// What was given.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// The worker could not be started.
    #[error("the worker thread could not be started: {0}")]
    Worker(#[from] io::Error),
}

/// Begins a recorder of metrics. See [`Builder`] for the defaults.
#[must_use]
pub fn builder() -> Builder {
    Builder::default()
}

/// How metrics are pushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// Prometheus' remote write. The default, and the cheapest.
    #[default]
    RemoteWrite,
    /// OTLP, cumulative: to any receiver, and to Mimir's and Prometheus' own OTLP endpoints.
    Otlp(otlp::Protocol),
}

/// More requests at a time no backend takes of one program.
const MOST_LANES: u32 = 64;

/// Configures a recorder of metrics. Without [`Builder::push`] and [`Builder::listen`] nothing leaves the process but by
/// [`Mimir::render`].
#[derive(Debug, Default)]
pub struct Builder {
    buckets: Option<Vec<f64>>,
    rules: Vec<(Matcher, Vec<f64>)>,
    native: Vec<(Matcher, usize)>,
    quantiles: Vec<(Matcher, Vec<f64>)>,
    quantile_window: Option<Duration>,
    push: Option<Endpoint>,
    protocol: Protocol,
    push_interval: Option<Duration>,
    remote_write: RemoteWrite,
    push_lanes: Option<u32>,
    listen: Option<SocketAddr>,
    listen_token: Option<Secret>,
    routes: Option<axum::Router>,
    identity: Option<Identity>,
    worker: Option<Worker>,
    series_limit: Option<usize>,
    name_series_limit: Option<usize>,
    expire_after: Option<Duration>,
    options: PipelineOptions,
    restart: Option<Recorder>,
}

impl Builder {
    /// Goes on with a recorder that is in place already, from zero: for a child that was forked, where the global recorder and
    /// the program's handles are the parent's. Its buckets, limits and expiry stay. Defaults to a new one.
    #[must_use]
    pub fn restart(mut self, recorder: Recorder) -> Self {
        self.restart = Some(recorder);
        self
    }

    /// The upper bounds of every histogram's buckets; `+Inf` is implied. Each bucket is a time series of each label set.
    /// Defaults to Prometheus' buckets: 5 ms to 10 s, in seconds.
    #[must_use]
    pub fn buckets(mut self, bounds: &[f64]) -> Self {
        self.buckets = Some(bounds.to_vec());
        self
    }

    /// The upper bounds of the buckets of some histograms: those of this name, or those that a [`Matcher`] chooses. lgtm's
    /// own histograms have theirs.
    #[must_use]
    pub fn buckets_for(mut self, histograms: impl Into<Matcher>, bounds: &[f64]) -> Self {
        self.rules.push((histograms.into(), bounds.to_vec()));
        self
    }

    /// Also pushes these histograms as native ones (exponential buckets), under the name without suffix, beside the classic
    /// buckets: quantiles are then right within a few percent whatever the values are. `Matcher::Prefix(String::new())` means
    /// all. Defaults to none.
    ///
    /// `buckets` is the most of each sign, 4 to 512, 160 in OpenTelemetry; beyond it neighbours are merged. Memory is 8 bytes
    /// each. The backend must take native histograms: Mimir by its limit `native_histograms_ingestion_enabled`, Prometheus 2
    /// by `--enable-feature=native-histograms`. Scraped they are too, in the protobuf format, which a Prometheus with that feature asks
    /// for; text formats show the classic buckets alone.
    #[must_use]
    pub fn native_histograms_for(mut self, histograms: impl Into<Matcher>, buckets: usize) -> Self {
        self.native.push((histograms.into(), buckets));
        self
    }

    /// Exposes these histograms as summaries: these quantiles (strictly increasing, 0 to 1, at most 32) of the last minute
    /// ([`Builder::quantile_window`]) in place of buckets, beside `_sum` and `_count` of all time. In every format and protocol.
    /// `Matcher::Prefix(String::new())` means all. Wins over [`Builder::native_histograms_for`]. Defaults to none: histograms.
    ///
    /// Prefer histograms. Quantiles of several instances cannot be put together, nor asked for later, nor for another time than the
    /// window; summaries have no exemplars. They are right where one instance is looked at, and the range of the values is not known
    /// beforehand: each is within 1 % of the truth from 1e-9 to 1e26; below that it is 0, above it infinite. A window without samples has
    /// `NaN`.
    ///
    /// A sample takes a lock and a look at the clock, which buckets need not, and threads that record in one series at a time wait for
    /// each other. A series takes as much memory as its values are spread: 4 KiB for every factor of 13 between the least and the
    /// greatest, and never more than 256 KiB. So there are at most 1,000 label sets of one name.
    #[must_use]
    pub fn quantiles_for(mut self, histograms: impl Into<Matcher>, quantiles: &[f64]) -> Self {
        self.quantiles.push((histograms.into(), quantiles.to_vec()));
        self
    }

    /// The time that the quantiles of summaries are told of, 1 s to 24 h. It slides on by a quarter: what is told is of the last three to
    /// four quarters. Shorter than the interval of scrapes or pushes, samples are seen by no quantile. Defaults to one minute.
    #[must_use]
    pub fn quantile_window(mut self, window: Duration) -> Self {
        self.quantile_window = Some(window);
        self
    }

    /// Pushes by remote write. An endpoint without a path gets `/api/v1/push`, Mimir's; Prometheus' own is
    /// `/api/v1/write`. Defaults to no push.
    #[must_use]
    pub fn push(mut self, endpoint: Endpoint) -> Self {
        self.push = Some(endpoint);
        self
    }

    /// How metrics are pushed. Defaults to remote write. With OTLP an endpoint without a path gets `/v1/metrics` over HTTP; Mimir's own is
    /// `/otlp/v1/metrics`, Prometheus' `/api/v1/otlp/v1/metrics`. Series keep their names; a histogram that is also
    /// [native](Builder::native_histograms_for) is sent as an exponential histogram alone.
    #[must_use]
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// How often is pushed. At a flush and a shutdown it is pushed besides. Defaults to 15 s.
    #[must_use]
    pub fn push_interval(mut self, interval: Duration) -> Self {
        self.push_interval = Some(interval);
        self
    }

    /// Which version of remote write is sent. Defaults to 1.0, which every receiver takes.
    #[must_use]
    pub fn remote_write(mut self, version: RemoteWrite) -> Self {
        self.remote_write = version;
        self
    }

    /// In how many lanes series are pushed, 1 to 64: each has one request under way at a time, so the samples of a series
    /// arrive in their order. More than one is for programs of many ten thousand series and a backend that is far away. All
    /// lanes wait for the slowest one. Defaults to 1.
    #[must_use]
    pub fn push_lanes(mut self, lanes: u32) -> Self {
        self.push_lanes = Some(lanes);
        self
    }

    /// Serves `GET` and `HEAD` of `/metrics` on this address, without TLS, and without authentication unless
    /// [`Builder::listen_token`] is set: choose an address that only the scraper reaches, a loopback one where it runs on the same
    /// machine. Port 0 takes a free one ([`Mimir::local_addr`]). Defaults to none.
    ///
    /// 32 connections are served at a time, four answers are in memory at a time; a request's head has 16 KiB and 10 s, an answer
    /// 30 s. `Accept` chooses the format: text, OpenMetrics or protobuf.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = Some(address);
        self
    }

    /// Scrapers must show this bearer token: `authorization: {credentials_file: ...}` in Prometheus' `scrape_configs`. One that
    /// comes from a file ([`Secret::from_file`]) is read again when that changes. Defaults to none.
    #[must_use]
    pub fn listen_token(mut self, token: impl Into<Secret>) -> Self {
        self.listen_token = Some(token.into());
        self
    }

    /// Further routes of the listener of [`Builder::listen`], behind the same token and bounds; a request's body has 16 KiB and 10 s, and
    /// two requests are answered at a time. They run on the worker: a handler that blocks holds up everything. Defaults to none.
    #[must_use]
    pub fn routes(mut self, routes: axum::Router) -> Self {
        self.routes = Some(routes);
        self
    }

    /// Who pushes. Defaults to the executable's name.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// The worker that pushes and serves. Defaults to the one that all layers without one share.
    #[must_use]
    pub fn worker(mut self, worker: Worker) -> Self {
        self.worker = Some(worker);
        self
    }

    /// Most time series; a histogram is one for each bucket, sum and count. Beyond it, each name has one overflow series
    /// more, with the label `otel_metric_overflow="true"`. Defaults to 100,000.
    #[must_use]
    pub fn series_limit(mut self, limit: usize) -> Self {
        self.series_limit = Some(limit);
        self
    }

    /// Most label sets of one name; beyond it, as with [`Builder::series_limit`]. Defaults to 10,000.
    #[must_use]
    pub fn name_series_limit(mut self, limit: usize) -> Self {
        self.name_series_limit = Some(limit);
        self
    }

    /// Series in which nothing was recorded for this long go, if no handle to them is held: a macro that is given labels holds
    /// none. A push marks them as stale; later samples begin new series, from zero. Defaults to never.
    ///
    /// At least one second, and longer than the interval at which metrics are pushed or scraped: that is when idleness is
    /// noticed.
    #[must_use]
    pub fn expire_after(mut self, idle: Duration) -> Self {
        self.expire_after = Some(idle);
        self
    }

    /// Bounds, batches and retries of the push.
    #[must_use]
    pub fn options(mut self, options: PipelineOptions) -> Self {
        self.options = options;
        self
    }

    /// Starts what was chosen.
    ///
    /// # Errors
    /// [`BuildError`] names what cannot work; a scrape address that is taken is one. An unreachable backend is no error.
    pub fn build(self) -> Result<Mimir, BuildError> {
        let interval = self.push_interval.unwrap_or(PUSH_INTERVAL);
        if interval < Duration::from_millis(100) {
            return Err(BuildError::PushInterval { value: interval });
        }
        let lanes = self.push_lanes.unwrap_or(1);
        // By OTLP all goes one way.
        let most_lanes = if self.protocol == Protocol::RemoteWrite { MOST_LANES } else { 1 };
        if !(1..=most_lanes).contains(&lanes) {
            return Err(BuildError::PushLanes { value: lanes, most: most_lanes });
        }
        if let Some(value) = self.expire_after.filter(|idle| *idle < Duration::from_secs(1)) {
            return Err(BuildError::ExpireAfter { value });
        }
        let series = self.series_limit.unwrap_or(SERIES);
        let series_of_name = self.name_series_limit.unwrap_or(SERIES_OF_NAME);
        if let Some(value) = [series, series_of_name].into_iter().find(|limit| *limit == 0) {
            return Err(BuildError::SeriesLimit { value });
        }
        let own = CATALOGUE.iter().filter(|metric| metric.kind == MetricKind::Histogram);
        let mut rules: Vec<_> = own.map(|metric| (Matcher::from(metric.name), metric.buckets.to_vec())).collect();
        rules.extend(self.rules);
        let rules = BucketRules::new(self.buckets.as_deref().unwrap_or(&DEFAULT_BUCKETS), &rules)?;
        let native = NativeRules::new(&self.native)?;
        let quantiles = QuantileRules::new(&self.quantiles, self.quantile_window)?;
        let families =
            Families::new(rules, Limits { series, series_of_name }).with_native(native).with_quantiles(quantiles);
        describe_own(&families);
        let registry = match &self.restart {
            Some(recorder) => recorder.restarted(),
            None => Arc::new(Registry::new(families, series).with_expiry(self.expire_after, self.push.is_some())),
        };

        let mut worker = self.worker;
        let mut needed = || match &worker {
            Some(worker) => Ok(worker.clone()),
            None => Worker::shared().inspect(|shared| worker = Some(shared.clone())),
        };
        let scrape = match self.listen {
            Some(address) => {
                let listening =
                    Scrape::listen(address, self.listen_token, self.routes, Arc::clone(&registry), &needed()?);
                Some(listening.map_err(|source| BuildError::Listen { address, source })?)
            }
            None => None,
        };
        let pipeline = match self.push {
            Some(endpoint) => {
                let identity = self.identity.unwrap_or_default();
                let registry = Arc::clone(&registry);
                Some(match self.protocol {
                    Protocol::RemoteWrite => {
                        let headers = remote_write::common_headers();
                        let target = Target::Http { endpoint, default_path: remote_write::PATH, headers };
                        let sending = Sending { interval, version: self.remote_write, lanes };
                        let signal = Push::new(registry, sending, &identity);
                        Pipeline::start(signal, target, self.options, &needed()?)?
                    }
                    Protocol::Otlp(protocol) => {
                        let target = protocol.target(endpoint, crate::otlp::GRPC_PATH, crate::otlp::HTTP_PATH);
                        let signal = crate::otlp::Otlp::new(registry, interval, &identity);
                        Pipeline::start(signal, target, self.options, &needed()?)?
                    }
                })
            }
            None => None,
        };
        Ok(Mimir::new(registry, pipeline, scrape))
    }
}

/// lgtm's metrics have their help whether or not somebody describes them.
fn describe_own(families: &Families) {
    for metric in CATALOGUE {
        let kind = match metric.kind {
            MetricKind::Counter => Kind::Counter,
            MetricKind::Gauge => Kind::Gauge,
            MetricKind::Histogram => Kind::Histogram,
        };
        families.describe(metric.name, kind, Unit::new(metric.unit), metric.help);
    }
}
