//! Log records of the OpenTelemetry API, and of the appenders that others write: lines like those of events, by Loki's push and by OTLP,
//! decoded with types that are not ours.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests end where they find something wrong")]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lgtm_core::pipeline::Pipeline;
use lgtm_core::{Endpoint, Identity};
use lgtm_devstack::{Devstack, Endpoint as Route, LogEntry};
use lgtm_loki::{Builder, Format, OtlpProtocol, Protocol};
use lgtm_tests::counting::Counting;
use lgtm_tests::signals::PATIENCE;
use log::Log as _;
use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::trace::{SpanContext, TraceContextExt as _, TraceState};
use opentelemetry::{Context, InstrumentationScope, Key, SpanId, TraceFlags, TraceId};
use opentelemetry_appender_log::OpenTelemetryLogBridge;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_sdk::logs::{SdkLogRecord, SdkLogger, SdkLoggerProvider};
use prost::Message as _;
use tracing::Dispatch;
use tracing_subscriber::prelude::*;

const HOUR: Duration = Duration::from_secs(3600);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

struct Door {
    stack: Devstack,
    provider: SdkLoggerProvider,
    pipeline: Pipeline,
    dispatch: Dispatch,
}

impl Door {
    fn open() -> Self {
        Self::with(|builder| builder)
    }

    fn with(configure: impl FnOnce(Builder) -> Builder) -> Self {
        let stack = Devstack::start_blocking().unwrap();
        let url = stack.loki_url();
        Self::at(stack, &url, configure)
    }

    fn otlp() -> Self {
        let stack = Devstack::start_blocking().unwrap();
        let url = stack.otlp_http_url();
        Self::at(stack, &url, |builder| builder.protocol(Protocol::Otlp(OtlpProtocol::Http)))
    }

    fn at(stack: Devstack, url: &str, configure: impl FnOnce(Builder) -> Builder) -> Self {
        let builder = lgtm_loki::builder().endpoint(Endpoint::parse(url).unwrap()).identity(Identity::new("shop"));
        let (layer, provider, pipeline) = configure(builder).build_opentelemetry().unwrap();
        let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
        Self { stack, provider, pipeline, dispatch }
    }

    fn logger(&self) -> SdkLogger {
        self.provider.logger_with_scope(InstrumentationScope::builder("library").with_version("1.2").build())
    }

    /// What arrives; nothing may be lost.
    fn settle(&self) -> Vec<Arc<LogEntry>> {
        self.pipeline.begin_shutdown(Instant::now() + PATIENCE);
        assert!(self.pipeline.wait_ended(Instant::now() + PATIENCE));
        let report = self.pipeline.report();
        assert_eq!((report.lost(), report.delivered), (0, report.admitted), "{report}");
        self.stack.store().logs()
    }
}

fn emit(logger: &SdkLogger, fill: impl FnOnce(&mut SdkLogRecord)) {
    let mut record = logger.create_log_record();
    fill(&mut record);
    logger.emit(record);
}

/// What a library may say at most.
fn whole(record: &mut SdkLogRecord, time: SystemTime) {
    record.set_event_name("order.placed");
    record.set_target("shop::orders");
    record.set_timestamp(time);
    record.set_observed_timestamp(time + Duration::from_millis(5));
    record.set_severity_number(Severity::Fatal2);
    record.set_severity_text("EMERGENCY");
    record.set_body(AnyValue::from("order placed"));
    record.set_trace_context(
        TraceId::from_hex(TRACE).unwrap(),
        SpanId::from_hex(SPAN).unwrap(),
        Some(TraceFlags::SAMPLED),
    );
    record.add_attribute("items", 3);
    record.add_attribute("ratio", 0.5);
    record.add_attribute("ok", true);
    record.add_attribute("customer", "ada");
    record.add_attribute("customer", "grace");
    record.add_attribute("db.password", "hunter2");
    record.add_attribute("message", "not the body");
    record.add_attribute("code.file.path", "src/orders.rs");
    record.add_attribute("code.line.number", 17);
    let map = [(Key::new("a"), AnyValue::from("x")), (Key::new("token"), AnyValue::from("hunter2"))];
    record.add_attribute("map", AnyValue::Map(Box::new(map.into_iter().collect())));
}

fn now() -> (SystemTime, u64) {
    let nanoseconds = lgtm_core::unix_nanos() / 1_000_000 * 1_000_000;
    (UNIX_EPOCH + Duration::from_nanos(nanoseconds), nanoseconds)
}

