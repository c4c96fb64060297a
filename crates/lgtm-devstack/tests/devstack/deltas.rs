//! OTLP metrics of delta temporality become cumulative series.

use lgtm_devstack::{Devstack, Series};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Histogram,
    HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exemplar, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use proptest::prelude::*;
use prost::Message;

use crate::client::{http, now_ns, text_attribute};

const SECOND: u64 = 1_000_000_000;

fn request(metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let attributes = vec![text_attribute("service.name", "shop"), text_attribute("service.instance.id", "1")];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_metrics: vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }],
            ..ResourceMetrics::default()
        }],
    }
}

async fn send(stack: &Devstack, metrics: Vec<Metric>) -> ExportMetricsServiceResponse {
    let response = http()
        .post(format!("{}/v1/metrics", stack.otlp_http_url()))
        .header("content-type", "application/x-protobuf")
        .body(request(metrics).encode_to_vec())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status().as_u16(), 200);
    ExportMetricsServiceResponse::decode(response.bytes().await.unwrap()).unwrap()
}

/// Refused points and what is said of them.
fn partial(response: &ExportMetricsServiceResponse) -> (i64, &str) {
    response.partial_success.as_ref().map_or((0, ""), |part| (part.rejected_data_points, part.error_message.as_str()))
}

fn metric(name: &str, data: metric::Data) -> Metric {
    Metric { name: name.to_owned(), data: Some(data), ..Metric::default() }
}

const DELTA: i32 = AggregationTemporality::Delta as i32;

/// The times of a point, in seconds before now, so that nothing is too far in the future.
fn times(now: u64, begin: u64, end: u64) -> (u64, u64) {
    (now - (1000 - begin) * SECOND, now - (1000 - end) * SECOND)
}

fn sum_of(value: i64, (start_time_unix_nano, time_unix_nano): (u64, u64), attributes: Vec<KeyValue>) -> Metric {
    let value = Some(number_data_point::Value::AsInt(value));
    let point =
        NumberDataPoint { start_time_unix_nano, time_unix_nano, attributes, value, ..NumberDataPoint::default() };
    metric(
        "orders",
        metric::Data::Sum(Sum { data_points: vec![point], aggregation_temporality: DELTA, is_monotonic: true }),
    )
}

fn explicit(values: &[f64], (start_time_unix_nano, time_unix_nano): (u64, u64)) -> Metric {
    let explicit_bounds = vec![1.0, 5.0];
    let mut bucket_counts = vec![0; 3];
    for value in values {
        bucket_counts[explicit_bounds.iter().position(|bound| value <= bound).unwrap_or(2)] += 1;
    }
    let exemplars = values.iter().enumerate().map(|(place, value)| Exemplar {
        time_unix_nano: time_unix_nano - 1_000_000 * (values.len() - place) as u64,
        trace_id: vec![7; 16],
        value: Some(exemplar::Value::AsDouble(*value)),
        ..Exemplar::default()
    });
    let point = HistogramDataPoint {
        start_time_unix_nano,
        time_unix_nano,
        count: values.len() as u64,
        sum: Some(values.iter().sum()),
        bucket_counts,
        explicit_bounds,
        exemplars: exemplars.collect(),
        ..HistogramDataPoint::default()
    };
    metric("took", metric::Data::Histogram(Histogram { data_points: vec![point], aggregation_temporality: DELTA }))
}

/// As an SDK does it: the finest scale at which few buckets are enough.
fn exponential(values: &[f64], scale: i32, (start_time_unix_nano, time_unix_nano): (u64, u64)) -> Metric {
    let number = |value: f64| (value.log2() * f64::from(scale).exp2()).ceil() as i32 - 1;
    let positive = values.iter().copied().filter(|value| *value > 0.0);
    let offset = positive.clone().map(number).min().unwrap_or_default();
    let last = positive.clone().map(number).max().unwrap_or(offset);
    let mut bucket_counts = vec![0; usize::try_from(last - offset + 1).unwrap()];
    positive.clone().for_each(|value| bucket_counts[usize::try_from(number(value) - offset).unwrap()] += 1);
    let point = ExponentialHistogramDataPoint {
        start_time_unix_nano,
        time_unix_nano,
        count: values.len() as u64,
        sum: Some(values.iter().sum()),
        scale,
        zero_count: values.iter().filter(|value| **value == 0.0).count() as u64,
        positive: Some(Buckets { offset, bucket_counts }),
        ..ExponentialHistogramDataPoint::default()
    };
    let data_points = vec![point];
    metric(
        "size",
        metric::Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality: DELTA }),
    )
}

fn samples(series: &Series) -> Vec<f64> {
    series.samples.iter().map(|sample| sample.value).collect()
}

