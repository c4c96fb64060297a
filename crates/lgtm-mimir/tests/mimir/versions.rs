//! Remote write 2, what follows where a backend does not take it, and lanes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lgtm_core::{Endpoint, Identity, SpanId, TraceContext, TraceId};
use lgtm_devstack::{Devstack, Endpoint as Route, MetricType, Reply};
use lgtm_mimir::{Builder, Format, Matcher, Mimir, RemoteWrite};
use metrics::{Unit, counter, gauge, histogram, with_local_recorder};

const PATIENCE: Duration = Duration::from_secs(30);

fn builder(stack: &Devstack) -> Builder {
    let mut identity = Identity::new("shop");
    identity.service_instance_id = "one".to_owned();
    lgtm_mimir::builder()
        .push(Endpoint::parse(&stack.mimir_url()).unwrap())
        .push_interval(Duration::from_secs(3600))
        .identity(identity)
        .buckets(&[0.5, 1.0])
}

fn flush(mimir: &Mimir) {
    let pipeline = mimir.pipeline().unwrap();
    assert!(pipeline.wait_flushed(&pipeline.begin_flush(), Instant::now() + PATIENCE), "{}", pipeline.report());
}

fn record(mimir: &Mimir) {
    with_local_recorder(&mimir.recorder(), || {
        metrics::describe_counter!("requests_total", Unit::Count, "Requests, however they end");
        metrics::describe_histogram!("took_seconds", Unit::Seconds, "How long it took");
        counter!("requests_total", "route" => "/a").increment(3);
        counter!("requests_total", "route" => "/b").increment(4);
        gauge!("depth").set(4.5);
        let trace = TraceContext::new(TraceId::random(), SpanId::random(), true);
        lgtm_core::current::with_trace(Some(trace), || histogram!("took_seconds").record(0.7));
    });
}

/// Every series as text with its values, and its exemplars.
fn stored(stack: &Devstack) -> BTreeMap<String, (Vec<u64>, usize, usize)> {
    let series = stack.store().series();
    let of = |series: &lgtm_devstack::Series| {
        let values = series.samples.iter().map(|sample| sample.value.to_bits()).collect();
        (format!("{:?}", series.labels), (values, series.exemplars.len(), series.histograms.len()))
    };
    series.iter().map(of).collect()
}

#[test]
fn version_2_brings_the_same_series_with_their_metadata() {
    let (one, two) = (Devstack::start_blocking().unwrap(), Devstack::start_blocking().unwrap());
    for (stack, version) in [(&one, RemoteWrite::One), (&two, RemoteWrite::Two)] {
        let mimir = builder(stack)
            .native_histograms_for(Matcher::Full("took_seconds".to_owned()), 160)
            .remote_write(version)
            .build()
            .unwrap();
        record(&mimir);
        flush(&mimir);
        flush(&mimir);
        let report = mimir.pipeline().unwrap().report();
        assert_eq!((report.delivered, report.rejected), (report.admitted, 0), "{report}");
    }
    let (ones, twos) = (stored(&one), stored(&two));
    assert!(ones.len() > 8, "{ones:?}");
    assert_eq!(ones, twos);
    assert!(twos.values().any(|(_, exemplars, _)| *exemplars == 1), "{twos:?}");
    assert!(twos.values().any(|(_, _, histograms)| *histograms >= 2), "{twos:?}");
    let known = two.store().metric_metadata();
    let requests = &known["requests_total"];
    assert_eq!((requests.metric_type, requests.help.as_str()), (MetricType::Counter, "Requests, however they end"));
    let took = &known["took_seconds"];
    assert_eq!((took.metric_type, took.unit.as_str()), (MetricType::Histogram, "seconds"));
    for request in two.store().requests_to(Route::RemoteWrite) {
        assert_eq!(request.header("x-prometheus-remote-write-version"), Some("2.0.0"));
        let proto = request.header("content-type").unwrap();
        assert_eq!(proto, "application/x-protobuf;proto=io.prometheus.write.v2.Request");
    }
}

#[test]
fn to_a_backend_that_does_not_take_it_version_1_is_sent_and_nothing_is_lost() {
    // One says so; an older one finds nothing in the request, and says that this is fine.
    for refusal in [Reply::status(415), Reply::status(204)] {
        let stack = Devstack::start_blocking().unwrap();
        stack.script(Route::RemoteWrite, [refusal]);
        let mimir = builder(&stack).remote_write(RemoteWrite::Two).build().unwrap();
        record(&mimir);
        flush(&mimir);
        flush(&mimir);
        let report = mimir.pipeline().unwrap().report();
        assert_eq!((report.delivered, report.rejected), (report.admitted, 0), "{report}");
        assert_eq!(stack.store().series_named("requests_total").len(), 2);
        let requests = stack.store().requests_to(Route::RemoteWrite);
        let versions: Vec<_> =
            requests.iter().map(|request| request.header("x-prometheus-remote-write-version").unwrap()).collect();
        assert_eq!(versions[..2], ["2.0.0", "0.1.0"]);
        assert!(versions[1..].iter().all(|version| *version == "0.1.0"), "{versions:?}");
    }
}

