//! Ids and parents: the same for all layers, in whatever order, and right where some layers do not see some spans.

use std::sync::Arc;

use tracing::dispatcher::with_default;
use tracing::{Span, error, info, info_span};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer, Registry};

use super::support::*;
use crate::ids::SpanId;
use crate::propagation::{RemoteParent, set_remote_parent};
use crate::sampler::{Root, Sampler};
use crate::span::{Role, SetParentError, SpanKind, Status};
use crate::{current, propagation};

const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// An exporter and two observers in each order: the dispatch, and the logs with the exporter's first.
fn in_every_order(test: impl Fn(&tracing::Dispatch, [Arc<Log>; 3])) {
    for order in ORDERS {
        let roles = [Role::Exporter, Role::Observer, Role::Observer];
        let probes = roles.map(Probe::new);
        let logs = [0, 1, 2].map(|index: usize| Arc::clone(&probes[index].log));
        let mut probes = probes.map(Some);
        let layers = order.map(|index| {
            let filter = if index == 0 { not_hidden() } else { everything() };
            (probes[index].take().unwrap(), filter)
        });
        let dispatch = three(layers);
        with_default(&dispatch, || test(&dispatch, logs));
        assert_eq!(store_of(&dispatch).open_records(), 0, "records are left behind");
    }
}

#[test]
fn layers_in_every_order_see_the_same_ids_parents_and_times() {
    in_every_order(|_, logs| {
        let root = info_span!("root", order = 7);
        root.in_scope(|| {
            info!("in the root");
            let child = info_span!("child");
            child.in_scope(|| info_span!("grandchild").in_scope(|| error!("deep")));
            drop(info_span!(parent: &root, "explicit"));
            drop(info_span!(parent: None, "other root"));
        });
        drop(root);

        let [exporter, ..] = &logs;
        assert_eq!(exporter.closed().len(), 5);
        for log in &logs {
            assert_eq!(log.closed(), exporter.closed());
            assert_eq!(log.events(), exporter.events());
        }
        let (root, child) = (exporter.span("root"), exporter.span("child"));
        let (grandchild, explicit) = (exporter.span("grandchild"), exporter.span("explicit"));
        assert_eq!(root.parent_span_id, SpanId::ZERO);
        assert_eq!(child.parent_span_id, root.span_id);
        assert_eq!(grandchild.parent_span_id, child.span_id);
        assert_eq!(explicit.parent_span_id, root.span_id);
        for span in [&child, &grandchild, &explicit] {
            assert_eq!(span.trace_id, root.trace_id);
            assert!(span.start >= root.start && span.end <= root.end && span.start <= span.end);
        }
        let other = exporter.span("other root");
        assert!(other.parent_span_id.is_zero() && other.trace_id != root.trace_id);
        assert_eq!(exporter.event("deep").trace, grandchild.context);
        assert_eq!(exporter.event("deep").span, grandchild.id);
        assert_eq!(grandchild.context.unwrap().span_id, grandchild.span_id);
    });
}

#[test]
fn a_span_that_is_not_exported_is_replaced_by_its_nearest_exported_ancestor() {
    in_every_order(|_, [exporter, observer, _]| {
        let root = info_span!("root").entered();
        let hidden = info_span!(target: "hidden", "hidden").entered();
        let deeper = info_span!(target: "hidden", "deeper").entered();
        info!("hidden line");
        let at_hidden = current::trace();
        let child = info_span!("child").entered();
        info!("child line");
        drop((child, deeper, hidden, root));

        let (root, child) = (exporter.span("root"), exporter.span("child"));
        assert_eq!(child.parent_span_id, root.span_id, "no dangling parent");
        assert_eq!(exporter.closed().len(), 2);
        let hidden = observer.span("deeper");
        assert_eq!((hidden.trace_id, hidden.context), (root.trace_id, root.context));
        assert_eq!(at_hidden, root.context);
        for log in [&exporter, &observer] {
            assert_eq!(log.event("hidden line").trace, root.context);
            assert_eq!(log.event("child line").trace, child.context);
        }
        assert_eq!(observer.event("hidden line").span, hidden.id, "its fields are of the span itself");
    });
}

#[test]
fn a_root_that_is_not_exported_is_nobodys_parent() {
    in_every_order(|_, [exporter, observer, _]| {
        let hidden = info_span!(target: "hidden", "hidden").entered();
        info!("outside of what is exported");
        assert_eq!(current::trace(), None);
        drop(info_span!("child"));
        drop(hidden);
        let (child, hidden) = (exporter.span("child"), observer.span("hidden"));
        assert!(child.parent_span_id.is_zero());
        assert_eq!(child.trace_id, hidden.trace_id);
        assert_eq!(hidden.context, None);
        assert_eq!(observer.event("outside of what is exported").trace, None);
    });
}

/// A layer that is none of ours, and wants every span.
struct Onlooker;

impl<S: tracing::Subscriber> Layer<S> for Onlooker {}

