//! OTLP in place of remote write: the same metrics, under the same names, with exemplars, zeros and ends.

use std::time::{Duration, Instant};

use lgtm_core::{Endpoint, Identity, SignalReport, SpanId, TraceContext, TraceId};
use lgtm_devstack::{Devstack, Endpoint as Route, MetricType, Reply, Series};
use lgtm_mimir::{Builder, Matcher, Mimir, OtlpProtocol, Protocol};
use metrics::{Unit, counter, gauge, histogram, with_local_recorder};

const PATIENCE: Duration = Duration::from_secs(30);
const BOTH: [OtlpProtocol; 2] = [OtlpProtocol::Grpc, OtlpProtocol::Http];

fn builder(stack: &Devstack, protocol: OtlpProtocol) -> Builder {
    let mut identity = Identity::new("shop");
    identity.set("service.namespace", "sales");
    identity.set("service.instance.id", "shop-1");
    identity.set("host.name", "node-7");
    let url = match protocol {
        OtlpProtocol::Grpc => stack.otlp_grpc_url(),
        _ => stack.otlp_http_url(),
    };
    lgtm_mimir::builder()
        .push(Endpoint::parse(&url).unwrap())
        .protocol(Protocol::Otlp(protocol))
        .push_interval(Duration::from_secs(3600))
        .identity(identity)
        .buckets(&[0.5, 1.0])
}

fn flush(mimir: &Mimir) -> SignalReport {
    let pipeline = mimir.pipeline().unwrap();
    assert!(pipeline.wait_flushed(&pipeline.begin_flush(), Instant::now() + PATIENCE));
    pipeline.report()
}

fn shut_down(mimir: &Mimir) -> SignalReport {
    let pipeline = mimir.pipeline().unwrap();
    pipeline.begin_shutdown(Instant::now() + PATIENCE);
    assert!(pipeline.wait_ended(Instant::now() + PATIENCE));
    pipeline.report()
}

fn only(stack: &Devstack, name: &str) -> Series {
    let mut series = stack.store().series_named(name);
    assert_eq!(series.len(), 1, "{name}: {series:?}");
    series.remove(0)
}

fn label<'a>(series: &'a Series, name: &str) -> Option<&'a str> {
    series.labels.get(name).map(String::as_str)
}

fn values(series: &Series) -> Vec<f64> {
    series.samples.iter().map(|sample| sample.value).collect()
}

#[test]
fn every_kind_arrives_under_the_names_of_the_scrape_output_with_its_identity() {
    for protocol in BOTH {
        let stack = Devstack::start_blocking().unwrap();
        let mimir = builder(&stack, protocol).build().unwrap();
        let trace = TraceContext::new(TraceId::random(), SpanId::random(), true);
        with_local_recorder(&mimir.recorder(), || {
            metrics::describe_histogram!("wait_seconds", Unit::Seconds, "How long it took");
            metrics::describe_gauge!("queue_size", Unit::Bytes, "How much waits");
            counter!("orders_total", "kind" => "web").increment(3);
            counter!("orders_total", "kind" => "app").increment(4);
            gauge!("queue_size").set(-2.5);
            histogram!("wait_seconds").record(0.25);
            lgtm_core::current::with_trace(Some(trace), || histogram!("wait_seconds").record(0.75));
            histogram!("wait_seconds").record(7.0);
        });
        let report = flush(&mimir);
        assert_eq!((report.lost(), report.delivered), (0, report.admitted), "{report}");
        let orders = stack.store().series_named("orders_total");
        assert_eq!(orders.len(), 2, "{orders:?}");
        let web = orders.iter().find(|series| label(series, "kind") == Some("web")).unwrap();
        assert_eq!(values(web), [3.0]);
        assert_eq!((label(web, "job"), label(web, "instance")), (Some("sales/shop"), Some("shop-1")));
        assert_eq!(values(&only(&stack, "queue_size")), [-2.5]);
        let buckets = stack.store().series_named("wait_seconds_bucket");
        let bucket = |le: &str| buckets.iter().find(|series| label(series, "le") == Some(le)).unwrap();
        assert_eq!([values(bucket("0.5")), values(bucket("1")), values(bucket("+Inf"))], [[1.0], [2.0], [3.0]]);
        assert_eq!(values(&only(&stack, "wait_seconds_sum")), [8.0]);
        assert_eq!(values(&only(&stack, "wait_seconds_count")), [3.0]);
        let [exemplar] = bucket("1").exemplars.as_slice() else { panic!("{:?}", bucket("1")) };
        assert_eq!(exemplar.value.to_bits(), 0.75_f64.to_bits());
        assert_eq!(exemplar.labels.get("trace_id"), Some(&trace.trace_id.to_string()));
        let metadata = stack.store().metric_metadata();
        let wait = &metadata["wait_seconds"];
        assert_eq!((wait.metric_type, wait.help.as_str()), (MetricType::Histogram, "How long it took"));
        assert_eq!(label(&only(&stack, "target_info"), "host_name"), Some("node-7"));

        // An exemplar is sent once; what ends is said to be over.
        flush(&mimir);
        let exemplars = |series: Vec<Series>| series.iter().map(|series| series.exemplars.len()).sum::<usize>();
        assert_eq!(exemplars(stack.store().series_named("wait_seconds_bucket")), 1);
        shut_down(&mimir);
        for name in ["queue_size", "wait_seconds_sum"] {
            let last = *values(&only(&stack, name)).last().unwrap();
            assert_eq!(last.to_bits(), 0x7ff0_0000_0000_0002, "{name}");
        }
    }
}

