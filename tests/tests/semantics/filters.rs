//! A filter that hides spans from one layer: nothing that is sent points at a span that is not.

use http::HeaderMap;
use lgtm_core::propagation::{extract, inject};
use lgtm_tests::capture::{Captured, capture_on, place_of};
use lgtm_tests::signals::Layers;
use tracing::{Dispatch, info, info_span};
use tracing_subscriber::filter::{EnvFilter, LevelFilter, filter_fn};
use tracing_subscriber::prelude::*;

use super::settings;

/// Tempo does not see spans of the target `hidden`; the others see everything.
fn hidden_from_tempo(layers: Layers) -> Dispatch {
    let Layers { loki, tempo, spanmetrics } = layers;
    let filter = filter_fn(|metadata| metadata.target() != "hidden");
    Dispatch::new(tracing_subscriber::registry().with(loki).with(tempo.with_filter(filter)).with(spanmetrics))
}

/// The same with the filtered layer first.
fn hidden_from_tempo_first(layers: Layers) -> Dispatch {
    let Layers { loki, tempo, spanmetrics } = layers;
    let filter = filter_fn(|metadata| metadata.target() != "hidden");
    Dispatch::new(tracing_subscriber::registry().with(tempo.with_filter(filter)).with(spanmetrics).with(loki))
}

#[test]
fn children_logs_and_headers_point_past_a_hidden_span_to_the_nearest_exported_one() {
    for subscriber in [hidden_from_tempo, hidden_from_tempo_first] {
        let mut injected = None;
        let captured = capture_on(&settings(), subscriber, || {
            let _root = info_span!("root").entered();
            let _middle = info_span!(target: "hidden", "middle", secret = 1).entered();
            info!("in the middle");
            let mut headers = HeaderMap::new();
            inject(&mut headers);
            injected = extract(&headers);
            let current = lgtm_core::current::trace().map(|trace| trace.span_id);
            assert_eq!(current, injected.as_ref().map(|parent| parent.span_id), "what an exemplar points at");
            let _leaf = info_span!("leaf").entered();
            info!("in the leaf");
        });
        let (root, leaf) = (captured.span("root"), captured.span("leaf"));
        assert_eq!(captured.spans.len(), 2);
        assert_eq!((&leaf.trace_id, leaf.parent_span_id.as_ref()), (&root.trace_id, Some(&root.span_id)));
        assert_eq!(captured.place_of_log("in the middle"), Some(place_of(root)));
        assert_eq!(captured.place_of_log("in the leaf"), Some(place_of(leaf)));
        assert_eq!(injected.map(|parent| parent.span_id.to_string()).as_ref(), Some(&root.span_id));
        // The line tells of the spans that Loki's layer sees, and the event is in the exported ancestor.
        assert_eq!(
            captured.log("in the middle").json().expect("a line")["spans"],
            serde_json::json!(["root", "middle"])
        );
        assert_eq!(event_names(&captured, "root"), ["in the middle"]);
        assert_eq!(event_names(&captured, "leaf"), ["in the leaf"]);
    }
}

#[test]
fn below_a_hidden_root_the_first_exported_span_is_the_root() {
    for subscriber in [hidden_from_tempo, hidden_from_tempo_first] {
        let captured = capture_on(&settings(), subscriber, || {
            let _root = info_span!(target: "hidden", "root").entered();
            info!("in the root");
            assert_eq!(lgtm_core::current::trace(), None);
            let mut headers = HeaderMap::new();
            inject(&mut headers);
            assert!(headers.is_empty(), "{headers:?}");
            let _leaf = info_span!("leaf").entered();
            info!("in the leaf");
        });
        assert_eq!(captured.span_names(), ["leaf"]);
        assert_eq!(captured.span("leaf").parent_span_id, None);
        assert_eq!(captured.place_of_log("in the root"), None, "there is no span to point at");
        assert_eq!(captured.place_of_log("in the leaf"), Some(place_of(captured.span("leaf"))));
    }
}

#[test]
fn a_span_that_only_tempo_sees_still_owns_the_lines_inside_it() {
    let subscriber = |layers: Layers| {
        let Layers { loki, tempo, spanmetrics } = layers;
        let filter = filter_fn(|metadata| !metadata.is_span() || metadata.target() != "quiet");
        Dispatch::new(tracing_subscriber::registry().with(loki.with_filter(filter)).with(tempo).with(spanmetrics))
    };
    let captured = capture_on(&settings(), subscriber, || {
        let _root = info_span!("root", region = "eu").entered();
        let _leaf = info_span!(target: "quiet", "leaf", rows = 3).entered();
        info!("in the leaf");
    });
    assert_eq!(captured.place_of_log("in the leaf"), Some(place_of(captured.span("leaf"))));
    assert_eq!(captured.span("leaf").parent_span_id.as_ref(), Some(&captured.span("root").span_id));
}

