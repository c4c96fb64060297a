//! One line in `main`, and every `tracing` span, every `tracing` event and every `metrics` sample of a program reaches Tempo,
//! Loki and Mimir, linked to each other in Grafana.
//!
//! ```no_run
//! fn main() -> Result<(), lgtm::Error> {
//!     let telemetry = lgtm::init()?; // the environment says where
//!     run();
//!     drop(telemetry); // sends what is left, within one deadline
//!     Ok(())
//! }
//!
//! #[tracing::instrument]
//! fn run() {
//!     tracing::info!(order = 17, "order placed"); // to Loki, with trace_id and span_id
//!     metrics::counter!("orders_total").increment(1); // to Mimir
//! }
//! ```
//!
//! The package is `lgtm-telemetry`, the library `lgtm`. It is safe to leave on: a backend that is slow, broken or absent never
//! slows, grows or breaks the program; what is lost is counted, with its reason.
//!
//! # Configuration
//!
//! [`init`] reads the environment. [`builder`] says the same in code, and code wins. Empty variables count as unset. A
//! value that cannot work is an error that names the variable, the value (unless it is a secret) and the accepted form.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `OTEL_SERVICE_NAME` | the service's name | the executable's name |
//! | `OTEL_RESOURCE_ATTRIBUTES` | `key=value,...`, percent-encoded: `service.version`, `service.namespace`, `service.instance.id`, `deployment.environment.name`, others | a random instance id |
//! | `LGTM_ENDPOINT` | one OTLP receiver for logs, traces and metrics, such as Grafana Cloud's gateway or a collector, with or without `user:password@`; over HTTP `/v1/logs`, `/v1/traces` and `/v1/metrics` are appended; what is said of one backend or signal wins | none |
//! | `LOKI_URL` | Loki, or `off` | `http://localhost:3100` |
//! | `OTEL_LOGS_EXPORTER` | without `LOKI_URL`: `otlp` sends logs as OTLP to the next one, `none` sends none | Loki's push |
//! | `OTEL_EXPORTER_OTLP_LOGS_ENDPOINT` | an OTLP receiver for logs, used as it is: a collector, or Loki's `/otlp/v1/logs`; chooses OTLP by itself | that for all signals, with `OTEL_LOGS_EXPORTER=otlp` |
//! | `TEMPO_ENDPOINT` | Tempo or another OTLP receiver, or `off` | `http://localhost:4317` |
//! | `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` | the same, used as it is | |
//! | `OTEL_EXPORTER_OTLP_ENDPOINT` | the same; over HTTP `/v1/traces` is appended, `/v1/logs` for logs, `/v1/metrics` for metrics | |
//! | `OTEL_TRACES_EXPORTER` | `none` sends no traces, unless an endpoint of their own is set | `otlp` |
//! | `OTEL_EXPORTER_OTLP_PROTOCOL`, `OTEL_EXPORTER_OTLP_TRACES_PROTOCOL`, `OTEL_EXPORTER_OTLP_LOGS_PROTOCOL`, `OTEL_EXPORTER_OTLP_METRICS_PROTOCOL` | `grpc` or `http/protobuf` | what the endpoint says: port 4317 gRPC, port 4318 HTTP, else HTTP with a path and gRPC without |
//! | `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_EXPORTER_OTLP_TRACES_HEADERS`, `OTEL_EXPORTER_OTLP_LOGS_HEADERS`, `OTEL_EXPORTER_OTLP_METRICS_HEADERS` | `key=value,...`, percent-encoded: headers of what travels by OTLP | none |
//! | `OTEL_EXPORTER_OTLP_COMPRESSION`, `OTEL_EXPORTER_OTLP_TRACES_COMPRESSION`, `OTEL_EXPORTER_OTLP_LOGS_COMPRESSION`, `OTEL_EXPORTER_OTLP_METRICS_COMPRESSION` | `gzip` or `none`: how the bodies of what travels by OTLP are compressed | `none` |
//! | `OTEL_EXPORTER_OTLP_TIMEOUT`, `OTEL_EXPORTER_OTLP_TRACES_TIMEOUT`, `OTEL_EXPORTER_OTLP_LOGS_TIMEOUT`, `OTEL_EXPORTER_OTLP_METRICS_TIMEOUT` | bound on one request, in milliseconds | `10000` |
//! | `MIMIR_ENDPOINT` | Mimir, pushed to by remote write, or `off`; without a path `/api/v1/push` is appended, a path is used as it is (`/api/v1/write` for Prometheus) | `http://localhost:9009` |
//! | `OTEL_METRICS_EXPORTER` | without `MIMIR_ENDPOINT`: `otlp` pushes metrics as OTLP to the next one, `none` pushes none | remote write |
//! | `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT` | an OTLP receiver for metrics, used as it is: a collector, Mimir's `/otlp/v1/metrics`, Prometheus' `/api/v1/otlp/v1/metrics`; chooses OTLP by itself | that for all signals, with `OTEL_METRICS_EXPORTER=otlp` |
//! | `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE` | `cumulative`: there is no other | `cumulative` |
//! | `LGTM_METRICS_ADDR` | where metrics can be scraped, at `/metrics`: a port of the loopback address (`9464`), `host:port` (`0.0.0.0:9464` for other machines), or `off` | `off` |
//! | `LGTM_METRICS_TOKEN` or `LGTM_METRICS_TOKEN_FILE` | the bearer token that scrapers must show | none |
//! | `LGTM_ADMIN` | `true`: under `/admin/` at that address the program can be asked and changed while it runs; an address that other machines reach needs the token | `false` |
//! | `OTEL_TRACES_SAMPLER` | `always_on`, `always_off`, `traceidratio`, `parentbased_always_on`, `parentbased_always_off`, `parentbased_traceidratio` | that of the profile |
//! | `OTEL_TRACES_SAMPLER_ARG` | the ratio, 0 to 1; looked at only beside a ratio sampler | `1` |
//! | `LGTM_PROFILE` | `development`: every trace. `production`: one trace in a hundred, and what fails or is slow here. `gateway`: every trace, whatever the parent says | `development` |
//! | `LGTM_LOG_FORMAT` | what log lines look like in Loki: `json`, `logfmt` or `text` | `json` |
//! | `LGTM_LOG_RATE_LIMIT` | the most lines of one callsite within a time, such as `100/1s`, or `off`; further ones are left out, counted and told | `off` |
//! | `LGTM_LOG_DEDUPLICATE` | within this time, such as `5s`, lines of one callsite that say the same are one, or `off`; counted and told | `off` |
//! | `LGTM_KEEP_ERRORS` | `true`: of the traces that the sampler leaves out, those with a failed span are kept, as far as they happen in this process | `true` with the profile `production`, else `false` |
//! | `LGTM_KEEP_SLOWER_THAN` | the same for those that take longer than this here: `500ms`, `2s`, or `off` | `500ms` with the profile `production`, else `off` |
//! | `OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT`, `OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT`, `OTEL_LINK_ATTRIBUTE_COUNT_LIMIT`, `OTEL_ATTRIBUTE_COUNT_LIMIT` | attributes of a span, event or link; the last one for all three | `128` |
//! | `OTEL_SPAN_EVENT_COUNT_LIMIT`, `OTEL_SPAN_LINK_COUNT_LIMIT` | events and links of a span | `128` |
//! | `OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT`, `OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT` | bytes of a value, at most 131072 | `131072` |
//! | `RUST_LOG` | which events are recorded | `info` |
//! | `LGTM_SPAN_FILTER` | which spans are recorded, in the same form: `RUST_LOG=warn` does not take the traces away | `info` |
//! | `LGTM_TENANT` | tenant, sent as `X-Scope-OrgID` | none |
//! | `LGTM_USERNAME`, `LGTM_PASSWORD` or `LGTM_PASSWORD_FILE` | basic authentication | none |
//! | `LGTM_TOKEN` or `LGTM_TOKEN_FILE` | bearer token | none |
//! | `LGTM_CA_FILE` | a PEM file of authorities to trust besides the platform's | none |
//! | `LGTM_CLIENT_CERTIFICATE_FILE` and `LGTM_CLIENT_KEY_FILE` | PEM files: the certificate by which this client names itself, and its private key | none |
//! | `LGTM_LOKI_TENANT`, `LGTM_TEMPO_TOKEN`, `LGTM_MIMIR_CA_FILE`, ... | the same for one signal | those for all |
//! | `OTEL_EXPORTER_OTLP_CERTIFICATE`, `OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE`, `OTEL_EXPORTER_OTLP_CLIENT_KEY`; `OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE`, `OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE`, `OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY`; `OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE`, `OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE`, `OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY`; `OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE`, `OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE`, `OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY` | the same for what travels by OTLP | those for the backend, then those for all |
//! | `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, also in lower case | the proxy: `http://user:password@host:port`; hosts without one. Never for `localhost` and loopback addresses | none |
//! | `LGTM_OVERFLOW` | when a queue is full: `drop_newest`, or `block:<time>` such as `block:5s` | `drop_newest` |
//! | `LGTM_SPOOL_DIR` | a folder for what memory cannot hold and what is left at the end: sent when the backend takes it again, also by the next start | none |
//! | `LGTM_SPOOL_MAX_BYTES` | bytes on disk, of each signal, such as `2GiB` | `512MiB` |
//! | `LGTM_SPOOL_MAX_AGE` | what has waited for longer is dropped, such as `30m`, `6h` or `7d` | `24h` |
//! | `LGTM_SPOOL_DURABLE` | `true`: everything goes to disk before it is sent | `false` |
//! | `LGTM_SHUTDOWN_TIMEOUT` | bound on flush and shutdown: `500ms`, `5s`, `1m` | `5s` |
//! | `LGTM_SHUTDOWN_ON_SIGNALS` | `true`: SIGTERM and Ctrl-C send what is left before they end the process (Unix) | `false` |
//! | `LGTM_CONSOLE` | what standard error shows: `auto` (pretty on a terminal, else JSON), `pretty`, `json`, `off` | `auto` |
//! | `LGTM_REDACT` | names of further fields whose values do not show, separated by commas; a `-` in front shows those of a name again: `ssn,-page_token` | none beside `password`, `token`, `authorization`, ... |
//! | `OTEL_SDK_DISABLED` | `true`: console logs only | `false` |
//! | `LGTM_DEVSTACK` | `true`: everything that the program does not send elsewhere in code goes to a development stack in the program itself, which shows it in the browser; refused in a release build, unless it is `force`; needs the feature `devstack` | `false` |
//!
//! - The specific wins over the general: `TEMPO_ENDPOINT` over `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` over
//!   `OTEL_EXPORTER_OTLP_ENDPOINT`; `OTEL_TRACES_SAMPLER` over `LGTM_PROFILE`; a signal's credentials over those in its URL
//!   (`https://user:password@host`), and they over those for all signals. One `LGTM_PASSWORD` serves several signals with user
//!   names of their own, as in Grafana Cloud.
//! - Files of secrets, authorities and client certificates are read again when they change, 5 s later at the latest, and at once
//!   when the backend refuses the old secret: what it refused is sent again with the new one. A file that cannot be used for a
//!   moment leaves what was read before.
//! - One receiver for everything, such as Grafana Cloud or a collector: `LGTM_ENDPOINT`, or in OpenTelemetry's own words
//!   `OTEL_EXPORTER_OTLP_ENDPOINT` with `OTEL_LOGS_EXPORTER=otlp` and `OTEL_METRICS_EXPORTER=otlp`. `LOKI_URL`, `TEMPO_ENDPOINT` and
//!   `MIMIR_ENDPOINT` stand above them.
//! - A protocol together with the usual port of the other one is refused.
//! - A program is scraped or it pushes: with `LGTM_METRICS_ADDR` alone metrics are not pushed. If `MIMIR_ENDPOINT` or `LGTM_ENDPOINT` is set too,
//!   both happen: then no scraper may feed the same Mimir, or everything is counted twice.
//! - Profile `production` keeps one trace in a hundred, whole, decided by chance at its start. Of every other one that fails in
//!   this process, or takes longer than 500 ms here, it keeps the part that happens here: spans wait until the local root
//!   closes, at most 4 MiB of them, and say why they were kept (`lgtm.sampling.reason`). Other services do not hear of that
//!   decision: for whole traces of every failure send everything (`gateway`) to a collector that decides. Exemplars
//!   then may point to traces that it has discarded.
//! - Spans of a sampled part say with which probability they are kept (`lgtm.sampling.probability`): Tempo's metrics generator
//!   weighs them by it with `span_multiplier_key`.
//! - [`Config`] prints the effective values and who chose them, without secrets: `println!("{}", telemetry.config())`.
//! - [`Telemetry::filters`] changes the filters while the program runs, [`Telemetry::sampling`] which traces are recorded;
//!   with [`Builder::admin`] (`LGTM_ADMIN`) both can be done from outside.
//! - The two filters stand before all layers: an event that `RUST_LOG` refuses is neither in Loki nor on its span in Tempo.
//!
//! # Secrets
//!
//! Fields whose names stand for secrets (`password`, `db.password`, `apiKey`, `http.request.header.authorization`) have the value
//! `[redacted]` in log lines, spans, span events, links, stream labels, metric labels and on the console: [`redaction`] has the
//! list and how names match, `LGTM_REDACT` and [`Builder::redact`] change it. Names decide, not values: a message or a URL with a
//! password in it is sent as it is. Layers of the program's own see everything.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `loki` | yes | logs |
//! | `tempo` | yes | traces |
//! | `mimir` | yes | metrics |
//! | `span-metrics` | yes | counts and times of spans |
//! | `system` | yes | CPU, memory, tokio tasks |
//! | `process` | no | `process_*`: CPU seconds, memory, file descriptors, start, as usual with Prometheus |
//! | `tokio-metrics` | no | `tokio_*`: the runtime's workers, queues and busy time |
//! | `console` | yes | events on standard error |
//! | `log` | yes | records of the `log` crate become events |
//! | `spool` | yes | a disk behind the memory |
//! | `opentelemetry` | no | `Builder::opentelemetry`, the other front door: spans, metrics and log records of the OpenTelemetry API, and the crates behind it |
//! | `devstack` | no | `Builder::devstack`: the development stack in the program itself, with its window in the browser |
//! | `testing` | no | the module `testing`: what a program's own tests look at, without a backend |
//! | `http` | no | `lgtm::http`: tower layers for HTTP servers and clients, with spans, trace context and request metrics |
//! | `axum` | no | the same with axum's routes and callers |
//! | `reqwest-middleware` | no | the same as a middleware of reqwest |
//! | `tonic` | no | the same for gRPC |
//!
//! A feature adds what it names and changes nothing else.
//!
//! # Life and end
//!
//! [`Telemetry`] is the guard. It sends what is left when it is dropped, also while a panic unwinds: logs and spans first,
//! then the metrics a last time, so that the last losses are in them; it returns by its deadline (default 5 s) even if nobody
//! answers. [`Telemetry::shutdown`] does the same and says what became of everything. `std::process::exit` runs no
//! destructors: without a shutdown before it, what was recorded in the last second is lost, and what a slow backend has not taken.
//! A handler that runs at exit may end telemetry, log and count; it may not open spans, nor may a thread-local while it is
//! destroyed: the registry of tracing-subscriber panics there.
//!
//! A panic is an event of level ERROR with the target `panic`, before the program's own hook runs ([`Builder::panics`]). With
//! `panic = "abort"` that is the end: the hook flushes then, for at most a second.
//!
//! A child of `fork` is inert: it sends nothing of the parent's, and its flush and shutdown return at once. [`init`] in the child
//! begins telemetry anew, with ids, an instance and counts of its own; sampler, span limits, buckets and console stay the
//! parent's. Fork while no other thread of the program records: a lock that one holds stays locked in the child.
//!
//! ```no_run
//! # async fn serve() {}
//! # async fn example() -> Result<(), lgtm::Error> {
//! let telemetry = lgtm::init()?;
//! serve().await;
//! let report = telemetry.shutdown_async().await;
//! if report.lost() > 0 {
//!     eprintln!("{report}"); // spans: 1200 created, 1150 delivered, 50 dropped (queue_full)
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Exporting runs on one thread of its own: the program needs no runtime, and a blocked one does not hold telemetry up. One
//! `lgtm-worker` thread serves all signals. With `Builder::opentelemetry` the callbacks of OpenTelemetry's observable instruments
//! run on another one, `lgtm-callbacks`.
//!
//! # When a backend is away
//!
//! Items wait in memory (64 MiB for all signals, [`Builder::memory_budget`]). Beyond that the newest are dropped, lines of level DEBUG
//! and TRACE first, and counted; with [`Overflow::Block`] their threads wait for a set time instead. A spool
//! ([`Builder::spool`], `LGTM_SPOOL_DIR`) has a disk behind the memory: from half of it on, what waits goes to files, in order, and
//! so does what is left at the end of the program; the next start sends it first. With `LGTM_SPOOL_DURABLE` everything goes to disk
//! before it is sent, so that a crash loses at most the last second. What the disk holds is in
//! [`SignalReport::spooled`]. Requests may arrive twice if the program dies between a backend's answer and its note of it: they
//! have the same span ids and timestamps then, by which the backends know them. Processes with one configuration have folders of
//! their own, and take over those of dead ones.
//!
//! # Across services
//!
//! [`propagation`] reads and writes the W3C headers: [`propagation::set_parent`] on a server's span, right after creating it,
//! [`propagation::inject`] before a client's request. For HTTP and gRPC the layers of `lgtm::http` do both, and more.
//!
//! # Troubleshooting
//!
//! - *Nothing arrives.* Standard error says once for each backend when it begins to fail and when it recovers, with the
//!   address. The report of [`Telemetry::report`] has the counts, and so has the metric `otlp_spans_exported_total` with its
//!   siblings. Is `OTEL_SDK_DISABLED` set? Is the guard bound to a name? `let _ = lgtm::init()?` drops it at once.
//! - *The last seconds are missing.* The guard was not dropped: `std::process::exit`, or a kill.
//! - *Logs without `trace_id`.* The event is outside of all spans, or its span is filtered away: see `LGTM_SPAN_FILTER`.
//! - *"a global tracing subscriber is set already".* Remove the other one, or add its layer with [`Builder::layer`].
//! - *Traces of some requests are missing.* The sampler decided so: `trace_sampled` on the log line is `false`.
//!
//! # The thread boundary
//!
//! ```text
//! once: environment, builder -> settings -> compose
//! callers: filter -> the layers (tempo, span-metrics, loki, console) and the recorder | worker: everything else
//! end: guard -> report
//! ```

