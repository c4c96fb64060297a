//! The query API of Prometheus, which Mimir serves under the prefix `/prometheus`: PromQL in, numbers and exemplars out.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::ids::TraceId;
use crate::samples::{InstantSample, Labels, NumberText, Sample, Series};
use crate::time::{TimeRange, decimal_seconds, nanos_of_seconds};
use crate::{Client, Error};

/// The query API of Prometheus or Mimir.
#[derive(Debug, Clone)]
pub struct Prometheus {
    client: Client,
}

/// What a PromQL query brought.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
pub enum MetricData {
    /// Numbers at one time, by series.
    Vector(Vec<InstantSample>),
    /// Numbers over time, by series.
    Matrix(Vec<Series>),
    /// One number without labels.
    Scalar(Sample),
    /// A text: its time in seconds, and the text.
    String((f64, String)),
}

impl MetricData {
    /// The value, if the answer is exactly one number at one time.
    pub fn single_value(&self) -> Option<f64> {
        match self {
            Self::Vector(samples) => match samples.as_slice() {
                [only] => only.sample.map(|sample| sample.value),
                _ => None,
            },
            Self::Scalar(sample) => Some(sample.value),
            _ => None,
        }
    }

    /// The samples at one time; empty for other kinds of answer.
    pub fn vector(&self) -> &[InstantSample] {
        match self {
            Self::Vector(samples) => samples,
            _ => &[],
        }
    }

    /// The series over time; empty for other kinds of answer.
    pub fn matrix(&self) -> &[Series] {
        match self {
            Self::Matrix(series) => series,
            _ => &[],
        }
    }

    /// Whether there is no series at all: PromQL's way of saying "no such thing".
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Vector(samples) => samples.is_empty(),
            Self::Matrix(series) => series.is_empty(),
            Self::Scalar(_) | Self::String(_) => false,
        }
    }
}

/// The answer to a PromQL query.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricAnswer {
    /// The numbers.
    pub data: MetricData,
    /// What the server remarked, for example that `rate()` was used on a gauge.
    pub warnings: Vec<String>,
}

/// The exemplars of one series.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct ExemplarSeries {
    /// The labels of the series, `__name__` and, of a histogram, `le` among them.
    #[serde(rename(deserialize = "seriesLabels"), default)]
    pub labels: Labels,
    /// Its exemplars, oldest first.
    #[serde(default)]
    pub exemplars: Vec<Exemplar>,
}

/// One measured value that points to a trace.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exemplar {
    /// The exemplar's own labels, `trace_id` and `span_id` among them.
    pub labels: Labels,
    /// The measured value.
    pub value: f64,
    /// When it was measured, in nanoseconds since the Unix epoch.
    pub timestamp_unix_nanos: u64,
}

impl Exemplar {
    /// The trace that the label `trace_id` (or `traceID`) names, if it is one.
    pub fn trace_id(&self) -> Option<TraceId> {
        let text = self.labels.get("trace_id").or_else(|| self.labels.get("traceID"))?;
        text.parse().ok()
    }
}

impl<'de> Deserialize<'de> for Exemplar {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            labels: Labels,
            value: NumberText,
            timestamp: f64,
        }
        let wire = Wire::deserialize(deserializer)?;
        let timestamp_unix_nanos = nanos_of_seconds(wire.timestamp);
        Ok(Self { labels: wire.labels, value: wire.value.0, timestamp_unix_nanos })
    }
}

/// Type, help and unit of a metric.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Metadata {
    /// `counter`, `gauge`, `histogram`, `gaugehistogram`, `summary`, `info`, `stateset` or `unknown`.
    #[serde(rename(deserialize = "type"))]
    pub metric_type: String,
    /// Help text.
    #[serde(default)]
    pub help: String,
    /// Unit; empty if not told.
    #[serde(default)]
    pub unit: String,
}

