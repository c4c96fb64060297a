//! Log entries as a person reads them: time, level, service, message, then what else is known, dimmed.

use std::collections::BTreeSet;
use std::io;

use anstyle::Style;
use lgtm_query::{Direction, Labels, LogData, LogEntry, Stream};
use serde::Serialize;
use serde_json::{Map, Value};

use super::screen::{BLUE, BOLD, CYAN, DIM, GREEN, MAGENTA, RED, Screen, YELLOW, clean, clean_lines, styled};

/// Fields of a JSON line that hold its text.
const MESSAGES: [&str; 3] = ["message", "msg", "MESSAGE"];
/// Fields and labels that hold the level.
const LEVELS: [&str; 3] = ["level", "detected_level", "severity"];
/// Labels that hold the service.
const SERVICES: [&str; 2] = ["service_name", "service"];
/// Fields that repeat others: the names of the spans whose fields stand beside them already.
const REPEATED: [&str; 1] = ["spans"];

/// Structured metadata that every entry of lgtm has and few readers need: where in the code, which process, which span.
const RARELY_READ: [&str; 8] = [
    "code_file_path",
    "code_line_number",
    "scope_name",
    "service_instance_id",
    "service_version",
    "span_id",
    "target",
    "trace_sampled",
];

/// One entry for programs.
#[derive(Debug, Serialize)]
struct EntryJson<'a> {
    timestamp_unix_nanos: u64,
    labels: &'a Labels,
    line: &'a str,
    structured_metadata: &'a Labels,
    parsed: &'a Labels,
}

/// All entries with their streams in the order of `direction`.
pub(super) fn in_order(data: &LogData, direction: Direction) -> Vec<(&Stream, &LogEntry)> {
    let mut entries = data.entries();
    if direction == Direction::Backward {
        entries.reverse();
    }
    entries
}

/// The stream labels that all entries share: they are said once.
pub(super) fn common_labels(entries: &[(&Stream, &LogEntry)]) -> Labels {
    let mut streams = entries.iter().map(|(stream, _)| &stream.labels);
    let Some(first) = streams.next() else { return Labels::new() };
    let mut common = first.clone();
    for labels in streams {
        common.retain(|name, value| labels.get(name) == Some(value));
    }
    common
}

/// # Errors
/// If the output is gone.
pub(super) fn show_json(screen: &mut Screen<'_>, stream: &Stream, entry: &LogEntry) -> io::Result<()> {
    screen.json(&EntryJson {
        timestamp_unix_nanos: entry.timestamp_unix_nanos,
        labels: &stream.labels,
        line: &entry.line,
        structured_metadata: &entry.structured_metadata,
        parsed: &entry.parsed,
    })
}

/// Shows one entry, without the labels in `said_already`; with all that is known, or without what is rarely read.
///
/// # Errors
/// If the output is gone.
pub(super) fn show(
    screen: &mut Screen<'_>,
    stream: &Stream,
    entry: &LogEntry,
    said_already: &Labels,
    all_fields: bool,
) -> io::Result<()> {
    let json = json_object(&entry.line);
    let mut shown: BTreeSet<&str> = BTreeSet::new();
    let find = |names: &[&str]| {
        let label = names.iter().find_map(|name| stream.value(entry, name));
        let field = || names.iter().find_map(|name| json.as_ref()?.get(*name)?.as_str());
        label.or_else(field).unwrap_or_default().to_owned()
    };
    let (level, service) = (find(&LEVELS), find(&SERVICES));
    shown.extend(LEVELS.iter().chain(&SERVICES).chain(&REPEATED));
    if !all_fields {
        shown.extend(RARELY_READ);
    }
    let message = match &json {
        None => clean_lines(&entry.line),
        Some(fields) => {
            shown.extend(MESSAGES);
            let message = MESSAGES.iter().find_map(|name| fields.get(*name));
            message.map_or_else(String::new, |message| clean_lines(&text_of(message)))
        }
    };
    let mut fields = Vec::new();
    for (name, value) in json.iter().flatten() {
        if shown.insert(name.as_str()) {
            fields.push(field(name, &text_of(value)));
        }
    }
    for (name, value) in entry.structured_metadata.iter().chain(&entry.parsed).chain(&stream.labels) {
        // `| json` repeats the line's fields, with this ending where a label has the name already.
        let repeated = name.strip_suffix("_extracted").is_some_and(|name| shown.contains(name));
        if !repeated && !said_already.contains_key(name) && shown.insert(name) {
            fields.push(field(name, value));
        }
    }
    let time = styled(DIM, &screen.time(entry.timestamp_unix_nanos));
    let level = styled(level_style(&level), &format!("{:<5}", clean(&level).to_uppercase()));
    let mut line = format!("{time} {level} ");
    if !service.is_empty() {
        line += &format!("{} ", styled(CYAN, &clean(&service)));
    }
    line += &message;
    if !fields.is_empty() {
        line += &format!("  {}", styled(DIM, &fields.join(" ")));
    }
    screen.line(line.trim_end())
}

