//! Histograms that are exposed as summaries, in every format and protocol.

use std::time::{Duration, Instant};

use lgtm_core::{Endpoint, Identity, SpanId, TraceContext, TraceId};
use lgtm_devstack::{Devstack, MetricType, Series};
use lgtm_mimir::{Builder, Format, Matcher, Mimir, OtlpProtocol, Protocol, RemoteWrite};
use metrics::{Unit, histogram, with_local_recorder};

use crate::{one, parsed, samples};

const PATIENCE: Duration = Duration::from_secs(30);
const STALE: u64 = 0x7ff0_0000_0000_0002;

fn builder() -> Builder {
    lgtm_mimir::builder().quantiles_for(Matcher::Suffix("_seconds".to_owned()), &[0.5, 0.9])
}

/// The numbers from 1 to 100, evenly.
fn record(mimir: &Mimir) {
    with_local_recorder(&mimir.recorder(), || {
        metrics::describe_histogram!("took_seconds", Unit::Seconds, "How long it took");
        let trace = TraceContext::new(TraceId::random(), SpanId::random(), true);
        lgtm_core::current::with_trace(Some(trace), || {
            (1..=100).for_each(|value| histogram!("took_seconds", "quantile" => "own").record(f64::from(value)));
        });
        histogram!("size_bytes").record(1.0);
    });
}

fn is_near(found: f64, truth: f64) -> bool {
    (found - truth).abs() <= truth * 0.01
}

#[test]
fn text_and_openmetrics_have_quantiles_sum_and_count_and_others_stay_histograms() {
    let mimir = builder().build().unwrap();
    record(&mimir);
    for format in [Format::Text, Format::OpenMetrics] {
        let exposition = parsed(&mimir, format);
        assert_eq!(exposition.families["took_seconds"].metric_type, MetricType::Summary);
        let quantiles: Vec<_> = samples(&exposition)
            .filter(|sample| sample.labels["__name__"] == "took_seconds")
            .map(|sample| {
                assert_eq!(sample.labels["exported_quantile"], "own");
                assert!(sample.exemplar.is_none());
                (sample.labels["quantile"].as_str(), sample.value)
            })
            .collect();
        let [("0.5", half), ("0.9", most)] = quantiles[..] else { panic!("{quantiles:?}") };
        assert!(is_near(half, 50.0) && is_near(most, 90.0), "{quantiles:?}");
        assert_eq!((one(&exposition, "took_seconds_sum"), one(&exposition, "took_seconds_count")), (5050.0, 100.0));
        assert!(samples(&exposition).all(|sample| sample.labels["__name__"] != "took_seconds_bucket"));
        assert_eq!(one(&exposition, "size_bytes_count"), 1.0);
        assert!(samples(&exposition).any(|sample| sample.labels["__name__"] == "size_bytes_bucket"));
    }
}

#[test]
fn what_is_no_number_is_refused_and_what_is_below_zero_takes_the_sum_from_openmetrics() {
    let mimir = builder().build().unwrap();
    with_local_recorder(&mimir.recorder(), || {
        histogram!("took_seconds").record(f64::NAN);
        histogram!("took_seconds").record(-3.0);
        histogram!("took_seconds").record(f64::INFINITY);
    });
    let text = parsed(&mimir, Format::Text);
    assert_eq!((one(&text, "took_seconds_count"), one(&text, "took_seconds_sum")), (2.0, f64::INFINITY));
    let refused = text.samples.iter().find(|sample| {
        sample.labels["__name__"] == "otlp_metrics_series_refused_total" && sample.labels["reason"] == "not_a_number"
    });
    assert_eq!(refused.unwrap().value, 1.0);
    let open = parsed(&mimir, Format::OpenMetrics);
    assert!(samples(&open).all(|sample| sample.labels["__name__"] != "took_seconds_sum"));
}

