//! Events as OTLP log records: what a receiver gets, what it refuses is counted, and a request over its limit is halved. Over HTTP and
//! gRPC, against the development stack, which decodes with types of its own.

#![allow(clippy::expect_used, clippy::panic, reason = "a failed step fails the test, also in its helpers")]

use std::sync::Arc;
use std::time::Instant;

use lgtm_core::{Endpoint, Identity, SignalReport};
use lgtm_devstack::{Devstack, Endpoint as Route, LogEntry, Reply};
use lgtm_loki::{OtlpProtocol, Protocol};
use lgtm_tests::signals::PATIENCE;
use tracing::{Dispatch, debug, error, info, info_span, warn};
use tracing_subscriber::prelude::*;

struct Outcome {
    logs: Vec<Arc<LogEntry>>,
    report: SignalReport,
}

fn run(stack: &Devstack, protocol: OtlpProtocol, program: impl FnOnce()) -> Outcome {
    let url = match protocol {
        OtlpProtocol::Grpc => stack.otlp_grpc_url(),
        _ => stack.otlp_http_url(),
    };
    run_at(stack, &url, protocol, usize::MAX, program)
}

fn run_at(stack: &Devstack, url: &str, protocol: OtlpProtocol, limit: usize, program: impl FnOnce()) -> Outcome {
    let mut identity = Identity::new("shop");
    identity.environment = Some("test".to_owned());
    identity.set("region", "eu");
    let mut builder = lgtm_loki::builder().endpoint(Endpoint::parse(url).expect("a URL")).identity(identity);
    if limit < usize::MAX {
        builder = builder.max_line_bytes(limit);
    }
    let (layer, pipeline) = builder.protocol(Protocol::Otlp(protocol)).build().expect("a layer");
    tracing::dispatcher::with_default(&Dispatch::new(tracing_subscriber::registry().with(layer)), program);
    pipeline.begin_shutdown(Instant::now() + PATIENCE);
    assert!(pipeline.wait_ended(Instant::now() + PATIENCE), "{}", pipeline.report());
    Outcome { logs: stack.store().logs(), report: pipeline.report() }
}

fn metadata<'a>(entry: &'a LogEntry, name: &str) -> Option<&'a str> {
    entry.structured_metadata.get(name).map(String::as_str)
}

const BOTH: [OtlpProtocol; 2] = [OtlpProtocol::Grpc, OtlpProtocol::Http];

#[test]
fn a_record_has_body_severity_place_in_the_trace_and_the_fields_of_event_and_spans() {
    for protocol in BOTH {
        let stack = Devstack::start_blocking().expect("a stack");
        let mut trace = None;
        let outcome = run(&stack, protocol, || {
            let outer = info_span!("request", customer = "ada", step = 1).entered();
            let _inner = info_span!("checkout", step = 2).entered();
            trace = lgtm_core::current::trace();
            info!(items = 3, ratio = 0.5, ok = true, step = 3, password = "hunter2", "order {}", "placed");
            drop(_inner);
            drop(outer);
            let cause = std::io::Error::other("disk");
            error!(error = &cause as &dyn std::error::Error, "it failed");
        });
        assert_eq!((outcome.report.delivered, outcome.report.lost()), (2, 0), "{}", outcome.report);
        let [placed, failed] = outcome.logs.as_slice() else { panic!("{:?}", outcome.logs) };
        let trace = trace.expect("a trace");
        assert_eq!(placed.line, "order placed");
        assert_eq!(
            (placed.label("service_name"), placed.label("deployment_environment_name")),
            (Some("shop"), Some("test"))
        );
        for (name, value) in [
            ("severity_number", "9"),
            ("severity_text", "INFO"),
            ("trace_id", trace.trace_id.to_string().as_str()),
            ("span_id", trace.span_id.to_string().as_str()),
            ("flags", "1"),
            ("items", "3"),
            ("ratio", "0.5"),
            ("ok", "true"),
            ("step", "3"),
            ("customer", "ada"),
            ("password", "[redacted]"),
            ("target", "otlp_logs"),
            ("code_file_path", file!()),
            ("region", "eu"),
            ("scope_name", "lgtm-loki"),
            ("telemetry_sdk_name", "lgtm"),
        ] {
            assert_eq!(metadata(placed, name), Some(value), "{name}: {placed:?}");
        }
        assert!(metadata(placed, "code_line_number").is_some_and(|line| line.parse::<u32>().is_ok()));
        assert_eq!((failed.line.as_str(), metadata(failed, "severity_number")), ("it failed", Some("17")));
        assert_eq!((metadata(failed, "exception_message"), metadata(failed, "trace_id")), (Some("disk"), None));
    }
}

