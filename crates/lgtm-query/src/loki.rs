//! Loki's query API: LogQL in, log entries or numbers out.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue};
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::samples::{InstantSample, IntegerText, Labels, Sample, Series, next_element};
use crate::time::TimeRange;
use crate::{Client, Error};

/// Loki's query API.
#[derive(Debug, Clone)]
pub struct Loki {
    client: Client,
}

/// A LogQL query over a range of time.
#[derive(Debug, Clone)]
pub struct LogQuery {
    logql: String,
    range: TimeRange,
    limit: u32,
    direction: Direction,
    step: Option<Duration>,
}

/// In which order Loki reads, and so which entries a limit keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Newest first.
    #[default]
    Backward,
    /// Oldest first.
    Forward,
}

impl LogQuery {
    /// A query over the last hour.
    pub fn new(logql: impl Into<String>) -> Self {
        Self {
            logql: logql.into(),
            range: TimeRange::last(Duration::from_secs(3600)),
            limit: 1000,
            direction: Direction::default(),
            step: None,
        }
    }

    /// The range of time, its end excluded. Defaults to the hour before [`LogQuery::new`].
    #[must_use]
    pub fn range(mut self, range: TimeRange) -> Self {
        self.range = range;
        self
    }

    /// At most this many log entries. Defaults to 1,000; a Loki of default settings refuses more than 5,000.
    #[must_use]
    pub fn limit(mut self, entries: u32) -> Self {
        self.limit = entries;
        self
    }

    /// Which entries the limit keeps. Defaults to the newest.
    #[must_use]
    pub fn direction(mut self, direction: Direction) -> Self {
        self.direction = direction;
        self
    }

    /// The distance between the points of a metric query. Defaults to what Loki chooses for the range.
    #[must_use]
    pub fn step(mut self, step: Duration) -> Self {
        self.step = Some(step);
        self
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut parameters = vec![
            ("query", self.logql.clone()),
            ("start", self.range.start_unix_nanos.to_string()),
            ("end", self.range.end_unix_nanos.to_string()),
            ("limit", self.limit.to_string()),
            ("direction", self.direction.name().to_owned()),
        ];
        if let Some(step) = self.step {
            parameters.push(("step", step.as_secs_f64().to_string()));
        }
        parameters
    }
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Self::Backward => "backward",
            Self::Forward => "forward",
        }
    }
}

/// What a LogQL query brought: a log query gives streams, a metric query numbers.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
pub enum LogData {
    /// Log entries, by stream.
    Streams(Vec<Stream>),
    /// Numbers over time, by series.
    Matrix(Vec<Series>),
    /// Numbers at one time, by series.
    Vector(Vec<InstantSample>),
    /// One number without labels.
    Scalar(Sample),
}

/// The entries of one stream, in the order that the query asked for.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Stream {
    /// The stream's labels. A server that does not keep the kinds apart puts structured metadata and parsed labels here too.
    #[serde(rename(deserialize = "stream"))]
    pub labels: Labels,
    /// The entries.
    #[serde(rename(deserialize = "values"))]
    pub entries: Vec<LogEntry>,
}

/// One log entry.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogEntry {
    /// Nanoseconds since the Unix epoch.
    pub timestamp_unix_nanos: u64,
    /// The log line.
    pub line: String,
    /// The structured metadata that was pushed with the entry (and what Loki adds, as `detected_level`).
    pub structured_metadata: Labels,
    /// What the query's parsers (`| json`, `| logfmt`) found in the line.
    pub parsed: Labels,
}

impl Stream {
    /// The value of `name` for `entry`: from the parsed labels, else its structured metadata, else the stream's labels.
    pub fn value<'a>(&'a self, entry: &'a LogEntry, name: &str) -> Option<&'a str> {
        [&entry.parsed, &entry.structured_metadata, &self.labels]
            .iter()
            .find_map(|labels| labels.get(name))
            .map(String::as_str)
    }
}

impl LogData {
    /// The streams; empty for numbers.
    pub fn streams(&self) -> &[Stream] {
        match self {
            Self::Streams(streams) => streams,
            _ => &[],
        }
    }

    /// All entries with their streams, oldest first.
    pub fn entries(&self) -> Vec<(&Stream, &LogEntry)> {
        let mut entries: Vec<_> =
            self.streams().iter().flat_map(|stream| stream.entries.iter().map(move |entry| (stream, entry))).collect();
        entries.sort_by_key(|(_, entry)| entry.timestamp_unix_nanos);
        entries
    }