#![cfg_attr(
    not(all(
        feature = "loki",
        feature = "tempo",
        feature = "mimir",
        feature = "span-metrics",
        feature = "system",
        feature = "console"
    )),
    allow(dead_code, unused_imports, unused_mut, unused_variables, reason = "what serves a feature that is off")
)]

#[cfg(feature = "mimir")]
mod admin;
mod builder;
mod chain;
mod compose;
mod config;
#[cfg(feature = "console")]
mod console;
#[cfg(feature = "devstack")]
mod devstack;
mod environment;
mod error;
mod filter;
mod guard;
mod optional;
mod panic;
#[cfg(any(feature = "loki", feature = "tempo", feature = "mimir"))]
mod protocol;
mod report;
mod sampling;
mod settings;
#[cfg(unix)]
mod signals;
#[cfg(feature = "testing")]
pub mod testing;

pub use builder::{Builder, Layers, builder};
pub use config::{Config, Setting, Source};
pub use error::Error;
pub use filter::Filters;
pub use guard::Telemetry;
pub use lgtm_core::otlp::Protocol;
pub use lgtm_core::pipeline::Overflow;
pub use lgtm_core::sampler::{Root, Sampler};
pub use lgtm_core::span::{SetParentError, SpanExt, SpanKind, Status as SpanStatus, Value as AttributeValue};
pub use lgtm_core::{
    Auth, Compression, DropReason, Endpoint, EndpointError, ErrorType, Identity, Proxy, Secret, SignalKind,
    SignalReport, SpanId, TraceContext, TraceId, propagation, redaction,
};
#[cfg(feature = "spool")]
pub use lgtm_core::{SpoolError, SpoolOptions};
#[cfg(feature = "devstack")]
pub use lgtm_devstack::Devstack;
#[cfg(feature = "http")]
pub use lgtm_http as http;
#[cfg(feature = "loki")]
pub use lgtm_loki::{Format as LogFormat, Protocol as LogProtocol};
#[cfg(all(feature = "opentelemetry", feature = "mimir"))]
pub use lgtm_mimir::opentelemetry::MeterProvider;
#[cfg(feature = "mimir")]
pub use lgtm_mimir::{Format as MetricsFormat, Matcher, Protocol as MetricsProtocol, RemoteWrite, Renderer};
pub use report::{FlushError, Report};
pub use sampling::Sampling;
pub use settings::{Console, Profile};
/// The versions that [`Builder::opentelemetry`] works with: a program that uses these, and none of its own, has no second one.
#[cfg(feature = "opentelemetry")]
pub use {opentelemetry, opentelemetry_sdk, tracing_opentelemetry};

/// The calling thread's place in its trace: what a log line written now points at. `None` outside of all exported spans.
#[must_use]
pub fn current_trace() -> Option<TraceContext> {
    lgtm_core::current::trace()
}

/// Starts the pipelines as the environment says and gives their layers, for a registry of the program's own; installs nothing. See
/// [`Builder::layers`].
///
/// # Errors
/// [`Error`] names the variable that cannot work, its value and the accepted form.
pub fn layers<S>() -> Result<(Layers<S>, Telemetry), Error>
where
    S: tracing_core::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a> + Send + Sync,
{
    builder().layers()
}

/// Starts telemetry as the environment says; see [the table](crate#configuration). Keep what it returns until the end of
/// `main`.
///
/// # Errors
/// [`Error`] names the variable that cannot work, its value and the accepted form; or what is installed already. An unreachable
/// backend is no error.
pub fn init() -> Result<Telemetry, Error> {
    builder().init()
}

/// The examples of the package's page compile and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
