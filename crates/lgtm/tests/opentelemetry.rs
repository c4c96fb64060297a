//! The other front door, through the facade: spans of the OpenTelemetry API and of `tracing` in one tree, logs with its ids.

use std::time::Duration;

use lgtm_devstack::Devstack;
use opentelemetry::global;
use opentelemetry::trace::Tracer as _;

#[test]
fn spans_of_both_apis_are_one_tree_and_log_lines_know_it() {
    let stack = Devstack::start_blocking().unwrap();
    let telemetry = lgtm::builder()
        .ignore_environment()
        .service_name("door")
        .loki(lgtm::Endpoint::parse(&stack.loki_url()).unwrap())
        .tempo(lgtm::Endpoint::parse(&stack.otlp_grpc_url()).unwrap())
        .tempo_protocol(lgtm::Protocol::Grpc)
        .without_metrics()
        .opentelemetry()
        .init()
        .unwrap();
    tracing::info_span!("outer").in_scope(|| {
        global::tracer("library").in_span("inner", |_| ());
        tracing::info!("said");
    });
    let report = telemetry.shutdown();
    assert_eq!(report.lost(), 0, "{report}");
    stack
        .wait_for_blocking(|store| store.spans().len() == 2 && store.logs().len() == 1, Duration::from_secs(10))
        .unwrap();
    let spans = stack.store().spans();
    let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    let (outer, inner) = (named("outer"), named("inner"));
    assert_eq!(inner.parent_span_id.as_ref(), Some(&outer.span_id));
    assert_eq!(inner.trace_id, outer.trace_id);
    let line = &stack.store().logs()[0];
    assert_eq!(line.structured_metadata["trace_id"], outer.trace_id);
    assert_eq!(line.structured_metadata["span_id"], outer.span_id);
}