/// Rules that are evaluated together.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct RuleGroup {
    /// The group's name.
    pub name: String,
    /// The file, or Mimir's namespace.
    #[serde(default)]
    pub file: String,
    /// Seconds between two evaluations.
    pub interval: f64,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Rule {
    /// `alerting` or `recording`.
    #[serde(rename(deserialize = "type"))]
    pub rule_type: String,
    /// The alert, or the recorded metric.
    pub name: String,
    /// Its PromQL.
    pub query: String,
    /// Of an alert: `inactive`, `pending` or `firing`.
    #[serde(default)]
    pub state: Option<String>,
    /// `ok`, `err` or `unknown`.
    pub health: String,
    /// What was wrong at the last evaluation; empty: nothing.
    #[serde(rename(deserialize = "lastError"), default)]
    pub last_error: String,
    /// Labels that it adds.
    #[serde(default)]
    pub labels: Labels,
    /// Texts of an alert.
    #[serde(default)]
    pub annotations: Labels,
    /// The alerts of this rule that are pending or firing.
    #[serde(default)]
    pub alerts: Vec<Alert>,
}

/// An alert that is pending or firing.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Alert {
    /// Labels, `alertname` among them.
    pub labels: Labels,
    /// Texts.
    #[serde(default)]
    pub annotations: Labels,
    /// `pending` or `firing`.
    pub state: String,
    /// Since when, as RFC 3339 has it.
    #[serde(rename(deserialize = "activeAt"), default)]
    pub active_at: Option<String>,
    /// The value, as text.
    #[serde(default)]
    pub value: String,
}

/// What Prometheus scrapes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct ScrapeTarget {
    /// Its labels, `job` and `instance` among them.
    pub labels: Labels,
    /// Where it is scraped.
    #[serde(rename(deserialize = "scrapeUrl"))]
    pub scrape_url: String,
    /// `up`, `down` or `unknown`.
    pub health: String,
    /// What was wrong at the last scrape; empty: nothing.
    #[serde(rename(deserialize = "lastError"), default)]
    pub last_error: String,
}

