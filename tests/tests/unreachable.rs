//! Dead backends neither slow, grow nor hold up the program, and what is lost is counted. The program is a child process, so
//! that its memory is its own.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a failed step fails the test, also in its helpers; measurements are shown"
)]

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Output};
use std::time::Duration;

use lgtm_tests::discard::Discard;
use lgtm_tests::silent::Silent;
use lgtm_tests::storm::Outcome;

/// Each iteration is a span, a log line and samples: more than the queues take.
const ITERATIONS: u64 = 150_000;
const SHUTDOWN: Duration = Duration::from_secs(2);
/// The default budget of all signals together.
const BUDGET: u64 = 64 * 1024 * 1024;
/// The program's own code and runtime, touched after the set-up; and what the allocator keeps.
const SLACK: u64 = 16 * 1024 * 1024;

struct Run {
    outcome: Outcome,
    warnings: Vec<String>,
}

fn storm(backend: &str) -> Run {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_storm"))
        .args([backend, backend, backend, &ITERATIONS.to_string(), &SHUTDOWN.as_millis().to_string()])
        .output()
        .expect("the program runs");
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    assert!(status.success(), "{stderr}");
    let outcome = serde_json::from_slice(&stdout).expect("an outcome");
    Run { outcome, warnings: stderr.lines().map(str::to_owned).collect() }
}

fn assert_harmless(run: &Run) {
    let Outcome { resident_before, resident_peak, shutdown_seconds, signals, .. } = &run.outcome;
    if *resident_before > 0 {
        let growth = resident_peak - resident_before;
        println!("memory grew by {} KiB", growth / 1024);
        assert!(growth < BUDGET + SLACK, "memory grew by {growth} bytes");
    }
    // The deadline, and time for a busy machine to notice it.
    assert!(*shutdown_seconds < SHUTDOWN.as_secs_f64() + 3.0, "the shutdown took {shutdown_seconds} s");
    for counts in signals {
        println!("{}", counts.report);
        if counts.items != "samples" {
            assert_eq!(counts.admitted, ITERATIONS, "{}", counts.report);
        }
        assert!(counts.admitted > 0, "{}", counts.report);
        assert_eq!(counts.admitted, counts.delivered + counts.rejected + counts.dropped, "{}", counts.report);
        assert_eq!((counts.delivered, counts.pending), (0, 0), "{}", counts.report);
    }
    for exporter in ["loki at", "tempo at", "mimir at"] {
        let said = run.warnings.iter().filter(|line| line.contains(exporter)).count();
        assert_eq!(said, 1, "one warning of {exporter}: {:#?}", run.warnings);
    }
    assert_eq!(run.warnings.len(), 3, "{:#?}", run.warnings);
}

fn refused() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    // Closed again: connections are refused.
    format!("http://{}", listener.local_addr().expect("an address"))
}

fn report_pace(what: &str, run: &Run) {
    let per_iteration = run.outcome.loop_seconds * 1e9 / ITERATIONS as f64;
    println!("{what}: {per_iteration:.0} ns an iteration, shutdown {:.3} s", run.outcome.shutdown_seconds);
}

#[test]
fn a_program_whose_backends_are_dead_runs_on_and_ends_in_time() {
    let backend = Discard::start().expect("a backend");
    let reachable = storm(&backend.url());
    for counts in &reachable.outcome.signals {
        assert_eq!(counts.admitted, counts.delivered + counts.rejected + counts.dropped, "{}", counts.report);
        assert!(counts.delivered > 0, "{}", counts.report);
    }
    report_pace("reachable", &reachable);

    let dead = storm(&refused());
    report_pace("refused", &dead);
    assert_harmless(&dead);
    // During a shutdown one refused connection ends the retrying.
    assert!(dead.outcome.shutdown_seconds < SHUTDOWN.as_secs_f64(), "{} s", dead.outcome.shutdown_seconds);

    let silent = Silent::start().expect("a listener");
    let unanswered = storm(&silent.url());
    report_pace("never answered", &unanswered);
    assert_harmless(&unanswered);
    assert!(silent.connections() > 0);
}
