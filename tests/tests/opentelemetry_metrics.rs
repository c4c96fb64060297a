//! Metrics of the OpenTelemetry API at the backends, decoded with types that are not ours: by remote write 1 and 2, by OTLP over HTTP
//! and gRPC, and scraped, the same series with the same values; ends are said, and nothing of it can end the worker.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests end where they find something wrong")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lgtm_core::{Endpoint, Identity, SignalReport};
use lgtm_devstack::{Devstack, MetricType, ScrapeTarget, Series};
use lgtm_mimir::opentelemetry::MeterProvider;
use lgtm_mimir::{Builder, Mimir, OtlpProtocol, Protocol, RemoteWrite};
use metrics::{counter, with_local_recorder};
use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry::{InstrumentationScope, KeyValue};
use tracing::Dispatch;
use tracing_subscriber::prelude::*;

const PATIENCE: Duration = Duration::from_secs(30);
const SCOPE: [(&str, &str); 2] = [("otel_scope_name", "library"), ("otel_scope_version", "1.2")];

/// How metrics get to the backend.
#[derive(Clone, Copy, Debug)]
enum Way {
    RemoteWrite(RemoteWrite),
    Otlp(OtlpProtocol),
}

const WAYS: [Way; 4] = [
    Way::RemoteWrite(RemoteWrite::One),
    Way::RemoteWrite(RemoteWrite::Two),
    Way::Otlp(OtlpProtocol::Http),
    Way::Otlp(OtlpProtocol::Grpc),
];

