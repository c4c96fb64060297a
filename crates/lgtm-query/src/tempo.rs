//! Tempo's query API: traces by id, TraceQL search and metrics, attribute names and values.

use std::time::Duration;

use reqwest::header::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::ids::{SpanId, TraceId};
use crate::otlp_json::{self, KeyValue};
use crate::samples::{IntegerText, NumberText, Sample};
use crate::time::TimeRange;
use crate::trace::{AttributeValue, Attributes, Trace};
use crate::{Client, Error};

/// Tempo's query API.
#[derive(Debug, Clone)]
pub struct Tempo {
    client: Client,
}

/// A TraceQL search.
#[derive(Debug, Clone)]
pub struct TraceSearch {
    traceql: String,
    range: Option<TimeRange>,
    limit: u32,
    spans_per_span_set: Option<u32>,
}

impl TraceSearch {
    /// A search for `traceql`, for example `{ resource.service.name = "shop" && status = error }`.
    pub fn new(traceql: impl Into<String>) -> Self {
        Self { traceql: traceql.into(), range: None, limit: 20, spans_per_span_set: None }
    }

    /// The range of time, in whole seconds: the start is rounded down, the end up. Defaults to what Tempo holds as recent.
    #[must_use]
    pub fn range(mut self, range: TimeRange) -> Self {
        self.range = Some(range);
        self
    }

    /// At most this many traces. Defaults to 20.
    #[must_use]
    pub fn limit(mut self, traces: u32) -> Self {
        self.limit = traces;
        self
    }

    /// At most this many spans for each set of matching spans. Defaults to Tempo's 3.
    #[must_use]
    pub fn spans_per_span_set(mut self, spans: u32) -> Self {
        self.spans_per_span_set = Some(spans);
        self
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut parameters = vec![("q", self.traceql.clone()), ("limit", self.limit.to_string())];
        parameters.extend(seconds(self.range));
        parameters.extend(self.spans_per_span_set.map(|spans| ("spss", spans.to_string())));
        parameters
    }
}

/// A trace that a search found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FoundTrace {
    /// The trace's id, with its leading zeros.
    pub trace_id: TraceId,
    /// The service of the root span; empty or `<root span not yet received>` while Tempo does not know it.
    pub root_service_name: String,
    /// The name of the root span; empty while Tempo does not know it.
    pub root_trace_name: String,
    /// When the trace started, in nanoseconds since the Unix epoch.
    pub start_unix_nanos: u64,
    /// How long it took; Tempo gives whole milliseconds here.
    pub duration: Duration,
    /// The spans that match, as many as asked for.
    pub spans: Vec<FoundSpan>,
    /// How many spans match.
    pub matched: u32,
}

/// A span that a search found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FoundSpan {
    /// The span's id.
    pub span_id: SpanId,
    /// The span's name; empty where the query did not ask for it.
    pub name: String,
    /// When it started, in nanoseconds since the Unix epoch.
    pub start_unix_nanos: u64,
    /// How long it took, in nanoseconds.
    pub duration_nanos: u64,
    /// The attributes that the query named or selected.
    pub attributes: Attributes,
}

/// Attribute names of one scope.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct TagScope {
    /// The scope.
    pub name: String,
    /// The names, without the scope.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// A value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct TagValue {
    /// What it is: `string`, `int`, `float`, `bool`, `duration`, `keyword`.
    #[serde(rename(deserialize = "type"))]
    pub value_type: String,
    /// The value as text.
    pub value: String,
}

/// A series of a TraceQL metrics query.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TraceMetric {
    /// What the query groups by.
    pub labels: Attributes,
    /// The numbers in the order of time; one for an instant query.
    pub samples: Vec<Sample>,
    /// Spans behind the numbers.
    pub exemplars: Vec<TraceExemplar>,
}

/// A span behind a number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TraceExemplar {
    /// Its trace, if the exemplar says so.
    pub trace_id: Option<TraceId>,
    /// The number.
    pub value: f64,
    /// Nanoseconds since the Unix epoch.
    pub timestamp_unix_nanos: u64,
}

impl Tempo {
    /// Tempo behind `client`, whose URL is Tempo's HTTP root (`http://localhost:3200`), not its OTLP port.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Tempo at `url` with default settings. For a tenant or credentials see [`Client::builder`].
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

    /// The trace with this id; `None` if Tempo does not have it. Spans are there as soon as Tempo has taken them in.
    ///
    /// # Errors
    /// Every [`Error`] of a query.
    pub async fn trace(&self, trace_id: TraceId) -> Result<Option<Trace>, Error> {
        let id = trace_id.to_string();
        let url = self.client.join(&["api", "v2", "traces", &id], &[]);
        let answer = match self.client.get(url, HeaderMap::new(), &[]).await {
            // Other versions of Tempo. A 404 of something else (a wrong port, a proxy) must not read as "no such trace".
            Err(Error::Status { status: 404, message, .. }) if message.to_lowercase().contains("trace not found") => {
                return Ok(None);
            }
            answer => answer?,
        };
        otlp_json::decode(trace_id, &answer.body).map_err(|reason| answer.undecodable(reason))
    }

