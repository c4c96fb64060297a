//! What a program records arrives, and each signal leads to the others.

use lgtm_devstack::{Devstack, Endpoint, LogEntry, Span};

use crate::harness::{Addresses, Finished, backends, run};

const PATIENT: (&str, &str) = ("LGTM_SHUTDOWN_TIMEOUT", "30s");

fn span(stack: &Devstack, name: &str) -> Span {
    let spans = stack.store().spans();
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{spans:?}");
    (*found[0]).as_ref().clone()
}

fn log_entry(stack: &Devstack) -> LogEntry {
    let logs = stack.store().logs();
    assert_eq!(logs.len(), 1, "{logs:?}");
    logs[0].as_ref().clone()
}

fn assert_all_delivered(finished: &Finished) {
    assert!(finished.success, "{}", finished.stderr);
    let report = finished.report();
    for (signal, created) in [("logs", 1), ("spans", 2)] {
        assert_eq!(report[signal]["admitted"], created, "{report}");
    }
    for signal in ["logs", "spans", "metrics"] {
        assert_eq!(report[signal]["delivered"], report[signal]["admitted"], "{report}");
        assert_eq!(report[signal]["errors"], serde_json::json!({}), "{report}");
    }
    assert_eq!(finished.warnings(), [""; 0]);
}

fn assert_linked(stack: &Devstack, service: &str) {
    let (order, child, entry) = (span(stack, "order"), span(stack, "store"), log_entry(stack));
    assert_eq!(order.service_name(), service);
    assert_eq!(order.parent_span_id, None);
    assert_eq!(child.parent_span_id.as_ref(), Some(&order.span_id));
    assert_eq!(child.trace_id, order.trace_id);

    assert_eq!(entry.label("trace_id"), Some(order.trace_id.as_str()));
    assert_eq!(entry.label("span_id"), Some(order.span_id.as_str()));
    assert_eq!(entry.label("service_name"), Some(service));
    let line = entry.json().unwrap();
    assert_eq!((&line["message"], &line["copies"], &line["id"]), (&"order placed".into(), &3.into(), &17.into()));

    let orders = stack.store().series_named("orders_total");
    assert_eq!(orders.len(), 1, "{orders:?}");
    assert_eq!(orders[0].last_value(), Some(1.0));
    assert_eq!(orders[0].labels["job"], service);
    let buckets = stack.store().series_named("order_duration_seconds_bucket");
    let exemplars: Vec<_> = buckets.iter().flat_map(|series| &series.exemplars).collect();
    assert_eq!(exemplars.len(), 1, "{buckets:?}");
    assert_eq!(exemplars[0].trace_id(), Some(order.trace_id.as_str()));
    assert_eq!(exemplars[0].labels["span_id"], order.span_id);

    let created = stack.store().series_named("otlp_spans_created_total");
    let server = created.iter().find(|series| series.labels["span_kind"] == "server").unwrap();
    assert_eq!(server.last_value(), Some(1.0), "{created:?}");
    // The catalogue's buckets: nine and +Inf for each of the two kinds.
    let duration = stack.store().series_named("otlp_spans_duration_seconds_bucket");
    assert_eq!(duration.iter().filter(|series| series.labels["span_kind"] == "server").count(), 10, "{duration:?}");
}

#[test]
fn a_log_line_a_span_and_a_sample_arrive_and_lead_to_each_other() {
    let stack = backends();
    let addresses = Addresses::of(&stack);
    let finished = run("order", &addresses.with(&[PATIENT]));
    assert_all_delivered(&finished);
    assert_linked(&stack, "shop");
    // The last push comes after logs and spans: it knows what became of them.
    let exported = stack.store().series_named("otlp_spans_exported_total");
    let success = exported.iter().find(|series| series.labels["status"] == "success").unwrap();
    assert_eq!(success.last_value(), Some(2.0));
    assert!(!stack.store().requests_to(Endpoint::OtlpGrpc).is_empty());
}

#[test]
fn traces_travel_over_http_where_the_port_or_the_protocol_says_so() {
    let stack = backends();
    let addresses = Addresses::of(&stack);
    let http = stack.otlp_http_url();
    let variables = [
        PATIENT,
        ("TEMPO_ENDPOINT", ""),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", http.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-team=one%20of%20us"),
    ];
    let variables = addresses.with(&variables);
    let finished = run("order", &variables);
    assert_all_delivered(&finished);
    assert_linked(&stack, "shop");
    let requests = stack.store().requests_to(Endpoint::OtlpHttp);
    assert_eq!(requests[0].header("x-team"), Some("one of us"));
    assert!(stack.store().requests_to(Endpoint::OtlpGrpc).is_empty());
}

