//! Runs the lines, in turn: each round has every contender once, so that whatever else the machine does falls on all of them.

use std::path::Path;

use anyhow::Context as _;

use super::Options;
use super::callgrind::{self, Instructions};
use super::plan::{self, FLAT_OUT, Growth, LIVES, Line, Pace, Section};
use super::programs::{Programs, Run};
use super::statistics::Rounds;

/// What was measured of one line.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    pub(super) caller_ns: Rounds,
    pub(super) others_ns: Rounds,
    pub(super) allocations: Option<f64>,
    pub(super) instructions: Option<Instructions>,
    /// Body bytes of a log line and of a span.
    pub(super) line_bytes: Option<f64>,
    pub(super) span_bytes: Option<f64>,
    /// Of the lines or spans that were made in the last round, whichever it sends fewer of.
    pub(super) lost: Option<f64>,
    /// With Cargo's default release profile.
    pub(super) default_release_ns: Rounds,
}

/// A section with its figures, line by line.
pub(super) type Measured = (Section, Vec<Figures>);

/// A contender's costs over the axis of a chart, in nanoseconds.
pub(super) type Curve = (&'static str, Vec<(u64, f64)>);

/// What the measurements need.
pub(super) struct Bench<'a> {
    pub(super) options: &'a Options,
    pub(super) programs: &'a Programs,
    /// The program that counts allocations.
    pub(super) allocations: &'a Programs,
    /// Built with Cargo's default release profile; `None`: not asked for.
    pub(super) default_release: Option<&'a Programs>,
    /// `None`: instructions are not counted.
    pub(super) valgrind: Option<&'a Path>,
}

impl Bench<'_> {
    /// # Errors
    /// If a line cannot be measured.
    pub(super) fn sections(&self, sections: Vec<Section>) -> anyhow::Result<Vec<Measured>> {
        let mut all: Vec<Measured> = sections
            .into_iter()
            .map(|section| {
                let figures = vec![Figures::default(); section.lines.len()];
                (section, figures)
            })
            .collect();
        for round in 1..=self.options.rounds {
            for (section, figures) in &mut all {
                eprintln!("round {round} of {}: {}", self.options.rounds, section.title);
                for (line, figures) in section.lines.iter().zip(figures) {
                    self.once(line, section.is_main, figures).with_context(|| line.name.clone())?;
                }
            }
        }
        for (section, figures) in &mut all {
            eprintln!("allocations and instructions: {}", section.title);
            for (line, figures) in section.lines.iter().zip(figures) {
                let short = Pace { iterations: self.paced(line.pace).iterations.min(5_000), ..self.paced(line.pace) };
                figures.allocations = self.allocations.run(line, short, &[])?.outcome.allocations;
                if section.has_instructions {
                    figures.instructions = self.instructions(line).with_context(|| line.name.clone())?;
                }
            }
        }
        Ok(all)
    }

    fn paced(&self, pace: Pace) -> Pace {
        let divided = |count: u64| count.div_ceil(self.options.divide);
        Pace { iterations: divided(pace.iterations), warm_up: divided(pace.warm_up), ..pace }
    }

    fn once(&self, line: &Line, is_main: bool, figures: &mut Figures) -> anyhow::Result<()> {
        let pace = self.paced(line.pace);
        let run = self.programs.run(line, pace, &[])?;
        figures.caller_ns.push(run.outcome.caller_ns);
        figures.others_ns.push(run.outcome.others_ns);
        (figures.line_bytes, figures.span_bytes, figures.lost) = wire(line, &run);
        if is_main && let Some(programs) = self.default_release {
            figures.default_release_ns.push(programs.run(line, pace, &[])?.outcome.caller_ns);
        }
        Ok(())
    }

    fn instructions(&self, line: &Line) -> anyhow::Result<Option<Instructions>> {
        let Some(valgrind) = self.valgrind else { return Ok(None) };
        let is_local = line.pace.pause_ms == 0;
        let (short, long) = if is_local { (10_000, 60_000) } else { (1_024, 3_072) };
        let run = |iterations| {
            let folder = tempfile::tempdir().context("no scratch folder")?;
            let arguments = callgrind::arguments(folder.path());
            let mut above = vec![valgrind.to_string_lossy().into_owned()];
            above.extend(arguments);
            let above: Vec<&str> = above.iter().map(String::as_str).collect();
            // Everything is fifty times slower: so are the pauses longer.
            let pause_ms = if is_local { 0 } else { 60 };
            self.programs.run_under(&above, line, Pace { iterations, pause_ms, ..line.pace }, &[])?;
            callgrind::totals(folder.path())
        };
        Ok(Some(Instructions::of_one(run(short)?, run(long)?, long - short)))
    }

    /// The curves of one chart: medians of the caller's CPU time.
    ///
    /// # Errors
    /// If a point cannot be measured.
    pub(super) fn growth(&self, growth: &Growth) -> anyhow::Result<Vec<Curve>> {
        eprintln!("chart: {}", growth.title);
        let mut rounds: Vec<Vec<Rounds>> =
            growth.curves.iter().map(|(_, points)| vec![Rounds::default(); points.len()]).collect();
        for _ in 0..self.options.rounds {
            for ((_, points), rounds) in growth.curves.iter().zip(&mut rounds) {
                for ((_, line), rounds) in points.iter().zip(rounds) {
                    let run = self.programs.run(line, self.paced(line.pace), &[])?;
                    rounds.push(run.outcome.caller_ns);
                }
            }
        }
        let curves = growth.curves.iter().zip(rounds).map(|((name, points), rounds)| {
            let points = points.iter().zip(rounds).map(|((at, _), rounds)| (*at, rounds.median()));
            (*name, points.collect())
        });
        Ok(curves.collect())
    }

    /// Flat out, by one thread and by two.
    ///
    /// # Errors
    /// If a run cannot be made.
    pub(super) fn flat_out(&self) -> anyhow::Result<Vec<FlatOut>> {
        let mut runs = Vec::new();
        for threads in [1, 2] {
            for (name, contender, operation, items) in FLAT_OUT {
                eprintln!("flat out, {threads} thread(s): {name}");
                let iterations = (items / u64::from(threads)).div_ceil(self.options.divide);
                let pace = Pace { iterations, warm_up: 1_000, burst: iterations, pause_ms: 0 };
                let line = plan::Line::flat_out(name, contender, operation, threads, pace);
                let run = self.programs.run(&line, pace, &["--blocking"])?;
                let items = arrived(&line, &run).unwrap_or(0);
                runs.push(FlatOut { name: (*name).to_owned(), threads, arrived: items, run });
            }
        }
        Ok(runs)
    }

    /// Start, flush of an empty pipeline, end, and rest.
    ///
    /// # Errors
    /// If a run cannot be made.
    pub(super) fn lives(&self) -> anyhow::Result<Vec<Life>> {
        let mut lives: Vec<Life> =
            LIVES.iter().map(|(name, _)| Life { name: (*name).to_owned(), ..Life::default() }).collect();
        for _ in 0..self.options.rounds {
            for ((_, contender), life) in LIVES.iter().zip(&mut lives) {
                let pace = Pace { iterations: 1, warm_up: 0, burst: 1, pause_ms: 0 };
                let run = self.programs.run(&Line::life(contender, "lifecycle"), pace, &[])?.outcome;
                life.start_ms.push(run.start_seconds * 1e3);
                if let Some(flush) = run.flush_seconds {
                    life.flush_ms.push(flush * 1e3);
                }
                life.shutdown_ms.push(run.shutdown_seconds * 1e3);
            }
        }
        for ((_, contender), life) in LIVES.iter().zip(&mut lives) {
            let pace = Pace { iterations: 1, warm_up: 0, burst: 1, pause_ms: 0 };
            let run = self.programs.run(&Line::life(contender, "idle"), pace, &[])?.outcome;
            life.wake_ups_per_second = run.wake_ups_per_second;
            life.resident_bytes = run.resident_bytes;
        }
        Ok(lives)
    }
}

