//! One metric over time: gauges as they stood, counters as rates, histograms as heat and quantiles, with labels to break them down and
//! exemplars that lead to traces.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::heat::Heat;
use super::increase::{Grid, increases, values};
use super::metrics;
use super::query::{AttributeFilter, Query, Refusal};
use crate::devstack::Shared;
use crate::read::parameters::now_ns;
use crate::read::prometheus;
use crate::store::{Exemplar, Labels, MetricMetadata, MetricType, Sample, Series};
use crate::wire::prometheus::Histogram;

/// The most steps of one answer.
const MAX_STEPS: u64 = 1000;
/// The most lines of one answer; of more, those with the highest values.
const MAX_LINES: usize = 30;
/// The most exemplars of one answer; of more, the newest.
const MAX_EXEMPLARS: usize = 200;
/// The most values that are named for one label.
const MAX_VALUES: usize = 200;
/// The time shown if none is asked for, in milliseconds.
const USUAL_MS: i64 = 15 * 60 * 1000;

/// What is drawn of a metric.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Values,
    Rates,
    Histogram,
}

/// `GET /api/v1/metrics/{metric}`
pub(super) async fn one(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    query: Query,
) -> Result<Json<Value>, Refusal> {
    query.only(&[&["from", "to", "last", "steps", "attr", "by", "as"]])?;
    let filters = query.attributes("attr")?;
    let by = query.texts("by");
    let asked = query.one_of("as", &[("values", Shown::Values), ("rates", Shown::Rates)])?;
    let now_ms = now_ns() / 1_000_000;
    let range = query.range(now_ns())?;
    let to = if range.to == i64::MAX { now_ms } else { range.to / 1_000_000 };
    let from = if range.from == i64::MIN { to - USUAL_MS } else { range.from / 1_000_000 };
    let steps = query.number("steps", 120, 1, MAX_STEPS)?;
    let (metadata, series) = shared.store.read_metrics(|store| {
        let families = metrics::Families::of(store);
        let of_family = |labels: &Labels| {
            let own = labels.get("__name__").map(String::as_str).unwrap_or_default();
            families.family(own).0 == name
        };
        let series = store.series_where(of_family);
        let has_buckets = series.iter().any(|series| series.labels.contains_key("le") || !series.histograms.is_empty());
        (metrics::describe(&name, store, has_buckets), series)
    });
    if series.is_empty() {
        return Err(Refusal::not_found(format!(
            "metric {name:?} is not held: accepted are the names in the list at /api/v1/metrics"
        )));
    }
    let labels = json!(label_values(&series));
    let series: Vec<Series> = series.into_iter().filter(|series| accepts(&filters, &series.labels)).collect();
    let interval = usual_interval(&series);
    let steps = i64::try_from(steps).unwrap_or(1);
    // Finer than the samples come there is nothing to see.
    let step = ((to - from) / steps).max(interval).max(1);
    let grid = Grid { from, step, steps: usize::try_from((to - from).max(1).div_euclid(step).max(1)).unwrap_or(1) };
    let shown = match metadata.metric_type {
        MetricType::Histogram | MetricType::Gaugehistogram => Shown::Histogram,
        MetricType::Counter => asked.unwrap_or(Shown::Rates),
        _ => asked.unwrap_or(Shown::Values),
    };
    let mut answer = json!({
        "name": name,
        "type": prometheus::type_name(metadata.metric_type),
        "unit": unit(&name, &metadata),
        "help": metadata.help,
        "series": series.len(),
        "labels": labels,
        "from_ms": from,
        "to_ms": to,
        "step_ms": step,
        "times_ms": grid.times().collect::<Vec<_>>(),
        "exemplars": exemplars(&shared, &series, from, to),
    });
    let Value::Object(fields) = &mut answer else { return Ok(Json(answer)) };
    if shown == Shown::Histogram {
        fields.insert("heat".to_owned(), heat_json(&heat(&grid, &series)));
        let counted = counted_by_native(&series);
        let counted = if counted.is_empty() { count_series(&series) } else { counted.iter().collect() };
        let counts = lines(&grid, &counted, &by, Shown::Rates);
        fields.insert("lines".to_owned(), counts);
        fields.insert("shown".to_owned(), json!("histogram"));
    } else {
        let drawn: Vec<&Series> = series.iter().collect();
        fields.insert("lines".to_owned(), lines(&grid, &drawn, &by, shown));
        fields.insert("shown".to_owned(), json!(if shown == Shown::Rates { "rates" } else { "values" }));
    }
    Ok(Json(answer))
}