#[test]
fn requests_of_all_lanes_that_were_under_way_are_sent_again_in_version_1() {
    for refusal in [Reply::status(415), Reply::status(204)] {
        let stack = Devstack::start_blocking().unwrap();
        stack.script(Route::RemoteWrite, [refusal.times(4)]);
        let mimir = builder(&stack).remote_write(RemoteWrite::Two).push_lanes(4).build().unwrap();
        with_local_recorder(&mimir.recorder(), || {
            (0..100).for_each(|number| counter!("requests_total", "number" => number.to_string()).increment(1));
        });
        flush(&mimir);
        let report = mimir.pipeline().unwrap().report();
        assert_eq!((report.delivered, report.rejected), (report.admitted, 0), "{report}");
        assert_eq!(stack.store().series_named("requests_total").len(), 100);
        assert_eq!(stack.store().requests_to(Route::RemoteWrite).len(), 8);
    }
}

#[test]
fn the_series_of_several_lanes_all_arrive_in_their_order() {
    const SERIES: usize = 500;
    let stack = Devstack::start_blocking().unwrap();
    let mut options = lgtm_core::pipeline::PipelineOptions::default();
    // Many requests, so that lanes have something to overtake.
    options.batch.items = 50;
    let mimir = builder(&stack).options(options).push_lanes(8).build().unwrap();
    let counters: Vec<_> = with_local_recorder(&mimir.recorder(), || {
        (0..SERIES).map(|number| counter!("requests_total", "number" => number.to_string())).collect()
    });
    for _ in 0..5 {
        counters.iter().for_each(|counter| counter.increment(1));
        flush(&mimir);
    }
    let report = mimir.pipeline().unwrap().report();
    assert_eq!((report.delivered, report.rejected), (report.admitted, 0), "{report}");
    let series = stack.store().series_named("requests_total");
    assert_eq!(series.len(), SERIES);
    for one in series {
        let values: Vec<f64> = one.samples.iter().map(|sample| sample.value).collect();
        assert_eq!(values, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    }
    assert!(stack.store().requests_to(Route::RemoteWrite).len() > 8);
}

#[test]
fn a_lane_that_is_refused_is_tried_again_and_the_others_are_not_sent_twice() {
    let stack = Devstack::start_blocking().unwrap();
    stack.script(Route::RemoteWrite, [Reply::status(503)]);
    let mut options = lgtm_core::pipeline::PipelineOptions::default();
    options.retry.initial = Duration::from_millis(1);
    let mimir = builder(&stack).options(options).push_lanes(4).build().unwrap();
    with_local_recorder(&mimir.recorder(), || {
        (0..100).for_each(|number| counter!("requests_total", "number" => number.to_string()).increment(1));
    });
    flush(&mimir);
    let report = mimir.pipeline().unwrap().report();
    assert_eq!((report.delivered, report.rejected), (report.admitted, 0), "{report}");
    assert_eq!(stack.store().series_named("requests_total").len(), 100);
    assert_eq!(stack.counts().samples.duplicates, 0);
    assert_eq!(stack.store().requests_to(Route::RemoteWrite).len(), 5, "four lanes, one of them twice");
}

#[test]
fn no_lane_and_too_many_are_errors() {
    for lanes in [0, 65] {
        let error = lgtm_mimir::builder().push_lanes(lanes).build().map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(&lanes.to_string()) && error.contains("1 to 64"), "{error}");
    }
}

#[test]
fn a_programs_own_server_answers_in_the_format_that_is_asked_for() {
    let mimir = lgtm_mimir::builder().build().unwrap();
    let renderer = mimir.renderer().clone();
    with_local_recorder(&mimir.recorder(), || counter!("requests_total").increment(3));
    drop(mimir);
    let answer = |accept: &str| {
        let mut headers = http::HeaderMap::new();
        headers.insert(http::header::ACCEPT, accept.parse().unwrap());
        let answer = renderer.respond(&headers);
        assert_eq!(answer.status(), 200);
        (answer.headers()["content-type"].to_str().unwrap().to_owned(), answer.into_body())
    };
    let (content_type, text) = answer("text/plain");
    assert_eq!((content_type.as_str(), text.contains("requests_total 3")), (Format::Text.content_type(), true));
    let (content_type, text) = answer("application/openmetrics-text;version=1.0.0");
    assert_eq!(content_type, Format::OpenMetrics.content_type());
    assert!(text.ends_with("# EOF\n") && text.contains("requests_total 3"), "{text}");
}
