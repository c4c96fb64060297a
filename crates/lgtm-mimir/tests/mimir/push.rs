//! Remote write to a backend.

use std::time::{Duration, Instant};

use lgtm_core::{DropReason, Endpoint, Identity, SpanId, TraceContext, TraceId};
use lgtm_devstack::wire::prometheus::WriteRequest;
use lgtm_devstack::{Devstack, MetricType, Reply, Series};
use lgtm_mimir::{Builder, Mimir};
use metrics::{Unit, counter, gauge, histogram, with_local_recorder};
use prost::Message as _;

const PATIENCE: Duration = Duration::from_secs(30);

fn identity() -> Identity {
    let mut identity = Identity::new("shop");
    identity.set("service.namespace", "sales");
    identity.set("service.instance.id", "shop-1");
    identity.set("deployment.environment.name", "test");
    identity.set("host.name", "node-7");
    identity
}

/// Pushes at flushes and at the end alone.
fn builder(stack: &Devstack) -> Builder {
    lgtm_mimir::builder()
        .push(Endpoint::parse(&stack.mimir_url()).unwrap())
        .push_interval(Duration::from_secs(3600))
        .identity(identity())
        .buckets(&[0.5, 1.0])
}

fn flush(mimir: &Mimir) {
    let pipeline = mimir.pipeline().unwrap();
    assert!(pipeline.wait_flushed(&pipeline.begin_flush(), Instant::now() + PATIENCE));
}

fn shut_down(mimir: &Mimir) {
    let pipeline = mimir.pipeline().unwrap();
    let deadline = Instant::now() + PATIENCE;
    pipeline.begin_shutdown(deadline);
    assert!(pipeline.wait_ended(deadline));
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
fn every_series_arrives_with_its_identity_and_a_zero_before_the_first_value() {
    let stack = Devstack::start_blocking().unwrap();
    let mimir = builder(&stack).build().unwrap();
    let requests = with_local_recorder(&mimir.recorder(), || {
        gauge!("depth").set(4.5);
        counter!("silent_total").increment(0);
        histogram!("seconds", "route" => "/a").record(0.75);
        counter!("requests_total", "route" => "/a", "job" => "own")
    });
    requests.increment(3);
    flush(&mimir);
    requests.increment(4);
    flush(&mimir);

    let counted = only(&stack, "requests_total");
    assert_eq!(values(&counted), [0.0, 3.0, 7.0]);
    assert!(counted.samples.windows(2).all(|pair| pair[0].timestamp_ms < pair[1].timestamp_ms));
    let expected = [
        ("__name__", "requests_total"),
        ("environment", "test"),
        ("exported_job", "own"),
        ("instance", "shop-1"),
        ("job", "sales/shop"),
        ("route", "/a"),
    ];
    let labels: Vec<_> = counted.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(labels, expected);
    assert_eq!(values(&only(&stack, "depth")), [4.5, 4.5]);
    assert_eq!(values(&only(&stack, "silent_total")), [0.0, 0.0]);

    let mut buckets = stack.store().series_named("seconds_bucket");
    buckets.sort_by_key(|bucket| bucket.labels["le"].clone());
    let buckets: Vec<_> = buckets.iter().map(|bucket| (bucket.labels["le"].as_str(), values(bucket))).collect();
    let one = vec![0.0, 1.0, 1.0];
    assert_eq!(buckets, [("+Inf", one.clone()), ("0.5", vec![0.0, 0.0]), ("1", one.clone())]);
    assert_eq!(values(&only(&stack, "seconds_count")), one);
    assert_eq!(values(&only(&stack, "seconds_sum")), [0.0, 0.75, 0.75]);

    let info = only(&stack, "target_info");
    assert_eq!(info.last_value(), Some(1.0));
    assert_eq!((info.labels["host_name"].as_str(), info.labels["job"].as_str()), ("node-7", "sales/shop"));
    let report = mimir.pipeline().unwrap().report();
    assert_eq!((report.lost(), report.pending), (0, 0), "{report}");
}

#[test]
fn series_that_come_between_pushes_take_nothing_from_those_before() {
    let stack = Devstack::start_blocking().unwrap();
    let mimir = builder(&stack).push_lanes(2).build().unwrap();
    let record = |route: &'static str, times: u64| {
        with_local_recorder(&mimir.recorder(), || {
            counter!("requests_total", "route" => route).increment(times);
            histogram!("seconds", "route" => route).record(times as f64 / 10.0);
        });
    };
    // Each comes before those that are known, in the order of labels.
    for (route, times) in [("/m", 1), ("/c", 2), ("/a", 3)] {
        record(route, times);
        flush(&mimir);
    }
    let of = |name: &str, route: &str| {
        let all = stack.store().series_named(name);
        let found: Vec<_> = all.iter().filter(|series| series.labels["route"] == route).map(values).collect();
        assert_eq!(found.len(), 1, "{name} of {route}: {all:?}");
        found[0].clone()
    };
    for (route, times, pushes) in [("/m", 1.0, 3), ("/c", 2.0, 2), ("/a", 3.0, 1)] {
        let with_zero = |value: f64| [vec![0.0], vec![value; pushes]].concat();
        assert_eq!(of("requests_total", route), with_zero(times));
        assert_eq!(of("seconds_sum", route), with_zero(times / 10.0));
        assert_eq!(of("seconds_count", route), with_zero(1.0));
    }
    assert_eq!(stack.store().series_named("seconds_bucket").len(), 3 * 3);
}

