//! OTLP metrics translated to series as Mimir and Prometheus do it; deltas are [added up](crate::store) on the way. Runs under the lock of the
//! delta streams.
//!
//! Source: OpenTelemetry, "Prometheus and OpenMetrics Compatibility", "OTLP Metric points to Prometheus".

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, Metric, ResourceMetrics, metric};
use prost::Message as _;

use super::otlp_names::{Shape, label, labels_of, metric_name};
use crate::attribute::Attributes;
use crate::store::{Deltas, StreamId};
use crate::wire::prometheus::{self as wire, Label, MetricType, TimeSeries, WriteRequest};

/// What became of a request.
#[derive(Default)]
pub(super) struct Translated {
    pub(super) request: WriteRequest,
    /// For each series of the request the number of its point.
    pub(super) points: Vec<u64>,
    /// Series at the beginning of delta streams, before anything happened.
    pub(super) zeros: Vec<TimeSeries>,
    /// Points that are not in the request, because of problems.
    pub(super) refused: usize,
    pub(super) problems: Vec<String>,
}

pub(super) struct Translation<'a> {
    pub(super) deltas: &'a mut Deltas,
    pub(super) translated: Translated,
    /// `job` and `instance` of the present resource.
    identity: BTreeMap<String, String>,
    /// What tells the streams of the present resource, scope and metric from others.
    stream: Vec<u8>,
    /// The number of the present point.
    point: u64,
    /// The newest point of the present resource, in milliseconds since 1970.
    newest: i64,
}

pub(super) fn milliseconds(nanoseconds: u64) -> i64 {
    i64::try_from(nanoseconds / 1_000_000).unwrap_or(i64::MAX)
}

impl<'a> Translation<'a> {
    pub(super) fn new(deltas: &'a mut Deltas) -> Self {
        Self {
            deltas,
            translated: Translated::default(),
            identity: BTreeMap::new(),
            stream: Vec::new(),
            point: 0,
            newest: 0,
        }
    }

    pub(super) fn end(self) -> Translated {
        self.translated
    }

    pub(super) fn resource(&mut self, metrics: ResourceMetrics) {
        let pairs = metrics.resource.unwrap_or_default().attributes;
        let of_resource = identifying(&pairs);
        let resource = Attributes::from(pairs);
        self.newest = 0;
        self.identity.clear();
        if let Some(service) = resource.text("service.name") {
            let job = match resource.text("service.namespace") {
                Some(namespace) => format!("{namespace}/{service}"),
                None => service.to_owned(),
            };
            self.identity.insert("job".to_owned(), job);
        }
        if let Some(instance) = resource.text("service.instance.id") {
            self.identity.insert("instance".to_owned(), instance.to_owned());
        }
        for scope_metrics in metrics.scope_metrics {
            let InstrumentationScope { name, version, attributes, .. } = scope_metrics.scope.unwrap_or_default();
            let mut of_scope = of_resource.clone();
            push_part(&mut of_scope, name.as_bytes());
            push_part(&mut of_scope, version.as_bytes());
            push_part(&mut of_scope, &identifying(&attributes));
            for metric in scope_metrics.metrics {
                self.stream.clone_from(&of_scope);
                self.metric(metric);
            }
        }
        self.target_info(&resource);
    }

    /// The attributes of the resource that are no labels of its series.
    fn target_info(&mut self, resource: &Attributes) {
        const IDENTITY: [&str; 3] = ["service.name", "service.namespace", "service.instance.id"];
        let mut labels = labels_of(&resource.without(&IDENTITY));
        if labels.is_empty() || self.identity.is_empty() || self.newest == 0 {
            return;
        }
        self.point += 1;
        labels.extend(self.identity.clone());
        self.push("target_info", labels, 1.0, self.newest, Vec::new());
    }

