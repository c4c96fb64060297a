//! The Prometheus query API, for selectors: values, exemplars, series, labels. There is no evaluator of functions
//! and operators; a query that needs one is refused with an error that says so.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use promql_parser::label::{METRIC_NAME, Matcher};
use promql_parser::parser::{self, Expr, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde_json::{Value, json};

use super::parameters::{Parameters, now_ns};
use super::promql_bounds;
use crate::devstack::Shared;
use crate::go_number::float as number;
use crate::store::{Labels, MetricType, Series};
use crate::wire::prometheus::Histogram;

/// How far back an instant looks for the newest sample, in milliseconds: Prometheus' default.
const LOOKBACK_MS: i64 = 300_000;

/// The most points of one series in a range query: Prometheus' limit.
const MAX_POINTS: i64 = 11_000;

/// Why a request was not answered, with Prometheus' `errorType`.
struct Failure {
    status: StatusCode,
    error_type: &'static str,
    error: String,
}

impl Failure {
    fn bad_data(error: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error_type: "bad_data", error: error.into() }
    }

    fn unsupported(expression: &Expr) -> Self {
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            error_type: "execution",
            error: format!(
                "the development stack supports vector selectors with matchers, as in \
                 http_requests_total{{status=~\"5..\"}}; it does not evaluate {expression}"
            ),
        }
    }
}

fn answer(outcome: Result<Value, Failure>) -> Response {
    match outcome {
        Ok(data) => Json(json!({ "status": "success", "data": data })).into_response(),
        Err(Failure { status, error_type, error }) => {
            (status, Json(json!({ "status": "error", "errorType": error_type, "error": error }))).into_response()
        }
    }
}

/// `query`: the newest value of each series at `time`, at most five minutes old.
pub(crate) async fn query(State(shared): State<Shared>, parameters: Parameters) -> Response {
    let run = || {
        let time = parameters.time_ms("time", now_ms()).map_err(Failure::bad_data)?;
        let selector = selector_of(&parameters)?;
        let result: Vec<Value> = select(&shared, &selector)
            .iter()
            .filter_map(|series| {
                let (field, value) = point_at(series, time)?;
                let mut found = json!({ "metric": series.labels });
                found[field] = json!([seconds(time), value]);
                Some(found)
            })
            .collect();
        Ok(json!({ "resultType": "vector", "result": result }))
    };
    answer(run())
}

/// `query_range`: the same at each `step` from `start` to `end`.
pub(crate) async fn query_range(State(shared): State<Shared>, parameters: Parameters) -> Response {
    let run = || {
        let required = |name: &str| match parameters.first(name) {
            Some(_) => parameters.time_ms(name, 0).map_err(Failure::bad_data),
            None => {
                Err(Failure::bad_data(format!("invalid parameter {name:?}: cannot parse \"\" to a valid timestamp")))
            }
        };
        let (start, end) = (required("start")?, required("end")?);
        let step = parameters
            .duration("step")
            .map_err(Failure::bad_data)?
            .and_then(|step| i64::try_from(step.as_millis()).ok())
            .unwrap_or_default();
        if end < start {
            return Err(Failure::bad_data("invalid parameter \"end\": end timestamp must not be before start time"));
        }
        if step <= 0 {
            return Err(Failure::bad_data(
                "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer",
            ));
        }
        let last_step = end.saturating_sub(start) / step;
        if last_step > MAX_POINTS {
            return Err(Failure::bad_data(
                "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
            ));
        }
        let selector = selector_of(&parameters)?;
        let result: Vec<Value> = select(&shared, &selector)
            .iter()
            .filter_map(|series| {
                let (mut values, mut histograms) = (Vec::new(), Vec::new());
                for time in (0..=last_step).map(|index| start + index * step) {
                    match point_at(series, time) {
                        Some(("histogram", histogram)) => histograms.push(json!([seconds(time), histogram])),
                        Some((_, value)) => values.push(json!([seconds(time), value])),
                        None => {}
                    }
                }
                let mut found = json!({ "metric": series.labels });
                let is_found = !values.is_empty() || !histograms.is_empty();
                for (field, points) in [("values", values), ("histograms", histograms)] {
                    if !points.is_empty() {
                        found[field] = Value::Array(points);
                    }
                }
                is_found.then_some(found)
            })
            .collect();
        Ok(json!({ "resultType": "matrix", "result": result }))
    };
    answer(run())
}

