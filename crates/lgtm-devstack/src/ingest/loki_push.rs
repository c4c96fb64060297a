//! Loki's push endpoint: protobuf in a snappy block, or JSON.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use prost::Message;
use serde::Deserialize;

use super::essence;
use crate::compression::{self, DecompressError};
use crate::devstack::Shared;
use crate::label_text;
use crate::store::Labels;
use crate::wire::loki::PushRequest;

const SECOND_NS: i64 = 1_000_000_000;
const MAX_AGE_NS: i64 = 168 * 3600 * SECOND_NS;
const MAX_FUTURE_NS: i64 = 600 * SECOND_NS;
const MAX_BEHIND_NEWEST_NS: i64 = 3600 * SECOND_NS;
const MAX_LINE_BYTES: usize = 256 * 1024;
pub(crate) const MAX_LABELS: usize = 15;
const MAX_LABEL_NAME: usize = 1024;
const MAX_LABEL_VALUE: usize = 2048;
const MAX_METADATA_BYTES: usize = 64 * 1024;
const MAX_METADATA_ENTRIES: usize = 128;

/// How many of the refused entries the answer names.
const MAX_NAMED: usize = 10;

pub(crate) struct Stream {
    pub(crate) labels: Labels,
    pub(crate) entries: Vec<Entry>,
}

pub(crate) struct Entry {
    pub(crate) timestamp_ns: i64,
    pub(crate) line: String,
    pub(crate) structured_metadata: Labels,
}

/// `POST /loki/api/v1/push`.
pub(crate) async fn push(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    match decode(&headers, &body, shared.limits.decompressed_bytes) {
        Ok(streams) => store(&shared, streams),
        Err((status, text)) => (status, text).into_response(),
    }
}

pub(crate) type Refusal = (StatusCode, String);

fn decode(headers: &HeaderMap, body: &Bytes, limit: usize) -> Result<Vec<Stream>, Refusal> {
    let decompression = |error: DecompressError| match error {
        DecompressError::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
        _ => (StatusCode::BAD_REQUEST, error.to_string()),
    };
    let encoding = essence(headers, header::CONTENT_ENCODING);
    match essence(headers, header::CONTENT_TYPE).as_str() {
        "" | "application/x-protobuf" => {
            // The body is a snappy block, whether or not the header says so.
            if !matches!(encoding.as_str(), "" | "snappy") {
                return Err((
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    format!("content encoding {encoding:?} is not supported for protobuf; supported is snappy"),
                ));
            }
            let plain = compression::snappy_block(body, limit).map_err(decompression)?;
            let request =
                PushRequest::decode(plain.as_slice()).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
            from_protobuf(request)
        }
        "application/json" => {
            let plain = match encoding.as_str() {
                "" | "identity" => body.to_vec(),
                "gzip" => compression::gzip(body, limit).map_err(decompression)?,
                other => {
                    return Err((
                        StatusCode::UNSUPPORTED_MEDIA_TYPE,
                        format!("content encoding {other:?} is not supported for JSON; supported is gzip"),
                    ));
                }
            };
            let request = serde_json::from_slice::<JsonPush>(&plain)
                .map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
            from_json(request)
        }
        other => Err((
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!(
                "content type {other:?} is not supported; supported are application/x-protobuf and application/json"
            ),
        )),
    }
}

fn from_protobuf(request: PushRequest) -> Result<Vec<Stream>, Refusal> {
    let mut streams = Vec::with_capacity(request.streams.len());
    for stream in request.streams {
        let labels = label_text::parse(&stream.labels)
            .map_err(|error| (StatusCode::BAD_REQUEST, format!("error parsing labels {}: {error}", stream.labels)))?;
        let mut entries = Vec::with_capacity(stream.entries.len());
        for entry in stream.entries {
            let timestamp = entry.timestamp.unwrap_or_default();
            entries.push(Entry {
                timestamp_ns: timestamp.seconds.saturating_mul(SECOND_NS).saturating_add(i64::from(timestamp.nanos)),
                line: entry.line,
                structured_metadata: entry
                    .structured_metadata
                    .into_iter()
                    .map(|pair| (label_text::sanitise(&pair.name), pair.value))
                    .collect(),
            });
        }
        streams.push(Stream { labels, entries });
    }
    Ok(streams)
}

#[derive(Deserialize)]
pub(crate) struct JsonPush {
    #[serde(default)]
    pub(crate) streams: Vec<JsonStream>,
}

#[derive(Deserialize)]
pub(crate) struct JsonStream {
    stream: Labels,
    #[serde(default)]
    values: Vec<JsonEntry>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "an entry is [\"<nanoseconds since 1970>\", \"<line>\"], or has structured metadata as a third item: {\"<name>\": \"<text>\"}"
)]
enum JsonEntry {
    Plain(String, String),
    WithMetadata(String, String, Labels),
}