    /// Searches by TraceQL. Tempo's search shows a span about 30 s after it was taken in; by id it is there at once.
    ///
    /// # Errors
    /// Every [`Error`] of a query; a TraceQL mistake is [`Error::Status`] 400 with the parser's words.
    pub async fn search(&self, search: &TraceSearch) -> Result<Vec<FoundTrace>, Error> {
        let url = self.client.join(&["api", "search"], &search.parameters());
        let answer = self.client.get(url, HeaderMap::new(), &[]).await?;
        let found: SearchAnswer = answer.json()?;
        if found.traces.is_none() && found.metrics.is_none() {
            return Err(answer.undecodable("it has neither `traces` nor `metrics`".to_owned()));
        }
        let found: Result<Vec<_>, Error> = found.traces.unwrap_or_default().into_iter().map(found_trace).collect();
        found.map_err(|error| answer.undecodable(error.to_string()))
    }

    /// The names of attributes that spans have, by scope: `span`, `resource`, `event`, `link`, `instrumentation`, `intrinsic`.
    /// `None` asks for all scopes.
    ///
    /// # Errors
    /// Every [`Error`] of a query.
    pub async fn tags(&self, scope: Option<&str>, range: Option<TimeRange>) -> Result<Vec<TagScope>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            scopes: Vec<TagScope>,
        }
        let mut parameters = seconds(range);
        parameters.extend(scope.map(|scope| ("scope", scope.to_owned())));
        let url = self.client.join(&["api", "v2", "search", "tags"], &parameters);
        let answer: Answer = self.client.get(url, HeaderMap::new(), &[]).await?.json()?;
        Ok(answer.scopes)
    }

    /// The values of an attribute, named as TraceQL names it (`resource.service.name`, `span.http.route`, `name`), of the spans
    /// that `filter` selects (`{ status = error }`); `None`: of all.
    ///
    /// # Errors
    /// Every [`Error`] of a query.
    pub async fn tag_values(
        &self,
        tag: &str,
        filter: Option<&str>,
        range: Option<TimeRange>,
    ) -> Result<Vec<TagValue>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(rename = "tagValues", default)]
            tag_values: Vec<TagValue>,
        }
        let mut parameters = seconds(range);
        parameters.extend(filter.map(|filter| ("q", filter.to_owned())));
        let url = self.client.join(&["api", "v2", "search", "tag", tag, "values"], &parameters);
        let answer: Answer = self.client.get(url, HeaderMap::new(), &[]).await?.json()?;
        Ok(answer.tag_values)
    }

    /// A TraceQL metrics query over a range (`{ status = error } | rate() by (resource.service.name)`): numbers made of spans, at
    /// every `step`.
    ///
    /// # Errors
    /// Every [`Error`] of a query; a TraceQL mistake is [`Error::Status`] 400 with the parser's words.
    pub async fn metrics_range(
        &self,
        traceql: &str,
        range: TimeRange,
        step: Duration,
    ) -> Result<Vec<TraceMetric>, Error> {
        let mut parameters = seconds(Some(range));
        parameters.push(("q", traceql.to_owned()));
        parameters.push(("step", format!("{}s", step.as_secs_f64())));
        self.metrics(&["api", "metrics", "query_range"], &parameters).await
    }

    /// A TraceQL metrics query over a range, as one number for each series.
    ///
    /// # Errors
    /// As [`Tempo::metrics_range`].
    pub async fn metrics_instant(&self, traceql: &str, range: TimeRange) -> Result<Vec<TraceMetric>, Error> {
        let mut parameters = seconds(Some(range));
        parameters.push(("q", traceql.to_owned()));
        self.metrics(&["api", "metrics", "query"], &parameters).await
    }

    async fn metrics(&self, segments: &[&str], parameters: &[(&str, String)]) -> Result<Vec<TraceMetric>, Error> {
        let url = self.client.join(segments, parameters);
        let answer = self.client.get(url, HeaderMap::new(), &[]).await?;
        let wire: WireMetrics = answer.json()?;
        Ok(wire.series.unwrap_or_default().into_iter().map(trace_metric).collect())
    }

    /// Whether Tempo says it is ready.
    ///
    /// # Errors
    /// Every [`Error`] of a query, but not status 503, which is `false`.
    pub async fn is_ready(&self) -> Result<bool, Error> {
        self.client.is_ready(&["ready"]).await
    }
}

/// Tempo takes whole seconds: the start is rounded down, the end up.
fn seconds(range: Option<TimeRange>) -> Vec<(&'static str, String)> {
    const SECOND: u64 = 1_000_000_000;
    let Some(range) = range else { return Vec::new() };
    vec![
        ("start", (range.start_unix_nanos / SECOND).to_string()),
        ("end", range.end_unix_nanos.div_ceil(SECOND).to_string()),
    ]
}

