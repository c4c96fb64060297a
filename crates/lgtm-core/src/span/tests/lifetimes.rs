//! Spans over threads, exits out of order, layers that go, registries side by side, threads that export.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use tracing::dispatcher::with_default;
use tracing::{Span, info, info_span};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Registry, reload};

use super::support::*;
use crate::span::Role;
use crate::{current, suppressed};

#[test]
fn a_span_may_be_entered_recorded_and_closed_on_other_threads() {
    let (dispatch, log, _) = one(Probe::new(Role::Exporter));
    with_default(&dispatch, || {
        let span = info_span!("travels", late = tracing::field::Empty);
        let span = std::thread::spawn(move || {
            // No default dispatch here: the span has its own.
            span.in_scope(|| assert!(current::trace().is_some()));
            assert_eq!(current::trace(), None);
            span.record("late", 1);
            span
        })
        .join()
        .unwrap();
        let dispatch = dispatch.clone();
        std::thread::spawn(move || {
            with_default(&dispatch, || span.in_scope(|| drop(info_span!("child"))));
            drop(span);
        })
        .join()
        .unwrap();
    });
    assert_eq!(log.span("travels").field("late"), Some("Integer(1)"));
    assert_eq!(log.span("child").parent_span_id, log.span("travels").span_id);
    assert_eq!(store_of(&dispatch).open_records(), 0);
}