#[test]
fn lokis_own_endpoint_takes_them_too() {
    let stack = Devstack::start_blocking().expect("a stack");
    let url = format!("{}/otlp/v1/logs", stack.loki_url());
    let outcome = run_at(&stack, &url, OtlpProtocol::Http, usize::MAX, || warn!("stock is low"));
    assert_eq!((outcome.report.delivered, outcome.logs.len()), (1, 1), "{}", outcome.report);
    assert_eq!(outcome.logs[0].line, "stock is low");
}

#[test]
fn what_a_receiver_refuses_is_counted_as_it_says() {
    for (protocol, route) in [(OtlpProtocol::Grpc, Route::OtlpLogsGrpc), (OtlpProtocol::Http, Route::OtlpLogsHttp)] {
        let stack = Devstack::start_blocking().expect("a stack");
        stack.script(route, [Reply::partial_success(2, "two were bad").stored(false)]);
        let outcome = run(&stack, protocol, || (0..5).for_each(|number| debug!(number, "line")));
        let report = outcome.report;
        assert_eq!((report.admitted, report.delivered, report.rejected), (5, 3, 2), "{report}");
    }
}

#[test]
fn a_request_over_the_receivers_limit_is_halved_until_it_fits() {
    let stack = Devstack::start_blocking().expect("a stack");
    stack.script(Route::OtlpLogsHttp, [Reply::status(413), Reply::status(413)]);
    let outcome = run(&stack, OtlpProtocol::Http, || (0..8).for_each(|number| info!(number, "line")));
    assert_eq!((outcome.report.delivered, outcome.report.lost(), outcome.logs.len()), (8, 0, 8), "{}", outcome.report);
    let numbers: Vec<_> =
        outcome.logs.iter().filter_map(|entry| metadata(entry, "number")?.parse::<u64>().ok()).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn what_does_not_fit_into_a_record_is_left_out_and_counted_in_it() {
    let stack = Devstack::start_blocking().expect("a stack");
    let url = stack.otlp_http_url();
    let outcome = run_at(&stack, &url, OtlpProtocol::Http, 1024, || {
        info!(small = 1, large = "x".repeat(2000), "fits");
        info!("{}", "é".repeat(2000));
    });
    let [fits, long] = outcome.logs.as_slice() else { panic!("{:?}", outcome.logs) };
    assert_eq!((metadata(fits, "small"), metadata(fits, "large")), (Some("1"), None));
    assert_eq!(metadata(fits, "dropped_attributes_count"), Some("1"));
    assert!(long.line.len() <= 1024 && long.line.starts_with("éé"), "{}", long.line.len());
}

#[test]
fn labels_of_lokis_push_are_refused_beside_otlp() {
    let builder = || lgtm_loki::builder().protocol(Protocol::Otlp(OtlpProtocol::Http));
    for builder in [builder().label("team", "a"), builder().label_from_field("queue", 3)] {
        let error = builder.build().expect_err("refused").to_string();
        assert!(error.contains("resource") && (error.contains("`team`") || error.contains("`queue`")), "{error}");
    }
}
