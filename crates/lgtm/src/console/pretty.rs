//! One line an event for people: `time LEVEL span{fields}: target: message fields`, and the ids of the trace. Caller threads.

use std::fmt::{self, Write};

use lgtm_core::{current, is_unprintable};
use serde_json::Value;
use tracing_core::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::fields::Visited;

/// How a terminal shows text, by ECMA-48's "select graphic rendition".
#[derive(Clone, Copy)]
enum Look {
    Dimmed = 2,
    Bold = 1,
    Italic = 3,
    Red = 31,
    Green = 32,
    Yellow = 33,
    Blue = 34,
    Purple = 35,
}

/// Writes a part of the line in its look, if colours are on.
fn painted(writer: &mut dyn Write, colour: bool, look: Look, part: impl fmt::Display) -> fmt::Result {
    if colour { write!(writer, "\u{1b}[{}m{part}\u{1b}[0m", look as u8) } else { write!(writer, "{part}") }
}

/// Formats the fields of a span.
pub(super) struct Fields {
    pub(super) colour: bool,
}

impl FormatFields<'_> for Fields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'_>, fields: R) -> fmt::Result {
        pairs(&mut writer, self.colour, &Visited::of(&fields), "")
    }
}

/// Puts later fields behind those that stand there.
pub(super) fn join(known: &mut String, more: &str) {
    if !known.is_empty() && !more.is_empty() {
        known.push(' ');
    }
    known.push_str(more);
}

/// Formats an event.
pub(super) struct Line {
    pub(super) colour: bool,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let (colour, callsite) = (self.colour, event.metadata());
        let visited = Visited::of(event);
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        painted(&mut writer, colour, Look::Dimmed, time)?;
        let look = match *callsite.level() {
            Level::TRACE => Look::Purple,
            Level::DEBUG => Look::Blue,
            Level::INFO => Look::Green,
            Level::WARN => Look::Yellow,
            Level::ERROR => Look::Red,
        };
        writer.write_char(' ')?;
        painted(&mut writer, colour, look, format_args!("{:>5}", callsite.level()))?;
        writer.write_char(' ')?;
        let mut in_span = false;
        for span in context.event_scope().into_iter().flat_map(tracing_subscriber::registry::Scope::from_root) {
            in_span = true;
            painted(&mut writer, colour, Look::Bold, Name(span.name()))?;
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>()
                && !fields.is_empty()
            {
                write!(writer, "{{{fields}}}")?;
            }
            painted(&mut writer, colour, Look::Dimmed, ":")?;
        }
        if in_span {
            writer.write_char(' ')?;
        }
        let target = visited.target.as_deref().unwrap_or(callsite.target());
        painted(&mut writer, colour, Look::Dimmed, format_args!("{}:", Name(target)))?;
        if let Some(message) = &visited.message {
            write!(writer, " {}", Words(message))?;
        }
        pairs(&mut writer, colour, &visited, " ")?;
        if let Some(trace) = current::trace() {
            write!(writer, " trace_id={} span_id={}", trace.trace_id, trace.span_id)?;
        }
        writer.write_char('\n')
    }
}

/// `name=value`, the first one behind `before`.
fn pairs(writer: &mut dyn Write, colour: bool, visited: &Visited, before: &str) -> fmt::Result {
    for (place, field) in visited.fields.iter().enumerate() {
        writer.write_str(if place == 0 { before } else { " " })?;
        painted(writer, colour, Look::Italic, Key(field.name))?;
        painted(writer, colour, Look::Dimmed, "=")?;
        match &field.value {
            Value::String(text) => write!(writer, "{}", Text(text))?,
            value => write!(writer, "{value}")?,
        }
    }
    Ok(())
}

/// In quotes, with everything escaped that is more than text.
fn quoted(formatter: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    formatter.write_char('"')?;
    for character in text.chars() {
        match character {
            '"' | '\\' => write!(formatter, "\\{character}")?,
            '\n' => formatter.write_str("\\n")?,
            '\r' => formatter.write_str("\\r")?,
            '\t' => formatter.write_str("\\t")?,
            control if is_unprintable(control) => write!(formatter, "\\u{{{:x}}}", u32::from(control))?,
            plain => formatter.write_char(plain)?,
        }
    }
    formatter.write_char('"')
}

/// A value: in quotes where it could be taken for more than one.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ends = |character: char| {
            character.is_whitespace() || is_unprintable(character) || matches!(character, '=' | '"' | '\\' | '{' | '}')
        };
        if self.0.is_empty() || self.0.contains(ends) { quoted(formatter, self.0) } else { formatter.write_str(self.0) }
    }
}

/// The message: in quotes where it could be taken for fields.
struct Words<'a>(&'a str);

impl fmt::Display for Words<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separates = |character: char| is_unprintable(character) || matches!(character, '=' | '"');
        if self.0.contains(separates) { quoted(formatter, self.0) } else { formatter.write_str(self.0) }
    }
}

/// The name of a span or target: in quotes where it could be taken for more.
struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separates = |character: char| is_unprintable(character) || matches!(character, '=' | '"' | '{' | '}');
        if self.0.contains(separates) || self.0.contains(": ") || self.0.ends_with(':') {
            quoted(formatter, self.0)
        } else {
            formatter.write_str(self.0)
        }
    }
}

/// The name of a field: what would end it becomes `_`.
struct Key<'a>(&'a str);

impl fmt::Display for Key<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ends = |character: char| {
            character.is_whitespace() || is_unprintable(character) || matches!(character, '=' | '"' | '{' | '}')
        };
        self.0.chars().try_for_each(|character| formatter.write_char(if ends(character) { '_' } else { character }))
    }
}
