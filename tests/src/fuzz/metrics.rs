//! Samples to both expositions and to both versions of remote write, read back by the development stack's parsers.

use std::collections::BTreeMap;
use std::time::Duration;

use lgtm_core::{Endpoint, Identity, SpanId, TraceContext, TraceId};
use lgtm_devstack::Store;
use lgtm_devstack::exposition::{self, Exposition};
use lgtm_devstack::wire::prometheus::{WriteRequest, v2};
use lgtm_mimir::{Format, Matcher, Mimir, RemoteWrite};
use metrics::{Label, counter, gauge, histogram, with_local_recorder};
use prost::Message as _;

use super::backend::{backend, flush_delivered, options};
use super::input::{Input, may_be_secret};

/// The NaN that means "no more samples": no program's sample may become one.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// What was recorded.
#[derive(Default)]
struct Recorded {
    increments: u64,
    gauges: Vec<f64>,
    observations: u64,
}

type Series = BTreeMap<BTreeMap<String, String>, f64>;

/// Any samples of any names and labels make valid expositions, in which nothing is missing, and the same values arrive by remote
/// write.
///
/// # Panics
/// If not so.
pub fn metrics(data: &[u8]) {
    let mut input = Input::new(data);
    let two = input.flag();
    let native = input.flag();
    let backend = backend();
    let mut identity = Identity::new(format!("s{}", input.text()));
    identity.service_instance_id = "one".to_owned();
    let mut builder = lgtm_mimir::builder()
        .push(Endpoint::parse(&backend.stack.mimir_url()).expect("an address"))
        .push_interval(Duration::from_secs(3600))
        .identity(identity)
        .worker(backend.worker.clone())
        .options(options())
        .buckets(&[0.5, 1.0, 1e9])
        .remote_write(if two { RemoteWrite::Two } else { RemoteWrite::One });
    if native {
        builder = builder.native_histograms_for(Matcher::Prefix("h".to_owned()), 160);
    }
    let mimir = builder.build().expect("a recorder");
    let mut recorded = Recorded::default();
    with_local_recorder(&mimir.recorder(), || {
        while !input.is_empty() {
            record(&mut input, &mut recorded);
        }
    });

    let text = series(&parsed(&mimir, Format::Text));
    let open_metrics = series(&parsed(&mimir, Format::OpenMetrics));
    // Names differ: only the older format has counters without `_total`.
    assert_eq!(bits(text.values()), bits(open_metrics.values()));
    recorded.is_exposed(&mimir, &text);

    let pipeline = mimir.pipeline().expect("a pipeline");
    flush_delivered(pipeline);
    assert_eq!(backend.stack.counts().samples.rejected, 0);
    labels_are_as_specified(backend.stack.store());
    let mut pushed = Series::new();
    for series in backend.stack.store().series() {
        let mut labels: BTreeMap<String, String> = series.labels.clone().into_iter().collect();
        let Some(last) = series.samples.last() else { continue };
        assert_ne!(last.value.to_bits(), STALE, "{labels:?}");
        labels.retain(|name, _| name != "job" && name != "instance");
        pushed.insert(with_plain_bound(labels), last.value);
    }
    pushed.retain(|labels, _| is_of_program(labels));
    assert_eq!(pushed.keys().collect::<Vec<_>>(), text.keys().collect::<Vec<_>>());
    assert_eq!(bits(pushed.values()), bits(text.values()));
}

/// The labels of each series on the wire are sorted, each is there once, and none is empty: servers repair that, and need not.
fn labels_are_as_specified(store: &Store) {
    let is_as_specified = |labels: &[(&str, &str)]| {
        let is_sorted = labels.array_windows().all(|[(one, _), (other, _)]| one < other);
        assert!(is_sorted && labels.iter().all(|(_, value)| !value.is_empty()), "{labels:?}");
    };
    for request in store.requests_to(lgtm_devstack::Endpoint::RemoteWrite) {
        let body = request.decoded_body().expect("a body");
        if request.header("content-type").is_some_and(|kind| kind.contains("v2")) {
            let request = v2::Request::decode(body.as_slice()).expect("a request");
            let text = |place: &u32| request.symbols[*place as usize].as_str();
            for series in &request.timeseries {
                let (pairs, rest) = series.labels_refs.as_chunks::<2>();
                assert!(rest.is_empty());
                is_as_specified(&pairs.iter().map(|[name, value]| (text(name), text(value))).collect::<Vec<_>>());
            }
        } else {
            let request = WriteRequest::decode(body.as_slice()).expect("a request");
            for series in &request.timeseries {
                let pairs = series.labels.iter().map(|label| (label.name.as_str(), label.value.as_str()));
                is_as_specified(&pairs.collect::<Vec<_>>());
            }
        }
    }
}

