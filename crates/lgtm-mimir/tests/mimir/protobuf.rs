//! The protobuf format of a scrape, read by types that the encoder does not share.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use lgtm_core::{SpanId, TraceContext, TraceId};
use lgtm_mimir::{Format, Matcher, Mimir};
use metrics::{Unit, counter, gauge, histogram, with_local_recorder};
use proptest::prelude::*;
use prost::Message as _;

use crate::parsed;

/// `io/prometheus/client/metrics.proto`, as far as it is used.
mod wire {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct MetricFamily {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(string, tag = "2")]
        pub(super) help: String,
        #[prost(enumeration = "MetricType", tag = "3")]
        pub(super) r#type: i32,
        #[prost(message, repeated, tag = "4")]
        pub(super) metric: Vec<Metric>,
        #[prost(string, tag = "5")]
        pub(super) unit: String,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
    #[repr(i32)]
    pub(super) enum MetricType {
        Counter = 0,
        Gauge = 1,
        Summary = 2,
        Untyped = 3,
        Histogram = 4,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Metric {
        #[prost(message, repeated, tag = "1")]
        pub(super) label: Vec<LabelPair>,
        #[prost(message, optional, tag = "2")]
        pub(super) gauge: Option<Gauge>,
        #[prost(message, optional, tag = "3")]
        pub(super) counter: Option<Counter>,
        #[prost(message, optional, tag = "4")]
        pub(super) summary: Option<Summary>,
        #[prost(message, optional, tag = "7")]
        pub(super) histogram: Option<Histogram>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct LabelPair {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(string, tag = "2")]
        pub(super) value: String,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct Gauge {
        #[prost(double, tag = "1")]
        pub(super) value: f64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Counter {
        #[prost(double, tag = "1")]
        pub(super) value: f64,
        #[prost(message, optional, tag = "3")]
        pub(super) created_timestamp: Option<Timestamp>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Summary {
        #[prost(uint64, tag = "1")]
        pub(super) sample_count: u64,
        #[prost(double, tag = "2")]
        pub(super) sample_sum: f64,
        #[prost(message, repeated, tag = "3")]
        pub(super) quantile: Vec<Quantile>,
        #[prost(message, optional, tag = "4")]
        pub(super) created_timestamp: Option<Timestamp>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct Quantile {
        #[prost(double, tag = "1")]
        pub(super) quantile: f64,
        #[prost(double, tag = "2")]
        pub(super) value: f64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Histogram {
        #[prost(uint64, tag = "1")]
        pub(super) sample_count: u64,
        #[prost(double, tag = "2")]
        pub(super) sample_sum: f64,
        #[prost(message, repeated, tag = "3")]
        pub(super) bucket: Vec<Bucket>,
        #[prost(sint32, tag = "5")]
        pub(super) schema: i32,
        #[prost(double, tag = "6")]
        pub(super) zero_threshold: f64,
        #[prost(uint64, tag = "7")]
        pub(super) zero_count: u64,
        #[prost(message, repeated, tag = "9")]
        pub(super) negative_span: Vec<BucketSpan>,
        #[prost(sint64, repeated, tag = "10")]
        pub(super) negative_delta: Vec<i64>,
        #[prost(message, repeated, tag = "12")]
        pub(super) positive_span: Vec<BucketSpan>,
        #[prost(sint64, repeated, tag = "13")]
        pub(super) positive_delta: Vec<i64>,
        #[prost(message, optional, tag = "15")]
        pub(super) created_timestamp: Option<Timestamp>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Bucket {
        #[prost(uint64, tag = "1")]
        pub(super) cumulative_count: u64,
        #[prost(double, tag = "2")]
        pub(super) upper_bound: f64,
        #[prost(message, optional, tag = "3")]
        pub(super) exemplar: Option<Exemplar>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct BucketSpan {
        #[prost(sint32, tag = "1")]
        pub(super) offset: i32,
        #[prost(uint32, tag = "2")]
        pub(super) length: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Exemplar {
        #[prost(message, repeated, tag = "1")]
        pub(super) label: Vec<LabelPair>,
        #[prost(double, tag = "2")]
        pub(super) value: f64,
        #[prost(message, optional, tag = "3")]
        pub(super) timestamp: Option<Timestamp>,
    }

    /// `google.protobuf.Timestamp`.
    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct Timestamp {
        #[prost(int64, tag = "1")]
        pub(super) seconds: i64,
        #[prost(int32, tag = "2")]
        pub(super) nanos: i32,
    }
}

use wire::{Histogram, Metric, MetricFamily, MetricType, Timestamp};

const ACCEPT: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
     application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

fn decoded(mut bytes: &[u8]) -> Vec<MetricFamily> {
    let mut families = Vec::new();
    while !bytes.is_empty() {
        families.push(MetricFamily::decode_length_delimited(&mut bytes).unwrap());
    }
    families
}

fn families(mimir: &Mimir) -> Vec<MetricFamily> {
    decoded(&mimir.renderer().render_protobuf())
}

fn family(mimir: &Mimir, name: &str) -> MetricFamily {
    families(mimir).into_iter().find(|family| family.name == name).unwrap_or_else(|| panic!("no {name}"))
}

fn only_histogram(mimir: &Mimir, name: &str) -> Histogram {
    let mut family = family(mimir, name);
    assert_eq!(family.metric.len(), 1, "{family:?}");
    family.metric.remove(0).histogram.unwrap()
}

fn seconds(time: Option<Timestamp>) -> f64 {
    let time = time.unwrap();
    time.seconds as f64 + f64::from(time.nanos) / 1e9
}

fn now() -> f64 {
    lgtm_core::unix_nanos() as f64 / 1e9
}

/// Every sample by its series, as the text formats have it.
fn samples(families: &[MetricFamily]) -> BTreeMap<BTreeMap<String, String>, f64> {
    let mut samples = BTreeMap::new();
    for family in families {
        for metric in &family.metric {
            let mut put = |suffix: &str, part: Option<(&str, String)>, value: f64| {
                let mut labels: BTreeMap<_, _> =
                    metric.label.iter().map(|label| (label.name.clone(), label.value.clone())).collect();
                labels.insert("__name__".to_owned(), format!("{}{suffix}", family.name));
                labels.extend(part.map(|(name, value)| (name.to_owned(), value)));
                assert!(samples.insert(labels, value).is_none(), "twice: {metric:?}");
            };
            match metric {
                Metric { counter: Some(counter), .. } => put("", None, counter.value),
                Metric { gauge: Some(gauge), .. } => put("", None, gauge.value),
                Metric { summary: Some(summary), .. } => {
                    for quantile in &summary.quantile {
                        put("", Some(("quantile", quantile.quantile.to_string())), quantile.value);
                    }
                    put("_sum", None, summary.sample_sum);
                    put("_count", None, summary.sample_count as f64);
                }
                Metric { histogram: Some(histogram), .. } => {
                    for bucket in &histogram.bucket {
                        let le = bucket.upper_bound.to_string();
                        put("_bucket", Some(("le", le)), bucket.cumulative_count as f64);
                    }
                    put("_sum", None, histogram.sample_sum);
                    put("_count", None, histogram.sample_count as f64);
                }
                nothing => panic!("{nothing:?}"),
            }
        }
    }
    samples
}

/// The samples of the text format, with bounds and quantiles as numbers.
fn samples_of_text(mimir: &Mimir) -> BTreeMap<BTreeMap<String, String>, f64> {
    let exposition = parsed(mimir, Format::Text);
    let all = exposition.samples.iter().map(|sample| {
        let mut labels: BTreeMap<_, _> = sample.labels.clone().into_iter().collect();
        for name in ["le", "quantile"] {
            if let Some(bound) = labels.get_mut(name) {
                *bound = bound.parse::<f64>().unwrap().to_string();
            }
        }
        (labels, sample.value)
    });
    all.collect()
}

#[test]
fn every_kind_has_the_samples_of_the_text_format_and_its_type_help_unit_and_beginning() {
    let before = now();
    let mimir = lgtm_mimir::builder().quantiles_for("wait_seconds", &[0.5, 0.99]).build().unwrap();
    with_local_recorder(&mimir.recorder(), || {
        metrics::describe_counter!("sent_bytes_total", Unit::Bytes, "What was sent");
        metrics::describe_gauge!("temperature", Unit::Percent, "No unit at its end");
        metrics::describe_histogram!("took_seconds", Unit::Seconds, "How \"long\"\nit took");
        counter!("sent_bytes_total", "to" => "a\"b\\\nc").increment(7);
        counter!("sent_bytes_total", "to" => "é").increment(1);
        counter!("plain").increment(3);
        gauge!("temperature").set(-2.5);
        gauge!("limitless").set(f64::INFINITY);
        histogram!("took_seconds", "route" => "/a").record(0.3);
        histogram!("took_seconds", "route" => "/a").record(99.0);
        histogram!("wait_seconds").record(0.3);
    });
    let families = families(&mimir);
    assert_eq!(samples(&families), samples_of_text(&mimir));
    let of = |name: &str| families.iter().find(|family| family.name == name).unwrap();
    for (name, kind, help, unit) in [
        ("sent_bytes_total", MetricType::Counter, "What was sent", "bytes"),
        ("plain", MetricType::Counter, "", ""),
        ("temperature", MetricType::Gauge, "No unit at its end", ""),
        ("took_seconds", MetricType::Histogram, "How \"long\"\nit took", "seconds"),
        ("wait_seconds", MetricType::Summary, "", ""),
    ] {
        let family = of(name);
        assert_eq!((family.r#type(), family.help.as_str(), family.unit.as_str()), (kind, help, unit), "{name}");
        for metric in &family.metric {
            let created = match metric {
                Metric { counter: Some(counter), .. } => counter.created_timestamp,
                Metric { summary: Some(summary), .. } => summary.created_timestamp,
                Metric { histogram: Some(histogram), .. } => histogram.created_timestamp,
                _ => continue,
            };
            let created = seconds(created);
            // To the millisecond.
            assert!((before - 0.002..=now()).contains(&created), "{name}: {created}");
        }
    }
    assert!(families.windows(2).all(|pair| pair[0].name < pair[1].name));
}

#[test]
fn a_native_histogram_has_both_forms_and_exemplars_with_their_time() {
    let builder = lgtm_mimir::builder().buckets(&[1.0, 4.0]);
    let mimir = builder.native_histograms_for(Matcher::Full("size".to_owned()), 160).build().unwrap();
    let trace = TraceContext::new(TraceId::random(), SpanId::random(), true);
    with_local_recorder(&mimir.recorder(), || {
        let size = histogram!("size");
        for value in [0.0, 1.0, 2.0, 2.0, 4.0, -1.0, -64.0] {
            size.record(value);
        }
        lgtm_core::current::with_trace(Some(trace), || size.record(1000.0));
        histogram!("classic").record(1.0);
    });
    let found = only_histogram(&mimir, "size");
    assert_eq!((found.sample_count, found.sample_sum, found.zero_count), (8, 944.0, 1));
    assert!(found.zero_threshold > 0.0 && found.zero_threshold < 1e-30);
    let buckets: Vec<_> = found.bucket.iter().map(|bucket| (bucket.upper_bound, bucket.cumulative_count)).collect();
    assert_eq!(buckets, [(1.0, 4), (4.0, 7), (f64::INFINITY, 8)]);
    // Index 0 of any schema ends at 1; a power of two of the schema is as many buckets on.
    let per_power = 1_i32 << found.schema;
    let unfold = |spans: &[wire::BucketSpan], deltas: &[i64]| {
        let (mut index, mut count) = (0, 0);
        let mut deltas = deltas.iter();
        let mut buckets = BTreeMap::new();
        for span in spans {
            index += span.offset;
            for _ in 0..span.length {
                count += deltas.next().unwrap();
                buckets.insert(index, count);
                index += 1;
            }
        }
        assert!(deltas.next().is_none());
        buckets
    };
    let positive = unfold(&found.positive_span, &found.positive_delta);
    let at = |value: f64| (value.log2() * f64::from(per_power)).ceil() as i32;
    assert_eq!(positive, BTreeMap::from([(0, 1), (at(2.0), 2), (at(4.0), 1), (at(1000.0), 1)]));
    assert_eq!(unfold(&found.negative_span, &found.negative_delta), BTreeMap::from([(0, 1), (at(64.0), 1)]));

    let exemplars: Vec<_> = found.bucket.iter().filter_map(|bucket| bucket.exemplar.as_ref()).collect();
    let [exemplar] = exemplars[..] else { panic!("{exemplars:?}") };
    assert!(found.bucket[2].exemplar.is_some());
    assert_eq!(exemplar.value, 1000.0);
    assert!((seconds(exemplar.timestamp) - now()).abs() < 60.0);
    let labels: Vec<_> = exemplar.label.iter().map(|label| (label.name.as_str(), label.value.clone())).collect();
    assert_eq!(labels, [("span_id", trace.span_id.to_string()), ("trace_id", trace.trace_id.to_string())]);

    let classic = only_histogram(&mimir, "classic");
    assert_eq!((classic.sample_count, classic.positive_span.len(), classic.zero_threshold), (1, 0, 0.0));
}

#[test]
fn every_reading_of_a_native_histogram_agrees_with_itself_while_threads_record() {
    const THREADS: u64 = 3;
    const EACH: u64 = 3_000;
    let mimir = lgtm_mimir::builder().buckets(&[1.0, 2.0]).native_histograms_for("size", 160).build().unwrap();
    let barrier = std::sync::Barrier::new(THREADS as usize + 1);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (recorder, barrier) = (mimir.recorder(), &barrier);
                scope.spawn(move || {
                    let size = with_local_recorder(&recorder, || histogram!("size"));
                    size.record(0.5);
                    barrier.wait();
                    (1..EACH).for_each(|round| size.record((round % 4) as f64 + 0.5));
                })
            })
            .collect();
        barrier.wait();
        while threads.iter().any(|thread| !thread.is_finished()) {
            let found = only_histogram(&mimir, "size");
            let counts: Vec<_> = found.bucket.iter().map(|bucket| bucket.cumulative_count).collect();
            assert!(counts.is_sorted(), "{counts:?}");
            assert_eq!(counts.last(), Some(&found.sample_count));
            let in_buckets: i64 = found
                .positive_delta
                .iter()
                .scan(0, |sum, delta| {
                    *sum += delta;
                    Some(*sum)
                })
                .sum();
            assert_eq!(in_buckets.cast_unsigned() + found.zero_count, found.sample_count);
        }
    });
    let found = only_histogram(&mimir, "size");
    assert_eq!((found.sample_count, found.bucket[2].cumulative_count), (THREADS * EACH, THREADS * EACH));
}

#[test]
fn a_scraper_that_prefers_it_gets_it_over_the_socket_and_from_a_server_of_the_programs_own() {
    let any = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    let mimir = lgtm_mimir::builder().listen(any).build().unwrap();
    with_local_recorder(&mimir.recorder(), || counter!("requests_total").increment(3));
    let mut stream = TcpStream::connect(mimir.local_addr().unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {ACCEPT}\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let content_type = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
    assert!(head.starts_with("HTTP/1.1 200") && head.contains(&format!("content-type: {content_type}")), "{head}");
    let series = BTreeMap::from([("__name__".to_owned(), "requests_total".to_owned())]);
    assert_eq!(samples(&decoded(&answer[end + 4..])).get(&series), Some(&3.0));

    let mut headers = http::HeaderMap::new();
    headers.insert(http::header::ACCEPT, ACCEPT.parse().unwrap());
    let answer = mimir.renderer().respond_bytes(&headers);
    assert_eq!(answer.headers()[http::header::CONTENT_TYPE], content_type);
    assert_eq!(samples(&decoded(answer.body())).get(&series), Some(&3.0));
    let text = mimir.renderer().respond(&headers);
    assert_eq!(text.headers()[http::header::CONTENT_TYPE], Format::OpenMetrics.content_type());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_a_program_records_the_samples_are_those_of_the_text_format(
        series in prop::collection::vec((0..4_u8, "[a-z]{1,3}", "\\PC{0,6}", any::<f64>()), 1..20)
    ) {
        let mimir = lgtm_mimir::builder()
            .buckets(&[-1.0, 1.0])
            .native_histograms_for(Matcher::Prefix("native_".to_owned()), 20)
            .quantiles_for(Matcher::Prefix("summary_".to_owned()), &[0.0, 0.5, 1.0])
            .build()
            .unwrap();
        with_local_recorder(&mimir.recorder(), || {
            for (kind, name, label, value) in &series {
                let labels = [("kind", label.clone())];
                match kind {
                    0 => counter!(format!("counter_{name}"), &labels).increment(value.to_bits() >> 32),
                    // A series that is NaN equals no other.
                    1 if value.is_nan() => gauge!(format!("gauge_{name}"), &labels).set(0.0),
                    1 => gauge!(format!("gauge_{name}"), &labels).set(*value),
                    2 => histogram!(format!("native_{name}"), &labels).record(value % 1e6),
                    _ => histogram!(format!("summary_{name}"), &labels).record(value % 1e6),
                }
            }
        });
        // The sums of the two forms are added up in the same order, so they are equal too; a sample that is NaN is refused.
        // Nor does text know a zero below zero.
        let number = |value: f64| if value.is_nan() { u64::MAX } else { (value + 0.0).to_bits() };
        let bits = |all: BTreeMap<BTreeMap<String, String>, f64>| -> BTreeMap<_, _> {
            all.into_iter().map(|(labels, value)| (labels, number(value))).collect()
        };
        prop_assert_eq!(bits(samples(&families(&mimir))), bits(samples_of_text(&mimir)));
    }
}