#[tokio::test]
async fn deltas_of_a_counter_become_a_series_that_begins_at_zero_and_grows() {
    let stack = Devstack::start().await.unwrap();
    let now = now_ns().cast_unsigned();
    for (begin, end, value) in [(10, 20, 3), (20, 30, 4), (40, 50, 5)] {
        let response = send(&stack, vec![sum_of(value, times(now, begin, end), vec![])]).await;
        assert_eq!(partial(&response), (0, ""), "a gap is no problem: nothing was recorded");
    }
    let series = &stack.store().series_named("orders_total")[0];
    assert_eq!(samples(series), [0.0, 3.0, 7.0, 12.0]);
    let at: Vec<i64> = series.samples.iter().map(|sample| sample.timestamp_ms).collect();
    let ms = |second: u64| (times(now, second, second).0 / 1_000_000).cast_signed();
    assert_eq!(at, [ms(10), ms(20), ms(30), ms(50)]);
    let deltas = stack.counts().deltas;
    assert_eq!((deltas.streams, deltas.added, deltas.gaps, deltas.overlaps, deltas.refused), (1, 3, 1, 0, 0));
}

#[tokio::test]
async fn a_point_that_comes_again_counts_once_and_one_that_goes_back_is_refused_and_said() {
    let stack = Devstack::start().await.unwrap();
    let now = now_ns().cast_unsigned();
    let first = || vec![sum_of(3, times(now, 10, 20), vec![])];
    assert_eq!(partial(&send(&stack, first()).await), (0, ""));
    assert_eq!(partial(&send(&stack, first()).await), (0, ""), "the answer to the first one may have been lost");
    let response = send(&stack, vec![sum_of(4, times(now, 10, 20), vec![])]).await;
    assert_eq!(partial(&response).0, 1);
    assert!(partial(&response).1.contains("orders_total: the delta until"), "{response:?}");
    let response = send(&stack, vec![sum_of(5, times(now, 15, 30), vec![])]).await;
    assert_eq!(partial(&response).0, 0, "it is taken");
    assert!(partial(&response).1.contains("another program with the same resource"), "{response:?}");
    assert_eq!(samples(&stack.store().series_named("orders_total")[0]), [0.0, 3.0, 8.0]);
    let (deltas, counts) = (stack.counts().deltas, stack.counts().samples);
    assert_eq!((deltas.added, deltas.repeated, deltas.refused, deltas.overlaps), (2, 1, 1, 1));
    assert_eq!((counts.duplicates, counts.rejected), (1, 0));
    stack.store().clear();
    assert_eq!(stack.counts().deltas.streams, 0);
}

#[tokio::test]
async fn streams_are_told_apart_by_resource_scope_and_attributes_in_any_order() {
    let stack = Devstack::start().await.unwrap();
    let now = now_ns().cast_unsigned();
    let (a, b) = (text_attribute("a", "1"), text_attribute("b", "2"));
    for (second, attributes) in [(10, vec![a.clone(), b.clone()]), (20, vec![b.clone(), a.clone()]), (20, vec![a])] {
        send(&stack, vec![sum_of(1, times(now, second, second + 10), attributes)]).await;
    }
    let series = stack.store().series_named("orders_total");
    assert_eq!(series.iter().map(samples).collect::<Vec<_>>(), [vec![0.0, 1.0, 2.0], vec![0.0, 1.0]]);
    assert_eq!(stack.counts().deltas.streams, 2);
}

#[tokio::test]
async fn the_end_of_a_stream_is_a_stale_marker_and_it_begins_anew() {
    let stack = Devstack::start().await.unwrap();
    let now = now_ns().cast_unsigned();
    send(&stack, vec![sum_of(3, times(now, 10, 20), vec![])]).await;
    let mut over = sum_of(0, times(now, 20, 30), vec![]);
    if let Some(metric::Data::Sum(sum)) = &mut over.data {
        sum.data_points[0].flags = 1;
    }
    send(&stack, vec![over]).await;
    assert!(stack.store().series_named("orders_total")[0].is_stale());
    send(&stack, vec![sum_of(2, times(now, 40, 50), vec![])]).await;
    let values = samples(&stack.store().series_named("orders_total")[0]);
    assert_eq!((values[..2].to_vec(), values[3..].to_vec()), (vec![0.0, 3.0], vec![0.0, 2.0]));
}

