//! `stack queries`: do the servers of the running stack take every query that a dashboard, a data source, a rule or a page has?

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use lgtm_query::{LogData, LogQuery, TimeRange, TraceSearch};

use super::state::State;
use crate::check::{self, Language, Query};
use crate::servers::{Readers, ServerOptions};

/// The time that is asked for.
const RANGE: Duration = Duration::from_secs(900);
/// Where dashboards are: their queries have answers while programs are used.
const DASHBOARDS: &str = "deploy/grafana/dashboards/";
/// The step of a range query.
const STEP: Duration = Duration::from_secs(60);
/// Queries in flight.
const AT_ONCE: usize = 4;

/// What a server said.
enum Answer {
    /// With something in it.
    Full,
    /// With nothing in it: what it asks for has not happened, as with alerts.
    Empty,
    Refused(String),
    /// The server does not run.
    NotAsked(&'static str),
}

/// Asks all, and prints what was refused. Gives whether nothing was.
///
/// # Errors
/// If the files of the workspace cannot be read.
pub(super) async fn ask(state: &State) -> anyhow::Result<bool> {
    let readers = ServerOptions::of_stack(state).readers()?;
    let queries = check::all_queries()?;
    let readers = &readers;
    let asked = stream::iter(&queries).map(|query| async move { (query, one(readers, state, query).await) });
    let answers: Vec<(&Query, Answer)> = asked.buffered(AT_ONCE).collect().await;
    let mut refused = 0;
    let mut not_asked = 0;
    let mut empty = 0;
    for (Query { place, query, .. }, answer) in &answers {
        match answer {
            Answer::Full => {}
            Answer::Empty => {
                empty += 1;
                // A rule is empty while all is well, a page's query may have a placeholder.
                if place.starts_with(DASHBOARDS) {
                    outputln!("empty: {place}");
                }
            }
            Answer::Refused(why) => {
                refused += 1;
                outputln!("{place}: {why}\n  {query}");
            }
            Answer::NotAsked(_) => not_asked += 1,
        }
    }
    let taken = answers.len() - refused - not_asked;
    outputln!("{taken} queries taken, {refused} refused; {empty} of those taken have an empty answer now");
    if not_asked > 0 {
        let services = answers.iter().filter_map(|(_, answer)| match answer {
            Answer::NotAsked(service) => Some(*service),
            _ => None,
        });
        let services: std::collections::BTreeSet<&str> = services.collect();
        outputln!("{not_asked} not asked: {services:?} do not run");
    }
    Ok(refused == 0)
}

async fn one(readers: &Readers, state: &State, query: &Query) -> Answer {
    let (service, is_empty) = match query.language {
        Language::Promql => {
            let service = if state.prometheus_for_mimir { "prometheus" } else { "mimir" };
            (service, readers.prometheus.query(&query.query, None).await.map(|answer| answer.data.is_empty()))
        }
        Language::Logql => ("loki", logql(readers, &query.query).await),
        Language::Traceql => ("tempo", traceql(readers, &query.query).await),
    };
    match is_empty {
        _ if state.service(service).is_none() => Answer::NotAsked(service),
        Ok(true) => Answer::Empty,
        Ok(false) => Answer::Full,
        Err(error) => Answer::Refused(error.to_string()),
    }
}

/// Whether the answer is empty.
async fn logql(readers: &Readers, query: &str) -> Result<bool, lgtm_query::Error> {
    let query = LogQuery::new(query).range(TimeRange::last(RANGE)).step(STEP);
    Ok(match readers.loki.query_range(&query).await? {
        LogData::Streams(streams) => streams.is_empty(),
        LogData::Matrix(series) => series.is_empty(),
        _ => true,
    })
}

/// Whether the answer is empty.
async fn traceql(readers: &Readers, query: &str) -> Result<bool, lgtm_query::Error> {
    let range = TimeRange::last(RANGE);
    // What is piped into an aggregation over time is asked at another address than a search.
    if ["rate(", "_over_time("].iter().any(|function| query.contains(function)) {
        return Ok(readers.tempo.metrics_range(query, range, STEP).await?.is_empty());
    }
    Ok(readers.tempo.search(&TraceSearch::new(query).range(range)).await?.is_empty())
}
