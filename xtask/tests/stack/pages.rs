//! The queries of `docs/queries.md`, each with what its answer must have.

use std::time::Duration;

use lgtm_query::{LogData, LogQuery, MetricAnswer, TimeRange, TraceId, TraceMetric, TraceSearch, Wait};

use super::harness::Stack;

const PAGE: &str = include_str!("../../../docs/queries.md");
/// How long what was sent may take to be found. Tempo's search leaves out the newest seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// A query of the page.
#[derive(Debug, PartialEq)]
struct Query {
    heading: String,
    language: String,
    text: String,
}

/// All queries of the page, in its order.
fn queries() -> Vec<Query> {
    let mut found = Vec::new();
    let (mut heading, mut block): (String, Option<(String, Vec<&str>)>) = (String::new(), None);
    for line in PAGE.lines() {
        match (line.strip_prefix("```"), block.take()) {
            (Some(language), None) => block = Some((language.to_owned(), Vec::new())),
            (Some(_), Some((language, lines))) => {
                if language.ends_with("ql") {
                    found.push(Query { heading: heading.clone(), language, text: lines.join("\n") });
                }
            }
            (None, Some((language, mut lines))) => {
                lines.push(line);
                block = Some((language, lines));
            }
            (None, None) => {
                if let Some(title) = line.strip_prefix("### ") {
                    heading = title.to_owned();
                }
            }
        }
    }
    found
}

#[test]
fn the_page_has_the_queries_of_both_guides_and_the_links() {
    let of = |language: &str| queries().iter().filter(|query| query.language == language).count();
    assert_eq!((of("logql"), of("traceql"), of("promql")), (6 + 2, 5 + 1, 5 + 1));
}

/// Asks everything of the page of a stack in which requests of both services have been answered, some slow, some failed.
///
/// # Panics
/// If an answer is empty, or not what the page says.
pub(crate) async fn ask_all(stack: &Stack) {
    let range = TimeRange::last(Duration::from_secs(600));
    let trace_id = a_failed_trace(stack, range).await;
    for Query { heading, language, text } in queries() {
        let text = text.replace("$trace_id", &trace_id.to_string());
        match language.as_str() {
            "logql" => logs(stack, range, &heading, &text, trace_id).await,
            "traceql" => traces(stack, range, &heading, &text, trace_id).await,
            _ => metrics(stack, &heading, &text).await,
        }
        eprintln!("{language}: {heading}: as it must be");
    }
    exemplars(stack, range).await;
}

