//! Runs the lines, in turn: each round has every contender once, so that whatever else the machine does falls on all of them.

use std::path::Path;

use anyhow::{Context as _, anyhow};

use super::Options;
use super::callgrind::{self, Instructions};
use super::plan::{self, Cost, FLAT_OUT, Growth, LIVES, Line, PUSHED_SERIES, Pace, REMOTE_WRITE, Section};
use super::programs::{Programs, Run};
use super::statistics::Rounds;

/// Pauses between bursts under callgrind, in milliseconds.
const PAUSES_MS: [u64; 2] = [60, 240];

/// Instructions of a push are counted with this part of the series: more take minutes.
const COUNTED_PART: usize = 10;

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
    /// With Cargo's default release profile: caller and other threads.
    pub(super) default_release_ns: Rounds,
    pub(super) default_release_others_ns: Rounds,
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
            let outcome = programs.run(line, pace, &[])?.outcome;
            figures.default_release_ns.push(outcome.caller_ns);
            figures.default_release_others_ns.push(outcome.others_ns);
        }
        Ok(())
    }

    fn instructions(&self, line: &Line) -> anyhow::Result<Option<Instructions>> {
        let Some(valgrind) = self.valgrind else { return Ok(None) };
        let is_local = line.pace.pause_ms == 0;
        let (short, long) = match (line.operation, is_local) {
            ("remote-write", _) => (1, 4),
            (_, true) => (10_000, 60_000),
            (_, false) => (1_024, 3_072),
        };
        // Everything is fifty times slower: so are the pauses longer, at the second attempt so long that nothing is lost.
        let pauses: &[u64] = if is_local { &[0] } else { &PAUSES_MS };
        let mut counted = None;
        for pause_ms in pauses {
            let pace = |iterations| Pace { iterations, pause_ms: *pause_ms, ..line.pace };
            // Both at once: instructions do not mind who else is there.
            let (short, long) = std::thread::scope(|scope| {
                let beside = scope.spawn(|| self.count(valgrind, line, pace(short)));
                let long = self.count(valgrind, line, pace(long));
                (beside.join().unwrap_or_else(|_| Err(anyhow!("the thread that measures has panicked"))), long)
            });
            let ((short, short_run), (long, long_run)) = (short?, long?);
            // Those before each burst are made and counted too.
            let more = long_run.outcome.made.saturating_sub(short_run.outcome.made);
            counted = Some(Instructions::of_one(short, long, more));
            if [short_run, long_run].iter().all(|run| wire(line, run).2.is_none_or(|lost| lost <= 0.0)) {
                break;
            }
        }
        Ok(counted)
    }

    /// One run under callgrind.
    fn count(&self, valgrind: &Path, line: &Line, pace: Pace) -> anyhow::Result<(Instructions, Run)> {
        let folder = tempfile::tempdir().context("no scratch folder")?;
        let mut above = vec![valgrind.to_string_lossy().into_owned()];
        above.extend(callgrind::arguments(folder.path()));
        let above: Vec<&str> = above.iter().map(String::as_str).collect();
        let run = self.programs.run_under(&above, line, pace, &[])?;
        Ok((callgrind::totals(folder.path())?, run))
    }

    /// Pushes of many series, which the caller waits for.
    ///
    /// # Errors
    /// If a run cannot be made.
    pub(super) fn remote_write(&self) -> anyhow::Result<Vec<Push>> {
        let series = PUSHED_SERIES.div_ceil(usize::try_from(self.options.divide)?);
        let line = |name, contender| Line::push(name, contender, series);
        let mut pushes: Vec<Push> =
            REMOTE_WRITE.iter().map(|(name, _)| Push { name: (*name).to_owned(), series, ..Push::default() }).collect();
        for round in 1..=self.options.rounds {
            eprintln!("round {round} of {}: remote write of {series} series", self.options.rounds);
            for ((name, contender), push) in REMOTE_WRITE.iter().zip(&mut pushes) {
                let line = line(name, contender);
                let run = self.programs.run(&line, line.pace, &[])?;
                push.worker_ns.push(run.outcome.others_ns);
                push.run = run;
            }
        }
        for ((name, contender), push) in REMOTE_WRITE.iter().zip(&mut pushes) {
            let counted = Line::push(name, contender, series / COUNTED_PART);
            let counts = self.instructions(&counted).with_context(|| counted.name.clone())?;
            push.instructions = counts.map(|counts| counts.others * COUNTED_PART as f64);
        }
        Ok(pushes)
    }

    /// The curves of one chart: medians.
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
                    let size = line.size.div_ceil(usize::try_from(self.options.divide)?);
                    let line = &Line { size, ..line.clone() };
                    let run = self.programs.run(line, self.paced(line.pace), &[])?;
                    rounds.push(match growth.cost {
                        Cost::Caller => run.outcome.caller_ns,
                        Cost::Others => of_arrived(line, &run),
                    });
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

/// Pushes of one contender.
#[derive(Debug, Clone, Default)]
pub(super) struct Push {
    pub(super) name: String,
    pub(super) series: usize,
    /// CPU time of all threads but the caller, for one push.
    pub(super) worker_ns: Rounds,
    /// Of the same, for one push, as counted with a part of the series.
    pub(super) instructions: Option<f64>,
    /// The last round.
    pub(super) run: Run,
}

impl Push {
    /// Of the series of all pushes, the part that did not come. At the end there is one push more, and a marker for each series.
    pub(super) fn lost(&self) -> f64 {
        let sent = (self.run.outcome.made + 2) * self.series as u64;
        sent.saturating_sub(self.run.received.series) as f64 / sent.max(1) as f64
    }
}

/// CPU time of all threads but the caller by the items that arrived: to drop an item costs less than to send it.
fn of_arrived(line: &Line, run: &Run) -> f64 {
    let arrived = arrived(line, run).unwrap_or(run.outcome.made);
    run.outcome.others_ns * run.outcome.made as f64 / arrived.max(1) as f64
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
pub(super) fn lossy<'a>(all: &'a [Measured], pushes: &'a [Push]) -> Vec<&'a str> {
    let lines = all.iter().flat_map(|(section, figures)| section.lines.iter().zip(figures));
    let ours = lines
        .filter(|(line, figures)| line.contender.starts_with("lgtm") && figures.lost.is_some_and(|lost| lost > 0.0));
    let ours = ours.map(|(line, _)| line.name.as_str());
    ours.chain(pushes.iter().filter(|push| push.lost() > 0.0).map(|push| push.name.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::programs::{Outcome, Received};

    #[test]
    fn a_push_has_lost_what_is_missing_of_all_pushes_and_the_markers_of_the_end() {
        let of = |received| {
            let outcome = Outcome { made: 3, ..Outcome::default() };
            let run = Run { outcome, received: Received { series: received, ..Received::default() } };
            Push { series: 100, run, ..Push::default() }
        };
        // The program's own series come besides.
        assert!((of(530).lost() - 0.0).abs() < f64::EPSILON);
        assert!((of(400).lost() - 0.2).abs() < f64::EPSILON);
        assert_eq!(lossy(&[], &[Push { name: "pushes".to_owned(), ..of(400) }]), ["pushes"]);
    }

    #[test]
    fn the_worker_is_divided_by_what_arrived() {
        let line = Line::flat_out("", "opentelemetry-http", "span-event", 1, Pace::default());
        let outcome = Outcome { made: 1_000, others_ns: 30.0, ..Outcome::default() };
        let run = Run { outcome, received: Received { spans: 500, ..Received::default() } };
        assert!((of_arrived(&line, &run) - 60.0).abs() < f64::EPSILON);
    }
}
