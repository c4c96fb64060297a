//! What libraries record through the OpenTelemetry API, as a scrape shows it: names, labels and types by the specification, limits and
//! conflicts counted, and callbacks that misbehave.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use lgtm_mimir::opentelemetry::MeterProvider;
use lgtm_mimir::{Format, Matcher, Mimir};
use metrics::{counter, gauge, histogram, with_local_recorder};
use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::metrics::{Aggregation, Instrument, SdkMeterProvider, Stream};

use crate::{parsed, samples, values};

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("library").with_version("1.2").build()
}

fn start(builder: lgtm_mimir::Builder) -> (Mimir, MeterProvider, Meter) {
    let mimir = builder.build().unwrap();
    let provider = mimir.meter_provider().unwrap();
    let meter = provider.meter_with_scope(scope());
    (mimir, provider, meter)
}

/// The text without what lgtm says of itself.
fn text(mimir: &Mimir, format: Format) -> String {
    let text = mimir.render(format);
    let own = text.lines().filter(|line| !line.contains("otlp_metrics_series_refused"));
    own.map(|line| format!("{line}\n")).collect()
}

fn refused(mimir: &Mimir, reason: &str) -> f64 {
    let exposition = parsed(mimir, Format::Text);
    let mut found = exposition.samples.iter().filter(|sample| {
        sample.labels["__name__"] == "otlp_metrics_series_refused_total" && sample.labels["reason"] == reason
    });
    found.next().unwrap().value
}

/// The values of a name's samples, by one label; those without it under "".
fn by(mimir: &Mimir, name: &str, label: &str) -> Vec<(String, f64)> {
    let exposition = parsed(mimir, Format::Text);
    let named = samples(&exposition).filter(|sample| sample.labels["__name__"] == name);
    named.map(|sample| (sample.labels.get(label).cloned().unwrap_or_default(), sample.value)).collect()
}

fn one(mimir: &Mimir, name: &str) -> f64 {
    crate::one(&parsed(mimir, Format::Text), name)
}

/// Reads again and again until this holds.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn record_all(meter: &Meter) {
    let web = [KeyValue::new("http.route", "/a"), KeyValue::new("api.key", "hunter2")];
    let orders = meter.u64_counter("orders").with_unit("{order}").with_description("Orders that came in").build();
    orders.add(2, &web);
    orders.add(1, &web);
    meter.f64_counter("process.cpu.time").with_unit("s").build().add(0.75, &[KeyValue::new("user", true)]);
    meter.i64_up_down_counter("queue.length").with_description("What waits").build().add(-3, &[]);
    meter.f64_gauge("temperature").with_unit("Cel").build().record(21.5, &[]);
    let seconds = meter.f64_histogram("took").with_unit("s").with_boundaries(vec![0.5, 1.0]).build();
    [0.25, 0.75, 0.75, 7.0].iter().for_each(|value| seconds.record(*value, &[]));
    let observed = meter.u64_observable_counter("sent").with_unit("By");
    observed.with_callback(|instrument| instrument.observe(17, &[KeyValue::new("to", "b")])).build();
    let observed = meter.f64_observable_up_down_counter("balance");
    observed.with_callback(|instrument| instrument.observe(-0.5, &[])).build();
    let observed = meter.i64_observable_gauge("depth").with_unit("m");
    observed.with_callback(|instrument| instrument.observe(-9, &[])).build();
}

#[test]
fn every_instrument_is_exposed_as_the_specification_says() {
    let (mimir, _provider, meter) = start(lgtm_mimir::builder());
    record_all(&meter);
    let scope = r#"otel_scope_name="library",otel_scope_version="1.2""#;
    let expected = r#"# TYPE balance gauge
balance{SCOPE} -0.5
# TYPE depth_meters gauge
depth_meters{SCOPE} -9
# TYPE orders_total counter
# HELP orders_total Orders that came in
orders_total{api_key="[redacted]",http_route="/a",SCOPE} 3
# TYPE process_cpu_time_seconds_total counter
process_cpu_time_seconds_total{SCOPE,user="true"} 0.75
# TYPE queue_length gauge
# HELP queue_length What waits
queue_length{SCOPE} -3
# TYPE sent_bytes_total counter
sent_bytes_total{SCOPE,to="b"} 17
# TYPE temperature_celsius gauge
temperature_celsius{SCOPE} 21.5
# TYPE took_seconds histogram
took_seconds_bucket{SCOPE,le="0.5"} 1
took_seconds_bucket{SCOPE,le="1"} 3
took_seconds_bucket{SCOPE,le="+Inf"} 4
took_seconds_sum{SCOPE} 8.75
took_seconds_count{SCOPE} 4
"#;
    assert_eq!(text(&mimir, Format::Text), expected.replace("SCOPE", scope));
    let open_metrics = text(&mimir, Format::OpenMetrics);
    for unit in ["depth_meters meters", "process_cpu_time_seconds seconds", "sent_bytes bytes", "took_seconds seconds"]
    {
        assert!(open_metrics.contains(&format!("# UNIT {unit}\n")), "{unit}: {open_metrics}");
    }
    // An independent reader finds the same in both.
    assert_eq!(values(&parsed(&mimir, Format::Text)), values(&parsed(&mimir, Format::OpenMetrics)));
}

