//! LogQL for log queries: a stream selector, line filters, `json`, and label filters.

use std::time::Duration;

use regex::Regex;

use crate::label_text;
use crate::store::{Labels, LogEntry};
use crate::text_scanner::Scanner;

/// A log query.
#[derive(Debug)]
pub(crate) struct LogQuery {
    selector: Vec<(String, Test)>,
    stages: Vec<Stage>,
}

#[derive(Debug)]
enum Stage {
    Line(LineFilter),
    Json,
    Label(Condition),
}

#[derive(Debug)]
struct LineFilter {
    wanted: bool,
    any_of: Vec<LinePattern>,
}

#[derive(Debug)]
enum LinePattern {
    Contains(String),
    Matches(Regex),
}

#[derive(Debug)]
enum Condition {
    Label(String, Test),
    Number(String, Ordering, f64),
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
}

/// A test of a label's text; an absent label is the empty text.
#[derive(Debug)]
enum Test {
    Equal(String),
    NotEqual(String),
    Matches(Regex),
    NotMatches(Regex),
}

impl Test {
    fn new(operator: &str, value: String) -> Result<Self, String> {
        // Label matchers are anchored on both ends.
        let regex = || Regex::new(&format!("^(?s:{value})$")).map_err(|error| error.to_string());
        Ok(match operator {
            "=~" => Self::Matches(regex()?),
            "!~" => Self::NotMatches(regex()?),
            "!=" => Self::NotEqual(value),
            _ => Self::Equal(value),
        })
    }

    fn passes(&self, text: &str) -> bool {
        match self {
            Self::Equal(wanted) => text == wanted,
            Self::NotEqual(unwanted) => text != unwanted,
            Self::Matches(regex) => regex.is_match(text),
            Self::NotMatches(regex) => !regex.is_match(text),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Ordering {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Ordering {
    fn new(operator: &str) -> Option<Self> {
        Some(match operator {
            "=" | "==" => Self::Equal,
            "!=" => Self::NotEqual,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            _ => return None,
        })
    }

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

/// What a query adds to an entry it lets through.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Passed {
    /// Labels that `json` extracted.
    pub(crate) parsed: Labels,
}

impl LogQuery {
    /// Parses a log query; the error is for the client.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut scanner = Scanner::new(text);
        if !scanner.rest().starts_with('{') {
            return Err(unsupported(&scanner.unexpected("a stream selector {…}")));
        }
        let selector = selector(&mut scanner)?;
        let mut stages = Vec::new();
        while !scanner.at_end() {
            stages.push(stage(&mut scanner)?);
        }
        Ok(Self { selector, stages })
    }

    /// Whether the stream's labels satisfy the selector.
    pub(crate) fn selects(&self, labels: &Labels) -> bool {
        self.selector.iter().all(|(name, test)| test.passes(labels.get(name).map_or("", String::as_str)))
    }

    /// Runs the pipeline over an entry of a selected stream.
    pub(crate) fn pass(&self, entry: &LogEntry) -> Option<Passed> {
        let mut passed = Passed::default();
        for stage in &self.stages {
            let keep = match stage {
                Stage::Line(filter) => filter.keeps(&entry.line),
                Stage::Json => {
                    extract_json(entry, &mut passed.parsed);
                    true
                }
                Stage::Label(condition) => {
                    let label = |name: &str| {
                        passed.parsed.get(name).map(String::as_str).or_else(|| entry.label(name)).unwrap_or_default()
                    };
                    condition.holds(&label)
                }
            };
            if !keep {
                return None;
            }
        }
        Some(passed)
    }
}

impl LineFilter {
    fn keeps(&self, line: &str) -> bool {
        let found = self.any_of.iter().any(|pattern| match pattern {
            LinePattern::Contains(text) => line.contains(text.as_str()),
            LinePattern::Matches(regex) => regex.is_match(line),
        });
        found == self.wanted
    }
}

impl Condition {
    fn holds<'a>(&self, label: &impl Fn(&str) -> &'a str) -> bool {
        match self {
            Self::Label(name, test) => test.passes(label(name)),
            Self::Number(name, ordering, right) => number(label(name)).is_some_and(|left| ordering.holds(left, *right)),
            Self::And(left, right) => left.holds(label) && right.holds(label),
            Self::Or(left, right) => left.holds(label) || right.holds(label),
        }
    }
}

/// A number, or a length of time in seconds.
fn number(text: &str) -> Option<f64> {
    text.parse().ok().or_else(|| duration(text).map(|duration| duration.as_secs_f64()))
}

/// A length of time with units, as Go writes it: `1h2m`, `1.5s`, `100ms`, `20µs`, `30ns`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (value, after) = rest.split_at(digits);
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let scale = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += value.parse::<f64>().ok()? * scale;
        rest = after;
    }
    if text.is_empty() { None } else { Duration::try_from_secs_f64(total).ok() }
}

