//! What a capture shows, and what its assertions say.

use std::sync::Barrier;

use tracing::{Level, debug, error, info, info_span, warn};

use super::*;
use crate::{SpanExt as _, SpanKind, SpanStatus, propagation};

#[test]
fn a_line_has_the_fields_of_its_spans_its_own_first() {
    let telemetry = capture();
    info_span!("outer", customer = "ada", step = 1).in_scope(|| {
        info_span!("inner", step = 2).in_scope(|| info!(target: "shop::cart", left = 2.5, ok = true, "stock"));
    });
    let log = telemetry.logs().assert_one("stock").in_span("outer").in_span("inner").at_level(Level::INFO);
    let log = log.with("left", 2.5).with("ok", true).with("step", 2).with("customer", "ada");
    assert_eq!((log.spans.as_slice(), log.fields.len()), (["outer".to_owned(), "inner".to_owned()].as_slice(), 2));
    let spans = telemetry.spans();
    assert_eq!(log.trace.unwrap().span_id, spans.assert_one("inner").span_id);
    telemetry.logs().target("shop").assert_count(1);
    telemetry.logs().target("sho").assert_count(0);
    telemetry.logs().with("customer", "ada").in_span("outer").containing("toc").level(Level::INFO).assert_count(1);
}

#[test]
fn secrets_are_not_captured() {
    let telemetry = capture();
    info!(password = "hunter2", "signed in");
    telemetry.logs().assert_one("signed in").with("password", "[redacted]").outside_spans();
}

#[test]
fn what_is_said_of_a_span_at_run_time_is_there_while_it_is_open_and_afterwards() {
    let telemetry = capture();
    let other = info_span!("other");
    let span = info_span!("work", otel.name = "GET /", otel.kind = "server", late = tracing::field::Empty);
    span.record("late", 7);
    span.set_attribute("more", "text");
    span.add_link(other.trace_context().unwrap(), &[]);
    drop(other);
    let open = telemetry.spans().assert_one("GET /").with("late", 7).with("more", "text").of_kind(SpanKind::Server);
    assert_eq!((open.duration, open.links.len()), (None, 1));
    assert_eq!(open.links[0].1, telemetry.spans().assert_one("other").span_id);
    span.set_status(SpanStatus::Error, "no stock");
    drop(span);
    let closed = telemetry.spans().assert_one("GET /").ended().failed().is_root();
    assert_eq!(closed.status_description, "no stock");
    assert_eq!(telemetry.spans().to_string(), "other\nGET / late=7 more=text [server] [error: no stock] [1 link]\n");
}

#[test]
fn the_tree_has_children_in_the_order_in_which_they_began_and_each_event_in_its_span() {
    let telemetry = capture();
    let root = info_span!("root");
    let (first, second) = (info_span!(parent: &root, "first"), info_span!(parent: &root, "second", text = "two words"));
    second.in_scope(|| info_span!("below").in_scope(|| error!("it failed\nbadly")));
    root.in_scope(|| info!("at the root"));
    drop((first, second, root));
    info_span!("another").in_scope(|| ());
    assert_eq!(
        telemetry.spans().with_events().to_string(),
        "root\n  - INFO at the root\n  first\n  second text=\"two words\"\n    below\n      - ERROR it failed\\nbadly\nanother\n"
    );
    let spans = telemetry.spans();
    spans.assert_one("first").child_of(&spans.assert_one("root"));
    assert_eq!(spans.filter(|span| span.name != "second").to_string(), "root\n  first\nbelow\nanother\n");
}

#[test]
fn a_tree_of_any_depth_is_shown() {
    let telemetry = capture();
    let spans: Vec<_> = (0..5_000).map(|_| info_span!("deeper").entered()).collect();
    spans.into_iter().rev().for_each(drop);
    assert_eq!(telemetry.spans().to_string().lines().count(), 5_000);
}

#[test]
fn metrics_are_there_by_name_and_labels_with_every_sample() {
    let telemetry = capture();
    metrics::counter!("orders_total", "kind" => "web", "ok" => "true").increment(2);
    metrics::counter!("orders_total", "kind" => "app", "ok" => "true").increment(3);
    metrics::gauge!("open").set(2.0);
    metrics::gauge!("open").increment(0.5);
    metrics::histogram!("seconds", "path" => "/").record(2.0);
    metrics::histogram!("seconds", "path" => "/").record(1.0);
    let found = telemetry.metrics();
    found.assert_counter("orders_total", &[("kind", "web")], 2);
    found.assert_counter("orders_total", &[("ok", "true")], 5);
    found.assert_counter("orders_total", &[("ok", "false")], 0);
    found.assert_gauge("open", &[], 2.5);
    assert_eq!(found.histogram("seconds", &[]), [1.0, 2.0]);
    found.assert_histogram_count("seconds", &[("path", "/other")], 0);
    let text = "open 2.5\norders_total{kind=\"app\",ok=\"true\"} 3\norders_total{kind=\"web\",ok=\"true\"} 2\n\
        seconds{path=\"/\"} count=2 sum=3\n";
    assert_eq!(found.to_string(), text);
    // Looking at them takes nothing away.
    assert_eq!(telemetry.metrics().to_string(), text);
}