    /// The different values of the label or metadata `name` over all entries.
    pub fn values(&self, name: &str) -> BTreeSet<&str> {
        let per_stream = |stream| move |entry| Stream::value(stream, entry, name);
        self.streams().iter().flat_map(|stream| stream.entries.iter().filter_map(per_stream(stream))).collect()
    }
}

impl Loki {
    /// Loki behind `client`, whose URL is Loki's root (`http://localhost:3100`).
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Loki at `url` with default settings. For a tenant or credentials see [`Client::builder`].
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

    /// Runs a query over a range of time.
    ///
    /// # Errors
    /// Every [`Error`] of a query; a LogQL mistake is [`Error::Status`] 400 with the parser's words.
    pub async fn query_range(&self, query: &LogQuery) -> Result<LogData, Error> {
        self.log_data("query_range", &query.parameters()).await
    }

    /// Runs a metric query at one time, `None` for now.
    ///
    /// # Errors
    /// Every [`Error`] of a query. Loki refuses log queries here.
    pub async fn query(&self, logql: &str, at_unix_nanos: Option<u64>) -> Result<LogData, Error> {
        let mut parameters = vec![("query", logql.to_owned())];
        parameters.extend(at_unix_nanos.map(|at| ("time", at.to_string())));
        self.log_data("query", &parameters).await
    }

    /// The names of the stream labels that were in use.
    ///
    /// # Errors
    /// Every [`Error`] of a query.
    pub async fn labels(&self, range: TimeRange) -> Result<Vec<String>, Error> {
        self.names(&["loki", "api", "v1", "labels"], range).await
    }

    /// The values of one stream label that were in use.
    ///
    /// # Errors
    /// Every [`Error`] of a query.
    pub async fn label_values(&self, label: &str, range: TimeRange) -> Result<Vec<String>, Error> {
        self.names(&["loki", "api", "v1", "label", label, "values"], range).await
    }

    /// Whether Loki says it is ready. It takes up to 20 s after its start.
    ///
    /// # Errors
    /// Every [`Error`] of a query, but not status 503, which is `false`.
    pub async fn is_ready(&self) -> Result<bool, Error> {
        self.client.is_ready(&["ready"]).await
    }

    async fn log_data(&self, endpoint: &str, parameters: &[(&str, String)]) -> Result<LogData, Error> {
        let mut headers = HeaderMap::new();
        // Keeps structured metadata and parsed labels apart from the stream's labels. Loki before 3 ignores it.
        headers.insert("x-loki-response-encoding-flags", HeaderValue::from_static("categorize-labels"));
        let (data, _) = self.client.data(&["loki", "api", "v1", endpoint], parameters, headers).await?;
        Ok(data)
    }

    async fn names(&self, segments: &[&str], range: TimeRange) -> Result<Vec<String>, Error> {
        let parameters = [("start", range.start_unix_nanos.to_string()), ("end", range.end_unix_nanos.to_string())];
        self.client.list(segments, &parameters).await
    }
}

impl<'de> Deserialize<'de> for LogEntry {
    /// From `["<nanoseconds>", "<line>"]` or `["<nanoseconds>", "<line>", {"structuredMetadata":{…},"parsed":{…}}]`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize, Default)]
        struct Categories {
            #[serde(rename = "structuredMetadata", default)]
            structured_metadata: Labels,
            #[serde(default)]
            parsed: Labels,
        }
        struct EntryVisitor;
        impl<'de> Visitor<'de> for EntryVisitor {
            type Value = LogEntry;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a timestamp in nanoseconds, a line, and optionally its metadata")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<LogEntry, A::Error> {
                let timestamp: IntegerText<u64> = next_element(&mut sequence, 0, &self)?;
                let line = next_element(&mut sequence, 1, &self)?;
                let categories: Categories = sequence.next_element()?.unwrap_or_default();
                while sequence.next_element::<IgnoredAny>()?.is_some() {}
                Ok(LogEntry {
                    timestamp_unix_nanos: timestamp.0,
                    line,
                    structured_metadata: categories.structured_metadata,
                    parsed: categories.parsed,
                })
            }
        }
        deserializer.deserialize_seq(EntryVisitor)
    }
}