#[test]
fn the_current_trace_is_right_when_spans_are_left_out_of_order_and_entered_again() {
    let (dispatch, log, _) = one(Probe::new(Role::Exporter));
    with_default(&dispatch, || {
        let (outer, inner) = (info_span!("outer"), info_span!("inner"));
        let outer_guard = outer.enter();
        let inner_guard = inner.enter();
        let outer_again = outer.enter();
        info!("outer again");
        drop(outer_guard);
        info!("still outer again");
        drop(outer_again);
        info!("inner");
        drop(inner_guard);
        info!("outside");
    });
    let (outer, inner) = (log.span("outer").context, log.span("inner").context);
    assert_eq!(log.event("outer again").trace, outer);
    assert_eq!(log.event("inner").trace, inner);
    assert_eq!(log.event("outside").trace, None);
    assert_eq!(current::trace(), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Against the registry's own idea of what is current, where each span is entered once at a time.
    #[test]
    fn the_current_trace_is_that_of_the_last_span_entered_and_not_left(steps in prop::collection::vec((any::<bool>(), 0_usize..6), 0..60)) {
        let probes = [Role::Exporter, Role::Observer, Role::Observer].map(Probe::new);
        let attachment = Arc::clone(&probes[0].attachment);
        let dispatch = three(probes.map(|probe| (probe, everything())));
        with_default(&dispatch, || {
            let spans: Vec<_> = (0..6).map(|_| info_span!(parent: None, "span")).collect();
            let context = |span: &Span| attachment.with(id_of(span), |record| record.context()).flatten();
            let mut entered: Vec<usize> = Vec::new();
            for (enter, index) in steps {
                let place = entered.iter().position(|known| *known == index);
                match (enter, place) {
                    (true, None) => {
                        dispatch.enter(&spans[index].id().unwrap());
                        entered.push(index);
                    }
                    (false, Some(place)) => {
                        dispatch.exit(&spans[index].id().unwrap());
                        entered.remove(place);
                    }
                    _ => {}
                }
                assert_eq!(current::trace(), entered.last().and_then(|index| context(&spans[*index])));
                assert_eq!(Span::current().id(), entered.last().and_then(|index| spans[*index].id()));
            }
            for index in entered {
                dispatch.exit(&spans[index].id().unwrap());
            }
        });
        assert_eq!(current::trace(), None);
    }
}

#[test]
fn two_registries_on_one_thread_do_not_see_each_other() {
    let (outer, outer_log, _) = one(Probe::new(Role::Exporter));
    let (inner, inner_log, _) = one(Probe::new(Role::Exporter));
    with_default(&outer, || {
        info_span!("outer").in_scope(|| {
            with_default(&inner, || {
                drop(info_span!("a root of its own"));
                info!("inside");
                info_span!("inner").in_scope(|| {
                    with_default(&outer, || {
                        drop(info_span!("child"));
                        info!("of the outer one");
                    });
                });
            });
        });
    });
    assert!(inner_log.span("a root of its own").parent_span_id.is_zero());
    assert!(inner_log.span("inner").parent_span_id.is_zero());
    assert_eq!(inner_log.event("inside").trace, None);
    assert_eq!(outer_log.span("child").parent_span_id, outer_log.span("outer").span_id);
    assert_eq!(outer_log.event("of the outer one").trace, outer_log.span("outer").context);
    assert_eq!(current::trace(), None);
}

#[test]
fn a_registry_at_the_address_of_an_old_one_has_records_of_its_own() {
    for _ in 0..50 {
        let (dispatch, log, _) = one(Probe::new(Role::Exporter));
        with_default(&dispatch, || info_span!("root").in_scope(|| drop(info_span!("child"))));
        assert_eq!(log.closed().len(), 2);
        assert_eq!(log.span("child").parent_span_id, log.span("root").span_id);
    }
}

#[test]
fn a_thread_that_exports_is_not_seen_and_leaves_nothing_behind() {
    let (dispatch, log, _) = one(Probe::new(Role::Exporter));
    with_default(&dispatch, || {
        let span = info_span!("seen", late = tracing::field::Empty);
        let entered = span.clone().entered();
        let inside = suppressed(|| {
            info!("unseen");
            drop(info_span!("unseen"));
            span.record("late", 1);
            // Entered while seen, left while not; and the other way round.
            drop(entered);
            span.clone().entered()
        });
        assert_eq!(current::trace(), None);
        info!("outside");
        drop(inside);
        assert_eq!(current::trace(), None);
        suppressed(|| drop(span));
    });
    assert_eq!(log.closed().len(), 1);
    assert_eq!(log.span("seen").field("late"), None);
    assert_eq!(log.events().len(), 1);
    assert_eq!(log.event("outside").trace, None);
    assert_eq!(store_of(&dispatch).open_records(), 0);
}

#[test]
fn a_layer_that_goes_leaves_no_records_and_no_current_trace_behind() {
    let staying = Probe::new(Role::Observer);
    let log = Arc::clone(&staying.log);
    let going = Probe::new(Role::Exporter);
    let (layer, handle) = reload::Layer::new(Some(going));
    let dispatch = tracing::Dispatch::new(Registry::default().with(staying).with(layer));
    with_default(&dispatch, || {
        // An `Option` does not forward `on_register_dispatch`: this attaches it to the registry all the same.
        handle.with_current(|layer| layer.as_ref().unwrap().attachment.register(&dispatch)).unwrap();
        let spans: Vec<_> = (0..5000).map(|_| info_span!("span")).collect();
        let entered = spans[0].clone().entered();
        handle.modify(|layer| drop(layer.take())).unwrap();
        info!("inside");
        drop(info_span!("child"));
        drop(entered);
        assert_eq!(current::trace(), None);
        drop(spans);
    });
    assert_eq!(log.closed().len(), 5001, "the other layer sees them all close");
    assert_eq!(log.event("inside").trace.unwrap().trace_id, log.span("child").trace_id);
    assert_eq!(store_of(&dispatch).open_records(), 0);
}

#[test]
fn spans_of_layers_that_are_all_gone_are_freed_with_the_store() {
    let (layer, handle) = reload::Layer::new(Some(Probe::new(Role::Exporter)));
    let dispatch = tracing::Dispatch::new(Registry::default().with(layer));
    handle.with_current(|layer| layer.as_ref().unwrap().attachment.register(&dispatch)).unwrap();
    let store = Arc::downgrade(&store_of(&dispatch));
    with_default(&dispatch, || {
        let span = info_span!("span");
        handle.modify(|layer| drop(layer.take())).unwrap();
        assert!(store.upgrade().is_none());
        drop(span);
    });
    assert!(crate::span::find_store(&dispatch).is_none());
}

#[test]
fn records_stay_consistent_under_many_threads() {
    const THREADS: u64 = 8;
    const ROUNDS: u64 = 400;
    let probes = [Role::Observer, Role::Exporter, Role::Observer].map(Probe::new);
    let logs = [0, 1, 2].map(|index: usize| Arc::clone(&probes[index].log));
    let attachment = Arc::clone(&probes[0].attachment);
    let dispatch = three(probes.map(|probe| (probe, everything())));
    let created = AtomicU64::new(0);
    // Spans wander from thread to thread, are recorded, entered and closed there.
    let (sender, receiver) = std::sync::mpsc::channel::<Span>();
    let receiver = parking_lot::Mutex::new(receiver);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (dispatch, created, attachment) = (&dispatch, &created, &attachment);
            let (sender, receiver) = (sender.clone(), &receiver);
            scope.spawn(move || {
                with_default(dispatch, || {
                    let mut random = fastrand::Rng::with_seed(thread);
                    for round in 0..ROUNDS {
                        let root = info_span!("root", thread, round, late = tracing::field::Empty);
                        created.fetch_add(1, Ordering::Relaxed);
                        root.in_scope(|| {
                            for _ in 0..random.u32(0..4) {
                                let child = info_span!("child", thread, round, late = tracing::field::Empty);
                                created.fetch_add(1, Ordering::Relaxed);
                                child.in_scope(|| {
                                    info!(thread, round, "line");
                                    let _ = Probe::text(attachment, id_of(&child));
                                });
                                if random.bool() {
                                    sender.send(child).unwrap();
                                }
                            }
                        });
                        root.record("late", round);
                        let next = receiver.lock().try_recv();
                        if let Ok(wanderer) = next {
                            wanderer.record("late", 1);
                            wanderer.in_scope(|| drop(info_span!("grandchild")));
                            created.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            });
        }
    });
    // A registry closes the parent of a span by way of the thread's own dispatch.
    with_default(&dispatch, || drop(receiver));
    assert_eq!(store_of(&dispatch).open_records(), 0);
    for log in &logs {
        let closed = log.closed();
        assert_eq!(closed.len() as u64, created.load(Ordering::Relaxed));
        let by_id: std::collections::HashMap<_, _> = closed.iter().map(|span| (span.span_id, span)).collect();
        assert_eq!(by_id.len(), closed.len(), "span ids are unique");
        for span in closed.iter() {
            match (span.name.as_str(), by_id.get(&span.parent_span_id)) {
                ("root", None) => assert!(span.field("late").is_some()),
                ("child", Some(parent)) => {
                    assert_eq!((parent.name.as_str(), parent.trace_id), ("root", span.trace_id));
                    assert_eq!(parent.field("thread"), span.field("thread"));
                    assert_eq!(parent.field("round"), span.field("round"));
                }
                ("grandchild", Some(parent)) => {
                    assert_eq!((parent.name.as_str(), parent.trace_id), ("child", span.trace_id));
                }
                (name, parent) => panic!("{name} under {parent:?}"),
            }
        }
        for event in log.events().iter() {
            let span = by_id[&event.trace.unwrap().span_id];
            assert_eq!((span.name.as_str(), span.id), ("child", event.span));
            for (name, value) in &event.fields {
                assert_eq!(span.field(name), Some(value.as_str()));
            }
        }
    }
    let sorted = |log: &Log| {
        let mut closed = log.closed().clone();
        closed.sort_by_key(|span| span.span_id.to_bytes());
        closed
    };
    assert_eq!(sorted(&logs[0]), sorted(&logs[1]));
    assert_eq!(sorted(&logs[0]), sorted(&logs[2]));
}