#[test]
fn captures_beside_each_other_see_nothing_of_each_other() {
    let together = Barrier::new(4);
    std::thread::scope(|scope| {
        for number in 0..4_u64 {
            let together = &together;
            scope.spawn(move || {
                together.wait();
                let telemetry = capture();
                for _ in 0..100 {
                    info_span!("work", number).in_scope(|| info!(number, "done"));
                    metrics::counter!("work_total").increment(1);
                }
                together.wait();
                telemetry.logs().assert_count(100);
                telemetry.logs().with("number", number).assert_count(100);
                telemetry
                    .spans()
                    .named("work")
                    .filter(|span| span.field("number") == Some(&number.into()))
                    .assert_count(100);
                telemetry.metrics().assert_counter("work_total", &[], 100);
            });
        }
    });
}

#[test]
fn a_capture_inside_another_takes_over_until_it_ends_and_nothing_is_captured_after_the_end() {
    let outer = capture();
    info!("first");
    {
        let inner = capture();
        info!("second");
        metrics::counter!("seen").increment(1);
        inner.logs().assert_one("second");
        inner.logs().assert_none("first");
    }
    info!("third");
    metrics::counter!("seen").increment(5);
    assert_eq!(outer.logs().to_string(), "INFO first\nINFO third\n");
    outer.metrics().assert_counter("seen", &[], 5);
    let handle = outer.handle();
    drop(outer);
    info!("nowhere");
    assert_eq!(handle.store.logs().len(), 2);
}

#[test]
fn threads_take_part_through_a_handle_and_leave_again() {
    let telemetry = capture();
    let handle = telemetry.handle();
    let span = info_span!("parent");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            {
                let _entered = handle.enter();
                info_span!(parent: &span, "child").in_scope(|| warn!("from the side"));
                metrics::counter!("side_total").increment(1);
            }
            info!("no longer");
        });
    });
    drop(span);
    telemetry.logs().assert_one("from the side").in_span("parent").in_span("child");
    telemetry.logs().assert_none("no longer");
    telemetry.metrics().assert_counter("side_total", &[], 1);
    assert_eq!(telemetry.spans().to_string(), "parent\n  child\n");
}

#[tokio::test]
async fn tasks_of_one_thread_are_captured() {
    use tracing::Instrument as _;
    let telemetry = capture();
    let task = async {
        tokio::task::yield_now().await;
        debug!("inside");
    };
    tokio::spawn(task.instrument(info_span!("task"))).await.unwrap();
    telemetry.logs().assert_one("inside").in_span("task").at_level(Level::DEBUG);
}

#[test]
fn headers_carry_the_captured_trace_and_a_span_below_them_is_its_child() {
    let telemetry = capture();
    let mut headers = http::HeaderMap::new();
    let client = info_span!("client");
    client.in_scope(|| propagation::inject(&mut headers));
    assert!(headers.get("traceparent").is_some());
    let server = info_span!("server");
    propagation::set_parent(&server, &headers).unwrap();
    drop((client, server));
    let spans = telemetry.spans();
    let server = spans.assert_one("server").child_of(&spans.assert_one("client"));
    assert!(server.has_remote_parent);
}

#[test]
fn clearing_leaves_what_is_open() {
    let telemetry = capture();
    info_span!("over").in_scope(|| info!("past"));
    let open = info_span!("open");
    telemetry.clear();
    info_span!(parent: &open, "next").in_scope(|| ());
    drop(open);
    telemetry.logs().assert_count(0);
    assert_eq!(telemetry.spans().to_string(), "open\n  next\n");
    telemetry.spans().assert_one("open").ended();
}

#[test]
fn an_assertion_that_fails_says_what_is_there() {
    let said = |check: &(dyn Fn() + std::panic::RefUnwindSafe)| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| ()));
        let said = std::panic::catch_unwind(check).unwrap_err();
        std::panic::set_hook(hook);
        said.downcast_ref::<String>().cloned().expect("a message")
    };
    let telemetry = capture();
    info!(left = 2, "stock is low");
    info_span!("checkout", step = 1).in_scope(|| ());
    let (logs, spans, metrics) = (telemetry.logs(), telemetry.spans(), telemetry.metrics());
    let checks: [(&(dyn Fn() + std::panic::RefUnwindSafe), &str); 6] = [
        (&|| drop(logs.assert_one("stock")), "no line says \"stock\" among 1:\nINFO stock is low left=2\n"),
        (&|| drop(logs.assert_one("stock is low").with("left", 3)), "`left` is 2, not 3, in: INFO stock is low left=2"),
        (
            &|| drop(logs.assert_one("stock is low").in_span("x")),
            "not in a span `x`, but in []: INFO stock is low left=2",
        ),
        (&|| drop(spans.assert_one("x")), "no span `x` among 1:\ncheckout step=1\n"),
        (&|| drop(spans.assert_one("checkout").with("y", 1)), "no field `y` in: checkout step=1"),
        (&|| metrics.assert_counter("x", &[], 1), "the counter `x` [] is 0, not 1:\n"),
    ];
    for (check, expected) in checks {
        assert_eq!(said(check), expected);
    }
}