/// `query_exemplars`: the exemplars of all series that the selectors in `query` name, whatever stands around them.
pub(crate) async fn query_exemplars(State(shared): State<Shared>, parameters: Parameters) -> Response {
    let run = || {
        let (start, end) = range_of(&parameters)?;
        let expression = expression_of(&parameters)?;
        let mut selectors = Selectors::default();
        // The visitor never fails.
        let _ = walk_expr(&mut selectors, &expression);
        let mut found: BTreeMap<Labels, Vec<Value>> = BTreeMap::new();
        for selector in &selectors.0 {
            for series in select(&shared, &Selector::new(selector, &expression)?) {
                let exemplars: Vec<Value> = series
                    .exemplars
                    .iter()
                    .filter(|exemplar| (start..=end).contains(&exemplar.timestamp_ms))
                    .map(|exemplar| {
                        json!({
                            "labels": exemplar.labels,
                            "value": number(exemplar.value),
                            "timestamp": seconds(exemplar.timestamp_ms),
                        })
                    })
                    .collect();
                if !exemplars.is_empty() {
                    found.insert(series.labels, exemplars);
                }
            }
        }
        let found: Vec<Value> = found
            .into_iter()
            .map(|(labels, exemplars)| json!({ "seriesLabels": labels, "exemplars": exemplars }))
            .collect();
        Ok(json!(found))
    };
    answer(run())
}

/// `series`: the label sets that one of the `match[]` selectors picks, with samples between `start` and `end`.
pub(crate) async fn series(State(shared): State<Shared>, parameters: Parameters) -> Response {
    let run = || {
        if parameters.first("match[]").is_none() {
            return Err(Failure::bad_data("no match[] parameter provided"));
        }
        Ok(json!(label_sets(&shared, &parameters)?))
    };
    answer(run())
}

/// `labels`: the names of labels, of all series or of those that `match[]` picks.
pub(crate) async fn labels(State(shared): State<Shared>, parameters: Parameters) -> Response {
    let run = || {
        let sets = label_sets(&shared, &parameters)?;
        let names: BTreeSet<&String> = sets.iter().flat_map(Labels::keys).collect();
        Ok(json!(names))
    };
    answer(run())
}

/// `label/{name}/values`.
pub(crate) async fn label_values(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Response {
    let run = || {
        let sets = label_sets(&shared, &parameters)?;
        let values: BTreeSet<&String> = sets.iter().filter_map(|labels| labels.get(&name)).collect();
        Ok(json!(values))
    };
    answer(run())
}

/// `metadata`: type, help and unit by metric family; `metric` picks one.
pub(crate) async fn metadata(State(shared): State<Shared>, parameters: Parameters) -> Response {
    let wanted = parameters.first("metric");
    let families: serde_json::Map<String, Value> = shared
        .store
        .metric_metadata()
        .into_iter()
        .filter(|(family, _)| wanted.is_none_or(|wanted| wanted == family))
        .map(|(family, known)| {
            let entry = json!([{ "type": type_name(known.metric_type), "help": known.help, "unit": known.unit }]);
            (family, entry)
        })
        .collect();
    answer(Ok(Value::Object(families)))
}

/// The type in Prometheus' words.
pub(crate) fn type_name(metric_type: MetricType) -> &'static str {
    match metric_type {
        MetricType::Unknown => "unknown",
        MetricType::Counter => "counter",
        MetricType::Gauge => "gauge",
        MetricType::Histogram => "histogram",
        MetricType::Gaugehistogram => "gaugehistogram",
        MetricType::Summary => "summary",
        MetricType::Info => "info",
        MetricType::Stateset => "stateset",
    }
}

fn now_ms() -> i64 {
    now_ns() / 1_000_000
}

/// Milliseconds as Prometheus writes times: seconds with a fraction.
fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1e3
}

/// The newest sample or native histogram of a series at a time, under the name of its field.
fn point_at(series: &Series, time_ms: i64) -> Option<(&'static str, Value)> {
    let oldest_ms = time_ms.saturating_sub(LOOKBACK_MS);
    // Both are in the order of time.
    let samples = series.samples.partition_point(|sample| sample.timestamp_ms <= time_ms);
    let sample = samples.checked_sub(1).and_then(|last| series.samples.get(last));
    let histograms = series.histograms.partition_point(|histogram| histogram.timestamp <= time_ms);
    let histogram = histograms.checked_sub(1).and_then(|last| series.histograms.get(last));
    let newest = sample.map(|sample| sample.timestamp_ms).max(histogram.map(|histogram| histogram.timestamp))?;
    if newest <= oldest_ms {
        return None;
    }
    match (sample, histogram) {
        (Some(sample), _) if sample.timestamp_ms == newest => {
            (!sample.is_stale_marker()).then(|| ("value", json!(number(sample.value))))
        }
        (_, Some(histogram)) => (!histogram.is_stale_marker()).then(|| ("histogram", histogram_json(histogram))),
        _ => None,
    }
}

