//! The outcome for people, for programs and for docs/measurements.

use std::collections::HashSet;

use anyhow::Context as _;
use lgtm_query::TimeRange;
use serde_json::json;

use super::Outcome;
use super::sample::Sample;
use crate::cargo;
use crate::query::chart::Columns;
use crate::receiver::Backend;

const MIB: f64 = 1024.0 * 1024.0;
/// Columns and lines of a chart.
const WIDTH: usize = 100;
const HEIGHT: usize = 6;

/// One row of the table that is shown while it runs.
pub(super) fn row(sample: &Sample, with_heading: bool) -> String {
    let mut text = String::new();
    if with_heading {
        text += "  time  backends  resident  files  threads   on disk | delivered, pending, on disk, lost: logs | spans | metrics\n";
    }
    let states: String = sample.states.iter().map(|state| state.letter()).collect();
    text += &format!(
        "{:>4.0} s  {states:<8}  {:>4.1} MiB  {:>5}  {:>7}  {:>4.1} MiB",
        sample.said.seconds,
        sample.resident_bytes as f64 / MIB,
        sample.descriptors,
        sample.threads,
        sample.spool_bytes as f64 / MIB
    );
    for backend in Backend::ALL {
        let counts = sample.counts(backend);
        let lost = counts.rejected + counts.dropped();
        text += &format!(" | {} {} {} {lost}", counts.delivered, counts.pending, counts.spooled);
    }
    text + "\n"
}

/// The outcome for people.
pub(super) fn text(outcome: &Outcome) -> String {
    let mut text = String::new();
    for (name, unit, value) in CURVES {
        text += &format!("\n{name}, {unit}\n{}", chart(&outcome.samples, *value));
    }
    text += &format!("\n{}\n", summary(outcome));
    for finding in &outcome.findings {
        let mark = if finding.problem.is_some() { "FAILED" } else { "ok    " };
        text += &format!("{mark} {}: {}\n", finding.promise, finding.figure);
        if let Some(problem) = &finding.problem {
            text += &format!("       {problem}\n");
        }
    }
    if !outcome.is_well() {
        text += &format!("the program's last words:\n  {}\n", outcome.last_words.join("\n  "));
    }
    text
}

type Curve = (&'static str, &'static str, fn(&Sample) -> f64);

const CURVES: &[Curve] = &[
    ("resident memory", "MiB", |sample| sample.resident_bytes as f64 / MIB),
    ("file descriptors", "number", |sample| sample.descriptors as f64),
    ("pending items of all signals", "thousands", |sample| {
        Backend::ALL.iter().map(|backend| sample.counts(*backend).pending).sum::<u64>() as f64 / 1000.0
    }),
];

fn chart(samples: &[Sample], value: fn(&Sample) -> f64) -> String {
    const SECOND: u64 = 1_000_000_000;
    let of = |sample: &Sample| lgtm_query::Sample {
        timestamp_unix_nanos: (sample.said.seconds * SECOND as f64) as u64,
        value: value(sample),
    };
    let points: Vec<_> = samples.iter().map(of).collect();
    let end = points.last().map_or(0, |last| last.timestamp_unix_nanos);
    let columns = Columns::new(&points, TimeRange::new(0, end), SECOND, WIDTH);
    let (low, high) = columns.edges();
    let rows = columns.rows(HEIGHT);
    let mut text = String::new();
    for (place, row) in rows.iter().enumerate() {
        let edge = match place {
            0 => format!("{high:.1}"),
            place if place + 1 == rows.len() => format!("{low:.1}"),
            _ => String::new(),
        };
        text += &format!("{edge:>8} {}\n", row.trim_end());
    }
    text
}

fn summary(outcome: &Outcome) -> String {
    let seconds = outcome.samples.last().map_or(0.0, |last| last.said.seconds);
    let combinations: HashSet<_> = outcome.samples.iter().map(|sample| sample.states).collect();
    format!(
        "{} events/s and {} spans/s for {}, {}; schedule {}, {} of 64 combinations of states seen; {seconds:.0} s with the end",
        outcome.options.rate,
        outcome.options.rate * 3 / 5,
        humantime::format_duration(outcome.options.length),
        if outcome.options.no_spool { "without a spool" } else { "with a spool" },
        outcome.seed,
        combinations.len(),
    )
}

/// The outcome for programs.
///
/// # Errors
/// If it cannot be written as JSON.
pub(super) fn json(outcome: &Outcome) -> anyhow::Result<String> {
    let document = json!({
        "ok": outcome.is_well(),
        "seed": outcome.seed,
        "rate": outcome.options.rate,
        "seconds": outcome.options.length.as_secs_f64(),
        "spool": !outcome.options.no_spool,
        "findings": outcome.findings,
        "samples": outcome.samples,
    });
    Ok(serde_json::to_string_pretty(&document)?)
}

/// Writes docs/measurements/soak.md, or that of a run without a spool.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn write(outcome: &Outcome) -> anyhow::Result<()> {
    let (name, flag) =
        if outcome.options.no_spool { ("soak-without-spool.md", " --no-spool") } else { ("soak.md", "") };
    let path = cargo::workspace_root().join("docs").join("measurements").join(name);
    let length = humantime::format_duration(outcome.options.length).to_string().replace(' ', "");
    let mut text = format!(
        "# Soak\n\nWritten by `cargo xtask soak --for {length} --seed {}{flag} --write`, on a shared machine of {} cores, \
         program and backends together, not optimised. {}.\n\n| promise | figure | |\n|---|---|---|\n",
        outcome.seed,
        std::thread::available_parallelism().map_or(0, usize::from),
        summary(outcome),
    );
    for finding in &outcome.findings {
        let verdict = finding.problem.as_deref().map_or("kept".to_owned(), |problem| format!("**broken**: {problem}"));
        text += &format!("| {} | {} | {verdict} |\n", finding.promise, finding.figure);
    }
    text += "\n```text\n";
    for (index, (name, unit, value)) in CURVES.iter().enumerate() {
        let line = if index > 0 { "\n" } else { "" };
        text += &format!("{line}{name}, {unit}\n{}", chart(&outcome.samples, *value));
    }
    text += "```\n\n```text\n";
    let mut next = 0.0;
    for sample in &outcome.samples {
        if sample.said.seconds >= next {
            text += &row(sample, next == 0.0);
            next = sample.said.seconds + 15.0;
        }
    }
    text += "```\n\nBackends are Loki, Tempo and Mimir: `u` up, `s` slow, `w` wrong, `d` down.\n";
    std::fs::create_dir_all(path.parent().unwrap_or(&path))?;
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("written: {}", path.display());
    Ok(())
}
