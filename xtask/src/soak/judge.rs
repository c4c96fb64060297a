//! Whether the program kept its promises. Each finding has its figure, and what is wrong with it if something is.

use serde::Serialize;

use super::program::{EVENTS, SPANS};
use super::sample::{Counts, Sample};
use crate::receiver::{Backend, Tally};

/// lgtm's memory budget, as it is by default.
const BUDGET: u64 = 64 * MIB;
const MIB: u64 = 1024 * 1024;
/// What a program may have beside the budget: connections, requests under way, the allocator's holes.
const BESIDE_BUDGET: u64 = 16 * MIB;
/// What an item of this load takes in a queue, about.
const BYTES_OF_AN_ITEM: u64 = 400;
/// By how much a line through the second half of the run may rise: memory.
const FLAT_BYTES: f64 = 8.0 * MIB as f64;
/// The same: file descriptors.
const FLAT_DESCRIPTORS: f64 = 4.0;
/// Descriptors that are open when all is delivered, beyond those of the idle program: two idle connections to each backend, and a file
/// that each spool still writes.
const LEFT_DESCRIPTORS: u64 = 12;
const LEFT_THREADS: u64 = 4;

/// One promise.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) promise: &'static str,
    pub(super) figure: String,
    pub(super) problem: Option<String>,
}

pub(super) fn judge(samples: &[Sample], tallies: &[Tally; 3], with_spool: bool) -> Vec<Finding> {
    let (Some(idle), Some(last)) = (samples.first(), samples.last()) else {
        return vec![finding("samples", "none".to_owned(), vec!["the program has said nothing".to_owned()])];
    };
    let mut findings = vec![always(samples), ended(last)];
    findings.push(server_agrees(last, tallies));
    findings.push(nothing_vanished(last, tallies));
    findings.push(copies(tallies));
    let losses: Vec<String> =
        Backend::ALL.iter().flat_map(|backend| losses(*backend, &last.counts(*backend))).collect();
    let figure = if losses.is_empty() { "0".to_owned() } else { losses.join(", ") };
    findings.push(finding("lost on this side", figure, if with_spool { losses } else { Vec::new() }));
    let problems = tallies.iter().flat_map(|tally| tally.problems.iter().cloned()).collect();
    findings.push(finding("requests can be read, series are in order", requests(tallies), problems));
    findings.push(peak(samples, idle));
    let held = most_held(samples);
    findings.push(flat(
        "memory is flat over the second half, but for what waits in it",
        samples,
        |place, sample| sample.resident_bytes as f64 - held.get(place).copied().unwrap_or(0.0),
        FLAT_BYTES,
        |bytes| format!("{:+.2} MiB", bytes / MIB as f64),
    ));
    findings.push(flat(
        "file descriptors are flat over the second half",
        samples,
        |_, sample| sample.descriptors as f64,
        FLAT_DESCRIPTORS,
        |count| format!("{count:+.1}"),
    ));
    findings.push(left(
        "file descriptors after all is delivered",
        (idle.descriptors, last.descriptors),
        LEFT_DESCRIPTORS,
        samples.iter().map(|sample| sample.descriptors).max(),
    ));
    findings.push(left(
        "threads after all is delivered",
        (idle.threads, last.threads),
        LEFT_THREADS,
        samples.iter().map(|sample| sample.threads).max(),
    ));
    findings
}

fn finding(promise: &'static str, figure: String, problems: Vec<String>) -> Finding {
    let more = problems.len().saturating_sub(3);
    let mut shown = problems.iter().take(3).cloned().collect::<Vec<_>>().join("; ");
    if more > 0 {
        shown += &format!("; and {more} more");
    }
    Finding { promise, figure, problem: (!problems.is_empty()).then_some(shown) }
}

fn requests(tallies: &[Tally; 3]) -> String {
    let counts = Backend::ALL.iter().zip(tallies).map(|(backend, tally)| format!("{backend:?} {}", tally.requests));
    counts.collect::<Vec<_>>().join(", ") + " requests"
}

