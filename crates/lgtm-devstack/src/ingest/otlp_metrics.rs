//! OTLP metrics over gRPC and over HTTP, in protobuf and in JSON, translated as Mimir and Prometheus do it.
//! Source: OpenTelemetry, "Prometheus and OpenMetrics Compatibility", "OTLP Metric points to Prometheus".

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint,
    SummaryDataPoint, exemplar, metric, number_data_point,
};
use tonic::codec::CompressionEncoding;
use tonic::{Request, Status};

use super::{otlp, remote_write};
use crate::attribute::Attributes;
use crate::devstack::Shared;
use crate::gate::PartialSuccess;
use crate::label_text;
use crate::wire::prometheus::{self as wire, BucketSpan, Label, MetricType, TimeSeries, WriteRequest};

/// The NaN that means "no more samples": Prometheus Remote-Write 1.0, "Stale markers".
const STALE: u64 = 0x7ff0_0000_0000_0002;
/// `FLAG_NO_RECORDED_VALUE`.
const NO_RECORDED_VALUE: u32 = 1;

/// The gRPC service, accepting gzip.
pub(crate) fn grpc_service(shared: &Shared) -> MetricsServiceServer<GrpcMetrics> {
    MetricsServiceServer::new(GrpcMetrics { shared: shared.clone() })
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(shared.limits.decompressed_bytes)
}

pub(crate) struct GrpcMetrics {
    shared: Shared,
}

#[tonic::async_trait]
impl MetricsService for GrpcMetrics {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, Status> {
        let partial = request.extensions().get::<PartialSuccess>().cloned();
        Ok(tonic::Response::new(store(&self.shared, request.into_inner(), partial)))
    }
}

/// `POST /v1/metrics`, `/otlp/v1/metrics` and `/api/v1/otlp/v1/metrics`.
pub(crate) async fn http_metrics(
    State(shared): State<Shared>,
    partial: Option<Extension<PartialSuccess>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match otlp::read(&shared, &headers, body) {
        Err(refusal) => refusal,
        Ok((request, json)) => otlp::success(json, &store(&shared, request, partial.map(|Extension(partial)| partial))),
    }
}

pub(crate) fn store(
    shared: &Shared,
    request: ExportMetricsServiceRequest,
    partial: Option<PartialSuccess>,
) -> ExportMetricsServiceResponse {
    let mut problems = Vec::new();
    if partial.as_ref().is_none_or(|partial| partial.stored) {
        let mut translation = Translation::default();
        for resource_metrics in request.resource_metrics {
            let resource = Attributes::from(resource_metrics.resource.unwrap_or_default().attributes);
            translation.resource(&resource);
            let metrics = resource_metrics.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
            metrics.for_each(|metric| translation.metric(metric));
            translation.target_info(&resource);
        }
        problems = translation.problems;
        problems.extend(remote_write::store(shared, translation.request));
    }
    let partial_success = match partial {
        Some(partial) => {
            Some(ExportMetricsPartialSuccess { rejected_data_points: partial.rejected, error_message: partial.message })
        }
        None if problems.is_empty() => None,
        None => Some(ExportMetricsPartialSuccess {
            rejected_data_points: i64::try_from(problems.len()).unwrap_or(i64::MAX),
            error_message: problems.join("\n"),
        }),
    };
    ExportMetricsServiceResponse { partial_success }
}

#[derive(Default)]
struct Translation {
    request: WriteRequest,
    problems: Vec<String>,
    /// `job` and `instance` of the present resource.
    identity: Vec<Label>,
    /// The newest point of the present resource, in milliseconds since 1970.
    newest: i64,
}

fn label(name: &str, value: impl Into<String>) -> Label {
    Label { name: name.to_owned(), value: value.into() }
}

fn milliseconds(nanoseconds: u64) -> i64 {
    i64::try_from(nanoseconds / 1_000_000).unwrap_or(i64::MAX)
}

impl Translation {
    fn resource(&mut self, resource: &Attributes) {
        self.newest = 0;
        self.identity.clear();
        if let Some(service) = resource.text("service.name") {
            let job = match resource.text("service.namespace") {
                Some(namespace) => format!("{namespace}/{service}"),
                None => service.to_owned(),
            };
            self.identity.push(label("job", job));
        }
        if let Some(instance) = resource.text("service.instance.id") {
            self.identity.push(label("instance", instance));
        }
    }

    /// The attributes of the resource that are no labels of its series.
    fn target_info(&mut self, resource: &Attributes) {
        const IDENTITY: [&str; 3] = ["service.name", "service.namespace", "service.instance.id"];
        let mut labels: Vec<_> = resource
            .iter()
            .filter(|(name, _)| !IDENTITY.contains(name))
            .map(|(name, value)| label(&label_text::sanitise(name), value.to_string()))
            .collect();
        if labels.is_empty() || self.identity.is_empty() || self.newest == 0 {
            return;
        }
        labels.extend(self.identity.iter().cloned());
        self.push("target_info", labels, 1.0, self.newest, Vec::new());
    }