fn accepts(filters: &[AttributeFilter], labels: &Labels) -> bool {
    filters.iter().all(|filter| filter.accepts(labels.get(&filter.name).map(String::as_str)))
}

/// The unit that was told, else the one that the name ends with.
fn unit(name: &str, metadata: &MetricMetadata) -> String {
    if !metadata.unit.is_empty() {
        return metadata.unit.clone();
    }
    let stem = name.strip_suffix("_total").unwrap_or(name);
    let known = ["seconds", "bytes", "ratio", "percent", "celsius", "meters", "volts", "amperes", "joules", "grams"];
    known.iter().find(|unit| stem.ends_with(&format!("_{unit}"))).map_or_else(String::new, |unit| (*unit).to_owned())
}

/// The values of each label, without those that tell the parts of a family apart.
fn label_values(series: &[Series]) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, value) in series.iter().flat_map(|series| &series.labels) {
        if name != "__name__" && name != "le" {
            let values = found.entry(name).or_default();
            if values.len() < MAX_VALUES {
                values.insert(value);
            }
        }
    }
    found
}

/// The median time between two samples, in milliseconds; 0 if it cannot be told.
fn usual_interval(series: &[Series]) -> i64 {
    let mut gaps: Vec<i64> = Vec::new();
    for series in series.iter().take(50) {
        let times: Vec<i64> = if series.histograms.is_empty() {
            series.samples.iter().rev().take(20).map(|sample| sample.timestamp_ms).collect()
        } else {
            series.histograms.iter().rev().take(20).map(|histogram| histogram.timestamp).collect()
        };
        gaps.extend(times.windows(2).filter_map(|pair| Some(pair.first()? - pair.get(1)?)));
    }
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).copied().unwrap_or_default()
}

/// Lines by the values of the labels `by`; without any, by all labels in which the series differ if there are few of them, else one sum.
fn lines(grid: &Grid, series: &[&Series], by: &[String], shown: Shown) -> Value {
    let all_labels;
    let by = if by.is_empty() && series.len() <= MAX_LINES {
        all_labels = differing(series);
        &all_labels
    } else {
        by
    };
    let mut groups: BTreeMap<Vec<(&str, &str)>, Vec<Option<f64>>> = BTreeMap::new();
    for series in series {
        let value =
            |name: &String| (series.labels.get_key_value(name)).map(|(name, value)| (name.as_str(), value.as_str()));
        let key: Vec<(&str, &str)> = by.iter().filter_map(value).collect();
        let own = match shown {
            Shown::Values => values(grid, series.samples.iter()),
            Shown::Rates | Shown::Histogram => increases(grid, series.samples.iter()),
        };
        let sum = groups.entry(key).or_insert_with(|| vec![None; grid.steps]);
        for (sum, own) in sum.iter_mut().zip(own) {
            if let Some(own) = own {
                *sum = Some(sum.unwrap_or_default() + own);
            }
        }
    }
    let seconds = grid.step as f64 / 1000.0;
    let highest = |line: &[Option<f64>]| line.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut groups: Vec<_> = groups.into_iter().collect();
    let number = groups.len();
    if number > MAX_LINES {
        groups.sort_by(|(_, one), (_, other)| highest(other).total_cmp(&highest(one)));
        groups.truncate(MAX_LINES);
    }
    let lines: Vec<Value> = groups
        .into_iter()
        .map(|(labels, line)| {
            let scaled = line.into_iter().map(|value| match shown {
                Shown::Values => value,
                Shown::Rates | Shown::Histogram => value.map(|value| value / seconds),
            });
            // JSON has no infinities: where there is one, there is nothing to draw.
            let scaled: Vec<Option<f64>> = scaled.map(|value| value.filter(|value| value.is_finite())).collect();
            json!({ "labels": labels.into_iter().collect::<BTreeMap<_, _>>(), "values": scaled })
        })
        .collect();
    json!({ "lines": lines, "left_out": number.saturating_sub(MAX_LINES), "by": by })
}