#[test]
fn one_collector_takes_all_signals_by_otlp_over_both_protocols() {
    for (protocol, routes) in [
        ("grpc", [Endpoint::OtlpLogsGrpc, Endpoint::OtlpGrpc, Endpoint::OtlpMetricsGrpc]),
        ("http/protobuf", [Endpoint::OtlpLogsHttp, Endpoint::OtlpHttp, Endpoint::OtlpMetricsHttp]),
    ] {
        let stack = backends();
        let collector = if protocol == "grpc" { stack.otlp_grpc_url() } else { stack.otlp_http_url() };
        let finished = run(
            "order",
            &[
                PATIENT,
                ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.as_str()),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                ("OTEL_EXPORTER_OTLP_HEADERS", "x-team=ours"),
                ("OTEL_LOGS_EXPORTER", "otlp"),
                ("OTEL_METRICS_EXPORTER", "otlp"),
            ],
        );
        assert_all_delivered(&finished);
        for route in routes {
            let requests = stack.store().requests_to(route);
            assert_eq!(requests.first().and_then(|request| request.header("x-team")), Some("ours"), "{route:?}");
        }
        assert!(stack.store().requests_to(Endpoint::LokiPush).is_empty());
        let span = span(&stack, "order");
        let logs = stack.store().logs();
        let placed = logs.iter().find(|entry| entry.line == "order placed").expect("the line");
        let metadata = |name: &str| placed.structured_metadata.get(name).map(String::as_str);
        assert_eq!(
            (metadata("trace_id"), metadata("span_id")),
            (Some(span.trace_id.as_str()), Some(span.span_id.as_str()))
        );
        let created = stack.store().series_named("otlp_spans_created_total");
        assert!(created.iter().any(|series| series.labels["job"] == span.service_name()), "{created:?}");
        let buckets = stack.store().series_named("otlp_spans_duration_seconds_bucket");
        let leads = |trace: &str| trace == span.trace_id;
        let exemplars = || buckets.iter().flat_map(|series| &series.exemplars);
        assert!(exemplars().any(|exemplar| exemplar.labels.get("trace_id").is_some_and(|trace| leads(trace))));
    }
}

#[test]
fn everything_arrives_from_every_kind_of_runtime_or_none() {
    for program in ["order", "order in current_thread", "order in multi_thread"] {
        let stack = backends();
        let finished = run(program, &Addresses::of(&stack).with(&[PATIENT]));
        assert_all_delivered(&finished);
        assert_linked(&stack, "shop");
    }
}

#[test]
fn the_builder_says_the_same_in_code() {
    let stack = backends();
    // The environment is ignored, a wrong value in it too.
    let finished = run("order in code", &Addresses::of(&stack).with(&[("LGTM_PROFILE", "nonsense")]));
    assert!(finished.success, "{}", finished.stderr);
    let report = finished.report();
    assert_eq!(report["logs"]["delivered"], 2, "the debug event too: {report}");
    assert_eq!(span(&stack, "order").service_name(), "code");
    assert!(stack.store().logs().iter().all(|entry| entry.label("environment") == Some("test")));
}

#[test]
fn the_filter_of_events_leaves_the_spans_and_the_other_way_round() {
    let stack = backends();
    let finished = run("order", &Addresses::of(&stack).with(&[PATIENT, ("RUST_LOG", "warn")]));
    let report = finished.report();
    assert_eq!((&report["logs"]["admitted"], &report["spans"]["admitted"]), (&0.into(), &2.into()), "{report}");

    let stack = backends();
    let variables = [PATIENT, ("RUST_LOG", "debug"), ("LGTM_SPAN_FILTER", "off")];
    let finished = run("order", &Addresses::of(&stack).with(&variables));
    let report = finished.report();
    assert_eq!(report["spans"]["admitted"], 0, "{report}");
    assert!(stack.store().logs().iter().any(|entry| entry.line.contains("stored")), "{report}");
    assert!(stack.store().logs().iter().all(|entry| entry.label("trace_id").is_none()));
}

#[test]
fn scraped_metrics_are_not_pushed() {
    let stack = backends();
    let addresses = Addresses::of(&stack);
    let mut variables = addresses.with(&[PATIENT, ("LGTM_METRICS_ADDR", "127.0.0.1:0")]);
    variables.retain(|(name, _)| *name != "MIMIR_ENDPOINT");
    let finished = run("scraped", &variables);
    assert!(finished.success, "{}", finished.stderr);
    let page = finished.said.join("\n");
    assert!(page.contains("orders_total{kind=\"book\"} 1"), "{page}");
    assert!(page.contains("# EOF"), "{page}");
    let order = span(&stack, "order");
    assert!(page.contains(&format!("trace_id=\"{}\"", order.trace_id)), "{page}");
    assert_eq!(finished.report().get("metrics"), None);
    assert!(stack.store().requests_to(Endpoint::RemoteWrite).is_empty());
}

#[test]
fn the_console_shows_events_with_their_trace() {
    let stack = backends();
    let variables = Addresses::of(&stack);
    let finished = run("order", &variables.with(&[PATIENT, ("LGTM_CONSOLE", "auto")]));
    let order = span(&stack, "order");
    let lines: Vec<serde_json::Value> =
        finished.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(lines.len(), 1, "{}", finished.stderr);
    assert_eq!(lines[0]["trace_id"], order.trace_id);
    assert_eq!(lines[0]["span_id"], order.span_id);
    assert_eq!(lines[0]["fields"]["message"], "order placed");
    let finished = run("order", &variables.with(&[PATIENT, ("LGTM_CONSOLE", "pretty")]));
    assert!(finished.stderr.contains("order placed copies=3 trace_id="), "{}", finished.stderr);
}

