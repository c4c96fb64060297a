//! Loki's query API.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::logql::{LogQuery, Passed};
use super::parameters::{Parameters, now_ns};
use crate::devstack::Shared;
use crate::store::{Labels, LogEntry};

const HOUR_NS: i64 = 3_600_000_000_000;
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 5000;

/// `GET` and `POST /loki/api/v1/query_range`: entries with `start` <= time < `end`, newest first unless
/// `direction=forward`.
pub(crate) async fn query_range(State(shared): State<Shared>, headers: HeaderMap, parameters: Parameters) -> Response {
    let now = now_ns();
    let range = || {
        let end = parameters.time_ns("end", now)?;
        let since = parameters.duration("since")?.and_then(|since| i64::try_from(since.as_nanos()).ok());
        let start = parameters.time_ns("start", end.saturating_sub(since.unwrap_or(HOUR_NS)))?;
        if end < start {
            return Err(format!("end timestamp must not be before or equal to start time: {start} to {end}"));
        }
        Ok((start, end))
    };
    answer(range().and_then(|(start, end)| run(&shared, &headers, &parameters, start, end)))
}

/// `GET` and `POST /loki/api/v1/query`: the entries of the hour up to and with `time`. (The newest versions of Loki
/// take only metric queries here; `query_range` is the path that works everywhere.)
pub(crate) async fn query(State(shared): State<Shared>, headers: HeaderMap, parameters: Parameters) -> Response {
    let range = parameters.time_ns("time", now_ns());
    answer(
        range
            .and_then(|time| run(&shared, &headers, &parameters, time.saturating_sub(HOUR_NS), time.saturating_add(1))),
    )
}

/// `GET /loki/api/v1/labels`.
pub(crate) async fn labels(State(shared): State<Shared>) -> Response {
    let entries = shared.store.logs();
    let names: BTreeSet<&String> = entries.iter().flat_map(|entry| entry.labels.keys()).collect();
    Json(json!({"status": "success", "data": names})).into_response()
}

/// `GET /loki/api/v1/label/{name}/values`.
pub(crate) async fn label_values(State(shared): State<Shared>, Path(name): Path<String>) -> Response {
    let entries = shared.store.logs();
    let values: BTreeSet<&String> = entries.iter().filter_map(|entry| entry.labels.get(&name)).collect();
    Json(json!({"status": "success", "data": values})).into_response()
}

fn answer(outcome: Result<Value, String>) -> Response {
    match outcome {
        Ok(data) => Json(json!({"status": "success", "data": data})).into_response(),
        // Loki tells its errors as plain text.
        Err(text) => (StatusCode::BAD_REQUEST, text).into_response(),
    }
}

fn run(
    shared: &Shared,
    headers: &HeaderMap,
    parameters: &Parameters,
    start_ns: i64,
    end_ns: i64,
) -> Result<Value, String> {
    let query = LogQuery::parse(parameters.first("query").unwrap_or_default())?;
    let limit = parameters.number("limit", DEFAULT_LIMIT)?;
    if limit == 0 || limit > MAX_LIMIT {
        return Err(format!(
            "max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {MAX_LIMIT})"
        ));
    }
    let forward = match parameters.first("direction").unwrap_or("backward") {
        direction if direction.eq_ignore_ascii_case("forward") => true,
        direction if direction.eq_ignore_ascii_case("backward") => false,
        other => return Err(format!("invalid direction {other:?}; it is forward or backward")),
    };
    let categorize = headers
        .get("x-loki-response-encoding-flags")
        .is_some_and(|flags| flags.to_str().is_ok_and(|flags| flags.contains("categorize-labels")));
    let mut found: Vec<(Arc<LogEntry>, Passed)> = shared
        .store
        .logs()
        .into_iter()
        .filter(|entry| (start_ns..end_ns).contains(&entry.timestamp_ns) && query.selects(&entry.labels))
        .filter_map(|entry| query.pass(&entry).map(|passed| (entry, passed)))
        .collect();
    // Stable: entries of one time stay in the order of arrival.
    found.sort_by_key(|(entry, _)| if forward { entry.timestamp_ns } else { entry.timestamp_ns.saturating_neg() });
    found.truncate(limit);
    Ok(streams(&found, categorize))
}

/// The result: by default structured metadata and extracted labels are among the stream's labels, as Loki does;
/// with the encoding flag `categorize-labels` they stand beside each line.
fn streams(found: &[(Arc<LogEntry>, Passed)], categorize: bool) -> Value {
    let mut streams: BTreeMap<Labels, Vec<Value>> = BTreeMap::new();
    for (entry, passed) in found {
        let time = entry.timestamp_ns.to_string();
        let mut labels = Labels::clone(&entry.labels);
        let value = if categorize {
            let mut beside = serde_json::Map::new();
            if !entry.structured_metadata.is_empty() {
                beside.insert("structuredMetadata".to_owned(), json!(entry.structured_metadata));
            }
            if !passed.parsed.is_empty() {
                beside.insert("parsed".to_owned(), json!(passed.parsed));
            }
            json!([time, entry.line, beside])
        } else {
            labels.extend(entry.structured_metadata.clone());
            labels.extend(passed.parsed.clone());
            json!([time, entry.line])
        };
        streams.entry(labels).or_default().push(value);
    }
    let result: Vec<Value> =
        streams.into_iter().map(|(stream, values)| json!({"stream": stream, "values": values})).collect();
    let mut data = json!({"resultType": "streams", "result": result, "stats": {}});
    if categorize && let Some(data) = data.as_object_mut() {
        data.insert("encodingFlags".to_owned(), json!(["categorize-labels"]));
    }
    data
}
