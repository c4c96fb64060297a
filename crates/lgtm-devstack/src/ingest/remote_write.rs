//! Remote write 1 and 2: a snappy block of Prometheus' `WriteRequest`, or of version 2's `Request`.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use prost::Message;

use super::essence;
use crate::compression::{self, DecompressError};
use crate::devstack::Shared;
use crate::label_text;
use crate::store::{Exemplar, Labels, MetricMetadata, MetricStore, MetricType, Sample, SampleError, SignalCounts};
use crate::wire::prometheus::{self as wire, Label, TimeSeries, WriteRequest, v2};

const MAX_FUTURE_MS: i64 = 600_000;
pub(super) const MAX_EXEMPLAR_LABEL_CHARACTERS: usize = 128;

/// How many of the problems the answer names.
const MAX_NAMED: usize = 10;

/// `POST /api/v1/push`, Mimir's path.
pub(crate) async fn push(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    answer(&shared, &headers, &body, StatusCode::OK)
}

/// `POST /api/v1/write`, Prometheus' path.
pub(crate) async fn write(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    answer(&shared, &headers, &body, StatusCode::NO_CONTENT)
}

fn answer(shared: &Shared, headers: &HeaderMap, body: &Bytes, success: StatusCode) -> Response {
    let (request, version) = match decode(headers, body, shared.limits.decompressed_bytes) {
        Ok(decoded) => decoded,
        Err((status, text)) => return (status, text).into_response(),
    };
    let before = shared.store.counts();
    let problems = store(shared, request);
    let mut response = if problems.is_empty() {
        success.into_response()
    } else {
        let named: Vec<&str> = problems.iter().take(MAX_NAMED).map(|problem| problem.text.as_str()).collect();
        (StatusCode::BAD_REQUEST, format!("{}\n({} problems)", named.join("\n"), problems.len())).into_response()
    };
    if version == Version::Two {
        // What was there already is written, as far as the sender is concerned.
        let now = shared.store.counts();
        let written = |now: SignalCounts, before: SignalCounts| {
            (now.received + now.duplicates).saturating_sub(before.received + before.duplicates)
        };
        let headers = response.headers_mut();
        for (name, number) in [
            ("x-prometheus-remote-write-samples-written", written(now.samples, before.samples)),
            ("x-prometheus-remote-write-histograms-written", written(now.histograms, before.histograms)),
            ("x-prometheus-remote-write-exemplars-written", written(now.exemplars, before.exemplars)),
        ] {
            headers.insert(name, HeaderValue::from(number));
        }
    }
    response
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

type Refusal = (StatusCode, String);

fn decode(headers: &HeaderMap, body: &Bytes, limit: usize) -> Result<(WriteRequest, Version), Refusal> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let message = content_type.split(';').skip(1).find_map(|parameter| parameter.trim().strip_prefix("proto="));
    // Clients of version 1 that leave out type or encoding are taken as Prometheus and Mimir take them.
    let version = match (essence(headers, header::CONTENT_TYPE).as_str(), message) {
        ("", _) | ("application/x-protobuf", None | Some("prometheus.WriteRequest")) => Version::One,
        ("application/x-protobuf", Some("io.prometheus.write.v2.Request")) => Version::Two,
        _ => {
            let text = format!(
                "content type {content_type:?} is not supported; supported is application/x-protobuf (remote write 1, or 2 with proto=io.prometheus.write.v2.Request)"
            );
            return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
        }
    };
    let encoding = essence(headers, header::CONTENT_ENCODING);
    if !matches!(encoding.as_str(), "" | "snappy") {
        let text = format!("content encoding {encoding:?} is not supported; supported is snappy");
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let plain = compression::snappy_block(body, limit).map_err(|error| match error {
        DecompressError::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
        _ => (StatusCode::BAD_REQUEST, error.to_string()),
    })?;
    let malformed = |error: prost::DecodeError| (StatusCode::BAD_REQUEST, error.to_string());
    let request = match version {
        Version::One => WriteRequest::decode(plain.as_slice()).map_err(malformed)?,
        Version::Two => {
            let request = v2::Request::decode(plain.as_slice()).map_err(malformed)?;
            resolve(request).map_err(|problem| (StatusCode::BAD_REQUEST, problem))?
        }
    };
    Ok((request, version))
}

/// A request of version 2 with its texts in their places.
fn resolve(request: v2::Request) -> Result<WriteRequest, String> {
    let symbols = &request.symbols;
    if symbols.first().is_some_and(|first| !first.is_empty()) {
        return Err("the first symbol is not empty".to_owned());
    }
    let text = |place: u32| {
        symbols.get(place as usize).cloned().ok_or_else(|| format!("symbol {place} of {} symbols", symbols.len()))
    };
    let labels = |places: &[u32]| {
        let (pairs, rest) = places.as_chunks::<2>();
        if !rest.is_empty() {
            return Err("a label without value".to_owned());
        }
        pairs.iter().map(|[name, value]| Ok(Label { name: text(*name)?, value: text(*value)? })).collect()
    };
    let mut resolved = WriteRequest::default();
    for series in &request.timeseries {
        let all: Vec<Label> = labels(&series.labels_refs)?;
        if let Some(metadata) = &series.metadata {
            let name = all.iter().find(|label| label.name == "__name__").map_or("", |label| &label.value);
            let suffixes: &[&str] =
                if metadata.r#type() == MetricType::Histogram { &["_bucket", "_sum", "_count"] } else { &[] };
            let family = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
            resolved.metadata.push(wire::MetricMetadata {
                r#type: metadata.r#type,
                metric_family_name: family.to_owned(),
                help: text(metadata.help_ref)?,
                unit: text(metadata.unit_ref)?,
            });
        }
        let exemplar = |exemplar: &v2::Exemplar| {
            let labels = labels(&exemplar.labels_refs)?;
            Ok::<_, String>(wire::Exemplar { labels, value: exemplar.value, timestamp: exemplar.timestamp })
        };
        resolved.timeseries.push(TimeSeries {
            labels: all,
            samples: series.samples.clone(),
            exemplars: series.exemplars.iter().map(exemplar).collect::<Result<_, _>>()?,
            histograms: series.histograms.clone(),
        });
    }
    Ok(resolved)
}

/// Why something of a request was not taken.
pub(super) struct Problem {
    /// Which of the request's series it is of; of metadata none.
    pub(super) series: Option<usize>,
    /// Whether a sample or native histogram was refused, and not an exemplar or metadata.
    pub(super) is_of_sample: bool,
    pub(super) text: String,
}

/// Stores samples of nothing at the beginning of series, where there is nothing newer yet. Without them the first sample of a series would not
/// be known to have grown from zero.
pub(super) fn begin_at_zero(shared: &Shared, zeros: Vec<TimeSeries>) {
    if zeros.is_empty() {
        return;
    }
    shared.store.with_metrics(|metrics| {
        for zero in zeros {
            let Ok(labels) = series_labels(&zero.labels) else { continue };
            let times = zero.samples.iter().map(|sample| sample.timestamp);
            let time = times.chain(zero.histograms.iter().map(|histogram| histogram.timestamp)).max();
            if metrics.newest_ms(&labels) < time {
                store_series(metrics, None, zero, i64::MAX, &mut Vec::new());
            }
        }
    });
}

/// Stores what is valid and tells of the rest.
pub(super) fn store(shared: &Shared, request: WriteRequest) -> Vec<Problem> {
    let latest_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or_default()
        .saturating_add(MAX_FUTURE_MS);
    let latest_ms = if shared.store.takes_any_time() { i64::MAX } else { latest_ms };
    let mut problems = Vec::new();
    shared.store.with_metrics(|metrics| {
        for metadata in request.metadata {
            let metric_type = MetricType::try_from(metadata.r#type).unwrap_or(MetricType::Unknown);
            let family: String = metadata.metric_family_name.chars().take(100).collect();
            let known = MetricMetadata { metric_type, help: metadata.help, unit: metadata.unit };
            if !metrics.describe(metadata.metric_family_name, known) {
                let text = format!("metadata of {family} exceeds the limit of families or of their length");
                problems.push(Problem { series: None, is_of_sample: false, text });
            }
        }
        for (place, series) in request.timeseries.into_iter().enumerate() {
            store_series(metrics, Some(place), series, latest_ms, &mut problems);
        }
    });
    problems
}

fn store_series(
    metrics: &mut MetricStore,
    place: Option<usize>,
    series: TimeSeries,
    latest_ms: i64,
    problems: &mut Vec<Problem>,
) {
    let mut refuse = |is_of_sample: bool, text: String| problems.push(Problem { series: place, is_of_sample, text });
    let labels = match series_labels(&series.labels) {
        Ok(labels) => labels,
        Err(problem) => {
            metrics.reject_samples(series.samples.len() as u64);
            metrics.reject_exemplars(series.exemplars.len() as u64);
            metrics.reject_histograms(series.histograms.len() as u64);
            refuse(!series.samples.is_empty() || !series.histograms.is_empty(), problem);
            return;
        }
    };
    let text = || label_text::write(&labels);
    let too_new = |what: &str, timestamp_ms: i64| {
        format!(
            "received a {what} whose timestamp is too far in the future, timestamp: {timestamp_ms} series: {}",
            text()
        )
    };
    for histogram in series.histograms {
        let timestamp_ms = histogram.timestamp;
        if timestamp_ms > latest_ms {
            metrics.reject_histograms(1);
            refuse(true, too_new("histogram", timestamp_ms));
            continue;
        }
        let histogram = match histogram.validated() {
            Ok(histogram) => histogram,
            Err(problem) => {
                metrics.reject_histograms(1);
                refuse(true, format!("{problem}, timestamp: {timestamp_ms} series: {}", text()));
                continue;
            }
        };
        if let Err(error) = metrics.push_histogram(&labels, histogram) {
            let reason = match error {
                SampleError::OutOfOrder => "out of order histogram",
                SampleError::DuplicateTimestamp => "duplicate histogram for timestamp",
            };
            refuse(true, format!("{reason}, timestamp: {timestamp_ms} series: {}", text()));
        }
    }
    for sample in series.samples {
        let sample = Sample { timestamp_ms: sample.timestamp, value: sample.value };
        if sample.timestamp_ms > latest_ms {
            metrics.reject_samples(1);
            refuse(true, too_new("sample", sample.timestamp_ms));
            continue;
        }
        if let Err(error) = metrics.push_sample(&labels, sample) {
            let reason = match error {
                SampleError::OutOfOrder => "out of order sample",
                SampleError::DuplicateTimestamp => "duplicate sample for timestamp",
            };
            refuse(true, format!("{reason}, timestamp: {} series: {}", sample.timestamp_ms, text()));
        }
    }
    for exemplar in series.exemplars {
        let timestamp_ms = exemplar.timestamp;
        let problem = match exemplar_labels(&exemplar.labels) {
            Ok(labels_of_exemplar) => {
                let exemplar = Exemplar { labels: labels_of_exemplar, value: exemplar.value, timestamp_ms };
                match metrics.push_exemplar(&labels, exemplar) {
                    Ok(()) => continue,
                    Err(_) => "out of order exemplar".to_owned(),
                }
            }
            Err(problem) => {
                metrics.reject_exemplars(1);
                problem
            }
        };
        refuse(false, format!("{problem}, timestamp: {timestamp_ms} series: {}", text()));
    }
}

/// The labels of a series, if it has a name and each label is there once. As the real servers do it, they are sorted, and empty ones left out:
/// the specification wants both of clients, which not all of them do.
fn series_labels(pairs: &[Label]) -> Result<Labels, String> {
    let mut labels = Labels::new();
    for pair in pairs.iter().filter(|pair| !pair.value.is_empty()) {
        if labels.insert(pair.name.clone(), pair.value.clone()).is_some() {
            let text = label_text::write(&labels);
            return Err(format!("received a series with duplicate label name: '{}', series: {text}", pair.name));
        }
    }
    let text = || label_text::write(&labels);
    match labels.get("__name__") {
        None => {
            return Err(format!("received series has no metric name, series: {}", text()));
        }
        Some(name) if !label_text::is_metric_name(name) => {
            return Err(format!("received a series with invalid metric name: '{name}'"));
        }
        Some(_) => {}
    }
    if let Some(name) = labels.keys().find(|name| !label_text::is_name(name)) {
        return Err(format!("received a series with an invalid label: '{name}', series: {}", text()));
    }
    Ok(labels)
}

fn exemplar_labels(pairs: &[Label]) -> Result<Labels, String> {
    let labels = to_labels(pairs);
    if labels.is_empty() {
        return Err("received an exemplar with no valid labels".to_owned());
    }
    let characters: usize = labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
    if characters > MAX_EXEMPLAR_LABEL_CHARACTERS {
        return Err(format!(
            "received an exemplar whose label set has {characters} characters; limit {MAX_EXEMPLAR_LABEL_CHARACTERS}"
        ));
    }
    Ok(labels)
}

fn to_labels(pairs: &[Label]) -> Labels {
    pairs.iter().map(|pair| (pair.name.clone(), pair.value.clone())).collect()
}