#[test]
fn promtool_finds_nothing_to_complain_about_in_metrics_of_both_apis() {
    let (mimir, _provider, meter) = start(lgtm_mimir::builder());
    let named = |name| KeyValue::new("name", name);
    meter.u64_counter("http.requests").with_description("Requests").build().add(1, &[named("a\"\\\n")]);
    meter.f64_histogram("http.duration").with_unit("s").with_description("Duration").build().record(0.3, &[]);
    meter.i64_up_down_counter("queue.items").with_description("Items").build().add(3, &[]);
    with_local_recorder(&mimir.recorder(), || {
        metrics::describe_counter!("jobs_total", "Jobs");
        counter!("jobs_total").increment(1);
    });
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = match promtool.spawn() {
        Ok(started) => started,
        Err(error) => {
            eprintln!("skipped: promtool cannot be started ({error})");
            return;
        }
    };
    started.stdin.as_ref().unwrap().write_all(mimir.render(Format::Text).as_bytes()).unwrap();
    let done = started.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && said.trim().is_empty(), "{} {said}", done.status);
}

#[test]
fn names_and_series_of_the_other_api_are_left_alone_and_counted() {
    let (mimir, _provider, meter) = start(lgtm_mimir::builder());
    with_local_recorder(&mimir.recorder(), || {
        gauge!("orders_total").set(1.0);
        // The very labels that the library's series have.
        counter!("jobs_total", "otel_scope_name" => "library", "otel_scope_version" => "1.2").increment(1);
        counter!("jobs_total").increment(10);
        histogram!("took").record(1.0);
    });
    meter.u64_counter("orders").build().add(7, &[]);
    meter.u64_counter("jobs").build().add(7, &[]);
    meter.u64_counter("jobs").build().add(8, &[KeyValue::new("kind", "web")]);
    meter.u64_gauge("took.count").build().record(7, &[]);
    let first = text(&mimir, Format::Text);
    assert_eq!(one(&mimir, "orders_total"), 1.0, "{first}");
    let mut jobs: Vec<_> = by(&mimir, "jobs_total", "kind").into_iter().map(|(_, value)| value).collect();
    jobs.sort_by(f64::total_cmp);
    assert_eq!(jobs, [1.0, 8.0, 10.0]);
    // Once each, however often they are read.
    assert_eq!((refused(&mimir, "type_conflict"), refused(&mimir, "series_conflict")), (2.0, 1.0));

    meter.u64_counter("later").build().add(5, &[]);
    assert_eq!(one(&mimir, "later_total"), 5.0);
    with_local_recorder(&mimir.recorder(), || {
        counter!("later_total", "otel_scope_name" => "library", "otel_scope_version" => "1.2").increment(100);
    });
    assert_eq!((one(&mimir, "later_total"), refused(&mimir, "series_conflict")), (5.0, 2.0));
}

