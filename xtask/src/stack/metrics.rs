//! `stack metrics`: has the running stack each metric that a dashboard, a rule or a page names?

use std::time::Duration;

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use lgtm_query::Prometheus;
use serde::Serialize;

use super::state::State;
use crate::check;
use crate::servers::ServerOptions;
use crate::table::Table;

/// How far back is looked: series of programs that have ended since then count.
const LOOK_BACK: &str = "1h";
/// Queries in flight.
const AT_ONCE: usize = 8;

/// A metric, and how many series of it there are.
#[derive(Debug, Serialize)]
struct Seen {
    name: String,
    series: u64,
    /// The service that says it, if that is another program of the stack.
    service: Option<&'static str>,
    /// Whether that service runs here.
    runs: bool,
    /// What brings it, if it is not there while all is well.
    brought_by: Option<&'static str>,
    /// Where it is named.
    places: Vec<String>,
}

/// Asks for all, and prints those that are missing, or all of them as JSON. Gives whether none is missing that should be there: those
/// of services that do not run, and those that come with trouble, may be.
///
/// # Errors
/// If the files of the workspace cannot be read, or Prometheus does not answer.
pub(super) async fn show(state: &State, json: bool) -> anyhow::Result<bool> {
    let prometheus = ServerOptions::of_stack(state).readers()?.prometheus;
    let named = check::named_metrics()?;
    let seen: Vec<Seen> = stream::iter(named)
        .map(|(name, places)| look(&prometheus, state, name, places))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let missing = |seen: &&Seen| seen.series == 0;
    let well = !seen.iter().filter(missing).any(|seen| seen.runs && seen.brought_by.is_none());
    if json {
        outputln!("{}", serde_json::to_string_pretty(&seen)?);
        return Ok(well);
    }
    let mut table = Table::new(["metric", "said by", "named in"]);
    for Seen { name, service, runs, places, brought_by, .. } in seen.iter().filter(missing) {
        let service = service.unwrap_or("lgtm or the example program");
        let by = match brought_by {
            _ if !runs => format!("{service}, which does not run"),
            Some(cause) => format!("{service}, with {cause}"),
            None => format!("{service}, always"),
        };
        let first = places.first().map_or("", String::as_str);
        let more = places.len().saturating_sub(1);
        table.row([name.clone(), by, if more == 0 { first.to_owned() } else { format!("{first} and {more} more") }]);
    }
    let there = seen.iter().filter(|seen| seen.series > 0).count();
    outputln!(
        "{there} of {} metrics that dashboards, rules and pages name have been seen in the last {LOOK_BACK}",
        seen.len()
    );
    if there < seen.len() {
        output!("not seen:\n{table}");
    }
    Ok(well)
}

async fn look(prometheus: &Prometheus, state: &State, name: String, places: Vec<String>) -> anyhow::Result<Seen> {
    let query = format!(r#"count(last_over_time({{__name__="{name}"}}[{LOOK_BACK}]))"#);
    let asked = tokio::time::timeout(Duration::from_secs(20), prometheus.query(&query, None)).await;
    let answer = asked.with_context(|| format!("no answer to {query}"))??;
    let count = answer.data.single_value().unwrap_or(0.0);
    let service = check::service_of_metric(&name);
    let runs = service.is_none_or(|service| state.service(service).is_some());
    // A count is a whole number, and small.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of series")]
    let series = count as u64;
    let brought_by = check::metric_brought_by(&name);
    Ok(Seen { name, series, service, runs, brought_by, places })
}
