//! `query traces`: one trace by its id, the traces that TraceQL finds, or numbers made of spans.

use std::io;
use std::sync::LazyLock;

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use lgtm_query::{Error, FoundTrace, Tempo, TimeRange, Trace, TraceId, TraceSearch};
use regex::Regex;
use serde_json::Value;

use super::numbers::Numbers;
use super::problem::{Server, explain};
use super::screen::{BOLD, DIM, Screen, clean, columns, cut, duration, fit, nanos, styled};
use super::waterfall;
use super::{Asked, Outcome, Traces};

/// Traces asked for at the same time.
const IN_FLIGHT: usize = 4;
/// Longer service names are cut.
const MOST_SERVICE: usize = 24;

/// # Errors
/// If Tempo does not answer or refuses, or the output is gone.
pub(super) async fn run(options: &Traces, tempo: &Tempo, screen: &mut Screen<'_>) -> anyhow::Result<Outcome> {
    let query = options.query.trim();
    let explained = |error: &Error| explain(Server::Tempo, tempo.client(), query, error);
    if let Some(id) = trace_id(query) {
        let Some(trace) = tempo.trace(id).await.map_err(|error| explained(&error))? else {
            let hint = "a trace is there as soon as Tempo has taken it in, and as long as its retention says; \
                        one that was sampled away never is";
            return Ok(Outcome::empty(format!("Tempo has no trace {id}"), hint.to_owned()));
        };
        show_trace(screen, &trace, options.common.json)?;
        return Ok(Outcome::Found);
    }
    let asked = Asked::new(options.since, options.until, options.step, screen.width)?;
    if is_metrics(query) {
        let answer = if options.instant {
            tempo.metrics_instant(query, asked.range).await
        } else {
            tempo.metrics_range(query, asked.range, asked.step).await
        };
        let series = answer.map_err(|error| explained(&error))?;
        if series.is_empty() {
            return Ok(none(asked.range));
        }
        if options.common.json {
            series.iter().try_for_each(|series| screen.json(series))?;
        } else {
            Numbers::of_traces(&series, options.instant).show(screen, asked.range, asked.step, options.limit.into())?;
        }
        return Ok(Outcome::Found);
    }
    let search = TraceSearch::new(query).range(asked.range).limit(options.limit.into());
    let mut found = tempo.search(&search).await.map_err(|error| explained(&error))?;
    found.sort_by_key(|trace| std::cmp::Reverse(trace.start_unix_nanos));
    if found.is_empty() {
        return Ok(none(asked.range));
    }
    if options.tree {
        let mut traces = stream::iter(&found).map(|found| tempo.trace(found.trace_id)).buffered(IN_FLIGHT);
        let mut first = true;
        while let Some(trace) = traces.try_next().await.map_err(|error| explained(&error))? {
            // It was found a moment ago; what is gone now has reached its retention.
            let Some(trace) = trace else { continue };
            if !std::mem::take(&mut first) && !options.common.json {
                screen.line("")?;
            }
            show_trace(screen, &trace, options.common.json)?;
        }
    } else if options.common.json {
        found.iter().try_for_each(|trace| screen.json(trace))?;
    } else {
        table(screen, &found)?;
    }
    Ok(Outcome::Found)
}

fn none(range: TimeRange) -> Outcome {
    let hint = "Tempo's search and metrics show a span some 30 s after it was taken in (by its id a trace is there at once); \
                --since asks for more time";
    Outcome::nothing_in(range, hint.to_owned())
}

/// An id, whole or without its leading zeros; TraceQL never looks like one.
fn trace_id(query: &str) -> Option<TraceId> {
    query.parse().ok()
}

/// Whether TraceQL asks for numbers: a function of numbers in its pipeline.
fn is_metrics(traceql: &str) -> bool {
    static TEXTS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#""(?:\\.|[^"\\])*"|`[^`]*`"#).ok());
    static FUNCTIONS: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"\|\s*(rate|compare|[a-z]+_over_time)\s*\(").ok());
    let Some((texts, functions)) = TEXTS.as_ref().zip(FUNCTIONS.as_ref()) else { return false };
    functions.is_match(&texts.replace_all(traceql, ""))
}