/// The labels whose values are not the same in all series.
fn differing(series: &[&Series]) -> Vec<String> {
    let mut names: BTreeMap<&str, BTreeSet<Option<&str>>> = BTreeMap::new();
    for name in series.iter().flat_map(|series| series.labels.keys()) {
        names.entry(name).or_default();
    }
    for (name, values) in &mut names {
        values.extend(series.iter().map(|series| series.labels.get(*name).map(String::as_str)));
    }
    let differs = |(name, values): (&str, BTreeSet<Option<&str>>)| {
        (values.len() > 1 && name != "__name__").then(|| name.to_owned())
    };
    names.into_iter().filter_map(differs).collect()
}

/// Of native histograms if there are any, else of classic ones.
fn heat(grid: &Grid, series: &[Series]) -> Heat {
    let native = || series.iter().filter(|series| !series.histograms.is_empty()).map(|series| series.histograms.iter());
    let exponential = Heat::native(grid, native());
    if !exponential.buckets.is_empty() {
        return exponential;
    }
    let custom = Heat::custom(grid, native());
    if !custom.buckets.is_empty() {
        return custom;
    }
    let classic = series.iter().filter_map(|series| {
        let bound = series.labels.get("le")?.parse::<f64>().ok()?;
        Some((bound, series.samples.iter()))
    });
    Heat::classic(grid, classic)
}

/// The observations of native histograms as series of counters.
fn counted_by_native(series: &[Series]) -> Vec<Series> {
    let native = series.iter().filter(|series| !series.histograms.is_empty());
    let count = |histogram: &Histogram| {
        let value = if histogram.is_stale_marker() { histogram.sum } else { histogram.observations() };
        Sample { timestamp_ms: histogram.timestamp, value }
    };
    native
        .map(|series| Series {
            labels: series.labels.clone(),
            samples: series.histograms.iter().map(count).collect(),
            exemplars: Vec::new(),
            histograms: Vec::new(),
        })
        .collect()
}

/// The series that count a histogram's observations.
fn count_series(series: &[Series]) -> Vec<&Series> {
    series.iter().filter(|series| !series.labels.contains_key("le") && series.name().ends_with("_count")).collect()
}

fn heat_json(heat: &Heat) -> Value {
    // JSON has no infinities.
    let bound = |bound: f64| match bound {
        f64::INFINITY => json!("+Inf"),
        f64::NEG_INFINITY => json!("-Inf"),
        bound => json!(bound),
    };
    let buckets: Vec<Value> = heat.buckets.iter().map(|[lower, upper]| json!([bound(*lower), bound(*upper)])).collect();
    let quantiles: BTreeMap<&str, Vec<Option<f64>>> =
        [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)].map(|(name, share)| (name, heat.quantile(share))).into();
    json!({ "buckets": buckets, "counts": heat.counts, "quantiles": quantiles })
}

/// In lower case, and with the zeros at its beginning, which Tempo leaves out.
fn whole_trace_id(id: &str) -> String {
    let id = id.to_ascii_lowercase();
    if id.len() < 16 { id } else { format!("{id:0>32}") }
}

/// The exemplars in a span of time, the newest first, each with whether its trace is held.
fn exemplars(shared: &Shared, series: &[Series], from: i64, to: i64) -> Vec<Value> {
    let shown = |exemplar: &&Exemplar| (from..=to).contains(&exemplar.timestamp_ms) && exemplar.value.is_finite();
    let mut found: Vec<&Exemplar> = series.iter().flat_map(|series| &series.exemplars).filter(shown).collect();
    found.sort_by(|one, other| other.timestamp_ms.cmp(&one.timestamp_ms).then(other.value.total_cmp(&one.value)));
    // A classic and a native histogram of one name have the same exemplars.
    found.dedup_by(|one, other| one.timestamp_ms == other.timestamp_ms && one.labels == other.labels);
    found.truncate(MAX_EXEMPLARS);
    shared.store.read_traces(|traces| {
        let row = |exemplar: &Exemplar| {
            let trace = exemplar.trace_id().map(whole_trace_id);
            let is_held = trace.as_ref().is_some_and(|trace| traces.has_trace(trace));
            json!({
                "time_ms": exemplar.timestamp_ms,
                "value": exemplar.value,
                "trace_id": trace,
                "span_id": exemplar.span_id(),
                "is_held": is_held,
                "labels": exemplar.labels,
            })
        };
        found.into_iter().map(row).collect()
    })
}
