//! The keep rules: what the sampler leaves out is kept whole if it fails or is slow, and says why.

use std::time::Duration;

use lgtm_core::Sampler;
use lgtm_core::propagation::RemoteParent;
use lgtm_core::sampler::Root;
use lgtm_core::span::{KeepRules, SpanExt as _};
use lgtm_devstack::Span;
use lgtm_tests::capture::{Captured, capture, capture_on, place_of};
use lgtm_tests::signals::{Order, Settings};
use tracing::{error, info, info_span};

use super::{lines, settings};

/// Nothing is sampled; what fails is kept.
fn failures() -> Settings {
    let mut settings = settings();
    settings.sampler = Sampler::AlwaysOff;
    settings.tempo = |builder| builder.keep(rules(None));
    settings
}

fn rules(slower_than: Option<Duration>) -> KeepRules {
    let mut rules = KeepRules::default();
    rules.slower_than = slower_than;
    rules
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    let wanted = format!("{name} = ");
    lines(&span.attributes).lines().find_map(|line| line.trim().strip_prefix(&wanted).map(str::to_owned))
}

fn names(captured: &Captured) -> Vec<&str> {
    let mut names = captured.span_names();
    names.sort_unstable();
    names
}

#[test]
fn a_failure_keeps_the_whole_local_trace_in_every_order_of_the_layers() {
    for order in Order::ALL {
        let captured = capture_on(
            &failures(),
            |layers| layers.dispatch(order),
            || {
                let _request = info_span!("request").entered();
                drop(info_span!("before"));
                info_span!("failing").in_scope(|| error!("it broke"));
                drop(info_span!("after"));
            },
        );
        assert_eq!(names(&captured), ["after", "before", "failing", "request"], "{order:?}");
        let request = captured.span("request");
        for span in &captured.spans {
            assert_eq!(span.trace_id, request.trace_id);
            assert_eq!(attribute(span, "lgtm.sampling.reason").as_deref(), Some("String(\"error\")"));
            assert_eq!(attribute(span, "lgtm.sampling.probability").as_deref(), Some("Double(1.0)"));
            assert_eq!(span.flags & 1, 0, "the head sampler has said no");
        }
        assert_eq!(captured.span("failing").events.len(), 1);
        assert_eq!(captured.span("failing").parent_span_id.as_deref(), Some(place_of(request).1));
        let line = captured.log("it broke");
        assert_eq!(line.structured_metadata["trace_sampled"], "undecided");
        assert_eq!(line.structured_metadata["trace_id"], request.trace_id);
    }
}

#[test]
fn a_trace_in_which_nothing_fails_is_left_out() {
    let captured = capture(&failures(), || {
        info_span!("request").in_scope(|| info_span!("query").in_scope(|| info!("fine")));
        info_span!("failing").in_scope(|| error!("no"));
    });
    assert_eq!(captured.span_names(), ["failing"]);
    assert_eq!(captured.logs.len(), 2, "logs see everything");
}

#[test]
fn a_slow_local_root_keeps_its_trace_and_a_fast_one_does_not() {
    let mut settings = settings();
    settings.sampler = Sampler::ParentBased(Root::AlwaysOff);
    settings.tempo = |builder| builder.keep(rules(Some(Duration::from_millis(30))));
    let captured = capture(&settings, || {
        // Only the local root counts, and every trace on its own.
        info_span!("slow").in_scope(|| {
            drop(info_span!("query"));
            std::thread::sleep(Duration::from_millis(31));
        });
    });
    assert_eq!(names(&captured), ["query", "slow"]);
    assert_eq!(attribute(captured.span("query"), "lgtm.sampling.reason").as_deref(), Some("String(\"slow\")"));
    settings.tempo = |builder| builder.keep(rules(Some(Duration::from_secs(3600))));
    let captured = capture(&settings, || drop(info_span!("fast").entered()));
    assert_eq!(captured.span_names(), Vec::<&str>::new());
}

