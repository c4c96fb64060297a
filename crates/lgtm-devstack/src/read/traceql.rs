//! TraceQL for search: one spanset filter, a conjunction of comparisons.

use std::time::Duration;

use regex::Regex;

use super::logql::duration;
use crate::attribute::{Attributes, Value};
use crate::span::Span;
use crate::text_scanner::Scanner;

/// A search: the spans that satisfy all conditions.
#[derive(Debug, Default)]
pub(crate) struct SpanFilter {
    conditions: Vec<Condition>,
}

#[derive(Debug)]
struct Condition {
    field: Field,
    comparison: Comparison,
}

#[derive(Clone, Debug, PartialEq)]
enum Field {
    /// `.name`: of the span or, failing that, of the resource.
    Either(String),
    Span(String),
    Resource(String),
    Name,
    Status,
    StatusMessage,
    Kind,
    Duration,
    TraceId,
    SpanId,
    ParentId,
    ScopeName,
    TraceDuration,
    RootName,
    RootServiceName,
}

#[derive(Debug)]
enum Comparison {
    Text {
        wanted: bool,
        text: String,
    },
    Regex {
        wanted: bool,
        regex: Regex,
    },
    Number(Operator, f64),
    Truth {
        wanted: bool,
        truth: bool,
    },
    /// Compared with `nil`.
    Exists(bool),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Operator {
    fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

/// What a condition on the whole trace needs to know.
#[derive(Clone, Debug, Default)]
pub(crate) struct TraceFacts {
    /// From the first start to the last end.
    pub(crate) duration: Duration,
    /// Name of the root span, if it is there.
    pub(crate) root_name: Option<String>,
    /// Service of the root span, if it is there.
    pub(crate) root_service: Option<String>,
}

impl SpanFilter {
    /// Parses a query; the error is for the client. An empty query takes every span.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut scanner = Scanner::new(text);
        let mut conditions = Vec::new();
        if scanner.at_end() {
            return Ok(Self::default());
        }
        scanner.expect("{").map_err(invalid)?;
        if !scanner.take("}") {
            loop {
                // `{ true }` is TraceQL's way to say everything.
                if scanner.rest().starts_with("true") {
                    scanner.take("true");
                } else {
                    conditions.push(condition(&mut scanner).map_err(invalid)?);
                }
                if !scanner.take("&&") {
                    break;
                }
            }
            scanner.expect("}").map_err(invalid)?;
        }
        scanner.expect_end().map_err(invalid)?;
        Ok(Self { conditions })
    }

    /// Whether the span satisfies all conditions.
    pub(crate) fn passes(&self, span: &Span, trace: &TraceFacts) -> bool {
        self.conditions.iter().all(|condition| condition.holds(span, trace))
    }

    /// The attributes that the query names, with the span's values: what Tempo shows beside a found span.
    pub(crate) fn named_attributes<'s>(&self, span: &'s Span) -> Vec<(&str, &'s Value)> {
        let mut named: Vec<(&str, &Value)> = Vec::new();
        for Condition { field, .. } in &self.conditions {
            let (Field::Either(key) | Field::Span(key) | Field::Resource(key)) = field else { continue };
            if let Some(value) = field.attribute(span)
                && !named.iter().any(|(seen, _)| seen == key)
            {
                named.push((key, value));
            }
        }
        named
    }

    /// The one trace that a `trace:id` condition leaves, as a shortcut.
    pub(crate) fn trace_id(&self) -> Option<String> {
        self.conditions.iter().find_map(|condition| match (&condition.field, &condition.comparison) {
            (Field::TraceId, Comparison::Text { wanted: true, text }) => Some(padded(text, 32)),
            _ => None,
        })
    }
}

fn invalid(reason: String) -> String {
    format!(
        "invalid TraceQL query: parse error: {reason} (the development stack supports one spanset of comparisons \
         joined by &&)"
    )
}

/// An id with the leading zeros that Tempo's search leaves out.
pub(crate) fn padded(id: &str, digits: usize) -> String {
    format!("{:0>digits$}", id.to_ascii_lowercase())
}

fn condition(scanner: &mut Scanner<'_>) -> Result<Condition, String> {
    let field = field(scanner)?;
    let operator = scanner
        .take_any(&["!=", ">=", "<=", "=~", "!~", "=", ">", "<"])
        .ok_or_else(|| scanner.unexpected("one of = != > >= < <= =~ !~"))?;
    let comparison = comparison(scanner, &field, operator)?;
    Ok(Condition { field, comparison })
}

fn field(scanner: &mut Scanner<'_>) -> Result<Field, String> {
    let unknown = scanner.unexpected(
        "a field (resource.…, span.…, .…, name, status, statusMessage, kind, duration, rootName, rootServiceName, \
         traceDuration, or trace:, span: or instrumentation: and an intrinsic)",
    );
    for (prefix, make) in
        [("resource.", Field::Resource as fn(String) -> Field), ("span.", Field::Span), (".", Field::Either)]
    {
        if scanner.take(prefix) {
            return Ok(make(attribute_name(scanner)?));
        }
    }
    let name =
        scanner.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, ':' | '.' | '_')).ok_or(unknown.clone())?;
    Ok(match name {
        "name" | "span:name" => Field::Name,
        "status" | "span:status" => Field::Status,
        "statusMessage" | "span:statusMessage" => Field::StatusMessage,
        "kind" | "span:kind" => Field::Kind,
        "duration" | "span:duration" => Field::Duration,
        "trace:id" => Field::TraceId,
        "span:id" => Field::SpanId,
        "span:parentID" => Field::ParentId,
        "instrumentation:name" => Field::ScopeName,
        "traceDuration" | "trace:duration" => Field::TraceDuration,
        "rootName" | "trace:rootName" => Field::RootName,
        "rootServiceName" | "trace:rootService" => Field::RootServiceName,
        _ => return Err(unknown),
    })
}

