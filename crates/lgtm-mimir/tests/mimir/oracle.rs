//! The same samples through another implementation have the same values.

use lgtm_mimir::Format;
use metrics::{counter, gauge, histogram, with_local_recorder};
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::{parsed, values};

const BUCKETS: [f64; 4] = [0.1, 0.5, 1.0, 2.5];

fn record() {
    for (index, value) in [0.05, 0.1, 0.3, 0.75, 1.0, 2.0, 7.5, 0.5].into_iter().enumerate() {
        // No backslash: the other exporter takes one for an escape that is there already.
        let route = if index % 2 == 0 { "/a" } else { "/b\"\n" };
        histogram!("http_request_duration_seconds", "route" => route).record(value);
        counter!("http_requests_total", "route" => route, "code" => "200").increment(index as u64);
        gauge!("queue.depth").set(value * 3.0);
    }
    histogram!("plain_seconds").record(0.1);
    counter!("absolute_total").absolute(41);
    counter!("absolute_total").increment(1);
    gauge!("temperature").set(-3.25);
    gauge!("temperature").increment(1.0);
    gauge!("temperature").decrement(0.5);
    gauge!("infinite").set(f64::INFINITY);
}

#[test]
fn the_same_samples_have_the_values_that_another_exporter_gives_them() {
    let mimir = lgtm_mimir::builder().buckets(&BUCKETS).build().unwrap();
    with_local_recorder(&mimir.recorder(), record);

    let oracle = PrometheusBuilder::new().set_buckets(&BUCKETS).unwrap().build_recorder();
    with_local_recorder(&oracle, record);
    let text = oracle.handle().render();
    let expected = lgtm_devstack::exposition::parse(&text, lgtm_devstack::exposition::Format::Text).unwrap();

    let expected = values(&expected);
    assert!(expected.len() > 20, "{text}");
    assert_eq!(values(&parsed(&mimir, Format::Text)), expected);
}
