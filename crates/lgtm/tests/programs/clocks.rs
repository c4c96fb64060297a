//! A wall clock that is set while the program runs: an hour ahead and right again, back by seconds and by an hour, to 1970, to the
//! year 2300. libfaketime sets it for a child process alone; the clock that is never set goes on.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lgtm_devstack::{Devstack, Store};
use tracing::field::Empty;

use crate::harness::{Addresses, backends, run, say};
use crate::lifecycle::assert_conserved;

/// The file that libfaketime reads each time the clock is asked.
const CLOCK: &str = "FAKETIME_TIMESTAMP_FILE";

/// Where Debian's package `faketime` puts it.
fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?;
    let library = |folder: PathBuf| folder.join("faketime/libfaketime.so.1");
    folders.flatten().map(|folder| library(folder.path())).find(|path| path.exists())
}

fn set_clock(to: &str) {
    std::fs::write(std::env::var(CLOCK).unwrap(), to).unwrap();
}

/// Runs a program whose clock it sets itself; none where libfaketime is not installed.
fn run_with_clock(program: &str, stack: &Devstack) -> Option<crate::harness::Finished> {
    let Some(library) = library() else {
        let required = std::env::var("LGTM_REAL").is_ok_and(|value| value == "require");
        assert!(!required, "libfaketime is not installed: it is in Debian's package `faketime`");
        eprintln!("skipped: libfaketime is not installed");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    std::fs::write(&clock, "+0").unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (library, clock) = (text(&library), text(&clock));
    let variables = [
        ("LD_PRELOAD", library.as_str()),
        (CLOCK, clock.as_str()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
        ("LGTM_SHUTDOWN_TIMEOUT", "60s"),
    ];
    Some(run(program, &Addresses::of(stack).with(&variables)))
}

pub(crate) fn program(name: &str) -> bool {
    match name {
        "clock jumps" => clock_jumps(),
        _ => return false,
    }
    true
}

fn clock_jumps() {
    let telemetry = lgtm::builder().keep_errors(true).init().unwrap();
    let rounds = metrics::counter!("rounds_total");
    // From one setting to the next each span is open across the step.
    let settings =
        ["+0", "+3600", "+0", "-7", "+0", "-3600", "+0", "@1970-01-01 00:00:01", "+0", "@2300-01-01 00:00:00", "+0"];
    let mut open = tracing::info_span!("first", seconds = Empty);
    for (round, setting) in settings.into_iter().enumerate() {
        set_clock(setting);
        let next = tracing::info_span!(parent: None, "across", round, setting, seconds = Empty);
        drop(std::mem::replace(&mut open, next));
        tracing::info_span!(parent: None, "within", setting).in_scope(|| tracing::info!(round, setting, "said"));
        rounds.absolute(round as u64 + 1);
        // The backend refuses what is out of its time: that is an answer too.
        telemetry.flush().unwrap();
    }
    drop(open);
    say(&telemetry.shutdown().json());
}

fn seconds_from_now(time_ns: u128) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    (now as f64 - time_ns as f64).abs() / 1e9
}

fn rounds(store: &Store) -> Vec<(i64, f64)> {
    let series = store.series_named("rounds_total");
    series[0]
        .samples
        .iter()
        .filter(|sample| !sample.value.is_nan())
        .map(|sample| (sample.timestamp_ms, sample.value))
        .collect()
}

#[test]
fn a_clock_that_is_set_changes_no_duration_and_stops_no_signal() {
    let stack = backends();
    let Some(finished) = run_with_clock("clock jumps", &stack) else { return };
    assert!(finished.success, "{}", finished.stderr);
    let report = finished.report();
    assert_conserved(&report);
    for signal in ["logs", "spans", "metrics"] {
        assert_eq!(
            (&report[signal]["dropped"], &report[signal]["pending"]),
            (&serde_json::json!({}), &0.into()),
            "{report}"
        );
    }
    let spans = stack.store().spans();
    assert_eq!(spans.len(), 23, "{report}");
    for span in &spans {
        let took = Duration::from_nanos(span.end_ns.checked_sub(span.start_ns).unwrap());
        assert!(took < Duration::from_secs(60), "{} {:?} took {took:?}", span.name, span.attributes.text("setting"));
    }
    let durations = stack.store().series_named("otlp_spans_duration_seconds_sum");
    let seconds: f64 = durations.iter().filter_map(lgtm_devstack::Series::last_value).sum();
    assert!(seconds < 120.0, "{seconds} s in all spans");

    // Every line that was said at a time that backends take is there, with that time.
    let logs = stack.store().logs();
    let right: Vec<_> = logs
        .iter()
        .filter_map(|entry| Some((entry.timestamp_ns, entry.json()?)))
        .filter(|(_, line)| line["setting"] == "+0")
        .collect();
    assert_eq!(right.iter().map(|(_, line)| line["round"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 2, 4, 6, 8, 10]);
    for (time, line) in &right {
        assert!(seconds_from_now(*time as u128) < 120.0, "{line}");
    }

    // The clock was an hour ahead, and far more: samples go on at the right time all the same, each later than the one before.
    let samples = rounds(stack.store());
    assert!(samples.windows(2).all(|pair| pair[0].0 < pair[1].0), "{samples:?}");
    for wanted in [1.0, 3.0, 5.0, 11.0] {
        let at_right_time = |(time, value): &(i64, f64)| {
            *value == wanted && seconds_from_now(u128::from(time.unsigned_abs()) * 1_000_000) < 120.0
        };
        assert!(samples.iter().any(at_right_time), "no sample of {wanted} at its time: {samples:?}");
    }
}
