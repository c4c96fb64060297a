//! The tables: Markdown, for a terminal and for docs/performance.md.

use super::measure::{Curve, Figures, FlatOut, Life, Measured};
use super::statistics::Rounds;
use crate::table::thousands;

const MIB: f64 = 1024.0 * 1024.0;

/// All sections.
pub(super) fn sections(all: &[Measured]) -> String {
    all.iter().map(section).collect()
}

fn section((section, figures): &Measured) -> String {
    let has = |what: fn(&Figures) -> bool| figures.iter().any(what);
    let has_instructions = has(|figures| figures.instructions.is_some());
    let has_default = has(|figures| !figures.default_release_ns.is_empty());
    let has_wire = has(|figures| figures.line_bytes.is_some() || figures.span_bytes.is_some());
    let mut headings = vec!["contender", "caller", "least to most", "ratio", "other threads", "allocations"];
    if has_instructions {
        headings.push("instructions, caller \\| others");
    }
    if has_wire {
        headings.extend(["bytes a log line", "bytes a span", "lost"]);
    }
    if has_default {
        headings.extend(["caller, default release profile", "ratio"]);
    }
    let mut text = format!("\n### {}\n\n{}\n\n", section.title, section.note);
    text += &row(&headings.iter().map(|heading| (*heading).to_owned()).collect::<Vec<_>>());
    text += &format!("|---|{}\n", "---:|".repeat(headings.len() - 1));
    let first = figures.first();
    for (line, of) in section.lines.iter().zip(figures) {
        let ratio = |of: &Rounds, first: Option<&Rounds>| ratio(of.median(), first.map_or(0.0, Rounds::median));
        let mut cells = vec![
            line.name.clone(),
            time(of.caller_ns.median()),
            format!("{} to {}", time(of.caller_ns.least()), time(of.caller_ns.most())),
            ratio(&of.caller_ns, first.map(|first| &first.caller_ns)),
            time(of.others_ns.median()),
            of.allocations.map_or_else(dash, number),
        ];
        if has_instructions {
            let counted = |counts: super::callgrind::Instructions| {
                format!("{} \\| {}", number(counts.caller), number(counts.others.max(0.0)))
            };
            cells.push(of.instructions.map_or_else(dash, counted));
        }
        if has_wire {
            cells.extend([of.line_bytes.map_or_else(dash, number), of.span_bytes.map_or_else(dash, number)]);
            cells.push(of.lost.map_or_else(dash, part));
        }
        if has_default {
            cells.push(time(of.default_release_ns.median()));
            cells.push(ratio(&of.default_release_ns, first.map(|first| &first.default_release_ns)));
        }
        text += &row(&cells);
    }
    text
}

/// What comes through flat out.
pub(super) fn flat_out(runs: &[FlatOut]) -> String {
    let mut text = "| contender | threads | made | received | lost | received a second | CPU of an item, caller \\| others | peak memory |\n\
                    |---|---:|---:|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for FlatOut { name, threads, arrived, run } in runs {
        let outcome = &run.outcome;
        let seconds = outcome.load_seconds + outcome.shutdown_seconds;
        text += &row(&[
            name.clone(),
            threads.to_string(),
            number(outcome.made as f64),
            number(*arrived as f64),
            part(outcome.made.saturating_sub(*arrived) as f64 / outcome.made.max(1) as f64),
            number(*arrived as f64 / seconds.max(f64::EPSILON)),
            format!("{} \\| {}", time(outcome.caller_ns), time(outcome.others_ns)),
            format!("{:.0} MiB", outcome.peak_bytes as f64 / MIB),
        ]);
    }
    text
}

/// Start, rest and end.
pub(super) fn lives(lives: &[Life]) -> String {
    let mut text = "| contender | start | flush of nothing | shutdown | wake-ups a second | resident |\n\
                    |---|---:|---:|---:|---:|---:|\n"
        .to_owned();
    let milliseconds = |rounds: &Rounds| {
        if rounds.is_empty() { dash() } else { format!("{:.2} ms", rounds.median()) }
    };
    for life in lives {
        text += &row(&[
            life.name.clone(),
            milliseconds(&life.start_ms),
            milliseconds(&life.flush_ms),
            milliseconds(&life.shutdown_ms),
            life.wake_ups_per_second.map_or_else(dash, |count| format!("{count:.1}")),
            format!("{:.1} MiB", life.resident_bytes as f64 / MIB),
        ]);
    }
    text
}

/// The points of a chart.
pub(super) fn curves(axis: &str, curves: &[Curve]) -> String {
    let Some((_, first)) = curves.first() else { return String::new() };
    let mut headings = vec![axis.to_owned()];
    headings.extend(first.iter().map(|(at, _)| number(*at as f64)));
    let mut text = row(&headings) + &format!("|---|{}\n", "---:|".repeat(first.len()));
    for (name, points) in curves {
        let mut cells = vec![(*name).to_owned()];
        cells.extend(points.iter().map(|(_, cost)| time(*cost)));
        text += &row(&cells);
    }
    text
}

fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn dash() -> String {
    "—".to_owned()
}

fn ratio(value: f64, of: f64) -> String {
    let ratio = value / of;
    if !ratio.is_finite() {
        return dash();
    }
    if ratio < 10.0 { format!("{ratio:.2}") } else { format!("{ratio:.0}") }
}

/// Nanoseconds, in the unit that fits.
fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        large if large >= 1e6 => format!("{:.1} ms", large / 1e6),
        middle if middle >= 1e4 => format!("{:.1} µs", middle / 1e3),
        small if small >= 100.0 => format!("{small:.0} ns"),
        tiny => format!("{tiny:.1} ns"),
    }
}

/// A count, its thousands grouped; with a decimal where it is small and not whole.
fn number(value: f64) -> String {
    if value < 100.0 && (value - value.round()).abs() > 0.02 {
        return format!("{value:.1}");
    }
    thousands(value.abs().round() as u64)
}

fn part(part: f64) -> String {
    if part <= 0.0 { "0".to_owned() } else { format!("{:.1} %", part * 100.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_say_their_unit() {
        assert_eq!([4.62, 230.4, 12_300.0, 259e6].map(time), ["4.6 ns", "230 ns", "12.3 µs", "259.0 ms"]);
        assert_eq!([0.0, 0.5, 19.0, 2_500_000.0].map(number), ["0", "0.5", "19", "2,500,000"]);
        assert_eq!([ratio(5.0, 2.0), ratio(50.0, 2.0), ratio(1.0, 0.0)], ["2.50", "25", "—"]);
        assert_eq!([part(0.0), part(0.034)], ["0", "3.4 %"]);
    }
}