/// What holds at every moment.
fn always(samples: &[Sample]) -> Finding {
    let mut problems = Vec::new();
    for (index, sample) in samples.iter().enumerate() {
        let at = sample.said.seconds;
        for (place, backend) in Backend::ALL.into_iter().enumerate() {
            let signal = backend.signal();
            let Some(counts) = sample.said.report.get(signal) else {
                problems.push(format!("{at:.0} s: no report of {signal}"));
                continue;
            };
            let sum = counts.delivered + counts.rejected + counts.dropped() + counts.pending;
            if counts.admitted != sum {
                problems.push(format!("{at:.0} s: {} {signal} admitted, {sum} accounted for", counts.admitted));
            }
            if counts.spooled > counts.pending {
                problems.push(format!("{at:.0} s: {} {signal} on disk, {} pending", counts.spooled, counts.pending));
            }
            if counts.delivered > sample.answered[place] {
                let answered = sample.answered[place];
                problems.push(format!("{at:.0} s: {} {signal} delivered, {answered} answered", counts.delivered));
            }
            let before = index.checked_sub(1).and_then(|before| samples.get(before));
            if let Some(before) = before.map(|before| before.counts(backend)) {
                let fell = before.admitted > counts.admitted
                    || before.delivered > counts.delivered
                    || before.rejected > counts.rejected
                    || before.dropped() > counts.dropped();
                if fell {
                    problems.push(format!("{at:.0} s: a count of {signal} fell: {before:?}, then {counts:?}"));
                }
            }
            let each = match backend {
                Backend::Loki => EVENTS,
                Backend::Tempo => SPANS,
                Backend::Mimir => continue,
            };
            let made = sample.said.ended * each..=sample.said.begun * each;
            if !made.contains(&counts.admitted) {
                problems.push(format!("{at:.0} s: {} {signal} admitted, {made:?} made", counts.admitted));
            }
        }
    }
    finding(
        "admitted = delivered + rejected + dropped + pending",
        format!("at each of {} samples", samples.len()),
        problems,
    )
}

fn ended(last: &Sample) -> Finding {
    let mut problems = Vec::new();
    let mut figures = Vec::new();
    for backend in Backend::ALL {
        let Counts { admitted, pending, .. } = last.counts(backend);
        figures.push(format!("{admitted} {}", backend.signal()));
        if pending > 0 {
            problems.push(format!("{pending} {} are pending", backend.signal()));
        }
    }
    let shutdown = last.said.shutdown_seconds.unwrap_or_default();
    finding("all is settled at the end", format!("{}; shutdown in {shutdown:.2} s", figures.join(", ")), problems)
}

/// lgtm's counts are those of the answers that it got.
fn server_agrees(last: &Sample, tallies: &[Tally; 3]) -> Finding {
    let mut problems = Vec::new();
    let mut figures = Vec::new();
    for (backend, tally) in Backend::ALL.into_iter().zip(tallies) {
        let (counts, signal) = (last.counts(backend), backend.signal());
        let delivered = tally.delivered..=tally.delivered + tally.doubtful;
        if !delivered.contains(&counts.delivered) {
            problems.push(format!("{} {signal} delivered, the server says {delivered:?}", counts.delivered));
        }
        let refused = tally.refused..=tally.refused + tally.unclear;
        if !refused.contains(&counts.rejected) {
            problems.push(format!("{} {signal} rejected, the server says {refused:?}", counts.rejected));
        }
        figures.push(format!("{signal} {} + {}", counts.delivered, counts.rejected));
    }
    finding("delivered and rejected are what the server says", figures.join(", "), problems)
}

/// Whatever was made is on the server, or counted as lost.
fn nothing_vanished(last: &Sample, tallies: &[Tally; 3]) -> Finding {
    let mut problems = Vec::new();
    let mut figures = Vec::new();
    for (backend, tally) in Backend::ALL.into_iter().zip(tallies) {
        let (counts, signal) = (last.counts(backend), backend.signal());
        let missing = counts.admitted.saturating_sub(tally.unique());
        let lost = counts.rejected + counts.dropped();
        if missing > lost + counts.pending {
            problems.push(format!("{missing} {signal} are not on the server, {lost} are counted as lost"));
        }
        if tally.unique() > counts.admitted {
            problems.push(format!("{} {signal} on the server, {} admitted", tally.unique(), counts.admitted));
        }
        if tally.unique() > counts.delivered + tally.unheard {
            let unheard = tally.unheard;
            problems.push(format!(
                "{} {signal} on the server, {} delivered, and {unheard} more that lgtm did not hear of",
                tally.unique(),
                counts.delivered
            ));
        }
        if backend != Backend::Mimir && tally.others() > 0 {
            problems.push(format!("{} {signal} on the server have no number", tally.others()));
        }
        figures.push(format!("{signal} {}", tally.unique()));
    }
    finding("made = on the server + counted as lost", figures.join(", "), problems)
}

