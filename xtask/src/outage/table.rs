//! The table, for a terminal and for docs/measurements: Markdown.

use anyhow::Context as _;

use super::{Contender, Fate, Options, Outcome};
use crate::cargo;
use crate::table::thousands;

const MIB: f64 = 1024.0 * 1024.0;

/// The table with what is to be known about it.
pub(super) fn text(options: &Options, outcomes: &[Outcome]) -> String {
    let mut text = "| library | events created | received | lost | counted by itself | spans created | received | lost | \
                    counted by itself | received twice | peak memory above idle | caller's CPU, span with 5 events | \
                    load took | caught up after | shutdown |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for outcome in outcomes {
        let [events, spans] = [Some(outcome.events), outcome.spans].map(cells);
        text += &format!(
            "| {} | {events} | {spans} | {} | {:.1} MiB | {:.1} µs | {:.1} s | {:.1} s | {:.2} s |\n",
            name(outcome.contender),
            thousands(outcome.copies),
            outcome.peak_bytes.saturating_sub(outcome.idle_bytes) as f64 / MIB,
            outcome.caller_nanoseconds / 1000.0,
            outcome.load_seconds,
            outcome.caught_up_seconds,
            outcome.shutdown_seconds,
        );
    }
    text += &notes(options);
    for outcome in outcomes.iter().filter(|outcome| !outcome.problems.is_empty()) {
        text += &format!("\n{}: {}\n", outcome.contender.word(), outcome.problems.join("; "));
    }
    text
}

fn notes(options: &Options) -> String {
    let events = u64::from(options.spans_per_second) * 5;
    format!(
        "\n{} events/s, five in each of {} spans/s, on one thread; all backends gone for {} (connections refused), back \
         for at most {} after the load. A server on the same machine knows every item by its number. Memory is resident \
         memory; caught up: from the return of the backends to the last item, the load's own end included. What drops more spends less on the caller.\n",
        thousands(events),
        thousands(options.spans_per_second.into()),
        humantime::format_duration(options.length),
        humantime::format_duration(options.drain),
    )
}

fn name(contender: Contender) -> &'static str {
    match contender {
        Contender::Lgtm => "lgtm, default (64 MiB)",
        Contender::LgtmSpool => "lgtm, with a spool",
        Contender::TracingLoki => "tracing-loki 0.2.7 (events only)",
        Contender::OpentelemetryOtlp => {
            "opentelemetry-otlp 0.33.1, HTTP, default (queue of 2,048 spans); events in spans"
        }
        Contender::OpentelemetryOtlpLargeQueue => {
            "opentelemetry-otlp 0.33.1, HTTP, queue of 262,144 spans; events in spans"
        }
    }
}

fn cells(fate: Option<Fate>) -> String {
    let Some(fate) = fate else { return "— | — | — | —".to_owned() };
    let counted = fate.counted.map_or_else(|| "nothing".to_owned(), thousands);
    format!("{} | {} | {} | {counted}", thousands(fate.created), thousands(fate.received), thousands(fate.lost()))
}

/// Writes docs/measurements/outage.md.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn write(options: &Options, outcomes: &[Outcome]) -> anyhow::Result<()> {
    let path = cargo::workspace_root().join("docs").join("measurements").join("outage.md");
    let length = humantime::format_duration(options.length).to_string().replace(' ', "");
    let text = format!(
        "# An outage of all backends\n\nWritten by `cargo xtask outage --for {length} --write`, on a shared machine of {} cores, \
         contenders built with the profile `{}`. Each is set up as its own documentation shows. Times of the caller are \
         good for comparison within this table alone.\n\n{}",
        std::thread::available_parallelism().map_or(0, usize::from),
        options.profile,
        text(options, outcomes)
    );
    std::fs::create_dir_all(path.parent().unwrap_or(&path))?;
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("written: {}", path.display());
    Ok(())
}