#[test]
fn a_child_that_outlives_its_root_holds_the_decision_open() {
    // A registry closes no span before its children.
    let captured = capture(&failures(), || {
        let child = info_span!("request").in_scope(|| info_span!("child"));
        child.in_scope(|| error!("later than the root was left"));
        drop(child);
        drop(info_span!("fine").in_scope(|| info_span!("child of fine")));
    });
    assert_eq!(names(&captured), ["child", "request"]);
}

#[test]
fn two_local_roots_of_one_trace_are_decided_apart() {
    const REMOTE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let mut settings = failures();
    settings.sampler = Sampler::default();
    let captured = capture(&settings, || {
        let parent = RemoteParent::parse(REMOTE).expect("a parent");
        let roots = ["fine", "failing"].map(|name| {
            let root = info_span!("local root", otel.name = name);
            root.set_remote_parent(&parent).expect("a new span");
            root
        });
        roots[1].in_scope(|| error!("failed"));
    });
    assert_eq!(captured.span_names(), ["failing"]);
    let failing = captured.span("failing");
    assert_eq!(failing.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(failing.parent_span_id.as_deref(), Some("00f067aa0ba902b7"));
    assert_eq!(attribute(failing, "lgtm.sampling.reason").as_deref(), Some("String(\"error\")"));
}

#[test]
fn a_trace_that_grows_too_large_is_decided_at_once_by_what_is_known() {
    let mut settings = failures();
    settings.tempo = |builder| {
        let mut rules = rules(None);
        rules.trace_bytes = 2000;
        builder.keep(rules)
    };
    let captured = capture(&settings, || {
        info_span!("large").in_scope(|| {
            for _ in 0..50 {
                drop(info_span!("child of large"));
            }
            error!("after it was left out");
        });
        info_span!("failed early").in_scope(|| {
            error!("before it grows");
            info_span!("failing").in_scope(|| error!("this span has failed"));
            for _ in 0..50 {
                drop(info_span!("child of failed"));
            }
        });
    });
    let count = |name: &str| captured.span_names().iter().filter(|known| **known == name).count();
    assert_eq!((count("large"), count("child of large")), (0, 0));
    assert_eq!((count("failed early"), count("failing"), count("child of failed")), (1, 1, 50));
}

#[test]
fn what_waits_at_the_end_of_the_program_is_decided_then() {
    let mut open = Vec::new();
    let captured = capture(&failures(), || {
        let root = info_span!("never closed");
        root.in_scope(|| info_span!("failing").in_scope(|| error!("failed")));
        open.push(root);
        let root = info_span!("never closed either");
        root.in_scope(|| drop(info_span!("fine")));
        open.push(root);
    });
    assert_eq!(captured.span_names(), ["failing"]);
}

#[test]
fn a_sampled_span_says_its_probability_and_a_failed_one_is_certain() {
    let mut settings = settings();
    settings.sampler = Sampler::ParentBased(Root::TraceIdRatio(0.5));
    let captured = capture(&settings, || (0..100).for_each(|_| drop(info_span!("request"))));
    assert!(!captured.spans.is_empty());
    for span in &captured.spans {
        assert_eq!(attribute(span, "lgtm.sampling.probability").as_deref(), Some("Double(0.5)"));
        assert_eq!(attribute(span, "lgtm.sampling.reason"), None);
    }
    settings.tempo = |builder| builder.keep(rules(None));
    let captured = capture(&settings, || {
        for _ in 0..100 {
            drop(info_span!("request"));
            info_span!("failing").in_scope(|| error!("no"));
        }
    });
    let failing = captured.spans.iter().filter(|span| span.name == "failing");
    assert_eq!(failing.clone().count(), 100);
    for span in failing {
        assert_eq!(attribute(span, "lgtm.sampling.probability").as_deref(), Some("Double(1.0)"));
    }
    let requests = captured.spans.iter().filter(|span| span.name == "request");
    assert!((10..90).contains(&requests.clone().count()));
    for span in requests {
        assert_eq!(attribute(span, "lgtm.sampling.probability").as_deref(), Some("Double(0.5)"));
        assert_eq!(span.flags & 1, 1);
    }
}