#[test]
fn a_window_that_is_over_says_nan_and_sum_and_count_stay() {
    let mimir = builder().quantile_window(Duration::from_secs(1)).build().unwrap();
    record(&mimir);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let exposition = parsed(&mimir, Format::Text);
        let mut quantiles = samples(&exposition).filter(|sample| sample.labels.contains_key("quantile"));
        if quantiles.all(|sample| sample.value.is_nan()) {
            assert_eq!(one(&exposition, "took_seconds_count"), 100.0);
            return;
        }
        assert!(Instant::now() < deadline, "the window does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn many_label_sets_of_one_name_count_together() {
    let mimir = builder().build().unwrap();
    with_local_recorder(&mimir.recorder(), || {
        for user in 0..1_100 {
            histogram!("took_seconds", "user" => user.to_string()).record(1.0);
        }
    });
    let exposition = parsed(&mimir, Format::Text);
    let counts: Vec<_> =
        samples(&exposition).filter(|sample| sample.labels["__name__"] == "took_seconds_count").collect();
    assert_eq!(counts.len(), 1_001);
    let overflow = counts.iter().find(|sample| sample.labels.contains_key("otel_metric_overflow")).unwrap();
    assert_eq!(overflow.value, 100.0);
}

fn pushed(stack: &Devstack, url: &str, configure: impl FnOnce(Builder) -> Builder) -> Mimir {
    let builder = builder().push(Endpoint::parse(url).unwrap()).push_interval(Duration::from_secs(3600));
    let mimir = configure(builder.identity(Identity::new("shop"))).build().unwrap();
    record(&mimir);
    let pipeline = mimir.pipeline().unwrap();
    assert!(pipeline.wait_flushed(&pipeline.begin_flush(), Instant::now() + PATIENCE));
    let report = pipeline.report();
    assert_eq!((report.delivered, report.lost()), (report.admitted, 0), "{report}");
    assert_eq!(stack.store().metric_metadata()["took_seconds"].metric_type, MetricType::Summary);
    mimir
}

fn only(stack: &Devstack, name: &str, quantile: Option<&str>) -> Series {
    let matches = |series: &Series| series.labels.get("quantile").map(String::as_str) == quantile;
    let mut series: Vec<_> = stack.store().series_named(name).into_iter().filter(matches).collect();
    assert_eq!(series.len(), 1, "{name}: {series:?}");
    series.remove(0)
}

#[test]
fn remote_write_of_both_versions_has_them_and_says_when_they_are_over() {
    for version in [RemoteWrite::One, RemoteWrite::Two] {
        let stack = Devstack::start_blocking().unwrap();
        let mimir = pushed(&stack, &stack.mimir_url(), |builder| builder.remote_write(version));
        assert!(is_near(only(&stack, "took_seconds", Some("0.5")).samples[0].value, 50.0));
        assert!(is_near(only(&stack, "took_seconds", Some("0.9")).samples[0].value, 90.0));
        // What has grown from zero has its zero, so that rate() sees it; a quantile has none.
        let values =
            |name: &str| only(&stack, name, None).samples.iter().map(|sample| sample.value).collect::<Vec<_>>();
        assert_eq!((values("took_seconds_sum"), values("took_seconds_count")), (vec![0.0, 5050.0], vec![0.0, 100.0]));
        assert!(stack.store().series_named("took_seconds_bucket").is_empty());
        let pipeline = mimir.pipeline().unwrap();
        pipeline.begin_shutdown(Instant::now() + PATIENCE);
        assert!(pipeline.wait_ended(Instant::now() + PATIENCE));
        for quantile in [Some("0.5"), Some("0.9")] {
            assert!(only(&stack, "took_seconds", quantile).is_stale());
        }
        assert!(
            only(&stack, "took_seconds_sum", None).is_stale() && only(&stack, "took_seconds_count", None).is_stale()
        );
    }
}

#[test]
fn a_window_without_samples_is_no_stale_marker() {
    let stack = Devstack::start_blocking().unwrap();
    let mimir = pushed(&stack, &stack.mimir_url(), |builder| builder.quantile_window(Duration::from_secs(1)));
    let deadline = Instant::now() + PATIENCE;
    let last = || {
        let pipeline = mimir.pipeline().unwrap();
        assert!(pipeline.wait_flushed(&pipeline.begin_flush(), Instant::now() + PATIENCE));
        only(&stack, "took_seconds", Some("0.5")).samples.last().unwrap().value
    };
    while !last().is_nan() {
        assert!(Instant::now() < deadline, "the window does not end");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(!only(&stack, "took_seconds", Some("0.5")).is_stale());
}

#[test]
fn otlp_has_them_as_data_points_of_a_summary() {
    for protocol in [OtlpProtocol::Grpc, OtlpProtocol::Http] {
        let stack = Devstack::start_blocking().unwrap();
        let url = if protocol == OtlpProtocol::Grpc { stack.otlp_grpc_url() } else { stack.otlp_http_url() };
        let mimir = pushed(&stack, &url, |builder| builder.protocol(Protocol::Otlp(protocol)));
        assert!(is_near(only(&stack, "took_seconds", Some("0.5")).samples[0].value, 50.0));
        assert!(is_near(only(&stack, "took_seconds", Some("0.9")).samples[0].value, 90.0));
        let count = only(&stack, "took_seconds_count", None);
        assert_eq!(count.samples.last().unwrap().value, 100.0);
        assert_eq!(only(&stack, "took_seconds_sum", None).samples.last().unwrap().value, 5050.0);
        let pipeline = mimir.pipeline().unwrap();
        pipeline.begin_shutdown(Instant::now() + PATIENCE);
        assert!(pipeline.wait_ended(Instant::now() + PATIENCE));
        let all = [("took_seconds_count", None), ("took_seconds_sum", None), ("took_seconds", Some("0.9"))];
        for (name, quantile) in all {
            let last = only(&stack, name, quantile).samples.last().unwrap().value;
            assert_eq!(last.to_bits(), STALE, "{name} {last}");
        }
    }
}

#[test]
fn quantiles_that_cannot_work_are_errors_that_name_the_metric_and_the_value() {
    let error = lgtm_mimir::builder().quantiles_for("took_seconds", &[0.5, 99.0]).build().map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("`took_seconds`: 99"), "{error}");
    let error = lgtm_mimir::builder().quantile_window(Duration::ZERO).build().map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("0ns"), "{error}");
}
