//! The report: for each signal what was asked for, made, taken in by lgtm and delivered, and where the rest is.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use lgtm::{SignalKind, SignalReport};
use serde::Serialize;

use super::plan::Plan;
use super::run::Outcome;
use super::verify::Found;
use super::{Destinations, Signal};
use crate::table::Table;

/// All of it, for programs; `Display` is for people.
#[derive(Debug, Serialize)]
pub(crate) struct Account {
    /// The beginning of every `service.instance.id` of this run.
    pub(crate) run: String,
    pub(crate) seconds: f64,
    /// How long it took then to send what was left.
    pub(crate) shutdown_seconds: f64,
    pub(crate) instances: u64,
    pub(crate) memory_bytes_per_instance: usize,
    pub(crate) signals: Vec<SignalAccount>,
    /// What the servers say; empty if they were not asked.
    pub(crate) found: Vec<Found>,
}

/// One signal's items over all instances.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct SignalAccount {
    pub(crate) signal: &'static str,
    pub(crate) items: &'static str,
    pub(crate) asked_per_second: f64,
    /// Absent for metrics: lgtm itself makes the samples, at each push.
    pub(crate) produced: Option<u64>,
    pub(crate) admitted: u64,
    pub(crate) delivered: u64,
    /// Over the load and the shutdown.
    pub(crate) delivered_per_second: f64,
    pub(crate) rejected: u64,
    pub(crate) pending: u64,
    pub(crate) dropped: BTreeMap<&'static str, u64>,
    /// Failed requests by what was wrong; those that succeeded at a later try are among them.
    pub(crate) failed_requests: BTreeMap<&'static str, u64>,
}

impl Account {
    pub(crate) fn new(plan: &Plan, destinations: &Destinations, outcome: &Outcome) -> Self {
        let account = |(signal, _): (Signal, _)| {
            let (kind, asked) = match signal {
                Signal::Logs => (SignalKind::Logs, plan.lines_per_second() as f64),
                Signal::Traces => (SignalKind::Spans, plan.spans_per_second() as f64),
                Signal::Metrics => (SignalKind::Metrics, plan.samples_per_second()),
            };
            let produced = match signal {
                Signal::Logs => Some(outcome.made.iter().map(|made| made.lines).sum()),
                Signal::Traces => Some(outcome.made.iter().map(|made| made.spans).sum()),
                Signal::Metrics => None,
            };
            let reports = outcome.reports.iter().flat_map(|report| report.signals());
            SignalAccount::new(
                kind,
                asked,
                produced,
                outcome.elapsed + outcome.shutdown,
                reports.filter(|report| report.signal == kind),
            )
        };
        Self {
            run: plan.run.clone(),
            seconds: outcome.elapsed.as_secs_f64(),
            shutdown_seconds: outcome.shutdown.as_secs_f64(),
            instances: plan.instances(),
            memory_bytes_per_instance: plan.memory_per_instance,
            signals: destinations.all().map(account).collect(),
            found: Vec::new(),
        }
    }

    /// Whether each item has arrived, and is there where it was looked for.
    pub(crate) fn all_is_well(&self) -> bool {
        self.signals.iter().all(|signal| signal.lost() == 0 && signal.unaccounted() == 0 && signal.pending == 0)
            && self.found.iter().all(|found| found.ok)
    }
}