fn unsupported(reason: &str) -> String {
    format!(
        "parse error: {reason} (the development stack supports stream selectors, the line filters |= != |~ !~, \
         | json, and label filters; no metric queries, no other parsers or formatters)"
    )
}

fn selector(scanner: &mut Scanner<'_>) -> Result<Vec<(String, Test)>, String> {
    let parse = |reason: String| format!("parse error: {reason}");
    let mut tests = Vec::new();
    scanner.expect("{").map_err(parse)?;
    while !scanner.take("}") {
        let name = scanner.name().ok_or_else(|| parse(scanner.unexpected("a label name")))?.to_owned();
        let operator =
            scanner.take_any(&["=~", "!~", "!=", "="]).ok_or_else(|| parse(scanner.unexpected("one of = != =~ !~")))?;
        let value = scanner.quoted().map_err(parse)?;
        tests.push((name, Test::new(operator, value).map_err(parse)?));
        if !scanner.take(",") {
            scanner.expect("}").map_err(parse)?;
            break;
        }
    }
    // As Loki: a selector must not match everything.
    if !tests.iter().any(|(_, test)| !test.passes("")) {
        return Err("parse error: queries require at least one regexp or equality matcher that does not have an \
                    empty-compatible value. For instance, app=~\".*\" does not meet this requirement, but app=~\".+\" \
                    will"
            .to_owned());
    }
    Ok(tests)
}

fn stage(scanner: &mut Scanner<'_>) -> Result<Stage, String> {
    if let Some(operator) = scanner.take_any(&["|=", "!=", "|~", "!~"]) {
        let is_regex = operator.ends_with('~');
        let mut any_of = Vec::new();
        loop {
            let text = scanner.quoted().map_err(|reason| format!("parse error: {reason}"))?;
            any_of.push(if is_regex {
                LinePattern::Matches(Regex::new(&text).map_err(|error| format!("parse error: {error}"))?)
            } else {
                LinePattern::Contains(text)
            });
            if !take_word(scanner, "or") {
                break;
            }
        }
        return Ok(Stage::Line(LineFilter { wanted: operator.starts_with('|'), any_of }));
    }
    scanner.expect("|").map_err(|reason| unsupported(&reason))?;
    if take_word(scanner, "json") {
        if !scanner.at_end() && !scanner.rest().starts_with(['|', '!']) {
            return Err(unsupported(&scanner.unexpected("json without parameters")));
        }
        return Ok(Stage::Json);
    }
    disjunction(scanner).map(Stage::Label).map_err(|reason| unsupported(&reason))
}

fn disjunction(scanner: &mut Scanner<'_>) -> Result<Condition, String> {
    let mut left = conjunction(scanner)?;
    while take_word(scanner, "or") {
        left = Condition::Or(Box::new(left), Box::new(conjunction(scanner)?));
    }
    Ok(left)
}

fn conjunction(scanner: &mut Scanner<'_>) -> Result<Condition, String> {
    let mut left = condition(scanner)?;
    while take_word(scanner, "and") || scanner.take(",") {
        left = Condition::And(Box::new(left), Box::new(condition(scanner)?));
    }
    Ok(left)
}

fn condition(scanner: &mut Scanner<'_>) -> Result<Condition, String> {
    if scanner.take("(") {
        let inner = disjunction(scanner)?;
        scanner.expect(")")?;
        return Ok(inner);
    }
    let name = scanner.name().ok_or_else(|| scanner.unexpected("a label filter"))?.to_owned();
    let operator = scanner
        .take_any(&["=~", "!~", "!=", "==", ">=", "<=", "=", ">", "<"])
        .ok_or_else(|| scanner.unexpected("a comparison"))?;
    if scanner.rest().starts_with(['"', '`']) {
        if !matches!(operator, "=~" | "!~" | "!=" | "=") {
            return Err(scanner.unexpected("a number"));
        }
        return Ok(Condition::Label(name, Test::new(operator, scanner.quoted()?)?));
    }
    let ordering = Ordering::new(operator).ok_or_else(|| scanner.unexpected("text in quotes"))?;
    let wanted = scanner.unexpected("text in quotes, a number or a duration");
    let text = scanner
        .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | 'µ' | 'μ'))
        .ok_or_else(|| wanted.clone())?;
    Ok(Condition::Number(name, ordering, number(text).ok_or(wanted)?))
}

