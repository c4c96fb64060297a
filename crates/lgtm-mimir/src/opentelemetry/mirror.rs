//! From the SDK's data points to series of the recorder: each point finds its series, points that are one series are added up, and a
//! series of which nothing is said any more ends. The collector's thread.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState};
use std::sync::Arc;

use metrics::Label;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, Metric, MetricData, ResourceMetrics};

use super::name;
use super::point::{Number, Point};
use crate::families::{Family, Kind, New, Owner, Series};
use crate::refusal::Refusal;
use crate::registry::Registry;
use crate::scalar::Counter;

/// What is known of one provider's metrics.
pub(super) struct Mirror {
    owner: Owner,
    /// Counts collections.
    round: u64,
    scopes: HashMap<InstrumentationScope, Scope>,
    series: HashMap<u32, Shown>,
    hasher: RandomState,
}

/// What one library records.
#[derive(Default)]
struct Scope {
    labels: Vec<Label>,
    metrics: HashMap<MetricId, Known>,
    round: u64,
}

/// What tells an instrument's metrics apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct MetricId {
    name: String,
    unit: String,
    kind: Kind,
    is_native: bool,
}

/// A metric.
struct Known {
    /// None: it cannot be exposed.
    family: Option<Arc<Family>>,
    /// By the hash of their attributes.
    points: HashMap<u64, Vec<Place>>,
    round: u64,
}

/// Where a label set's points go.
struct Place {
    attributes: Vec<KeyValue>,
    /// The number of the series; none: they are not exposed.
    series: Option<u32>,
    round: u64,
}

/// A series that was made for this provider.
struct Shown {
    family: Arc<Family>,
    series: Arc<Series>,
    /// What the present round has of it so far.
    point: Option<Point>,
}

impl Mirror {
    pub(super) fn new(owner: Owner) -> Self {
        Self { owner, round: 0, scopes: HashMap::new(), series: HashMap::new(), hasher: RandomState::new() }
    }

    /// Shows what was collected.
    pub(super) fn show(&mut self, metrics: &ResourceMetrics, registry: &Arc<Registry>) {
        self.round += 1;
        let Self { owner, round, scopes, series, hasher } = self;
        for of_scope in metrics.scope_metrics() {
            let scope = match scopes.get_mut(of_scope.scope()) {
                Some(scope) => scope,
                None => scopes
                    .entry(of_scope.scope().clone())
                    .or_insert_with(|| Scope { labels: name::scope_labels(of_scope.scope()), ..Scope::default() }),
            };
            scope.round = *round;
            for metric in of_scope.metrics() {
                let id = MetricId {
                    name: metric.name().to_owned(),
                    unit: metric.unit().to_owned(),
                    kind: kind_of(metric),
                    is_native: is_native(metric),
                };
                let known = scope.metrics.entry(id).or_insert_with_key(|id| Known {
                    family: family(registry, id, metric.description()),
                    points: HashMap::new(),
                    round: 0,
                });
                known.round = *round;
                let Some(family) = known.family.clone() else { continue };
                let of_metric = OfMetric {
                    round: *round,
                    owner: *owner,
                    registry,
                    name: metric.name(),
                    scope: &scope.labels,
                    family,
                    places: &mut known.points,
                    series,
                    hasher,
                };
                of_metric.take_all(metric);
            }
        }
        self.settle(registry);
    }

    /// Shows what the round has found, and ends what it has not.
    fn settle(&mut self, registry: &Arc<Registry>) {
        let round = self.round;
        for scope in self.scopes.values_mut() {
            for metric in scope.metrics.values_mut() {
                for places in metric.points.values_mut() {
                    places.retain(|place| place.round == round);
                }
                metric.points.retain(|_, places| !places.is_empty());
            }
            scope.metrics.retain(|_, metric| metric.round == round);
        }
        self.scopes.retain(|_, scope| scope.round == round);
        self.series.retain(|_, shown| match shown.point.take() {
            Some(point) => {
                point.show(&shown.series.value);
                true
            }
            None => {
                registry.end_series_of(&shown.family, |series| std::ptr::eq(series, &*shown.series));
                false
            }
        });
    }
}

/// The points of one metric, on their way.
struct OfMetric<'a> {
    round: u64,
    owner: Owner,
    registry: &'a Arc<Registry>,
    name: &'a str,
    scope: &'a [Label],
    family: Arc<Family>,
    places: &'a mut HashMap<u64, Vec<Place>>,
    series: &'a mut HashMap<u32, Shown>,
    hasher: &'a RandomState,
}