impl SignalAccount {
    fn new<'a>(
        kind: SignalKind,
        asked_per_second: f64,
        produced: Option<u64>,
        elapsed: Duration,
        reports: impl Iterator<Item = &'a SignalReport>,
    ) -> Self {
        let mut account = Self {
            signal: match kind {
                SignalKind::Logs => "logs",
                SignalKind::Spans => "traces",
                SignalKind::Metrics => "metrics",
            },
            items: kind.items(),
            asked_per_second,
            produced,
            admitted: 0,
            delivered: 0,
            delivered_per_second: 0.0,
            rejected: 0,
            pending: 0,
            dropped: BTreeMap::new(),
            failed_requests: BTreeMap::new(),
        };
        for report in reports {
            account.admitted += report.admitted;
            account.delivered += report.delivered;
            account.rejected += report.rejected;
            account.pending += report.pending;
            for (reason, count) in &report.dropped {
                *account.dropped.entry(reason.as_str()).or_default() += count;
            }
            for (error, count) in &report.errors {
                *account.failed_requests.entry(error.as_str()).or_default() += count;
            }
        }
        account.delivered_per_second = account.delivered as f64 / elapsed.as_secs_f64().max(0.001);
        account
    }

    fn lost(&self) -> u64 {
        self.rejected + self.dropped.values().sum::<u64>()
    }

    /// Items of which nothing is known: made and not admitted, or admitted and nowhere.
    fn unaccounted(&self) -> u64 {
        let admitted = self.produced.map_or(0, |produced| produced.abs_diff(self.admitted));
        admitted + self.admitted.abs_diff(self.delivered + self.lost() + self.pending)
    }

    /// Whether clearly less was made than asked for.
    fn is_behind(&self, seconds: f64) -> bool {
        self.produced.is_some_and(|produced| (produced as f64) < 0.95 * (self.asked_per_second * seconds).floor())
    }
}

fn counts(counts: &BTreeMap<&'static str, u64>) -> String {
    if counts.is_empty() {
        return "0".to_owned();
    }
    counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { run, seconds, shutdown_seconds: shutdown, instances, .. } = self;
        let memory = self.memory_bytes_per_instance >> 20;
        writeln!(
            formatter,
            "{run}: {instances} instances, {seconds:.1} s of load and {shutdown:.1} s to send what was left, {memory} MiB for what waits in each\n"
        )?;
        let mut table = Table::new([
            "signal",
            "asked/s",
            "delivered/s",
            "produced",
            "admitted",
            "delivered",
            "rejected",
            "pending",
            "dropped",
        ]);
        for signal in &self.signals {
            table.row([
                format!("{} ({})", signal.signal, signal.items),
                format!("{:.0}", signal.asked_per_second),
                format!("{:.0}", signal.delivered_per_second),
                signal.produced.map_or("by lgtm".to_owned(), |produced| produced.to_string()),
                signal.admitted.to_string(),
                signal.delivered.to_string(),
                signal.rejected.to_string(),
                signal.pending.to_string(),
                counts(&signal.dropped),
            ]);
        }
        write!(formatter, "{table}")?;
        if !self.found.is_empty() {
            let mut table = Table::new(["", "server", "asked for", "expected", "found", ""]);
            for found in &self.found {
                let mark = if found.ok { "✓" } else { "✗" };
                let Found { server, what, expected, counted, remark, .. } = found;
                let counted = counted.map_or("–".to_owned(), |counted| counted.to_string());
                let expected = expected.to_string();
                table.row([mark.to_owned(), (*server).to_owned(), what.clone(), expected, counted, remark.clone()]);
            }
            write!(formatter, "\n{table}")?;
        }
        writeln!(formatter)?;
        for signal in &self.signals {
            self.remarks(formatter, signal)?;
        }
        let verdict = if self.all_is_well() { "Everything has arrived." } else { "Not everything has arrived." };
        writeln!(formatter, "{verdict}")
    }
}

impl Account {
    fn remarks(&self, formatter: &mut fmt::Formatter<'_>, signal: &SignalAccount) -> fmt::Result {
        let name = signal.signal;
        if signal.produced.is_none() {
            writeln!(
                formatter,
                "{name}: more than asked for, because lgtm's own series, zeros before new counters, the last push and the series' ends are in it"
            )?;
        }
        if signal.unaccounted() > 0 {
            writeln!(
                formatter,
                "{name}: {} {} are nowhere: this is a fault of lgtm",
                signal.unaccounted(),
                signal.items
            )?;
        }
        if signal.lost() > 0 {
            let what_to_do = "ask for less, raise the server's limits, or use more instances: each has its own queue";
            writeln!(formatter, "{name}: {} {} are lost; {what_to_do}", signal.lost(), signal.items)?;
        }
        if !signal.failed_requests.is_empty() {
            writeln!(
                formatter,
                "{name}: failed requests, each tried again where that helps: {}",
                counts(&signal.failed_requests)
            )?;
        }
        if signal.is_behind(self.seconds) {
            let remedy = "build with --release, or ask for less";
            writeln!(formatter, "{name}: this machine made less than was asked for; {remedy}")?;
        }
        Ok(())
    }
}
