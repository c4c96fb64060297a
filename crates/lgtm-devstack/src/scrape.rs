//! The scraper: fetches an exposition, as Prometheus does, and stores its samples and exemplars. One task a target,
//! on the runtime on which the stack was started.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::compression;
use crate::exposition::{self, ACCEPT, ExposedSample, Format};
use crate::store::{Exemplar, Labels, MetricStore, Sample, SampleError, Store};

/// The stale marker, by which Prometheus ends a series.
const STALE_MARKER: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// A scrape endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a target is scraped once it is given to the development stack"]
pub struct ScrapeTarget {
    url: String,
    labels: Labels,
    interval: Duration,
    timeout: Duration,
}

impl ScrapeTarget {
    /// A target by its URL, `http://127.0.0.1:9090/metrics`. Without TLS.
    ///
    /// The label `job` defaults to `devstack`, `instance` to host and port of the URL.
    pub fn new(url: impl Into<String>) -> Self {
        let url = url.into();
        let instance = url.parse::<Uri>().ok().and_then(|uri| uri.authority().map(ToString::to_string));
        let labels = Labels::from([
            ("job".to_owned(), "devstack".to_owned()),
            ("instance".to_owned(), instance.unwrap_or_default()),
        ]);
        Self { url, labels, interval: Duration::from_secs(5), timeout: Duration::from_secs(5) }
    }

    /// The label `job`. Defaults to `devstack`.
    pub fn job(self, job: impl Into<String>) -> Self {
        self.label("job", job)
    }

    /// A label that every series of the target gets. A label of the same name in the exposition becomes
    /// `exported_…`.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// The time between scrapes, for a target that is scraped regularly. Defaults to 5 s; at least 100 ms is used.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_millis(100));
        self
    }

    /// How long one scrape may take. Defaults to 5 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// What one scrape brought.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScrapeReport {
    /// The format that the endpoint chose.
    pub format: Format,
    /// Samples stored, repetitions included.
    pub samples: u64,
    /// Exemplars in the exposition.
    pub exemplars: u64,
    /// What was not stored and why, as text; empty if all is well.
    pub problems: Vec<String>,
}

/// A scrape that brought nothing.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScrapeError {
    /// The URL is not one that can be scraped.
    #[error("{url:?} is not an address to scrape; the form is http://host:port/path")]
    Url {
        /// The URL.
        url: String,
    },
    /// No answer came.
    #[error("scraping {url} failed: {reason}")]
    Transport {
        /// The URL.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// The answer was not 200.
    #[error("scraping {url} was answered with status {status}")]
    Status {
        /// The URL.
        url: String,
        /// The status.
        status: u16,
    },
    /// The answer was no valid exposition.
    #[error("the exposition of {url} is not valid: {source}")]
    Exposition {
        /// The URL.
        url: String,
        /// What is wrong with it.
        source: exposition::ExpositionError,
    },
}

/// How a regularly scraped target does.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ScrapeStatus {
    /// The URL.
    pub url: String,
    /// Scrapes done so far, failed ones included.
    pub scrapes: u64,
    /// Failed scrapes so far.
    pub failures: u64,
    /// The outcome of the latest scrape; `None` before the first.
    pub latest: Option<Result<ScrapeReport, ScrapeError>>,
}

/// Scrapes one target and remembers its series, to end those that vanish.
pub(crate) struct Scraper {
    target: ScrapeTarget,
    limit_bytes: usize,
    series: BTreeSet<Labels>,
}

impl Scraper {
    pub(crate) fn new(target: ScrapeTarget, limit_bytes: usize) -> Self {
        Self { target, limit_bytes, series: BTreeSet::new() }
    }

    /// Scrapes now. `up` tells the outcome, as in Prometheus.
    pub(crate) async fn scrape(&mut self, store: &Store) -> Result<ScrapeReport, ScrapeError> {
        let started = Instant::now();
        let now_ms = now_ms();
        let fetched = match tokio::time::timeout(self.target.timeout, fetch(&self.target.url, self.limit_bytes)).await {
            Ok(fetched) => fetched,
            Err(_) => Err(ScrapeError::Transport {
                url: self.target.url.clone(),
                reason: format!("no answer within {:?}", self.target.timeout),
            }),
        };
        let parsed = fetched.and_then(|(text, format)| {
            exposition::parse(&text, format)
                .map(|exposition| (exposition, format))
                .map_err(|source| ScrapeError::Exposition { url: self.target.url.clone(), source })
        });
        let took = started.elapsed();
        store.with_metrics(|metrics| {
            let outcome = parsed.map(|(exposition, format)| {
                let mut report = ScrapeReport { format, samples: 0, exemplars: 0, problems: Vec::new() };
                for (family, known) in exposition.families {
                    if !metrics.describe(family, known) {
                        report.problems.push("a family exceeds the limit of families or of their length".to_owned());
                    }
                }
                let mut series = BTreeSet::new();
                for sample in exposition.samples {
                    let labels = with_target_labels(&sample.labels, &self.target.labels);
                    store_sample(metrics, &labels, sample, now_ms, &mut report);
                    series.insert(labels);
                }
                for gone in self.series.difference(&series) {
                    end_series(metrics, gone, now_ms);
                }
                self.series = series;
                report
            });
            if outcome.is_err() {
                for gone in &std::mem::take(&mut self.series) {
                    end_series(metrics, gone, now_ms);
                }
            }
            for (name, value) in
                [("up", if outcome.is_ok() { 1.0 } else { 0.0 }), ("scrape_duration_seconds", took.as_secs_f64())]
            {
                let mut labels = self.target.labels.clone();
                labels.insert("__name__".to_owned(), name.to_owned());
                // Two scrapes within one millisecond: the first one stands.
                let _ = metrics.push_sample(&labels, Sample { timestamp_ms: now_ms, value });
            }
            outcome
        })
    }