async fn a_failed_trace(stack: &Stack, range: TimeRange) -> TraceId {
    let failed = LogQuery::new(r#"{service="storefront", level="error"}"#).range(range);
    let loki = stack.loki();
    let data = Wait::up_to(PATIENCE).until(|| loki.query_range(&failed), |data| !data.entries().is_empty()).await;
    let data = data.expect("an order has failed");
    data.values("trace_id").first().expect("the line has its trace").parse().expect("the trace has an id")
}

async fn logs(stack: &Stack, range: TimeRange, heading: &str, text: &str, trace_id: TraceId) {
    let query = LogQuery::new(text).range(range).limit(1000);
    let is_empty = |data: &LogData| match data {
        LogData::Streams(streams) => streams.is_empty(),
        LogData::Vector(samples) => samples.is_empty(),
        LogData::Matrix(series) => series.is_empty(),
        _ => true,
    };
    let loki = stack.loki();
    let metric = !matches!(heading_kind(heading), Kind::Lines);
    let found = Wait::up_to(PATIENCE).until(
        || async { if metric { loki.query(text, None).await } else { loki.query_range(&query).await } },
        |data| !is_empty(data),
    );
    let data = found.await.unwrap_or_else(|error| panic!("{heading}: {error}"));
    let lines: Vec<&str> = data.entries().iter().map(|(_, entry)| entry.line.as_str()).collect();
    let samples = match &data {
        LogData::Vector(samples) => samples.as_slice(),
        _ => &[],
    };
    let label =
        |name: &str| samples.iter().filter_map(|one| one.labels.get(name)).map(String::as_str).collect::<Vec<_>>();
    let values = || samples.iter().filter_map(|one| one.sample.map(|sample| sample.value)).collect::<Vec<_>>();
    match heading {
        "Lines that contain a word" => assert!(lines.iter().all(|line| line.contains("error")), "{lines:?}"),
        "Lines that match an expression" => {
            let has = |line: &&str| ["error", "panic", "fatal"].iter().any(|word| line.contains(word));
            assert!(lines.iter().all(has), "{lines:?}");
        }
        "Lines by a field" => {
            let has = |line: &&str| line.contains(r#""level":"error""#) && line.contains(r#""endpoint":"/orders""#);
            assert!(lines.iter().all(has), "{lines:?}");
        }
        "How many errors" => assert!(values().first().is_some_and(|count| *count >= 1.0), "{samples:?}"),
        "Errors per second, by endpoint" => {
            assert_eq!(label("endpoint"), ["/orders"]);
            assert!(values()[0] > 0.0);
        }
        "95th percentile of a number in the lines" => {
            let mut endpoints = label("endpoint");
            endpoints.sort_unstable();
            assert_eq!(endpoints, ["/orders", "/products/{id}"]);
            assert!(values().iter().all(|value| *value > 0.0 && *value < 5000.0), "{samples:?}");
        }
        "From a log line to its trace" => assert!(!data.values("trace_id").is_empty()),
        "From a trace to its log lines" => {
            let services = data.values("service_name");
            assert!(services.contains("storefront") && services.contains("inventory"), "{services:?}");
            assert_eq!(Vec::from_iter(data.values("trace_id")), [trace_id.to_string()]);
        }
        other => panic!("there is no check of the answer to `{other}`"),
    }
}

enum Kind {
    Lines,
    Numbers,
}

fn heading_kind(heading: &str) -> Kind {
    match heading {
        "How many errors" | "Errors per second, by endpoint" | "95th percentile of a number in the lines" => {
            Kind::Numbers
        }
        _ => Kind::Lines,
    }
}

async fn traces(stack: &Stack, range: TimeRange, heading: &str, text: &str, trace_id: TraceId) {
    let tempo = stack.tempo();
    if heading == "Spans per second, by service" {
        let services = |found: &Vec<TraceMetric>| {
            let mut services: Vec<String> = found
                .iter()
                .filter_map(|metric| metric.labels.get("resource.service.name").map(ToString::to_string))
                .collect();
            services.sort();
            services
        };
        let found = Wait::up_to(PATIENCE)
            .until(|| tempo.metrics_range(text, range, Duration::from_secs(60)), |found| services(found).len() == 2);
        let found = found.await.unwrap_or_else(|error| panic!("{heading}: {error}"));
        assert_eq!(services(&found), ["inventory", "storefront"]);
        return;
    }
    let search = TraceSearch::new(text).range(range).limit(100).spans_per_span_set(10);
    let found = Wait::up_to(PATIENCE).until(|| tempo.search(&search), |found| !found.is_empty()).await;
    let found = found.unwrap_or_else(|error| panic!("{heading}: {error}"));
    let root_services = || found.iter().map(|one| one.root_service_name.as_str()).collect::<Vec<_>>();
    match heading {
        "Slow requests" => assert!(found.iter().all(|one| one.duration >= Duration::from_millis(500)), "{found:?}"),
        "Failed requests of a service" | "Traces that ask a database" => {
            assert!(root_services().iter().all(|service| *service == "storefront"), "{found:?}");
        }
        "Failed writes that took long" => {
            assert!(found.iter().all(|one| one.root_trace_name == "POST /orders"), "{found:?}");
            assert!(found.iter().all(|one| one.duration >= Duration::from_millis(100)), "{found:?}");
        }
        "From a log line to its trace" => {
            assert_eq!(found.iter().map(|one| one.trace_id).collect::<Vec<_>>(), [trace_id]);
        }
        other => panic!("there is no check of the answer to `{other}`"),
    }
}

async fn metrics(stack: &Stack, heading: &str, text: &str) {
    let prometheus = stack.prometheus();
    // A rate needs two scrapes, a ratio a failure in between.
    let is_full = |answer: &MetricAnswer| {
        let mut values = answer.data.vector().iter().filter_map(|one| one.sample.map(|sample| sample.value));
        !answer.data.is_empty() && values.all(|value| value.is_finite() && value > 0.0)
    };
    let found = Wait::up_to(PATIENCE).until(|| prometheus.query(text, None), is_full).await;
    let answer = found.unwrap_or_else(|error| panic!("{heading}: {error}"));
    let vector = answer.data.vector();
    let mut labels: Vec<&str> = vector.iter().flat_map(|one| one.labels.values()).map(String::as_str).collect();
    labels.sort_unstable();
    let value = answer.data.single_value();
    match heading {
        "Requests per second" => assert_eq!(labels, ["GET", "POST"]),
        "95th percentile of the duration" | "From a metric to a trace" => {
            assert!(value.is_some_and(|value| value > 0.0 && value < 5.0), "{answer:?}");
        }
        "Share of requests that fail" => assert!(value.is_some_and(|share| share > 0.0 && share < 0.5), "{answer:?}"),
        "Requests per second, by path" => {
            assert!(labels.contains(&"/orders") && labels.contains(&"/products/{id}"), "{answer:?}");
        }
        "CPU of the machine, in percent" => {
            assert!(value.is_some_and(|percent| percent > 0.0 && percent <= 100.0), "{answer:?}");
        }
        other => panic!("there is no check of the answer to `{other}`"),
    }
}

/// From a metric to a trace: the exemplars of the histogram, and the trace behind the slowest.
async fn exemplars(stack: &Stack, range: TimeRange) {
    let prometheus = stack.prometheus();
    let asked = || prometheus.query_exemplars(r#"http_request_duration_seconds_bucket{job="shop/storefront"}"#, range);
    let found = Wait::up_to(PATIENCE)
        .until(asked, |series| series.iter().flat_map(|one| &one.exemplars).any(|exemplar| exemplar.value > 0.5))
        .await
        .expect("a slow request has left an exemplar");
    let all = found.iter().flat_map(|series| &series.exemplars);
    let slowest = all.max_by(|a, b| a.value.total_cmp(&b.value)).unwrap();
    let id = slowest.trace_id().expect("an exemplar has a trace");
    let trace = stack.tempo().trace(id).await.unwrap().expect("the trace is there");
    assert!(trace.spans.len() >= 3, "{}", trace.tree());
}