#[test]
fn a_disabled_sdk_logs_to_the_console_only() {
    let stack = backends();
    let finished =
        run("order", &Addresses::of(&stack).with(&[("OTEL_SDK_DISABLED", "true"), ("LGTM_CONSOLE", "json")]));
    assert!(finished.success, "{}", finished.stderr);
    assert!(finished.stderr.contains("order placed"), "{}", finished.stderr);
    assert_eq!(finished.said, ["{}"]);
    assert!(stack.store().requests().is_empty());
}

#[test]
fn the_sampler_keeps_logs_and_span_metrics() {
    let stack = backends();
    let finished = run("order", &Addresses::of(&stack).with(&[PATIENT, ("OTEL_TRACES_SAMPLER", "always_off")]));
    assert_eq!(finished.report()["spans"]["admitted"], 0);
    assert_eq!(log_entry(&stack).label("trace_sampled"), Some("false"));
    let created = stack.store().series_named("otlp_spans_created_total");
    assert_eq!(created.iter().filter_map(lgtm_devstack::Series::last_value).sum::<f64>(), 2.0);
}

#[test]
fn a_running_program_says_its_settings_changes_its_filters_and_sampler_and_renders_its_metrics() {
    let stack = backends();
    let finished = run("told", &Addresses::of(&stack).with(&[("OTEL_SERVICE_NAME", "shop"), ("RUST_LOG", "info")]));
    assert!(finished.success, "{}", finished.stderr);
    assert_eq!(finished.said[0], "shop from OTEL_SERVICE_NAME");
    assert_eq!(finished.said[1], "team=books, queue (of a field, 2 values) from code");
    assert_eq!(finished.said[2], "info from RUST_LOG");
    assert_eq!(finished.said[3], "orders_total{kind=\"book\"} 1");
    let logs = stack.store().logs();
    let messages: Vec<_> = logs.iter().filter_map(|entry| entry.json()).map(|line| line["message"].clone()).collect();
    assert!(messages.contains(&"now".into()) && messages.contains(&"stored".into()), "{messages:?}");
    assert!(!messages.contains(&"not yet".into()), "{messages:?}");
    let now = logs.iter().find(|entry| entry.line.contains("\"now\"")).unwrap();
    assert_eq!(
        (now.label("team"), now.label("queue"), now.label("level")),
        (Some("books"), Some("mail"), Some("debug"))
    );
    let names: Vec<_> = stack.store().spans().iter().map(|span| span.name.clone()).collect();
    assert!(names.contains(&"kept".to_owned()) && !names.contains(&"left out".to_owned()), "{names:?}");
    let left_out = logs.iter().find(|entry| entry.line.contains("in a trace that is left out")).unwrap();
    assert_eq!(left_out.label("trace_sampled"), Some("false"));
    let native = stack.store().series_named("order_duration_seconds");
    assert!(native[0].histograms.iter().any(|histogram| histogram.count == 1), "{native:?}");
}

#[test]
fn what_travels_by_otlp_is_compressed_where_a_variable_says_so_and_the_rest_stays_in_snappy() {
    for (protocol, route, encoding) in
        [("grpc", Endpoint::OtlpGrpc, "grpc-encoding"), ("http/protobuf", Endpoint::OtlpHttp, "content-encoding")]
    {
        for (compression, expected) in [("gzip", Some("gzip")), ("none", None)] {
            let stack = backends();
            let traces = if protocol == "grpc" { stack.otlp_grpc_url() } else { stack.otlp_http_url() + "/v1/traces" };
            let finished = run(
                "order",
                &[
                    PATIENT,
                    ("LOKI_URL", stack.loki_url().as_str()),
                    ("MIMIR_ENDPOINT", stack.mimir_url().as_str()),
                    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", traces.as_str()),
                    ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                    ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
                    ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", compression),
                ],
            );
            assert_all_delivered(&finished);
            let requests = stack.store().requests_to(route);
            let request = requests.first().expect("a request");
            assert_eq!(request.header(encoding), expected, "{protocol}");
            let plain = request.decoded_body().expect("a body");
            assert_eq!(request.body.len() < plain.len(), expected.is_some(), "{protocol} {compression}");
            assert_eq!(span(&stack, "order").name, "order");
            for route in [Endpoint::LokiPush, Endpoint::RemoteWrite] {
                let requests = stack.store().requests_to(route);
                let encoding = requests.first().and_then(|request| request.header("content-encoding"));
                assert!(encoding.is_none_or(|encoding| encoding == "snappy"), "{route:?} {encoding:?}");
                assert!(requests.iter().all(|request| request.decoded_body().is_some()), "{route:?}");
            }
        }
    }
}
