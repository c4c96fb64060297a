//! One JSON object an event, for machines. Caller threads.

use std::fmt;

use lgtm_core::{current, is_unprintable};
use serde_json::{Map, Value};
use tracing_core::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::fields::Visited;

/// Formats the fields of a span as an object.
pub(super) struct Fields;

impl FormatFields<'_> for Fields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'_>, fields: R) -> fmt::Result {
        writer.write_str(&members(&Visited::of(&fields)))
    }
}

/// Adds the members of a later object to one: of those with one name the later one counts.
pub(super) fn join(known: &mut String, more: &str) {
    // Our own objects, or nothing.
    let mut members: Map<String, Value> = serde_json::from_str(known).unwrap_or_default();
    let late: Map<String, Value> = serde_json::from_str(more).unwrap_or_default();
    members.extend(late);
    *known = Value::Object(members).to_string();
}

/// An object of the fields, the message first.
fn members(visited: &Visited) -> String {
    let message = visited.message.as_ref().map(|message| ("message", Value::from(message.as_str())));
    let fields = visited.fields.iter().map(|field| (field.name, field.value.clone()));
    object(message.into_iter().chain(fields).map(|(name, value)| (name, value.to_string())))
}

/// An object of values that are JSON already.
fn object<'a>(members: impl Iterator<Item = (&'a str, String)>) -> String {
    let members: Vec<_> = members.map(|(name, value)| format!("{}:{value}", Value::from(name))).collect();
    format!("{{{}}}", members.join(","))
}

/// Formats an event.
pub(super) struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let callsite = event.metadata();
        let visited = Visited::of(event);
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let text = |text: &str| Value::from(text).to_string();
        let mut line = Vec::new();
        if let Some(trace) = current::trace() {
            line.push(("trace_id", text(&trace.trace_id.to_string())));
            line.push(("span_id", text(&trace.span_id.to_string())));
        }
        line.push(("timestamp", text(&time)));
        line.push(("level", text(callsite.level().as_str())));
        line.push(("fields", members(&visited)));
        line.push(("target", text(visited.target.as_deref().unwrap_or(callsite.target()))));
        let spans: Vec<String> = context
            .event_scope()
            .into_iter()
            .flat_map(tracing_subscriber::registry::Scope::from_root)
            .map(|span| {
                let extensions = span.extensions();
                let fields = extensions.get::<FormattedFields<N>>().map_or("", |fields| fields.fields.as_str());
                let mut fields: Map<String, Value> = serde_json::from_str(fields).unwrap_or_default();
                fields.insert("name".to_owned(), Value::from(span.name()));
                Value::Object(fields).to_string()
            })
            .collect();
        if let Some(leaf) = spans.last() {
            line.push(("span", leaf.clone()));
            line.push(("spans", format!("[{}]", spans.join(","))));
        }
        // Only inside of strings is there something to escape beyond JSON's own rules.
        for character in object(line.into_iter()).chars() {
            if is_unprintable(character) {
                write!(writer, "\\u{:04x}", u32::from(character))?;
            } else {
                writer.write_char(character)?;
            }
        }
        writer.write_char('\n')
    }
}