#[test]
fn the_last_values_are_pushed_at_the_shutdown() {
    let stack = Devstack::start_blocking().unwrap();
    let mimir = builder(&stack).build().unwrap();
    with_local_recorder(&mimir.recorder(), || counter!("orders_total").increment(5));
    shut_down(&mimir);
    let orders = only(&stack, "orders_total");
    assert_eq!(values(&orders)[..2], [0.0, 5.0]);
    let report = mimir.pipeline().unwrap().report();
    assert_eq!((report.delivered, report.pending), (report.admitted, 0), "{report}");
}

#[test]
fn at_the_shutdown_every_series_is_marked_as_stale() {
    let stack = Devstack::start_blocking().unwrap();
    let mimir = builder(&stack).build().unwrap();
    with_local_recorder(&mimir.recorder(), || {
        counter!("orders_total").increment(5);
        gauge!("depth").set(1.0);
        histogram!("seconds").record(0.7);
    });
    flush(&mimir);
    assert!(stack.store().series().iter().all(|series| !series.is_stale()));
    shut_down(&mimir);
    let names = ["orders_total", "depth", "seconds_bucket", "seconds_sum", "seconds_count", "target_info"];
    for series in names.iter().flat_map(|name| stack.store().series_named(name)) {
        assert!(series.is_stale() && series.last_value().is_some(), "{series:?}");
    }
    assert!(stack.store().series().iter().all(Series::is_stale), "lgtm's own too");
}

#[test]
fn an_idle_series_goes_if_nobody_holds_it_and_is_marked_as_stale() {
    let stack = Devstack::start_blocking().unwrap();
    let mimir = builder(&stack).expire_after(Duration::from_secs(1)).build().unwrap();
    let recorder = mimir.recorder();
    let held = with_local_recorder(&recorder, || {
        counter!("idle_total", "n" => "1").increment(5);
        histogram!("idle_seconds").record(0.7);
        gauge!("constant").set(1.0);
        counter!("held_total")
    });
    held.increment(1);
    flush(&mimir);
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(1100) {
        std::thread::sleep(Duration::from_millis(50));
        // Set again and again, to the value that it has.
        with_local_recorder(&recorder, || gauge!("constant").set(1.0));
    }
    flush(&mimir);
    assert!(only(&stack, "idle_total").is_stale());
    assert_eq!(stack.store().series_named("idle_seconds_bucket").iter().filter(|series| series.is_stale()).count(), 3);
    assert!(!only(&stack, "constant").is_stale() && !only(&stack, "held_total").is_stale());
    let text = mimir.render(lgtm_mimir::Format::Text);
    assert!(text.contains("held_total 1") && text.contains("constant 1") && !text.contains("idle_"), "{text}");

    // It begins again, from zero.
    with_local_recorder(&recorder, || counter!("idle_total", "n" => "1").increment(2));
    held.increment(1);
    flush(&mimir);
    let again = only(&stack, "idle_total");
    assert!(!again.is_stale());
    assert_eq!(values(&again).into_iter().filter(|value| !value.is_nan()).collect::<Vec<_>>(), [0.0, 5.0, 0.0, 2.0]);
    let report = mimir.pipeline().unwrap().report();
    assert_eq!((report.lost(), report.pending), (0, 0), "{report}");
}

#[test]
fn the_interval_pushes_by_itself() {
    let stack = Devstack::start_blocking().unwrap();
    let mimir = builder(&stack).push_interval(Duration::from_millis(100)).build().unwrap();
    with_local_recorder(&mimir.recorder(), || counter!("orders_total").increment(5));
    let pushed = |store: &lgtm_devstack::Store| {
        store.series_named("orders_total").first().is_some_and(|series| series.samples.len() >= 3)
    };
    stack.wait_for_blocking(pushed, PATIENCE).unwrap();
    drop(mimir);
}

