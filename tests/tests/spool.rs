//! The disk spool of real layers: programs that are killed at any moment lose nothing that they said was safe.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a failed step fails the test, also in its helpers; figures are shown"
)]

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lgtm_devstack::{Devstack, Limits};

/// How often the program is killed.
const KILLS: u64 = 50;
/// Lines of one run: more than it has time for.
const ENDLESS: u64 = 10_000_000;
/// Nobody listens there.
const DEAD: &str = "http://127.0.0.1:1";

/// Items of a batch.
const BATCH: &str = "1000";

fn spooler(folder: &Path, loki: &str, otlp: &str, run: u64, lines: u64) -> Child {
    Command::new(env!("CARGO_BIN_EXE_spooler"))
        .arg(folder)
        .args([loki, otlp, &run.to_string(), &lines.to_string(), BATCH])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts")
}

/// Runs it until something is safe, and for so long after that; then kills it. What it said last of lines and spans.
fn run_and_kill(folder: &Path, loki: &str, otlp: &str, run: u64, after: Duration) -> [u64; 2] {
    let mut child = spooler(folder, loki, otlp, run, ENDLESS);
    let mut said = BufReader::new(child.stdout.take().expect("its output"));
    let mut line = String::new();
    let numbers = |line: &str| -> Option<[u64; 2]> {
        let (lines, spans) = line.strip_suffix('\n')?.split_once(' ')?;
        Some([lines.parse().ok()?, spans.parse().ok()?])
    };
    loop {
        line.clear();
        assert!(said.read_line(&mut line).expect("it tells") > 0, "it ended by itself");
        if numbers(&line).expect("two numbers").iter().all(|safe| *safe > 0) {
            break;
        }
    }
    std::thread::sleep(after);
    child.kill().expect("it can be killed");
    child.wait().expect("it has ended");
    let mut rest = String::new();
    said.read_to_string(&mut rest).expect("what it said");
    // The last line may be torn.
    rest.split_inclusive('\n').filter_map(numbers).next_back().unwrap_or_else(|| numbers(&line).expect("two numbers"))
}

/// How often each number of each run has come, and whether those of a run came in their order.
#[derive(Default)]
struct Arrived {
    times: HashMap<(u64, u64), u64>,
}

impl Arrived {
    fn of(numbers: impl Iterator<Item = (u64, u64)>) -> Self {
        let mut arrived = Self::default();
        for number in numbers {
            *arrived.times.entry(number).or_default() += 1;
        }
        arrived
    }

    fn assert_has(&self, what: &str, safe: &[u64], most_twice: u64) {
        for (run, safe) in safe.iter().enumerate() {
            for number in 0..*safe {
                assert!(
                    self.times.contains_key(&(run as u64, number)),
                    "{what} {number} of run {run} is lost: {safe} were safe"
                );
            }
        }
        let twice = self.times.values().map(|times| times - 1).sum::<u64>();
        assert!(twice <= most_twice, "{twice} {what} came twice");
        println!(
            "{what}: {} said to be safe, {} arrived, {twice} of them twice",
            safe.iter().sum::<u64>(),
            self.times.len()
        );
    }
}

#[test]
fn what_a_killed_program_said_was_safe_is_delivered_by_the_next_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut limits = Limits::default();
    (limits.log_bytes, limits.trace_bytes) = (1 << 30, 1 << 30);
    let stack = Devstack::builder().limits(limits).start_blocking().expect("a development stack");
    let (mut lines, mut spans, mut live) = (Vec::new(), Vec::new(), 0);
    let mut random = 0x9e37_79b9_u64;
    for run in 0..KILLS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let after = Duration::from_micros((random >> 33) % 60_000);
        // Mostly the backends are down; in every fifth run they take what lies there until the program is killed.
        let up = run % 5 == 4;
        live += u64::from(up);
        let (loki, otlp) =
            if up { (stack.loki_url(), stack.otlp_http_url()) } else { (DEAD.to_owned(), DEAD.to_owned()) };
        let [safe_lines, safe_spans] = run_and_kill(folder.path(), &loki, &otlp, run, after);
        lines.push(safe_lines);
        spans.push(safe_spans);
    }
    // The next start makes nothing and sends everything.
    let output = spooler(folder.path(), &stack.loki_url(), &stack.otlp_http_url(), KILLS, 0)
        .wait_with_output()
        .expect("it ends");
    let counts: serde_json::Value = serde_json::from_slice(&output.stdout).expect("what became of all");
    for of_signal in counts.as_array().expect("one for each signal") {
        assert_eq!((&of_signal["pending"], &of_signal["dropped"]), (&0.into(), &0.into()), "{counts}");
    }
    let store = stack.store();
    let of_lines = store.logs().into_iter().map(|entry| {
        let line = entry.json().expect("JSON");
        (line["run"].as_u64().expect("a run"), line["line"].as_u64().expect("a line"))
    });
    let of_spans = store.spans().into_iter().map(|span| {
        let number =
            |name: &str| span.attributes.get(name).and_then(|value| value.to_string().parse().ok()).expect("a number");
        (number("run"), number("line"))
    });
    // A request whose answer the killed program did not hear is sent again: one of each live run, with a batch at most.
    let most_twice = live * 8192;
    Arrived::of(of_lines).assert_has("lines", &lines, most_twice);
    Arrived::of(of_spans).assert_has("spans", &spans, most_twice);
    for signal in ["logs.0", "spans.0"] {
        let left: Vec<_> = std::fs::read_dir(folder.path().join(signal)).expect("its folder").collect();
        assert_eq!(left.len(), 1, "the lock alone: {left:?}");
    }
}

/// A limit on the size of files, as a disk that is full: the write that goes over it is cut short.
#[cfg(unix)]
#[test]
fn a_disk_that_is_full_in_the_middle_of_a_write_costs_nothing_that_was_safe_and_stops_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let stack = Devstack::start_blocking().expect("a development stack");
    let program = format!(
        "trap '' XFSZ; ulimit -f 8; exec {} {} {DEAD} {DEAD} 0 2000 16",
        env!("CARGO_BIN_EXE_spooler"),
        folder.path().display()
    );
    // The shell's block of 512 or 1,024 bytes: files of 4 or 8 KiB at most, where the spool wants 32. A batch fits, two may not.
    let mut child = Command::new("sh").args(["-c", &program]).stdout(Stdio::piped()).spawn().expect("a shell");
    let mut said = BufReader::new(child.stdout.take().expect("its output"));
    let mut last = [0, 0];
    for _ in 0..95 {
        let mut line = String::new();
        assert!(said.read_line(&mut line).expect("it tells") > 0, "it ended early");
        let (lines, spans) = line.trim().split_once(' ').expect("two numbers");
        last = [lines.parse().expect("a number"), spans.parse().expect("a number")];
    }
    child.kill().expect("it can be killed");
    child.wait().expect("it has ended");
    assert!(last.iter().all(|safe| *safe > 0), "{last:?}");
    let output = spooler(folder.path(), &stack.loki_url(), &stack.otlp_http_url(), 1, 0).wait_with_output();
    let counts: serde_json::Value =
        serde_json::from_slice(&output.expect("it ends").stdout).expect("what became of all");
    for (of_signal, safe) in counts.as_array().expect("one for each signal").iter().zip(last) {
        assert!(of_signal["delivered"].as_u64() >= Some(safe), "{counts}, {last:?}");
        assert_eq!((&of_signal["pending"], &of_signal["dropped"]), (&0.into(), &0.into()), "{counts}");
    }
}
