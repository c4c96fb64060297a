//! Lines of any names, values and limits: each is well formed, within its limit, and has each name once.

use std::collections::HashSet;

use lgtm_core::is_unprintable;
use lgtm_core::span::SpanExt as _;
use lgtm_loki::Format;
use lgtm_tests::capture::{Captured, capture};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use tracing::{info, info_span};

use super::settings;

/// A message, the event's own field, and attributes of two nested spans.
type Case = (String, String, Vec<(String, String)>, Vec<(String, String)>);

fn cases() -> Vec<Case> {
    // Names that collide with the line's own, with each other once cleaned, and that need escaping.
    let name = || {
        prop_oneof![
            Just("level".to_owned()),
            Just("field_level".to_owned()),
            Just("message".to_owned()),
            Just("truncated".to_owned()),
            Just("a b".to_owned()),
            Just("a=b".to_owned()),
            Just("own".to_owned()),
            "[a-z.]{1,8}",
            "\\PC{1,6}",
            any::<String>()
                .prop_filter("a name", |name| !name.is_empty() && !name.starts_with("otel.") && name.len() < 100),
        ]
    };
    let hostile = prop_oneof![
        Just("\n2026-01-01 ERROR shop: forged"),
        Just("\r\n\u{85}\u{2028}\u{2029}"),
        Just("\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m"),
        Just("\0\u{7f}\u{202e}\u{2066}"),
        Just("\",\"admin\":true,\"x\":\""),
        Just(" admin=true level=error "),
        Just("\\\" x=\""),
        Just(": shop: "),
        Just("}"),
    ];
    let hostile = vec(hostile, 1..4).prop_map(|parts| parts.concat());
    let value = || prop_oneof![4 => any::<String>(), 2 => hostile.clone(), 1 => "x{500,3000}", 1 => "\"{100,900}"];
    let pairs = || vec((name(), value()), 0..6);
    let case = (prop_oneof![any::<String>(), hostile.clone()], value(), pairs(), pairs());
    let mut runner = TestRunner::deterministic();
    (0..400).map(|_| case.new_tree(&mut runner).expect("a case").current()).collect()
}

fn lines_of(format: Format, limit: usize, cases: &[Case]) -> Captured {
    let mut settings = settings();
    settings.loki = match (format, limit) {
        (Format::Text, 1024) => |builder| builder.format(Format::Text).max_line_bytes(1024),
        (Format::Text, _) => |builder| builder.format(Format::Text),
        (Format::Logfmt, 1024) => |builder| builder.format(Format::Logfmt).max_line_bytes(1024),
        (Format::Logfmt, _) => |builder| builder.format(Format::Logfmt),
        (_, 1024) => |builder| builder.max_line_bytes(1024),
        _ => |builder| builder,
    };
    capture(&settings, || {
        for (message, own, outer_pairs, inner_pairs) in cases {
            let outer = info_span!("outer");
            outer_pairs.iter().for_each(|(key, value)| outer.set_attribute(key, value));
            let _outer = outer.entered();
            let inner = info_span!("inner");
            inner_pairs.iter().for_each(|(key, value)| inner.set_attribute(key, value));
            let _inner = inner.entered();
            // The third line shows the span's share that the second one has left.
            for _ in 0..3 {
                info!(own, "{message}");
            }
        }
    })
}

#[test]
fn any_json_line_is_one_object_within_its_limit_with_each_name_once() {
    let cases = cases();
    for limit in [1024, 256 * 1024] {
        let captured = lines_of(Format::Json, limit, &cases);
        assert_eq!(captured.logs.len(), 3 * cases.len());
        for (entry, case) in captured.logs.iter().zip(cases.iter().flat_map(|case| [case; 3])) {
            let line = &entry.line;
            assert!(line.len() <= limit && !line.contains(is_unprintable), "{} bytes: {line:?}", line.len());
            let names = names(line);
            let unique: HashSet<_> = names.iter().collect();
            assert_eq!(unique.len(), names.len(), "{line}");
            let object = entry.json().unwrap_or_else(|| panic!("no JSON: {line}"));
            let message = object["message"].as_str().expect("a message");
            let whole = object.get("truncated") != Some(&true.into());
            assert!(if whole { message == case.0 } else { case.0.starts_with(message) }, "{line}");
            if whole {
                assert_eq!(object["own"].as_str(), Some(case.1.as_str()), "{line}");
                assert_eq!(object["spans"], serde_json::json!(["outer", "inner"]));
            }
        }
    }
}