#[test]
fn an_exemplar_is_pushed_once_with_its_bucket() {
    let stack = Devstack::start_blocking().unwrap();
    let mimir = builder(&stack).build().unwrap();
    let trace = TraceContext::new(TraceId::random(), SpanId::random(), true);
    let seconds = with_local_recorder(&mimir.recorder(), || histogram!("seconds"));
    lgtm_core::current::with_trace(Some(trace), || seconds.record(0.75));
    flush(&mimir);
    seconds.record(0.8);
    flush(&mimir);

    let buckets = stack.store().series_named("seconds_bucket");
    let exemplars: Vec<_> = buckets
        .iter()
        .flat_map(|bucket| bucket.exemplars.iter().map(|exemplar| (&bucket.labels["le"], exemplar)))
        .collect();
    assert_eq!(exemplars.len(), 1);
    let (le, exemplar) = exemplars[0];
    assert_eq!((le.as_str(), exemplar.value), ("1", 0.75));
    assert_eq!(exemplar.trace_id(), Some(trace.trace_id.to_string().as_str()));
    assert_eq!(exemplar.labels["span_id"], trace.span_id.to_string());

    let next = TraceContext::new(TraceId::random(), SpanId::random(), true);
    // An exemplar of the same millisecond would not be newer.
    let later = exemplar.timestamp_ms + 1;
    while lgtm_core::unix_nanos() / 1_000_000 < later as u64 {
        std::hint::spin_loop();
    }
    lgtm_core::current::with_trace(Some(next), || seconds.record(0.6));
    flush(&mimir);
    let bucket = stack.store().series_named("seconds_bucket").into_iter().find(|bucket| bucket.labels["le"] == "1");
    let ids: Vec<_> =
        bucket.unwrap().exemplars.iter().filter_map(|exemplar| exemplar.trace_id().map(str::to_owned)).collect();
    assert_eq!(ids, [trace.trace_id.to_string(), next.trace_id.to_string()]);
    let report = mimir.pipeline().unwrap().report();
    assert_eq!(report.lost(), 0, "{report}");
}

