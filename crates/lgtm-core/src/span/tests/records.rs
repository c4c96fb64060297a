//! The record's bounds, and the store's places for it.

use tracing::dispatcher::with_default;
use tracing::{Span, info_span};
use tracing_core::span::{Attributes, Id};

use super::support::*;
use crate::ids::SpanId;
use crate::span::EventFields;
use crate::span::Role;
use crate::span::store::SpanStore;

#[test]
fn twenty_thousand_open_spans_have_a_record_each() {
    let (dispatch, log, attachment) = one(Probe::new(Role::Exporter));
    with_default(&dispatch, || {
        let root = info_span!("root");
        let mut spans: Vec<Option<Span>> = (0..20_000)
            .map(|number| Some(info_span!(parent: &root, "span", number, late = tracing::field::Empty)))
            .collect();
        for (number, span) in spans.iter().flatten().enumerate() {
            span.record("late", number * 2);
            let own = attachment.with(id_of(span), |record| fields_of(&record.attributes)[0].1.clone());
            assert_eq!(own, Some(format!("Integer({number})")));
        }
        // In an order unlike that of their opening.
        for index in 0..spans.len() {
            spans[index * 7919 % 20_000] = None;
        }
    });
    let root = log.span("root").span_id;
    let closed = log.closed();
    let mut numbers: Vec<u64> = Vec::new();
    for span in closed.iter().filter(|span| span.name == "span") {
        assert_eq!(span.parent_span_id, root);
        let integer = |name| -> u64 {
            let text = span.field(name).unwrap();
            text.trim_start_matches("Integer(").trim_end_matches(')').parse().unwrap()
        };
        numbers.push(integer("number"));
        assert_eq!(integer("late"), 2 * integer("number"));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..20_000).collect::<Vec<_>>());
    assert_eq!(store_of(&dispatch).open_records(), 0);
}

#[test]
fn too_many_or_too_large_attributes_are_cut_and_counted() {
    let (dispatch, log, attachment) = one(Probe::new(Role::Exporter));
    let limits = attachment.limits();
    let large = "é".repeat(limits.value_bytes);
    let cut = with_default(&dispatch, || {
        let span = info_span!("large", first = large, second = large, third = 3, late = tracing::field::Empty);
        span.record("late", large.as_str());
        drop(span);
        let span = log.span("large");
        assert_eq!(span.dropped_attributes, 2, "two do not fit beside the first");
        assert_eq!(span.field("third"), Some("Integer(3)"), "what is small still fits");
        span.field("first").unwrap().to_owned()
    });
    assert!(cut.len() <= limits.value_bytes && cut.len() > limits.value_bytes - 2 && large.starts_with(&cut));
}

#[test]
fn a_late_value_replaces_the_old_one_at_the_limit_and_new_ones_are_counted() {
    use crate::span::SpanRecord;
    use crate::span::fields::{FieldVisitor, SPAN_ATTRIBUTE, VisitLimits, Visited};
    use tracing_core::field::Visit as _;

    let (dispatch, ..) = one(Probe::new(Role::Exporter));
    let span = with_default(&dispatch, || info_span!("fields", a = 0, b = 0, c = 0, d = 0, e = 0));
    let fields = span.metadata().unwrap().fields();
    let limits = VisitLimits { attributes: 3, value_bytes: 100, bytes: 1000 };
    let visit = |names: &[&str], value: i64| {
        let mut visited = Visited::default();
        let mut visitor = FieldVisitor { visited: &mut visited, tag: SPAN_ATTRIBUTE, limits };
        names.iter().for_each(|name| visitor.record_i64(&fields.field(name).unwrap(), value));
        visited
    };
    let mut record = SpanRecord::default();
    record.take_fields(&mut visit(&["a", "b", "c", "d"], 1));
    assert_eq!((record.attribute_count, record.dropped_attributes), (3, 1));
    record.merge_fields(&mut visit(&["e", "b", "a"], 2), limits);
    assert_eq!((record.attribute_count, record.dropped_attributes), (3, 2));
    let fields = fields_of(&record.attributes);
    let fields: Vec<_> = fields.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(fields, [("c", "Integer(1)"), ("b", "Integer(2)"), ("a", "Integer(2)")]);
}

