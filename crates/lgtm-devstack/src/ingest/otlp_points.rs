//! The points of OTLP metrics as series: numbers, histograms, summaries, and their exemplars. Runs under the lock of the delta streams.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, NumberDataPoint, SummaryDataPoint, exemplar,
};

use super::otlp_names::{label, labels_of};
use super::otlp_translation::{Translation, milliseconds, with_name};
use super::remote_write::MAX_EXEMPLAR_LABEL_CHARACTERS;
use crate::attribute::Attributes;
use crate::exponential::Exponential;
use crate::store::{Delta, Total, fingerprint};
use crate::wire::prometheus::{self as wire, TimeSeries};

/// The NaN that means "no more samples": Prometheus Remote-Write 1.0, "Stale markers".
const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);
/// `FLAG_NO_RECORDED_VALUE`.
const NO_RECORDED_VALUE: u32 = 1;

/// A point without its amount.
struct Point {
    attributes: Vec<KeyValue>,
    begin_ns: u64,
    end_ns: u64,
    flags: u32,
    exemplars: Vec<Exemplar>,
    /// Of a delta, to know it again.
    fingerprint: Option<u64>,
}

/// What is told of a total.
struct About {
    labels: BTreeMap<String, String>,
    timestamp: i64,
    exemplars: Vec<wire::Exemplar>,
    is_over: bool,
}

