//! The development stack's window with a full store: the tables of one run of the package's program `window`.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::report::{MIB, row};
use crate::table::thousands;

/// What the program says.
#[derive(Debug, Deserialize)]
pub(super) struct Outcome {
    mebibytes: usize,
    resident_before: u64,
    resident_full: u64,
    ingest: Vec<Ingest>,
    pages: Vec<Page>,
    held: Held,
}

#[derive(Debug, Deserialize)]
struct Ingest {
    name: String,
    items: u64,
    bytes: u64,
    seconds: f64,
    cpu_seconds: f64,
}

#[derive(Debug, Deserialize)]
struct Page {
    name: String,
    first_ms: f64,
    median_ms: f64,
    slowest_ms: f64,
    bytes: u64,
}

#[derive(Debug, Deserialize)]
struct Held {
    lines: u64,
    spans: u64,
    samples: u64,
    series: u64,
    bytes: u64,
}

/// Fills a store of so many MiB a signal with so many items of each, and asks each page so often.
///
/// # Errors
/// If the program does not start, fails, or says something else.
pub(super) fn measure(program: &Path, mebibytes: u64, items: u64, asks: u64) -> anyhow::Result<Outcome> {
    let [mebibytes, items, asks] = [mebibytes, items, asks].map(|number| number.to_string());
    let mut command = Command::new(program);
    command.args(["--mebibytes", &mebibytes, "--items", &items, "--asks", &asks]);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    if !output.status.success() {
        bail!("{}: {}", program.display(), output.status);
    }
    let said = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&said).with_context(|| format!("{} says `{said}`", program.display()))
}

/// The tables of stores of several sizes.
pub(super) fn tables(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        let Outcome { mebibytes, resident_before, resident_full, held, .. } = outcome;
        text += &format!(
            "A store of {mebibytes} MiB a signal holds {} log lines, {} spans, {} samples of {} series, by its own estimate in {:.0} MiB; the \
             process has {:.0} MiB resident, {:.0} MiB before.\n\n",
            thousands(held.lines),
            thousands(held.spans),
            thousands(held.samples),
            thousands(held.series),
            held.bytes as f64 / MIB,
            *resident_full as f64 / MIB,
            *resident_before as f64 / MIB,
        );
        text += "| what comes in | items a second | CPU an item | bytes an item |\n|---|---:|---:|---:|\n";
        for way in &outcome.ingest {
            let items = way.items as f64;
            text += &row(&[
                way.name.clone(),
                thousands((items / way.seconds) as u64),
                format!("{:.2} µs", way.cpu_seconds / items * 1e6),
                format!("{:.0}", way.bytes as f64 / items),
            ]);
        }
        text += "\n| what a page asks | first | median | slowest | bytes |\n|---|---:|---:|---:|---:|\n";
        for page in &outcome.pages {
            let milliseconds = |time: f64| format!("{time:.1} ms");
            text += &row(&[
                page.name.clone(),
                milliseconds(page.first_ms),
                milliseconds(page.median_ms),
                milliseconds(page.slowest_ms),
                thousands(page.bytes),
            ]);
        }
        text += "\n";
    }
    text.trim_end().to_owned() + "\n"
}