    fn metric(&mut self, metric: Metric) {
        let mut name = label_text::sanitise(&metric.name);
        let suffix = unit_suffix(&metric.unit);
        let stem = name.strip_suffix("_total").unwrap_or(&name).to_owned();
        if !suffix.is_empty() && !stem.split('_').any(|word| word == suffix) {
            name = format!("{stem}_{suffix}");
        }
        let is_delta = |temporality: i32| temporality != AggregationTemporality::Cumulative as i32;
        let Some(data) = metric.data else { return };
        let metric_type = match &data {
            metric::Data::Sum(sum) if is_delta(sum.aggregation_temporality) => {
                return self.refuse(&name, sum.data_points.len());
            }
            metric::Data::Histogram(histogram) if is_delta(histogram.aggregation_temporality) => {
                return self.refuse(&name, histogram.data_points.len());
            }
            metric::Data::ExponentialHistogram(histogram) if is_delta(histogram.aggregation_temporality) => {
                return self.refuse(&name, histogram.data_points.len());
            }
            metric::Data::Sum(sum) if sum.is_monotonic => {
                if !name.ends_with("_total") {
                    name.push_str("_total");
                }
                MetricType::Counter
            }
            metric::Data::Gauge(_) | metric::Data::Sum(_) => MetricType::Gauge,
            metric::Data::Histogram(_) | metric::Data::ExponentialHistogram(_) => MetricType::Histogram,
            metric::Data::Summary(_) => MetricType::Summary,
        };
        self.request.metadata.push(wire::MetricMetadata {
            r#type: metric_type as i32,
            metric_family_name: name.clone(),
            help: metric.description,
            unit: suffix.to_owned(),
        });
        match data {
            metric::Data::Gauge(gauge) => gauge.data_points.into_iter().for_each(|point| self.number(&name, point)),
            metric::Data::Sum(sum) => sum.data_points.into_iter().for_each(|point| self.number(&name, point)),
            metric::Data::Histogram(data) => {
                data.data_points.into_iter().for_each(|point| self.histogram(&name, point))
            }
            metric::Data::ExponentialHistogram(data) => {
                data.data_points.into_iter().for_each(|point| self.exponential(&name, point));
            }
            metric::Data::Summary(data) => data.data_points.into_iter().for_each(|point| self.summary(&name, point)),
        }
    }

    fn refuse(&mut self, name: &str, points: usize) {
        let problem = format!("invalid temporality and type combination for metric {name:?}: only cumulative is taken");
        self.problems.extend(std::iter::repeat_n(problem, points));
    }

    fn labels(&mut self, attributes: Vec<KeyValue>, time: u64) -> (Vec<Label>, i64) {
        let mut labels = self.identity.clone();
        for (name, value) in &Attributes::from(attributes) {
            labels.push(label(&label_text::sanitise(name), value.to_string()));
        }
        let timestamp = milliseconds(time);
        self.newest = self.newest.max(timestamp);
        (labels, timestamp)
    }

    fn push(&mut self, name: &str, labels: Vec<Label>, value: f64, timestamp: i64, exemplars: Vec<wire::Exemplar>) {
        self.series(name, labels, |series| {
            series.samples.push(wire::Sample { value, timestamp });
            series.exemplars = exemplars;
        });
    }

    fn series(&mut self, name: &str, mut labels: Vec<Label>, fill: impl FnOnce(&mut TimeSeries)) {
        labels.push(label("__name__", name));
        labels.sort_by(|one, other| one.name.cmp(&other.name));
        let mut series = TimeSeries { labels, ..TimeSeries::default() };
        fill(&mut series);
        self.request.timeseries.push(series);
    }

    fn number(&mut self, name: &str, point: NumberDataPoint) {
        let (labels, timestamp) = self.labels(point.attributes, point.time_unix_nano);
        let value = match point.value {
            _ if point.flags & NO_RECORDED_VALUE != 0 => f64::from_bits(STALE),
            Some(number_data_point::Value::AsDouble(value)) => value,
            Some(number_data_point::Value::AsInt(value)) => value as f64,
            None => 0.0,
        };
        let exemplars = point.exemplars.into_iter().map(translated).collect();
        self.push(name, labels, value, timestamp, exemplars);
    }