/// Opens a span in the store by hand, as a layer of this bit.
fn open(store: &SpanStore, bit: u32, span: &Span, id: u64) {
    let metadata = span.metadata().unwrap();
    let values = metadata.fields().value_set(&[]);
    store.open(bit, &Attributes::new_root(metadata, &values), &Id::from_u64(id), || None);
}

/// A span whose metadata the tests below borrow.
fn any_span() -> Span {
    let (dispatch, ..) = one(Probe::new(Role::Exporter));
    with_default(&dispatch, || info_span!("any"))
}

fn span_id(store: &SpanStore, id: u64) -> Option<SpanId> {
    store.with(id, |record| record.span_id)
}

#[test]
fn a_registry_id_that_is_used_again_begins_a_new_record() {
    let (span, store) = (any_span(), SpanStore::new());
    let (one, other) = (
        store.attach(true, EventFields::Attributes, None).unwrap(),
        store.attach(false, EventFields::Attributes, None).unwrap(),
    );
    let mut before = None;
    for _ in 0..3 {
        open(&store, one, &span, 5);
        open(&store, other, &span, 5);
        let now = span_id(&store, 5);
        assert!(now.is_some() && now != before);
        before = now;
        store.expose(5);
        assert!(store.close(one, &Id::from_u64(5), |record| assert_eq!(Some(record.span_id), now)).is_some());
        assert!(store.close(one, &Id::from_u64(5), |_| ()).is_none(), "shown once");
        assert!(store.close(other, &Id::from_u64(5), |record| assert_eq!(Some(record.span_id), now)).is_some());
        assert_eq!(span_id(&store, 5), None);
    }
    // One layer never hears of the end: the next span of this id has a record of its own all the same.
    open(&store, one, &span, 5);
    open(&store, other, &span, 5);
    store.close(one, &Id::from_u64(5), |_| ());
    open(&store, other, &span, 5);
    open(&store, one, &span, 5);
    assert_ne!(span_id(&store, 5), before);
    for bit in [one, other] {
        assert!(store.close(bit, &Id::from_u64(5), |_| ()).is_some());
    }
    assert_eq!(store.open_records(), 0);
}

#[test]
fn layers_meet_at_one_record_when_the_place_in_the_store_becomes_free_between_them() {
    let (span, store) = (any_span(), SpanStore::new());
    let (one, other) = (
        store.attach(true, EventFields::Attributes, None).unwrap(),
        store.attach(false, EventFields::Attributes, None).unwrap(),
    );
    let rival = (2..).find(|id| SpanStore::slot_index(*id) == SpanStore::slot_index(1)).unwrap();
    open(&store, one, &span, rival);
    open(&store, one, &span, 1);
    let first = span_id(&store, 1);
    // The slot is vacant now, and the thread has opened another span in between.
    store.close(one, &Id::from_u64(rival), |_| ());
    open(&store, one, &span, rival + 1);
    open(&store, other, &span, 1);
    assert_eq!(span_id(&store, 1), first);
    for bit in [one, other] {
        assert_eq!(store.close(bit, &Id::from_u64(1), |record| Some(record.span_id)), Some(first));
    }
    store.close(one, &Id::from_u64(rival + 1), |_| ());
    assert_eq!(store.open_records(), 0);
}

#[test]
fn layers_come_and_go_within_the_number_of_bits() {
    let store = SpanStore::new();
    for _ in 0..3 {
        let bits: Vec<_> = (0..32).map(|_| store.attach(false, EventFields::Attributes, None).unwrap()).collect();
        assert_eq!(bits.iter().fold(0, |all, bit| all | bit), u32::MAX);
        assert_eq!(store.attach(false, EventFields::Attributes, None), None);
        bits.into_iter().for_each(|bit| store.detach(bit));
    }
}