#[test]
fn attribute_sets_that_become_one_series_are_added_up() {
    let (mimir, provider, meter) = start(lgtm_mimir::builder());
    let counter = meter.u64_counter("requests").build();
    counter.add(1, &[KeyValue::new("a.b", "x")]);
    counter.add(2, &[KeyValue::new("a_b", "x")]);
    let histogram = meter.f64_histogram("size").with_boundaries(vec![1.0]).build();
    histogram.record(0.5, &[KeyValue::new("token", "one")]);
    histogram.record(2.0, &[KeyValue::new("token", "two")]);
    // The same name, version and labels from a meter that differs in nothing that is a label.
    meter.u64_counter("requests.total").build().add(4, &[KeyValue::new("a_b", "x")]);
    assert_eq!(by(&mimir, "requests_total", "a_b"), [("x".to_owned(), 7.0)]);
    let buckets = by(&mimir, "size_bucket", "le");
    assert_eq!(buckets, [("1".to_owned(), 1.0), ("+Inf".to_owned(), 2.0)]);
    // A second reading adds nothing.
    assert_eq!(by(&mimir, "requests_total", "a_b"), [("x".to_owned(), 7.0)]);
    drop(provider);
}

#[test]
fn beyond_the_recorders_limit_attribute_sets_count_in_one_series_of_their_library() {
    let (mimir, _provider, meter) = start(lgtm_mimir::builder().name_series_limit(3));
    let counter = meter.u64_counter("requests").build();
    (0..10_i64).for_each(|number| counter.add(1, &[KeyValue::new("number", number)]));
    for _ in 0..2 {
        let values = by(&mimir, "requests_total", "otel_metric_overflow");
        assert_eq!(values.len(), 4, "{values:?}");
        assert!(values.contains(&("true".to_owned(), 7.0)), "{values:?}");
        assert_eq!(values.iter().map(|(_, value)| value).sum::<f64>(), 10.0);
        assert_eq!(refused(&mimir, "name_series_limit"), 7.0);
    }
    // Those of the other API have one of their own.
    with_local_recorder(&mimir.recorder(), || counter!("requests_total", "number" => "eleven").increment(5));
    let values = by(&mimir, "requests_total", "otel_metric_overflow");
    assert_eq!(values.iter().filter(|(overflow, _)| overflow == "true").count(), 2, "{values:?}");
    assert_eq!(values.iter().map(|(_, value)| value).sum::<f64>(), 15.0);
}

#[test]
fn what_the_sdk_counts_together_is_an_overflow_too() {
    let (mimir, _provider, meter) = start(lgtm_mimir::builder());
    let counter = meter.u64_counter("requests").build();
    (0..2500_i64).for_each(|number| counter.add(1, &[KeyValue::new("number", number)]));
    let values = by(&mimir, "requests_total", "otel_metric_overflow");
    assert_eq!(values.iter().map(|(_, value)| value).sum::<f64>(), 2500.0);
    assert!(values.contains(&("true".to_owned(), 500.0)), "{} series", values.len());
    assert_eq!(refused(&mimir, "name_series_limit"), 1.0);
}

#[test]
fn the_recorders_rules_for_histograms_hold_and_the_instruments_boundaries_where_there_is_none() {
    let builder = lgtm_mimir::builder()
        .buckets(&[99.0])
        .buckets_for(Matcher::Suffix("_bytes".into()), &[10.0, 100.0])
        .native_histograms_for("took_seconds", 160);
    let (mimir, _provider, meter) = start(builder);
    meter.u64_histogram("size").with_unit("By").with_boundaries(vec![1.0]).build().record(50, &[]);
    meter.f64_histogram("ratio").with_boundaries(vec![0.5]).build().record(0.25, &[]);
    let took = meter.f64_histogram("took").with_unit("s").build();
    [0.5, 0.25, 3.0].iter().for_each(|value| took.record(*value, &[]));
    let bounds = |name: &str| by(&mimir, name, "le").into_iter().map(|(le, _)| le).collect::<Vec<_>>();
    assert_eq!(bounds("size_bytes_bucket"), ["10", "100", "+Inf"]);
    assert_eq!(bounds("ratio_bucket"), ["0.5", "+Inf"]);
    // Text formats have no native histograms: what they can say is there, and true.
    assert_eq!(by(&mimir, "took_seconds_bucket", "le"), [("+Inf".to_owned(), 3.0)]);
    assert_eq!((one(&mimir, "took_seconds_sum"), one(&mimir, "took_seconds_count")), (3.75, 3.0));
    parsed(&mimir, Format::OpenMetrics);
}