#[test]
fn a_child_of_a_span_that_no_layer_sees_belongs_to_the_nearest_one_that_is_seen() {
    let probe = Probe::new(Role::Exporter);
    let log = Arc::clone(&probe.log);
    let layers = Registry::default().with(probe.with_filter(not_hidden())).with(Onlooker);
    let dispatch = tracing::Dispatch::new(layers);
    with_default(&dispatch, || {
        let root = info_span!("root");
        let hidden = info_span!(target: "hidden", parent: &root, "hidden");
        drop(info_span!(parent: &hidden, "explicit"));
        assert!(!hidden.is_disabled());
        root.in_scope(|| hidden.in_scope(|| drop(info_span!("contextual"))));
    });
    let root = log.span("root");
    assert_eq!(log.span("explicit").parent_span_id, root.span_id);
    assert_eq!(log.span("contextual").parent_span_id, root.span_id);
}

#[test]
fn without_an_exporter_every_span_counts() {
    let (dispatch, log, _) = one(Probe::new(Role::Observer));
    with_default(&dispatch, || info_span!("root").in_scope(|| drop(info_span!("child"))));
    assert_eq!(log.span("child").parent_span_id, log.span("root").span_id);
    assert!(log.span("root").context.is_some());
}

#[test]
fn fields_become_attributes_and_those_of_opentelemetry_describe_the_span() {
    in_every_order(|_, logs| {
        let span = info_span!(
            "callsite",
            text = "a",
            flag = true,
            integer = -5,
            large = u64::MAX,
            double = 1.5,
            debug = ?Some(1),
            late = tracing::field::Empty,
            otel.name = "GET /",
            otel.kind = "server",
        );
        span.record("late", "first").record("late", "second").record("text", "b");
        span.record("otel.name", "GET /{id}");
        drop(span);
        for log in &logs {
            let span = log.span("GET /{id}");
            assert_eq!(span.kind, SpanKind::Server);
            let fields: Vec<_> = span.fields.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            assert_eq!(
                fields,
                [
                    ("flag", "Bool(true)"),
                    ("integer", "Integer(-5)"),
                    ("large", "18446744073709551615"),
                    ("double", "Double(1.5)"),
                    ("debug", "Some(1)"),
                    ("late", "second"),
                    ("text", "b"),
                ]
            );
        }
    });
}

#[test]
fn the_status_that_a_program_sets_follows_opentelemetrys_rules() {
    let (dispatch, log, _) = one(Probe::new(Role::Exporter));
    let status = |log: &Log, name: &str| (log.span(name).status, log.span(name).status_description);
    with_default(&dispatch, || {
        let empty = tracing::field::Empty;
        drop(info_span!("described first", otel.status_description = "why", otel.status_code = "ERROR"));
        let span = info_span!("ok is final", otel.status_code = "Ok", otel.status_description = empty);
        span.record("otel.status_code", "error").record("otel.status_description", "late");
        drop(span);
        let span = info_span!("late error", otel.status_code = empty, otel.status_message = empty);
        span.record("otel.status_message", "why").record("otel.status_code", "error");
        drop(span);
        drop(info_span!("unknown", otel.status_code = "fine", otel.kind = "sideways"));
    });
    assert_eq!(status(&log, "described first"), (Status::Error, "why".to_owned()));
    assert_eq!(status(&log, "ok is final"), (Status::Ok, String::new()));
    assert_eq!(status(&log, "late error"), (Status::Error, "why".to_owned()));
    let unknown = log.span("unknown");
    assert_eq!((unknown.status, unknown.kind), (Status::Unset, SpanKind::Internal));
    assert_eq!((unknown.field("otel.status_code"), unknown.field("otel.kind")), (Some("fine"), Some("sideways")));
}