#[test]
fn a_record_is_a_line_with_everything_that_it_says() {
    let door = Door::open();
    let (time, nanoseconds) = now();
    emit(&door.logger(), |record| whole(record, time));
    let logs = door.settle();
    let [entry] = logs.as_slice() else { panic!("{logs:?}") };
    let expected = serde_json::json!({
        "message": "order placed", "level": "error", "target": "shop::orders", "items": 3, "ratio": 0.5, "ok": true,
        "customer": "grace", "db.password": "[redacted]", "field_message": "not the body",
        "map": "{\"a\":\"x\",\"token\":\"[redacted]\"}",
    });
    assert_eq!(entry.json().unwrap(), expected, "{}", entry.line);
    assert_eq!((entry.label("level"), entry.label("service_name")), (Some("error"), Some("shop")));
    assert_eq!(u64::try_from(entry.timestamp_ns).unwrap(), nanoseconds);
    let observed = (nanoseconds + 5_000_000).to_string();
    for (name, value) in [
        ("trace_id", TRACE),
        ("span_id", SPAN),
        ("trace_sampled", "true"),
        ("target", "shop::orders"),
        ("code_file_path", "src/orders.rs"),
        ("code_line_number", "17"),
        ("event_name", "order.placed"),
        ("severity_number", "22"),
        ("severity_text", "EMERGENCY"),
        ("observed_timestamp", &observed),
        ("scope_name", "library"),
        ("scope_version", "1.2"),
    ] {
        assert_eq!(entry.structured_metadata.get(name).map(String::as_str), Some(value), "{name}: {entry:?}");
    }
}

#[test]
fn by_otlp_a_record_is_what_it_was() {
    let door = Door::otlp();
    let (time, nanoseconds) = now();
    emit(&door.logger(), |record| whole(record, time));
    emit(&door.logger(), |record| record.set_body(AnyValue::from("says nothing else")));
    assert_eq!(door.settle().len(), 2);
    let requests = door.stack.store().requests_to(Route::OtlpLogsHttp);
    let mut records = Vec::new();
    for request in requests {
        let request = ExportLogsServiceRequest::decode(request.decoded_body().unwrap().as_slice()).unwrap();
        let scopes = request.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
        records.extend(scopes.flat_map(|scope| scope.log_records));
    }
    let [record, plain] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((record.time_unix_nano, record.observed_time_unix_nano), (nanoseconds, nanoseconds + 5_000_000));
    assert_eq!((record.severity_number, record.severity_text.as_str()), (22, "EMERGENCY"));
    assert_eq!((record.event_name.as_str(), record.flags), ("order.placed", 1));
    assert_eq!(record.trace_id, TraceId::from_hex(TRACE).unwrap().to_bytes());
    assert_eq!(record.span_id, SpanId::from_hex(SPAN).unwrap().to_bytes());
    let keys: Vec<_> = record.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    let expected = [
        "items",
        "ratio",
        "ok",
        "customer",
        "db.password",
        "message",
        "map",
        "target",
        "code.file.path",
        "code.line.number",
        "otel.scope.name",
        "otel.scope.version",
    ];
    assert_eq!(keys, expected);
    assert!(!format!("{record:?}").contains("hunter2"), "{record:?}");
    assert_eq!((plain.severity_number, plain.severity_text.as_str(), plain.event_name.as_str()), (0, "", ""));
    assert!(plain.trace_id.is_empty());
}

#[test]
fn every_severity_has_its_level_and_a_number_wins_over_a_text() {
    let door = Door::open();
    let logger = door.logger();
    let severities = [
        (Severity::Trace, "trace"),
        (Severity::Trace4, "trace"),
        (Severity::Debug, "debug"),
        (Severity::Info, "info"),
        (Severity::Info4, "info"),
        (Severity::Warn3, "warn"),
        (Severity::Error, "error"),
        (Severity::Fatal4, "error"),
    ];
    for (severity, level) in severities {
        emit(&logger, |record| {
            record.set_severity_number(severity);
            record.set_severity_text("DEBUG");
            record.set_body(AnyValue::from(level));
        });
    }
    for (text, level) in [("Warning", "warn"), ("nonsense", "info")] {
        emit(&logger, |record| {
            record.set_severity_text(text);
            record.set_body(AnyValue::from(level));
        });
    }
    for entry in door.settle() {
        let json = entry.json().unwrap();
        assert_eq!(json["level"], json["message"], "{entry:?}");
        assert_eq!(json["target"], "library", "the scope's name, where no target is set");
    }
}