#[test]
fn a_provider_of_the_programs_own_has_its_views() {
    let mimir = lgtm_mimir::builder().build().unwrap();
    let exponential = |instrument: &Instrument| {
        let aggregation =
            Aggregation::Base2ExponentialHistogram { max_size: 160, max_scale: 20, record_min_max: false };
        let named = instrument.name() == "took";
        named.then(|| Stream::builder().with_name("renamed").with_aggregation(aggregation).build().unwrap())
    };
    let provider =
        SdkMeterProvider::builder().with_reader(mimir.opentelemetry_reader().unwrap()).with_view(exponential).build();
    let meter = provider.meter("library");
    meter.f64_histogram("took").build().record(0.3, &[]);
    meter.u64_counter("orders").build().add(1, &[]);
    assert_eq!((one(&mimir, "renamed_count"), one(&mimir, "orders_total")), (1.0, 1.0));
}

#[test]
fn an_attribute_set_that_is_observed_no_more_has_no_series() {
    let (mimir, _provider, meter) = start(lgtm_mimir::builder());
    let present = Arc::new(AtomicI64::new(2));
    let seen = Arc::clone(&present);
    let gauge = meter.u64_observable_gauge("connections").with_callback(move |gauge| {
        (0..seen.load(Ordering::SeqCst)).for_each(|peer| gauge.observe(1, &[KeyValue::new("peer", peer)]));
    });
    gauge.build();
    let lasting = meter.u64_counter("orders").build();
    lasting.add(1, &[]);
    let peers = || by(&mimir, "connections", "peer").into_iter().map(|(peer, _)| peer).collect::<Vec<_>>();
    assert_eq!(peers(), ["0", "1"]);
    present.store(1, Ordering::SeqCst);
    assert_eq!(peers(), ["0"]);
    present.store(3, Ordering::SeqCst);
    assert_eq!(peers(), ["0", "1", "2"]);
    assert_eq!(one(&mimir, "orders_total"), 1.0, "nothing was added, and it is still there");
}

#[test]
fn a_callback_that_panics_costs_nobody_else_anything() {
    let (mimir, _provider, meter) = start(lgtm_mimir::builder());
    let panics = Arc::new(AtomicBool::new(true));
    let own = Arc::clone(&panics);
    let gauge = meter.u64_observable_gauge("broken").with_callback(move |gauge| {
        assert!(!own.load(Ordering::SeqCst), "a callback panics, as it is meant to");
        gauge.observe(1, &[]);
    });
    gauge.build();
    meter.u64_observable_gauge("whole").with_callback(|gauge| gauge.observe(2, &[])).build();
    let first = text(&mimir, Format::Text);
    assert!(first.contains("whole{") && !first.contains("broken"), "{first}");
    assert!(refused(&mimir, "callback_panic") >= 1.0);
    // New instruments are still taken.
    meter.u64_counter("orders").build().add(1, &[]);
    assert_eq!(one(&mimir, "orders_total"), 1.0);
    panics.store(false, Ordering::SeqCst);
    assert_eq!((one(&mimir, "broken"), one(&mimir, "whole")), (1.0, 2.0));
}

#[test]
fn a_callback_that_never_returns_holds_nobody_up_for_good() {
    let (mimir, _provider, meter) = start(lgtm_mimir::builder());
    let orders = meter.u64_counter("orders").build();
    orders.add(1, &[]);
    assert_eq!(one(&mimir, "orders_total"), 1.0);
    let barrier = Arc::new(Barrier::new(2));
    let (waits, own) = (Arc::new(AtomicBool::new(true)), Arc::clone(&barrier));
    let still_waits = Arc::clone(&waits);
    let gauge = meter.u64_observable_gauge("stuck").with_callback(move |gauge| {
        if still_waits.load(Ordering::SeqCst) {
            own.wait();
        }
        gauge.observe(1, &[]);
    });
    gauge.build();
    orders.add(1, &[]);
    with_local_recorder(&mimir.recorder(), || counter!("others_total").increment(3));
    // What was read before is still there, and so is what is not OpenTelemetry's.
    assert_eq!((one(&mimir, "orders_total"), one(&mimir, "others_total")), (1.0, 3.0));
    assert!(refused(&mimir, "callback_late") >= 1.0);
    // It goes on where it left off.
    waits.store(false, Ordering::SeqCst);
    barrier.wait();
    eventually("the collection goes on", || text(&mimir, Format::Text).contains("stuck{"));
    assert_eq!(one(&mimir, "orders_total"), 2.0);
}

