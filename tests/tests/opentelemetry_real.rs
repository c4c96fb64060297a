//! Metrics and log records of the OpenTelemetry API against real servers. `LGTM_REAL` says what happens where a server is missing, see
//! [`lgtm_tests::real`].

#![allow(clippy::expect_used, reason = "a failed step fails the test, also in its helpers")]

use std::error::Error;
use std::time::{Duration, Instant};

use lgtm_core::pipeline::Pipeline;
use lgtm_core::{Endpoint, Identity};
use lgtm_query::{LogQuery, Loki, Prometheus, TimeRange, Wait};
use lgtm_tempo::Protocol;
use lgtm_tests::real::Server;
use lgtm_tests::signals::PATIENCE;
use opentelemetry::KeyValue;
use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::{SpanId, TraceFlags, TraceId};

type Outcome = Result<(), Box<dyn Error>>;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn flush(pipeline: &Pipeline) {
    let flush = pipeline.begin_flush();
    assert!(pipeline.wait_flushed(&flush, Instant::now() + PATIENCE), "{}", pipeline.report());
    let report = pipeline.report();
    assert_eq!((report.lost(), report.pending, report.delivered), (0, 0, report.admitted), "{report}");
}

#[test]
fn loki_finds_records_by_trace_severity_and_attribute() -> Outcome {
    let Some(server) = Server::loki() else { return Ok(()) };
    runtime().block_on(async {
        server.ready().await;
        let loki = Loki::at(server.url())?;
        let otlp = format!("{}/otlp/v1/logs", server.url());
        let ways = [
            ("real-record", lgtm_loki::builder().endpoint(Endpoint::parse(server.url())?)),
            (
                "real-otlp-record",
                lgtm_loki::builder()
                    .endpoint(Endpoint::parse(&otlp)?)
                    .protocol(lgtm_loki::Protocol::Otlp(Protocol::Http)),
            ),
        ];
        for (service, builder) in ways {
            let (_layer, provider, pipeline) = builder.identity(Identity::new(service)).build_opentelemetry()?;
            let logger = provider.logger("library");
            let mut record = logger.create_log_record();
            record.set_severity_number(Severity::Warn2);
            record.set_event_name("stock.low");
            record.set_body(AnyValue::from("stock is low"));
            record.add_attribute("item", 17);
            record.set_trace_context(TraceId::from_hex(TRACE)?, SpanId::from_hex(SPAN)?, Some(TraceFlags::SAMPLED));
            logger.emit(record);
            flush(&pipeline);
            let by_item = if service == "real-record" { "| json | item = 17" } else { "| item = 17" };
            let logql = format!(
                r#"{{service_name="{service}"}} | trace_id = "{TRACE}" | severity_number = 14 {by_item} |= "stock is low""#
            );
            let range = TimeRange::last(Duration::from_secs(3600)).widened(Duration::from_secs(60));
            let query = LogQuery::new(&logql).range(range);
            let ask = || loki.query_range(&query);
            let found = Wait::up_to(PATIENCE).until(ask, |data| !data.entries().is_empty()).await?;
            assert_eq!(found.entries().len(), 1, "{service}");
        }
        Ok(())
    })
}

#[test]
fn cortex_has_the_same_of_an_instrument_by_remote_write_and_by_otlp() -> Outcome {
    let Some(server) = Server::cortex() else { return Ok(()) };
    runtime().block_on(async {
        server.ready().await;
        let prometheus = Prometheus::at(format!("{}/prometheus", server.url()))?;
        let otlp = Endpoint::parse(&format!("{}/api/v1/otlp/v1/metrics", server.url()))?;
        let ways = [
            ("real-written", lgtm_mimir::builder().push(Endpoint::parse(server.url())?)),
            ("real-otlp-sent", lgtm_mimir::builder().push(otlp).protocol(lgtm_mimir::Protocol::Otlp(Protocol::Http))),
        ];
        for (job, builder) in ways {
            let builder = builder.identity(Identity::new(job)).native_histograms_for("work_seconds", 160);
            let mimir = builder.build()?;
            let provider = mimir.meter_provider()?;
            let meter = provider.meter("library");
            meter.f64_counter("cpu.time").with_unit("s").build().add(0.75, &[KeyValue::new("kind", "user")]);
            meter.i64_up_down_counter("queue.length").build().add(-3, &[]);
            let wait = meter.f64_histogram("wait").with_unit("s").with_boundaries(vec![0.25, 1.0]).build();
            let work = meter.f64_histogram("work").with_unit("s").build();
            for number in 1..=4 {
                wait.record(f64::from(number) / 10.0, &[]);
                work.record(f64::from(number) / 10.0, &[]);
            }
            flush(mimir.pipeline().expect("it pushes"));
            let value = async |promql: String| {
                let ask = || prometheus.query(&promql, None);
                let answer = Wait::up_to(PATIENCE).until(ask, |answer| !answer.data.is_empty()).await?;
                Ok::<_, lgtm_query::Error>(answer.data.single_value())
            };
            let labels = format!(r#"job="{job}",otel_scope_name="library""#);
            assert_eq!(value(format!(r#"cpu_time_seconds_total{{kind="user",{labels}}}"#)).await?, Some(0.75));
            assert_eq!(value(format!("queue_length{{{labels}}}")).await?, Some(-3.0));
            assert_eq!(value(format!(r#"wait_seconds_bucket{{le="0.25",{labels}}}"#)).await?, Some(2.0));
            let sum = value(format!("histogram_sum(work_seconds{{{labels}}})")).await?;
            assert!(sum.is_some_and(|sum| (sum - 1.0).abs() < 1e-9), "{job}: {sum:?}");
            let second = value(format!("histogram_quantile(0.45, work_seconds{{{labels}}})")).await?;
            assert!(second.is_some_and(|second| (second - 0.2).abs() < 0.002), "{job}: {second:?}");
        }
        Ok(())
    })
}