fn remote(sampled: bool) -> RemoteParent {
    RemoteParent::parse(&format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0{}", u8::from(sampled)))
        .unwrap()
}

#[test]
fn a_root_becomes_the_child_of_a_remote_span_and_takes_over_its_decision() {
    in_every_order(|_, [exporter, observer, _]| {
        for sampled in [true, false] {
            let mut parent = remote(sampled);
            parent.trace_state = Some("vendor=1".into());
            let root = info_span!("root");
            assert_eq!(set_remote_parent(&root, &parent), Ok(()));
            root.in_scope(|| drop(info_span!("child")));
            drop(root);
            for log in [&exporter, &observer] {
                let (root, child) = (log.span("root"), log.span("child"));
                assert_eq!((root.trace_id, root.parent_span_id), (parent.trace_id, parent.span_id));
                assert!(root.remote_parent && !child.remote_parent);
                assert_eq!((child.trace_id, child.parent_span_id), (parent.trace_id, root.span_id));
                assert_eq!((root.sampled, child.sampled), (sampled, sampled));
                assert_eq!(child.trace_state.as_deref(), Some("vendor=1"));
            }
        }
    });
}

#[test]
fn below_a_root_that_is_not_exported_the_remote_span_is_the_parent() {
    in_every_order(|_, [exporter, observer, _]| {
        let parent = remote(true);
        let root = info_span!(target: "hidden", "root");
        set_remote_parent(&root, &parent).unwrap();
        root.in_scope(|| {
            info!("line");
            drop(info_span!("child"));
        });
        drop(root);
        let child = exporter.span("child");
        assert_eq!(
            (child.trace_id, child.parent_span_id, child.remote_parent),
            (parent.trace_id, parent.span_id, true)
        );
        assert_eq!(observer.event("line").trace.unwrap().span_id, parent.span_id);
    });
}

#[test]
fn a_parent_set_while_the_span_is_entered_is_current_at_once() {
    let (dispatch, log, _) = one(Probe::new(Role::Exporter));
    with_default(&dispatch, || {
        let root = info_span!("root").entered();
        set_remote_parent(&root, &remote(true)).unwrap();
        assert_eq!(current::trace().unwrap().trace_id, remote(true).trace_id);
        info!("line");
    });
    assert_eq!(log.event("line").trace, log.span("root").context);
}

#[test]
fn a_parent_that_comes_too_late_is_an_error_and_changes_nothing() {
    in_every_order(|_, [exporter, ..]| {
        let parent = remote(true);
        let with_child = info_span!("with child");
        drop(info_span!(parent: &with_child, "child"));
        assert_eq!(set_remote_parent(&with_child, &parent), Err(SetParentError::InUse));
        drop(with_child);
        assert_ne!(exporter.span("with child").trace_id, parent.trace_id);
        assert_eq!(exporter.span("child").parent_span_id, exporter.span("with child").span_id);

        let injected = info_span!("injected");
        let mut headers = http::HeaderMap::new();
        injected.in_scope(|| propagation::inject(&mut headers));
        assert_eq!(set_remote_parent(&injected, &parent), Err(SetParentError::InUse));
        drop(injected);
        let sent = propagation::extract(&headers).unwrap();
        assert_eq!(
            Some((sent.trace_id, sent.span_id)),
            exporter.span("injected").context.map(|c| (c.trace_id, c.span_id))
        );

        info_span!("outer").in_scope(|| {
            let inner = info_span!("inner");
            assert_eq!(set_remote_parent(&inner, &parent), Err(SetParentError::HasLocalParent));
        });
        assert_eq!(set_remote_parent(&Span::none(), &parent), Err(SetParentError::UnknownSpan));
    });
}

#[test]
fn a_span_that_was_shown_stays_in_use_whatever_other_spans_do() {
    // So many spans share places in the store: what one of them has shown must not be forgotten for another.
    let (dispatch, _, attachment) = one(Probe::new(Role::Exporter));
    with_default(&dispatch, || {
        let spans: Vec<_> = (0..10_000).map(|_| info_span!("span")).collect();
        spans.iter().for_each(|span| attachment.expose(id_of(span)));
        for span in &spans {
            assert_eq!(set_remote_parent(span, &remote(true)), Err(SetParentError::InUse));
        }
        drop(spans);
        let fresh: Vec<_> = (0..10_000).map(|_| info_span!("span")).collect();
        for span in &fresh {
            assert_eq!(set_remote_parent(span, &remote(true)), Ok(()));
        }
    });
}

#[test]
fn headers_go_out_with_the_innermost_span_that_is_exported_and_its_trace_state() {
    in_every_order(|_, [exporter, ..]| {
        let mut incoming = http::HeaderMap::new();
        incoming.insert("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00".parse().unwrap());
        incoming.insert("tracestate", "vendor=1".parse().unwrap());
        let mut outgoing = http::HeaderMap::new();
        let root = info_span!("root");
        propagation::set_parent(&root, &incoming).unwrap();
        root.in_scope(|| {
            info_span!(target: "hidden", "hidden").in_scope(|| propagation::inject(&mut outgoing));
        });
        drop(root);
        let sent = propagation::extract(&outgoing).unwrap();
        assert_eq!(sent.span_id, exporter.span("root").span_id);
        assert_eq!((sent.trace_id, sent.sampled), (remote(false).trace_id, false));
        assert_eq!(sent.trace_state.as_deref(), Some("vendor=1"));

        propagation::inject(&mut outgoing);
        assert_eq!(propagation::extract(&outgoing), Some(sent), "outside all spans nothing changes");
    });
}

#[test]
fn the_sampler_decides_once_for_a_trace() {
    let sampler = Sampler::ParentBased(Root::TraceIdRatio(0.5));
    let (dispatch, log, _) = one(Probe::sampled(Role::Exporter, Some(sampler.clone())));
    with_default(&dispatch, || {
        for _ in 0..200 {
            info_span!("root").in_scope(|| drop(info_span!("child")));
            let (root, child) = (log.span("root"), log.span("child"));
            assert_eq!(root.sampled, sampler.decide(root.trace_id, None));
            assert_eq!(child.sampled, root.sampled);
            assert_eq!(child.context.unwrap().sampled, root.sampled);
        }
    });
    let sampled = log.closed().iter().filter(|span| span.sampled).count();
    assert!((60..340).contains(&sampled), "{sampled} of 400");
}
