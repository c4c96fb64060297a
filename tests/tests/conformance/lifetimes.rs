//! Re-entered, left out of order, closed elsewhere, outliving: the life of a span.

use std::time::Duration;

use tracing::{Span, info, info_span};

use super::harness::{Row, row, same_trace};
use super::tree::on_another_thread;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row(
            "a span that is never entered arrives",
            || drop(info_span!("work")),
            |arrived| assert!(arrived.span("work").end_ns >= arrived.span("work").start_ns),
        ),
        row(
            "a span that is entered again and again arrives once",
            || {
                let span = info_span!("work");
                for _ in 0..3 {
                    span.in_scope(|| span.in_scope(|| info!("again")));
                }
            },
            |arrived| {
                assert_eq!(arrived.span_names(), ["work"]);
                assert_eq!(arrived.events("work").len(), 3);
            },
        ),
        row(
            "spans that are left out of order keep the right one current",
            || {
                let outer = info_span!("outer").entered();
                let inner = info_span!("inner").entered();
                drop(outer);
                info!("in inner");
                drop(inner);
                info!("in none");
            },
            |arrived| {
                assert!(arrived.is_in("in inner", "inner"));
                assert_eq!(arrived.place_of_log("in none"), None);
            },
        ),
        row(
            "a span closed on another thread arrives",
            || {
                let span = info_span!("work");
                span.in_scope(|| info!("here"));
                on_another_thread(move || drop(span));
            },
            |arrived| assert_eq!(arrived.events("work"), ["here"]),
        ),
        row(
            "a child that outlives its parent is still its child",
            || {
                let parent = info_span!("parent");
                let child = info_span!(parent: &parent, "child");
                drop(parent);
                child.in_scope(|| info!("later"));
            },
            |arrived| {
                assert_eq!(arrived.parent_of("child").as_deref(), Some("parent"));
                assert!(arrived.is_in("later", "child"));
            },
        ),
        row(
            "a child opened while its parent has been left",
            || {
                let parent = info_span!("parent");
                parent.in_scope(|| ());
                info_span!(parent: &parent, "child").in_scope(|| info!("later"));
            },
            |arrived| assert_eq!(arrived.parent_of("child").as_deref(), Some("parent")),
        ),
        row(
            "a clone keeps its span open",
            || {
                let span = info_span!("work");
                let clone = span.clone();
                drop(span);
                clone.in_scope(|| info!("still"));
            },
            |arrived| {
                assert_eq!(arrived.span_names(), ["work"]);
                assert_eq!(arrived.events("work"), ["still"]);
            },
        ),
        row(
            "a span takes as long as it took",
            || info_span!("work").in_scope(|| std::thread::sleep(Duration::from_millis(20))),
            |arrived| {
                let took = arrived.span("work").duration();
                assert!(took >= Duration::from_millis(20) && took < Duration::from_secs(20), "{took:?}");
            },
        ),
        row(
            "a child's time lies within its parent's",
            || info_span!("parent").in_scope(|| info_span!("child").in_scope(|| ())),
            |arrived| {
                let (parent, child) = (arrived.span("parent"), arrived.span("child"));
                assert!(parent.start_ns <= child.start_ns && child.end_ns <= parent.end_ns);
            },
        ),
        row(
            "a span that is left and closed later ends when it is closed",
            || {
                let span = info_span!("work");
                span.in_scope(|| ());
                std::thread::sleep(Duration::from_millis(20));
            },
            |arrived| assert!(arrived.span("work").duration() >= Duration::from_millis(20)),
        )
        .but("tracing-opentelemetry ends a span when it was last left", |arrived| {
            assert!(arrived.span("work").duration() < Duration::from_millis(20));
        }),
        row(
            "a disabled span is nothing and takes everything",
            || {
                let none = Span::none();
                none.record("rows", 3);
                none.in_scope(|| drop(info_span!("inside")));
            },
            |arrived| assert_eq!((arrived.span_names(), arrived.parent_of("inside")), (vec!["inside"], None)),
        ),
        row(
            "a panic that unwinds closes the spans it leaves",
            || {
                let outcome = std::panic::catch_unwind(|| {
                    let _outer = info_span!("outer").entered();
                    let _inner = info_span!("inner").entered();
                    std::panic::resume_unwind(Box::new("expected"));
                });
                assert!(outcome.is_err());
                info!("afterwards");
            },
            |arrived| {
                assert_eq!(arrived.parent_of("inner").as_deref(), Some("outer"));
                assert_eq!(arrived.place_of_log("afterwards"), None);
            },
        ),
        row(
            "ten thousand spans one after the other arrive",
            || (0..10_000).for_each(|_| drop(info_span!("work"))),
            |arrived| {
                let ids: std::collections::HashSet<_> = arrived.spans.iter().map(|span| &span.span_id).collect();
                assert_eq!((arrived.spans.len(), ids.len()), (10_000, 10_000));
            },
        ),
        row(
            "a thousand spans open at once arrive, each under its root",
            || {
                let root = info_span!("root").entered();
                let open: Vec<Span> = (0..1000).map(|_| info_span!("open")).collect();
                drop(open);
                drop(root);
            },
            |arrived| {
                assert_eq!(arrived.spans.len(), 1001);
                assert!(arrived.spans.iter().all(|span| same_trace(span, arrived.span("root"))));
            },
        ),
    ]
}
