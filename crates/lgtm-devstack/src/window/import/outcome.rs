//! What has become of the parts of an import, to be told at its end.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::store::{Imported, SignalCounts};

/// How many of the refused lines are named.
const MAX_NAMED: usize = 10;
/// How many of the imported traces are named.
const MAX_TRACES: usize = 20;
/// The longest beginning and end of a reason, in bytes: it may quote the file.
const MAX_BEGINNING: usize = 150;
const MAX_END: usize = 350;

#[derive(Default)]
pub(super) struct Outcome {
    /// The line that is being stored.
    line: u64,
    /// Documents whose form was recognised.
    pub(super) documents: u64,
    /// The first of the lines with something that was refused, and why.
    problems: Vec<(u64, String)>,
    refused_lines: u64,
    last_refused: u64,
    traces: BTreeSet<String>,
    has_more_traces: bool,
    /// The times of the oldest and of the newest log line.
    lines: Option<(i64, i64)>,
}

impl Outcome {
    /// What follows is about this line.
    pub(super) fn at(&mut self, line: u64) {
        self.line = line;
    }

    /// Something of the present line is refused.
    pub(super) fn refuse(&mut self, reason: &str) {
        if std::mem::replace(&mut self.last_refused, self.line) == self.line {
            return;
        }
        self.refused_lines += 1;
        if self.problems.len() < MAX_NAMED {
            let reason = shortened(reason);
            self.problems.push((self.line, reason));
        }
    }

    pub(super) fn saw_trace(&mut self, id: &str) {
        if self.traces.contains(id) {
            return;
        }
        if self.traces.len() < MAX_TRACES {
            self.traces.insert(id.to_owned());
        } else {
            self.has_more_traces = true;
        }
    }

    pub(super) fn saw_line(&mut self, time_ns: i64) {
        let (oldest, newest) = self.lines.unwrap_or((time_ns, time_ns));
        self.lines = Some((oldest.min(time_ns), newest.max(time_ns)));
    }

    /// The first thing that was wrong, with its line.
    pub(super) fn first_problem(&self) -> Option<String> {
        self.problems.first().map(|(line, reason)| format!("line {line}: {reason}"))
    }

    pub(super) fn json(&self, imported: &Imported) -> Value {
        let counts = |counts: SignalCounts| {
            json!({
                "taken": counts.received,
                "repeated": counts.duplicates,
                "refused": counts.rejected,
                "evicted": counts.evicted,
            })
        };
        let problems: Vec<Value> =
            self.problems.iter().map(|(line, reason)| json!({ "line": line, "reason": reason })).collect();
        json!({
            "documents": self.documents,
            "spans": counts(imported.spans),
            "logs": counts(imported.logs),
            "samples": counts(imported.samples),
            "exemplars": counts(imported.exemplars),
            "histograms": counts(imported.histograms),
            "refused_lines": self.refused_lines,
            "problems": problems,
            "traces": self.traces,
            "has_more_traces": self.has_more_traces,
            "logs_from_ns": self.lines.map(|(oldest, _)| oldest.to_string()),
            "logs_to_ns": self.lines.map(|(_, newest)| newest.to_string()),
        })
    }
}

/// A reason without its middle, where it is long: what is accepted stands at its end.
fn shortened(reason: &str) -> String {
    if reason.len() <= MAX_BEGINNING + MAX_END {
        return reason.to_owned();
    }
    let beginning = reason.get(..reason.floor_char_boundary(MAX_BEGINNING)).unwrap_or_default();
    let end = reason.get(reason.ceil_char_boundary(reason.len() - MAX_END)..).unwrap_or_default();
    format!("{beginning} … {end}")
}
