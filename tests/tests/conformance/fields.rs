//! Fields of spans as attributes: types, late values, odd values.

use std::fmt;

use lgtm_devstack::Value;
use tracing::field::{Empty, debug, display};
use tracing::info_span;

use super::harness::{Arrived, Row, row, text};

/// Tells of itself in two ways.
struct Shape;

impl fmt::Debug for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Shape { corners: 3 }")
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a triangle")
    }
}

/// Opens a span and logs while it is shown.
struct Chatty;

impl fmt::Debug for Chatty {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        info_span!("inside").in_scope(|| tracing::info!("told by a value"));
        formatter.write_str("chatty")
    }
}

fn value<'a>(arrived: &'a Arrived, key: &str) -> Option<&'a Value> {
    arrived.attribute("work", key)
}

const UNSIGNED: &str = "tracing-opentelemetry visits unsigned and 128-bit numbers by their Debug form";

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row(
            "text is text",
            || drop(info_span!("work", user = "ada", empty = "", owned = String::from("moved").as_str())),
            |arrived| {
                assert_eq!(value(arrived, "user"), Some(&text("ada")));
                assert_eq!(value(arrived, "empty"), Some(&text("")));
                assert_eq!(value(arrived, "owned"), Some(&text("moved")));
            },
        ),
        row(
            "signed numbers are integers",
            || drop(info_span!("work", small = -4_i8, lowest = i64::MIN, highest = i64::MAX)),
            |arrived| {
                assert_eq!(value(arrived, "small"), Some(&Value::Int(-4)));
                assert_eq!(value(arrived, "lowest"), Some(&Value::Int(i64::MIN)));
                assert_eq!(value(arrived, "highest"), Some(&Value::Int(i64::MAX)));
            },
        ),
        row(
            "unsigned numbers are integers as far as they fit",
            || drop(info_span!("work", count = 17_u64)),
            |arrived| assert_eq!(value(arrived, "count"), Some(&Value::Int(17))),
        )
        .but(UNSIGNED, |arrived| assert_eq!(value(arrived, "count"), Some(&text("17")))),
        row(
            "numbers over 64 bits are text with all their digits",
            || drop(info_span!("work", over = u64::MAX, wide = u128::MAX, low = i128::MIN)),
            |arrived| {
                assert_eq!(value(arrived, "over"), Some(&text("18446744073709551615")));
                assert_eq!(value(arrived, "wide"), Some(&text("340282366920938463463374607431768211455")));
                assert_eq!(value(arrived, "low"), Some(&text("-170141183460469231731687303715884105728")));
            },
        ),
        row(
            "floats are doubles, also those that are no number",
            || {
                drop(info_span!(
                    "work",
                    ratio = 0.25,
                    tiny = f64::MIN_POSITIVE,
                    none = f64::NAN,
                    endless = f64::NEG_INFINITY
                ))
            },
            |arrived| {
                assert_eq!(value(arrived, "ratio"), Some(&Value::Double(0.25)));
                assert_eq!(value(arrived, "tiny"), Some(&Value::Double(f64::MIN_POSITIVE)));
                assert!(matches!(value(arrived, "none"), Some(Value::Double(number)) if number.is_nan()));
                assert_eq!(value(arrived, "endless"), Some(&Value::Double(f64::NEG_INFINITY)));
            },
        ),
        row(
            "booleans are booleans",
            || drop(info_span!("work", cached = true, fresh = false)),
            |arrived| {
                assert_eq!(value(arrived, "cached"), Some(&Value::Bool(true)));
                assert_eq!(value(arrived, "fresh"), Some(&Value::Bool(false)));
            },
        ),
        row(
            "values are shown as their sigil says",
            || drop(info_span!("work", shown = %Shape, debugged = ?Shape)),
            |arrived| {
                assert_eq!(value(arrived, "shown"), Some(&text("a triangle")));
                assert_eq!(value(arrived, "debugged"), Some(&text("Shape { corners: 3 }")));
            },
        ),
        row(
            "an option is its value or nothing",
            || drop(info_span!("work", some = Some(3_i64), none = None::<i64>)),
            |arrived| {
                assert_eq!(value(arrived, "some"), Some(&Value::Int(3)));
                assert_eq!(value(arrived, "none"), None);
            },
        ),
        row(
            "an empty field that is never recorded is no attribute",
            || drop(info_span!("work", rows = Empty)),
            |arrived| assert!(arrived.attributes("work").is_empty()),
        ),
        row(
            "a field recorded before the span is entered",
            || {
                info_span!("work", rows = Empty).record("rows", 3_i64);
            },
            |arrived| assert_eq!(value(arrived, "rows"), Some(&Value::Int(3))),
        ),
        row(
            "a field recorded inside the span",
            || {
                info_span!("work", rows = Empty).in_scope(|| {
                    tracing::Span::current().record("rows", 3_i64);
                })
            },
            |arrived| assert_eq!(value(arrived, "rows"), Some(&Value::Int(3))),
        ),
        row(
            "a field recorded after the span was left",
            || {
                let span = info_span!("work", rows = Empty);
                span.in_scope(|| ());
                span.record("rows", 3_i64);
            },
            |arrived| assert_eq!(value(arrived, "rows"), Some(&Value::Int(3))),
        ),
        row(
            "a field recorded again has its last value, once",
            || {
                let span = info_span!("work", rows = 1_i64);
                span.record("rows", 2_i64);
                span.in_scope(|| {
                    span.record("rows", "three");
                });
            },
            |arrived| {
                assert_eq!(value(arrived, "rows"), Some(&text("three")));
                assert_eq!(arrived.span("work").attributes.duplicate_keys(), Vec::<&str>::new());
            },
        ),
        row(
            "a field recorded by a helper of tracing",
            || {
                let span = info_span!("work", shown = Empty, debugged = Empty);
                span.record("shown", display(Shape)).record("debugged", debug(Shape));
            },
            |arrived| {
                assert_eq!(value(arrived, "shown"), Some(&text("a triangle")));
                assert_eq!(value(arrived, "debugged"), Some(&text("Shape { corners: 3 }")));
            },
        ),
        row(
            "a field that the macro does not name is not recorded",
            || {
                info_span!("work", known = 1_i64).record("unknown", 2_i64);
            },
            |arrived| assert_eq!(arrived.attributes("work"), [("known", &Value::Int(1))]),
        ),
        row(
            "names with dots, raw names and literals are names",
            || drop(info_span!("work", http.route = "/", r#type = "order", "with space" = true)),
            |arrived| {
                assert_eq!(value(arrived, "http.route"), Some(&text("/")));
                assert_eq!(value(arrived, "type"), Some(&text("order")));
                assert_eq!(value(arrived, "with space"), Some(&Value::Bool(true)));
            },
        ),
        row(
            "text of any script and with any control character arrives as it is",
            || drop(info_span!("work", odd = "\u{0}\n\u{7f}ü漢\u{1F600}\u{202E}")),
            |arrived| assert_eq!(value(arrived, "odd"), Some(&text("\u{0}\n\u{7f}ü漢\u{1F600}\u{202E}"))),
        ),
        row(
            "bytes are shown, also those that are no UTF-8",
            || drop(info_span!("work", raw = &[0xff_u8, 0x00, 0x41][..])),
            |arrived| assert!(matches!(value(arrived, "raw"), Some(Value::String(shown)) if !shown.is_empty())),
        ),
        row(
            "an operating system's text that is no UTF-8 is shown without a panic",
            || {
                #[cfg(unix)]
                let path = {
                    use std::os::unix::ffi::OsStrExt as _;
                    std::path::Path::new(std::ffi::OsStr::from_bytes(b"/tmp/\xff")).to_owned()
                };
                #[cfg(not(unix))]
                let path = std::path::PathBuf::from("/tmp/");
                drop(info_span!("work", path = %path.display(), debugged = ?path));
            },
            |arrived| {
                assert!(matches!(value(arrived, "path"), Some(Value::String(shown)) if shown.starts_with("/tmp/")));
                assert!(matches!(value(arrived, "debugged"), Some(Value::String(shown)) if shown.contains("/tmp/")));
            },
        ),
        row(
            "a value over 128 KiB is cut at a character's boundary",
            || drop(info_span!("work", long = "aé".repeat(50_000).as_str())),
            |arrived| {
                let Some(Value::String(cut)) = value(arrived, "long") else { panic!("no text") };
                assert!(cut.len() <= 128 * 1024 && cut.len() >= 128 * 1024 - 1);
                assert!("aé".repeat(50_000).starts_with(cut.as_str()));
            },
        ),
        row(
            "a value that logs and opens spans while it is shown harms nothing",
            || drop(info_span!("work", chatty = ?Chatty)),
            // A subscriber of one thread hears nothing from inside itself; `tests/reentrancy.rs` has one of the process.
            |arrived| assert_eq!(arrived.attributes("work"), [("chatty", &text("chatty"))]),
        ),
        row(
            "two fields of one name are one attribute, the last",
            || drop(info_span!("work", twice = 1_i64, twice = 2_i64)),
            |arrived| {
                assert_eq!(arrived.span("work").attributes.duplicate_keys(), Vec::<&str>::new());
                assert_eq!(value(arrived, "twice"), Some(&Value::Int(2)));
            },
        ),
    ]
}
