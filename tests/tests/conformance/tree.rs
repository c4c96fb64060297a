//! Parents, roots, threads, tasks, filters.

use tracing::{Instrument as _, Span, info, info_span};
use tracing_subscriber::filter::LevelFilter;

use super::harness::{Row, row, same_trace};

/// Runs this on another thread, under the same subscriber.
pub(crate) fn on_another_thread(work: impl FnOnce() + Send) {
    let dispatch = tracing::dispatcher::get_default(Clone::clone);
    std::thread::scope(|scope| {
        scope.spawn(|| tracing::dispatcher::with_default(&dispatch, work));
    });
}

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row(
            "a span outside of all others is a root with ids that are not zero",
            || drop(info_span!("root")),
            |arrived| {
                let root = arrived.span("root");
                assert_eq!(root.parent_span_id, None);
                assert_eq!((root.trace_id.len(), root.span_id.len()), (32, 16));
                assert!(
                    root.trace_id.chars().any(|digit| digit != '0') && root.span_id.chars().any(|digit| digit != '0')
                );
            },
        ),
        row(
            "each root begins a trace",
            || {
                drop(info_span!("one"));
                drop(info_span!("two"));
            },
            |arrived| assert!(!same_trace(arrived.span("one"), arrived.span("two"))),
        ),
        row(
            "a span inside another one is its child",
            || info_span!("root").in_scope(|| info_span!("child").in_scope(|| drop(info_span!("grandchild")))),
            |arrived| {
                assert_eq!(arrived.parent_of("child").as_deref(), Some("root"));
                assert_eq!(arrived.parent_of("grandchild").as_deref(), Some("child"));
                assert!(same_trace(arrived.span("root"), arrived.span("grandchild")));
            },
        ),
        row(
            "an explicit parent wins over the current span",
            || {
                let elsewhere = info_span!("elsewhere");
                info_span!("here").in_scope(|| drop(info_span!(parent: &elsewhere, "child")));
            },
            |arrived| assert_eq!(arrived.parent_of("child").as_deref(), Some("elsewhere")),
        ),
        row(
            "a span that is told to have no parent is a root",
            || info_span!("here").in_scope(|| drop(info_span!(parent: None, "alone"))),
            |arrived| {
                assert_eq!(arrived.parent_of("alone"), None);
                assert!(!same_trace(arrived.span("alone"), arrived.span("here")));
            },
        ),
        row(
            "a parent by its id",
            || {
                let root = info_span!("root");
                drop(info_span!(parent: root.id(), "child"));
            },
            |arrived| assert_eq!(arrived.parent_of("child").as_deref(), Some("root")),
        ),
        row(
            "siblings have one parent and ids of their own",
            || info_span!("root").in_scope(|| (0..50).for_each(|_| drop(info_span!("sibling")))),
            |arrived| {
                let root = &arrived.span("root").span_id;
                let siblings: Vec<_> = arrived.spans.iter().filter(|span| span.name == "sibling").collect();
                let ids: std::collections::HashSet<_> = siblings.iter().map(|span| &span.span_id).collect();
                assert_eq!((siblings.len(), ids.len()), (50, 50));
                assert!(siblings.iter().all(|span| span.parent_span_id.as_ref() == Some(root)));
            },
        ),
        row(
            "a span entered on another thread has its children there",
            || {
                let root = info_span!("root");
                on_another_thread(|| root.in_scope(|| info_span!("child").in_scope(|| info!("said there"))));
            },
            |arrived| {
                assert_eq!(arrived.parent_of("child").as_deref(), Some("root"));
                assert!(arrived.is_in("said there", "child"));
            },
        ),
        row(
            "what is current on one thread is not on another",
            || info_span!("root").in_scope(|| on_another_thread(|| drop(info_span!("alone")))),
            |arrived| assert_eq!(arrived.parent_of("alone"), None),
        ),
        row(
            "one span entered by many threads at once",
            || {
                let root = info_span!("root");
                let dispatch = tracing::dispatcher::get_default(Clone::clone);
                std::thread::scope(|scope| {
                    for number in 0..8_i64 {
                        let (root, dispatch) = (&root, &dispatch);
                        scope.spawn(move || {
                            tracing::dispatcher::with_default(dispatch, || {
                                root.in_scope(|| drop(info_span!("child", number)));
                            });
                        });
                    }
                });
            },
            |arrived| {
                let root = &arrived.span("root").span_id;
                assert_eq!(arrived.spans.iter().filter(|span| span.parent_span_id.as_ref() == Some(root)).count(), 8);
            },
        ),
        row(
            "tasks that take turns on one thread do not mix",
            || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                runtime.block_on(async {
                    let task = |name: &'static str| {
                        async move {
                            for _ in 0..5 {
                                tokio::task::yield_now().await;
                                info_span!("child", otel.name = format!("below {name}")).in_scope(|| info!("{name}"));
                            }
                        }
                        .instrument(info_span!("task", otel.name = name))
                    };
                    tokio::join!(task("one"), task("two"));
                });
            },
            |arrived| {
                for name in ["one", "two"] {
                    let task = &arrived.span(name).span_id;
                    let below = format!("below {name}");
                    let children: Vec<_> = arrived.spans.iter().filter(|span| span.name == below).collect();
                    assert_eq!(children.len(), 5);
                    assert!(children.iter().all(|span| span.parent_span_id.as_ref() == Some(task)));
                }
            },
        ),
        row(
            "a future that moves between threads stays in its span",
            || {
                let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
                let dispatch = tracing::dispatcher::get_default(Clone::clone);
                let root = info_span!("root");
                let work = async {
                    for number in 0..20_i64 {
                        tokio::task::yield_now().await;
                        drop(info_span!("child", number));
                    }
                };
                let work = tracing::instrument::WithSubscriber::with_subscriber(work.instrument(root), dispatch);
                runtime.block_on(async { tokio::spawn(work).await.expect("a task") });
            },
            |arrived| {
                let root = &arrived.span("root").span_id;
                assert_eq!(arrived.spans.iter().filter(|span| span.parent_span_id.as_ref() == Some(root)).count(), 20);
            },
        ),
        row(
            "a child of a span that a filter hides is the child of the nearest exported one",
            || {
                info_span!("outer").in_scope(|| {
                    tracing::debug_span!("hidden").in_scope(|| {
                        info!("in hidden");
                        drop(info_span!("inner"));
                    });
                });
            },
            |arrived| {
                assert_eq!(arrived.spans.len(), 2);
                assert_eq!(arrived.parent_of("inner").as_deref(), Some("outer"));
                assert!(arrived.is_in("in hidden", "outer"));
            },
        )
        .span_filter(LevelFilter::INFO),
        row(
            "below a hidden root the first exported span is the root",
            || {
                tracing::debug_span!("hidden").in_scope(|| {
                    info!("nowhere");
                    info_span!("root").in_scope(|| info!("in root"));
                });
            },
            |arrived| {
                assert_eq!(arrived.parent_of("root"), None);
                assert_eq!(arrived.place_of_log("nowhere"), None);
                assert!(arrived.is_in("in root", "root"));
            },
        )
        .span_filter(LevelFilter::INFO),
        row(
            "the flags of a local child say that its parent is local and sampled",
            || info_span!("root").in_scope(|| drop(info_span!("child"))),
            |arrived| {
                assert_eq!(arrived.span("root").flags, 0x101);
                assert_eq!(arrived.span("child").flags, 0x101);
            },
        ),
        row(
            "a stack of 64 spans keeps its order",
            || {
                let spans: Vec<Span> = Vec::new();
                let mut entered: Vec<_> = spans.into_iter().map(Span::entered).collect();
                for depth in 0..64 {
                    entered.push(info_span!("level", otel.name = format!("{depth}")).entered());
                }
                info!("at the bottom");
                while let Some(span) = entered.pop() {
                    drop(span);
                }
            },
            |arrived| {
                for depth in 1..64 {
                    assert_eq!(arrived.parent_of(&depth.to_string()), Some((depth - 1).to_string()));
                }
                assert!(arrived.is_in("at the bottom", "63"));
            },
        ),
    ]
}
