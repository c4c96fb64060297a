//! The other front door, through the facade: metrics and log records of the OpenTelemetry API beside those of `metrics` and `tracing`.

use std::time::Duration;

use lgtm_devstack::{Devstack, ScrapeTarget};
use opentelemetry::global;
use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _};
use opentelemetry::trace::Tracer as _;

#[test]
fn all_three_signals_of_the_api_go_the_way_of_the_programs_own() {
    let stack = Devstack::start_blocking().unwrap();
    let telemetry = lgtm::builder()
        .ignore_environment()
        .service_name("door")
        .loki(lgtm::Endpoint::parse(&stack.loki_url()).unwrap())
        .tempo(lgtm::Endpoint::parse(&stack.otlp_grpc_url()).unwrap())
        .tempo_protocol(lgtm::Protocol::Grpc)
        .mimir(lgtm::Endpoint::parse(&stack.mimir_url()).unwrap())
        .metrics_addr("127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap())
        .opentelemetry()
        .init()
        .unwrap();
    assert!(telemetry.tracer_provider().is_some() && telemetry.meter_provider().is_some());
    let meter = global::meter("library");
    meter.u64_counter("orders").build().add(3, &[]);
    metrics::counter!("own_total").increment(1);
    let logger = telemetry.logger_provider().unwrap().logger("library");
    global::tracer("library").in_span("work", |_| {
        let mut record = logger.create_log_record();
        record.set_body(AnyValue::from("said by the API"));
        logger.emit(record);
    });
    tracing::info_span!("request").in_scope(|| tracing::info!("said by the macro"));

    let scraped = Devstack::start_blocking().unwrap();
    let address = telemetry.metrics_addr().unwrap();
    scraped.scrape_blocking(&ScrapeTarget::new(format!("http://{address}/metrics"))).unwrap();
    assert_eq!(scraped.store().series_named("orders_total")[0].last_value(), Some(3.0));
    assert_eq!(scraped.store().series_named("own_total")[0].last_value(), Some(1.0));

    // What is recorded after the last push is in the last one.
    meter.u64_counter("orders").build().add(4, &[]);
    let report = telemetry.shutdown();
    assert_eq!(report.lost(), 0, "{report}");
    stack.wait_for_blocking(|store| store.logs().len() == 2, Duration::from_secs(10)).unwrap();
    let spans = stack.store().spans();
    let work = spans.iter().find(|span| span.name == "work").unwrap();
    let logs = stack.store().logs();
    let by_api = logs.iter().find(|entry| entry.line.contains("said by the API")).unwrap();
    assert_eq!(by_api.structured_metadata["trace_id"], work.trace_id);
    assert_eq!(by_api.structured_metadata["span_id"], work.span_id);
    let orders = &stack.store().series_named("orders_total")[0];
    assert_eq!((orders.last_value(), orders.is_stale()), (Some(7.0), true), "{orders:?}");
    assert_eq!(orders.labels["job"], "door");
    assert_eq!(stack.store().series_named("own_total")[0].last_value(), Some(1.0));
}
