//! The limits of the OpenTelemetry specification: what is over them is left out and counted.

use lgtm_core::span::{Limits, SpanExt as _};
use tracing::{info, info_span};

use super::harness::{Row, row, text};

fn two_of_each(builder: lgtm_tempo::Builder) -> lgtm_tempo::Builder {
    let mut limits = Limits::default();
    (limits.attributes, limits.events, limits.links) = (2, 2, 2);
    builder.limits(limits)
}

fn one_of_each_inside(builder: lgtm_tempo::Builder) -> lgtm_tempo::Builder {
    let mut limits = Limits::default();
    (limits.event_attributes, limits.link_attributes) = (1, 1);
    builder.limits(limits)
}

fn four_bytes(builder: lgtm_tempo::Builder) -> lgtm_tempo::Builder {
    let mut limits = Limits::default();
    limits.value_bytes = 4;
    builder.limits(limits)
}

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row(
            "128 events a span, the others are counted",
            || info_span!("work").in_scope(|| (0..130).for_each(|number: i64| info!(number, "event"))),
            |arrived| {
                let span = arrived.span("work");
                assert_eq!((span.events.len(), span.dropped_events), (128, 2));
                assert_eq!(arrived.logs.len(), 130, "Loki's bounds are its own");
            },
        ),
        row(
            "128 links a span, the others are counted",
            || {
                let cause = info_span!("cause");
                let span = info_span!("work");
                (0..131).for_each(|_| {
                    span.follows_from(&cause);
                });
            },
            |arrived| assert_eq!((arrived.span("work").links.len(), arrived.span("work").dropped_links), (128, 3)),
        ),
        row(
            "attributes over the program's limit are left out and counted",
            || drop(info_span!("work", a = 1_i64, b = 2_i64, c = 3_i64)),
            |arrived| {
                let span = arrived.span("work");
                assert_eq!((span.attributes.len(), span.dropped_attributes), (2, 1));
                assert_eq!((span.attributes.int("a"), span.attributes.int("b")), (Some(1), Some(2)));
            },
        )
        .tempo(two_of_each),
        row(
            "a late value of a known attribute is no new one",
            || {
                info_span!("work", a = 1_i64, b = 2_i64).record("b", 3_i64);
            },
            |arrived| {
                let span = arrived.span("work");
                assert_eq!((span.attributes.int("b"), span.dropped_attributes), (Some(3), 0));
            },
        )
        .but("the SDK counts each value that is set", |arrived| {
            let span = arrived.span("work");
            assert_eq!((span.attributes.int("b"), span.dropped_attributes), (Some(2), 1));
        })
        .tempo(two_of_each),
        row(
            "events over the program's limit: the first ones stay",
            || {
                info_span!("work").in_scope(|| {
                    info!("one");
                    info!("two");
                    info!("three");
                });
            },
            |arrived| {
                assert_eq!(arrived.events("work"), ["one", "two"]);
                assert_eq!(arrived.span("work").dropped_events, 1);
            },
        )
        .tempo(two_of_each),
        row(
            "links over the program's limit are counted",
            || {
                let cause = info_span!("cause");
                let span = info_span!("work");
                (0..4).for_each(|_| {
                    span.follows_from(&cause);
                });
            },
            |arrived| assert_eq!((arrived.span("work").links.len(), arrived.span("work").dropped_links), (2, 2)),
        )
        .tempo(two_of_each),
        row(
            "attributes of links over the program's limit are counted",
            || {
                let place = info_span!("cause").trace_context().expect("a place");
                info_span!(parent: None, "work").add_link(place, &[("one", 1.into()), ("two", 2.into())]);
            },
            |arrived| {
                let link = &arrived.span("work").links[0];
                assert_eq!((link.attributes.len(), link.dropped_attributes), (1, 1));
            },
        )
        .tempo(one_of_each_inside),
        row(
            "values over the program's limit are cut at a character's boundary",
            || drop(info_span!("work", long = "äää", short = "abcd")),
            |arrived| {
                assert_eq!(arrived.attribute("work", "long"), Some(&text("ää")));
                assert_eq!(arrived.attribute("work", "short"), Some(&text("abcd")));
            },
        )
        .tempo(four_bytes),
        row(
            "a limit of values is for values: names are whole",
            || info_span!("a long name", key_of_an_attribute = 1_i64).in_scope(|| info!("a long message")),
            |arrived| {
                assert_eq!(
                    arrived.attribute("a long name", "key_of_an_attribute"),
                    Some(&lgtm_devstack::Value::Int(1))
                );
                assert_eq!(arrived.events("a long name"), ["a long message"]);
            },
        )
        .tempo(four_bytes),
        row(
            "a limit of attributes is for spans: the log line has all fields",
            || {
                info_span!("work", a = 1_i64, b = 2_i64, c = 3_i64)
                    .in_scope(|| info!(d = 4_i64, e = 5_i64, f = 6_i64, "said"))
            },
            |arrived| {
                for (field, number) in ["a", "b", "c", "d", "e", "f"].into_iter().zip(1..) {
                    assert_eq!(arrived.field("said", field), number, "{field}");
                }
            },
        )
        .tempo(two_of_each),
        row(
            "a limit of values is for spans: the log line is whole",
            || info_span!("work", outer = "whole too").in_scope(|| info!(long = "whole value", "said")),
            |arrived| {
                assert_eq!(arrived.field("said", "long"), "whole value");
                assert_eq!(arrived.field("said", "outer"), "whole too");
                assert_eq!(arrived.event("work").attributes.text("long"), Some("whol"));
            },
        )
        .tempo(four_bytes),
    ]
}
