//! What the servers say they have of a run, in their query languages.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use lgtm_devstack::exposition;
use lgtm_query::{Error, LogData, MetricData, Tempo, TimeRange, TraceId, Wait};
use rand::seq::SliceRandom as _;
use serde::Serialize;

use super::Destinations;
use super::account::Account;
use super::plan::Plan;
use super::program::ENVIRONMENT;
use super::run::Outcome;
use crate::servers::Readers;

/// How long a server may take to show what it has taken.
const PATIENCE: Duration = Duration::from_secs(30);
/// As much for Tempo's metrics, which come some time after its search.
const TEMPO_PATIENCE: Duration = Duration::from_secs(60);
/// Clocks may differ by this.
const MARGIN: Duration = Duration::from_secs(60);
/// Traces asked for by their ids.
const MOST_TRACES: usize = 20;

/// What a server has.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Found {
    pub(crate) server: &'static str,
    pub(crate) what: String,
    pub(crate) expected: u64,
    /// Absent if the server could not say.
    pub(crate) counted: Option<u64>,
    pub(crate) ok: bool,
    pub(crate) remark: String,
}

impl Found {
    fn new(server: &'static str, what: String, expected: u64, answer: Result<u64, Error>) -> Self {
        let (counted, remark) = match answer {
            Ok(counted) => (Some(counted), String::new()),
            Err(error) => (None, error.to_string()),
        };
        Self { server, what, expected, counted, ok: counted == Some(expected), remark }
    }
}

/// Asks for all that was sent.
pub(crate) async fn verify(
    plan: &Plan,
    destinations: &Destinations,
    outcome: &Outcome,
    account: &Account,
    readers: &Readers,
    discarded: Discarded,
) -> Vec<Found> {
    eprintln!("asking the servers what they have");
    let delivered =
        |signal: &str| account.signals.iter().find(|one| one.signal == signal).map_or(0, |one| one.delivered);
    let asking = Asking { plan, readers, discarded, started: outcome.started };
    let mut found = Vec::new();
    if destinations.logs.is_some() {
        found.push(asking.lines(delivered("logs")).await);
    }
    if destinations.metrics.is_some() {
        let increments = outcome.made.iter().map(|made| made.increments).sum();
        found.extend(asking.series(increments).await);
    }
    if destinations.traces.is_some() {
        let mut traces: Vec<_> = outcome.made.iter().flat_map(|made| &made.traces).collect();
        traces.shuffle(&mut rand::rng());
        traces.truncate(MOST_TRACES);
        let traces = traces.into_iter().map(|id| id.to_string().parse()).collect::<Result<Vec<TraceId>, Error>>();
        found.push(asking.traces(traces.unwrap_or_default()).await);
        found.push(asking.spans(delivered("traces")).await);
    }
    found
}

struct Asking<'a> {
    plan: &'a Plan,
    readers: &'a Readers,
    discarded: Discarded,
    started: SystemTime,
}

impl Asking<'_> {
    fn range(&self) -> TimeRange {
        TimeRange::between(self.started, SystemTime::now()).widened(MARGIN)
    }

    /// The lines of the run, each counted by Loki.
    async fn lines(&self, expected: u64) -> Found {
        let loki = &self.readers.loki;
        let range = self.range();
        let logql = format!(
            r#"sum(count_over_time({{service=~"loadgen-[0-9]+", environment="{ENVIRONMENT}"}} | service_instance_id=~"{}-.+" [{}s]))"#,
            self.plan.run,
            range.duration().as_secs()
        );
        let count = || async {
            let data = loki.query(&logql, Some(range.end_unix_nanos)).await?;
            Ok(match &data {
                LogData::Vector(samples) => {
                    samples.iter().filter_map(|one| one.sample).map(|one| one.value as u64).sum()
                }
                _ => 0,
            })
        };
        let answer = settle(PATIENCE, expected, count).await;
        Found::new("Loki", "lines, by count_over_time".to_owned(), expected, answer)
    }

    /// The series of the run and what they have counted. They have ended, so their last values are looked for.
    async fn series(&self, increments: u64) -> Vec<Found> {
        let prometheus = &self.readers.prometheus;
        let at = self.range().end_unix_nanos;
        let selector = format!(
            r#"last_over_time({{__name__=~"loadgen_work_[0-9]+_total", instance=~"{}-.+"}}[{}s])"#,
            self.plan.run,
            self.range().duration().as_secs()
        );
        let mut found = Vec::new();
        for (function, what, expected) in
            [("count", "series", self.plan.series()), ("sum", "what all counters have counted", increments)]
        {
            let promql = format!("{function}({selector})");
            let count = || async {
                let answer = prometheus.query(&promql, Some(at)).await?;
                Ok(match &answer.data {
                    data @ MetricData::Vector(_) => data.single_value().unwrap_or(0.0) as u64,
                    _ => 0,
                })
            };
            let answer = settle(PATIENCE, expected, count).await;
            found.push(Found::new("metrics", format!("{what}, by {function}(last_over_time)"), expected, answer));
        }
        found
    }

    /// Some traces by their ids: each has all its spans.
    async fn traces(&self, ids: Vec<TraceId>) -> Found {
        let spans = u64::from(self.plan.load.spans_per_trace);
        let count = || async {
            let mut whole = 0;
            for id in &ids {
                let trace = self.readers.tempo.trace(*id).await?;
                whole += u64::from(trace.is_some_and(|trace| trace.spans.len() as u64 == spans));
            }
            Ok(whole)
        };
        let expected = ids.len() as u64;
        let answer = settle(PATIENCE, expected, count).await;
        Found::new("Tempo", format!("traces by id that have all their {spans} spans"), expected, answer)
    }

    /// All spans as Tempo's metrics count them. Tempo can take a span and discard it later, where nobody hears of it but its own
    /// counters.
    async fn spans(&self, expected: u64) -> Found {
        let tempo = &self.readers.tempo;
        let range = self.range();
        let traceql = format!(r#"{{ resource.service.instance.id =~ "{}-.+" }} | count_over_time()"#, self.plan.run);
        let count = || async {
            let series = tempo.metrics_instant(&traceql, range).await?;
            Ok(series.iter().filter_map(|one| one.samples.last()).map(|one| one.value as u64).sum())
        };
        let answer = settle(TEMPO_PATIENCE, expected, count).await;
        let refused = answer.as_ref().is_err_and(has_no_metrics);
        let mut found = Found::new("Tempo", "spans, by count_over_time".to_owned(), expected, answer);
        if refused {
            found.ok = true;
            found.remark = format!("does not decide: this server has no TraceQL metrics; {}", found.remark);
        } else if !found.ok {
            let discarded = discarded(&self.readers.tempo).await.since(&self.discarded);
            let lag = "its metrics may lag: ask again later with cargo xtask query traces --instant";
            let why = discarded.unwrap_or_else(|| format!("{lag} '{traceql}'"));
            found.remark = format!("{}{}{why}", found.remark, if found.remark.is_empty() { "" } else { "; " });
        }
        found
    }
}

