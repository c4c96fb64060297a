//! A `Debug` implementation is user code: it may open spans and log while an event or a span is formatted. That works under a
//! subscriber of the whole process; within a scope `tracing` itself keeps such events away.

#![allow(clippy::expect_used, reason = "a failed step fails the test, also in its helpers")]

use std::fmt;

use insta::assert_snapshot;
use lgtm_devstack::Devstack;
use lgtm_tests::capture::{Captured, place_of};
use lgtm_tests::signals::{PATIENCE, Settings, set_for_process};
use tracing::{info, info_span};

struct Chatty;

impl fmt::Debug for Chatty {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _inner = info_span!("formatting", depth = 2).entered();
        info!(inner = 1, "while formatting");
        formatter.write_str("chatty")
    }
}

#[test]
fn a_debug_implementation_that_logs_gives_two_whole_lines() {
    let stack = Devstack::start_blocking().expect("a development stack");
    let (layers, pipelines) = Settings::of("reentrancy").start(&stack);
    set_for_process(layers);
    {
        let _span = info_span!("request", depth = 1, who = ?Chatty).entered();
        info!(before = 1, value = ?Chatty, after = 2, "outer");
    }
    for report in pipelines.shutdown(PATIENCE) {
        assert_eq!(report.delivered, report.admitted, "{report}");
    }
    let captured = Captured { logs: stack.store().logs(), spans: stack.store().spans() };

    let mut entries = captured.logs.clone();
    entries.sort_by_key(|entry| entry.timestamp_ns);
    let lines: Vec<&str> = entries.iter().map(|entry| entry.line.as_str()).collect();
    // The first one comes before the span is open.
    assert_snapshot!(lines.join("\n"), @r#"
    {"message":"while formatting","level":"info","target":"reentrancy","inner":1,"depth":2,"spans":["formatting"]}
    {"message":"while formatting","level":"info","target":"reentrancy","inner":1,"depth":2,"who":"chatty","spans":["request","formatting"]}
    {"message":"outer","level":"info","target":"reentrancy","before":1,"value":"chatty","after":2,"depth":1,"who":"chatty","spans":["request"]}
    "#);
    let request = captured.span("request");
    let names: Vec<&str> = request.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["outer"]);
    assert_eq!(captured.place_of_log("outer"), Some(place_of(request)));
    let nested: Vec<_> = captured.spans.iter().filter(|span| span.name == "formatting").collect();
    let parents: Vec<_> = nested.iter().map(|span| span.parent_span_id.as_deref()).collect();
    assert_eq!(parents, [None, Some(request.span_id.as_str())]);
    assert!(nested.iter().all(|span| span.events.len() == 1), "each has its own event");
}