impl Translation<'_> {
    pub(super) fn number(&mut self, name: &str, point: NumberDataPoint, is_delta: bool) -> Result<(), String> {
        let fingerprint = is_delta.then(|| fingerprint(&point));
        let NumberDataPoint { attributes, start_time_unix_nano, time_unix_nano, exemplars, flags, value } = point;
        let (begin_ns, end_ns) = (start_time_unix_nano, time_unix_nano);
        let amount = Total::Number(value.unwrap_or(Value::AsInt(0)));
        self.point(name, amount, Point { attributes, begin_ns, end_ns, flags, exemplars, fingerprint })
    }

    pub(super) fn histogram(&mut self, name: &str, point: HistogramDataPoint, is_delta: bool) -> Result<(), String> {
        let fingerprint = is_delta.then(|| fingerprint(&point));
        let (bounds, counts) = (point.explicit_bounds, point.bucket_counts);
        if !counts.is_empty() && counts.len() != bounds.len() + 1 {
            let (counts, bounds) = (counts.len(), bounds.len());
            return Err(format!(
                "histogram {name} has {counts} buckets for {bounds} bounds; accepted are {}",
                bounds + 1
            ));
        }
        let (begin_ns, end_ns) = (point.start_time_unix_nano, point.time_unix_nano);
        let (attributes, flags, exemplars) = (point.attributes, point.flags, point.exemplars);
        let amount = Total::Explicit { bounds, counts, count: point.count, sum: point.sum };
        self.point(name, amount, Point { attributes, begin_ns, end_ns, flags, exemplars, fingerprint })
    }

    pub(super) fn exponential(
        &mut self,
        name: &str,
        point: ExponentialHistogramDataPoint,
        is_delta: bool,
    ) -> Result<(), String> {
        let fingerprint = is_delta.then(|| fingerprint(&point));
        let amount = Exponential::of(&point).map_err(|problem| format!("histogram {name}: {problem}"))?;
        let (begin_ns, end_ns) = (point.start_time_unix_nano, point.time_unix_nano);
        let (attributes, flags, exemplars) = (point.attributes, point.flags, point.exemplars);
        let point = Point { attributes, begin_ns, end_ns, flags, exemplars, fingerprint };
        self.point(name, Total::Exponential(amount), point)
    }

    pub(super) fn summary(&mut self, name: &str, point: SummaryDataPoint) {
        let timestamp = milliseconds(point.time_unix_nano);
        let labels = self.labels(point.attributes, timestamp);
        let is_over = point.flags & NO_RECORDED_VALUE != 0;
        let value = |value: f64| if is_over { STALE } else { value };
        for quantile in point.quantile_values {
            let mut labels = labels.clone();
            labels.insert("quantile".to_owned(), quantile.quantile.to_string());
            self.push(name, labels, value(quantile.value), timestamp, Vec::new());
        }
        self.push(&format!("{name}_sum"), labels.clone(), value(point.sum), timestamp, Vec::new());
        self.push(&format!("{name}_count"), labels, value(point.count as f64), timestamp, Vec::new());
    }

    /// Tells of a point, after it was added up with those before if it is a delta.
    fn point(&mut self, name: &str, mut total: Total, point: Point) -> Result<(), String> {
        let Point { attributes, begin_ns, end_ns, flags, exemplars, fingerprint } = point;
        let is_over = flags & NO_RECORDED_VALUE != 0;
        let (mut timestamp, mut beginning) = (milliseconds(end_ns), None);
        if let Some(fingerprint) = fingerprint {
            let id = self.stream_id(&attributes);
            if is_over {
                self.deltas.end(&id);
            } else {
                let delta = Delta { begin_ns, end_ns, fingerprint, amount: total };
                let taken = self.deltas.take(&id, delta).map_err(|problem| format!("metric {name}: {problem}"))?;
                if taken.overlaps {
                    self.translated.problems.push(format!(
                        "metric {name}: the delta from {begin_ns} begins before the end of the one before, both are added up: is there \
                         another program with the same resource?"
                    ));
                }
                timestamp = i64::try_from(taken.at_ms).unwrap_or(i64::MAX);
                let begin = milliseconds(begin_ns);
                beginning = (taken.is_first && begin_ns != 0 && begin < timestamp).then_some(begin);
                total = taken.total;
            }
        }
        let labels = self.labels(attributes, timestamp);
        if let Some(timestamp) = beginning {
            let about = About { labels: labels.clone(), timestamp, exemplars: Vec::new(), is_over };
            let zero = total.zero();
            self.at_beginning(|own| own.total(name, zero, about));
        }
        let mut exemplars: Vec<_> = exemplars.into_iter().map(translated).collect();
        exemplars.sort_by_key(|exemplar| exemplar.timestamp);
        self.total(name, total, About { labels, timestamp, exemplars, is_over });
        Ok(())
    }

    fn total(&mut self, name: &str, total: Total, about: About) {
        let About { labels, timestamp, exemplars, is_over } = about;
        let value = |value: f64| if is_over { STALE } else { value };
        match total {
            Total::Number(Value::AsInt(number)) => self.push(name, labels, value(number as f64), timestamp, exemplars),
            Total::Number(Value::AsDouble(number)) => self.push(name, labels, value(number), timestamp, exemplars),
            Total::Explicit { bounds, counts, count, sum } => {
                let mut below = 0_u64;
                let mut least = f64::NEG_INFINITY;
                for (place, bound) in
                    bounds.into_iter().filter(|bound| bound.is_finite()).map(Some).chain([None]).enumerate()
                {
                    below = below.saturating_add(counts.get(place).copied().unwrap_or_default());
                    let mut labels = labels.clone();
                    labels.insert("le".to_owned(), bound.map_or_else(|| "+Inf".to_owned(), |bound| bound.to_string()));
                    let bound = bound.unwrap_or(f64::INFINITY);
                    let is_inside = |exemplar: &&wire::Exemplar| exemplar.value > least && exemplar.value <= bound;
                    let own = exemplars.iter().filter(is_inside).cloned().collect();
                    let total = if bound.is_infinite() { count } else { below };
                    self.push(&format!("{name}_bucket"), labels, value(total as f64), timestamp, own);
                    least = bound;
                }
                let sum = value(sum.unwrap_or_default());
                self.push(&format!("{name}_sum"), labels.clone(), sum, timestamp, Vec::new());
                self.push(&format!("{name}_count"), labels, value(count as f64), timestamp, Vec::new());
            }
            Total::Exponential(histogram) => {
                let mut histogram = histogram.native(timestamp);
                if is_over {
                    histogram.sum = STALE;
                }
                let labels = with_name(name, labels);
                self.push_series(TimeSeries {
                    labels,
                    histograms: vec![histogram],
                    exemplars,
                    ..TimeSeries::default()
                });
            }
        }
    }
}

/// As Prometheus has exemplars: attributes only if the labels do not become too long by them.
fn translated(exemplar: Exemplar) -> wire::Exemplar {
    let mut labels: Vec<_> = [("span_id", &exemplar.span_id), ("trace_id", &exemplar.trace_id)]
        .into_iter()
        .filter(|(_, id)| id.iter().any(|byte| *byte != 0))
        .map(|(name, id)| label(name, const_hex::encode(id)))
        .collect();
    let more = labels_of(&Attributes::from(exemplar.filtered_attributes));
    let characters = |name: &str, value: &str| name.chars().count() + value.chars().count();
    let length: usize = labels.iter().map(|label| characters(&label.name, &label.value)).sum::<usize>()
        + more.iter().map(|(name, value)| characters(name, value)).sum::<usize>();
    if length <= MAX_EXEMPLAR_LABEL_CHARACTERS {
        labels.extend(more.into_iter().map(|(name, value)| label(&name, value)));
    }
    let value = match exemplar.value {
        Some(exemplar::Value::AsDouble(value)) => value,
        Some(exemplar::Value::AsInt(value)) => value as f64,
        None => 0.0,
    };
    wire::Exemplar { labels, value, timestamp: milliseconds(exemplar.time_unix_nano) }
}
