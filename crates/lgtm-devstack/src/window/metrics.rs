//! The list of metrics, by family: type, unit, help, how many series, and where they stand.

use std::collections::{BTreeMap, HashSet};

use axum::Json;
use axum::extract::State;
use regex::Regex;
use serde_json::{Value, json};

use super::query::{Query, Refusal};
use crate::devstack::Shared;
use crate::read::prometheus;
use crate::store::{MetricMetadata, MetricStore, MetricType};

/// The most families of one answer.
const MAX_FAMILIES: u64 = 10_000;

/// What a series is to its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    Bucket,
    Sum,
    Count,
}

/// What is needed to tell families from the names of their series.
pub(super) struct Families<'a> {
    metadata: &'a BTreeMap<String, MetricMetadata>,
    /// Names that stand before `_bucket` in series with a bound.
    with_buckets: HashSet<&'a str>,
}

impl<'a> Families<'a> {
    pub(super) fn of(metrics: &'a MetricStore) -> Self {
        let mut with_buckets = HashSet::new();
        metrics.for_each(|series| {
            if series.labels.contains_key("le") {
                with_buckets.extend(series.name().strip_suffix("_bucket"));
            }
        });
        Self { metadata: metrics.metadata(), with_buckets }
    }

    /// The family of a series' name, and what the series is to it.
    pub(super) fn family<'n>(&self, name: &'n str) -> (&'n str, Part) {
        for (suffix, part) in [("_bucket", Part::Bucket), ("_sum", Part::Sum), ("_count", Part::Count)] {
            let Some(stem) = name.strip_suffix(suffix) else { continue };
            let told = self.metadata.get(stem).map(|metadata| metadata.metric_type);
            let has_parts =
                matches!(told, Some(MetricType::Histogram | MetricType::Gaugehistogram | MetricType::Summary));
            if has_parts || self.with_buckets.contains(stem) {
                return (stem, part);
            }
        }
        (name, Part::Whole)
    }
}

/// Type, help and unit: as was told, else by the form of the name and of the samples.
pub(super) fn describe(name: &str, metrics: &MetricStore, has_buckets: bool) -> MetricMetadata {
    let told = metrics.metadata();
    // OpenMetrics names a counter without the suffix of its series.
    let stems = [Some(name), name.strip_suffix("_total"), name.strip_suffix("_info")];
    let mut metadata = stems.iter().flatten().find_map(|stem| told.get(*stem)).cloned().unwrap_or(MetricMetadata {
        metric_type: MetricType::Unknown,
        help: String::new(),
        unit: String::new(),
    });
    if metadata.metric_type == MetricType::Unknown {
        metadata.metric_type = match () {
            () if has_buckets => MetricType::Histogram,
            () if name.ends_with("_total") => MetricType::Counter,
            () if name.ends_with("_info") => MetricType::Info,
            () => MetricType::Unknown,
        };
    }
    metadata
}

#[derive(Default)]
struct Family {
    series: u64,
    ended: u64,
    /// Sum of the newest values; of a histogram the observations.
    last: Option<f64>,
    last_ms: i64,
    exemplars: usize,
    classic: bool,
    native: bool,
}

/// `GET /api/v1/metrics`
pub(super) async fn list(State(shared): State<Shared>, query: Query) -> Result<Json<Value>, Refusal> {
    query.only(&[&["q", "limit"]])?;
    let text = query.text("q")?;
    let limit = query.number("limit", MAX_FAMILIES, 1, MAX_FAMILIES)?;
    Ok(Json(shared.store.read_metrics(|metrics| answer(metrics, text.as_ref(), limit))))
}

fn answer(metrics: &MetricStore, text: Option<&Regex>, limit: u64) -> Value {
    let mut families: BTreeMap<&str, Family> = BTreeMap::new();
    let known = Families::of(metrics);
    metrics.for_each(|series| {
        let (name, part) = known.family(series.name());
        let family = families.entry(name).or_default();
        family.exemplars += series.exemplars.len();
        family.classic |= part == Part::Bucket;
        if let Some(newest) = series.histograms.back() {
            family.native = true;
            family.series += 1;
            family.ended += u64::from(newest.is_stale_marker());
            family.last_ms = family.last_ms.max(newest.timestamp);
            // A histogram with both forms has its count as a series too.
            if !family.classic && !newest.is_stale_marker() {
                family.last = Some(family.last.unwrap_or_default() + newest.observations());
            }
        }
        let Some(newest) = series.newest_value() else { return };
        family.last_ms = family.last_ms.max(newest.timestamp_ms);
        match part {
            Part::Bucket | Part::Sum => {}
            Part::Whole | Part::Count => {
                family.series += 1;
                family.ended += u64::from(series.is_ended());
                family.last = Some(family.last.unwrap_or_default() + newest.value);
            }
        }
    });
    let mut total = 0_u64;
    let mut rows = Vec::new();
    for (name, family) in families {
        let metadata = describe(name, metrics, family.classic || family.native);
        if text.is_some_and(|text| !text.is_match(name) && !text.is_match(&metadata.help)) {
            continue;
        }
        total += 1;
        if total > limit {
            continue;
        }
        rows.push(json!({
            "name": name,
            "type": prometheus::type_name(metadata.metric_type),
            "unit": metadata.unit,
            "help": metadata.help,
            "series": family.series,
            "ended": family.ended,
            "last": family.last.filter(|last| last.is_finite()),
            "last_ms": family.last_ms,
            "exemplars": family.exemplars,
        }));
    }
    json!({ "total": total, "rows": rows })
}