pub(crate) fn from_json(request: JsonPush) -> Result<Vec<Stream>, Refusal> {
    let mut streams = Vec::with_capacity(request.streams.len());
    for JsonStream { stream, values } in request.streams {
        if let Some(name) = stream.keys().find(|name| !label_text::is_name(name)) {
            let text = format!("error parsing labels: {name:?} is not a label name ([a-zA-Z_][a-zA-Z0-9_]*)");
            return Err((StatusCode::BAD_REQUEST, text));
        }
        let mut entries = Vec::with_capacity(values.len());
        for value in values {
            let (time, line, metadata) = match value {
                JsonEntry::Plain(time, line) => (time, line, Labels::new()),
                JsonEntry::WithMetadata(time, line, metadata) => (time, line, metadata),
            };
            let timestamp_ns = time.parse().map_err(|_| {
                (StatusCode::BAD_REQUEST, format!("timestamp {time:?} is not a number of nanoseconds since 1970"))
            })?;
            entries.push(Entry {
                timestamp_ns,
                line,
                structured_metadata: metadata
                    .into_iter()
                    .map(|(name, value)| (label_text::sanitise(&name), value))
                    .collect(),
            });
        }
        streams.push(Stream { labels: stream, entries });
    }
    Ok(streams)
}

/// Stores the valid entries; the answer is 400 if there were others, although the valid ones are kept.
fn store(shared: &Shared, streams: Vec<Stream>) -> Response {
    if streams.is_empty() {
        return (StatusCode::UNPROCESSABLE_ENTITY, "error at least one valid stream is required for ingestion")
            .into_response();
    }
    match keep(shared, streams) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refused) => (StatusCode::BAD_REQUEST, refused.text).into_response(),
    }
}

/// Entries that were not taken.
pub(crate) struct Refused {
    pub(super) entries: usize,
    /// How many there were with those that were taken.
    pub(super) of: usize,
    /// What was wrong, in Loki's words.
    pub(crate) text: String,
}

/// Stores the valid entries, and says what was wrong with the others.
pub(crate) fn keep(shared: &Shared, streams: Vec<Stream>) -> Result<(), Refused> {
    let now_ns = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_nanos()).ok())
        .unwrap_or_default();
    let any_time = shared.store.takes_any_time();
    let total: usize = streams.iter().map(|stream| stream.entries.len()).sum();
    let mut reasons = Vec::new();
    let mut ignored = 0;
    shared.store.with_logs(|logs| {
        for stream in streams {
            if let Err(reason) = check_labels(&stream.labels) {
                ignored += stream.entries.len();
                logs.reject(stream.entries.len() as u64);
                reasons.push(reason);
                continue;
            }
            for entry in stream.entries {
                let newest_ns = logs.newest_ns(&stream.labels);
                let in_time = if any_time { Ok(()) } else { check_time(entry.timestamp_ns, now_ns, newest_ns) };
                match in_time.and_then(|()| check_entry(&entry)) {
                    Ok(()) => logs.push(&stream.labels, entry.timestamp_ns, entry.line, entry.structured_metadata),
                    Err(reason) => {
                        ignored += 1;
                        logs.reject(1);
                        if reasons.len() < MAX_NAMED {
                            reasons.push(format!("{reason}, for stream: {}", label_text::write(&stream.labels)));
                        }
                    }
                }
            }
        }
    });
    if reasons.is_empty() {
        return Ok(());
    }
    reasons.truncate(MAX_NAMED);
    let text = format!("{}\nuser 'fake', total ignored: {ignored} out of {total}", reasons.join("\n"));
    Err(Refused { entries: ignored, of: total, text })
}

fn check_labels(labels: &Labels) -> Result<(), String> {
    let text = || label_text::write(labels);
    if labels.is_empty() {
        return Err("error at least one label pair is required per stream".to_owned());
    }
    if labels.len() > MAX_LABELS {
        return Err(format!("stream '{}' has {} label names; limit {MAX_LABELS}", text(), labels.len()));
    }
    for (name, value) in labels {
        if name.len() > MAX_LABEL_NAME {
            return Err(format!("stream '{}' has label name too long: '{name}'; limit {MAX_LABEL_NAME}", text()));
        }
        if value.len() > MAX_LABEL_VALUE {
            return Err(format!("stream '{}' has label value too long: '{value}'; limit {MAX_LABEL_VALUE}", text()));
        }
    }
    Ok(())
}

fn check_time(time: i64, now_ns: i64, newest_ns: Option<i64>) -> Result<(), String> {
    if time < now_ns.saturating_sub(MAX_AGE_NS) {
        return Err(format!(
            "entry has timestamp too old: {time}, oldest acceptable timestamp is: {}",
            now_ns - MAX_AGE_NS
        ));
    }
    if time > now_ns.saturating_add(MAX_FUTURE_NS) {
        return Err(format!("entry has timestamp too new: {time}"));
    }
    if let Some(oldest) = newest_ns.map(|newest| newest.saturating_sub(MAX_BEHIND_NEWEST_NS))
        && time < oldest
    {
        return Err(format!(
            "entry too far behind, entry timestamp is: {time}, oldest acceptable timestamp is: {oldest}"
        ));
    }
    Ok(())
}

fn check_entry(entry: &Entry) -> Result<(), String> {
    if entry.line.len() > MAX_LINE_BYTES {
        return Err(format!(
            "max entry size '{MAX_LINE_BYTES}' bytes exceeded: the line has {} bytes",
            entry.line.len()
        ));
    }
    if entry.structured_metadata.len() > MAX_METADATA_ENTRIES {
        return Err(format!(
            "structured metadata has {} entries; limit {MAX_METADATA_ENTRIES}",
            entry.structured_metadata.len()
        ));
    }
    let bytes: usize = entry.structured_metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MAX_METADATA_BYTES {
        return Err(format!("structured metadata has {bytes} bytes; limit {MAX_METADATA_BYTES}"));
    }
    Ok(())
}