fn attribute_name(scanner: &mut Scanner<'_>) -> Result<String, String> {
    if scanner.rest().starts_with('"') {
        return scanner.quoted();
    }
    let name = scanner.take_while(|c| {
        !c.is_whitespace() && !matches!(c, '=' | '!' | '<' | '>' | '&' | '|' | '{' | '}' | '(' | ')' | '"')
    });
    name.map(str::to_owned).ok_or_else(|| scanner.unexpected("an attribute's name"))
}

fn comparison(scanner: &mut Scanner<'_>, field: &Field, operator: &str) -> Result<Comparison, String> {
    let wanted = !operator.starts_with('!');
    if scanner.rest().starts_with(['"', '`']) {
        let text = scanner.quoted()?;
        return match operator {
            "=" | "!=" => Ok(Comparison::Text { wanted, text: normal_id(field, text) }),
            "=~" | "!~" => {
                // Anchored on both ends.
                let regex = Regex::new(&format!("^(?s:{text})$")).map_err(|error| error.to_string())?;
                Ok(Comparison::Regex { wanted, regex })
            }
            other => Err(format!("text cannot be compared by {other}")),
        };
    }
    let expected = scanner.unexpected("text in quotes, a number, a duration, true, false, nil, a status or a kind");
    let word = scanner
        .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '_' | 'µ' | 'μ'))
        .ok_or_else(|| expected.clone())?;
    let equality = matches!(operator, "=" | "!=");
    let is_enumeration = match field {
        Field::Status => matches!(word, "error" | "ok" | "unset"),
        Field::Kind => matches!(word, "unspecified" | "internal" | "server" | "client" | "producer" | "consumer"),
        _ => false,
    };
    match word {
        _ if is_enumeration && equality => Ok(Comparison::Text { wanted, text: word.to_owned() }),
        "true" | "false" if equality => Ok(Comparison::Truth { wanted, truth: word == "true" }),
        "nil" if equality => Ok(Comparison::Exists(!wanted)),
        _ => {
            let operator = match operator {
                "=" => Operator::Equal,
                "!=" => Operator::NotEqual,
                "<" => Operator::Less,
                "<=" => Operator::LessOrEqual,
                ">" => Operator::Greater,
                ">=" => Operator::GreaterOrEqual,
                _ => return Err(expected),
            };
            if matches!(field, Field::Status | Field::Kind) {
                return Err(expected);
            }
            // A length of time is a number of nanoseconds.
            let number = word.parse().ok().or_else(|| duration(word).map(|duration| duration.as_nanos() as f64));
            number.map(|number| Comparison::Number(operator, number)).ok_or(expected)
        }
    }
}

/// Ids are compared with their leading zeros, in lower case.
fn normal_id(field: &Field, text: String) -> String {
    match field {
        Field::TraceId => padded(&text, 32),
        Field::SpanId | Field::ParentId => padded(&text, 16),
        _ => text,
    }
}

impl Field {
    fn attribute<'s>(&self, span: &'s Span) -> Option<&'s Value> {
        let of = |attributes: &'s Attributes, key: &str| attributes.get(key);
        match self {
            Self::Either(key) => of(&span.attributes, key).or_else(|| of(&span.resource, key)),
            Self::Span(key) => of(&span.attributes, key),
            Self::Resource(key) => of(&span.resource, key),
            _ => None,
        }
    }

    /// The field's value; intrinsic ones become attribute values.
    fn value(&self, span: &Span, trace: &TraceFacts) -> Option<Value> {
        let text = |text: &str| Some(Value::String(text.to_owned()));
        let nanoseconds = |duration: Duration| Some(Value::Double(duration.as_nanos() as f64));
        match self {
            Self::Either(_) | Self::Span(_) | Self::Resource(_) => self.attribute(span).cloned(),
            Self::Name => text(&span.name),
            Self::Status => text(span.status.code.as_str()),
            Self::StatusMessage => text(&span.status.message),
            Self::Kind => text(span.kind.as_str()),
            Self::Duration => nanoseconds(span.duration()),
            Self::TraceId => text(&span.trace_id),
            Self::SpanId => text(&span.span_id),
            Self::ParentId => span.parent_span_id.clone().map(Value::String),
            Self::ScopeName => text(&span.scope.name),
            Self::TraceDuration => nanoseconds(trace.duration),
            Self::RootName => trace.root_name.clone().map(Value::String),
            Self::RootServiceName => trace.root_service.clone().map(Value::String),
        }
    }
}

impl Condition {
    /// As in TraceQL, a value that is absent or of another type satisfies no comparison but the one with `nil`.
    fn holds(&self, span: &Span, trace: &TraceFacts) -> bool {
        let value = self.field.value(span, trace);
        match (&self.comparison, value) {
            (Comparison::Exists(wanted), value) => value.is_some() == *wanted,
            (Comparison::Text { wanted, text }, Some(Value::String(value))) => (value == *text) == *wanted,
            (Comparison::Regex { wanted, regex }, Some(Value::String(value))) => regex.is_match(&value) == *wanted,
            (Comparison::Truth { wanted, truth }, Some(Value::Bool(value))) => (value == *truth) == *wanted,
            (Comparison::Number(operator, number), Some(value)) => {
                value.as_f64().is_some_and(|value| operator.holds(value, *number))
            }
            _ => false,
        }
    }
}
