//! Log lines: the JSON text, structured metadata, streams, timestamps.

use std::collections::{BTreeSet, HashSet};

use insta::assert_snapshot;
use lgtm_core::span::SpanExt as _;
use lgtm_loki::Format;
use lgtm_tests::capture::{capture, capture_on, place_of};
use lgtm_tests::signals::{Layers, Order};
use tracing::{Dispatch, Level, debug, error, event, field, info, info_span, trace, warn};

use tracing_subscriber::prelude::*;

use super::settings;

#[test]
fn a_line_has_message_level_target_and_fields_with_numbers_as_numbers() {
    let captured = capture(&settings(), || {
        info!(
            target: "shop::orders",
            order_id = 17_u64,
            delta = -4,
            huge = u64::MAX,
            ratio = 0.25,
            whole = 2.0,
            cached = true,
            user = "ada \"the\" first\n\u{1}",
            shape = ?Some(1),
            "placed in {} ms",
            12
        );
    });
    assert_snapshot!(captured.logs[0].line, @r#"{"message":"placed in 12 ms","level":"info","target":"shop::orders","order_id":17,"delta":-4,"huge":"18446744073709551615","ratio":0.25,"whole":2.0,"cached":true,"user":"ada \"the\" first\n\u0001","shape":"Some(1)"}"#);
}

#[test]
fn fields_of_spans_stand_beside_those_of_the_event_and_the_innermost_wins() {
    let captured = capture(&settings(), || {
        let _root = info_span!("request", region = "eu", user = "root", attempt = 1).entered();
        let _leaf = info_span!("query", user = "leaf", attempt = 2, rows = 3).entered();
        info!(attempt = 4, "done");
    });
    assert_snapshot!(captured.logs[0].line, @r#"{"message":"done","level":"info","target":"semantics::logs","attempt":4,"user":"leaf","rows":3,"region":"eu","spans":["request","query"]}"#);
}

#[test]
fn a_later_line_of_the_same_span_shows_what_was_recorded_since() {
    let captured = capture(&settings(), || {
        let root = info_span!("request", status = tracing::field::Empty, user = "unknown");
        root.in_scope(|| {
            let _leaf = info_span!("query").entered();
            info!("before");
            root.record("status", 200);
            root.record("user", "ada");
            info!("after");
        });
    });
    let fields = |message: &str| {
        let line = captured.log(message).json().expect("a line");
        (line["status"].clone(), line["user"].clone())
    };
    assert_eq!(fields("before"), (serde_json::Value::Null, "unknown".into()));
    assert_eq!(fields("after"), (200.into(), "ada".into()));
}

#[test]
fn fields_named_like_the_lines_own_get_a_prefix() {
    let captured = capture(&settings(), || {
        let _span = info_span!("request", message = "of the span", target = "moon").entered();
        info!(level = 3, spans = "two", trace_id = "mine", span_id = 1, trace_sampled = "no", "hello");
    });
    assert_snapshot!(captured.logs[0].line, @r#"{"message":"hello","level":"info","target":"semantics::logs","field_level":3,"field_spans":"two","field_trace_id":"mine","field_span_id":1,"field_trace_sampled":"no","field_message":"of the span","field_target":"moon","spans":["request"]}"#);
}

#[test]
fn an_error_value_is_a_field_with_its_text() {
    let captured = capture(&settings(), || {
        let cause = std::io::Error::other("disk on fire");
        error!(error = &cause as &(dyn std::error::Error + 'static), "failed");
    });
    let line = captured.logs[0].json().expect("a line");
    assert_eq!((&line["error"], &line["level"]), (&"disk on fire".into(), &"error".into()));
}

#[test]
fn an_event_without_a_message_has_an_empty_one() {
    let captured = capture(&settings(), || info!(tick = 1));
    let line = captured.logs[0].json().expect("a line");
    assert_eq!((&line["message"], &line["tick"]), (&"".into(), &1.into()));
}

#[test]
fn structured_metadata_links_a_line_to_its_span_and_its_callsite() {
    let captured = capture(&settings(), || {
        info!("outside");
        let _span = info_span!("request").entered();
        info!("inside");
    });
    let keys = |message: &str| {
        let metadata = &captured.log(message).structured_metadata;
        metadata.keys().map(String::as_str).collect::<Vec<_>>().join(" ")
    };
    let own = "service_instance_id service_version";
    assert_eq!(keys("inside"), format!("code_file_path code_line_number {own} span_id target trace_id trace_sampled"));
    assert_eq!(keys("outside"), format!("code_file_path code_line_number {own} target"));
    let metadata = &captured.log("inside").structured_metadata;
    assert_eq!(captured.place_of_log("inside"), Some(place_of(captured.span("request"))));
    assert_eq!(metadata["trace_sampled"], "true");
    assert_eq!(metadata["target"], "semantics::logs");
    assert!(metadata["code_file_path"].ends_with("logs.rs"), "{metadata:?}");
    assert!(metadata["code_line_number"].parse::<u32>().is_ok(), "{metadata:?}");
    assert_eq!(
        (metadata["service_instance_id"].as_str(), metadata["service_version"].as_str()),
        ("instance-1", "1.2.3")
    );
}

#[test]
fn each_level_is_a_stream_with_the_labels_of_the_service() {
    let captured = capture(&settings(), || {
        trace!("one");
        debug!("two");
        info!("three");
        warn!("four");
        error!("five");
        event!(Level::INFO, "six");
    });
    let streams: BTreeSet<String> = captured.logs.iter().map(|entry| format!("{:?}", entry.labels)).collect();
    assert_snapshot!(streams.into_iter().collect::<Vec<_>>().join("\n"), @r#"
    {"environment": "test", "level": "debug", "service": "shop", "service_name": "shop"}
    {"environment": "test", "level": "error", "service": "shop", "service_name": "shop"}
    {"environment": "test", "level": "info", "service": "shop", "service_name": "shop"}
    {"environment": "test", "level": "trace", "service": "shop", "service_name": "shop"}
    {"environment": "test", "level": "warn", "service": "shop", "service_name": "shop"}
    "#);
}

#[test]
fn lines_of_one_stream_never_share_a_time_and_stay_in_the_order_of_their_thread() {
    let captured = capture_on(
        &settings(),
        |layers| layers.dispatch(Order::default()),
        || {
            let dispatch = tracing::dispatcher::get_default(Clone::clone);
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let dispatch = &dispatch;
                    scope.spawn(move || {
                        tracing::dispatcher::with_default(dispatch, || {
                            for number in 0..1000 {
                                info!(thread, number, "the same text");
                            }
                        });
                    });
                }
            });
        },
    );
    let mut entries = captured.logs.clone();
    entries.sort_by_key(|entry| entry.timestamp_ns);
    let times: HashSet<i64> = entries.iter().map(|entry| entry.timestamp_ns).collect();
    assert_eq!((entries.len(), times.len()), (4000, 4000));
    let mut next = [0; 4];
    for entry in entries {
        let line = entry.json().expect("a line");
        let thread = line["thread"].as_u64().expect("a number") as usize;
        assert_eq!(line["number"].as_u64(), Some(next[thread]));
        next[thread] += 1;
    }
}

#[test]
fn a_line_over_lokis_limit_is_cut_and_says_so() {
    let captured = capture(&settings(), || {
        let _span = info_span!("request", payload = "x".repeat(120 * 1024)).entered();
        let filler = "y".repeat(100 * 1024);
        info!(filler, other = filler, "too long");
    });
    let line = captured.logs[0].json().expect("a line");
    assert_eq!((&line["message"], &line["truncated"]), (&"too long".into(), &true.into()));
    assert!(captured.logs[0].line.len() < 256 * 1024);
    assert_eq!(captured.place_of_log("too long"), Some(place_of(captured.span("request"))));
}

#[test]
fn logfmt_holds_the_same_fields_under_the_same_rules() {
    let mut settings = settings();
    settings.loki = |builder| builder.format(Format::Logfmt);
    let captured = capture(&settings, || {
        let _outer = info_span!("request", user = "outer", region = "eu").entered();
        let _inner = info_span!("query", user = "inner", level = 3).entered();
        warn!(
            target: "shop",
            order_id = 17,
            ratio = 0.5,
            note = "say \"hi\"\n=",
            empty = "",
            "a b" = true,
            user.name = "ada",
            "two words"
        );
    });
    assert_snapshot!(captured.logs[0].line, @r#"level=warn target=shop message="two words" order_id=17 ratio=0.5 note="say \"hi\"\n=" empty="" a_b=true user.name=ada user=inner field_level=3 region=eu spans=request:query"#);
    let trace = captured.span("query").trace_id.clone();
    assert_eq!(captured.logs[0].structured_metadata["trace_id"], trace);
}

#[test]
fn text_is_for_people() {
    let mut settings = settings();
    settings.loki = |builder| builder.format(Format::Text);
    let captured = capture(&settings, || {
        info!(target: "shop", "outside");
        let _outer = info_span!("request", region = "eu").entered();
        let _inner = info_span!("query").entered();
        error!(target: "shop", order_id = 17, "no stock");
    });
    let lines: Vec<_> = captured.logs.iter().map(|entry| entry.line.as_str()).collect();
    assert_eq!(lines, ["INFO shop: outside", "ERROR request:query: shop: no stock order_id=17 region=eu"]);
}

/// Lines of at most 2,000 bytes, in every format.
const SHORT_LINES: [fn(lgtm_loki::Builder) -> lgtm_loki::Builder; 3] = [
    |builder| builder.max_line_bytes(2000).format(Format::Json),
    |builder| builder.max_line_bytes(2000).format(Format::Logfmt),
    |builder| builder.max_line_bytes(2000).format(Format::Text),
];

#[test]
fn a_line_over_the_programs_own_limit_is_cut_in_every_format() {
    for format in SHORT_LINES {
        let mut settings = settings();
        settings.loki = format;
        let captured = capture(&settings, || info!(target: "shop", filler = "y".repeat(3000), "{}", "é".repeat(500)));
        let line = &captured.logs[0].line;
        assert!(line.len() <= 2000 && line.contains("truncated") && line.contains(&"é".repeat(125)), "{line}");
        assert!(!line.contains("yyy"), "{line}");
    }
    for wrong in [10, 1024 * 1024] {
        let error = lgtm_loki::builder().max_line_bytes(wrong).build().err().map(|error| error.to_string());
        let error = error.unwrap_or_default();
        assert!(error.contains(&wrong.to_string()) && error.contains("1024 to 1044480"), "{error}");
    }
}

#[test]
fn a_line_that_is_cut_keeps_the_fields_that_fit_and_is_counted() {
    for format in SHORT_LINES {
        let mut settings = settings();
        settings.loki = format;
        let recorder = lgtm_tests::counting::Counting::default();
        let captured = metrics::with_local_recorder(&recorder, || {
            capture(&settings, || {
                let _span = info_span!("request", region = "eu", payload = "z".repeat(3000)).entered();
                info!(target: "shop", order_id = 17, filler = "y".repeat(3000), "too long");
            })
        });
        let line = &captured.logs[0].line;
        assert!(line.len() <= 2000 && !line.contains("yyy") && !line.contains("zzz"), "{line}");
        for part in ["too long", "order_id", "17", "region", "eu", "request", "truncated"] {
            assert!(line.contains(part), "{part}: {line}");
        }
        assert_eq!(recorder.counter("otlp_logs_truncated_total"), 1);
    }
}

#[test]
fn a_value_over_128_kib_marks_its_line() {
    let captured = capture(&settings(), || {
        info!(value = "v".repeat(200 * 1024), "cut");
        info!(value = "v".repeat(100 * 1024), "whole");
    });
    let line = captured.log("cut").json().expect("a line");
    assert_eq!((line["value"].as_str().map(str::len), &line["truncated"]), (Some(128 * 1024), &true.into()));
    assert!(captured.log("whole").json().expect("a line").get("truncated").is_none());
}

#[test]
fn names_that_become_equal_stand_once_in_a_line() {
    let mut settings = settings();
    settings.loki = |builder| builder.format(Format::Logfmt);
    let logfmt = capture(&settings, || info!("a b" = 1, "a=b" = 2, level = 3, field_level = 4, "said"));
    let line = &logfmt.logs[0].line;
    assert_eq!((line.matches(" a_b=").count(), line.matches(" field_level=").count()), (1, 1), "{line}");
    let json = capture(&super::settings(), || info!(level = 3, field_level = 4, "said"));
    assert_eq!(json.logs[0].line.matches("\"field_level\"").count(), 1, "{}", json.logs[0].line);
}

#[test]
fn a_label_has_the_value_of_a_field_of_the_event_or_of_its_spans() {
    let mut settings = settings();
    settings.loki = |builder| builder.label_from_field("queue.name", 2).label_from_field("urgent", 2);
    let recorder = lgtm_tests::counting::Counting::default();
    let captured = metrics::with_local_recorder(&recorder, || {
        capture(&settings, || {
            info!("of none");
            info!(queue.name = "orders", urgent = true, "of the event");
            let _outer = info_span!("outer", queue.name = "mail", urgent = false).entered();
            let _inner = info_span!("inner").entered();
            info!("of the span");
            info!(queue.name = "orders", "of both");
            info!(queue.name = "third", "over the cap");
            info!(queue.name = "fourth", "over the cap too");
        })
    });
    let labels = |message: &str| {
        let entry = captured.log(message);
        let label = |name: &str| entry.labels.get(name).cloned().unwrap_or_default();
        (label("queue_name"), label("urgent"), label("level"))
    };
    let expected = |queue: &str, urgent: &str| (queue.to_owned(), urgent.to_owned(), "info".to_owned());
    assert_eq!(labels("of none"), expected("", ""));
    assert_eq!(labels("of the event"), expected("orders", "true"));
    assert_eq!(labels("of the span"), expected("mail", "false"));
    assert_eq!(labels("of both"), expected("orders", "false"));
    assert_eq!(labels("over the cap"), expected("other", "false"));
    assert_eq!(labels("over the cap too"), expected("other", "false"));
    assert_eq!(recorder.counter("otlp_logs_label_overflow_total"), 2);
    assert_eq!(captured.log("of the event").json().expect("a line")["queue.name"], "orders", "it stays in the line");
}

#[test]
fn records_of_the_log_crate_are_lines_with_their_own_origin() {
    // One logger a process; the subscriber that counts is the thread's.
    let _ = tracing_log::LogTracer::init();
    let captured = capture(&settings(), || {
        let _request = info_span!("request").entered();
        log::warn!(target: "old::library", "disk {} is full", 7);
    });
    let entry = captured.log("disk 7 is full");
    let line = entry.json().expect("a line");
    assert_eq!(
        (&line["target"], &line["level"], &line["spans"][0]),
        (&"old::library".into(), &"warn".into(), &"request".into())
    );
    assert!(line.as_object().is_some_and(|line| line.keys().all(|key| !key.starts_with("log."))), "{line}");
    let metadata = &entry.structured_metadata;
    assert_eq!(metadata["target"], "old::library");
    assert!(metadata["code_file_path"].ends_with("logs.rs") && metadata["code_line_number"] != "0", "{metadata:?}");
    assert_eq!(captured.place_of_log("disk 7 is full"), Some(place_of(captured.span("request"))));
    let event = &captured.span("request").events[0];
    assert_eq!(event.attributes.text("target"), Some("old::library"));
    assert_eq!(event.attributes.text("log.target"), None);
}

#[test]
fn a_line_is_the_same_whether_or_not_spans_are_exported_too() {
    let lines = |with_spans: bool, limit: usize| {
        let mut settings = settings();
        settings.loki = if limit > 1024 { |builder| builder } else { |builder| builder.max_line_bytes(1024) };
        let subscriber = |layers: Layers| {
            let registry = tracing_subscriber::registry().with(layers.loki);
            if with_spans { Dispatch::new(registry.with(layers.tempo)) } else { Dispatch::new(registry) }
        };
        let captured = capture_on(&settings, subscriber, || {
            let _span = info_span!("request", user = "ada", rows = 7).entered();
            info!(a = 1, b = "text, \"quoted\": {}", c = 0.5, d = true, e = ?Some(","), f = u64::MAX, "plain");
            info!(level = "own", "a.b" = f64::NAN, user = "event", "renamed");
            info!(one = "x".repeat(2000), two = "y\"y,\"z", three = 3, "long");
            info!(password = "hunter2", rows = 8, "redacted");
        });
        captured.logs.iter().map(|entry| entry.line.clone()).collect::<Vec<_>>()
    };
    for limit in [1024, usize::MAX] {
        assert_eq!(lines(false, limit), lines(true, limit), "{limit}");
    }
    let long = &lines(false, 1024)[2];
    assert!(long.contains(r#""message":"long""#) && long.contains(r#","two":"y\"y,\"z","three":3,"#), "{long}");
    assert!(long.ends_with(r#","spans":["request"],"truncated":true}"#) && long.len() <= 1024, "{long}");
}

#[test]
fn the_lines_of_a_span_are_the_same_each_time_it_is_opened() {
    let captured = capture(&settings(), || {
        for _ in 0..3 {
            let span = info_span!("request", user = "ada \"the\" first", rows = 7, late = field::Empty, level = 1);
            let _request = span.enter();
            let inner = info_span!("query", user = "inner", ratio = 0.5, late = field::Empty);
            inner.in_scope(|| info!("first"));
            inner.record("late", 3);
            span.record("rows", 8);
            inner.in_scope(|| info!(ratio = 2, "second"));
            inner.set_attribute("added", "more");
            inner.in_scope(|| info!("third"));
        }
    });
    let lines: Vec<_> = captured.logs.iter().map(|entry| entry.line.as_str()).collect();
    assert_snapshot!(lines[0], @r#"{"message":"first","level":"info","target":"semantics::logs","user":"inner","ratio":0.5,"rows":7,"field_level":1,"spans":["request","query"]}"#);
    assert_snapshot!(lines[1], @r#"{"message":"second","level":"info","target":"semantics::logs","ratio":2,"user":"inner","late":3,"field_level":1,"rows":8,"spans":["request","query"]}"#);
    assert_snapshot!(lines[2], @r#"{"message":"third","level":"info","target":"semantics::logs","user":"inner","ratio":0.5,"late":3,"added":"more","field_level":1,"rows":8,"spans":["request","query"]}"#);
    assert!(lines.chunks(3).all(|round| round == &lines[..3]), "{lines:#?}");
}