impl OfMetric<'_> {
    fn take_all(mut self, metric: &Metric) {
        match metric.data() {
            AggregatedMetrics::F64(data) => self.take_data(data),
            AggregatedMetrics::U64(data) => self.take_data(data),
            AggregatedMetrics::I64(data) => self.take_data(data),
        }
    }

    fn take_data<T: Number>(&mut self, data: &MetricData<T>) {
        match data {
            MetricData::Gauge(gauge) => {
                gauge.data_points().for_each(|point| self.take(|| point.attributes(), Some(Point::gauge(point))));
            }
            MetricData::Sum(sum) => sum
                .data_points()
                .for_each(|point| self.take(|| point.attributes(), Some(Point::sum(point, sum.is_monotonic())))),
            MetricData::Histogram(histogram) => histogram
                .data_points()
                .for_each(|point| self.take(|| point.attributes(), Some(Point::histogram(point)))),
            MetricData::ExponentialHistogram(histogram) => {
                histogram.data_points().for_each(|point| self.take(|| point.attributes(), Point::native(point)));
            }
        }
    }

    /// Takes a point; none: one that cannot be exposed.
    fn take<'p, A: Iterator<Item = &'p KeyValue>>(&mut self, attributes: impl Fn() -> A, point: Option<Point>) {
        let mut hasher = self.hasher.build_hasher();
        attributes().for_each(|attribute| attribute.hash(&mut hasher));
        let hash = hasher.finish();
        let places = self.places.entry(hash).or_default();
        let place = match places.iter().position(|place| place.attributes.iter().eq(attributes())) {
            Some(place) => place,
            None => {
                let place = Place { attributes: attributes().cloned().collect(), series: None, round: 0 };
                places.push(place);
                let series = self.place(attributes, point.as_ref());
                let places = self.places.entry(hash).or_default();
                if let Some(place) = places.last_mut() {
                    place.series = series;
                }
                places.len() - 1
            }
        };
        let Some(place) = self.places.get_mut(&hash).and_then(|places| places.get_mut(place)) else { return };
        place.round = self.round;
        let Some(shown) = place.series.and_then(|series| self.series.get_mut(&series)) else { return };
        let Some(point) = point else { return };
        let fits = match &mut shown.point {
            Some(known) => known.add(point),
            empty if point.fits(&shown.series.value) => {
                *empty = Some(point);
                true
            }
            _ => false,
        };
        if !fits {
            place.series = None;
            self.registry.families().refuse(Refusal::TypeConflict, || {
                format!(
                    "points of OpenTelemetry's instrument `{}` are one series of metric `{}` with others, but are none of their kind: \
                     they are not exposed",
                    self.name, self.family.name
                )
            });
        }
    }

    /// Finds the series of a label set that is new.
    fn place<'p, A: Iterator<Item = &'p KeyValue>>(
        &mut self,
        attributes: impl Fn() -> A,
        point: Option<&Point>,
    ) -> Option<u32> {
        let families = self.registry.families();
        let Some(point) = point else {
            families.refuse(Refusal::Scale, || {
                format!(
                    "OpenTelemetry's exponential histogram `{}` has a scale below -4, which Prometheus has not: it is not exposed",
                    self.name
                )
            });
            return None;
        };
        let overflow = || name::overflow_labels(self.scope, self.family.kind);
        let labels = if name::is_overflow(attributes()) {
            families.refuse(Refusal::NameSeriesLimit, || {
                format!(
                    "OpenTelemetry's instrument `{}` has more attribute sets than the SDK tells apart: further ones count in \
                     {}=\"true\"",
                    self.name,
                    crate::naming::OVERFLOW_LABEL
                )
            });
            overflow()
        } else {
            let (labels, excess) = name::labels(attributes(), self.scope, self.family.kind);
            families.note_excess(&self.family, self.name, excess);
            labels
        };
        // Samples that are not numbers never get here: the SDK leaves them out.
        let not_a_number = Arc::new(Counter::default());
        let new = New {
            owner: self.owner,
            time_series: point.time_series(),
            value: &|| point.new_value(&not_a_number),
            overflow: &overflow,
        };
        let series = families.find_or_insert(&self.family, labels, &new)?.series;
        let number = series.number;
        self.series.entry(number).or_insert_with(|| Shown { family: Arc::clone(&self.family), series, point: None });
        Some(number)
    }
}

/// The family that the metric is exposed in, if it can be.
fn family(registry: &Registry, id: &MetricId, description: &str) -> Option<Arc<Family>> {
    let (exposed, unit) = name::exposed(&id.name, &id.unit, id.kind == Kind::Counter);
    let families = registry.families();
    let family = families.family_of_form(&exposed, id.kind, id.is_native)?;
    families.describe_new(&exposed, id.kind, unit, description);
    Some(family)
}

fn kind_of(metric: &Metric) -> Kind {
    fn of<T>(data: &MetricData<T>) -> Kind {
        match data {
            MetricData::Sum(sum) if sum.is_monotonic() => Kind::Counter,
            MetricData::Gauge(_) | MetricData::Sum(_) => Kind::Gauge,
            MetricData::Histogram(_) | MetricData::ExponentialHistogram(_) => Kind::Histogram,
        }
    }
    match metric.data() {
        AggregatedMetrics::F64(data) => of(data),
        AggregatedMetrics::U64(data) => of(data),
        AggregatedMetrics::I64(data) => of(data),
    }
}

fn is_native(metric: &Metric) -> bool {
    matches!(
        metric.data(),
        AggregatedMetrics::F64(MetricData::ExponentialHistogram(_))
            | AggregatedMetrics::U64(MetricData::ExponentialHistogram(_))
            | AggregatedMetrics::I64(MetricData::ExponentialHistogram(_))
    )
}