#[tokio::test]
async fn an_unknown_temporality_is_refused_and_the_points_are_counted_not_their_series() {
    let stack = Devstack::start().await.unwrap();
    let now = now_ns().cast_unsigned();
    let mut unknown = sum_of(3, times(now, 10, 20), vec![]);
    if let Some(metric::Data::Sum(sum)) = &mut unknown.data {
        sum.aggregation_temporality = 0;
    }
    let response = send(&stack, vec![unknown, sum_of(1, times(now, 10, 20), vec![])]).await;
    assert_eq!(partial(&response).0, 1);
    assert!(
        partial(&response).1.contains("invalid temporality and type combination for metric \"orders\""),
        "{response:?}"
    );
    // One point of a cumulative histogram is refused as five series.
    let cumulative = |end: u64| {
        let mut histogram = explicit(&[0.5], times(now, 10, end));
        if let Some(metric::Data::Histogram(data)) = &mut histogram.data {
            data.aggregation_temporality = AggregationTemporality::Cumulative as i32;
            data.data_points[0].exemplars.clear();
        }
        histogram
    };
    assert_eq!(partial(&send(&stack, vec![cumulative(30)]).await), (0, ""));
    let response = send(&stack, vec![cumulative(20)]).await;
    assert_eq!(partial(&response).0, 1, "{response:?}");
    assert_eq!(stack.counts().samples.rejected, 5);
    let mut client = MetricsServiceClient::connect(stack.otlp_grpc_url()).await.unwrap();
    let response = client.export(request(vec![cumulative(20)])).await.unwrap().into_inner();
    assert_eq!(partial(&response).0, 1, "the same over gRPC");
}

#[tokio::test]
async fn exemplars_of_deltas_stand_in_their_buckets() {
    let stack = Devstack::start().await.unwrap();
    let now = now_ns().cast_unsigned();
    for (begin, values) in [(10, [0.5, 4.0]), (20, [9.0, 0.25])] {
        assert_eq!(partial(&send(&stack, vec![explicit(&values, times(now, begin, begin + 10))]).await), (0, ""));
    }
    let exemplars = stack.store().series_named("took_bucket").into_iter().map(|series| {
        let values: Vec<f64> = series.exemplars.iter().map(|exemplar| exemplar.value).collect();
        (series.labels["le"].clone(), values)
    });
    let expected =
        [("+Inf", vec![9.0]), ("1", vec![0.5, 0.25]), ("5", vec![4.0])].map(|(le, values)| (le.to_owned(), values));
    assert_eq!(exemplars.collect::<Vec<_>>(), expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The same observations, in one delta or in many, with whatever scale each has.
    #[test]
    fn cumulative_sums_equal_the_totals_whatever_the_split_into_deltas(
        parts in prop::collection::vec((prop::collection::vec(0_u32..4000, 0..12), 0_i32..=12, 1_u64..30), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let parts: Vec<(Vec<f64>, i32, u64)> =
            parts.into_iter().map(|(values, scale, pause)| (values.into_iter().map(|value| f64::from(value) / 256.0).collect(), scale, pause)).collect();
        let all: Vec<f64> = parts.iter().flat_map(|(values, _, _)| values).copied().collect();
        runtime.block_on(async {
            let stack = Devstack::start().await.unwrap();
            let now = now_ns().cast_unsigned();
            let mut second = 1;
            for (values, scale, pause) in &parts {
                let at = times(now, second, second + pause);
                second += pause;
                let count = i64::try_from(values.len()).unwrap();
                let response = send(&stack, vec![sum_of(count, at, vec![]), explicit(values, at), exponential(values, *scale, at)]).await;
                assert_eq!(partial(&response), (0, ""));
            }
            let last = |name: &str| stack.store().series_named(name)[0].last_value();
            let (count, sum) = (all.len() as f64, all.iter().sum::<f64>());
            assert_eq!((last("orders_total"), last("took_count"), last("took_sum")), (Some(count), Some(count), Some(sum)));
            for (le, bound) in [("1", 1.0), ("5", 5.0), ("+Inf", f64::INFINITY)] {
                let series = stack.store().series_named("took_bucket");
                let series = series.iter().find(|series| series.labels["le"] == le).unwrap();
                let below = all.iter().filter(|value| **value <= bound).count() as f64;
                assert_eq!(series.last_value(), Some(below), "{le}");
                assert!(samples(series).is_sorted(), "a counter only grows");
            }
            let histograms = &stack.store().series_named("size")[0].histograms;
            let newest = histograms.last().unwrap();
            assert_eq!((newest.count as f64, newest.sum), (count, sum));
            let coarsest = parts.iter().map(|(_, scale, _)| *scale).min().unwrap().min(8);
            assert_eq!(newest.schema, coarsest);
            assert_eq!(newest.zero_count, all.iter().filter(|value| **value == 0.0).count() as u64);
            // The sum in one delta has the same buckets.
            let whole = Devstack::start().await.unwrap();
            send(&whole, vec![exponential(&all, coarsest, times(now, 1, second))]).await;
            let whole = whole.store().series_named("size")[0].histograms.last().unwrap().clone();
            assert_eq!((&newest.positive_spans, &newest.positive_deltas), (&whole.positive_spans, &whole.positive_deltas));
            assert_eq!(stack.counts().samples.rejected + stack.counts().histograms.rejected, 0);
        });
    }
}
