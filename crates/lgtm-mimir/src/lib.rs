//! A recorder for the `metrics` facade: Prometheus remote write to Mimir, a scrape endpoint, and exemplars that lead from a
//! histogram's bucket to the trace of its newest sample.
//!
//! ```no_run
//! let mimir = lgtm_mimir::builder()
//!     .push(lgtm_core::Endpoint::parse("http://localhost:9009")?)
//!     .buckets_for("cart_size_bytes", &[100.0, 1_000.0, 10_000.0])
//!     .build()?;
//! mimir.install()?;
//!
//! metrics::counter!("orders_total", "kind" => "web").increment(1);
//! metrics::histogram!("checkout_duration_seconds").record(0.042);
//!
//! // ... and before the program ends:
//! if let Some(pipeline) = mimir.pipeline() {
//!     let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
//!     pipeline.begin_shutdown(deadline);
//!     let _ = pipeline.wait_ended(deadline);
//!     println!("{}", pipeline.report());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Pushed or scraped
//!
//! - **Pushed** ([`Builder::push`]): every 15 s, at a flush and at the shutdown each series becomes a sample with the labels `job`
//!   (`service.namespace/service.name`), `instance` (`service.instance.id`) and `environment`, so that two processes never write
//!   the same series; a label of the program with such a name is sent as `exported_…`. `target_info` carries the resource's other
//!   attributes. A counter that appears is preceded by a zero, so that `rate()` sees its first value. Type, help and unit go along
//!   once a minute; by remote write 2 ([`Builder::remote_write`]) with every series. The samples of a series arrive in their order,
//!   also over several lanes ([`Builder::push_lanes`]).
//! - **Scraped** ([`Builder::listen`]): `GET /metrics` in the text format 0.0.4, or in OpenMetrics 1.0 or Prometheus' protobuf format
//!   where the scraper's `Accept` prefers it. OpenMetrics and protobuf have exemplars; only protobuf has native histograms. The
//!   scraper adds `job` and `instance`.
//! - Neither: [`Mimir::renderer`] for a program's own server.
//!
//! Do one of them: a program that is scraped and pushes is counted twice.
//!
//! # Exemplars
//!
//! A histogram's sample that is recorded inside a sampled span (lgtm's layers know the current one) is kept as its bucket's
//! exemplar: trace id, span id, value and time. Each bucket has the newest; remote write sends each once.
//!
//! # Libraries of the OpenTelemetry API
//!
//! With the feature `opentelemetry`, `Mimir::meter_provider` gives an OpenTelemetry meter provider whose metrics are in the same scrape
//! and push: see the module `opentelemetry`.
//!
//! # The thread boundary
//!
//! ```text
//! caller                                           | worker
//! recorder.rs -> recent.rs: the thread's own       | collect.rs, listing.rs: the series as they are
//!   -> registry.rs -> families.rs                  |   -> push.rs, encoded_labels.rs, remote_write.rs, remote_write2.rs
//!      (naming.rs, buckets.rs, quantiles.rs: once) |      or otlp.rs -> core's pipeline
//! a handle's sample: scalar.rs, histogram.rs,      |   -> scrape.rs, negotiation.rs, exposition.rs or protobuf.rs -> the scraper
//!   spread.rs, exemplar.rs: atomics alone;         |   -> renderer.rs -> the program's own server
//!   native.rs, summary.rs: under a lock            |
//! ```
//!
//! # What it costs
//!
//! - A sample is a few atomics, whatever the number of series. Threads that meet at a series again and again get cells of their own
//!   there, up to 16 KiB for each of at most 4,096 such series; nobody else pays for that.
//! - A series takes about 750 bytes, its labels included twice: as the program wrote them, and as they are exposed. The first scrape
//!   adds the text of its labels, the first push what is sent of them: about 50 and 100 bytes for two short labels.
//! - A scrape or a push takes time in proportion to the series.
//! - A sample of a native histogram takes a lock besides, one of a summary a lock and a look at the clock; what they keep is in
//!   [`Builder::native_histograms_for`] and [`Builder::quantiles_for`].
//!
//! # Limits
//!
//! - Histograms have fixed buckets ([`Builder::buckets`], [`Builder::buckets_for`]): memory is constant whatever is recorded. Native
//!   histograms ([`Builder::native_histograms_for`]) and summaries ([`Builder::quantiles_for`], which says when not to) are asked for.
//! - At most 100,000 time series ([`Builder::series_limit`]), 10,000 label sets of one name ([`Builder::name_series_limit`]), 1,000 of a
//!   summary, and 10,000 names. Further label sets count together in one series with the label `otel_metric_overflow="true"`.
//! - Names and labels get valid characters (`http.route` becomes `http_route`); keys that become equal are one series. Label
//!   values are cut at 1,024 bytes, names at 512, labels at 64.
//! - The first type of a name wins; what uses the name with another type is not exposed. A histogram also owns the names of its
//!   samples, `…_bucket`, `…_sum`, `…_count`; a summary the last two.
//! - A sample that is NaN is left out of a histogram or summary.
//! - Series live as long as the recorder, unless [`Builder::expire_after`] says otherwise.
//!
//! `otlp_metrics_series_refused_total`, by `reason`, counts each use of a metric that a limit changed.

mod buckets;
mod builder;
mod collect;
mod encoded_labels;
mod exemplar;
mod expiry;
mod exposition;
mod families;
mod histogram;
mod listing;
mod mimir;
mod naming;
mod native;
mod negotiation;
mod number;
#[cfg(feature = "opentelemetry")]
pub mod opentelemetry;
mod otlp;
mod prometheus_config;
mod protobuf;
mod push;
mod quantiles;
mod recent;
mod recorder;
mod refusal;
mod registry;
mod remote_write;
mod remote_write2;
mod renderer;
mod scalar;
mod scrape;
mod sending;
mod spread;
mod summary;
mod unit;
mod value;

pub use buckets::{DEFAULT_BUCKETS, Matcher};
pub use builder::{BuildError, Builder, Protocol, builder};
pub use exposition::Format;
pub use lgtm_core::otlp::Protocol as OtlpProtocol;
pub use mimir::{InstallError, Mimir};
pub use prometheus_config::prometheus_config;
pub use push::RemoteWrite;
pub use recorder::Recorder;
pub use renderer::Renderer;

/// The examples of the package's page compile and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
