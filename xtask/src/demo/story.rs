//! One story, followed as a person follows it in Grafana: from the slowest failing request's exemplar to its trace, and from the
//! trace to its log lines. Everything is read over HTTP with lgtm-query, whatever the backend.

use std::time::{Duration, SystemTime};

use lgtm_query::tree::Attachment;
use lgtm_query::{Direction, Labels, LogQuery, SpanId, TimeRange, Trace, TraceId, Wait};
use serde::Serialize;

use super::shops::{Instance, Role};
use crate::servers::Readers;

/// The histogram whose exemplars lead to the traces.
const DURATION: &str = "http_request_duration_seconds_bucket";
/// Log lines of one trace that are read.
const MAX_LINES: u32 = 1000;
/// How far around a trace its log lines are looked for.
const AROUND: Duration = Duration::from_secs(300);

/// What was found, as far as the links led.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Story {
    pub(super) exemplar: Option<Exemplar>,
    pub(super) trace: Option<Trace>,
    pub(super) log_query: Option<String>,
    pub(super) lines: Vec<Line>,
}

/// The measured value that the story begins with.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Exemplar {
    /// The labels of its series.
    pub(super) series: Labels,
    pub(super) seconds: f64,
    pub(super) at_unix_nanos: u64,
    pub(super) trace_id: TraceId,
    pub(super) span_id: Option<SpanId>,
}

/// One log line of the trace.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Line {
    pub(super) at_unix_nanos: u64,
    pub(super) service: String,
    pub(super) level: String,
    pub(super) span_id: Option<SpanId>,
    pub(super) line: String,
}