#[test]
fn a_filter_of_logs_takes_no_spans_away() {
    let subscriber = |layers: Layers| {
        let Layers { loki, tempo, spanmetrics } = layers;
        let registry = tracing_subscriber::registry();
        Dispatch::new(registry.with(loki.with_filter(LevelFilter::WARN)).with(tempo).with(spanmetrics))
    };
    let captured = capture_on(&settings(), subscriber, || {
        let _root = info_span!("root").entered();
        info!("quiet");
        tracing::warn!("loud");
    });
    assert_eq!(captured.logs.len(), 1);
    assert_eq!(captured.place_of_log("loud"), Some(place_of(captured.span("root"))));
    assert_eq!(event_names(&captured, "root"), ["quiet", "loud"]);
}

#[test]
fn each_layer_may_have_directives_of_its_own() {
    let subscriber = |layers: Layers| {
        let Layers { loki, tempo, spanmetrics } = layers;
        let directives = |text: &str| EnvFilter::builder().parse(text).expect("directives");
        Dispatch::new(
            tracing_subscriber::registry()
                .with(loki.with_filter(directives("warn,noisy=off,[order{id=7}]=debug")))
                .with(tempo.with_filter(directives("info,noisy=off")))
                .with(spanmetrics),
        )
    };
    let captured = capture_on(&settings(), subscriber, || {
        info_span!("order", id = 7).in_scope(|| tracing::debug!("of order 7"));
        info_span!("order", otel.name = "other order", id = 8).in_scope(|| {
            info!("of order 8");
            tracing::error!(target: "noisy", "never");
        });
    });
    let lines: Vec<_> =
        captured.logs.iter().filter_map(|entry| entry.json()).map(|line| line["message"].clone()).collect();
    assert_eq!(lines, ["of order 7"]);
    assert_eq!(captured.place_of_log("of order 7"), Some(place_of(captured.span("order"))));
    assert_eq!(event_names(&captured, "other order"), ["of order 8"]);
}

#[test]
fn a_span_that_lokis_filter_hides_gives_its_lines_neither_name_nor_fields() {
    let subscriber = |layers: Layers| {
        let Layers { loki, tempo, spanmetrics } = layers;
        let filter = filter_fn(|metadata| !metadata.is_span() || metadata.target() != "secret");
        Dispatch::new(tracing_subscriber::registry().with(tempo).with(loki.with_filter(filter)).with(spanmetrics))
    };
    let captured = capture_on(&settings(), subscriber, || {
        let _outer = info_span!("outer", region = "eu").entered();
        let _secret = info_span!(target: "secret", "middle", password = "x").entered();
        let _inner = info_span!("inner", rows = 3).entered();
        for message in ["first", "second", "third"] {
            info!("{message}");
        }
    });
    for message in ["first", "second", "third"] {
        let line = captured.log(message).json().expect("a line");
        assert_eq!(line["spans"], serde_json::json!(["outer", "inner"]));
        assert_eq!((&line["region"], &line["rows"], line.get("password")), (&"eu".into(), &3.into(), None));
    }
}

#[test]
fn a_filter_above_all_layers_hides_spans_from_all() {
    let subscriber = |layers: Layers| {
        let Layers { loki, tempo, spanmetrics } = layers;
        let registry = tracing_subscriber::registry();
        Dispatch::new(registry.with(loki).with(tempo).with(spanmetrics).with(LevelFilter::INFO))
    };
    let captured = capture_on(&settings(), subscriber, || {
        let _root = info_span!("root").entered();
        let _middle = tracing::debug_span!("middle").entered();
        let _leaf = info_span!("leaf").entered();
        info!("in the leaf");
    });
    assert_eq!(captured.span("leaf").parent_span_id.as_ref(), Some(&captured.span("root").span_id));
    assert_eq!(captured.spans.len(), 2);
    assert_eq!(captured.place_of_log("in the leaf"), Some(place_of(captured.span("leaf"))));
}

#[test]
fn two_registries_on_one_thread_do_not_mix() {
    let (outer, inner) = (settings(), settings());
    let mut nested = None;
    let captured = capture_on(
        &outer,
        |layers| layers.dispatch(lgtm_tests::signals::Order::default()),
        || {
            let _outer = info_span!("outer").entered();
            nested = Some(lgtm_tests::capture::capture(&inner, || {
                info!("in no span of this registry");
                let _inner = info_span!("inner").entered();
                info!("inside");
            }));
            info!("outside");
        },
    );
    let nested = nested.expect("what the inner registry captured");
    assert_eq!((captured.span_names(), nested.span_names()), (vec!["outer"], vec!["inner"]));
    assert_eq!(nested.span("inner").parent_span_id, None);
    assert_eq!(nested.place_of_log("in no span of this registry"), None);
    assert_eq!(nested.place_of_log("inside"), Some(place_of(nested.span("inner"))));
    assert_eq!(captured.place_of_log("outside"), Some(place_of(captured.span("outer"))));
}

fn event_names<'a>(captured: &'a Captured, span: &str) -> Vec<&'a str> {
    captured.span(span).events.iter().map(|event| event.name.as_str()).collect()
}
