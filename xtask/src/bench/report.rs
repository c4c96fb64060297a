//! The tables: Markdown, for a terminal and for docs/performance.md.

use super::builds::Build;
use super::measure::{Curve, Figures, FlatOut, Life, Measured, Push};
use super::statistics::Rounds;
use crate::table::thousands;

pub(super) const MIB: f64 = 1024.0 * 1024.0;

/// All sections.
pub(super) fn sections(all: &[Measured]) -> String {
    all.iter().map(section).collect()
}

fn section((section, figures): &Measured) -> String {
    let has = |what: fn(&Figures) -> bool| figures.iter().any(what);
    let has_instructions = has(|figures| figures.instructions.is_some());
    let has_wire = has(|figures| figures.line_bytes.is_some() || figures.span_bytes.is_some());
    let mut headings = vec!["contender", "caller", "least to most", "ratio", "other threads", "allocations"];
    if has_instructions {
        headings.push("instructions, caller \\| others");
    }
    if has_wire {
        headings.extend(["bytes a log line", "bytes a span", "lost"]);
    }
    let mut text = format!("\n### {}\n\n{}\n\n", section.title, section.note);
    text += &heads(&headings);
    let first = figures.first();
    for (line, of) in section.lines.iter().zip(figures) {
        let mut cells = vec![
            line.name.clone(),
            time(of.caller_ns.median()),
            spread(&of.caller_ns),
            ratio(of.caller_ns.median(), first.map_or(0.0, |first| first.caller_ns.median())),
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
        text += &row(&cells);
    }
    text
}

/// What was measured with Cargo's default release profile too, all in one table; empty without it.
pub(super) fn default_release(all: &[Measured]) -> String {
    let mut rows = String::new();
    for (section, figures) in all.iter().filter(|(section, _)| section.is_main) {
        let first = figures.first().map_or(0.0, |first| first.default_release_ns.median());
        for (line, of) in section.lines.iter().zip(figures).filter(|(_, of)| !of.default_release_ns.is_empty()) {
            rows += &row(&[
                section.title.to_owned(),
                line.name.clone(),
                time(of.default_release_ns.median()),
                spread(&of.default_release_ns),
                ratio(of.default_release_ns.median(), first),
                time(of.default_release_others_ns.median()),
                ratio(of.default_release_ns.median(), of.caller_ns.median()),
            ]);
        }
    }
    if rows.is_empty() {
        return rows;
    }
    "| operation | contender | caller | least to most | ratio | other threads | caller by the tables above |\n\
     |---|---|---:|---:|---:|---:|---:|\n"
        .to_owned()
        + &rows
}

/// Pushes of many series.
pub(super) fn remote_write(pushes: &[Push]) -> String {
    let has_instructions = pushes.iter().any(|push| push.instructions.is_some());
    let mut headings = vec![
        "contender",
        "CPU of a push",
        "least to most",
        "of a series",
        "bytes a series",
        "requests a push",
        "peak memory",
        "lost",
    ];
    if has_instructions {
        headings.insert(4, "instructions a series");
    }
    let mut text = heads(&headings);
    for push in pushes {
        let (outcome, received) = (&push.run.outcome, &push.run.received);
        let series = push.series.max(1) as f64;
        let mut cells = vec![
            push.name.clone(),
            time(push.worker_ns.median()),
            spread(&push.worker_ns),
            time(push.worker_ns.median() / series),
            number(received.series_bytes as f64 / received.series.max(1) as f64),
            // The last push has a marker for each series besides.
            number(received.series_requests as f64 / (outcome.made + 2) as f64),
            format!("{:.0} MiB", outcome.peak_bytes as f64 / MIB),
            part(push.lost()),
        ];
        if has_instructions {
            cells.insert(4, push.instructions.map_or_else(dash, |count| number(count / series)));
        }
        text += &row(&cells);
    }
    text
}

/// What libraries cost before a program runs.
pub(super) fn builds(builds: &[Build]) -> String {
    let mut text =
        "| library | features | executable | crates | clean build | CPU of that |\n|---|---|---:|---:|---:|---:|\n"
            .to_owned();
    let seconds = |time: std::time::Duration| format!("{:.0} s", time.as_secs_f64());
    for build in builds {
        text += &row(&[
            build.name.clone(),
            build.features.to_owned(),
            format!("{:.1} MiB", build.bytes as f64 / MIB),
            number(build.crates as f64),
            seconds(build.wall),
            build.cpu.map_or_else(dash, seconds),
        ]);
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

/// The first column is text, the others are numbers.
fn heads(headings: &[&str]) -> String {
    let names: Vec<_> = headings.iter().map(|heading| (*heading).to_owned()).collect();
    row(&names) + &format!("|---|{}\n", "---:|".repeat(headings.len().saturating_sub(1)))
}

fn spread(rounds: &Rounds) -> String {
    format!("{} to {}", time(rounds.least()), time(rounds.most()))
}

pub(super) fn row(cells: &[String]) -> String {
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

    #[test]
    fn what_was_built_otherwise_is_a_table_of_its_own_with_the_first_line_as_the_measure() {
        let section = super::super::plan::sections().into_iter().find(|section| section.is_main).unwrap();
        let of = |caller: f64| {
            let mut figures = Figures::default();
            figures.caller_ns.push(100.0);
            figures.default_release_ns.push(caller);
            figures.default_release_others_ns.push(7.0);
            figures
        };
        let names = [section.lines[0].name.clone(), section.lines[1].name.clone()];
        let measured = vec![(section, vec![of(200.0), of(600.0)])];
        let table = default_release(&measured);
        let rows: Vec<_> = table.lines().skip(2).collect();
        assert!(
            rows[0].contains(&names[0]) && rows[0].ends_with("| 200 ns | 200 ns to 200 ns | 1.00 | 7.0 ns | 2.00 |")
        );
        assert!(
            rows[1].contains(&names[1]) && rows[1].ends_with("| 600 ns | 600 ns to 600 ns | 3.00 | 7.0 ns | 6.00 |")
        );
        assert_eq!(rows.len(), 2);
        assert_eq!(default_release(&[(measured[0].0.clone(), vec![Figures::default()])]), "");
    }
}