fn copies(tallies: &[Tally; 3]) -> Finding {
    let mut problems = Vec::new();
    let mut figures = Vec::new();
    for (backend, tally) in Backend::ALL.into_iter().zip(tallies) {
        let (copies, unheard) = (tally.copies(), tally.unheard);
        if copies > unheard {
            problems.push(format!("{copies} {} came again, {unheard} had a reason to", backend.signal()));
        }
        figures.push(format!("{} {copies} of {unheard}", backend.signal()));
    }
    finding("copies are explained by answers that were lost", figures.join(", "), problems)
}

fn losses(backend: Backend, counts: &Counts) -> Vec<String> {
    counts.dropped.iter().map(|(reason, count)| format!("{count} {} ({reason})", backend.signal())).collect()
}

fn peak(samples: &[Sample], idle: &Sample) -> Finding {
    let peak = samples.iter().map(|sample| sample.resident_bytes).max().unwrap_or(0);
    let above = peak.saturating_sub(idle.resident_bytes);
    let bound = BUDGET + BESIDE_BUDGET;
    let mib = |bytes: u64| bytes as f64 / MIB as f64;
    let figure =
        format!("{:.1} MiB above idle ({:.1} MiB); bound {:.0}", mib(above), mib(idle.resident_bytes), mib(bound));
    let problem = (above > bound).then(|| format!("{:.1} MiB above idle", mib(above)));
    finding("memory stays within the budget + 16 MiB", figure, problem.into_iter().collect())
}

fn left(promise: &'static str, (idle, last): (u64, u64), more: u64, most: Option<u64>) -> Finding {
    let figure = format!("{last} (idle: {idle}, at most {}); bound: idle + {more}", most.unwrap_or(last));
    let problem = (last > idle + more).then(|| format!("{last} are left, {idle} at the start"));
    finding(promise, figure, problem.into_iter().collect())
}

fn flat(
    promise: &'static str,
    samples: &[Sample],
    value: impl Fn(usize, &Sample) -> f64,
    bound: f64,
    shown: impl Fn(f64) -> String,
) -> Finding {
    let is_loaded = |sample: &Sample| !sample.said.is_over && sample.said.seconds > 0.0;
    let loaded: Vec<_> = samples.iter().enumerate().filter(|(_, sample)| is_loaded(sample)).collect();
    let half = loaded.get(loaded.len() / 2..).unwrap_or_default();
    let points: Vec<_> = half.iter().map(|(place, sample)| (sample.said.seconds, value(*place, sample))).collect();
    let seconds = points.last().map_or(0.0, |last| last.0) - points.first().map_or(0.0, |first| first.0);
    let rise = slope(&points) * seconds;
    let figure = format!("{} in {seconds:.0} s; bound {}", shown(rise), shown(bound));
    let problem = (rise > bound).then(|| format!("it rises by {}", shown(rise)));
    finding(promise, figure, problem.into_iter().collect())
}

/// Bytes of the most items that have waited in memory up to each sample: an allocator gives back little of what was once in use. What
/// they take is bounded by the budget, which the peak is measured by.
fn most_held(samples: &[Sample]) -> Vec<f64> {
    let in_memory = |sample: &Sample| {
        let counts = Backend::ALL.map(|backend| sample.counts(backend));
        counts.iter().map(|counts| counts.pending.saturating_sub(counts.spooled)).sum::<u64>()
    };
    let most = samples.iter().scan(0, |most, sample| {
        *most = in_memory(sample).max(*most);
        Some((*most * BYTES_OF_AN_ITEM).min(BUDGET) as f64)
    });
    most.collect()
}