fn show_trace(screen: &mut Screen<'_>, trace: &Trace, json: bool) -> anyhow::Result<()> {
    if !json {
        return Ok(waterfall::show(screen, trace)?);
    }
    for span in &trace.spans {
        let mut line = serde_json::to_value(span).context("a span cannot be written as JSON")?;
        if let Value::Object(fields) = &mut line {
            // A line stands alone: it has the resource itself, where the trace has a list of them.
            fields.insert("resource".to_owned(), serde_json::to_value(trace.resource(span))?);
        }
        screen.json(&line)?;
    }
    Ok(())
}

fn table(screen: &mut Screen<'_>, found: &[FoundTrace]) -> io::Result<()> {
    let service = |trace: &FoundTrace| match clean(&trace.root_service_name) {
        empty if empty.is_empty() => "(not known yet)".to_owned(),
        name => name,
    };
    let service_width = found.iter().map(|trace| columns(&service(trace))).max().unwrap_or(0).clamp(7, MOST_SERVICE);
    let time_width = found.first().map_or(0, |trace| columns(&screen.time(trace.start_unix_nanos)));
    let heading = format!(
        "{:32}  {}  {:>8}  {:>7}  {}  name",
        "trace",
        fit("start", time_width),
        "duration",
        "matched",
        fit("service", service_width)
    );
    screen.line(&styled(DIM, &heading))?;
    let room = screen.width.saturating_sub(32 + time_width + 8 + 7 + service_width + 10).max(12);
    for trace in found {
        // Tempo counts this in whole milliseconds.
        let length = if trace.duration.is_zero() { "<1 ms".to_owned() } else { duration(nanos(trace.duration)) };
        screen.line(&format!(
            "{}  {}  {length:>8}  {:>7}  {}  {}",
            styled(BOLD, &trace.trace_id.to_string()),
            styled(DIM, &screen.time(trace.start_unix_nanos)),
            trace.matched,
            fit(&service(trace), service_width),
            cut(&clean(&trace.root_trace_name), room),
        ))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_id_is_told_from_a_query_and_a_search_from_numbers() {
        assert_eq!(trace_id("7651916CD43DD8448EB211C80319C").unwrap().to_string(), "0007651916cd43dd8448eb211c80319c");
        assert_eq!(trace_id("{ }"), None);
        assert_eq!(trace_id("0af7651916cd43dd8448eb211c80319c0"), None);
        for query in [
            "{ status = error } | rate() by (resource.service.name)",
            "{} |quantile_over_time (duration, .9)",
            "{ } | compare({ status = error })",
        ] {
            assert!(is_metrics(query), "{query}");
        }
        for query in
            [r#"{ name = "a | rate()" }"#, "{ span.x = `| rate()` } | count() > 2", "{ duration > 1s } | by(name)"]
        {
            assert!(!is_metrics(query), "{query}");
        }
    }

    #[test]
    fn found_traces_are_a_table() {
        let found = |id: &str, service: &str, name: &str, milliseconds: u64| FoundTrace {
            trace_id: id.parse().unwrap(),
            root_service_name: service.to_owned(),
            root_trace_name: name.to_owned(),
            start_unix_nanos: 1_700_000_000_000_000_000,
            duration: Duration::from_millis(milliseconds),
            spans: Vec::new(),
            matched: 3,
        };
        let found = [found("7b", "storefront", "POST /orders", 1234), found("c8", "", "", 0)];
        let mut bytes = Vec::new();
        table(&mut Screen::plain(&mut bytes, 100), &found).unwrap();
        insta::assert_snapshot!(String::from_utf8(bytes).unwrap(), @"
        trace                             start                     duration  matched  service          name
        0000000000000000000000000000007b  2023-11-14T22:13:20.000Z    1.23 s        3  storefront       POST /orders
        000000000000000000000000000000c8  2023-11-14T22:13:20.000Z     <1 ms        3  (not known yet)
        ");
    }
}
