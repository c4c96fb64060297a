//! Log lines: a list of those that satisfy a filter, newest first, and one line whole.
//!
//! A list is read by place: `until` pins the newest line that belongs to it, so that what arrives meanwhile moves nothing, and `skip`
//! says where the page begins. So a reader can jump anywhere in 100,000 lines.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use regex::Regex;
use serde_json::{Value, json};

use super::fields::{self, Level};
use super::query::{AttributeFilter, Query, Range, Refusal};
use crate::devstack::Shared;
use crate::read::parameters::now_ns;
use crate::store::{LogEntry, LogStore};

/// The parameters of [`LogFilter`].
pub(super) const FILTER: &[&str] = &["service", "level", "q", "regex", "attr", "trace", "span", "from", "to", "last"];
/// The most lines of one answer.
const MAX_LINES: u64 = 1000;
/// The longest message in a list, in bytes; the line whole has its own address.
const MAX_MESSAGE: usize = 500;

/// Which lines are wanted. All conditions must hold; several services or levels are alternatives.
pub(super) struct LogFilter {
    services: Vec<String>,
    levels: Vec<Level>,
    text: Option<Regex>,
    regex: Option<Regex>,
    attributes: Vec<AttributeFilter>,
    trace: Option<String>,
    span: Option<String>,
    range: Range,
}

impl LogFilter {
    pub(super) fn from_query(query: &Query) -> Result<Self, Refusal> {
        Ok(Self {
            services: query.texts("service"),
            levels: query.each_of("level", &Level::ALL)?,
            text: query.text("q")?,
            regex: query.regex("regex")?,
            attributes: query.attributes("attr")?,
            trace: query.first("trace").map(str::to_ascii_lowercase),
            span: query.first("span").map(str::to_ascii_lowercase),
            range: query.range(now_ns())?,
        })
    }

    /// The cheap conditions first: most lines fail one of them.
    pub(super) fn accepts(&self, entry: &LogEntry) -> bool {
        self.range.contains(entry.timestamp_ns)
            && (self.services.is_empty() || self.services.iter().any(|service| service == fields::service(entry)))
            && (self.levels.is_empty() || self.levels.contains(&fields::level(entry)))
            && self.trace.as_ref().is_none_or(|trace| fields::trace_id(entry).as_ref() == Some(trace))
            && self.span.as_ref().is_none_or(|span| fields::span_id(entry).as_ref() == Some(span))
            && self.attributes.iter().all(|filter| filter.accepts(fields::field(entry, &filter.name).as_deref()))
            && self.text.as_ref().is_none_or(|text| is_found(text, entry))
            && self.regex.as_ref().is_none_or(|regex| is_found(regex, entry))
    }
}

/// In the line, or in a value of its metadata.
fn is_found(pattern: &Regex, entry: &LogEntry) -> bool {
    pattern.is_match(&entry.line) || entry.structured_metadata.values().any(|value| pattern.is_match(value))
}

/// A line with its number, which it has for as long as the stack runs.
pub(super) type Numbered = (u64, Arc<LogEntry>);

/// The lines held with numbers from `from` on, oldest arrival first.
pub(super) fn numbered(logs: &LogStore, from: u64) -> impl Iterator<Item = Numbered> {
    let first = logs.first_number();
    let skip = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
    (first + skip as u64..).zip(logs.entries().skip(skip).cloned())
}

/// `GET /api/v1/logs`
pub(super) async fn list(State(shared): State<Shared>, query: Query) -> Result<Json<Value>, Refusal> {
    query.only(&[FILTER, &["limit", "skip", "until"]])?;
    let filter = LogFilter::from_query(&query)?;
    let limit = query.number("limit", 200, 0, MAX_LINES)?;
    let skip = query.number("skip", 0, 0, u64::MAX)?;
    let (entries, next) = shared.store.read_logs(|logs| (numbered(logs, 0).collect::<Vec<_>>(), logs.next_number()));
    let until = query.number("until", next, 0, u64::MAX)?.min(next);
    let mut found: Vec<&Numbered> =
        entries.iter().filter(|(number, entry)| *number < until && filter.accepts(entry)).collect();
    // Services send in batches: the order of arrival is nearly, but not quite, that of time.
    found.sort_by_key(|(number, entry)| std::cmp::Reverse((entry.timestamp_ns, *number)));
    let place = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let rows: Vec<Value> =
        found.iter().skip(place(skip)).take(place(limit)).map(|(number, entry)| row(*number, entry)).collect();
    Ok(Json(json!({
        "total": found.len(),
        "until": until.to_string(),
        "skip": skip,
        "rows": rows,
    })))
}

/// `GET /api/v1/logs/{entry}`
pub(super) async fn one(
    State(shared): State<Shared>,
    Path(number): Path<String>,
    query: Query,
) -> Result<Json<Value>, Refusal> {
    query.only(&[])?;
    let wanted: u64 = number
        .parse()
        .map_err(|_| Refusal::not_found(format!("log line {number:?}: accepted is the number of a line, as in 17")))?;
    let (found, first, next) = shared.store.read_logs(|logs| {
        (numbered(logs, wanted).next().filter(|(number, _)| *number == wanted), logs.first_number(), logs.next_number())
    });
    let Some((_, entry)) = found else {
        let why = if wanted < first { "it was evicted" } else { "it has not arrived" };
        return Err(Refusal::not_found(format!(
            "log line {wanted} is not held: {why}; held are those from {first} up to, without, {next}"
        )));
    };
    let mut line = row(wanted, &entry);
    if let Value::Object(line) = &mut line {
        line.insert("message".to_owned(), json!(fields::message(&entry)));
        line.insert("line".to_owned(), json!(entry.line));
        line.insert("labels".to_owned(), json!(*entry.labels));
        line.insert("metadata".to_owned(), json!(entry.structured_metadata));
        line.insert("fields".to_owned(), fields::object(&entry).map_or(Value::Null, Value::Object));
    }
    Ok(Json(line))
}

/// A line as lists have it.
pub(super) fn row(number: u64, entry: &LogEntry) -> Value {
    let message = fields::message(entry);
    let end = message.floor_char_boundary(MAX_MESSAGE);
    let shown = message.get(..end).unwrap_or_default();
    json!({
        "id": number,
        "time_ns": entry.timestamp_ns.to_string(),
        "level": fields::level(entry).as_str(),
        "service": fields::service(entry),
        "message": shown,
        "cut": end < message.len(),
        "trace_id": fields::trace_id(entry),
        "span_id": fields::span_id(entry),
    })
}