impl Prometheus {
    /// The API behind `client`, whose URL is Prometheus' root (`http://localhost:9090`) or Mimir's prefix
    /// (`http://localhost:9009/prometheus`).
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The API at `url` with default settings. For a tenant or credentials see [`Client::builder`].
    ///
    /// # Errors
    /// As [`ClientBuilder::build`](crate::ClientBuilder::build).
    pub fn at(url: impl Into<String>) -> Result<Self, Error> {
        Client::builder(url).build().map(Self::new)
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Evaluates `promql` at one time, `None` for now.
    ///
    /// # Errors
    /// Every [`Error`] of a query; a PromQL mistake is [`Error::Status`] 400 with the parser's words.
    pub async fn query(&self, promql: &str, at_unix_nanos: Option<u64>) -> Result<MetricAnswer, Error> {
        let mut parameters = vec![("query", promql.to_owned())];
        parameters.extend(at_unix_nanos.map(|at| ("time", decimal_seconds(at))));
        let (data, warnings) = self.client.data(&["api", "v1", "query"], &parameters, HeaderMap::new()).await?;
        Ok(MetricAnswer { data, warnings })
    }

    /// Evaluates `promql` at every `step` of a range. More than 11,000 points a series are refused.
    ///
    /// # Errors
    /// Every [`Error`] of a query.
    pub async fn query_range(&self, promql: &str, range: TimeRange, step: Duration) -> Result<MetricAnswer, Error> {
        let mut parameters = with_range(range);
        parameters.push(("query", promql.to_owned()));
        parameters.push(("step", step.as_secs_f64().to_string()));
        let (data, warnings) = self.client.data(&["api", "v1", "query_range"], &parameters, HeaderMap::new()).await?;
        Ok(MetricAnswer { data, warnings })
    }

    /// The exemplars of the series that `promql` selects.
    ///
    /// # Errors
    /// Every [`Error`] of a query. A server without exemplar storage answers with no exemplars, not with an error.
    pub async fn query_exemplars(&self, promql: &str, range: TimeRange) -> Result<Vec<ExemplarSeries>, Error> {
        let mut parameters = with_range(range);
        parameters.push(("query", promql.to_owned()));
        self.client.list(&["api", "v1", "query_exemplars"], &parameters).await
    }

    /// The label sets of the series that match any of `matchers` (`http_requests_total{status="500"}`).
    ///
    /// # Errors
    /// Every [`Error`] of a query; no matcher at all is refused by the server.
    pub async fn series(&self, matchers: &[&str], range: TimeRange) -> Result<Vec<Labels>, Error> {
        self.client.list(&["api", "v1", "series"], &with_matchers(matchers, range)).await
    }

    /// The names of labels that were in use, of the series that match any of `matchers`; none: of all.
    ///
    /// # Errors
    /// Every [`Error`] of a query.
    pub async fn labels(&self, matchers: &[&str], range: TimeRange) -> Result<Vec<String>, Error> {
        self.client.list(&["api", "v1", "labels"], &with_matchers(matchers, range)).await
    }

    /// The values of one label that were in use, of the series that match any of `matchers`; none: of all.
    ///
    /// # Errors
    /// Every [`Error`] of a query.
    pub async fn label_values(&self, label: &str, matchers: &[&str], range: TimeRange) -> Result<Vec<String>, Error> {
        self.client.list(&["api", "v1", "label", label, "values"], &with_matchers(matchers, range)).await
    }

    /// Type, help and unit of metrics by name: of `metric`, or of all. A name may have several, of different programs.
    ///
    /// # Errors
    /// Every [`Error`] of a query.
    pub async fn metadata(&self, metric: Option<&str>) -> Result<BTreeMap<String, Vec<Metadata>>, Error> {
        let parameters: Vec<_> = metric.map(|metric| ("metric", metric.to_owned())).into_iter().collect();
        self.client.data(&["api", "v1", "metadata"], &parameters, HeaderMap::new()).await.map(|(data, _)| data)
    }

    /// The recording and alerting rules, with how they are doing.
    ///
    /// # Errors
    /// Every [`Error`] of a query.
    pub async fn rules(&self) -> Result<Vec<RuleGroup>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            groups: Vec<RuleGroup>,
        }
        let (answer, _): (Answer, _) = self.client.data(&["api", "v1", "rules"], &[], HeaderMap::new()).await?;
        Ok(answer.groups)
    }

    /// The alerts that are pending or firing.
    ///
    /// # Errors
    /// Every [`Error`] of a query.
    pub async fn alerts(&self) -> Result<Vec<Alert>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            alerts: Vec<Alert>,
        }
        let (answer, _): (Answer, _) = self.client.data(&["api", "v1", "alerts"], &[], HeaderMap::new()).await?;
        Ok(answer.alerts)
    }

    /// What Prometheus scrapes, with how it went. Mimir does not scrape and has no such list.
    ///
    /// # Errors
    /// Every [`Error`] of a query.
    pub async fn targets(&self) -> Result<Vec<ScrapeTarget>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(rename = "activeTargets")]
            active: Vec<ScrapeTarget>,
        }
        let parameters = [("state", "active".to_owned())];
        let (answer, _): (Answer, _) =
            self.client.data(&["api", "v1", "targets"], &parameters, HeaderMap::new()).await?;
        Ok(answer.active)
    }

    /// The server's version.
    ///
    /// # Errors
    /// Every [`Error`] of a query.
    pub async fn version(&self) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Answer {
            version: String,
        }
        let (answer, _): (Answer, _) =
            self.client.data(&["api", "v1", "status", "buildinfo"], &[], HeaderMap::new()).await?;
        Ok(answer.version)
    }

    /// Whether the server says it is ready: Prometheus at `/-/ready` under the base path, Mimir at `/ready` of the host.
    ///
    /// # Errors
    /// Every [`Error`] of a query, but not status 503, which is `false`.
    pub async fn is_ready(&self) -> Result<bool, Error> {
        match self.client.is_ready(&["-", "ready"]).await {
            Err(Error::Status { status: 404, .. }) => {
                let mut url = self.client.url().clone();
                url.set_path("/ready");
                Ok(self.client.get(url, HeaderMap::new(), &[503]).await?.status == 200)
            }
            answer => answer,
        }
    }
}

fn with_matchers(matchers: &[&str], range: TimeRange) -> Vec<(&'static str, String)> {
    let mut parameters = with_range(range);
    parameters.extend(matchers.iter().map(|matcher| ("match[]", (*matcher).to_owned())));
    parameters
}

fn with_range(range: TimeRange) -> Vec<(&'static str, String)> {
    vec![("start", decimal_seconds(range.start_unix_nanos)), ("end", decimal_seconds(range.end_unix_nanos))]
}