/// # Errors
/// If the output is gone.
pub(super) fn show_common(screen: &mut Screen<'_>, common: &Labels) -> io::Result<()> {
    let shown: Vec<_> = common
        .iter()
        .filter(|(name, _)| !LEVELS.contains(&name.as_str()) && !SERVICES.contains(&name.as_str()))
        .map(|(name, value)| field(name, value))
        .collect();
    if shown.is_empty() {
        return Ok(());
    }
    screen.line(&styled(DIM, &format!("all: {}", shown.join(" "))))
}

fn json_object(line: &str) -> Option<Map<String, Value>> {
    match serde_json::from_str(line.trim()) {
        Ok(Value::Object(fields)) => Some(fields),
        _ => None,
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A field as logfmt has it.
fn field(name: &str, value: &str) -> String {
    let (name, value) = (clean(name), clean(value));
    let plain = !value.is_empty() && !value.contains([' ', '"', '=']);
    if plain { format!("{name}={value}") } else { format!("{name}={}", Value::String(value)) }
}

fn level_style(level: &str) -> Style {
    match level.to_lowercase().as_str() {
        "error" | "err" | "fatal" | "critical" | "crit" => RED,
        "warn" | "warning" => YELLOW,
        "info" => GREEN,
        "debug" => BLUE,
        "trace" => MAGENTA,
        _ => BOLD,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{"resultType":"streams","result":[
        {"stream":{"service":"storefront","service_name":"storefront","environment":"development","level":"error"},"values":[
            ["1700000000123456789","{\"message\":\"out of\\nstock\",\"level\":\"error\",\"target\":\"shop::orders\",\"sku\":\"a 1\",\"left\":0,\"spans\":[\"POST /orders\"]}",
             {"structuredMetadata":{"trace_id":"0af7651916cd43dd8448eb211c80319c","detected_level":"error"},"parsed":{"left":"0","level_extracted":"error","message":"out of stock"}}]]},
        {"stream":{"service":"inventory","service_name":"inventory","environment":"development","level":"info"},"values":[
            ["1700000000000000000","plain \u001b[31mtext\tof another program"],
            ["1700000001000000000","[1,2]"]]}]}"#;

    fn answer() -> LogData {
        serde_json::from_str(ANSWER).unwrap()
    }

    fn shown(direction: Direction, all_fields: bool) -> String {
        let data = answer();
        let mut bytes = Vec::new();
        let mut screen = Screen::plain(&mut bytes, 80);
        let entries = in_order(&data, direction);
        let common = common_labels(&entries);
        show_common(&mut screen, &common).unwrap();
        for (stream, entry) in entries {
            show(&mut screen, stream, entry, &common, all_fields).unwrap();
        }
        drop(screen);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn entries_say_time_level_service_and_message_first_and_each_other_field_once() {
        insta::assert_snapshot!(shown(Direction::Backward, true), @r#"
        all: environment=development
        2023-11-14T22:13:21.000Z INFO  inventory [1,2]
        2023-11-14T22:13:20.123Z ERROR storefront out of
            stock  left=0 sku="a 1" target=shop::orders trace_id=0af7651916cd43dd8448eb211c80319c
        2023-11-14T22:13:20.000Z INFO  inventory plain \u{1b}[31mtext of another program
        "#);
    }

    #[test]
    fn the_other_direction_begins_with_the_oldest() {
        let shown = shown(Direction::Forward, false);
        assert!(shown.contains("trace_id=") && !shown.contains("target="), "{shown}");
        let times: Vec<_> = shown.lines().filter_map(|line| line.get(11..19)).filter(|at| at.contains(':')).collect();
        assert_eq!(times, ["22:13:20", "22:13:20", "22:13:21"]);
    }

    #[test]
    fn each_entry_is_one_line_of_json_with_all_that_is_known() {
        let data = answer();
        let mut bytes = Vec::new();
        let mut screen = Screen::plain(&mut bytes, 80);
        for (stream, entry) in in_order(&data, Direction::Forward) {
            show_json(&mut screen, stream, entry).unwrap();
        }
        drop(screen);
        let text = String::from_utf8(bytes).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0]["line"], "plain \u{1b}[31mtext\tof another program");
        assert_eq!(lines[1]["structured_metadata"]["detected_level"], "error");
        assert_eq!(lines[2]["timestamp_unix_nanos"], 1_700_000_001_000_000_000_u64);
    }
}