/// Whether Tempo says that it has no TraceQL metrics: it knows no such address, or no generator or live store that answers.
fn has_no_metrics(error: &lgtm_query::Error) -> bool {
    let said = error.to_string().to_lowercase();
    let words = ["localblocks", "local-blocks", "metrics-generator", "not enabled"];
    error.status() == Some(404) || words.iter().any(|words| said.contains(words))
}

/// Spans that Tempo has discarded after it had taken them, by reason, over all tenants.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Discarded(BTreeMap<String, u64>);

/// What Tempo says of itself; nothing if it does not.
pub(crate) async fn discarded(tempo: &Tempo) -> Discarded {
    match tempo.client().page(&["metrics"]).await {
        Ok(page) => Discarded::of_page(&page),
        Err(_) => Discarded::default(),
    }
}

impl Discarded {
    fn of_page(page: &str) -> Self {
        let Ok(exposition) = exposition::parse(page, exposition::Format::Text) else { return Self::default() };
        let mut discarded = BTreeMap::new();
        for sample in exposition.samples {
            if sample.labels.get("__name__").is_some_and(|name| name == "tempo_discarded_spans_total") {
                let reason = sample.labels.get("reason").cloned().unwrap_or_default();
                *discarded.entry(reason).or_default() += sample.value as u64;
            }
        }
        Self(discarded)
    }

    /// What has been discarded since `before`, in words.
    fn since(&self, before: &Self) -> Option<String> {
        let new = |(reason, count): (&String, &u64)| {
            let new = count.saturating_sub(before.0.get(reason).copied().unwrap_or(0));
            (new > 0).then(|| format!("{new} ({reason})"))
        };
        let new: Vec<_> = self.0.iter().filter_map(new).collect();
        let words = || format!("Tempo has since discarded spans that it had taken: {}", new.join(", "));
        (!new.is_empty()).then(words)
    }
}

/// Asks until the count is the expected one; else the last one that there was.
async fn settle<F>(patience: Duration, expected: u64, mut count: impl FnMut() -> F) -> Result<u64, Error>
where
    F: Future<Output = Result<u64, Error>>,
{
    let mut last = None;
    let waited = Wait::up_to(patience)
        .every(Duration::from_secs(1))
        .until(&mut count, |counted| {
            last = Some(*counted);
            *counted == expected
        })
        .await;
    match (waited, last) {
        (Err(Error::WaitExpired { .. }), Some(last)) => Ok(last),
        (outcome, _) => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tempo_has_discarded_is_told_by_reason_and_only_since_the_beginning() {
        let page = |live: u64, large: u64| {
            format!(
                "# TYPE tempo_discarded_spans_total counter\n\
                 tempo_discarded_spans_total{{reason=\"live_traces_exceeded\",tenant=\"a\"}} {live}\n\
                 tempo_discarded_spans_total{{reason=\"live_traces_exceeded\",tenant=\"b\"}} 1\n\
                 tempo_discarded_spans_total{{reason=\"trace_too_large\",tenant=\"a\"}} {large}\n\
                 tempo_other_total 7\n"
            )
        };
        let [before, after] = [page(10, 5), page(14, 5)].map(|page| Discarded::of_page(&page));
        let words = after.since(&before).unwrap();
        assert_eq!(words, "Tempo has since discarded spans that it had taken: 4 (live_traces_exceeded)");
        assert_eq!(before.since(&before), None);
        assert_eq!(Discarded::of_page("no page {"), Discarded::default());
    }

    #[test]
    fn a_count_that_is_not_the_expected_one_is_a_failure() {
        assert!(Found::new("Loki", String::new(), 3, Ok(3)).ok);
        assert!(!Found::new("Loki", String::new(), 3, Ok(2)).ok);
        let none = Found::new("Loki", String::new(), 0, "x".parse::<TraceId>().map(|_| 0));
        assert!(!none.ok && none.counted.is_none() && none.remark.contains("trace id"), "{none:?}");
    }
}