#[test]
fn the_bytes_are_what_the_protocol_says() {
    let stack = Devstack::start_blocking().unwrap();
    let mimir = builder(&stack).build().unwrap();
    with_local_recorder(&mimir.recorder(), || {
        metrics::describe_histogram!("seconds", Unit::Seconds, "How long");
        histogram!("seconds", "zone" => "z", "Alpha" => "a").record(0.3);
        counter!("requests_total").increment(1);
    });
    flush(&mimir);
    flush(&mimir);
    let requests = stack.store().requests_to(lgtm_devstack::Endpoint::RemoteWrite);
    assert_eq!(requests.len(), 2);
    let headers = ["content-type", "content-encoding", "x-prometheus-remote-write-version"];
    let sent = headers.map(|name| requests[0].header(name).unwrap_or_default());
    assert_eq!(sent, ["application/x-protobuf", "snappy", "0.1.0"]);
    assert_eq!(requests[0].path, "/api/v1/push");

    let decoded: Vec<_> = requests
        .iter()
        .map(|request| WriteRequest::decode(request.decoded_body().unwrap().as_slice()).unwrap())
        .collect();
    for series in &decoded[0].timeseries {
        let names: Vec<_> = series.labels.iter().map(|label| label.name.as_str()).collect();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
        assert!(series.labels.iter().all(|label| !label.value.is_empty()));
        assert!(series.samples.windows(2).all(|pair| pair[0].timestamp < pair[1].timestamp));
        assert!(!series.samples.is_empty());
    }
    let seconds = decoded[0].metadata.iter().find(|metadata| metadata.metric_family_name == "seconds").unwrap();
    assert_eq!(
        (seconds.r#type(), seconds.help.as_str(), seconds.unit.as_str()),
        (MetricType::Histogram, "How long", "seconds")
    );
    let requests_total = decoded[0].metadata.iter().find(|metadata| metadata.metric_family_name == "requests_total");
    assert_eq!(requests_total.unwrap().r#type(), MetricType::Counter);
    assert!(decoded[1].metadata.is_empty(), "once a minute is enough");
    let reported = mimir.pipeline().unwrap().report();
    assert_eq!(reported.delivered, decoded.iter().map(|request| request.timeseries.len() as u64).sum::<u64>());
}

#[test]
fn a_failing_backend_costs_no_sample_and_a_refusal_is_not_repeated() {
    let stack = Devstack::start_blocking().unwrap();
    let mimir = builder(&stack).build().unwrap();
    let orders = with_local_recorder(&mimir.recorder(), || counter!("orders_total"));
    orders.increment(1);
    let remote_write = lgtm_devstack::Endpoint::RemoteWrite;
    stack.script(remote_write, [Reply::status(503), Reply::status(429).retry_after(Duration::ZERO)]);
    flush(&mimir);
    assert_eq!(values(&only(&stack, "orders_total")), [0.0, 1.0]);
    assert_eq!(mimir.pipeline().unwrap().report().lost(), 0);

    // Too large: both halves arrive.
    stack.script(remote_write, [Reply::status(413)]);
    orders.increment(1);
    flush(&mimir);
    assert_eq!(values(&only(&stack, "orders_total")), [0.0, 1.0, 2.0]);
    assert_eq!(mimir.pipeline().unwrap().report().lost(), 0);

    let before = stack.store().requests_to(remote_write).len();
    stack.script(remote_write, [Reply::status(400)]);
    orders.increment(1);
    flush(&mimir);
    assert_eq!(stack.store().requests_to(remote_write).len(), before + 1);
    let report = mimir.pipeline().unwrap().report();
    assert!(report.rejected > 0 && report.pending == 0, "{report}");
}

#[test]
fn what_a_queue_that_is_full_of_an_earlier_collection_does_not_take_is_counted() {
    let stack = Devstack::start_blocking().unwrap();
    stack.script(lgtm_devstack::Endpoint::RemoteWrite, [Reply::status(503).always()]);
    let mut options = lgtm_core::pipeline::PipelineOptions::default();
    options.queue.items = 8;
    let mimir = builder(&stack).options(options).push_interval(Duration::from_millis(100)).build().unwrap();
    with_local_recorder(&mimir.recorder(), || {
        for number in 0..50 {
            counter!("many_total", "number" => number.to_string()).increment(1);
        }
    });
    let full = || {
        let report = mimir.pipeline().unwrap().report();
        report.dropped.iter().any(|(reason, count)| *reason == DropReason::QueueFull && *count > 0)
    };
    let deadline = Instant::now() + PATIENCE;
    while !full() {
        assert!(Instant::now() < deadline, "{}", mimir.pipeline().unwrap().report());
        std::thread::sleep(Duration::from_millis(10));
    }
    stack.clear_script(lgtm_devstack::Endpoint::RemoteWrite);
    shut_down(&mimir);
    let report = mimir.pipeline().unwrap().report();
    assert_eq!((report.admitted, report.pending), (report.delivered + report.lost(), 0), "{report}");
}

#[test]
fn a_collection_larger_than_the_queue_is_pushed_whole_unless_an_earlier_one_still_waits() {
    let stack = Devstack::start_blocking().unwrap();
    let mut options = lgtm_core::pipeline::PipelineOptions::default();
    options.queue.bytes = 16 * 1024;
    options.queue.items = 100;
    options.queue.item_bytes = 1024;
    let mimir = builder(&stack).options(options).build().unwrap();
    let record = || {
        with_local_recorder(&mimir.recorder(), || {
            (0..2_000).for_each(|number| counter!("orders_total", "customer" => number.to_string()).increment(1));
        });
    };
    record();
    flush(&mimir);
    let pipeline = mimir.pipeline().unwrap();
    let report = pipeline.report();
    assert_eq!((report.lost(), report.pending), (0, 0), "{report}");
    assert_eq!(stack.store().series_named("orders_total").len(), 2_000);

    // What waits stays within the bounds and one collection.
    stack.script(lgtm_devstack::Endpoint::RemoteWrite, [Reply::status(503).always()]);
    let after = |seconds: u64| Instant::now() + Duration::from_secs(seconds);
    assert!(!pipeline.wait_flushed(&pipeline.begin_flush(), after(1)));
    let waiting = pipeline.report().pending;
    assert!(!pipeline.wait_flushed(&pipeline.begin_flush(), after(1)));
    let report = pipeline.report();
    assert!(report.pending <= waiting && waiting <= 2_100, "{waiting}: {report}");
    stack.clear_script(lgtm_devstack::Endpoint::RemoteWrite);
    flush(&mimir);

    // The last values and the markers of the end are twice as many.
    record();
    let before = pipeline.report();
    shut_down(&mimir);
    let report = pipeline.report();
    assert_eq!((report.lost(), report.pending), (before.lost(), 0), "{report}");
    let last = |series: &Series| series.samples[series.samples.len() - 2].value as u64;
    assert!(stack.store().series_named("orders_total").iter().all(|series| last(series) == 2));
}
