//! Layers that join a subscriber in use: spans that are older than they are harm nothing. The subscriber is the process's, so this
//! is a program of its own.

use lgtm_devstack::Devstack;
use lgtm_tests::capture::{Captured, place_of};
use lgtm_tests::signals::{Layers, PATIENCE, Settings};
use tracing::field::Empty;
use tracing::{info, info_span};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::prelude::*;
use tracing_subscriber::reload;

#[test]
fn spans_older_than_the_layers_harm_nothing_and_what_is_newer_is_whole() {
    let (spans, put_spans) = reload::Layer::new(None::<lgtm_tempo::Layer>);
    let (lines, put_lines) = reload::Layer::new(None::<lgtm_loki::Layer>);
    // The backend runs in this process too: what its libraries say is left out.
    let own = filter_fn(|metadata| metadata.target() == module_path!());
    tracing_subscriber::registry().with(spans).with(lines).with(own).init();

    let stack = Devstack::start_blocking().expect("a development stack");
    let (Layers { loki, tempo, .. }, pipelines) = Settings::of("shop").start(&stack);
    let old = info_span!("old", region = "eu", late = Empty);
    assert!(!old.is_disabled());
    old.in_scope(|| {
        let inner = info_span!("old child").entered();
        put_spans.reload(Some(tempo)).expect("the registry lives");
        put_lines.reload(Some(loki)).expect("the registry lives");
        info!("in an old span");
        old.record("late", 1);
        let new = info_span!("new", rows = 3);
        new.follows_from(&old);
        new.in_scope(|| info!("in a new span"));
        drop(new);
        drop(inner);
    });
    old.in_scope(|| info!("entered again"));
    drop(old);
    info_span!("newest").in_scope(|| info!("in the newest"));
    for report in pipelines.shutdown(PATIENCE) {
        assert_eq!(report.delivered, report.admitted, "{report}");
    }

    let captured = Captured { logs: stack.store().logs(), spans: stack.store().spans() };
    assert_eq!(captured.span_names(), ["new", "newest"]);
    let new = captured.span("new");
    assert_eq!((new.parent_span_id.as_deref(), new.links.len(), new.dropped_links), (None, 0, 1));
    assert_eq!(captured.place_of_log("in a new span"), Some(place_of(new)));
    assert_eq!(captured.place_of_log("in the newest"), Some(place_of(captured.span("newest"))));
    for message in ["in an old span", "entered again"] {
        assert_eq!(captured.place_of_log(message), None, "{message}");
    }
}