#[test]
fn a_native_histogram_is_an_exponential_one() {
    let stack = Devstack::start_blocking().unwrap();
    let builder = builder(&stack, OtlpProtocol::Http);
    let mimir = builder.native_histograms_for(Matcher::Full("wait_seconds".to_owned()), 160).build().unwrap();
    with_local_recorder(&mimir.recorder(), || {
        for value in [0.0, 1.0, 2.0, 4.0, -1.0] {
            histogram!("wait_seconds").record(value);
        }
    });
    assert_eq!(flush(&mimir).lost(), 0);
    assert!(stack.store().series_named("wait_seconds_bucket").is_empty());
    let series = only(&stack, "wait_seconds");
    let histogram = &series.histograms[0];
    assert_eq!((histogram.count, histogram.zero_count, histogram.sum.to_bits()), (5, 1, 6.0_f64.to_bits()));
    // Of the positive ones the first is 1, in the bucket 0: what is greater than base^-1 and at most 1.
    assert_eq!(histogram.positive_spans[0].offset, 0);
    // Deltas of counts: each count is the sum of those before.
    let counts = histogram.positive_deltas.iter().scan(0, |sum, delta| {
        *sum += delta;
        Some(*sum)
    });
    assert_eq!(counts.sum::<i64>(), 3);
}

#[test]
fn a_request_over_the_receivers_limit_is_halved_and_refused_points_are_counted() {
    let stack = Devstack::start_blocking().unwrap();
    let mimir = builder(&stack, OtlpProtocol::Http).build().unwrap();
    let record = || {
        with_local_recorder(&mimir.recorder(), || {
            (0..9).for_each(|number| counter!("orders_total", "customer" => number.to_string()).increment(number));
            gauge!("open").set(1.0);
        });
    };
    stack.script(Route::OtlpMetricsHttp, [Reply::status(413), Reply::status(413)]);
    record();
    let report = flush(&mimir);
    assert_eq!((report.lost(), report.pending), (0, 0), "{report}");
    assert_eq!(stack.store().series_named("orders_total").len(), 9);
    let sum: f64 = stack.store().series_named("orders_total").iter().map(|series| values(series)[0]).sum();
    assert_eq!(sum as u64, 36);
    assert_eq!(values(&only(&stack, "open")), [1.0]);

    stack.script(Route::OtlpMetricsHttp, [Reply::partial_success(2, "two were bad")]);
    let before = report;
    let report = flush(&mimir);
    assert_eq!(report.rejected - before.rejected, 2, "{report}");
}

#[test]
fn lanes_are_remote_writes_alone() {
    let stack = Devstack::start_blocking().unwrap();
    let error = builder(&stack, OtlpProtocol::Grpc).push_lanes(2).build().unwrap_err().to_string();
    assert!(error.contains("2 lanes"), "{error}");
}