    fn histogram(&mut self, name: &str, point: HistogramDataPoint) {
        let (labels, timestamp) = self.labels(point.attributes, point.time_unix_nano);
        let is_over = point.flags & NO_RECORDED_VALUE != 0;
        let value = |value: f64| if is_over { f64::from_bits(STALE) } else { value };
        let mut exemplars: Vec<_> = point.exemplars.into_iter().map(translated).collect();
        exemplars.sort_by_key(|exemplar| exemplar.timestamp);
        let mut below = 0;
        let bounds = point.explicit_bounds.iter().copied().chain([f64::INFINITY]);
        let counts = point.bucket_counts.iter().copied().chain(std::iter::repeat(0));
        let mut least = f64::NEG_INFINITY;
        for (bound, count) in bounds.zip(counts) {
            below += count;
            let mut labels = labels.clone();
            let text = if bound.is_infinite() { "+Inf".to_owned() } else { bound.to_string() };
            labels.push(label("le", text));
            let total = if bound.is_infinite() { point.count } else { below };
            let own = exemplars.iter().filter(|exemplar| exemplar.value > least && exemplar.value <= bound).cloned();
            self.push(&format!("{name}_bucket"), labels, value(total as f64), timestamp, own.collect());
            least = bound;
        }
        self.push(&format!("{name}_sum"), labels.clone(), value(point.sum.unwrap_or_default()), timestamp, Vec::new());
        self.push(&format!("{name}_count"), labels, value(point.count as f64), timestamp, Vec::new());
    }

    fn exponential(&mut self, name: &str, point: ExponentialHistogramDataPoint) {
        let (labels, timestamp) = self.labels(point.attributes, point.time_unix_nano);
        let is_over = point.flags & NO_RECORDED_VALUE != 0;
        let (positive_spans, positive_deltas) = spans(point.positive);
        let (negative_spans, negative_deltas) = spans(point.negative);
        let histogram = wire::Histogram {
            count: point.count,
            sum: if is_over { f64::from_bits(STALE) } else { point.sum.unwrap_or_default() },
            schema: point.scale,
            zero_threshold: point.zero_threshold,
            zero_count: point.zero_count,
            negative_spans,
            negative_deltas,
            positive_spans,
            positive_deltas,
            timestamp,
        };
        let exemplars = point.exemplars.into_iter().map(translated).collect();
        self.series(name, labels, |series| {
            series.histograms.push(histogram);
            series.exemplars = exemplars;
        });
    }

    fn summary(&mut self, name: &str, point: SummaryDataPoint) {
        let (labels, timestamp) = self.labels(point.attributes, point.time_unix_nano);
        let is_over = point.flags & NO_RECORDED_VALUE != 0;
        let value = |value: f64| if is_over { f64::from_bits(STALE) } else { value };
        for quantile in point.quantile_values {
            let mut labels = labels.clone();
            labels.push(label("quantile", quantile.quantile.to_string()));
            self.push(name, labels, value(quantile.value), timestamp, Vec::new());
        }
        self.push(&format!("{name}_sum"), labels.clone(), value(point.sum), timestamp, Vec::new());
        self.push(&format!("{name}_count"), labels, value(point.count as f64), timestamp, Vec::new());
    }
}

/// Prometheus' bucket i has OpenTelemetry's number i - 1; empty ones are kept.
fn spans(buckets: Option<Buckets>) -> (Vec<BucketSpan>, Vec<i64>) {
    let Some(buckets) = buckets.filter(|buckets| !buckets.bucket_counts.is_empty()) else { return Default::default() };
    let length = u32::try_from(buckets.bucket_counts.len()).unwrap_or(u32::MAX);
    let mut before = 0;
    let deltas = buckets.bucket_counts.iter().map(|count| {
        let count = count.cast_signed();
        let delta = count.wrapping_sub(before);
        before = count;
        delta
    });
    (vec![BucketSpan { offset: buckets.offset.saturating_add(1), length }], deltas.collect())
}

fn translated(exemplar: Exemplar) -> wire::Exemplar {
    let mut labels = Vec::new();
    for (name, id) in [("trace_id", &exemplar.trace_id), ("span_id", &exemplar.span_id)] {
        if !id.is_empty() {
            labels.push(label(name, const_hex::encode(id)));
        }
    }
    for (name, value) in &Attributes::from(exemplar.filtered_attributes) {
        labels.push(label(&label_text::sanitise(name), value.to_string()));
    }
    let value = match exemplar.value {
        Some(exemplar::Value::AsDouble(value)) => value,
        Some(exemplar::Value::AsInt(value)) => value as f64,
        None => 0.0,
    };
    wire::Exemplar { labels, value, timestamp: milliseconds(exemplar.time_unix_nano) }
}

/// The word that Prometheus has for a unit of UCUM.
fn unit_suffix(unit: &str) -> &str {
    match unit {
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "%" => "percent",
        _ => "",
    }
}