/// The median of the slopes between all pairs of points (Theil and Sen): what a few peaks do not move.
fn slope(points: &[(f64, f64)]) -> f64 {
    // At most half a million pairs.
    let step = points.len().div_ceil(1_000).max(1);
    let points: Vec<&(f64, f64)> = points.iter().step_by(step).collect();
    let mut slopes = Vec::new();
    for (index, one) in points.iter().enumerate() {
        for other in points.iter().skip(index + 1).filter(|other| other.0 > one.0) {
            slopes.push((other.1 - one.1) / (other.0 - one.0));
        }
    }
    slopes.sort_by(f64::total_cmp);
    slopes.get(slopes.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soak::program::Said;
    use crate::soak::schedule::State;
    use std::collections::BTreeMap;

    fn sample(seconds: f64, resident_bytes: u64) -> Sample {
        let report = ["logs", "spans", "metrics"].map(|signal| (signal.to_owned(), Counts::default())).into();
        Sample {
            said: Said { seconds, ended: 0, begun: 0, report, is_over: false, waits: false, shutdown_seconds: None },
            states: [State::Up; 3],
            resident_bytes,
            descriptors: 10,
            threads: 5,
            spool_bytes: 0,
            answered: [0; 3],
        }
    }

    fn problems(samples: &[Sample]) -> Vec<&'static str> {
        let findings = judge(samples, &Default::default(), true);
        findings.iter().filter(|finding| finding.problem.is_some()).map(|finding| finding.promise).collect()
    }

    fn steady() -> Vec<Sample> {
        (0..100_u32).map(|second| sample(f64::from(second), 30 * MIB + u64::from(second % 7) * MIB)).collect()
    }

    #[test]
    fn a_steady_program_keeps_its_promises() {
        assert_eq!(problems(&steady()), [""; 0]);
    }

    #[test]
    fn memory_that_grows_is_found_and_a_peak_is_not_growth() {
        let mut samples = steady();
        for (second, sample) in samples.iter_mut().enumerate() {
            sample.resident_bytes += second as u64 * MIB / 4;
        }
        assert_eq!(problems(&samples), ["memory is flat over the second half, but for what waits in it"]);
        let mut samples = steady();
        samples[80].resident_bytes += 40 * MIB;
        assert_eq!(problems(&samples), [""; 0]);
        samples[80].resident_bytes += 80 * MIB;
        assert_eq!(problems(&samples), ["memory stays within the budget + 16 MiB"]);
    }

    #[test]
    fn descriptors_that_stay_open_are_found() {
        let mut samples = steady();
        for (second, sample) in samples.iter_mut().enumerate() {
            sample.descriptors += second as u64 / 5;
        }
        let found = problems(&samples);
        let expected = ["file descriptors are flat over the second half", "file descriptors after all is delivered"];
        assert_eq!(found, expected);
    }

    #[test]
    fn an_item_that_vanishes_or_is_counted_twice_is_found() {
        let with = |admitted, delivered, pending| {
            let counts = Counts { admitted, delivered, pending, ..Counts::default() };
            let mut samples = steady();
            let last = samples.last_mut().unwrap();
            last.said.report.insert("metrics".to_owned(), counts);
            last.answered = [delivered; 3];
            problems(&samples)
        };
        // The server has none of it.
        assert!(with(10, 10, 0).contains(&"made = on the server + counted as lost"));
        assert!(with(10, 10, 0).contains(&"delivered and rejected are what the server says"));
        assert!(with(10, 9, 0).contains(&"admitted = delivered + rejected + dropped + pending"));
        assert!(with(10, 11, 0).contains(&"admitted = delivered + rejected + dropped + pending"));
        assert!(with(10, 0, 10).contains(&"all is settled at the end"));
    }

    #[test]
    fn a_loss_is_a_broken_promise_only_with_a_spool() {
        let mut samples = steady();
        let counts =
            Counts { admitted: 3, dropped: BTreeMap::from([("queue_full".to_owned(), 3)]), ..Counts::default() };
        samples.last_mut().unwrap().said.report.insert("metrics".to_owned(), counts);
        assert_eq!(problems(&samples), ["lost on this side"]);
        let without = judge(&samples, &Default::default(), false);
        assert!(without.iter().all(|finding| finding.problem.is_none()));
        assert!(without.iter().any(|finding| finding.figure == "3 metrics (queue_full)"));
    }

    #[test]
    fn a_slope_is_that_of_most_points() {
        let mut points: Vec<(f64, f64)> = (0..50).map(|x| (f64::from(x), 2.0 * f64::from(x))).collect();
        points[40].1 = 1e9;
        assert!((slope(&points) - 2.0).abs() < 0.01);
        assert_eq!(slope(&[]), 0.0);
    }
}