/// One use of a metric. The first letter of the name says which type it has.
fn record(input: &mut Input<'_>, recorded: &mut Recorded) {
    let kind = input.byte() % 4;
    let name = input.text();
    let labels = input.some(5, |input| Label::new(label_name(input), input.long_text()));
    match kind {
        0 => {
            let increment = u64::from(input.byte());
            recorded.increments += increment;
            counter!(format!("c{name}"), labels).increment(increment);
        }
        1 => {
            let value = input.float();
            recorded.gauges.push(value);
            gauge!(format!("g{name}"), labels).set(value);
        }
        2 => {
            let value = input.float();
            recorded.observations += u64::from(!value.is_nan());
            let trace = TraceContext::new(TraceId::random(), SpanId::random(), input.flag());
            lgtm_core::current::with_trace(Some(trace), || histogram!(format!("h{name}"), labels).record(value));
        }
        _ => {
            let help = input.text();
            metrics::describe_counter!(format!("c{name}"), metrics::Unit::Bytes, help.clone());
            metrics::describe_gauge!(format!("g{name}"), metrics::Unit::Seconds, help.clone());
            metrics::describe_histogram!(format!("h{name}"), metrics::Unit::Count, help);
        }
    }
}

/// Any name but those that remote write renames because they are the identity's.
fn label_name(input: &mut Input<'_>) -> String {
    let name = input.text();
    let of_identity = ["job", "instance", "environment", "exported"].iter().any(|own| name.contains(own));
    if of_identity || may_be_secret(&name) { "l".to_owned() } else { name }
}

impl Recorded {
    fn is_exposed(&self, mimir: &Mimir, series: &Series) {
        let sum = |name: &dyn Fn(&str) -> bool| {
            series.iter().filter(|(labels, _)| name(&labels["__name__"])).map(|(_, value)| value).sum::<f64>()
        };
        assert_eq!(sum(&|name| name.starts_with('c')), self.increments as f64);
        for (labels, value) in series.iter().filter(|(labels, _)| labels["__name__"].starts_with('g')) {
            let known = |set: &f64| set == value || (set.is_nan() && value.is_nan());
            assert!(self.gauges.iter().any(known), "{value} of {labels:?}");
        }
        // Histograms named like each other's samples are refused, and counted.
        let refused = parsed(mimir, Format::Text)
            .samples
            .iter()
            .filter(|sample| sample.labels["__name__"] == "otlp_metrics_series_refused_total")
            .filter(|sample| sample.labels["reason"] == "type_conflict")
            .map(|sample| sample.value)
            .sum::<f64>();
        let is_count = |name: &str| name.starts_with('h') && name.ends_with("_count");
        if refused == 0.0 && !series.keys().any(|labels| labels["__name__"].ends_with("_count_count")) {
            assert_eq!(sum(&is_count), self.observations as f64);
        }
    }
}

fn parsed(mimir: &Mimir, format: Format) -> Exposition {
    let text = mimir.render(format);
    let known = exposition::Format::from_content_type(format.content_type());
    exposition::parse(&text, known).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn series(exposition: &Exposition) -> Series {
    let all = exposition.samples.iter().map(|sample| {
        let labels: BTreeMap<String, String> = sample.labels.clone().into_iter().collect();
        (with_plain_bound(labels), sample.value)
    });
    all.filter(|(labels, _)| is_of_program(labels)).collect()
}

/// Not one that lgtm adds about itself or the resource.
fn is_of_program(labels: &BTreeMap<String, String>) -> bool {
    labels["__name__"].starts_with(['c', 'g', 'h'])
}

/// The bound of a bucket as the number that it is.
fn with_plain_bound(mut labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    if labels["__name__"].ends_with("_bucket")
        && let Some(le) = labels.get_mut("le")
        && let Ok(bound) = le.parse::<f64>()
    {
        *le = bound.to_string();
    }
    labels
}

/// Values that can be compared; all NaN are one.
fn bits<'a>(values: impl Iterator<Item = &'a f64>) -> Vec<u64> {
    let mut bits: Vec<u64> = values.map(|value| if value.is_nan() { f64::NAN } else { *value }.to_bits()).collect();
    bits.sort_unstable();
    bits
}