#[test]
fn a_callback_may_ask_for_anything_and_waits_for_nothing() {
    let mimir = Arc::new(lgtm_mimir::builder().build().unwrap());
    let provider = mimir.meter_provider().unwrap();
    let meter = provider.meter_with_scope(scope());
    let (renderer, own, mine) = (mimir.renderer(), provider.clone(), meter.clone());
    let known = meter.u64_counter("known").build();
    let gauge = meter.u64_observable_gauge("curious").with_callback(move |gauge| {
        // An instrument, a flush, a reading, and a sample, in the midst of a collection.
        mine.u64_counter("made_in_a_callback").build().add(1, &[]);
        own.meter("other").f64_observable_gauge("too").with_callback(|gauge| gauge.observe(1.0, &[])).build();
        let _ = own.force_flush();
        let length = renderer.render(Format::Text).len();
        known.add(1, &[]);
        gauge.observe(u64::try_from(length.min(1)).unwrap(), &[]);
    });
    gauge.build();
    let first = text(&mimir, Format::Text);
    assert!(first.contains("curious{") && !first.contains("made_in_a_callback") && !first.contains("too"), "{first}");
    assert_eq!(refused(&mimir, "callback_late"), 0.0);
    assert!(refused(&mimir, "callback_instrument") >= 2.0);
    assert!(one(&mimir, "known_total") >= 1.0);
    let elsewhere = meter.clone();
    std::thread::spawn(move || elsewhere.u64_counter("elsewhere").build().add(1, &[])).join().unwrap();
    assert_eq!(one(&mimir, "elsewhere_total"), 1.0);
}

#[test]
fn after_its_end_a_providers_last_values_stay_until_another_one_comes() {
    let (mimir, provider, meter) = start(lgtm_mimir::builder());
    let orders = meter.u64_counter("orders").build();
    orders.add(3, &[]);
    provider.shutdown().unwrap();
    assert_eq!(one(&mimir, "orders_total"), 3.0, "collected a last time");
    orders.add(1, &[]);
    assert_eq!(one(&mimir, "orders_total"), 3.0);
    let next = mimir.meter_provider().unwrap();
    next.meter_with_scope(scope()).u64_counter("orders").build().add(1, &[]);
    assert_eq!((one(&mimir, "orders_total"), refused(&mimir, "series_conflict")), (1.0, 0.0));
}

#[test]
fn two_providers_do_not_write_the_same_series() {
    let (mimir, _provider, meter) = start(lgtm_mimir::builder());
    let other = mimir.meter_provider().unwrap();
    meter.u64_counter("orders").build().add(3, &[]);
    assert_eq!(one(&mimir, "orders_total"), 3.0);
    other.meter_with_scope(scope()).u64_counter("orders").build().add(100, &[]);
    other.meter("another").u64_counter("orders").build().add(5, &[]);
    let values = by(&mimir, "orders_total", "otel_scope_name");
    assert_eq!(values, [("another".to_owned(), 5.0), ("library".to_owned(), 3.0)]);
    assert_eq!(refused(&mimir, "series_conflict"), 1.0);
}

#[test]
fn series_of_instruments_are_not_taken_for_idle() {
    let (mimir, _provider, meter) = start(lgtm_mimir::builder().expire_after(Duration::from_secs(1)));
    meter.u64_counter("orders").build().add(3, &[]);
    with_local_recorder(&mimir.recorder(), || counter!("idle_total", "n" => "1".to_owned()).increment(1));
    assert_eq!(one(&mimir, "orders_total"), 3.0);
    eventually("the other one expires", || !text(&mimir, Format::Text).contains("idle_total"));
    assert_eq!(one(&mimir, "orders_total"), 3.0);
}

#[test]
fn a_recorder_that_starts_again_has_nothing_of_the_providers_before() {
    let (mimir, _provider, meter) = start(lgtm_mimir::builder());
    let orders = meter.u64_counter("orders").build();
    orders.add(3, &[]);
    assert_eq!(one(&mimir, "orders_total"), 3.0);
    // As in a child that was forked: provider and instruments are the parent's.
    let again = lgtm_mimir::builder().restart(mimir.recorder()).build().unwrap();
    orders.add(1, &[]);
    assert!(!text(&again, Format::Text).contains("orders_total"));
    let provider = again.meter_provider().unwrap();
    provider.meter_with_scope(scope()).u64_counter("orders").build().add(1, &[]);
    assert_eq!((one(&again, "orders_total"), refused(&again, "series_conflict")), (1.0, 0.0));
}