    /// Scrapes at the target's interval until `shutdown`.
    pub(crate) async fn run(mut self, store: Store, status: Arc<Mutex<ScrapeStatus>>, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(self.target.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.cancelled() => return,
            }
            let outcome = tokio::select! {
                outcome = self.scrape(&store) => outcome,
                () = shutdown.cancelled() => return,
            };
            let mut status = status.lock();
            status.scrapes += 1;
            status.failures += u64::from(outcome.is_err());
            status.latest = Some(outcome);
        }
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

async fn fetch(url: &str, limit_bytes: usize) -> Result<(String, Format), ScrapeError> {
    let transport = |reason: String| ScrapeError::Transport { url: url.to_owned(), reason };
    let request = url
        .parse::<Uri>()
        .ok()
        .filter(|uri| uri.scheme_str() == Some("http") && uri.authority().is_some())
        .and_then(|uri| {
            let request = Request::get(uri).header(header::ACCEPT, ACCEPT).header(header::ACCEPT_ENCODING, "gzip");
            request.body(Empty::<Bytes>::new()).ok()
        })
        .ok_or_else(|| ScrapeError::Url { url: url.to_owned() })?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request).await.map_err(|error| transport(chain(&error)))?;
    if response.status() != StatusCode::OK {
        return Err(ScrapeError::Status { url: url.to_owned(), status: response.status().as_u16() });
    }
    let text_of = |name| response.headers().get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let format = Format::from_content_type(text_of(header::CONTENT_TYPE).unwrap_or_default());
    let gzip = text_of(header::CONTENT_ENCODING) == Some("gzip");
    let body = Limited::new(response.into_body(), limit_bytes);
    let body = body.collect().await.map_err(|error| transport(error.to_string()))?.to_bytes();
    let body = if gzip {
        compression::gzip(&body, limit_bytes).map_err(|error| transport(error.to_string()))?
    } else {
        body.to_vec()
    };
    let text = String::from_utf8(body).map_err(|error| transport(format!("not UTF-8: {error}")))?;
    Ok((text, format))
}

/// An error with its causes, which hyper's own text leaves out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The labels of a series with those of its target, which win.
fn with_target_labels(exposed: &Labels, target: &Labels) -> Labels {
    let mut labels: Labels = exposed
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| {
            let name = if target.contains_key(name) { format!("exported_{name}") } else { name.clone() };
            (name, value.clone())
        })
        .collect();
    labels.extend(target.clone());
    labels
}

fn store_sample(
    metrics: &mut MetricStore,
    labels: &Labels,
    exposed: ExposedSample,
    now_ms: i64,
    report: &mut ScrapeReport,
) {
    let text = || crate::label_text::write(labels);
    let timestamp_ms = exposed.timestamp_ms.unwrap_or(now_ms);
    match metrics.push_sample(labels, Sample { timestamp_ms, value: exposed.value }) {
        Ok(()) => report.samples += 1,
        Err(SampleError::OutOfOrder) => report.problems.push(format!("out of order sample, series: {}", text())),
        Err(SampleError::DuplicateTimestamp) => {
            report.problems.push(format!("another value at the same time, series: {}", text()));
        }
    }
    let Some(exemplar) = exposed.exemplar else { return };
    report.exemplars += 1;
    // An exemplar without a time comes again with each scrape until a newer one takes its place.
    let repeated = exemplar.timestamp_ms.is_none()
        && metrics
            .newest_exemplar(labels)
            .is_some_and(|newest| newest.labels == exemplar.labels && newest.value == exemplar.value);
    if repeated {
        return;
    }
    let exemplar = Exemplar {
        labels: exemplar.labels,
        value: exemplar.value,
        timestamp_ms: exemplar.timestamp_ms.unwrap_or(timestamp_ms),
    };
    if metrics.push_exemplar(labels, exemplar).is_err() {
        report.problems.push(format!("out of order exemplar, series: {}", text()));
    }
}

fn end_series(metrics: &mut MetricStore, labels: &Labels, now_ms: i64) {
    // A sample with a later time of its own already stands: then the series ends by its age.
    let _ = metrics.push_sample(labels, Sample { timestamp_ms: now_ms, value: STALE_MARKER });
}