/// A native histogram in Prometheus' form: each bucket with the rule of its bounds, empty ones left out.
fn histogram_json(histogram: &Histogram) -> Value {
    let buckets: Vec<Value> = histogram
        .buckets()
        .into_iter()
        .filter(|bucket| bucket.count != 0.0)
        .map(|bucket| json!([bucket.closed as u8, number(bucket.lower), number(bucket.upper), number(bucket.count)]))
        .collect();
    let mut fields = json!({ "count": number(histogram.observations()), "sum": number(histogram.sum) });
    if !buckets.is_empty() {
        fields["buckets"] = Value::Array(buckets);
    }
    fields
}

fn range_of(parameters: &Parameters) -> Result<(i64, i64), Failure> {
    let start = parameters.time_ms("start", i64::MIN).map_err(Failure::bad_data)?;
    let end = parameters.time_ms("end", i64::MAX).map_err(Failure::bad_data)?;
    if end < start {
        return Err(Failure::bad_data("invalid parameter \"end\": end timestamp must not be before start timestamp"));
    }
    Ok((start, end))
}

fn expression_of(parameters: &Parameters) -> Result<Expr, Failure> {
    let query = parameters.first("query").unwrap_or_default();
    parse(query).map_err(|error| Failure::bad_data(format!("invalid parameter \"query\": {error}")))
}

fn parse(text: &str) -> Result<Expr, String> {
    promql_bounds::check(text)?;
    parser::parse(text)
}

fn selector_of(parameters: &Parameters) -> Result<Selector, Failure> {
    match &expression_of(parameters)? {
        expression @ Expr::VectorSelector(selector) => Selector::new(selector, expression),
        other => Err(Failure::unsupported(other)),
    }
}

/// The matchers of a vector selector, the metric name among them.
struct Selector(Vec<Matcher>);

impl Selector {
    fn new(selector: &VectorSelector, whole: &Expr) -> Result<Self, Failure> {
        if selector.offset.is_some() || selector.at.is_some() || !selector.matchers.or_matchers.is_empty() {
            return Err(Failure::unsupported(whole));
        }
        let mut matchers = selector.matchers.matchers.clone();
        if let Some(name) = &selector.name {
            matchers.push(Matcher::new(promql_parser::label::MatchOp::Equal, METRIC_NAME, name));
        }
        Ok(Self(matchers))
    }

    fn picks(&self, labels: &Labels) -> bool {
        self.0.iter().all(|matcher| matcher.is_match(labels.get(&matcher.name).map_or("", String::as_str)))
    }
}

#[derive(Default)]
struct Selectors(Vec<VectorSelector>);

impl ExprVisitor for Selectors {
    type Error = std::convert::Infallible;

    fn pre_visit(&mut self, expression: &Expr) -> Result<bool, Self::Error> {
        match expression {
            Expr::VectorSelector(selector) => self.0.push(selector.clone()),
            Expr::MatrixSelector(selector) => self.0.push(selector.vs.clone()),
            _ => {}
        }
        Ok(true)
    }
}

fn select(shared: &Shared, selector: &Selector) -> Vec<Series> {
    shared.store.read_metrics(|metrics| metrics.series_where(|labels| selector.picks(labels)))
}

/// The label sets that one of the `match[]` selectors picks, or all without any.
fn label_sets(shared: &Shared, parameters: &Parameters) -> Result<Vec<Labels>, Failure> {
    let (start, end) = range_of(parameters)?;
    let mut selectors = Vec::new();
    for text in parameters.all("match[]") {
        let expression =
            parse(text).map_err(|error| Failure::bad_data(format!("invalid parameter \"match[]\": {error}")))?;
        match &expression {
            Expr::VectorSelector(selector) => selectors.push(Selector::new(selector, &expression)?),
            other => return Err(Failure::unsupported(other)),
        }
    }
    let picked = shared.store.read_metrics(|metrics| {
        metrics.series_where(|labels| selectors.is_empty() || selectors.iter().any(|selector| selector.picks(labels)))
    });
    let in_time = |series: &Series| {
        series.samples.iter().any(|sample| (start..=end).contains(&sample.timestamp_ms))
            || series.histograms.iter().any(|histogram| (start..=end).contains(&histogram.timestamp))
    };
    Ok(picked.into_iter().filter(in_time).map(|series| series.labels).collect())
}