/// Follows the links, waiting at most `patience` for each, and names those that are missing.
pub(super) async fn follow(
    readers: &Readers,
    storefront: &Instance,
    since: SystemTime,
    patience: Duration,
) -> (Story, Vec<String>) {
    let mut story = Story::default();
    let mut missing = Vec::new();
    let range = TimeRange::between(since, SystemTime::now()).widened(AROUND);
    let wait = Wait::up_to(patience);
    match wait.until(|| slowest_failure(readers, storefront, range), |found| found.failure.is_some()).await {
        Ok(Candidates { failure: Some((exemplar, trace)), .. }) => {
            missing.extend(gaps_of_trace(&exemplar, &trace));
            story.exemplar = Some(exemplar);
            story.trace = Some(trace);
        }
        Ok(_) | Err(lgtm_query::Error::WaitExpired { last: None, .. }) => {
            missing.push(format!("metric -> trace: {}", no_exemplar(readers, storefront, range).await));
        }
        Err(error) => missing.push(format!("metric -> trace: {error}")),
    }
    if let Some(trace) = &story.trace {
        let services = Role::ALL.map(Role::service_name);
        let logql = format!(r#"{{service_name=~"{}"}} | trace_id = "{}""#, services.join("|"), trace.trace_id);
        let query = LogQuery::new(&logql).range(around(trace)).limit(MAX_LINES).direction(Direction::Forward);
        let complete =
            |lines: &Vec<Line>| services.iter().all(|service| lines.iter().any(|line| line.service == *service));
        match wait.until(|| lines(readers, &query), complete).await {
            Ok(lines) => story.lines = lines,
            // What is there is shown, although it is not all.
            Err(_) => match lines(readers, &query).await {
                Ok(lines) => story.lines = lines,
                Err(error) => missing.push(format!("trace -> logs: {error}")),
            },
        }
        missing.extend(gaps_of_lines(trace, &story.lines));
        story.log_query = Some(logql);
    }
    (story, missing)
}

/// What the exemplars lead to.
struct Candidates {
    failure: Option<(Exemplar, Trace)>,
    exemplars: usize,
    traces: usize,
}

/// The exemplar with the greatest value whose trace failed, with its trace.
async fn slowest_failure(
    readers: &Readers,
    storefront: &Instance,
    range: TimeRange,
) -> Result<Candidates, lgtm_query::Error> {
    let promql = format!(r#"{DURATION}{{instance="{}"}}"#, storefront.id);
    let mut exemplars = Vec::new();
    for series in readers.prometheus.query_exemplars(&promql, range).await? {
        for exemplar in &series.exemplars {
            let Some(trace_id) = exemplar.trace_id() else { continue };
            exemplars.push(Exemplar {
                series: series.labels.clone(),
                seconds: exemplar.value,
                at_unix_nanos: exemplar.timestamp_unix_nanos,
                trace_id,
                span_id: exemplar.labels.get("span_id").and_then(|id| id.parse().ok()),
            });
        }
    }
    exemplars.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let mut found = Candidates { failure: None, exemplars: exemplars.len(), traces: 0 };
    for exemplar in exemplars {
        if let Some(trace) = readers.tempo.trace(exemplar.trace_id).await? {
            found.traces += 1;
            let storefront = Role::Storefront.service_name();
            if trace.errors().any(|span| span.service_name == storefront) {
                found.failure = Some((exemplar, trace));
                break;
            }
        }
    }
    Ok(found)
}

/// Why there is no story.
async fn no_exemplar(readers: &Readers, storefront: &Instance, range: TimeRange) -> String {
    match slowest_failure(readers, storefront, range).await {
        Ok(Candidates { exemplars: 0, .. }) => format!("{DURATION} of the storefront has no exemplar"),
        Ok(Candidates { exemplars, traces: 0, .. }) => format!("none of the traces of {exemplars} exemplars is there"),
        Ok(Candidates { exemplars, traces, .. }) => {
            format!("{exemplars} exemplars lead to {traces} traces, none of which failed")
        }
        Err(error) => error.to_string(),
    }
}

/// What is missing in the trace and on the way to it.
fn gaps_of_trace(exemplar: &Exemplar, trace: &Trace) -> Vec<String> {
    let mut gaps = Vec::new();
    match exemplar.span_id {
        None => gaps.push("metric -> trace: the exemplar has no span_id".to_owned()),
        Some(id) if trace.span(id).is_none() => {
            gaps.push(format!("metric -> trace: the exemplar's span {id} is not in trace {}", trace.trace_id));
        }
        Some(_) => {}
    }
    let services = trace.services();
    for service in Role::ALL.map(Role::service_name).into_iter().filter(|service| !services.contains(service)) {
        gaps.push(format!("trace across services: trace {} has no span of {service}", trace.trace_id));
    }
    for row in trace.tree().rows() {
        let span = row.span;
        if let Attachment::Orphan(parent) | Attachment::Circular(parent) = row.attachment {
            gaps.push(format!(
                "span -> parent: the parent {parent} of span {} ({}) is missing",
                span.span_id, span.name
            ));
        }
    }
    gaps
}

/// What is missing between the trace and its log lines.
fn gaps_of_lines(trace: &Trace, lines: &[Line]) -> Vec<String> {
    let mut gaps = Vec::new();
    for service in Role::ALL.map(Role::service_name) {
        if !lines.iter().any(|line| line.service == service) {
            gaps.push(format!("trace -> logs: trace {} has no log line of {service}", trace.trace_id));
        }
    }
    for line in lines {
        match line.span_id {
            None => gaps.push(format!("log -> span: a line of {} has no span_id: {}", line.service, line.line)),
            Some(id) if trace.span(id).is_none() => {
                gaps.push(format!("log -> span: the span {id} of a line of {} is not in the trace", line.service));
            }
            Some(_) => {}
        }
    }
    gaps
}

fn around(trace: &Trace) -> TimeRange {
    let start = trace.spans.iter().map(|span| span.start_unix_nanos).min().unwrap_or_default();
    let end = trace.spans.iter().map(|span| span.end_unix_nanos).max().unwrap_or_default();
    TimeRange::new(start, end).widened(AROUND)
}

async fn lines(readers: &Readers, query: &LogQuery) -> Result<Vec<Line>, lgtm_query::Error> {
    let answer = readers.loki.query_range(query).await?;
    let line = |(stream, entry): (&lgtm_query::Stream, &lgtm_query::LogEntry)| {
        let value = |name| stream.value(entry, name).unwrap_or_default().to_owned();
        Line {
            at_unix_nanos: entry.timestamp_unix_nanos,
            service: value("service_name"),
            level: value("level"),
            span_id: value("span_id").parse().ok(),
            line: entry.line.clone(),
        }
    };
    Ok(answer.entries().into_iter().map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lgtm_query::Span;

    fn span(id: &str, parent: Option<&str>, service: &str) -> Span {
        Span {
            span_id: id.parse().unwrap(),
            parent_span_id: parent.map(|id| id.parse().unwrap()),
            service_name: service.to_owned(),
            ..Span::default()
        }
    }

    fn trace(spans: Vec<Span>) -> Trace {
        Trace { trace_id: "7".parse().unwrap(), resources: Vec::new(), spans, partial: None }
    }

    fn exemplar(span_id: &str) -> Exemplar {
        Exemplar {
            series: Labels::new(),
            seconds: 0.4,
            at_unix_nanos: 0,
            trace_id: "7".parse().unwrap(),
            span_id: span_id.parse().ok(),
        }
    }

    fn line(service: &str, span_id: &str) -> Line {
        Line {
            at_unix_nanos: 0,
            service: service.to_owned(),
            level: "info".to_owned(),
            span_id: span_id.parse().ok(),
            line: "a line".to_owned(),
        }
    }

    #[test]
    fn a_whole_story_has_no_gaps() {
        let trace = trace(vec![span("1", None, "storefront"), span("2", Some("1"), "inventory")]);
        assert_eq!(gaps_of_trace(&exemplar("1"), &trace), [""; 0]);
        assert_eq!(gaps_of_lines(&trace, &[line("storefront", "1"), line("inventory", "2")]), [""; 0]);
    }

    #[test]
    fn each_missing_link_is_named() {
        let trace = trace(vec![span("1", None, "storefront"), span("3", Some("2"), "storefront")]);
        let gaps = gaps_of_trace(&exemplar("9"), &trace);
        assert_eq!(gaps.len(), 3, "{gaps:?}");
        assert!(gaps[0].starts_with("metric -> trace: the exemplar's span 0000000000000009"), "{gaps:?}");
        assert!(gaps[1].contains("has no span of inventory"), "{gaps:?}");
        assert!(gaps[2].starts_with("span -> parent: the parent 0000000000000002"), "{gaps:?}");
        let gaps = gaps_of_lines(&trace, &[line("storefront", "4"), line("storefront", "")]);
        assert_eq!(gaps.len(), 3, "{gaps:?}");
        assert!(gaps[0].contains("no log line of inventory"), "{gaps:?}");
    }
}