/// One run without pauses.
#[derive(Debug, Clone)]
pub(super) struct FlatOut {
    pub(super) name: String,
    pub(super) threads: u32,
    pub(super) arrived: u64,
    pub(super) run: Run,
}

/// How one contender begins, rests and ends.
#[derive(Debug, Clone, Default)]
pub(super) struct Life {
    pub(super) name: String,
    pub(super) start_ms: Rounds,
    pub(super) flush_ms: Rounds,
    pub(super) shutdown_ms: Rounds,
    pub(super) wake_ups_per_second: Option<f64>,
    pub(super) resident_bytes: u64,
}

/// Bytes of a line and of a span, and the part of what was made that did not come; `None` for what it does not send.
fn wire(line: &Line, run: &Run) -> (Option<f64>, Option<f64>, Option<f64>) {
    let received = &run.received;
    let each = |bytes: u64, items: u64| (items > 0).then(|| bytes as f64 / items as f64);
    let lost =
        arrived(line, run).map(|items| run.outcome.made.saturating_sub(items) as f64 / run.outcome.made.max(1) as f64);
    let line_bytes = each(received.line_bytes, received.lines);
    // An event may be in a span that stays open: that one span is not what is measured.
    let span_bytes = if line.makes_spans() { each(received.span_bytes, received.spans) } else { None };
    (line_bytes, span_bytes, lost)
}

/// How many of the operations arrived whole; `None` where not all are sent on purpose, or nothing is.
pub(super) fn arrived(line: &Line, run: &Run) -> Option<u64> {
    let (lines, spans) = (run.received.lines, run.received.spans);
    if line.contender == "lgtm-production" {
        return None;
    }
    let kinds = if line.makes_spans() { [lines, spans] } else { [lines, 0] };
    kinds.into_iter().filter(|items| *items > 0).min()
}

/// The lines of lgtm of which something was lost.
pub(super) fn lossy(all: &[Measured]) -> Vec<&str> {
    let lines = all.iter().flat_map(|(section, figures)| section.lines.iter().zip(figures));
    let ours = lines
        .filter(|(line, figures)| line.contender.starts_with("lgtm") && figures.lost.is_some_and(|lost| lost > 0.0));
    ours.map(|(line, _)| line.name.as_str()).collect()
}