#[derive(Deserialize)]
struct WireMetrics {
    series: Option<Vec<WireMetric>>,
}

/// A series over time has samples, one of an instant query a value.
#[derive(Deserialize)]
struct WireMetric {
    #[serde(default)]
    labels: Vec<KeyValue>,
    #[serde(default)]
    samples: Vec<WireSample>,
    #[serde(default)]
    value: Option<NumberText>,
    #[serde(default)]
    exemplars: Option<Vec<WireExemplar>>,
}

#[derive(Deserialize)]
struct WireSample {
    #[serde(rename = "timestampMs")]
    timestamp_ms: IntegerText<u64>,
    /// Left out where it is zero.
    #[serde(default)]
    value: Option<NumberText>,
}

#[derive(Deserialize)]
struct WireExemplar {
    #[serde(default)]
    labels: Vec<KeyValue>,
    #[serde(default)]
    value: Option<NumberText>,
    #[serde(rename = "timestampMs")]
    timestamp_ms: IntegerText<u64>,
}

fn trace_metric(wire: WireMetric) -> TraceMetric {
    let nanos = |milliseconds: IntegerText<u64>| milliseconds.0.saturating_mul(1_000_000);
    let number = |value: Option<NumberText>| value.map_or(0.0, |number| number.0);
    let mut samples: Vec<Sample> = wire
        .samples
        .into_iter()
        .map(|sample| Sample { timestamp_unix_nanos: nanos(sample.timestamp_ms), value: number(sample.value) })
        .collect();
    if let (Some(value), true) = (wire.value, samples.is_empty()) {
        // The moment of an instant query is the end of its range, which the answer does not say.
        samples.push(Sample { timestamp_unix_nanos: 0, value: value.0 });
    }
    let exemplar = |wire: WireExemplar| {
        let labels = otlp_json::attributes(wire.labels);
        let named = |key: &str| match labels.get(key) {
            Some(AttributeValue::String(text)) => text.parse().ok(),
            _ => None,
        };
        let trace_id = named("trace:id").or_else(|| named("traceId")).or_else(|| named("traceID"));
        TraceExemplar { trace_id, value: number(wire.value), timestamp_unix_nanos: nanos(wire.timestamp_ms) }
    };
    TraceMetric {
        labels: otlp_json::attributes(wire.labels),
        samples,
        exemplars: wire.exemplars.unwrap_or_default().into_iter().map(exemplar).collect(),
    }
}

#[derive(Deserialize)]
struct SearchAnswer {
    traces: Option<Vec<WireTrace>>,
    /// There also for an empty result.
    metrics: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireTrace {
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(default)]
    root_service_name: String,
    #[serde(default)]
    root_trace_name: String,
    #[serde(default, deserialize_with = "otlp_json::integer")]
    start_time_unix_nano: u64,
    #[serde(default)]
    duration_ms: u64,
    #[serde(default)]
    span_set: Option<SpanSet>,
    #[serde(default)]
    span_sets: Vec<SpanSet>,
}

#[derive(Deserialize)]
struct SpanSet {
    #[serde(default)]
    spans: Vec<WireSpan>,
    #[serde(default)]
    matched: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireSpan {
    #[serde(rename = "spanID")]
    span_id: String,
    #[serde(default)]
    name: String,
    #[serde(default, deserialize_with = "otlp_json::integer")]
    start_time_unix_nano: u64,
    #[serde(default, deserialize_with = "otlp_json::integer")]
    duration_nanos: u64,
    #[serde(default)]
    attributes: Vec<KeyValue>,
}

fn found_trace(wire: WireTrace) -> Result<FoundTrace, Error> {
    // `spanSet` repeats the first of `spanSets` for old clients.
    let sets = if wire.span_sets.is_empty() { wire.span_set.into_iter().collect() } else { wire.span_sets };
    let matched = sets.iter().map(|set| set.matched).fold(0, u32::saturating_add);
    let spans = sets.into_iter().flat_map(|set| set.spans).map(found_span).collect::<Result<_, _>>()?;
    Ok(FoundTrace {
        trace_id: wire.trace_id.parse()?,
        root_service_name: wire.root_service_name,
        root_trace_name: wire.root_trace_name,
        start_unix_nanos: wire.start_time_unix_nano,
        duration: Duration::from_millis(wire.duration_ms),
        spans,
        matched,
    })
}

fn found_span(wire: WireSpan) -> Result<FoundSpan, Error> {
    Ok(FoundSpan {
        span_id: wire.span_id.parse()?,
        name: wire.name,
        start_unix_nanos: wire.start_time_unix_nano,
        duration_nanos: wire.duration_nanos,
        attributes: otlp_json::attributes(wire.attributes),
    })
}