#[test]
fn a_record_inside_a_span_of_tracing_is_a_line_of_that_span() {
    let door = Door::open();
    let logger = door.logger();
    let mut trace = None;
    tracing::dispatcher::with_default(&door.dispatch, || {
        let outer = tracing::info_span!("request", customer = "ada", step = 1).entered();
        let _inner = tracing::info_span!("checkout", step = 2).entered();
        trace = lgtm_core::current::trace();
        emit(&logger, |record| {
            record.set_body(AnyValue::from("inside"));
            record.add_attribute("step", 3);
        });
        emit(&logger, |record| {
            // Said to be elsewhere: then it is.
            record.set_body(AnyValue::from("elsewhere"));
            record.set_trace_context(TraceId::from_hex(TRACE).unwrap(), SpanId::from_hex(SPAN).unwrap(), None);
        });
        tracing::info!("an event");
        drop(_inner);
        drop(outer);
    });
    let context = SpanContext::new(
        TraceId::from_hex(TRACE).unwrap(),
        SpanId::from_hex(SPAN).unwrap(),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    let guard = Context::new().with_remote_span_context(context).attach();
    emit(&logger, |record| record.set_body(AnyValue::from("in a context")));
    drop(guard);
    let logs = door.settle();
    let named = |message: &str| logs.iter().find(|entry| entry.json().unwrap()["message"] == message).unwrap();
    let trace = trace.unwrap();
    let (inside, event) = (named("inside"), named("an event"));
    let json = inside.json().unwrap();
    assert_eq!((&json["step"], &json["customer"]), (&3.into(), &"ada".into()), "{json}");
    assert_eq!(json["spans"], serde_json::json!(["request", "checkout"]));
    for name in ["trace_id", "span_id", "trace_sampled"] {
        assert_eq!(inside.label(name), event.label(name), "{name}");
    }
    assert_eq!(inside.label("trace_id"), Some(trace.trace_id.to_string().as_str()));
    let elsewhere = named("elsewhere");
    assert_eq!((elsewhere.label("trace_id"), elsewhere.label("trace_sampled")), (Some(TRACE), Some("false")));
    assert!(elsewhere.json().unwrap().get("customer").is_none(), "{}", elsewhere.line);
    let in_context = named("in a context");
    assert_eq!((in_context.label("trace_id"), in_context.label("span_id")), (Some(TRACE), Some(SPAN)));
}

#[test]
fn names_of_attributes_forge_nothing_in_any_format() {
    for format in [Format::Json, Format::Logfmt, Format::Text] {
        let door = Door::with(|builder| builder.format(format));
        emit(&door.logger(), |record| {
            record.set_body(AnyValue::from("real \u{1b}[31m\nline"));
            record.add_attribute("level\":\"error\",\"x", 1);
            record.add_attribute("a=b\nlevel", "c d");
            record.add_attribute("trace_id", "forged");
        });
        let logs = door.settle();
        let [entry] = logs.as_slice() else { panic!("{logs:?}") };
        assert!(!entry.line.contains(['\n', '\u{1b}']), "{:?}", entry.line);
        assert_eq!(entry.label("level"), Some("info"));
        if format == Format::Json {
            let json = entry.json().unwrap();
            assert_eq!((&json["level"], &json["field_trace_id"]), (&"info".into(), &"forged".into()), "{json}");
            assert!(json.get("trace_id").is_none());
        }
    }
}

#[test]
fn limits_and_labels_from_fields_are_those_of_events() {
    let door = Door::with(|builder| builder.max_line_bytes(1024).label_from_field("queue", 1));
    let logger = door.logger();
    for queue in ["one", "two", "three"] {
        emit(&logger, |record| {
            record.set_body(AnyValue::from("queued"));
            record.add_attribute("queue", queue);
        });
    }
    emit(&logger, |record| {
        record.set_body(AnyValue::from("é".repeat(2000)));
        record.add_attribute("kept", 1);
    });
    let logs = door.settle();
    let queues: Vec<_> = logs.iter().filter_map(|entry| entry.labels.get("queue").cloned()).collect();
    assert_eq!(queues, ["one", "other", "other"]);
    let long = logs.iter().find(|entry| entry.line.contains('é')).unwrap();
    let json = long.json().unwrap();
    assert!(long.line.len() <= 1024, "{}", long.line.len());
    assert_eq!((&json["truncated"], &json["kept"]), (&true.into(), &1.into()));
}

#[test]
fn records_that_come_too_often_are_a_number_and_others_go_on() {
    let recorder = Counting::install();
    let door = Door::with(|builder| builder.rate_limit(3, HOUR));
    let logger = door.logger();
    for _ in 0..10 {
        emit(&logger, |record| {
            record.set_target("noisy");
            record.set_body(AnyValue::from("again"));
        });
        emit(&logger, |record| {
            record.set_target("noisy");
            record.set_event_name("another");
            record.set_body(AnyValue::from("another"));
        });
    }
    emit(&logger, |record| record.set_body(AnyValue::from("quiet")));
    let logs = door.settle();
    let count = |message: &str| logs.iter().filter(|entry| entry.json().unwrap()["message"] == message).count();
    assert_eq!((count("again"), count("another"), count("quiet")), (3, 3, 1));
    let told: Vec<_> = logs.iter().filter(|entry| entry.json().unwrap().get("suppressed").is_some()).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    for entry in told {
        let json = entry.json().unwrap();
        assert_eq!((&json["suppressed"], &json["target"]), (&7.into(), &"noisy".into()), "{json}");
    }
    // Other tests of this program add to it.
    assert!(recorder.sum("otlp_logs_suppressed_total", ("reason", "rate")) >= 14);
}

#[test]
fn the_same_record_again_is_one_line() {
    let door = Door::with(|builder| builder.deduplicate(HOUR));
    let logger = door.logger();
    for number in [1, 1, 1, 2] {
        emit(&logger, |record| {
            record.set_body(AnyValue::from("stock is low"));
            record.add_attribute("item", number);
        });
    }
    let logs = door.settle();
    let items: Vec<_> = logs.iter().filter_map(|entry| entry.json().unwrap().get("item").cloned()).collect();
    assert_eq!(items, [1, 2]);
}

#[test]
fn the_log_crates_appender_brings_its_records() {
    let door = Door::open();
    let bridge = OpenTelemetryLogBridge::new(&door.provider);
    let mut trace = None;
    tracing::dispatcher::with_default(&door.dispatch, || {
        let _span = tracing::info_span!("request", customer = "ada").entered();
        trace = lgtm_core::current::trace();
        bridge.log(
            &log::Record::builder()
                .args(format_args!("disk {} is full", 3))
                .level(log::Level::Warn)
                .target("storage")
                .file(Some("src/storage.rs"))
                .line(Some(17))
                .build(),
        );
    });
    let logs = door.settle();
    let [entry] = logs.as_slice() else { panic!("{logs:?}") };
    let json = entry.json().unwrap();
    assert_eq!((&json["message"], &json["level"]), (&"disk 3 is full".into(), &"warn".into()), "{json}");
    assert_eq!((&json["target"], &json["customer"]), (&"storage".into(), &"ada".into()), "{json}");
    assert_eq!(entry.label("trace_id"), Some(trace.unwrap().trace_id.to_string().as_str()));
    assert_eq!(entry.label("severity_number"), Some("13"));
}

#[test]
fn tracings_appender_brings_events_of_another_subscriber_and_twice_those_that_the_layer_has_seen() {
    let door = Door::open();
    let bridge = OpenTelemetryTracingBridge::new(&door.provider);
    let elsewhere = Dispatch::new(tracing_subscriber::registry().with(bridge));
    tracing::dispatcher::with_default(&elsewhere, || tracing::warn!(item = 17, "stock is low"));
    let logs = door.settle();
    let [entry] = logs.as_slice() else { panic!("{logs:?}") };
    let json = entry.json().unwrap();
    assert_eq!((&json["message"], &json["item"], &json["level"]), (&"stock is low".into(), &17.into(), &"warn".into()));
    assert_eq!(json["target"], module_path!());

    let stack = Devstack::start_blocking().unwrap();
    let builder = lgtm_loki::builder().endpoint(Endpoint::parse(&stack.loki_url()).unwrap());
    let (layer, provider, pipeline) = builder.identity(Identity::new("shop")).build_opentelemetry().unwrap();
    let both = tracing_subscriber::registry().with(layer).with(OpenTelemetryTracingBridge::new(&provider));
    tracing::dispatcher::with_default(&Dispatch::new(both), || tracing::warn!("twice, as the manual says"));
    pipeline.begin_shutdown(Instant::now() + PATIENCE);
    assert!(pipeline.wait_ended(Instant::now() + PATIENCE));
    assert_eq!(stack.store().logs().len(), 2);
}

#[test]
fn a_flush_has_arrived_when_it_returns_and_the_layer_goes_on_after_a_shutdown() {
    let door = Door::open();
    emit(&door.logger(), |record| record.set_body(AnyValue::from("flushed")));
    door.provider.force_flush().unwrap();
    assert_eq!(door.stack.store().logs().len(), 1);
    door.provider.shutdown().unwrap();
    tracing::dispatcher::with_default(&door.dispatch, || tracing::info!("an event"));
    assert_eq!(door.settle().len(), 2);
}

#[test]
fn what_a_thread_that_exports_says_is_no_line() {
    let door = Door::open();
    let logger = door.logger();
    lgtm_core::suppressed(|| {
        assert!(!logger.event_enabled(Severity::Error, "any", None));
        emit(&logger, |record| record.set_body(AnyValue::from("would feed itself")));
        // Nor does it wait for itself.
        door.provider.force_flush().unwrap();
    });
    assert!(door.settle().is_empty());
}