fn builder(stack: &Devstack, way: Way) -> Builder {
    let mut identity = Identity::new("shop");
    identity.service_instance_id = "one".to_owned();
    let builder = lgtm_mimir::builder().push_interval(Duration::from_secs(3600)).identity(identity);
    let at = |url: String| Endpoint::parse(&url).unwrap();
    match way {
        Way::RemoteWrite(version) => builder.push(at(stack.mimir_url())).remote_write(version),
        Way::Otlp(OtlpProtocol::Grpc) => {
            builder.push(at(stack.otlp_grpc_url())).protocol(Protocol::Otlp(OtlpProtocol::Grpc))
        }
        Way::Otlp(protocol) => builder.push(at(stack.otlp_http_url())).protocol(Protocol::Otlp(protocol)),
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("library").with_version("1.2").build()
}

fn start(builder: Builder) -> (Mimir, MeterProvider, Meter) {
    let mimir = builder.build().unwrap();
    let provider = mimir.meter_provider().unwrap();
    let meter = provider.meter_with_scope(scope());
    (mimir, provider, meter)
}

fn flush(mimir: &Mimir) -> SignalReport {
    let pipeline = mimir.pipeline().unwrap();
    assert!(pipeline.wait_flushed(&pipeline.begin_flush(), Instant::now() + PATIENCE), "{}", pipeline.report());
    pipeline.report()
}

fn shut_down(mimir: &Mimir) -> SignalReport {
    let pipeline = mimir.pipeline().unwrap();
    pipeline.begin_shutdown(Instant::now() + PATIENCE);
    assert!(pipeline.wait_ended(Instant::now() + PATIENCE), "{}", pipeline.report());
    pipeline.report()
}

fn record(meter: &Meter) {
    let orders = meter.u64_counter("orders").with_description("Orders that came in").build();
    orders.add(3, &[KeyValue::new("kind", "web")]);
    meter.f64_counter("cpu.time").with_unit("s").with_description("Time on the CPU").build().add(0.75, &[]);
    meter.i64_up_down_counter("queue.length").build().add(-3, &[]);
    let took = meter.f64_histogram("took").with_unit("s").with_boundaries(vec![0.5, 1.0]).build();
    [0.25, 0.75, 7.0].iter().for_each(|value| took.record(*value, &[]));
    let sent = meter.u64_observable_gauge("open").with_callback(|gauge| gauge.observe(17, &[KeyValue::new("to", "b")]));
    sent.build();
}

/// The last value of each series of the library's, without the identity of the process.
fn last_values(series: &[Series]) -> BTreeMap<String, f64> {
    let of_library = series.iter().filter(|series| {
        SCOPE.iter().all(|(name, value)| series.labels.get(*name).map(String::as_str) == Some(*value))
    });
    of_library
        .map(|series| {
            let mut labels: BTreeMap<_, _> = series.labels.clone().into_iter().collect();
            labels.retain(|name, _| !matches!(name.as_str(), "job" | "instance"));
            if let Some(le) = labels.get_mut("le") {
                *le = le.parse::<f64>().unwrap().to_string();
            }
            (format!("{labels:?}"), series.last_value().unwrap())
        })
        .collect()
}

fn only(stack: &Devstack, name: &str) -> Series {
    let mut series = stack.store().series_named(name);
    assert_eq!(series.len(), 1, "{name}: {series:?}");
    series.remove(0)
}

fn values(series: &Series) -> Vec<f64> {
    series.samples.iter().map(|sample| sample.value).collect()
}

#[test]
fn every_way_brings_the_same_series_beside_those_of_the_other_api() {
    let mut outcomes = Vec::new();
    for way in WAYS {
        let stack = Devstack::start_blocking().unwrap();
        let (mimir, _provider, meter) = start(builder(&stack, way));
        record(&meter);
        with_local_recorder(&mimir.recorder(), || counter!("others_total").increment(9));
        let report = flush(&mimir);
        assert_eq!((report.lost(), report.delivered), (0, report.admitted), "{way:?}: {report}");
        assert_eq!(only(&stack, "others_total").last_value(), Some(9.0));
        let orders = only(&stack, "orders_total");
        for (name, value) in [("job", "shop"), ("instance", "one"), ("kind", "web")].into_iter().chain(SCOPE) {
            assert_eq!(orders.labels.get(name).map(String::as_str), Some(value), "{way:?}: {orders:?}");
        }
        let known = stack.store().metric_metadata();
        let time = &known["cpu_time_seconds_total"];
        assert_eq!((time.metric_type, time.help.as_str()), (MetricType::Counter, "Time on the CPU"), "{way:?}");
        if matches!(way, Way::RemoteWrite(_)) {
            assert_eq!(time.unit, "seconds", "{way:?}");
            // What has grown begins with a zero, or `rate()` does not see its first value.
            assert_eq!(values(&only(&stack, "cpu_time_seconds_total")), [0.0, 0.75]);
            assert_eq!(values(&orders), [0.0, 3.0]);
        }
        assert_eq!(known["took_seconds"].metric_type, MetricType::Histogram);
        outcomes.push(last_values(&stack.store().series()));
    }
    let stack = Devstack::start_blocking().unwrap();
    let (mimir, _provider, meter) = start(lgtm_mimir::builder().listen("127.0.0.1:0".parse().unwrap()));
    record(&meter);
    stack.scrape_blocking(&ScrapeTarget::new(format!("http://{}/metrics", mimir.local_addr().unwrap()))).unwrap();
    let scraped = last_values(&stack.store().series());
    // 4 series, and the 5 of the histogram.
    assert_eq!(scraped.len(), 9, "{scraped:?}");
    for outcome in outcomes {
        assert_eq!(outcome, scraped);
    }
}

#[test]
fn an_exponential_histogram_is_a_native_one_on_every_way() {
    for way in WAYS {
        let stack = Devstack::start_blocking().unwrap();
        let (mimir, _provider, meter) = start(builder(&stack, way).native_histograms_for("took_seconds", 160));
        let took = meter.f64_histogram("took").with_unit("s").build();
        [0.0, 1.0, 2.0, 4.0].iter().for_each(|value| took.record(*value, &[]));
        assert_eq!(flush(&mimir).lost(), 0);
        let series = only(&stack, "took_seconds");
        let histogram = series.histograms.last().unwrap();
        assert_eq!(
            (histogram.count, histogram.zero_count, histogram.sum.to_bits()),
            (4, 1, 7.0_f64.to_bits()),
            "{way:?}"
        );
        // The first positive one is 1, in the bucket 0: what is greater than base^-1 and at most 1.
        assert_eq!(histogram.positive_spans[0].offset, 0, "{way:?}: {histogram:?}");
        let counts = histogram.positive_deltas.iter().scan(0, |sum, delta| {
            *sum += delta;
            Some(*sum)
        });
        assert_eq!(counts.sum::<i64>(), 3, "{way:?}");
    }
}

#[test]
fn what_is_observed_no_more_is_said_to_be_over_and_so_is_everything_at_the_end() {
    for way in WAYS {
        let stack = Devstack::start_blocking().unwrap();
        let (mimir, _provider, meter) = start(builder(&stack, way));
        let open = Arc::new(AtomicBool::new(true));
        let is_open = Arc::clone(&open);
        let gauge = meter.u64_observable_gauge("connection").with_callback(move |gauge| {
            if is_open.load(Ordering::SeqCst) {
                gauge.observe(1, &[]);
            }
        });
        gauge.build();
        let orders = meter.u64_counter("orders").build();
        orders.add(1, &[]);
        flush(&mimir);
        open.store(false, Ordering::SeqCst);
        flush(&mimir);
        assert!(only(&stack, "connection").is_stale(), "{way:?}: {:?}", only(&stack, "connection"));
        assert!(!only(&stack, "orders_total").is_stale());
        // What was added after the last push is in the last one.
        orders.add(41, &[]);
        let report = shut_down(&mimir);
        assert_eq!(report.lost(), 0, "{report}");
        let orders = only(&stack, "orders_total");
        assert!(orders.is_stale() && orders.last_value() == Some(42.0), "{way:?}: {orders:?}");
    }
}

#[test]
fn a_flush_of_the_provider_has_arrived_when_it_returns_and_its_shutdown_ends_nothing_else() {
    let stack = Devstack::start_blocking().unwrap();
    let (mimir, provider, meter) = start(builder(&stack, WAYS[0]));
    let orders = meter.u64_counter("orders").build();
    orders.add(1, &[]);
    provider.force_flush().unwrap();
    assert_eq!(only(&stack, "orders_total").last_value(), Some(1.0));
    orders.add(1, &[]);
    provider.shutdown().unwrap();
    assert_eq!(only(&stack, "orders_total").last_value(), Some(2.0));
    with_local_recorder(&mimir.recorder(), || counter!("others_total").increment(9));
    flush(&mimir);
    assert_eq!(only(&stack, "others_total").last_value(), Some(9.0));
    assert_eq!(only(&stack, "orders_total").last_value(), Some(2.0));
}

/// Callbacks log, open spans, panic and hang; the lines and metrics of everybody else go on.
#[test]
fn no_callback_ends_the_worker_or_feeds_it() {
    let stack = Devstack::start_blocking().unwrap();
    let worker = lgtm_core::Worker::spawn().unwrap();
    let (mimir, _provider, meter) = start(builder(&stack, WAYS[0]).worker(worker.clone()));
    let loki = lgtm_loki::builder().endpoint(Endpoint::parse(&stack.loki_url()).unwrap());
    let (layer, lines) = loki.identity(Identity::new("shop")).worker(worker).build().unwrap();
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
    let (own, hangs) = (dispatch.clone(), Arc::new(AtomicBool::new(false)));
    let hangs_now = Arc::clone(&hangs);
    let gauge = meter.u64_observable_gauge("loud").with_callback(move |gauge| {
        tracing::dispatcher::with_default(&own, || {
            let _span = tracing::info_span!("collect").entered();
            tracing::info!("each collection says this");
        });
        gauge.observe(1, &[]);
        while hangs_now.load(Ordering::SeqCst) {
            std::thread::park_timeout(Duration::from_millis(5));
        }
    });
    gauge.build();
    meter.u64_observable_gauge("broken").with_callback(|_| panic!("a callback panics, as it is meant to")).build();
    meter.u64_counter("orders").build().add(1, &[]);
    for _ in 0..3 {
        flush(&mimir);
    }
    hangs.store(true, Ordering::SeqCst);
    with_local_recorder(&mimir.recorder(), || counter!("others_total").increment(9));
    let report = flush(&mimir);
    assert_eq!(report.lost(), 0, "{report}");
    tracing::dispatcher::with_default(&dispatch, || tracing::info!("the program says this"));
    assert!(lines.wait_flushed(&lines.begin_flush(), Instant::now() + PATIENCE));
    let logs = stack.store().logs();
    let said: Vec<_> = logs.iter().map(|entry| entry.json().unwrap()["message"].clone()).collect();
    assert_eq!(said, ["the program says this"]);
    for (name, value) in [("loud", 1.0), ("orders_total", 1.0), ("others_total", 9.0)] {
        assert_eq!(only(&stack, name).last_value(), Some(value), "{name}");
    }
    assert!(stack.store().series_named("broken").is_empty());
    let refused = stack.store().series_named("otlp_metrics_series_refused_total");
    let refused = |reason: &str| {
        let mut of_reason = refused.iter().filter(|series| series.labels["reason"] == *reason);
        of_reason.next().unwrap().last_value().unwrap()
    };
    // The count of what the last push waited for in vain comes with the next one.
    assert!(refused("callback_panic") >= 3.0);
    hangs.store(false, Ordering::SeqCst);
}
