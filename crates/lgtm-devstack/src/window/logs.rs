//! Log lines: a list of those that satisfy a filter, newest first, and one line whole.
//!
//! A list is read by place: `until` pins the newest line that belongs to it, so that what arrives meanwhile moves nothing, and `skip`
//! says where the page begins. So a reader can jump anywhere in 100,000 lines.

use std::cmp::Reverse;
use std::num::{NonZeroU64, NonZeroU128};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use regex::Regex;
use serde_json::{Value, json};

use super::fields::{self, Level};
use super::page::page;
use super::query::{AttributeFilter, Query, Range, Refusal};
use crate::devstack::Shared;
use crate::read::parameters::now_ns;
use crate::store::{Line, LineFacts, LogEntry, LogStore};

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
    /// `Some(None)`: what was asked for is no id, and no line has it.
    trace: Option<Option<NonZeroU128>>,
    span: Option<Option<NonZeroU64>>,
    range: Range,
}

impl LogFilter {
    pub(super) fn from_query(query: &Query) -> Result<Self, Refusal> {
        let id = |name: &str| query.first(name).map(|text| u128::from_str_radix(text, 16).unwrap_or_default());
        Ok(Self {
            services: query.texts("service"),
            levels: query.each_of("level", &Level::ALL)?,
            text: query.text("q")?,
            regex: query.regex("regex")?,
            attributes: query.attributes("attr")?,
            trace: id("trace").map(NonZeroU128::new),
            span: id("span").map(|id| NonZeroU64::new(u64::try_from(id).ok()?)),
            range: query.range(now_ns())?,
        })
    }

    pub(super) fn accepts(&self, logs: &LogStore, line: Line<'_>) -> bool {
        self.accepts_facts(logs, line.facts) && self.accepts_content(line.entry)
    }

    fn accepts_facts(&self, logs: &LogStore, facts: &LineFacts) -> bool {
        self.range.contains(facts.time_ns)
            && (self.levels.is_empty() || self.levels.contains(&facts.level))
            && self.trace.is_none_or(|trace| trace.is_some() && facts.trace == trace)
            && self.span.is_none_or(|span| span.is_some() && facts.span == span)
            && (self.services.is_empty() || {
                let service = logs.services().get(facts.service);
                self.services.iter().any(|wanted| wanted == service)
            })
    }

    /// Whether lines must be read to know whether they are wanted.
    fn reads_content(&self) -> bool {
        !self.attributes.is_empty() || self.text.is_some() || self.regex.is_some()
    }

    fn accepts_content(&self, entry: &LogEntry) -> bool {
        self.attributes.iter().all(|filter| filter.accepts(fields::field(entry, &filter.name).as_deref()))
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

/// A line's time and number: services send in batches, so the order of arrival is nearly, but not quite, that of time.
pub(super) type Place = (i64, u64);

/// The places of the wanted lines before number `until`, in the order of arrival.
pub(super) async fn find(shared: &Shared, filter: LogFilter, until: u64) -> Result<Vec<Place>, Refusal> {
    let shared = shared.clone();
    if !filter.reads_content() {
        return Ok(find_now(&shared, &filter, until));
    }
    // Reading lines takes long: nothing that comes in waits for it.
    let searching = tokio::task::spawn_blocking(move || find_now(&shared, &filter, until));
    searching.await.map_err(|_| {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the search was ended: the stack shuts down".to_owned())
    })
}

fn find_now(shared: &Shared, filter: &LogFilter, until: u64) -> Vec<Place> {
    let wanted = |logs: &LogStore, line: &Line<'_>| line.number < until && filter.accepts_facts(logs, line.facts);
    if !filter.reads_content() {
        return shared.store.read_logs(|logs| {
            let lines = logs.lines(0).filter(|line| wanted(logs, line));
            lines.map(|line| (line.facts.time_ns, line.number)).collect()
        });
    }
    let lines: Vec<(u64, Arc<LogEntry>)> = shared.store.read_logs(|logs| {
        let lines = logs.lines(0).filter(|line| wanted(logs, line));
        lines.map(|line| (line.number, Arc::clone(line.entry))).collect()
    });
    let found = lines.into_iter().filter(|(_, entry)| filter.accepts_content(entry));
    found.map(|(number, entry)| (entry.timestamp_ns, number)).collect()
}

/// `GET /api/v1/logs`
pub(super) async fn list(State(shared): State<Shared>, query: Query) -> Result<Json<Value>, Refusal> {
    query.only(&[FILTER, &["limit", "skip", "until"]])?;
    let filter = LogFilter::from_query(&query)?;
    let limit = query.number("limit", 200, 0, MAX_LINES)?;
    let skip = query.number("skip", 0, 0, u64::MAX)?;
    let next = shared.store.read_logs(|logs| logs.next_number());
    let until = query.number("until", next, 0, u64::MAX)?.min(next);
    let mut found = find(&shared, filter, until).await?;
    let total = found.len();
    let page = page(&mut found, skip, limit, |place| Reverse(*place));
    Ok(Json(json!({
        "total": total,
        "until": until.to_string(),
        "skip": skip,
        "rows": shared.store.read_logs(|logs| rows(logs, page)),
    })))
}

/// The lines at these places; what was evicted meanwhile is left out.
pub(super) fn rows(logs: &LogStore, places: &[Place]) -> Vec<Value> {
    places.iter().filter_map(|(_, number)| logs.line(*number)).map(|line| row(line.number, line.entry)).collect()
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
        let entry = logs.line(wanted).map(|line| Arc::clone(line.entry));
        (entry, logs.first_number(), logs.next_number())
    });
    let Some(entry) = found else {
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
    let told = fields::told(entry);
    json!({
        "id": number,
        "time_ns": entry.timestamp_ns.to_string(),
        "level": told.level.as_str(),
        "service": told.service,
        "message": shown,
        "cut": end < message.len(),
        "trace_id": told.trace.map(|id| format!("{id:032x}")),
        "span_id": told.span.map(|id| format!("{id:016x}")),
    })
}