fn take_word(scanner: &mut Scanner<'_>, word: &str) -> bool {
    let follows = scanner.rest().strip_prefix(word);
    let is_word = follows.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'));
    is_word && scanner.take(word)
}

/// Adds the fields of a JSON line, nested ones joined by `_`, arrays left out, as Loki does. A name that the entry
/// has already gets `_extracted`; a line that is not a JSON object gets `__error__`.
fn extract_json(entry: &LogEntry, parsed: &mut Labels) {
    let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(&entry.line) else {
        parsed.insert("__error__".to_owned(), "JSONParserErr".to_owned());
        return;
    };
    let mut pending: Vec<(String, serde_json::Value)> = fields.into_iter().collect();
    while let Some((name, value)) = pending.pop() {
        let text = match value {
            serde_json::Value::Object(nested) => {
                pending.extend(nested.into_iter().map(|(key, value)| (format!("{name}_{key}"), value)));
                continue;
            }
            serde_json::Value::Array(_) | serde_json::Value::Null => continue,
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        let mut name = label_text::sanitise(&name);
        if entry.label(&name).is_some() {
            name.push_str("_extracted");
        }
        parsed.insert(name, text);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::LogStore;

    fn entry(line: &str) -> Arc<LogEntry> {
        let mut store = LogStore::new(1 << 20);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let labels = Labels::from([pair("app", "shop"), pair("level", "error")]);
        store.push(&labels, 1, line.to_owned(), Labels::from([pair("trace_id", "abc"), pair("took", "250ms")]));
        let entry = store.entries().next().cloned();
        entry.unwrap()
    }

    fn passes(query: &str, line: &str) -> bool {
        let query = LogQuery::parse(query).unwrap();
        let entry = entry(line);
        query.selects(&entry.labels) && query.pass(&entry).is_some()
    }

    #[test]
    fn selectors_pick_streams_with_anchored_expressions() {
        assert!(passes(r#"{app="shop"}"#, ""));
        assert!(passes(r#"{app=~"sh.+", level!="info"}"#, ""));
        assert!(!passes(r#"{app=~"sho"}"#, ""));
        assert!(!passes(r#"{app="shop", level!~"err.*"}"#, ""));
        assert!(passes(r#"{app="shop", absent=""}"#, ""));
    }

    #[test]
    fn line_and_label_filters_combine() {
        assert!(passes(r#"{app="shop"} |= "pay" != "refund" |~ "[0-9]+" !~ "^x""#, "pay 12"));
        assert!(!passes(r#"{app="shop"} |= "pay" != "refund""#, "pay refund"));
        assert!(passes(r#"{app="shop"} |= "refund" or "pay""#, "pay"));
        assert!(passes(r#"{app="shop"} | trace_id = "abc" |= `pay`"#, "pay"));
        assert!(!passes(r#"{app="shop"} | trace_id = "abd""#, "pay"));
        assert!(passes(r#"{app="shop"} | trace_id != "" and (took > 200ms or level = "info")"#, ""));
        assert!(!passes(r#"{app="shop"} | took > 1s"#, ""));
        assert!(passes(r#"{app="shop"} | trace_id =~ "a.c", level = "error""#, ""));
    }

    #[test]
    fn json_extracts_fields_and_keeps_clashing_names_apart() {
        let line = r#"{"status":503,"http":{"route":"/pay"},"level":"low","list":[1]}"#;
        assert!(passes(r#"{app="shop"} | json | status >= 500 | http_route = "/pay""#, line));
        assert!(passes(r#"{app="shop"} | json | level = "error" | level_extracted = "low""#, line));
        assert!(!passes(r#"{app="shop"} | json | list = "1""#, line));
        assert!(passes(r#"{app="shop"} | json | __error__ = "JSONParserErr""#, "plain"));
    }

    #[test]
    fn unsupported_and_broken_queries_are_errors_that_name_the_place() {
        let error = |query: &str| LogQuery::parse(query).unwrap_err();
        assert!(error(r#"rate({app="shop"}[5m])"#).contains("no metric queries"));
        assert!(error(r#"{app="shop"} | logfmt"#).contains("found the end"));
        assert!(error(r#"{app=shop}"#).contains("character 5"));
        assert!(error("{}").contains("at least one regexp or equality matcher"));
        assert!(error(r#"{app=~"("}"#).contains("parse error"));
        assert!(error(r#"{app="shop"} |= "open"#).contains("closed"));
    }

    #[test]
    fn durations_are_read_with_go_units() {
        assert_eq!(duration("1h2m3.5s"), Some(Duration::from_millis(3_723_500)));
        assert_eq!(duration("100µs"), Some(Duration::from_micros(100)));
        assert_eq!(duration("100"), None);
        assert_eq!(duration("x"), None);
    }
}
