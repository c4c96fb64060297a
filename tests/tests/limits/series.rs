//! Metrics: names, label sets, labels, lengths. The overflow is a series of its own, and `otlp_metrics_series_refused_total` counts.

use std::time::{Duration, Instant};

use lgtm_core::{Endpoint, Identity, Worker};
use lgtm_devstack::{Devstack, Series};
use lgtm_mimir::Mimir;
use lgtm_tests::signals::PATIENCE;
use metrics::{counter, gauge, histogram, with_local_recorder};

const OVERFLOW: &str = "otel_metric_overflow";

/// Records by `program` and pushes: what has arrived.
fn pushed(limits: impl FnOnce(lgtm_mimir::Builder) -> lgtm_mimir::Builder, program: impl FnOnce()) -> Devstack {
    let stack = Devstack::start_blocking().unwrap();
    let mimir: Mimir = limits(lgtm_mimir::builder())
        .push(Endpoint::parse(&stack.mimir_url()).unwrap())
        .push_interval(Duration::from_secs(3600))
        .identity(Identity::new("limits"))
        .worker(Worker::spawn().unwrap())
        .build()
        .unwrap();
    with_local_recorder(&mimir.recorder(), program);
    let pipeline = mimir.pipeline().unwrap();
    assert!(pipeline.wait_flushed(&pipeline.begin_flush(), Instant::now() + PATIENCE));
    let report = pipeline.report();
    assert_eq!((report.lost(), report.pending), (0, 0), "{report}");
    stack
}

fn last(series: &Series) -> f64 {
    series.last_value().unwrap()
}

fn refused(stack: &Devstack, reason: &str) -> f64 {
    let all = stack.store().series_named("otlp_metrics_series_refused_total");
    last(all.iter().find(|series| series.labels["reason"] == reason).unwrap())
}

#[test]
fn label_sets_beyond_the_limit_of_a_name_count_in_one_series_and_nothing_is_lost_of_their_sum() {
    let stack = pushed(
        |builder| builder.name_series_limit(100),
        || {
            for user in 0..5000 {
                counter!("requests_total", "user" => user.to_string()).increment(2);
            }
            counter!("others_total").increment(1);
        },
    );
    let series = stack.store().series_named("requests_total");
    assert_eq!(series.len(), 101);
    let overflow: Vec<_> = series.iter().filter(|series| series.labels.contains_key(OVERFLOW)).collect();
    assert_eq!((overflow.len(), last(overflow[0])), (1, 9800.0));
    assert_eq!(series.iter().map(last).sum::<f64>(), 10_000.0);
    assert_eq!(refused(&stack, "name_series_limit"), 4900.0);
    assert_eq!(last(&stack.store().series_named("others_total")[0]), 1.0);
}

#[test]
fn the_limit_of_all_series_leaves_each_name_its_overflow_series() {
    let stack = pushed(
        |builder| builder.series_limit(50),
        || {
            for number in 0..100 {
                gauge!("size", "number" => number.to_string()).set(1.0);
                histogram!("seconds", "number" => number.to_string()).record(1.0);
            }
        },
    );
    let label_sets = |name: &str| stack.store().series_named(name);
    let (sizes, counts) = (label_sets("size"), label_sets("seconds_count"));
    // A histogram is its buckets, sum and count.
    let time_series = sizes.len() - 1 + (counts.len() - 1) * 14;
    assert!(time_series <= 50 && time_series > 30, "{} {}", sizes.len(), counts.len());
    for series in [&sizes, &counts] {
        assert_eq!(series.iter().filter(|series| series.labels.contains_key(OVERFLOW)).count(), 1);
    }
    assert_eq!(counts.iter().map(last).sum::<f64>(), 100.0);
    assert!(refused(&stack, "series_limit") > 0.0);
}

#[test]
fn names_beyond_their_limit_are_not_exposed_and_counted() {
    let mimir = lgtm_mimir::builder().build().unwrap();
    with_local_recorder(&mimir.recorder(), || {
        for number in 0..10_050 {
            counter!(format!("name_{number}_total")).increment(1);
        }
    });
    let text = mimir.render(lgtm_mimir::Format::Text);
    let names = text.lines().filter(|line| line.starts_with("name_")).count();
    // One name is that of the counts.
    assert_eq!(names, 9_999);
    assert!(text.contains("otlp_metrics_series_refused_total{reason=\"name_limit\"} 51\n"), "{}", &text[..1000]);
}

#[test]
fn long_names_and_values_and_many_labels_are_cut_and_counted() {
    let long = "ä".repeat(3000);
    let stack = pushed(
        |builder| builder,
        || {
            counter!("cut_total", "path" => long.clone()).increment(1);
            counter!(format!("cut_{}_total", "n".repeat(3000))).increment(1);
            counter!("cut_total", format!("l{}", "n".repeat(3000)) => "value").increment(1);
            let labels: Vec<_> =
                (0..100).map(|number| metrics::Label::new(format!("label{number}"), "value")).collect();
            counter!("many_total", labels).increment(1);
            histogram!("with_le_seconds", "le" => "mine").record(1.0);
        },
    );
    let series = stack.store().series_named("cut_total");
    assert_eq!(series.len(), 2);
    for (name, value) in series.iter().flat_map(|series| &series.labels) {
        assert!(name.len() <= 512 && value.len() <= 1024, "{} {}", name.len(), value.len());
    }
    assert_eq!(refused(&stack, "length_limit"), 3.0);
    let many = stack.store().series_named("many_total");
    assert!(many[0].labels.len() <= 64 + 4, "{}", many[0].labels.len());
    assert_eq!(refused(&stack, "label_limit"), 1.0);
    let buckets = stack.store().series_named("with_le_seconds_bucket");
    assert!(buckets.iter().all(|series| series.labels["exported_le"] == "mine" && series.labels["le"] != "mine"));
}