/// The names of an object in the order they stand there, repeated ones too: serde_json's own map keeps the last.
fn names(line: &str) -> Vec<String> {
    struct Names(Vec<String>);
    impl<'de> serde::Deserialize<'de> for Names {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Names;
                fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    formatter.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                    let mut names = Vec::new();
                    while let Some((name, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                        names.push(name);
                    }
                    Ok(Names(names))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }
    serde_json::from_str::<Names>(line).unwrap_or_else(|error| panic!("{error}: {line}")).0
}

#[test]
fn any_logfmt_line_reads_back_within_its_limit_with_each_name_once() {
    let cases = cases();
    for limit in [1024, 256 * 1024] {
        let captured = lines_of(Format::Logfmt, limit, &cases);
        assert_eq!(captured.logs.len(), 3 * cases.len());
        for (entry, case) in captured.logs.iter().zip(cases.iter().flat_map(|case| [case; 3])) {
            let line = &entry.line;
            assert!(line.len() <= limit && !line.contains(is_unprintable), "{} bytes: {line:?}", line.len());
            let pairs = logfmt(line);
            let unique: HashSet<_> = pairs.iter().map(|(name, _)| name).collect();
            assert_eq!(unique.len(), pairs.len(), "{line}");
            let value = |name: &str| pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
            let message = value("message").expect("a message");
            let whole = value("truncated").is_none();
            assert!(if whole { message == case.0 } else { case.0.starts_with(message) }, "{line}");
            if whole {
                assert_eq!((value("own"), value("spans")), (Some(case.1.as_str()), Some("outer:inner")), "{line}");
            }
        }
    }
}

#[test]
fn in_any_line_of_text_each_name_stands_once_and_nothing_else_looks_like_a_field() {
    let cases = cases();
    for limit in [1024, 256 * 1024] {
        let captured = lines_of(Format::Text, limit, &cases);
        assert_eq!(captured.logs.len(), 3 * cases.len());
        for (entry, case) in captured.logs.iter().zip(cases.iter().flat_map(|case| [case; 3])) {
            let line = &entry.line;
            assert!(line.len() <= limit && !line.contains(is_unprintable), "{} bytes: {line:?}", line.len());
            let rest = line.strip_prefix("INFO outer:inner: semantics::lines: ").unwrap_or_else(|| panic!("{line}"));
            // The message: a string where it has what begins a field.
            let fields = if rest.starts_with('"') {
                let mut texts = serde_json::Deserializer::from_str(rest).into_iter::<String>();
                let message = texts.next().expect("a message").unwrap_or_else(|error| panic!("{error}: {line}"));
                assert!(case.0.starts_with(&message), "{line}");
                rest.split_at(texts.byte_offset()).1
            } else {
                // Up to the first name behind it.
                let end = rest.find('=').map_or(rest.len(), |equals| rest[..equals].rfind(' ').expect("a name"));
                assert!(case.0.starts_with(&rest[..end]), "{line}");
                &rest[end..]
            };
            let pairs = logfmt(fields.strip_prefix(' ').unwrap_or(fields));
            let unique: HashSet<_> = pairs.iter().map(|(name, _)| name).collect();
            assert_eq!(unique.len(), pairs.len(), "{line}");
            if pairs.iter().all(|(name, _)| name != "truncated") {
                assert_eq!(pairs[0], ("own".to_owned(), case.1.clone()), "{line}");
            }
        }
    }
}

#[test]
fn neither_names_of_spans_nor_targets_of_records_can_be_taken_for_other_parts_of_a_line() {
    for format in [Format::Json, Format::Logfmt, Format::Text] {
        let mut settings = settings();
        settings.loki = match format {
            Format::Logfmt => |builder| builder.format(Format::Logfmt),
            Format::Text => |builder| builder.format(Format::Text),
            _ => |builder| builder,
        };
        let hostile = "x: shop: paid admin=true \"level\":\"error\"\n\u{1b}[2J\u{2028}";
        let captured = capture(&settings, || {
            let _span = info_span!("work", otel.name = hostile).entered();
            info!(name: "event", { log.target = hostile }, "here");
        });
        let [entry] = captured.logs.as_slice() else { panic!("{:?}", captured.logs) };
        let line = &entry.line;
        assert!(!line.contains(is_unprintable), "{line:?}");
        match format {
            Format::Json => assert_eq!(entry.json().expect("JSON")["spans"], serde_json::json!([hostile])),
            Format::Logfmt => assert!(logfmt(line).contains(&("spans".to_owned(), hostile.to_owned())), "{line}"),
            _ => assert!(line.starts_with("INFO \"x: shop: paid admin=true \\\"level\\\""), "{line}"),
        }
    }
}

/// Reads a line as Loki's `logfmt` does: names up to `=`, values bare or as JSON strings.
fn logfmt(line: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').unwrap_or_else(|| panic!("a name without value in {line}"));
        assert!(!name.is_empty() && !name.contains([' ', '"']), "the name {name:?} in {line}");
        let (value, after) = if after.starts_with('"') {
            let mut texts = serde_json::Deserializer::from_str(after).into_iter::<String>();
            let value = texts.next().expect("a value").unwrap_or_else(|error| panic!("{error}: {line}"));
            (value, after.split_at(texts.byte_offset()).1)
        } else {
            let end = after.find(' ').unwrap_or(after.len());
            let (value, after) = after.split_at(end);
            (value.to_owned(), after)
        };
        pairs.push((name.to_owned(), value));
        assert!(after.is_empty() || after.starts_with(' '), "{after:?} behind a value in {line}");
        rest = after.strip_prefix(' ').unwrap_or(after);
    }
    pairs
}
