//! The cached log context: right after each change of a span or an ancestor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tracing::dispatcher::with_default;
use tracing::{info_span, subscriber::NoSubscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::SubscriberExt as _;

use super::support::*;
use crate::span::{Attachment, EventFields, Role};

#[test]
fn the_text_is_made_once_and_shows_the_span_and_its_ancestors() {
    let (dispatch, _, attachment) = one(Probe::new(Role::Observer));
    with_default(&dispatch, || {
        let root = info_span!("root", a = 1);
        let leaf = info_span!(parent: &root, "leaf", b = 2);
        let made = AtomicU32::new(0);
        for line in 0..4 {
            let names = attachment.log_context(
                id_of(&leaf),
                |context, spans| {
                    made.fetch_add(1, Ordering::Relaxed);
                    spans(&mut |record| context.spans.extend_from_slice(record.name().as_bytes()));
                    context.keys = 7;
                },
                |context| (String::from_utf8(context.spans.clone()).unwrap(), context.fields.len(), context.keys),
            );
            // Most spans log once: the first line makes none.
            assert_eq!(names, (line > 0).then(|| ("leafroot".to_owned(), 0, 7)));
        }
        assert_eq!(made.load(Ordering::Relaxed), 1);
        assert_eq!(Probe::text(&attachment, u64::MAX), None);
    });
}

#[test]
fn a_late_field_of_an_ancestor_is_in_the_next_text_of_all_its_descendants() {
    let (dispatch, _, attachment) = one(Probe::new(Role::Observer));
    with_default(&dispatch, || {
        let empty = tracing::field::Empty;
        let root = info_span!("root", user = empty);
        let middle = info_span!(parent: &root, "middle", step = empty);
        let leaf = info_span!(parent: &middle, "leaf");
        let stranger = info_span!(parent: None, "stranger");
        let text = |span| Probe::text(&attachment, id_of(span)).unwrap();
        let leaf_before = text(&leaf);
        assert!(!leaf_before.contains("user"));
        let (middle_before, stranger_before) = (text(&middle), text(&stranger));
        root.record("user", "ada");
        for span in [&root, &middle, &leaf] {
            assert!(text(span).contains(r#"("user", "ada")"#), "{}", text(span));
        }
        assert_ne!(text(&middle), middle_before);
        middle.record("step", 1);
        assert!(text(&leaf).contains("step") && !text(&root).contains("step"));
        root.record("user", "grace");
        assert!(text(&leaf).contains("grace") && !text(&leaf).contains("ada"));
        assert_eq!(text(&stranger), stranger_before);
    });
}

#[test]
fn late_fields_are_not_missed_while_another_thread_makes_the_text() {
    let (dispatch, _, attachment) = one(Probe::new(Role::Observer));
    let done = AtomicBool::new(false);
    let (root, leaf) = with_default(&dispatch, || {
        let root = info_span!("root", count = 0);
        let leaf = info_span!(parent: &root, "leaf");
        (root, leaf)
    });
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = Probe::text(&attachment, id_of(&leaf));
                }
            });
        }
        let missed = (1..3000).find_map(|count| {
            root.record("count", count);
            let text = Probe::text(&attachment, id_of(&leaf)).unwrap_or_default();
            (!text.contains(&format!("Integer({count})"))).then_some((count, text))
        });
        done.store(true, Ordering::Relaxed);
        assert_eq!(missed, None);
    });
    with_default(&tracing::Dispatch::new(NoSubscriber::default()), || drop((root, leaf)));
}

#[test]
fn the_text_of_another_layer_is_not_taken_for_ones_own() {
    let (one, other) = (Probe::new(Role::Observer), Probe::new(Role::Observer));
    let attachments = [Arc::clone(&one.attachment), Arc::clone(&other.attachment)];
    let dispatch = tracing::Dispatch::new(Registry::default().with(one).with(other));
    let shown = |attachment: &Attachment, span, text: &'static str| {
        attachment
            .log_context(
                span,
                |context, _| context.fields.extend_from_slice(text.as_bytes()),
                |context| String::from_utf8(context.fields.clone()).unwrap(),
            )
            .unwrap_or_default()
    };
    with_default(&dispatch, || {
        let span = info_span!("span");
        assert_eq!(shown(&attachments[0], id_of(&span), "first line"), "");
        for _ in 0..2 {
            assert_eq!(shown(&attachments[0], id_of(&span), "one"), "one");
            assert_eq!(shown(&attachments[1], id_of(&span), "other"), "other");
        }
        // A layer that comes into the place of another one finds nothing of it.
        let store = store_of(&dispatch);
        let bit = store.attach(false, EventFields::Attributes, None).unwrap();
        store.with(id_of(&span), |record| {
            record.log.layer = bit;
            record.log.epoch = store.log_epoch(record.trace_id);
            assert!(store.is_fresh(bit, record));
        });
        store.detach(bit);
        assert_eq!(store.attach(false, EventFields::Attributes, None), Some(bit));
        store.with(id_of(&span), |record| assert!(!store.is_fresh(bit, record)));
    });
}