    fn metric(&mut self, metric: Metric) {
        let Some(data) = metric.data else { return };
        let (metric_type, shape, temporality) = match &data {
            metric::Data::Gauge(_) => (MetricType::Gauge, Shape::Gauge, None),
            metric::Data::Sum(sum) if sum.is_monotonic => {
                (MetricType::Counter, Shape::Counter, Some(sum.aggregation_temporality))
            }
            metric::Data::Sum(sum) => (MetricType::Gauge, Shape::Other, Some(sum.aggregation_temporality)),
            metric::Data::Histogram(data) => (MetricType::Histogram, Shape::Other, Some(data.aggregation_temporality)),
            metric::Data::ExponentialHistogram(data) => {
                (MetricType::Histogram, Shape::Other, Some(data.aggregation_temporality))
            }
            metric::Data::Summary(_) => (MetricType::Summary, Shape::Other, None),
        };
        let (name, unit) = metric_name(&metric.name, &metric.unit, shape);
        let is_delta = temporality == Some(AggregationTemporality::Delta as i32);
        if !is_delta && temporality.is_some_and(|told| told != AggregationTemporality::Cumulative as i32) {
            let points = match &data {
                metric::Data::Sum(data) => data.data_points.len(),
                metric::Data::Histogram(data) => data.data_points.len(),
                metric::Data::ExponentialHistogram(data) => data.data_points.len(),
                metric::Data::Gauge(_) | metric::Data::Summary(_) => 0,
            };
            self.translated.refused += points;
            self.translated.problems.push(format!(
                "invalid temporality and type combination for metric {:?}: accepted are delta and cumulative",
                metric.name
            ));
            return;
        }
        self.translated.request.metadata.push(wire::MetricMetadata {
            r#type: metric_type as i32,
            metric_family_name: name.clone(),
            help: metric.description,
            unit,
        });
        push_part(&mut self.stream, metric.name.as_bytes());
        push_part(&mut self.stream, metric.unit.as_bytes());
        match data {
            metric::Data::Gauge(data) => self.each(data.data_points, |own, point| own.number(&name, point, false)),
            metric::Data::Sum(data) => self.each(data.data_points, |own, point| own.number(&name, point, is_delta)),
            metric::Data::Histogram(data) => {
                self.each(data.data_points, |own, point| own.histogram(&name, point, is_delta));
            }
            metric::Data::ExponentialHistogram(data) => {
                self.each(data.data_points, |own, point| own.exponential(&name, point, is_delta));
            }
            metric::Data::Summary(data) => self.each(data.data_points, |own, point| {
                own.summary(&name, point);
                Ok(())
            }),
        }
    }

    fn each<P>(&mut self, points: Vec<P>, translate: impl Fn(&mut Self, P) -> Result<(), String>) {
        for point in points {
            self.point += 1;
            if let Err(problem) = translate(self, point) {
                self.translated.refused += 1;
                self.translated.problems.push(problem);
            }
        }
    }

    /// What tells the stream of a point from others.
    pub(super) fn stream_id(&self, attributes: &[KeyValue]) -> StreamId {
        let mut id = self.stream.clone();
        push_part(&mut id, &identifying(attributes));
        id
    }

    pub(super) fn labels(&mut self, attributes: Vec<KeyValue>, timestamp: i64) -> BTreeMap<String, String> {
        self.newest = self.newest.max(timestamp);
        let mut labels = labels_of(&Attributes::from(attributes));
        labels.extend(self.identity.clone());
        labels
    }

    pub(super) fn push(
        &mut self,
        name: &str,
        labels: BTreeMap<String, String>,
        value: f64,
        timestamp: i64,
        exemplars: Vec<wire::Exemplar>,
    ) {
        let samples = vec![wire::Sample { value, timestamp }];
        self.push_series(TimeSeries { labels: with_name(name, labels), samples, exemplars, ..TimeSeries::default() });
    }

    pub(super) fn push_series(&mut self, series: TimeSeries) {
        self.translated.request.timeseries.push(series);
        self.translated.points.push(self.point);
    }

    /// Gives the series of `translate` to those that stood at the beginning, before anything happened.
    pub(super) fn at_beginning(&mut self, translate: impl FnOnce(&mut Self)) {
        let before = self.translated.request.timeseries.len();
        translate(self);
        let zeros = self.translated.request.timeseries.split_off(before);
        self.translated.points.truncate(before);
        self.translated.zeros.extend(zeros);
    }
}

pub(super) fn with_name(name: &str, mut labels: BTreeMap<String, String>) -> Vec<Label> {
    labels.insert("__name__".to_owned(), name.to_owned());
    labels.into_iter().map(|(name, value)| label(&name, value)).collect()
}

/// Attributes as bytes that are the same in whatever order they come.
fn identifying(attributes: &[KeyValue]) -> Vec<u8> {
    let mut sorted: Vec<&KeyValue> = attributes.iter().collect();
    sorted.sort_by(|one, other| one.key.cmp(&other.key));
    let mut bytes = Vec::new();
    for pair in sorted {
        push_part(&mut bytes, &pair.encode_to_vec());
    }
    bytes
}

/// With its length, so that no two lists of parts are the same bytes.
fn push_part(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend((part.len() as u64).to_le_bytes());
    bytes.extend(part);
}
