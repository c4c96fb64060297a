//! What the demo has found, for people and for programs.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use lgtm_query::Trace;
use serde::Serialize;
use serde_json::Value;

use super::Against;
use super::account::Account;
use super::load::Load;
use super::story::{Exemplar, Line, Story};
use crate::servers::Addresses;

/// The result of one run. Its JSON is what `--json` prints.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    /// Whether nothing was lost and no link is missing.
    pub(super) ok: bool,
    pub(super) against: Against,
    pub(super) addresses: Addresses,
    /// How long the load ran, in seconds.
    pub(super) seconds: f64,
    pub(super) load: Load,
    pub(super) account: Account,
    pub(super) story: Story,
    /// What was lost, and which links are missing.
    pub(super) problems: Vec<String>,
}

/// Fields of the event or of its spans that say what happened; the others are left to the query.
const TOLD: [&str; 7] = ["endpoint", "status", "latency_ms", "order", "sku", "product", "error"];

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Load { requests, failed, slow, .. } = self.load;
        writeln!(formatter, "{requests} requests in {:.0} s, {failed} failed, {slow} slow", self.seconds)?;
        writeln!(formatter, "\n{:<10} {:<12} {:>9} {:>9} {:>9}", "signal", "service", "created", "received", "lost")?;
        for signal in &self.account.signals {
            for line in &signal.services {
                let (created, received, lost) = (line.created, line.received, line.lost);
                writeln!(formatter, "{:<10} {:<12} {created:>9} {received:>9} {lost:>9}", signal.signal, line.service)?;
            }
            let (created, received, lost) = (signal.created, signal.received, signal.lost);
            writeln!(formatter, "{:<10} {:<12} {created:>9} {received:>9} {lost:>9}", "", "together")?;
        }
        self.story.fmt(formatter)?;
        writeln!(formatter)?;
        if self.ok {
            return writeln!(formatter, "Nothing was lost, and every link leads on.");
        }
        writeln!(formatter, "Problems:")?;
        self.problems.iter().try_for_each(|problem| writeln!(formatter, "- {problem}"))
    }
}

impl fmt::Display for Story {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(exemplar), Some(trace)) = (&self.exemplar, &self.trace) else {
            return Ok(());
        };
        writeln!(
            formatter,
            "\nOne story: the slowest failure that an exemplar points to\n\n1. A number leads to a trace"
        )?;
        writeln!(formatter, "     {}", series(exemplar))?;
        write!(formatter, "     {:.1} ms, trace_id {}", 1000.0 * exemplar.seconds, exemplar.trace_id)?;
        match exemplar.span_id {
            Some(span_id) => writeln!(formatter, ", span_id {span_id}")?,
            None => writeln!(formatter)?,
        }
        writeln!(formatter, "\n2. The trace, across {}", services(trace))?;
        trace.tree().to_string().lines().try_for_each(|line| writeln!(formatter, "   {line}"))?;
        let query = self.log_query.as_deref().unwrap_or_default();
        writeln!(formatter, "\n3. The trace leads to its log lines: {query}")?;
        let start = trace.spans.iter().map(|span| span.start_unix_nanos).min().unwrap_or_default();
        let width = self.lines.iter().map(|line| line.service.len()).max().unwrap_or_default();
        for line in &self.lines {
            let since = line.at_unix_nanos.wrapping_sub(start).cast_signed() as f64 / 1e6;
            writeln!(formatter, "   {since:>9.3} ms  {:<5}  {:width$}  {}", line.level, line.service, told(line))?;
        }
        Ok(())
    }
}

/// The series as PromQL writes it, without what all series of the service have.
fn series(exemplar: &Exemplar) -> String {
    let name = exemplar.series.get("__name__").map_or("", String::as_str);
    let common = BTreeSet::from(["__name__", "instance", "job", "environment"]);
    let labels = exemplar.series.iter().filter(|(label, _)| !common.contains(label.as_str()));
    let labels: Vec<_> = labels.map(|(label, value)| format!("{label}={value:?}")).collect();
    format!("{name}{{{}}}", labels.join(", "))
}

fn services(trace: &Trace) -> String {
    trace.services().into_iter().collect::<Vec<_>>().join(" and ")
}

/// The message and the telling fields of a line; a line that is no JSON as it is.
fn told(line: &Line) -> String {
    let Ok(Value::Object(fields)) = serde_json::from_str(&line.line) else {
        return line.line.clone();
    };
    let mut text = fields.get("message").and_then(Value::as_str).unwrap_or_default().to_owned();
    for name in TOLD {
        match fields.get(name) {
            None => {}
            Some(Value::String(value)) => {
                let _ = write!(text, " {name}={value:?}");
            }
            Some(value) => {
                let _ = write!(text, " {name}={value}");
            }
        }
    }
    text
}
