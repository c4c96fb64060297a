//! Loki's query API: LogQL in, log entries or numbers out.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue};
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::samples::{InstantSample, IntegerText, Labels, Sample, Series, next_element};
use crate::tail::Tail;
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

/// How much some streams hold, by Loki's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
pub struct IndexStats {
    /// Streams.
    pub streams: u64,
    /// Chunks.
    pub chunks: u64,
    /// Entries.
    pub entries: u64,
    /// Bytes of lines, not compressed.
    pub bytes: u64,
}

/// A field that Loki has found in lines.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct DetectedField {
    /// Its name, as LogQL's parsers give it.
    pub label: String,
    /// What its values look like: `string`, `int`, `float`, `boolean`, `duration`, `bytes`.
    #[serde(rename(deserialize = "type"))]
    pub value_type: String,
    /// How many values it has, about.
    pub cardinality: u64,
    /// The parsers that find it (`json`, `logfmt`); none for structured metadata.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub parsers: Vec<String>,
}

/// A pattern of lines.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Pattern {
    /// The text, with `<_>` for what differs.
    pub pattern: String,
    /// Seconds since the Unix epoch, and how many lines.
    pub samples: Vec<(u64, u64)>,
}

fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
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

    /// The label sets of the streams that match any of `selectors` (`{service="shop"}`).
    ///
    /// # Errors
    /// Every [`Error`] of a query; no selector at all is refused by the server.
    pub async fn series(&self, selectors: &[&str], range: TimeRange) -> Result<Vec<Labels>, Error> {
        let mut parameters = with_range(range);
        parameters.extend(selectors.iter().map(|selector| ("match[]", (*selector).to_owned())));
        self.client.list(&["loki", "api", "v1", "series"], &parameters).await
    }

    /// How much the streams hold that `selector` chooses, by the index.
    ///
    /// # Errors
    /// Every [`Error`] of a query.
    pub async fn stats(&self, selector: &str, range: TimeRange) -> Result<IndexStats, Error> {
        let url = self.client.join(&["loki", "api", "v1", "index", "stats"], &with_query(selector, range));
        self.client.get(url, HeaderMap::new(), &[]).await?.json()
    }

    /// Bytes of the streams that `selector` chooses, by its labels or by `labels`; the largest ones, as many as `limit`.
    ///
    /// # Errors
    /// Every [`Error`] of a query. Loki must have `volume_enabled`.
    pub async fn volume(
        &self,
        selector: &str,
        labels: &[&str],
        range: TimeRange,
        limit: u32,
    ) -> Result<Vec<InstantSample>, Error> {
        let mut parameters = with_query(selector, range);
        parameters.push(("limit", limit.to_string()));
        if !labels.is_empty() {
            parameters.push(("targetLabels", labels.join(",")));
        }
        match self.data(&["loki", "api", "v1", "index", "volume"], &parameters).await? {
            LogData::Vector(samples) => Ok(samples),
            _ => Ok(Vec::new()),
        }
    }

    /// The fields that Loki finds in the lines of `selector`: structured metadata, and those of JSON and logfmt.
    ///
    /// # Errors
    /// Every [`Error`] of a query.
    pub async fn detected_fields(&self, selector: &str, range: TimeRange) -> Result<Vec<DetectedField>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            fields: Option<Vec<DetectedField>>,
        }
        let url = self.client.join(&["loki", "api", "v1", "detected_fields"], &with_query(selector, range));
        let answer: Answer = self.client.get(url, HeaderMap::new(), &[]).await?.json()?;
        Ok(answer.fields.unwrap_or_default())
    }

    /// The patterns of the lines of `selector`, with how many lines had them when.
    ///
    /// # Errors
    /// Every [`Error`] of a query. Loki must run its pattern ingester.
    pub async fn patterns(&self, selector: &str, range: TimeRange) -> Result<Vec<Pattern>, Error> {
        self.client.list(&["loki", "api", "v1", "patterns"], &with_query(selector, range)).await
    }

    /// A LogQL query as Loki's formatter writes it; also the shortest way to ask whether it is one.
    ///
    /// # Errors
    /// Every [`Error`] of a query; a LogQL mistake is [`Error::Status`] 400 with the parser's words.
    pub async fn format_query(&self, logql: &str) -> Result<String, Error> {
        let parameters = [("query", logql.to_owned())];
        self.client
            .data(&["loki", "api", "v1", "format_query"], &parameters, HeaderMap::new())
            .await
            .map(|(text, _)| text)
    }

    /// Follows a log query: entries from its range's start on, and then each new one as it arrives. The range's end, the
    /// direction and the step say nothing here; the limit is that of the entries at the start.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), lgtm_query::Error> {
    /// use lgtm_query::{LogQuery, Loki};
    ///
    /// let loki = Loki::at("http://localhost:3100")?;
    /// let mut tail = loki.tail(&LogQuery::new(r#"{service="shop", level="error"}"#)).await?;
    /// while let Some(batch) = tail.next().await? {
    ///     for stream in &batch.streams {
    ///         stream.entries.iter().for_each(|entry| println!("{}", entry.line));
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A proxy from the environment is not used here.
    ///
    /// # Errors
    /// Every [`Error`] of a query; a LogQL mistake is [`Error::Status`] 400 with the parser's words.
    pub async fn tail(&self, query: &LogQuery) -> Result<Tail, Error> {
        let parameters = [
            ("query", query.logql.clone()),
            ("start", query.range.start_unix_nanos.to_string()),
            ("limit", query.limit.to_string()),
        ];
        Tail::connect(&self.client, &parameters).await
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
        let (data, _) = self.client.data(&["loki", "api", "v1", endpoint], parameters, categorized()).await?;
        Ok(data)
    }

    async fn data(&self, segments: &[&str], parameters: &[(&str, String)]) -> Result<LogData, Error> {
        self.client.data(segments, parameters, HeaderMap::new()).await.map(|(data, _)| data)
    }

    async fn names(&self, segments: &[&str], range: TimeRange) -> Result<Vec<String>, Error> {
        self.client.list(segments, &with_range(range)).await
    }
}

/// Keeps structured metadata and parsed labels apart from the stream's labels. Loki before 3 ignores it.
pub(crate) fn categorized() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("x-loki-response-encoding-flags", HeaderValue::from_static("categorize-labels"));
    headers
}

fn with_range(range: TimeRange) -> Vec<(&'static str, String)> {
    vec![("start", range.start_unix_nanos.to_string()), ("end", range.end_unix_nanos.to_string())]
}

fn with_query(selector: &str, range: TimeRange) -> Vec<(&'static str, String)> {
    let mut parameters = with_range(range);
    parameters.push(("query", selector.to_owned()));
    parameters
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
